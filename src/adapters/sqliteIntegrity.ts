// What only somebody who looks into the file itself can say of a data folder's database: whether its pages are sound, which
// commits are damaged, how many rows each view has. It reads, and changes nothing; and it makes copies of a database in use.
import { DatabaseSync } from "node:sqlite";
import type { Integrity } from "../ports";
import type { Sqlite } from "./sqlite";
import { scanCommits, streamsAfter } from "./sqliteEventStore";

export function sqliteIntegrity(db: Sqlite): Integrity {
  return {
    async pages() {
      const found = db.statement("PRAGMA integrity_check(20)").all().map(({ integrity_check: text }) => String(text));
      return found.length === 1 && found[0] === "ok" ? [] : found;
    },
    async commits(problem, progress) {
      return scanCommits(db, problem, progress);
    },
    async streams(after, limit) {
      return streamsAfter(db, after, limit);
    },
    async rows(view) {
      const table = db.statement("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(`view_${view.name}`);
      return table === undefined ? 0 : (db.statement(`SELECT count(*) AS n FROM view_${view.name}`).get()?.["n"] as number);
    },
  };
}

/** Copies a database as it is at this moment, also while another process writes to it. Throws when `to` exists. */
export function copySqlite(from: string, to: string): void {
  const source = new DatabaseSync(from, { readOnly: true, timeout: 5_000 });
  try {
    source.prepare("VACUUM INTO ?").run(to);
  } finally {
    source.close();
  }
}
