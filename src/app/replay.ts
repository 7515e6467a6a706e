// What is kept about a pool's autoscale, for whoever asks why: its samples, and its evaluations, each made again from what was
// stored of it. Changes nothing.
import { type AutoScaleRun, replayRun } from "../domain/autoscale/run";
import { type Rejection, isRejection } from "../domain/decider";
import { poolKey, poolStream } from "../domain/ids";
import { type Pool, type PoolEvent, pool as decider } from "../domain/pool";
import { addMs } from "../domain/time";
import type { Ports } from "../ports";
import type { SampleRow } from "../views/samples";
import type { Call } from "./call";
import { foldable } from "./fold";
import { getPool } from "./pools";
import { sampleRows } from "./samples";
import { type Scaling, scalingOf } from "./scaling";

export interface PastRun {
  readonly at: string;
  readonly formula: string;
  readonly run: AutoScaleRun;
  /** The run made again; missing when an event could not hold all of its samples. */
  readonly again?: AutoScaleRun;
}

/** The last evaluations of a pool, oldest first, each made again. Throws when a stored run does not fit its formula. */
export const pastRuns = async (ports: Ports, call: Call, name: string, most: number): Promise<PastRun[]> => {
  const commits = await ports.eventStore.history(poolStream(poolKey(call.account, name)));
  const runs: PastRun[] = [];
  let state: Pool = decider.initial;
  for (const commit of commits)
    for (const event of foldable("pool", commit) as readonly PoolEvent[]) {
      state = decider.evolve(state, event);
      if (event.type !== "PoolAutoScaleEvaluated" || !state.autoScale) continue;
      runs.push({ at: event.at, formula: state.autoScale.formula, run: event.run });
      if (runs.length > most) runs.shift();
    }
  return runs.map((past) => ({ ...past, ...again(past) }));
};

const again = ({ formula, at, run }: PastRun): { again?: AutoScaleRun } => {
  const made = replayRun(formula, Date.parse(at), run);
  return made ? { again: made } : {};
};

/** Runs told at once: some days of them at the usual interval. */
const RUNS_MAX = 1000;

export interface AutoScaleRecord {
  readonly pool: Pool;
  readonly scaling: Scaling;
  readonly samples: readonly SampleRow[];
  readonly runs: readonly PastRun[];
}

/** Samples and runs of the last hours. */
export const autoScaleRecord = async (ports: Ports, call: Call, name: string, hours: number): Promise<AutoScaleRecord | Rejection> => {
  const found = await getPool(ports, call, name);
  if (isRejection(found)) return found;
  const since = addMs(call.at, -hours * 3_600_000);
  const [samples, runs] = await Promise.all([sampleRows(ports, poolKey(call.account, name), since), pastRuns(ports, call, name, RUNS_MAX)]);
  return { pool: found.state, scaling: scalingOf(ports), samples, runs: runs.filter(({ at }) => at >= since) };
};
