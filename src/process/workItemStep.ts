// The life of a work item beyond its requests: its jobs are made when they are due, the work item ends with its schedule, and
// what belongs to it goes with it. Which job is due is the work item's own decision; here it is only asked, as often as one likes.
import { isRejection } from "../domain/decider";
import { jobKey, jobStream } from "../domain/ids";
import { type Job, isOver } from "../domain/job";
import { addMs } from "../domain/time";
import type { WorkItem } from "../domain/workItem";
import { ownCall } from "../app/call";
import { type Loaded, execute, load } from "../app/execute";
import { deletePool } from "../app/pools";
import { makeRecentJob, parentKey, uniqueName } from "../app/workItems";
import type { Ports } from "../ports";
import { jobs } from "../views/jobs";
import { DONE, type Next, WAIT, earlier, wakeAt } from "./step";

/** A schedule is looked at this often at least: no timer is longer. */
const LOOK_MS = 24 * 3_600_000;
/** Jobs deleted at a time. */
const DELETE_MAX = 100;
const SOON_MS = 500;

export const workItemStep = async (ports: Ports, stream: string, at: string): Promise<Next> => {
  const { state } = await load(ports, "workItem", stream);
  switch (state.phase) {
    case "active":
      return keepGoing(ports, stream, state, at);
    case "disabled":
      await makeRecentJob(ports, ownCall(state.account, at), state);
      return releasePools(ports, stream, state, await jobOf(ports, state), at);
    case "terminating":
      return finish(ports, stream, state, at);
    case "completed":
      return releasePools(ports, stream, state, undefined, at);
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

const keepGoing = async (ports: Ports, stream: string, before: WorkItem, at: string): Promise<Next> => {
  const call = ownCall(before.account, at);
  await makeRecentJob(ports, call, before);
  const job = await jobOf(ports, before);
  await releasePools(ports, stream, before, job, at);
  // Its end tells this process; should that be lost, the sweep does.
  if (job && !isOver(job.state)) return WAIT;
  const ended = before.recentJob === undefined ? {} : { ended: before.recentJob };
  const outcome = await execute(ports, "workItem", "service", { stream, command: { type: "RunWorkItem", at, ...ended, unique: uniqueName(ports) } });
  if (isRejection(outcome)) throw new Error(`a work item refuses to be run: ${outcome.code}`);
  const item = outcome.state;
  if (item.phase !== "active") return wakeAt(at);
  if (item.recentJob !== before.recentJob) {
    await makeRecentJob(ports, call, item);
    return WAIT;
  }
  // After the last occurrence there is only the end of the schedule to wait for.
  const { doNotRunAfter } = item.spec.schedule ?? {};
  return wakeAt(earlier(item.nextRun ?? (doNotRunAfter === undefined ? undefined : addMs(doNotRunAfter, 1)), addMs(at, LOOK_MS)));
};

/** Auto pools that no job needs any more go. */
const releasePools = async (ports: Ports, stream: string, item: WorkItem, job: Loaded<Job> | undefined, at: string): Promise<Next> => {
  const inUse = (pool: string): boolean =>
    item.phase !== "completed" && (pool === item.sharedPool || (job !== undefined && !isOver(job.state) && job.state.pool === pool));
  for (const pool of item.pools ?? []) {
    if (inUse(pool)) continue;
    await deletePool(ports, ownCall(item.account, at), pool);
    await execute(ports, "workItem", "service", { stream, command: { type: "ReleaseWorkItemPool", at, pool } });
  }
  return DONE;
};

/** A job that was decided and not made is made first, and ended then: whoever is still about to make it finds that it has been. */
const finish = async (ports: Ports, stream: string, item: WorkItem, at: string): Promise<Next> => {
  await makeRecentJob(ports, ownCall(item.account, at), item);
  const job = await jobOf(ports, item);
  if (job && !isOver(job.state)) {
    await execute(ports, "job", "service", { stream: job.stream, command: { type: "TerminateJob", at, reason: "TerminateWorkItem", byUser: false } });
    return WAIT;
  }
  await execute(ports, "workItem", "service", { stream, command: { type: "CompleteWorkItem", at } });
  return wakeAt(at);
};

/** The recent job's row may not be there yet: that one is looked for by its stream, and made before it goes, as above. */
const remove = async (ports: Ports, stream: string, item: WorkItem, at: string): Promise<Next> => {
  await makeRecentJob(ports, ownCall(item.account, at), item);
  const listed = await ports.views.query(jobs, { index: "workItem", prefix: `${parentKey(item)}/`, limit: DELETE_MAX });
  const recent = await jobOf(ports, item);
  const streams = new Set(listed.map(({ row }) => jobStream(`${row.workItem}.${row.id}`)));
  if (recent && recent.state.phase !== "gone") streams.add(recent.stream);
  let left = 0;
  for (const one of streams) {
    const outcome = await execute(ports, "job", "service", { stream: one, command: { type: "DeleteJob", at } });
    if (!isRejection(outcome) || outcome.code === "JobBeingDeleted") left++;
    else if (outcome.code !== "JobNotFound") throw new Error(`a job of a work item that is being deleted refuses to be: ${outcome.code}`);
  }
  if (left > 0) return WAIT;
  // Rows that have not heard yet that their jobs are gone.
  if (streams.size > 0) return wakeAt(addMs(at, SOON_MS));
  for (const pool of item.pools ?? []) await deletePool(ports, ownCall(item.account, at), pool);
  await execute(ports, "workItem", "service", { stream, command: { type: "ForgetWorkItem", at } });
  return DONE;
};
