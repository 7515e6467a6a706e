// The built service as a user has it: `batchledger start --json` in a process of its own, on a data folder of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Client, createClient } from "../../src/cli/client";

const ROOT = path.resolve(__dirname, "..", "..");
const LAUNCHER = path.join(ROOT, "bin", "batchledger.js");

export interface Running {
  readonly process: ChildProcess;
  readonly client: Client;
  readonly url: string;
  readonly data: string;
  readonly key: string;
  readonly account: string;
  /** What it has said on standard error so far. */
  said(): string;
}

/** Passable for others: TVMs of a service that runs as root have users of their own, and their roots lie in it then. */
export const newData = (): string => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "batchledger-e2e-"));
  chmodSync(folder, 0o755);
  return folder;
};

/** Starts the service and resolves when it says that it is ready. */
export const start = async (data: string, more: readonly string[] = []): Promise<Running> => {
  const child = spawn(process.execPath, [LAUNCHER, "start", "--json", "--data", data, "--port", "0", ...more], { stdio: ["ignore", "pipe", "pipe"] });
  let errors = "";
  child.stderr.on("data", (chunk) => (errors += chunk));
  const line = await firstLine(child, () => errors);
  const { api, account, keyFile } = JSON.parse(line) as { api: string; account: string; keyFile: string };
  const key = readFileSync(keyFile, "utf8").split("\n")[0] as string;
  return { process: child, client: createClient({ url: api, account, key }), url: api, data, key, account, said: () => errors };
};

const firstLine = (child: ChildProcess, errors: () => string): Promise<string> =>
  new Promise((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
    });
    child.once("exit", (code) => reject(new Error(`the service ended with ${code} before it was ready: ${errors()}`)));
  });

export const ended = (child: ChildProcess): Promise<number | null> =>
  child.exitCode !== null || child.signalCode !== null ? Promise.resolve(child.exitCode) : new Promise((resolve) => child.once("exit", (code) => resolve(code)));

/** Asks the service to stop, and resolves with its exit code. */
export const stop = async (running: Running): Promise<number | null> => {
  running.client.close();
  running.process.kill("SIGTERM");
  return ended(running.process);
};

/** Kills the service as a power switch would, without a word. */
export const kill = async (running: Running): Promise<void> => {
  running.client.close();
  running.process.kill("SIGKILL");
  await ended(running.process);
};

/** Pids of the agents that belong to this data folder. */
export const agentPids = (data: string): number[] =>
  readdirSync(path.join(data, "machines"))
    .filter((name) => name.endsWith(".json"))
    .map((name) => (JSON.parse(readFileSync(path.join(data, "machines", name), "utf8")) as { pid: number }).pid);

export const removeData = (data: string): void => rmSync(data, { recursive: true, force: true, maxRetries: 5 });

/** Looks until the answer is there; the time is a bound for a broken run, not a wait. */
export const until = async <T>(look: () => Promise<T | undefined | false>, what: string, boundMs = 60_000): Promise<T> => {
  const deadline = Date.now() + boundMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
};

export const JOB = "job-0000000001";

/** A work item on a pool, ready for tasks. */
export const workItem = async (client: Client, name: string, poolName: string, more: object = {}): Promise<void> => {
  await client.createWorkItem({ name, jobExecutionEnvironment: { poolName }, ...more } as never);
};

export const pool = async (client: Client, name: string, tvms: number, slots: number, more: object = {}): Promise<void> => {
  await client.createPool({ name, tvmSize: "small", osFamily: "4", targetDedicated: tvms, maxTasksPerTVM: slots, ...more } as never);
};

/** Resolves when all of the job's tasks have completed. */
export const allCompleted = (client: Client, name: string, count: number, boundMs?: number): Promise<Awaited<ReturnType<Client["counts"]>>> =>
  until(
    async () => {
      const counts = await client.counts(name, JOB);
      return counts.completed >= count ? counts : undefined;
    },
    `${count} tasks of ${name} completed`,
    boundMs,
  );
