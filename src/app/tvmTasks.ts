// Tasks that ran on a TVM, from the index of where each task last ran: the last ones for people, how many there were, and until
// when their files have to be kept. It reads a bounded number of rows and changes nothing.
import { parentOf, tvmKey } from "../domain/ids";
import type { Tvm } from "../domain/tvm";
import { addMs } from "../domain/time";
import type { Ports } from "../ports";
import { heartbeats } from "../views/errands";
import { type TaskRow, tasks } from "../views/tasks";

type Place = Pick<Tvm, "account" | "pool" | "name">;

/** Those that began last on the TVM, the latest first, whether they still run or have ended. */
export const lastTasksOf = async (ports: Ports, tvm: Place, limit: number): Promise<TaskRow[]> => {
  const prefix = `${tvmKey(tvm.account, tvm.pool, tvm.name)}/`;
  const found = await ports.views.query(tasks, { index: "ran", prefix, reverse: true, limit });
  return found.map(({ row }) => row);
};

/** Tasks counted one by one, so that what has just begun is counted at once. */
const COUNTED_MAX = 100;

/** Tasks begun on the TVM at its present boot, as its agent said a few seconds ago at most; undefined: it has not said. */
export const ranAtBoot = async (ports: Ports, tvm: string, boot: number): Promise<number | undefined> => {
  const [row] = await ports.views.get(heartbeats, [{ partition: parentOf(tvm), id: tvm }]);
  return row?.boot === boot ? row.ran : undefined;
};

/** Tasks ever begun on the TVM, those of deleted jobs too: no more than a few seconds old. */
export const totalRunOn = async (ports: Ports, tvm: Place & Pick<Tvm, "boot" | "ranBefore">): Promise<number> => {
  const key = tvmKey(tvm.account, tvm.pool, tvm.name);
  const counted = await ports.views.keys(tasks, { index: "ran", prefix: `${key}/`, limit: COUNTED_MAX });
  return Math.max((tvm.ranBefore ?? 0) + ((await ranAtBoot(ports, key, tvm.boot)) ?? 0), counted.length);
};

/** Tasks looked at for their retention: those that began last. */
const RETAINED_MAX = 1000;

/**
 * When the retention of all tasks that ended on the TVM is over; "" when there is none to wait for. A task without a
 * retention time keeps its files as long as the TVM lives: it is not waited for (reference section 7, 3 and 5).
 */
export const retainedUntil = async (ports: Ports, tvm: Place): Promise<string> => {
  let until = "";
  for (const { phase, endedAt, spec } of await lastTasksOf(ports, tvm, RETAINED_MAX)) {
    if (phase !== "completed" || endedAt === undefined || spec.retentionMs === undefined) continue;
    const kept = addMs(endedAt, spec.retentionMs);
    if (kept > until) until = kept;
  }
  return until;
};
