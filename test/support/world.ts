// The application on the real embedded adapters, in a folder of its own, with machines that are only noted down, a clock that
// moves when told, and a pump that hands on whatever the host would: so that tests live whole lives in milliseconds.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { aesSealer } from "../../src/adapters/aesSealer";
import { fileAccounts } from "../../src/adapters/fileAccounts";
import { folderCertificates } from "../../src/adapters/folderCertificates";
import { folderFiles } from "../../src/adapters/folderFiles";
import { localSignals } from "../../src/adapters/localSignals";
import { type Sqlite, openSqlite } from "../../src/adapters/sqlite";
import { sqliteBus } from "../../src/adapters/sqliteBus";
import { sqliteEventStore } from "../../src/adapters/sqliteEventStore";
import { sqliteViews } from "../../src/adapters/sqliteViews";
import { systemRandom } from "../../src/adapters/system";
import { exchange, join } from "../../src/app/agents";
import type { Call } from "../../src/app/call";
import { followFeed } from "../../src/app/feed";
import { schedulePool } from "../../src/app/place";
import { addPool } from "../../src/app/pools";
import { acceptReports } from "../../src/app/report";
import { sweep } from "../../src/app/sweep";
import { type NewTask, addTasks, getTask } from "../../src/app/tasks";
import { parseWake } from "../../src/app/wakes";
import { addWorkItem } from "../../src/app/workItems";
import { type Rejection, isRejection } from "../../src/domain/decider";
import type { PoolSpec } from "../../src/domain/pool";
import type { Task } from "../../src/domain/task";
import type { WorkItemSpec } from "../../src/domain/workItem";
import type { Clock, Commit, MachineOrder, Orchestrations, Ports, ProcessKind, QueueSource, Row, ViewLayout } from "../../src/ports";
import { jobStep } from "../../src/process/jobStep";
import { poolStep } from "../../src/process/poolStep";
import { workItemStep } from "../../src/process/workItemStep";
import { viewOf } from "../../src/views/all";
import { type Assignment, type ExchangeAnswer, type ExchangeRequest, PROTOCOL_VERSION, type Report, exchangeAnswer, exchangeRequest, joinAnswer, joinRequest } from "../../src/wire";

export const JOB = "job-0000000001";
const START = Date.UTC(2015, 3, 1, 12);
const steps = { pool: poolStep, workItem: workItemStep, job: jobStep };

/** Time that stands still until it is moved on. */
export const stillClock = (): Clock & { advance(milliseconds: number): void; set(milliseconds: number): void } => {
  let now = START;
  let setBy = 0;
  let sleepers: { until: number; wake: () => void }[] = [];
  return {
    now: () => new Date(now + setBy),
    steady: () => now,
    /** As a person or a time service sets a clock: no time passes. */
    set: (milliseconds) => void (setBy += milliseconds),
    sleep: (milliseconds) => new Promise((wake) => void sleepers.push({ until: now + milliseconds, wake })),
    advance(milliseconds) {
      now += milliseconds;
      const due = sleepers.filter(({ until }) => until <= now);
      sleepers = sleepers.filter(({ until }) => until > now);
      for (const { wake } of due) wake();
    },
  };
};

/** Notes what was ordered; `refuse` makes it fail, as a cloud without room does. */
const notedMachines = () => {
  const orders = new Map<string, MachineOrder>();
  const keyOf = (account: string, pool: string, tvm: string): string => `${account}.${pool}.${tvm}`.toLowerCase();
  return {
    orders,
    removed: [] as string[],
    refuse: undefined as string | undefined,
    async ensure(list: readonly MachineOrder[]) {
      return list.map((order) => {
        if (this.refuse !== undefined) return { tvm: order.tvm, error: this.refuse };
        orders.set(keyOf(order.account, order.pool, order.tvm), order);
        return { tvm: order.tvm };
      });
    },
    async list(account: string, pool: string) {
      return [...orders.values()].filter((one) => one.account === account && one.pool === pool).map(({ tvm, boot }) => ({ tvm, boot }));
    },
    async remove(account: string, pool: string, tvms: readonly string[]) {
      for (const tvm of tvms) {
        orders.delete(keyOf(account, pool, tvm));
        this.removed.push(keyOf(account, pool, tvm));
      }
    },
  };
};

/** Processes that were nudged, and when the others want to look again. */
const notedProcesses = () => {
  const due = new Map<string, ProcessKind>();
  const timers = new Map<string, { kind: ProcessKind; at: string }>();
  const orchestrations: Orchestrations = {
    async nudge(kind, stream) {
      due.set(stream, kind);
    },
  };
  return { due, timers, orchestrations };
};

export type World = Awaited<ReturnType<typeof openWorld>>;

export const openWorld = async () => {
  const folder = mkdtempSync(path.join(tmpdir(), "batchledger-test-"));
  const database: Sqlite = openSqlite(path.join(folder, "ledger.db"));
  const clock = stillClock();
  const sealer = aesSealer(path.join(folder, "keys", "service.secret"));
  const machines = notedMachines();
  const processes = notedProcesses();
  const bus = sqliteBus(database, clock);
  const warnings: string[] = [];
  const log = { debug: () => {}, info: () => {}, warn: (message: string) => void warnings.push(message), error: (message: string) => void warnings.push(message) };
  const ports: Ports = {
    eventStore: sqliteEventStore(database),
    views: sqliteViews(database),
    bus,
    files: folderFiles({ root: path.join(folder, "files"), baseUrl: () => "http://127.0.0.1:7071", sealer, clock }),
    machines,
    orchestrations: processes.orchestrations,
    accounts: fileAccounts(path.join(folder, "keys"), ["local"]),
    certificates: folderCertificates(path.join(folder, "certificates"), sealer),
    sealer,
    policy: { allowElevated: false, poolTvmsMax: 64 },
    signals: localSignals(clock),
    clock,
    random: systemRandom,
    log,
  };
  const now = (): string => clock.now().toISOString();
  const pump = pumpOf(ports, bus, processes, now);
  const world = {
    folder, database, clock, ports, machines, processes, warnings, now, pump, bus,
    call: (account = "local"): Call => ({ account, at: now(), by: account }),
    /** Another process on the same data: the same stores, but nothing remembered in common. */
    otherProcess: (): Ports => ({ ...ports, eventStore: { ...ports.eventStore }, views: { ...ports.views }, signals: localSignals(clock) }),
    async pass(milliseconds: number): Promise<void> {
      clock.advance(milliseconds);
      await pump.untilQuiet();
    },
    async sweep(): Promise<void> {
      await sweep(ports, now());
      await pump.untilQuiet();
    },
    async close(): Promise<void> {
      await database.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
  return world;
};

/** What the host does between requests, one thing after the other, until nothing is left to do. */
const pumpOf = (ports: Ports, queues: QueueSource, processes: ReturnType<typeof notedProcesses>, now: () => string) => {
  let position: string | undefined;
  const feed = async (): Promise<boolean> => {
    const { commits, position: next } = await ports.eventStore.readFeed(position, 100);
    if (commits.length === 0) return false;
    await followFeed(ports, commits, 0, now());
    position = next;
    return true;
  };
  const reports = async (): Promise<boolean> => {
    const messages = await queues.receive("reports", { max: 50, byLane: false });
    for (const { body } of messages) await acceptReports(ports, body, now());
    await queues.complete("reports", messages);
    return messages.length > 0;
  };
  const wakes = async (): Promise<boolean> => {
    const messages = await queues.receive("wakes", { max: 50, byLane: true });
    const parsed = messages.map(({ body }) => parseWake(body));
    if (parsed[0]) await schedulePool(ports, parsed[0].pool, parsed, now());
    await queues.complete("wakes", messages);
    return messages.length > 0;
  };
  const process = async (): Promise<boolean> => {
    for (const [stream, { kind, at }] of processes.timers) if (at <= now()) processes.due.set(stream, kind);
    const [next] = processes.due;
    if (!next) return false;
    const [stream, kind] = next;
    processes.due.delete(stream);
    processes.timers.delete(stream);
    const { wakeAt } = await steps[kind](ports, stream, now());
    if (wakeAt !== undefined) processes.timers.set(stream, { kind, at: wakeAt });
    return true;
  };
  const LIMIT = 20_000;
  return {
    feed, reports, wakes, process,
    async untilQuiet(): Promise<void> {
      for (let turn = 0; turn < LIMIT; turn++) if (!((await feed()) || (await reports()) || (await wakes()) || (await process()))) return;
      throw new Error("The world does not come to rest.");
    },
    /** Everything that ever happened is told again, from the first commit on. */
    async feedAgain(): Promise<void> {
      position = undefined;
      await this.untilQuiet();
    },
  };
};

export const accepted = <T>(answer: T | Rejection): T => {
  if (isRejection(answer)) throw new Error(`Refused: ${answer.code} ${answer.message ?? ""}`);
  return answer;
};

// ---------------------------------------------------------------- what users do

export const poolSpec = (more: Partial<PoolSpec> = {}): PoolSpec => ({
  tvmSize: "large", osFamily: "4", targetOSVersion: "*", targetDedicated: 1, resizeTimeoutMs: 300_000, communication: false, maxTasksPerTvm: 2, fillType: "Spread", ...more,
});

export const makePool = async (world: World, name = "Pool-A", more: Partial<PoolSpec> = {}): Promise<void> => {
  accepted(await addPool(world.ports, world.call(), name, poolSpec(more)));
  await world.pump.untilQuiet();
};

export const makeWorkItem = async (world: World, name = "Render", more: Partial<WorkItemSpec["job"]> = {}, pool = "Pool-A"): Promise<void> => {
  const job = { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: true, ...more };
  accepted(await addWorkItem(world.ports, world.call(), name, { pool, job }));
  await world.pump.untilQuiet();
};

export const newTask = (name: string, more: Partial<NewTask["spec"]> = {}): NewTask => ({ name, spec: { commandLine: `run ${name}`, ...more } });

export const addMany = async (world: World, workItem: string, tasks: readonly NewTask[]): Promise<void> => {
  for (const outcome of accepted(await addTasks(world.ports, world.call(), workItem, JOB, tasks))) accepted(outcome);
  await world.pump.untilQuiet();
};

export const taskOf = async (world: World, name: string, workItem = "Render"): Promise<Task> => accepted(await getTask(world.ports, world.call(), workItem, JOB, name)).state;

// ---------------------------------------------------------------- what agents do

export type Agent = ReturnType<typeof agentFor>;

/** Starts the agent of every machine that was ordered and has none yet at its boot. */
export const bootAll = async (world: World, agents = new Map<string, Agent>()): Promise<Map<string, Agent>> => {
  for (const [key, order] of world.machines.orders) {
    if (agents.get(key)?.boot === order.boot) continue;
    const agent = agentFor(world, order);
    await agent.join();
    agents.set(key, agent);
  }
  await world.pump.untilQuiet();
  return agents;
};

/** Speaks the protocol as an agent does; what its "programs" do is up to the test. */
export const agentFor = (world: World, order: MachineOrder) => {
  let credential = "";
  let slots = order.slots;
  const held = new Map<string, Assignment & { ended?: boolean }>();
  let unsent: Report[] = [];
  let taken = 0;
  let drained: string | undefined;
  const idOf = ({ key, attempt }: { key: string; attempt: number }): string => `${key}@${attempt}`;

  const send = async (more: Partial<ExchangeRequest> = {}, ports = world.ports): Promise<ExchangeAnswer | Rejection> => {
    const request = exchangeRequest.parse({
      boot: order.boot, reports: unsent, taken, ...(drained === undefined ? {} : { drained }), holding: [...held.values()].map(({ key, attempt }) => ({ key, attempt })), capacity: slots, fileAnswers: [], removedFolders: [], waitMs: 0, ...more,
    });
    const answer = await exchange(ports, credential, request, world.now());
    if (isRejection(answer)) return answer;
    if (request.reports === unsent || more.reports === undefined) unsent = [];
    exchangeAnswer.parse(answer);
    for (const ref of answer.stop) held.delete(idOf(ref));
    if (answer.resume !== undefined) drained = undefined;
    for (const one of answer.run) held.set(idOf(one), { ...one });
    taken += answer.run.length;
    if (answer.drain?.taken === taken && held.size + unsent.length === 0) drained = answer.drain.since;
    return answer;
  };

  return {
    key: `${order.account}.${order.pool}.${order.tvm}`.toLowerCase(),
    boot: order.boot,
    held,
    async join(ports = world.ports) {
      const machine = { address: "127.0.0.2", cores: 2, platform: "linux", separateUser: false, helper: "node" };
      const answer = joinAnswer.parse(accepted(await join(ports, joinRequest.parse({ protocol: PROTOCOL_VERSION, code: order.joinCode, machine }), world.now())));
      credential = answer.credential;
      slots = answer.slots;
      return answer;
    },
    send,
    /** One exchange, accepted, and everything that follows from it. */
    async exchange(more: Partial<ExchangeRequest> = {}): Promise<ExchangeAnswer> {
      const before = drained;
      const answer = accepted(await send(more));
      await world.pump.untilQuiet();
      // An agent says at once that it is drained.
      return drained === undefined || drained === before ? answer : this.exchange();
    },
    waiting: () => [...held.values()].filter(({ ended }) => !ended),
    report: (...reports: Report[]) => void unsent.push(...reports),
    started(one: Assignment): void {
      unsent.push({ kind: "taskStarted", key: one.key, attempt: one.attempt, at: world.now() });
    },
    ended(one: Assignment, exitCode = 0, more: Partial<Extract<Report, { kind: "taskEnded" }>> = {}): void {
      const mine = held.get(idOf(one));
      if (mine) mine.ended = true;
      unsent.push({ kind: "taskEnded", key: one.key, attempt: one.attempt, at: world.now(), startedAt: world.now(), exitCode, ...more });
    },
    /** Fetches and runs until there is nothing more to do: each task ends at once with the exit code that the program gives. */
    async work(program: (one: Assignment) => number = () => 0): Promise<Assignment[]> {
      const ran: Assignment[] = [];
      for (let idle = 0; idle < 2; ) {
        await this.exchange();
        const mine = this.waiting().slice(0, slots);
        for (const one of mine) {
          this.started(one);
          this.ended(one, program(one));
          ran.push(one);
        }
        idle = mine.length > 0 || unsent.length > 0 ? 0 : idle + 1;
      }
      return ran;
    },
  };
};

// ---------------------------------------------------------------- what there is to see

/** Every row and counter of the views that are folded from events, without what is gone for good. */
export const shownIn = (world: World): { rows: unknown[]; counters: unknown[] } => {
  const { database } = world;
  const views = Object.values(viewOf) as unknown as ViewLayout<Row>[];
  const there = new Set(database.statement("SELECT name FROM sqlite_master WHERE type = 'table'").all().map(({ name }) => name));
  const rows = views.filter(({ name }) => there.has(`view_${name}`)).flatMap(({ name }) =>
    database.statement(`SELECT * FROM view_${name} ORDER BY partition, id`).all().map(({ row: _row, json, ...columns }) => ({ name, ...columns, json: JSON.parse(json as string) as unknown })));
  const counters = database.statement("SELECT view, partition, name, value FROM counters WHERE value <> 0 ORDER BY view, partition, name").all().map((one) => ({ ...one }));
  return { rows, counters };
};

export const allCommits = async (world: World): Promise<Commit[]> => {
  const { commits } = await world.ports.eventStore.readFeed(undefined, 1_000_000);
  return commits;
};

/** All bytes of the database as they lie on disk. */
export const bytesOf = (world: World): string =>
  readdirSync(world.folder).filter((file) => file.startsWith("ledger.db")).map((file) => readFileSync(path.join(world.folder, file), "latin1")).join();
