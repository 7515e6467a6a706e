// The local host: runs the app's registrations in this process. Opens its store, loads the functions, listens, pumps, and
// stops cleanly. It composes no adapters: queues, feed and files are given to it.

import path from "node:path";
import type { Files, Log, QueueSource } from "../ports";
import { createBlobDoor } from "./blobs";
import type { SignedAccess } from "./blobs";
import { systemClock } from "./clock";
import type { HostClock } from "./clock";
import { createDurableApi } from "./durableHttp";
import { type Feed, createFeedPump } from "./feedPump";
import { byReference, registry } from "./functionsCore";
import type { LogSink } from "./functionsCore";
import { createAdminDoor } from "./admin";
import { readHostSettings } from "./hostJson";
import type { HostSettings } from "./hostJson";
import { createFront } from "./http";
import type { Front, HttpLimits, Keys } from "./http";
import { createInvoker } from "./invoke";
import type { InputProviders, Invoker } from "./invoke";
import { type Leases, createLeases } from "./leases";
import { loadApp, runAppHooks } from "./loadApp";
import type { LoadedApp } from "./loadApp";
import { createQueuePump } from "./queuePump";
import { openStore } from "./store";
import type { HostStore } from "./store";
import { createTaskHub } from "./taskHub";
import type { TaskHub } from "./taskHub";
import { createTimerPump } from "./timerPump";
import type { Pump } from "./timerPump";

export interface HostOptions {
  /** The function app's folder (package.json, host.json); its `main` is loaded unless `loadFunctions` is given. */
  readonly appDir?: string;
  /** Requires the registrations; may find them registered already. */
  readonly loadFunctions?: () => unknown;
  /** A parsed host.json; absent: the one in `appDir`. */
  readonly hostJson?: unknown;
  /** 0 picks a free one. */
  readonly port: number;
  /** Address to listen on; 127.0.0.1 unless told. */
  readonly bind?: string;
  /** Folder of taskhub.db; absent: in memory. */
  readonly dataDir?: string;
  /** FULL: even a crash of the machine loses no turn. NORMAL unless told. */
  readonly synchronous?: "NORMAL" | "FULL";
  readonly queueSource?: QueueSource;
  readonly feed?: Feed;
  /** Other hosts share the folder: its task hub, its keys, and the ranges of the feed. */
  readonly shared?: boolean;
  /** Files to serve behind signed addresses under /files/. */
  readonly files?: Files;
  readonly parseSigned?: (url: URL) => SignedAccess | undefined;
  readonly log: Log;
  /** Names besides loopback's that a Host header may carry. */
  readonly extraHosts?: readonly string[];
  readonly limits?: Partial<HttpLimits>;
  /** How long a stop waits for what runs; milliseconds. */
  readonly drainMs?: number;
  /** Called with the host's address once it listens, before anything runs. */
  readonly onListening?: (url: string) => void;
  /** Called when a stop begins, for handlers that wait for something. */
  readonly onStopping?: () => void;
  /** False: timer functions are not fired. */
  readonly timers?: boolean;
  readonly clock?: HostClock;
}

export interface RunningHost {
  readonly url: string;
  readonly port: number;
  readonly taskHub: TaskHub;
  readonly keys: Keys;
  /** Finishes what runs, within bounds, and lets go of everything. Idempotent. */
  stop(): Promise<void>;
}

const drainMsDefault = 5_000;

/** Starts the host. Throws, with everything closed again, when the app cannot be loaded or the port is taken. */
export async function startHost(options: HostOptions): Promise<RunningHost> {
  const appDir = options.appDir === undefined ? undefined : path.resolve(options.appDir);
  const settings = readHostSettings(options.hostJson, appDir);
  registry.sink = logSink(options.log);
  const app = await loadApp({ appDir, loadFunctions: options.loadFunctions });
  const store = openStore(options.dataDir, options.synchronous ?? "NORMAL", options.shared);
  try {
    return await run(options, settings, store, app);
  } catch (error) {
    store.close();
    throw error;
  }
}

async function run(options: HostOptions, settings: HostSettings, store: HostStore, { streamServer }: LoadedApp): Promise<RunningHost> {
  const clock = options.clock ?? systemClock;
  const inputs: InputProviders = new Map();
  const invoker = createInvoker(inputs, clock);
  const { activitiesMax, orchestratorsMax, functionTimeoutMs } = settings;
  const leases = createLeases(store, clock);
  const taskHub = createTaskHub({ invoker, clock, store, leases, activitiesMax, orchestratorsMax, functionTimeoutMs });
  const keys: Keys = { master: store.secret("key:master"), host: store.secret("key:host"), system: store.secret("key:system") };
  const durable = createDurableApi({ hub: taskHub, hubName: settings.hubName, keys, rpcToken: store.secret("rpc:token") });
  const state = { stopping: false };
  const blobs = options.files && options.parseSigned ? [createBlobDoor({ files: options.files, parseSigned: options.parseSigned })] : [];
  const doors = [...blobs, ...durable.doors, createAdminDoor({ invoker, clock, keys, state })];
  const bind = options.bind ?? "127.0.0.1";
  const extraHosts = [...(options.extraHosts ?? []), ...(isWildcard(bind) ? [] : [hostOf(bind)])];
  const { routePrefix } = settings;
  const limits = options.limits ?? {};
  const front = createFront({ invoker, clock, streamServer, routePrefix, keys, doors, extraHosts, limits });
  const pumps = createPumps(options, settings, invoker, clock, store, leases);
  assertSupported();

  const port = await front.listen(options.port, bind);
  const ownHost = isWildcard(bind) ? "127.0.0.1" : hostOf(bind);
  const origin = `http://${ownHost === "127.0.0.1" ? "localhost" : ownHost}:${port}`;
  const binding = byReference(JSON.parse(durable.clientBinding(origin, `http://${ownHost}:${port}`)));
  inputs.set("durableclient", () => binding).set("orchestrationclient", () => binding);
  // Without it the SDK points the links that it hands out to another port.
  process.env["WEBSITE_HOSTNAME"] = `localhost:${port}`;
  const url = `http://${ownHost}:${port}`;
  options.onListening?.(url);
  leases.start();
  taskHub.start();
  for (const pump of pumps) pump.start();

  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    state.stopping = true;
    return (stopped ??= shutDown({ options, front, pumps, taskHub, leases, invoker, store, clock }));
  };
  return { url, port, taskHub, keys, stop };
}

function createPumps(options: HostOptions, settings: HostSettings, invoker: Invoker, clock: HostClock, store: HostStore, leases: Leases): Pump[] {
  const pumps: Pump[] = [];
  if (options.feed) pumps.push(createFeedPump(invoker, clock, store, options.feed, leases));
  if (options.queueSource) pumps.push(createQueuePump(invoker, clock, options.queueSource, settings));
  if (options.timers !== false) pumps.push(createTimerPump(invoker, clock, store));
  return pumps;
}

interface Parts {
  readonly options: HostOptions;
  readonly front: Front;
  readonly pumps: readonly Pump[];
  readonly taskHub: TaskHub;
  readonly leases: Leases;
  readonly invoker: Invoker;
  readonly store: HostStore;
  readonly clock: HostClock;
}

/** The listener closes last: handlers that still run may talk to the durable client, which comes in through it. */
async function shutDown({ options, front, pumps, taskHub, leases, invoker, store, clock }: Parts): Promise<void> {
  const drainMs = options.drainMs ?? drainMsDefault;
  front.refuse();
  options.onStopping?.();
  const settled = Promise.all([...pumps.map((pump) => pump.stop()), taskHub.stop(), invoker.drain(drainMs)]);
  if (!(await within(settled, drainMs, clock))) options.log.warn("Stopping with invocations still running.", { running: invoker.active });
  await runAppHooks("appTerminate");
  await front.close();
  leases.stop();
  store.close();
}

function within(work: Promise<unknown>, milliseconds: number, clock: HostClock): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(milliseconds, () => resolve(false));
    work.then(() => {
      cancel();
      resolve(true);
    }, reject);
  });
}

const supportedTriggers = new Set(["httptrigger", "timertrigger", "servicebustrigger", "cosmosdbtrigger", "orchestrationtrigger", "activitytrigger"]);
const supportedInputs = new Set(["durableclient", "orchestrationclient"]);

/** A function that would never run here, or whose outputs would vanish, is an error at the start and not a riddle later. */
function assertSupported(): void {
  for (const fn of registry.functions.values()) {
    if (!supportedTriggers.has(fn.kind)) throw new Error(`Function "${fn.name}": the local host does not support the trigger "${fn.trigger.type}".`);
    const strange = fn.inputs.find(({ binding }) => !supportedInputs.has(binding.type.toLowerCase()));
    if (strange) throw new Error(`Function "${fn.name}": the local host does not support the input "${strange.binding.type}".`);
    const output = Object.values(fn.metadata.bindings).find((binding) => binding.direction === "out" && binding.type.toLowerCase() !== "http");
    if (output) throw new Error(`Function "${fn.name}": the local host does not support the output "${output.type}".`);
  }
}

const isWildcard = (bind: string): boolean => bind === "0.0.0.0" || bind === "::";
const hostOf = (bind: string): string => (bind.includes(":") ? `[${bind}]` : bind);

function logSink(target: Log): LogSink {
  return (level, category, message, functionName, invocationId) => {
    const details: Record<string, unknown> = { category };
    if (functionName !== undefined) details["function"] = functionName;
    if (invocationId !== undefined) details["invocation"] = invocationId;
    if (level === "error" || level === "critical") target.error(message, details);
    else if (level === "warning") target.warn(message, details);
    else if (level === "information") target.info(message, details);
    else target.debug(message, details);
  };
}
