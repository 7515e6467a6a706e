// Azure's own parts: Cosmos DB for events and views, Service Bus for messages, Blob storage for files. Where secrets are sealed,
// who may sign requests and which machines there are is given to it: that differs between a subscription and a stand-in.
import { type BlobFilesOptions, blobFiles } from "./adapters/blobFiles";
import { type Cosmos, type CosmosSettings, openCosmos } from "./adapters/cosmosClient";
import { commitOfDocument, cosmosEventStore } from "./adapters/cosmosEventStore";
import { cosmosViews } from "./adapters/cosmosViews";
import { localSignals } from "./adapters/localSignals";
import { type ServiceBusAddress, serviceBus } from "./adapters/serviceBus";
import { consoleLog, systemClock, systemRandom } from "./adapters/system";
import type { BasePorts } from "./compose";
import { partitionOf } from "./domain/ids";
import type { EmbeddedSettings } from "./settings";

export interface AzureOptions {
  readonly cosmos: CosmosSettings;
  readonly serviceBus: ServiceBusAddress;
  readonly blobs: Pick<BlobFilesOptions, "url" | "credential" | "client">;
  readonly policy: BasePorts["policy"];
  readonly logLevel: EmbeddedSettings["logLevel"];
}

export interface AzureParts {
  readonly ports: BasePorts;
  readonly cosmos: Cosmos;
  /** The process is about to stop: whoever waits for news is answered. */
  stopWaiting(): void;
  close(): Promise<void>;
}

export const azure = (options: AzureOptions, own: Pick<BasePorts, "sealer" | "accounts" | "machines">): AzureParts => {
  const log = consoleLog(options.logLevel);
  const cosmos = openCosmos(options.cosmos, { clock: systemClock, random: systemRandom });
  const bus = serviceBus(options.serviceBus, { random: systemRandom, log });
  const signals = localSignals(systemClock);
  const ports: BasePorts = {
    eventStore: cosmosEventStore(cosmos, partitionOf),
    views: cosmosViews(cosmos),
    bus,
    files: blobFiles({ ...options.blobs, clock: systemClock }),
    policy: options.policy,
    signals,
    clock: systemClock,
    random: systemRandom,
    log,
    ...own,
  };
  return {
    ports,
    cosmos,
    stopWaiting: () => signals.close(),
    async close() {
      await bus.close();
      cosmos.close();
    },
  };
};

/** What the change feed of the container `events` hands over, as commits. */
export const commitsOfFeed = (documents: readonly unknown[]) => documents.flatMap((document) => commitOfDocument(document) ?? []);
