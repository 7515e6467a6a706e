// Jobs: listed by work item newest first, and by pool while they are active, for placement.
import { lastOf, parentOf, poolKey } from "../domain/ids";
import { type Job, isOpen } from "../domain/job";
import type { StateRow, View } from "./view";

export type JobRow = StateRow<Job>;

const isThere = (row: Job): boolean => row.phase !== "absent" && row.phase !== "gone";

/** A job with a manager always is: should the hint be lost that its manager has ended, the sweep's next one finds it. */
const isUnsettled = (row: Job): boolean =>
  row.phase === "terminating" || row.phase === "deleting" || row.phase === "disabling" || (isOpen(row) && row.spec.manager !== undefined);

export const jobs: View<Job> = {
  name: "jobs",
  category: "job",
  locate: (key) => ({ partition: parentOf(key), id: lastOf(key) }),
  gone: (state) => !isThere(state),
  indexes: {
    /** `{account}.{work item}.{generation}/{job}`; read in reverse for newest first. */
    workItem: (row) => (isThere(row) ? `${row.workItem}/${row.id}` : undefined),
    pool: (row) => (row.phase === "active" ? `${poolKey(row.account, row.pool)}/${row.workItem}.${row.id}` : undefined),
    /** Something is under way that the job's process has to finish. */
    unsettled: (row) => (isUnsettled(row) ? `${row.workItem}.${row.id}` : undefined),
  },
  tally: (state) => (isThere(state) ? { [state.phase]: 1 } : {}),
};
