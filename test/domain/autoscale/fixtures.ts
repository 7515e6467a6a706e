// The histories that cases of formulas are evaluated over: samples every 30 s before a Monday noon.
import type { Inputs } from "../../../src/domain/autoscale/evaluate";
import { type Series, samplesOf } from "../../../src/domain/autoscale/samples";

const NOON = Date.parse("2015-07-20T12:00:00Z");
const PERIOD_MS = 30_000;

/** Samples of each metric at `nowMs - 30 s * k` for k in the range, newest last. */
const history = (nowMs: number, [from, to]: readonly [number, number], valueAt: Readonly<Record<string, (k: number) => number>>): ReadonlyMap<string, Series> => {
  const ks = Array.from({ length: Math.max(0, to - from + 1) }, (_, index) => to - index);
  const times = ks.map((k) => nowMs - k * PERIOD_MS);
  return new Map(Object.entries(valueAt).map(([metric, value]) => [metric, { times, values: ks.map(value) }]));
};

const busy = (cpu: number): Readonly<Record<string, (k: number) => number>> => ({
  $ActiveTasks: (k) => (k <= 10 ? 8 : 4),
  $RunningTasks: () => 1,
  $PendingTasks: (k) => (k <= 10 ? 9 : 5),
  $CPUPercent: () => cpu,
  $CurrentDedicated: () => 10,
});

const METRICS = ["$CPUPercent", "$ActiveTasks", "$RunningTasks", "$PendingTasks", "$SucceededTasks", "$FailedTasks", "$CurrentDedicated", "$SampleTVMCount", "$MemoryBytes"];
const zero = Object.fromEntries(METRICS.map((metric) => [metric, () => 0]));
const THURSDAY = Date.parse("2016-10-13T19:18:47.805Z");

const inputs = (samples: ReadonlyMap<string, Series>, nowMs = NOON, target = 10): Inputs => ({ nowMs, target, currentDedicated: 10, samples: samplesOf(samples), periodMs: PERIOD_MS });

export const FIXTURES: Readonly<Record<string, Inputs>> = {
  F1: inputs(history(NOON, [1, 20], busy(0.75))),
  F2: inputs(history(NOON, [3, 20], busy(0.75))),
  F3: inputs(new Map()),
  LOW: inputs(history(NOON, [1, 20], busy(0.1))),
  Z: inputs(history(NOON, [1, 120], zero)),
  R: inputs(history(NOON, [2, 30], { $ActiveTasks: () => 0 }), NOON, 1),
  W: inputs(history(THURSDAY, [1, 20], busy(0.75)), THURSDAY),
};
