// Starts tasks for the agent where there is neither a C compiler nor Perl: the protocol of README.md with child_process.
// A lean process of its own, since starting from a process with a heap is slow and stops its event loop. Only a few starts a
// turn, so that ends are told in time. It knows no resource use, and sets no limits itself (it is started under them).
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { openFolder, type Folder, type Owner } from "../beneath";
import { closeInheritedDescriptors } from "../descriptors";
import { descendants, killProcess, processes } from "../processTree";

const STARTS_PER_TURN = 4;
const FIXED_FIELDS = 15;

interface Order {
  readonly id: string;
  readonly flags: string;
  readonly owner: Owner | undefined;
  readonly dir: string;
  readonly trash: string;
  readonly cwd: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly env: Record<string, string>;
  readonly argv: readonly string[];
}

const running = new Map<string, number>();
const waiting: Order[] = [];
let output = "";
let turnPlanned = false;

main();

function main(): void {
  process.umask(0o077);
  closeInheritedDescriptors();
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) process.on(signal, () => undefined);
  process.stdout.on("error", () => undefined);
  say("H", 1, "node", process.pid);
  let text = "";
  process.stdin.setEncoding("utf8");
  process.stdin.on("data", (piece: string) => {
    text += piece;
    let from = 0;
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n", from)) {
      obey(text.slice(from, end));
      from = end + 1;
    }
    text = text.slice(from);
  });
  process.stdin.on("end", leave);
  process.stdin.on("error", leave);
}

function obey(line: string): void {
  const fields = line.split("\t").map(unescape);
  if (fields[0] === "S") {
    const order = parseStart(fields);
    if (!order) return say("E", fields[1] ?? "-", "fork", os.constants.errno.EINVAL);
    waiting.push(order);
    planTurn();
  } else if (fields[0] === "K") {
    const pid = running.get(fields[1] ?? "");
    if (pid !== undefined) signalGroup(pid, Number(fields[2]));
  }
}

function parseStart(fields: readonly string[]): Order | undefined {
  const count = Number(fields[14]);
  if (!Number.isInteger(count) || fields.length <= FIXED_FIELDS + count) return undefined;
  const [, id = "", flags = "", uid = "-", gid = "-", , , , , dir = "", trash = "", cwd = "", stdout = "", stderr = ""] = fields;
  const env: Record<string, string> = Object.create(null);
  for (const entry of fields.slice(FIXED_FIELDS, FIXED_FIELDS + count)) env[entry.slice(0, entry.indexOf("="))] = entry.slice(entry.indexOf("=") + 1);
  const owner = uid === "-" ? undefined : { uid: Number(uid), gid: Number(gid) };
  return { id, flags, owner, dir, trash, cwd, stdout, stderr, env, argv: fields.slice(FIXED_FIELDS + count) };
}

function planTurn(): void {
  if (turnPlanned) return;
  turnPlanned = true;
  setImmediate(() => {
    turnPlanned = false;
    for (const order of waiting.splice(0, STARTS_PER_TURN)) start(order);
    if (waiting.length > 0) planTurn();
  });
}

function start(order: Order): void {
  let stage = "dir";
  let stdout: number | undefined;
  let stderr: number | undefined;
  try {
    makeFolders(order);
    stage = "output";
    stdout = openOutput(order, order.stdout);
    stderr = openOutput(order, order.stderr);
    stage = "cwd";
    fs.accessSync(order.cwd, fs.constants.X_OK);
    stage = "exec";
    launch(order, stdout, stderr);
  } catch (error) {
    say("E", order.id, stage, errnoOf(error));
  } finally {
    if (stdout !== undefined) fs.closeSync(stdout);
    if (stderr !== undefined) fs.closeSync(stderr);
  }
}

function launch(order: Order, stdout: number, stderr: number): void {
  const program = findProgram(order);
  const user = order.owner && !order.flags.includes("e") ? { uid: order.owner.uid, gid: order.owner.gid } : {};
  const child = spawn(program, order.argv.slice(1), {
    cwd: order.cwd, env: order.env, argv0: order.argv[0] ?? program, detached: true, shell: false, stdio: ["ignore", stdout, stderr], ...user,
  });
  const pid = child.pid;
  child.on("error", (error) => {
    if (pid !== undefined) return;
    // The file was found, so "no such file" is about its interpreter.
    const errno = errnoOf(error);
    say("E", order.id, "exec", errno === os.constants.errno.ENOENT ? os.constants.errno.ENOEXEC : errno);
  });
  if (pid === undefined) return;
  running.set(order.id, pid);
  say("S", order.id, pid, Date.now());
  child.on("exit", (code, signal) => {
    running.delete(order.id);
    if (!order.flags.includes("k")) signalGroup(pid, os.constants.signals.SIGKILL);
    say("X", order.id, code ?? 0, signal ? os.constants.signals[signal] : 0, "-", "-", "-", Date.now());
  });
}

function findProgram(order: Order): string {
  const name = order.argv[0] ?? "";
  if (name === "") throw failure("ENOENT");
  const folders = (order.env["PATH"] ?? "/usr/bin:/bin").split(":").filter((folder) => folder !== "");
  const candidates = name.includes("/") ? [path.resolve(order.cwd, name)] : [order.cwd, ...folders].map((folder) => path.join(folder, name));
  let worst = failure("ENOENT");
  for (const file of candidates) {
    const stat = fs.statSync(file, { throwIfNoEntry: false });
    if (!stat) continue;
    if (stat.isFile() && (stat.mode & 0o111) !== 0) return file;
    worst = failure("EACCES");
  }
  throw worst;
}

/** The TVM's root is the folder above the trash; everything below it is opened without following links. */
function makeFolders(order: Order): void {
  if (!/[fm]/.test(order.flags)) return;
  const segments = below(order, order.dir);
  const last = segments.at(-1);
  if (last === undefined) return;
  const parent = open(order, segments.slice(0, -1));
  try {
    if (order.flags.includes("f")) setAside(order, parent, last);
  } finally {
    parent.close();
  }
  open(order, order.cwd.startsWith(`${order.dir}/`) ? below(order, order.cwd) : segments).close();
}

function setAside(order: Order, parent: Folder, name: string): void {
  const trash = open(order, below(order, order.trash));
  try {
    fs.renameSync(parent.at(name), trash.at(order.id));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  } finally {
    trash.close();
  }
}

function openOutput(order: Order, file: string): number {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = fs.constants;
  const folder = openFolder(rootOf(order), below(order, path.dirname(file)));
  try {
    const handle = fs.openSync(folder.at(path.basename(file)), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
    if (order.owner) fs.fchownSync(handle, order.owner.uid, order.owner.gid);
    return handle;
  } finally {
    folder.close();
  }
}

function open(order: Order, segments: readonly string[]): Folder {
  return openFolder(rootOf(order), segments, { make: true, owner: order.owner });
}

function rootOf(order: Order): string {
  return path.dirname(order.trash);
}

function below(order: Order, folder: string): string[] {
  const relative = path.relative(rootOf(order), folder);
  if (relative.startsWith("..")) throw failure("EINVAL");
  return relative.split("/").filter((segment) => segment !== "");
}

function signalGroup(pid: number, signal: number): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // gone already
  }
}

function leave(): void {
  for (const one of descendants(processes(), process.pid)) killProcess(one);
  for (const pid of running.values()) signalGroup(pid, os.constants.signals.SIGKILL);
  process.exit(0);
}

const escapes: Record<string, string> = { t: "\t", n: "\n" };
function unescape(field: string): string {
  return field.includes("\\") ? field.replace(/\\(.)/gs, (_, letter: string) => escapes[letter] ?? letter) : field;
}

function failure(code: "ENOENT" | "EACCES" | "EINVAL"): NodeJS.ErrnoException {
  return Object.assign(new Error(code), { code, errno: -os.constants.errno[code] });
}

function errnoOf(error: unknown): number {
  return Math.abs((error as NodeJS.ErrnoException).errno ?? os.constants.errno.EINVAL);
}

function say(...words: (string | number)[]): void {
  if (output === "") setImmediate(() => {
    process.stdout.write(output);
    output = "";
  });
  output += `${words.join(" ")}\n`;
}
