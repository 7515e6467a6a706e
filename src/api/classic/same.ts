// Whether a task that is asked for is the one that is there: what a repeated submission needs to know. It compares what
// users say, never states or times.
import { loadAll } from "../../app/execute";
import { getJob, keyOfJob } from "../../app/jobs";
import { openFiles } from "../../app/secrets";
import type { NewTask } from "../../app/tasks";
import { isRejection } from "../../domain/decider";
import { taskKey, taskStream } from "../../domain/ids";
import type { Task } from "../../domain/task";
import type { Input } from "../operation";

type Asking = Pick<Input, "ports" | "call">;

/** The tasks of a job by these names, in order; undefined for those that are not there. */
export const storedTasks = async ({ ports, call }: Asking, workItem: string, job: string, asked: readonly NewTask[]): Promise<(Task | undefined)[]> => {
  const found = await getJob(ports, call, workItem, job);
  if (isRejection(found)) return asked.map(() => undefined);
  const loaded = await loadAll(ports, "task", asked.map(({ name }) => taskStream(taskKey(keyOfJob(found), name))));
  return loaded.map(({ state }) => (state.phase === "absent" ? undefined : state));
};

/** A retry count that was left out is the job's at the time: it is the same whatever that was. */
export const sameDefinition = ({ ports, call }: Asking, stored: Task | undefined, asked: NewTask): boolean => {
  if (!stored) return false;
  const { spec } = stored;
  const retries = asked.spec.maxTaskRetryCount;
  return (
    spec.commandLine === asked.spec.commandLine &&
    spec.affinityId === asked.spec.affinityId &&
    spec.maxWallClockMs === asked.spec.maxWallClockMs &&
    spec.retentionMs === asked.spec.retentionMs &&
    (spec.runElevated ?? false) === (asked.spec.runElevated ?? false) &&
    (retries === undefined || retries === spec.maxTaskRetryCount) &&
    samePairs(spec.environment, asked.spec.environment, "name", "value") &&
    samePairs(openFiles(ports, call.account, spec.resourceFiles), asked.spec.resourceFiles, "filePath", "blobSource")
  );
};

const samePairs = <K extends string>(one: readonly Record<K, string>[] = [], other: readonly Record<K, string>[] = [], ...keys: K[]): boolean =>
  one.length === other.length && one.every((item, index) => keys.every((key) => item[key] === other[index]?.[key]));
