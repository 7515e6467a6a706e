// All of Azure that the service needs, as stand-ins in this process: Cosmos DB, Service Bus, Blob storage (Azurite) and the Resource
// Manager with its machines. Any number of services, in processes of their own, may work on one set; it lives as long as this process.
import { mkdirSync } from "node:fs";
import path from "node:path";
import { CosmosClient } from "@azure/cosmos";
import { createCosmosContainers } from "../../src/adapters/cosmosContainers";
import { type Azurite, startAzurite } from "./azurite";
import { testCertificate } from "./certificate";
import { type CosmosGateway, startCosmosGateway } from "./cosmosGateway";
import { type KeyVault, startKeyVault } from "./keyVault";
import { type ResourceManager, startResourceManager } from "./resourceManager";
import { type ServiceBusBroker, startServiceBusBroker } from "./serviceBusBroker";

const root = path.resolve(__dirname, "..", "..");
const database = "batchledger";

/** Queues and topics as infra/data.bicep declares them. */
const tenMinutes = 10 * 60_000;
const queues = {
  commands: { duplicateWindowMs: tenMinutes, deadLetterExpired: true },
  reports: { duplicateWindowMs: tenMinutes, deadLetterExpired: true },
  wakes: { sessions: true, ttlMs: 3_600_000 },
  signals: { sessions: true, ttlMs: 10_000 },
};

/** What a service has to be told to work on a set of stand-ins. */
export interface AzureAddresses {
  readonly cosmos: { readonly endpoint: string; readonly key: string; readonly database: string };
  readonly serviceBus: { readonly connection: string };
  readonly blobs: { readonly url: string; readonly account: string; readonly key: string };
  readonly resourceManager: { readonly url: string; readonly ca: string };
  readonly keyVault: { readonly url: string; readonly ca: string };
}

export interface AzureStandIns {
  readonly addresses: AzureAddresses;
  readonly gateway: CosmosGateway;
  readonly broker: ServiceBusBroker;
  readonly resourceManager: ResourceManager;
  readonly keyVault: KeyVault;
  /** Where the Resource Manager's machines have their disks. */
  readonly machines: string;
  /** The file (and those whose names begin with it) that holds all documents. */
  readonly documents: string;
  stop(): Promise<void>;
}

/** `azurite`: one that is there already, and stays. The folder is this set's own. */
export const startAzureStandIns = async (folder: string, azurite?: Azurite): Promise<AzureStandIns> => {
  mkdirSync(folder, { recursive: true, mode: 0o711 });
  const machines = path.join(folder, "machines");
  const documents = path.join(folder, "documents.db");
  const tls = testCertificate();
  const [gateway, broker, blobs, resourceManager, keyVault] = await Promise.all([
    startCosmosGateway({ file: documents }),
    startServiceBusBroker({ queues, topics: { events: {} } }),
    azurite ?? startAzurite(),
    startResourceManager({ tls, folder: machines, agent: [path.join(root, "dist", "src", "agent", "main.js")], firstUserId: 1_500_000_000 + (process.pid % 1_000_000) * 100 }),
    startKeyVault({ tls }),
  ]);
  const client = new CosmosClient({ endpoint: gateway.endpoint, key: gateway.key, connectionPolicy: { enableBackgroundEndpointRefreshing: false } });
  await createCosmosContainers(client, database);
  client.dispose();
  return {
    addresses: {
      cosmos: { endpoint: gateway.endpoint, key: gateway.key, database },
      serviceBus: { connection: broker.connectionString },
      blobs: { url: blobs.url, account: blobs.account, key: blobs.key },
      resourceManager: { url: resourceManager.url, ca: tls.cert },
      keyVault: { url: keyVault.url, ca: tls.cert },
    },
    gateway, broker, resourceManager, keyVault, machines, documents,
    async stop() {
      await resourceManager.stop();
      await Promise.all([gateway.close(), broker.close(), keyVault.stop(), azurite === undefined ? blobs.stop() : undefined]);
    },
  };
};
