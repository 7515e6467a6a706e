// What every store of query rows promises: groups that happen whole or not at all, rows found by index in the order of their
// bytes, counters that move with the rows. Index values are unique here, as the port asks.

import { randomUUID } from "node:crypto";
import type { Row, ViewLayout, ViewQuery, Views } from "../../src/ports";

export interface OpenViews {
  readonly port: Views;
  /** The same store after its process ended and another began; absent where that makes no sense. */
  readonly reopen?: () => Promise<Views>;
  readonly close: () => Promise<void>;
}

interface Item extends Row {
  readonly state: string;
  readonly order?: string;
}

const items: ViewLayout<Item> = {
  name: "contractItems",
  indexes: {
    byState: (row) => `${row.state}/${row.id}`,
    byOrder: (row) => row.order,
    waiting: (row) => (row.state === "active" ? row.id : undefined),
  },
};
const others: ViewLayout<Item> = { name: "contractOthers", indexes: { byState: (row) => `${row.state}/${row.id}` } };

/** Runs the suite against stores that `open` makes. */
export function describeViews(name: string, open: () => Promise<OpenViews>): void {
  describe(`views: ${name}`, () => {
    let opened: OpenViews;
    let views: Views;
    let partition: string;
    beforeEach(async () => {
      opened = await open();
      views = opened.port;
      await views.clear();
      partition = `items/${randomUUID()}`;
    });
    afterEach(() => opened.close());

    const item = (id: string, version: number, state: string, more: Partial<Item> = {}): Item => ({ id, version, state, ...more });
    const write = async (rows: readonly [from: number, row: Item][], counters: Record<string, number> = {}, view: ViewLayout<Item> = items) =>
      (await views.write([{ view, partition, rows: rows.map(([from, row]) => ({ from, row })), counters }]))[0];
    const get = async (id: string) => (await views.get(items, [{ partition, id }]))[0];
    const keys = (query: Partial<ViewQuery> & { index: string }) => views.keys(items, { prefix: "", limit: 100, ...query });

    test("gives back rows as they were written, and undefined in the place of one that is not there", async () => {
      const row = item("a", 3, "active", { nested: { list: [1, "two", null], text: "𝄞 \u0000" } });
      expect(await write([[0, row]])).toBe("ok");
      expect(await views.get(items, [{ partition, id: "none" }, { partition, id: "a" }])).toEqual([undefined, row]);
      expect(await views.get(items, [{ partition: `${partition}/other`, id: "a" }])).toEqual([undefined]);
      expect(await views.get(others, [{ partition, id: "a" }])).toEqual([undefined]);
    });

    test("an id may be of any characters, and of none", async () => {
      const ids = ["", " ", "~", "~-", "~002f", "a/b", "a b ", "é", "𝄞", "#?\\"];
      expect(await views.get(items, [{ partition, id: "" }])).toEqual([undefined]);
      expect(await write(ids.map((id) => [0, item(id, 1, "active", { order: `<${id}>` })]), { active: ids.length })).toBe("ok");
      expect(await views.get(items, ids.map((id) => ({ partition, id })))).toEqual(ids.map((id) => item(id, 1, "active", { order: `<${id}>` })));
      expect(await write([[1, item("", 2, "done")]], { active: -1 })).toBe("ok");
      expect((await get(""))?.version).toBe(2);
    });

    test("a row moves in its indexes when it changes", async () => {
      await write([[0, item("a", 1, "active", { order: "1" })]]);
      await write([[1, item("a", 2, "done", { order: "1" })]]);
      expect(await get("a")).toEqual(item("a", 2, "done", { order: "1" }));
      expect(await keys({ index: "byState" })).toEqual(["done/a"]);
      expect(await keys({ index: "byOrder" })).toEqual(["1"]);
      expect(await keys({ index: "waiting" })).toEqual([]);
    });

    test("a stale row makes its whole group change nothing, counters included; other groups of the same call go on", async () => {
      await write([[0, item("a", 1, "active")], [0, item("b", 1, "active")]], { active: 2 });
      const elsewhere = `${partition}/other`;
      const outcomes = await views.write([
        { view: items, partition, rows: [{ from: 1, row: item("a", 2, "done") }, { from: 7, row: item("b", 8, "done") }], counters: { active: -2, done: 2 } },
        { view: items, partition: elsewhere, rows: [{ from: 0, row: item("c", 1, "active") }], counters: { active: 1 } },
      ]);
      expect(outcomes).toEqual(["stale", "ok"]);
      expect(await keys({ index: "byState" })).toEqual(["active/a", "active/b", "active/c"]);
      expect((await get("a"))?.version).toBe(1);
      expect(await counted(views, partition)).toEqual({ active: 3 });
    });

    test("stale: a row that should be new but exists, and one that should exist but does not", async () => {
      await write([[0, item("a", 1, "active")]]);
      expect(await write([[0, item("a", 1, "done")]], { done: 1 })).toBe("stale");
      expect(await write([[4, item("b", 5, "done")]], { done: 1 })).toBe("stale");
      expect(await keys({ index: "byState" })).toEqual(["active/a"]);
      expect(await counted(views, partition)).toEqual({});
    });

    test("of writers from one version at the same time exactly one wins, and is counted once", async () => {
      await write([[0, item("a", 1, "active")]]);
      const outcomes = await Promise.all(Array.from({ length: 10 }, (_, index) => write([[1, item("a", 2, `by${index}`)]], { moved: 1 })));
      expect(outcomes.filter((outcome) => outcome === "ok")).toHaveLength(1);
      expect((await get("a"))?.state).toBe(`by${outcomes.indexOf("ok")}`);
      expect(await counted(views, partition)).toEqual({ moved: 1 });
    });

    test("a row that is gone leaves its version behind and no index entry, and may come back", async () => {
      await write([[0, item("a", 1, "active", { order: "1" })]]);
      await write([[1, item("a", 2, "active", { order: "1", gone: true })]]);
      expect(await get("a")).toMatchObject({ id: "a", version: 2, gone: true });
      for (const index of ["byState", "byOrder", "waiting"]) expect(await keys({ index })).toEqual([]);
      expect(await write([[0, item("a", 1, "active")]])).toBe("stale");
      expect(await write([[2, item("a", 3, "active")]])).toBe("ok");
      expect(await keys({ index: "waiting" })).toEqual(["a"]);
    });

    test("queries give rows with the value they were found by; pages go on after it, both ways", async () => {
      const ids = Array.from({ length: 25 }, (_, index) => `n${String(index).padStart(2, "0")}`);
      await write(ids.map((id) => [0, item(id, 1, "active")]));
      for (const reverse of [false, true]) {
        const found: string[] = [];
        let after: string | undefined;
        for (;;) {
          const page = await views.query(items, { index: "byState", prefix: "active/", limit: 10, reverse, ...(after === undefined ? {} : { after }) });
          for (const { key, row } of page) expect(key).toBe(`active/${row.id}`);
          found.push(...page.map(({ row }) => row.id));
          if (page.length < 10) break;
          after = page.at(-1)!.key;
        }
        expect(found).toEqual(reverse ? ids.toReversed() : ids);
      }
    });

    test("a prefix takes its own rows only, and `after` may lie outside of it", async () => {
      const states = ["on", "on/x", "om", "oo"];
      await write(states.flatMap((state, at) => ["a", "b", "c"].map((id): [number, Item] => [0, item(`${id}${at}`, 1, state)])));
      const on = ["on/a0", "on/b0", "on/c0", "on/x/a1", "on/x/b1", "on/x/c1"];
      expect(await keys({ index: "byState", prefix: "on/" })).toEqual(on);
      expect(await keys({ index: "byState", prefix: "on/", reverse: true })).toEqual(on.toReversed());
      expect(await keys({ index: "byState", prefix: "on/", after: "a" })).toEqual(on);
      expect(await keys({ index: "byState", prefix: "on/", after: "oo" })).toEqual([]);
      expect(await keys({ index: "byState", prefix: "on/", after: "z", reverse: true })).toEqual(on.toReversed());
      expect(await keys({ index: "byState", prefix: "on/", after: "a", reverse: true })).toEqual([]);
      expect(await keys({ index: "byState", prefix: "on/", after: "on/c0" })).toEqual(on.slice(3));
      expect(await keys({ index: "byState", prefix: "on/", limit: 2 })).toEqual(on.slice(0, 2));
    });

    test("index values are ordered by their UTF-8 bytes, prefixes and bounds too", async () => {
      // Code points in ascending order. In UTF-16, JavaScript's own order, 𝄞 would come before the two before it.
      const values = ["A", "Z", "a", "a\u0001", "a ", "a/", "aa", "a\ud7ff", "a\ue000", "a\uffff", "a𝄞", "b"];
      await write(values.map((order, index) => [0, item(String(index), 1, "x", { order })]));
      expect(await keys({ index: "byOrder" })).toEqual(values);
      expect(await keys({ index: "byOrder", prefix: "a" })).toEqual(values.slice(2, -1));
      expect(await keys({ index: "byOrder", after: "a\uffff" })).toEqual(["a𝄞", "b"]);
      expect(await keys({ index: "byOrder", prefix: "a\ud7ff" })).toEqual(["a\ud7ff"]);
      expect(await keys({ index: "byOrder", prefix: "a", after: "a𝄞", reverse: true })).toEqual(values.slice(2, -2).toReversed());
    });

    test("counters add up over the partitions that begin with a prefix, and belong to their view", async () => {
      const at = (suffix: string, counters: Record<string, number>, view = items) => ({ view, partition: `${partition}${suffix}`, rows: [], counters });
      await views.write([at("/1", { active: 2, done: 1 }), at("/2", { active: 3 }), at("0", { active: 10 }), at("/1", { active: 50 }, others)]);
      await views.write([at("/1", { active: -1, done: 1 })]);
      expect(await counted(views, `${partition}/`)).toEqual({ active: 4, done: 2 });
      expect(await counted(views, `${partition}/1`)).toEqual({ active: 1, done: 2 });
      expect(await counted(views, "nothing begins so")).toEqual({});
    });

    test("a large group is one atomic write", async () => {
      const ids = Array.from({ length: 90 }, (_, index) => `n${index}`);
      expect(await write(ids.map((id) => [0, item(id, 1, "active")]), { active: ids.length })).toBe("ok");
      expect(await write(ids.map((id, index) => [index === 89 ? 5 : 1, item(id, 6, "done")]), { active: -90 })).toBe("stale");
      expect(await keys({ index: "waiting" })).toHaveLength(90);
      expect(await counted(views, partition)).toEqual({ active: 90 });
    });

    test("a forgotten partition loses rows, tombstones and counters of that view; others stay", async () => {
      await write([[0, item("a", 1, "active")], [0, item("b", 2, "active", { gone: true })]], { active: 1 });
      await write([[0, item("a", 1, "active")]], { active: 1 }, others);
      await views.write([{ view: items, partition: `${partition}/2`, rows: [{ from: 0, row: item("c", 1, "active") }], counters: { active: 1 } }]);
      await views.forget(items, partition);
      await views.forget(items, partition);
      expect(await views.get(items, [{ partition, id: "a" }, { partition, id: "b" }])).toEqual([undefined, undefined]);
      expect(await keys({ index: "byState" })).toEqual(["active/c"]);
      expect(await counted(views, partition)).toEqual({ active: 1 });
      expect(await views.get(others, [{ partition, id: "a" }])).toEqual([item("a", 1, "active")]);
    });

    test("clearing empties every view, and they can be filled again", async () => {
      await write([[0, item("a", 1, "active")]], { active: 1 });
      await write([[0, item("a", 1, "active")]], {}, others);
      await views.clear();
      expect(await keys({ index: "byState" })).toEqual([]);
      expect(await views.get(others, [{ partition, id: "a" }])).toEqual([undefined]);
      expect(await counted(views, partition)).toEqual({});
      expect(await write([[0, item("a", 1, "active")]])).toBe("ok");
    });

    test("after a restart rows, indexes and counters are there", async () => {
      if (opened.reopen === undefined) return;
      await write([[0, item("a", 1, "active")]], { active: 1 });
      views = await opened.reopen();
      expect(await get("a")).toEqual(item("a", 1, "active"));
      expect(await keys({ index: "waiting" })).toEqual(["a"]);
      expect(await counted(views, partition)).toEqual({ active: 1 });
    });
  });
}

/** Counters without those that are back at zero: a store may keep or drop them. */
async function counted(views: Views, prefix: string): Promise<Record<string, number>> {
  return Object.fromEntries(Object.entries(await views.counters(items, prefix)).filter(([, value]) => value !== 0));
}
