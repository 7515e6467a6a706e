// Who descends from whom, read from /proc: to end what escaped from its process group. Where there is no /proc the answers
// are empty, and only process groups can be ended. It never signals a process whose start time is not the one it saw.
import fs from "node:fs";

export interface ProcessInfo {
  readonly pid: number;
  readonly parent: number;
  /** In clock ticks since the machine started: with the pid it names a process for ever. */
  readonly startTicks: number;
}

/** All processes now. Costs some milliseconds: for ends and sweeps, never once per task. */
export function processes(): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const name of list("/proc")) {
    const pid = Number(name);
    const info = Number.isInteger(pid) ? processInfo(pid) : undefined;
    if (info) found.push(info);
  }
  return found;
}

/** A live process; zombies count as gone. */
export function processInfo(pid: number): ProcessInfo | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name may hold spaces and brackets: fields are counted from the last bracket.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  if (fields[0] === "Z" || fields[0] === "X") return undefined;
  return { pid, parent: Number(fields[1]), startTicks: Number(fields[19]) };
}

export function descendants(all: readonly ProcessInfo[], of: number): ProcessInfo[] {
  const children = new Map<number, ProcessInfo[]>();
  for (const one of all) {
    const siblings = children.get(one.parent);
    if (siblings) siblings.push(one);
    else children.set(one.parent, [one]);
  }
  const found: ProcessInfo[] = [];
  const visit = (pid: number): void => {
    for (const child of children.get(pid) ?? []) {
      found.push(child);
      visit(child.pid);
    }
  };
  visit(of);
  return found;
}

/** The value of a variable in the environment that the process was started with. */
export function variableOf(pid: number, name: string): string | undefined {
  const text = read(`/proc/${pid}/environ`);
  if (text === undefined) return undefined;
  const prefix = `${name}=`;
  return text.split("\0").find((entry) => entry.startsWith(prefix))?.slice(prefix.length);
}

export function ownerOf(pid: number): number | undefined {
  try {
    return fs.statSync(`/proc/${pid}`).uid;
  } catch {
    return undefined;
  }
}

/** SIGKILL, if it is still the same process. */
export function killProcess(one: ProcessInfo): boolean {
  if (processInfo(one.pid)?.startTicks !== one.startTicks) return false;
  try {
    process.kill(one.pid, "SIGKILL");
    return true;
  } catch {
    return false;
  }
}

/** Kills what `wanted` picks, again and again until a look finds none (at most `passes` looks: a fork may race each). */
export function killWhere(wanted: (one: ProcessInfo, all: readonly ProcessInfo[]) => boolean, passes = 10): number {
  let killed = 0;
  for (let pass = 0; pass < passes; pass++) {
    const all = processes();
    const victims = all.filter((one) => one.pid !== process.pid && wanted(one, all));
    if (victims.length === 0) break;
    for (const victim of victims) if (killProcess(victim)) killed++;
  }
  return killed;
}

function list(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}

function read(file: string): string | undefined {
  try {
    return fs.readFileSync(file, "latin1");
  } catch {
    return undefined;
  }
}
