// The host's one listener: limits, Host check, the host's own doors, then the function whose route matches. It answers
// nothing of the app's own and keeps no state per client.

import { createHash, timingSafeEqual } from "node:crypto";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { functionsOf, log } from "./functionsCore";
import type { RegisteredFunction } from "./functionsCore";
import { endWith, invokeBuffered, invokeStreaming } from "./httpInvoke";
import type { HttpInvocation } from "./httpInvoke";
import type { Invoker } from "./invoke";
import type { HostClock } from "./clock";
import { findRoute, orderRoutes, parseTemplate, splitPath } from "./routes";
import type { Route } from "./routes";

/** A part of the path that the host serves itself. */
export interface Door {
  /** Begins and ends with a slash. */
  readonly prefix: string;
  handle(request: http.IncomingMessage, response: http.ServerResponse, url: URL): Promise<void>;
}

export interface Keys {
  /** Opens everything. */
  readonly master: string;
  /** Opens functions of level `function`. */
  readonly host: string;
  /** Opens the durable webhooks. */
  readonly system: string;
}

export interface FrontOptions {
  readonly invoker: Invoker;
  readonly clock: HostClock;
  /** The library's captured server; absent: message mode. */
  readonly streamServer: http.Server | undefined;
  /** `extensions.http.routePrefix` of host.json. */
  readonly routePrefix: string;
  readonly keys: Keys;
  readonly doors: readonly Door[];
  /** Names besides loopback's that a Host header may carry. */
  readonly extraHosts: readonly string[];
  readonly limits: Partial<HttpLimits>;
}

export interface HttpLimits {
  readonly bodyBytesMax: number;
  readonly headerBytesMax: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** A connection on which nothing moves for so long is closed; longer than the 230 s that a response may take. */
  readonly idleTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly connectionsMax: number;
}

export interface Front {
  listen(port: number, bind: string): Promise<number>;
  /** New requests for functions are answered 503 from now on; the host's doors stay open. */
  refuse(): void;
  close(): Promise<void>;
}

const defaultLimits: HttpLimits = {
  bodyBytesMax: 100 * 1024 * 1024,
  headerBytesMax: 32 * 1024,
  headersTimeoutMs: 20_000,
  requestTimeoutMs: 600_000,
  idleTimeoutMs: 240_000,
  keepAliveTimeoutMs: 65_000,
  connectionsMax: 4_096,
};

/** Makes the listener over the registered HTTP functions. Throws on a route or level that cannot be honoured. */
export function createFront(options: FrontOptions): Front {
  const limits = { ...defaultLimits, ...options.limits };
  const routes = collectRoutes(options.routePrefix);
  const hosts = hostCheck(options.extraHosts);
  let refusing = false;

  const parsing = { maxHeaderSize: limits.headerBytesMax, insecureHTTPParser: false, requireHostHeader: true };
  const server = http.createServer(parsing, (request, response) => {
    response.on("error", ignore);
    void serve(request, response).catch((error: unknown) => {
      log("error", "system", `http: ${error instanceof Error ? error.stack : String(error)}`);
      endWith(response, 500);
    });
  });
  configure(server, limits);

  async function serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const target = request.url ?? "";
    const refusal = refuseRequest(request, target, hosts);
    if (refusal !== undefined) return endWith(response, refusal, closing);
    for (const door of options.doors) {
      if (target.startsWith(door.prefix)) return door.handle(request, response, new URL(`http://${request.headers.host}${target}`));
    }
    if (refusing) return endWith(response, 503, { "retry-after": "1", ...closing });
    const queryAt = target.indexOf("?");
    const parts = splitPath(queryAt < 0 ? target : target.slice(0, queryAt));
    if (!parts) return endWith(response, 400, closing);
    const found = findRoute(routes, request.method ?? "GET", parts);
    if (!found) return endWith(response, 404);
    const { fn, level } = found.target;
    if (level !== "anonymous" && !mayCall(level, presentedKey(request, target), options.keys)) return endWith(response, 401);
    await call({ invocationId: options.clock.uuid(), fn, params: found.params, request, response });
  }

  async function call(invocation: HttpInvocation): Promise<void> {
    const { request, response } = invocation;
    const length = request.headers["content-length"];
    if (length !== undefined && Number(length) > limits.bodyBytesMax) return endWith(response, 413, closing);
    if (options.streamServer) {
      if (request.headers["transfer-encoding"] !== undefined) limitBody(request, response, limits.bodyBytesMax);
      return invokeStreaming(options.invoker, options.streamServer, invocation);
    }
    const body = await readBody(request, limits.bodyBytesMax);
    if (!body) return endWith(response, 413, closing);
    return invokeBuffered(options.invoker, invocation, body);
  }

  return {
    listen: (port, bind) => listen(server, port, bind),
    refuse: () => {
      refusing = true;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The whole body, or undefined when it is longer than allowed; the rest of it is not read. */
export async function readBody(request: http.IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) return undefined;
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
}

/** Compares secrets without telling by time where they differ. */
export function sameSecret(a: string, b: string): boolean {
  return timingSafeEqual(createHash("sha256").update(a).digest(), createHash("sha256").update(b).digest());
}

/** The key that a request shows: header first, then `?code=`. */
export function presentedKey(request: http.IncomingMessage, target: string): string | undefined {
  const header = request.headers["x-functions-key"];
  if (typeof header === "string") return header;
  const queryAt = target.indexOf("?");
  return queryAt < 0 ? undefined : (new URLSearchParams(target.slice(queryAt + 1)).get("code") ?? undefined);
}

const closing = { connection: "close" };
const ignore = (): void => {};

interface HttpFunction {
  readonly fn: RegisteredFunction;
  readonly level: string;
}

function collectRoutes(prefix: string): Route<HttpFunction>[] {
  const routes = functionsOf("httptrigger").map((fn) => {
    const { route, methods, authLevel } = fn.trigger as { route?: string; methods?: string[]; authLevel?: string };
    const level = (authLevel ?? "anonymous").toLowerCase();
    if (!["anonymous", "function", "admin"].includes(level)) throw new Error(`Function "${fn.name}": unknown authLevel "${level}".`);
    return {
      target: { fn, level },
      segments: parseTemplate(`${prefix}/${route || fn.name}`),
      methods: methods && methods.length > 0 ? new Set(methods.map((method) => method.toUpperCase())) : undefined,
    };
  });
  return orderRoutes(routes);
}

function mayCall(level: string, key: string | undefined, keys: Keys): boolean {
  if (key === undefined) return false;
  return sameSecret(key, keys.master) || (level === "function" && sameSecret(key, keys.host));
}

/** The status that a request deserves before anything looks at it, or undefined. */
function refuseRequest(request: http.IncomingMessage, target: string, knownHost: (host: string) => boolean): number | undefined {
  const { headers } = request;
  if (!target.startsWith("/") || target.startsWith("//")) return 400;
  if (headers["transfer-encoding"] !== undefined && headers["content-length"] !== undefined) return 400;
  // A page on the web may make a browser call a loopback address under the page's own name; the name gives it away.
  if (headers.host === undefined || !knownHost(headers.host)) return 421;
  return undefined;
}

const hostsRememberedMax = 256;

function hostCheck(extraHosts: readonly string[]): (host: string) => boolean {
  const names = new Set(["localhost", "[::1]", ...extraHosts.map((name) => name.toLowerCase())]);
  const known = new Map<string, boolean>();
  return (host) => {
    const remembered = known.get(host);
    if (remembered !== undefined) return remembered;
    const lower = host.toLowerCase();
    const name = lower.replace(/:\d{1,5}$/, "");
    const good = names.has(name) || names.has(lower) || /^127(?:\.\d{1,3}){3}$/.test(name);
    if (known.size >= hostsRememberedMax) known.clear();
    known.set(host, good);
    return good;
  };
}

function configure(server: http.Server, limits: HttpLimits): void {
  server.headersTimeout = limits.headersTimeoutMs;
  server.requestTimeout = limits.requestTimeoutMs;
  server.timeout = limits.idleTimeoutMs;
  server.keepAliveTimeout = limits.keepAliveTimeoutMs;
  server.maxConnections = limits.connectionsMax;
  server.maxHeadersCount = 100;
}

function listen(server: http.Server, port: number, bind: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, bind, () => {
      server.off("error", reject);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** Counts a body of unknown length as it arrives, and cuts it at the limit. */
function limitBody(request: http.IncomingMessage, response: http.ServerResponse, bytesMax: number): void {
  const push = request.push.bind(request);
  let bytes = 0;
  request.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    bytes += chunk?.length ?? 0;
    if (bytes <= bytesMax) return push(chunk, encoding);
    endWith(response, 413, closing);
    request.destroy(new Error("The request body is larger than allowed."));
    return false;
  };
}
