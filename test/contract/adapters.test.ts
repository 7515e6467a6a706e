// Runs each port's contract suite on the adapters of the embedded default, and what is theirs alone: one writer for all of
// them, one owner of the file, and nothing acknowledged lost when the process is killed.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { folderFiles } from "../../src/adapters/folderFiles";
import { aesSealer } from "../../src/adapters/aesSealer";
import { openSqlite, type Sqlite } from "../../src/adapters/sqlite";
import { sqliteBus } from "../../src/adapters/sqliteBus";
import { sqliteEventStore } from "../../src/adapters/sqliteEventStore";
import { sqliteViews } from "../../src/adapters/sqliteViews";
import { systemClock } from "../../src/adapters/system";
import type { Row } from "../../src/ports";
import { describeBus } from "./bus.contract";
import { commit, describeEventStore } from "./eventStore.contract";
import { describeFiles } from "./files.contract";
import { describeViews } from "./views.contract";

/** A port over a database in a folder of its own; reopening closes the file first, as the end of the process would. */
function onSqlite<P>(adapter: (db: Sqlite) => P) {
  return async () => {
    const folder = await temporaryFolder();
    const file = path.join(folder, "ledger.db");
    let db = openSqlite(file);
    return {
      port: adapter(db),
      reopen: async () => {
        await db.close();
        db = openSqlite(file);
        return adapter(db);
      },
      close: async () => {
        await db.close();
        await rm(folder, { recursive: true, force: true });
      },
    };
  };
}

function temporaryFolder(): Promise<string> {
  return mkdtemp(path.join(tmpdir(), "batchledger-test-"));
}

describeEventStore("sqlite", onSqlite(sqliteEventStore));
describeViews("sqlite", onSqlite(sqliteViews));
describeBus("sqlite", onSqlite((db) => sqliteBus(db, systemClock)));
describeFiles("folder", async () => {
  const folder = await temporaryFolder();
  const open = () => folderFiles({
    root: path.join(folder, "files"), baseUrl: () => "http://127.0.0.1:7071", sealer: aesSealer(path.join(folder, "keys", "seal")), clock: systemClock,
  });
  return { port: open(), reopen: async () => open(), close: () => rm(folder, { recursive: true, force: true }) };
});

describe("sqlite, shared by all ports", () => {
  let folder: string;
  let file: string;
  let db: Sqlite;
  let reader: DatabaseSync;
  beforeEach(async () => {
    folder = await temporaryFolder();
    file = path.join(folder, "data", "ledger.db");
    db = openSqlite(file);
    db.define("CREATE TABLE numbers (n INTEGER PRIMARY KEY)");
    reader = new DatabaseSync(file, { readOnly: true });
  });
  afterEach(async () => {
    reader.close();
    await db.close();
    await rm(folder, { recursive: true, force: true });
  });

  const insert = (n: number) => () => void db.statement("INSERT INTO numbers VALUES (?)").run(n);
  const numbersSeen = () => reader.prepare("SELECT n FROM numbers ORDER BY n").all().map(({ n }) => n);

  test("what is written in one turn, through whatever port, is one transaction", async () => {
    const store = sqliteEventStore(db);
    const bus = sqliteBus(db, systemClock);
    let counted: unknown;
    const first = db.write(insert(1)).then(() => (counted = [
      reader.prepare("SELECT count(*) AS n FROM commits").get()?.["n"], reader.prepare("SELECT count(*) AS n FROM messages").get()?.["n"],
    ]));
    await Promise.all([first, store.append([commit("task-1", 1)]), bus.send("wakes", [{ lane: "pool", body: 1 }])]);
    expect(counted).toEqual([1, 1]);
  });

  test("others see nothing before the commit, and everything when the promise resolves", async () => {
    let during: unknown;
    await Promise.all([db.write(insert(1)), db.write(() => (during = numbersSeen()))]);
    expect(during).toEqual([]);
    expect(numbersSeen()).toEqual([1]);
  });

  test("work that throws is undone alone; the others of its transaction stay, each with its own answer", async () => {
    const settled = await Promise.allSettled([
      db.write(() => (insert(1)(), "one")),
      db.write(() => {
        insert(2)();
        throw new Error("no good");
      }),
      db.write(() => (insert(1)(), "twice")),
      db.write(() => (insert(3)(), "three")),
    ]);
    expect(settled.map((one) => (one.status === "fulfilled" ? one.value : (one.reason as Error).message)))
      .toEqual(["one", "no good", expect.stringContaining("UNIQUE"), "three"]);
    expect(numbersSeen()).toEqual([1, 3]);
  });

  test("a full disk refuses what does not fit, keeps what does, and is over when there is room", async () => {
    db.define("CREATE TABLE blobs (b BLOB)");
    db.define("PRAGMA max_page_count = 40");
    const large = () => void db.statement("INSERT INTO blobs VALUES (zeroblob(1000000))").run();
    const settled = await Promise.allSettled([db.write(insert(1)), db.write(large), db.write(insert(2))]);
    expect(settled[1]).toMatchObject({ status: "rejected", reason: { message: expect.stringContaining("full") } });
    // SQLite decides whether a full disk ends the transaction; whatever was answered must be true.
    const kept = settled.flatMap((one, index) => (one.status === "fulfilled" ? [index === 0 ? 1 : 2] : []));
    expect(numbersSeen()).toEqual(kept);
    db.define("PRAGMA max_page_count = 100000");
    await Promise.all([db.write(insert(3)), db.write(large)]);
    expect(numbersSeen()).toContain(3);
  });

  test("a queue loses nothing to a full disk: what could not be handed out or settled can be, once there is room", async () => {
    let full = false;
    const bus = sqliteBus({ ...db, write: (work, rows) => (full ? Promise.reject(new Error("The disk is full.")) : db.write(work, rows)) }, systemClock);
    const lane = { max: 10, byLane: true };
    await bus.send("q", [{ lane: "a", body: 1 }, { lane: "a", body: 2 }]);
    full = true;
    await expect(bus.receive("q", lane)).rejects.toThrow("full");
    full = false;
    const first = await bus.receive("q", { ...lane, max: 1 });
    full = true;
    await expect(bus.complete("q", first)).rejects.toThrow("full");
    await expect(bus.abandon("q", first, "later")).rejects.toThrow("full");
    full = false;
    expect(await bus.receive("q", lane)).toEqual([]);
    await bus.complete("q", first);
    for (let delivery = 1; delivery <= 10; delivery++) await bus.abandon("q", (await bus.receive("q", lane)).slice(0, delivery === 10 ? 0 : 1), "later");
    // Its process ended ten times with it: it is to be buried as it is handed out, which takes room as well.
    const next = sqliteBus({ ...db, write: (work, rows) => (full && ++writes === 2 ? Promise.reject(new Error("The disk is full.")) : db.write(work, rows)) }, systemClock);
    let writes = 0;
    full = true;
    await expect(next.receive("q", lane)).rejects.toThrow("full");
    full = false;
    await bus.send("q", [{ lane: "a", body: 3 }]);
    expect((await next.receive("q", lane)).map(({ body }) => body)).toEqual([3]);
    expect(await next.deadLetters("q", 10)).toMatchObject([{ message: { body: 2 } }]);
  });

  test("long queues are divided, so that the loop turns in between", async () => {
    const writes = Array.from({ length: 10 }, (_, n) => db.write(insert(n), 500));
    await writes[0];
    expect(numbersSeen().length).toBeLessThan(10);
    await Promise.all(writes);
    expect(numbersSeen()).toHaveLength(10);
  });

  test("asynchronous work is refused and keeps nothing", async () => {
    await expect(db.write(async () => insert(1)())).rejects.toThrow("synchronous");
    expect(numbersSeen()).toEqual([]);
  });

  test("closing commits what waits; then nothing more is taken", async () => {
    const last = db.write(insert(1));
    await db.close();
    await last;
    expect(numbersSeen()).toEqual([1]);
    await expect(db.write(insert(2))).rejects.toThrow("closed");
  });

  test("a second service on the same file is refused and says who has it; the next one may have it after the end", async () => {
    expect(() => openSqlite(file)).toThrow(new RegExp(`ledger\\.db is in use by another service \\(process ${process.pid}\\)`));
    await db.write(insert(1));
    await db.close();
    db = openSqlite(file);
    expect(numbersSeen()).toEqual([1]);
  });

  test("a damaged commit is named", async () => {
    const store = sqliteEventStore(db);
    await store.append([commit("task-1", 1), commit("task-1", 2)]);
    await db.write(() => db.statement("UPDATE commits SET events = '[{' WHERE version = 2").run());
    await expect(store.load(["task-1"])).rejects.toThrow("Stream task-1 version 2 is damaged");
  });

  test("the feed says when there is something new, once a turn, until stopped", async () => {
    const store = sqliteEventStore(db);
    let calls = 0;
    const stop = store.onAppend(() => calls++);
    await Promise.all([store.append([commit("a", 1)]), store.append([commit("b", 1)]), store.append([commit("c", 1)])]);
    await new Promise(setImmediate);
    expect(calls).toBe(1);
    await store.append([commit("a", 1)]);
    await new Promise(setImmediate);
    expect(calls).toBe(1);
    stop();
    await store.append([commit("a", 2)]);
    await new Promise(setImmediate);
    expect(calls).toBe(1);
  });

  test("a view that gained and lost indexes since its rows were stored is queried by the new ones", async () => {
    const row = { id: "a", version: 1, state: "active", size: "0007" };
    const old = { name: "fitted", indexes: { byState: (one: Row) => one["state"] as string } };
    await sqliteViews(db).write([{ view: old, partition: "p", rows: [{ from: 0, row }], counters: {} }]);
    const later = { name: "fitted", indexes: { bySize: (one: Row) => one["size"] as string } };
    const views = sqliteViews(db);
    expect(await views.query(later, { index: "bySize", prefix: "00", limit: 5 })).toEqual([{ key: "0007", row }]);
    await expect(views.keys(later, { index: "byState", prefix: "", limit: 5 })).rejects.toThrow("no index byState");
    // And back: what the column held before must not come back with it.
    await views.write([{ view: later, partition: "p", rows: [{ from: 1, row: { ...row, version: 2, state: "done" } }], counters: {} }]);
    expect(await sqliteViews(db).keys(old, { index: "byState", prefix: "", limit: 5 })).toEqual(["done"]);
  });

  test.each([false, true])("a page in the middle of a prefix is a seek, not a walk over what lies before it (reverse: %s)", async (reverse) => {
    const used: string[] = [];
    const spied = { ...db, statement: (sql: string) => (used.push(sql), db.statement(sql)) };
    const view = { name: "sought", indexes: { byId: (row: Row) => row.id } };
    await sqliteViews(spied).keys(view, { index: "byId", prefix: "b", after: "b5", limit: 5, reverse });
    const plan = db.statement(`EXPLAIN QUERY PLAN ${used.at(-1)}`).all("b", "c", 5).map(({ detail }) => detail);
    expect(plan).toEqual([expect.stringMatching(/^SEARCH view_sought USING COVERING INDEX view_sought_ix_byId \(ix_byId>\? AND ix_byId<\?\)$/)]);
    // Where the seek begins: the narrower of prefix and `after`, never both.
    expect(used.at(-1)).toMatch(reverse ? />= \? AND ix_byId < \?/ : /> \? AND ix_byId < \?/);
  });
});

test("killed at any moment, the process loses nothing that it acknowledged, and its file is free at once", async () => {
  const folder = await temporaryFolder();
  const file = path.join(folder, "ledger.db");
  const root = path.resolve(__dirname, "../..");
  const child = spawn(process.execPath, ["--require", path.join(root, "test/agent/register.js"), path.join(__dirname, "appendUntilKilled.ts"), file],
    { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const exited = once(child, "exit");
    let acknowledged = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged = Number(line);
      if (acknowledged === 300) {
        expect(() => openSqlite(file)).toThrow(`process ${child.pid}`);
        child.kill("SIGKILL");
      }
    }
    expect(await exited).toEqual([null, "SIGKILL"]);
    expect(acknowledged).toBeGreaterThanOrEqual(300);

    const db = openSqlite(file);
    for (const commits of await sqliteEventStore(db).load(["a", "b", "c"])) {
      expect(commits.length).toBeGreaterThanOrEqual(acknowledged);
      expect(commits.map(({ version }) => version)).toEqual(commits.map((_, index) => index + 1));
    }
    const messages = await sqliteBus(db, systemClock).receive("reports", { max: 1_000_000, byLane: false });
    expect(messages.slice(0, acknowledged).map(({ body }) => body)).toEqual(Array.from({ length: acknowledged }, (_, index) => index + 1));
    await db.close();
  } finally {
    child.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
});
