// Waiting for things to come about: asks again and again, ever more slowly, and never longer than told.
import type { Client } from "./client";
import { EXIT, Failure, ServiceError } from "./failures";
import type { Progress } from "./progress";
import { plural } from "./output";
import type { Counts, TaskResource } from "./resources";
import { pause } from "./transport";

const FIRST_PAUSE_MS = 50;
const PAUSE_MAX_MS = 1000;
/** A service that restarts is waited for this long. */
export const WAIT_PATIENCE_MS = 60_000;

/** Repeats `look` until it answers something; undefined after `timeoutMs`. */
export async function until<T>(look: () => Promise<T | undefined>, signal: AbortSignal, timeoutMs = Infinity): Promise<T | undefined> {
  const end = Date.now() + timeoutMs;
  for (let wait = FIRST_PAUSE_MS; ; wait = Math.min(PAUSE_MAX_MS, wait * 1.3)) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() >= end) return undefined;
    await pause(Math.min(wait, Math.max(1, end - Date.now())), signal);
  }
}

export interface WaitOptions {
  readonly signal: AbortSignal;
  /** Tasks that the job is known to have: counts trail behind what was added. */
  readonly expected?: number;
  readonly timeoutMs?: number;
  readonly progress?: Progress | undefined;
}

/** Counts once every task of the job has ended, or the job itself has. Throws a Failure (exit code 1) when the time is over. */
export async function waitForTasks(client: Client, workItem: string, job: string, options: WaitOptions): Promise<Counts> {
  const counts = await until(async () => {
    const now = await client.counts(workItem, job);
    const total = Math.max(totalOf(now), options.expected ?? 0);
    options.progress?.update({ done: now.completed, total, note: noteOf(now) });
    return total === now.completed ? now : undefined;
  }, options.signal, options.timeoutMs);
  options.progress?.end();
  if (!counts) throw new Failure(EXIT.failed, `${workItem} has not finished in the time given.`, `\`batchledger why ${workItem}\` says what it waits for.`);
  return counts;
}

/** Counts once the manager and every task that it has added have ended. */
export async function waitForManager(client: Client, workItem: string, job: string, manager: string, options: Pick<WaitOptions, "signal" | "progress">): Promise<Counts> {
  await until(async () => {
    // Made with the job, a moment after it.
    const task = await client.getTask(workItem, job, manager).catch((error: unknown) => {
      if (error instanceof ServiceError && error.code === "TaskNotFound") return undefined;
      throw error;
    });
    const counts = await client.counts(workItem, job);
    options.progress?.update({ done: counts.completed, total: totalOf(counts), note: noteOf(counts) });
    return task?.state === "completed" ? true : undefined;
  }, options.signal);
  return waitForTasks(client, workItem, job, options);
}

export const totalOf = (counts: Counts): number => counts.active + counts.assigned + counts.running + counts.completed;

/** `3 running, 1 failed, 2 retries`. */
export const noteOf = (counts: Counts): string =>
  [
    counts.running ? `${counts.running} running` : "",
    counts.failed ? `${counts.failed} failed` : "",
    counts.retries ? (counts.retries === 1 ? "1 retry" : `${counts.retries} retries`) : "",
    counts.requeues ? plural(counts.requeues, "requeue") : "",
  ].filter(Boolean).join(", ");

/** The job meant by a work item: the named one, else its latest. */
export async function jobOf(client: Client, workItem: string, named: string | undefined): Promise<string> {
  if (named !== undefined) return named;
  const job = (await client.getWorkItem(workItem)).executionInfo?.recentJob?.name;
  if (!job) throw new Failure(EXIT.refused, `${workItem} has no job yet.`, "A scheduled work item makes its first job when it is due.");
  return job;
}

/** The first job of a work item that was just made, once it takes tasks. */
export async function freshJob(client: Client, workItem: string, signal: AbortSignal): Promise<string> {
  const job = await until(async () => {
    try {
      const name = (await client.getWorkItem(workItem)).executionInfo?.recentJob?.name;
      return name && (await client.getJob(workItem, name)).state === "active" ? name : undefined;
    } catch (error) {
      // The job is made just after its work item.
      if (error instanceof ServiceError && error.code === "JobNotFound") return undefined;
      throw error;
    }
  }, signal, WAIT_PATIENCE_MS);
  if (!job) throw new Failure(EXIT.refused, `${workItem} has no job after a minute.`, `\`batchledger events ${workItem}\` shows what happened.`);
  return job;
}

/** A completed task that did not succeed. */
export const hasFailed = ({ state, executionInfo: info }: TaskResource): boolean =>
  state === "completed" && (info?.schedulingError !== undefined || (info?.exitCode ?? 0) !== 0);

/** Why it failed, in a few words. */
export const failureOf = ({ executionInfo: info }: TaskResource): string => {
  const error = info?.schedulingError;
  if (error) return `${error.code}${error.message ? `: ${error.message}` : ""}`;
  return info?.exitCode === undefined ? "" : info.exitCode === 0 ? "" : `exit code ${info.exitCode}`;
};
