// What tasks have used and come to: of one task over all of its runs, and of the tasks that had its name before it. Sums of these
// are the statistics of jobs and work items, so they must add up however often a task is told again. Never reads a clock.
import type { Task } from "./task";
import { msBetween } from "./time";

/** Milliseconds, and counts of tasks. */
export interface Used {
  /** CPU of the process trees of all runs that have ended, user and kernel together; the kernel's part of it. */
  readonly cpuMs: number;
  readonly kernelMs: number;
  /** From start to end, of all runs that have ended: also of those that were taken away. */
  readonly wallMs: number;
  /** From being added to the start of the latest run. */
  readonly waitMs: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly retries: number;
}

export const NOTHING_USED: Used = { cpuMs: 0, kernelMs: 0, wallMs: 0, waitMs: 0, succeeded: 0, failed: 0, retries: 0 };

/** A task that ran and failed, or could not run. */
export const taskFailed = (task: Pick<Task, "phase" | "exitCode" | "error">): boolean =>
  task.phase === "completed" && (task.error !== undefined || task.exitCode !== 0);

/** What the present task of its name has used. */
export const usedBy = (task: Task): Used => ({
  cpuMs: task.cpuMs ?? 0,
  kernelMs: task.kernelMs ?? 0,
  wallMs: task.wallMs ?? 0,
  waitMs: task.startedAt === undefined ? 0 : Math.max(0, msBetween(task.createdAt, task.startedAt)),
  succeeded: task.phase === "completed" && !taskFailed(task) ? 1 : 0,
  failed: taskFailed(task) ? 1 : 0,
  retries: task.retryCount,
});

/** The same and what deleted tasks of its name have used: what was done stays done. */
export const usedInAll = (task: Task): Used => (task.phase === "absent" ? (task.past ?? NOTHING_USED) : added(usedBy(task), task.past));

const added = (one: Used, other: Used | undefined): Used =>
  other
    ? {
        cpuMs: one.cpuMs + other.cpuMs,
        kernelMs: one.kernelMs + other.kernelMs,
        wallMs: one.wallMs + other.wallMs,
        waitMs: one.waitMs + other.waitMs,
        succeeded: one.succeeded + other.succeeded,
        failed: one.failed + other.failed,
        retries: one.retries + other.retries,
      }
    : one;

/** Of a task that goes: kept only if there is something to keep. */
export const pastOf = (task: Task): { past?: Used } => {
  const past = usedInAll(task);
  return Object.values(past).some((value) => value !== 0) ? { past } : {};
};

/** The time of a run that ends now. */
export const ranUntil = (task: Task, at: string): { wallMs?: number } =>
  task.phase === "running" && task.startedAt !== undefined ? { wallMs: (task.wallMs ?? 0) + Math.max(0, msBetween(task.startedAt, at)) } : {};
