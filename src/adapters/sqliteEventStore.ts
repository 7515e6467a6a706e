// The event store on SQLite: one row a commit, in one table that is also the feed. It never changes a stored commit and
// never leaves a gap in a stream; only `forget` removes, and then a whole partition. A commit whose bytes are not those that
// were written is refused, never handed on.

import { crc32 } from "node:zlib";
import type { AppendOutcome, Commit, EventStore, FeedSource, StoredEvent } from "../ports";
import type { Sqlite } from "./sqlite";

// `position` grows and is never given twice, also after the newest commits were forgotten and the process was restarted.
// Snapshots are few: a partial index finds the latest. A stream's first commit stands for it when a partition is forgotten.
const schema = `
  CREATE TABLE IF NOT EXISTS commits (
    position INTEGER PRIMARY KEY,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    partition TEXT NOT NULL,
    id TEXT NOT NULL,
    events TEXT NOT NULL,
    snapshot TEXT,
    writer TEXT NOT NULL,
    checksum INTEGER);
  CREATE UNIQUE INDEX IF NOT EXISTS commits_stream ON commits (stream, version);
  CREATE INDEX IF NOT EXISTS commits_snapshot ON commits (stream, version) WHERE snapshot IS NOT NULL;
  CREATE INDEX IF NOT EXISTS commits_partition ON commits (partition) WHERE version = 1;
`;

const columns = "position, stream, version, partition, id, events, snapshot, writer, checksum";
const commitsPerUnit = 500;
const forgottenStreamsPerUnit = 200;

/** In the order of `columns`: as an array a row is read in two thirds of the time. */
type CommitRow = [position: number, stream: string, version: number, partition: string, id: string, events: string,
  snapshot: string | null, writer: string, checksum: number | null];

/** `onAppend` listeners are called after commits are durable, once for all that were written in the same turn. */
export function sqliteEventStore(db: Sqlite): EventStore & FeedSource {
  db.define(schema);
  addChecksum(db);
  const listeners = new Set<() => void>();
  let announced = false;
  let last = lastPosition(db);

  function announce(): void {
    if (announced) return;
    announced = true;
    queueMicrotask(() => {
      announced = false;
      for (const listener of listeners) listener();
    });
  }

  return {
    async append(commits) {
      // A commit that follows a lost one of the same append was decided on a state that never was.
      const lost = new Set<string>();
      const outcomes: Promise<AppendOutcome[]>[] = [];
      for (let from = 0; from < commits.length; from += commitsPerUnit) {
        const part = commits.slice(from, from + commitsPerUnit);
        outcomes.push(db.write(() => part.map((commit) => appendOne(db, commit, ++last, lost)), part.length));
      }
      const all = (await Promise.all(outcomes)).flat();
      if (all.includes("ok")) announce();
      return all;
    },

    async load(streams) {
      return streams.map((stream) => rowsOf(db, loadSql, stream, stream).map(toCommit));
    },

    async history(stream) {
      return rowsOf(db, historySql, stream).map(toCommit);
    },

    async readFeed(position, limit) {
      const from = position === undefined ? 0 : Number(position);
      if (!Number.isSafeInteger(from) || from < 0) throw new Error("Unknown feed position.");
      const rows = rowsOf(db, feedSql, from, limit);
      return { commits: rows.map(toCommit), position: String(rows.at(-1)?.[0] ?? from) };
    },

    async forget(partition) {
      while ((await db.write(() => forgetSome(db, partition, last), forgottenStreamsPerUnit)) > 0);
    },

    onAppend(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

const historySql = `SELECT ${columns} FROM commits WHERE stream = ? ORDER BY version`;
const feedSql = `SELECT ${columns} FROM commits WHERE position > ? ORDER BY position LIMIT ?`;
const beginSql = `INSERT INTO commits (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`;
const continueSql = `INSERT INTO commits (${columns}) SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?
  WHERE EXISTS (SELECT 1 FROM commits WHERE stream = ? AND version = ?) ON CONFLICT DO NOTHING`;
const loadSql = `SELECT ${columns} FROM commits WHERE stream = ? AND version >=
  coalesce((SELECT max(version) FROM commits WHERE stream = ? AND snapshot IS NOT NULL), 1) ORDER BY version`;

/** A table of an earlier release has none: its commits are read as they are. */
function addChecksum(db: Sqlite): void {
  const known = db.statement("SELECT 1 FROM pragma_table_info('commits') WHERE name = 'checksum'").get();
  if (known === undefined) db.define("ALTER TABLE commits ADD COLUMN checksum INTEGER");
}

function lastPosition(db: Sqlite): number {
  const row = db.statement(`SELECT max(coalesce((SELECT max(position) FROM commits), 0),
    coalesce((SELECT value FROM meta WHERE name = 'commits.position'), 0)) AS last`).get();
  return row!["last"] as number;
}

/** Only the next version of a stream is stored, so two writers at one version cannot both win and no version is skipped. */
function appendOne(db: Sqlite, commit: Commit, position: number, lost: Set<string>): AppendOutcome {
  if (lost.has(commit.stream)) return "conflict";
  const { stream, version } = commit;
  const snapshot = commit.snapshot === undefined ? null : JSON.stringify(commit.snapshot);
  const events = JSON.stringify(commit.events);
  const sum = checksum(stream, version, commit.partition, commit.id, events, snapshot, commit.by);
  const values = [position, stream, version, commit.partition, commit.id, events, snapshot, commit.by, sum];
  const { changes } = version === 1
    ? db.statement(beginSql).run(...values)
    : db.statement(continueSql).run(...values, stream, version - 1);
  if (changes === 1) return "ok";
  const stored = db.statement("SELECT id FROM commits WHERE stream = ? AND version = ?").get(stream, version);
  if (stored?.["id"] === commit.id) return "ok";
  lost.add(stream);
  return "conflict";
}

function forgetSome(db: Sqlite, partition: string, last: number): number {
  const streams = db.statement("SELECT stream FROM commits WHERE partition = ? AND version = 1 LIMIT ?")
    .all(partition, forgottenStreamsPerUnit);
  for (const { stream } of streams) db.statement("DELETE FROM commits WHERE stream = ?").run(stream as string);
  db.statement("INSERT INTO meta VALUES ('commits.position', ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(last);
  return streams.length;
}

function rowsOf(db: Sqlite, sql: string, ...values: (string | number)[]): CommitRow[] {
  const select = db.statement(sql);
  select.setReturnArrays(true);
  return select.all(...values) as unknown as CommitRow[];
}

function toCommit(row: CommitRow): Commit {
  const [, stream, version, partition, id, events, snapshot, by] = row;
  if (isAltered(row)) throw damaged(stream, version, ALTERED);
  try {
    const commit = { stream, partition, version, id, events: JSON.parse(events) as StoredEvent[], by };
    return snapshot === null ? commit : { ...commit, snapshot: JSON.parse(snapshot) as unknown };
  } catch {
    throw damaged(stream, version, NO_JSON);
  }
}

const ALTERED = "what is stored is not what was written (the checksum differs)";
const NO_JSON = "what is stored is not JSON";
const damaged = (stream: string, version: number, fault: string): Error => new Error(`Stream ${stream} version ${version} is damaged: ${fault}.`);

const isAltered = ([, stream, version, partition, id, events, snapshot, by, sum]: CommitRow): boolean => sum !== null && sum !== checksum(stream, version, partition, id, events, snapshot, by);

/** What is wrong with a stored commit, if anything is: its bytes, or that they are no JSON. */
function faultOf(row: CommitRow): string | undefined {
  const [, , , , , events, snapshot] = row;
  if (isAltered(row)) return ALTERED;
  try {
    JSON.parse(events);
    if (snapshot !== null) JSON.parse(snapshot);
    return undefined;
  } catch {
    return NO_JSON;
  }
}

/** Finds what a disk or a stray hand changed. It is no signature: whoever can write the file can write a checksum too. */
const checksum = (stream: string, version: number, partition: string, id: string, events: string, snapshot: string | null, by: string): number =>
  crc32(`${stream}\n${version}\n${partition}\n${id}\n${by}\n${events}\n${snapshot ?? ""}`);

// ---------------------------------------------------------------- looking for damage

const scannedAtOnce = 1_000;

/** Every stored commit, looked at: tells the streams that cannot be trusted with what is wrong, and answers how many commits there are. */
export function scanCommits(db: Sqlite, problem: (stream: string, text: string) => void, progress: (commits: number) => void): number {
  let position = -1;
  let count = 0;
  for (;;) {
    const rows = rowsOf(db, feedSql, position, scannedAtOnce);
    for (const row of rows) {
      const fault = faultOf(row);
      if (fault !== undefined) problem(row[1], `version ${row[2]}: ${fault}`);
    }
    count += rows.length;
    progress(count);
    if (rows.length < scannedAtOnce) break;
    position = (rows.at(-1) as CommitRow)[0];
  }
  const gaps = db.statement("SELECT stream, count(*) AS stored, max(version) AS last FROM commits GROUP BY stream HAVING count(*) <> max(version) OR min(version) <> 1").all();
  for (const { stream, stored, last } of gaps) problem(stream as string, `it has ${stored as number} commits, and its last is version ${last as number}: some are missing`);
  return count;
}

/** Names of streams in order, after the one given. */
export function streamsAfter(db: Sqlite, after: string, limit: number): string[] {
  return db.statement("SELECT DISTINCT stream FROM commits WHERE stream > ? ORDER BY stream LIMIT ?").all(after, limit).map(({ stream }) => stream as string);
}
