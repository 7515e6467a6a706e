// TVMs whose machine is not there any more, and for which nobody else will ever say so: a machine that went while it was silent, a
// data folder that came back from a backup. They are told as machines that ended, and so are started again.
import { tvmKey } from "../domain/ids";
import type { Message, Ports } from "../ports";
import { type TvmRow, tvms } from "../views/tvms";

const PAGE = 500;

/** Answers how many of these TVMs have no machine of their present boot. */
export const reportMissing = async (ports: Pick<Ports, "bus" | "machines">, rows: readonly TvmRow[]): Promise<number> => {
  const messages: Message[] = [];
  for (const list of Map.groupBy(rows.filter(({ joined }) => joined), ({ account, pool }) => `${account}/${pool}`).values()) {
    const { account, pool } = list[0] as TvmRow;
    const there = new Set((await ports.machines.list(account, pool)).map(({ tvm, boot }) => `${tvm.toLowerCase()}/${boot}`));
    for (const { name, boot } of list)
      if (!there.has(`${name.toLowerCase()}/${boot}`)) messages.push({ body: { kind: "machineExited", tvm: tvmKey(account, pool, name), boot } });
  }
  if (messages.length > 0) await ports.bus.send("reports", messages);
  return messages.length;
};

/** Looks at every TVM there is: at the start of a service whose machines may have gone without it. */
export const reportAllMissing = async (ports: Pick<Ports, "bus" | "machines" | "views">): Promise<number> => {
  let missing = 0;
  for (let after: string | undefined; ; ) {
    const page = await ports.views.query(tvms, { index: "pool", prefix: "", limit: PAGE, ...(after === undefined ? {} : { after }) });
    missing += await reportMissing(ports, page.map(({ row }) => row));
    if (page.length < PAGE) return missing;
    after = page.at(-1)?.key;
  }
};
