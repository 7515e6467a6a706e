// Opens the service's one database file and owns its writer: everything that is written during one turn of the event loop
// becomes one transaction, whichever port asked for it. It knows no table but its own `meta`; each adapter brings its schema.
// It never lets two processes own the same file, and never resolves a write before the commit.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { noRoomIfFull } from "./noRoom";

export interface SqliteOptions {
  /**
   * What survives a power failure. "NORMAL": perhaps not the last moments (default). "FULL": all that was acknowledged.
   * The death of the process alone loses nothing with either.
   */
  readonly synchronous?: "NORMAL" | "FULL";
}

export interface Sqlite {
  /**
   * Runs `work` inside the next transaction and resolves with its result after the commit; rejects when it throws, and
   * then nothing of it is kept while the other work of that transaction is. `work` is synchronous and touches the database
   * alone: it may run a second time after a rollback. `rows` is a rough size, by which long transactions are divided.
   */
  write<T>(work: () => T, rows?: number): Promise<T>;
  /** A prepared statement, kept for the next time. Reads outside of `write` see what is committed. */
  statement(sql: string): StatementSync;
  /** Schema changes, at once and outside of the writer's transactions. */
  define(sql: string): void;
  /** Waits for what was handed to `write`, then closes the file and gives up its ownership. */
  close(): Promise<void>;
}

/** Rows that one transaction holds at most, unless a single unit of work is larger: keeps a turn of the loop short. */
const transactionRowsMax = 2_000;
const cacheKib = 65_536;
const checkpointPages = 4_000;
const walBytesKept = 64 * 1024 * 1024;

/** Opens or creates the file. Throws when another service owns it, this process included. */
export function openSqlite(file: string, options: SqliteOptions = {}): Sqlite {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const owner = claim(file);
  let handle: DatabaseSync;
  try {
    handle = openFile(file, options.synchronous ?? "NORMAL");
  } catch (error) {
    owner.close();
    throw error;
  }
  const statements = new Map<string, StatementSync>();
  const statement = (sql: string): StatementSync => {
    let prepared = statements.get(sql);
    if (prepared === undefined) statements.set(sql, (prepared = handle.prepare(sql)));
    return prepared;
  };
  const writer = groupWriter(handle, statement);
  return {
    write: writer.write,
    statement,
    define(sql) {
      try {
        handle.exec(sql);
      } catch (error) {
        throw noRoomIfFull(error);
      }
    },
    async close() {
      if (!handle.isOpen) return;
      writer.stop();
      statements.clear();
      handle.close();
      owner.close();
    },
  };
}

function openFile(file: string, synchronous: "NORMAL" | "FULL"): DatabaseSync {
  const handle = new DatabaseSync(file, { timeout: 5_000 });
  try {
    handle.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = ${synchronous === "FULL" ? "FULL" : "NORMAL"};
      PRAGMA cache_size = -${cacheKib};
      PRAGMA wal_autocheckpoint = ${checkpointPages};
      PRAGMA journal_size_limit = ${walBytesKept};
      CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    `);
  } catch (error) {
    handle.close();
    throw error;
  }
  return handle;
}

/**
 * Ownership is a write lock on a small database beside the file, held as long as the process lives: the operating system
 * ends it with the process, however that ends. (A lock on the main file would keep people from looking into it.)
 */
function claim(file: string): DatabaseSync {
  const owner = new DatabaseSync(`${file}-owner`, { timeout: 0 });
  try {
    owner.exec("CREATE TABLE IF NOT EXISTS owner (pid INTEGER NOT NULL)");
    owner.exec(`BEGIN IMMEDIATE; DELETE FROM owner; INSERT INTO owner VALUES (${process.pid}); COMMIT; BEGIN IMMEDIATE`);
    return owner;
  } catch (error) {
    const pid = isBusy(error) ? ownerOf(owner) : undefined;
    owner.close();
    if (!isBusy(error)) throw error;
    const who = pid === undefined ? "another service" : `another service (process ${pid})`;
    throw new Error(`${file} is in use by ${who}. Stop that one first, or choose another data folder.`, { cause: error });
  }
}

function isBusy(error: unknown): boolean {
  const busy = 5;
  return ((error as { errcode?: number }).errcode ?? 0) % 256 === busy;
}

function ownerOf(owner: DatabaseSync): number | undefined {
  try {
    return owner.prepare("SELECT pid FROM owner").get()?.["pid"] as number | undefined;
  } catch {
    return undefined; // It is being written just now; the pid is a courtesy.
  }
}

interface Unit {
  readonly work: () => unknown;
  readonly rows: number;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

function groupWriter(handle: DatabaseSync, statement: (sql: string) => StatementSync) {
  let waiting: Unit[] = [];
  let scheduled: NodeJS.Immediate | undefined;
  let stopped = false;
  const run = (sql: string) => statement(sql).run();

  function flush(): void {
    scheduled = undefined;
    const units = takeTransaction();
    if (waiting.length > 0) scheduled = setImmediate(flush);
    if (!commitTogether(units)) commitApart(units);
  }

  function takeTransaction(): Unit[] {
    let rows = 0;
    const end = waiting.findIndex((unit, index) => (rows += unit.rows) > transactionRowsMax && index > 0);
    if (end < 0) {
      const all = waiting;
      waiting = [];
      return all;
    }
    return waiting.splice(0, end);
  }

  /** The usual case: no savepoints. False when something failed, and then nothing was kept. */
  function commitTogether(units: readonly Unit[]): boolean {
    const results: unknown[] = [];
    try {
      run("BEGIN IMMEDIATE");
      for (const unit of units) results.push(resultOf(unit));
      run("COMMIT");
    } catch (error) {
      if (handle.isTransaction) run("ROLLBACK");
      if (units.length > 1) return false;
      units[0]!.reject(noRoomIfFull(error));
      return true;
    }
    units.forEach((unit, index) => unit.resolve(results[index] as never));
    return true;
  }

  /** After a failure: the same work again, each between savepoints, so that only what throws is undone. */
  function commitApart(units: readonly Unit[]): void {
    const settle: (() => void)[] = [];
    try {
      run("BEGIN IMMEDIATE");
      for (const unit of units) settle.push(attempt(unit));
      run("COMMIT");
    } catch (error) {
      if (handle.isTransaction) run("ROLLBACK");
      for (const unit of units) unit.reject(noRoomIfFull(error));
      return;
    }
    for (const one of settle) one();
  }

  function attempt(unit: Unit): () => void {
    run("SAVEPOINT unit");
    try {
      const result = resultOf(unit);
      run("RELEASE unit");
      return () => unit.resolve(result as never);
    } catch (error) {
      // Some errors (a full disk) end the whole transaction: then nothing of it can be saved.
      if (!handle.isTransaction) throw error;
      run("ROLLBACK TO unit");
      run("RELEASE unit");
      return () => unit.reject(noRoomIfFull(error));
    }
  }

  return {
    write<T>(work: () => T, rows = 1): Promise<T> {
      return new Promise<T>((resolve, reject) => {
        if (stopped) return reject(new Error("The database is closed."));
        waiting.push({ work, rows, resolve, reject });
        scheduled ??= setImmediate(flush);
      });
    },
    /** Commits what waits, then refuses more. */
    stop(): void {
      stopped = true;
      if (scheduled !== undefined) clearImmediate(scheduled);
      while (waiting.length > 0) {
        const units = takeTransaction();
        if (!commitTogether(units)) commitApart(units);
      }
    },
  };
}

function resultOf(unit: Unit): unknown {
  const result = unit.work();
  if (typeof (result as { then?: unknown } | undefined | null)?.then === "function") throw new Error("Work inside a transaction must be synchronous.");
  return result;
}
