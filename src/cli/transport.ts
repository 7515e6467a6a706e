// One signed HTTP request and its repetition: signs, sends, reads the answer, waits and tries again where that is safe.
// Knows nothing of pools or tasks.
import http from "node:http";
import https from "node:https";
import { randomUUID } from "node:crypto";
import type { Connection } from "./connection";
import { ServiceError, UnreachableError } from "./failures";
import { authorization } from "./signing";

export const API_VERSION = "2014-10-01.1.0";
export const JSON_TYPE = "application/json;odata=minimalmetadata";

export interface Call {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE";
  /** Decoded path segments. */
  readonly path: readonly string[];
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** False for the extras under /batchledger, which have no api-version. */
  readonly versioned?: boolean;
  /** Doing it twice is the same as once. Default: every method but POST and PATCH. */
  readonly repeatable?: boolean;
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface TransportOptions {
  /** Milliseconds to go on trying when the service is away or busy. Default 2000. */
  readonly patienceMs?: number;
  /** Milliseconds without any byte before a call counts as broken off. Default 60,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface Transport {
  /** Throws ServiceError for an answer of 400 and above, UnreachableError when there is none. */
  call(call: Call): Promise<Answer>;
  /** A signed request whose body the caller writes: for streams. */
  open(call: Call): http.ClientRequest;
  /** Where it speaks to. */
  readonly url: () => string;
  close(): void;
}

/** `where` is asked again after a lost connection: a restarted service may have another port. */
export function createTransport(where: Connection | (() => Connection), options: TransportOptions = {}): Transport {
  const connect = typeof where === "function" ? where : () => where;
  let connection = connect();
  const agent = new (connection.url.startsWith("https:") ? https : http).Agent({ keepAlive: true, maxSockets: 16 });
  const timeout = options.timeoutMs ?? 60_000;

  const open = (call: Call, body?: Buffer): http.ClientRequest => {
    const base = new URL(connection.url);
    const { path, headers } = prepare(connection, base, call, body);
    // Given apart, the path goes out exactly as it was signed; a URL would tidy it.
    const request = (base.protocol === "https:" ? https : http).request({
      protocol: base.protocol, hostname: base.hostname.replace(/^\[|\]$/g, ""), port: base.port, path,
      method: call.method, headers, agent, timeout, ...(options.signal ? { signal: options.signal } : {}),
    });
    request.on("timeout", () => request.destroy(Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" })));
    return request;
  };

  const once = (call: Call, body: Buffer | undefined): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const request = open(call, body);
      request.on("error", reject);
      request.on("response", (response) => {
        const parts: Buffer[] = [];
        response.on("data", (part: Buffer) => parts.push(part));
        response.on("error", reject);
        response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }));
      });
      request.end(body);
    });

  const call = async (wanted: Call): Promise<Answer> => {
    const body = encode(wanted.body);
    const repeatable = wanted.repeatable ?? (wanted.method !== "POST" && wanted.method !== "PATCH");
    const until = Date.now() + (options.patienceMs ?? 2000);
    for (let attempt = 0; ; attempt++) {
      const answer = await once(wanted, body).catch((error: NodeJS.ErrnoException) => {
        // Refused means that nothing was sent: safe to repeat whatever it was.
        const safe = error.code === "ECONNREFUSED" || repeatable;
        if (options.signal?.aborted || !safe || Date.now() >= until) throw brokenOff(connection.url, error, options.signal);
        return undefined;
      });
      if (answer && !(answer.status === 503 && Date.now() < until)) return settle(answer);
      await pause(backoff(attempt, answer?.headers["retry-after"]), options.signal);
      if (!answer) connection = reconnect(connect, connection);
    }
  };
  return { call, open, url: () => connection.url, close: () => agent.destroy() };
}

/** Milliseconds to wait before the next try: doubling from 50 to 2000 with a random half, or what the service asks for. */
export function backoff(attempt: number, retryAfter?: string): number {
  const asked = Number(retryAfter);
  if (Number.isFinite(asked) && asked > 0) return Math.min(asked, 10) * 1000;
  const most = Math.min(2000, 50 * 2 ** Math.min(attempt, 10));
  return most / 2 + Math.random() * (most / 2);
}

/** Resolves after the time; rejects at once when the signal is given. */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

/** The error that an answer of 400 and above stands for; other answers pass. */
export function settle(answer: Answer): Answer {
  if (answer.status < 400) return answer;
  const requestId = text(answer.headers["request-id"]);
  let code = `Http${answer.status}`;
  let message = http.STATUS_CODES[answer.status] ?? "The service refused.";
  let values: { key: string; value: string }[] = [];
  try {
    const body = JSON.parse(answer.body.toString("utf8")) as { code?: string; message?: { value?: string } | string; values?: typeof values };
    if (body.code) code = body.code;
    const said = typeof body.message === "string" ? body.message : body.message?.value;
    // The service appends the request's id and time on lines of their own.
    if (said) message = said.split(/\nRequestId:/)[0] as string;
    if (Array.isArray(body.values)) values = body.values;
  } catch {
    // Not the service's own error body (a HEAD, a proxy): the status has to do.
  }
  throw new ServiceError(answer.status, code, message, values, requestId);
}

export function brokenOff(url: string, error: NodeJS.ErrnoException, signal?: AbortSignal): Error {
  if (signal?.aborted) return signal.reason as Error;
  return new UnreachableError(url, error.code ?? error.message);
}

function reconnect(connect: () => Connection, last: Connection): Connection {
  try {
    return connect();
  } catch {
    return last;
  }
}

function prepare(connection: Connection, base: URL, call: Call, body: Buffer | undefined): { path: string; headers: Record<string, string> } {
  const query = Object.entries({ ...call.query, ...(call.versioned === false ? {} : { "api-version": API_VERSION }) })
    .filter((pair): pair is [string, string] => pair[1] !== undefined);
  const path = `${base.pathname.replace(/\/$/, "")}/${call.path.map(encodeURIComponent).join("/")}`;
  const headers: Record<string, string> = {
    accept: JSON_TYPE,
    "client-request-id": randomUUID(),
    "ocp-date": new Date().toUTCString(),
    ...(body === undefined ? {} : { "content-type": JSON_TYPE, "content-length": String(body.length) }),
    ...call.headers,
  };
  if (body === undefined && !headers["transfer-encoding"] && call.method !== "GET" && call.method !== "HEAD") headers["content-length"] = "0";
  headers["authorization"] = connection.token === undefined
    ? authorization(connection.account, connection.key, { method: call.method, path, query, headers })
    : `Bearer ${connection.token}`;
  const search = query.map(([name, value]) => (value === "" ? encodeURIComponent(name) : `${encodeURIComponent(name)}=${encodeURIComponent(value)}`));
  return { path: `${path}${search.length ? `?${search.join("&")}` : ""}`, headers };
}

const encode = (body: unknown): Buffer | undefined => (body === undefined ? undefined : Buffer.from(JSON.stringify(body)));
const text = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value);
