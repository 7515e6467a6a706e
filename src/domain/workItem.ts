// A work item: what its jobs are made from, and which it has made. Without a schedule it makes one job, at once.
import { type Decider, type Rejection, rejection } from "./decider";
import type { JobSpec } from "./job";
import type { MetadataItem } from "./pool";
import { laterThan } from "./time";

export interface WorkItemSpec {
  readonly pool: string;
  readonly job: JobSpec;
  readonly metadata?: readonly MetadataItem[];
}

export type WorkItemEvent =
  | { type: "WorkItemCreated"; at: string; account: string; name: string; spec: WorkItemSpec }
  | { type: "WorkItemJobSpawned"; at: string; job: string }
  | { type: "WorkItemTerminationStarted"; at: string }
  | { type: "WorkItemCompleted"; at: string }
  | { type: "WorkItemDeletionStarted"; at: string }
  | { type: "WorkItemDeleted"; at: string };

export type WorkItemCommand =
  | { type: "CreateWorkItem"; at: string; account: string; name: string; spec: WorkItemSpec }
  | { type: "TerminateWorkItem"; at: string }
  | { type: "CompleteWorkItem"; at: string }
  | { type: "DeleteWorkItem"; at: string }
  | { type: "ForgetWorkItem"; at: string };

export interface WorkItem {
  readonly phase: "absent" | "active" | "terminating" | "completed" | "deleting";
  /** Counts the work items that have had this name; part of the keys of jobs and tasks. */
  readonly generation: number;
  readonly account: string;
  readonly name: string;
  readonly spec: WorkItemSpec;
  /** Names of all its jobs that have not been deleted with it. */
  readonly jobCount: number;
  readonly recentJob?: string;
  readonly createdAt: string;
  readonly modifiedAt: string;
  readonly stateAt: string;
  readonly previousState?: "active" | "terminating" | "completed";
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
      return undefined;
  }
};

export const workItem: Decider<WorkItem, WorkItemCommand, WorkItemEvent> = {
  initial: absent,

  decide(command, state) {
    switch (command.type) {
      case "CreateWorkItem":
        if (state.phase === "deleting") return rejection("WorkItemBeingDeleted", "A work item of that name is being deleted.");
        if (state.phase !== "absent") return rejection("WorkItemExists", "The account already has a work item of that name.");
        return [
          { ...command, type: "WorkItemCreated" },
          { type: "WorkItemJobSpawned", at: command.at, job: jobName(1) },
        ];
      case "TerminateWorkItem":
        return closed(state) ?? [{ type: "WorkItemTerminationStarted", at: laterThan(command.at, state.modifiedAt) }];
      case "CompleteWorkItem":
        return state.phase === "active" || state.phase === "terminating"
          ? [{ type: "WorkItemCompleted", at: laterThan(command.at, state.stateAt) }]
          : [];
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
        return { ...absent, ...fields, generation: state.generation + 1, phase: "active", createdAt: at, modifiedAt: at, stateAt: at };
      }
      case "WorkItemJobSpawned":
        return { ...state, jobCount: state.jobCount + 1, recentJob: event.job };
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

const leave = (state: WorkItem, phase: WorkItem["phase"], at: string): WorkItem => {
  const before = state.phase;
  return {
    ...state,
    phase,
    stateAt: at,
    ...(before === "active" || before === "terminating" || before === "completed"
      ? { previousState: before, previousStateAt: state.stateAt }
      : {}),
  };
};
