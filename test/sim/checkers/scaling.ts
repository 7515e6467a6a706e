// Autoscale: what evaluations did to their pools, from the pools' events.
import { type AutoScaleRun, replayRun } from "../../../src/domain/autoscale/run";
import type { Pool } from "../../../src/domain/pool";
import type { History } from "../history";
import { type Checker, endOf, told } from "../told";

const ofPools = (history: History) => told(history).filter(({ stream }) => stream.startsWith("pool-")) as unknown as readonly {
  readonly stream: string;
  readonly before: Pool;
  readonly event: Record<string, unknown> & { readonly type: string; readonly at: string };
  readonly stored: History["stored"][number];
}[];

/** Each evaluation, with the terms that it was made by: those that stand beside it, or else the pool's. */
const evaluations = (history: History) =>
  ofPools(history).filter(({ event }) => event.type === "PoolAutoScaleEvaluated").map(({ stream, before, event, stored }) => ({ stream, before, stored, at: event.at, terms: before.autoScale, run: event["run"] as AutoScaleRun }));

/** An evaluation made again from its event gives the same. */
export const scalingCanBeRepeated: Checker = (history) =>
  evaluations(history).flatMap(({ stream, at, terms, run }) => {
    if (!terms) return [`${stream} was evaluated at ${at} while autoscale was off`];
    const again = replayRun(terms.formula, Date.parse(at), run);
    const same = again === undefined || JSON.stringify([again.results, again.target, again.option, again.error]) === JSON.stringify([run.results, run.target, run.option, run.error]);
    return same ? [] : [`${stream}, evaluated again for ${at}, gives ${again?.target} (${again?.results}) and not ${run.target} (${run.results})`];
  });

/** A formula that fails leaves the target alone; one that does not is followed, within the pool's own maximum. */
export const scalingIsFollowed: Checker = (history) =>
  evaluations(history).flatMap(({ stream, at, before, terms, stored, run }) => {
    const anew = stored.commit.events.some(({ type }) => type === "PoolCreated");
    const resize = stored.commit.events.find(({ type }) => type === "PoolResized") as unknown as { target: number; auto?: boolean } | undefined;
    const now = resize?.target ?? before.spec.targetDedicated;
    const most = terms?.targetMax ?? Infinity;
    return [
      ...(!anew && run.targetBefore !== before.spec.targetDedicated ? [`${stream} was evaluated at ${at} for the target ${run.targetBefore} and had ${before.spec.targetDedicated}`] : []),
      ...(run.error && run.target !== run.targetBefore ? [`the formula of ${stream} failed at ${at} and moved the target to ${run.target}`] : []),
      ...(!run.error && run.target > most ? [`${stream} was to have ${run.target} at ${at} and may have ${most}`] : []),
      ...(now !== run.target ? [`${stream} was to have ${run.target} by its formula at ${at} and got ${now}`] : []),
      ...(resize && resize.auto !== true ? [`${stream} was resized by hand with its evaluation at ${at}`] : []),
    ];
  });

/** Between two evaluations lies the interval, unless somebody has changed the terms in between. */
export const scalingKeepsItsInterval: Checker = (history) => {
  const last = new Map<string, number>();
  return ofPools(history).flatMap(({ stream, before, event }) => {
    if (["PoolCreated", "PoolAutoScaleEnabled", "PoolAutoScaleDisabled", "PoolDeleted"].includes(event.type)) last.delete(stream);
    if (event.type !== "PoolAutoScaleEvaluated") return [];
    const [earlier, now] = [last.get(stream), Date.parse(event.at)];
    last.set(stream, now);
    const interval = before.autoScale?.intervalMs ?? 0;
    return earlier !== undefined && now - earlier < interval ? [`${stream} was evaluated ${now - earlier} ms after the last time, and its interval is ${interval} ms`] : [];
  });
};

/** While a formula sizes a pool nobody else does, but by naming TVMs. */
export const formulasAreAlone: Checker = (history) =>
  ofPools(history).filter(({ before, event }) => event.type === "PoolResized" && before.autoScale && !event["auto"] && event["tvms"] === undefined).map(({ stream, event }) => `${stream} was resized by hand at ${event.at}, while its formula did that`);

/** What is due is evaluated by the next look of the timer or the one after it; an upgrade or a stopping resize is waited for. */
const OVERDUE_MS = 60_000;

export const scalingGoesOn: Checker = (history) =>
  history.final.shown.rows.filter(({ name }) => name === "pools").flatMap(({ id, json }) => {
    const { phase, autoScale, upgrade, allocation } = json as unknown as Pool;
    const overdue = phase === "active" && autoScale && !upgrade && allocation !== "stopping" && Date.parse(autoScale.dueAt) < endOf(history) - OVERDUE_MS;
    return overdue ? [`pool ${id} was to be evaluated at ${autoScale.dueAt} and has not been`] : [];
  });
