// The history of a pool's metrics and the windows that formulas look at (reference autoscale-formula, sections 6.2 and 7).
// It only counts and cuts what it is given; where samples come from is not its business.

/** One metric's samples, oldest first: instants in milliseconds since 1970, and as many values. */
export interface Series {
  readonly times: readonly number[];
  readonly values: readonly number[];
}

/** By the name of the metric; a metric without samples may be missing. */
export type History = ReadonlyMap<string, Series>;

/** From `fromMs` (inclusive) to `toMs` (exclusive). */
export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

const NONE: Series = { times: [], values: [] };

export const seriesOf = (history: History, metric: string): Series => history.get(metric) ?? NONE;

export const newest = ({ values }: Series, count: number): readonly number[] => (count <= 0 ? [] : values.slice(-count));

/** The values in the window, oldest first. */
export const within = (series: Series, window: Window): readonly number[] => {
  const [first, end] = bounds(series, window);
  return series.values.slice(first, end);
};

export interface Presence {
  readonly expected: number;
  readonly present: number;
  /** 0 to 100. */
  readonly percent: number;
}

/** How many of the samples that the window should have are there; a window shorter than the period should have one. */
export const presence = (series: Series, window: Window, periodMs: number): Presence => {
  const [first, end] = bounds(series, window);
  const expected = Math.max(1, Math.floor((window.toMs - window.fromMs) / periodMs));
  const present = end - first;
  return { expected, present, percent: Math.min(100, (present / expected) * 100) };
};

const bounds = ({ times }: Series, { fromMs, toMs }: Window): [number, number] => {
  const first = firstAtOrAfter(times, fromMs);
  return [first, Math.max(first, firstAtOrAfter(times, toMs))];
};

const firstAtOrAfter = (times: readonly number[], ms: number): number => {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] as number) < ms) low = middle + 1;
    else high = middle;
  }
  return low;
};

/**
 * Names of the metrics, of both generations, by the one under which samples are kept. Today's names are aliases; those of
 * low-priority nodes have a present value (none) and no samples.
 */
export const METRICS: ReadonlyMap<string, string> = new Map([
  ...["$CPUPercent", "$WallClockSeconds", "$MemoryBytes", "$DiskBytes", "$DiskReadBytes", "$DiskWriteBytes", "$DiskReadOps", "$DiskWriteOps"].map(same),
  ...["$NetworkInBytes", "$NetworkOutBytes", "$SampleTVMCount", "$ActiveTasks", "$RunningTasks", "$PendingTasks"].map(same),
  ...["$SucceededTasks", "$FailedTasks", "$CurrentDedicated", "$CurrentLowPriorityNodes", "$PreemptedNodeCount", "$UsableNodeCount", "$TaskSlotsPerNode"].map(same),
  ["$SampleNodeCount", "$SampleTVMCount"],
  ["$CurrentDedicatedNodes", "$CurrentDedicated"],
  ["$CurrentLowPriority", "$CurrentLowPriorityNodes"],
]);

function same(name: string): [string, string] {
  return [name, name];
}
