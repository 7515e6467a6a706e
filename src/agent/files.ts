// Answers questions about files below a TVM's root: list, stat, read (the asked range is PUT to an address that came with the
// question) and remove. Links are never followed, only regular files and folders exist for it, and the handle that was
// checked is the one that is read. It never writes into the root, except to move what is removed into the trash.
import fs from "node:fs";
import http from "node:http";
import https from "node:https";
import { Readable } from "node:stream";
import type { FileAnswer, FileEntry, FileRequest } from "../wire";
import { isMissing, moveToTrash, openFolder, resolveInside, type Folder } from "./beneath";

export interface FilesOptions {
  readonly root: string;
  readonly trash: string;
  /** When tasks have a user of their own: files of others (hard links to them) are not handed out. */
  readonly uid?: number | undefined;
  onRemoved(): void;
}

const ENTRIES_MAX = 10_000;
const DEPTH_MAX = 64;
const UPLOAD_IDLE_MS = 60_000;
const PIECE_BYTES = 256 * 1024;
const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = fs.constants;

type Problem = NonNullable<FileAnswer["problem"]>;
class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

/** Never rejects: what goes wrong is in the answer. */
export async function answerFile(request: FileRequest, options: FilesOptions): Promise<FileAnswer> {
  try {
    const segments = resolveInside(request.path);
    if (!segments || segments[0] === options.trash) throw new Refused({ code: "forbidden", message: "This name is not allowed." });
    const entries = await perform(request, segments, options);
    return { id: request.id, entries };
  } catch (error) {
    return { id: request.id, problem: problemOf(error) };
  }
}

function perform(request: FileRequest, segments: string[], options: FilesOptions): Promise<FileEntry[]> | FileEntry[] {
  switch (request.kind) {
    case "list":
      return list(segments, request.recursive === true, options);
    case "stat":
      return [entryAt(segments, options)];
    case "read":
      return read(request, segments, options);
    case "remove":
      return remove(segments, options);
  }
}

function list(segments: string[], recursive: boolean, options: FilesOptions): FileEntry[] {
  const found: FileEntry[] = [];
  const visit = (at: string[]): void => {
    const folder = openFolder(options.root, at);
    try {
      for (const name of fs.readdirSync(folder.at(".")).sort(byBytes)) {
        if (found.length >= ENTRIES_MAX) return;
        if (at.length === 0 && name === options.trash) continue;
        const stat = fs.lstatSync(folder.at(name), { throwIfNoEntry: false });
        if (!stat || !(stat.isFile() || stat.isDirectory())) continue;
        found.push(entryOf([...at, name], stat));
        if (recursive && stat.isDirectory() && at.length < DEPTH_MAX) ignoreMissing(() => visit([...at, name]));
      }
    } finally {
      folder.close();
    }
  };
  visit(segments);
  return found.sort((a, b) => byBytes(a.path, b.path));
}

function entryAt(segments: string[], options: FilesOptions): FileEntry {
  const found = inParent(segments, options, (folder, name) => fs.lstatSync(folder.at(name)));
  if (!found.isFile() && !found.isDirectory()) throw new Refused({ code: "forbidden", message: "This is neither a file nor a folder." });
  return entryOf(segments, found);
}

async function read(request: FileRequest, segments: string[], options: FilesOptions): Promise<FileEntry[]> {
  const descriptor = inParent(segments, options, (folder, name) => fs.openSync(folder.at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
  try {
    const stat = fs.fstatSync(descriptor);
    if (!stat.isFile() || (options.uid !== undefined && stat.nlink > 1 && stat.uid !== options.uid)) {
      throw new Refused({ code: "forbidden", message: "This is not a plain file of the TVM." });
    }
    if (request.uploadUrl !== undefined) {
      const offset = Math.min(request.offset ?? 0, stat.size);
      await upload(descriptor, offset, Math.min(request.length ?? Infinity, stat.size - offset), request.uploadUrl);
    }
    return [entryOf(segments, stat)];
  } finally {
    fs.closeSync(descriptor);
  }
}

function remove(segments: string[], options: FilesOptions): FileEntry[] {
  // The folders of the TVM itself stay.
  if (segments.length < 2) throw new Refused({ code: "forbidden", message: "The folders of the TVM itself cannot be removed." });
  if (!moveToTrash(options.root, segments, options.trash, trashName())) throw new Refused({ code: "notFound", message: "There is no such file." });
  options.onRemoved();
  return [];
}

let trashSerial = 0;
export function trashName(): string {
  return `removed-${Date.now()}-${++trashSerial}`;
}

function inParent<T>(segments: string[], options: FilesOptions, look: (folder: Folder, name: string) => T): T {
  const folder = openFolder(options.root, segments.slice(0, -1));
  try {
    return look(folder, segments.at(-1) ?? ".");
  } finally {
    folder.close();
  }
}

/** PUT of a range, as blob stores take it. The address holds a signature and is never told to anybody. */
function upload(descriptor: number, offset: number, length: number, address: string): Promise<void> {
  const url = new URL(address);
  return new Promise((resolve, reject) => {
    const request = (url.protocol === "https:" ? https : http).request(url, {
      method: "PUT", timeout: UPLOAD_IDLE_MS,
      headers: { "content-length": length, "content-type": "application/octet-stream", "x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-12-02" },
    });
    request.on("timeout", () => request.destroy(new Error("timeout")));
    request.on("error", () => reject(new Refused({ code: "failed", message: "The file could not be sent." })));
    request.on("response", (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) resolve();
      else reject(new Refused({ code: "failed", message: `The file could not be sent: the store answered ${status}.` }));
    });
    if (length === 0) return void request.end();
    const content = Readable.from(pieces(descriptor, offset, length), { objectMode: false });
    content.on("error", (error) => request.destroy(error));
    content.pipe(request);
  });
}

async function* pieces(descriptor: number, offset: number, length: number): AsyncGenerator<Buffer> {
  for (let done = 0; done < length;) {
    const { bytesRead, buffer } = await readAt(descriptor, Buffer.allocUnsafe(Math.min(PIECE_BYTES, length - done)), offset + done);
    // Cut short meanwhile: the request would wait for the missing bytes.
    if (bytesRead === 0) throw new Error("the file became shorter");
    yield buffer.subarray(0, bytesRead);
    done += bytesRead;
  }
}

function readAt(descriptor: number, buffer: Buffer, position: number): Promise<{ bytesRead: number; buffer: Buffer }> {
  return new Promise((resolve, reject) => {
    fs.read(descriptor, buffer, 0, buffer.length, position, (error, bytesRead) => (error ? reject(error) : resolve({ bytesRead, buffer })));
  });
}

function entryOf(segments: readonly string[], stat: fs.Stats): FileEntry {
  const isDirectory = stat.isDirectory();
  return {
    path: segments.join("/"), isDirectory, length: isDirectory ? 0 : stat.size,
    createdAt: new Date(Math.min(stat.birthtimeMs || stat.ctimeMs, stat.mtimeMs)).toISOString(), modifiedAt: stat.mtime.toISOString(),
  };
}

function problemOf(error: unknown): Problem {
  if (error instanceof Refused) return error.problem;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === "ELOOP") return { code: "forbidden", message: "Links are not followed." };
  if (isMissing(error)) return { code: "notFound", message: "There is no such file." };
  if (code === "EACCES" || code === "ENXIO") return { code: "forbidden", message: "This file cannot be read." };
  return { code: "failed", message: `The file cannot be read (${code ?? "unknown"}).` };
}

function ignoreMissing(act: () => void): void {
  try {
    act();
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
