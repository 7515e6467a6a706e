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
  CREATE INDEX IF NOT EXISTS instances_by_status ON instances(status, created);
  CREATE TABLE IF NOT EXISTS history(id TEXT NOT NULL, n INTEGER NOT NULL, ev TEXT NOT NULL, PRIMARY KEY(id, n)) WITHOUT ROWID;
  CREATE TABLE IF NOT EXISTS inbox(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, exec TEXT, visible INTEGER NOT NULL, ev TEXT NOT NULL, dedup TEXT UNIQUE);
  CREATE INDEX IF NOT EXISTS inbox_by_instance ON inbox(id, visible, seq);
  CREATE INDEX IF NOT EXISTS inbox_by_time ON inbox(visible, id);
  CREATE TABLE IF NOT EXISTS work(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, exec TEXT NOT NULL, task INTEGER NOT NULL, name TEXT NOT NULL, input TEXT);
  CREATE INDEX IF NOT EXISTS work_by_instance ON work(id);`;

const emptyTables = ["history", "inbox", "work"] as const;

/** Statements over one store. None begins a transaction: callers do. */
export function openTaskHubStore(store: HostStore) {
  for (const statement of schema.split(";")) if (statement.trim() !== "") store.run(statement);
  return {
    transaction: <T>(work: () => T): T => store.transaction(work),

    instance: (id: string): Instance | undefined => store.get<Instance>("SELECT * FROM instances WHERE id=?", id),

    insertInstance(instance: Instance): void {
      const { id, exec, name, status, input, output, custom, created, updated } = instance;
      store.run("INSERT OR REPLACE INTO instances(id,exec,name,status,input,output,custom,created,updated) VALUES(?,?,?,?,?,?,?,?,?)", id, exec, name, status, input, output, custom, created, updated);
    },

    updateInstance(id: string, change: Pick<Instance, "exec" | "status" | "input" | "output" | "custom" | "updated">): void {
      const { exec, status, input, output, custom, updated } = change;
      store.run("UPDATE instances SET exec=?, status=?, input=?, output=?, custom=?, updated=? WHERE id=?", exec, status, input, output, custom, updated, id);
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

    /** The events as JSON texts, oldest first. */
    history: (id: string): string[] => store.all<{ ev: string }>("SELECT ev FROM history WHERE id=? ORDER BY n", id).map((row) => row.ev),

    appendHistory(id: string, from: number, events: readonly HistoryEvent[]): void {
      events.forEach((event, index) => store.run("INSERT INTO history(id,n,ev) VALUES(?,?,?)", id, from + index, JSON.stringify(event)));
    },

    /** Puts a message once: a second one with the same `dedup` is dropped. */
    post(id: string, exec: string | null, visible: number, event: HistoryEvent, dedup: string | null): void {
      store.run("INSERT OR IGNORE INTO inbox(id,exec,visible,ev,dedup) VALUES(?,?,?,?,?)", id, exec, visible, JSON.stringify(event), dedup);
    },

    unpost(dedup: string): void {
      store.run("DELETE FROM inbox WHERE dedup=?", dedup);
    },

    inbox: (id: string, now: number, limit: number): InboxRow[] => store.all<InboxRow>("SELECT seq, exec, ev FROM inbox WHERE id=? AND visible<=? ORDER BY visible, seq LIMIT ?", id, now, limit),

    consume(seqs: readonly number[]): void {
      for (const seq of seqs) store.run("DELETE FROM inbox WHERE seq=?", seq);
    },

    /** Instances with messages that became visible in (after, until]. */
    instancesDue: (after: number, until: number): string[] => store.all<{ id: string }>("SELECT DISTINCT id FROM inbox WHERE visible>? AND visible<=?", after, until).map((row) => row.id),

    nextDue: (after: number): number | undefined => store.get<{ at: number | null }>("SELECT min(visible) AS at FROM inbox WHERE visible>?", after)?.at ?? undefined,

    addWork(work: Omit<WorkRow, "seq">): void {
      store.run("INSERT INTO work(id,exec,task,name,input) VALUES(?,?,?,?,?)", work.id, work.exec, work.task, work.name, work.input);
    },

    workAfter: (seq: number, limit: number): WorkRow[] => store.all<WorkRow>("SELECT * FROM work WHERE seq>? ORDER BY seq LIMIT ?", seq, limit),

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
