// Use cases on work items. A job that is due at once is made here, and by the work item's process should this call end half way.
import { type Rejection, isRejection, present, rejection } from "../domain/decider";
import { jobKey, jobStream, workItemKey, workItemStream } from "../domain/ids";
import { type JobSpec, isOpen } from "../domain/job";
import type { AutoPoolSpec, WorkItem, WorkItemChange, WorkItemCommand, WorkItemSpec } from "../domain/workItem";
import type { Ports } from "../ports";
import { type WorkItemRow, workItems } from "../views/workItems";
import type { Call } from "./call";
import { type Loaded, type Outcome, execute, load } from "./execute";
import { queueManager } from "./managers";
import { type Condition, sealedSpec } from "./pools";
import { type Page, type Rows, scan } from "./rows";
import { sealFiles } from "./secrets";

const onWorkItem = (
  ports: Ports,
  call: Call,
  name: string,
  command: WorkItemCommand,
  condition?: Condition<WorkItem>,
): Promise<Outcome<"workItem">> =>
  execute(ports, "workItem", call.by, { stream: workItemStream(workItemKey(call.account, name)), command, condition });

export const addWorkItem = async (ports: Ports, call: Call, name: string, spec: WorkItemSpec): Promise<Outcome<"workItem">> => {
  const refusal = await workItemQuota(ports, call, name);
  if (refusal) return refusal;
  const outcome = await onWorkItem(ports, call, name, {
    type: "CreateWorkItem",
    at: call.at,
    account: call.account,
    name,
    spec: { ...spec, job: sealedJob(ports, call, spec.job), ...(spec.autoPool ? { autoPool: sealedAutoPool(ports, call, spec.autoPool) } : {}) },
    unique: uniqueName(ports),
  });
  if (!isRejection(outcome)) await makeRecentJob(ports, call, outcome.state);
  return outcome;
};

/** The account has as many active work items as it may have; one of a name that exists is refused for that. */
const workItemQuota = async (ports: Ports, call: Call, name: string): Promise<Rejection | undefined> => {
  const refusal = await quotaReached(ports, call);
  if (!refusal) return undefined;
  const [row] = await ports.views.get(workItems, [workItems.locate(workItemKey(call.account, name))]);
  return row && !row.gone ? undefined : refusal;
};

const quotaReached = async (ports: Ports, call: Call): Promise<Rejection | undefined> => {
  const { workItemsMax } = ports.policy;
  if (workItemsMax === undefined) return undefined;
  const there = await ports.views.keys(workItems, { index: "active", prefix: `${call.account}.`, limit: workItemsMax });
  if (there.length < workItemsMax) return undefined;
  return rejection("ActiveJobAndScheduleQuotaReached", `The account may have ${workItemsMax} active work items, and has them: end or disable one first.`);
};

const sealedJob = (ports: Ports, call: Call, job: JobSpec): JobSpec =>
  job.manager?.resourceFiles ? { ...job, manager: { ...job.manager, resourceFiles: sealFiles(ports, call.account, job.manager.resourceFiles) } } : job;

const sealedAutoPool = (ports: Ports, call: Call, autoPool: AutoPoolSpec): AutoPoolSpec => ({ ...autoPool, spec: sealedSpec(ports, call, autoPool.spec) });

/** The part of an auto pool's name that no other has: a GUID, upper case as in the reference's samples (5.7). */
export const uniqueName = (ports: Pick<Ports, "random">): string => ports.random.uuid().toUpperCase();

/** Makes the job that the work item says it has, and its job manager with it; does nothing if they are there. */
export const makeRecentJob = async (ports: Ports, call: Call, item: WorkItem): Promise<void> => {
  if (item.recentJob === undefined) return;
  const { pool, autoPool, job } = item.spawnedFrom ?? item.spec;
  const { prefix: _, ...auto } = autoPool ?? {};
  const stream = jobStream(jobKey(item.account, item.name, item.generation, item.recentJob));
  const outcome = await execute(ports, "job", call.by, {
    stream,
    command: {
      type: "CreateJob",
      at: call.at,
      account: item.account,
      workItem: parentKey(item),
      workItemName: item.name,
      name: item.recentJob,
      pool: item.recentPool ?? pool ?? "",
      spec: job,
      ...present({ autoPool: autoPool && (auto as AutoPoolSpec) }),
    },
  });
  // Whoever is answered finds the manager there. The job's process makes it too, should this call end here.
  if (!isRejection(outcome) && isOpen(outcome.state)) await queueManager(ports, stream, outcome.state, call.at);
};

/** `{account}.{work item}.{generation}`: what the keys of its jobs begin with. */
export const parentKey = (item: Pick<WorkItem, "account" | "name" | "generation">): string =>
  `${workItemKey(item.account, item.name)}.${item.generation}`;

export const getWorkItem = async (ports: Ports, call: Call, name: string): Promise<Loaded<WorkItem> | Rejection> => {
  const loaded = await load(ports, "workItem", workItemStream(workItemKey(call.account, name)));
  return loaded.state.phase === "absent" ? rejection("WorkItemNotFound", "The account has no work item of that name.") : loaded;
};

export const listWorkItems = (ports: Ports, call: Call, page: Page<WorkItemRow>): Promise<Rows<WorkItemRow>> =>
  scan(ports.views, workItems, "name", `${call.account}/`, page);

/** Jobs that there are already stay as they are. */
export const updateWorkItem = (
  ports: Ports,
  call: Call,
  name: string,
  change: WorkItemChange,
  condition?: Condition<WorkItem>,
): Promise<Outcome<"workItem">> => {
  const { environment, job, ...others } = change;
  const rest = { ...others, ...(job ? { job: sealedJob(ports, call, job) } : {}) };
  const sealed = environment && "autoPool" in environment ? { autoPool: sealedAutoPool(ports, call, environment.autoPool) } : environment;
  return onWorkItem(ports, call, name, { type: "UpdateWorkItem", at: call.at, ...rest, ...(sealed ? { environment: sealed } : {}) }, condition);
};

/** No new jobs until it is enabled again; the one that is open goes on. */
export const disableWorkItem = (ports: Ports, call: Call, name: string, condition?: Condition<WorkItem>): Promise<Outcome<"workItem">> =>
  onWorkItem(ports, call, name, { type: "DisableWorkItem", at: call.at }, condition);

/** It counts as an active one again: refused when the account has as many of those as it may have. */
export const enableWorkItem = async (ports: Ports, call: Call, name: string, condition?: Condition<WorkItem>): Promise<Outcome<"workItem">> => {
  const refusal = await quotaReached(ports, call);
  const withRoom: Condition<WorkItem> = (loaded) => condition?.(loaded) ?? (loaded.state.phase === "disabled" ? refusal : undefined);
  return onWorkItem(ports, call, name, { type: "EnableWorkItem", at: call.at }, withRoom);
};

export const terminateWorkItem = (ports: Ports, call: Call, name: string, condition?: Condition<WorkItem>): Promise<Outcome<"workItem">> =>
  onWorkItem(ports, call, name, { type: "TerminateWorkItem", at: call.at }, condition);

export const deleteWorkItem = (ports: Ports, call: Call, name: string, condition?: Condition<WorkItem>): Promise<Outcome<"workItem">> =>
  onWorkItem(ports, call, name, { type: "DeleteWorkItem", at: call.at }, condition);
