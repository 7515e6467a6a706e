// Sends to Azure Service Bus: messages to queues, domain events to the topic `events`. Links stay open; what is transient is
// tried again a few times with the same message ids, so that a queue with duplicate detection keeps one of them. It never
// receives: on Azure the Functions runtime does, elsewhere serviceBusSource.ts.

import { isServiceBusError } from "@azure/service-bus";
import type { ServiceBusMessage, ServiceBusMessageBatch, ServiceBusSender } from "@azure/service-bus";
import { createHash } from "node:crypto";
import type { Bus, Clock, Log, Message, Random, StoredEvent } from "../ports";
import { NoAnswer, type ServiceBusAddress, connect, describe, isTransient, lastOf, openServiceBus } from "./serviceBusClient";
import { peekDeadLetters } from "./serviceBusMessages";

export type { ServiceBusAddress } from "./serviceBusClient";

export interface BusOptions {
  readonly random: Random;
  readonly clock: Clock;
  readonly log: Log;
  /** A connection on which a send is not answered for this long is replaced, and the send is tried again. */
  readonly answerMs?: number;
}

/** The topic that every domain event goes to. */
export const eventsTopic = "events";

/** The service takes 4,500; smaller ones leave room for others on the link. */
const batchMessagesMax = 1_000;
// About 100, 200, 400, 800 and 1600 ms lie between the tries of a send.
const triesMax = 6;
const firstPauseMs = 100;
/** Lanes that are sent to at once. */
const lanesAtOnce = 16;
/** The service's limit for the names of lanes and for message ids. */
const nameCharactersMax = 128;

/** The Bus port on Service Bus. `close` ends its connection; messages on their way are finished first or fail. */
export function serviceBus(address: ServiceBusAddress, { random, clock, log, answerMs = 5_000 }: BusOptions): Bus & { close(): Promise<void> } {
  const connection = connect(() => openServiceBus(address, false), clock, (client) => {
    const senders = new Map<string, ServiceBusSender>();
    return (entity: string): ServiceBusSender => {
      let sender = senders.get(entity);
      if (sender === undefined) senders.set(entity, (sender = client.createSender(entity)));
      return sender;
    };
  });

  /** One answer of the service, asked for again while that may help. The time is for each: a call of many batches may take longer. */
  async function ask<Answer>(entity: string, work: (sender: ServiceBusSender) => Promise<Answer>): Promise<Answer> {
    for (let tries = 1; ; tries++) {
      try {
        return await connection.use(answerMs, (senderFor) => work(senderFor(entity)));
      } catch (error) {
        if (!isTransient(error) || tries === triesMax) throw refusal(entity, lastOf(error));
        log.debug("sending failed and is tried again", { entity, tries, error: describe(error) });
        await clock.sleep(firstPauseMs * 2 ** (tries - 1) * (0.5 + random.fraction()));
      }
    }
  }

  const newBatch = (entity: string) => (): Promise<ServiceBusMessageBatch> => ask(entity, (sender) => sender.createMessageBatch());

  /** Sent again, a batch has the same message ids. */
  async function sendInOrder(entity: string, batches: readonly ServiceBusMessageBatch[]): Promise<void> {
    for (const batch of batches) await ask(entity, (sender) => sender.sendMessages(batch));
  }

  return {
    /** Throws before anything is sent when a message is too large; when sending fails half way, some messages may have gone. */
    async send(queue, messages) {
      // A batch is of one lane: partitioned entities take no other, and a lane's batches go one after the other.
      const lanes = [...Map.groupBy(messages.map((message) => toServiceBus(message, random)), ({ sessionId }) => sessionId).values()];
      const packed: ServiceBusMessageBatch[][] = [];
      for (const lane of lanes) packed.push(await pack(newBatch(queue), lane, (size, limit) => tooLarge(queue, size, limit)));
      for (let from = 0; from < packed.length; from += lanesAtOnce)
        await Promise.all(packed.slice(from, from + lanesAtOnce).map((batches) => sendInOrder(queue, batches)));
    },

    async publish(events) {
      await sendInOrder(eventsTopic, await pack(newBatch(eventsTopic), toEventMessages(events), shortened(log)));
    },

    deadLetters: (queue, limit) => peekDeadLetters(() => openServiceBus(address), queue, limit),

    close: () => connection.close(),
  };
}

// ---------------------------------------------------------------- batches

type OnTooLarge = (size: number, limit: number, message: ServiceBusMessage) => ServiceBusMessage;

/** As few batches as the link's limit allows, in order. What does not fit alone is replaced by what `onTooLarge` answers, if it does. */
async function pack(newBatch: () => Promise<ServiceBusMessageBatch>, messages: readonly ServiceBusMessage[], onTooLarge: OnTooLarge): Promise<ServiceBusMessageBatch[]> {
  const batches: ServiceBusMessageBatch[] = [];
  let open: ServiceBusMessageBatch | undefined;
  for (const message of messages) {
    if (open !== undefined && open.count < batchMessagesMax && open.tryAddMessage(message)) continue;
    batches.push((open = await newBatch()));
    if (open.tryAddMessage(message)) continue;
    const instead = onTooLarge((message.body as Buffer).length, open.maxSizeInBytes, message);
    if (!open.tryAddMessage(instead)) throw new Error(`A message does not fit into ${open.maxSizeInBytes} bytes, however short.`);
  }
  return batches;
}

function tooLarge(entity: string, size: number, limit: number): never {
  throw new Error(`A message of ${size} bytes is too large for "${entity}": it takes ${limit} bytes at most, with the message's properties.`);
}

function toServiceBus({ lane, body, correlationId, replyTo }: Message, random: Random): ServiceBusMessage {
  if (lane !== undefined && lane.length > nameCharactersMax) throw new Error(`The lane "${lane}" is too long: ${nameCharactersMax} characters at most.`);
  return {
    body: bytesOf(body),
    contentType: "application/json",
    messageId: random.uuid(),
    ...(lane === undefined ? {} : { sessionId: lane }),
    ...(correlationId === undefined ? {} : { correlationId }),
    ...(replyTo === undefined ? {} : { replyTo }),
  };
}

// ---------------------------------------------------------------- events

interface Published {
  readonly stream: string;
  readonly version: number;
  readonly event: StoredEvent;
}

/** The id depends on the event alone: published again, it is a duplicate. */
function toEventMessages(events: readonly Published[]): ServiceBusMessage[] {
  const known = new Map<string, number>();
  return events.map(({ stream, version, event }) => {
    // What is sealed is for the service alone; everything else of an event is for its readers.
    const body = bytesOf(event, (name, value: unknown) => (name === "sealed" ? undefined : value));
    const id = createHash("sha256").update(JSON.stringify([stream, version])).update(body).digest("base64url");
    const before = known.get(id) ?? 0;
    known.set(id, before + 1);
    return {
      body,
      contentType: "application/json",
      messageId: before === 0 ? id : `${id}.${before}`,
      subject: event.type,
      applicationProperties: { stream, version, type: event.type },
    };
  });
}

/** An event that is too large goes without its fields: readers see that it happened, and where to ask. */
const shortened = (log: Log): OnTooLarge => (size, limit, message) => {
  const { at } = JSON.parse(String(message.body)) as StoredEvent;
  log.warn("an event is too large for its topic and is published without its fields", { ...message.applicationProperties, size, limit });
  return { ...message, body: bytesOf({ type: message.subject, at, shortened: true }) };
};

const bytesOf = (value: unknown, replace?: (name: string, value: unknown) => unknown): Buffer => Buffer.from(JSON.stringify(value, replace));

// ---------------------------------------------------------------- errors

/** Names the queue or topic. */
function refusal(entity: string, last: unknown): unknown {
  if (!isServiceBusError(last) && !(last instanceof NoAnswer)) return last;
  const what = "code" in last && last.code === "MessagingEntityNotFound" ? "there is no such queue or topic" : last.message;
  return new Error(`Sending to "${entity}" failed: ${what}`, { cause: last });
}
