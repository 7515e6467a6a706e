// Connections to Azure Service Bus: how they are opened and retried, how one that does not answer is replaced, and what the
// SDK's errors mean. It knows no queue and no message.

import { RetryMode, ServiceBusClient, isServiceBusError } from "@azure/service-bus";
import type { ServiceBusClientOptions, TokenCredential } from "@azure/service-bus";
import type { Clock } from "../ports";

/** A connection string, or a namespace as `name.servicebus.windows.net` and who asks. */
export type ServiceBusAddress = { readonly connection: string } | { readonly namespace: string; readonly credential: TokenCredential };

// What is transient is tried six times within some ten seconds: about 100, 300, 700, 1500 and 3100 ms lie between.
const retries: NonNullable<ServiceBusClientOptions["retryOptions"]> = {
  mode: RetryMode.Exponential, maxRetries: 5, retryDelayInMs: 100, maxRetryDelayInMs: 5_000, timeoutInMs: 10_000,
};

/** A client on a connection of its own, which opens with its first use. `tries: false`: its user tries again, not the SDK. */
export function openServiceBus(address: ServiceBusAddress, tries = true): ServiceBusClient {
  const options = { retryOptions: tries ? retries : { ...retries, maxRetries: 0 } };
  return "connection" in address ? new ServiceBusClient(address.connection, options) : new ServiceBusClient(address.namespace, address.credential, options);
}

/** A client with its links, that is replaced when it does not answer. */
export interface Connection<Links> {
  /** Work that answers within the time. Else it fails with NoAnswer, as does all that waits on this connection, and the next work has a new one. */
  use<Answer>(milliseconds: number, work: (links: Links) => Promise<Answer>): Promise<Answer>;
  close(): Promise<void>;
}

/**
 * When a connection breaks, the SDK lets what was on its way wait for its whole time; when it breaks while a link is being
 * opened, it waits a minute for itself before it opens another, and nothing cuts that short but another client.
 */
export function connect<Links>(open: () => ServiceBusClient, clock: Clock, linksOf: (client: ServiceBusClient) => Links): Connection<Links> {
  const openLinks = () => {
    const client = open();
    return { client, links: linksOf(client), waiting: new Set<AbortController>() };
  };
  let current = openLinks();

  function replace(): void {
    const { client, waiting } = current;
    current = openLinks();
    for (const wait of waiting) wait.abort();
    client.close().catch(() => {});
  }

  return {
    async use(milliseconds, work) {
      const mine = current;
      const ended = new AbortController();
      mine.waiting.add(ended);
      try {
        return await withinTime(clock, milliseconds, work(mine.links), ended);
      } catch (error) {
        if (error instanceof NoAnswer && current === mine) replace();
        throw current === mine ? error : new NoAnswer();
      } finally {
        mine.waiting.delete(ended);
      }
    },
    // One that is broken is not closed in order.
    close: () => withinTime(clock, closeMs, current.client.close()).catch(() => {}),
  };
}

const closeMs = 5_000;

/** The service, or the SDK, did not answer in time. */
export class NoAnswer extends Error {
  constructor() {
    super("Service Bus did not answer in time.");
  }
}

/** Throws NoAnswer when it takes longer, or `ended` is aborted; the work itself goes on. */
export async function withinTime<Answer>(clock: Clock, milliseconds: number, work: Promise<Answer>, ended = new AbortController()): Promise<Answer> {
  const late = clock.sleep(milliseconds, ended.signal).then((): never => {
    throw new NoAnswer();
  });
  late.catch(() => {});
  return Promise.race([work, late]).finally(() => ended.abort());
}

/** The SDK hands over the errors of all its tries when there were several. */
export function lastOf(error: unknown): unknown {
  return error instanceof AggregateError && error.errors.length > 0 ? error.errors.at(-1) : error;
}

export function describe(error: unknown): string {
  const last = lastOf(error);
  if (isServiceBusError(last)) return `${last.code}: ${last.message}`;
  return last instanceof Error ? last.message : String(last);
}

/** Worth another try. */
export function isTransient(error: unknown): boolean {
  const last = lastOf(error);
  if (last instanceof NoAnswer) return true;
  return isServiceBusError(last) && (last.retryable || last.code === "ServiceCommunicationProblem" || brokenSocket.test(last.message));
}

/** The SDK hands some of the socket's own errors on as general ones that are not worth another try. */
const brokenSocket = /\b(?:EPIPE|ECONNRESET|ECONNREFUSED|ECONNABORTED|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)\b|^Unknown error encountered/;

const lastingCodes: ReadonlySet<string> = new Set(["MessagingEntityNotFound", "MessagingEntityDisabled", "UnauthorizedAccess"]);

/** Waiting does not help. Everything else may pass: a broken connection shows as errors of many kinds. */
export function isLasting(error: unknown): boolean {
  const last = lastOf(error);
  return isServiceBusError(last) && lastingCodes.has(last.code);
}

/** A wait was over before anything came. */
export function isTimeout(error: unknown): boolean {
  const last = lastOf(error);
  return isServiceBusError(last) && last.code === "ServiceTimeout";
}
