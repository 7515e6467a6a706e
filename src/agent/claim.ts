// Which agent process a TVM's root belongs to. Beside the root stand two small files: ROOT.claim names the process and boot
// that use it, ROOT.next says who comes after (a newer boot, or "gone" when the TVM is removed). An agent that finds itself
// followed ends its tasks and lets go; the follower waits for that, so two boots never run in one root. Both files lie
// outside the root, where tasks cannot write when they have a user of their own.
import fs from "node:fs";
import { processInfo } from "./processTree";

interface ClaimFile {
  readonly pid: number;
  readonly startTicks: number;
  readonly boot: number;
}

export interface Claim {
  /** Who follows: a newer boot, or the TVM is gone; undefined as long as nobody does. */
  follower(): "newerBoot" | "gone" | undefined;
  release(): void;
}

const WAIT_MS = 20_000;
const LOOK_MS = 25;

/**
 * Claims the root for this boot: at once if it is free, else when its present owner has let go. `ended` is called when a
 * dead owner is replaced, before the claim. Undefined: a newer boot has it, or the owner does not let go in time.
 */
export async function claimRoot(root: string, boot: number, onDeadOwner: () => void): Promise<Claim | undefined> {
  const [claimFile, nextFile] = [`${root}.claim`, `${root}.next`];
  const until = performance.now() + WAIT_MS;
  for (let first = true; ; first = false) {
    const owner = readJson<ClaimFile>(claimFile);
    if (!owner || !isAlive(owner)) {
      if (owner) onDeadOwner();
      break;
    }
    if (owner.boot >= boot || performance.now() > until) return undefined;
    if (first) {
      writeJson(nextFile, { boot });
      nudge(owner.pid);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  fs.rmSync(nextFile, { force: true });
  writeJson(claimFile, { pid: process.pid, startTicks: processInfo(process.pid)?.startTicks ?? 0, boot } satisfies ClaimFile);
  return {
    follower() {
      const next = readJson<{ boot: number | "gone" }>(nextFile);
      if (!next) return undefined;
      if (next.boot === "gone") return "gone";
      return next.boot > boot ? "newerBoot" : undefined;
    },
    release() {
      fs.rmSync(claimFile, { force: true });
    },
  };
}

function isAlive(owner: ClaimFile): boolean {
  if (process.platform === "linux") return processInfo(owner.pid)?.startTicks === owner.startTicks;
  try {
    process.kill(owner.pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Makes an agent look at once who follows; it has a handler for this signal before it claims anything. */
function nudge(pid: number): void {
  try {
    process.kill(pid, "SIGUSR2");
  } catch {
    // gone meanwhile
  }
}

function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(fs.readFileSync(file, "utf8")) as T;
  } catch {
    return undefined;
  }
}

function writeJson(file: string, value: unknown): void {
  const unfinished = `${file}.${process.pid}`;
  fs.writeFileSync(unfinished, JSON.stringify(value), { mode: 0o600 });
  fs.renameSync(unfinished, file);
}
