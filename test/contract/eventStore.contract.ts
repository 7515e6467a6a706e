// What every event store promises, whatever it is built on. Order is promised within a stream only, positions are opaque,
// and the feed may repeat commits. Streams get names of their own in each test, so that a store may be shared.

import { randomUUID } from "node:crypto";
import type { Commit, EventStore } from "../../src/ports";

export interface OpenEventStore {
  readonly port: EventStore;
  /** The same store after its process ended and another began; absent where that makes no sense. */
  readonly reopen?: () => Promise<EventStore>;
  readonly close: () => Promise<void>;
}

/** A commit of a made-up aggregate; `fields` replaces any part of it. */
export function commit(stream: string, version: number, fields: Partial<Commit> = {}): Commit {
  const events = [{ type: "Counted", at: "2026-01-01T00:00:00.000Z", value: version, text: "snow ☃ and 𝄞 \u0000 end" }];
  return { stream, partition: `partition of ${stream}`, version, id: randomUUID(), events, by: "account:local", ...fields };
}

/** Runs the suite against stores that `open` makes. */
export function describeEventStore(name: string, open: () => Promise<OpenEventStore>): void {
  describe(`event store: ${name}`, () => {
    let opened: OpenEventStore;
    let store: EventStore;
    let stream: string;
    beforeEach(async () => {
      opened = await open();
      store = opened.port;
      stream = `task-${randomUUID()}`;
    });
    afterEach(() => opened.close());

    const versions = async (of: string) => (await store.history(of)).map(({ version }) => version);

    test("gives back what was appended, field by field and in version order", async () => {
      const commits = [commit(stream, 1), commit(stream, 2, { events: [] }), commit(stream, 3, { by: "tvm:7" })];
      expect(await store.append(commits)).toEqual(["ok", "ok", "ok"]);
      expect(await store.load([stream])).toEqual([commits]);
      expect(await store.history(stream)).toEqual(commits);
    });

    test("an unknown stream is an empty list, in its place among the others", async () => {
      await store.append([commit(stream, 1)]);
      const [none, one] = await store.load([`task-${randomUUID()}`, stream]);
      expect(none).toEqual([]);
      expect(one).toHaveLength(1);
      expect(await store.append([])).toEqual([]);
      expect(await store.load([])).toEqual([]);
    });

    test("a taken version is a conflict, and what was there stays", async () => {
      const first = commit(stream, 1);
      await store.append([first]);
      expect(await store.append([commit(stream, 1)])).toEqual(["conflict"]);
      expect(await store.history(stream)).toEqual([first]);
    });

    test("of writers at one version at the same time exactly one wins", async () => {
      await store.append([commit(stream, 1)]);
      const rivals = Array.from({ length: 20 }, () => commit(stream, 2));
      const outcomes = (await Promise.all(rivals.map((rival) => store.append([rival])))).flat();
      expect(outcomes.filter((outcome) => outcome === "ok")).toHaveLength(1);
      const winner = rivals[outcomes.indexOf("ok")]!;
      expect((await store.history(stream)).at(-1)).toEqual(winner);
    });

    test("appending the same commit again is ok and stores nothing, also when later ones followed", async () => {
      const first = commit(stream, 1);
      const second = commit(stream, 2);
      await store.append([first]);
      expect(await store.append([first, second])).toEqual(["ok", "ok"]);
      expect(await store.append([first])).toEqual(["ok"]);
      expect(await versions(stream)).toEqual([1, 2]);
    });

    test("a version that is not the next one is a conflict: a stream has no gaps", async () => {
      expect(await store.append([commit(stream, 2)])).toEqual(["conflict"]);
      await store.append([commit(stream, 1)]);
      expect(await store.append([commit(stream, 3)])).toEqual(["conflict"]);
      expect(await versions(stream)).toEqual([1]);
    });

    test("what follows a lost commit in the same append is lost too", async () => {
      await store.append([commit(stream, 1)]);
      expect(await store.append([commit(stream, 1), commit(stream, 2)])).toEqual(["conflict", "conflict"]);
      expect(await versions(stream)).toEqual([1]);
    });

    test("what follows a lost commit is lost too when it is too far behind it, or too large, to be written together with it", async () => {
      const partition = `partition of ${stream}`;
      const [many, large] = [`${stream}-many`, `${stream}-large`];
      await store.append([commit(many, 1, { partition }), commit(large, 1, { partition })]);
      const between = Array.from({ length: 120 }, (_, index) => commit(`${stream}-${index}`, 1, { partition }));
      const outcomes = await store.append([commit(many, 1, { partition }), ...between, commit(many, 2, { partition })]);
      expect(outcomes).toEqual(["conflict", ...between.map(() => "ok"), "conflict"]);
      const events = [{ type: "Counted", at: "2026-01-01T00:00:00.000Z", text: "x".repeat(1_000_000) }];
      expect(await store.append([commit(large, 1, { partition, events }), commit(large, 2, { partition, events })])).toEqual(["conflict", "conflict"]);
      expect(await versions(many)).toEqual([1]);
      expect(await versions(large)).toEqual([1]);
    });

    test("many commits at once: each gets its own answer, in the order given", async () => {
      const streams = Array.from({ length: 300 }, (_, index) => `${stream}-${index}`);
      const taken = streams.filter((_, index) => index % 7 === 0);
      await store.append(taken.map((one) => commit(one, 1)));
      const outcomes = await store.append(streams.map((one) => commit(one, 1)));
      expect(outcomes).toEqual(streams.map((_, index) => (index % 7 === 0 ? "conflict" : "ok")));
      const loaded = await store.load(streams);
      expect(loaded.map((commits) => commits.length)).toEqual(streams.map(() => 1));
    });

    test("many commits of one partition and of one stream at once", async () => {
      const commits = Array.from({ length: 250 }, (_, index) => commit(stream, index + 1, { partition: stream }));
      expect(new Set(await store.append(commits))).toEqual(new Set(["ok"]));
      expect(await versions(stream)).toEqual(commits.map(({ version }) => version));
    });

    test("loading starts at the latest snapshot; history still has everything", async () => {
      const commits = Array.from({ length: 7 }, (_, index) => commit(stream, index + 1, index % 3 === 2 ? { snapshot: { total: index } } : {}));
      await store.append(commits);
      expect(await store.load([stream])).toEqual([commits.slice(5)]);
      expect(await store.history(stream)).toEqual(commits);
    });

    test("the feed has every commit, each stream's in version order, whatever the page", async () => {
      const start = await endOfFeed(store);
      const streams = Array.from({ length: 5 }, (_, index) => `${stream}-${index}`);
      for (let version = 1; version <= 8; version++) await store.append(streams.map((one) => commit(one, version)));
      const { commits } = await readOn(store, start, 3);
      for (const one of streams) expect(firstSightings(commits, one)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    });

    test("the feed read while others append misses and reorders nothing", async () => {
      const start = await endOfFeed(store);
      const streams = Array.from({ length: 8 }, (_, index) => `${stream}-${index}`);
      const writers = streams.map(async (one) => {
        for (let version = 1; version <= 20; version++) await store.append([commit(one, version)]);
      });
      const seen: Commit[] = [];
      let position = start;
      const read = async () => {
        const page = await readOn(store, position, 5);
        seen.push(...page.commits);
        position = page.position;
      };
      let writing = true;
      const all = Promise.all(writers).finally(() => (writing = false));
      while (writing) {
        await read();
        await new Promise(setImmediate);
      }
      await all;
      await read();
      const expected = Array.from({ length: 20 }, (_, index) => index + 1);
      for (const one of streams) expect(firstSightings(seen, one)).toEqual(expected);
    });

    test("at its end the feed answers nothing and a position from which later commits are read", async () => {
      const end = await endOfFeed(store);
      expect((await store.readFeed(end, 10)).commits).toEqual([]);
      await store.append([commit(stream, 1)]);
      const next = await store.readFeed(end, 10);
      expect(next.commits.map((one) => one.stream)).toContain(stream);
    });

    test("a commit that lost is not in the feed", async () => {
      const start = await endOfFeed(store);
      await store.append([commit(stream, 1)]);
      const loser = commit(stream, 1);
      await store.append([loser]);
      const { commits } = await readOn(store, start, 10);
      expect(commits.map(({ id }) => id)).not.toContain(loser.id);
      expect(firstSightings(commits, stream)).toEqual([1]);
    });

    test("a forgotten partition is gone, again and again; others stay, and a forgotten stream may begin anew", async () => {
      const partition = `job-${randomUUID()}`;
      const old = Array.from({ length: 250 }, (_, index) => `${stream}-${index}`);
      await store.append(old.flatMap((one) => [commit(one, 1, { partition }), commit(one, 2, { partition })]));
      await store.append([commit(stream, 1)]);
      await store.forget(partition);
      await store.forget(partition);
      expect((await store.load(old)).flat()).toEqual([]);
      expect(await versions(stream)).toEqual([1]);
      expect(await store.append([commit(old[0]!, 1, { partition })])).toEqual(["ok"]);
    });

    test("forgetting the newest commits makes no reader of the feed miss what comes then", async () => {
      const partition = `job-${randomUUID()}`;
      await store.append([commit(stream, 1, { partition }), commit(stream, 2, { partition })]);
      const position = await endOfFeed(store);
      await store.forget(partition);
      if (opened.reopen !== undefined) store = await opened.reopen();
      await store.append([commit(`${stream}-later`, 1)]);
      const { commits } = await readOn(store, position, 10);
      expect(firstSightings(commits, `${stream}-later`)).toEqual([1]);
    });

    test("after a restart everything acknowledged is there and positions still hold", async () => {
      if (opened.reopen === undefined) return;
      const first = commit(stream, 1);
      await store.append([first]);
      const position = await endOfFeed(store);
      store = await opened.reopen();
      expect(await store.history(stream)).toEqual([first]);
      await store.append([commit(stream, 2)]);
      expect(firstSightings((await readOn(store, position, 10)).commits, stream)).toEqual([2]);
    });
  });
}

/** Reads pages until one is empty. */
async function readOn(store: EventStore, from: string | undefined, limit: number): Promise<{ commits: Commit[]; position: string | undefined }> {
  const commits: Commit[] = [];
  let position = from;
  for (;;) {
    const page = await store.readFeed(position, limit);
    expect(page.commits.length).toBeLessThanOrEqual(limit);
    position = page.position;
    if (page.commits.length === 0) return { commits, position };
    commits.push(...page.commits);
  }
}

async function endOfFeed(store: EventStore): Promise<string | undefined> {
  return (await readOn(store, undefined, 1_000)).position;
}

/** A stream's versions in the order in which they were first seen. */
function firstSightings(commits: readonly Commit[], stream: string): number[] {
  return [...new Set(commits.filter((one) => one.stream === stream).map(({ version }) => version))];
}
