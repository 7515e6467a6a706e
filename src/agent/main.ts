// The node agent's process: reads its specification from standard input, opens the start helpers, runs its TVMs, and ends
// when they have all ended. One process hosts one or many TVMs. It speaks HTTP only, outward; nobody connects to it.
//   node main.js < spec.json
import fs from "node:fs";
import { text } from "node:stream/consumers";
import path from "node:path";
import { closeInheritedDescriptors } from "./descriptors";
import { findHelper } from "./helper";
import { openMachine } from "./readings";
import { openRunner } from "./runner";
import { openService } from "./service";
import { parseSpec, tvmsOn } from "./spec";
import { startTvm, steadyNow, type Tvm } from "./tvm";

const OPEN_FILES = 8_192;
const PROCESSES = 4_096;
const GRACE_MS = 2_000;
const GONE_MS = 120_000;
const PARTING_MS = 15_000;

/** Standard error is a file on a disk that may be full: what cannot be said is not said, and tasks go on. */
const log = (message: string): void => {
  try {
    fs.writeSync(2, `${new Date().toISOString()} agent ${message}\n`);
  } catch {
    return;
  }
};

async function main(): Promise<void> {
  process.umask(0o077);
  closeInheritedDescriptors();
  let tvms: Tvm[] = [];
  let ending = false;
  const end = (): void => {
    ending = true;
    for (const tvm of tvms) tvm.shutdown();
    setTimeout(() => process.exit(1), PARTING_MS).unref();
  };
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, end);
  process.on("SIGUSR2", () => tvms.forEach((tvm) => tvm.look()));

  const spec = parseSpec(await text(process.stdin), process.getuid?.());
  const limits = { openFiles: OPEN_FILES, processes: PROCESSES, ...spec.limits };
  const runner = await openRunner(await findHelper({ cacheFolder: spec.helperCache, limits, kinds: spec.helpers, log }), log);
  const service = openService(spec.endpointFile);
  const shared = {
    service, runner, limits, allowHosts: spec.allowHosts ?? [], programFolders: spec.programFolders ?? [path.dirname(process.execPath)],
    graceMs: spec.graceMs ?? GRACE_MS, goneMs: spec.goneMs ?? GONE_MS, allowUsers: spec.allowUsers ?? false,
    machine: openMachine({ nowMs: steadyNow }), tvmsHere: () => tvmsOn(spec), log,
  };
  tvms = spec.tvms.map((tvm) => startTvm(tvm, shared));
  if (ending) end();
  await Promise.all(tvms.map((tvm) => tvm.done));
  await runner.close();
  service.close();
}

main().then(
  () => process.exit(0),
  (error: Error) => {
    log(error.message);
    process.exit(2);
  },
);
