// Samples of pools whose autoscale is on: taken every period (task counts by the service, readings by the agents), read back for
// evaluations, averaged after a day, forgotten after a week. Nothing here evaluates a formula.
import type { Evaluating } from "../domain/autoscale/run";
import { type Samples, type Series, historyFrom, samplesOf } from "../domain/autoscale/samples";
import { poolKey } from "../domain/ids";
import { addMs } from "../domain/time";
import type { Ports, ViewWrite } from "../ports";
import { type HeartbeatRow, heartbeats } from "../views/errands";
import { jobs } from "../views/jobs";
import { type PoolRow, pools } from "../views/pools";
import { type MeterRow, type SampleRow, meters, samplePlace, samples } from "../views/samples";
import { tasks } from "../views/tasks";
import { scalingOf } from "./scaling";

const CHUNK_MS = 300_000;
/** Sample by sample for a day (reference autoscale-formula 7, rule 9), then as averages of five minutes (seed) for a week. */
const FINE_MS = 24 * 3_600_000;
const COARSE_MS = 7 * FINE_MS;
/** Pools looked at together. */
const PAGE = 500;
const JOBS_MAX = 1000;
const TVMS_MAX = 10_000;

// ---------------------------------------------------------------- taking

/** One sample of each pool with autoscale, at this instant cut to a multiple of the period; one that is there already stays. */
export const takeSamples = async (ports: Ports, at: string): Promise<number> => {
  const { samplePeriodMs } = scalingOf(ports);
  const timeMs = Math.floor(Date.parse(at) / samplePeriodMs) * samplePeriodMs;
  let taken = 0;
  for (let after: string | undefined; ; ) {
    const page = await ports.views.query(pools, { index: "scaled", prefix: "", limit: PAGE, ...(after === undefined ? {} : { after }) });
    const written = await ports.views.write((await Promise.all(page.map(({ row }) => sampleOf(ports, row, timeMs, samplePeriodMs)))).flat());
    taken += written.filter((result) => result === "ok").length;
    if (page.length < PAGE) break;
    after = page[page.length - 1]?.key;
  }
  await keepHouse(ports, at);
  return taken;
};

const sampleOf = async (ports: Ports, pool: PoolRow, timeMs: number, periodMs: number): Promise<ViewWrite[]> => {
  const key = poolKey(pool.account, pool.name);
  const start = new Date(Math.floor(timeMs / CHUNK_MS) * CHUNK_MS).toISOString();
  const place = samplePlace(key, start);
  const [[before], counted, read] = await Promise.all([ports.views.get(samples, [place]), countTasks(ports, key), readTvms(ports, key, timeMs, periodMs)]);
  const last = before?.times.at(-1);
  if (before?.aggregated || (last !== undefined && last >= timeMs)) return [];
  const values = { ...counted.values, ...read, $CurrentDedicated: pool.tvms.length };
  const row = withSample(before, { pool: key, start, periodMs }, place.id, timeMs, values);
  const write: ViewWrite = { view: samples, partition: place.partition, rows: [{ from: before?.version ?? 0, row }], counters: {} };
  return counted.meter ? [write, { view: meters, partition: key, rows: [counted.meter], counters: {} }] : [write];
};

const withSample = (
  before: SampleRow | undefined,
  of: Pick<SampleRow, "pool" | "start" | "periodMs">,
  id: string,
  timeMs: number,
  sample: Readonly<Record<string, number>>,
): SampleRow => {
  const times = [...(before?.times ?? []), timeMs];
  const names = new Set([...Object.keys(before?.values ?? {}), ...Object.keys(sample)]);
  const values: Record<string, (number | null)[]> = {};
  for (const name of names) {
    const earlier = before?.values[name] ?? times.slice(1).map(() => null);
    values[name] = [...earlier, sample[name] ?? null];
  }
  return { id, version: (before?.version ?? 0) + 1, ...of, times, values };
};

interface Counted {
  readonly values: Readonly<Record<string, number>>;
  readonly meter?: ViewWrite["rows"][number];
}

/** Tasks of the pool's active jobs by state; what has ended is counted on when its job has gone. */
const countTasks = async (ports: Ports, pool: string): Promise<Counted> => {
  const active = (await ports.views.keys(jobs, { index: "pool", prefix: `${pool}/`, limit: JOBS_MAX })).map((entry) => entry.slice(pool.length + 1));
  const [before] = await ports.views.get(meters, [{ partition: pool, id: pool }]);
  const gone = Object.keys(before?.jobs ?? {}).filter((job) => !active.includes(job));
  const counts = await Promise.all([...active, ...gone].map((job) => ports.views.counters(tasks, `${job}/`)));
  let waiting = 0;
  let running = 0;
  const ends: Record<string, readonly [number, number]> = {};
  counts.slice(0, active.length).forEach((count, index) => {
    waiting += (count["active"] ?? 0) + (count["assigned"] ?? 0);
    running += count["running"] ?? 0;
    ends[active[index] as string] = endsOf(count);
  });
  const ended = gone.reduce<readonly [number, number]>(
    ([well, badly], job, index) => {
      // Its tasks may have been forgotten with it: then what was seen last counts.
      const [nowWell, nowBadly] = endsOf(counts[active.length + index] ?? {});
      const [seenWell, seenBadly] = before?.jobs[job] ?? [0, 0];
      return [well + Math.max(nowWell, seenWell), badly + Math.max(nowBadly, seenBadly)];
    },
    before?.ended ?? [0, 0],
  );
  const all = Object.values(ends).reduce<readonly [number, number]>(([a, b], [c, d]) => [a + c, b + d], ended);
  const values = { $ActiveTasks: waiting, $RunningTasks: running, $PendingTasks: waiting + running, $SucceededTasks: all[0], $FailedTasks: all[1] };
  const meter: MeterRow = { id: pool, version: (before?.version ?? 0) + 1, pool, ended, jobs: ends };
  const same = before !== undefined && JSON.stringify([before.ended, before.jobs]) === JSON.stringify([ended, ends]);
  return same ? { values } : { values, meter: { from: before?.version ?? 0, row: meter } };
};

const endsOf = ({ completed = 0, failed = 0 }: Readonly<Record<string, number>>): readonly [number, number] => [completed - failed, failed];

/** What the agents said within the last three periods, at least half a minute: averages of states, sums of amounts for one period. */
const readTvms = async (ports: Ports, pool: string, timeMs: number, periodMs: number): Promise<Record<string, number>> => {
  const oldest = new Date(timeMs - Math.max(3 * periodMs, 30_000)).toISOString();
  const rows = await ports.views.query(heartbeats, { index: "pool", prefix: `${pool}/`, limit: TVMS_MAX });
  const fresh = rows.flatMap(({ row }) => (row.at >= oldest && row.readings ? [row.readings] : []));
  const alive = rows.filter(({ row }) => row.at >= oldest).length;
  if (fresh.length === 0) return { $SampleTVMCount: 0, $UsableNodeCount: alive };
  const over = (sumOf: (one: Readings, value: number) => number, of: (one: Readings) => number | undefined): [number, number] => {
    const told = fresh.flatMap((one) => [[one, of(one)] as const]).filter((pair): pair is readonly [Readings, number] => pair[1] !== undefined);
    return [told.reduce((total, [one, value]) => total + sumOf(one, value), 0), told.length];
  };
  // A machine that does not tell is left out; where none tells there is no sample.
  const mean = (metric: string, of: (one: Readings) => number | undefined): Record<string, number> => {
    const [total, told] = over((_, value) => value, of);
    return told === 0 ? {} : { [metric]: round(total / told) };
  };
  const sum = (metric: string, of: (one: Readings) => number | undefined): Record<string, number> => {
    const [total, told] = over((one, value) => (value * periodMs) / one.overMs, of);
    return told === 0 ? {} : { [metric]: round(total) };
  };
  return {
    $SampleTVMCount: fresh.length,
    $UsableNodeCount: alive,
    ...mean("$CPUPercent", (one) => one.cpu),
    ...mean("$MemoryBytes", (one) => one.memoryMb),
    ...mean("$DiskBytes", (one) => one.diskGb),
    ...sum("$WallClockSeconds", (one) => one.overMs / 1000),
    ...sum("$DiskReadBytes", (one) => one.diskReadBytes),
    ...sum("$DiskWriteBytes", (one) => one.diskWriteBytes),
    ...sum("$DiskReadOps", (one) => one.diskReadOps),
    ...sum("$DiskWriteOps", (one) => one.diskWriteOps),
    ...sum("$NetworkInBytes", (one) => one.networkInBytes),
    ...sum("$NetworkOutBytes", (one) => one.networkOutBytes),
  };
};

type Readings = NonNullable<HeartbeatRow["readings"]>;

const round = (value: number): number => Number(value.toPrecision(6));

// ---------------------------------------------------------------- reading

/** Mostly formulas look at the last quarter of an hour: only that is read at first. */
const RECENT_MS = 3_600_000;

/** A pool's samples of the last hour; `lacking` says afterwards whether somebody asked for older ones. */
export const recentSamples = async (ports: Ports, pool: string, at: string): Promise<{ samples: Samples; lacking(): boolean }> => {
  const since = addMs(at, -RECENT_MS);
  let lacking = false;
  const loaded = await loadSamples(ports, pool, addMs(since, -CHUNK_MS), at);
  return { samples: samplesOf(loaded.history, loaded.more ? Date.parse(since) : undefined, () => (lacking = true)), lacking: () => lacking };
};

/** Everything that is still held sample by sample. */
export const allSamples = async (ports: Ports, pool: string, at: string): Promise<Samples> => {
  const fine = addMs(at, -FINE_MS - CHUNK_MS);
  return samplesOf((await loadSamples(ports, pool, fine, at)).history);
};

/** Sample rows of a pool from an instant on, oldest first. */
export const sampleRows = async (ports: Ports, pool: string, since: string): Promise<SampleRow[]> => {
  const rows: SampleRow[] = [];
  for (let after = `${pool}/${since}`; ; ) {
    const page = await ports.views.query(samples, { index: "pool", prefix: `${pool}/`, after, limit: PAGE });
    for (const { row } of page) if (!row.gone) rows.push(row);
    if (page.length < PAGE) return rows;
    after = page[page.length - 1]?.key as string;
  }
};

const loadSamples = async (ports: Ports, pool: string, since: string, at: string): Promise<{ history: Map<string, Series>; more: boolean }> => {
  const [rows, older] = await Promise.all([
    sampleRows(ports, pool, since),
    ports.views.keys(samples, { index: "pool", prefix: `${pool}/`, after: `${pool}/${since}~`, reverse: true, limit: 1 }),
  ]);
  return { history: historyFrom(rows.filter(({ aggregated }) => !aggregated), Date.parse(at)), more: older.length > 0 };
};

/** A pool made with autoscale has no samples yet. */
export const evaluatingAnew = (ports: Ports): Evaluating => {
  const { samplePeriodMs: periodMs, wantedPercent } = scalingOf(ports);
  return { periodMs, wantedPercent, seed: seedOf(ports), samples: samplesOf(new Map()) };
};

/** Of `rand()`: kept with the run. */
export const seedOf = (ports: Ports): number => Math.floor(ports.random.fraction() * 2 ** 32);

// ---------------------------------------------------------------- keeping house

/** A part of it each time: samples that are a day old become averages, and days that are a week old are forgotten. */
const keepHouse = async (ports: Ports, at: string): Promise<void> => {
  const fine = addMs(at, -FINE_MS - CHUNK_MS);
  const old = (await ports.views.query(samples, { index: "fine", prefix: "", limit: PAGE })).filter(({ row }) => row.start < fine);
  if (old.length > 0)
    await ports.views.write(old.map(({ row }) => ({ view: samples, partition: samplePlace(row.pool, row.start).partition, rows: [{ from: row.version, row: averaged(row) }], counters: {} })));
  const coarse = addMs(at, -COARSE_MS - FINE_MS);
  const [oldest] = await ports.views.query(samples, { index: "coarse", prefix: "", limit: 1 });
  if (oldest && oldest.row.start < coarse) await ports.views.forget(samples, samplePlace(oldest.row.pool, oldest.row.start).partition);
};

const averaged = (row: SampleRow): SampleRow => {
  const mean = (list: readonly (number | null)[]): number | null => {
    const there = list.filter((value) => value !== null);
    return there.length === 0 ? null : round(there.reduce((total, value) => total + value, 0) / there.length);
  };
  const values = Object.fromEntries(Object.entries(row.values).map(([metric, list]) => [metric, [mean(list)]]));
  return { ...row, version: row.version + 1, times: [Date.parse(row.start)], values, aggregated: true };
};

/** Of a pool that is gone, or whose autoscale is off: metrics are gathered only while it is on. */
export const forgetSamples = async (ports: Ports, pool: string): Promise<void> => {
  for (;;) {
    const page = await ports.views.query(samples, { index: "pool", prefix: `${pool}/`, limit: PAGE });
    for (const partition of new Set(page.map(({ row }) => samplePlace(row.pool, row.start).partition))) await ports.views.forget(samples, partition);
    if (page.length < PAGE) break;
  }
  await ports.views.forget(meters, pool);
};
