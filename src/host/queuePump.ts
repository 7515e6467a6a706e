// Hands messages of the embedded bus to Service Bus functions: one or many a call, a lane at a time where sessions are on.
// Completes them when the handler succeeds; when it throws, gives them back after a growing pause with the error as the
// reason, so that the bus counts the delivery and in the end moves them to the dead letters. It never looks into a body.

import type { QueueSource, ReceivedMessage } from "../ports";
import { byReference, functionsOf, log, resolveSettings } from "./functionsCore";
import type { RegisteredFunction, TypedData } from "./functionsCore";
import { nextTurn } from "./clock";
import type { HostClock } from "./clock";
import type { HostSettings } from "./hostJson";
import type { Call, Invoker } from "./invoke";
import { isNoRoom } from "./noRoom";
import { messageOf } from "./retry";
import { stopAll } from "./timerPump";
import type { Pump } from "./timerPump";

/** Makes the pump for all Service Bus functions. Throws on a topic trigger: the embedded bus has no subscriptions. */
export function createQueuePump(invoker: Invoker, clock: HostClock, source: QueueSource, settings: HostSettings): Pump {
  const receivers = functionsOf("servicebustrigger").map((fn) => receiver(fn, invoker, clock, source, settings));
  return {
    start: () => receivers.forEach((each) => each.start()),
    stop: () => stopAll(receivers),
  };
}

// One batch at a time: while it is handled, arrivals gather for the next, which makes batches as large as the load asks for.
const batchesAtOnce = 1;
const firstPauseMs = 100;
const longestPauseMs = 10_000;
const sourceRetryMs = 1_000;
const noRoomRetryMs = 1_000;

function receiver(fn: RegisteredFunction, invoker: Invoker, clock: HostClock, source: QueueSource, settings: HostSettings): Pump {
  const { queueName, isSessionsEnabled, cardinality } = fn.trigger as { queueName?: string; isSessionsEnabled?: boolean; cardinality?: string };
  if (!queueName) throw new Error(`Function "${fn.name}": topics cannot be subscribed to on the local host.`);
  const queue = resolveSettings(queueName);
  const byLane = isSessionsEnabled === true;
  const many = cardinality === "many";
  const slots = byLane ? settings.lanesMax : many ? batchesAtOnce : settings.callsMax;
  let busy = 0;
  let receiving = false;
  let again = false;
  let stopped = false;
  let unsubscribe = (): void => {};
  const pauses = new Set<() => void>();
  /** Receiving, handling, giving back: everything that a stop waits for. */
  const underWay = new Set<Promise<unknown>>();

  function track(work: Promise<unknown>): void {
    underWay.add(work);
    void work.finally(() => underWay.delete(work));
  }

  function kick(): void {
    again = true;
    if (!receiving && !stopped) track(receiveAll());
  }

  async function receiveAll(): Promise<void> {
    receiving = true;
    try {
      while (again && !stopped) {
        again = false;
        await nextTurn();
        while (busy < slots && !stopped) {
          const max = many || byLane ? settings.batchMax : slots - busy;
          const messages = await source.receive(queue, { max, byLane });
          if (messages.length === 0) break;
          dispatch(messages);
        }
      }
    } catch (error) {
      log("error", "system", `Receiving from ${queue}: ${messageOf(error)}`, fn.name);
      pause(sourceRetryMs, kick);
    } finally {
      receiving = false;
    }
  }

  function dispatch(messages: readonly ReceivedMessage[]): void {
    if (many) occupy(() => handleMany(messages));
    else if (byLane) occupy(() => handleInOrder(messages));
    else for (const message of messages) occupy(() => handle([message], callOne(message)));
  }

  function occupy(work: () => Promise<unknown>): void {
    busy++;
    track(
      work()
        .catch((error: unknown) => log("error", "system", `Settling messages of ${queue}: ${messageOf(error)}`, fn.name))
        .finally(() => {
          busy--;
          kick();
        }),
    );
  }

  const handleMany = (messages: readonly ReceivedMessage[]): Promise<boolean> => handle(messages, callMany(messages));

  async function handleInOrder(messages: readonly ReceivedMessage[]): Promise<void> {
    for (const [index, message] of messages.entries()) {
      if (stopped) return giveBack(messages.slice(index), "The host is stopping.");
      if (!(await handle([message], callOne(message), messages.slice(index + 1)))) return;
    }
  }

  /** True when handled. On failure these messages, and in a lane those behind them, go back after a pause. */
  async function handle(messages: readonly ReceivedMessage[], call: Call, behind: readonly ReceivedMessage[] = []): Promise<boolean> {
    try {
      await invoker.invoke(fn, call);
    } catch (error) {
      const reason = messageOf(error);
      // Handing it out again and again would end it among the dead letters, for a disk that is full: it is tried again where it is.
      if (isNoRoom(error) && !stopped) {
        await waitForRoom(reason);
        return handle(messages, call, behind);
      }
      log("error", "user", error instanceof Error ? (error.stack ?? reason) : reason, fn.name);
      // The handler knows that no later try will do: the platform would only find out by trying.
      if ((error as { hopeless?: unknown } | undefined)?.hopeless === true && messages.length === 1) {
        await withRoom(() => source.deadLetter(queue, messages, reason));
        return true;
      }
      const deliveries = messages.reduce((most, message) => Math.max(most, message.deliveryCount), 1);
      pause(Math.min(firstPauseMs * 2 ** (deliveries - 1), longestPauseMs), () => track(giveBack([...messages, ...behind], reason)));
      return false;
    }
    await withRoom(() => source.complete(queue, messages));
    return true;
  }

  /** Settles as soon as there is room for it: until then nobody else is handed these messages, nor what is behind them in their lane. */
  async function withRoom(settle: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        return await settle();
      } catch (error) {
        if (!isNoRoom(error) || stopped) throw error;
        await waitForRoom(messageOf(error));
      }
    }
  }

  function waitForRoom(reason: string): Promise<void> {
    log("error", "system", `Messages of ${queue} wait: ${reason}`, fn.name);
    return new Promise((resolve) => pause(noRoomRetryMs, resolve));
  }

  async function giveBack(messages: readonly ReceivedMessage[], reason: string): Promise<void> {
    try {
      await withRoom(() => source.abandon(queue, messages, reason));
    } catch (error) {
      log("error", "system", `Giving messages back to ${queue}: ${messageOf(error)}`, fn.name);
    }
    kick();
  }

  /** Runs later, or at once when the pump stops: nothing stays locked behind it. */
  function pause(milliseconds: number, run: () => void): void {
    if (stopped) return run();
    const ended = (): void => {
      cancel();
      pauses.delete(ended);
      run();
    };
    const cancel = clock.after(milliseconds, ended);
    pauses.add(ended);
  }

  return {
    start() {
      unsubscribe = source.onArrival(queue, kick);
      kick();
    },
    async stop() {
      stopped = true;
      unsubscribe();
      for (const end of pauses) end();
      while (underWay.size > 0) await Promise.allSettled(underWay);
    },
  };
}

const textOf = (value: string | undefined): TypedData | undefined => (value === undefined ? undefined : { string: value });

// A body that is text goes as text, which the library parses as JSON if it is JSON; everything else is handed over as it is.
const bodyData = (message: ReceivedMessage): TypedData => (typeof message.body === "string" ? { string: message.body } : byReference(message.body));

function callOne(message: ReceivedMessage): Call {
  const triggerMetadata: Record<string, TypedData | undefined> = {
    MessageId: byReference(message.messageId),
    DeliveryCount: { int: message.deliveryCount },
    EnqueuedTimeUtc: byReference(message.enqueuedAt),
    SequenceNumber: { int: message.sequence },
    LockToken: byReference(message.messageId),
    ContentType: { string: "application/json" },
    ApplicationProperties: byReference({}),
    CorrelationId: textOf(message.correlationId),
    ReplyTo: textOf(message.replyTo),
    SessionId: textOf(message.lane),
  };
  if (typeof message.body === "object" && message.body !== null && !Array.isArray(message.body)) {
    for (const [name, value] of Object.entries(message.body)) triggerMetadata[name] ??= byReference(value);
  }
  return { data: bodyData(message), triggerMetadata };
}

function callMany(messages: readonly ReceivedMessage[]): Call {
  const column = (read: (message: ReceivedMessage) => unknown): TypedData => byReference(messages.map(read));
  const data = byReference(messages.map((message) => (typeof message.body === "string" ? parseIfJson(message.body) : message.body)));
  return {
    data,
    triggerMetadata: {
      MessageIdArray: column((message) => message.messageId),
      DeliveryCountArray: column((message) => message.deliveryCount),
      EnqueuedTimeUtcArray: column((message) => message.enqueuedAt),
      SequenceNumberArray: column((message) => message.sequence),
      LockTokenArray: column((message) => message.messageId),
      CorrelationIdArray: column((message) => message.correlationId),
      ReplyToArray: column((message) => message.replyTo),
      SessionIdArray: column((message) => message.lane),
    },
  };
}

function parseIfJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
