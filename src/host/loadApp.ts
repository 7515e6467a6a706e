// Loads the function app: every file that package.json "main" matches, then hooks, then the seal. Fails loudly, because
// an app whose entry files do not load has no functions. It starts nothing.

import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { provideCoreModule, registry } from "./functionsCore";

/** The loaded app: the library's own streaming server, caught before it could listen, when the app asked for streaming. */
export interface LoadedApp {
  readonly streamServer: http.Server | undefined;
}

/**
 * Loads an app by its folder, or by a callback that requires the registrations, and freezes what was registered.
 * May be called again in one process: what is already registered stays. Throws when an entry file is missing or throws.
 */
export async function loadApp(source: { appDir?: string | undefined; loadFunctions?: (() => unknown) | undefined }): Promise<LoadedApp> {
  const restore = provideCoreModule();
  registry.sealed = false;
  try {
    if (source.loadFunctions) await source.loadFunctions();
    else if (source.appDir !== undefined) await loadEntryPoints(source.appDir);
    if (!registry.model || registry.functions.size === 0) throw new Error("The app registered no functions.");
  } finally {
    registry.sealed = true;
    restore();
  }
  await runAppHooks("appStart", { functionAppDirectory: source.appDir ?? process.cwd() });
  return { streamServer: await openStreaming() };
}

/** Runs the app's start or end hooks, one after the other. */
export async function runAppHooks(name: "appStart" | "appTerminate", more: Record<string, unknown> = {}): Promise<void> {
  for (const hook of registry.hooks[name]) await hook({ hookData: {}, appHookData: registry.appHookData, ...more });
}

async function loadEntryPoints(appDir: string): Promise<void> {
  const manifestPath = path.join(appDir, "package.json");
  const manifest = JSON.parse(fs.readFileSync(manifestPath, "utf8")) as { main?: string; type?: string };
  const pattern = manifest.main ?? "index.js";
  const files = fs.globSync(pattern, { cwd: appDir }).sort();
  if (files.length === 0) throw new Error(`Unable to load entry point "${pattern}": found zero files matching the supplied pattern.`);
  const require = createRequire(manifestPath);
  for (const file of files) {
    const full = path.resolve(appDir, file);
    const isModule = full.endsWith(".mjs") || (!full.endsWith(".cjs") && manifest.type === "module");
    try {
      if (isModule) await import(pathToFileURL(full).href);
      else require(full);
    } catch (error) {
      throw new Error(`Unable to load entry point "${file}": ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}

const hostCapabilities = [
  "RawHttpBodyBytes",
  "RpcHttpTriggerMetadataRemoved",
  "RpcHttpBodyOnly",
  "IgnoreEmptyValuedRpcHttpHeaders",
  "UseNullableValueDictionaryForHttp",
  "WorkerStatus",
  "TypedDataCollection",
  "HandlesWorkerTerminateMessage",
];

let opened: Promise<http.Server | undefined> | undefined;

/**
 * Asks the library for its capabilities, once a process. With HTTP streaming on it would open a server of its own, on all
 * interfaces, for the host to forward requests to. In process that is a wasted hop and an open door: the server is kept
 * from listening, and requests are handed to its listener directly.
 */
function openStreaming(): Promise<http.Server | undefined> {
  opened ??= captureServer(async () => {
    await registry.model?.getCapabilities(Object.fromEntries(hostCapabilities.map((name) => [name, "true"])));
  });
  return opened;
}

async function captureServer(run: () => Promise<void>): Promise<http.Server | undefined> {
  const create = http.createServer;
  let captured: http.Server | undefined;
  (http as { createServer: unknown }).createServer = (...parameters: Parameters<typeof create>) => {
    const server = create(...parameters);
    const inert = server as unknown as { listen(whenReady: unknown): http.Server; address(): object };
    inert.address = () => ({ address: "in-process", family: "IPv4", port: 1 });
    inert.listen = (whenReady) => {
      if (typeof whenReady === "function") queueMicrotask(whenReady as () => void);
      return server;
    };
    captured = server;
    return server;
  };
  try {
    await run();
  } finally {
    (http as { createServer: unknown }).createServer = create;
  }
  return captured;
}
