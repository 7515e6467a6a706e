// Query rows on SQLite: one table a view, one column and one partial index an index of its layout. It folds nothing and
// knows no view: layouts come with each call. Index values are compared by their UTF-8 bytes (see byteOrder.ts) and should be
// unique within an index (end them with an id): a page that ends between two equal values skips the second.

import type { Row, ViewLayout, ViewQuery, Views, ViewWrite } from "../ports";
import { compareBytes, endOfPrefix } from "./byteOrder";
import type { Sqlite } from "./sqlite";

type AnyLayout = ViewLayout<never> | ViewLayout;
type Cell = string | number | null;

/** A view's table, ready for use. */
interface Table {
  readonly name: string;
  readonly columns: readonly string[];
  readonly indexOf: readonly ((row: Row) => string | undefined)[];
  readonly getSql: string;
  readonly selectSql: string;
  readonly insertSql: string;
  /** By the set of index columns that change, as bits: an update that leaves an index alone costs nothing there. */
  readonly updateSql: (string | undefined)[];
  /** By index column and kind of query: a text that is made anew is hashed anew, which took longer than many a query. */
  readonly findSql: (string | undefined)[];
}

const schema = `
  CREATE TABLE IF NOT EXISTS counters (
    view TEXT NOT NULL, partition TEXT NOT NULL, name TEXT NOT NULL, value INTEGER NOT NULL,
    PRIMARY KEY (view, partition, name)) WITHOUT ROWID`;
const indexesMax = 16;
const forgottenRowsPerUnit = 500;
const plainName = /^[a-zA-Z][a-zA-Z0-9]{0,40}$/;

/** A view's table is made when the view is first used; an index that its layout gained since is filled then. */
export function sqliteViews(db: Sqlite): Views {
  db.define(schema);
  const tables = new Map<string, Table>();
  const tableOf = (view: AnyLayout): Table => {
    let table = tables.get(view.name);
    if (table === undefined) tables.set(view.name, (table = openTable(db, view)));
    return table;
  };

  return {
    async get<R extends Row>(view: ViewLayout<R>, keys: readonly { partition: string; id: string }[]) {
      const select = db.statement(tableOf(view).getSql);
      return keys.map(({ partition, id }) => {
        const found = select.get(partition, id);
        return found === undefined ? undefined : parse<R>(view, found["json"] as string, `${partition} ${id}`);
      });
    },

    async write(writes) {
      return Promise.all(writes.map((write) => {
        const table = tableOf(write.view);
        return db.write(() => writeGroup(db, table, write), write.rows.length + 1);
      }));
    },

    async query<R extends Row>(view: ViewLayout<R>, query: ViewQuery) {
      return find(db, tableOf(view), query, true)
        .map(([key, json]) => ({ key: key!, row: parse<R>(view, json!, `index ${query.index}`) }));
    },

    async keys(view, query) {
      return find(db, tableOf(view), query).map(([key]) => key!);
    },

    async counters(view, partitionPrefix) {
      const end = endOfPrefix(partitionPrefix);
      const rows = db.statement(`SELECT name, sum(value) AS total FROM counters WHERE view = ? AND partition >= ?
        ${end === undefined ? "" : "AND partition < ?"} GROUP BY name`)
        .all(view.name, partitionPrefix, ...(end === undefined ? [] : [end]));
      return Object.fromEntries(rows.map((row) => [row["name"] as string, row["total"] as number]));
    },

    async forget(view, partition) {
      const { name } = tableOf(view);
      const some = `DELETE FROM ${name} WHERE row IN (SELECT row FROM ${name} WHERE partition = ? LIMIT ${forgottenRowsPerUnit})`;
      const forgetSome = () => {
        db.statement("DELETE FROM counters WHERE view = ? AND partition = ?").run(view.name, partition);
        return db.statement(some).run(partition).changes;
      };
      while ((await db.write(forgetSome, forgottenRowsPerUnit)) !== 0);
    },

    async clear() {
      const names = db.statement("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'view\\_%' ESCAPE '\\'").all();
      await db.write(() => {
        for (const { name } of names) db.statement(`DELETE FROM ${name as string}`).run();
        db.statement("DELETE FROM counters").run();
      });
    },
  };
}

function openTable(db: Sqlite, view: AnyLayout): Table {
  const indexes = Object.entries(view.indexes) as [string, (row: Row) => string | undefined][];
  for (const name of [view.name, ...indexes.map(([index]) => index)]) {
    if (!plainName.test(name)) throw new Error(`A view or index cannot be named ${JSON.stringify(name)}.`);
  }
  if (indexes.length > indexesMax) throw new Error(`View ${view.name} has more than ${indexesMax} indexes.`);
  const name = `view_${view.name}`;
  const columns = indexes.map(([index]) => `ix_${index}`);
  const table: Table = {
    name,
    columns,
    indexOf: indexes.map(([, indexOf]) => indexOf),
    getSql: `SELECT json FROM ${name} WHERE partition = ? AND id = ?`,
    selectSql: `SELECT ${["row", "version", ...columns].join(", ")} FROM ${name} WHERE partition = ? AND id = ?`,
    insertSql: `INSERT INTO ${name} (${["partition", "id", "version", ...columns, "json"].join(", ")})
      VALUES (${"?, ".repeat(columns.length + 3)}?)`,
    updateSql: [],
    findSql: [],
  };
  db.define(`
    CREATE TABLE IF NOT EXISTS ${name} (row INTEGER PRIMARY KEY, partition TEXT NOT NULL, id TEXT NOT NULL,
      version INTEGER NOT NULL, ${columns.map((column) => `${column} TEXT, `).join("")} json TEXT NOT NULL,
      UNIQUE (partition, id))`);
  fitColumns(db, table);
  for (const column of columns) {
    db.define(`CREATE INDEX IF NOT EXISTS ${name}_${column} ON ${name} (${column}) WHERE ${column} IS NOT NULL`);
  }
  return table;
}

/** For a table of an earlier release: indexes that are gone from the layout go, new ones are filled. */
function fitColumns(db: Sqlite, table: Table): void {
  const { name, columns } = table;
  const present = db.statement("SELECT name FROM pragma_table_info(?)").all(name)
    .map((column) => column["name"] as string).filter((column) => column.startsWith("ix_"));
  for (const column of present.filter((one) => !columns.includes(one))) {
    db.define(`DROP INDEX IF EXISTS ${name}_${column}; ALTER TABLE ${name} DROP COLUMN ${column}`);
  }
  const added = columns.filter((column) => !present.includes(column));
  if (added.length === 0) return;
  db.define("BEGIN IMMEDIATE");
  try {
    for (const column of added) db.define(`ALTER TABLE ${name} ADD COLUMN ${column} TEXT`);
    const update = db.statement(`UPDATE ${name} SET ${columns.map((column) => `${column} = ?`).join(", ")} WHERE row = ?`);
    for (const { row, json } of db.statement(`SELECT row, json FROM ${name}`).all()) {
      update.run(...indexValues(table, JSON.parse(json as string) as Row), row as number);
    }
    db.define("COMMIT");
  } catch (error) {
    db.define("ROLLBACK");
    throw error;
  }
}

/** Looks at all rows before it changes any: a stale group needs no undoing. */
function writeGroup(db: Sqlite, table: Table, write: ViewWrite): "ok" | "stale" {
  const select = db.statement(table.selectSql);
  select.setReturnArrays(true);
  const stored: (Cell[] | undefined)[] = [];
  for (const { from, row } of write.rows) {
    const found = select.get(write.partition, row.id) as unknown as Cell[] | undefined;
    if ((found?.[1] ?? 0) !== from) return "stale";
    stored.push(found);
  }
  write.rows.forEach(({ row }, index) => store(db, table, write.partition, row, stored[index]));
  for (const [name, difference] of Object.entries(write.counters)) {
    if (difference !== 0) moveCounter(db, write.view.name, write.partition, name, difference);
  }
  return "ok";
}

function store(db: Sqlite, table: Table, partition: string, row: Row, old: Cell[] | undefined): void {
  const json = JSON.stringify(row);
  const values = indexValues(table, row);
  if (old === undefined) {
    db.statement(table.insertSql).run(partition, row.id, row.version, ...values, json);
    return;
  }
  const [key, version, ...before] = old as [number, number, ...Cell[]];
  const changed: Cell[] = [];
  let bits = 0;
  values.forEach((value, index) => {
    if (value === before[index]) return;
    bits |= 1 << index;
    changed.push(value);
  });
  const sql = (table.updateSql[bits] ??= updateSql(table, bits));
  const { changes } = db.statement(sql).run(row.version, json, ...changed, key, version);
  if (changes !== 1) throw new Error(`A write to ${table.name} has row ${row.id} twice.`);
}

function updateSql(table: Table, bits: number): string {
  const sets = table.columns.filter((_, index) => bits & (1 << index)).map((column) => `, ${column} = ?`);
  return `UPDATE ${table.name} SET version = ?, json = ?${sets.join("")} WHERE row = ? AND version = ?`;
}

function indexValues(table: Table, row: Row): (string | null)[] {
  return table.indexOf.map((indexOf) => (row.gone === true ? null : (indexOf(row) ?? null)));
}

function moveCounter(db: Sqlite, view: string, partition: string, name: string, difference: number): void {
  db.statement("INSERT INTO counters VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value")
    .run(view, partition, name, difference);
}

/** One seek into the index, then `limit` steps: the two lower (or upper) bounds are merged here, as SQLite would seek by one only. */
function find(db: Sqlite, table: Table, { index, prefix, after, reverse = false, limit }: ViewQuery, more = false): (string | undefined)[][] {
  const column = table.columns.indexOf(`ix_${index}`);
  if (column < 0) throw new Error(`${table.name} has no index ${index}.`);
  const end = endOfPrefix(prefix);
  const beyond = after !== undefined && !reverse && compareBytes(after, prefix) >= 0;
  const below = after !== undefined && reverse && (end === undefined || compareBytes(after, end) < 0) ? after : end;
  const kind = Number(beyond) | (Number(below !== undefined) << 1) | (Number(reverse) << 2) | (Number(more) << 3);
  const sql = (table.findSql[column * 16 + kind] ??= findSql(table.name, table.columns[column] as string, { beyond, bounded: below !== undefined, reverse, more }));
  const select = db.statement(sql);
  select.setReturnArrays(true);
  const from = beyond ? (after as string) : prefix;
  return (below === undefined ? select.all(from, limit) : select.all(from, below, limit)) as unknown as string[][];
}

function findSql(name: string, column: string, kind: { beyond: boolean; bounded: boolean; reverse: boolean; more: boolean }): string {
  return `SELECT ${column}${kind.more ? ", json" : ""} FROM ${name}
    WHERE ${column} ${kind.beyond ? ">" : ">="} ?${kind.bounded ? ` AND ${column} < ?` : ""}
    ORDER BY ${column} ${kind.reverse ? "DESC" : "ASC"} LIMIT ?`;
}

function parse<R>(view: AnyLayout, json: string, where: string): R {
  try {
    return JSON.parse(json) as R;
  } catch (error) {
    throw new Error(`View ${view.name} is damaged at ${where}: what is stored is not JSON.`, { cause: error });
  }
}
