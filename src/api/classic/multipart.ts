// multipart/mixed as batches have it (reference section 4, odata-batch-processing): bytes to requests, answers to text. The whole
// of a batch is taken apart before anything of it is done: what cannot be read refuses the batch, and says which part and why.
import { type Rejection, rejection } from "../../domain/decider";
import type { PartAnswer, PartRequest } from "../operation";

/** Most requests of one batch. */
export const BATCH_REQUESTS_MAX = 100;
const HEADERS_MAX = 50;
const HEAD_MAX_BYTES = 16 * 1024;

/** A request of a batch: reading ones stand alone, changing ones alone in a change set. */
export interface BatchRequest extends PartRequest {
  readonly changes: boolean;
  readonly contentId?: string;
}

class Malformed extends Error {}

const fail = (reason: string): never => {
  throw new Malformed(reason);
};

/** The requests of a batch in order, or what is wrong with it. `host`: addresses of requests may name this one alone. */
export const parseBatch = (contentType: string | null, bytes: Uint8Array, host: string): readonly BatchRequest[] | Rejection => {
  const boundary = boundaryOf(contentType ?? "");
  if (boundary === undefined)
    return rejection("InvalidHeaderValue", undefined, { HeaderName: "Content-Type", HeaderValue: contentType ?? "", Reason: "expected multipart/mixed with a boundary" });
  try {
    const parts = partsOf(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), boundary);
    if (parts.length === 0) fail("it has no parts");
    if (parts.length > BATCH_REQUESTS_MAX) fail(`it has more than ${BATCH_REQUESTS_MAX} parts`);
    return parts.map((part, index) => numbered(index + 1, () => requestOf(part, host)));
  } catch (error) {
    if (error instanceof Malformed) return rejection("InvalidRequestBody", `The batch cannot be read, and nothing of it was done: ${error.message}.`, { Reason: error.message });
    throw error;
  }
};

const numbered = <T>(part: number, read: () => T): T => {
  try {
    return read();
  } catch (error) {
    throw error instanceof Malformed ? new Malformed(`part ${part}: ${error.message}`) : error;
  }
};

const boundaryOf = (contentType: string): string | undefined => {
  if (!/^multipart\/mixed\s*;/i.test(contentType)) return undefined;
  const match = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))\s*(?:;|$)/i.exec(contentType);
  return match?.[1] ?? match?.[2];
};

// ---------------------------------------------------------------- parts

interface Part {
  readonly headers: ReadonlyMap<string, string>;
  readonly content: Buffer;
}

const LF = 10;
const CR = 13;

/** What stands between the lines of the boundary; what comes before the first or after the last is nobody's. */
const partsOf = (bytes: Buffer, boundary: string): Part[] => {
  const line = Buffer.from(`--${boundary}`);
  const parts: Part[] = [];
  let start: number | undefined;
  for (let at = bytes.indexOf(line); at >= 0; at = bytes.indexOf(line, at + line.length)) {
    if (at > 0 && bytes[at - 1] !== LF) continue;
    const after = at + line.length;
    const last = bytes[after] === 45 && bytes[after + 1] === 45;
    const end = bytes.indexOf(LF, after);
    // A longer boundary that begins like this one is another one.
    if (!last && bytes.subarray(after, end < 0 ? undefined : end).toString("latin1").trim() !== "") continue;
    if (start !== undefined) parts.push(partOf(bytes.subarray(start, Math.max(start, withoutLineEnd(bytes, at)))));
    if (last) return parts;
    if (end < 0) break;
    if (parts.length > BATCH_REQUESTS_MAX) return parts;
    start = end + 1;
  }
  return fail(start === undefined ? "its boundary is not in it" : "it ends before its last boundary");
};

/** The line end before a boundary belongs to the boundary. */
const withoutLineEnd = (bytes: Buffer, at: number): number => (bytes[at - 2] === CR ? at - 2 : at - 1);

const partOf = (bytes: Buffer): Part => {
  const { lines, rest } = headOf(bytes);
  return { headers: headersOf(lines), content: rest };
};

/** Lines up to the first empty one, and what follows. */
const headOf = (bytes: Buffer): { lines: string[]; rest: Buffer } => {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(LF, at);
    const stop = end < 0 ? bytes.length : end;
    const line = bytes.subarray(at, bytes[stop - 1] === CR && stop > at ? stop - 1 : stop).toString("utf8");
    at = end < 0 ? bytes.length : end + 1;
    if (line === "") return { lines, rest: bytes.subarray(at) };
    lines.push(line);
    if (at > HEAD_MAX_BYTES || lines.length > HEADERS_MAX) fail("its headers are too long");
  }
  return { lines, rest: bytes.subarray(bytes.length) };
};

const HEADER = /^([A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}):([\t\x20-\x7e]*)$/;

const headersOf = (lines: readonly string[]): ReadonlyMap<string, string> => {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const match = HEADER.exec(line);
    if (!match) return fail("a line of its headers is none");
    const name = (match[1] as string).toLowerCase();
    if (headers.has(name)) fail(`its header ${name} is there twice`);
    headers.set(name, (match[2] as string).trim());
  }
  return headers;
};

// ---------------------------------------------------------------- requests

const requestOf = (part: Part, host: string): BatchRequest => {
  const type = part.headers.get("content-type") ?? "";
  if (/^application\/http\s*(?:;|$)/i.test(type)) {
    const request = httpRequest(part, host);
    if (request.method !== "GET" && request.method !== "HEAD") fail("what changes something stands in a change set of its own");
    return { ...request, changes: false };
  }
  const boundary = boundaryOf(type);
  if (boundary === undefined) return fail("its Content-Type is neither application/http nor multipart/mixed with a boundary");
  const inner = partsOf(part.content, boundary);
  const [only] = inner;
  // One change set is done whole or not at all: of one request that is always so.
  if (only === undefined || inner.length > 1) return fail(`a change set holds exactly one request, and this one has ${inner.length}`);
  if (!/^application\/http\s*(?:;|$)/i.test(only.headers.get("content-type") ?? "")) fail("the Content-Type within its change set is not application/http");
  const request = httpRequest(only, host);
  if (request.method === "GET" || request.method === "HEAD") fail("what only reads does not stand in a change set");
  return { ...request, changes: true };
};

const REQUEST_LINE = /^(GET|HEAD|POST|PUT|PATCH|DELETE|MERGE) (\S{1,4096}) HTTP\/1\.[01]$/;

const httpRequest = (part: Part, host: string): Omit<BatchRequest, "changes"> => {
  const coding = part.headers.get("content-transfer-encoding");
  if (coding !== undefined && coding.toLowerCase() !== "binary") fail("its Content-Transfer-Encoding is not binary");
  const { lines, rest } = headOf(part.content);
  const match = REQUEST_LINE.exec(lines[0] ?? "");
  if (!match) return fail("its first line is not METHOD ADDRESS HTTP/1.1");
  const headers = new Map(headersOf(lines.slice(1)));
  const body = bodyOf(headers.get("content-length"), rest);
  // Whoever signed the whole speaks for its parts.
  for (const name of ["authorization", "host", "content-length", "transfer-encoding"]) headers.delete(name);
  if (body.length > 0) headers.set("content-length", String(body.length));
  const contentId = part.headers.get("content-id");
  return { method: match[1] as string, target: targetOf(match[2] as string, host), headers, body, ...(contentId === undefined ? {} : { contentId: contentId.slice(0, 128) }) };
};

const bodyOf = (length: string | undefined, rest: Buffer): Buffer => {
  if (length === undefined) {
    // Without a length it goes to the end of the part; writers leave a line end or two there.
    const text = rest.toString("latin1").trimEnd().length;
    return rest.subarray(0, text);
  }
  if (!/^\d{1,9}$/.test(length)) return fail("its Content-Length is no number");
  return Number(length) > rest.length ? fail("it has fewer bytes than its Content-Length says") : rest.subarray(0, Number(length));
};

/** Absolute, from the root, or from the service's root: always of this service. */
const targetOf = (text: string, host: string): string => {
  const base = `http://${host}/`;
  if (!URL.canParse(text, base)) return fail("its address is none");
  const url = new URL(text, base);
  if (!/^https?:$/.test(url.protocol) || url.host.toLowerCase() !== host.toLowerCase() || url.username !== "" || url.password !== "")
    return fail("its address is of another service");
  return url.pathname + url.search;
};

// ---------------------------------------------------------------- answers

const REASONS: Readonly<Record<number, string>> = {
  200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 304: "Not Modified", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
  405: "Method Not Allowed", 409: "Conflict", 412: "Precondition Failed", 413: "Payload Too Large", 500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable",
};

const EOL = "\r\n";

/** The body of the answer to a batch. A change that was refused is answered without its change set, as OData has it. */
export const renderBatch = (boundary: string, answers: readonly { readonly request: BatchRequest; readonly answer: PartAnswer }[]): string =>
  answers.map(({ request, answer }, index) => `--${boundary}${EOL}${partText(request, answer, `changesetresponse_${boundary.slice(-12)}_${index}`)}${EOL}`).join("") + `--${boundary}--${EOL}`;

const partText = (request: BatchRequest, answer: PartAnswer, boundary: string): string => {
  const http = httpText(request, answer);
  if (!request.changes || answer.status >= 400) return http;
  return [`Content-Type: multipart/mixed; boundary=${boundary}`, "", `--${boundary}`, http, `--${boundary}--`, ""].join(EOL);
};

const httpText = (request: BatchRequest, { status, headers, body }: PartAnswer): string =>
  [
    "Content-Type: application/http",
    "Content-Transfer-Encoding: binary",
    ...(request.contentId === undefined ? [] : [`Content-ID: ${request.contentId}`]),
    "",
    `HTTP/1.1 ${status} ${REASONS[status] ?? "Unknown"}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `Content-Length: ${Buffer.byteLength(body)}`,
    "",
    body,
  ].join(EOL);

