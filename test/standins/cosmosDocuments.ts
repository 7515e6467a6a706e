// The documents behind the stand-in for Cosmos DB, on SQLite: single operations, transactional batches, queries and the change
// feed, each with its charge. It knows nothing of HTTP. Positions of the feed grow per container; what one transaction wrote shares one.
import { createHash, randomUUID } from "node:crypto";
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { feedUnits, patchUnits, queryUnits, readUnits, refusalUnits, writeUnits } from "./cosmosCharges";
import { type Statement, columnOf, parseCondition, project } from "./cosmosSql";

/** An answer that is not a success. */
export class Refusal extends Error {
  constructor(readonly status: number, message: string, readonly substatus?: number) {
    super(message);
  }
}

export interface Collection {
  readonly key: number;
  readonly rid: string;
  readonly definition: { readonly id: string; readonly partitionKey: { readonly paths: readonly string[] }; readonly indexingPolicy?: object; readonly [field: string]: unknown };
}

export type Kind = "Create" | "Upsert" | "Read" | "Replace" | "Delete" | "Patch";

export interface Operation {
  readonly kind: Kind;
  readonly id?: string | undefined;
  readonly body?: Record<string, unknown> | undefined;
  readonly ifMatch?: string | undefined;
  readonly ifNoneMatch?: string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly units: number;
  /** JSON text of the document. */
  readonly text?: string;
  readonly etag?: string;
}

interface Stored {
  readonly id: string;
  readonly lsn: number;
  readonly etag: string;
  readonly rid: string;
  readonly ts: number;
  readonly body: string;
}

const documentBytesMax = 2 * 1024 * 1024;
const patchesMax = 10;
const pageMax = 1_000;
const system = ["_rid", "_self", "_etag", "_ts", "_attachments", "_lsn"];

export type Documents = ReturnType<typeof openDocuments>;

/** A file keeps everything for the next time; ":memory:" nothing. */
export const openDocuments = (file: string, ranges: number) => {
  const db = new DatabaseSync(file);
  db.exec(`
    PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
    CREATE TABLE IF NOT EXISTS databases (id TEXT PRIMARY KEY, rid TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS collections (key INTEGER PRIMARY KEY, database TEXT NOT NULL, id TEXT NOT NULL, rid TEXT NOT NULL,
      definition TEXT NOT NULL, lsn INTEGER NOT NULL DEFAULT 0, UNIQUE (database, id));
    CREATE TABLE IF NOT EXISTS documents (collection INTEGER NOT NULL, partition TEXT NOT NULL, id TEXT NOT NULL, range INTEGER NOT NULL,
      lsn INTEGER NOT NULL, turn INTEGER NOT NULL, etag TEXT NOT NULL, rid TEXT NOT NULL, ts INTEGER NOT NULL, body TEXT NOT NULL,
      PRIMARY KEY (collection, partition, id)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS documents_feed ON documents (collection, range, lsn, turn);`);
  const statements = new Map<string, StatementSync>();
  const prepared = (sql: string): StatementSync => {
    let statement = statements.get(sql);
    if (!statement) statements.set(sql, (statement = db.prepare(sql)));
    return statement;
  };
  const one = <T>(sql: string, ...values: SQLInputValue[]): T | undefined => prepared(sql).get(...values) as T | undefined;
  const all = <T>(sql: string, ...values: SQLInputValue[]): T[] => prepared(sql).all(...values) as T[];
  const run = (sql: string, ...values: SQLInputValue[]): void => void prepared(sql).run(...values);

  /** Everything or nothing, at one position of the feed. */
  const transaction = <T>(collection: Collection, work: (write: Writer) => T): T => {
    db.exec("BEGIN IMMEDIATE");
    try {
      const lsn = (one<{ lsn: number }>("UPDATE collections SET lsn = lsn + 1 WHERE key = ? RETURNING lsn", collection.key) as { lsn: number }).lsn;
      let turn = 0;
      const result = work((operation, partition) => perform(collection, partition, operation, lsn, turn++));
      db.exec("COMMIT");
      return result;
    } catch (error) {
      db.exec("ROLLBACK");
      throw error;
    }
  };

  type Writer = (operation: Operation, partition: string) => Answer;

  const stored = (collection: Collection, partition: string, id: string): Stored | undefined =>
    one<Stored>("SELECT id, lsn, etag, rid, ts, body FROM documents WHERE collection = ? AND partition = ? AND id = ?", collection.key, partition, id);

  const perform = (collection: Collection, partition: string, operation: Operation, lsn: number, turn: number): Answer => {
    const id = operation.id ?? (operation.body?.["id"] as string | undefined);
    const old = typeof id === "string" ? stored(collection, partition, id) : undefined;
    if (operation.kind === "Create") {
      if (old) throw new Refusal(409, "Entity with the specified id already exists in the system.");
      return put(collection, partition, operation.body as Record<string, unknown>, undefined, lsn, turn);
    }
    if (!old && operation.kind !== "Upsert") throw new Refusal(404, "Entity with the specified id does not exist in the system.");
    if (old && operation.ifMatch !== undefined && operation.ifMatch !== "*" && operation.ifMatch !== old.etag) throw new Refusal(412, "One of the specified pre-condition is not met.");
    switch (operation.kind) {
      case "Read":
        return readAnswer(old as Stored, operation.ifNoneMatch);
      case "Delete":
        run("DELETE FROM documents WHERE collection = ? AND partition = ? AND id = ?", collection.key, partition, (old as Stored).id);
        return { status: 204, units: writeUnits(collection.definition.indexingPolicy, JSON.parse((old as Stored).body), undefined, (old as Stored).body.length, 0) };
      case "Patch": {
        const patched = put(collection, partition, patch(collection, partition, old as Stored, operation.body as never), old, lsn, turn);
        return { ...patched, units: patched.units + patchUnits };
      }
      default:
        if (operation.kind === "Replace" && operation.body?.["id"] !== id) throw new Refusal(400, "The id of the body is another one.");
        return put(collection, partition, operation.body as Record<string, unknown>, old, lsn, turn);
    }
  };

  const put = (collection: Collection, partition: string, document: Record<string, unknown>, old: Stored | undefined, lsn: number, turn: number): Answer => {
    const { id } = document;
    if (typeof id !== "string" || id === "" || id.length > 1023 || /[/\\?#]/.test(id) || id.endsWith(" ")) throw new Refusal(400, "The input content is invalid because the required property 'id' is missing or not usable.");
    if (partitionOf(collection, document) !== partition) throw new Refusal(400, "PartitionKey extracted from document doesn't match the one specified in the header.", 1001);
    const body = JSON.stringify(Object.fromEntries(Object.entries(document).filter(([name]) => !system.includes(name))));
    if (Buffer.byteLength(body) > documentBytesMax) throw new Refusal(413, "Request size is too large.");
    const fresh: Stored = { id, lsn, etag: `"${randomUUID()}"`, rid: old?.rid ?? `${collection.rid}${lsn.toString(36)}.${turn}`, ts: Math.floor(Date.now() / 1000), body };
    run("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", collection.key, partition, id, rangeOf(partition, ranges), lsn, turn, fresh.etag, fresh.rid, fresh.ts, body);
    const units = writeUnits(collection.definition.indexingPolicy, old && JSON.parse(old.body), document, old?.body.length ?? 0, body.length);
    return { status: old ? 200 : 201, units, etag: fresh.etag, text: textOf(fresh) };
  };

  const patch = (collection: Collection, partition: string, old: Stored, { condition, operations }: { condition?: string; operations: PatchStep[] }): Record<string, unknown> => {
    if (operations.length > patchesMax) throw new Refusal(400, "The number of patch operations can't exceed 10.");
    if (condition !== undefined) {
      const { where } = parseCondition(condition);
      const met = one(`SELECT 1 FROM documents WHERE collection = ? AND partition = ? AND id = ? AND ${where.sql}`, collection.key, partition, old.id, ...where.values);
      if (!met) throw new Refusal(412, "The condition of the patch is not met.");
    }
    const document = JSON.parse(old.body) as Record<string, unknown>;
    for (const step of operations) applyPatch(document, step);
    return document;
  };

  const readAnswer = (found: Stored, ifNoneMatch?: string): Answer => {
    if (ifNoneMatch === found.etag) throw new Refusal(304, "");
    return { status: 200, units: readUnits(found.body.length), etag: found.etag, text: textOf(found) };
  };

  return {
    one, all, run,
    close: () => db.close(),

    /** The key of the partition as the SDK writes it, from the document itself. */
    partitionOf,

    read(collection: Collection, partition: string, id: string, ifNoneMatch?: string): Answer {
      const found = stored(collection, partition, id);
      if (!found) throw new Refusal(404, "Entity with the specified id does not exist in the system.");
      return readAnswer(found, ifNoneMatch);
    },

    write: (collection: Collection, partition: string, operation: Operation): Answer => transaction(collection, (write) => write(operation, partition)),

    /** All are kept, or none: then the failing one says why and the others that they depended on it. */
    batch(collection: Collection, partition: string, operations: readonly Operation[]): { status: number; answers: (Answer & { substatus?: number })[]; units: number } {
      const done: Answer[] = [];
      try {
        transaction(collection, (write) => {
          for (const operation of operations) done.push(write(operation, partition));
        });
        return { status: 200, answers: done, units: sum(done) };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        const answers = operations.map((_, index) => (index === done.length ? { status: error.status, units: refusalUnits } : { status: 424, units: 0 }));
        // What was tried before it failed was work too.
        return { status: 207, answers, units: sum(done) + refusalUnits };
      }
    },

    query(collection: Collection, statement: Statement, scope: { partition?: string | undefined; range?: number | undefined }, limit: number, offset: number): { documents: unknown[]; more: boolean; units: number } {
      const { where, orderBy, top = Infinity } = statement;
      if (orderBy && columnOf(orderBy.path) !== "id") ensureIndex(db, statements, columnOf(orderBy.path));
      const conditions = ["collection = ?", where.sql];
      const values: SQLInputValue[] = [collection.key, ...where.values];
      if (scope.partition !== undefined) {
        conditions.push("partition = ?");
        values.push(scope.partition);
      }
      if (scope.range !== undefined) {
        conditions.push("range = ?");
        values.push(scope.range);
      }
      const column = orderBy && columnOf(orderBy.path);
      if (column !== undefined) conditions.push(`${column} IS NOT NULL`);
      const wanted = Math.min(limit, pageMax, top - offset);
      const rows = all<Stored>(
        `SELECT id, lsn, etag, rid, ts, body FROM documents WHERE ${conditions.join(" AND ")} ORDER BY ${column === undefined ? "partition, id" : `${column} ${orderBy?.descending ? "DESC" : "ASC"}`} LIMIT ? OFFSET ?`,
        ...values, Math.max(0, wanted) + 1, offset,
      );
      const more = rows.length > wanted && offset + wanted < top;
      const page = rows.slice(0, Math.max(0, wanted));
      const documents = page.map((row) => project(statement, JSON.parse(textOf(row)) as Record<string, unknown>)).filter((value) => value !== undefined);
      const asked = scope.partition === undefined && scope.range === undefined ? ranges : 1;
      return { documents, more, units: queryUnits(asked, page.map(({ body }) => body.length)) };
    },

    /** The newest state of each document changed after the position. A transaction is never divided between pages. */
    feed(collection: Collection, range: number, after: number, limit: number): { texts: string[]; position: number; units: number } {
      const select = "SELECT id, lsn, etag, rid, ts, body FROM documents WHERE collection = ? AND range = ? AND lsn";
      const rows = all<Stored>(`${select} > ? ORDER BY lsn, turn LIMIT ?`, collection.key, range, after, limit);
      const last = rows.at(-1);
      if (last && rows.length === limit) {
        const whole = all<Stored>(`${select} = ? ORDER BY turn`, collection.key, range, last.lsn);
        rows.push(...whole.slice(rows.filter(({ lsn }) => lsn === last.lsn).length));
      }
      return { texts: rows.map((row) => textOf(row, row.lsn)), position: last?.lsn ?? after, units: feedUnits(rows.map(({ body }) => body.length)) };
    },

    lsnOf: (collection: Collection): number => one<{ lsn: number }>("SELECT lsn FROM collections WHERE key = ?", collection.key)?.lsn ?? 0,
  };
};

const sum = (answers: readonly Answer[]): number => answers.reduce((total, { units }) => total + units, 0);

/** Any hash will do: the SDK leaves the choice of the range to the service. */
export const rangeOf = (partition: string, ranges: number): number => ((createHash("md5").update(partition).digest()[0] as number) * ranges) >> 8;

const partitionOf = ({ definition }: Collection, document: Record<string, unknown>): string =>
  JSON.stringify(definition.partitionKey.paths.map((path) => path.slice(1).split("/").reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], document) ?? {}));

/** The document with what the service adds to it. */
const textOf = ({ rid, etag, ts, body }: Stored, lsn?: number): string =>
  `${body.slice(0, -1)},"_rid":"${rid}","_self":"docs/${rid}/","_etag":${JSON.stringify(etag)},"_attachments":"attachments/","_ts":${ts}${lsn === undefined ? "" : `,"_lsn":${lsn}`}}`;

const ensureIndex = (db: DatabaseSync, statements: Map<string, StatementSync>, column: string): void => {
  const name = `documents_${createHash("md5").update(column).digest("hex")}`;
  if (statements.has(name)) return;
  db.exec(`CREATE INDEX IF NOT EXISTS ${name} ON documents (collection, ${column})`);
  statements.set(name, db.prepare("SELECT 1"));
};

interface PatchStep {
  readonly op: "add" | "set" | "replace" | "remove" | "incr";
  readonly path: string;
  readonly value?: unknown;
}

const applyPatch = (document: Record<string, unknown>, { op, path, value }: PatchStep): void => {
  const names = path.slice(1).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  const last = names.pop() as string;
  const parent = names.reduce<unknown>((inner, name) => (inner as Record<string, unknown> | undefined)?.[name], document) as Record<string, unknown> | undefined;
  if (parent === undefined || parent === null || typeof parent !== "object") throw new Refusal(400, `The path ${path} is not there.`);
  if ((op === "replace" || op === "remove") && parent[last] === undefined) throw new Refusal(400, `The path ${path} is not there.`);
  switch (op) {
    case "incr":
      if (parent[last] !== undefined && typeof parent[last] !== "number") throw new Refusal(400, `The path ${path} holds no number.`);
      parent[last] = ((parent[last] as number | undefined) ?? 0) + (value as number);
      break;
    case "remove":
      delete parent[last];
      break;
    case "add":
    case "set":
    case "replace":
      parent[last] = value;
      break;
    default:
      throw new Refusal(400, `The operation ${String(op)} is not known.`);
  }
};
