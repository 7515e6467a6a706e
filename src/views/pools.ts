// Pools of an account in name order.
import { accountOf, lastOf } from "../domain/ids";
import type { Pool } from "../domain/pool";
import type { StateRow, View } from "./view";

export type PoolRow = StateRow<Pool>;

export const pools: View<Pool> = {
  name: "pools",
  category: "pool",
  locate: (key) => ({ partition: accountOf(key), id: lastOf(key) }),
  gone: (state) => state.phase === "absent",
  indexes: {
    name: (row) => (row.phase === "absent" ? undefined : `${row.account}/${row.id}`),
    /** Something is under way that its process has to finish. */
    unsettled: (row) => (row.phase === "deleting" || (row.phase === "active" && (row.allocation !== "steady" || row.upgrade)) ? `${row.account}.${row.id}` : undefined),
    /** Autoscale is on: by the instant of its next evaluation. */
    autoScale: (row) => (row.phase === "active" && row.autoScale ? `${row.autoScale.dueAt}/${row.account}.${row.id}` : undefined),
    /** Autoscale is on: in the order of names, which does not change while they are gone through. */
    scaled: (row) => (row.phase === "active" && row.autoScale ? `${row.account}.${row.id}` : undefined),
  },
  tally: (state) => (state.phase === "absent" ? {} : { [state.phase]: 1 }),
};
