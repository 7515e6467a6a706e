// What a blob store does behind its signed addresses, for files that the service keeps in a folder: GET and HEAD with
// ranges, PUT streamed. Who may do what is decided by the signature alone; listing and deleting are not offered.

import type http from "node:http";
import type { ByteRange, FileStat, Files } from "../ports";
import type { Door } from "./http";
import { drained } from "./httpInvoke";
import { log } from "./functionsCore";
import { isNoRoom } from "./noRoom";
import { messageOf } from "./retry";

/** What a signed address allows. */
export interface SignedAccess {
  readonly path: string;
  readonly access: "read" | "write";
}

export interface BlobOptions {
  readonly files: Files;
  /** What the address grants, now; undefined when its signature is wrong or its time is over. */
  readonly parseSigned: (url: URL) => SignedAccess | undefined;
  readonly bytesMax?: number;
  /** Address prefix, with a slash at both ends. */
  readonly prefix?: string;
}

const defaultBytesMax = 16 * 1024 ** 3;

/** The door that serves signed addresses. */
export function createBlobDoor(options: BlobOptions): Door {
  return {
    prefix: options.prefix ?? "/files/",
    async handle(request, response, url) {
      const { method } = request;
      if (method !== "GET" && method !== "HEAD" && method !== "PUT") return refuse(response, 405, "UnsupportedHttpVerb");
      const granted = options.parseSigned(url);
      if (!granted) return refuse(response, 403, "AuthenticationFailed");
      if (granted.access !== (method === "PUT" ? "write" : "read")) return refuse(response, 403, "AuthorizationPermissionMismatch");
      if (method === "PUT") return put(request, response, url, granted.path, options);
      return get(request, response, granted.path, options.files);
    },
  };
}

/** The range that a `Range: bytes=` header asks for of so many bytes; "none" when it cannot be met; undefined: the whole. */
export function parseRange(header: string | undefined, length: number): Required<ByteRange> | "none" | undefined {
  const found = /^\s{0,9}bytes\s{0,9}=\s{0,9}(\d{0,16})\s{0,9}-\s{0,9}(\d{0,16})\s{0,9}$/i.exec(header ?? "");
  if (!found) return undefined;
  const [, from = "", to = ""] = found;
  if (from === "" && to === "") return undefined;
  if (from === "") {
    const tail = Math.min(Number(to), length);
    return tail === 0 ? "none" : { offset: length - tail, length: tail };
  }
  const offset = Number(from);
  const last = to === "" ? length - 1 : Math.min(Number(to), length - 1);
  if (to !== "" && Number(to) < offset) return undefined;
  return offset >= length ? "none" : { offset, length: last - offset + 1 };
}

async function get(request: http.IncomingMessage, response: http.ServerResponse, path: string, files: Files): Promise<void> {
  const stat = await files.stat(path);
  if (!stat) return refuse(response, 404, "BlobNotFound");
  const etag = etagOf(stat);
  if (request.headers["if-none-match"] === etag) {
    response.writeHead(304, { etag });
    response.end();
    return;
  }
  const asked = request.headers["x-ms-range"] ?? request.headers.range;
  const condition = request.headers["if-range"];
  const range = condition === undefined || condition === etag ? parseRange(Array.isArray(asked) ? asked[0] : asked, stat.length) : undefined;
  if (range === "none") return refuse(response, 416, "InvalidRange", { "content-range": `bytes */${stat.length}` });
  const headers: http.OutgoingHttpHeaders = { ...describe(stat, etag), "content-length": range ? range.length : stat.length };
  if (range) headers["content-range"] = `bytes ${range.offset}-${range.offset + range.length - 1}/${stat.length}`;
  const status = range ? 206 : 200;
  if (request.method === "HEAD") {
    response.writeHead(status, headers);
    response.end();
    return;
  }
  const found = await files.read(path, range);
  if (!found) return refuse(response, 404, "BlobNotFound");
  // Replaced since it was looked at: the headers would describe another file.
  if (etagOf(found.stat) !== etag) return refuse(response, 412, "ConditionNotMet");
  response.writeHead(status, headers);
  await send(found.content, response);
}

/** Writes at the pace of the reader; a source that breaks off breaks the response off, so that it cannot pass for whole. */
async function send(content: AsyncIterable<Uint8Array>, response: http.ServerResponse): Promise<void> {
  try {
    for await (const chunk of content) {
      if (response.destroyed) return;
      if (!response.write(chunk)) await drained(response);
    }
    response.end();
  } catch (error) {
    log("error", "system", `files: ${messageOf(error)}`);
    response.destroy();
  }
}

async function put(request: http.IncomingMessage, response: http.ServerResponse, url: URL, path: string, options: BlobOptions): Promise<void> {
  const type = request.headers["x-ms-blob-type"];
  if (type !== undefined && type !== "BlockBlob") return refuse(response, 400, "InvalidHeaderValue");
  if (url.searchParams.has("comp")) return refuse(response, 400, "UnsupportedQueryParameter");
  const bytesMax = options.bytesMax ?? defaultBytesMax;
  if (Number(request.headers["content-length"] ?? 0) > bytesMax) return refuse(response, 413, "RequestBodyTooLarge");
  const limit = { exceeded: false };
  const contentType = request.headers["x-ms-blob-content-type"] ?? request.headers["content-type"];
  try {
    const content = limited(request as AsyncIterable<Uint8Array>, bytesMax, limit);
    const stat = await options.files.put(path, content, Array.isArray(contentType) ? contentType[0] : contentType);
    response.writeHead(201, { etag: etagOf(stat), "last-modified": httpDate(stat.modifiedAt), "content-length": 0 });
    response.end();
  } catch (error) {
    if (limit.exceeded) return refuse(response, 413, "RequestBodyTooLarge");
    if (request.destroyed && !request.complete) return;
    log("error", "system", `files: ${messageOf(error)}`);
    // The store's own word for a moment in which it cannot.
    if (isNoRoom(error)) return refuse(response, 503, "ServerBusy");
    refuse(response, 500, "InternalError");
  }
}

async function* limited(content: AsyncIterable<Uint8Array>, bytesMax: number, limit: { exceeded: boolean }): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of content) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      limit.exceeded = true;
      throw new Error("The body is larger than allowed.");
    }
    yield chunk;
  }
}

function describe(stat: FileStat, etag: string): http.OutgoingHttpHeaders {
  return {
    "content-type": stat.contentType,
    "last-modified": httpDate(stat.modifiedAt),
    etag,
    "accept-ranges": "bytes",
    // What users stored must never run as a page of this address.
    "content-disposition": "attachment",
    "x-content-type-options": "nosniff",
    "x-ms-blob-type": "BlockBlob",
    "x-ms-creation-time": httpDate(stat.createdAt),
  };
}

const httpDate = (instant: string): string => new Date(instant).toUTCString();
const etagOf = (stat: FileStat): string => `"0x${Date.parse(stat.modifiedAt).toString(16)}-${stat.length.toString(16)}"`;

function refuse(response: http.ServerResponse, status: number, code: string, headers: http.OutgoingHttpHeaders = {}): void {
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const body = `<?xml version="1.0" encoding="utf-8"?><Error><Code>${code}</Code></Error>`;
  const connection = response.req.complete ? {} : { connection: "close" };
  const described = { "x-ms-error-code": code, "content-type": "application/xml", "content-length": Buffer.byteLength(body) };
  response.writeHead(status, { ...described, ...connection, ...headers });
  response.end(response.req.method === "HEAD" ? undefined : body);
}
