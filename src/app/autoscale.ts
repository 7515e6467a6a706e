// Formulas that are due are evaluated here, and those that somebody tries. The rules are the pool's (domain/pool) and the
// formula language's (domain/autoscale); this loads samples, gives the commands, and keeps nothing.
import { type AutoScaleRun, type Evaluating, runFormula } from "../domain/autoscale/run";
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { poolKey, poolStream } from "../domain/ids";
import { type Pool, formulaRefusal, poolNow } from "../domain/pool";
import type { Ports } from "../ports";
import { type PoolRow, pools } from "../views/pools";
import type { Call } from "./call";
import { type Order, type Outcome, execute, executeAll } from "./execute";
import { type Condition, getPool } from "./pools";
import { allSamples, evaluatingAnew, forgetSamples, recentSamples, seedOf } from "./samples";
import { scalingOf } from "./scaling";

/** Pools evaluated together: what they lead to is written together. */
const PAGE = 250;
/** Of one run of the timer; what is left is due the next time. */
const PAGES_MAX = 80;

/** Evaluates every pool that is due, oldest first; how many were. A pool that cannot be evaluated now is logged and left for the next time. */
export const evaluateDue = async (ports: Ports, at: string): Promise<number> => {
  let evaluated = 0;
  let after: string | undefined;
  for (let page = 0; page < PAGES_MAX; page++) {
    const rows = await ports.views.query(pools, { index: "autoScale", prefix: "", limit: PAGE, ...(after === undefined ? {} : { after }) });
    const due = rows.filter(({ row }) => row.autoScale !== undefined && row.autoScale.dueAt <= at);
    const orders = await Promise.all(due.map(({ row }) => orderFor(ports, row, at)));
    const outcomes = await executeAll(ports, "pool", "service", orders);
    evaluated += outcomes.filter((outcome) => "events" in outcome && outcome.events.length > 0).length;
    if (due.length < PAGE) break;
    // What was evaluated has gone to the end of the index; what was not stays where it was and must not be met again.
    after = due[due.length - 1]?.key;
  }
  return evaluated;
};

const orderFor = async (ports: Ports, row: PoolRow, at: string): Promise<Order<"pool">> => {
  const key = poolKey(row.account, row.name);
  const evaluating = await evaluatingFor(ports, key, at, row.autoScale?.formula ?? "", row);
  return { stream: poolStream(key), command: { type: "EvaluateAutoScale", at, evaluating } };
};

/** Reads an hour of samples, and the whole day when the formula turns out to look further back. */
const evaluatingFor = async (ports: Ports, key: string, at: string, formula: string, pool: Pick<Pool, "spec" | "tvms">): Promise<Evaluating> => {
  const { samplePeriodMs: periodMs, wantedPercent } = scalingOf(ports);
  const settings = { periodMs, wantedPercent, seed: seedOf(ports) };
  const { samples, lacking } = await recentSamples(ports, key, at);
  runFormula(formula, Date.parse(at), poolNow(pool), { ...settings, samples });
  return { ...settings, samples: lacking() ? await allSamples(ports, key, at) : samples };
};

export interface Enabling {
  readonly formula?: string;
  readonly intervalMs?: number;
  readonly targetMax?: number;
}

/** Turns autoscale on, or changes it; the first evaluation happens here (reference autoscale-formula, 1.2). */
export const enableAutoScale = async (ports: Ports, call: Call, name: string, enabling: Enabling, condition?: Condition<Pool>): Promise<Outcome<"pool">> => {
  const found = await getPool(ports, call, name);
  if (isRejection(found)) return found;
  const key = poolKey(call.account, name);
  const formula = enabling.formula ?? found.state.autoScale?.formula;
  const refusal = formula === undefined ? undefined : formulaRefusal(formula);
  if (refusal) return refusal;
  const { intervalMs: defaultIntervalMs, enableEveryMs: everyMs } = scalingOf(ports);
  const evaluating = formula === undefined ? evaluatingAnew(ports) : await evaluatingFor(ports, key, call.at, formula, found.state);
  return execute(ports, "pool", call.by, { stream: poolStream(key), command: { ...enabling, type: "EnableAutoScale", at: call.at, defaultIntervalMs, everyMs, evaluating }, condition });
};

/** Metrics are of the time that autoscale is on: what was gathered goes. */
export const disableAutoScale = async (ports: Ports, call: Call, name: string, condition?: Condition<Pool>): Promise<Outcome<"pool">> => {
  const key = poolKey(call.account, name);
  const outcome = await execute(ports, "pool", call.by, { stream: poolStream(key), command: { type: "DisableAutoScale", at: call.at }, condition });
  if (!isRejection(outcome)) await forgetSamples(ports, key);
  return outcome;
};

/** What a formula would say now; nothing changes and nothing is stored. Autoscale of the pool must be on. */
export const tryFormula = async (ports: Ports, call: Call, name: string, formula: string): Promise<AutoScaleRun | Rejection> => {
  const found = await getPool(ports, call, name);
  if (isRejection(found)) return found;
  const { state } = found;
  if (!state.autoScale) return rejection("OperationInvalidForCurrentState", "Autoscale of the pool is off: enable it before trying formulas.");
  const refusal = formulaRefusal(formula);
  if (refusal) return refusal;
  const evaluating = await evaluatingFor(ports, poolKey(call.account, name), call.at, formula, state);
  return runFormula(formula, Date.parse(call.at), poolNow(state, state.autoScale.targetMax), evaluating);
};
