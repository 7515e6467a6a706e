// The same calls, as a seed chooses them, on SQLite's adapters and on Azure's: what a port promises has to be the same answer on both. The
// contract suites say what that is case by case; here are the cases that nobody thought of. SEED=n plays one seed alone.
import { openCosmos } from "../../src/adapters/cosmosClient";
import { createCosmosContainers } from "../../src/adapters/cosmosContainers";
import { cosmosEventStore } from "../../src/adapters/cosmosEventStore";
import { cosmosViews } from "../../src/adapters/cosmosViews";
import { serviceBus } from "../../src/adapters/serviceBus";
import { serviceBusSource } from "../../src/adapters/serviceBusSource";
import { sqliteBus } from "../../src/adapters/sqliteBus";
import { sqliteEventStore } from "../../src/adapters/sqliteEventStore";
import { sqliteViews } from "../../src/adapters/sqliteViews";
import { systemClock, systemRandom } from "../../src/adapters/system";
import type { Bus, Commit, EventStore, QueueSource, ReceivedMessage, Row, ViewLayout, ViewQuery, ViewWrite, Views } from "../../src/ports";
import { memorySqlite } from "../sim/database";
import { type CosmosGateway, startCosmosGateway } from "../standins/cosmosGateway";
import { type ServiceBusBroker, startServiceBusBroker } from "../standins/serviceBusBroker";
import { type Seeded, seeded } from "../support/seeded";

const seeds = (runs: number): readonly number[] => (process.env["SEED"] === undefined ? Array.from({ length: runs }, (_, index) => index + 1) : [Number(process.env["SEED"])]);

/** What both sides answered to one call. */
interface Answered {
  readonly call: string;
  readonly sqlite: unknown;
  readonly azure: unknown;
}

/** Stops at the first call that is answered otherwise. */
const compare = (seed: number, at: number, { call, sqlite, azure }: Answered): void => {
  const [here, there] = [textOf(sqlite), textOf(azure)];
  let from = 0;
  while (from < here.length && here[from] === there[from]) from++;
  const part = (text: string): string => text.slice(Math.max(0, from - 300), from + 300);
  if (here !== there) throw new Error(`SEED=${seed}, call ${at + 1}, ${call.slice(0, 3_000)}: from ${from}: ${part(here)} on SQLite, ${part(there)} on Azure's adapter`);
};

/** Fields in any order. */
const textOf = (value: unknown): string =>
  JSON.stringify(value, (_name, inner: unknown) => (inner !== null && typeof inner === "object" && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner)) ?? "nothing";

const sure = async (work: () => Promise<unknown>): Promise<unknown> => work().catch((error: unknown) => ({ threw: (error as Error).message }));

// ---------------------------------------------------------------- stores

describe("stores", () => {
  let gateway: CosmosGateway;
  beforeEach(async () => void (gateway = await startCosmosGateway()));
  afterEach(() => gateway.close());

  const cosmosOf = async () => {
    const cosmos = openCosmos({ endpoint: gateway.endpoint, database: "d", credential: { key: gateway.key }, httpClient: gateway.httpClient }, { clock: systemClock, random: systemRandom });
    await createCosmosContainers(cosmos.client, "d");
    return cosmos;
  };

  test("event store: appends with gaps, conflicts, repeats and large commits, forgetting, and reading in between", async () => {
    for (const seed of seeds(6)) {
      const cosmos = await cosmosOf();
      const database = memorySqlite();
      const both = { sqlite: sqliteEventStore(database), azure: cosmosEventStore(cosmos, placeOf) };
      const play = eventCalls(seeded(seed));
      for (let at = 0; at < 25; at++) compare(seed, at, await play(both));
      cosmos.close();
      await database.close();
      await gateway.close();
      gateway = await startCosmosGateway();
    }
  });

  test("views: writes that share rows, partitions and counters, stale ones among them, and queries of every kind", async () => {
    for (const seed of seeds(6)) {
      const cosmos = await cosmosOf();
      const database = memorySqlite();
      const both = { sqlite: sqliteViews(database), azure: cosmosViews(cosmos, { parted: ["mine"] }) };
      const play = viewCalls(seeded(seed));
      for (let at = 0; at < 40; at++) compare(seed, at, await play(both));
      cosmos.close();
      await database.close();
      await gateway.close();
      gateway = await startCosmosGateway();
    }
  });
});

interface Both<P> {
  readonly sqlite: P;
  readonly azure: P;
}

const placeOf = (stream: string): string => stream.slice(0, stream.indexOf("."));
const nameOf = ({ stream, version }: Commit): string => `${stream}@${version}`;

/** One call after the other on both stores, chosen with some knowledge of what is there, so that most of them mean something. */
const eventCalls = (random: Seeded) => {
  const streams = ["p", "q", "r/é"].flatMap((partition) => ["a", "B", "c d", "ü/1"].map((name) => `${partition}.${name}`));
  const known: Commit[] = [];
  const next = new Map<string, number>();
  const positions: { readonly sqlite: string; readonly azure: string }[] = [];
  let made = 0;

  const commit = (large: boolean): Commit => {
    if (known.length > 0 && !large && random.chance(0.1)) return random.oneOf(known);
    const stream = random.oneOf(streams);
    const due = next.get(stream) ?? 1;
    const version = Math.max(1, due + (random.chance(0.85) ? 0 : random.below(4) - 2));
    if (version === due) next.set(stream, due + 1);
    const text = large ? "x".repeat(700_000) : "snow ☃ 𝄞 \u0000";
    const one: Commit = {
      stream, partition: placeOf(stream), version, id: `c${++made}`, by: "account:local",
      events: Array.from({ length: large ? 1 : random.below(3) }, (_, index) => ({ type: "Counted", at: "2026-01-01T00:00:00.000Z", index, text })),
      ...(random.chance(0.15) ? { snapshot: { version } } : {}),
    };
    known.push(one);
    return one;
  };

  /** What is stored decides which version is next: conflicts leave the guess wrong. */
  const learn = async ({ sqlite }: Both<EventStore>): Promise<void> => {
    for (const stream of streams) next.set(stream, ((await sqlite.history(stream)).at(-1)?.version ?? 0) + 1);
  };

  return async (both: Both<EventStore>): Promise<Answered> => {
    const ask = async (call: string, work: (store: EventStore) => Promise<unknown>): Promise<Answered> => ({ call, sqlite: await sure(() => work(both.sqlite)), azure: await sure(() => work(both.azure)) });
    const kind = random.below(20);
    if (kind < 9) {
      // Large ones are divided by their bytes, many by their number.
      const large = random.chance(0.05);
      const commits = Array.from({ length: large ? 4 : random.oneOf([1, 1, 2, 5, 12, 150]) }, () => commit(large));
      const answered = await ask(`append of ${commits.map(nameOf).join(" ")}`, (store) => store.append(commits));
      await learn(both);
      return answered;
    }
    if (kind < 13) {
      const wanted = Array.from({ length: random.oneOf([0, 1, 2, 9, 50]) }, () => (random.chance(0.1) ? `p.none${random.below(60)}` : random.oneOf(streams)));
      return ask(`load of ${wanted.join(" ")}`, (store) => store.load(wanted));
    }
    if (kind < 15) {
      const stream = random.oneOf(streams);
      return ask(`history of ${stream}`, (store) => store.history(stream));
    }
    if (kind < 16) {
      const partition = random.oneOf(["p", "q", "r/é"]);
      const answered = await ask(`forget ${partition}`, (store) => store.forget(partition));
      await learn(both);
      return answered;
    }
    const from = positions.length > 0 && random.chance(0.7) ? random.oneOf(positions) : undefined;
    const limit = random.oneOf([1, 3, 40, 1_000]);
    const [sqlite, azure] = [await readOn(both.sqlite, from?.sqlite, limit), await readOn(both.azure, from?.azure, limit)];
    positions.push({ sqlite: sqlite.position, azure: azure.position });
    // Commits may come again, and in any order between streams: those that must come have to.
    const must = new Set(sqlite.commits.map(nameOf));
    return { call: `feed from ${from === undefined ? "the start" : "a position"} by ${limit}`, sqlite: byStream(sqlite.commits), azure: byStream(azure.commits.filter((one) => must.has(nameOf(one)))) };
  };
};

const readOn = async (store: EventStore, from: string | undefined, limit: number): Promise<{ commits: Commit[]; position: string }> => {
  const commits: Commit[] = [];
  let page = await store.readFeed(from, limit);
  for (; page.commits.length > 0; page = await store.readFeed(page.position, limit)) {
    if (page.commits.length > limit) throw new Error(`The feed told ${page.commits.length} commits; ${limit} were asked for.`);
    commits.push(...page.commits);
  }
  return { commits, position: page.position };
};

const byStream = (commits: readonly Commit[]): Record<string, readonly Commit[]> => Object.fromEntries([...Map.groupBy(commits, ({ stream }) => stream)].sort(([a], [b]) => (a < b ? -1 : 1)));

// ---------------------------------------------------------------- views

interface Item extends Row {
  readonly partition: string;
  readonly state: string;
  readonly order?: string;
}

const indexes: ViewLayout<Item>["indexes"] = {
  mine: ({ partition, state, id }) => `${partition}/${state}/${id}`,
  byState: ({ partition, state, id }) => `${state}/${id}/${partition}`,
  byOrder: ({ partition, order, id }) => (order === undefined ? undefined : `${order}/${partition}/${id}`),
};
const layouts: readonly ViewLayout<Item>[] = [{ name: "parted", indexes }, { name: "spread", indexes }];

const viewCalls = (random: Seeded) => {
  const partitions = ["p", "p.1", "q"];
  const ids = ["a", "A", "a b", "a/b", "~", "é", "\u{1d11e}", "\uffff", "#?", ""];
  const states = ["on", "on/x", "om", "oo", "\ue000"];
  const names = ["n", "a/b", "a~1b", "0", "with space", "é"];
  const versions = new Map<string, number>();
  const keyOf = (view: string, partition: string, id: string): string => `${view} ${partition} ${id}`;

  const write = (): ViewWrite => {
    const view = random.oneOf(layouts);
    const partition = random.oneOf(partitions);
    const chosen = new Set(Array.from({ length: random.oneOf([0, 1, 1, 2, 5]) }, () => random.oneOf(ids)));
    const rows = [...chosen].map((id) => {
      const key = keyOf(view.name, partition, id);
      const from = random.chance(0.85) ? (versions.get(key) ?? 0) : random.below(4);
      const version = from + 1 + random.below(2);
      const order = random.chance(0.5) ? { order: random.oneOf(["1", "2", "10", "𝄞", "\uffff"]) } : {};
      return { from, row: { id, partition, version, state: random.oneOf(states), text: "𝄞 \u0000", ...order, ...(random.chance(0.15) ? { gone: true } : {}) } };
    });
    const counters = Object.fromEntries(Array.from({ length: random.oneOf([0, 1, 2, 12]) }, (_, index) => [index < 6 ? random.oneOf(names) : `m${index}`, random.below(7) - 3]));
    return { view, partition, rows, counters };
  };

  const learn = async ({ sqlite }: Both<Views>): Promise<void> => {
    for (const view of layouts)
      for (const partition of partitions) {
        const rows = await sqlite.get(view, ids.map((id) => ({ partition, id })));
        rows.forEach((row, index) => versions.set(keyOf(view.name, partition, ids[index] as string), row?.version ?? 0));
      }
  };

  const query = (): ViewQuery => {
    const text = (): string => random.oneOf(["", "p", "p/", "p.1/on", "on", "on/", "o", "oo/a", "1", "10/", "\ue000", "\uffff", "𝄞", "zz", "q/om/"]);
    return { index: random.oneOf(Object.keys(indexes)), prefix: text(), limit: random.oneOf([0, 1, 2, 5, 2_000]), ...(random.chance(0.5) ? { after: text() } : {}), ...(random.chance(0.5) ? { reverse: true } : {}) };
  };

  return async (both: Both<Views>): Promise<Answered> => {
    const ask = async (call: string, work: (views: Views) => Promise<unknown>): Promise<Answered> => ({ call, sqlite: await sure(() => work(both.sqlite)), azure: await sure(() => work(both.azure)) });
    const kind = random.below(20);
    const view = random.oneOf(layouts);
    const partition = random.oneOf(partitions);
    if (kind < 9) {
      const writes = Array.from({ length: random.oneOf([1, 1, 2, 4, 9]) }, write);
      const answered = await ask(`write ${JSON.stringify(writes)}`, (views) => views.write(writes));
      await learn(both);
      return answered;
    }
    if (kind < 11) {
      const keys = Array.from({ length: random.oneOf([1, 2, 3, 9]) }, () => ({ partition: random.oneOf(partitions), id: random.oneOf([...ids, "none"]) }));
      return ask(`get ${JSON.stringify(keys)}`, (views) => views.get(view, keys));
    }
    if (kind < 17) {
      const wanted = query();
      return random.chance(0.5) ? ask(`query ${view.name} ${JSON.stringify(wanted)}`, (views) => views.query(view, wanted)) : ask(`keys ${view.name} ${JSON.stringify(wanted)}`, (views) => views.keys(view, wanted));
    }
    if (kind < 19) {
      const prefix = random.oneOf(["", "p", "p.", "q", "none"]);
      return ask(`counters ${view.name} ${prefix}`, async (views) => Object.entries(await views.counters(view, prefix)).filter(([, value]) => value !== 0).sort(([a], [b]) => (a < b ? -1 : 1)));
    }
    const answered = await (random.chance(0.8) ? ask(`forget ${view.name} ${partition}`, (views) => views.forget(view, partition)) : ask("clear", (views) => views.clear()));
    await learn(both);
    return answered;
  };
};

// ---------------------------------------------------------------- messages

/** What becomes of a message is in its body: it fails so often before it is completed, or is given up at once. */
interface Fate {
  readonly n: number;
  readonly fails: number;
  readonly hopeless: boolean;
}

type Buses = Bus & QueueSource;

describe("messages", () => {
  let broker: ServiceBusBroker;
  const opened: (() => Promise<unknown>)[] = [];
  beforeEach(async () => {
    broker = await startServiceBusBroker({ topics: { events: {} }, template: (name) => ({ sessions: name === "laned", duplicateWindowMs: 60_000 }) });
    opened.push(() => broker.close());
  });
  afterEach(async () => {
    for (const close of opened.splice(0).toReversed()) await close();
  });

  const log = { debug() {}, info() {}, warn() {}, error() {} };
  const address = () => ({ connection: broker.connectionString });
  const sqlite = () => {
    const database = memorySqlite();
    opened.push(() => database.close());
    return { bus: (): Buses => sqliteBus(database, systemClock), restart: async () => {} };
  };
  const azure = () => {
    const sender = serviceBus(address(), { random: systemRandom, clock: systemClock, log });
    let source: ReturnType<typeof serviceBusSource> | undefined;
    opened.push(async () => {
      await source?.close();
      await sender.close();
    });
    return {
      bus: (): Buses => ({ ...sender, ...(source = serviceBusSource(address(), { clock: systemClock, log })) }),
      async restart() {
        // In this order: closed first, a lane would be given back, and what it held would be no delivery.
        broker.expireLocks();
        await source?.close();
      },
    };
  };

  test("whatever is sent, handled, given back, given up or held by a process that ends, comes out alike", async () => {
    for (const seed of seeds(3)) {
      const plays = [];
      for (const side of [sqlite(), azure()]) plays.push(await playMessages(seeded(seed), side));
      const [here = [], there = []] = plays;
      here.forEach(({ call, outcome }, at) => compare(seed, at, { call, sqlite: outcome, azure: there[at]?.outcome }));
      expect(there).toHaveLength(here.length);
      await broker.close();
      broker = await startServiceBusBroker({ topics: { events: {} }, template: (name) => ({ sessions: name === "laned", duplicateWindowMs: 60_000 }) });
    }
  });
});

interface Round {
  readonly call: string;
  readonly outcome: unknown;
}

interface Side {
  bus(): Buses;
  /** The process that held the locks is gone. */
  restart(): Promise<void>;
}

/** Rounds of sending and of handling all that is there; between some of them the process ends while it holds messages. */
const playMessages = async (random: Seeded, { bus: open, restart }: Side): Promise<Round[]> => {
  const rounds: Round[] = [];
  let bus = open();
  let sent = 0;
  for (let round = 0; round < 4; round++) {
    const byLane = random.chance(0.6);
    const queue = byLane ? "laned" : "plain";
    const max = random.oneOf([1, 1, 3, 20]);
    const fates = Array.from({ length: 1 + random.below(7) }, (): Fate => ({ n: ++sent, fails: random.oneOf([0, 0, 0, 1, 3, 12]), hopeless: random.chance(0.15) }));
    await bus.send(queue, fates.map((fate) => ({ ...(byLane ? { lane: random.oneOf(["a", "b", "c"]) } : {}), body: { ...fate }, ...(random.chance(0.3) ? { correlationId: `c${fate.n}`, replyTo: "answers" } : {}) })));
    const killed = random.chance(0.4);
    if (killed) {
      // Not settled by anybody: it was a delivery all the same.
      await waiting(bus, queue, byLane, 1);
      await restart();
      bus = open();
    }
    // Which lane was held is not promised.
    const unsure = killed && byLane;
    const handled = await handleAll(bus, queue, byLane, max, fates.length);
    const dead = (await bus.deadLetters(queue, 100)).map(({ message: { body, lane, deliveryCount, correlationId, replyTo }, reason }) =>
      ({ n: (body as unknown as Fate).n, lane, correlationId, replyTo, reason, ...(unsure ? {} : { deliveryCount }) }));
    const own = dead.filter(({ n }) => fates.some((fate) => fate.n === n)).sort((a, b) => a.n - b.n);
    // One at a time, all is in order; of several that come together, what fails comes again after those beside it.
    const outcome = max === 1 && !unsure ? Object.fromEntries([...Map.groupBy(handled, ({ lane }) => lane ?? "")].sort(([a], [b]) => (a < b ? -1 : 1))) : endsOf(handled, unsure);
    rounds.push({ call: `round ${round + 1} of ${queue} by ${max}${killed ? ", after a kill" : ""}: ${JSON.stringify(fates)}`, outcome: { outcome, dead: own } });
  }
  return rounds;
};

interface Handled {
  readonly n: number;
  readonly lane: string | undefined;
  readonly delivery: number;
  readonly end: "complete" | "abandon" | "deadLetter";
  readonly rest: unknown;
}

const DELIVERIES_MAX = 10;
/** Of asking for what has to come: the network may take its time. */
const ASKS_MAX = 400;

/** Something that waits, whoever may have to look for it. */
const waiting = async (bus: Buses, queue: string, byLane: boolean, max: number): Promise<ReceivedMessage[]> => {
  for (let asks = 0; asks < ASKS_MAX; asks++) {
    const messages = await bus.receive(queue, { max, byLane });
    if (messages.length > 0) return messages;
  }
  throw new Error(`Nothing came from ${queue}.`);
};

/** Handles messages as their bodies say until all of these have come to their end. */
const handleAll = async (bus: Buses, queue: string, byLane: boolean, max: number, count: number): Promise<Handled[]> => {
  const handled: Handled[] = [];
  for (let ended = 0; ended < count; ) {
    for (const message of await waiting(bus, queue, byLane, max)) {
      const { n, fails, hopeless } = message.body as unknown as Fate;
      const { lane, deliveryCount, correlationId, replyTo } = message;
      const end = hopeless ? "deadLetter" : deliveryCount <= fails ? "abandon" : "complete";
      handled.push({ n, lane, delivery: deliveryCount, end, rest: { correlationId, replyTo } });
      if (end === "complete") await bus.complete(queue, [message]);
      else if (end === "deadLetter") await bus.deadLetter(queue, [message], `no ${n}`);
      else await bus.abandon(queue, [message], `failure ${deliveryCount} of ${n}`);
      if (end !== "abandon" || deliveryCount >= DELIVERIES_MAX) ended++;
    }
  }
  return handled;
};

/** How each message ended, and after how many deliveries, and the order in which each lane's were first handed out. */
const endsOf = (handled: readonly Handled[], unsure: boolean): unknown => ({
  ends: handled.filter((one, index) => !handled.slice(index + 1).some(({ n }) => n === one.n)).map(({ delivery, ...one }) => (unsure ? one : { ...one, delivery })).sort((a, b) => a.n - b.n),
  firsts: Object.fromEntries([...Map.groupBy(handled, ({ lane }) => lane ?? "")].sort(([a], [b]) => (a < b ? -1 : 1)).map(([lane, list]) => [lane, [...new Set(list.map(({ n }) => n))]])),
});
