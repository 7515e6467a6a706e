// The blob store on Azure Blob storage (and on Azurite): `container/name...` is the blob `name...` of that container, which is
// made when something is first put there. A blob appears whole, when its blocks are committed, or not at all. It holds no
// account key where an identity will do, and its errors carry nothing of a request, whose headers and query are credentials.

import { BlobSASPermissions, BlobServiceClient, SASProtocol, StorageSharedKeyCredential, generateBlobSASQueryParameters } from "@azure/storage-blob";
import type { BlobClient, BlobDownloadResponseParsed, BlobGetPropertiesResponse, BlockBlobClient, StoragePipelineOptions, UserDelegationKey } from "@azure/storage-blob";
import type { TokenCredential } from "@azure/identity";
import { Readable } from "node:stream";
import type { ByteRange, Clock, Files, FileStat } from "../ports";
import { compareBytes } from "./byteOrder";
import { pathProblem, typeByName } from "./filePaths";

export interface BlobFilesOptions {
  /** `https://{account}.blob.core.windows.net`, or a stand-in's `http://127.0.0.1:{port}/{account}`. */
  readonly url: string;
  /** A managed identity's credential; a key only for stand-ins. */
  readonly credential: TokenCredential | { readonly account: string; readonly key: string };
  readonly clock: Pick<Clock, "now">;
  /** Further options of the client: retries, or `tlsOptions` with the certificate of a stand-in. */
  readonly client?: StoragePipelineOptions & { readonly tlsOptions?: { readonly ca: string } };
}

/** Blobs up to one block are put in one request, larger ones block by block. A blob has 50,000 blocks at most: 390 GiB. */
const blockBytes = 8 * 1024 * 1024;
const blocksAtOnce = 4;
const listMax = 5_000;
const pageBlobs = 5_000;
/** The service's limit for a delegation key, and so for an address that it signs. */
const keyLifeMs = 7 * 24 * 60 * 60 * 1_000;
/** Clocks differ: a key or a signature that began just now could be refused. */
const skewMs = 5 * 60 * 1_000;

/** Throws nothing until first used; a container is asked for once a process. */
export function blobFiles(options: BlobFilesOptions): Files {
  const shared = "key" in options.credential ? new StorageSharedKeyCredential(options.credential.account, options.credential.key) : undefined;
  const service = new BlobServiceClient(options.url, shared ?? (options.credential as TokenCredential), options.client);
  const containers = new Map<string, Promise<unknown>>();
  const signingKey = delegationKeys(service, options.clock);
  const blobAt = (file: string): BlockBlobClient => {
    const { container, name } = split(file);
    return service.getContainerClient(container).getBlockBlobClient(name);
  };

  /** Made if it is missing, asked once: afterwards only when the store says that it has gone. */
  function containerFor(container: string): Promise<unknown> {
    const known = containers.get(container);
    if (known !== undefined) return known;
    const made = service.getContainerClient(container).createIfNotExists();
    containers.set(container, made);
    made.catch(() => containers.delete(container));
    return made;
  }

  async function statOf(file: string): Promise<FileStat | undefined> {
    const found = await unlessAbsent(blobAt(file).getProperties());
    return found && toStat(file, found, found.contentLength ?? 0);
  }

  async function upload(file: string, content: AsyncIterable<Uint8Array> | Uint8Array, type: string): Promise<void> {
    const { container } = split(file);
    const blob = blobAt(file);
    const headers = { blobHTTPHeaders: { blobContentType: type } };
    const { head, rest } = await firstBlock(content);
    await containerFor(container);
    if (rest !== undefined) return void (await blob.uploadStream(Readable.from(joined(head, rest), { objectMode: false }), blockBytes, blocksAtOnce, headers));
    const put = (): Promise<unknown> => blob.upload(head, head.length, headers);
    await put().catch(async (error: unknown) => {
      if (codeOf(error) !== "ContainerNotFound") throw error;
      containers.delete(container);
      await containerFor(container);
      await put();
    });
  }

  return {
    /**
     * Of puts of one name at the same time one wins; a long one (over 8 MiB) that another overtook may be refused. When the
     * content itself fails, its own error is thrown.
     */
    async put(file, content, contentType) {
      requirePath(file);
      const type = contentType !== undefined && /^[ -~]{1,200}$/.test(contentType) ? contentType : typeByName(file);
      await explained("put", () => upload(file, content, type));
      const stat = await explained("put", () => statOf(file));
      if (stat === undefined) throw new Error("The file was removed while it was put.");
      return stat;
    },

    async stat(file) {
      return pathProblem(file) === undefined ? explained("looked at", () => statOf(file)) : undefined;
    },

    async read(file, range) {
      if (pathProblem(file) !== undefined) return undefined;
      return explained("read", () => readRange(blobAt(file), file, range));
    },

    async list(prefix, after, limit = listMax) {
      const most = Math.min(limit, listMax);
      return explained("listed", () => listBlobs(service, prefix, after ?? "", most));
    },

    async remove(file) {
      if (pathProblem(file) !== undefined) return;
      await explained("removed", () => unlessAbsent(blobAt(file).delete({ deleteSnapshots: "include" })));
    },

    // A clock that is a little behind must not turn the longest address into a refused one.
    ...(shared === undefined ? { grantMaxMs: keyLifeMs - 2 * skewMs } : {}),

    /** With an identity, seven days are the longest that an address can last. Throws when asked for more. */
    async signedUrl(file, access, expiresAt) {
      requirePath(file);
      const { container, name } = split(file);
      // Whoever writes by the address can make no container.
      if (access === "write") await explained("signed", () => containerFor(container));
      const what = {
        containerName: container, blobName: name, expiresOn: expiresAt,
        permissions: BlobSASPermissions.parse(access === "read" ? "r" : "cw"),
        protocol: options.url.startsWith("https:") ? SASProtocol.Https : SASProtocol.HttpsAndHttp,
      };
      const query = shared !== undefined
        ? generateBlobSASQueryParameters(what, shared)
        : generateBlobSASQueryParameters(what, await explained("signed", () => signingKey(expiresAt)), service.accountName);
      return `${blobAt(file).url}?${query}`;
    },
  };
}

function split(file: string): { container: string; name: string } {
  const slash = file.indexOf("/");
  return { container: file.slice(0, slash), name: file.slice(slash + 1) };
}

function requirePath(file: string): void {
  const problem = pathProblem(file);
  if (problem !== undefined) throw new Error(`A file cannot have this path: ${problem}.`);
}

// ---------------------------------------------------------------- signing as an identity

/** Keys by which an identity signs addresses. One is shared by all addresses that end before it does. */
function delegationKeys(service: BlobServiceClient, clock: Pick<Clock, "now">): (until: Date) => Promise<UserDelegationKey> {
  let current: { key: Promise<UserDelegationKey>; until: Date } | undefined;
  return (until) => {
    if (current !== undefined && until <= current.until) return current.key;
    const start = new Date(clock.now().getTime() - skewMs);
    const end = new Date(start.getTime() + keyLifeMs);
    if (until > end) return Promise.reject(new Refusal("An address that an identity signs can last seven days at most."));
    const renewed = { key: service.getUserDelegationKey(start, end), until: end };
    current = renewed;
    renewed.key.catch(() => {
      if (current === renewed) current = undefined;
    });
    return renewed.key;
  };
}

// ---------------------------------------------------------------- content

/** What fits into one block, and the rest if there is one: a short file is put in one request. */
async function firstBlock(content: AsyncIterable<Uint8Array> | Uint8Array): Promise<{ head: Uint8Array; rest?: AsyncIterator<Uint8Array> }> {
  const source = (content instanceof Uint8Array ? pieces(content) : content)[Symbol.asyncIterator]();
  const read: Uint8Array[] = [];
  for (let bytes = 0; bytes <= blockBytes; ) {
    const next = await source.next().catch((error: unknown) => Promise.reject(new SenderFailed(error)));
    if (next.done === true) return { head: Buffer.concat(read) };
    read.push(next.value);
    bytes += next.value.length;
  }
  return { head: Buffer.concat(read), rest: source };
}

async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += blockBytes) yield bytes.subarray(at, at + blockBytes);
}

async function* joined(head: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield head;
  try {
    for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
  } catch (error) {
    throw new SenderFailed(error);
  } finally {
    await rest.return?.();
  }
}

async function readRange(blob: BlobClient, file: string, range: ByteRange | undefined): Promise<{ stat: FileStat; content: AsyncIterable<Uint8Array> } | undefined> {
  const offset = range?.offset ?? 0;
  const nothing = async (): ReturnType<typeof readRange> => {
    const found = await unlessAbsent(blob.getProperties());
    return found && { stat: toStat(file, found, found.contentLength ?? 0), content: pieces(Buffer.alloc(0)) };
  };
  if (range?.length === 0) return nothing();
  const whole = offset === 0 && range?.length === undefined;
  try {
    // Should the connection break half way, the rest is asked for again, and only of the same version of the blob.
    const found = await unlessAbsent(blob.download(whole ? undefined : offset, range?.length, { maxRetryRequests: 3 }));
    if (found === undefined) return undefined;
    return { stat: toStat(file, found, wholeLength(found)), content: found.readableStreamBody as Readable };
  } catch (error) {
    // The range begins at the end or beyond.
    if (statusOf(error) === 416) return nothing();
    throw error;
  }
}

/** A part says of how many bytes it is one: `bytes 3-6/10`. */
function wholeLength(found: BlobDownloadResponseParsed): number {
  const total = found.contentRange === undefined ? undefined : /\/(\d+)$/.exec(found.contentRange)?.[1];
  return total === undefined ? (found.contentLength ?? 0) : Number(total);
}

type Described = Pick<BlobGetPropertiesResponse, "createdOn" | "lastModified" | "contentType">;

function toStat(file: string, { createdOn, lastModified, contentType }: Described, length: number): FileStat {
  const modifiedAt = (lastModified ?? new Date(0)).toISOString();
  return { path: file, length, createdAt: createdOn?.toISOString() ?? modifiedAt, modifiedAt, contentType: contentType ?? typeByName(file) };
}

// ---------------------------------------------------------------- lists

/** Of one container when the prefix names it whole, else of all whose name begins so. */
async function listBlobs(service: BlobServiceClient, prefix: string, after: string, most: number): Promise<FileStat[]> {
  if (most < 1) return [];
  if (prefix.includes("/")) {
    const { container, name } = split(prefix);
    return pathProblem(`${container}/x`) === undefined ? listContainer(service, container, name, after, most) : [];
  }
  const names: string[] = [];
  for await (const { name } of service.listContainers({ prefix })) if (pathProblem(`${name}/x`) === undefined) names.push(name);
  const found: FileStat[] = [];
  for (const name of names.sort((a, b) => compareBytes(`${a}/`, `${b}/`))) {
    if (found.length >= most) break;
    if (compareBytes(`${name}/\u{10ffff}`, after) > 0) found.push(...(await listContainer(service, name, "", after, most - found.length)));
  }
  return found;
}

/**
 * The store may order names by UTF-16 units, in which characters beyond U+FFFF come before U+E000. While none of those has been
 * met both orders are one, and enough is enough; else all of the prefix is read before it is ordered.
 */
async function listContainer(service: BlobServiceClient, container: string, prefix: string, after: string, most: number): Promise<FileStat[]> {
  const pages = service.getContainerClient(container).listBlobsFlat(prefix === "" ? {} : { prefix }).byPage({ maxPageSize: pageBlobs });
  let found: FileStat[] = [];
  let sameOrder = true;
  for (;;) {
    const page = await unlessAbsent(pages.next());
    if (page === undefined || page.done === true) break;
    for (const { name, properties } of page.value.segment.blobItems) {
      sameOrder &&= !/[\ud800-\udfff]/.test(name);
      const file = `${container}/${name}`;
      if (compareBytes(file, after) > 0 && pathProblem(file) === undefined) found.push(toStat(file, properties, properties.contentLength ?? 0));
    }
    found = found.sort((a, b) => compareBytes(a.path, b.path)).slice(0, most);
    if (sameOrder && found.length >= most) break;
  }
  return found;
}

// ---------------------------------------------------------------- what goes wrong

/** The content could not be read to its end: that is its sender's error, not the store's. */
class SenderFailed extends Error {
  constructor(cause: unknown) {
    super("The content could not be read.", { cause });
  }
}

/** A sentence of our own, to be passed on as it is. */
class Refusal extends Error {}

function explained<T>(what: string, call: () => Promise<T>): Promise<T> {
  return call().catch((error: unknown) => Promise.reject(sayable(what, error)));
}

/** Without a cause: the SDK's error carries the request and its credentials. */
function sayable(done: string, error: unknown): unknown {
  if (error instanceof SenderFailed) return error.cause;
  if (error instanceof Refusal) return error;
  const [status, code] = [statusOf(error), codeOf(error)];
  return new Error(`The file could not be ${done}: the blob store ${status === undefined ? "did not answer" : `answered ${status}`}${code === undefined ? "" : ` (${code})`}.`);
}

/** Undefined for what is not there, be it the blob or its container. */
async function unlessAbsent<T>(found: Promise<T>): Promise<T | undefined> {
  try {
    return await found;
  } catch (error) {
    if (statusOf(error) === 404) return undefined;
    throw error;
  }
}

function statusOf(error: unknown): number | undefined {
  const { statusCode } = error as { statusCode?: unknown };
  return typeof statusCode === "number" ? statusCode : undefined;
}

function codeOf(error: unknown): string | undefined {
  const { code, details } = error as { code?: unknown; details?: { errorCode?: unknown } };
  const named = typeof details?.errorCode === "string" ? details.errorCode : code;
  return typeof named === "string" && /^\w{1,60}$/.test(named) ? named : undefined;
}
