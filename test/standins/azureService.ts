// One copy of the whole service on Azure's adapters, in this process, against a set of stand-ins that may be elsewhere. The functions,
// the local host and the agents are the built ones, unchanged; what differs is which adapters they were given.
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { ChangeFeedStartFrom } from "@azure/cosmos";
import type { AzureAddresses } from "./azureStandIns";
import { standInTemplate } from "./resourceManager";

const root = path.resolve(__dirname, "..", "..");
/** Of the built service: the functions must find the ports in the very modules that they load. */
const built = <T>(file: string): T => require(path.join(root, "dist", "src", file)) as T;

const { usePorts } = built<typeof import("../../src/compose")>("compose.js");
const { azure, commitsOfFeed } = built<typeof import("../../src/azure")>("azure.js");
const { startHost } = built<typeof import("../../src/host/main")>("host/main.js");
const { provideCoreModule } = built<typeof import("../../src/host/functionsCore")>("host/functionsCore.js");
const { aesSealer } = built<typeof import("../../src/adapters/aesSealer")>("adapters/aesSealer.js");
const { fileAccounts } = built<typeof import("../../src/adapters/fileAccounts")>("adapters/fileAccounts.js");
const { keyVaultCertificates } = built<typeof import("../../src/adapters/keyVaultCertificates")>("adapters/keyVaultCertificates.js");
const { processMachines } = built<typeof import("../../src/adapters/processMachines")>("adapters/processMachines.js");
const { scaleSetMachines } = built<typeof import("../../src/adapters/scaleSetMachines")>("adapters/scaleSetMachines.js");
const { serviceBusSource } = built<typeof import("../../src/adapters/serviceBusSource")>("adapters/serviceBusSource.js");
const { consoleLog, systemClock } = built<typeof import("../../src/adapters/system")>("adapters/system.js");

/** How often the pull of the change feed looks for more, as the platform's trigger does. */
const FEED_POLL_MS = 100;

export interface AzureServiceOptions {
  readonly addresses: AzureAddresses;
  /** Keys, the task hub and where clients find this copy. */
  readonly data: string;
  readonly port: number;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
  /** Scale sets behind the stand-in of the Resource Manager, or processes of this copy, whose end it notices at once. */
  readonly machines: "scaleSets" | "processes";
  /** Where agents find the service, when several copies stand behind one address. */
  readonly url?: string;
  /** Folder that all copies share, as on Azure they share the storage of the platform: keys, and the task hub with its leases. */
  readonly shared?: string;
}

type Ports = ReturnType<typeof azure>["ports"];

export interface AzureService {
  readonly url: string;
  readonly keyFile: string;
  stop(): Promise<void>;
}

export const startAzureService = async (options: AzureServiceOptions): Promise<AzureService> => {
  const { data, addresses, logLevel, shared = data } = options;
  mkdirSync(data, { recursive: true, mode: 0o711 });
  const log = consoleLog(logLevel);
  const endpointFile = path.join(data, "service.json");
  const own = processMachines({
    dataDir: data, endpointFile, log,
    onMachineLost: ({ account, pool, tvm, boot }) => ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: `${account}.${pool}.${tvm}`.toLowerCase(), boot } }]),
  });
  let url = "";
  const parts = azure(
    {
      cosmos: { endpoint: addresses.cosmos.endpoint, database: addresses.cosmos.database, credential: { key: addresses.cosmos.key } },
      serviceBus: addresses.serviceBus,
      blobs: { url: addresses.blobs.url, credential: { account: addresses.blobs.account, key: addresses.blobs.key } },
      policy: { allowElevated: false, poolTvmsMax: 64 },
      logLevel,
    },
    {
      sealer: aesSealer(path.join(shared, "keys", "service.secret")),
      accounts: fileAccounts(path.join(shared, "keys"), ["local"]),
      certificates: keyVaultCertificates({
        vault: addresses.keyVault.url,
        credential: { getToken: async () => ({ token: "a token", expiresOnTimestamp: Date.now() + 3_600_000 }) },
        client: { disableChallengeResourceVerification: true, tlsOptions: { ca: addresses.keyVault.ca } },
      }),
      machines: options.machines === "processes" ? own : scaleSets(addresses, () => options.url ?? url, log),
    },
  );
  const ports: Ports = parts.ports;
  const source = serviceBusSource(addresses.serviceBus, { clock: systemClock, log });
  const feed = await polledFeed(parts);
  provideCoreModule();
  usePorts(ports, commitsOfFeed);
  const host = await startHost({ appDir: root, port: options.port || lastPort(data), dataDir: shared, shared: shared !== data, queueSource: source, feed, log, onStopping: parts.stopWaiting });
  url = host.url;
  writeWhole(path.join(data, "port.json"), { port: host.port });
  writeWhole(endpointFile, { url, pid: process.pid });
  return {
    url,
    keyFile: path.join(shared, "keys", "local.key"),
    async stop(): Promise<void> {
      await host.stop();
      feed.stop();
      await own.stopAll();
      await source.close();
      await parts.close();
      rmSync(endpointFile, { force: true });
    },
  };
};

const scaleSets = ({ resourceManager }: AzureAddresses, endpoint: () => string, log: Ports["log"]): Ports["machines"] =>
  scaleSetMachines({
    subscription: "00000000-0000-0000-0000-0000000000aa", resourceGroup: "batch", location: "koreacentral",
    subnets: { isolated: "/subscriptions/s/subnets/isolated", communicating: "/subscriptions/s/subnets/communicating" },
    credential: { getToken: async () => ({ token: "a token", expiresOnTimestamp: Date.now() + 3_600_000 }) },
    endpoint, cloudInit: standInTemplate, clock: systemClock, log, pollMs: 10, settleMs: 50,
    sizes: { small: "Standard_D2as_v5", medium: "Standard_D4as_v5", large: "Standard_D8as_v5", extralarge: "Standard_D16as_v5" },
    client: { endpoint: resourceManager.url, tlsOptions: { ca: resourceManager.ca } },
  });

/** The change feed as the platform's trigger reads it: by range, again and again, handing over the documents. */
const polledFeed = async ({ cosmos }: ReturnType<typeof azure>) => {
  const ranges = await cosmos.call("feed.ranges", () => cosmos.events.getFeedRanges() as unknown as Promise<object[]>);
  const timers = new Set<NodeJS.Timeout>();
  return {
    ranges: ranges.map((_, index) => String(index)),
    async readFeed(position: string | undefined, limit: number, range?: string) {
      const from = position === undefined ? ChangeFeedStartFrom.Beginning(ranges[Number(range)] as never) : ChangeFeedStartFrom.Continuation(position);
      const page = await cosmos.call("feed.read", () => cosmos.events.items.getChangeFeedIterator<FeedDocument>({ maxItemCount: limit, changeFeedStartFrom: from }).readNext());
      const documents = [...((page.result ?? []) as FeedDocument[])].toSorted((a, b) => a._lsn - b._lsn || a.v - b.v);
      return { commits: documents as never[], position: page.continuationToken };
    },
    onAppend(listener: () => void) {
      const timer = setInterval(listener, FEED_POLL_MS);
      timers.add(timer);
      return () => clearInterval(timer);
    },
    stop: () => timers.forEach((timer) => clearInterval(timer)),
  };
};

interface FeedDocument {
  readonly v: number;
  readonly _lsn: number;
}

const writeWhole = (file: string, content: object): void => {
  writeFileSync(`${file}.new`, JSON.stringify(content));
  renameSync(`${file}.new`, file);
};

/** Agents keep the address that they were told: a service that was killed comes back on it. */
const lastPort = (data: string): number => {
  try {
    return (JSON.parse(readFileSync(path.join(data, "port.json"), "utf8")) as { port: number }).port;
  } catch {
    return 0;
  }
};
