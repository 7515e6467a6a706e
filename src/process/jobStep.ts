// The life of a job beyond its requests: its auto pool, its wall clock, disabling it, which means taking what runs off its TVMs,
// and closing it, which means ending what is not done.
import { isRejection } from "../domain/decider";
import { keyOf, poolKey, taskBuckets } from "../domain/ids";
import { type Job, expiredBefore, wallClockEnd } from "../domain/job";
import { addMs } from "../domain/time";
import { autoPoolError, dropAutoPool, ensureAutoPool } from "../app/autoPools";
import { takeOff } from "../app/disable";
import { execute, load } from "../app/execute";
import { expireTasks } from "../app/expire";
import { managerHasEnded, queueManager } from "../app/managers";
import { endTasks } from "../app/react";
import type { Ports, Row } from "../ports";
import { errands } from "../views/errands";
import { tasks } from "../views/tasks";
import { tvms } from "../views/tvms";
import { DONE, type Next, earlier, wakeAt } from "./step";

/** Tasks ended at a time, and how often before the process looks at the world again. */
const END_MAX = 500;
const ROUNDS = 40;
/** When rows are behind the streams: look again after this. */
const SOON_MS = 200;
/** A job that waits for its tasks is told of the last one; this is for a lost hint. */
const WAITING_LOOK_MS = 15_000;
/** What the feed brings late has come by then. */
const STRAGGLERS_MS = 30_000;
/** And by then whatever a run of a function still wrote: host.json lets none take longer than ten minutes. */
const LATEST_MS = 660_000;

export const jobStep = async (ports: Ports, stream: string, at: string): Promise<Next> => {
  const { state } = await load(ports, "job", stream);
  switch (state.phase) {
    case "active":
    case "disabling":
    case "disabled":
      return (await prepare(ports, stream, state, at)) ?? goOn(ports, stream, state, at);
    case "terminating":
      if (!(await endAll(ports, keyOf(stream), at))) return wakeAt(addMs(at, SOON_MS));
      await dropAutoPool(ports, state, at);
      await execute(ports, "job", "service", { stream, command: { type: "CompleteJob", at } });
      return wakeAt(addMs(at, STRAGGLERS_MS));
    case "completed":
      return endStragglers(ports, stream, state, at);
    case "deleting":
      if (!(await endAll(ports, keyOf(stream), at))) return wakeAt(addMs(at, SOON_MS));
      await removeFolders(ports, state);
      await forgetTasks(ports, keyOf(stream));
      await dropAutoPool(ports, state, at);
      await execute(ports, "job", "service", { stream, command: { type: "ForgetJob", at } });
      return wakeAt(addMs(at, STRAGGLERS_MS));
    case "gone":
      return forgetStragglers(ports, stream, state, at);
    default:
      return DONE;
  }
};

/** A task whose row came late was not seen when the job was ended, nor, if the job's row was late as well, by whoever told of the task. */
const endStragglers = async (ports: Ports, stream: string, state: Job, at: string): Promise<Next> => {
  if (!(await endAll(ports, keyOf(stream), at))) return wakeAt(addMs(at, SOON_MS));
  const next = [STRAGGLERS_MS, LATEST_MS].map((after) => addMs(state.stateAt, after)).find((due) => at < due);
  return next === undefined ? DONE : wakeAt(next);
};

/** A batch of the feed, or a request, that was at it when its tasks were forgotten may still write some of them after. */
const forgetStragglers = async (ports: Ports, stream: string, state: Job, at: string): Promise<Next> => {
  const due = addMs(state.stateAt, STRAGGLERS_MS);
  if (at < due) return wakeAt(due);
  await forgetTasks(ports, keyOf(stream));
  const last = addMs(state.stateAt, LATEST_MS);
  return at < last ? wakeAt(last) : DONE;
};

/** Its auto pool is made; when that is refused the job ends, and says why. */
const prepare = async (ports: Ports, stream: string, state: Job, at: string): Promise<Next | undefined> => {
  const refused = await ensureAutoPool(ports, state, at);
  if (!isRejection(refused)) return undefined;
  const error = autoPoolError(refused);
  await execute(ports, "job", "service", { stream, command: { type: "TerminateJob", at, reason: error.code, byUser: false, error } });
  return wakeAt(at);
};

/** A job that is open: ended by its time, else seen to be what it says. Looks again when the next of these is due. */
const goOn = async (ports: Ports, stream: string, state: Job, at: string): Promise<Next> => {
  const end = wallClockEnd(state);
  if (end !== undefined && at >= end) return terminate(ports, stream, "MaxWallClockTimeExpiry", at);
  await queueManager(ports, stream, state, at);
  if (await managerHasEnded(ports, stream, state)) return terminate(ports, stream, "JMComplete", at);
  return wakeAt(earlier(end, await settleTasks(ports, stream, state, at)));
};

const terminate = async (ports: Ports, stream: string, reason: string, at: string): Promise<Next> => {
  await execute(ports, "job", "service", { stream, command: { type: "TerminateJob", at, reason, byUser: false } });
  return wakeAt(at);
};

/** Tasks of a disabled job are on no TVM, those of an enabled one that waited for too long do not run. Answers when to look again. */
const settleTasks = async (ports: Ports, stream: string, state: Job, at: string): Promise<string | undefined> => {
  const key = keyOf(stream);
  switch (state.phase) {
    case "disabling": {
      if (!(await takeOff(ports, key, state, at))) return addMs(at, state.disableTasks === "wait" ? WAITING_LOOK_MS : SOON_MS);
      await execute(ports, "job", "service", { stream, command: { type: "EndDisabling", at } });
      return addMs(at, STRAGGLERS_MS);
    }
    case "disabled": {
      // Placement may have been at it when the job was disabled: once more, when that must be over.
      const due = addMs(state.stateAt, STRAGGLERS_MS);
      if (at < due) return due;
      await takeOff(ports, key, state, at);
      return undefined;
    }
    default: {
      const since = expiredBefore(state);
      if (since !== undefined && !(await expireTasks(ports, key, state, since, at))) return addMs(at, SOON_MS);
      return undefined;
    }
  }
};

/** True when no task of the job is waiting or running any more. */
const endAll = async (ports: Ports, job: string, at: string): Promise<boolean> => {
  for (let round = 0; round < ROUNDS; round++) {
    const open = [
      ...(await ports.views.keys(tasks, { index: "state", prefix: `${job}/active/`, limit: END_MAX })),
      ...(await ports.views.keys(tasks, { index: "state", prefix: `${job}/running/`, limit: END_MAX })),
    ];
    if (open.length === 0) return true;
    const there = await endTasks(ports, open.map((key) => `${job}.${key.slice(key.lastIndexOf("/") + 1)}`), "The job was ended.", at);
    // Rows alone, of tasks that were forgotten before: nothing runs, and nothing that is done to them would ever show.
    if (there === 0) return true;
  }
  return false;
};

const TVMS_MAX = 1000;

/** Every TVM of the pool may have a folder of the job. */
const removeFolders = async (ports: Ports, job: Job): Promise<void> => {
  const rows = await ports.views.query(tvms, { index: "pool", prefix: `${poolKey(job.account, job.pool)}/`, limit: TVMS_MAX });
  for (const { row } of rows) {
    const tvm = `${poolKey(row.account, row.pool)}.${row.id}`;
    const errand: Row = { id: ports.random.id(9), version: 1, tvm, folder: `${job.workItemName}/${job.name}` };
    await ports.views.write([{ view: errands, partition: tvm, rows: [{ from: 0, row: errand }], counters: {} }]);
    ports.signals.notify(tvm);
  }
};

/** Streams first: a row that the feed brings late finds nothing to be made from. */
const forgetTasks = async (ports: Ports, job: string): Promise<void> => {
  for (const bucket of taskBuckets(job)) {
    await ports.eventStore.forget(`task-${bucket}`);
    await ports.views.forget(tasks, bucket);
  }
};

