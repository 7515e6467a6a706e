// The whole service on this machine: the embedded adapters, the local host that runs the functions, and the file by which
// clients and agents find it. Starting twice on the same data is refused; being killed loses nothing that was acknowledged.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { reportAllMissing } from "./app/missing";
import { rebuild } from "./app/rebuild";
import { type Progress, type Verified, verify } from "./app/verify";
import { usePorts } from "./compose";
import { type Embedded, accountsOf, copyData, embedded } from "./embedded";
import { provideCoreModule } from "./host/functionsCore";
import { startHost } from "./host/main";
import { type EmbeddedOptions, type EmbeddedSettings, embeddedSettings, isLoopback } from "./settings";

export type StartOptions = EmbeddedOptions;

export interface RunningService {
  readonly url: string;
  readonly account: string;
  /** File with the account's keys, one a line. */
  readonly keyFile: string;
  readonly data: string;
  /** Other machines may reach the API, without TLS. */
  readonly inTheClear: boolean;
  /** Ends the machines, finishes what runs, closes everything. Idempotent. */
  stop(): Promise<void>;
}

/** Throws an Error with a sentence for people when an option is wrong, the data is in use, or the port is taken. */
export const startService = async (options: StartOptions = {}): Promise<RunningService> => {
  const settings = embeddedSettings(options);
  // What the service keeps is for its own user alone. Others may pass through the folder, not look around in it: tasks of a
  // service that runs as root have users of their own, whose folders lie below.
  mkdirSync(settings.data, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 });
  process.umask(0o077);
  let url = "";
  const parts = embedded(settings, () => url);
  try {
    await refreshViews(settings.data, parts);
    const host = await startOn(settings, parts, (listening) => {
      url = listening;
    });
    writeEndpoint(settings.data, host.url, settings.account);
    if (process.getuid?.() !== 0) parts.ports.log.warn(SAME_USER);
    const missing = await reportAllMissing(parts.ports);
    if (missing > 0) parts.ports.log.info("TVMs have no machine any more: they are started again", { tvms: missing });
    let stopped: Promise<void> | undefined;
    return {
      url: host.url,
      account: settings.account,
      keyFile: path.join(settings.data, "keys", `${settings.account}.key`),
      data: settings.data,
      inTheClear: !isLoopback(settings.bind),
      stop: () => (stopped ??= stopAll(settings, parts, host)),
    };
  } catch (error) {
    usePorts(undefined);
    await parts.close({ stopMachines: false });
    throw error;
  }
};

/** Without rights nobody can be kept apart; then at least nobody is led to believe it. */
const SAME_USER = "Tasks run as the user of this service and can read what it can, its keys and the files of other tasks too. Started as root, it gives each TVM a user of its own.";

/** Views from zero, with the service stopped: resolves with the number of commits that were folded. Throws when it runs. */
export const rebuildViews = async (options: StartOptions, progress: (commits: number) => void = () => {}): Promise<number> => {
  const settings = embeddedSettings(options);
  const parts = embedded(settings, () => "");
  try {
    return await rebuildOn(settings.data, parts, progress);
  } finally {
    await parts.close({ stopMachines: false });
  }
};

const rebuildOn = async (data: string, parts: Embedded, progress: (commits: number) => unknown): Promise<number> => {
  const orchestrations = { nudge: async () => {} };
  const commits = await rebuild({ ...parts.ports, orchestrations }, parts.ports.clock.now().toISOString(), progress);
  writeWhole(viewsFile(data), { madeBy: viewMakers() });
  return commits;
};

/** Says which release's rules the rows were made by: stays when the service stops. */
const viewsFile = (data: string): string => path.join(data, "views.json");

/** After an upgrade rows are made anew: what the rules of the release before folded may lack what these need. */
const refreshViews = async (data: string, parts: Embedded): Promise<void> => {
  if (readJson<{ madeBy: string }>(viewsFile(data))?.madeBy === viewMakers()) return;
  const { log } = parts.ports;
  const { commits } = await parts.feed.readFeed(undefined, 1);
  if (commits.length > 0) log.info("this release's rules differ from those that lists and counts were made by: they are made anew");
  await rebuildOn(data, parts, (count) => count % 50_000 === 0 && log.info("lists and counts are made anew", { commits: count }));
};

/** A digest of the rules that make rows from events. Nobody has to remember to count it up. */
const viewMakers = (): string => {
  const digest = createHash("sha256");
  for (const folder of ["domain", "views"]) {
    const names = (readdirSync(path.join(__dirname, folder), { recursive: true }) as string[]).filter((name) => /\.[jt]s$/.test(name)).sort();
    for (const name of names) digest.update(name).update(readFileSync(path.join(__dirname, folder, name)));
  }
  return digest.digest("base64url");
};

/** The accounts of a data folder, to be listed and changed by whoever may write to it, whether a service runs on it or not. */
export const accountsIn = (data: string): ReturnType<typeof accountsOf> => accountsOf(path.resolve(data));

/** Looks over a data folder with the service stopped; `problem` is told each fault. Throws when it runs, or the file is no database. */
export const verifyData = async (options: StartOptions, problem: (text: string) => void, progress: Progress): Promise<Verified> => {
  const parts = embedded(embeddedSettings(options), () => "");
  try {
    return await verify(parts.ports, parts.integrity, problem, progress);
  } finally {
    await parts.close({ stopMachines: false });
  }
};

/** A copy of a data folder that a service can be started on, made while the service runs or not. */
export const backupData = async (data: string, to: string): Promise<void> => copyData(path.resolve(data), path.resolve(to));

type Host = Awaited<ReturnType<typeof startHost>>;

const startOn = async (settings: EmbeddedSettings, parts: Embedded, listening: (url: string) => void): Promise<Host> => {
  provideCoreModule();
  usePorts(parts.ports);
  const root = path.resolve(__dirname, "..", "..");
  const start = (port: number): Promise<Host> =>
    startHost({
      appDir: root,
      port,
      bind: settings.bind,
      dataDir: settings.data,
      synchronous: settings.sync === "full" ? "FULL" : "NORMAL",
      queueSource: parts.queueSource,
      feed: parts.feed,
      files: parts.files,
      parseSigned: (target) => {
        const access = parts.files.parseSigned(`${target.pathname}${target.search}`);
        return "problem" in access ? undefined : access;
      },
      log: parts.ports.log,
      extraHosts: settings.allowedHosts,
      onListening: listening,
      onStopping: parts.stopWaiting,
    });
  const last = settings.port === 0 ? lastPort(settings.data) : undefined;
  if (last === undefined) return start(settings.port);
  // Addresses of files that were handed out carry the port: keep it as long as nobody else has taken it.
  return start(last).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "EADDRINUSE") throw error;
    return start(0);
  });
};

/** Stays when the service stops, for the next start. */
const portFile = (data: string): string => path.join(data, "port.json");

const endpointFile = (data: string): string => path.join(data, "service.json");

/** `account`: whom a client speaks for that does not say. */
const writeEndpoint = (data: string, url: string, account: string): void => {
  writeWhole(endpointFile(data), { url, pid: process.pid, account });
  writeWhole(portFile(data), { port: Number(new URL(url).port) });
};

const writeWhole = (file: string, content: object): void => {
  const temporary = `${file}.${process.pid}`;
  writeFileSync(temporary, `${JSON.stringify(content)}\n`);
  renameSync(temporary, file);
};

const lastPort = (data: string): number | undefined => Number(readJson<{ port: unknown }>(portFile(data))?.port) || undefined;

const readJson = <T>(file: string): Partial<T> | undefined => {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as Partial<T>;
  } catch {
    return undefined;
  }
};

const stopAll = async (settings: EmbeddedSettings, parts: Embedded, host: Host): Promise<void> => {
  // The host first: nothing may order a new machine for one that ends.
  await host.stop();
  await parts.close({ stopMachines: true });
  usePorts(undefined);
  rmSync(endpointFile(settings.data), { force: true });
};
