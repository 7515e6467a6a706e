// Messages of Azure Service Bus as they were received, and those among the dead letters. It never settles a message.

import type { ServiceBusClient, ServiceBusReceivedMessage } from "@azure/service-bus";
import type { Json, ReceivedMessage } from "../ports";

/** Why a message was last given back: Service Bus itself keeps no reason for that. */
export const failureProperty = "lastFailure";

/** Looks at the oldest dead letters, and leaves them there. */
export async function peekDeadLetters(open: () => ServiceBusClient, queue: string, limit: number): Promise<{ message: ReceivedMessage; reason: string }[]> {
  // A client remembers how far it has looked: a new one looks from the beginning.
  const looking = open();
  try {
    const dead = await looking.createReceiver(queue, { subQueueType: "deadLetter" }).peekMessages(limit);
    return dead.map((raw) => ({ message: { ...toMessage(raw), deliveryCount: raw.deliveryCount ?? 0 }, reason: reasonOf(raw) }));
  } finally {
    await looking.close();
  }
}

export function toMessage(raw: ServiceBusReceivedMessage): ReceivedMessage {
  return {
    messageId: String(raw.messageId),
    sequence: raw.sequenceNumber?.toNumber() ?? 0,
    deliveryCount: deliveriesOf(raw),
    enqueuedAt: (raw.enqueuedTimeUtc ?? new Date(0)).toISOString(),
    body: bodyOf(raw.body),
    ...(raw.sessionId === undefined ? {} : { lane: raw.sessionId }),
    ...(raw.correlationId === undefined ? {} : { correlationId: String(raw.correlationId) }),
    ...(raw.replyTo === undefined ? {} : { replyTo: raw.replyTo }),
  };
}

/** The SDK has parsed what is JSON; other bytes are text. */
const bodyOf = (body: unknown): Json => (body instanceof Uint8Array ? Buffer.from(body).toString("utf8") : (body as Json));


export const deliveriesOf = (raw: ServiceBusReceivedMessage): number => (raw.deliveryCount ?? 0) + 1;

/** The handler's own words if there are any: the service's say only that there were too many deliveries. */
function reasonOf({ deadLetterReason, deadLetterErrorDescription, applicationProperties }: ServiceBusReceivedMessage): string {
  const failure = applicationProperties?.[failureProperty];
  if (deadLetterReason === "MaxDeliveryCountExceeded" && typeof failure === "string") return failure;
  return deadLetterErrorDescription ?? deadLetterReason ?? "";
}
