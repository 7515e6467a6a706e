// The one HTTP handler: who asks, which version, which operation, what it says, what the answer looks like. It decides
// nothing about pools or tasks, and proves the signature before it looks at the body.
import type { HttpResponseInit, InvocationContext } from "@azure/functions";
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { isCredential } from "../app/agents";
import { Busy } from "../app/execute";
import { managerOf } from "../app/managers";
import { isNoRoom } from "../app/noRoom";
import type { Ports } from "../ports";
import { type Attempts, attempts } from "./attempts";
import { type Principal, authenticate, authorize, withinJob } from "./auth";
import { readConditions } from "./conditions";
import { BODY_MAX, parseJson, readBytes, tooLarge } from "./json";
import { type Answer, type Incoming, type Input, type Operation, type PartAnswer, type PartRequest, type Route, changes } from "./operation";
import { audit, auditRefused } from "./audit";
import { routes } from "./operations";
import { problemBody, statusOf } from "./problems";
import { type Replays, replays } from "./replays";
import { parseBody } from "./schemas";

/** The versions of the classic dialect: work items and TVMs. */
const CLASSIC_VERSIONS: ReadonlySet<string> = new Set(["2014-10-01.1.0"]);
/** Seconds that the service may take for a request: the most a caller may ask for, and what is assumed. */
const TIMEOUT_MAX_S = 30;

interface Exchange {
  readonly ports: Ports;
  readonly request: Incoming;
  readonly url: URL;
  readonly now: Date;
  readonly requestId: string;
}

/**
 * Answers one request. Never throws for what a caller did: a fault of the service itself is logged and answered as
 * InternalError. A host that knows when the caller has gone says so with `context.signal`.
 */
export const serve = async (ports: Ports, request: Incoming, context?: Partial<InvocationContext>): Promise<HttpResponseInit> => {
  const exchange: Exchange = { ports, request, url: new URL(request.url), now: ports.clock.now(), requestId: ports.random.uuid() };
  return settled(exchange, () => answerTo(exchange, (context as { signal?: AbortSignal } | undefined)?.signal));
};

const settled = async (exchange: Exchange, run: () => Promise<Answer | Rejection>): Promise<HttpResponseInit> => {
  const { ports, request } = exchange;
  let answer: Answer | Rejection;
  try {
    answer = await run();
  } catch (error) {
    if (error instanceof Busy) return problem(exchange, rejection("ServerBusy", "Others keep changing the same resource: try again."));
    if (isNoRoom(error)) {
      ports.log.error("The disk is full: a request was refused.", { requestId: exchange.requestId, method: request.method });
      return problem(exchange, diskFull);
    }
    ports.log.error("A request failed.", { requestId: exchange.requestId, method: request.method, error });
    answer = rejection("InternalError");
  }
  return isRejection(answer) ? problem(exchange, answer) : respond(exchange, answer);
};

const diskFull = rejection("ServerBusy", "The disk of the service is full: nothing of this request was kept. It can be sent again once there is room.", { Reason: "DiskFull" });

const answerTo = async (exchange: Exchange, abort: AbortSignal | undefined): Promise<Answer | Rejection> => {
  const { ports, request, url, now } = exchange;
  const principal = await authenticate(ports.accounts, { method: request.method, url, headers: request.headers as never }, now);
  if (isRejection(principal)) return slowly(exchange, principal);
  // Nothing else of a request is looked at before it is known who sends it, its body least of all.
  if (principal.kind === "tvm" && !isCredential(ports, principal.credential)) return slowly(exchange, rejection("AuthenticationFailed", "The TVM's credential is not valid."));
  return answerAs(exchange, principal, abort, false);
};

const tried = new WeakMap<object, Attempts>();

/** A wrong signature, or credential, is answered later the more of them there were. */
const slowly = async ({ ports, request, now, requestId }: Exchange, refused: Rejection): Promise<Rejection> => {
  if (refused.code !== "AuthenticationFailed") return refused;
  let known = tried.get(ports.accounts);
  if (!known) tried.set(ports.accounts, (known = attempts()));
  const account = /^\S+ ([^:\s]{1,64}):/.exec(request.headers.get("authorization") ?? "")?.[1] ?? "";
  const wait = known.failed(account.toLowerCase(), now.getTime());
  const count = known.toTell(now.getTime());
  if (count > 0) ports.log.warn("audit", { who: account === "" ? "unknown" : account, action: "sign in", status: 403, code: refused.code, count, request: requestId });
  if (wait === undefined) return rejection("ServerBusy", "Too many requests with wrong signatures.");
  if (wait === 0) return refused;
  await ports.clock.sleep(wait);
  known.answered();
  return refused;
};

/** For whoever it is that has been proven. `within`: the request is part of another. */
const answerAs = async (exchange: Exchange, principal: Principal, abort: AbortSignal | undefined, within: boolean): Promise<Answer | Rejection> => {
  const { ports, request, url } = exchange;
  const manager = principal.kind === "manager" ? await managerOf(ports, principal.token) : undefined;
  if (principal.kind === "manager" && !manager) return rejection("AuthenticationFailed", "The token is not valid (any more): it is good while the job manager that it was given to runs.");
  const route = routes.find(url.pathname);
  const query = readQuery(url.searchParams);
  if (isRejection(query)) return query;
  const found = isRejection(route) ? route : operationOf(request.method, route, query);
  // Strangers learn nothing but that they are strangers: not which paths there are, not which versions.
  if (principal.kind === "anonymous" && !isOpen(found)) return notSignedIn();
  if (isRejection(found)) return versionProblem(url.pathname, query) ?? found;
  const account = principal.kind === "account" ? principal.account : manager?.account;
  const names = (route as Route).names;
  const by = manager?.task ?? account ?? principal.kind;
  const forbidden = authorize(principal, found.action, account) ?? (manager && withinJob(names, manager)) ?? doneBefore(exchange, principal, found, within);
  if (forbidden) return auditRefused(exchange, by, found, forbidden);
  return audit(exchange, by, found, await perform({ exchange, principal, account, by, route: route as Route, query, found, abort, within }));
};

interface Allowed {
  readonly exchange: Exchange;
  readonly principal: Principal;
  readonly account: string | undefined;
  readonly by: string;
  readonly route: Route;
  readonly query: ReadonlyMap<string, string>;
  readonly found: Operation;
  readonly abort: AbortSignal | undefined;
  readonly within: boolean;
}

/** Reads what is left of the request and runs the operation: who asks for it may. */
const perform = async ({ exchange, principal, account, by, route, query, found, abort, within }: Allowed): Promise<Answer | Rejection> => {
  const { ports, request, url, now } = exchange;
  const refusal = checkQuery(found, query);
  if (refusal) return refusal;
  if (within && !fitsInside(found)) return rejection("InvalidInput", "This operation cannot be part of a batch.", { Reason: found.name });
  const conditions = readConditions(request.headers);
  if (isRejection(conditions)) return conditions;
  const streamed = !within && (found.streamed?.test(request.headers.get("content-type") ?? "") ?? false);
  const body = streamed ? undefined : await readBody(found, request);
  if (isRejection(body)) return body;
  const at = now.toISOString();
  const input: Input = {
    ports,
    call: { account: account ?? "", at, by },
    names: route.names,
    query,
    headers: request.headers,
    conditions,
    body,
    base: url.origin,
    path: route.path,
    abort,
    credential: principal.kind === "tvm" ? principal.credential : undefined,
    stream: streamed ? request.body : undefined,
    inside: within ? undefined : (part) => answerPart(exchange, principal, abort, part),
  };
  return runInTime(exchange, found, input as Input<never>);
};

const proven = new WeakMap<object, Replays>();

/** A change that was overheard is not done again. */
const doneBefore = ({ ports, now }: Exchange, principal: Principal, found: Operation, within: boolean): Rejection | undefined => {
  if (principal.kind !== "account" || within || !changes(found) || found.repeatable !== undefined) return undefined;
  let known = proven.get(ports.accounts);
  if (!known) proven.set(ports.accounts, (known = replays()));
  if (!known.cameBefore(principal.signature, now.getTime())) return undefined;
  return rejection("AuthenticationFailed", undefined, { HeaderName: "Authorization", Reason: "this very request came before: date and sign it anew" });
};

/** What answers with more than a small JSON body, or reads its body as it comes, has a request of its own. */
const fitsInside = (found: Operation): boolean => found.version === "classic" && found.action !== "batch.run" && found.action !== "file.read";

/** Answers a part of a request as a request of its own, with an id of its own. */
const answerPart = async (whole: Exchange, principal: Principal, abort: AbortSignal | undefined, part: PartRequest): Promise<PartAnswer> => {
  const url = new URL(part.target, whole.url.origin);
  const headers = new Headers([...part.headers]);
  const body = part.body.length === 0 ? null : new Blob([part.body as Uint8Array<ArrayBuffer>]).stream();
  const request = { method: part.method, url: url.href, headers, body } as unknown as Incoming;
  const exchange: Exchange = { ...whole, request, url, requestId: whole.ports.random.uuid() };
  const answer = await settled(exchange, () => answerAs(exchange, principal, abort, true));
  return { status: answer.status ?? 200, headers: answer.headers as Record<string, string>, body: typeof answer.body === "string" ? answer.body : "" };
};

const isOpen = (found: Operation | Rejection): boolean => !isRejection(found) && authorize({ kind: "anonymous" }, found.action, undefined) === undefined;

const notSignedIn = (): Rejection => rejection("AuthenticationFailed");

// ---------------------------------------------------------------- which operation

/** Parameters by name. A name twice is refused: whichever were taken, somebody would have meant the other. */
const readQuery = (parameters: URLSearchParams): ReadonlyMap<string, string> | Rejection => {
  const query = new Map<string, string>();
  for (const [name, value] of parameters) {
    if (query.has(name)) return badParameter("InvalidQueryParameterValue", name, value, "given more than once");
    query.set(name, value);
  }
  return query;
};

const badParameter = (code: string, name: string, value: string, reason: string): Rejection =>
  rejection(code, undefined, { QueryParameterName: name, QueryParameterValue: value, Reason: reason });

const operationOf = (method: string, route: Route, query: ReadonlyMap<string, string>): Operation | Rejection => {
  const named = route.segment ?? actionIn(route, query);
  const found = route.operations.find((one) => one.method === method && one.verb === named);
  if (found) return found;
  const unknown = method === "POST" && named === undefined && route.operations.some((one) => one.verb) ? valuelessIn(query) : undefined;
  if (unknown !== undefined) return badParameter("UnsupportedQueryParameter", unknown, "", "no action of this resource");
  return rejection("UnsupportedHttpVerb");
};

const actionIn = (route: Route, query: ReadonlyMap<string, string>): string | undefined =>
  route.operations.find((one) => one.verb !== undefined && query.get(one.verb) === "")?.verb;

const valuelessIn = (query: ReadonlyMap<string, string>): string | undefined => [...query].find(([, value]) => value === "")?.[0];

const COMMON_PARAMETERS: readonly string[] = ["api-version", "timeout"];

const checkQuery = (found: Operation, query: ReadonlyMap<string, string>): Rejection | undefined => {
  const version = found.version === "classic" ? checkVersion(query) : undefined;
  if (version) return version;
  for (const [name, value] of query) {
    if (COMMON_PARAMETERS.includes(name) || name === found.verb || found.query?.includes(name)) continue;
    return badParameter("UnsupportedQueryParameter", name, value, "not a parameter of this operation");
  }
  const seconds = query.get("timeout");
  if (seconds === undefined) return undefined;
  if (!/^\d{1,9}$/.test(seconds)) return badParameter("InvalidQueryParameterValue", "timeout", seconds, "expected whole seconds");
  const within = Number(seconds) >= 1 && Number(seconds) <= TIMEOUT_MAX_S;
  return within ? undefined : badParameter("OutOfRangeQueryParameterValue", "timeout", seconds, `expected 1 to ${TIMEOUT_MAX_S}`);
};

/** An unknown path has no dialect yet: what is wrong with the version is said first, as for known ones. */
const versionProblem = (pathname: string, query: ReadonlyMap<string, string>): Rejection | undefined =>
  /^\/(?:batchledger|agent)(?:\/|$)/.test(pathname) ? undefined : checkVersion(query);

const checkVersion = (query: ReadonlyMap<string, string>): Rejection | undefined => {
  const version = query.get("api-version");
  if (version === undefined) return rejection("MissingRequiredQueryParameter", undefined, { QueryParameterName: "api-version" });
  return CLASSIC_VERSIONS.has(version)
    ? undefined
    : badParameter("UnsupportedRequestVersion", "api-version", version, `supported: ${[...CLASSIC_VERSIONS].join(", ")}`);
};

// ---------------------------------------------------------------- the body

const JSON_TYPE = /^application\/json\s*(?:;|$)/i;
const OTHER_CHARSET = /;\s*charset\s*=\s*"?(?!utf-?8"?\s*(?:;|$))/i;

const readBody = async (found: Operation, request: Incoming): Promise<unknown> => {
  if (found.body === undefined) return undefined;
  const limit = found.bodyMax ?? BODY_MAX;
  const { headers } = request;
  if (Number(headers.get("content-length") ?? 0) > limit) return tooLarge(limit);
  const encoding = headers.get("content-encoding");
  if (encoding !== null && encoding !== "identity")
    return rejection("UnsupportedHeader", undefined, { HeaderName: "Content-Encoding", HeaderValue: encoding });
  const bytes = await readBytes(request.body, limit);
  if (isRejection(bytes)) return bytes;
  if (bytes.length === 0 && found.body === "optional") return parseBody(found.schema, {});
  const type = headers.get("content-type");
  if (type !== null && (!JSON_TYPE.test(type) || OTHER_CHARSET.test(type)))
    return rejection("InvalidHeaderValue", undefined, { HeaderName: "Content-Type", HeaderValue: type, Reason: "expected application/json" });
  const parsed = parseJson(bytes);
  return isRejection(parsed) ? parsed : parseBody(found.schema, parsed.value);
};

// ---------------------------------------------------------------- running

/** An operation that takes longer than it may is answered as timed out; what it has done by then stays done. */
const runInTime = async (exchange: Exchange, found: Operation, input: Input<never>): Promise<Answer | Rejection> => {
  if (found.slow) return found.run(input);
  const { ports } = exchange;
  const seconds = Number(input.query.get("timeout") ?? TIMEOUT_MAX_S);
  const over = new AbortController();
  const timeUp = ports.clock.sleep(seconds * 1000, over.signal).then(() => rejection("OperationTimedOut"));
  const answer = found.run(input);
  // Whichever loses is heard of by nobody: its failure must not end the process.
  answer.catch(() => undefined);
  try {
    return await Promise.race([answer, timeUp]);
  } finally {
    // With a reason of its own: the default one is an exception with a stack, made for nobody, on every request.
    over.abort("answered");
  }
};

// ---------------------------------------------------------------- answering

const commonHeaders = ({ request, requestId, url }: Exchange): Record<string, string> => {
  const id = request.headers.get("client-request-id");
  const wanted = request.headers.get("return-client-request-id")?.toLowerCase() === "true";
  return {
    "request-id": requestId,
    DataServiceVersion: "3.0",
    Server: "Batchledger",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    ...(wanted && id !== null && /^[\x20-\x7e]{1,128}$/.test(id) ? { "client-request-id": id } : {}),
    ...(url.protocol === "https:" ? { "Strict-Transport-Security": "max-age=31536000; includeSubDomains" } : {}),
  };
};

const JSON_ANSWER = "application/json; odata=minimalmetadata";

const respond = (exchange: Exchange, answer: Answer): HttpResponseInit => {
  const headers: Record<string, string> = { ...commonHeaders(exchange), ...answer.headers };
  if (answer.json !== undefined) headers["Content-Type"] ??= JSON_ANSWER;
  // An answer to HEAD that says how long the body would be has to look like one with a body, or hosts say that it is empty.
  if (exchange.request.method === "HEAD") return { status: answer.status, headers, ...(headers["Content-Length"] ? { body: noBytes() } : {}) };
  if (answer.status === 204 || answer.status === 304) return { status: answer.status, headers };
  if (answer.json !== undefined) return { status: answer.status, headers, body: JSON.stringify(answer.json) };
  return { status: answer.status, headers, ...(answer.bytes ? { body: answer.bytes } : {}) };
};

async function* noBytes(): AsyncGenerator<Uint8Array> {}

const problem = (exchange: Exchange, refused: Rejection): HttpResponseInit => {
  const status = statusOf(refused.code);
  const headers: Record<string, string> = commonHeaders(exchange);
  if (exchange.request.method === "HEAD") return { status, headers };
  const where = { base: exchange.url.origin, requestId: exchange.requestId, at: exchange.now.toISOString() };
  return { status, headers: { ...headers, "Content-Type": JSON_ANSWER }, body: JSON.stringify(problemBody(refused, where)) };
};
