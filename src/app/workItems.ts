// Use cases on work items. A work item without a schedule has its job at once: made here, and by its process should this
// call end half way.
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { jobKey, jobStream, workItemKey, workItemStream } from "../domain/ids";
import type { WorkItem, WorkItemCommand, WorkItemSpec } from "../domain/workItem";
import type { Ports } from "../ports";
import { type WorkItemRow, workItems } from "../views/workItems";
import type { Call } from "./call";
import { type Loaded, type Outcome, execute, load } from "./execute";
import type { Condition } from "./pools";
import { type Page, type Rows, scan } from "./rows";

const onWorkItem = (
  ports: Ports,
  call: Call,
  name: string,
  command: WorkItemCommand,
  condition?: Condition<WorkItem>,
): Promise<Outcome<"workItem">> =>
  execute(ports, "workItem", call.by, { stream: workItemStream(workItemKey(call.account, name)), command, condition });

export const addWorkItem = async (ports: Ports, call: Call, name: string, spec: WorkItemSpec): Promise<Outcome<"workItem">> => {
  const outcome = await onWorkItem(ports, call, name, { type: "CreateWorkItem", at: call.at, account: call.account, name, spec });
  if (!isRejection(outcome)) await makeRecentJob(ports, call, outcome.state);
  return outcome;
};

/** Makes the job that the work item says it has; does nothing if it is there. */
export const makeRecentJob = async (ports: Ports, call: Call, item: WorkItem): Promise<void> => {
  if (item.recentJob === undefined) return;
  await execute(ports, "job", call.by, {
    stream: jobStream(jobKey(item.account, item.name, item.generation, item.recentJob)),
    command: {
      type: "CreateJob",
      at: call.at,
      account: item.account,
      workItem: parentKey(item),
      workItemName: item.name,
      name: item.recentJob,
      pool: item.spec.pool,
      spec: item.spec.job,
    },
  });
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

export const terminateWorkItem = (ports: Ports, call: Call, name: string, condition?: Condition<WorkItem>): Promise<Outcome<"workItem">> =>
  onWorkItem(ports, call, name, { type: "TerminateWorkItem", at: call.at }, condition);

export const deleteWorkItem = (ports: Ports, call: Call, name: string, condition?: Condition<WorkItem>): Promise<Outcome<"workItem">> =>
  onWorkItem(ports, call, name, { type: "DeleteWorkItem", at: call.at }, condition);
