// The built service as a user has it, in a process of its own, on a data folder of its own: `batchledger start --json` unless a file
// of tests composes another one first (see azure.ts).
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

/** How the service of these tests is made up; the scenarios are the same for all. */
export interface Composition {
  readonly name: string;
  /** Arguments of Node that start the service on this data. */
  launch(data: string, more: readonly string[]): Promise<readonly string[]>;
  /** Pids of the agents that belong to this data folder. */
  agentPids(data: string): number[];
  /** The TVM's root folder. */
  tvmRoot(data: string, pool: string, tvm: string): string;
  /** All that the service keeps of what happened, as text. */
  stored(data: string): string;
  /** One process alone may work on the data. */
  readonly exclusive: boolean;
  /** Of the numbers of tasks that the embedded service gets, so many are enough here. */
  readonly share: number;
  /** Between two looks of a test. */
  readonly lookMs: number;
  /** The service was killed: what would take its time is over at once. */
  killed?(data: string): void;
  /** When the tests of a data folder are over. */
  forget?(data: string): Promise<void>;
}

const embedded: Composition = {
  name: "embedded",
  launch: async (data, more) => [LAUNCHER, "start", "--json", "--data", data, "--port", "0", ...more],
  agentPids: (data) =>
    readdirSync(path.join(data, "machines"))
      .filter((name) => name.endsWith(".json"))
      .map((name) => (JSON.parse(readFileSync(path.join(data, "machines", name), "utf8")) as { pid: number }).pid),
  tvmRoot: (data, pool, tvm) => path.join(data, "tvms", "local", pool, tvm),
  stored: (data) => readFileSync(path.join(data, "ledger.db"), "latin1") + readFileSync(path.join(data, "ledger.db-wal"), "latin1"),
  exclusive: true,
  share: 1,
  lookMs: 25,
};

let composed = embedded;
export const composition = (): Composition => composed;
/** Before the scenarios are loaded. */
export const compose = (other: Composition): void => void (composed = other);

/** Starts the service and resolves when it says that it is ready. `flags` of Node, which it hands on to its agents. */
export const start = async (data: string, more: readonly string[] = [], flags: readonly string[] = []): Promise<Running> => {
  const child = spawn(process.execPath, [...flags, ...(await composed.launch(data, more))], { stdio: ["ignore", "pipe", "pipe"] });
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
  composed.killed?.(running.data);
};

/** What `batchledger verify` says of a data folder whose service is stopped. */
export const verify = (folder: string): Promise<{ code: number | null; found: { commits: number; problems: number; faults: string[] } | undefined; err: string }> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [LAUNCHER, "verify", "--data", folder, "--json"], { stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (err += chunk));
    child.once("close", (code) => resolve({ code, found: out === "" ? undefined : JSON.parse(out), err }));
  });

/** Pids of the agents that belong to this data folder. */
export const agentPids = (data: string): number[] => composed.agentPids(data);

export const removeData = async (data: string): Promise<void> => {
  await composed.forget?.(data);
  rmSync(data, { recursive: true, force: true, maxRetries: 5 });
};

/** Looks until the answer is there; the time is a bound for a broken run, not a wait. */
export const until = async <T>(look: () => Promise<T | undefined | false>, what: string, boundMs = 120_000): Promise<T> => {
  const deadline = Date.now() + boundMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > deadline) throw new Error(`not within ${boundMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, composed.lookMs));
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
