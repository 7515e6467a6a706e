// How received messages of Azure Service Bus end: completed, given back or dead letters. Knows what the SDK must not be asked to
// do at once.

import type { ServiceBusReceivedMessage, ServiceBusReceiver, ServiceBusSessionReceiver } from "@azure/service-bus";
import { failureProperty } from "./serviceBusMessages";

export type Receiver = ServiceBusReceiver | ServiceBusSessionReceiver;

/** A message that this process has locked. */
export interface Hold {
  readonly raw: ServiceBusReceivedMessage;
  readonly receiver: Receiver;
  /** Called once it is settled, or lost. */
  readonly released: () => Promise<void>;
}

export type Ending =
  | { readonly kind: "complete" }
  | { readonly kind: "abandon"; readonly reason: string }
  | { readonly kind: "deadLetter"; readonly code: string; readonly reason: string };

/** The service's limit for why a message is a dead letter is 4,096 characters. */
const reasonCharactersMax = 4_000;

/** Settlements of one link that are under way: all of them end alike. */
interface Turn {
  readonly key: string;
  readonly work: Set<Promise<void>>;
}

const turns = new WeakMap<Receiver, Turn>();

/**
 * Ends a message. The SDK's protocol library (rhea 3.0) writes two settlements of one turn as one, with the outcome of the first:
 * a message given back beside a completed one would be lost. So those that end differently wait for the answers before them.
 */
export async function endInTurn(hold: Hold, ending: Ending, bounded: (work: Promise<void>) => Promise<void>): Promise<void> {
  const key = JSON.stringify(ending);
  let turn = turns.get(hold.receiver);
  while (turn !== undefined && turn.key !== key && turn.work.size > 0) {
    await Promise.allSettled(turn.work);
    turn = turns.get(hold.receiver);
  }
  if (turn === undefined || turn.key !== key) turns.set(hold.receiver, (turn = { key, work: new Set() }));
  const { work } = turn;
  const mine = bounded(end(hold, ending));
  work.add(mine);
  await mine.finally(() => work.delete(mine));
}

function end({ raw, receiver }: Hold, ending: Ending): Promise<void> {
  if (ending.kind === "complete") return receiver.completeMessage(raw);
  const reason = ending.reason.slice(0, reasonCharactersMax);
  return ending.kind === "abandon"
    ? receiver.abandonMessage(raw, { [failureProperty]: reason })
    : receiver.deadLetterMessage(raw, { deadLetterReason: ending.code, deadLetterErrorDescription: reason });
}
