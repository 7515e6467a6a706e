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
  },
  tally: (state) => (state.phase === "absent" ? {} : { [state.phase]: 1 }),
};
