// A job: a run of its work item, which holds the tasks. Active, terminating, completed, deleting.
import { type Decider, type Rejection, present, rejection } from "./decider";
import type { SchedulingError } from "./errors";
import type { PoolSpec } from "./pool";
import { addMs, laterThan } from "./time";

export interface JobConstraints {
  /** Milliseconds from the creation of the job; absent: no limit. */
  readonly maxWallClockMs?: number;
  readonly maxTaskRetryCount: number;
}

export interface JobSpec {
  readonly priority: number;
  readonly constraints: JobConstraints;
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
  | { type: "JobUpdated"; at: string; priority?: number; constraints?: JobConstraints }
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
  | { type: "UpdateJob"; at: string; priority?: number; constraints?: JobConstraints }
  | { type: "TerminateJob"; at: string; reason: string; byUser: boolean; error?: SchedulingError }
  | { type: "CompleteJob"; at: string }
  | { type: "DeleteJob"; at: string }
  | { type: "ForgetJob"; at: string };

export interface Job {
  readonly phase: "absent" | "active" | "terminating" | "completed" | "deleting" | "gone";
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
  readonly previousState?: "active" | "completed";
  readonly previousStateAt?: string;
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

/** Why a task may not be added now, if so. */
export const refusesTasks = closed;

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
        return closed(state) ?? [{ ...command, type: "JobUpdated", at: laterThan(command.at, state.modifiedAt) }];
      case "TerminateJob": {
        if (!command.byUser && state.phase !== "active") return [];
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
          },
          modifiedAt: event.at,
        };
      case "JobTerminationStarted":
        // Passing through: the recordings show `active` as the state before `completed` (reference section 6).
        return {
          ...state,
          phase: "terminating",
          terminateReason: event.reason,
          modifiedAt: event.byUser ? event.at : state.modifiedAt,
          ...present({ error: event.error }),
        } as Job;
      case "JobCompleted":
        return { ...state, phase: "completed", previousState: "active", previousStateAt: state.stateAt, stateAt: event.at, endedAt: event.at };
      case "JobDeletionStarted":
        return {
          ...state,
          phase: "deleting",
          previousState: state.phase === "completed" ? "completed" : "active",
          previousStateAt: state.stateAt,
          stateAt: event.at,
        };
      case "JobDeleted":
        return { ...state, phase: "gone", stateAt: event.at };
    }
  },
};
