// One start helper: finding one that works on this machine, starting it, and speaking its line protocol (helpers/README.md).
// It never decides what to start; runner.ts does. Helpers are tried in the order C, Perl, Node.
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import type { Owner } from "./beneath";

export type HelperKind = "c" | "perl" | "node";

export interface Limits {
  readonly openFiles?: number | undefined;
  /** Per user, so only used for TVMs with a user of their own. */
  readonly processes?: number | undefined;
  readonly fileBytes?: number | undefined;
  readonly memoryBytes?: number | undefined;
}

export interface StartOrder {
  readonly id: string;
  /** "fresh": made new, the old one goes to the trash; "make": made unless there; "none": it is there. */
  readonly folder: "fresh" | "make" | "none";
  readonly dir: string;
  readonly trash: string;
  readonly cwd: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly owner?: Owner | undefined;
  readonly elevated: boolean;
  /** Leave the rest of the group alone when the first process ends (a start task's background processes). */
  readonly keepGroup: boolean;
  readonly limits: Limits;
  readonly env: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
}

export type HelperEvent =
  | { readonly kind: "started"; readonly id: string; readonly pid: number; readonly atMs: number }
  | { readonly kind: "failed"; readonly id: string; readonly stage: string; readonly errno: number }
  | { readonly kind: "ended"; readonly id: string; readonly exitCode: number; readonly signal: number; readonly usage?: HelperUsage; readonly atMs: number };

export interface HelperUsage {
  readonly userUs: number;
  readonly kernelUs: number;
  readonly maxRssKib: number;
}

export interface Helper {
  readonly kind: HelperKind;
  readonly pid: number;
  start(order: StartOrder): void;
  signal(id: string, signal: number): void;
  /** Ends the helper and all that it started; resolves when it is gone. */
  close(): Promise<void>;
}

export interface HelperHandlers {
  onEvents(events: readonly HelperEvent[]): void;
  /** The helper is gone, asked or not. */
  onExit(): void;
}

export interface HelperOptions {
  /** Where the compiled helper is kept; a folder of the agent's own user. */
  readonly cacheFolder: string;
  readonly limits: Limits;
  /** Only these kinds, for tests and measurements. */
  readonly kinds?: readonly HelperKind[] | undefined;
  readonly log: (message: string) => void;
}

const HELLO_MS = 5_000;
const COMPILE_MS = 60_000;
const sources = path.join(__dirname, "helpers");
const run = promisify(execFile);

/** How to start the first helper that works here; throws if none does. */
export async function findHelper(options: HelperOptions): Promise<(handlers: HelperHandlers) => Promise<Helper>> {
  for (const kind of options.kinds ?? (["c", "perl", "node"] as const)) {
    const command = await commandFor(kind, options);
    if (!command) continue;
    const open = (handlers: HelperHandlers): Promise<Helper> => openHelper(kind, command, handlers);
    try {
      const probe = await open({ onEvents: () => undefined, onExit: () => undefined });
      await probe.close();
      return open;
    } catch (error) {
      options.log(`the ${kind} start helper does not work here: ${(error as Error).message}`);
    }
  }
  throw new Error("no start helper works on this machine");
}

/** Encodes an order as one line of the protocol. */
export function startLine(order: StartOrder): string {
  const flags = `${order.folder === "fresh" ? "f" : order.folder === "make" ? "m" : ""}${order.elevated ? "e" : ""}${order.keepGroup ? "k" : ""}` || "-";
  const { openFiles, processes, fileBytes, memoryBytes } = order.limits;
  const env = Object.entries(order.env);
  let line = `S\t${order.id}\t${flags}\t${order.owner?.uid ?? "-"}\t${order.owner?.gid ?? "-"}\t${openFiles ?? "-"}\t${processes ?? "-"}\t${fileBytes ?? "-"}\t${memoryBytes ?? "-"}`;
  line += `\t${escape(order.dir)}\t${escape(order.trash)}\t${escape(order.cwd)}\t${escape(order.stdout)}\t${escape(order.stderr)}\t${env.length}`;
  for (const [name, value] of env) line += `\t${escape(name)}=${escape(value)}`;
  for (const argument of order.argv) line += `\t${escape(argument)}`;
  return `${line}\n`;
}

/** Decodes one answer; undefined for the hello and for anything unknown. */
export function parseAnswer(line: string): HelperEvent | undefined {
  const [word, id = "", a = "", b = "", c = "", d = "", e = "", f = ""] = line.split(" ");
  if (word === "S") return { kind: "started", id, pid: Number(a), atMs: Number(b) };
  if (word === "E") return { kind: "failed", id, stage: a, errno: Number(b) };
  if (word !== "X") return undefined;
  const usage = c === "-" ? {} : { usage: { userUs: Number(c), kernelUs: Number(d), maxRssKib: Number(e) } };
  return { kind: "ended", id, exitCode: Number(a), signal: Number(b), ...usage, atMs: Number(f) };
}

async function openHelper(kind: HelperKind, command: readonly string[], handlers: HelperHandlers): Promise<Helper> {
  const [file = "", ...args] = command;
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "ignore"], env: helperEnvironment() });
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  await greeted(child, handlers);
  void closed.then(handlers.onExit);
  const write = batchedWriter(child);
  return {
    kind,
    pid: child.pid ?? 0,
    start: (order) => write(startLine(order)),
    signal: (id, signal) => write(`K\t${id}\t${signal}\n`),
    close: () => {
      child.stdin?.end();
      return closed;
    },
  };
}

/** Resolves at the hello line; afterwards answers go to the handlers, all that came in one piece together. */
function greeted(child: ChildProcess, handlers: HelperHandlers): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    let hello = false;
    const fail = (why: string): void => {
      clearTimeout(timer);
      child.kill("SIGKILL");
      reject(new Error(why));
    };
    const timer = setTimeout(() => fail("no hello in time"), HELLO_MS);
    child.once("error", (error) => fail(error.message));
    child.once("exit", () => fail("it ended at once"));
    child.stdin?.on("error", () => undefined);
    child.stdout?.setEncoding("latin1").on("data", (piece: string) => {
      text += piece;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      if (!hello && lines.some((line) => line.startsWith("H 1 "))) {
        hello = true;
        clearTimeout(timer);
        resolve();
      }
      const events = lines.map(parseAnswer).filter((event) => event !== undefined);
      if (events.length > 0) handlers.onEvents(events);
    });
  });
}

/** What is written in one turn goes out in one piece. */
function batchedWriter(child: ChildProcess): (line: string) => void {
  let pending = "";
  return (line) => {
    if (pending === "") queueMicrotask(() => {
      child.stdin?.write(pending);
      pending = "";
    });
    pending += line;
  };
}

async function commandFor(kind: HelperKind, options: HelperOptions): Promise<string[] | undefined> {
  if (kind === "node") return nodeCommand(options.limits);
  if (process.platform !== "linux") return undefined;
  if (kind === "perl") return ["perl", path.join(sources, "spawner.pl")];
  const program = await compiled(options);
  return program === undefined ? undefined : [program];
}

/** The Node helper inherits its limits (and, where the system has setpriv, no_new_privs) from what starts it. */
function nodeCommand(limits: Limits): string[] {
  const node = [process.execPath, ...process.execArgv, path.join(sources, `spawner${path.extname(__filename)}`)];
  if (process.platform === "win32") return node;
  const set = ["ulimit -c 0"];
  if (limits.openFiles !== undefined) set.push(`ulimit -n ${limits.openFiles}`);
  if (limits.fileBytes !== undefined) set.push(`ulimit -f ${Math.ceil(limits.fileBytes / 512)}`);
  const guarded = `${set.map((line) => `${line} 2>/dev/null`).join("; ")}; if setpriv --no-new-privs true 2>/dev/null; then exec setpriv --no-new-privs "$@"; fi; exec "$@"`;
  return ["/bin/sh", "-c", guarded, "sh", ...node];
}

async function compiled(options: HelperOptions): Promise<string | undefined> {
  const source = path.join(sources, "spawner.c");
  const key = createHash("sha256").update(fs.readFileSync(source)).update(process.arch).digest("hex").slice(0, 32);
  const program = path.join(options.cacheFolder, `spawner-${key}`);
  fs.mkdirSync(options.cacheFolder, { recursive: true, mode: 0o700 });
  if (ours(program)) return program;
  const unfinished = `${program}.${process.pid}`;
  for (const compiler of ["cc", "gcc", "clang"]) {
    try {
      await run(compiler, ["-O2", "-o", unfinished, source], { timeout: COMPILE_MS, env: helperEnvironment() });
      fs.chmodSync(unfinished, 0o700);
      fs.renameSync(unfinished, program);
      return program;
    } catch {
      fs.rmSync(unfinished, { force: true });
    }
  }
  return undefined;
}

/** A program that somebody else could have put or changed there is not run. */
function ours(program: string): boolean {
  const stat = fs.lstatSync(program, { throwIfNoEntry: false });
  return stat !== undefined && stat.isFile() && stat.uid === process.getuid?.() && (stat.mode & 0o022) === 0;
}

function helperEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin", LANG: "C.UTF-8", ...(process.env["TMPDIR"] ? { TMPDIR: process.env["TMPDIR"] } : {}) };
}

function escape(field: string): string {
  return /[\\\t\n]/.test(field) ? field.replace(/[\\\t\n]/g, (c) => (c === "\t" ? "\\t" : c === "\n" ? "\\n" : "\\\\")) : field;
}
