// Queues on SQLite, and the side of them that the local host's pumps read. Messages are durable; locks live in memory and end
// with the process, so a restart hands out again whatever was not settled. Topics keep nothing: nobody can subscribe here.

import type { Bus, Clock, Json, QueueSource, ReceivedMessage } from "../ports";
import type { Sqlite } from "./sqlite";

// In arrival order within a queue. `deliveries` is counted before a message is handed out: one that kills the process with
// each delivery ends among the dead letters too.
const schema = `
  CREATE TABLE IF NOT EXISTS messages (
    queue TEXT NOT NULL, sequence INTEGER NOT NULL, lane TEXT, body TEXT NOT NULL, correlation TEXT, reply_to TEXT,
    enqueued_at TEXT NOT NULL, deliveries INTEGER NOT NULL,
    PRIMARY KEY (queue, sequence)) WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS messages_lane ON messages (queue, lane, sequence) WHERE lane IS NOT NULL;
  CREATE TABLE IF NOT EXISTS dead_letters (
    queue TEXT NOT NULL, sequence INTEGER NOT NULL, lane TEXT, body TEXT NOT NULL, correlation TEXT, reply_to TEXT,
    enqueued_at TEXT NOT NULL, deliveries INTEGER NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (queue, sequence)) WITHOUT ROWID;
`;
const columns = "queue, sequence, lane, body, correlation, reply_to, enqueued_at, deliveries";
const deliveriesMax = 10;
const messagesPerUnit = 500;

interface MessageRow {
  readonly sequence: number;
  readonly lane: string | null;
  readonly body: string;
  readonly correlation: string | null;
  readonly reply_to: string | null;
  readonly enqueued_at: string;
  readonly deliveries: number;
}

/** What this process knows of a queue: what is handed out, and where the next waiting message is found without searching. */
interface Inbox {
  readonly byLane: boolean;
  /** Sequences handed out and not settled yet. */
  readonly held: Set<number>;
  /** Without lanes: all up to here were handed out; those that came back are in `returned`. */
  cursor: number;
  returned: number[];
  /** With lanes ("" for none): lanes that wait, longest first, and how many messages of a locked lane are unsettled. */
  readonly ready: Set<string>;
  readonly locked: Map<string, number>;
}

/**
 * A queue is received either by lane or not, as its first `receive` says. Lanes take turns: one that had its batch goes to
 * the end. `onArrival` listeners are also called once right after they registered, for what waits from before.
 */
export function sqliteBus(db: Sqlite, clock: Clock): Bus & QueueSource {
  db.define(schema);
  const inboxes = new Map<string, Inbox>();
  const listeners = new Map<string, Set<() => void>>();
  let last = lastSequence(db);

  function inboxOf(queue: string, byLane: boolean): Inbox {
    let inbox = inboxes.get(queue);
    if (inbox === undefined) inboxes.set(queue, (inbox = openInbox(db, queue, byLane)));
    if (inbox.byLane !== byLane) throw new Error(`Queue ${queue} is already received ${inbox.byLane ? "" : "not "}by lane.`);
    return inbox;
  }

  function announce(queue: string): void {
    for (const listener of listeners.get(queue) ?? []) queueMicrotask(listener);
  }

  /** Gives up the locks after `work`, which removes or returns the messages, is durable. What is not locked is left alone. */
  async function settle(queue: string, messages: readonly ReceivedMessage[], work: (held: readonly ReceivedMessage[]) => void,
    comesBack: (message: ReceivedMessage) => boolean): Promise<void> {
    const inbox = inboxes.get(queue);
    const held = messages.filter(({ sequence }) => inbox?.held.delete(sequence));
    if (inbox === undefined || held.length === 0) return;
    try {
      await db.write(() => work(held), held.length);
    } catch (error) {
      for (const { sequence } of held) inbox.held.add(sequence);
      throw error;
    }
    if (release(db, queue, inbox, held, comesBack)) announce(queue);
  }

  /** Messages that were handed out too often are buried on the way, and the next ones looked at. */
  async function receive(queue: string, options: Parameters<QueueSource["receive"]>[1]): Promise<ReceivedMessage[]> {
    const { max, byLane } = options;
    const inbox = inboxOf(queue, byLane);
    const rows = byLane ? nextOfLane(db, queue, inbox, max) : nextInOrder(db, queue, inbox, max);
    if (rows.length === 0) return [];
    for (const { sequence } of rows) inbox.held.add(sequence);
    const messages = rows.map((row) => toMessage(queue, row));
    const spent = messages.filter(({ deliveryCount }) => deliveryCount > deliveriesMax);
    try {
      await db.write(() => countDeliveries(db, queue, messages), messages.length);
      await settle(queue, spent, (held) => bury(db, queue, held, `Delivered ${deliveriesMax} times and never settled.`), () => false);
    } catch (error) {
      for (const { sequence } of messages) inbox.held.delete(sequence);
      release(db, queue, inbox, messages, () => true);
      throw error;
    }
    return spent.length === messages.length ? receive(queue, options) : messages.filter((message) => !spent.includes(message));
  }

  return {
    receive,

    async send(queue, messages) {
      const at = clock.now().toISOString();
      const writes: Promise<void>[] = [];
      for (let from = 0; from < messages.length; from += messagesPerUnit) {
        const part = messages.slice(from, from + messagesPerUnit);
        writes.push(db.write(() => {
          const insert = db.statement(`INSERT INTO messages (${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, 0)`);
          for (const { lane, body, correlationId, replyTo } of part) {
            insert.run(queue, ++last, lane ?? null, JSON.stringify(body), correlationId ?? null, replyTo ?? null, at);
          }
          keepSequence(db, last);
        }, part.length));
      }
      await Promise.all(writes);
      const inbox = inboxes.get(queue);
      if (inbox?.byLane) {
        for (const { lane = "" } of messages) if (!inbox.locked.has(lane)) inbox.ready.add(lane);
      }
      if (messages.length > 0) announce(queue);
    },

    async publish() {
      // The topic has no subscribers in the embedded default.
    },

    complete(queue, messages) {
      return settle(queue, messages, (held) => remove(db, queue, held), () => false);
    },

    abandon(queue, messages, reason) {
      const isSpent = ({ deliveryCount }: ReceivedMessage) => deliveryCount >= deliveriesMax;
      return settle(queue, messages, (held) => bury(db, queue, held.filter(isSpent), reason), (message) => !isSpent(message));
    },

    deadLetter(queue, messages, reason) {
      return settle(queue, messages, (held) => bury(db, queue, held, reason), () => false);
    },

    async deadLetters(queue, limit) {
      const rows = db.statement(`SELECT ${columns}, reason FROM dead_letters WHERE queue = ? ORDER BY sequence LIMIT ?`)
        .all(queue, limit) as unknown as (MessageRow & { reason: string })[];
      return rows.map((row) => ({ message: { ...toMessage(queue, row), deliveryCount: row.deliveries }, reason: row.reason }));
    },

    onArrival(queue, listener) {
      let ofQueue = listeners.get(queue);
      if (ofQueue === undefined) listeners.set(queue, (ofQueue = new Set()));
      ofQueue.add(listener);
      queueMicrotask(listener);
      return () => void listeners.get(queue)?.delete(listener);
    },
  };
}

function openInbox(db: Sqlite, queue: string, byLane: boolean): Inbox {
  const waiting = byLane
    ? db.statement("SELECT coalesce(lane, '') AS name FROM messages WHERE queue = ? GROUP BY 1 ORDER BY min(sequence)").all(queue)
    : [];
  const ready = new Set(waiting.map(({ name }) => name as string));
  return { byLane, held: new Set(), cursor: 0, returned: [], ready, locked: new Map() };
}

/** Sequences are never given twice, also when the queues were empty at a restart: message ids are made of them. */
function lastSequence(db: Sqlite): number {
  const row = db.statement("SELECT value FROM meta WHERE name = 'messages.sequence'").get();
  return (row?.["value"] as number | undefined) ?? 0;
}

function keepSequence(db: Sqlite, last: number): void {
  db.statement("INSERT INTO meta VALUES ('messages.sequence', ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(last);
}

function nextInOrder(db: Sqlite, queue: string, inbox: Inbox, max: number): MessageRow[] {
  const one = db.statement(`SELECT ${columns} FROM messages WHERE queue = ? AND sequence = ?`);
  inbox.returned.sort((a, b) => a - b);
  const again = inbox.returned.splice(0, max).map((sequence) => one.get(queue, sequence));
  const fresh = db.statement(`SELECT ${columns} FROM messages WHERE queue = ? AND sequence > ? ORDER BY sequence LIMIT ?`)
    .all(queue, inbox.cursor, max - again.length) as unknown as MessageRow[];
  inbox.cursor = fresh.at(-1)?.sequence ?? inbox.cursor;
  return [...(again.filter((row) => row !== undefined) as unknown as MessageRow[]), ...fresh];
}

function nextOfLane(db: Sqlite, queue: string, inbox: Inbox, max: number): MessageRow[] {
  for (const lane of inbox.ready) {
    inbox.ready.delete(lane);
    const rows = ofLane(db, queue, lane, max);
    if (rows.length === 0) continue;
    inbox.locked.set(lane, rows.length);
    return rows;
  }
  return [];
}

const noLaneSql = `SELECT ${columns} FROM messages WHERE queue = ? AND lane IS NULL ORDER BY sequence LIMIT ?`;
const laneSql = `SELECT ${columns} FROM messages WHERE queue = ? AND lane = ? ORDER BY sequence LIMIT ?`;

function ofLane(db: Sqlite, queue: string, lane: string, max: number): MessageRow[] {
  const rows = lane === "" ? db.statement(noLaneSql).all(queue, max) : db.statement(laneSql).all(queue, lane, max);
  return rows as unknown as MessageRow[];
}

function countDeliveries(db: Sqlite, queue: string, messages: readonly ReceivedMessage[]): void {
  const update = db.statement("UPDATE messages SET deliveries = ? WHERE queue = ? AND sequence = ?");
  for (const { deliveryCount, sequence } of messages) update.run(deliveryCount, queue, sequence);
}

function remove(db: Sqlite, queue: string, messages: readonly ReceivedMessage[]): void {
  const statement = db.statement("DELETE FROM messages WHERE queue = ? AND sequence = ?");
  for (const { sequence } of messages) statement.run(queue, sequence);
}

function bury(db: Sqlite, queue: string, messages: readonly ReceivedMessage[], reason: string): void {
  const copy = db.statement(`INSERT INTO dead_letters (${columns}, reason)
    SELECT ${columns}, ? FROM messages WHERE queue = ? AND sequence = ?`);
  for (const { sequence } of messages) copy.run(reason, queue, sequence);
  remove(db, queue, messages);
}

/** True when messages may be waiting now that these are not locked any more. */
function release(db: Sqlite, queue: string, inbox: Inbox, messages: readonly ReceivedMessage[],
  comesBack: (message: ReceivedMessage) => boolean): boolean {
  if (!inbox.byLane) {
    const back = messages.filter(comesBack);
    inbox.returned.push(...back.map(({ sequence }) => sequence));
    return back.length > 0;
  }
  let waiting = false;
  for (const { lane = "" } of messages) {
    const left = inbox.locked.get(lane)! - 1;
    inbox.locked.set(lane, left);
    if (left > 0) continue;
    inbox.locked.delete(lane);
    if (ofLane(db, queue, lane, 1).length === 0) continue;
    inbox.ready.add(lane);
    waiting = true;
  }
  return waiting;
}

function toMessage(queue: string, row: MessageRow): ReceivedMessage {
  return {
    messageId: `${queue}-${row.sequence}`,
    sequence: row.sequence,
    deliveryCount: row.deliveries + 1,
    enqueuedAt: row.enqueued_at,
    body: parseBody(queue, row),
    ...(row.lane === null ? {} : { lane: row.lane }),
    ...(row.correlation === null ? {} : { correlationId: row.correlation }),
    ...(row.reply_to === null ? {} : { replyTo: row.reply_to }),
  };
}

function parseBody(queue: string, row: MessageRow): Json {
  try {
    return JSON.parse(row.body) as Json;
  } catch (error) {
    throw new Error(`Message ${row.sequence} of queue ${queue} is damaged: what is stored is not JSON.`, { cause: error });
  }
}
