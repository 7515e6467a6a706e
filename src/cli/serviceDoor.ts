// The service as the command line starts it: loaded only when asked for, so that other commands stay quick.
import type { RunningService, StartOptions } from "../service";

/** Throws what src/service throws: a folder in use, a port taken, a folder that cannot be written. */
export async function startService(options: StartOptions): Promise<RunningService> {
  const service = require("../service") as typeof import("../service");
  return service.startService(options);
}

/** Throws when a service runs on the folder. */
export async function rebuildViews(options: StartOptions, progress: (commits: number) => void): Promise<number> {
  const service = require("../service") as typeof import("../service");
  return service.rebuildViews(options, progress);
}

/** The accounts of a data folder, whether a service runs on it or not. */
export function accountsIn(data: string): ReturnType<typeof import("../service").accountsIn> {
  const service = require("../service") as typeof import("../service");
  return service.accountsIn(data);
}

/** Throws when a service runs on the folder, or its database cannot be opened. */
export async function verifyData(...what: Parameters<typeof import("../service").verifyData>): ReturnType<typeof import("../service").verifyData> {
  const service = require("../service") as typeof import("../service");
  return service.verifyData(...what);
}

/** Throws when the target is not empty, or either cannot be read or written. */
export async function backupData(data: string, to: string): Promise<void> {
  const service = require("../service") as typeof import("../service");
  return service.backupData(data, to);
}
