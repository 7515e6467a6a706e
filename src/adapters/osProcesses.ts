// Processes of the operating system: which they are, whether they live, and an end to what is left of a TVM's. Linux tells all of it in
// /proc; elsewhere a pid is all there is.
import { spawn } from "node:child_process";
import fs from "node:fs";
import { readText } from "./smallFiles";

/** With the time of its start (Linux) a pid names one process for ever. */
export interface ProcessName {
  readonly pid: number;
  readonly startTicks: number;
}

const PROGRAM_MS = 10_000;

export function isAlive(one: ProcessName): boolean {
  if (process.platform === "linux") return startTicksOf(one.pid) === one.startTicks;
  return signal(one.pid, 0);
}

/** 0 for a process that is gone, a zombie, or where there is no /proc. */
export function startTicksOf(pid: number): number {
  const text = readText(`/proc/${pid}/stat`);
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  return !fields || fields[0] === "Z" || fields[0] === "X" ? 0 : Number(fields[19]);
}

export function signal(pid: number, what: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, what);
    return true;
  } catch {
    return false;
  }
}

/** Whoever forks faster than this is looked for is not caught up with. */
const PASSES_MAX = 50;

/** Kills task processes that outlived their agent. They may be forking: it looks again until all that it sees have been killed. */
export function killLeftovers(tvm: { readonly root: string; readonly uid?: number }): void {
  const killed = new Set<number>();
  for (let pass = 0; pass < PASSES_MAX; pass++) {
    const fresh = leftoversOf(tvm).filter((pid) => !killed.has(pid) && startTicksOf(pid) !== 0);
    if (fresh.length === 0) return;
    for (const pid of fresh) if (signal(pid, "SIGKILL")) killed.add(pid);
  }
}

/** Marked by the TVM's root in their environment, or running as its user. */
function leftoversOf({ root, uid }: { readonly root: string; readonly uid?: number }): number[] {
  return listProcesses().filter((pid) => (uid !== undefined && userOf(pid) === uid) || readText(`/proc/${pid}/environ`)?.split("\0").includes(`WATASK_TVM_ROOT_DIR=${root}`));
}

/** Its exit code; 127 when there is no such program. */
export function runProgram(file: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(file, args, { shell: false, stdio: "ignore", env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C" }, timeout: PROGRAM_MS });
    child.on("error", () => resolve(127));
    child.on("close", (code) => resolve(code ?? 1));
  });
}

function listProcesses(): number[] {
  try {
    return fs.readdirSync("/proc").map(Number).filter((pid) => Number.isInteger(pid) && pid !== process.pid);
  } catch {
    return [];
  }
}

function userOf(pid: number): number | undefined {
  try {
    return fs.statSync(`/proc/${pid}`).uid;
  } catch {
    return undefined;
  }
}
