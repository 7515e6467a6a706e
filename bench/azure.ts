// What a task costs on Cosmos DB: request units and operations for each part of its life, by driving the application on the
// Cosmos DB adapters with agents that only report. The stand-in charges by the published table; a real account decides.
// Counts messages, too. Prints one JSON line a figure. Usage: npm run bench -- azure [tasks]
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { aesSealer } from "../src/adapters/aesSealer";
import { type Cosmos, openCosmos } from "../src/adapters/cosmosClient";
import { createCosmosContainers } from "../src/adapters/cosmosContainers";
import { cosmosEventStore } from "../src/adapters/cosmosEventStore";
import { cosmosViews } from "../src/adapters/cosmosViews";
import { localSignals } from "../src/adapters/localSignals";
import { systemClock, systemRandom } from "../src/adapters/system";
import { exchange, join } from "../src/app/agents";
import { schedulePool } from "../src/app/place";
import { addPool } from "../src/app/pools";
import { projectFeed } from "../src/app/project";
import { reactTo } from "../src/app/react";
import { acceptReports } from "../src/app/report";
import { addTasks, listTasks } from "../src/app/tasks";
import { parseWake } from "../src/app/wakes";
import { addWorkItem } from "../src/app/workItems";
import { partitionOf } from "../src/domain/ids";
import type { Clock, MachineOrder, Message, Ports, ProcessKind } from "../src/ports";
import { jobStep } from "../src/process/jobStep";
import { poolStep } from "../src/process/poolStep";
import { workItemStep } from "../src/process/workItemStep";
import { type Assignment, PROTOCOL_VERSION, type Report } from "../src/wire";

const TASKS = Number(process.argv[2] ?? 400);
const AIM = 40;
const JOB = "job-0000000001";
const CALL = { account: "local", by: "local" };
const TVMS = 2;
const SLOTS = 4;

/** The parts of a task's life; `rest`: making the pool and the job, which is not counted. */
type Part = "queue" | "assign" | "exchange" | "start" | "complete" | "project" | "list" | "rest";

interface Meter {
  part: Part;
  readonly spent: Map<Part, { units: number; calls: number; by: Map<string, number> }>;
}

const meterOf = (): Meter & { onCharge(operation: string, units: number): void } => {
  const spent: Meter["spent"] = new Map();
  return {
    part: "rest",
    spent,
    onCharge(operation, units) {
      const so = spent.get(this.part) ?? { units: 0, calls: 0, by: new Map() };
      so.by.set(operation, (so.by.get(operation) ?? 0) + units);
      spent.set(this.part, { units: so.units + units, calls: so.calls + 1, by: so.by });
    },
  };
};

const round = (value: number): number => Math.round(value * 100) / 100;
const print = (figure: string, value: number, unit: string, more: Record<string, unknown> = {}): void => console.log(JSON.stringify({ figure, value: round(value), unit, ...more }));

// ---------------------------------------------------------------- the stand-in

const rootOf = (folder: string): string => (fs.existsSync(path.join(folder, "package.json")) ? folder : rootOf(path.dirname(folder)));

const startGateway = async (ranges: number): Promise<{ child: ChildProcess; endpoint: string; key: string }> => {
  const at = (...names: string[]): string => path.join(rootOf(__dirname), ...names);
  const child = spawn(process.execPath, ["--require", at("test", "agent", "register.js"), at("test", "standins", "cosmosGatewayMain.ts"), String(ranges)], { stdio: ["pipe", "pipe", "inherit"] });
  for await (const line of createInterface({ input: child.stdout })) return { child, ...(JSON.parse(line) as { endpoint: string; key: string }) };
  throw new Error("The stand-in for Cosmos DB did not start.");
};

// ---------------------------------------------------------------- the application around it

/** What a function app has beside Cosmos DB, as far as these lives need it: messages and machines are only noted. */
const openApp = (cosmos: Cosmos, folder: string) => {
  const clock: Clock = { ...systemClock, now: () => new Date(Date.UTC(2015, 3, 1)) };
  const messages: { queue: string; message: Message }[] = [];
  /** Messages sent since the start, by queue. */
  const sent = new Map<string, number>();
  const machines = new Map<string, MachineOrder>();
  const due = new Map<string, ProcessKind>();
  const none = (): never => {
    throw new Error("These lives have neither files nor certificates.");
  };
  const ports: Ports = {
    eventStore: cosmosEventStore(cosmos, partitionOf),
    views: cosmosViews(cosmos),
    bus: { send: async (queue, some) => {
      sent.set(queue, (sent.get(queue) ?? 0) + some.length);
      messages.push(...some.map((message) => ({ queue, message })));
    }, publish: async () => {}, deadLetters: async () => [] },
    files: { put: none, stat: none, read: none, list: none, remove: none, signedUrl: none },
    machines: {
      ensure: async (orders) => orders.map((order) => (machines.set(order.tvm, order), { tvm: order.tvm })),
      list: async () => [...machines.values()].map(({ tvm, boot }) => ({ tvm, boot })),
      remove: async (_account, _pool, tvms) => tvms.forEach((tvm) => machines.delete(tvm)),
    },
    orchestrations: { nudge: async (kind, stream) => void due.set(stream, kind) },
    accounts: { keys: async () => undefined },
    certificates: { put: none, get: none, remove: none },
    sealer: aesSealer(path.join(folder, "service.secret")),
    policy: { allowElevated: false, poolTvmsMax: 64 },
    signals: localSignals(clock),
    clock,
    random: systemRandom,
    log: { debug() {}, info() {}, warn() {}, error() {} },
  };
  return { ports, messages, sent, machines, due, at: clock.now().toISOString() };
};

type App = ReturnType<typeof openApp>;
const steps = { pool: poolStep, workItem: workItemStep, job: jobStep };

/** The feed as another process reads it: it has none of the first one's memory. */
const feedOf = ({ ports, at }: App) => {
  const elsewhere: Ports = { ...ports, eventStore: { ...ports.eventStore }, views: { ...ports.views } };
  let position: string | undefined;
  return async (): Promise<boolean> => {
    const { commits, position: next } = await elsewhere.eventStore.readFeed(position, 100);
    position = next;
    if (commits.length === 0) return false;
    await projectFeed(elsewhere, commits);
    await reactTo(elsewhere, commits, at);
    return true;
  };
};

/** Everything that follows from what was done, each part on its own account. */
const settle = async (app: App, meter: Meter, feed: () => Promise<boolean>, reports: "start" | "complete"): Promise<void> => {
  const before = meter.part;
  const setup = before === "rest";
  const part = (name: Part): Part => (meter.part = setup ? "rest" : name);
  for (;;) {
    const taken = app.messages.splice(0);
    part(reports);
    for (const { queue, message } of taken) if (queue === "reports") await acceptReports(app.ports, message.body, app.at);
    part("assign");
    const wakes = taken.filter(({ queue }) => queue === "wakes").map(({ message }) => parseWake(message.body));
    for (const [pool, some] of Map.groupBy(wakes, ({ pool: of }) => of)) await schedulePool(app.ports, pool, some, app.at);
    meter.part = "rest";
    const processes = [...app.due];
    app.due.clear();
    for (const [stream, kind] of processes) await steps[kind](app.ports, stream, app.at);
    part("project");
    const more = await feed();
    if (taken.length === 0 && processes.length === 0 && !more) break;
  }
  meter.part = before;
};

// ---------------------------------------------------------------- agents that only report

const joinAll = async (app: App) =>
  Promise.all([...app.machines.values()].map(async ({ joinCode, boot }) => {
    const answer = await join(app.ports, { protocol: PROTOCOL_VERSION, code: joinCode, machine: { address: "127.0.0.2", cores: 2, platform: "linux", separateUser: false, helper: "node" } }, app.at);
    if (!("credential" in answer)) throw new Error("A TVM could not join.");
    return { credential: answer.credential, boot, held: [] as Assignment[], unsent: [] as Report[] };
  }));

type Agent = Awaited<ReturnType<typeof joinAll>>[number];

const talk = async (app: App, agent: Agent, capacity: number): Promise<Assignment[]> => {
  const holding = agent.held.map(({ key, attempt }) => ({ key, attempt }));
  const answer = await exchange(app.ports, agent.credential, { boot: agent.boot, reports: agent.unsent, holding, capacity, fileAnswers: [], removedFolders: [], waitMs: 0 }, app.at);
  if (!("run" in answer)) throw new Error("An exchange was refused.");
  agent.unsent = [];
  const stop = new Set(answer.stop.map(({ key, attempt }) => `${key}@${attempt}`));
  agent.held = [...agent.held.filter(({ key, attempt }) => !stop.has(`${key}@${attempt}`)), ...answer.run];
  return answer.run;
};

interface Case {
  readonly ranges: number;
  /** Attempts that a TVM holds, those that wait on it included. */
  readonly capacity: number;
  /** Long tasks are told when they start and again when they end; short ones once. */
  readonly long: boolean;
}

/** Lets all tasks live; each turn of a TVM is one exchange or two. */
const runAll = async (app: App, meter: Meter, feed: () => Promise<boolean>, agents: readonly Agent[], { capacity, long }: Case): Promise<void> => {
  let ended = 0;
  while (ended < TASKS) {
    const exchangeAll = async (reports: "start" | "complete"): Promise<void> => {
      meter.part = "exchange";
      for (const agent of agents) await talk(app, agent, capacity);
      await settle(app, meter, feed, reports);
    };
    await exchangeAll("complete");
    const running = agents.flatMap((agent) => agent.held.map((one) => ({ agent, one })));
    for (const { agent, one: { key, attempt } } of running) agent.unsent.push({ kind: "taskStarted", key, attempt, at: app.at });
    if (long && running.length > 0) await exchangeAll("start");
    for (const { agent, one: { key, attempt } } of running) agent.unsent.push({ kind: "taskEnded", key, attempt, at: app.at, startedAt: app.at, exitCode: 0 });
    ended += running.length;
    for (const agent of agents) agent.held = [];
    await exchangeAll("complete");
  }
};

const measure = async (of: Case, endpoint: string, key: string, folder: string): Promise<void> => {
  const meter = meterOf();
  const database = `bench-${systemRandom.id(6)}`;
  const cosmos = openCosmos({ endpoint, database, credential: { key } }, { clock: systemClock, random: systemRandom, onCharge: (operation, units) => meter.onCharge(operation, units) });
  await createCosmosContainers(cosmos.client, database);
  const app = openApp(cosmos, folder);
  const feed = feedOf(app);
  const call = { ...CALL, at: app.at };
  await addPool(app.ports, call, "Pool", { tvmSize: "large", osFamily: "4", targetOSVersion: "*", targetDedicated: TVMS, resizeTimeoutMs: 300_000, communication: false, maxTasksPerTvm: SLOTS, fillType: "Spread" });
  await addWorkItem(app.ports, call, "Render", { pool: "Pool", job: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: true } });
  await settle(app, meter, feed, "complete");
  const agents = await joinAll(app);
  await settle(app, meter, feed, "complete");
  app.sent.clear();
  const names = Array.from({ length: TASKS }, (_, index) => `frame${String(index).padStart(5, "0")}`);
  for (let from = 0; from < TASKS; from += 100) {
    meter.part = "queue";
    await addTasks(app.ports, call, "Render", JOB, names.slice(from, from + 100).map((name) => ({ name, spec: { commandLine: `render --frame ${name}` } })));
    await settle(app, meter, feed, "complete");
  }
  await runAll(app, meter, feed, agents, of);
  const life = report(meter, of);
  print("request units of a task's whole life", life, "RU/task", { ...of, tasks: TASKS, aim: AIM });
  const perTask = [...app.sent].map(([queue, count]) => [queue, round(count / TASKS)] as const);
  print("messages of a task's whole life", perTask.reduce((sum, [, count]) => sum + count, 0), "messages/task", { ...of, byQueue: Object.fromEntries(perTask) });
  await measureReads(app, meter, of, agents[0] as Agent);
  cosmos.close();
};

const report = (meter: Meter, of: Case): number => {
  let life = 0;
  for (const part of ["queue", "assign", "exchange", "start", "complete", "project"] as const) {
    const spent = meter.spent.get(part);
    if (spent === undefined) continue;
    life += spent.units / TASKS;
    const dearest = [...spent.by].sort(([, a], [, b]) => b - a).slice(0, 4).map(([operation, units]) => [operation, round(units / TASKS)]);
    print(`request units: ${part}`, spent.units / TASKS, "RU/task", { ...of, calls: round(spent.calls / TASKS), dearest: Object.fromEntries(dearest) });
  }
  return life;
};

/** What costs beside the lives of tasks: lists, and TVMs that have nothing to do. */
const measureReads = async (app: App, meter: Meter, of: Case, agent: Agent): Promise<void> => {
  const spent = (part: Part): number => meter.spent.get(part)?.units ?? 0;
  meter.part = "list";
  const page = await listTasks(app.ports, { ...CALL, at: app.at }, "Render", JOB, { limit: 100 });
  if (!("rows" in page) || page.rows.length !== Math.min(100, TASKS)) throw new Error("The list is not whole.");
  print("request units: list, a page of 100", spent("list"), "RU/page", { ...of });
  const before = spent("exchange");
  meter.part = "exchange";
  await talk(app, agent, of.capacity);
  print("request units: an exchange with nothing to say", spent("exchange") - before, "RU", { ...of });
};

const main = async (): Promise<void> => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "batchledger-bench-"));
  try {
    for (const ranges of [1, 4]) {
      const { child, endpoint, key } = await startGateway(ranges);
      try {
        for (const one of [{ ranges, capacity: SLOTS, long: true }, { ranges, capacity: 32, long: true }, { ranges, capacity: 32, long: false }]) await measure(one, endpoint, key, folder);
      } finally {
        child.stdin?.end();
        await once(child, "exit");
      }
    }
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
};

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
