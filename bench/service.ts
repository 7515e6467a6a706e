// The service under measurement: the built one, in a process of its own, on a folder of its own.
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { type Client, createClient } from "../src/cli/client";

export const JOB = "job-0000000001";

export interface Service {
  readonly client: Client;
  readonly child: ChildProcess;
  readonly data: string;
  readonly url: string;
  readonly startMs: number;
}

export const newFolder = (): string => {
  const folder = mkdtempSync(path.join(os.tmpdir(), "batchledger-bench-"));
  chmodSync(folder, 0o755);
  return folder;
};

export const startService = async (data: string, more: readonly string[] = []): Promise<Service> => {
  const launcher = path.resolve(__dirname, "..", "..", "bin", "batchledger.js");
  const began = performance.now();
  const child = spawn(process.execPath, [launcher, "start", "--json", "--data", data, "--port", "0", ...more], { stdio: ["ignore", "pipe", "inherit"] });
  const line = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) resolve(text);
    });
    child.once("exit", (code) => reject(new Error(`the service ended with ${code}`)));
  });
  const startMs = performance.now() - began;
  const { api, account, keyFile } = JSON.parse(line) as { api: string; account: string; keyFile: string };
  const key = readFileSync(keyFile, "utf8").split("\n")[0] as string;
  return { client: createClient({ url: api, account, key }), child, data, url: api, startMs };
};

export const stopService = async ({ client, child }: Service, signal: NodeJS.Signals = "SIGTERM"): Promise<void> => {
  client.close();
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await gone;
};

export const removeFolder = (folder: string): void => rmSync(folder, { recursive: true, force: true, maxRetries: 5 });

export const until = async (look: () => Promise<boolean>, everyMs = 20): Promise<void> => {
  while (!(await look())) await new Promise((resolve) => setTimeout(resolve, everyMs));
};

/** Resident memory of a process now and at its peak, in MiB. */
export const memoryOf = (pid: number): { now: number; peak: number } => {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
  return { now: Math.round(kib("VmRSS") / 1024), peak: Math.round(kib("VmHWM") / 1024) };
};

/** CPU of a process so far, in milliseconds (clock ticks of 10 ms). */
export const cpuOf = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
};

export const addPool = async (client: Client, name: string, tvms: number, slots: number): Promise<void> => {
  await client.createPool({ name, tvmSize: "small", osFamily: "4", targetDedicated: tvms, maxTasksPerTVM: slots } as never);
  await until(async () => {
    let idle = 0;
    for await (const tvm of client.listTvms(name)) if ((tvm as { state: string }).state === "idle") idle++;
    return idle === tvms;
  });
};

export const addWorkItem = async (client: Client, name: string, poolName: string): Promise<void> => {
  await client.createWorkItem({ name, jobExecutionEnvironment: { poolName } } as never);
};

export function* tasks(count: number, prefix = "t"): Generator<{ name: string; commandLine: string }> {
  for (let index = 0; index < count; index++) yield { name: `${prefix}${index}`, commandLine: "/bin/true" };
}

export const completed = (client: Client, name: string, count: number): Promise<void> =>
  until(async () => (await client.counts(name, JOB)).completed >= count, 50);
