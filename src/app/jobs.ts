// Use cases on jobs.
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { jobKey, jobStream, keyOf } from "../domain/ids";
import type { DisableOption, Job, JobCommand, JobConstraints } from "../domain/job";
import type { Ports } from "../ports";
import { type JobRow, jobs } from "../views/jobs";
import { tasks } from "../views/tasks";
import type { Call } from "./call";
import { type Loaded, type Outcome, execute, load } from "./execute";
import type { Condition } from "./pools";
import { type Page, type Rows, scan } from "./rows";
import { getWorkItem, parentKey } from "./workItems";

export const getJob = async (ports: Ports, call: Call, workItem: string, name: string): Promise<Loaded<Job> | Rejection> => {
  const item = await getWorkItem(ports, call, workItem);
  if (isRejection(item)) return item;
  const loaded = await load(ports, "job", jobStream(jobKey(call.account, workItem, item.state.generation, name)));
  return loaded.state.phase === "absent" || loaded.state.phase === "gone"
    ? rejection("JobNotFound", "The work item has no job of that name.")
    : loaded;
};

export const keyOfJob = (loaded: Loaded<Job>): string => keyOf(loaded.stream);

export const listJobs = async (ports: Ports, call: Call, workItem: string, page: Page<JobRow>): Promise<Rows<JobRow> | Rejection> => {
  const item = await getWorkItem(ports, call, workItem);
  if (isRejection(item)) return item;
  return scan(ports.views, jobs, "workItem", `${parentKey(item.state)}/`, page, true);
};

const onJob = async (
  ports: Ports,
  call: Call,
  workItem: string,
  name: string,
  command: JobCommand,
  condition?: Condition<Job>,
): Promise<Outcome<"job">> => {
  const found = await getJob(ports, call, workItem, name);
  return isRejection(found) ? found : execute(ports, "job", call.by, { stream: found.stream, command, condition });
};

export const updateJob = (
  ports: Ports,
  call: Call,
  workItem: string,
  name: string,
  change: { priority?: number; constraints?: JobConstraints; pool?: string },
  condition?: Condition<Job>,
): Promise<Outcome<"job">> => onJob(ports, call, workItem, name, { ...change, type: "UpdateJob", at: call.at }, condition);

/** What runs of it is requeued, terminated or waited for; then it is disabled. Its tasks keep their places. */
export const disableJob = (
  ports: Ports,
  call: Call,
  workItem: string,
  name: string,
  option: DisableOption,
  condition?: Condition<Job>,
): Promise<Outcome<"job">> => onJob(ports, call, workItem, name, { type: "DisableJob", at: call.at, tasks: option }, condition);

export const enableJob = (ports: Ports, call: Call, workItem: string, name: string, condition?: Condition<Job>): Promise<Outcome<"job">> =>
  onJob(ports, call, workItem, name, { type: "EnableJob", at: call.at }, condition);

export const terminateJob = (
  ports: Ports,
  call: Call,
  workItem: string,
  name: string,
  reason = "UserTerminate",
  condition?: Condition<Job>,
): Promise<Outcome<"job">> => onJob(ports, call, workItem, name, { type: "TerminateJob", at: call.at, reason, byUser: true }, condition);

export const deleteJob = (ports: Ports, call: Call, workItem: string, name: string, condition?: Condition<Job>): Promise<Outcome<"job">> =>
  onJob(ports, call, workItem, name, { type: "DeleteJob", at: call.at }, condition);

/** Exact counts of a job's tasks by phase, of failures, retries and requeues, and the CPU time spent. */
export interface JobCounts {
  readonly active: number;
  readonly assigned: number;
  readonly running: number;
  readonly completed: number;
  readonly failed: number;
  readonly retries: number;
  readonly requeues: number;
  readonly cpuMs: number;
}

export const jobCounts = async (ports: Ports, job: string): Promise<JobCounts> => {
  const { active = 0, assigned = 0, running = 0, completed = 0, failed = 0, retries = 0, requeues = 0, cpuUs = 0 } = await ports.views.counters(
    tasks,
    `${job}/`,
  );
  return { active, assigned, running, completed, failed, retries, requeues, cpuMs: cpuUs / 1000 };
};
