// A job: a run of its work item, which holds the tasks. Active, disabling, disabled, terminating, completed, deleting.
import { type Decider, type Rejection, present, rejection } from "./decider";
import type { SchedulingError } from "./errors";
import type { PoolSpec } from "./pool";
import type { TaskSpec } from "./task";
import { addMs, laterThan } from "./time";

export interface JobConstraints {
  /** Milliseconds from the creation of the job; absent: no limit. */
  readonly maxWallClockMs?: number;
  readonly maxTaskRetryCount: number;
}

/** The task that is made with the job, before any other, and goes first whenever it has to run again (seed; reference 5.10). */
export interface JobManager extends TaskSpec {
  readonly name: string;
  /** Nothing else runs on its TVM meanwhile. */
  readonly exclusive: boolean;
  /** The job ends with it. */
  readonly killJobOnCompletion: boolean;
}

export interface JobSpec {
  readonly priority: number;
  readonly constraints: JobConstraints;
  readonly manager?: JobManager;
  /** The work item said something about priority or constraints (else the job shows neither: reference 5.8). */
  readonly specified: boolean;
}

/** A pool that the service makes for the job, or for all jobs of its work item (reference 5.7). */
export interface AutoPool {
  readonly lifetime: "workitem" | "job";
  /** The service never deletes it. */
  readonly keepAlive: boolean;
  readonly spec: PoolSpec;
}

/** What becomes of tasks that run while their job is being disabled. */
export type DisableOption = "requeue" | "terminate" | "wait";

export type JobEvent =
  | {
      type: "JobCreated";
      at: string;
      account: string;
      /** Key of the work item, its generation included. */
      workItem: string;
      workItemName: string;
      name: string;
      pool: string;
      spec: JobSpec;
      /** The pool of that name is the service's to make. */
      autoPool?: AutoPool;
    }
  | { type: "JobUpdated"; at: string; priority?: number; constraints?: JobConstraints; pool?: string }
  /** Its job manager is a task of it now: whatever becomes of that task, it is not made again. */
  | { type: "JobManagerQueued"; at: string }
  | { type: "JobDisablingStarted"; at: string; tasks: DisableOption }
  | { type: "JobDisabled"; at: string }
  | { type: "JobEnabled"; at: string }
  | { type: "JobTerminationStarted"; at: string; reason: string; byUser: boolean; error?: SchedulingError }
  | { type: "JobCompleted"; at: string }
  | { type: "JobDeletionStarted"; at: string }
  | { type: "JobDeleted"; at: string };

export type JobCommand =
  | {
      type: "CreateJob";
      at: string;
      account: string;
      workItem: string;
      workItemName: string;
      name: string;
      pool: string;
      spec: JobSpec;
      autoPool?: AutoPool;
    }
  /** Another pool only while the job is disabled. */
  | { type: "UpdateJob"; at: string; priority?: number; constraints?: JobConstraints; pool?: string }
  | { type: "NoteManager"; at: string }
  | { type: "DisableJob"; at: string; tasks: DisableOption }
  /** Nothing of it is on a TVM any more. */
  | { type: "EndDisabling"; at: string }
  | { type: "EnableJob"; at: string }
  | { type: "TerminateJob"; at: string; reason: string; byUser: boolean; error?: SchedulingError }
  | { type: "CompleteJob"; at: string }
  | { type: "DeleteJob"; at: string }
  | { type: "ForgetJob"; at: string };

export interface Job {
  readonly phase: "absent" | "active" | "disabling" | "disabled" | "terminating" | "completed" | "deleting" | "gone";
  readonly account: string;
  readonly workItem: string;
  readonly workItemName: string;
  readonly name: string;
  readonly pool: string;
  readonly spec: JobSpec;
  readonly autoPool?: AutoPool;
  readonly createdAt: string;
  readonly modifiedAt: string;
  readonly stateAt: string;
  readonly previousState?: "active" | "disabling" | "disabled" | "completed";
  readonly previousStateAt?: string;
  /** While it is disabling or disabled. */
  readonly disableTasks?: DisableOption;
  /** When it was last enabled, if it ever was disabled. */
  readonly enabledAt?: string;
  readonly managerQueued?: boolean;
  /** The state that its termination began in, if that was not `active`. */
  readonly closedFrom?: "disabling" | "disabled";
  readonly terminateReason?: string;
  /** Why the job could not run at all. */
  readonly error?: SchedulingError;
  readonly endedAt?: string;
}

const absent: Job = {
  phase: "absent",
  account: "",
  workItem: "",
  workItemName: "",
  name: "",
  pool: "",
  spec: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false },
  createdAt: "",
  modifiedAt: "",
  stateAt: "",
};

const closed = (state: Job): Rejection | undefined => {
  switch (state.phase) {
    case "absent":
    case "gone":
      return rejection("JobNotFound");
    case "completed":
      return rejection("JobCompleted", "The job has completed.");
    case "terminating":
      return rejection("JobBeingTerminated", "The job is being terminated.");
    case "deleting":
      return rejection("JobBeingDeleted", "The job is being deleted.");
    default:
      return undefined;
  }
};

/** Nothing will ever run in it again. */
export const isOver = (state: Pick<Job, "phase">): boolean => state.phase === "completed" || state.phase === "gone";

/** Why a task may not be added now, if so. A disabled job takes tasks, and keeps them waiting. */
export const refusesTasks = closed;

/** Its tasks wait or run, or will again: it is not on its way to its end. */
export const isOpen = (state: Pick<Job, "phase">): boolean => state.phase === "active" || state.phase === "disabling" || state.phase === "disabled";

/** Other tasks of a job wait until its manager is among them: the manager starts before all others (seed). */
export const awaitsManager = (state: Pick<Job, "spec" | "managerQueued">): boolean => state.spec.manager !== undefined && state.managerQueued !== true;

/** No task stays active for longer: it does not run when its job is enabled later than that (reference 7.13). */
export const ACTIVE_MOST_MS = 7 * 24 * 60 * 60_000;

/** Tasks that have been active since before this instant do not run any more; undefined: all may. */
export const expiredBefore = (state: Pick<Job, "enabledAt">): string | undefined =>
  state.enabledAt === undefined ? undefined : addMs(state.enabledAt, -ACTIVE_MOST_MS);

/** When the job's time is over; undefined: never. */
export const wallClockEnd = (state: Job): string | undefined =>
  state.spec.constraints.maxWallClockMs === undefined ? undefined : addMs(state.createdAt, state.spec.constraints.maxWallClockMs);

export const job: Decider<Job, JobCommand, JobEvent> = {
  initial: absent,

  decide(command, state) {
    switch (command.type) {
      case "CreateJob":
        return state.phase === "absent" ? [{ ...command, type: "JobCreated" }] : [];
      case "UpdateJob":
        return closed(state) ?? moved(command, state) ?? [{ ...command, type: "JobUpdated", at: laterThan(command.at, state.modifiedAt) }];
      case "NoteManager":
        return isOpen(state) && awaitsManager(state) ? [{ type: "JobManagerQueued", at: command.at }] : [];
      case "DisableJob": {
        const refused = closed(state);
        if (refused) return refused;
        // Asked again it stays as it is; while it waits for its tasks, it may be told to wait no longer.
        if (state.phase === "disabled" || state.disableTasks === command.tasks) return [];
        return [{ type: "JobDisablingStarted", at: laterThan(command.at, state.modifiedAt), tasks: command.tasks }];
      }
      case "EndDisabling":
        return state.phase === "disabling" ? [{ type: "JobDisabled", at: laterThan(command.at, state.stateAt) }] : [];
      case "EnableJob": {
        const refused = closed(state);
        if (refused) return refused;
        return state.phase === "active" ? [] : [{ type: "JobEnabled", at: laterThan(command.at, state.modifiedAt) }];
      }
      case "TerminateJob": {
        if (!command.byUser && !isOpen(state)) return [];
        const refused = closed(state);
        if (refused) return refused;
        return [{ ...command, type: "JobTerminationStarted", at: laterThan(command.at, state.modifiedAt) }];
      }
      case "CompleteJob":
        return state.phase === "terminating" ? [{ type: "JobCompleted", at: laterThan(command.at, state.stateAt) }] : [];
      case "DeleteJob":
        if (state.phase === "absent" || state.phase === "gone") return rejection("JobNotFound");
        if (state.phase === "deleting") return rejection("JobBeingDeleted", "The job is being deleted already.");
        return [{ type: "JobDeletionStarted", at: command.at }];
      case "ForgetJob":
        return state.phase === "deleting" ? [{ type: "JobDeleted", at: command.at }] : [];
    }
  },

  evolve(state, event) {
    switch (event.type) {
      case "JobCreated": {
        const { type: _, at, ...fields } = event;
        return { ...absent, ...fields, phase: "active", createdAt: at, modifiedAt: at, stateAt: at };
      }
      case "JobUpdated":
        return {
          ...state,
          spec: {
            priority: event.priority ?? state.spec.priority,
            constraints: event.constraints ?? state.spec.constraints,
            specified: true,
            ...present({ manager: state.spec.manager }),
          },
          ...present({ pool: event.pool }),
          modifiedAt: event.at,
        };
      case "JobManagerQueued":
        return { ...state, managerQueued: true };
      case "JobDisablingStarted":
        if (state.phase === "disabling") return { ...state, disableTasks: event.tasks, modifiedAt: event.at };
        return { ...enter(state, "disabling", "active", event.at), disableTasks: event.tasks, modifiedAt: event.at };
      case "JobDisabled":
        return enter(state, "disabled", "disabling", event.at);
      case "JobEnabled": {
        const { disableTasks: _, ...rest } = state;
        return { ...enter(rest, "active", state.phase === "disabling" ? "disabling" : "disabled", event.at), modifiedAt: event.at, enabledAt: event.at };
      }
      case "JobTerminationStarted":
        // Passing through: the recordings show `active` as the state before `completed` (reference section 6).
        return {
          ...state,
          phase: "terminating",
          terminateReason: event.reason,
          modifiedAt: event.byUser ? event.at : state.modifiedAt,
          ...present({ error: event.error }),
          ...(state.phase === "disabling" || state.phase === "disabled" ? { closedFrom: state.phase } : {}),
        } as Job;
      case "JobCompleted":
        return { ...enter(state, "completed", state.closedFrom ?? "active", event.at), endedAt: event.at };
      case "JobDeletionStarted":
        return enter(state, "deleting", stateBefore(state), event.at);
      case "JobDeleted":
        return { ...state, phase: "gone", stateAt: event.at };
    }
  },
};

type Update = Extract<JobCommand, { type: "UpdateJob" }>;

/** Tasks of a job may be on the TVMs of its pool unless it is disabled: only then may it be pointed at another (reference 7.14). */
const moved = (command: Update, state: Job): Rejection | undefined => {
  if (command.pool === undefined || command.pool.toLowerCase() === state.pool.toLowerCase()) return undefined;
  const about = { PropertyName: "poolName" };
  if (state.autoPool) return rejection("OperationInvalidForCurrentState", "The job has a pool that was made for it: it cannot be pointed at another.", about);
  if (state.phase === "disabled") return undefined;
  return rejection("OperationInvalidForCurrentState", "The job can be pointed at another pool only while it is disabled.", about);
};

const stateBefore = (state: Job): NonNullable<Job["previousState"]> => {
  switch (state.phase) {
    case "completed":
    case "disabling":
    case "disabled":
      return state.phase;
    default:
      return state.closedFrom ?? "active";
  }
};

const enter = (state: Job, phase: Job["phase"], previous: NonNullable<Job["previousState"]>, at: string): Job => ({
  ...state,
  phase,
  previousState: previous,
  previousStateAt: state.stateAt,
  stateAt: at,
});
