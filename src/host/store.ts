// The host's own database file: orchestration histories, timer status, feed positions, keys. One process owns it at a time, unless
// all who open it say that they share it.
// It holds nothing of the app's data.

import fs from "node:fs";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";

export type SqlValue = null | number | string;

export interface HostStore {
  /** Other hosts work on the same file. */
  readonly shared: boolean;
  /** Runs a statement; prepared once. */
  run(sql: string, ...values: SqlValue[]): number;
  get<T>(sql: string, ...values: SqlValue[]): T | undefined;
  all<T>(sql: string, ...values: SqlValue[]): T[];
  /**
   * All of the statements inside, or none; in one transaction with whatever else comes in the same turn of the event loop,
   * because a commit costs more than what it keeps. Resolves when it is kept.
   */
  together<T>(work: () => T): Promise<T>;
  /** Small values by key. */
  read(key: string): string | undefined;
  write(key: string, value: string): void;
  /** The value of a key, made from random bytes the first time it is asked for. */
  secret(key: string): string;
  close(): void;
}

/**
 * Opens `taskhub.db` in the folder, or a database in memory without one. Throws when another process has it open.
 * With `synchronous: "NORMAL"` a crash of the process loses nothing; of the machine, the last moments: the app's own events
 * are the truth, and what follows from them is repeated.
 */
export function openStore(dataDir: string | undefined, synchronous: "NORMAL" | "FULL", shared = false): HostStore {
  const file = dataDir === undefined ? ":memory:" : path.join(dataDir, "taskhub.db");
  if (dataDir !== undefined) fs.mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(file, { timeout: lockTimeoutMs });
  try {
    database.exec(`${shared ? "" : "PRAGMA locking_mode=EXCLUSIVE;"} PRAGMA journal_mode=WAL; PRAGMA synchronous=${synchronous};
      PRAGMA wal_autocheckpoint=4000; PRAGMA cache_size=-32000;
      BEGIN EXCLUSIVE; CREATE TABLE IF NOT EXISTS kv(k TEXT PRIMARY KEY, v TEXT NOT NULL) WITHOUT ROWID; COMMIT;`);
    if (dataDir !== undefined) fs.chmodSync(file, 0o600);
  } catch (error) {
    database.close();
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`Cannot open ${file}: ${reason}. Does another host use this folder?`, { cause: error });
  }
  return overDatabase(database, shared);
}

// A host that was killed lets go of its lock at once; one that is just ending, within moments.
const lockTimeoutMs = 2_000;
// Statements come from a fixed set of texts, so this is never reached; it bounds the memory if that should change.
const statementsMax = 200;

function overDatabase(database: DatabaseSync, shared: boolean): HostStore {
  const statements = new Map<string, StatementSync>();
  const prepare = (sql: string): StatementSync => {
    let statement = statements.get(sql);
    if (!statement) {
      if (statements.size >= statementsMax) statements.clear();
      statement = database.prepare(sql);
      statements.set(sql, statement);
    }
    return statement;
  };
  const store: HostStore = {
    shared,
    run: (sql, ...values) => Number(prepare(sql).run(...values).changes),
    get: <T>(sql: string, ...values: SqlValue[]) => prepare(sql).get(...values) as T | undefined,
    all: <T>(sql: string, ...values: SqlValue[]) => prepare(sql).all(...values) as T[],
    together: (work) => gather.add(work),
    read: (key) => store.get<{ v: string }>("SELECT v FROM kv WHERE k=?", key)?.v,
    write: (key, value) => {
      store.run("INSERT INTO kv(k,v) VALUES(?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v", key, value);
    },
    secret(key) {
      const known = store.read(key);
      if (known !== undefined) return known;
      // Of two hosts that make one at the same time, the first has made it.
      store.run("INSERT OR IGNORE INTO kv(k,v) VALUES(?,?)", key, randomBytes(32).toString("base64url"));
      return store.read(key) as string;
    },
    close() {
      gather.flush();
      database.close();
    },
  };
  const gather = gatherer((sql) => void prepare(sql).run(), () => database.isTransaction);
  return store;
}

interface Gathered {
  readonly work: () => unknown;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

/** Nothing of what was handed over is kept, and there is nothing wrong with it. */
export const isDiskFull = (error: unknown): boolean => ((error as { errcode?: number } | undefined)?.errcode ?? 0) % 256 === sqliteFull;
const sqliteFull = 13;

function gatherer(execute: (sql: string) => void, inTransaction: () => boolean): { add<T>(work: () => T): Promise<T>; flush(): void } {
  let waiting: Gathered[] = [];

  function flush(): void {
    const batch = waiting;
    waiting = [];
    if (batch.length === 0) return;
    const kept: (() => void)[] = [];
    try {
      execute("BEGIN IMMEDIATE");
      for (const each of batch) runOne(each, kept);
      execute("COMMIT");
    } catch (error) {
      for (const each of batch) each.reject(error);
      if (inTransaction()) execute("ROLLBACK");
      return;
    }
    for (const resolve of kept) resolve();
  }

  /** One that throws undoes itself and nothing else. */
  function runOne({ work, resolve, reject }: Gathered, kept: (() => void)[]): void {
    execute("SAVEPOINT one");
    try {
      const value = work();
      kept.push(() => resolve(value as never));
    } catch (error) {
      // A full disk ends the whole transaction: then nothing of it can be saved.
      if (!inTransaction()) throw error;
      execute("ROLLBACK TO one");
      reject(error);
    }
    execute("RELEASE one");
  }

  return {
    add: (work) =>
      new Promise((resolve, reject) => {
        if (waiting.length === 0) setImmediate(flush);
        waiting.push({ work, resolve, reject });
      }),
    flush,
  };
}
