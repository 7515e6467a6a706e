// Azure's own parts: Cosmos DB for events and views, Service Bus for messages, Blob storage for files. Where secrets are sealed,
// who may sign requests and which machines there are is given to it: that differs between a subscription and a stand-in.
import { ManagedIdentityCredential } from "@azure/identity";
import { readFileSync } from "node:fs";
import path from "node:path";
import { type BlobFilesOptions, blobFiles } from "./adapters/blobFiles";
import { type Cosmos, type CosmosSettings, openCosmos } from "./adapters/cosmosClient";
import { commitOfDocument, cosmosEventStore } from "./adapters/cosmosEventStore";
import { cosmosViews } from "./adapters/cosmosViews";
import { keyVaultAccounts } from "./adapters/keyVaultAccounts";
import { keyVaultCertificates } from "./adapters/keyVaultCertificates";
import { keyVaultSealer } from "./adapters/keyVaultSealer";
import { scaleSetMachines } from "./adapters/scaleSetMachines";
import { type ServiceBusAddress, serviceBus } from "./adapters/serviceBus";
import { serviceBusSignals } from "./adapters/serviceBusSignals";
import { consoleLog, systemClock, systemRandom } from "./adapters/system";
import type { BasePorts } from "./compose";
import { partitionOf } from "./domain/ids";
import { presentSizes } from "./domain/sizes";
import type { AzureSettings, EmbeddedSettings } from "./settings";

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

export const azure = (options: AzureOptions, own: Pick<BasePorts, "sealer" | "accounts" | "certificates" | "machines">): AzureParts => {
  const log = consoleLog(options.logLevel);
  const cosmos = openCosmos(options.cosmos, { clock: systemClock, random: systemRandom });
  const bus = serviceBus(options.serviceBus, { random: systemRandom, clock: systemClock, log });
  const views = cosmosViews(cosmos);
  const signals = serviceBusSignals({ address: options.serviceBus, bus, views, clock: systemClock, random: systemRandom, log });
  const ports: BasePorts = {
    eventStore: cosmosEventStore(cosmos, partitionOf),
    views,
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
    stopWaiting: () => void signals.close(),
    async close() {
      await signals.close();
      await bus.close();
      cosmos.close();
    },
  };
};

/** What the change feed of the container `events` hands over, as commits. */
export const commitsOfFeed = (documents: readonly unknown[]) => documents.flatMap((document) => commitOfDocument(document) ?? []);

/** The deployed app: everything by the service's identity, no key anywhere but in the vault. */
export const deployed = async (settings: AzureSettings): Promise<AzureParts> => {
  const credential = settings.clientId === undefined ? new ManagedIdentityCredential() : new ManagedIdentityCredential({ clientId: settings.clientId });
  const log = consoleLog("info");
  const vault = { vault: settings.vaultUrl, credential };
  return azure(
    {
      cosmos: { endpoint: settings.cosmosEndpoint, database: "batchledger", credential },
      serviceBus: { namespace: settings.serviceBusNamespace, credential },
      blobs: { url: settings.filesUrl, credential },
      // Each TVM is a machine of its own, gone with the TVM: its users concern nobody else.
      policy: { allowElevated: settings.allowElevated, poolTvmsMax: settings.poolTvmsMax, ...settings.quotas, allowTvmUsers: true },
      logLevel: "info",
    },
    {
      sealer: await keyVaultSealer({ ...vault, secret: "sealing-key" }),
      accounts: keyVaultAccounts({ ...vault, clock: systemClock }),
      certificates: keyVaultCertificates(vault),
      machines: scaleSetMachines({
        subscription: settings.subscription,
        resourceGroup: settings.poolsGroup,
        location: settings.location,
        credential,
        subnets: settings.subnets,
        endpoint: () => settings.url,
        cloudInit: readFileSync(path.resolve(__dirname, "..", "infra", "cloud-init.yaml"), "utf8"),
        values: { ...settings.packages },
        sizes: presentSizes(),
        ...imageOf(settings.tvmImage),
        clock: systemClock,
        log,
      }),
    },
  );
};

/** `publisher:offer:sku:version` */
const imageOf = (text: string | undefined): { image?: { publisher: string; offer: string; sku: string; version: string } } => {
  if (text === undefined) return {};
  const [publisher = "", offer = "", sku = "", version = "latest"] = text.split(":");
  return { image: { publisher, offer, sku, version } };
};
