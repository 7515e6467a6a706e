// Tasks: listed by job in name order, found by state, waiting ones in the order of the queue, held ones by TVM, and counted.
import { lastOf, parentOf, poolKey, taskBucket, taskKey, tvmKey } from "../domain/ids";
import type { Task } from "../domain/task";
import { type Used, taskFailed, usedBy } from "../domain/usage";
import type { StateRow, View } from "./view";

export type TaskRow = StateRow<Task>;

/** What the service calls the state: an assigned task is still `active` to its user until it runs. */
export const taskState = (row: Pick<Task, "phase">): "active" | "running" | "completed" =>
  row.phase === "running" || row.phase === "completed" ? row.phase : "active";

const isThere = (row: Task): boolean => row.phase !== "absent";

export { taskFailed };

/** `{tvm}/{task}@{attempt}`: which attempts a TVM should hold. One that has the TVM to itself ends with `!`. */
export const heldKey = (tvm: string, task: string, attempt: number): string => `${tvm}/${task}@${attempt}`;

export const parseHeld = (key: string): { task: string; attempt: number } => {
  const at = key.lastIndexOf("@");
  return { task: key.slice(key.indexOf("/") + 1, at), attempt: Number.parseInt(key.slice(at + 1), 10) };
};

/** The key without what is said of it. */
export const plainHeld = (held: string): string => (isExclusive(held) ? held.slice(0, -1) : held);

export const isExclusive = (held: string): boolean => held.endsWith(EXCLUSIVE);

const EXCLUSIVE = "!";
const MANAGER = "^";

/** What placement has to know of a waiting task, from its key in the index `queue` alone. */
export interface Queued {
  readonly task: string;
  /** Name of the TVM that it would like, in lower case. */
  readonly affinity?: string;
  readonly exclusive?: boolean;
  readonly manager?: boolean;
}

/** `{job}/{order}/{task}`, then `^` for a job manager, `!` for one that wants a TVM to itself, `@{tvm}` for a wish. */
const queueKey = (row: TaskRow): string => {
  const { manager, exclusive, affinityId } = row.spec;
  const plain = `${row.job}/${row.order}/${row.id}`;
  if (affinityId === undefined && !manager && !exclusive) return plain;
  const wish = affinityId === undefined ? null : WISH.exec(affinityId);
  return `${plain}${manager ? MANAGER : ""}${exclusive ? EXCLUSIVE : ""}${wish ? `@${(wish[1] as string).toLowerCase()}` : ""}`;
};

/** The affinity id of a TVM, and of a task that ran on it (reference 5.3, 5.9); any other text is no wish that could be granted. */
const WISH = /^TVM:([A-Za-z0-9_-]{1,64})$/i;

export const parseQueued = (key: string): Queued => {
  const text = key.slice(key.lastIndexOf("/") + 1);
  const at = text.indexOf("@");
  const marked = at < 0 ? text : text.slice(0, at);
  const exclusive = marked.endsWith(EXCLUSIVE);
  const named = exclusive ? marked.slice(0, -1) : marked;
  const manager = named.endsWith(MANAGER);
  if (at < 0 && !exclusive && !manager) return { task: text };
  return {
    task: manager ? named.slice(0, -1) : named,
    ...(at < 0 ? {} : { affinity: text.slice(at + 1) }),
    ...(exclusive ? { exclusive } : {}),
    ...(manager ? { manager } : {}),
  };
};

/** `{milliseconds in base 36, nine digits}{count}`: tasks of one job run in the order in which they were added. */
export const ORDER_TIME_DIGITS = 9;
/** Before all that were added by anybody. */
export const MANAGER_ORDER = "0".repeat(ORDER_TIME_DIGITS + 5);

/** When the task of this key in the index `queue` was added: it has not waited for longer than since then. */
export const queuedSince = (key: string): string => {
  const start = key.indexOf("/") + 1;
  return new Date(Number.parseInt(key.slice(start, start + ORDER_TIME_DIGITS), 36)).toISOString();
};

/** Job managers on TVMs of this pool, `{tvm}/{task}`: these TVMs go last when the pool shrinks (seed). */
export const managersIn = (pool: string): { readonly index: "manager"; readonly prefix: string } => ({ index: "manager", prefix: `${pool}.` });
/** Job managers that wait to run again in this pool, `{pool}/{task}`. */
export const restartsIn = (pool: string): { readonly index: "restart"; readonly prefix: string } => ({ index: "restart", prefix: `${pool}/` });

export const accountOfJob = (job: string): string => job.slice(0, job.indexOf("."));

const heldBy = (row: Task): string | undefined =>
  (row.phase === "assigned" || row.phase === "running") && row.pool !== undefined && row.tvm !== undefined
    ? tvmKey(accountOfJob(row.job), row.pool, row.tvm)
    : undefined;

export const tasks: View<Task> = {
  name: "tasks",
  category: "task",
  locate: (key) => ({ partition: taskBucket(parentOf(key), lastOf(key)), id: lastOf(key) }),
  gone: (state) => !isThere(state),
  indexes: {
    name: (row) => (isThere(row) ? `${row.job}/${row.id}` : undefined),
    state: (row) => (isThere(row) ? `${row.job}/${taskState(row)}/${row.id}` : undefined),
    queue: (row) => (row.phase === "active" ? queueKey(row) : undefined),
    tvm: (row) => {
      const tvm = heldBy(row);
      return tvm === undefined ? undefined : heldKey(tvm, taskKey(row.job, row.id), row.attempt) + (row.spec.exclusive ? EXCLUSIVE : "");
    },
    manager: (row) => (row.spec.manager && heldBy(row) !== undefined ? `${heldBy(row)}/${taskKey(row.job, row.id)}` : undefined),
    restart: (row) =>
      row.spec.manager && row.phase === "active" && row.ranOn ? `${poolKey(accountOfJob(row.job), row.ranOn.pool)}/${taskKey(row.job, row.id)}` : undefined,
    /** Where it last ran, in the order in which tasks began there. */
    ran: (row) =>
      isThere(row) && row.ranOn !== undefined && row.startedAt !== undefined
        ? `${tvmKey(accountOfJob(row.job), row.ranOn.pool, row.ranOn.tvm)}/${row.startedAt}/${taskKey(row.job, row.id)}`
        : undefined,
  },
  tally: (state) => ({ ...(isThere(state) ? counted(state) : {}), ...used(isThere(state) ? usedBy(state) : undefined, state.past) }),
};

const counted = (state: Task): Record<string, number> => ({
  [state.phase]: 1,
  ...(taskFailed(state) ? { failed: 1 } : {}),
  ...(state.retryCount ? { retries: state.retryCount } : {}),
  ...(state.requeueCount ? { requeues: state.requeueCount } : {}),
});

/** Time is counted as one, whether the task is still there; what tasks came to is counted apart for those that are gone. */
const used = (own: Used | undefined, past: Used | undefined): Record<string, number> => {
  const counters: Record<string, number> = {};
  const add = (name: string, value: number): void => {
    if (value !== 0) counters[name] = value;
  };
  const sum = (name: "cpuMs" | "kernelMs" | "wallMs" | "waitMs"): number => (own?.[name] ?? 0) + (past?.[name] ?? 0);
  // Whole microseconds: sums of fractions would depend on the order in which they came.
  add("cpuUs", Math.round(sum("cpuMs") * 1000));
  add("kernelUs", Math.round(sum("kernelMs") * 1000));
  add("wallMs", sum("wallMs"));
  add("waitMs", sum("waitMs"));
  if (!past) return counters;
  add("goneSucceeded", past.succeeded);
  add("goneFailed", past.failed);
  add("goneRetries", past.retries);
  return counters;
};
