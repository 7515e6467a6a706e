// What happened to a thing, and why a task does not run: for people.
import { type Rejection, isRejection } from "../domain/decider";
import { accountOf, keyOf, poolKey } from "../domain/ids";
import type { Job } from "../domain/job";
import { usable } from "../domain/tvm";
import type { Commit, Ports } from "../ports";
import { jobs } from "../views/jobs";
import { tasks, taskState } from "../views/tasks";
import { type TvmRow, tvms } from "../views/tvms";
import type { Call } from "./call";
import { getJob, jobCounts, keyOfJob } from "./jobs";
import { getPool } from "./pools";
import { getTask } from "./tasks";

/** Every commit of the stream, oldest first; of another account's streams there is nothing to see. */
export const history = async (ports: Ports, call: Call, stream: string): Promise<Commit[]> =>
  accountOf(keyOf(stream)) === call.account ? ports.eventStore.history(stream) : [];

export interface Why {
  readonly state: string;
  readonly reasons: readonly string[];
}

/** Why the task is not running, in sentences; an empty list when it runs. */
export const why = async (ports: Ports, call: Call, workItem: string, job: string, name: string): Promise<Why | Rejection> => {
  const found = await getTask(ports, call, workItem, job, name);
  if (isRejection(found)) return found;
  const task = found.state;
  const state = taskState(task);
  if (task.phase === "running") return { state, reasons: [] };
  if (task.phase === "completed") return { state, reasons: [completedBecause(task)] };
  if (task.phase === "assigned")
    return { state, reasons: [`It has been given to TVM ${task.tvm} and starts as soon as a slot is free there and its files are copied.`] };
  return { state, reasons: await waitingBecause(ports, call, workItem, job) };
};

const completedBecause = (task: { exitCode?: number; error?: { code: string; message?: string }; retryCount: number }): string => {
  if (task.error) return `It has completed with the error ${task.error.code}${task.error.message ? `: ${task.error.message.replace(/\.$/, "")}` : ""}.`;
  const retries = task.retryCount ? ` after ${task.retryCount} retries` : "";
  return `It has completed with exit code ${task.exitCode}${retries}.`;
};

const waitingBecause = async (ports: Ports, call: Call, workItem: string, jobName: string): Promise<string[]> => {
  const job = await getJob(ports, call, workItem, jobName);
  if (isRejection(job)) return [`Its job: ${job.code}.`];
  if (job.state.phase !== "active") return [`Its job is ${job.state.phase}: no more tasks are started.`];
  const pool = await getPool(ports, call, job.state.pool);
  if (isRejection(pool)) return [missingPool(job.state)];
  const reasons: string[] = [];
  if (pool.state.phase === "deleting") reasons.push(`The pool ${job.state.pool} is being deleted.`);
  if (pool.state.spec.targetDedicated === 0 && pool.state.tvms.length === 0)
    return [...reasons, `The pool ${job.state.pool} has no TVMs: resize it to one or more.`];
  reasons.push(...(await tvmReasons(ports, call, job.state.pool)));
  reasons.push(...(await queueReasons(ports, call, keyOfJob(job), job.state.pool, job.state.spec.priority)));
  return reasons;
};

const missingPool = ({ pool, autoPool }: Pick<Job, "pool" | "autoPool">): string =>
  autoPool
    ? `The pool ${pool} does not exist: the service makes it with the job, once; if it was deleted since, the job has none.`
    : `The pool ${pool} does not exist: add it, and the job's tasks run there.`;

const LOOK_AT = 1000;

const tvmReasons = async (ports: Ports, call: Call, pool: string): Promise<string[]> => {
  const rows = (await ports.views.query(tvms, { index: "pool", prefix: `${poolKey(call.account, pool)}/`, limit: LOOK_AT })).map(({ row }) => row);
  const ready = rows.filter(usable);
  if (ready.length > 0) {
    const slots = ready.reduce((sum, { slots: count }) => sum + count, 0);
    return [`${ready.length} of ${rows.length} TVMs of the pool can run tasks, ${slots} at a time, and all of these slots are taken.`];
  }
  return rows.length === 0 ? ["The pool has no TVM yet: they are being allocated."] : [`None of the ${rows.length} TVMs of the pool can run tasks: ${phasesOf(rows)}.`];
};

const WORDS: Readonly<Record<string, string>> = {
  starting: "starting",
  waitingForStartTask: "waiting for the start task to end",
  startTaskFailed: "with a failed start task (look at its stderr.txt in the folder start)",
  unknown: "not heard of",
  leaving: "leaving the pool",
};

const phasesOf = (rows: readonly TvmRow[]): string =>
  [...Map.groupBy(rows, ({ phase }) => phase)].map(([phase, some]) => `${some.length} ${WORDS[phase] ?? phase}`).join(", ");

const queueReasons = async (ports: Ports, call: Call, job: string, pool: string, priority: number): Promise<string[]> => {
  const active = await ports.views.query(jobs, { index: "pool", prefix: `${poolKey(call.account, pool)}/`, limit: LOOK_AT });
  const others: string[] = [];
  for (const { row } of active) {
    const key = `${row.workItem}.${row.id}`;
    if (key === job || row.spec.priority < priority) continue;
    const [waits] = await ports.views.keys(tasks, { index: "queue", prefix: `${key}/`, limit: 1 });
    if (waits === undefined) continue;
    const rank = row.spec.priority > priority ? `goes first (priority ${row.spec.priority})` : "takes turns with this job (same priority)";
    others.push(`Job ${row.workItemName}/${row.name} has waiting tasks and ${rank}.`);
  }
  const counts = await jobCounts(ports, job);
  const more = counts.active - 1;
  if (more > 0) others.push(`${more} ${more === 1 ? "other task of its job waits" : "other tasks of its job wait"} too; they start in the order in which they were added.`);
  return others;
};
