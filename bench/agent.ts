// How many no-op tasks a second one agent process runs (2 TVMs of 4 slots, one service in this process that does next to
// nothing), beside the machine's limit measured in the same run: the start helpers alone, fed without a pause.
// Prints one JSON line a figure. Usage: node dist/bench/agent.js [tasks] [c|perl|node]
import { spawn } from "node:child_process";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { findHelper, type Helper, type HelperKind, type StartOrder } from "../src/agent/helper";
import type { Assignment, ExchangeRequest } from "../src/wire";

const TASKS = Number(process.argv[2] ?? 10_000);
const KIND = (process.argv[3] ?? "c") as HelperKind;
const SLOTS = 4;
const TVMS = ["tvm-1", "tvm-2"];
const folder = fs.mkdtempSync(path.join(os.tmpdir(), "agent-bench-"));
const cacheFolder = path.join(folder, "helpers");

const figure = (name: string, value: number, unit: string, more: Record<string, unknown> = {}): void => {
  console.log(JSON.stringify({ name, value: Math.round(value * 100) / 100, unit, helper: KIND, ...more }));
};

/** Two helpers, `inFlight` tasks at a time; `folders`: a new task folder and working directory for each. */
async function rawStarts(count: number, folders: boolean, inFlight: number): Promise<number> {
  const root = fs.mkdtempSync(path.join(folder, "raw-"));
  fs.mkdirSync(path.join(root, ".trash"));
  const open = await findHelper({ cacheFolder, limits: {}, kinds: [KIND], log: () => undefined });
  let next = 0;
  let over = 0;
  let helpers: Helper[] = [];
  let finish: (() => void) | undefined;
  const finished = new Promise<void>((resolve) => (finish = resolve));
  const start = (helper: Helper): void => {
    if (next >= count) return;
    const n = next++;
    const dir = folders ? path.join(root, "tasks", "w", "j", `t${n}`) : root;
    const file = (name: string): string => path.join(dir, folders ? name : `${n}-${name}`);
    const order: StartOrder = {
      id: `r-${n}`, folder: folders ? "fresh" : "none", dir, trash: path.join(root, ".trash"), cwd: folders ? path.join(dir, "wd") : root,
      stdout: file("stdout.txt"), stderr: file("stderr.txt"), elevated: false, keepGroup: false, limits: {}, env: { PATH: "/usr/bin:/bin" }, argv: ["/bin/true"],
    };
    helper.start(order);
  };
  const handlers = (index: number) => ({
    onEvents: (events: readonly { kind: string }[]) => {
      for (const event of events) {
        if (event.kind === "started") continue;
        if (event.kind === "failed") throw new Error("a start failed");
        const helper = helpers[index];
        if (helper) start(helper);
        if (++over === count) finish?.();
      }
    },
    onExit: () => undefined,
  });
  helpers = await Promise.all([open(handlers(0)), open(handlers(1))]);
  const began = performance.now();
  for (let n = 0; n < inFlight; n++) for (const helper of helpers.slice(n % 2, (n % 2) + 1)) start(helper);
  await finished;
  const seconds = (performance.now() - began) / 1000;
  await Promise.all(helpers.map((helper) => helper.close()));
  return count / seconds;
}

interface Stand {
  readonly port: number;
  submit(tasks: number): Promise<{ seconds: number; exchanges: number }>;
  oneTask(): Promise<{ startMs: number; endMs: number }>;
  close(): void;
}

/** Assigns from one queue up to each TVM's capacity, confirms what ended, and counts. */
async function standIn(): Promise<Stand> {
  const queue: Assignment[] = [];
  const assigned = new Map<string, Map<string, Assignment>>();
  const waiters = new Set<() => void>();
  const told = { started: (_at: number): void => undefined, ended: (): void => undefined };
  let serial = 0;
  let exchanges = 0;
  const exchange = async (tvm: string, request: ExchangeRequest): Promise<unknown> => {
    exchanges++;
    let mine = assigned.get(tvm);
    if (!mine) assigned.set(tvm, (mine = new Map()));
    for (const report of request.reports) {
      if (report.kind === "taskStarted") told.started(performance.now());
      if (report.kind === "taskReturned") queue.push(mine.get(report.key) as Assignment);
      if ((report.kind === "taskEnded" || report.kind === "taskReturned") && mine.delete(report.key) && report.kind === "taskEnded") told.ended();
    }
    for (const until = Date.now() + request.waitMs; ;) {
      while (mine.size < request.capacity && queue.length > 0) {
        const next = queue.shift() as Assignment;
        mine.set(next.key, next);
      }
      const holding = new Set(request.holding.map((ref) => ref.key));
      const run = [...mine.values()].filter((one) => !holding.has(one.key));
      const stop = request.holding.filter((ref) => !mine.has(ref.key));
      if (run.length > 0 || stop.length > 0 || Date.now() >= until) return { run, stop, removeFolders: [], files: [] };
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        waiters.add(resolve);
        timer = setTimeout(resolve, until - Date.now());
      });
      clearTimeout(timer);
    }
  };
  const wake = (): void => {
    for (const one of waiters) one();
    waiters.clear();
  };
  const server = http.createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(pieces).toString()) as { code: string };
      const name = request.url === "/agent/join" ? body.code.split("~")[1] : request.headers.authorization?.split("~")[1];
      const limits = { slots: SLOTS, holdMax: 512, heartbeatMs: 10_000, selfStopMs: 40_000, runElevatedAllowed: false };
      const answer = request.url === "/agent/join" ? { credential: `c~${name}`, account: "a", pool: "p", tvm: name, boot: 1, ...limits } : exchange(name ?? "", body as unknown as ExchangeRequest);
      void Promise.resolve(answer).then((value) => {
        const text = JSON.stringify(value);
        response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
        response.end(text);
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const add = (count: number): void => {
    for (let n = 0; n < count; n++) {
      const task = `t${++serial}`;
      queue.push({ key: `a.w.j.${task}`, attempt: 1, workItem: "w", job: `j${Math.floor(serial / 10_000)}`, task, commandLine: "/bin/true", resourceFiles: [], environment: {}, runElevated: false });
    }
    wake();
  };
  return {
    port: (server.address() as AddressInfo).port,
    async submit(tasks) {
      const before = exchanges;
      let over = 0;
      const all = new Promise<void>((resolve) => (told.ended = () => void (++over === tasks && resolve())));
      const began = performance.now();
      add(tasks);
      await all;
      return { seconds: (performance.now() - began) / 1000, exchanges: exchanges - before };
    },
    async oneTask() {
      const startAt = new Promise<number>((resolve) => (told.started = resolve));
      const endAt = new Promise<number>((resolve) => (told.ended = () => resolve(performance.now())));
      const began = performance.now();
      add(1);
      return { startMs: (await startAt) - began, endMs: (await endAt) - began };
    },
    close: () => server.close(),
  };
}

interface BenchAgent {
  /** CPU that the agent process itself has used, helpers and tasks left out. */
  cpuMs(): number;
  stop(): Promise<void>;
}

function startAgent(port: number): BenchAgent {
  const endpointFile = path.join(folder, "service.json");
  fs.writeFileSync(endpointFile, JSON.stringify({ url: `http://127.0.0.1:${port}` }));
  fs.mkdirSync(path.join(folder, "tvms"));
  const agent = spawn(process.execPath, [path.join(__dirname, "..", "src", "agent", "main.js")], { stdio: ["pipe", "inherit", "inherit"] });
  const tvms = TVMS.map((name) => ({ name, joinCode: `joincode~${name}`, boot: 1, root: path.join(folder, "tvms", name), address: "127.0.0.1" }));
  agent.stdin.end(JSON.stringify({ endpointFile, helperCache: cacheFolder, helpers: [KIND], allowSameUser: true, tvms }));
  const gone = new Promise<void>((resolve) => agent.once("exit", () => resolve()));
  return {
    cpuMs() {
      const text = fs.readFileSync(`/proc/${agent.pid}/stat`, "latin1");
      const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
      return (Number(fields[11]) + Number(fields[12])) * 10;
    },
    stop() {
      agent.kill("SIGTERM");
      return gone;
    },
  };
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

async function main(): Promise<void> {
  const count = Math.min(TASKS, 1_000);
  await rawStarts(Math.min(count, 200), true, 8);
  const raw: { with: number[]; without: number[] } = { with: [], without: [] };
  const measureRaw = async (): Promise<void> => {
    raw.without.push(await rawStarts(count, false, 8));
    raw.with.push(await rawStarts(count, true, 8));
  };
  await measureRaw();
  const stand = await standIn();
  const agent = startAgent(stand.port);
  await stand.submit(Math.min(200, TASKS));
  const cpuBefore = agent.cpuMs();
  const { seconds, exchanges } = await stand.submit(TASKS);
  const cpuMs = (agent.cpuMs() - cpuBefore) / TASKS;
  await measureRaw();
  const singles: { startMs: number; endMs: number }[] = [];
  for (let n = 0; n < 30; n++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    singles.push(await stand.oneTask());
  }
  await agent.stop();
  stand.close();
  await measureRaw();
  const [limit, plain] = [median(raw.with), median(raw.without)];
  figure("raw_starts", plain, "tasks/s", { folders: false });
  figure("raw_starts", limit, "tasks/s", { folders: true });
  const more = { tvms: TVMS.length, slots: SLOTS, tasks: TASKS, share_of_raw: Math.round((TASKS / seconds / limit) * 100) / 100 };
  figure("agent_no_op_tasks", TASKS / seconds, "tasks/s", { ...more, exchanges_per_task: Math.round((exchanges / TASKS) * 100) / 100 });
  figure("agent_own_cpu", cpuMs, "ms/task");
  figure("agent_queue_to_start_told", median(singles.map((one) => one.startMs)), "ms");
  figure("agent_queue_to_end_told", median(singles.map((one) => one.endMs)), "ms");
}

main().finally(() => fs.rmSync(folder, { recursive: true, force: true }));
