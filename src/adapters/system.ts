// The real clock, randomness and log: the one place of the service that touches them. The log never shows a secret that it
// can recognise, and never breaks a line: what users named or sent cannot forge an entry.

import { randomBytes, randomUUID } from "node:crypto";
import { types } from "node:util";
import type { Clock, Log, Random } from "../ports";

export const systemClock: Clock = {
  now: () => new Date(),
  steady: () => performance.now(),
  // A timer takes 24 days at most and would fire at once beyond: a longer sleep ends early, its caller looks at the clock.
  sleep: (milliseconds, abort) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(milliseconds, 2 ** 31 - 1));
      abort?.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
    }),
};

export const systemRandom: Random = {
  id: (bytes = 16) => take(bytes).toString("base64url"),
  uuid: () => randomUUID(),
  fraction: () => take(6).readUIntBE(0, 6) / 2 ** 48,
};

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";
const levels: readonly LogLevel[] = ["debug", "info", "warn", "error", "silent"];

/** One line an entry on standard error, from `level` up: time, level, message, details as JSON. */
export function consoleLog(level: LogLevel = "info"): Log {
  // It may be a file on a full disk, or a pipe that nobody reads any more: the service goes on without its log.
  if (process.stderr.listenerCount("error") === 0) process.stderr.on("error", () => undefined);
  const at = (own: LogLevel) => (message: string, details?: Record<string, unknown>) => {
    if (levels.indexOf(own) < levels.indexOf(level)) return;
    const rest = details === undefined ? "" : ` ${textOf(details)}`;
    say(`${systemClock.now().toISOString()} ${own} ${oneLine(redact(message))}${rest}\n`);
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function say(line: string): void {
  try {
    process.stderr.write(line);
  } catch {
    return; // Some kinds of streams throw instead.
  }
}

// Many ids a second are asked for: filling a pool costs one call for 256 of them. Bytes are used once and wiped.
const poolBytes = 4_096;
let pool = Buffer.alloc(0);

function take(bytes: number): Buffer {
  if (bytes > poolBytes) return randomBytes(bytes);
  if (pool.length < bytes) pool = randomBytes(poolBytes);
  const taken = Buffer.from(pool.subarray(0, bytes));
  pool.fill(0, 0, bytes);
  pool = pool.subarray(bytes);
  return taken;
}

const secretName = /key$|secret|password|token|credential|signature|authorization|cookie|joincode|^sig$/i;
const valueCharactersMax = 2_000;

function textOf(details: Record<string, unknown>): string {
  try {
    return JSON.stringify(details, (name, value: unknown) => {
      if (secretName.test(name) && value !== undefined && value !== null) return "REDACTED";
      if (types.isNativeError(value)) return errorDetails(value);
      if (typeof value === "bigint") return String(value);
      return typeof value === "string" ? redact(value).slice(0, valueCharactersMax) : value;
    });
  } catch {
    return '"(details that cannot be shown)"';
  }
}

function errorDetails(error: Error): Record<string, unknown> {
  const { code } = error as { code?: unknown };
  return { name: error.name, code, message: error.message, cause: error.cause, stack: error.stack };
}

// Query values that say nothing secret; all others of an address are hidden.
const openQueryNames = new Set(["api-version", "comp", "restype", "timeout", "maxresults", "sp", "se", "st", "sv", "sr", "$select"]);
const queryValue = /([?&])([^=&#\s"'<>]{1,100})=([^&#\s"'<>]+)/g;
const authorization = /\b(SharedKey(?:Lite)?|Bearer|Basic)\s+[^\s"',;]+/gi;
const connectionSecret = /\b(AccountKey|SharedAccessKey|SharedAccessSignature|sig|signature)=[^\s;&"']+/gi;

function redact(text: string): string {
  return text
    .replace(queryValue, (all, mark: string, name: string) => (openQueryNames.has(name.toLowerCase()) ? all : `${mark}${name}=REDACTED`))
    .replace(authorization, "$1 REDACTED")
    .replace(connectionSecret, "$1=REDACTED");
}

function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]+/gu, " ");
}
