// The whole service on Azure's adapters against the stand-ins, on this machine: `npm run start:azure-local`. The functions, the
// local host and the agents are the built ones, unchanged; what differs is which adapters they were given.
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { CosmosClient } from "@azure/cosmos";
import { startAzurite } from "./azurite";
import { startCosmosGateway } from "./cosmosGateway";
import { startServiceBusBroker } from "./serviceBusBroker";

const root = path.resolve(__dirname, "..", "..");
/** Of the built service: the functions must find the ports in the very modules that they load. */
const built = <T>(file: string): T => require(path.join(root, "dist", "src", file)) as T;

const { usePorts } = built<typeof import("../../src/compose")>("compose.js");
const { azure, commitsOfFeed } = built<typeof import("../../src/azure")>("azure.js");
const { startHost } = built<typeof import("../../src/host/main")>("host/main.js");
const { provideCoreModule } = built<typeof import("../../src/host/functionsCore")>("host/functionsCore.js");
const { aesSealer } = built<typeof import("../../src/adapters/aesSealer")>("adapters/aesSealer.js");
const { fileAccounts } = built<typeof import("../../src/adapters/fileAccounts")>("adapters/fileAccounts.js");
const { processMachines } = built<typeof import("../../src/adapters/processMachines")>("adapters/processMachines.js");
const { serviceBusSource } = built<typeof import("../../src/adapters/serviceBusSource")>("adapters/serviceBusSource.js");
const { createCosmosContainers } = built<typeof import("../../src/adapters/cosmosContainers")>("adapters/cosmosContainers.js");
const { consoleLog, systemClock } = built<typeof import("../../src/adapters/system")>("adapters/system.js");

const QUEUES = { commands: {}, reports: {}, wakes: { sessions: true } };
/** How often the pull of the change feed looks for more, as the platform's trigger does. */
const FEED_POLL_MS = 100;

export interface AzureLocalOptions {
  readonly data: string;
  readonly port: number;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
}

export const startAzureLocal = async ({ data, port, logLevel }: AzureLocalOptions) => {
  mkdirSync(data, { recursive: true, mode: 0o711 });
  const [gateway, broker, azurite] = await Promise.all([startCosmosGateway(), startServiceBusBroker({ queues: QUEUES, topics: { events: {} } }), startAzurite()]);
  const credential = { key: gateway.key };
  await createCosmosContainers(new CosmosClient({ endpoint: gateway.endpoint, key: gateway.key, connectionPolicy: { enableBackgroundEndpointRefreshing: false } }), "batchledger");
  const connection = { connection: broker.connectionString };
  const log = consoleLog(logLevel);
  const endpointFile = path.join(data, "service.json");
  const machines = processMachines({
    dataDir: data,
    endpointFile,
    log,
    onMachineLost: ({ account, pool, tvm, boot }) =>
      parts.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: `${account}.${pool}.${tvm}`.toLowerCase(), boot } }]),
  });
  const parts = azure(
    {
      cosmos: { endpoint: gateway.endpoint, database: "batchledger", credential },
      serviceBus: connection,
      blobs: { url: azurite.url, credential: { account: azurite.account, key: azurite.key } },
      policy: { allowElevated: false, poolTvmsMax: 64 },
      logLevel,
    },
    { sealer: aesSealer(path.join(data, "keys", "service.secret")), accounts: fileAccounts(path.join(data, "keys"), ["local"]), machines },
  );
  const source = serviceBusSource(connection, { clock: systemClock, log });
  const timers = new Set<NodeJS.Timeout>();
  const feed = {
    ...parts.ports.eventStore,
    onAppend(listener: () => void) {
      const timer = setInterval(listener, FEED_POLL_MS);
      timers.add(timer);
      return () => clearInterval(timer);
    },
  };
  provideCoreModule();
  usePorts(parts.ports, (documents) => (documents.some((document) => "s" in (document as object)) ? commitsOfFeed(documents) : (documents as never)));
  const host = await startHost({ appDir: root, port, dataDir: data, queueSource: source, feed, log, onStopping: parts.stopWaiting });
  const temporary = `${endpointFile}.new`;
  writeFileSync(temporary, JSON.stringify({ url: host.url, pid: process.pid }));
  renameSync(temporary, endpointFile);
  return {
    url: host.url,
    keyFile: path.join(data, "keys", "local.key"),
    gateway,
    broker,
    async stop(): Promise<void> {
      await host.stop();
      for (const timer of timers) clearInterval(timer);
      await machines.stopAll();
      await source.close();
      await parts.close();
      await Promise.all([gateway.close(), broker.close(), azurite.stop()]);
      rmSync(endpointFile, { force: true });
    },
  };
};

export const main = async (): Promise<void> => {
  const data = path.resolve(process.argv[2] ?? ".batchledger/azure-local");
  const service = await startAzureLocal({ data, port: Number(process.argv[3] ?? 7071), logLevel: "info" });
  console.log(JSON.stringify({ event: "ready", api: service.url, account: "local", keyFile: service.keyFile, data }));
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.once(signal, () => {
      void service.stop().then(() => process.exit(0));
    });
};
