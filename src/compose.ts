// Chooses the adapters, here and nowhere else: the embedded default on one machine, or (a later release) Azure's own parts.
import type { InvocationContext } from "@azure/functions";
import * as df from "durable-functions";
import path from "node:path";
import { aesSealer } from "./adapters/aesSealer";
import { durableOrchestrations } from "./adapters/durableOrchestrations";
import { fileAccounts } from "./adapters/fileAccounts";
import { type SignedFiles, folderFiles } from "./adapters/folderFiles";
import { localSignals } from "./adapters/localSignals";
import { processMachines } from "./adapters/processMachines";
import { openSqlite } from "./adapters/sqlite";
import { sqliteBus } from "./adapters/sqliteBus";
import { sqliteEventStore } from "./adapters/sqliteEventStore";
import { sqliteViews } from "./adapters/sqliteViews";
import { consoleLog, systemClock, systemRandom } from "./adapters/system";
import type { EventStore, FeedSource, Files, Ports, QueueSource } from "./ports";
import type { EmbeddedSettings } from "./settings";

export type BasePorts = Omit<Ports, "orchestrations">;

/** What the embedded default is made of: ports for the functions, sources for the local host's pumps. */
export interface Embedded {
  readonly ports: BasePorts;
  readonly queueSource: QueueSource;
  readonly feed: EventStore & FeedSource;
  readonly files: Files & SignedFiles;
  /** The service is about to stop: whoever waits for news is answered. */
  stopWaiting(): void;
  /** Ends the machines and closes what is open. */
  close(options: { stopMachines: boolean }): Promise<void>;
}

/** `baseUrl` is asked when an address is made: the port is known only once the host listens. */
export const embedded = (settings: EmbeddedSettings, baseUrl: () => string): Embedded => {
  const at = (...names: string[]): string => path.join(settings.data, ...names);
  const db = openSqlite(at("ledger.db"), { synchronous: settings.sync === "full" ? "FULL" : "NORMAL" });
  const log = consoleLog(settings.logLevel);
  const sealer = aesSealer(at("keys", "service.secret"));
  const eventStore = sqliteEventStore(db);
  const bus = sqliteBus(db, systemClock);
  const files = folderFiles({ root: at("files"), baseUrl, sealer, clock: systemClock });
  const machines = processMachines({
    dataDir: settings.data,
    endpointFile: at("service.json"),
    log,
    allowedHosts: settings.allowedHosts,
    onMachineLost: ({ account, pool, tvm, boot }) =>
      bus.send("reports", [{ body: { kind: "machineExited", tvm: `${account}.${pool}.${tvm}`.toLowerCase(), boot } }]),
  });
  const signals = localSignals(systemClock);
  const ports: BasePorts = {
    eventStore,
    views: sqliteViews(db),
    bus,
    files,
    machines,
    accounts: fileAccounts(at("keys"), [settings.account]),
    sealer,
    policy: { allowElevated: settings.allowElevated, poolTvmsMax: settings.poolTvmsMax },
    signals,
    clock: systemClock,
    random: systemRandom,
    log,
  };
  return {
    ports,
    queueSource: bus,
    feed: eventStore,
    files,
    stopWaiting: () => signals.close(),
    async close({ stopMachines }) {
      if (stopMachines) await machines.stopAll();
      else machines.detach();
      await db.close();
    },
  };
};

let base: BasePorts | undefined;

/** Called once, before the functions are loaded, by whoever composes the app of this process. */
export const usePorts = (ports: BasePorts | undefined): void => {
  base = ports;
};

/** The ports for one invocation: the process's own, with the orchestrations that the invocation's durable client reaches. */
export const portsFor = (context: InvocationContext): Ports => {
  if (!base) throw new Error("NotImplemented: this release runs on the embedded default only (npm start); no ports were composed for this process.");
  const ports = base;
  return { ...ports, orchestrations: orchestrationsFor(ports, context) };
};

const hasClient = (context: InvocationContext): boolean => context.options.extraInputs.some(({ type }) => type === "durableClient");

const orchestrationsFor = (ports: BasePorts, context: InvocationContext): Ports["orchestrations"] =>
  hasClient(context)
    ? durableOrchestrations(df.getClient(context), ports.log)
    : {
        nudge: async (_kind, stream) => {
          throw new Error(`the function ${context.functionName} nudged ${stream} but has no durable client among its inputs`);
        },
      };
