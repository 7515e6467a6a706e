// From what the service asks for to an order for the runner, and from what happened to the words of the protocol: working
// folders, resource files, command line, environment on the way in; scheduling errors and exit codes on the way out.
import os from "node:os";
import path from "node:path";
import type { ResourceFile, SchedulingError, Usage } from "../wire";
import type { Ending } from "./agent";
import { moveToTrash, openFolder, type Owner } from "./beneath";
import { splitCommandLine } from "./commandLine";
import { download, DEFAULT_DOWNLOAD_LIMITS, DownloadError, type DownloadCache } from "./download";
import { taskEnvironment, type RunNames, type TvmFacts } from "./environment";
import { trashName } from "./files";
import type { Limits, StartOrder } from "./helper";
import type { Outcome } from "./runner";

export const TRASH = ".trash";

export interface LaunchContext {
  readonly facts: TvmFacts;
  readonly owner: Owner | undefined;
  /** Whom the start task runs as: the same user, in a group that may read the certificates for start tasks. */
  readonly startOwner: Owner | undefined;
  readonly limits: Limits;
  readonly elevatedAllowed: boolean;
  readonly allowHosts: readonly string[];
  readonly cache: DownloadCache;
  /** Whether the service itself is at this address. */
  readonly isService: (url: URL) => boolean;
}

/** What an assignment and a start task have in common. */
export interface Launchable {
  readonly commandLine: string;
  readonly resourceFiles: readonly ResourceFile[];
  readonly environment: Readonly<Record<string, string>>;
  readonly runElevated: boolean;
}

export interface Place {
  /** Below the root: where stdout.txt and stderr.txt are, and the working directory. */
  readonly folder: readonly string[];
  readonly cwd: readonly string[];
  /** A new folder each time, or the same one again. */
  readonly fresh: boolean;
  readonly names: RunNames;
}

/** The arguments to start, or why this cannot be started. */
export function check(what: Launchable, context: LaunchContext): { readonly argv: readonly string[] } | { readonly error: SchedulingError } {
  if (what.runElevated && !context.elevatedAllowed) return { error: launchFailed("Elevated tasks are not allowed by this service's policy.") };
  const split = splitCommandLine(what.commandLine);
  return "problem" in split ? { error: launchFailed(split.problem) } : split;
}

/** Makes the folders and fetches the files; rejects with a DownloadError. */
export async function prepare(what: Launchable, place: Place, context: LaunchContext, signal: AbortSignal): Promise<void> {
  const { root } = context.facts;
  try {
    if (place.fresh) moveToTrash(root, place.folder, TRASH, trashName());
    openFolder(root, place.cwd, { make: true, owner: context.owner }).close();
  } catch (error) {
    throw new DownloadError(folderError((error as NodeJS.ErrnoException).code ?? "unknown"));
  }
  await download(what.resourceFiles, {
    root, folder: place.cwd, owner: context.owner, cache: context.cache, allowHosts: context.allowHosts, limits: DEFAULT_DOWNLOAD_LIMITS, signal, isService: context.isService,
  });
}

/** The order for the runner. `prepared`: the folders are there. */
export function orderFor(id: string, argv: readonly string[], what: Launchable, place: Place, context: LaunchContext, prepared: boolean): StartOrder {
  const { root } = context.facts;
  const dir = path.join(root, ...place.folder);
  const cwd = path.join(root, ...place.cwd);
  return {
    id, folder: prepared ? "none" : place.fresh ? "fresh" : "make", dir, trash: path.join(root, TRASH), cwd,
    stdout: path.join(dir, "stdout.txt"), stderr: path.join(dir, "stderr.txt"), owner: place.fresh ? context.owner : context.startOwner, elevated: what.runElevated,
    // A start task may leave services running for the tasks that come.
    keepGroup: !place.fresh,
    // The limit on processes counts all of a user: only sensible for a user that has this TVM's tasks alone.
    limits: context.owner ? context.limits : { ...context.limits, processes: undefined },
    env: taskEnvironment(context.facts, place.names, what.environment, cwd, id), argv,
  };
}

export function endingOf(outcome: Outcome): Ending {
  if (outcome.kind === "failed") return { atMs: outcome.atMs, error: startError(outcome.stage, outcome.errno) };
  const usage: Usage | undefined = outcome.usage && { userMs: outcome.usage.userUs / 1000, kernelMs: outcome.usage.kernelUs / 1000, maxRssKib: outcome.usage.maxRssKib };
  // Clocks may step back between start and end.
  return { startedAtMs: outcome.startedAtMs, atMs: Math.max(outcome.startedAtMs, outcome.atMs), exitCode: outcome.exitCode, usage };
}

export function failureOf(error: unknown, atMs: number): Ending {
  if (error instanceof DownloadError) return { atMs, error: error.error };
  return { atMs, error: { category: "ServerError", code: "Unknown", message: "The agent could not prepare the task." } };
}

function startError(stage: string, errno: number): SchedulingError {
  const name = nameOf(errno);
  if (stage === "dir" || stage === "cwd") return folderError(name);
  if (stage === "output") return isFull(name) ? diskFull : { category: "ServerError", code: "ResourceFileCreateFailed", message: `The files for the output could not be made (${name}).` };
  if (stage === "exec" && (name === "ENOENT" || name === "ENOTDIR")) return { category: "UserError", code: "CommandProgramNotFound", message: "The program was found neither in the working directory nor on PATH." };
  if (stage === "exec" && name !== "EAGAIN" && name !== "ENOMEM") return launchFailed(launchReasons[name] ?? `The program could not be started (${name}).`);
  return { category: "ServerError", code: "Unknown", message: `The task could not be started (${stage}: ${name}).` };
}

const launchReasons: Record<string, string> = {
  EACCES: "The program is not executable.",
  ENOEXEC: "The file is not a program: it has the wrong format, no #! line, or an interpreter that does not exist.",
  E2BIG: "The arguments and environment are too long.",
};

const diskFull: SchedulingError = { category: "ServerError", code: "DiskFull", message: "The disk is full." };

function folderError(name: string): SchedulingError {
  return isFull(name) ? diskFull : { category: "ServerError", code: "ResourceDirectoryCreateFailed", message: `The task's folder could not be made (${name}).` };
}

function launchFailed(message: string): SchedulingError {
  return { category: "UserError", code: "CommandLaunchFailed", message };
}

function isFull(name: string): boolean {
  return name === "ENOSPC" || name === "EDQUOT";
}

function nameOf(errno: number): string {
  return Object.entries(os.constants.errno).find(([, value]) => value === errno)?.[0] ?? String(errno);
}
