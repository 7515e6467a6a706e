// Certificates of an account in the order of their thumbprints.
import type { Certificate } from "../domain/certificate";
import { accountOf, lastOf } from "../domain/ids";
import type { StateRow, View } from "./view";

export type CertificateRow = StateRow<Certificate>;

export const certificates: View<Certificate> = {
  name: "certificates",
  category: "certificate",
  locate: (key) => ({ partition: accountOf(key), id: lastOf(key) }),
  gone: (state) => state.phase === "absent",
  indexes: {
    name: (row) => (row.phase === "absent" ? undefined : `${row.account}/${row.id}`),
    /** Its deletion has begun and is not over. */
    unsettled: (row) => (row.phase === "deleting" || row.phase === "retired" ? `${row.account}.${row.id}` : undefined),
  },
  tally: (state) => (state.phase === "absent" ? {} : { [state.phase]: 1 }),
};
