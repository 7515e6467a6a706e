// Work items of the classic dialect: with their schedules and automatic pools.
import {
  addWorkItem,
  deleteWorkItem,
  disableWorkItem,
  enableWorkItem,
  getWorkItem,
  listWorkItems,
  terminateWorkItem,
  updateWorkItem,
} from "../../app/workItems";
import { type Rejection, isRejection } from "../../domain/decider";
import type { WorkItemChange } from "../../domain/workItem";
import type { WorkItemRow } from "../../views/workItems";
import { writeCondition } from "../conditions";
import { GET_QUERY, LIST_QUERY, listAnswer, readList } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Input, type Operation, operation } from "../operation";
import { changed, created, deleted, read } from "./answers";
import { WORK_ITEM_PROPERTIES, renderWorkItem, workItemPath } from "./render";
import { workItemBody, workItemChange, workItemPatchBody, workItemReplacement, workItemReplacementBody, workItemSpec } from "./schemas";
import { workItemStats } from "./stats";

const fields: Fields<WorkItemRow> = {
  name: { type: "text", operators: [...ALL, "startswith"], of: (row) => row.name },
  state: { type: "state", operators: EQ_NE, values: ["active", "disabled", "terminating", "completed", "deleting"], of: (row) => row.phase },
  creationTime: { type: "time", operators: ALL, of: (row) => row.createdAt },
  lastModified: { type: "time", operators: ALL, of: (row) => row.modifiedAt },
  stateTransitionTime: { type: "time", operators: ALL, of: (row) => row.stateAt },
  "executionInfo/endTime": { type: "time", operators: ALL, of: (row) => row.endedAt },
  "schedule/doNotRunUntil": { type: "time", operators: ALL, of: (row) => row.spec.schedule?.doNotRunUntil },
  "schedule/doNotRunAfter": { type: "time", operators: ALL, of: (row) => row.spec.schedule?.doNotRunAfter },
};

const nameOf = (input: Pick<Input, "names">): string => input.names.workItem as string;

const get = async (input: Input<undefined>) =>
  read(
    input,
    await getWorkItem(input.ports, input.call, nameOf(input)),
    "workitems",
    WORK_ITEM_PROPERTIES,
    (item, base) => renderWorkItem(item, base, input.call.at),
    (item) => workItemStats(input, item),
  );

const update = async (input: Input, change: WorkItemChange | Rejection) =>
  isRejection(change) ? change : changed(await updateWorkItem(input.ports, input.call, nameOf(input), change, writeCondition(input.conditions)), 200);

export const workItems: readonly Operation[] = [
  operation({
    name: "ListWorkItems",
    method: "GET",
    path: "/workitems",
    action: "workItem.read",
    version: "classic",
    query: LIST_QUERY,
    run: async (input) => {
      const list = readList(input, fields, WORK_ITEM_PROPERTIES);
      if (isRejection(list)) return list;
      const rows = await listWorkItems(input.ports, input.call, list.page);
      return listAnswer(input, "workitems", list, rows, (row) => renderWorkItem(row, input.base, input.call.at), (row) => workItemStats(input, row));
    },
  }),
  operation({ name: "GetWorkItem", method: "GET", path: "/workitems/{workItem}", action: "workItem.read", version: "classic", query: GET_QUERY, run: get }),
  operation({ name: "HeadWorkItem", method: "HEAD", path: "/workitems/{workItem}", action: "workItem.read", version: "classic", run: get }),
  operation({
    name: "AddWorkItem",
    method: "POST",
    path: "/workitems",
    action: "workItem.add",
    version: "classic",
    body: "required",
    schema: workItemBody,
    run: async ({ ports, call, body, base }) => {
      const spec = workItemSpec(body, ports.policy, call.at);
      return isRejection(spec) ? spec : created(await addWorkItem(ports, call, body.name, spec), base, workItemPath(body.name));
    },
  }),
  operation({
    name: "UpdateWorkItem",
    method: "PUT",
    path: "/workitems/{workItem}",
    action: "workItem.update",
    version: "classic",
    body: "required",
    schema: workItemReplacementBody,
    run: (input) => update(input, workItemReplacement(input.body, input.ports.policy, input.call.at)),
  }),
  operation({
    name: "PatchWorkItem",
    method: "PATCH",
    path: "/workitems/{workItem}",
    action: "workItem.update",
    version: "classic",
    body: "required",
    schema: workItemPatchBody,
    run: (input) => update(input, workItemChange(input.body, input.ports.policy, input.call.at)),
  }),
  operation({
    name: "EnableWorkItem",
    method: "POST",
    path: "/workitems/{workItem}",
    verb: "enable",
    action: "workItem.update",
    version: "classic",
    run: async (input) => changed(await enableWorkItem(input.ports, input.call, nameOf(input), writeCondition(input.conditions)), 204),
  }),
  operation({
    name: "DisableWorkItem",
    method: "POST",
    path: "/workitems/{workItem}",
    verb: "disable",
    action: "workItem.update",
    version: "classic",
    run: async (input) => changed(await disableWorkItem(input.ports, input.call, nameOf(input), writeCondition(input.conditions)), 204),
  }),
  operation({
    name: "TerminateWorkItem",
    method: "POST",
    path: "/workitems/{workItem}",
    verb: "terminate",
    action: "workItem.terminate",
    version: "classic",
    run: async (input) => changed(await terminateWorkItem(input.ports, input.call, nameOf(input), writeCondition(input.conditions)), 202),
  }),
  operation({
    name: "DeleteWorkItem",
    method: "DELETE",
    path: "/workitems/{workItem}",
    action: "workItem.delete",
    version: "classic",
    run: async (input) => deleted(await deleteWorkItem(input.ports, input.call, nameOf(input), writeCondition(input.conditions)), 202),
  }),
];
