// The receiving side of Azure Service Bus, for the local host's pumps when it runs on Azure's parts (on Azure the Functions
// runtime receives). Processes that share the queues share their messages out: what one has is locked, its locks are renewed
// while it handles, and when it is killed they expire and the messages come to another. It never decides what a message means.

import type { ServiceBusReceivedMessage, ServiceBusReceiver, ServiceBusSessionReceiver } from "@azure/service-bus";
import type { Clock, Log, QueueSource, ReceivedMessage } from "../ports";
import { type ServiceBusAddress, connect, describe, isLasting, isTimeout, lastOf, openServiceBus, withinTime } from "./serviceBusClient";
import { deliveriesOf, peekDeadLetters, toMessage } from "./serviceBusMessages";
import { type Ending, type Hold, endInTurn } from "./serviceBusSettling";

export interface SourceOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Locks are renewed for this long at most: longer than any handler may take. */
  readonly renewMs?: number;
  /** A settlement that is not answered for this long is not waited for: the message is settled, or comes again. */
  readonly settleMs?: number;
  /** A connection that does not answer for this long is replaced. */
  readonly stallMs?: number;
}

/** The queues' limit; a queue made with another still ends what is abandoned after ten deliveries. */
const deliveriesMax = 10;
/** A batch gathers for this long when it is not full. */
const gatherMs = 5;
/** A lane is waited for this long before the answer is that there is none; the search goes on. */
const laneGraceMs = 25;
/** A lane that was found and that nobody asks for is let go after this. */
const laneHoldMs = 1_000;
/** Each look for a message, or a lane, while nobody asks. */
const lookMs = 10_000;
const retryMs = 1_000;

/** One queue, received plainly or by lane. */
interface Inbox {
  readonly byLane: boolean;
  receive(max: number): Promise<Hold[]>;
  /** Gives back what was found and not asked for, and closes the connection. */
  close(): Promise<void>;
}

/** What an inbox knows of the source it belongs to. */
interface Surroundings extends Required<SourceOptions> {
  readonly address: ServiceBusAddress;
  readonly stopped: AbortSignal;
  /** Somebody wants to know when messages are there. */
  isHeard(): boolean;
  announce(): void;
  settle(hold: Hold, ending: Ending): Promise<void>;
}

/** The QueueSource port on Service Bus. A queue is received either by lane or not, as its first `receive` says. */
export function serviceBusSource(address: ServiceBusAddress, options: SourceOptions): QueueSource & { close(): Promise<void> } {
  const { clock, log, renewMs = 15 * 60_000, settleMs = 5_000, stallMs = 10_000 } = options;
  const stopped = new AbortController();
  const inboxes = new Map<string, Inbox>();
  const listeners = new Map<string, Set<() => void>>();
  const holds = new WeakMap<ReceivedMessage, Hold>();

  function announce(queue: string): void {
    for (const listener of listeners.get(queue) ?? []) queueMicrotask(listener);
  }

  function inboxOf(queue: string, byLane: boolean): Inbox {
    let inbox = inboxes.get(queue);
    if (inbox === undefined) {
      const around: Surroundings = {
        address, clock, log, renewMs, settleMs, stallMs, stopped: stopped.signal,
        isHeard: () => (listeners.get(queue)?.size ?? 0) > 0,
        announce: () => announce(queue),
        settle: (hold, ending) => settle(queue, hold, ending),
      };
      inboxes.set(queue, (inbox = byLane ? lanedInbox(queue, around) : plainInbox(queue, around)));
    }
    if (inbox.byLane !== byLane) throw new Error(`Queue ${queue} is already received ${inbox.byLane ? "" : "not "}by lane.`);
    return inbox;
  }

  /** What is not locked any more is left alone: it comes again, or came to another. */
  async function settle(queue: string, hold: Hold, ending: Ending): Promise<void> {
    try {
      await endInTurn(hold, ending, (work) => withinTime(clock, settleMs, work));
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
      announce(queue);
    },

    deadLetter: (queue, messages, reason) => settleAll(queue, messages, () => ({ kind: "deadLetter", code: "Refused", reason })),

    deadLetters: (queue, limit) => peekDeadLetters(() => openServiceBus(address), queue, limit),

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
    },
  };
}

// ---------------------------------------------------------------- plainly

function plainInbox(queue: string, around: Surroundings): Inbox {
  const { clock, log, stopped, stallMs } = around;
  const options = { maxAutoLockRenewalDurationInMs: around.renewMs };
  // Two links: one takes what is there when asked, the other waits for a message while nobody asks.
  const connection = connect(() => openServiceBus(around.address), clock, (client) => ({ asked: client.createReceiver(queue, options), lookout: client.createReceiver(queue, options) }));
  let found: Hold[] = [];
  let looking: Promise<void> | undefined;
  let turn: Promise<unknown> = Promise.resolve();

  const take = (link: "asked" | "lookout", max: number, waitMs: number): Promise<Hold[]> =>
    connection.use(waitMs + stallMs, async (links) => {
      const receiver: ServiceBusReceiver = links[link];
      return (await receiver.receiveMessages(max, { maxWaitTimeInMs: waitMs })).map((raw) => ({ raw, receiver, released: async () => {} }));
    });

  async function receiveNow(max: number): Promise<Hold[]> {
    const fresh = found.length < max ? await passing(queue, log, () => take("asked", max - found.length, gatherMs)) : [];
    const all = [...found.splice(0, max), ...fresh].sort((a, b) => a.raw.sequenceNumber!.compare(b.raw.sequenceNumber!));
    // One that was found in the meantime may be too many; it is for the next.
    found.unshift(...all.splice(max));
    // A full batch means that there may be more: whoever took it asks again by itself.
    if (all.length < max) look();
    return all;
  }

  function look(): void {
    if (!around.isHeard() || stopped.aborted) return;
    looking ??= lookUntilFound().finally(() => (looking = undefined));
  }

  async function lookUntilFound(): Promise<void> {
    while (found.length === 0 && around.isHeard() && !stopped.aborted) {
      try {
        found.push(...(await take("lookout", 1, lookMs)));
      } catch (error) {
        if (!stopped.aborted) await tellAndPause(queue, error, around);
      }
    }
    if (found.length > 0) around.announce();
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
      await Promise.all(left.map((hold) => around.settle(hold, { kind: "abandon", reason: "The process stopped before it was handled." })));
      await connection.close();
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
  const { clock, log, stopped, stallMs } = around;
  const connection = connect(() => openServiceBus(around.address), clock, (client) => client);
  const found: Found[] = [];
  let looking: Promise<void> | undefined;
  let failure: unknown;

  async function receive(max: number): Promise<Hold[]> {
    for (;;) {
      const lane = take() ?? (await nextLane());
      if (lane === undefined) return [];
      const raws = await passing(queue, log, () => withinTime(clock, gatherMs + stallMs, lane.receiveMessages(max, { maxWaitTimeInMs: gatherMs })));
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
      around.announce();
    };
    return raws.map((raw) => ({ raw, receiver: lane, released }));
  }

  async function letGo(lane: ServiceBusSessionReceiver): Promise<void> {
    await withinTime(clock, around.settleMs, lane.close())
      .catch((error: unknown) => log.debug("a lane could not be closed", { queue, lane: lane.sessionId, error: describe(error) }));
  }

  function look(): void {
    if (!stopped.aborted) looking ??= lookUntilFound().finally(() => (looking = undefined));
  }

  /** One search at a time; it goes on for as long as somebody wants to know. */
  async function lookUntilFound(): Promise<void> {
    do {
      try {
        // The service ends the search after the client's own time for an answer, some ten seconds.
        const lane = await connection.use(lookMs + stallMs, (client) => client.acceptNextSession(queue, { maxAutoLockRenewalDurationInMs: around.renewMs }));
        if (stopped.aborted) return await letGo(lane);
        keep(lane);
        return around.announce();
      } catch (error) {
        if (stopped.aborted) return;
        if (isTimeout(error)) continue;
        if (isLasting(error) && !around.isHeard()) {
          failure = lastOf(error);
          return;
        }
        await tellAndPause(queue, error, around);
      }
    } while (around.isHeard() && !stopped.aborted);
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
      await connection.close();
    },
  };
}

// ---------------------------------------------------------------- what goes wrong

/** Nothing is received while the connection is being made anew; what was on its way comes again. Lasting errors are the caller's. */
async function passing<T>(queue: string, log: Log, work: () => Promise<T[]>): Promise<T[]> {
  try {
    return await work();
  } catch (error) {
    if (isLasting(error)) throw lastOf(error);
    log.debug("receiving was interrupted", { queue, error: describe(error) });
    return [];
  }
}

async function tellAndPause(queue: string, error: unknown, { clock, log, stallMs }: Surroundings): Promise<void> {
  log.warn("looking for messages failed and is tried again", { queue, error: describe(error) });
  await clock.sleep(Math.min(retryMs, stallMs));
}
