// What the embedded store costs: one JSON line a figure. Run it with `node dist/bench/storage.js`; it measures the adapters
// in this process, on a database in the system's temporary folder, and leaves nothing behind.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { openSqlite, type Sqlite } from "../src/adapters/sqlite";
import { sqliteBus } from "../src/adapters/sqliteBus";
import { sqliteEventStore } from "../src/adapters/sqliteEventStore";
import { sqliteViews } from "../src/adapters/sqliteViews";
import { systemClock } from "../src/adapters/system";
import type { Commit, Row, ViewLayout } from "../src/ports";

type Report = (figure: string, unit: string, operations: number, milliseconds: number) => void;

/** Measures on a new database, once with each setting of `synchronous`. */
export async function measureStorage(print: (line: Record<string, unknown>) => void): Promise<void> {
  for (const synchronous of ["NORMAL", "FULL"] as const) {
    const folder = await mkdtemp(path.join(tmpdir(), "batchledger-bench-"));
    const db = openSqlite(path.join(folder, "ledger.db"), { synchronous });
    const report: Report = (figure, unit, operations, milliseconds) => print({
      bench: "storage", figure, synchronous, operations,
      microsecondsEach: Number(((milliseconds * 1000) / operations).toFixed(2)),
      [unit]: Math.round(operations / (milliseconds / 1000)),
    });
    try {
      await measureAppends(db, report);
      await measureRows(db, report);
      await measureBus(db, report);
    } finally {
      await db.close();
      await rm(folder, { recursive: true, force: true });
    }
  }
}

async function measureAppends(db: Sqlite, report: Report): Promise<void> {
  const store = sqliteEventStore(db);
  for (const [group, streams] of [[1, 3_000], [100, 20_000]] as const) {
    let started = performance.now();
    for (let version = 1; version <= 3; version++) {
      for (let first = 0; first < streams; first += group) {
        await store.append(Array.from({ length: group }, (_, offset) => commitOf(`g${group}`, first + offset, version)));
      }
    }
    report(`append in groups of ${group}`, "commitsPerSecond", streams * 3, performance.now() - started);
    started = performance.now();
    for (let first = 0; first < streams; first += group) {
      await store.load(Array.from({ length: group }, (_, offset) => commitOf(`g${group}`, first + offset, 1).stream));
    }
    report(`load streams of 3 commits in groups of ${group}`, "streamsPerSecond", streams, performance.now() - started);
  }
}

function commitOf(job: string, task: number, version: number): Commit {
  const at = "2026-01-01T00:00:00.000Z";
  const events = version === 1
    ? [{ type: "TaskQueued", at, spec: { commandLine: `/bin/sh -c "render ${task}"`, resources: [{ blobSource: "http://127.0.0.1/files/in/scene", filePath: "scene" }] } }]
    : [{ type: version === 2 ? "TaskStarted" : "TaskCompleted", at, attempt: 1, tvm: `tvm-${task % 50}` }];
  return { stream: `task-local.${job}.1.frame${task}`, partition: `tasks/local.${job}.1/${task % 16}`, version, id: `${task}-${version}-AbCdEfGhIjKl`, events, by: "account:local" };
}

interface TaskRow extends Row {
  readonly state: string;
  readonly tvm: string;
  readonly created: string;
}

const tasks: ViewLayout<TaskRow> = {
  name: "tasks",
  indexes: {
    byId: (row) => `local.render.1/${row.id}`,
    byState: (row) => `local.render.1/${row.state}/${row.id}`,
    byTvm: (row) => (row.state === "running" ? `pool/${row.tvm}/${row.id}` : undefined),
    waiting: (row) => (row.state === "active" ? `pool/000/${row.created}/${row.id}` : undefined),
  },
};

async function measureRows(db: Sqlite, report: Report): Promise<void> {
  const views = sqliteViews(db);
  const [count, group, partitions] = [40_000, 100, 16];
  const started = performance.now();
  for (const [from, state] of ["active", "running", "completed"].entries()) {
    for (let first = 0; first < count; first += group) {
      const rows = Array.from({ length: group }, (_, offset) => ({ from, row: rowOf(first + offset, from + 1, state) }));
      await views.write(Array.from({ length: partitions }, (_, partition) => ({
        view: tasks, partition: `tasks/render.1/${partition}`, counters: { [state]: 1 },
        rows: rows.filter((_, offset) => (first + offset) % partitions === partition),
      })));
    }
  }
  report("task rows written with 4 indexes in groups of 100", "rowsPerSecond", count * 3, performance.now() - started);
  const reading = performance.now();
  let after: string | undefined;
  let pages = 0;
  for (; ; pages++) {
    const keys = await views.keys(tasks, { index: "byState", prefix: "local.render.1/completed/", limit: 100, ...(after === undefined ? {} : { after }) });
    after = keys.at(-1);
    if (after === undefined) break;
  }
  report("keys() of 100 entries", "callsPerSecond", pages, performance.now() - reading);
}

function rowOf(task: number, version: number, state: string): TaskRow {
  return {
    id: `frame${task}`, version, state, tvm: `tvm-${task % 50}`, created: "2026-01-01T00:00:00.000Z", account: "local", job: "render.1",
    spec: { commandLine: `/bin/sh -c "render ${task}"`, resources: [{ blobSource: "http://127.0.0.1/files/in/scene", filePath: "scene" }], environment: [{ name: "FRAME", value: String(task) }], retention: "PT1H", retriesMax: 3 },
    attempt: 1, exitCode: 0,
  };
}

async function measureBus(db: Sqlite, report: Report): Promise<void> {
  const bus = sqliteBus(db, systemClock);
  const [count, group] = [50_000, 100];
  for (const byLane of [false, true]) {
    const queue = byLane ? "wakes" : "reports";
    const started = performance.now();
    for (let done = 0; done < count; done += group) {
      await bus.send(queue, Array.from({ length: group }, (_, offset) => ({
        body: { kind: "taskExited", task: `frame${done + offset}`, attempt: 1, exitCode: 0 }, ...(byLane ? { lane: `pool-${done % 7}` } : {}),
      })));
      await bus.complete(queue, await bus.receive(queue, { max: group, byLane }));
    }
    report(`bus send, receive, complete in batches of 100${byLane ? " by lane" : ""}`, "messagesPerSecond", count, performance.now() - started);
  }
}

if (require.main === module) void measureStorage((line) => console.log(JSON.stringify(line)));
