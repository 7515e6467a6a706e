// Tasks: listed by job in name order, found by state, waiting ones in the order of the queue, held ones by TVM, and counted.
import { lastOf, parentOf, taskBucket, taskKey, tvmKey } from "../domain/ids";
import type { Task } from "../domain/task";
import type { StateRow, View } from "./view";

export type TaskRow = StateRow<Task>;

/** What the service calls the state: an assigned task is still `active` to its user until it runs. */
export const taskState = (row: Pick<Task, "phase">): "active" | "running" | "completed" =>
  row.phase === "running" || row.phase === "completed" ? row.phase : "active";

const isThere = (row: Task): boolean => row.phase !== "absent";

/** A task that ran and failed, or could not run. */
export const taskFailed = (row: Pick<Task, "phase" | "exitCode" | "error">): boolean =>
  row.phase === "completed" && (row.error !== undefined || row.exitCode !== 0);

/** `{tvm}/{task}@{attempt}`: which attempts a TVM should hold. */
export const heldKey = (tvm: string, task: string, attempt: number): string => `${tvm}/${task}@${attempt}`;

export const parseHeld = (key: string): { task: string; attempt: number } => {
  const at = key.lastIndexOf("@");
  return { task: key.slice(key.indexOf("/") + 1, at), attempt: Number(key.slice(at + 1)) };
};

export const accountOfJob = (job: string): string => job.slice(0, job.indexOf("."));

export const tasks: View<Task> = {
  name: "tasks",
  category: "task",
  locate: (key) => ({ partition: taskBucket(parentOf(key), lastOf(key)), id: lastOf(key) }),
  gone: (state) => !isThere(state),
  indexes: {
    name: (row) => (isThere(row) ? `${row.job}/${row.id}` : undefined),
    state: (row) => (isThere(row) ? `${row.job}/${taskState(row)}/${row.id}` : undefined),
    queue: (row) => (row.phase === "active" ? `${row.job}/${row.order}/${row.id}` : undefined),
    tvm: (row) =>
      (row.phase === "assigned" || row.phase === "running") && row.pool !== undefined && row.tvm !== undefined
        ? heldKey(tvmKey(accountOfJob(row.job), row.pool, row.tvm), taskKey(row.job, row.id), row.attempt)
        : undefined,
    /** Where it last ran, in the order in which tasks began there. */
    ran: (row) =>
      isThere(row) && row.ranOn !== undefined && row.startedAt !== undefined
        ? `${tvmKey(accountOfJob(row.job), row.ranOn.pool, row.ranOn.tvm)}/${row.startedAt}/${taskKey(row.job, row.id)}`
        : undefined,
  },
  tally: (state) =>
    isThere(state)
      ? {
          [state.phase]: 1,
          ...(taskFailed(state) ? { failed: 1 } : {}),
          ...(state.retryCount ? { retries: state.retryCount } : {}),
          ...(state.requeueCount ? { requeues: state.requeueCount } : {}),
          // Whole microseconds: sums of fractions would depend on the order in which they came.
          ...(state.cpuMs ? { cpuUs: Math.round(state.cpuMs * 1000) } : {}),
        }
      : {},
};
