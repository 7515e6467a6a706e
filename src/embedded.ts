// The embedded default: everything on this machine, in one folder. Only the local service composes it; the deployed app never
// sees this file.
import { constants } from "node:fs";
import { cp, mkdir, readdir } from "node:fs/promises";
import path from "node:path";
import { aesSealer } from "./adapters/aesSealer";
import { type AccountFiles, accountFiles, fileAccounts } from "./adapters/fileAccounts";
import { folderCertificates } from "./adapters/folderCertificates";
import { type SignedFiles, folderFiles } from "./adapters/folderFiles";
import { localSignals } from "./adapters/localSignals";
import { processMachines } from "./adapters/processMachines";
import { openSqlite } from "./adapters/sqlite";
import { sqliteBus } from "./adapters/sqliteBus";
import { sqliteEventStore } from "./adapters/sqliteEventStore";
import { copySqlite, sqliteIntegrity } from "./adapters/sqliteIntegrity";
import { sqliteViews } from "./adapters/sqliteViews";
import { consoleLog, systemClock, systemRandom } from "./adapters/system";
import type { BasePorts } from "./compose";
import type { EventStore, FeedSource, Files, Integrity, QueueSource } from "./ports";
import type { EmbeddedSettings } from "./settings";

/** What the embedded default is made of: ports for the functions, sources for the local host's pumps. */
export interface Embedded {
  readonly ports: BasePorts;
  readonly queueSource: QueueSource;
  readonly feed: EventStore & FeedSource;
  readonly files: Files & SignedFiles;
  readonly integrity: Integrity;
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
    agentSpec: { allowUsers: settings.allowTvmUsers },
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
    certificates: folderCertificates(at("certificates"), sealer),
    sealer,
    policy: {
      allowElevated: settings.allowElevated, poolTvmsMax: settings.poolTvmsMax, scheduleLeastMs: settings.scheduleLeastMs, ...settings.quotas, allowTvmUsers: settings.allowTvmUsers,
      ...(settings.scaling ? { scaling: settings.scaling } : {}),
    },
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
    integrity: sqliteIntegrity(db),
    stopWaiting: () => signals.close(),
    async close({ stopMachines }) {
      if (stopMachines) await machines.stopAll();
      else machines.detach();
      await db.close();
    },
  };
};

/** The accounts of a data folder, whether a service runs on it or not. */
export const accountsOf = (data: string): AccountFiles => accountFiles(path.join(data, "keys"), () => systemClock.now());

/**
 * Copies what the data folder keeps to a new one, also while the service runs: events and views as of one moment, then keys and
 * files. What the host keeps is left out: it is made again from the events. Throws when `to` exists and is not empty.
 */
export const copyData = async (data: string, to: string): Promise<void> => {
  await mkdir(to, { recursive: true, mode: 0o700 });
  if ((await readdir(to)).length > 0) throw new Error(`${to} is not empty: a backup needs a folder of its own.`);
  copySqlite(path.join(data, "ledger.db"), path.join(to, "ledger.db"));
  // After the events: whatever they speak of is there by now.
  for (const part of ["keys", "certificates", "files", "views.json"])
    await cp(path.join(data, part), path.join(to, part), { recursive: true, preserveTimestamps: true, mode: constants.COPYFILE_FICLONE }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
};
