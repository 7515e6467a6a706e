// Gives tasks to TVMs that placement has chosen, whoever chose. Between the choice and its being written a TVM may be lost or told to leave,
// and a job disabled: what cannot stay is taken back here. It chooses nothing.
import { isRejection } from "../domain/decider";
import { taskStream, tvmKey } from "../domain/ids";
import type { Placed } from "../domain/placement";
import { drains, usable } from "../domain/tvm";
import type { Ports } from "../ports";
import { jobs } from "../views/jobs";
import { tasks } from "../views/tasks";
import { type TvmRow, tvms } from "../views/tvms";
import { type Order, executeAll } from "./execute";
import { takeStill } from "./react";

/** Those that were assigned; the others were no longer waiting. `looked`: the chosen TVMs as they were a moment ago. */
export const assign = async (ports: Ports, pool: string, placed: readonly Placed[], looked: ReadonlyMap<string, TvmRow>, at: string): Promise<Placed[]> => {
  // Lost since it was chosen: nothing is given to it only to be taken back.
  const known = placed.filter(({ tvm }) => isUsable(looked.get(tvm)));
  if (known.length === 0) return [];
  const names = [...new Set(known.map(({ tvm }) => tvm))];
  const orders = known.map(({ job, task, tvm }): Order<"task"> => {
    const row = looked.get(tvm) as TvmRow;
    return { stream: taskStream(`${job}.${task}`), command: { type: "AssignTask", at, pool: row.pool, tvm: row.name } };
  });
  const outcomes = await executeAll(ports, "task", "service", orders);
  const assigned = known.filter((_, index) => {
    const outcome = outcomes[index];
    return outcome !== undefined && !isRejection(outcome) && outcome.events.length > 0;
  });
  if (assigned.length < placed.length) ports.log.debug("some tasks were no longer waiting when they were placed", { pool });
  // A TVM may have been lost, or told to leave, between the look and the assignment: then its tasks go back at once, if they should.
  const after = await rowsOf(ports, names);
  for (const tvm of names) if (isUsable(after.get(tvm))) ports.signals.notify(tvm);
  await takeBack(ports, assigned, after, at);
  for (const tvm of names) if (!isUsable(after.get(tvm))) await takeStill(ports, { tvm, reason: "tvmLost", option: "requeue" }, at);
  return assigned;
};

/**
 * A job may have been disabled, or a TVM told to leave, between the look and the assignment: then tasks wait again, which is not counted.
 * A TVM that leaves after its tasks keeps what it was given: it may have begun it by now. If it has not, it says so before it goes.
 */
const takeBack = async (ports: Ports, assigned: readonly Placed[], tvmsNow: ReadonlyMap<string, TvmRow>, at: string): Promise<void> => {
  const names = [...new Set(assigned.map(({ job }) => job))];
  const rows = await ports.views.get(jobs, names.map((job) => jobs.locate(job)));
  const halted = new Set(names.filter((_, index) => rows[index]?.phase === "disabling" || rows[index]?.phase === "disabled"));
  const leaves = (tvm: string): boolean => {
    const row = tvmsNow.get(tvm);
    return row === undefined || ((row.phase === "leaving" || row.phase === "gone") && !drains(row));
  };
  const back = assigned.filter(({ job, tvm }) => halted.has(job) || leaves(tvm));
  if (back.length === 0) return;
  const now = await ports.views.get(tasks, back.map(({ job, task }) => tasks.locate(`${job}.${task}`)));
  const orders = back.map(({ job, task, tvm }, index): Order<"task"> => ({
    stream: taskStream(`${job}.${task}`),
    command: { type: "ReturnTask", at, attempt: now[index]?.attempt ?? 0, tvm },
  }));
  await executeAll(ports, "task", "service", orders);
};

export const isUsable = (row: TvmRow | undefined): boolean => row !== undefined && usable(row);

/** TVMs as they are now, by key. */
export const rowsOf = async (ports: Ports, names: readonly string[]): Promise<Map<string, TvmRow>> => {
  const rows = await ports.views.get(tvms, names.map((tvm) => tvms.locate(tvm)));
  return new Map(rows.flatMap((row) => (row ? [[tvmKey(row.account, row.pool, row.name), row]] : [])));
};
