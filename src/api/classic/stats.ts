// Statistics on the wire, with `$expand=stats`. Times are durations, counts are text as all 64-bit numbers of that dialect are
// (reference 5.11, contentLength). What is not measured (disk and network) is left out: a zero would be a lie.
import { usedUnder } from "../../app/stats";
import { parentKey } from "../../app/workItems";
import { jobKey } from "../../domain/ids";
import type { Job } from "../../domain/job";
import { type Pool, usedUntil } from "../../domain/pool";
import { coresOf } from "../../domain/sizes";
import type { Task } from "../../domain/task";
import { formatDuration } from "../../domain/time";
import { type Used, usedBy } from "../../domain/usage";
import type { WorkItem } from "../../domain/workItem";
import { wireDate } from "../dates";
import type { Input } from "../operation";
import { jobPath, poolPath, taskPath, workItemPath } from "./render";

type Asking = Pick<Input, "ports" | "call" | "base">;

/** They are counted as things happen: as of now. */
const frame = ({ base, call }: Asking, path: string, since: string) => ({
  url: `${base}${path}?$select=stats&$expand=stats`,
  startTime: wireDate(since),
  lastUpdateTime: wireDate(call.at),
});

const duration = (milliseconds: number): string => formatDuration(Math.round(milliseconds));

const times = (used: Used) => ({
  userCPUTime: duration(used.cpuMs - used.kernelMs),
  kernelCPUTime: duration(used.kernelMs),
  wallClockTime: duration(used.wallMs),
});

const counts = (used: Used) => ({
  numSucceededTasks: String(used.succeeded),
  numFailedTasks: String(used.failed),
  numTaskRetries: String(used.retries),
  waitTime: duration(used.waitMs),
});

/** Core time: each TVM's cores from its allocation to its release. */
export const poolStats = (asking: Asking, pool: Pool): object => {
  const { url, startTime, lastUpdateTime } = frame(asking, poolPath(pool.name), pool.createdAt);
  const coreMs = usedUntil(pool, asking.call.at).tvmMs * (coresOf(pool.spec.tvmSize) ?? 1);
  return { url, startTime, lastUpdateTime, usageStats: { startTime, lastUpdateTime, dedicatedCoreTime: duration(coreMs) } };
};

export const workItemStats = async (asking: Asking, item: WorkItem): Promise<object> => {
  const used = await usedUnder(asking.ports, `${parentKey(item)}.`);
  return { ...frame(asking, workItemPath(item.name), item.createdAt), ...times(used), ...counts(used) };
};

export const jobStats = async (asking: Asking, job: Job): Promise<object> => {
  const generation = Number(job.workItem.slice(job.workItem.lastIndexOf(".") + 1));
  const used = await usedUnder(asking.ports, `${jobKey(job.account, job.workItemName, generation, job.name)}/`);
  return { ...frame(asking, jobPath(job.workItemName, job.name), job.createdAt), ...times(used), ...counts(used) };
};

export const taskStats = (asking: Asking, task: Task): object => {
  const used = usedBy(task);
  return { ...frame(asking, taskPath(task.workItemName, task.jobName, task.name), task.createdAt), ...times(used), waitTime: duration(used.waitMs) };
};
