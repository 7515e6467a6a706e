// A work item: what its jobs are made from, and which it has made. Without a schedule it makes one job, at once; with one, a
// job for each occurrence, at most one of them open at a time. Whether an occurrence gets a job is decided here and nowhere
// else, so that none ever gets two.
import { type Decider, type Rejection, fold, present, rejection } from "./decider";
import type { AutoPool, JobSpec } from "./job";
import type { MetadataItem } from "./pool";
import { type Schedule, type Skipped, firstRun, isOver, runAfter, runUnder, sameSchedule, skipDue, turnAt } from "./schedule";
import { laterThan } from "./time";

/** Pools that the service makes for the jobs (seed: a pool for each job, or one for all jobs of the work item). */
export interface AutoPoolSpec extends AutoPool {
  readonly prefix?: string;
}

/** Exactly one of `pool` and `autoPool`. */
export interface WorkItemSpec {
  readonly pool?: string;
  readonly autoPool?: AutoPoolSpec;
  readonly schedule?: Schedule;
  readonly job: JobSpec;
  readonly metadata?: readonly MetadataItem[];
}

export type WorkItemEvent =
  | { type: "WorkItemCreated"; at: string; account: string; name: string; spec: WorkItemSpec }
  /** `occurrence`: when the job was due, if by a schedule. `pool`: the name of its auto pool. */
  | { type: "WorkItemJobSpawned"; at: string; job: string; occurrence?: string; pool?: string }
  /** Occurrences that got no job: the one before was still open, the work item disabled, or the service away. */
  | ({ type: "WorkItemOccurrencesSkipped"; at: string } & Skipped)
  /** The whole definition as it is from now on. */
  | { type: "WorkItemUpdated"; at: string; spec: WorkItemSpec }
  | { type: "WorkItemDisabled"; at: string }
  | { type: "WorkItemEnabled"; at: string }
  /** An auto pool of this work item has been deleted. */
  | { type: "WorkItemPoolReleased"; at: string; pool: string }
  | { type: "WorkItemTerminationStarted"; at: string }
  | { type: "WorkItemCompleted"; at: string }
  | { type: "WorkItemDeletionStarted"; at: string }
  | { type: "WorkItemDeleted"; at: string };

/** `unique` becomes part of the name of an auto pool, should one be needed. */
export type WorkItemCommand =
  | { type: "CreateWorkItem"; at: string; account: string; name: string; spec: WorkItemSpec; unique?: string }
  /** Makes the job that is due, or ends the work item; `ended`: the recent job, if it is known to be over. */
  | { type: "RunWorkItem"; at: string; ended?: string; unique: string }
  | ({ type: "UpdateWorkItem"; at: string } & WorkItemChange)
  | { type: "DisableWorkItem"; at: string }
  | { type: "EnableWorkItem"; at: string }
  | { type: "ReleaseWorkItemPool"; at: string; pool: string }
  | { type: "TerminateWorkItem"; at: string }
  | { type: "CompleteWorkItem"; at: string }
  | { type: "DeleteWorkItem"; at: string }
  | { type: "ForgetWorkItem"; at: string };

/** What is given replaces what was there, whole; `schedule: null` takes the schedule away. */
export interface WorkItemChange {
  readonly schedule?: Schedule | null;
  readonly job?: JobSpec;
  readonly environment?: { readonly pool: string } | { readonly autoPool: AutoPoolSpec };
  readonly metadata?: readonly MetadataItem[];
}

export interface WorkItem {
  readonly phase: "absent" | "active" | "disabled" | "terminating" | "completed" | "deleting";
  /** Counts the work items that have had this name; part of the keys of jobs and tasks. */
  readonly generation: number;
  readonly account: string;
  readonly name: string;
  readonly spec: WorkItemSpec;
  /** Names of all its jobs that have not been deleted with it. */
  readonly jobCount: number;
  readonly recentJob?: string;
  /** The auto pool of the recent job. */
  readonly recentPool?: string;
  /** What the recent job was made from, if the definition has changed since. */
  readonly spawnedFrom?: WorkItemSpec;
  /** The first occurrence of the schedule that has neither got a job nor been skipped. */
  readonly nextRun?: string;
  /** The last one that has. */
  readonly lastRun?: string;
  /** Occurrences that got no job, and the last of them. */
  readonly skipped?: number;
  readonly lastSkipped?: string;
  /** The auto pool that all jobs share, once there is one. */
  readonly sharedPool?: string;
  /** Auto pools that go with this work item, or with its recent job when a later definition has no use for them. */
  readonly pools?: readonly string[];
  readonly createdAt: string;
  readonly modifiedAt: string;
  readonly stateAt: string;
  readonly previousState?: "active" | "disabled" | "terminating" | "completed";
  readonly previousStateAt?: string;
  readonly endedAt?: string;
}

const absent: WorkItem = {
  phase: "absent",
  generation: 0,
  account: "",
  name: "",
  spec: { pool: "", job: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false } },
  jobCount: 0,
  createdAt: "",
  modifiedAt: "",
  stateAt: "",
};

/** A work item without a schedule has one occurrence: at once. */
const AT_ONCE: Schedule = {};

export const scheduleOf = (state: Pick<WorkItem, "spec">): Schedule => state.spec.schedule ?? AT_ONCE;

/** With no open job: whether a job is due, or the end. */
export const isDue = (state: WorkItem, at: string): boolean =>
  state.nextRun === undefined ? isOver(scheduleOf(state), undefined, at) : state.nextRun <= at;

/** `job-0000000001`: ten digits, counted per work item (reference 5.8). */
export const jobName = (number: number): string => `job-${String(number).padStart(10, "0")}`;

const closed = (state: WorkItem): Rejection | undefined => {
  switch (state.phase) {
    case "absent":
      return rejection("WorkItemNotFound");
    case "deleting":
      return rejection("WorkItemBeingDeleted", "The work item is being deleted.");
    case "completed":
      return rejection("WorkItemCompleted", "The work item has completed.");
    case "terminating":
      return rejection("WorkItemBeingTerminated", "The work item is being terminated.");
    case "active":
    case "disabled":
      return undefined;
  }
};

export const workItem: Decider<WorkItem, WorkItemCommand, WorkItemEvent> = {
  initial: absent,

  decide(command, state) {
    switch (command.type) {
      case "CreateWorkItem":
        return create(command, state);
      case "RunWorkItem":
        return state.phase !== "active" || isOpen(state, command.ended) ? [] : run(command, state);
      case "UpdateWorkItem":
        return closed(state) ?? update(command, state);
      case "DisableWorkItem":
        if (state.phase === "disabled") return [];
        return closed(state) ?? [{ type: "WorkItemDisabled", at: laterThan(command.at, state.modifiedAt) }];
      case "EnableWorkItem":
        if (state.phase === "active") return [];
        return closed(state) ?? [{ type: "WorkItemEnabled", at: laterThan(command.at, state.modifiedAt) }];
      case "ReleaseWorkItemPool":
        return state.pools?.includes(command.pool) ? [{ type: "WorkItemPoolReleased", at: command.at, pool: command.pool }] : [];
      case "TerminateWorkItem":
        return closed(state) ?? [{ type: "WorkItemTerminationStarted", at: laterThan(command.at, state.modifiedAt) }];
      case "CompleteWorkItem":
        return state.phase === "terminating" ? [{ type: "WorkItemCompleted", at: laterThan(command.at, state.stateAt) }] : [];
      case "DeleteWorkItem":
        if (state.phase === "absent") return rejection("WorkItemNotFound");
        if (state.phase === "deleting") return rejection("WorkItemBeingDeleted", "The work item is being deleted already.");
        return [{ type: "WorkItemDeletionStarted", at: command.at }];
      case "ForgetWorkItem":
        return state.phase === "deleting" ? [{ type: "WorkItemDeleted", at: command.at }] : [];
    }
  },

  evolve(state, event) {
    switch (event.type) {
      case "WorkItemCreated": {
        const { type: _, at, ...fields } = event;
        const begun: WorkItem = { ...absent, ...fields, generation: state.generation + 1, phase: "active", createdAt: at, modifiedAt: at, stateAt: at };
        return event.spec.schedule ? withNext(begun, firstRun(event.spec.schedule, at)) : begun;
      }
      case "WorkItemJobSpawned":
        return spawned(state, event);
      case "WorkItemOccurrencesSkipped":
        return {
          ...withNext(state, runAfter(scheduleOf(state), event.to)),
          lastRun: event.to,
          skipped: (state.skipped ?? 0) + event.count,
          lastSkipped: event.to,
        };
      case "WorkItemUpdated":
        return updated(state, event);
      case "WorkItemDisabled":
        return { ...leave(state, "disabled", event.at), modifiedAt: event.at };
      case "WorkItemEnabled":
        return { ...leave(state, "active", event.at), modifiedAt: event.at };
      case "WorkItemPoolReleased":
        return { ...state, pools: (state.pools ?? []).filter((name) => name !== event.pool) };
      case "WorkItemTerminationStarted":
        return { ...leave(state, "terminating", event.at), modifiedAt: event.at };
      case "WorkItemCompleted":
        return { ...leave(state, "completed", event.at), endedAt: event.at };
      case "WorkItemDeletionStarted":
        return leave(state, "deleting", event.at);
      case "WorkItemDeleted":
        return { ...absent, generation: state.generation };
    }
  },
};

// ---------------------------------------------------------------- decisions

type Command<T extends WorkItemCommand["type"]> = Extract<WorkItemCommand, { type: T }>;
type Event<T extends WorkItemEvent["type"]> = Extract<WorkItemEvent, { type: T }>;

const create = (command: Command<"CreateWorkItem">, state: WorkItem): readonly WorkItemEvent[] | Rejection => {
  if (state.phase === "deleting") return rejection("WorkItemBeingDeleted", "A work item of that name is being deleted.");
  if (state.phase !== "absent") return rejection("WorkItemExists", "The account already has a work item of that name.");
  const { unique = "", ...fields } = command;
  const created: WorkItemEvent = { ...fields, type: "WorkItemCreated" };
  const { at, spec } = command;
  if (!spec.schedule) return [created, spawn(after(absent, created), { at, unique })];
  return [created, ...run({ at, unique }, after(absent, created))];
};

/** Whether a job of the work item may still be open: it has one, and the caller does not know that one to be over. */
const isOpen = (state: WorkItem, ended: string | undefined): boolean => state.recentJob !== undefined && state.recentJob !== ended;

interface Moment {
  readonly at: string;
  readonly unique: string;
}

/** With no open job: the job that is due, what is given up, and the end when nothing can be due any more. */
const run = (moment: Moment, state: WorkItem): readonly WorkItemEvent[] => {
  const { skipped, start } = turnAt(scheduleOf(state), state.nextRun, moment.at);
  const events: WorkItemEvent[] = skipped ? [{ type: "WorkItemOccurrencesSkipped", at: moment.at, ...skipped }] : [];
  if (start !== undefined) return [...events, spawn(state, moment, start)];
  const left = after(state, ...events);
  if (!isOver(scheduleOf(left), left.nextRun, moment.at)) return events;
  return [...events, { type: "WorkItemCompleted", at: laterThan(moment.at, state.stateAt) }];
};

const spawn = (state: WorkItem, { at, unique }: Moment, occurrence?: string): WorkItemEvent => {
  const { autoPool } = state.spec;
  const pool = autoPool && (state.sharedPool ?? (autoPool.prefix === undefined ? unique : `${autoPool.prefix}_${unique}`));
  return { type: "WorkItemJobSpawned", at, job: jobName(state.jobCount + 1), ...present({ occurrence, pool }) } as WorkItemEvent;
};

const update = ({ type: _, at, ...change }: Command<"UpdateWorkItem">, state: WorkItem): readonly WorkItemEvent[] => {
  const spec = changedSpec(state.spec, change);
  // What was due under the old schedule and found no turn is given up with it.
  const skipped = sameSchedule(spec.schedule, state.spec.schedule) ? undefined : skipDue(scheduleOf(state), state.nextRun, at);
  return [
    ...(skipped ? [{ type: "WorkItemOccurrencesSkipped", at, ...skipped } as const] : []),
    { type: "WorkItemUpdated", at: laterThan(at, state.modifiedAt), spec },
  ];
};

const changedSpec = (spec: WorkItemSpec, change: WorkItemChange): WorkItemSpec => {
  const { pool, autoPool, schedule, metadata, job } = spec;
  return {
    job: change.job ?? job,
    ...(change.environment ?? present({ pool, autoPool })),
    ...present({ schedule: change.schedule === undefined ? schedule : (change.schedule ?? undefined), metadata: change.metadata ?? metadata }),
  } as WorkItemSpec;
};

const after = (state: WorkItem, ...events: WorkItemEvent[]): WorkItem => fold(workItem as Decider<WorkItem, never, WorkItemEvent>, events, state);

// ---------------------------------------------------------------- what follows from events

const withNext = (state: WorkItem, next: string | undefined): WorkItem => {
  const { nextRun: _, ...rest } = state;
  return next === undefined ? rest : { ...rest, nextRun: next };
};

const spawned = (state: WorkItem, event: Event<"WorkItemJobSpawned">): WorkItem => {
  const { recentPool: _, spawnedFrom: __, ...rest } = event.occurrence === undefined ? state : withNext(state, runAfter(scheduleOf(state), event.occurrence));
  const { autoPool } = state.spec;
  const shared = event.pool !== undefined && autoPool?.lifetime === "workitem" ? event.pool : undefined;
  const pools = state.pools ?? [];
  return {
    ...rest,
    jobCount: state.jobCount + 1,
    recentJob: event.job,
    ...(event.occurrence === undefined ? {} : { lastRun: event.occurrence }),
    ...(event.pool === undefined ? {} : { recentPool: event.pool }),
    ...(shared === undefined ? {} : { sharedPool: shared }),
    ...(shared === undefined || autoPool?.keepAlive || pools.includes(shared) ? {} : { pools: [...pools, shared] }),
  };
};

const updated = (state: WorkItem, { at, spec }: Event<"WorkItemUpdated">): WorkItem => {
  const { sharedPool, ...rest } = state;
  // Jobs to come have no use for a pool that was made by another specification.
  const keeps = sharedPool !== undefined && JSON.stringify(spec.autoPool) === JSON.stringify(state.spec.autoPool);
  const spawnedFrom = state.spawnedFrom ?? (state.recentJob === undefined ? undefined : state.spec);
  const next: WorkItem = { ...rest, spec, modifiedAt: at, ...present({ spawnedFrom }), ...(keeps ? { sharedPool } : {}) } as WorkItem;
  return sameSchedule(spec.schedule, state.spec.schedule) ? next : withNext(next, nextUnder(next, at));
};

/** One job and no more, without recurrence; else the schedule as it is now. */
const nextUnder = (state: WorkItem, at: string): string | undefined => {
  const schedule = scheduleOf(state);
  const fresh = state.jobCount === 0 && (state.lastRun === undefined || schedule.recurrenceMs === undefined);
  return fresh ? firstRun(schedule, at) : runUnder(schedule, state.lastRun ?? state.createdAt, at);
};

const leave = (state: WorkItem, phase: WorkItem["phase"], at: string): WorkItem => {
  const before = state.phase;
  return {
    ...state,
    phase,
    stateAt: at,
    ...(before === "active" || before === "disabled" || before === "terminating" || before === "completed"
      ? { previousState: before, previousStateAt: state.stateAt }
      : {}),
  };
};
