// One HTTP request through one function, in the library's streaming mode or its message mode. In streaming mode the
// request and the response themselves are handed to the library's own listener, so that bodies flow without another hop;
// the host answers what the library never answers: a handler that throws, or returns nothing.

import type http from "node:http";
import { byReference, log } from "./functionsCore";
import type { RegisteredFunction, TypedData } from "./functionsCore";
import type { Invoker, Outcome } from "./invoke";

export interface HttpInvocation {
  readonly invocationId: string;
  readonly fn: RegisteredFunction;
  readonly params: Record<string, string>;
  readonly request: http.IncomingMessage;
  readonly response: http.ServerResponse;
}

/** Runs the function with streamed bodies. Never throws: what goes wrong is logged and answered with 500, or cuts the response. */
export async function invokeStreaming(invoker: Invoker, server: http.Server, invocation: HttpInvocation): Promise<void> {
  const { invocationId, fn, params, request, response } = invocation;
  const triggerMetadata: Record<string, TypedData> = { Headers: byReference(plainHeaders(request.headers)) };
  for (const name in params) triggerMetadata[name] = { string: params[name] as string };
  request.headers["x-ms-invocation-id"] = invocationId;
  request.headers["x-forwarded-host"] = request.headers.host ?? "localhost";
  request.headers["x-forwarded-proto"] = "http";
  const sink = new ResponseSink(response);
  server.emit("request", request, sink);
  let outcome: Outcome | undefined;
  try {
    outcome = await invoker.run(fn, { data: { http: {} }, triggerMetadata, invocationId });
    if (outcome.failed) throw outcome.error;
    if (writePlainResult(response, outcome.result)) sink.discard();
    await outcome.respond(sink.discarded ? emptyResult : paceBody(outcome.result, response));
  } catch (error) {
    if (!(error instanceof ClientGone)) logFailure(fn, invocationId, error);
    sink.discard();
    // Makes the library forget the request, if it still holds it; when it does not, it throws, and nothing is lost.
    await outcome?.respond(emptyResult).catch(() => {});
    endWith(response, 500);
  }
}

/** Runs the function with the whole body in memory: for apps that do not ask for streaming. */
export async function invokeBuffered(invoker: Invoker, invocation: HttpInvocation, body: Buffer): Promise<void> {
  const { invocationId, fn, params, request, response } = invocation;
  const url = `http://${request.headers.host ?? "localhost"}${request.url ?? "/"}`;
  const query: Record<string, string> = {};
  for (const [name, value] of new URL(url).searchParams) query[name] = name in query ? `${query[name]},${value}` : value;
  const http = {
    method: request.method,
    url,
    nullableHeaders: nullable(plainHeaders(request.headers)),
    nullableQuery: nullable(query),
    nullableParams: nullable(params),
    body: body.length > 0 ? { bytes: body } : undefined,
  };
  try {
    const answer = await invoker.invoke(fn, { data: { http }, invocationId });
    writeMessage(response, answer.returnValue?.http as HttpMessage | undefined);
  } catch (error) {
    logFailure(fn, invocationId, error);
    endWith(response, 500);
  }
}

/** Ends a response with a status and no body, or cuts the connection when it has begun. */
export function endWith(response: http.ServerResponse, status: number, headers: http.OutgoingHttpHeaders = {}): void {
  if (response.destroyed || response.writableEnded) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  response.writeHead(status, { "content-length": 0, ...headers });
  response.end();
}

const emptyResult = { status: 200 };

/**
 * What the library writes to. Once discarded it swallows: the library must be let answer even when the host already has,
 * for it forgets a request only then.
 */
class ResponseSink {
  discarded = false;
  readonly #response: http.ServerResponse;
  constructor(response: http.ServerResponse) {
    this.#response = response;
  }
  discard(): void {
    this.discarded = true;
  }
  set statusCode(status: number) {
    if (!this.discarded) this.#response.statusCode = status;
  }
  setHeader(name: string, value: string | string[]): void {
    if (!this.discarded && name !== "x-ms-invocation-id") this.#response.setHeader(name, value);
  }
  write(chunk: Uint8Array): void {
    if (this.discarded) return;
    // The reader is gone: throwing makes the library stop reading the source.
    if (this.#response.destroyed) throw new ClientGone();
    this.#response.write(chunk);
  }
  end(): void {
    if (!this.discarded && !this.#response.destroyed) this.#response.end();
  }
}

class ClientGone extends Error {
  constructor() {
    super("The client closed the connection.");
  }
}

function logFailure(fn: RegisteredFunction, invocationId: string, error: unknown): void {
  log("error", "user", error instanceof Error ? (error.stack ?? error.message) : String(error), fn.name, invocationId);
}

/** Headers that belong to a connection, which a handler may not set. */
const connectionHeaders = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "trailer",
  "trailers",
  "transfer-encoding",
  "upgrade",
]);

interface PlainResult {
  readonly status?: number;
  readonly headers?: unknown;
  readonly body?: unknown;
  readonly jsonBody?: unknown;
  readonly cookies?: readonly unknown[];
}

/**
 * Writes the common answers (JSON, text, bytes or nothing, with plain headers) in one piece with a Content-Length, which
 * is several times faster than through the library's streams. Answers false, with nothing written, for every other shape.
 */
function writePlainResult(response: http.ServerResponse, value: unknown): boolean {
  const result = (value ?? emptyResult) as PlainResult;
  if (Object.getPrototypeOf(result) !== Object.prototype || (result.cookies && result.cookies.length > 0)) return false;
  const status = result.status ?? 200;
  if (!Number.isInteger(status) || status < 200 || status > 599) return false;
  const payload = plainPayload(result, status);
  if (payload === undefined) return false;
  const headers = plainHeaderList(result.headers);
  if (!headers) return false;
  if (response.destroyed) return true;
  const hasType = headers.some((text, index) => index % 2 === 0 && text === "content-type");
  if (payload.type !== undefined && !hasType) headers.push("content-type", payload.type);
  if (status !== 204 && status !== 304) headers.push("content-length", String(payload.bytes === null ? 0 : Buffer.byteLength(payload.bytes)));
  response.writeHead(status, headers);
  if (payload.bytes === null) response.end();
  else response.end(payload.bytes);
  return true;
}

function plainPayload(result: PlainResult, status: number): { bytes: string | Uint8Array | null; type?: string } | undefined {
  if (status === 204 || status === 205 || status === 304) return { bytes: null };
  if (result.jsonBody !== undefined && result.jsonBody !== null) return { bytes: JSON.stringify(result.jsonBody), type: "application/json" };
  if (result.body === undefined || result.body === null) return { bytes: null };
  if (typeof result.body === "string") return { bytes: result.body, type: "text/plain;charset=UTF-8" };
  return result.body instanceof Uint8Array ? { bytes: result.body } : undefined;
}

/** Lower-case names and values in turn, as writeHead takes them; undefined for shapes that only the library knows. */
function plainHeaderList(headers: unknown): string[] | undefined {
  if (headers === undefined || headers === null) return [];
  const isHeaders = headers instanceof Headers;
  if (!isHeaders && Object.getPrototypeOf(headers) !== Object.prototype) return undefined;
  const list: string[] = [];
  for (const [name, value] of isHeaders ? headers : Object.entries(headers as Record<string, unknown>)) {
    if (typeof value !== "string") return undefined;
    const lower = name.toLowerCase();
    if (lower === "content-length" || connectionHeaders.has(lower)) continue;
    list.push(lower, value);
  }
  return list;
}

/** The same result, its streamed body slowed to what the client takes: the library itself writes without waiting. */
function paceBody(value: unknown, response: http.ServerResponse): unknown {
  const result = (value ?? emptyResult) as PlainResult;
  const body = result.body;
  if (typeof body !== "object" || body === null || !(Symbol.asyncIterator in body)) return result;
  const { status, headers, cookies } = result;
  return { status, headers, cookies, body: ReadableStream.from(paced(body as AsyncIterable<Uint8Array>, response)) };
}

async function* paced(body: AsyncIterable<Uint8Array>, response: http.ServerResponse): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    yield chunk;
    if (response.writableNeedDrain) await drained(response);
    if (response.destroyed) return;
  }
}

/** Resolves when the response takes more, or will never. */
export function drained(response: http.ServerResponse): Promise<void> {
  if (response.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const settle = (): void => {
      response.off("drain", settle);
      response.off("close", settle);
      resolve();
    };
    response.on("drain", settle);
    response.on("close", settle);
  });
}

function plainHeaders(headers: http.IncomingHttpHeaders): Record<string, string> {
  const plain: Record<string, string> = {};
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) plain[name] = typeof value === "string" ? value : value.join(",");
  }
  return plain;
}

function nullable(values: Record<string, string>): Record<string, { value: string }> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }]));
}

interface HttpMessage {
  readonly statusCode?: string;
  readonly headers?: Record<string, string>;
  readonly cookies?: readonly MessageCookie[];
  readonly body?: { readonly bytes?: Uint8Array; readonly string?: string };
}

interface MessageCookie {
  readonly name: string;
  readonly value: string;
  readonly domain?: { readonly value?: string };
  readonly path?: { readonly value?: string };
  readonly httpOnly?: { readonly value?: boolean };
  readonly secure?: { readonly value?: boolean };
  readonly maxAge?: { readonly value?: number };
  readonly sameSite?: string;
}

function writeMessage(response: http.ServerResponse, message: HttpMessage | undefined): void {
  const body = message?.body?.bytes ?? message?.body?.string;
  response.statusCode = Number(message?.statusCode ?? 200);
  for (const [name, value] of Object.entries(message?.headers ?? {})) if (!connectionHeaders.has(name)) response.setHeader(name, value);
  if (message?.cookies && message.cookies.length > 0) response.setHeader("set-cookie", message.cookies.map(cookieText));
  response.end(body === undefined ? undefined : Buffer.from(body as Uint8Array));
}

/** In messages "none" means that nothing is said. */
const sameSiteTexts: Readonly<Record<string, string>> = { lax: "Lax", strict: "Strict", explicitNone: "None" };

function cookieText(cookie: MessageCookie): string {
  let text = `${cookie.name}=${encodeURIComponent(cookie.value)}`;
  if (cookie.maxAge?.value !== undefined) text += `; Max-Age=${Math.trunc(cookie.maxAge.value)}`;
  if (cookie.domain?.value) text += `; Domain=${cookie.domain.value}`;
  if (cookie.path?.value) text += `; Path=${cookie.path.value}`;
  if (cookie.httpOnly?.value) text += "; HttpOnly";
  if (cookie.secure?.value) text += "; Secure";
  const sameSite = sameSiteTexts[cookie.sameSite ?? ""];
  return sameSite === undefined ? text : `${text}; SameSite=${sameSite}`;
}
