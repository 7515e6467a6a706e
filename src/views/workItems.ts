// Work items of an account in name order.
import { accountOf, lastOf } from "../domain/ids";
import type { WorkItem } from "../domain/workItem";
import type { StateRow, View } from "./view";

export type WorkItemRow = StateRow<WorkItem>;

export const workItems: View<WorkItem> = {
  name: "workItems",
  category: "workItem",
  locate: (key) => ({ partition: accountOf(key), id: lastOf(key) }),
  gone: (state) => state.phase === "absent",
  indexes: {
    name: (row) => (row.phase === "absent" ? undefined : `${row.account}/${row.id}`),
    /** Something is under way that its process has to finish. */
    unsettled: (row) => (isUnsettled(row) ? `${row.account}.${row.id}` : undefined),
    /** A job may be due, or the end. */
    active: (row) => (row.phase === "active" ? `${row.account}.${row.id}` : undefined),
  },
  tally: (state) => (state.phase === "absent" ? {} : { [state.phase]: 1 }),
};

const isUnsettled = (row: WorkItem): boolean =>
  row.phase === "terminating" || row.phase === "deleting" || (row.phase === "completed" && (row.pools ?? []).length > 0);
