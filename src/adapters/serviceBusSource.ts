// The receiving side of Azure Service Bus, for the local host's pumps when it runs on Azure's parts (on Azure the Functions
// runtime receives). Processes that share the queues share their messages out: what one has is locked, its locks are renewed
// while it handles, and when it is killed they expire and the messages come to another. It never decides what a message means.

import { isServiceBusError } from "@azure/service-bus";
import type { ServiceBusClient, ServiceBusReceivedMessage, ServiceBusReceiver, ServiceBusSessionReceiver } from "@azure/service-bus";
import type { Clock, Log, QueueSource, ReceivedMessage } from "../ports";
import { type ServiceBusAddress, lastOf, openServiceBus } from "./serviceBus";
import { deliveriesOf, failureProperty, peekDeadLetters, toMessage } from "./serviceBusMessages";

export interface SourceOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Locks are renewed for this long at most: longer than any handler may take. */
  readonly renewMs?: number;
  /** An answer to a settlement that takes longer is not waited for: the message is settled, or comes again. */
  readonly settleMs?: number;
}

/** The queues' limit; a queue made with another still ends what is abandoned after ten deliveries. */
const deliveriesMax = 10;
/** A batch gathers for this long when it is not full. */
const gatherMs = 5;
/** A lane is waited for this long before the answer is that there is none; the search goes on. */
const laneGraceMs = 25;
/** A lane that was found and that nobody asks for is let go after this. */
const laneHoldMs = 1_000;
/** Each look for a message that nobody is waiting for yet. */
const lookMs = 10_000;
const retryMs = 1_000;
/** The service's limit for why a message is a dead letter is 4,096 characters. */
const reasonCharactersMax = 4_000;

type Receiver = ServiceBusReceiver | ServiceBusSessionReceiver;

/** A message that this process has locked. */
interface Hold {
  readonly raw: ServiceBusReceivedMessage;
  readonly receiver: Receiver;
  /** Called once it is settled, or lost. */
  readonly released: () => Promise<void>;
}

type Ending = { readonly kind: "complete" } | { readonly kind: "abandon"; readonly reason: string } | { readonly kind: "deadLetter"; readonly code: string; readonly reason: string };

/** One queue, received plainly or by lane. */
interface Inbox {
  readonly byLane: boolean;
  receive(max: number): Promise<Hold[]>;
  /** Gives back what was found and not asked for. */
  close(): Promise<void>;
}

/** What inboxes share. */
interface Surroundings {
  readonly client: ServiceBusClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly renewMs: number;
  readonly stopped: AbortSignal;
  /** Somebody wants to know when messages are there. */
  isHeard(queue: string): boolean;
  announce(queue: string): void;
  settle(queue: string, hold: Hold, ending: Ending): Promise<void>;
}

/** The QueueSource port on Service Bus. A queue is received either by lane or not, as its first `receive` says. */
export function serviceBusSource(address: ServiceBusAddress, { clock, log, renewMs = 15 * 60_000, settleMs = 5_000 }: SourceOptions): QueueSource & { close(): Promise<void> } {
  const client = openServiceBus(address);
  const stopped = new AbortController();
  const inboxes = new Map<string, Inbox>();
  const listeners = new Map<string, Set<() => void>>();
  const holds = new WeakMap<ReceivedMessage, Hold>();

  const around: Surroundings = {
    client, clock, log, renewMs, stopped: stopped.signal,
    isHeard: (queue) => (listeners.get(queue)?.size ?? 0) > 0,
    announce(queue) {
      for (const listener of listeners.get(queue) ?? []) queueMicrotask(listener);
    },
    settle,
  };

  function inboxOf(queue: string, byLane: boolean): Inbox {
    let inbox = inboxes.get(queue);
    if (inbox === undefined) inboxes.set(queue, (inbox = byLane ? lanedInbox(queue, around) : plainInbox(queue, around)));
    if (inbox.byLane !== byLane) throw new Error(`Queue ${queue} is already received ${inbox.byLane ? "" : "not "}by lane.`);
    return inbox;
  }

  /** What is not locked any more is left alone: it comes again, or came to another. */
  async function settle(queue: string, hold: Hold, ending: Ending): Promise<void> {
    try {
      await inTurn(hold.receiver, ending, () => withinTime(clock, settleMs, perform(hold, ending)));
    } catch (error) {
      log.warn("a message could not be settled and may come again", { queue, messageId: hold.raw.messageId, error: describe(error) });
    } finally {
      await withinTime(clock, settleMs, hold.released()).catch(() => {});
    }
  }

  async function settleAll(queue: string, messages: readonly ReceivedMessage[], endingOf: (hold: Hold) => Ending): Promise<void> {
    const held = messages.flatMap((message) => {
      const hold = holds.get(message);
      holds.delete(message);
      return hold ?? [];
    });
    await Promise.all(held.map((hold) => settle(queue, hold, endingOf(hold))));
  }

  return {
    async receive(queue, { max, byLane }) {
      if (stopped.signal.aborted) return [];
      return (await inboxOf(queue, byLane).receive(max)).map((hold) => {
        const message = toMessage(hold.raw);
        holds.set(message, hold);
        return message;
      });
    },

    complete: (queue, messages) => settleAll(queue, messages, () => ({ kind: "complete" })),

    async abandon(queue, messages, reason) {
      const isSpent = ({ raw }: Hold): boolean => deliveriesOf(raw) >= deliveriesMax;
      await settleAll(queue, messages, (hold) => (isSpent(hold) ? { kind: "deadLetter", code: "DeliveredTooOften", reason } : { kind: "abandon", reason }));
      around.announce(queue);
    },

    deadLetter: (queue, messages, reason) => settleAll(queue, messages, () => ({ kind: "deadLetter", code: "Refused", reason })),

    async deadLetters(queue, limit) {
      return peekDeadLetters(() => openServiceBus(address), queue, limit);
    },

    onArrival(queue, listener) {
      let ofQueue = listeners.get(queue);
      if (ofQueue === undefined) listeners.set(queue, (ofQueue = new Set()));
      ofQueue.add(listener);
      queueMicrotask(listener);
      return () => void listeners.get(queue)?.delete(listener);
    },

    async close() {
      stopped.abort();
      await Promise.all([...inboxes.values()].map((inbox) => inbox.close()));
      await client.close();
    },
  };
}

// ---------------------------------------------------------------- plainly

function plainInbox(queue: string, around: Surroundings): Inbox {
  const { client, clock, log, stopped } = around;
  const options = { maxAutoLockRenewalDurationInMs: around.renewMs };
  // Two links: one takes what is there when asked, the other waits for a message while nobody asks.
  const asked = client.createReceiver(queue, options);
  const lookout = client.createReceiver(queue, options);
  let found: Hold[] = [];
  let looking: Promise<void> | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  const take = async (receiver: ServiceBusReceiver, max: number, waitMs: number): Promise<Hold[]> =>
    (await receiver.receiveMessages(max, { maxWaitTimeInMs: waitMs })).map((raw) => ({ raw, receiver, released: async () => {} }));

  async function receiveNow(max: number): Promise<Hold[]> {
    const before = found.splice(0, max);
    const fresh = before.length < max ? await passing(queue, log, () => take(asked, max - before.length, gatherMs)) : [];
    const all = [...before, ...fresh].sort((a, b) => a.raw.sequenceNumber!.compare(b.raw.sequenceNumber!));
    // A full batch means that there may be more: whoever took it asks again by itself.
    if (all.length < max) look();
    return all;
  }

  function look(): void {
    if (!around.isHeard(queue) || stopped.aborted) return;
    looking ??= lookUntilFound().finally(() => (looking = undefined));
  }

  async function lookUntilFound(): Promise<void> {
    while (found.length === 0 && around.isHeard(queue) && !stopped.aborted) {
      try {
        found.push(...(await take(lookout, 1, lookMs)));
      } catch (error) {
        if (!stopped.aborted) await tellAndPause(queue, error, clock, log);
      }
    }
    if (found.length > 0) around.announce(queue);
  }

  return {
    byLane: false,
    receive(max) {
      // A link gives one batch at a time.
      const mine = turn.then(() => receiveNow(max));
      turn = mine.catch(() => {});
      return mine;
    },
    async close() {
      const left = found;
      found = [];
      await Promise.all(left.map((hold) => around.settle(queue, hold, { kind: "abandon", reason: "The process stopped before it was handled." })));
    },
  };
}

// ---------------------------------------------------------------- by lane

/** A lane that this process has and nobody asked for yet. */
interface Found {
  readonly lane: ServiceBusSessionReceiver;
  readonly asked: AbortController;
}

function lanedInbox(queue: string, around: Surroundings): Inbox {
  const { client, clock, log, stopped } = around;
  const found: Found[] = [];
  let looking: Promise<void> | undefined;
  let failure: unknown;

  async function receive(max: number): Promise<Hold[]> {
    for (;;) {
      const lane = take() ?? (await nextLane());
      if (lane === undefined) return [];
      const raws = await passing(queue, log, () => lane.receiveMessages(max, { maxWaitTimeInMs: gatherMs }));
      if (raws.length > 0) return holdsOf(lane, raws);
      // Somebody else was faster, or the lock is lost.
      await letGo(lane);
    }
  }

  async function nextLane(): Promise<ServiceBusSessionReceiver | undefined> {
    look();
    const enough = new AbortController();
    await Promise.race([looking, clock.sleep(laneGraceMs, enough.signal)]);
    enough.abort();
    if (failure !== undefined) {
      const error = failure;
      failure = undefined;
      throw error;
    }
    return take();
  }

  function take(): ServiceBusSessionReceiver | undefined {
    const next = found.shift();
    next?.asked.abort();
    return next?.lane;
  }

  /** All of a batch are settled: the lane is free for whoever is next. */
  function holdsOf(lane: ServiceBusSessionReceiver, raws: readonly ServiceBusReceivedMessage[]): Hold[] {
    let left = raws.length;
    const released = async (): Promise<void> => {
      if (--left > 0) return;
      await letGo(lane);
      around.announce(queue);
    };
    return raws.map((raw) => ({ raw, receiver: lane, released }));
  }

  async function letGo(lane: ServiceBusSessionReceiver): Promise<void> {
    await lane.close().catch((error: unknown) => log.debug("a lane could not be closed", { queue, lane: lane.sessionId, error: describe(error) }));
  }

  function look(): void {
    if (!stopped.aborted) looking ??= lookUntilFound().finally(() => (looking = undefined));
  }

  /** One search at a time; it goes on for as long as somebody wants to know. */
  async function lookUntilFound(): Promise<void> {
    do {
      try {
        const lane = await client.acceptNextSession(queue, { maxAutoLockRenewalDurationInMs: around.renewMs });
        if (stopped.aborted) return await letGo(lane);
        keep(lane);
        return around.announce(queue);
      } catch (error) {
        if (stopped.aborted) return;
        if (isNothing(error)) continue;
        if (isLasting(error) && !around.isHeard(queue)) {
          failure = error;
          return;
        }
        await tellAndPause(queue, error, clock, log);
      }
    } while (around.isHeard(queue) && !stopped.aborted);
  }

  /** For who asks next. Nobody does while all are busy here: another process may have it then. */
  function keep(lane: ServiceBusSessionReceiver): void {
    const one: Found = { lane, asked: new AbortController() };
    found.push(one);
    void clock.sleep(laneHoldMs, one.asked.signal).then(() => {
      if (one.asked.signal.aborted) return undefined;
      found.splice(found.indexOf(one), 1);
      return letGo(lane);
    });
  }

  return {
    byLane: true,
    receive,
    async close() {
      for (let lane = take(); lane !== undefined; lane = take()) await letGo(lane);
    },
  };
}

// ---------------------------------------------------------------- settling

function perform({ raw, receiver }: Hold, ending: Ending): Promise<void> {
  if (ending.kind === "complete") return receiver.completeMessage(raw);
  const reason = ending.reason.slice(0, reasonCharactersMax);
  return ending.kind === "abandon"
    ? receiver.abandonMessage(raw, { [failureProperty]: reason })
    : receiver.deadLetterMessage(raw, { deadLetterReason: ending.code, deadLetterErrorDescription: reason });
}

/** Settlements of one link that are under way: all of them end alike. */
interface Turn {
  readonly key: string;
  readonly work: Set<Promise<void>>;
}

const turns = new WeakMap<Receiver, Turn>();

/**
 * The SDK's protocol library (rhea 3.0) writes two settlements of one turn as one, with the outcome of the first: a message
 * given back beside a completed one would be lost. So those that end differently wait for the answers of those before them.
 */
async function inTurn(receiver: Receiver, ending: Ending, work: () => Promise<void>): Promise<void> {
  const key = JSON.stringify(ending);
  let turn = turns.get(receiver);
  while (turn !== undefined && turn.key !== key && turn.work.size > 0) {
    await Promise.allSettled(turn.work);
    turn = turns.get(receiver);
  }
  if (turn === undefined || turn.key !== key) turns.set(receiver, (turn = { key, work: new Set() }));
  const { work: underWay } = turn;
  const mine = work();
  underWay.add(mine);
  await mine.finally(() => underWay.delete(mine));
}

/** Throws when it takes longer; the work itself goes on. */
async function withinTime(clock: Clock, milliseconds: number, work: Promise<void>): Promise<void> {
  const ended = new AbortController();
  const late = clock.sleep(milliseconds, ended.signal).then(() => {
    if (!ended.signal.aborted) throw new Error("The service did not answer in time.");
  });
  await Promise.race([work, late]).finally(() => ended.abort());
}

// ---------------------------------------------------------------- errors

/** Nothing is received while the connection is being made anew; what was on its way comes again. Other errors are the caller's. */
async function passing<T>(queue: string, log: Log, work: () => Promise<T[]>): Promise<T[]> {
  try {
    return await work();
  } catch (error) {
    if (isLasting(error)) throw lastOf(error);
    log.debug("receiving was interrupted", { queue, error: describe(error) });
    return [];
  }
}

async function tellAndPause(queue: string, error: unknown, clock: Clock, log: Log): Promise<void> {
  log.warn("looking for messages failed and is tried again", { queue, error: describe(error) });
  await clock.sleep(retryMs);
}

/** No lane has messages: the search ran out of time. */
function isNothing(error: unknown): boolean {
  const last = lastOf(error);
  return isServiceBusError(last) && last.code === "ServiceTimeout";
}

/** Waiting does not help. Everything else may pass: a broken connection shows as errors of many kinds. */
function isLasting(error: unknown): boolean {
  const last = lastOf(error);
  return isServiceBusError(last) && lasting.has(last.code);
}

const lasting: ReadonlySet<string> = new Set(["MessagingEntityNotFound", "MessagingEntityDisabled", "UnauthorizedAccess", "InvalidOperation"]);

function describe(error: unknown): string {
  const last = lastOf(error);
  if (isServiceBusError(last)) return `${last.code}: ${last.message}`;
  return last instanceof Error ? last.message : String(last);
}
