// One queue (or subscription) of the Service Bus stand-in: messages, locks, sessions and dead letters as the service has them,
// in memory. It knows nothing of AMQP: holders of locks and sessions are opaque objects, answers are values or faults.

import { randomBytes } from "node:crypto";

/** Fields as rhea decodes and encodes them: `message_id`, `group_id`, `application_properties`, `body` ... */
export type Content = { readonly [field: string]: unknown };

export interface QueueOptions {
  /** How long a lock holds without renewal. */
  readonly lockMs?: number;
  readonly deliveriesMax?: number;
  readonly sessions?: boolean;
  /** Messages with an id that was sent within this time are accepted and dropped; 0: no detection. */
  readonly duplicateWindowMs?: number;
  readonly ttlMs?: number;
  readonly deadLetterExpired?: boolean;
}

export type MessageState = "active" | "locked" | "scheduled" | "deferred";

export interface Stored {
  readonly sequence: number;
  readonly enqueuedAt: number;
  readonly session: string | undefined;
  readonly expiresAt: number;
  readonly scheduledFor: number | undefined;
  content: Content;
  deliveries: number;
  state: MessageState;
  deadLetterSource?: string;
  /** It was handed out again although it had been completed: a fault, played once a message. */
  repeated?: boolean;
}

export interface Lock {
  readonly token: Buffer;
  readonly key: string;
  readonly stored: Stored;
  readonly holder: object | undefined;
  readonly session: Session | undefined;
  until: number;
}

export interface Session {
  readonly id: string;
  readonly ready: Line;
  state: unknown;
  holder: object | undefined;
  until: number;
}

export type Outcome =
  | { readonly kind: "complete" }
  | { readonly kind: "abandon" | "defer"; readonly properties?: Content | undefined }
  | { readonly kind: "deadLetter"; readonly properties?: Content | undefined };

/** An error with the condition that goes over the wire. */
export type Fault = Error & { readonly condition: string };

export const fault = (condition: string, description: string): Fault => Object.assign(new Error(description), { condition });

const defaults = { lockMs: 60_000, deliveriesMax: 10, sessions: false, duplicateWindowMs: 0, ttlMs: Infinity, deadLetterExpired: false };

const lockLost = "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue.";

export interface Queue {
  readonly name: string;
  readonly options: Required<QueueOptions>;
  /** Absent for a queue of dead letters. */
  readonly deadLetters: Queue | undefined;
  /** By sequence number, in order. */
  readonly all: ReadonlyMap<number, Stored>;
  readonly locks: ReadonlyMap<string, Lock>;
  readonly sessions: ReadonlyMap<string, Session>;
  sessionOf(id: string): Session;
  /** The sequence number, or undefined for a duplicate. Throws a fault. */
  enqueue(sent: Content, from?: { readonly source: string; readonly deliveries: number }): number | undefined;
  /** The oldest message that may be handed out, of the session if there is one. */
  take(session: Session | undefined): Stored | undefined;
  lock(stored: Stored, holder: object | undefined, session: Session | undefined): Lock;
  /** Ends a lock. A fault when it is not held any more. */
  settle(lock: Lock, outcome: Outcome): Fault | undefined;
  /** Until when the locks hold now. */
  renew(tokens: readonly Buffer[]): Fault | number;
  renewSession(id: string): Fault | number;
  /** A session for this holder: the one asked for, or the one that has waited longest. */
  grant(wanted: string | undefined, holder: object): Session | undefined;
  /** Closed in order (not `failed`): the session is free, and what was not settled was not a delivery. Expired: it was one. */
  leaveSession(session: Session, failed: boolean): void;
  /** Ends what is over at `now`, and all locks of holders that `isOver`; answers the holders of sessions that were lost. */
  expire(now: number, isOver: (holder: object | undefined) => boolean): { readonly holder: object; readonly session: string }[];
  /** Takes a scheduled message back; false when there is none. */
  cancel(sequence: number): boolean;
  remove(stored: Stored): void;
}

/** `onReady` is called when messages may be handed out or sessions granted; `repeats` says whether to play a completed message again. */
export function createQueue(name: string, given: QueueOptions, onReady: () => void, repeats: () => boolean = () => false, isDeadLetters = false): Queue {
  const options: Required<QueueOptions> = { ...defaults, ...given };
  const deadLetters = isDeadLetters
    ? undefined
    : createQueue(`${name}/$DeadLetterQueue`, { ...options, sessions: false, duplicateWindowMs: 0, ttlMs: Infinity }, onReady, undefined, true);
  const all = new Map<number, Stored>();
  const locks = new Map<string, Lock>();
  const sessions = new Map<string, Session>();
  const seen = new Map<unknown, number>();
  const scheduled = new Set<Stored>();
  const line = createLine();
  let last = 0;

  function sessionOf(id: string): Session {
    let session = sessions.get(id);
    if (session === undefined) sessions.set(id, (session = { id, ready: createLine(), state: null, holder: undefined, until: 0 }));
    return session;
  }

  function isDuplicate(id: unknown, now: number): boolean {
    if (options.duplicateWindowMs === 0) return false;
    for (const [old, at] of seen) {
      if (at > now - options.duplicateWindowMs) break;
      seen.delete(old);
    }
    if (seen.has(id)) return true;
    seen.set(id, now);
    return false;
  }

  function enqueue(sent: Content, from?: { readonly source: string; readonly deliveries: number }): number | undefined {
    // The SDK's lock renewer refuses messages without an id.
    const content = { ...sent, message_id: sent["message_id"] ?? randomBytes(16).toString("hex") };
    const session = sent["group_id"] as string | undefined;
    if (options.sessions && session === undefined)
      throw fault("amqp:not-allowed", "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have session support enabled can only receive messages that have the SessionId set to a valid value.");
    const now = Date.now();
    if (isDuplicate(content.message_id, now)) return undefined;
    const ttl = Math.min((sent["ttl"] as number | undefined) ?? Infinity, options.ttlMs);
    const wanted = Number((sent["message_annotations"] as Content | undefined)?.["x-opt-scheduled-enqueue-time"] ?? 0);
    const stored: Stored = {
      sequence: ++last,
      enqueuedAt: now,
      session: options.sessions ? session : undefined,
      expiresAt: now + ttl,
      scheduledFor: wanted > now ? wanted : undefined,
      content,
      deliveries: from?.deliveries ?? 0,
      state: wanted > now ? "scheduled" : "active",
      ...(from === undefined ? {} : { deadLetterSource: from.source }),
    };
    all.set(stored.sequence, stored);
    if (stored.state === "scheduled") scheduled.add(stored);
    else makeReady(stored);
    return stored.sequence;
  }

  function makeReady(stored: Stored, again = false): void {
    const of = stored.session === undefined ? line : sessionOf(stored.session).ready;
    if (again) of.putBack(stored);
    else of.push(stored);
    onReady();
  }

  function take(session: Session | undefined): Stored | undefined {
    const from = session?.ready ?? line;
    for (let stored = from.shift(); stored !== undefined; stored = from.shift()) {
      if (all.get(stored.sequence) !== stored || stored.state !== "active") continue;
      if (stored.expiresAt > Date.now()) return stored;
      if (options.deadLetterExpired) bury(stored, { DeadLetterReason: "TTLExpiredException", DeadLetterErrorDescription: "The message expired and was dead lettered." });
      else all.delete(stored.sequence);
    }
    return undefined;
  }

  function lock(stored: Stored, holder: object | undefined, session: Session | undefined): Lock {
    const token = randomBytes(16);
    const one: Lock = { token, key: token.toString("hex"), stored, holder, session, until: Date.now() + options.lockMs };
    locks.set(one.key, one);
    stored.state = "locked";
    return one;
  }

  /** Back to its place; `failed` counts the delivery, and after too many it is a dead letter. */
  function unlock(one: Lock, failed: boolean): void {
    const { stored } = one;
    locks.delete(one.key);
    stored.state = "active";
    if (failed) stored.deliveries++;
    if (stored.deliveries < options.deliveriesMax || deadLetters === undefined) return makeReady(stored, true);
    bury(stored, { DeadLetterReason: "MaxDeliveryCountExceeded", DeadLetterErrorDescription: `Message could not be consumed after ${stored.deliveries} delivery attempts.` });
  }

  function bury(stored: Stored, properties: Content | undefined): void {
    all.delete(stored.sequence);
    const known = Object.entries(properties ?? {}).filter(([, value]) => value !== undefined && value !== null);
    const application_properties = { ...(stored.content["application_properties"] as Content | undefined), ...Object.fromEntries(known) };
    const { ttl: _ttl, ...content } = stored.content;
    deadLetters?.enqueue({ ...content, application_properties }, { source: name, deliveries: stored.deliveries });
  }

  function settle(one: Lock, outcome: Outcome): Fault | undefined {
    if (locks.get(one.key) !== one) return fault(`com.microsoft:${one.session ? "session" : "message"}-lock-lost`, lockLost);
    const { stored } = one;
    if (outcome.kind === "complete") {
      if (!stored.repeated && repeats()) {
        stored.repeated = true;
        unlock(one, true);
        return undefined;
      }
      locks.delete(one.key);
      all.delete(stored.sequence);
      return undefined;
    }
    if (outcome.kind === "deadLetter") {
      locks.delete(one.key);
      stored.deliveries++;
      bury(stored, outcome.properties);
      return undefined;
    }
    if (outcome.properties) stored.content = { ...stored.content, application_properties: { ...(stored.content["application_properties"] as Content | undefined), ...outcome.properties } };
    if (outcome.kind === "abandon") unlock(one, true);
    else {
      locks.delete(one.key);
      stored.state = "deferred";
    }
    return undefined;
  }

  function renew(tokens: readonly Buffer[]): Fault | number {
    const held = tokens.map((token) => locks.get(token.toString("hex")));
    if (held.some((one) => one === undefined)) return fault("com.microsoft:message-lock-lost", lockLost);
    const until = Date.now() + options.lockMs;
    for (const one of held) one!.until = until;
    return until;
  }

  function grant(wanted: string | undefined, holder: object): Session | undefined {
    const session = wanted === undefined ? nextSession() : sessionOf(wanted);
    if (session === undefined || session.holder !== undefined) return undefined;
    session.holder = holder;
    session.until = Date.now() + options.lockMs;
    // Sessions take turns: this one goes to the end.
    sessions.delete(session.id);
    sessions.set(session.id, session);
    return session;
  }

  function nextSession(): Session | undefined {
    for (const session of sessions.values()) if (session.holder === undefined && session.ready.size() > 0) return session;
    return undefined;
  }

  function renewSession(id: string): Fault | number {
    const session = sessions.get(id);
    if (session?.holder === undefined) return fault("com.microsoft:session-lock-lost", "The session lock was lost.");
    return (session.until = Date.now() + options.lockMs);
  }

  function leaveSession(session: Session, failed: boolean): void {
    session.holder = undefined;
    for (const one of [...locks.values()].toReversed()) if (one.session === session) unlock(one, failed);
    onReady();
  }

  function expire(now: number, isOver: (holder: object | undefined) => boolean): { readonly holder: object; readonly session: string }[] {
    const lost: { holder: object; session: string }[] = [];
    for (const session of sessions.values()) {
      if (session.holder === undefined || (session.until > now && !isOver(session.holder))) continue;
      lost.push({ holder: session.holder, session: session.id });
      leaveSession(session, true);
    }
    for (const one of Array.from(locks.values())) if (one.session === undefined && (one.until <= now || isOver(one.holder))) unlock(one, true);
    for (const stored of [...scheduled].sort((a, b) => a.scheduledFor! - b.scheduledFor!)) {
      if (stored.scheduledFor! > now) break;
      scheduled.delete(stored);
      stored.state = "active";
      makeReady(stored);
    }
    deadLetters?.expire(now, isOver);
    return lost;
  }

  function cancel(sequence: number): boolean {
    const stored = all.get(sequence);
    if (stored === undefined || !scheduled.delete(stored)) return false;
    return all.delete(sequence);
  }

  return {
    name, options, deadLetters, all, locks, sessions, sessionOf, enqueue, take, lock, settle, renew, renewSession, grant, leaveSession, expire, cancel,
    remove: (stored) => void all.delete(stored.sequence),
  };
}

type Line = ReturnType<typeof createLine>;

/** First in, first out; what comes back goes before what was never out, in order. */
function createLine() {
  let waiting: (Stored | undefined)[] = [];
  let head = 0;
  const returned: Stored[] = [];
  return {
    size: () => waiting.length - head + returned.length,
    push: (stored: Stored) => void waiting.push(stored),
    putBack(stored: Stored): void {
      returned.push(stored);
      if (returned.length > 1) returned.sort((a, b) => b.sequence - a.sequence);
    },
    shift(): Stored | undefined {
      const back = returned.pop();
      if (back !== undefined || head === waiting.length) return back;
      const stored = waiting[head];
      waiting[head++] = undefined;
      if (head > 4_096 && head * 2 > waiting.length) {
        waiting = waiting.slice(head);
        head = 0;
      }
      return stored;
    },
  };
}
