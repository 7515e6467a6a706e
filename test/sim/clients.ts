// What clients do: a table of actions, each with its weight and the request that it makes; names are few, so that clients meet.
// A new operation is a new line here. It knows the REST dialect and nothing behind it.
import type { Seeded } from "../support/seeded";
import { certificateActions, someReferences } from "./actions/certificates";
import { fileActions } from "./actions/files";
import { batchActions, messageActions } from "./actions/messages";
import { readActions } from "./actions/reads";
import { scaledBody, scalingActions } from "./actions/scaling";
import { oddWorkItemBody, poolBody, scheduleBody, startTask, taskBody, workItemBody } from "./bodies";
import { type Action, type Client, OPTIONS, TASKS, jobOf, jobPath, knownTask, perhaps, poolOf, someItem, somePool, someTvm, taskOf, taskPath, weighted, workItemOf } from "./names";

export { poolBody, workItemBody } from "./bodies";
export { ACCOUNT, type Ask, JOB, POOLS, taskOf } from "./names";

const DIRECT: readonly Action[] = [
  { name: "addPool", weight: 4, ask: (client) => {
    const pool = somePool(client);
    const { random } = client;
    const more = {
      ...(random.chance(0.3) ? { startTask: startTask(client) } : {}),
      ...(random.chance(0.3) ? { certificateReferences: someReferences(random) } : {}),
      ...(random.chance(0.2) ? scaledBody(random) : {}),
    };
    return { method: "POST", target: "/pools", body: poolBody(pool, random, more), change: { stream: poolOf(pool), event: "PoolCreated" } };
  } },
  { name: "patchPool", weight: 2, ask: (client) => {
    const pool = somePool(client);
    const target = `/pools/${pool}`;
    return { method: "PATCH", target, body: { startTask: client.random.chance(0.5) ? null : startTask(client) }, ...perhaps(client, target), change: { stream: poolOf(pool), event: "PoolUpdated" } };
  } },
  { name: "updatePoolProperties", weight: 3, ask: (client) => {
    const pool = somePool(client);
    const body = { metadata: [{ name: "a", value: "b" }], ...(client.random.chance(0.6) ? { certificateReferences: someReferences(client.random) } : {}), ...(client.random.chance(0.3) ? { startTask: startTask(client) } : {}) };
    return { method: "POST", target: `/pools/${pool}?updateproperties`, body, change: { stream: poolOf(pool), event: "PoolUpdated" } };
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
  { name: "terminateTask", weight: 4, ask: (client) => {
    const { workItem, task } = knownTask(client);
    return { method: "POST", target: `${jobPath(workItem)}/tasks/${task}?terminate`, change: { stream: taskOf(workItem, task), event: "TaskCompleted" } };
  } },
  { name: "deleteTask", weight: 4, ask: (client) => {
    const { workItem, task } = knownTask(client);
    return { method: "DELETE", target: `${jobPath(workItem)}/tasks/${task}`, change: { stream: taskOf(workItem, task), event: "TaskDeleted" } };
  } },
  { name: "addOddWorkItem", weight: 3, ask: (client) => {
    const workItem = someItem(client);
    return { method: "POST", target: "/workitems", body: oddWorkItemBody(workItem, somePool(client), client), change: { stream: workItemOf(workItem), event: "WorkItemCreated" } };
  } },
  { name: "patchWorkItem", weight: 2, ask: (client) => {
    const workItem = someItem(client);
    const target = `/workitems/${workItem}`;
    const body = client.random.oneOf([{ schedule: null }, { schedule: scheduleBody(client) }, { schedule: { recurrenceInterval: "PT1M" } }, { metadata: [{ name: "a", value: "b" }] }]);
    return { method: "PATCH", target, body, ...perhaps(client, target), change: { stream: workItemOf(workItem), event: "WorkItemUpdated" } };
  } },
  { name: "updateWorkItem", weight: 1, ask: (client) => {
    const workItem = someItem(client);
    const { name: _, ...body } = oddWorkItemBody(workItem, somePool(client), client) as { name: string };
    return { method: "PUT", target: `/workitems/${workItem}`, body, change: { stream: workItemOf(workItem), event: "WorkItemUpdated" } };
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
    const { workItem, task } = knownTask(client);
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
  { name: "updateTvmUser", weight: 1, ask: (client) => ({ method: "PUT", target: `/pools/${someTvm(client)}/users/ann`, body: { isAdmin: true, password: "Secret-of-ann-2" } }) },
  { name: "deleteTvmUser", weight: 1, ask: (client) => ({ method: "DELETE", target: `/pools/${someTvm(client)}/users/ann` }) },
  { name: "listTasks", weight: 2, ask: (client) => ({ method: "GET", target: `${jobPath(someItem(client))}/tasks?maxresults=5` }) },
  { name: "getTask", weight: 2, ask: (client) => ({ method: "GET", target: taskPath(client) }) },
  { name: "getJob", weight: 2, ask: (client) => ({ method: "GET", target: jobPath(someItem(client)) }) },
  { name: "getPool", weight: 3, ask: (client) => ({ method: "GET", target: `/pools/${somePool(client)}` }) },
  { name: "listTvms", weight: 4, ask: (client) => ({ method: "GET", target: `/pools/${somePool(client)}/tvms` }) },
];

export const ACTIONS: readonly Action[] = [...DIRECT, ...messageActions(DIRECT), ...batchActions, ...certificateActions, ...scalingActions, ...fileActions, ...readActions];

export const someAction = (random: Seeded): Action => weighted(random, ACTIONS);

export const createClient = (random: Seeded, now: () => number): Client => {
  let serial = 0;
  return {
    random,
    now,
    tvms: [],
    added: [],
    nextTask: () => `t${++serial}`,
    someTask: () => `t${Math.max(1, serial - random.below(Math.min(TASKS, serial + 1)))}`,
  };
};
