// TVMs of a pool in name order (those that have left are gone).
import { lastOf, parentOf, poolKey } from "../domain/ids";
import type { Tvm } from "../domain/tvm";
import type { StateRow, View } from "./view";

export type TvmRow = StateRow<Tvm>;

const isThere = (row: Tvm): boolean => row.phase !== "absent" && row.phase !== "gone";

export const tvms: View<Tvm> = {
  name: "tvms",
  category: "tvm",
  locate: (key) => ({ partition: parentOf(key), id: lastOf(key) }),
  gone: (state) => !isThere(state),
  indexes: {
    pool: (row) => (isThere(row) ? `${poolKey(row.account, row.pool)}/${row.id}` : undefined),
    /** No tasks may be on it now. */
    unfit: (row) => (isThere(row) && row.phase !== "ready" ? `${poolKey(row.account, row.pool)}.${row.id}` : undefined),
  },
  tally: (state) => (isThere(state) ? { [state.phase]: 1 } : {}),
};
