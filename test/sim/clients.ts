// What clients do: a table of actions, each with its weight and the request that it makes; names are few, so that clients meet.
// A new operation is a new line here. It knows the REST dialect and nothing behind it.
import type { Seeded } from "../support/seeded";

export const ACCOUNT = "sim";
export const POOLS = ["Alpha", "Beta"] as const;
export const WORK_ITEMS = ["Render", "Encode"] as const;
export const JOB = "job-0000000001";
const TASKS = 40;

/** A request, and what a success of it leaves behind. */
export interface Ask {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly target: string;
  readonly body?: unknown;
  /** As it is, with this type. */
  readonly raw?: { readonly type: string; readonly text: string };
  /** Under the condition that the resource is as it was last read here. */
  readonly conditional?: string;
  readonly change?: { readonly stream: string; readonly event: string };
  readonly adds?: readonly { readonly workItem: string; readonly task: string }[];
  /** As a message of the queue `commands` instead. */
  readonly command?: Readonly<Record<string, unknown>>;
}

export interface Client {
  readonly random: Seeded;
  /** Tasks that were ever named by somebody, so that others may speak of them. */
  nextTask(): string;
  someTask(): string;
  /** TVMs that a list has shown, as `{pool}/tvms/{tvm}`. */
  readonly tvms: string[];
}

export interface Action {
  readonly name: string;
  readonly weight: number;
  readonly ask: (client: Client) => Ask;
}

const lower = (...parts: readonly string[]): string => parts.join(".").toLowerCase();
const poolOf = (name: string): string => `pool-${lower(ACCOUNT, name)}`;
const workItemOf = (name: string): string => `workItem-${lower(ACCOUNT, name)}`;
const jobOf = (workItem: string): string => `job-${lower(ACCOUNT, workItem, "*", JOB)}`;
export const taskOf = (workItem: string, task: string): string => `task-${lower(ACCOUNT, workItem, "*", JOB, task)}`;
const jobPath = (workItem: string): string => `/workitems/${workItem}/jobs/${JOB}`;
const OPTIONS = ["requeue", "terminate", "taskcompletion", "retaineddata"] as const;

const somePool = ({ random }: Client): string => random.oneOf(POOLS);
const someTvm = (client: Client): string => (client.tvms.length === 0 ? `${somePool(client)}/tvms/none` : client.random.oneOf(client.tvms));
const someItem = ({ random }: Client): string => random.oneOf(WORK_ITEMS);
/** Under a condition now and then. */
const perhaps = ({ random }: Client, target: string): { conditional?: string } => (random.chance(0.3) ? { conditional: target } : {});

/** `run {milliseconds} {exit code}`: what the simulated machine makes of it. */
const commandLine = ({ random }: Client): string => `run ${random.oneOf([20, 200, 3_000, 20_000, 60_000])} ${random.chance(0.25) ? 1 + random.below(3) : 0}`;

const taskBody = (client: Client, name: string): object => {
  const { random } = client;
  return {
    name,
    commandLine: commandLine(client),
    ...(random.chance(0.4) ? { taskConstraints: { maxTaskRetryCount: random.oneOf([-1, 0, 1, 2]), ...(random.chance(0.3) ? { maxWallClockTime: "PT5S" } : {}) } } : {}),
    ...(random.chance(0.1) && client.tvms.length > 0 ? { affinityInfo: { affinityId: `TVM:${random.oneOf(client.tvms).replace(/.*\//, "")}` } } : {}),
    ...(random.chance(0.2) ? { resourceFiles: [{ blobSource: "https://blobs.example/in/a?sig=secret", filePath: "a" }] } : {}),
  };
};

const startTask = ({ random }: Client): object => ({ commandLine: "prepare", maxTaskRetryCount: random.below(3), waitForSuccess: random.chance(0.7) });

export const poolBody = (name: string, random: Seeded, more: object = {}): object => ({
  name, osFamily: "4", tvmSize: "large", targetDedicated: random.below(4), maxTasksPerTVM: 1 + random.below(3),
  schedulingPolicy: { tvmFillType: random.oneOf(["Spread", "Pack"]) }, ...more,
});

const manager = (random: Seeded): object => ({ name: "manager", commandLine: `run ${random.oneOf([500, 9_000])} ${random.below(2)}`, runExclusive: random.chance(0.5), killJobOnCompletion: random.chance(0.5), taskConstraints: { maxTaskRetryCount: 2 } });

const autoPool = (random: Seeded): object => ({
  autoPoolNamePrefix: "auto", poolLifeTimeOption: random.oneOf(["job", "workitem"]), pool: { osFamily: "4", tvmSize: "large", targetDedicated: 1 + random.below(2), maxTasksPerTVM: 2 },
});

/** From simple to odd: a schedule, a job manager, a pool of its own. */
export const oddWorkItemBody = (name: string, pool: string, random: Seeded): object => ({
  name,
  jobExecutionEnvironment: random.chance(0.3) ? { autoPoolSpecification: autoPool(random) } : { poolName: pool },
  ...(random.chance(0.6) ? { schedule: { recurrenceInterval: random.oneOf(["PT1M", "PT2M"]), ...(random.chance(0.5) ? { startWindow: "PT1M" } : {}) } } : {}),
  ...(random.chance(0.5) ? { jobSpecification: { priority: 3, ...(random.chance(0.5) ? { jobConstraints: { maxWallClockTime: "PT40S" } } : {}), jobManager: manager(random) } } : {}),
});

export const workItemBody = (name: string, pool: string, random: Seeded): object => ({
  name, jobExecutionEnvironment: { poolName: pool },
  ...(random.chance(0.6) ? { jobSpecification: { priority: random.oneOf([-5, 0, 5]), jobConstraints: { maxTaskRetryCount: random.below(3), ...(random.chance(0.1) ? { maxWallClockTime: "PT2M" } : {}) } } } : {}),
});

export const ACTIONS: readonly Action[] = [
  { name: "addPool", weight: 4, ask: (client) => {
    const pool = somePool(client);
    const more = client.random.chance(0.3) ? { startTask: startTask(client) } : {};
    return { method: "POST", target: "/pools", body: poolBody(pool, client.random, more), change: { stream: poolOf(pool), event: "PoolCreated" } };
  } },
  { name: "patchPool", weight: 2, ask: (client) => {
    const pool = somePool(client);
    const target = `/pools/${pool}`;
    return { method: "PATCH", target, body: { startTask: client.random.chance(0.5) ? null : startTask(client) }, ...perhaps(client, target), change: { stream: poolOf(pool), event: "PoolUpdated" } };
  } },
  { name: "resizePool", weight: 8, ask: (client) => {
    const { random } = client;
    const pool = somePool(client);
    const body = { targetDedicated: random.below(5), tvmDeallocationOption: random.oneOf(["requeue", "terminate", "taskcompletion", "retaineddata"]) };
    return { method: "POST", target: `/pools/${pool}?resize`, body, ...perhaps(client, `/pools/${pool}`), change: { stream: poolOf(pool), event: "PoolResized" } };
  } },
  { name: "stopResize", weight: 2, ask: (client) => {
    const pool = somePool(client);
    return { method: "POST", target: `/pools/${pool}?stopresize`, change: { stream: poolOf(pool), event: "PoolResizeStopped" } };
  } },
  { name: "deletePool", weight: 1, ask: (client) => {
    const pool = somePool(client);
    return { method: "DELETE", target: `/pools/${pool}`, ...perhaps(client, `/pools/${pool}`), change: { stream: poolOf(pool), event: "PoolDeletionStarted" } };
  } },
  { name: "addWorkItem", weight: 5, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: "/workitems", body: workItemBody(workItem, somePool(client), client.random), change: { stream: workItemOf(workItem), event: "WorkItemCreated" } };
  } },
  { name: "terminateWorkItem", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: `/workitems/${workItem}?terminate`, change: { stream: workItemOf(workItem), event: "WorkItemTerminationStarted" } };
  } },
  { name: "deleteWorkItem", weight: 2, ask: (client) => {
    const workItem = someItem(client);
    return { method: "DELETE", target: `/workitems/${workItem}`, change: { stream: workItemOf(workItem), event: "WorkItemDeletionStarted" } };
  } },
  { name: "patchJob", weight: 3, ask: (client) => {
    const workItem = someItem(client);
    const target = jobPath(workItem);
    return { method: "PATCH", target, body: { priority: client.random.oneOf([-5, 0, 5]) }, ...perhaps(client, target), change: { stream: jobOf(workItem), event: "JobUpdated" } };
  } },
  { name: "updateJob", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    return { method: "PUT", target: jobPath(workItem), body: { priority: 1, jobConstraints: { maxTaskRetryCount: 2 } }, change: { stream: jobOf(workItem), event: "JobUpdated" } };
  } },
  { name: "terminateJob", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: `${jobPath(workItem)}?terminate`, change: { stream: jobOf(workItem), event: "JobTerminationStarted" } };
  } },
  { name: "deleteJob", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    return { method: "DELETE", target: jobPath(workItem), change: { stream: jobOf(workItem), event: "JobDeletionStarted" } };
  } },
  { name: "addTask", weight: 24, ask: (client) => {
    const workItem = someItem(client);
    const task = client.random.chance(0.8) ? client.nextTask() : client.someTask();
    return { method: "POST", target: `${jobPath(workItem)}/tasks`, body: taskBody(client, task), adds: [{ workItem, task }] };
  } },
  { name: "addTaskCollection", weight: 8, ask: (client) => {
    const workItem = someItem(client);
    const names = Array.from({ length: 2 + client.random.below(5) }, () => client.nextTask());
    return { method: "POST", target: `${jobPath(workItem)}/tasks?addtaskcollection`, body: { value: names.map((name) => taskBody(client, name)) }, adds: names.map((task) => ({ workItem, task })) };
  } },
  { name: "addTaskLines", weight: 2, ask: (client) => {
    const workItem = someItem(client);
    const names = Array.from({ length: 2 + client.random.below(5) }, () => client.nextTask());
    const text = names.map((name) => JSON.stringify(taskBody(client, name))).join("\n");
    return { method: "POST", target: `${jobPath(workItem)}/tasks?addtaskcollection`, raw: { type: "application/x-ndjson", text }, adds: names.map((task) => ({ workItem, task })) };
  } },
  { name: "addTaskByMessage", weight: 4, ask: (client) => {
    const workItem = someItem(client);
    const task = client.nextTask();
    const command = { operation: "addTask", account: ACCOUNT, workItem, job: JOB, body: taskBody(client, task) };
    return { method: "POST", target: `message ${workItem}`, command, adds: [{ workItem, task }] };
  } },
  { name: "terminateTask", weight: 4, ask: (client) => {
    const workItem = someItem(client);
    const task = client.someTask();
    return { method: "POST", target: `${jobPath(workItem)}/tasks/${task}?terminate`, change: { stream: taskOf(workItem, task), event: "TaskCompleted" } };
  } },
  { name: "deleteTask", weight: 4, ask: (client) => {
    const workItem = someItem(client);
    const task = client.someTask();
    return { method: "DELETE", target: `${jobPath(workItem)}/tasks/${task}`, change: { stream: taskOf(workItem, task), event: "TaskDeleted" } };
  } },
  { name: "addOddWorkItem", weight: 3, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: "/workitems", body: oddWorkItemBody(workItem, somePool(client), client.random), change: { stream: workItemOf(workItem), event: "WorkItemCreated" } };
  } },
  { name: "patchWorkItem", weight: 2, ask: (client) => {
    const workItem = someItem(client);
    const target = `/workitems/${workItem}`;
    const body = client.random.oneOf([{ schedule: null }, { schedule: { recurrenceInterval: "PT1M" } }, { metadata: [{ name: "a", value: "b" }] }]);
    return { method: "PATCH", target, body, ...perhaps(client, target), change: { stream: workItemOf(workItem), event: "WorkItemUpdated" } };
  } },
  { name: "disableWorkItem", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: `/workitems/${workItem}?disable` };
  } },
  { name: "enableWorkItem", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: `/workitems/${workItem}?enable` };
  } },
  { name: "disableJob", weight: 3, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: `${jobPath(workItem)}?disable`, body: { disableTasks: client.random.oneOf(["requeue", "terminate", "wait"]) } };
  } },
  { name: "enableJob", weight: 3, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: `${jobPath(workItem)}?enable` };
  } },
  { name: "moveJob", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    return { method: "PATCH", target: jobPath(workItem), body: { poolName: somePool(client) }, change: { stream: jobOf(workItem), event: "JobUpdated" } };
  } },
  { name: "updateTask", weight: 2, ask: (client) => {
    const workItem = someItem(client);
    const task = client.someTask();
    return { method: "PUT", target: `${jobPath(workItem)}/tasks/${task}`, body: { taskConstraints: { maxTaskRetryCount: client.random.below(4) } } };
  } },
  { name: "restartTvm", weight: 3, ask: (client) => {
    const how = client.random.oneOf(["reboot", "reimage"]);
    return { method: "POST", target: `/pools/${someTvm(client)}?${how}`, body: { [`${how}Option`]: client.random.oneOf(OPTIONS) } };
  } },
  { name: "removeTvms", weight: 2, ask: (client) => {
    const [pool = "", , tvm = ""] = someTvm(client).split("/");
    return { method: "POST", target: `/pools/${pool}?removetvms`, body: { tvmList: [tvm], tvmDeallocationOption: client.random.oneOf(OPTIONS) } };
  } },
  { name: "upgradeOs", weight: 1, ask: (client) => ({ method: "POST", target: `/pools/${somePool(client)}?upgradeos`, body: { targetOSVersion: client.random.oneOf(["*", "WA-GUEST-OS-4.20_201505-01"]) } }) },
  { name: "addTvmUser", weight: 1, ask: (client) => ({ method: "POST", target: `/pools/${someTvm(client)}/users`, body: { name: "ann", isAdmin: false, password: "Secret-of-ann-1" } }) },
  { name: "listTasks", weight: 2, ask: (client) => ({ method: "GET", target: `${jobPath(someItem(client))}/tasks?maxresults=5` }) },
  { name: "getTask", weight: 2, ask: (client) => ({ method: "GET", target: `${jobPath(someItem(client))}/tasks/${client.someTask()}` }) },
  { name: "getJob", weight: 2, ask: (client) => ({ method: "GET", target: jobPath(someItem(client)) }) },
  { name: "getPool", weight: 3, ask: (client) => ({ method: "GET", target: `/pools/${somePool(client)}` }) },
  { name: "listTvms", weight: 4, ask: (client) => ({ method: "GET", target: `/pools/${somePool(client)}/tvms` }) },
];

const total = ACTIONS.reduce((sum, { weight }) => sum + weight, 0);

export const someAction = (random: Seeded): Action => {
  let left = random.below(total);
  return ACTIONS.find(({ weight }) => (left -= weight) < 0) as Action;
};

export const createClient = (random: Seeded): Client => {
  let serial = 0;
  return {
    random,
    tvms: [],
    nextTask: () => `t${++serial}`,
    someTask: () => `t${Math.max(1, serial - random.below(Math.min(TASKS, serial + 1)))}`,
  };
};
