// The task hub's tables and statements: instances, their histories, messages to them, activities to run. SQL and nothing
// else: what a row means for an orchestration is decided in taskHub.ts.

import type { HostStore, SqlValue } from "./store";
import type { HistoryEvent } from "./replay";

export type InstanceStatus = "Pending" | "Running" | "Completed" | "Failed" | "Terminated";

export interface Instance {
  readonly id: string;
  /** The generation: continue-as-new makes a new one. */
  readonly exec: string;
  readonly name: string;
  readonly status: InstanceStatus;
  /** JSON, as are output and custom status; null for none. */
  readonly input: string;
  readonly output: string | null;
  readonly custom: string | null;
  readonly created: number;
  readonly updated: number;
}

/** When a message that is not a timer is visible: always. Below it: before all others. */
export const atOnce = 0;
export const beforeAll = -1;

/** A message to an instance; a timer is one that becomes visible when it is due. */
export interface InboxRow {
  readonly seq: number;
  /** Null: whatever generation is current. */
  readonly exec: string | null;
  readonly ev: string;
}

export interface WorkRow {
  readonly seq: number;
  readonly id: string;
  readonly exec: string;
  readonly task: number;
  readonly name: string;
  /** JSON; null for none. */
  readonly input: string | null;
}

export interface InstanceFilter {
  readonly createdFrom?: number | undefined;
  readonly createdTo?: number | undefined;
  readonly statuses?: readonly string[] | undefined;
  readonly idPrefix?: string | undefined;
  /** Ids after this one. */
  readonly after?: string | undefined;
  readonly limit: number;
}

const schema = `
  CREATE TABLE IF NOT EXISTS instances(id TEXT PRIMARY KEY, exec TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, input TEXT NOT NULL,
    output TEXT, custom TEXT, created INTEGER NOT NULL, updated INTEGER NOT NULL) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS history(id TEXT NOT NULL, turn INTEGER NOT NULL, events TEXT NOT NULL, PRIMARY KEY(id, turn)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS inbox(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, exec TEXT, visible INTEGER NOT NULL, timer INTEGER, ev TEXT NOT NULL);
  CREATE INDEX IF NOT EXISTS inbox_by_instance ON inbox(id, visible, seq);
  CREATE INDEX IF NOT EXISTS inbox_by_time ON inbox(visible, id) WHERE visible > 0;
  CREATE TABLE IF NOT EXISTS work(seq INTEGER PRIMARY KEY, id TEXT NOT NULL, exec TEXT NOT NULL, task INTEGER NOT NULL, name TEXT NOT NULL, input TEXT);
  CREATE INDEX IF NOT EXISTS work_by_instance ON work(id);`;

const emptyTables = ["history", "inbox", "work"] as const;

/** Statements over one store. None begins a transaction: callers do, with `together`. */
export function openTaskHubStore(store: HostStore) {
  for (const statement of schema.split(";")) if (statement.trim() !== "") store.run(statement);
  // Never handed out again, even when the newest rows are gone: the dispatcher remembers the last one that it saw.
  let lastWork = store.get<{ last: number | null }>("SELECT max(seq) AS last FROM work")?.last ?? 0;
  if (store.shared) store.run("CREATE TABLE IF NOT EXISTS claims(seq INTEGER PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL)");
  const nextWork = (): number => {
    if (!store.shared) return ++lastWork;
    // Whoever claims work asks the table, not its memory; and a number must not come again either.
    const last = Number(store.read("work:last") ?? 0) + 1;
    store.write("work:last", String(last));
    return last;
  };
  return {
    together: <T>(work: () => T): Promise<T> => store.together(work),

    instance: (id: string): Instance | undefined => store.get<Instance>("SELECT * FROM instances WHERE id=?", id),

    insertInstance(instance: Instance): void {
      const { id, exec, name, status, input, output, custom, created, updated } = instance;
      const sql = "INSERT OR REPLACE INTO instances(id,exec,name,status,input,output,custom,created,updated) VALUES(?,?,?,?,?,?,?,?,?)";
      store.run(sql, id, exec, name, status, input, output, custom, created, updated);
    },

    updateInstance(id: string, change: Pick<Instance, "exec" | "status" | "input" | "output" | "custom" | "updated">): void {
      const { exec, status, input, output, custom, updated } = change;
      const sql = "UPDATE instances SET exec=?, status=?, input=?, output=?, custom=?, updated=? WHERE id=?";
      store.run(sql, exec, status, input, output, custom, updated, id);
    },

    removeInstance(id: string): void {
      store.run("DELETE FROM instances WHERE id=?", id);
    },

    /** Forgets an instance's history, messages and activities. */
    clear(id: string): void {
      for (const table of emptyTables) store.run(`DELETE FROM ${table} WHERE id=?`, id);
    },

    clearWaiting(id: string): void {
      store.run("DELETE FROM inbox WHERE id=?", id);
      store.run("DELETE FROM work WHERE id=?", id);
    },

    /** Forgets what belongs to one generation; messages to the instance as such stay. */
    clearGeneration(id: string, exec: string): void {
      store.run("DELETE FROM history WHERE id=?", id);
      store.run("DELETE FROM work WHERE id=?", id);
      store.run("DELETE FROM inbox WHERE id=? AND exec=?", id, exec);
    },

    list(filter: InstanceFilter): Instance[] {
      const { where, values } = whereOf(filter);
      return store.all<Instance>(`SELECT * FROM instances WHERE ${where} ORDER BY id LIMIT ?`, ...values, filter.limit);
    },

    /** The events of each turn, oldest first: JSON texts with commas between. */
    history(id: string): string[] {
      return store.all<{ events: string }>("SELECT events FROM history WHERE id=? ORDER BY turn", id).map((row) => row.events);
    },

    appendTurn(id: string, turn: number, events: readonly HistoryEvent[]): void {
      store.run("INSERT INTO history(id,turn,events) VALUES(?,?,?)", id, turn, events.map((event) => JSON.stringify(event)).join(","));
    },

    /** Puts a message; one with a `timer` number can be taken back. */
    post(id: string, exec: string | null, visible: number, event: HistoryEvent, timer: number | null): void {
      store.run("INSERT INTO inbox(id,exec,visible,timer,ev) VALUES(?,?,?,?,?)", id, exec, visible, timer, JSON.stringify(event));
    },

    takeBackTimer(id: string, exec: string, timer: number): void {
      store.run("DELETE FROM inbox WHERE id=? AND exec=? AND timer=?", id, exec, timer);
    },

    inbox(id: string, now: number, limit: number): InboxRow[] {
      return store.all<InboxRow>("SELECT seq, exec, ev FROM inbox WHERE id=? AND visible<=? ORDER BY visible, seq LIMIT ?", id, now, limit);
    },

    /** True when an event of this name waits to be read. */
    hasEvent(id: string, name: string): boolean {
      const sql = "SELECT 1 FROM inbox WHERE id=? AND visible<=0 AND json_extract(ev, '$.Name')=? AND exec IS NULL";
      return store.get(sql, id, name) !== undefined;
    },

    consume(seqs: readonly number[]): void {
      for (const seq of seqs) store.run("DELETE FROM inbox WHERE seq=?", seq);
    },

    /** Instances with messages that are visible at once. */
    instancesWaiting: (): string[] => store.all<{ id: string }>("SELECT DISTINCT id FROM inbox WHERE visible <= 0").map((row) => row.id),

    /** Instances with timers that fell due in (after, until]. */
    instancesDue(after: number, until: number): string[] {
      const sql = "SELECT DISTINCT id FROM inbox WHERE visible > 0 AND visible > ? AND visible <= ?";
      return store.all<{ id: string }>(sql, after, until).map((row) => row.id);
    },

    nextDue(after: number): number | undefined {
      const sql = "SELECT min(visible) AS at FROM inbox WHERE visible > 0 AND visible > ?";
      return store.get<{ at: number | null }>(sql, after)?.at ?? undefined;
    },

    addWork(work: Omit<WorkRow, "seq">): void {
      const sql = "INSERT INTO work(seq,id,exec,task,name,input) VALUES(?,?,?,?,?,?)";
      store.run(sql, nextWork(), work.id, work.exec, work.task, work.name, work.input);
    },

    workAfter: (seq: number, limit: number): WorkRow[] => store.all<WorkRow>("SELECT * FROM work WHERE seq>? ORDER BY seq LIMIT ?", seq, limit),

    /** Work that no live host has; it is this one's from now on, for as long as it renews. */
    claimWork(owner: string, now: number, until: number, limit: number): WorkRow[] {
      const found = store.all<WorkRow>("SELECT * FROM work WHERE seq NOT IN (SELECT seq FROM claims WHERE until>?) ORDER BY seq LIMIT ?", now, limit);
      for (const { seq } of found) store.run("INSERT OR REPLACE INTO claims(seq,owner,until) VALUES(?,?,?)", seq, owner, until);
      return found;
    },

    renewClaims(owner: string, until: number): void {
      store.run("UPDATE claims SET until=? WHERE owner=?", until, owner);
      store.run("DELETE FROM claims WHERE seq NOT IN (SELECT seq FROM work)");
    },

    hasFreeWork: (now: number): boolean => store.get("SELECT 1 FROM work WHERE seq NOT IN (SELECT seq FROM claims WHERE until>?) LIMIT 1", now) !== undefined,

    /** True when the activity was still wanted. */
    removeWork: (seq: number): boolean => store.run("DELETE FROM work WHERE seq=?", seq) > 0,
  };
}

export type TaskHubStore = ReturnType<typeof openTaskHubStore>;

function whereOf(filter: InstanceFilter): { where: string; values: SqlValue[] } {
  const terms = ["id > ?"];
  const values: SqlValue[] = [filter.after ?? ""];
  const add = (term: string, ...more: SqlValue[]): void => {
    terms.push(term);
    values.push(...more);
  };
  if (filter.createdFrom !== undefined) add("created >= ?", filter.createdFrom);
  if (filter.createdTo !== undefined) add("created <= ?", filter.createdTo);
  if (filter.statuses && filter.statuses.length > 0) add(`status IN (${filter.statuses.map(() => "?").join(",")})`, ...filter.statuses);
  if (filter.idPrefix) add("substr(id, 1, length(?)) = ?", filter.idPrefix, filter.idPrefix);
  return { where: terms.join(" AND "), values };
}
