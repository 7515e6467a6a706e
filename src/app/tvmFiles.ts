// Files on TVMs. Nobody connects to a TVM: a request is left for its agent, whose next exchange answers it; the bytes of a
// file travel through the file store, to an address that the agent is given for this one upload.
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { accountOf, tvmKey } from "../domain/ids";
import { addMs } from "../domain/time";
import type { ByteRange, Ports } from "../ports";
import { tvms } from "../views/tvms";
import type { FileAnswer, FileEntry, FileRequest } from "../wire";
import type { Call } from "./call";
import { getPool } from "./pools";
import { getTask } from "./tasks";
import { askTvm } from "./tvmErrands";

/** A file or folder, its path relative to what was asked for (the TVM's root, or the task's folder). */
export interface TvmFile {
  readonly path: string;
  readonly isDirectory: boolean;
  readonly length: number;
  readonly createdAt: string;
  readonly modifiedAt: string;
}

export type FilesOf =
  | { readonly pool: string; readonly tvm: string }
  | { readonly workItem: string; readonly job: string; readonly task: string };

/** An address for an upload is good for this long; what was uploaded and not read goes with the sweep after it. */
export const UPLOAD_MS = 600_000;
/** Bytes fetched from a TVM at a time: a big file is read piece by piece, as the reader takes it. */
const PIECE_BYTES = 8 * 1024 * 1024;

export const listFiles = async (ports: Ports, call: Call, where: FilesOf, path: string, recursive: boolean): Promise<readonly TvmFile[] | Rejection> => {
  const place = await placeOf(ports, call, where);
  if (isRejection(place)) return place;
  const answer = await ask(ports, place.tvm, { kind: "list", path: join(place.base, path), recursive });
  return isRejection(answer) ? answer : (answer.entries ?? []).map((entry) => relativeTo(place.base, entry));
};

export const statFile = async (ports: Ports, call: Call, where: FilesOf, path: string): Promise<TvmFile | Rejection> => {
  const place = await placeOf(ports, call, where);
  return isRejection(place) ? place : statAt(ports, place, path);
};

export const readFile = async (
  ports: Ports,
  call: Call,
  where: FilesOf,
  path: string,
  range?: ByteRange,
): Promise<{ file: TvmFile; content: AsyncIterable<Uint8Array> } | Rejection> => {
  const place = await placeOf(ports, call, where);
  if (isRejection(place)) return place;
  const file = await statAt(ports, place, path);
  if (isRejection(file)) return file;
  if (file.isDirectory) return rejection("FileNotFound", "The path names a folder, not a file.");
  const from = Math.min(range?.offset ?? 0, file.length);
  const length = Math.min(range?.length ?? file.length, file.length - from);
  if (range && range.offset >= file.length && file.length > 0) return rejection("InvalidRange", `The file has ${file.length} bytes.`);
  const first = await fetchPiece(ports, place, path, from, Math.min(length, PIECE_BYTES));
  if (isRejection(first)) return first;
  return { file, content: pieces(ports, place, path, from, length, first) };
};

export const removeFile = async (ports: Ports, call: Call, where: FilesOf, path: string): Promise<undefined | Rejection> => {
  const place = await placeOf(ports, call, where);
  if (isRejection(place)) return place;
  const answer = await ask(ports, place.tvm, { kind: "remove", path: join(place.base, path) });
  return isRejection(answer) ? answer : undefined;
};

// ---------------------------------------------------------------- where the files are

interface Place {
  readonly tvm: string;
  /** Of the task, below the TVM's root; empty for the root itself. */
  readonly base: string;
}

const placeOf = async (ports: Ports, call: Call, where: FilesOf): Promise<Place | Rejection> => {
  if ("tvm" in where) return placeOfTvm(ports, call, where.pool, where.tvm);
  const found = await getTask(ports, call, where.workItem, where.job, where.task);
  if (isRejection(found)) return found;
  const { ranOn, workItemName, jobName, name, phase, endedAt, spec } = found.state;
  if (!ranOn) return rejection("TaskFilesUnavailable", "The task has not run on any TVM: there are no files yet.");
  const place = await placeOfTvm(ports, call, ranOn.pool, ranOn.tvm);
  if (isRejection(place)) return rejection("TaskFilesUnavailable", "The TVM that the task ran on is not in its pool any more, and its files are gone with it.");
  // The TVM may be a moment behind: what it would still show is not to be relied on.
  if (phase === "completed" && endedAt !== undefined && spec.retentionMs !== undefined && addMs(endedAt, spec.retentionMs) <= call.at)
    return rejection("TaskFilesCleanedup", "The retention time of the task is over, and its files are removed.");
  return { tvm: place.tvm, base: `tasks/${workItemName}/${jobName}/${name}` };
};

const placeOfTvm = async (ports: Ports, call: Call, pool: string, tvm: string): Promise<Place | Rejection> => {
  const key = tvmKey(call.account, pool, tvm);
  const [row] = await ports.views.get(tvms, [tvms.locate(key)]);
  if (row && !row.gone) return { tvm: key, base: "" };
  const found = await getPool(ports, call, pool);
  return isRejection(found) ? found : rejection("TVMNotFound", "The pool has no TVM of that name.");
};

const join = (base: string, path: string): string => (base && path ? `${base}/${path}` : base || path);

const relativeTo = (base: string, entry: FileEntry): TvmFile => ({
  ...entry,
  path: base && entry.path.startsWith(`${base}/`) ? entry.path.slice(base.length + 1) : entry.path,
});

// ---------------------------------------------------------------- asking

const statAt = async (ports: Ports, place: Place, path: string): Promise<TvmFile | Rejection> => {
  const answer = await ask(ports, place.tvm, { kind: "stat", path: join(place.base, path) });
  if (isRejection(answer)) return answer;
  const entry = answer.entries?.[0];
  return entry ? relativeTo(place.base, entry) : rejection("FileNotFound", "There is no such file.");
};

const ask = async (ports: Ports, tvm: string, request: Omit<FileRequest, "id">): Promise<FileAnswer | Rejection> => {
  const answer = await askTvm(ports, tvm, (id) => ({ request: { ...request, id } }));
  return isRejection(answer) ? answer : (refusalIn(answer) ?? answer);
};

const refusalIn = (answer: FileAnswer): Rejection | undefined => {
  switch (answer.problem?.code) {
    case undefined:
      return undefined;
    case "notFound":
      return rejection("FileNotFound", "There is no such file or folder on the TVM.");
    case "forbidden":
      return rejection("IOError", `The file may not be read: ${answer.problem?.message}`);
    default:
      return rejection("IOError", `The TVM could not read the file: ${answer.problem?.message}`);
  }
};

/** Where pieces of files wait for their reader. */
export const UPLOADS = "exchange/";

const fetchPiece = async (ports: Ports, place: Place, path: string, offset: number, length: number): Promise<AsyncIterable<Uint8Array> | Rejection> => {
  if (length === 0) return noBytes();
  const upload = `${UPLOADS}${accountOf(place.tvm)}/${ports.random.id(18)}`;
  const expiresAt = new Date(ports.clock.now().getTime() + UPLOAD_MS);
  const uploadUrl = await ports.files.signedUrl(upload, "write", expiresAt);
  const answer = await ask(ports, place.tvm, { kind: "read", path: join(place.base, path), offset, length, uploadUrl });
  if (isRejection(answer)) return answer;
  const stored = await ports.files.read(upload);
  if (!stored) return rejection("IOError", "The TVM said that it had sent the file, but nothing has arrived.");
  return thenRemove(ports, upload, stored.content);
};

async function* noBytes(): AsyncGenerator<Uint8Array> {}

async function* thenRemove(ports: Ports, path: string, content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* content;
  } finally {
    await ports.files.remove(path);
  }
}

/** The file grows or shrinks while it is read: what was promised is sent, or the stream breaks. */
async function* pieces(ports: Ports, place: Place, path: string, from: number, length: number, first: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let sent = 0;
  let piece: AsyncIterable<Uint8Array> | Rejection = first;
  for (;;) {
    const before = sent;
    for await (const bytes of piece) {
      sent += bytes.byteLength;
      yield bytes;
    }
    if (sent >= length) return;
    if (sent === before) throw new Error("the file has become shorter while it was read");
    piece = await fetchPiece(ports, place, path, from + sent, Math.min(length - sent, PIECE_BYTES));
    if (isRejection(piece)) throw new Error(`the rest of the file could not be read: ${piece.code}`);
  }
}
