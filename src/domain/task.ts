// A task: queued, assigned to a TVM, running, completed; retried, requeued, terminated, deleted. Every assignment has a
// number of its own (the attempt): reports that carry another one are old news and change nothing.
import { type Decider, type Rejection, present, rejection } from "./decider";
import { accountOf, tvmKey } from "./ids";
import { type SchedulingError, TIME_LIMIT_EXIT_CODE, taskEnded } from "./errors";
import { laterThan } from "./time";
import { type Used, pastOf, ranUntil } from "./usage";

/** A file to copy to the TVM. A signature in the address is sealed (see ports, Sealer); `blobSource` shows it redacted. */
export interface TaskFile {
  readonly blobSource: string;
  readonly sealed?: string;
  readonly filePath: string;
}

export interface TaskSpec {
  readonly commandLine: string;
  readonly resourceFiles?: readonly TaskFile[];
  readonly environment?: readonly { readonly name: string; readonly value: string }[];
  readonly runElevated?: boolean;
  readonly affinityId?: string;
  /** Milliseconds per run; absent: no limit. */
  readonly maxWallClockMs?: number;
  /** Milliseconds the folder is kept after completion; absent: as long as the TVM lives. */
  readonly retentionMs?: number;
  /** Further runs after a non-zero exit: -1 for ever. Copied from the job when the task does not say. */
  readonly maxTaskRetryCount: number;
  /** It is the job manager task of its job. */
  readonly manager?: boolean;
  /** It runs on a TVM that runs nothing else meanwhile. */
  readonly exclusive?: boolean;
}

/** What a user may change of a task that has not completed: the constraints as a whole, and the environment if it is given. */
export interface TaskChange {
  readonly maxWallClockMs?: number;
  readonly retentionMs?: number;
  readonly maxTaskRetryCount: number;
  readonly environment?: TaskSpec["environment"];
}

export interface Usage {
  readonly userMs: number;
  readonly kernelMs: number;
  readonly maxRssKib: number;
}

export type TaskEvent =
  | { type: "TaskQueued"; at: string; job: string; workItemName: string; jobName: string; name: string; order: string; spec: TaskSpec }
  | { type: "TaskAssigned"; at: string; attempt: number; pool: string; tvm: string }
  /** `left`: where it ran before, if that was another TVM; what is left of it there is of no use any more. */
  | { type: "TaskStarted"; at: string; attempt: number; left?: { readonly pool: string; readonly tvm: string } }
  /** Held by a TVM that could not start it soon: back to the queue, counted as nothing. */
  | { type: "TaskReturned"; at: string; attempt: number }
  | { type: "TaskRetried"; at: string; attempt: number; exitCode: number; usage?: Usage }
  | { type: "TaskRequeued"; at: string; attempt: number; reason: RequeueReason }
  | { type: "TaskCompleted"; at: string; attempt?: number; exitCode?: number; error?: SchedulingError; usage?: Usage }
  | ({ type: "TaskUpdated"; at: string } & TaskChange)
  | { type: "TaskDeleted"; at: string };

export type RequeueReason = "tvmLost" | "tvmRestarted" | "tvmRemoved" | "jobDisabled" | "roomForJobManager";

export type TaskCommand =
  | { type: "QueueTask"; at: string; job: string; workItemName: string; jobName: string; name: string; order: string; spec: TaskSpec }
  | { type: "AssignTask"; at: string; pool: string; tvm: string }
  /** `tvm` is the key of the TVM that reports: it may speak of its own attempts only. */
  | { type: "StartTask"; at: string; attempt: number; tvm: string }
  | { type: "ReturnTask"; at: string; attempt: number; tvm: string }
  | {
      type: "CompleteTask";
      at: string;
      attempt: number;
      tvm: string;
      startedAt?: string;
      exitCode?: number;
      error?: SchedulingError;
      usage?: Usage;
    }
  | { type: "RequeueTask"; at: string; attempt: number; reason: RequeueReason }
  /** By the user, the job's end, or a TVM removed with `terminate`: `attempt` limits it to that attempt. */
  | { type: "TerminateTask"; at: string; attempt?: number; message: string; byUser: boolean }
  /** It has waited for longer than a task may: it does not run any more. */
  | { type: "ExpireTask"; at: string; since: string }
  | ({ type: "UpdateTask"; at: string } & TaskChange)
  | { type: "DeleteTask"; at: string };

export interface Task {
  readonly phase: "absent" | "active" | "assigned" | "running" | "completed";
  /** The number of the latest attempt; goes on counting if the task is deleted and added again. */
  readonly attempt: number;
  readonly job: string;
  readonly workItemName: string;
  readonly jobName: string;
  readonly name: string;
  readonly order: string;
  readonly spec: TaskSpec;
  readonly createdAt: string;
  readonly modifiedAt: string;
  readonly stateAt: string;
  readonly previousState?: "active" | "running";
  readonly previousStateAt?: string;
  readonly retryCount: number;
  readonly requeueCount: number;
  readonly lastRetryAt?: string;
  readonly lastRequeueAt?: string;
  readonly startedAt?: string;
  readonly endedAt?: string;
  readonly exitCode?: number;
  readonly error?: SchedulingError;
  readonly usage?: Usage;
  /** CPU time of all runs so far. */
  readonly cpuMs?: number;
  /** The kernel's part of it. */
  readonly kernelMs?: number;
  /** From start to end, of all runs that have ended. */
  readonly wallMs?: number;
  /** What deleted tasks of this name have used. */
  readonly past?: Used;
  /** Where the latest attempt was put. */
  readonly pool?: string;
  readonly tvm?: string;
  /** Where it last ran: its folder is there, wherever it waits to run next. */
  readonly ranOn?: { readonly pool: string; readonly tvm: string };
}

const absent: Task = {
  phase: "absent",
  attempt: 0,
  job: "",
  workItemName: "",
  jobName: "",
  name: "",
  order: "",
  spec: { commandLine: "", maxTaskRetryCount: 0 },
  createdAt: "",
  modifiedAt: "",
  stateAt: "",
  retryCount: 0,
  requeueCount: 0,
};

/** The attempt is the present one and has not ended: only then may a report about it change anything. */
const owns = (state: Task, attempt: number): boolean =>
  attempt === state.attempt && (state.phase === "assigned" || state.phase === "running");

const reportedBy = (state: Task, command: { attempt: number; tvm: string }): boolean =>
  owns(state, command.attempt) && command.tvm === tvmKey(accountOf(state.job), state.pool ?? "", state.tvm ?? "");

const retriesLeft = (state: Task): boolean =>
  state.spec.maxTaskRetryCount === -1 || state.retryCount < state.spec.maxTaskRetryCount;

type Complete = Extract<TaskCommand, { type: "CompleteTask" }>;

/** The report that it ran implies the report that it started, should that one be late or lost. */
const impliedStart = (command: Complete, state: Task): TaskEvent[] =>
  state.phase === "assigned" && command.startedAt !== undefined
    ? [started(command.startedAt, command.attempt, state)]
    : [];

const started = (at: string, attempt: number, { ranOn, pool, tvm }: Task): TaskEvent =>
  ranOn === undefined || (ranOn.tvm === tvm && ranOn.pool === pool) ? { type: "TaskStarted", at, attempt } : { type: "TaskStarted", at, attempt, left: ranOn };

const ended = (command: Complete, state: Task): readonly TaskEvent[] => {
  const { at, attempt, error, usage } = command;
  const timeLimit = error?.category === "ServerError" && error.code === "TaskEnded";
  const exitCode = timeLimit ? TIME_LIMIT_EXIT_CODE : command.exitCode;
  // A scheduling error and the time limit complete the task at once: neither is retried (reference section 3, seed).
  const retry = error === undefined && exitCode !== undefined && exitCode !== 0 && retriesLeft(state);
  const end: TaskEvent = retry
    ? { type: "TaskRetried", at, attempt, exitCode, ...present({ usage }) }
    : { type: "TaskCompleted", at, attempt, ...present({ exitCode, error, usage }) };
  return [...impliedStart(command, state), end as TaskEvent];
};

const exists = (state: Task): Rejection | undefined =>
  state.phase === "absent" ? rejection("TaskNotFound") : undefined;

export const task: Decider<Task, TaskCommand, TaskEvent> = {
  initial: absent,

  decide(command, state) {
    switch (command.type) {
      case "QueueTask": {
        if (state.phase !== "absent") return rejection("TaskExists", "The job already has a task of that name.");
        return [{ ...command, type: "TaskQueued" }];
      }
      case "AssignTask":
        // Placement works on a view that may be a moment old: what is no longer waiting is simply not assigned.
        if (state.phase !== "active") return [];
        return [{ type: "TaskAssigned", at: command.at, attempt: state.attempt + 1, pool: command.pool, tvm: command.tvm }];
      case "StartTask":
        return state.phase === "assigned" && reportedBy(state, command)
          ? [started(command.at, command.attempt, state)]
          : [];
      case "ReturnTask":
        return state.phase === "assigned" && reportedBy(state, command)
          ? [{ type: "TaskReturned", at: command.at, attempt: command.attempt }]
          : [];
      case "CompleteTask":
        // Queues deliver twice and lost TVMs come back: a report for an attempt we no longer own is old news, not an error.
        return reportedBy(state, command) ? ended(command, state) : [];
      case "RequeueTask":
        if (!owns(state, command.attempt)) return [];
        return [{ type: "TaskRequeued", at: command.at, attempt: command.attempt, reason: command.reason }];
      case "TerminateTask":
        return terminate(command, state);
      case "ExpireTask":
        if (state.phase !== "active" || state.stateAt >= command.since) return [];
        return [{ type: "TaskCompleted", at: command.at, error: waitedTooLong }];
      case "UpdateTask":
        if (state.phase === "completed") return rejection("TaskCompleted", "The task has already completed.");
        return exists(state) ?? [{ ...command, type: "TaskUpdated", at: laterThan(command.at, state.modifiedAt) }];
      case "DeleteTask":
        return exists(state) ?? [{ type: "TaskDeleted", at: command.at }];
    }
  },

  evolve(state, event) {
    switch (event.type) {
      case "TaskQueued": {
        const { type: _, at, ...fields } = event;
        return { ...absent, ...fields, phase: "active", attempt: state.attempt, createdAt: at, modifiedAt: at, stateAt: at, ...present({ past: state.past }) };
      }
      case "TaskAssigned":
        return { ...state, phase: "assigned", attempt: event.attempt, pool: event.pool, tvm: event.tvm };
      case "TaskStarted":
        return { ...enter(withoutRun(state), "running", "active", event.at), startedAt: event.at, ranOn: { pool: state.pool ?? "", tvm: state.tvm ?? "" } };
      case "TaskReturned":
        return { ...state, phase: "active" };
      case "TaskRetried":
        return {
          ...enter(state, "active", "running", event.at),
          retryCount: state.retryCount + 1,
          lastRetryAt: event.at,
          endedAt: event.at,
          exitCode: event.exitCode,
          ...present({ usage: event.usage }),
          ...spent(state, event.usage),
          ...ranUntil(state, event.at),
        };
      case "TaskRequeued": {
        // Held but never started: the user never saw it run, but it was taken away, which is what the counter counts.
        const back: Task = state.phase === "running" ? { ...enter(state, "active", "running", event.at), ...ranUntil(state, event.at) } : { ...state, phase: "active" };
        return { ...back, requeueCount: state.requeueCount + 1, lastRequeueAt: event.at };
      }
      case "TaskCompleted":
        return {
          ...enter(state.phase === "running" ? state : withoutRun(state), "completed", state.phase === "running" ? "running" : "active", event.at),
          endedAt: event.at,
          ...present({ exitCode: event.exitCode, error: event.error, usage: event.usage }),
          ...spent(state, event.usage),
          ...ranUntil(state, event.at),
        };
      case "TaskUpdated":
        return { ...state, spec: respecified(state.spec, event), modifiedAt: event.at };
      case "TaskDeleted":
        // Where and what it was is kept: its folder has to go too.
        return { ...state, phase: "absent", order: "", spec: absent.spec, ...pastOf({ ...state, ...ranUntil(state, event.at) }) };
    }
  },
};

const waitedTooLong: SchedulingError = {
  category: "UserError",
  code: "TaskSchedulingConstraintFailed",
  message: "The task was active for more than seven days: it does not run any more.",
};

/** Absent limits are limits no more; absent environment stays what it was. */
const respecified = (spec: TaskSpec, { maxWallClockMs, retentionMs, maxTaskRetryCount, environment }: TaskChange): TaskSpec => {
  const { maxWallClockMs: _wall, retentionMs: _kept, ...rest } = spec;
  return { ...rest, maxTaskRetryCount, ...present({ maxWallClockMs, retentionMs, environment }) };
};

/** What an earlier run left behind does not describe the present one. */
const withoutRun = (state: Task): Task => {
  const { exitCode: _exit, error: _error, endedAt: _ended, usage: _usage, ...rest } = state;
  return rest;
};

const spent = (state: Task, usage: Usage | undefined): { cpuMs?: number; kernelMs?: number } =>
  usage === undefined ? {} : { cpuMs: (state.cpuMs ?? 0) + usage.userMs + usage.kernelMs, kernelMs: (state.kernelMs ?? 0) + usage.kernelMs };

const enter = (state: Task, phase: Task["phase"], previous: "active" | "running", at: string): Task => ({
  ...state,
  phase,
  previousState: previous,
  previousStateAt: state.stateAt,
  stateAt: at,
});

const terminate = (
  command: Extract<TaskCommand, { type: "TerminateTask" }>,
  state: Task,
): readonly TaskEvent[] | Rejection => {
  if (command.attempt !== undefined && !owns(state, command.attempt)) return [];
  if (state.phase === "absent") return rejection("TaskNotFound");
  if (state.phase === "completed") return command.byUser ? rejection("TaskCompleted", "The task has already completed.") : [];
  const error = taskEnded(command.byUser ? "UserError" : "ServerError", command.message);
  return [{ type: "TaskCompleted", at: command.at, ...(state.phase === "active" ? {} : { attempt: state.attempt }), error }];
};
