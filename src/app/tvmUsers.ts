// Users of a TVM: people who want to log in to look at what went wrong. The TVM's stream says who they are; the agent makes them
// users of the machine's operating system. A password is sealed on its way to the agent and is in no event.
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { tvmKey, tvmStream } from "../domain/ids";
import { addMs } from "../domain/time";
import { type Tvm, type TvmCommand, tvm as rules } from "../domain/tvm";
import type { Ports } from "../ports";
import type { FileAnswer, UserRequest } from "../wire";
import type { Call } from "./call";
import { type Outcome, execute, load } from "./execute";
import { ANSWER_MS, askTvm, userContext } from "./tvmErrands";
import { missing } from "./tvms";

export interface UserSpec {
  readonly name: string;
  /** Absent in an update: nobody logs in with a password any more. */
  readonly password?: string;
  readonly isAdmin: boolean;
  /** Absent: a day from now (reference 5.11). */
  readonly expiresAt?: string;
}

const DAY_MS = 24 * 3_600_000;

interface Where {
  readonly pool: string;
  readonly tvm: string;
}

export const addTvmUser = (ports: Ports, call: Call, where: Where, spec: UserSpec): Promise<Outcome<"tvm"> | Rejection> => {
  const { user, isAdmin, expiresAt } = termsOf(call, spec);
  const request = { kind: "add" as const, name: user, isAdmin, expiresAt, ...passwordOf(spec) };
  return change(ports, call, where, request, (account) => ({ type: "AddTvmUser", at: call.at, user, account, isAdmin, expiresAt }));
};

/** Everything is replaced: what is left out falls back to its default. */
export const updateTvmUser = (ports: Ports, call: Call, where: Where, spec: UserSpec): Promise<Outcome<"tvm"> | Rejection> => {
  const { user, isAdmin, expiresAt } = termsOf(call, spec);
  const request = { kind: "update" as const, name: user, isAdmin, expiresAt, ...passwordOf(spec) };
  return change(ports, call, where, request, () => ({ type: "UpdateTvmUser", at: call.at, user, isAdmin, expiresAt }));
};

export const deleteTvmUser = (ports: Ports, call: Call, where: Where, user: string): Promise<Outcome<"tvm"> | Rejection> =>
  change(ports, call, where, { kind: "remove", name: user }, () => ({ type: "DeleteTvmUser", at: call.at, user }));

const termsOf = (call: Call, { name, isAdmin, expiresAt }: UserSpec) => ({ user: name, isAdmin, expiresAt: expiresAt ?? addMs(call.at, DAY_MS) });
const passwordOf = ({ password }: UserSpec) => (password === undefined ? {} : { password });

/** Refused before anything is done, if it is to be; then done by the TVM; then told. Done and not told, it can be asked for again. */
const change = async (
  ports: Ports,
  call: Call,
  { pool, tvm }: Where,
  request: Omit<UserRequest, "id">,
  commandFor: (account: string) => TvmCommand,
): Promise<Outcome<"tvm"> | Rejection> => {
  const key = tvmKey(call.account, pool, tvm);
  const { state } = await load(ports, "tvm", tvmStream(key));
  const verdict = rules.decide(commandFor(""), state);
  if (isRejection(verdict)) return verdict.code === "TVMNotFound" ? missing(ports, call, pool) : verdict;
  if (ports.policy.allowTvmUsers !== true) return notHere;
  const until = addMs(ports.clock.now().toISOString(), ANSWER_MS);
  const answer = await askTvm(ports, key, (id) => ({ user: { id, until, sealed: ports.sealer.seal(JSON.stringify({ ...request, id } satisfies UserRequest), userContext(key)) } }));
  const refusal = isRejection(answer) ? answer : refusalIn(answer);
  if (refusal) return refusal;
  return execute(ports, "tvm", call.by, { stream: tvmStream(key), command: commandFor((answer as FileAnswer).account ?? request.name) });
};

const notHere = rejection(
  "NotImplemented",
  "TVMs of this service share its machine, and a user of a TVM would be a user of that machine: its operator can allow that by starting the service as root with --allow-tvm-users.",
);

const refusalIn = ({ problem }: FileAnswer): Rejection | undefined => {
  if (!problem) return undefined;
  if (problem.code === "unsupported") return rejection("NotImplemented", `The TVM cannot have users: ${problem.message}`);
  return rejection("InternalError", `The TVM could not do it: ${problem.message}`);
};

/** Where and as whom one logs in to the TVM. */
export const accessOf = async (ports: Ports, call: Call, { pool, tvm }: Where): Promise<Tvm | Rejection> => {
  const { state } = await load(ports, "tvm", tvmStream(tvmKey(call.account, pool, tvm)));
  if (state.phase === "absent" || state.phase === "gone") return missing(ports, call, pool);
  if (!state.joined || state.address === undefined) return rejection("TVMBeingStarted", "The TVM is being started: it has no address yet.");
  return state;
};
