// batchledger logs, files, cp: what tasks wrote. Reads through the service; a name that the service tells never leads out of DEST.
import { createWriteStream, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { once } from "node:events";
import { pipeline } from "node:stream/promises";
import path from "node:path";
import type { Command, Invocation } from "../command";
import { type Client, taskFiles, tvmFiles } from "../client";
import { EXIT, Failure, ServiceError, usage } from "../failures";
import { type Io, bytes, clean, cleanLines, json, plural, table, when } from "../output";
import * as parse from "../options";
import type { FileEntry, TaskResource } from "../resources";
import { pause } from "../transport";
import { WAIT_PATIENCE_MS, jobOf } from "../waiting";

const JOB = { job: { type: "string", value: "JOB", help: "a job of the work item (default: its latest)" } } as const;
const CHUNK_BYTES = 4 * 1024 * 1024;
const FOLLOW_PAUSE_MS = 200;
const FOLLOW_PAUSE_MAX_MS = 1000;

export const fileCommands: readonly Command[] = [
  {
    words: "logs", operands: "WORKITEM [TASK]", operandsMin: 1, operandsMax: 2, connects: true,
    summary: "Prints what tasks wrote: of one task, or of all tasks of the latest job one after the other.",
    options: {
      ...JOB,
      follow: { type: "boolean", short: "f", help: "go on printing until the task ends" },
      stderr: { type: "boolean", help: "standard error instead of standard output" },
    },
    run: logs,
  },
  {
    words: "files", operands: "WORKITEM/TASK | pools/POOL/TVM", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Lists the files of a task or of a TVM.",
    options: { ...JOB }, run: listFiles,
  },
  {
    words: "cp", operands: "SOURCE DEST", operandsMin: 2, operandsMax: 2, connects: true,
    summary: "Copies files of a task (WORKITEM/TASK:PATH) or of a TVM (pools/POOL/TVM:PATH) to this machine.",
    options: { ...JOB, recursive: { type: "boolean", short: "r", help: "PATH is a folder: copy all that is in it" } },
    more: "PATH is relative to the task's folder; what the task itself writes is under wd/ (wd/ may be left out).\nDEST is a file, a folder, or - for standard output.\n\nExamples:\n  batchledger cp render-1/assemble:wd/picture.png .\n  batchledger cp -r render-1/tile-0:wd results/",
    run: copy,
  },
];

interface Place {
  readonly base: readonly string[];
  readonly what: string;
}

/** Where the files of `WORKITEM/TASK` or `pools/POOL/TVM` are. */
async function placeOf(call: Invocation, text: string): Promise<Place> {
  const machine = /^pools\/([A-Za-z0-9_-]{1,64})\/([A-Za-z0-9_-]{1,100})$/.exec(text);
  if (machine) return { base: tvmFiles(machine[1] as string, machine[2] as string), what: machine[2] as string };
  const { workItem, task } = parse.workReference(text);
  if (task === undefined) throw usage(`"${text}" names no task.`, `Write WORKITEM/TASK; \`batchledger tasks ${workItem}\` names the tasks.`);
  return { base: taskFiles(workItem, await jobOf(call.client(), workItem, call.text("job")), task), what: task };
}

// ---------------------------------------------------------------- logs

async function logs(call: Invocation): Promise<number> {
  const client = call.client(call.flag("follow") ? WAIT_PATIENCE_MS : undefined);
  const [first, second] = call.operands as [string, string | undefined];
  const { workItem, task = second } = parse.workReference(first);
  const job = await jobOf(client, workItem, call.text("job"));
  const file = call.flag("stderr") ? "stderr.txt" : "stdout.txt";
  if (task !== undefined) return oneLog(call, client, workItem, job, task, file);
  const names: string[] = [];
  for await (const { name } of client.listTasks(workItem, job, { select: "name", ...(call.flag("follow") ? { pageSize: 2 } : {}) })) {
    names.push(name);
    if (call.flag("follow") && names.length > 1) throw usage("-f follows one task.", `Say which: batchledger logs ${workItem} TASK -f`);
  }
  if (names.length === 0) throw new Failure(EXIT.refused, `${workItem} has no tasks.`);
  if (names.length === 1) return oneLog(call, client, workItem, job, names[0] as string, file);
  // Each beginning takes a round trip to a TVM: some are asked for ahead, and printed in their order.
  const ahead = names.slice(0, AHEAD).map((name) => beginningOf(client, taskFiles(workItem, job, name), file));
  for (const [index, name] of names.entries()) {
    const beginning = await (ahead.shift() as Promise<Beginning>);
    const later = names[index + AHEAD];
    if (later !== undefined) ahead.push(beginningOf(client, taskFiles(workItem, job, later), file));
    await headedLog(call, client, workItem, job, name, file, beginning);
  }
  return EXIT.ok;
}

const AHEAD = 16;

type Beginning = { readonly bytes: Buffer } | { readonly error: unknown };

const beginningOf = (client: Client, base: readonly string[], file: string): Promise<Beginning> =>
  client.readFile(base, file, { offset: 0, length: CHUNK_BYTES }).then(({ bytes: read }) => ({ bytes: read }), (error: unknown) => ({ error }));

async function headedLog(call: Invocation, client: Client, workItem: string, job: string, name: string, file: string, beginning: Beginning): Promise<void> {
  call.io.out(`==> ${name} <==\n`);
  try {
    if ("error" in beginning) throw beginning.error;
    const write = writer(call.io);
    write(beginning.bytes);
    if (beginning.bytes.length === CHUNK_BYTES) await printed(client, taskFiles(workItem, job, name), file, CHUNK_BYTES, write);
  } catch (error) {
    if (!isAbsent(error)) throw error;
    call.io.err(`${name}: nothing to show (${(error as ServiceError).code}).\n`);
  }
}

async function oneLog(call: Invocation, client: Client, workItem: string, job: string, task: string, file: string): Promise<number> {
  const base = taskFiles(workItem, job, task);
  const write = writer(call.io);
  if (!call.flag("follow")) {
    await printed(client, base, file, 0, write);
    return EXIT.ok;
  }
  let offset = 0;
  let attempts = 0;
  let wait = FOLLOW_PAUSE_MS;
  for (;;) {
    const now = await client.getTask(workItem, job, task);
    if (attemptsOf(now) !== attempts) {
      // A new attempt writes a new file.
      if (offset > 0) call.io.err(`-- ${task} runs again (attempt ${attemptsOf(now) + 1}) --\n`);
      attempts = attemptsOf(now);
      offset = 0;
    }
    const before = offset;
    try {
      offset = await printed(client, base, file, offset, write);
    } catch (error) {
      if (!isAbsent(error)) throw error;
      if (now.state === "completed") throw error;
    }
    // Asked before the file was read: whatever the task wrote is printed by now.
    if (now.state === "completed") return EXIT.ok;
    wait = offset > before ? FOLLOW_PAUSE_MS : Math.min(FOLLOW_PAUSE_MAX_MS, wait * 1.3);
    await pause(wait, call.io.signal);
  }
}

const attemptsOf = ({ executionInfo: info }: TaskResource): number => (info?.retryCount ?? 0) + (info?.requeueCount ?? 0);

const isAbsent = (error: unknown): boolean =>
  error instanceof ServiceError && (error.code === "TaskFilesUnavailable" || error.code === "TaskFilesCleanedup" || error.code === "FileNotFound");

/** Bytes as they are, but on a terminal without anything that could take it over. */
function writer(io: Io): (chunk: Buffer) => void {
  if (!io.outIsTerminal) return (chunk) => io.out(chunk);
  const decoder = new TextDecoder();
  return (chunk) => io.out(cleanLines(decoder.decode(chunk, { stream: true })));
}

/** Everything from an offset to the present end; resolves to the new offset. */
async function printed(client: Client, base: readonly string[], file: string, from: number, write: (chunk: Buffer) => void): Promise<number> {
  for (let offset = from; ; ) {
    const { bytes: part } = await client.readFile(base, file, { offset, length: CHUNK_BYTES });
    if (part.length > 0) write(part);
    offset += part.length;
    if (part.length < CHUNK_BYTES) return offset;
  }
}

// ---------------------------------------------------------------- files

async function listFiles(call: Invocation): Promise<number> {
  const { base } = await placeOf(call, call.operands[0] as string);
  const entries = await allFiles(call.client(), base);
  if (call.json) json(call.io, entries);
  else if (entries.length === 0) call.io.out("No files.\n");
  else {
    call.io.out(table(entries, [
      { title: "FILE", value: ({ name, isDirectory }) => `${slashed(name)}${isDirectory ? "/" : ""}` },
      { title: "SIZE", right: true, value: ({ properties }) => (properties?.contentLength === undefined ? undefined : bytes(Number(properties.contentLength))) },
      { title: "CHANGED", value: ({ properties }) => when(properties?.lastModified) },
    ]));
  }
  return EXIT.ok;
}

async function allFiles(client: Client, base: readonly string[]): Promise<FileEntry[]> {
  const entries: FileEntry[] = [];
  for await (const entry of client.listFiles(base, true)) entries.push(entry);
  return entries;
}

/** The service writes names with back slashes. */
const slashed = (name: string): string => name.replaceAll("\\", "/");

// ---------------------------------------------------------------- cp

async function copy(call: Invocation): Promise<number> {
  const [source, destination] = call.operands as [string, string];
  const at = source.indexOf(":");
  if (at < 0) throw usage(`"${source}" has no colon.`, "SOURCE is WORKITEM/TASK:PATH or pools/POOL/TVM:PATH.");
  const place = await placeOf(call, source.slice(0, at));
  const wanted = slashed(source.slice(at + 1)).replace(/^\/+|\/+$/g, "");
  if (call.flag("recursive")) return copyFolder(call, place, wanted, destination);
  if (wanted === "" || source.endsWith("/")) throw usage("PATH is a folder.", "Copy folders with -r; `batchledger files` lists what there is.");
  const { name, length } = await find(call.client(), place, wanted);
  if (destination === "-") {
    const write = writer(call.io);
    for await (const part of chunks(call.client(), place.base, name, length)) write(part);
    return EXIT.ok;
  }
  const target = path.resolve(call.io.cwd, destination);
  const file = destination.endsWith("/") || (existsSync(target) && statSync(target).isDirectory()) ? path.join(target, path.posix.basename(name)) : target;
  await save(call.client(), place.base, name, length, file);
  if (call.json) json(call.io, { file, length });
  else call.io.err(`${clean(path.relative(call.io.cwd, file) || file)}: ${bytes(length)}\n`);
  return EXIT.ok;
}

/** A file by its name in the folder, or in the task's working directory. */
async function find(client: Client, place: Place, wanted: string): Promise<{ name: string; length: number }> {
  try {
    return { name: wanted, length: await client.fileLength(place.base, wanted) };
  } catch (error) {
    // An error of HEAD carries no code.
    if (!(error instanceof ServiceError) || error.status !== 404) throw await spelledOut(client, place, wanted, error);
    try {
      return { name: `wd/${wanted}`, length: await client.fileLength(place.base, `wd/${wanted}`) };
    } catch {
      throw await spelledOut(client, place, wanted, error);
    }
  }
}

/** The same refusal with its code and text: asked again with GET, of which at most a byte is wanted. */
async function spelledOut(client: Client, place: Place, wanted: string, error: unknown): Promise<unknown> {
  if (!(error instanceof ServiceError) || !error.code.startsWith("Http")) return error;
  return client.readFile(place.base, wanted, { offset: 0, length: 1 }).then(() => error, (better: unknown) => better);
}

/** Under its final name only when it is whole. */
async function save(client: Client, base: readonly string[], name: string, length: number, file: string): Promise<void> {
  mkdirSync(path.dirname(file), { recursive: true });
  const partial = `${file}.part-${process.pid}`;
  try {
    const stream = createWriteStream(partial);
    await once(stream, "open");
    await pipeline(chunks(client, base, name, length), stream);
    renameSync(partial, file);
  } finally {
    rmSync(partial, { force: true });
  }
}

async function* chunks(client: Client, base: readonly string[], name: string, length: number): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < length; ) {
    const { bytes: part } = await client.readFile(base, name, { offset, length: Math.min(CHUNK_BYTES, length - offset) });
    if (part.length === 0) throw new Failure(EXIT.failed, `${clean(name)} became shorter while it was copied.`, "Copy it again.");
    yield part;
    offset += part.length;
  }
}

async function copyFolder(call: Invocation, place: Place, folder: string, destination: string): Promise<number> {
  if (destination === "-") throw usage("A folder cannot go to standard output.");
  const root = path.resolve(call.io.cwd, destination);
  const entries = await allFiles(call.client(), place.base);
  const inside = (within: string) => entries.filter(({ name, isDirectory }) => !isDirectory && (within === "" || slashed(name).startsWith(`${within}/`)));
  let from = folder;
  if (inside(from).length === 0 && inside(`wd/${from}`).length > 0) from = `wd/${from}`;
  const files = inside(from);
  if (files.length === 0) throw new Failure(EXIT.refused, `${place.what} has no files under ${clean(folder) || "its folder"}.`, "`batchledger files` lists what there is.");
  let total = 0;
  for (const { name, properties } of files) {
    const length = Number(properties?.contentLength ?? 0);
    await save(call.client(), place.base, slashed(name), length, resolveInside(root, slashed(name).slice(from === "" ? 0 : from.length + 1)));
    total += length;
  }
  if (call.json) json(call.io, { folder: root, files: files.length, length: total });
  else call.io.err(`${clean(path.relative(call.io.cwd, root) || root)}: ${plural(files.length, "file")}, ${bytes(total)}\n`);
  return EXIT.ok;
}

/** A name from a TVM as a path below `root`; one that would lead elsewhere is refused. */
export function resolveInside(root: string, name: string): string {
  const parts = name.split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".." || /[\0\\:]/.test(part))) {
    throw new Failure(EXIT.failed, `The file name "${clean(name)}" cannot be used on this machine.`, "Copy that file by itself, to a name of your choice.");
  }
  return path.join(root, ...parts);
}
