// Tasks that have been active for more than seven days when their job is enabled do not run any more (reference 7.13): they are
// completed with a scheduling error. Finds them at the head of the queue, which is in order of time.
import { poolKey, taskStream } from "../domain/ids";
import type { Job } from "../domain/job";
import type { Ports } from "../ports";
import { parseQueued, queuedSince, tasks } from "../views/tasks";
import { type Order, executeAll } from "./execute";
import { wake } from "./wakes";

const EXPIRE_MAX = 500;
const ROUNDS = 40;

/** True when none is left that has been active since before `since`. Wakes the pool for the others when some were. */
export const expireTasks = async (ports: Ports, job: string, { account, pool }: Job, since: string, at: string): Promise<boolean> => {
  let after: string | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    const keys = await ports.views.keys(tasks, { index: "queue", prefix: `${job}/`, limit: EXPIRE_MAX, ...(after === undefined ? {} : { after }) });
    const old = keys.filter((key) => queuedSince(key) < since);
    if (old.length > 0) {
      await executeAll(
        ports,
        "task",
        "service",
        old.map((key): Order<"task"> => ({ stream: taskStream(`${job}.${parseQueued(key).task}`), command: { type: "ExpireTask", at, since } })),
      );
      await wake(ports, [{ pool: poolKey(account, pool), tvms: [] }]);
    }
    if (old.length < EXPIRE_MAX) return true;
    // Requeued ones keep their early place and stay: the next page is behind them.
    after = keys[keys.length - 1];
  }
  return false;
};
