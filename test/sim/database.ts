// A database in memory for the shipped SQLite adapters: what `openSqlite` offers, without file, owner and gathering of writes,
// so that a write is over when it is asked for. The real writer has its own contract tests.
import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Sqlite } from "../../src/adapters/sqlite";

export const memorySqlite = (): Sqlite => {
  const handle = new DatabaseSync(":memory:");
  handle.exec("PRAGMA journal_mode = MEMORY; CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID");
  const statements = new Map<string, StatementSync>();
  const statement = (sql: string): StatementSync => {
    let prepared = statements.get(sql);
    if (!prepared) statements.set(sql, (prepared = handle.prepare(sql)));
    return prepared;
  };
  return {
    async write(work) {
      statement("BEGIN").run();
      try {
        const result = work();
        statement("COMMIT").run();
        return result;
      } catch (error) {
        statement("ROLLBACK").run();
        throw error;
      }
    },
    statement,
    define: (sql) => handle.exec(sql),
    async close() {
      statements.clear();
      handle.close();
    },
  };
};
