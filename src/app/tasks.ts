// Use cases on tasks: added one by one or many at once, listed, terminated, deleted.
import { type Rejection, isRejection, present, rejection } from "../domain/decider";
import { keyOf, taskKey, taskStream } from "../domain/ids";
import { awaitsManager, refusesTasks } from "../domain/job";
import type { Task, TaskChange, TaskCommand, TaskFile, TaskSpec } from "../domain/task";
import type { Ports } from "../ports";
import { type TaskRow, tasks } from "../views/tasks";
import type { Call } from "./call";
import { type Done, type Loaded, type Order, type Outcome, execute, executeAll, load } from "./execute";
import { getJob, keyOfJob } from "./jobs";
import type { Condition } from "./pools";
import { type Page, type Rows, scan } from "./rows";
import { sealFiles } from "./secrets";

/** What a user says of a task; a missing retry count is the job's. Addresses of files may carry their signatures. */
export interface NewTask {
  readonly name: string;
  readonly spec: Omit<TaskSpec, "maxTaskRetryCount" | "resourceFiles"> & {
    readonly maxTaskRetryCount?: number | undefined;
    readonly resourceFiles?: readonly Pick<TaskFile, "blobSource" | "filePath">[] | undefined;
  };
}

// Tasks of one job run in the order in which they were added: by time, and by this count within a millisecond.
const COUNT_DIGITS = 5;
const COUNT_MAX = 36 ** COUNT_DIGITS;
let count = 0;

const orderAt = (milliseconds: string): string => {
  count = (count + 1) % COUNT_MAX;
  return milliseconds + count.toString(36).padStart(COUNT_DIGITS, "0");
};

const queueOrder = (ports: Ports, call: Call, job: Loaded<{ name: string; workItemName: string; spec: { constraints: { maxTaskRetryCount: number } } }>, at36: string, task: NewTask): Order<"task"> => {
  const key = keyOf(job.stream);
  const { resourceFiles, maxTaskRetryCount, ...spec } = task.spec;
  return {
    stream: taskStream(taskKey(key, task.name)),
    fresh: true,
    command: {
      type: "QueueTask",
      at: call.at,
      job: key,
      workItemName: job.state.workItemName,
      jobName: job.state.name,
      name: task.name,
      order: orderAt(at36),
      spec: {
        ...spec,
        maxTaskRetryCount: maxTaskRetryCount ?? job.state.spec.constraints.maxTaskRetryCount,
        ...present({ resourceFiles: resourceFiles && sealFiles(ports, call.account, resourceFiles) }),
      } as TaskSpec,
    },
  };
};

/** An answer per task, in order; a whole refusal when the job does not take tasks. */
export const addTasks = async (
  ports: Ports,
  call: Call,
  workItem: string,
  job: string,
  added: readonly NewTask[],
): Promise<Rejection | (Done<"task"> | Rejection)[]> => {
  const found = await getJob(ports, call, workItem, job);
  if (isRejection(found)) return found;
  // Checked here, repaired after: a task that slips in while the job closes is ended by the reaction to TaskQueued.
  const closed = refusesTasks(found.state);
  if (closed) return closed;
  const at36 = Date.parse(call.at).toString(36).padStart(9, "0");
  const first = new Map<string, number>();
  const orders: Order<"task">[] = [];
  const reserved = awaitsManager(found.state) ? found.state.spec.manager?.name.toLowerCase() : undefined;
  const places = added.map((task) => {
    if (task.name.toLowerCase() === reserved) return undefined;
    const order = queueOrder(ports, call, found, at36, task);
    if (first.has(order.stream)) return undefined;
    first.set(order.stream, orders.length);
    return orders.push(order) - 1;
  });
  const outcomes = await executeAll(ports, "task", call.by, orders);
  return places.map((place) =>
    place === undefined ? rejection("TaskExists", "The same request names this task twice, or the job manager task has this name.") : (outcomes[place] as Outcome<"task">),
  );
};

export const addTask = async (ports: Ports, call: Call, workItem: string, job: string, task: NewTask): Promise<Outcome<"task">> => {
  const outcomes = await addTasks(ports, call, workItem, job, [task]);
  return isRejection(outcomes) ? outcomes : (outcomes[0] as Outcome<"task">);
};

export const getTask = async (ports: Ports, call: Call, workItem: string, job: string, name: string): Promise<Loaded<Task> | Rejection> => {
  const found = await getJob(ports, call, workItem, job);
  if (isRejection(found)) return found;
  const loaded = await load(ports, "task", taskStream(taskKey(keyOfJob(found), name)));
  return loaded.state.phase === "absent" ? rejection("TaskNotFound", "The job has no task of that name.") : loaded;
};

export const listTasks = async (
  ports: Ports,
  call: Call,
  workItem: string,
  job: string,
  page: Page<TaskRow> & { state?: "active" | "running" | "completed" | undefined },
): Promise<Rows<TaskRow> | Rejection> => {
  const found = await getJob(ports, call, workItem, job);
  if (isRejection(found)) return found;
  const prefix = `${keyOfJob(found)}/`;
  return page.state ? scan(ports.views, tasks, "state", `${prefix}${page.state}/`, page) : scan(ports.views, tasks, "name", prefix, page);
};

/** What a user may change of a task; a missing retry count is the job's. It counts from the task's next run on. */
export type TaskUpdate = Omit<TaskChange, "maxTaskRetryCount"> & { readonly maxTaskRetryCount?: number };

export const updateTask = async (
  ports: Ports,
  call: Call,
  workItem: string,
  job: string,
  name: string,
  change: TaskUpdate,
  condition?: Condition<Task>,
): Promise<Outcome<"task">> => {
  const found = await getJob(ports, call, workItem, job);
  if (isRejection(found)) return found;
  const maxTaskRetryCount = change.maxTaskRetryCount ?? found.state.spec.constraints.maxTaskRetryCount;
  return onTask(ports, call, workItem, job, name, { ...change, maxTaskRetryCount, type: "UpdateTask", at: call.at }, condition);
};

const onTask = async (
  ports: Ports,
  call: Call,
  workItem: string,
  job: string,
  name: string,
  command: TaskCommand,
  condition?: Condition<Task>,
): Promise<Outcome<"task">> => {
  const found = await getTask(ports, call, workItem, job, name);
  return isRejection(found) ? found : execute(ports, "task", call.by, { stream: found.stream, command, condition });
};

export const terminateTask = (
  ports: Ports,
  call: Call,
  workItem: string,
  job: string,
  name: string,
  condition?: Condition<Task>,
): Promise<Outcome<"task">> =>
  onTask(ports, call, workItem, job, name, { type: "TerminateTask", at: call.at, message: "The task was terminated by its user.", byUser: true }, condition);

export const deleteTask = (ports: Ports, call: Call, workItem: string, job: string, name: string, condition?: Condition<Task>): Promise<Outcome<"task">> =>
  onTask(ports, call, workItem, job, name, { type: "DeleteTask", at: call.at }, condition);
