// Reads host.json, the file that the real host reads too, and refuses what this host does not know how to honour.

import fs from "node:fs";
import path from "node:path";

export interface HostSettings {
  readonly functionTimeoutMs: number;
  readonly routePrefix: string;
  readonly hubName: string;
  readonly activitiesMax: number;
  readonly orchestratorsMax: number;
  /** Messages handled at once by functions that take one message a call. */
  readonly callsMax: number;
  /** Lanes handled at once. */
  readonly lanesMax: number;
  /** Messages in one call of a function that takes many. */
  readonly batchMax: number;
}

/** Settings that mean something here, or rightly nothing on one machine. */
const known = {
  root: ["version", "functionTimeout", "extensionBundle", "extensions", "logging", "healthMonitor", "telemetryMode", "$schema"],
  extensions: ["http", "durableTask", "serviceBus", "cosmosDB", "queues", "blobs"],
  http: ["routePrefix", "maxOutstandingRequests", "maxConcurrentRequests", "dynamicThrottlesEnabled"],
  durableTask: ["hubName", "maxConcurrentActivityFunctions", "maxConcurrentOrchestratorFunctions", "storageProvider", "tracing"],
  serviceBus: [
    "maxConcurrentCalls",
    "maxConcurrentSessions",
    "maxMessageBatchSize",
    "minMessageBatchSize",
    "maxBatchWaitTime",
    "prefetchCount",
    "autoCompleteMessages",
    "maxAutoLockRenewalDuration",
    "sessionIdleTimeout",
    "clientRetryOptions",
    "transportType",
  ],
} as const;

/** Settings from a parsed host.json, or from the one in the folder. Throws on unknown or malformed settings. */
export function readHostSettings(json: unknown, appDir?: string): HostSettings {
  const root = asObject(json ?? fromFolder(appDir), "host.json");
  refuseUnknown(root, "host.json", known.root);
  if (root["version"] !== "2.0") throw new Error('host.json: "version" must be "2.0".');
  const extensions = asObject(root["extensions"] ?? {}, "extensions");
  refuseUnknown(extensions, "extensions", known.extensions);
  const http = section(extensions, "http", known.http);
  const durable = section(extensions, "durableTask", known.durableTask);
  const bus = section(extensions, "serviceBus", known.serviceBus);
  return {
    functionTimeoutMs: duration(root["functionTimeout"] ?? "00:30:00", "functionTimeout"),
    routePrefix: text(http["routePrefix"] ?? "api", "routePrefix"),
    hubName: text(durable["hubName"] ?? "TestHubName", "hubName"),
    activitiesMax: count(durable["maxConcurrentActivityFunctions"] ?? 16, "maxConcurrentActivityFunctions"),
    orchestratorsMax: count(durable["maxConcurrentOrchestratorFunctions"] ?? 16, "maxConcurrentOrchestratorFunctions"),
    callsMax: count(bus["maxConcurrentCalls"] ?? 16, "maxConcurrentCalls"),
    lanesMax: count(bus["maxConcurrentSessions"] ?? 8, "maxConcurrentSessions"),
    batchMax: count(bus["maxMessageBatchSize"] ?? 1000, "maxMessageBatchSize"),
  };
}

/** Milliseconds of a .NET time span, `hh:mm:ss` or `d.hh:mm:ss`; undefined when the text is none. */
export function parseTimeSpan(span: string): number | undefined {
  const found = /^(?:(\d+)\.)?(\d+):(\d\d):(\d\d)$/.exec(span);
  if (!found) return undefined;
  const [, days = "0", hours = "0", minutes = "0", seconds = "0"] = found;
  return (((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000;
}

type JsonObject = Record<string, unknown>;

function fromFolder(appDir: string | undefined): unknown {
  const file = appDir === undefined ? undefined : path.join(appDir, "host.json");
  return file !== undefined && fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) : { version: "2.0" };
}

function section(extensions: JsonObject, name: string, allowed: readonly string[]): JsonObject {
  const settings = asObject(extensions[name] ?? {}, name);
  refuseUnknown(settings, name, allowed);
  return settings;
}

function asObject(value: unknown, name: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`host.json: ${name} must be an object.`);
  return value as JsonObject;
}

function refuseUnknown(value: JsonObject, name: string, allowed: readonly string[]): void {
  const strange = Object.keys(value).find((key) => !allowed.includes(key));
  if (strange !== undefined) throw new Error(`host.json: the local host does not know the setting "${strange}" of ${name}.`);
}

function count(value: unknown, name: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1) throw new Error(`host.json: ${name} must be a whole number above zero.`);
  return value;
}

function text(value: unknown, name: string): string {
  if (typeof value !== "string") throw new Error(`host.json: ${name} must be text.`);
  return value;
}

/** The longest time that is told apart from "for ever" (-1). */
const foreverMs = Number.MAX_SAFE_INTEGER;

function duration(value: unknown, name: string): number {
  if (value === "-1" || value === -1) return foreverMs;
  const milliseconds = typeof value === "string" ? parseTimeSpan(value) : undefined;
  if (milliseconds === undefined || milliseconds <= 0) throw new Error(`host.json: ${name} must be a time span such as "00:10:00".`);
  return milliseconds;
}
