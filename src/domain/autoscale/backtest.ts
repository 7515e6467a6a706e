// A formula over samples that were recorded: what it would have said, instant after instant. Pure. The samples stay what they were: what
// other TVMs would have done to the tasks is not known, so this compares targets, and never foretells.
import { type Evaluation, evaluateFormula } from "./evaluate";
import type { FormulaFault } from "./fault";
import type { Formula } from "./parse";
import { type History, type Recorded, historyUntil, samplesOf } from "./samples";

export interface Replay {
  /** The first evaluation is at `fromMs`, the last not after `toMs`. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly everyMs: number;
  readonly periodMs: number;
  readonly wantedPercent: number;
  readonly taskSlots: number;
  /** Target and number of TVMs before the first evaluation. */
  readonly target: number;
  readonly targetMax?: number;
}

export interface Suggestion {
  readonly atMs: number;
  /** After the maximum; the one before when the evaluation failed. */
  readonly target: number;
  readonly error?: FormulaFault;
}

/** Each evaluation finds the target that the one before it left, and as many TVMs; `rand()` has the instant as its seed. */
export const backtest = (formula: Formula, history: History, replay: Replay): Suggestion[] => {
  const { fromMs, toMs, everyMs, targetMax = Infinity, target: first, ...settings } = replay;
  const suggestions: Suggestion[] = [];
  let target = first;
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += everyMs) {
    const samples = samplesOf(historyUntil(history, nowMs));
    const { error, target: wanted }: Evaluation = evaluateFormula(formula, { ...settings, nowMs, target, currentDedicated: target, seed: nowMs, samples });
    if (!error) target = Math.min(wanted, targetMax);
    suggestions.push({ atMs: nowMs, target, ...(error ? { error } : {}) });
  }
  return suggestions;
};

/** An average stands again for each of the samples that it was made from: five minutes, a period apart. */
export const spreadOut = (record: Recorded, periodMs: number, overMs: number): Recorded => {
  const [start = 0] = record.times;
  const count = Math.max(1, Math.floor(overMs / periodMs));
  return {
    times: Array.from({ length: count }, (_, index) => start + index * periodMs),
    values: Object.fromEntries(Object.entries(record.values).map(([metric, [value = null]]) => [metric, Array<number | null>(count).fill(value)])),
  };
};
