// The life of a work item beyond its requests: that its job is there, and that it ends with it.
import { isRejection } from "../domain/decider";
import { jobKey, jobStream } from "../domain/ids";
import type { Job } from "../domain/job";
import type { WorkItem } from "../domain/workItem";
import { ownCall } from "../app/call";
import { type Loaded, execute, load } from "../app/execute";
import { makeRecentJob } from "../app/workItems";
import type { Ports } from "../ports";
import { DONE, type Next, WAIT } from "./step";

export const workItemStep = async (ports: Ports, stream: string, at: string): Promise<Next> => {
  const { state } = await load(ports, "workItem", stream);
  switch (state.phase) {
    case "active":
      return keepGoing(ports, stream, state, at);
    case "terminating":
      return finish(ports, stream, state, at);
    case "deleting":
      return remove(ports, stream, state, at);
    default:
      return DONE;
  }
};

const jobOf = async (ports: Ports, item: WorkItem): Promise<Loaded<Job> | undefined> => {
  if (item.recentJob === undefined) return undefined;
  return load(ports, "job", jobStream(jobKey(item.account, item.name, item.generation, item.recentJob)));
};

const keepGoing = async (ports: Ports, stream: string, item: WorkItem, at: string): Promise<Next> => {
  await makeRecentJob(ports, ownCall(item.account, at), item);
  const job = await jobOf(ports, item);
  // Not recurring, and its one job is over: so is the work item (reference section 6).
  if (job?.state.phase !== "completed" && job?.state.phase !== "gone") return WAIT;
  await execute(ports, "workItem", "service", { stream, command: { type: "CompleteWorkItem", at } });
  return DONE;
};

const finish = async (ports: Ports, stream: string, item: WorkItem, at: string): Promise<Next> => {
  const job = await jobOf(ports, item);
  if (job && (job.state.phase === "active" || job.state.phase === "terminating")) {
    await execute(ports, "job", "service", { stream: job.stream, command: { type: "TerminateJob", at, reason: "TerminateWorkItem", byUser: false } });
    return WAIT;
  }
  if (job?.state.phase === "deleting") return WAIT;
  await execute(ports, "workItem", "service", { stream, command: { type: "CompleteWorkItem", at } });
  return DONE;
};

const remove = async (ports: Ports, stream: string, item: WorkItem, at: string): Promise<Next> => {
  const job = await jobOf(ports, item);
  if (job && job.state.phase !== "absent" && job.state.phase !== "gone") {
    const outcome = await execute(ports, "job", "service", { stream: job.stream, command: { type: "DeleteJob", at } });
    if (isRejection(outcome) && outcome.code !== "JobBeingDeleted" && outcome.code !== "JobNotFound")
      throw new Error(`the job of a work item that is being deleted refuses to be: ${outcome.code}`);
    return WAIT;
  }
  await execute(ports, "workItem", "service", { stream, command: { type: "ForgetWorkItem", at } });
  return DONE;
};
