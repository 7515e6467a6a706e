// Work items of the classic dialect. Schedules, job managers and automatic pools are refused by name: they come later.
import { addWorkItem, deleteWorkItem, getWorkItem, listWorkItems, terminateWorkItem } from "../../app/workItems";
import { isRejection } from "../../domain/decider";
import type { WorkItemRow } from "../../views/workItems";
import { writeCondition } from "../conditions";
import { GET_QUERY, LIST_QUERY, listAnswer, readList } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Input, type Operation, operation } from "../operation";
import { changed, created, deleted, read } from "./answers";
import { WORK_ITEM_PROPERTIES, renderWorkItem, workItemPath } from "./render";
import { workItemBody, workItemSpec } from "./schemas";

const fields: Fields<WorkItemRow> = {
  name: { type: "text", operators: [...ALL, "startswith"], of: (row) => row.name },
  state: { type: "state", operators: EQ_NE, values: ["active", "disabled", "terminating", "completed", "deleting"], of: (row) => row.phase },
  creationTime: { type: "time", operators: ALL, of: (row) => row.createdAt },
  lastModified: { type: "time", operators: ALL, of: (row) => row.modifiedAt },
  stateTransitionTime: { type: "time", operators: ALL, of: (row) => row.stateAt },
  "executionInfo/endTime": { type: "time", operators: ALL, of: (row) => row.endedAt },
  // Nothing has a schedule yet, so no row has these.
  "schedule/doNotRunUntil": { type: "time", operators: ALL, of: () => undefined },
  "schedule/doNotRunAfter": { type: "time", operators: ALL, of: () => undefined },
};

const nameOf = (input: Pick<Input, "names">): string => input.names.workItem as string;

const get = async (input: Input<undefined>) =>
  read(input, await getWorkItem(input.ports, input.call, nameOf(input)), "workitems", WORK_ITEM_PROPERTIES, renderWorkItem);

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
      return listAnswer(input, "workitems", list, await listWorkItems(input.ports, input.call, list.page), (row) => renderWorkItem(row, input.base));
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
    run: async ({ ports, call, body, base }) => created(await addWorkItem(ports, call, body.name, workItemSpec(body)), base, workItemPath(body.name)),
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
