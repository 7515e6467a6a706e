// The contract suites of the event store and of the views on Cosmos DB's adapters, over the stand-in with its four key ranges:
// as they are, and while one call in twenty fails or loses its answer. And what is Cosmos DB's alone.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { inspect } from "node:util";
import { type Cosmos, openCosmos } from "../../src/adapters/cosmosClient";
import { cosmosContainers, cosmosPartitionedIndexes, createCosmosContainers } from "../../src/adapters/cosmosContainers";
import { commitOfDocument, cosmosEventStore } from "../../src/adapters/cosmosEventStore";
import { cosmosViews } from "../../src/adapters/cosmosViews";
import { processes } from "../../src/adapters/serviceBusSignals";
import { systemClock, systemRandom } from "../../src/adapters/system";
import type { EventStore, Row, ViewLayout, Views } from "../../src/ports";
import { viewOf } from "../../src/views/all";
import { errands, heartbeats, rooms } from "../../src/views/errands";
import { type CosmosGateway, type Faults, startCosmosGateway } from "../standins/cosmosGateway";
import { commit, describeEventStore } from "./eventStore.contract";
import { describeViews } from "./views.contract";

let gateway: CosmosGateway;
let databases = 0;
beforeAll(async () => void (gateway = await startCosmosGateway()));
afterAll(() => gateway.close());

const connect = (database: string, of = gateway): Cosmos =>
  openCosmos({ endpoint: of.endpoint, database, credential: { key: of.key } }, { clock: systemClock, random: systemRandom });

/** The suite puts streams where it likes; in the service the stream says where it lives. */
const eventStoreOn = (cosmos: Cosmos, places: Map<string, string>): EventStore => {
  const store = cosmosEventStore(cosmos, (stream) => places.get(stream) ?? `partition of ${stream}`);
  return {
    ...store,
    append: (commits) => {
      for (const { stream, partition } of commits) places.set(stream, partition);
      return store.append(commits);
    },
  };
};

/** A database of its own for each test; another client is another process. */
const opened = <P>(adapter: (cosmos: Cosmos) => P, faults?: Faults) => async () => {
  const database = `test-${++databases}`;
  let cosmos = connect(database);
  gateway.fail();
  await createCosmosContainers(cosmos.client, database);
  gateway.fail(faults && { ...faults, seed: faults.seed + databases });
  return {
    port: adapter(cosmos),
    reopen: async () => {
      cosmos.close();
      cosmos = connect(database);
      return adapter(cosmos);
    },
    close: async () => {
      gateway.fail();
      cosmos.close();
    },
  };
};

const stores = (faults?: Faults) => async () => {
  const places = new Map<string, string>();
  return opened((cosmos) => eventStoreOn(cosmos, places), faults)();
};

describeEventStore("Cosmos DB", stores());
describeViews("Cosmos DB", opened((cosmos): Views => cosmosViews(cosmos)));

const faults: Faults = { rate: 0.05, seed: Number(process.env["SEED"] ?? 1) };
describeEventStore("Cosmos DB, one call in twenty failing", stores(faults));
describeViews("Cosmos DB, one call in twenty failing", opened((cosmos): Views => cosmosViews(cosmos), faults));

describe("Cosmos DB alone", () => {
  let database: string;
  let charges: { operation: string; units: number }[];
  let pauses: number[];
  /** What happens while a call waits for its next try. */
  let meanwhile: () => Promise<void>;
  let cosmos: Cosmos;
  let views: Views;
  let store: EventStore;

  const open = (of = gateway): Cosmos => {
    const clock = {
      sleep: async (milliseconds: number): Promise<void> => {
        pauses.push(milliseconds);
        const now = meanwhile;
        meanwhile = async () => {};
        await now();
      },
    };
    return openCosmos({ endpoint: of.endpoint, database, credential: { key: of.key } }, { clock, random: systemRandom, onCharge: (operation, units) => void charges.push({ operation, units }) });
  };

  beforeEach(async () => {
    database = `test-${++databases}`;
    pauses = [];
    charges = [];
    meanwhile = async () => {};
    cosmos = open();
    await createCosmosContainers(cosmos.client, database);
    views = cosmosViews(cosmos);
    store = cosmosEventStore(cosmos, (stream) => stream.slice(0, stream.indexOf(".")));
  });
  afterEach(() => {
    gateway.fail();
    cosmos.close();
  });

  const items: ViewLayout = { name: "items", indexes: { byId: (row: Row) => `all/${row.id}`, mine: (row: Row) => row["mine"] as string | undefined } };
  const row = (id: string, version: number, more: object = {}): Row => ({ id, version, ...more });
  const at = (stream: string, version: number, fields = {}) => commit(stream, version, { partition: stream.slice(0, stream.indexOf(".")), ...fields });
  const write = (partition: string, rows: [number, Row][], counters = {}, on = views) =>
    on.write([{ view: items, partition, rows: rows.map(([from, one]) => ({ from, row: one })), counters }]).then(([outcome]) => outcome);
  const spent = (operation: string): number => charges.filter((one) => one.operation.startsWith(operation)).reduce((sum, { units }) => sum + units, 0);
  const loseNext = (max = 1): void => gateway.fail({ rate: 1, seed: 1, kinds: ["lost"], max, writesOnly: true });

  describe("events", () => {
    test("an append whose answer is lost is recognised as its own, and stored once", async () => {
      loseNext();
      expect(await store.append([at("p.a", 1), at("p.b", 1)])).toEqual(["ok", "ok"]);
      expect(gateway.failed.lost).toBe(1);
      expect((await store.readFeed(undefined, 10)).commits).toHaveLength(2);
    });

    test("an append whose answer is lost, and after which another process went on, is still its own", async () => {
      loseNext();
      const other = open();
      meanwhile = async () => void (await cosmosEventStore(other, () => "p").append([at("p.a", 2)]));
      expect(await store.append([at("p.a", 1)])).toEqual(["ok"]);
      expect((await store.history("p.a")).map(({ version }) => version)).toEqual([1, 2]);
      other.close();
    });

    test("one conflict among many of a partition costs two more calls, and all others are written", async () => {
      await store.append([at("p.7", 1), at("p.33", 1)]);
      charges = [];
      const outcomes = await store.append(Array.from({ length: 50 }, (_, index) => at(`p.${index}`, 1)));
      expect(outcomes.map((outcome, index) => (outcome === "conflict" ? index : -1)).filter((index) => index >= 0)).toEqual([7, 33]);
      expect(charges.map(({ operation }) => operation)).toEqual(["events.append", "events.lookUp", "events.append"]);
    });

    test("a commit is not stored after its stream was forgotten by another process", async () => {
      await store.append([at("p.a", 1)]);
      const other = open();
      await cosmosEventStore(other, () => "p").forget("p");
      other.close();
      expect(await store.append([at("p.a", 2)])).toEqual(["conflict"]);
      expect(await store.history("p.a")).toEqual([]);
    });

    test("several long streams at once are read from their snapshots, without reading all that lies before", async () => {
      const streams = ["p.a", "p.b", "p.c"];
      for (const stream of streams) await store.append(Array.from({ length: 150 }, (_, index) => at(stream, index + 1, (index + 1) % 64 === 0 ? { snapshot: index + 1 } : {})));
      charges = [];
      const loaded = await store.load([...streams, "p.none"]);
      expect(loaded.map((commits) => [commits[0]?.version, commits[0]?.snapshot, commits.at(-1)?.version])).toEqual([...streams.map(() => [128, 128, 150]), [undefined, undefined, undefined]]);
      expect(charges).toHaveLength(5);
    });

    test("what was written together comes in pieces of the size asked for, in order, although the service gives it in one", async () => {
      const commits = Array.from({ length: 7 }, (_, index) => at("p.a", index + 1));
      await store.append(commits);
      const seen: number[] = [];
      let position: string | undefined;
      for (let page = 1; page <= 4; page++) {
        const read = await store.readFeed(position, 2);
        expect(read.commits.length).toBeLessThanOrEqual(2);
        seen.push(...read.commits.map(({ version }) => version));
        position = read.position;
      }
      expect(seen).toEqual([1, 2, 3, 4, 5, 6, 7]);
      expect((await store.readFeed(position, 2)).commits).toEqual([]);
    });

    test("a piece whose last commit was forgotten is told again rather than missed", async () => {
      await store.append([at("p.a", 1), at("p.a", 2), at("p.a", 3)]);
      const { position } = await store.readFeed(undefined, 1);
      await cosmos.events.item("p.a@00000001", "p").delete();
      expect((await store.readFeed(position, 10)).commits.map(({ version }) => version)).toEqual([2, 3]);
    });

    test("a stream of another partition is refused: it would never be found again", async () => {
      await expect(store.append([commit("p.a", 1, { partition: "q" })])).rejects.toThrow("Stream p.a does not belong to partition q.");
    });

    test("names of any characters are kept apart", async () => {
      const streams = ["p.a/b", "p.a?b", "p.a#b", "p.a\\b", "p.a b ", "p.a~002fb", "p.ä𝄞", "p.a@00000001"];
      expect(await store.append(streams.map((stream) => at(stream, 1)))).toEqual(streams.map(() => "ok"));
      for (const stream of streams) expect((await store.history(stream)).map((one) => one.stream)).toEqual([stream]);
    });

    test("the documents of the feed are understood without the store, and nothing else is", async () => {
      const written = at("p.a", 1, { snapshot: { n: 1 } });
      await store.append([written]);
      const { resource } = await cosmos.events.item("p.a@00000001", "p").read();
      expect(commitOfDocument(resource)).toEqual(written);
      expect(commitOfDocument({ id: "lease", owner: "host" })).toBeUndefined();
    });

    test("a commit costs its size and one indexed value; a later one also the look at its predecessor", async () => {
      await store.append([at("p.a", 1)]);
      await store.append([at("p.a", 2)]);
      expect(charges.filter(({ operation }) => operation === "events.append").map(({ units }) => units)).toEqual([5.15, 6.15]);
    });
  });

  describe("views", () => {
    test("a write whose answer is lost is done once, counted once, and answered ok", async () => {
      await write("p", [[0, row("a", 1)]], { active: 1 });
      loseNext();
      expect(await write("p", [[1, row("a", 2)]], { active: -1, done: 1 })).toBe("ok");
      expect(gateway.failed.lost).toBe(1);
      expect(await views.counters(items, "p")).toEqual({ active: 0, done: 1 });
    });

    test("a first write whose answer is lost is answered ok", async () => {
      loseNext();
      expect(await write("p", [[0, row("a", 1)], [0, row("b", 1)]], { active: 2 })).toBe("ok");
      expect(await views.counters(items, "p")).toEqual({ active: 2 });
    });

    test("a write whose answer is lost, and after which another process changed the row, is answered ok", async () => {
      await write("p", [[0, row("a", 1)]], { active: 1 });
      const other = open();
      loseNext();
      meanwhile = async () => void (await write("p", [[2, row("a", 3)]], {}, cosmosViews(other)));
      expect(await write("p", [[1, row("a", 2)]], { moved: 1 })).toBe("ok");
      expect(await views.get(items, [{ partition: "p", id: "a" }])).toEqual([row("a", 3)]);
      expect(await views.counters(items, "p")).toEqual({ active: 1, moved: 1 });
      other.close();
    });

    test("counters without rows are counted once, however often the answer is lost", async () => {
      await write("p", [], { n: 1 });
      loseNext(3);
      expect(await write("p", [], { n: 1 })).toBe("ok");
      expect(gateway.failed.lost).toBe(3);
      expect(await views.counters(items, "p")).toEqual({ n: 2 });
    });

    test("a stale write whose answer is lost stays stale", async () => {
      await write("p", [[0, row("a", 1)]]);
      loseNext();
      expect(await write("p", [[0, row("a", 1, { other: true })]], { n: 1 })).toBe("stale");
      expect(await views.counters(items, "p")).toEqual({});
    });

    test("what waits for a partition shares one batch and one change of the counters; a stale one among them falls out alone", async () => {
      await write("p", [[0, row("a", 1)]], { n: 1 });
      charges = [];
      const outcomes = await Promise.all([
        write("p", [[0, row("b", 1)]], { n: 1 }), write("p", [[5, row("a", 6)]], { n: 100 }), write("p", [[0, row("c", 1)]], { n: 1 }), write("p", [[1, row("a", 2)]], { n: 1 }),
      ]);
      expect(outcomes).toEqual(["ok", "stale", "ok", "ok"]);
      expect(await views.counters(items, "p")).toEqual({ n: 4 });
      // Two groups on one row never share: one batch of three, again without the stale one, and the last.
      expect(charges.filter(({ operation }) => operation === "views.write items")).toHaveLength(3);
    });

    test("two processes that do not know of each other's counters both count", async () => {
      const other = open();
      const both = [views, cosmosViews(other)];
      const outcomes = await Promise.all(Array.from({ length: 30 }, (_, index) => write("p", [[0, row(`r${index}`, 1)]], { n: 1 }, both[index % 2])));
      expect(new Set(outcomes)).toEqual(new Set(["ok"]));
      expect(await views.counters(items, "p")).toEqual({ n: 30 });
      other.close();
    });

    test("rows of many partitions, on all key ranges, come in the order of the index, both ways", async () => {
      const ids = Array.from({ length: 60 }, (_, index) => `n${String(index).padStart(2, "0")}`);
      await Promise.all(ids.map((id, index) => write(`p${index % 20}`, [[0, row(id, 1)]])));
      const keys = (query: object) => views.keys(items, { index: "byId", prefix: "all/", limit: 100, ...query });
      expect(await keys({})).toEqual(ids.map((id) => `all/${id}`));
      expect(await keys({ reverse: true, limit: 7 })).toEqual(ids.toReversed().slice(0, 7).map((id) => `all/${id}`));
      const page = await views.query(items, { index: "byId", prefix: "all/n2", after: "all/n24", limit: 3 });
      expect(page).toEqual(["n25", "n26", "n27"].map((id) => ({ key: `all/${id}`, row: row(id, 1) })));
    });

    test("an index whose values begin with the partition is asked there alone, and costs what one partition costs", async () => {
      const kept = cosmosViews(cosmos, { items: ["mine"] });
      await write("p", [[0, row("a", 1, { mine: "p/a" })]], {}, kept);
      await write("q", [[0, row("a", 1, { mine: "q/a" })]], {}, kept);
      charges = [];
      expect(await kept.keys(items, { index: "mine", prefix: "p/", limit: 5 })).toEqual(["p/a"]);
      const alone = spent("views.query");
      expect(await kept.keys(items, { index: "mine", prefix: "", limit: 5 })).toEqual(["p/a", "q/a"]);
      expect(alone).toBeCloseTo(2.85, 2);
      expect(spent("views.query") - alone).toBeCloseTo(4 * 2.8 + 0.1, 2);
      await expect(write("p", [[0, row("b", 1, { mine: "q/b" })]], {}, kept)).rejects.toThrow("items.mine does not begin with its partition p");
    });

    test("every index that is named as such is there, in a view of the service", () => {
      const all: ViewLayout[] = [...Object.values(viewOf), errands, rooms, heartbeats, processes] as unknown as ViewLayout[];
      for (const [view, indexes] of Object.entries(cosmosPartitionedIndexes)) {
        for (const index of indexes) expect({ view, index, there: all.some(({ name, indexes: has }) => name === view && index in has) }).toEqual({ view, index, there: true });
      }
    });

    test("many rows of a partition are read by one query, a few one by one", async () => {
      await write("p", Array.from({ length: 9 }, (_, index): [number, Row] => [0, row(`r${index}`, 1)]));
      charges = [];
      const keys = ["r8", "none", "r0", "r0"].map((id) => ({ partition: "p", id }));
      expect((await views.get(items, keys)).map((one) => one?.id)).toEqual(["r8", undefined, "r0", "r0"]);
      expect(charges).toHaveLength(1);
      expect((await views.get(items, keys.slice(0, 1))).map((one) => one?.id)).toEqual(["r8"]);
      expect(charges.at(-1)?.units).toBe(1);
    });

    test("what cannot be one transaction is refused, not divided", async () => {
      await expect(write("p", Array.from({ length: 99 }, (_, index): [number, Row] => [0, row(`r${index}`, 1)]))).rejects.toThrow("99 rows; 98 fit");
      await expect(write("p", [[0, row("a", 1)], [0, row("a", 1)]])).rejects.toThrow("has a row twice");
    });
  });

  describe("calls", () => {
    test("are repeated after as long as the service says, and then done", async () => {
      gateway.fail({ rate: 1, seed: 1, kinds: ["throttled"], max: 2 });
      expect(await store.append([at("p.a", 1)])).toEqual(["ok"]);
      expect(pauses).toHaveLength(2);
      for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(3);
    });

    test("are given up after a bounded number of tries, by an error that carries no credential", async () => {
      gateway.fail({ rate: 1, seed: 1, kinds: ["unavailable"] });
      const error = await store.append([at("p.a", 1)]).then(() => undefined, (thrown: Error) => thrown);
      expect(error?.message).toMatch(/^Cosmos DB: events.append failed after 12 tries \(503\): /);
      expect(pauses).toHaveLength(11);
      expect(pauses.at(-1)).toBeGreaterThan(5_000 - 1);
      const all = inspect(error, { depth: 20, showHidden: true });
      for (const secret of [gateway.key, "type%3Dmaster", "sig="]) expect(all).not.toContain(secret);
    });

    test("with a wrong key are refused at once", async () => {
      const stranger = openCosmos({ endpoint: gateway.endpoint, database, credential: { key: Buffer.from("another").toString("base64") } }, { clock: systemClock, random: systemRandom });
      await expect(cosmosViews(stranger).get(items, [{ partition: "p", id: "a" }])).rejects.toThrow("(401)");
      stranger.close();
    });
  });

  test("two thousand rows and commits, written by two processes while one call in five fails, are all there once", async () => {
    const other = open();
    meanwhile = async () => {};
    gateway.fail({ rate: 0.2, seed: faults.seed });
    const both = [{ store, views }, { store: cosmosEventStore(other, () => "p"), views: cosmosViews(other) }] as const;
    const outcomes = await Promise.all(Array.from({ length: 100 }, async (_, part) => {
      const { store: mine, views: shown } = both[part % 2] as (typeof both)[0];
      const names = Array.from({ length: 20 }, (_one, index) => `p.${part}x${index}`);
      const appended = await mine.append(names.map((name) => at(name, 1)));
      const written = await write(`b${part % 8}`, names.map((name) => [0, row(name, 1)]), { n: 20 }, shown);
      return [...appended, written];
    }));
    expect(new Set(outcomes.flat())).toEqual(new Set(["ok"]));
    expect(gateway.failed.throttled + gateway.failed.unavailable + gateway.failed.lost).toBeGreaterThan(5);
    gateway.fail();
    expect(await views.counters(items, "b")).toEqual({ n: 2_000 });
    const seen = new Set<string>();
    for (let position: string | undefined; ; ) {
      const page = await store.readFeed(position, 500);
      if (page.commits.length === 0) break;
      for (const { stream } of page.commits) seen.add(stream);
      position = page.position;
    }
    expect(seen.size).toBe(2_000);
    other.close();
  });

  test("the stand-in keeps everything in a file, and its feed goes on where it was", async () => {
    const folder = await mkdtemp(path.join(tmpdir(), "batchledger-test-"));
    const file = path.join(folder, "cosmos.db");
    let kept = await startCosmosGateway({ file });
    let mine = open(kept);
    await createCosmosContainers(mine.client, database);
    const events = () => cosmosEventStore(mine, () => "p");
    await events().append([at("p.a", 1)]);
    const { position } = await events().readFeed(undefined, 10);
    mine.close();
    await kept.close();
    kept = await startCosmosGateway({ file });
    mine = open(kept);
    try {
      await events().append([at("p.a", 2)]);
      expect((await events().readFeed(position, 10)).commits.map(({ version }) => version)).toEqual([2]);
      expect(await events().history("p.a")).toHaveLength(2);
    } finally {
      mine.close();
      await kept.close();
      await rm(folder, { recursive: true, force: true });
    }
  });

  test("the containers index what is asked for and nothing else", () => {
    const { events, views: rows, leases } = cosmosContainers;
    expect([events, rows].map(({ partitionKey, indexingPolicy }) => [partitionKey.paths, indexingPolicy.includedPaths?.map((one) => one.path), indexingPolicy.excludedPaths?.map((one) => one.path)]))
      .toEqual([[["/p"], ["/p/?"], ["/*"]], [["/p"], ["/p/?", "/x/*"], ["/*"]]]);
    expect(leases.partitionKey.paths).toEqual(["/id"]);
  });
});
