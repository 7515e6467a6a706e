// The history of a pool's metrics and the windows that formulas look at (reference autoscale-formula, sections 6.2 and 7).
// It only counts and cuts what it is given; where samples come from is not its business.

/** One metric's samples, oldest first: instants in milliseconds since 1970, and as many values. */
export interface Series {
  readonly times: readonly number[];
  readonly values: readonly number[];
}

/** By the name of the metric; a metric without samples may be missing. */
export type History = Pick<ReadonlyMap<string, Series>, "get">;

/** Samples as they are kept: for each of the times a value of each metric, or null where there was nothing to measure. */
export interface Recorded {
  readonly times: readonly number[];
  readonly values: Readonly<Record<string, readonly (number | null)[]>>;
}

/** The series of each metric up to an instant, of records that are oldest first. */
export const historyFrom = (records: readonly Recorded[], untilMs: number): Map<string, Series> => {
  const history = new Map<string, { times: number[]; values: number[] }>();
  for (const record of records)
    for (const [metric, list] of Object.entries(record.values)) {
      let series = history.get(metric);
      if (!series) history.set(metric, (series = { times: [], values: [] }));
      for (const [index, value] of list.entries()) {
        const time = record.times[index] as number;
        if (value === null || time > untilMs) continue;
        series.times.push(time);
        series.values.push(value);
      }
    }
  return history;
};

/** What of a history was there at an instant; metrics that nobody asks for cost nothing. */
export const historyUntil = (history: History, untilMs: number): History => ({
  get: (metric) => {
    const series = history.get(metric);
    if (!series) return undefined;
    const end = firstAtOrAfter(series.times, untilMs + 1);
    return end === series.times.length ? series : { times: series.times.slice(0, end), values: series.values.slice(0, end) };
  },
});

/** From `fromMs` (inclusive) to `toMs` (exclusive). */
export interface Window {
  readonly fromMs: number;
  readonly toMs: number;
}

const NONE: Series = { times: [], values: [] };

/** Everything that a formula can ask about samples: an evaluation depends on these answers and on nothing else about them. */
export interface Samples {
  count(metric: string): number;
  /** Instant of the oldest sample, in milliseconds; undefined: there is none. */
  begin(metric: string): number | undefined;
  newest(metric: string, count: number): readonly number[];
  within(metric: string, window: Window): readonly number[];
  presence(metric: string, window: Window, periodMs: number): Presence;
}

/** `sinceMs`: nothing older was loaded; `lacking` is told when a question reaches further back. */
export const samplesOf = (history: History, sinceMs = -Infinity, lacking: () => void = () => {}): Samples => {
  const series = (metric: string): Series => history.get(metric) ?? NONE;
  const reach = (metric: string, window: Window): Series => {
    if (window.fromMs < sinceMs) lacking();
    return series(metric);
  };
  const whole = (metric: string): Series => {
    if (sinceMs > -Infinity) lacking();
    return series(metric);
  };
  return {
    count: (metric) => whole(metric).times.length,
    begin: (metric) => whole(metric).times[0],
    newest: (metric, count) => newest(count > series(metric).times.length ? whole(metric) : series(metric), count),
    within: (metric, window) => within(reach(metric, window), window),
    presence: (metric, window, periodMs) => presence(reach(metric, window), window, periodMs),
  };
};

/** An answer as it is kept with a run: what was asked is known from the formula. */
export type Answer = number | null | readonly number[];

/** Keeps the answers that are given, in order; more than `most` numbers are not kept, and then `answers` is undefined. */
export const recording = (samples: Samples, most: number): { readonly samples: Samples; answers(): readonly Answer[] | undefined } => {
  const answers: Answer[] = [];
  let numbers = 0;
  const kept = <A extends Answer>(answer: A): A => {
    numbers += Array.isArray(answer) ? answer.length + 1 : 1;
    if (numbers <= most) answers.push(answer);
    return answer;
  };
  return {
    answers: () => (numbers <= most ? answers : undefined),
    samples: {
      count: (metric) => kept(samples.count(metric)),
      begin: (metric) => kept(samples.begin(metric) ?? null) ?? undefined,
      newest: (metric, count) => kept(samples.newest(metric, count)),
      within: (metric, window) => kept(samples.within(metric, window)),
      presence: (metric, window, periodMs) => {
        const share = samples.presence(metric, window, periodMs);
        kept([share.expected, share.present]);
        return share;
      },
    },
  };
};

/** The same answers again, for the same formula and inputs. Throws an Error when the formula asks for more than was answered. */
export const replayed = (answers: readonly Answer[]): Samples => {
  let at = 0;
  const next = (): Answer => {
    const answer = answers[at++];
    if (answer === undefined) throw new Error("The run has fewer answers than its formula asks for.");
    return answer;
  };
  return {
    count: () => next() as number,
    begin: () => (next() as number | null) ?? undefined,
    newest: () => next() as readonly number[],
    within: () => next() as readonly number[],
    presence: () => {
      const [expected = 1, present = 0] = next() as readonly number[];
      return shareOf(expected, present);
    },
  };
};

const newest = ({ values }: Series, count: number): readonly number[] => (count <= 0 ? [] : values.slice(-count));

/** The values in the window, oldest first. */
const within = (series: Series, window: Window): readonly number[] => {
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
const presence = (series: Series, window: Window, periodMs: number): Presence => {
  const [first, end] = bounds(series, window);
  const expected = Math.max(1, Math.floor((window.toMs - window.fromMs) / periodMs));
  return shareOf(expected, end - first);
};

const shareOf = (expected: number, present: number): Presence => ({ expected, present, percent: Math.min(100, (present / expected) * 100) });

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
