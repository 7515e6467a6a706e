// Who asks: SharedKey over the canonical string (reference section 2), the TVM credential for the agents' door, and the one
// rule of what each may do. It never parses a body and never logs what it was given.
// A signature is good for fifteen minutes, so a request that was overheard could be sent again: replays.ts remembers those of changes.
import { createHmac, timingSafeEqual } from "node:crypto";
import { type Rejection, rejection } from "../domain/decider";
import { ACCOUNT_NAME } from "../domain/ids";
import type { Accounts } from "../ports";
import { parseHttpDate } from "./dates";

/** Nobody is believed for where they come from: loopback is not a credential. */
export type Principal =
  | { readonly kind: "account"; readonly account: string; readonly signature: string }
  /** What the header says: the app checks the credential before anything else is looked at, and its TVM on each exchange. */
  | { readonly kind: "tvm"; readonly credential: string }
  /** What the header says: a job manager's token, which the app checks before anything else is looked at. */
  | { readonly kind: "manager"; readonly token: string }
  | { readonly kind: "anonymous" };

export type Action =
  | "pool.read" | "pool.add" | "pool.update" | "pool.resize" | "pool.delete"
  | "tvm.read" | "tvm.change"
  | "workItem.read" | "workItem.add" | "workItem.update" | "workItem.terminate" | "workItem.delete"
  | "job.read" | "job.update" | "job.terminate" | "job.delete"
  | "task.read" | "task.add" | "task.update" | "task.terminate" | "task.delete"
  | "file.read" | "file.delete"
  | "certificate.read" | "certificate.change"
  | "batch.run"
  | "history.read" | "upload.grant" | "upload.read"
  | "message.send" | "message.read"
  | "agent.join" | "agent.exchange"
  | "health.read";

// A list of what is allowed, and nothing else is.
const ALLOWED: Readonly<Record<Principal["kind"], ReadonlySet<Action>>> = {
  account: new Set<Action>([
    "pool.read", "pool.add", "pool.update", "pool.resize", "pool.delete",
    "tvm.read", "tvm.change",
    "workItem.read", "workItem.add", "workItem.update", "workItem.terminate", "workItem.delete",
    "job.read", "job.update", "job.terminate", "job.delete",
    "task.read", "task.add", "task.update", "task.terminate", "task.delete",
    "file.read", "file.delete",
    "certificate.read", "certificate.change",
    "batch.run",
    "history.read", "upload.grant", "upload.read",
    "message.send", "message.read",
    "health.read",
  ]),
  tvm: new Set<Action>(["agent.exchange"]),
  // Of its own job, and nothing that names no job (see `withinJob`).
  manager: new Set<Action>(["job.read", "task.read", "task.add", "task.update", "task.terminate", "task.delete", "file.read"]),
  // The join code is in the body, good once, and checked by the app.
  anonymous: new Set<Action>(["health.read", "agent.join"]),
};

/** As much of a principal as decides what it may do. */
export type Asker = Pick<Principal, "kind"> & { readonly account?: string };

/** Deny by default: whether this principal may do this to things of this account (undefined: of no account). */
export const authorize = (principal: Asker, action: Action, account: string | undefined): Rejection | undefined => {
  const own = principal.kind !== "account" || account === undefined || principal.account === account;
  return own && ALLOWED[principal.kind].has(action) ? undefined : rejection("InsufficientAccountPermissions");
};

/** A job manager's token opens what belongs to its job: the path must say so, names compared without case. */
export const withinJob = (names: { readonly workItem?: string; readonly job?: string }, own: { readonly workItem: string; readonly job: string }): Rejection | undefined =>
  names.workItem?.toLowerCase() === own.workItem.toLowerCase() && names.job?.toLowerCase() === own.job.toLowerCase()
    ? undefined
    : rejection("InsufficientAccountPermissions", "A job manager's token is good for its own job only.");

export interface SignedRequest {
  readonly method: string;
  readonly url: URL;
  readonly headers: Iterable<[string, string]> & { get(name: string): string | null };
}

/** How far the date of a request may be from the service's, either way. */
export const SKEW_MAX_MS = 15 * 60_000;

const CREDENTIALS = /^SharedKey ([A-Za-z0-9]{1,64}):(\S{1,200})$/i;
const BEARER = /^Bearer ([\x21-\x7e]{1,1000})$/i;
const TVM = /^TVM ([\x21-\x7e]{1,1000})$/i;

/** Who the Authorization header says it is, proven for accounts. None: anonymous. */
export const authenticate = async (accounts: Accounts, request: SignedRequest, now: Date): Promise<Principal | Rejection> => {
  const header = request.headers.get("authorization");
  if (header === null || header === "") return { kind: "anonymous" };
  const tvm = TVM.exec(header);
  if (tvm) return { kind: "tvm", credential: tvm[1] as string };
  const bearer = BEARER.exec(header);
  if (bearer) return { kind: "manager", token: bearer[1] as string };
  const match = CREDENTIALS.exec(header);
  if (!match) return rejection("InvalidAuthenticationInfo", undefined, { HeaderName: "Authorization", Reason: "expected: SharedKey account:signature" });
  const [, name, signature] = match as unknown as [string, string, string];
  const stale = checkDate(request, now);
  if (stale) return stale;
  const account = name.toLowerCase();
  const keys = ACCOUNT_NAME.test(account) ? await accounts.keys(account) : undefined;
  // An unknown account costs the same work as a wrong key.
  const good = verify(request, name, signature, keys ?? [NO_KEY]) && keys !== undefined;
  return good ? { kind: "account", account, signature } : rejection("AuthenticationFailed");
};

const NO_KEY = Buffer.alloc(64).toString("base64");

const checkDate = (request: SignedRequest, now: Date): Rejection | undefined => {
  const ocpDate = request.headers.get("ocp-date");
  const text = ocpDate ?? request.headers.get("date");
  if (text === null) return rejection("AuthenticationFailed", undefined, { HeaderName: "ocp-date", Reason: "ocp-date or Date is needed" });
  const at = parseHttpDate(text);
  if (at !== undefined && Math.abs(now.getTime() - at) <= SKEW_MAX_MS) return undefined;
  return rejection("AuthenticationFailed", undefined, {
    HeaderName: ocpDate === null ? "Date" : "ocp-date",
    Reason: at === undefined ? "not an HTTP date" : "more than 15 minutes from the time of the service",
  });
};

const verify = (request: SignedRequest, account: string, signature: string, keys: readonly string[]): boolean => {
  const given = Buffer.from(signature, "base64");
  if (given.length !== 32) return false;
  const secrets = keys.map((key) => Buffer.from(key, "base64"));
  for (const text of stringsToSign(request, account))
    for (const secret of secrets) if (timingSafeEqual(createHmac("sha256", secret).update(text, "utf8").digest(), given)) return true;
  return false;
};

/** The signature of a string-to-sign under a base64 key. For clients, and for the vectors. */
export const signString = (text: string, key: string): string => createHmac("sha256", Buffer.from(key, "base64")).update(text, "utf8").digest("base64");

const SIGNED_HEADERS = ["content-encoding", "content-language", "content-length", "content-md5", "content-type", "date", "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"];

/** What a client may have signed: clients differ in the length of no body, in slashes within file paths, in valueless parameters. */
export function* stringsToSign(request: SignedRequest, account: string): Generator<string> {
  const seen = new Set<string>();
  for (const path of paths(request.url.pathname))
    for (const valueless of [true, false])
      for (const plus of [false, true])
        for (const length of lengths(request)) {
          const text = stringToSign(request, length, resource(account, path, request.url.search, valueless, plus));
          if (!seen.has(text)) {
            seen.add(text);
            yield text;
          }
        }
}

const stringToSign = (request: SignedRequest, length: string, canonicalResource: string): string => {
  const { headers } = request;
  const lines = SIGNED_HEADERS.map((name) => {
    if (name === "content-length") return length;
    // ocp-date stands in for Date, which some clients cannot set.
    if (name === "date" && headers.get("ocp-date") !== null) return "";
    return headers.get(name) ?? "";
  });
  return `${request.method.toUpperCase()}\n${lines.join("\n")}\n${canonicalHeaders(headers)}${canonicalResource}`;
};

const lengths = (request: SignedRequest): string[] => {
  const given = request.headers.get("content-length");
  if (given !== null && given !== "0") return [given];
  return request.method === "GET" || request.method === "HEAD" ? ["", "0"] : ["0", ""];
};

const paths = (path: string): string[] => [path, path.replace(/%5c|%2f/gi, "/")];

const canonicalHeaders = (headers: SignedRequest["headers"]): string =>
  [...headers]
    .map(([name, value]) => [name.toLowerCase(), value.trim().replace(/\r?\n[ \t]+/g, " ")] as const)
    .filter(([name]) => name.startsWith("ocp-"))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}:${value}\n`)
    .join("");

const resource = (account: string, path: string, search: string, valueless: boolean, plus: boolean): string => {
  const values = new Map<string, string[]>();
  for (const part of search.slice(1).split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    if (equals < 0 && !valueless) continue;
    const name = decode(equals < 0 ? part : part.slice(0, equals), plus).toLowerCase();
    const value = equals < 0 ? "" : decode(part.slice(equals + 1), plus);
    values.set(name, [...(values.get(name) ?? []), value]);
  }
  const lines = [...values.keys()].sort().map((name) => `\n${name}:${(values.get(name) as string[]).join(",")}`);
  return `/${account}${path}${lines.join("")}`;
};

const decode = (text: string, plus: boolean): string => {
  try {
    return decodeURIComponent(plus ? text.replaceAll("+", " ") : text);
  } catch {
    return text;
  }
};
