// The durable extension's HTTP API over the task hub: what the SDK's client and the links that it hands out talk to.
// It answers as the real extension does, status by status; what the local host leaves out is answered with 501.

import type http from "node:http";
import { isDiskFull } from "./store";
import { TaskHubError, isEnded } from "./taskHub";
import type { TaskHub } from "./taskHub";
import type { Instance, InstanceFilter } from "./taskHubStore";
import type { HistoryEvent } from "./replay";
import { presentedKey, readBody, sameSecret } from "./http";
import type { Door, Keys } from "./http";
import { endWith } from "./httpInvoke";

export interface DurableApiOptions {
  readonly hub: TaskHub;
  readonly hubName: string;
  readonly keys: Keys;
  /** Unguessable: whoever knows this path needs no key. */
  readonly rpcToken: string;
}

export interface DurableApi {
  /** The webhooks, which want the system key, and the client's own way in, which is unguessable. */
  readonly doors: readonly Door[];
  /** The JSON of the durable client's binding, for the address where the host listens now. */
  clientBinding(origin: string, rpcOrigin: string): string;
}

const webhookPrefix = "/runtime/webhooks/durabletask/";
const bodyBytesMax = 16 * 1024 * 1024;
const pageSize = 100;
const pageSizeMax = 1_000;

export function createDurableApi(options: DurableApiOptions): DurableApi {
  const { keys, hubName } = options;
  const rpcPrefix = `/runtime/rpc/${options.rpcToken}/`;
  const query = `taskHub=${hubName}&connection=Storage&code=${keys.system}`;
  const answer = answerer(options.hub, (origin, id) => managementUrls(origin, id, query));

  const webhooks: Door = {
    prefix: webhookPrefix,
    async handle(request, response, url) {
      const key = presentedKey(request, request.url ?? "");
      if (key === undefined || !(sameSecret(key, keys.system) || sameSecret(key, keys.master))) return endWith(response, 401);
      await respond(request, response, url, url.pathname.slice(webhookPrefix.length), answer);
    },
  };
  const rpc: Door = {
    prefix: rpcPrefix,
    handle: (request, response, url) => respond(request, response, url, url.pathname.slice(rpcPrefix.length), answer),
  };

  return {
    doors: [webhooks, rpc],
    clientBinding(origin, rpcOrigin) {
      const base = `${origin}${webhookPrefix.slice(0, -1)}`;
      const create = `${base}/orchestrators/{functionName}[/{instanceId}]`;
      return JSON.stringify({
        taskHubName: hubName,
        creationUrls: {
          createNewInstancePostUri: `${create}?code=${keys.system}`,
          createAndWaitOnNewInstancePostUri: `${create}?timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}&code=${keys.system}`,
        },
        managementUrls: managementUrls(origin, "INSTANCEID", query),
        baseUrl: base,
        requiredQueryStringParameters: `code=${keys.system}`,
        rpcBaseUrl: `${rpcOrigin}${rpcPrefix}`,
      });
    },
  };
}

function managementUrls(origin: string, id: string, query: string): Record<string, string> {
  const base = `${origin}${webhookPrefix}instances/${encodeURIComponent(id)}`;
  return {
    id,
    statusQueryGetUri: `${base}?${query}`,
    sendEventPostUri: `${base}/raiseEvent/{eventName}?${query}`,
    terminatePostUri: `${base}/terminate?reason={text}&${query}`,
    rewindPostUri: `${base}/rewind?reason={text}&${query}`,
    purgeHistoryDeleteUri: `${base}?${query}`,
    restartPostUri: `${base}/restart?${query}`,
    suspendPostUri: `${base}/suspend?reason={text}&${query}`,
    resumePostUri: `${base}/resume?reason={text}&${query}`,
  };
}

interface ApiRequest {
  readonly method: string;
  readonly url: URL;
  readonly segments: readonly string[];
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

interface ApiAnswer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: http.OutgoingHttpHeaders;
}

type Answerer = (request: ApiRequest) => Promise<ApiAnswer>;

async function respond(request: http.IncomingMessage, response: http.ServerResponse, url: URL, path: string, answer: Answerer): Promise<void> {
  const body = await readBody(request, bodyBytesMax);
  if (!body) return endWith(response, 413, { connection: "close" });
  let result: ApiAnswer;
  try {
    const segments = path.split("/").filter(Boolean).map(decodeURIComponent);
    result = await answer({ method: request.method ?? "GET", url, segments, headers: request.headers, body: body.toString("utf8") });
  } catch (error) {
    result = refusal(error);
  }
  const text = result.body === undefined ? "" : JSON.stringify(result.body);
  const type = result.body === undefined ? {} : { "content-type": "application/json; charset=utf-8" };
  response.writeHead(result.status, { ...type, "content-length": Buffer.byteLength(text), ...result.headers });
  response.end(text);
}

function refusal(error: unknown): ApiAnswer {
  if (error instanceof URIError) return badRequest("The path is not properly encoded.");
  if (isDiskFull(error)) return { status: 503, body: { Message: "The disk is full." } };
  if (!(error instanceof TaskHubError)) throw error;
  if (error.message === "") return { status: error.status };
  const invalid = error.status === 400;
  return {
    status: error.status,
    body: {
      Message: invalid ? "One or more of the arguments submitted is incorrect" : "Something went wrong while processing your request",
      ExceptionMessage: error.message,
      ExceptionType: invalid ? "System.ArgumentException" : "System.InvalidOperationException",
    },
  };
}

const notFound: ApiAnswer = { status: 404 };
const badRequest = (message: string): ApiAnswer => ({ status: 400, body: { Message: message } });
const unsupported = (what: string): ApiAnswer => ({ status: 501, body: { Message: `The local host does not support ${what}.` } });

type Links = (origin: string, id: string) => Record<string, string>;

function answerer(hub: TaskHub, links: Links): Answerer {
  return async (request) => {
    const [area, id, operation, name] = request.segments;
    if (area === "orchestrators") {
      if (request.method !== "POST" || id === undefined || request.segments.length > 3) return notFound;
      return start(hub, links, request, id, operation);
    }
    if (area === "entities") return unsupported("entities");
    if (area !== "instances") return notFound;
    if (id === undefined) return request.method === "GET" ? list(hub, request) : request.method === "DELETE" ? purgeMany(hub, request) : notFound;
    if (operation === undefined) return request.method === "GET" ? status(hub, request, id) : request.method === "DELETE" ? purge(hub, id) : notFound;
    if (request.method !== "POST") return notFound;
    return operate(hub, request, id, operation, name);
  };
}

async function start(hub: TaskHub, links: Links, request: ApiRequest, name: string, id: string | undefined): Promise<ApiAnswer> {
  const input = request.body === "" ? "null" : request.body;
  if (!isJson(input)) return badRequest("Invalid JSON content");
  const started = links(request.url.origin, await hub.startNew(name, id, input));
  return { status: 202, body: started, headers: { location: started["statusQueryGetUri"], "retry-after": "10" } };
}

async function operate(hub: TaskHub, request: ApiRequest, id: string, operation: string, name: string | undefined): Promise<ApiAnswer> {
  switch (operation) {
    case "raiseEvent":
      if (name === undefined) return notFound;
      if (!hub.instance(id)) return notFound;
      if (!/^application\/json/i.test(request.headers["content-type"] ?? "")) return badRequest("Only application/json request content is supported");
      if (!isJson(request.body)) return badRequest("Invalid JSON content");
      await hub.raiseEvent(id, name, request.body);
      return { status: 202 };
    case "terminate":
      await hub.terminate(id, request.url.searchParams.get("reason") ?? "");
      return { status: 202 };
    case "suspend":
    case "resume":
    case "rewind":
    case "restart":
      return unsupported(`the operation "${operation}"`);
    default:
      return notFound;
  }
}

function status(hub: TaskHub, request: ApiRequest, id: string): ApiAnswer {
  const instance = hub.instance(id);
  if (!instance) return notFound;
  const { searchParams } = request.url;
  const body = describe(instance, flag(searchParams, "showInput", true));
  if (flag(searchParams, "showHistory", false)) body["historyEvents"] = describeHistory(hub.history(id), flag(searchParams, "showHistoryOutput", false));
  if (!isEnded(instance)) return { status: 202, body, headers: { location: request.url.href, "retry-after": "5" } };
  return { status: instance.status === "Failed" && flag(searchParams, "returnInternalServerErrorOnFailure", false) ? 500 : 200, body };
}

function list(hub: TaskHub, request: ApiRequest): ApiAnswer {
  const { searchParams } = request.url;
  const limit = Math.min(Math.max(Number(searchParams.get("top")) || pageSize, 1), pageSizeMax);
  const token = request.headers["x-ms-continuation-token"];
  const after = typeof token === "string" ? token : undefined;
  const idPrefix = searchParams.get("instanceIdPrefix") ?? undefined;
  const instances = hub.list({ ...filterOf(searchParams), idPrefix, after, limit });
  const last = instances.at(-1);
  const headers = last && instances.length === limit ? { "x-ms-continuation-token": last.id } : {};
  const showInput = flag(searchParams, "showInput", false);
  return { status: 200, body: instances.map((instance) => describe(instance, showInput)), headers };
}

async function purge(hub: TaskHub, id: string): Promise<ApiAnswer> {
  if (!hub.instance(id)) return notFound;
  return { status: 200, body: { instancesDeleted: (await hub.purge(id)) ? 1 : 0 } };
}

async function purgeMany(hub: TaskHub, request: ApiRequest): Promise<ApiAnswer> {
  const filter = filterOf(request.url.searchParams);
  if (filter.createdFrom === undefined) return { status: 400, body: "Please provide value for 'createdTimeFrom' parameter." };
  let deleted = 0;
  let after: string | undefined;
  for (;;) {
    const page = hub.list({ ...filter, after, limit: pageSizeMax });
    const purged = await Promise.all(page.map((instance) => hub.purge(instance.id)));
    deleted += purged.filter(Boolean).length;
    after = page.at(-1)?.id;
    if (page.length < pageSizeMax) break;
  }
  return deleted > 0 ? { status: 200, body: { instancesDeleted: deleted } } : notFound;
}

function filterOf(searchParams: URLSearchParams): Pick<InstanceFilter, "createdFrom" | "createdTo" | "statuses"> {
  const instant = (name: string): number | undefined => {
    const text = searchParams.get(name);
    const at = text === null ? Number.NaN : Date.parse(text);
    return Number.isNaN(at) ? undefined : at;
  };
  const statuses = searchParams.get("runtimeStatus")?.split(",").filter(Boolean);
  return { createdFrom: instant("createdTimeFrom"), createdTo: instant("createdTimeTo"), statuses };
}

function flag(searchParams: URLSearchParams, name: string, fallback: boolean): boolean {
  const text = searchParams.get(name);
  return text === null ? fallback : text.toLowerCase() === "true";
}

/** Times are told to the second, as by the real extension. */
const toSecond = (milliseconds: number): string => `${new Date(milliseconds).toISOString().slice(0, 19)}Z`;
const parsed = (json: string | null): unknown => (json === null ? null : JSON.parse(json));

function describe(instance: Instance, showInput: boolean): Record<string, unknown> {
  return {
    name: instance.name,
    instanceId: instance.id,
    runtimeStatus: instance.status,
    input: showInput ? parsed(instance.input) : null,
    customStatus: parsed(instance.custom),
    output: parsed(instance.output),
    createdTime: toSecond(instance.created),
    lastUpdatedTime: toSecond(instance.updated),
  };
}

const eventNames: Readonly<Record<number, string>> = {
  0: "ExecutionStarted",
  1: "ExecutionCompleted",
  3: "ExecutionTerminated",
  4: "TaskScheduled",
  5: "TaskCompleted",
  6: "TaskFailed",
  10: "TimerCreated",
  11: "TimerFired",
  15: "EventRaised",
};

function describeHistory(events: readonly HistoryEvent[], showOutput: boolean): Record<string, unknown>[] {
  return events
    .filter((event) => eventNames[event.EventType] !== undefined)
    .map((event) => {
      const { IsPlayed: _played, Result, Input, ...rest } = event;
      return { ...rest, EventType: eventNames[event.EventType], ...(showOutput ? { Result, Input } : {}) };
    });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
