// A blob store in a folder: `container/name...` is the file `{root}/container/name...`. A file appears whole under its name
// or not at all. It never follows a link, never leaves its root, and hands out only regular files. Whoever holds a signed
// address may read or write one file for a while; the host that serves those addresses asks `parseSigned` about each.

import { timingSafeEqual } from "node:crypto";
import { constants, mkdirSync, realpathSync, rmSync, type BigIntStats, type Dirent } from "node:fs";
import { mkdir, open, readdir, realpath, rename, rm, rmdir, stat, writeFile, type FileHandle } from "node:fs/promises";
import path from "node:path";
import type { ByteRange, Clock, Files, FileStat, Sealer } from "../ports";
import { compareBytes } from "./byteOrder";
import { pathProblem, typeByName } from "./filePaths";
import { noRoomIfFull } from "./noRoom";

export interface FolderFilesOptions {
  readonly root: string;
  /** Where the host serves `/files/...`, without a slash at the end; asked each time, as the port is chosen at start. */
  readonly baseUrl: () => string;
  readonly sealer: Sealer;
  readonly clock: Clock;
}

export type SignedAccess =
  | { readonly path: string; readonly access: "read" | "write"; readonly expiresAt: Date }
  | { readonly problem: "malformed" | "signature" | "expired" };

export interface SignedFiles {
  /** What an address (whole, or from its path on, as a request has it) allows now. Safe for any text. */
  parseSigned(url: string): SignedAccess;
}

interface OpenFile {
  readonly handle: FileHandle;
  readonly stats: BigIntStats;
}

const listMax = 5_000;
const wholeReadBytes = 64 * 1024;
const moveTriesMax = 5;
const openTriesMax = 100;
// Containers begin with a letter or digit, so no user's file can be in here.
const incoming = ".incoming";
const types = ".types";

/**
 * Opening removes what a killed process left half-written: only the owner of the data folder may, so open the database first.
 * Content types other than a name's own are kept in small files of the same name below `.types`.
 */
export function folderFiles(options: FolderFilesOptions): Files & SignedFiles {
  const root = prepare(path.resolve(options.root));
  let temporaries = 0;

  async function statOf(name: string, stats: BigIntStats): Promise<FileStat> {
    const kept = await openInside(root, `${types}/${name}`);
    const contentType = kept === undefined ? typeByName(name) : await textOf(kept.handle);
    const modifiedAt = instant(stats.mtimeMs);
    // Some file systems do not know when a file was made.
    const createdAt = stats.birthtimeMs > 0n ? instant(stats.birthtimeMs) : modifiedAt;
    return { path: name, length: Number(stats.size), createdAt, modifiedAt, contentType };
  }

  async function statByName(name: string): Promise<FileStat | undefined> {
    if (pathProblem(name) !== undefined) return undefined;
    const file = await openInside(root, name);
    if (file === undefined) return undefined;
    await file.handle.close();
    return statOf(name, file.stats);
  }

  return {
    async put(name, content, contentType) {
      const problem = pathProblem(name);
      if (problem !== undefined) throw new Error(`A file cannot have this path: ${problem}.`);
      const temporary = path.join(root, incoming, `${process.pid}-${++temporaries}`);
      try {
        await writeSynced(temporary, content);
        await keepType(root, `${temporary}-type`, name, contentType);
        await moveInto(root, temporary, name);
      } catch (error) {
        throw noRoomIfFull(error);
      } finally {
        await rm(temporary, { force: true });
      }
      const put = await statByName(name);
      if (put === undefined) throw new Error("The file was removed while it was put.");
      return put;
    },

    stat: statByName,

    async read(name, range) {
      if (pathProblem(name) !== undefined) return undefined;
      const file = await openInside(root, name);
      if (file === undefined) return undefined;
      try {
        return { stat: await statOf(name, file.stats), content: await contentIn(file.handle, Number(file.stats.size), range) };
      } catch (error) {
        await file.handle.close();
        throw error;
      }
    },

    async list(prefix, after, limit = listMax) {
      const found: FileStat[] = [];
      for await (const name of walk(root, prefix, after ?? "")) {
        if (found.length >= Math.min(limit, listMax)) break;
        const one = await statByName(name);
        if (one !== undefined) found.push(one);
      }
      return found;
    },

    async remove(name) {
      if (pathProblem(name) !== undefined) return;
      const file = await openInside(root, name);
      if (file === undefined) return;
      await file.handle.close();
      await rm(path.join(root, name), { force: true });
      await rm(path.join(root, types, name), { force: true });
      await removeEmptyFolders(root, name);
    },

    async signedUrl(name, access, expiresAt) {
      const problem = pathProblem(name);
      if (problem !== undefined) throw new Error(`A file cannot have this path: ${problem}.`);
      const expiry = expiresAt.toISOString();
      const sig = options.sealer.sign(signedText(name, access, expiry));
      const query = new URLSearchParams({ sp: access === "read" ? "r" : "w", se: expiry, sig });
      return `${options.baseUrl()}/files/${name.split("/").map(encodeURIComponent).join("/")}?${query}`;
    },

    parseSigned: (url) => parseSigned(url, options.sealer, options.clock.now()),
  };
}

/** What a killed process left half-written goes; the root is compared by its real path from here on. */
function prepare(root: string): string {
  mkdirSync(root, { recursive: true, mode: 0o700 });
  rmSync(path.join(root, incoming), { recursive: true, force: true });
  mkdirSync(path.join(root, incoming), { mode: 0o700 });
  return realpathSync(root);
}

/** Opens a regular file without following links: checks the handle against what the name leads to, not the name alone. */
async function openInside(root: string, name: string): Promise<OpenFile | undefined> {
  const target = path.join(root, name);
  for (let tries = 0; tries < openTriesMax; tries++) {
    const file = await openNoFollow(target);
    if (file === undefined) return undefined;
    const verdict = await compare(file, target).catch((error: unknown) => {
      if (meansAbsent(error)) return "other";
      return file.handle.close().then(() => Promise.reject(error));
    });
    if (verdict === "same") return file;
    await file.handle.close();
    if (verdict === "outside") return undefined;
  }
  throw new Error("The file is being replaced too often to be opened.");
}

async function openNoFollow(target: string): Promise<OpenFile | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(target, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (meansAbsent(error)) return undefined;
    throw error;
  }
  return { handle, stats: await handle.stat({ bigint: true }) };
}

/** "other": the name leads to another file by now, as it was put again or removed meanwhile. */
async function compare({ stats }: OpenFile, target: string): Promise<"same" | "other" | "outside"> {
  if (!stats.isFile() || (await realpath(target)) !== target) return "outside";
  const named = await stat(target, { bigint: true });
  return named.ino === stats.ino && named.dev === stats.dev ? "same" : "other";
}

function meansAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR", "ELOOP", "EMLINK", "ENXIO", "EISDIR", "ENAMETOOLONG"].includes((error as NodeJS.ErrnoException).code ?? "");
}

async function writeSynced(file: string, content: AsyncIterable<Uint8Array> | Uint8Array): Promise<void> {
  const handle = await open(file, "wx", 0o600);
  try {
    await writeFile(handle, content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function keepType(root: string, temporary: string, name: string, contentType: string | undefined): Promise<void> {
  if (contentType === undefined || contentType === typeByName(name) || !/^[ -~]{1,200}$/.test(contentType)) {
    await rm(path.join(root, types, name), { force: true }).catch((error) => {
      if (!meansAbsent(error)) throw error;
    });
    return;
  }
  await writeFile(temporary, contentType, { mode: 0o600 });
  await moveInto(root, temporary, `${types}/${name}`);
}

async function textOf(handle: FileHandle): Promise<string> {
  try {
    return await handle.readFile("utf8");
  } finally {
    await handle.close();
  }
}

function instant(milliseconds: bigint): string {
  return new Date(Number(milliseconds)).toISOString();
}

/** Renames into place, then makes the name itself durable. Refuses a folder that is a link. */
async function moveInto(root: string, temporary: string, name: string): Promise<void> {
  const target = path.join(root, name);
  const folder = path.dirname(target);
  for (let tries = 1; ; tries++) {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      if ((await realpath(folder)) !== folder) throw new Error("A folder on the way to this file is a link.");
      await rename(temporary, target);
      return await syncFolder(folder);
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      // A folder that was empty may have been removed just now, with the last file in it.
      if (code === "ENOENT" && tries < moveTriesMax) continue;
      if (!["EISDIR", "ENOTDIR", "EEXIST", "ENOTEMPTY"].includes(code)) throw error;
      throw new Error("A name cannot be both a file and a folder of files here.", { cause: error });
    }
  }
}

/** Folders exist for the files in them alone: without them their name may be a file's. */
async function removeEmptyFolders(root: string, name: string): Promise<void> {
  const segments = name.split("/").slice(0, -1);
  for (; segments.length > 1; segments.pop()) {
    try {
      await rmdir(path.join(root, ...segments));
    } catch {
      return; // Not empty, or gone already.
    }
  }
}

async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return; // A folder cannot be opened there.
  const handle = await open(folder, constants.O_RDONLY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Small ranges are read at once; a long one keeps the file open until its content was iterated to the end or left. */
async function contentIn(handle: FileHandle, size: number, range: ByteRange | undefined): Promise<AsyncIterable<Uint8Array>> {
  const offset = Math.min(range?.offset ?? 0, size);
  const length = Math.min(range?.length ?? size - offset, size - offset);
  if (length > wholeReadBytes) return handle.createReadStream({ start: offset, end: offset + length - 1 });
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, offset);
  await handle.close();
  return once(buffer.subarray(0, bytesRead));
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

/** Names of files below a prefix and after a name, in the order of their bytes. Reads only folders that may hold such. */
async function* walk(root: string, prefix: string, after: string, folder = ""): AsyncGenerator<string> {
  for (const { key, isFolder } of await entriesOf(path.join(root, folder))) {
    const name = folder + key;
    if (folder === "" && (!isFolder || pathProblem(`${key}x`) !== undefined)) continue;
    if (isFolder) {
      const mayHold = (name.startsWith(prefix) || prefix.startsWith(name)) && (compareBytes(name, after) > 0 || after.startsWith(name));
      if (mayHold) yield* walk(root, prefix, after, name);
    } else if (name.startsWith(prefix) && compareBytes(name, after) > 0 && pathProblem(name) === undefined) {
      yield name;
    }
  }
}

/** A folder is ordered as what is in it will be: with its slash. Links and devices are left out. */
async function entriesOf(folder: string): Promise<{ key: string; isFolder: boolean }[]> {
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (meansAbsent(error)) return [];
    throw error;
  }
  return entries
    .filter((entry) => entry.isFile() || entry.isDirectory())
    .map((entry) => ({ key: entry.isDirectory() ? `${entry.name}/` : entry.name, isFolder: entry.isDirectory() }))
    .sort((a, b) => compareBytes(a.key, b.key));
}

function signedText(name: string, access: "read" | "write", expiry: string): string {
  return JSON.stringify(["file", name, access, expiry]);
}

function parseSigned(url: string, sealer: Sealer, now: Date): SignedAccess {
  const mark = "/files/";
  const [encoded = "", query = ""] = url.includes(mark) ? url.slice(url.indexOf(mark) + mark.length).split("?", 2) : [];
  const name = decodeName(encoded);
  const values = new URLSearchParams(query);
  const [permission, expiry, signature] = ["sp", "se", "sig"].map((key) => (values.getAll(key).length === 1 ? values.get(key)! : undefined));
  const access = permission === "r" ? "read" : permission === "w" ? "write" : undefined;
  if (name === undefined || pathProblem(name) !== undefined || access === undefined) return { problem: "malformed" };
  if (expiry === undefined || signature === undefined) return { problem: "malformed" };
  if (!sameText(signature, sealer.sign(signedText(name, access, expiry)))) return { problem: "signature" };
  const expiresAt = new Date(expiry);
  return expiresAt > now ? { path: name, access, expiresAt } : { problem: "expired" };
}

/** Decoded once, segment by segment: an encoded slash does not make a segment. */
function decodeName(encoded: string): string | undefined {
  try {
    const segments = encoded.split("/").map(decodeURIComponent);
    return segments.some((segment) => segment.includes("/")) ? undefined : segments.join("/");
  } catch {
    return undefined;
  }
}

function sameText(given: string, expected: string): boolean {
  const [left, right] = [Buffer.from(given), Buffer.from(expected)];
  return left.length === right.length && timingSafeEqual(left, right);
}
