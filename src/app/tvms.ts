// Use cases on single TVMs: starting one anew. What is refused is the TVM's own rule; that there is no such TVM, or no such
// pool, is said here.
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { tvmKey, tvmStream } from "../domain/ids";
import type { DeallocationOption } from "../domain/pool";
import type { RestartHow } from "../domain/tvm";
import type { Ports } from "../ports";
import type { Call } from "./call";
import { type Outcome, execute } from "./execute";
import { getPool } from "./pools";

/** Reboot or reimage: its tasks end as the option says, and it takes no new ones until it is back (reference section 6). */
export const restartTvm = async (
  ports: Ports,
  call: Call,
  pool: string,
  tvm: string,
  wish: { readonly how: Exclude<RestartHow, "upgrade">; readonly option: DeallocationOption },
): Promise<Outcome<"tvm">> => {
  const stream = tvmStream(tvmKey(call.account, pool, tvm));
  const outcome = await execute(ports, "tvm", call.by, { stream, command: { ...wish, type: "RequestRestart", at: call.at } });
  return isRejection(outcome) && outcome.code === "TVMNotFound" ? missing(ports, call, pool) : outcome;
};

/** Which of the two is not there. */
export const missing = async (ports: Ports, call: Call, pool: string): Promise<Rejection> => {
  const found = await getPool(ports, call, pool);
  return isRejection(found) ? found : rejection("TVMNotFound", "The pool has no TVM of that name.");
};
