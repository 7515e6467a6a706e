// Timers, queues, lanes and the feed, with @azure/functions unmodified, on a clock that moves when told.

import { app } from "@azure/functions";
import type { InvocationContext, Timer } from "@azure/functions";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { startHost } from "../../src/host/main";
import type { HostOptions, RunningHost } from "../../src/host/main";
import type { Commit, QueueSource } from "../../src/ports";
import { keptLog, memoryFeed, memoryQueues, until, virtualClock } from "./support";

interface Seen {
  readonly at: number;
  readonly value: unknown;
  readonly context: InvocationContext;
}

const seen: Record<string, Seen[]> = {};
const fail: Record<string, (value: unknown, context: InvocationContext) => boolean> = {};
let hold: Promise<void> | undefined;
let clock = virtualClock("2026-03-01T00:00:00Z");
let running = { one: 0, oneMost: 0, laneNow: new Map<string, number>(), laneMost: 0, lanesMost: 0 };
let dataDir: string;
let host: RunningHost | undefined;

const note = (name: string) => async (value: unknown, context: InvocationContext) => {
  (seen[name] ??= []).push({ at: clock.now(), value, context });
  if (hold) await hold;
  if (fail[name]?.(value, context)) throw new Error(`${name} failed`);
};

function register(): void {
  app.timer("hourly", { schedule: "%HOURLY%", handler: note("hourly") as (timer: Timer, context: InvocationContext) => Promise<void> });
  app.timer("flaky", { schedule: "0 30 * * * *", useMonitor: false, retry: { strategy: "fixedDelay", maxRetryCount: 2, delayInterval: { seconds: 10 } }, handler: note("flaky") as (timer: Timer, context: InvocationContext) => Promise<void> });
  app.serviceBusQueue("one", { queueName: "commands", connection: "SB", handler: one });
  app.serviceBusQueue("many", { queueName: "reports", connection: "SB", cardinality: "many", handler: note("many") });
  app.serviceBusQueue("lanes", { queueName: "wakes", connection: "SB", cardinality: "many", isSessionsEnabled: true, handler: lane });
  app.serviceBusQueue("oneLane", { queueName: "ordered", connection: "SB", isSessionsEnabled: true, handler: note("oneLane") });
  app.cosmosDB("feed", { containerName: "events", databaseName: "db", connection: "C", maxItemsPerInvocation: 4, startFromBeginning: true, handler: note("feed") as (documents: unknown[], context: InvocationContext) => Promise<void> });
}

async function one(value: unknown, context: InvocationContext): Promise<void> {
  running.oneMost = Math.max(running.oneMost, ++running.one);
  try {
    await note("one")(value, context);
  } finally {
    running.one--;
  }
}

async function lane(value: unknown, context: InvocationContext): Promise<void> {
  const name = String((context.triggerMetadata?.["sessionIdArray"] as string[] | undefined)?.[0]);
  running.laneNow.set(name, (running.laneNow.get(name) ?? 0) + 1);
  running.laneMost = Math.max(running.laneMost, running.laneNow.get(name) ?? 0);
  running.lanesMost = Math.max(running.lanesMost, [...running.laneNow.values()].filter((count) => count > 0).length);
  try {
    await note("lanes")(value, context);
  } finally {
    running.laneNow.set(name, (running.laneNow.get(name) ?? 1) - 1);
  }
}

const hostJson = { version: "2.0", extensions: { http: { routePrefix: "" }, serviceBus: { maxConcurrentCalls: 3, maxConcurrentSessions: 2, maxMessageBatchSize: 5 } } };

async function start(more: Partial<HostOptions> = {}): Promise<RunningHost> {
  host = await startHost({ loadFunctions: () => (seen["registered"] ??= (register(), [])), hostJson, port: 0, dataDir, clock, log: keptLog(), timers: false, ...more });
  return host;
}

beforeAll(() => {
  process.env["HOURLY"] = "0 0 * * * *";
});
beforeEach(async () => {
  for (const name of Object.keys(seen)) if (name !== "registered") delete seen[name];
  for (const name of Object.keys(fail)) delete fail[name];
  running = { one: 0, oneMost: 0, laneNow: new Map(), laneMost: 0, lanesMost: 0 };
  clock = virtualClock("2026-03-01T00:00:00Z");
  dataDir = await mkdtemp(path.join(os.tmpdir(), "host-"));
});
afterEach(async () => {
  hold = undefined;
  await host?.stop();
  await rm(dataDir, { recursive: true, force: true });
});

const values = (name: string): unknown[] => (seen[name] ?? []).map((each) => each.value);

describe("timers", () => {
  test("fire when due, and tell when they ran last and run next", async () => {
    await start({ timers: true });
    await clock.advance(2 * 3_600_000 + 1_000);
    expect(seen["hourly"]?.map((each) => new Date(each.at).toISOString())).toEqual(["2026-03-01T01:00:00.000Z", "2026-03-01T02:00:00.000Z"]);
    expect(values("hourly")[1]).toMatchObject({ isPastDue: false, scheduleStatus: { last: "2026-03-01T01:00:00.000Z", next: "2026-03-01T03:00:00.000Z" } });
  });

  test("one that was missed while the host was down fires once at the start, past due; a status survives the stop", async () => {
    await (await start({ timers: true })).stop();
    clock = virtualClock("2026-03-01T05:10:00Z");
    await start({ timers: true });
    await clock.advance(1_000);
    expect(values("hourly")).toEqual([expect.objectContaining({ isPastDue: true })]);
    await clock.advance(3_600_000);
    expect(values("hourly")[1]).toMatchObject({ isPastDue: false });
  });

  test("a retry policy invokes again with a retry context, and gives up", async () => {
    fail["flaky"] = () => true;
    await start({ timers: true });
    await clock.advance(31 * 60_000);
    expect(seen["flaky"]?.map((each) => each.context.retryContext?.retryCount)).toEqual([undefined, 1, 2]);
    expect(seen["flaky"]?.[2]?.context.retryContext).toMatchObject({ maxRetryCount: 2, exception: { message: "flaky failed" } });
    expect(seen["flaky"]?.map((each) => each.at - (seen["flaky"]?.[0]?.at ?? 0))).toEqual([0, 10_000, 20_000]);
  });
});

describe("queues", () => {
  test("a function of one message gets it with its metadata, and completes it", async () => {
    const queueSource = memoryQueues();
    await start({ queueSource });
    queueSource.send("commands", { body: { kind: "add", deep: { n: 1 } }, correlationId: "c1", replyTo: "answers" });
    await until(() => queueSource.waiting("commands") === 0);
    expect(values("one")).toEqual([{ kind: "add", deep: { n: 1 } }]);
    expect(seen["one"]?.[0]?.context.triggerMetadata).toMatchObject({ messageId: "m1", deliveryCount: 1, sequenceNumber: 1, correlationId: "c1", replyTo: "answers", kind: "add" });
  });

  test("at most the configured number of single messages are handled at once", async () => {
    const queueSource = memoryQueues();
    let release = (): void => {};
    hold = new Promise((resolve) => (release = resolve));
    await start({ queueSource });
    queueSource.send("commands", ...Array.from({ length: 10 }, (_, n) => ({ body: { n } })));
    await until(() => running.one === 3);
    await clock.advance(1_000);
    expect(running.one).toBe(3);
    release();
    await until(() => queueSource.waiting("commands") === 0);
    expect(running.oneMost).toBe(3);
    expect(values("one")).toHaveLength(10);
  });

  test("a function of many gets batches up to the configured size, with one value a message in each metadata array", async () => {
    const queueSource = memoryQueues();
    queueSource.send("reports", ...Array.from({ length: 12 }, (_, n) => ({ body: { n }, correlationId: `c${n}` })));
    await start({ queueSource });
    await until(() => queueSource.waiting("reports") === 0);
    expect(values("many").map((batch) => (batch as unknown[]).length)).toEqual([5, 5, 2]);
    expect(values("many").flat()).toEqual(Array.from({ length: 12 }, (_, n) => ({ n })));
    expect(seen["many"]?.[2]?.context.triggerMetadata).toMatchObject({ correlationIdArray: ["c10", "c11"], deliveryCountArray: [1, 1], messageIdArray: ["m11", "m12"] });
  });

  test("a message that fails comes back after growing pauses, and ends in the dead letters with the error as its reason", async () => {
    const queueSource = memoryQueues(4);
    fail["one"] = (value) => (value as { bad?: boolean }).bad === true;
    await start({ queueSource });
    queueSource.send("commands", { body: { bad: true } }, { body: { bad: false } });
    await until(() => queueSource.waiting("commands") === 1);
    await clock.advance(60_000);
    expect(await queueSource.deadLetters("commands", 10)).toEqual([{ reason: "one failed", message: expect.objectContaining({ body: { bad: true }, deliveryCount: 4 }) }]);
    const tries = (seen["one"] ?? []).filter((each) => (each.value as { bad: boolean }).bad).map((each) => each.at);
    expect(tries.slice(1).map((at, index) => at - (tries[index] as number))).toEqual([100, 200, 400]);
  });

  test("a lane is handled one batch at a time and in order, lanes beside each other up to the bound", async () => {
    const queueSource = memoryQueues();
    let release = (): void => {};
    hold = new Promise((resolve) => (release = resolve));
    await start({ queueSource });
    for (let n = 0; n < 12; n++) queueSource.send("wakes", { lane: `pool-${n % 3}`, body: { lane: n % 3, n } });
    await until(() => [...running.laneNow.values()].filter((count) => count > 0).length === 2);
    release();
    await until(() => queueSource.waiting("wakes") === 0);
    expect(running).toMatchObject({ laneMost: 1, lanesMost: 2 });
    const all = values("lanes").flat() as { lane: number; n: number }[];
    for (const each of [0, 1, 2]) expect(all.filter((message) => message.lane === each).map((message) => message.n)).toEqual([each, each + 3, each + 6, each + 9]);
    for (const batch of values("lanes") as { lane: number }[][]) expect(new Set(batch.map((message) => message.lane)).size).toBe(1);
  });

  test("in a lane of single messages, what is behind a failure waits for it", async () => {
    const queueSource = memoryQueues();
    let failures = 2;
    fail["oneLane"] = (value) => (value as { n: number }).n === 1 && failures-- > 0;
    await start({ queueSource });
    queueSource.send("ordered", ...[0, 1, 2].map((n) => ({ lane: "a", body: { n } })));
    await until(() => seen["oneLane"]?.length === 2);
    await clock.advance(10_000);
    expect(values("oneLane").map((value) => (value as { n: number }).n)).toEqual([0, 1, 1, 1, 2]);
  });

  test("messages that are handled while there is no room to settle them are settled when there is, and handed to nobody meanwhile", async () => {
    const queueSource = memoryQueues();
    let full = true;
    const settling = (settle: QueueSource["complete"]): QueueSource["complete"] => async (...of) => {
      if (full) throw Object.assign(new Error("The disk is full."), { noRoom: true });
      return settle(...of);
    };
    fail["one"] = (value) => (value as { bad: boolean }).bad && seen["one"]?.length === 2;
    await start({ queueSource: { ...queueSource, complete: settling(queueSource.complete), abandon: settling(queueSource.abandon as QueueSource["complete"]) } });
    queueSource.send("wakes", { lane: "a", body: { n: 1 } });
    queueSource.send("commands", { body: { bad: false } }, { body: { bad: true } });
    await until(() => seen["lanes"]?.length === 1 && seen["one"]?.length === 2);
    queueSource.send("wakes", { lane: "a", body: { n: 2 } });
    await clock.advance(60_000);
    expect([values("lanes").flat(), values("one")]).toEqual([[{ n: 1 }], [{ bad: false }, { bad: true }]]);
    expect([queueSource.waiting("wakes"), queueSource.waiting("commands")]).toEqual([2, 2]);
    full = false;
    await clock.advance(2_000);
    expect([values("lanes").flat(), values("one")]).toEqual([[{ n: 1 }, { n: 2 }], [{ bad: false }, { bad: true }, { bad: true }]]);
    expect([queueSource.waiting("wakes"), queueSource.waiting("commands")]).toEqual([0, 0]);
  });

  test("a stop does not wait for room", async () => {
    const queueSource = memoryQueues();
    const complete = () => Promise.reject(Object.assign(new Error("The disk is full."), { noRoom: true }));
    const started = await start({ queueSource: { ...queueSource, complete } });
    queueSource.send("wakes", { lane: "a", body: { n: 1 } });
    await until(() => seen["lanes"]?.length === 1);
    await started.stop();
    expect(queueSource.waiting("wakes")).toBe(1);
  });

  test("a stop gives back what is paused and waits for what runs", async () => {
    const queueSource = memoryQueues();
    fail["one"] = () => true;
    const started = await start({ queueSource });
    queueSource.send("commands", { body: { bad: true } });
    await until(() => seen["one"]?.length === 1);
    await started.stop();
    expect(await queueSource.receive("commands", { max: 1, byLane: false })).toHaveLength(1);
  });
});

describe("the feed", () => {
  test("comes in order, in batches of at most the asked size, each thing once", async () => {
    const feed = memoryFeed();
    feed.push(6);
    await start({ feed });
    await until(() => seen["feed"]?.length === 2);
    feed.push(3);
    await until(() => values("feed").flat().length === 9);
    expect(values("feed").map((batch) => (batch as unknown[]).length)).toEqual([4, 2, 3]);
    expect((values("feed").flat() as Commit[]).map((commit) => commit.version)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test("nothing new costs nothing: no reads without appends", async () => {
    const feed = memoryFeed();
    await start({ feed });
    await until(() => feed.reads.length === 1);
    await clock.advance(3_600_000);
    expect(feed.reads).toHaveLength(1);
  });

  test("a batch that fails is never dropped: tried again with growing pauses and a retry context until it passes", async () => {
    const feed = memoryFeed();
    let failures = 3;
    fail["feed"] = () => failures-- > 0;
    feed.push(5);
    await start({ feed });
    await until(() => seen["feed"]?.length === 1);
    await clock.advance(60_000);
    expect(values("feed").map((batch) => (batch as Commit[])[0]?.version)).toEqual([1, 1, 1, 1, 5]);
    expect(seen["feed"]?.map((each) => each.context.retryContext?.retryCount)).toEqual([undefined, 1, 2, 3, undefined]);
    const at = (seen["feed"] ?? []).map((each) => each.at - (seen["feed"]?.[0]?.at ?? 0));
    expect(at).toEqual([0, 100, 300, 700, 700]);
  });

  test("the position is kept when a batch has passed, and only then", async () => {
    const feed = memoryFeed();
    fail["feed"] = (batch) => (batch as Commit[])[0]?.version === 5;
    feed.push(8);
    const first = await start({ feed });
    await until(() => seen["feed"]?.length === 2);
    await first.stop();
    delete fail["feed"];
    delete seen["feed"];
    await start({ feed });
    await until(() => seen["feed"]?.length === 1);
    expect((values("feed").flat() as Commit[]).map((commit) => commit.version)).toEqual([5, 6, 7, 8]);
  });

  test("HTTP is answered while the feed is busy", async () => {
    const feed = memoryFeed();
    feed.push(20_000);
    const { url } = await start({ feed });
    expect((await fetch(`${url}/admin/host/ping`)).status).toBe(200);
    expect(values("feed").flat().length).toBeLessThan(20_000);
  });
});
