// Opens the Cosmos DB account and makes its calls dependable: bounded repetition of what failed for the moment, a bound on calls
// at the same time, and a report of each call's request charge. Whatever is called here must bear being done twice. Its errors
// say what was refused and why, and carry nothing of the request, whose headers hold credentials.

import { type Container, CosmosClient, type CosmosClientOptions, type OperationInput, type SqlQuerySpec } from "@azure/cosmos";
import type { Clock, Random } from "../ports";
import { cosmosContainers } from "./cosmosContainers";

export interface CosmosSettings {
  /** `https://{account}.documents.azure.com` */
  readonly endpoint: string;
  readonly database: string;
  /** A managed identity's credential; a key only for stand-ins. */
  readonly credential: NonNullable<CosmosClientOptions["aadCredentials"]> | { readonly key: string };
  /** How requests travel, for stand-ins in the same process; absent: by HTTP. */
  readonly httpClient?: NonNullable<CosmosClientOptions["httpClient"]>;
}

export interface CosmosNeeds {
  readonly clock: Pick<Clock, "sleep">;
  readonly random: Pick<Random, "id" | "fraction">;
  /** Told the request charge (RU) of every call that was answered. */
  readonly onCharge?: (operation: string, requestUnits: number) => void;
}

/** What went wrong first in a batch of which nothing was kept. */
export interface BatchFailure {
  readonly index: number;
  readonly status: number;
}

export interface BatchAnswer {
  readonly failure?: BatchFailure;
  /** An earlier try got no answer and may have been carried out. */
  readonly repeated: boolean;
}

export interface CosmosQuery {
  readonly operation: string;
  readonly container: Container;
  readonly spec: SqlQuerySpec;
  /** Absent: all partitions. */
  readonly partition?: string;
  readonly pageSize?: number;
  /** Looks at what was found so far after each page and says whether that is enough. */
  readonly enough?: (found: readonly unknown[]) => boolean;
}

export interface Cosmos {
  readonly client: CosmosClient;
  readonly events: Container;
  readonly views: Container;
  readonly random: Pick<Random, "id">;
  /** Repeats the call while it fails for the moment; throws what remains. */
  call<T extends object>(operation: string, call: () => Promise<T>): Promise<T>;
  /** All operations or none, within one partition. */
  batch(operation: string, container: Container, partition: string, operations: readonly OperationInput[]): Promise<BatchAnswer>;
  query<T>(query: CosmosQuery): Promise<{ found: T[]; complete: boolean }>;
  close(): void;
}

/** Operations in one transactional batch, and their bytes: the service takes 100 and 2 MB. */
export const batchOperationsMax = 100;
export const batchBytesMax = 1_800_000;

const triesMax = 12;
const firstPauseMs = 20;
const pauseMsMax = 5_000;
const requestTimeoutMs = 15_000;
const callsAtOnceMax = 64;
const pageSizeMax = 1_000;

export function openCosmos(settings: CosmosSettings, needs: CosmosNeeds): Cosmos {
  const { credential } = settings;
  const client = new CosmosClient({
    endpoint: settings.endpoint,
    ...("key" in credential ? { key: credential.key } : { aadCredentials: credential }),
    ...(settings.httpClient === undefined ? {} : { httpClient: settings.httpClient }),
    // What throttles a call is waited for here, so that the waiting is bounded in one place.
    connectionPolicy: { requestTimeout: requestTimeoutMs, enableBackgroundEndpointRefreshing: false, retryOptions: { maxRetryAttemptCount: 0 } as never },
  });
  const database = client.database(settings.database);
  const gate = gateOf(callsAtOnceMax);
  const charged = (operation: string, answer: object): void => needs.onCharge?.(operation, chargeOf(answer));

  async function repeated<T>(operation: string, attempt: () => Promise<T>): Promise<{ value: T; repeated: boolean }> {
    let unanswered = false;
    for (let tries = 1; ; tries++) {
      try {
        return { value: await gate(attempt), repeated: unanswered };
      } catch (error) {
        const fault = faultOf(error);
        const { code, retryAfterMs } = fault;
        if (!passing.has(code) || tries >= triesMax) throw givenUp(operation, tries, fault);
        if (code !== throttled) unanswered = true;
        const pause = Math.min(pauseMsMax, retryAfterMs ?? firstPauseMs * 2 ** (tries - 1));
        await needs.clock.sleep(pause * (1 + needs.random.fraction() / 2));
      }
    }
  }

  return {
    client,
    events: database.container(cosmosContainers.events.id),
    views: database.container(cosmosContainers.views.id),
    random: needs.random,

    async call<T extends object>(operation: string, call: () => Promise<T>) {
      const { value } = await repeated(operation, call);
      charged(operation, value);
      return value;
    },

    async batch(operation, container, partition, operations) {
      const answer = await repeated(operation, async () => {
        const response = await container.items.batch([...operations], partition);
        charged(operation, response);
        const failure = failureOf(response.result ?? []);
        if (failure !== undefined && passing.has(failure.status)) throw Object.assign(new Error("an operation of the batch was refused"), { code: failure.status });
        if (failure === undefined && response.code !== undefined && response.code >= 300) throw new Error(`status ${response.code}`);
        return failure;
      });
      return { repeated: answer.repeated, ...(answer.value === undefined ? {} : { failure: answer.value }) };
    },

    async query<T>({ operation, container, spec, partition, pageSize, enough }: CosmosQuery) {
      const options = { maxItemCount: Math.min(pageSize ?? pageSizeMax, pageSizeMax), ...(partition === undefined ? {} : { partitionKey: partition }) };
      const { value } = await repeated(operation, async () => {
        const pages = container.items.query<T>(spec, options);
        const found: T[] = [];
        while (pages.hasMoreResults()) {
          const page = await pages.fetchNext();
          charged(operation, page);
          // No `resources`: the last page of some queries has none.
          found.push(...((page.resources as T[] | undefined) ?? []));
          if (pages.hasMoreResults() && enough?.(found) === true) return { found, complete: false };
        }
        return { found, complete: true };
      });
      return value;
    },

    close: () => client.dispose(),
  };
}

const throttled = 429;
/** What may be over at the next try: statuses, and the network's own codes. */
const passing: ReadonlySet<unknown> = new Set([
  408, 410, throttled, 449, 500, 503, "ECONNRESET", "ECONNREFUSED", "EPIPE", "ETIMEDOUT", "ENOTFOUND", "EAI_AGAIN", "TimeoutError", "REQUEST_SEND_ERROR",
]);

/** Without the SDK's own error as its cause: that one knows the request. */
const givenUp = (operation: string, tries: number, { code, message }: Fault): Error =>
  new Error(`Cosmos DB: ${operation} failed after ${tries} ${tries === 1 ? "try" : "tries"} (${String(code)}): ${message}`);

interface Fault {
  readonly code: unknown;
  readonly message: string;
  readonly retryAfterMs?: number;
}

/** The SDK wraps what a batch failed with once more. */
function faultOf(error: unknown): Fault {
  const outer = error as { code?: unknown; message?: string; name?: string; cause?: unknown };
  const inner = (outer.code === undefined && outer.cause !== undefined ? outer.cause : error) as typeof outer & { retryAfterInMs?: number };
  const [firstLine = ""] = (inner.message ?? "").split("\n");
  return {
    code: inner.code ?? inner.name,
    message: firstLine.slice(0, 300),
    ...(typeof inner.retryAfterInMs === "number" ? { retryAfterMs: inner.retryAfterInMs } : {}),
  };
}

const dependencyFailed = 424;

function failureOf(results: readonly { statusCode: number }[]): BatchFailure | undefined {
  const index = results.findIndex(({ statusCode }) => statusCode >= 400 && statusCode !== dependencyFailed);
  return index < 0 ? undefined : { index, status: results[index]!.statusCode };
}

function chargeOf(answer: object): number {
  const { requestCharge, headers } = answer as { requestCharge?: number; headers?: Record<string, unknown> };
  return Number(requestCharge ?? headers?.["x-ms-request-charge"] ?? 0);
}

/** At most so many at once; the others wait in the order of their coming. */
function gateOf(max: number) {
  let inside = 0;
  const waiting: (() => void)[] = [];
  return async <T>(work: () => Promise<T>): Promise<T> => {
    if (inside >= max) await new Promise<void>((enter) => waiting.push(enter));
    else inside++;
    try {
      return await work();
    } finally {
      const next = waiting.shift();
      if (next === undefined) inside--;
      else next();
    }
  };
}
