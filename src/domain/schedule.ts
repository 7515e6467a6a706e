// When a work item's jobs are due (seed: one job for each occurrence of the schedule; reference 5.6 and 7.8). Occurrences are
// instants: each is the one before plus the interval, never "now" plus it, so nothing drifts. It never knows of jobs.
import { addMs, msBetween } from "./time";

export interface Schedule {
  /** No job before this; absent, or past when the schedule is set: the first is due at once. */
  readonly doNotRunUntil?: string;
  /** No job after this. */
  readonly doNotRunAfter?: string;
  /** Milliseconds after which an occurrence that could not start is skipped; absent, or no less than the interval: until the next one is due. */
  readonly startWindowMs?: number;
  /** Milliseconds from one occurrence to the next; absent: there is one only. */
  readonly recurrenceMs?: number;
}

/** Occurrences that get no job: from the first to the last of them. */
export interface Skipped {
  readonly from: string;
  readonly to: string;
  readonly count: number;
}

/** What is to be done at an instant: occurrences given up, and the one whose job starts. */
export interface Turn {
  readonly skipped?: Skipped;
  readonly start?: string;
}

/** The first occurrence of a schedule that is set at this instant; undefined: it has none. */
export const firstRun = (schedule: Schedule, at: string): string | undefined =>
  within(schedule, schedule.doNotRunUntil !== undefined && schedule.doNotRunUntil > at ? schedule.doNotRunUntil : at);

/** The occurrence after this one; undefined: that was the last. */
export const runAfter = (schedule: Schedule, due: string): string | undefined =>
  schedule.recurrenceMs === undefined ? undefined : within(schedule, addMs(due, schedule.recurrenceMs));

const within = ({ doNotRunAfter }: Schedule, due: string): string | undefined =>
  doNotRunAfter !== undefined && due > doNotRunAfter ? undefined : due;

/**
 * The first occurrence of a schedule that replaces another at this instant, when a job has been due before: its own start if
 * that is still to come, else in steps of the new interval from the last occurrence. Never one that lies in the past.
 */
export const runUnder = (schedule: Schedule, last: string, at: string): string | undefined => {
  if (schedule.recurrenceMs === undefined) return undefined;
  if (schedule.doNotRunUntil !== undefined && schedule.doNotRunUntil > at) return within(schedule, schedule.doNotRunUntil);
  const steps = Math.max(1, Math.ceil(msBetween(last, at) / schedule.recurrenceMs));
  return within(schedule, addMs(last, steps * schedule.recurrenceMs));
};

/** What becomes of the occurrences that are due, when nothing stands in the way of a job. `next` is the first one not dealt with. */
export const turnAt = (schedule: Schedule, next: string | undefined, at: string): Turn => {
  if (next === undefined || next > at) return {};
  const latest = latestDue(schedule, next, at);
  if (!startable(schedule, latest, at)) return { skipped: range(schedule, next, latest) };
  if (latest === next) return { start: latest };
  return { skipped: range(schedule, next, addMs(latest, -(schedule.recurrenceMs as number))), start: latest };
};

/** All occurrences that are due, given up. */
export const skipDue = (schedule: Schedule, next: string | undefined, at: string): Skipped | undefined =>
  next === undefined || next > at ? undefined : range(schedule, next, latestDue(schedule, next, at));

/** When the next job is made, were nothing in its way: an occurrence that waits for the job before it still counts in its window. */
export const nextRunTime = (schedule: Schedule, next: string | undefined, at: string): string | undefined => {
  if (next === undefined || next > at) return next;
  const latest = latestDue(schedule, next, at);
  return startable(schedule, latest, at) ? latest : runAfter(schedule, latest);
};

/** No job will ever be due again. `next` is the first occurrence not dealt with. */
export const isOver = (schedule: Schedule, next: string | undefined, at: string): boolean =>
  next === undefined && (schedule.recurrenceMs === undefined || schedule.doNotRunAfter === undefined || at > schedule.doNotRunAfter);

export const sameSchedule = (a: Schedule | undefined, b: Schedule | undefined): boolean =>
  (a === undefined) === (b === undefined) &&
  a?.doNotRunUntil === b?.doNotRunUntil &&
  a?.doNotRunAfter === b?.doNotRunAfter &&
  a?.startWindowMs === b?.startWindowMs &&
  a?.recurrenceMs === b?.recurrenceMs;

/** The last occurrence from `next` on that is due: an earlier one has lost its turn to it. */
const latestDue = ({ recurrenceMs, doNotRunAfter }: Schedule, next: string, at: string): string => {
  if (recurrenceMs === undefined) return next;
  const until = doNotRunAfter !== undefined && doNotRunAfter < at ? doNotRunAfter : at;
  return addMs(next, Math.floor(msBetween(next, until) / recurrenceMs) * recurrenceMs);
};

const startable = ({ startWindowMs, recurrenceMs, doNotRunAfter }: Schedule, due: string, at: string): boolean => {
  if (doNotRunAfter !== undefined && at > doNotRunAfter) return false;
  const bounded = startWindowMs !== undefined && (recurrenceMs === undefined || startWindowMs < recurrenceMs);
  return !bounded || at <= addMs(due, startWindowMs);
};

const range = ({ recurrenceMs }: Schedule, from: string, to: string): Skipped => ({
  from,
  to,
  count: recurrenceMs === undefined ? 1 : Math.round(msBetween(from, to) / recurrenceMs) + 1,
});
