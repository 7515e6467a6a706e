// Fetches resource files into a task's folder. Only https to public addresses, and whatever goes to hosts that are listed: by the
// operator, and the service itself; no inner address behind a public name, this machine's own neither; no redirects. Files are written under a temporary name and renamed. Identical
// files wanted by many tasks are kept with their ETag and asked for again with If-None-Match, so that a changed one is
// noticed. Addresses hold signatures: they never appear in an error.
import { createHash } from "node:crypto";
import dns from "node:dns";
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import path from "node:path";
import type { ResourceFile, SchedulingError } from "../wire";
import { openFolder, resolveInside, type Folder, type Owner } from "./beneath";

export interface DownloadOptions {
  /** The TVM's root, and the folder below it that file paths are relative to. */
  readonly root: string;
  readonly folder: readonly string[];
  readonly owner: Owner | undefined;
  readonly cache: DownloadCache;
  readonly allowHosts: readonly string[];
  readonly limits: DownloadLimits;
  readonly signal: AbortSignal;
  /** The service keeps this file itself: while it restarts, it is waited for, as reports wait for it. */
  readonly isService?: (url: URL) => boolean;
}

export interface DownloadLimits {
  readonly fileBytesMax: number;
  /** For one file, and for a pause in its transfer. */
  readonly fileMs: number;
  readonly idleMs: number;
}

export const DEFAULT_DOWNLOAD_LIMITS: DownloadLimits = { fileBytesMax: 64 * 2 ** 30, fileMs: 3_600_000, idleMs: 60_000 };

const PARALLEL = 4;
const TRIES = 4;
const RETRY_MS = 200;
/** A service that does not answer is asked this often, for this long. An agent that hears nothing ends its tasks before that. */
const SERVICE_RETRY_MS = 500;
const SERVICE_AWAY_MS = 60_000;
const FILES_MAX = 1_000;
const CACHED_FILE_BYTES_MAX = 256 * 2 ** 20;
const CACHE_BYTES_MAX = 2 ** 30;
const CACHE_FILES_MAX = 1_000;

export class DownloadError extends Error {
  /** `away`: nobody answered, not to the end, or only to say that it is stopping. */
  constructor(readonly error: SchedulingError, readonly again = false, readonly away = false) {
    super(error.message);
  }
}

/** Fetches all files, some at a time; rejects with a DownloadError for the first that fails. */
export async function download(files: readonly ResourceFile[], options: DownloadOptions): Promise<void> {
  if (files.length > FILES_MAX) throw userError("BlobAccessDenied", `More than ${FILES_MAX} resource files.`);
  const abort = new AbortController();
  const signal = AbortSignal.any([options.signal, abort.signal]);
  const queue = [...files];
  const worker = async (): Promise<void> => {
    for (let file = queue.shift(); file && !signal.aborted; file = queue.shift()) await fetchFile(file, { ...options, signal });
  };
  try {
    await Promise.all(Array.from({ length: Math.min(PARALLEL, files.length) }, worker));
  } catch (error) {
    abort.abort();
    throw error;
  }
  if (options.signal.aborted) throw serverError("BlobDownloadMiscError", "The download was given up.");
}

async function fetchFile(file: ResourceFile, options: DownloadOptions): Promise<void> {
  // As in the file API, a back slash parts names too: the seed's users write them so.
  const segments = resolveInside(file.filePath.replaceAll("\\", "/"));
  const name = segments?.at(-1);
  if (!segments || name === undefined) throw serverError("ResourceFileCreateFailed", `The file path ${shown(file.filePath)} is not allowed.`);
  const url = checkedUrl(file, options.allowHosts);
  // One at a time for each address: the second finds the file of the first in the cache and only asks whether it changed.
  await options.cache.inTurn(file.blobSource, async () => {
    let awaySince = Infinity;
    for (let attempt = 1; ; attempt++) {
      try {
        return await tryFile(file, url, [...options.folder, ...segments.slice(0, -1)], name, options);
      } catch (error) {
        const known = error instanceof DownloadError ? error : writeError(error, file);
        const waits = known.away && options.isService?.(url) === true;
        awaySince = Math.min(awaySince, performance.now());
        const over = waits ? performance.now() - awaySince > SERVICE_AWAY_MS : attempt >= TRIES;
        if (!known.again || over || options.signal.aborted) throw known;
        const pause = Math.min(RETRY_MS * 2 ** (attempt - 1), waits ? SERVICE_RETRY_MS : Infinity);
        await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
      }
    }
  });
}

/** The file becomes whole in the agent's own folder, where no task can swap it, and is then moved to its place. */
async function tryFile(file: ResourceFile, url: URL, folderSegments: readonly string[], name: string, options: DownloadOptions): Promise<void> {
  const folder = makeFolder(options, folderSegments);
  const unfinished = options.cache.unfinished();
  try {
    const kept = options.cache.find(file.blobSource);
    const response = await request(url, file, kept?.etag, options);
    if (response.statusCode === 304 && kept) {
      response.resume();
      await fs.promises.copyFile(kept.file, unfinished, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE);
    } else {
      await receive(response, unfinished, file, options);
      const etag = response.headers.etag;
      if (etag !== undefined) await options.cache.keep(file.blobSource, etag, unfinished);
    }
    // Readable and executable for the task's user: a resource file may be the program.
    fs.chmodSync(unfinished, 0o700);
    if (options.owner) fs.chownSync(unfinished, options.owner.uid, options.owner.gid);
    fs.renameSync(unfinished, folder.at(name));
  } finally {
    fs.rmSync(unfinished, { force: true });
    folder.close();
  }
}

function makeFolder(options: DownloadOptions, segments: readonly string[]): Folder {
  try {
    return openFolder(options.root, segments, { make: true, owner: options.owner });
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (isFull(code)) throw serverError("DiskFull", "The disk is full.");
    throw serverError("ResourceDirectoryCreateFailed", `A folder for a resource file could not be made (${code ?? "unknown"}).`);
  }
}

// ---------------------------------------------------------------- requests

function request(url: URL, file: ResourceFile, etag: string | undefined, options: DownloadOptions): Promise<http.IncomingMessage> {
  const allowed = hostListed(url, options.allowHosts);
  const headers: http.OutgoingHttpHeaders = { "x-ms-version": "2021-12-02", ...(etag === undefined ? {} : { "if-none-match": etag }) };
  return new Promise((resolve, reject) => {
    const outgoing = (url.protocol === "https:" ? https : http).get(url, {
      headers, agent: url.protocol === "https:" ? secureAgent : plainAgent, timeout: options.limits.idleMs, signal: options.signal, lookup: guardedLookup(url.protocol, allowed),
    });
    // Once the answer has begun, it is the answer that ends with the reason.
    let body: http.IncomingMessage | undefined;
    outgoing.on("timeout", () => (body ?? outgoing).destroy(timedOut(file)));
    outgoing.on("error", (error) => reject(error instanceof DownloadError ? error : networkError(file, error)));
    outgoing.on("response", (response) => {
      const refusal = statusError(response, etag !== undefined, file);
      body = response;
      if (!refusal) return resolve(response);
      response.destroy();
      reject(refusal);
    });
  });
}

async function receive(response: http.IncomingMessage, to: string, file: ResourceFile, options: DownloadOptions): Promise<void> {
  const announced = Number(response.headers["content-length"] ?? NaN);
  const timer = setTimeout(() => response.destroy(timedOut(file)), options.limits.fileMs);
  const handle = createFile(to);
  let length = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      length += piece.length;
      if (length > options.limits.fileBytesMax) throw serverError("BlobDownloadMiscError", `The resource file ${shown(file.filePath)} is larger than allowed.`);
      for (let done = 0; done < piece.length;) done += fs.writeSync(handle, piece, done);
    }
  } catch (error) {
    throw error instanceof DownloadError || isWriteError(error) ? error : networkError(file, error as Error);
  } finally {
    clearTimeout(timer);
    fs.closeSync(handle);
    response.destroy();
  }
  if (!Number.isNaN(announced) && announced !== length) throw networkError(file, new Error("cut short"));
}

function createFile(to: string): number {
  return fs.openSync(to, fs.constants.O_WRONLY | fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_NOFOLLOW, 0o600);
}

const plainAgent = new http.Agent({ keepAlive: true, maxSockets: 32 });
const secureAgent = new https.Agent({ keepAlive: true, maxSockets: 32 });

function checkedUrl(file: ResourceFile, allowHosts: readonly string[]): URL {
  const url = URL.canParse(file.blobSource) ? new URL(file.blobSource) : undefined;
  if (!url || (url.protocol !== "https:" && url.protocol !== "http:") || url.username !== "" || url.password !== "") {
    throw userError("BlobAccessDenied", `The source of ${shown(file.filePath)} is not an address that can be fetched.`);
  }
  if (!hostListed(url, allowHosts) && !portAllowed(url.port)) throw notAllowed();
  const literal = url.hostname.replace(/^\[|\]$/g, "");
  // The resolver is not asked about addresses, so the guard is.
  if (net.isIP(literal) !== 0 && !addressAllowed(literal, url.protocol, hostListed(url, allowHosts))) throw notAllowed();
  return url;
}

/** Stores listen on https's own port or on high ones; below are mail, shells and the like. */
function portAllowed(port: string): boolean {
  return port === "" || port === "443" || Number(port) >= 1024;
}

function hostListed(url: URL, allowHosts: readonly string[]): boolean {
  return allowHosts.includes(url.hostname) || allowHosts.includes(url.host);
}

/** Connections go to the very addresses that were checked. */
function guardedLookup(protocol: string, listed: boolean): net.LookupFunction {
  return (hostname, options, callback) => {
    dns.lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, []);
      if (addresses.length === 0 || !addresses.every((one) => addressAllowed(one.address, protocol, listed))) return callback(notAllowed() as unknown as NodeJS.ErrnoException, []);
      if (options.all) return callback(null, addresses);
      const [first] = addresses;
      callback(null, first?.address ?? "", first?.family);
    });
  };
}

// Private, shared, link-local (metadata of clouds), reserved, multicast; the door of Azure's host to its machines; forms of IPv6 that
// hold an address of IPv4.
const inner = blockList([
  ["0.0.0.0", 8, "ipv4"], ["127.0.0.0", 8, "ipv4"], ["10.0.0.0", 8, "ipv4"], ["100.64.0.0", 10, "ipv4"], ["169.254.0.0", 16, "ipv4"], ["168.63.129.16", 32, "ipv4"], ["172.16.0.0", 12, "ipv4"],
  ["192.0.0.0", 24, "ipv4"], ["192.168.0.0", 16, "ipv4"], ["198.18.0.0", 15, "ipv4"], ["224.0.0.0", 4, "ipv4"], ["240.0.0.0", 4, "ipv4"],
  ["::", 96, "ipv6"], ["64:ff9b::", 96, "ipv6"], ["64:ff9b:1::", 48, "ipv6"], ["2001::", 32, "ipv6"], ["2002::", 16, "ipv6"], ["fc00::", 7, "ipv6"], ["fe80::", 10, "ipv6"], ["fec0::", 10, "ipv6"], ["ff00::", 8, "ipv6"],
]);

/** Exported for tests. `listed`: this host is allowed whatever its address. */
export function addressAllowed(address: string, protocol: string, listed: boolean): boolean {
  if (listed) return true;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped === undefined && /^::ffff:/i.test(address)) return false;
  const plain = mapped ?? address;
  const family = net.isIPv6(plain) ? "ipv6" : "ipv4";
  return protocol === "https:" && !inner.check(plain, family);
}

function blockList(subnets: readonly (readonly [string, number, "ipv4" | "ipv6"])[]): net.BlockList {
  const list = new net.BlockList();
  for (const [network, prefix, family] of subnets) list.addSubnet(network, prefix, family);
  return list;
}

// ---------------------------------------------------------------- errors

function statusError({ statusCode: status = 0, headers }: http.IncomingMessage, conditional: boolean, file: ResourceFile): DownloadError | undefined {
  if (status === 200 || (status === 304 && conditional)) return undefined;
  const name = shown(file.filePath);
  if (status === 404 || status === 410) return userError("BlobNotFound", `The blob of resource file ${name} does not exist.`);
  // The store's word for an account that has no public blobs, asked for one without a signature.
  const closed = status === 409 && headers["x-ms-error-code"] === "PublicAccessNotPermitted";
  if (status === 401 || status === 403 || closed) return userError("BlobAccessDenied", `The store refused access to the blob of resource file ${name}.`);
  if (status === 408 || status === 504) return timedOut(file);
  const error = serverError("BlobDownloadMiscError", `The store answered ${status} for resource file ${name}.`);
  return new DownloadError(error.error, status >= 500 || status === 429, status === 503);
}

function networkError(file: ResourceFile, error: Error): DownloadError {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ETIMEDOUT") return timedOut(file);
  return new DownloadError({ category: "ServerError", code: "BlobDownloadMiscError", message: `The resource file ${shown(file.filePath)} could not be fetched${code ? ` (${code})` : ""}.` }, true, true);
}

function timedOut(file: ResourceFile): DownloadError {
  return new DownloadError({ category: "ServerError", code: "BlobDownloadTimedOut", message: `Fetching the resource file ${shown(file.filePath)} took too long.` }, true);
}

function writeError(error: unknown, file: ResourceFile): DownloadError {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (isFull(code)) return serverError("DiskFull", "The disk is full.");
  const what = syscall === "open" || syscall === "rename" ? "ResourceFileCreateFailed" : "ResourceFileWriteFailed";
  return serverError(what, `The resource file ${shown(file.filePath)} could not be written (${code ?? "unknown"}).`);
}

function isWriteError(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).syscall === "write" || isFull((error as NodeJS.ErrnoException).code);
}

function isFull(code: string | undefined): boolean {
  return code === "ENOSPC" || code === "EDQUOT";
}

function notAllowed(): DownloadError {
  return userError("BlobAccessDenied", "The address of a resource file is not one that may be fetched from here.");
}

function userError(code: string, message: string): DownloadError {
  return new DownloadError({ category: "UserError", code, message });
}

function serverError(code: string, message: string): DownloadError {
  return new DownloadError({ category: "ServerError", code, message });
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}

// ---------------------------------------------------------------- cache

export interface DownloadCache {
  find(source: string): { readonly etag: string; readonly file: string } | undefined;
  /** Keeps a copy of a file just fetched. A copy that cannot be made is no error. */
  keep(source: string, etag: string, file: string): Promise<void>;
  /** Runs one at a time for each source, in the order asked. */
  inTurn<T>(source: string, act: () => Promise<T>): Promise<T>;
  /** A new name in the cache's folder, for a file on its way. */
  unfinished(): string;
}

/** Copies of fetched files in a folder of the agent's own, outside the TVM's root; emptied at the start. */
export function openCache(folder: string): DownloadCache {
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const entries = new Map<string, { readonly etag: string; readonly file: string; readonly bytes: number }>();
  const turns = new Map<string, Promise<unknown>>();
  let bytes = 0;
  let serial = 0;
  const forget = (source: string): void => {
    const entry = entries.get(source);
    if (!entry) return;
    entries.delete(source);
    bytes -= entry.bytes;
    fs.rmSync(entry.file, { force: true });
  };
  return {
    find(source) {
      const entry = entries.get(source);
      if (!entry) return undefined;
      entries.delete(source);
      entries.set(source, entry);
      return entry;
    },
    async keep(source, etag, file) {
      forget(source);
      const size = fs.statSync(file).size;
      if (size > CACHED_FILE_BYTES_MAX) return;
      const copy = path.join(folder, createHash("sha256").update(`${source}\n${etag}`).digest("hex"));
      try {
        await fs.promises.copyFile(file, copy, fs.constants.COPYFILE_FICLONE);
      } catch {
        return fs.rmSync(copy, { force: true });
      }
      entries.set(source, { etag, file: copy, bytes: size });
      bytes += size;
      for (const oldest of entries.keys()) {
        if (bytes <= CACHE_BYTES_MAX && entries.size <= CACHE_FILES_MAX) break;
        forget(oldest);
      }
    },
    async inTurn(source, act) {
      const before = turns.get(source);
      const mine = (before ?? Promise.resolve()).then(act, act);
      turns.set(source, mine);
      try {
        return await mine;
      } finally {
        if (turns.get(source) === mine) turns.delete(source);
      }
    },
    unfinished: () => path.join(folder, `${++serial}.part`),
  };
}
