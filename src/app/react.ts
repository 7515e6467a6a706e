// Performs the effects of what happened. Everything here may be repeated: wakes and nudges are hints, commands are fenced.
// Effects of one batch are gathered first, so that a thousand completions wake their pool once.
import type { AnyEvent } from "../domain/aggregates";
import { accountOf, categoryOf, jobStream, keyOf, parentOf, poolKey, taskStream, tvmKey, tvmStream } from "../domain/ids";
import { isOpen } from "../domain/job";
import type { DeallocationOption } from "../domain/pool";
import { type Effect, react } from "../domain/reactions";
import type { RequeueReason } from "../domain/task";
import { type Tvm, usable, waits } from "../domain/tvm";
import type { Commit, Ports, Row, StoredEvent } from "../ports";
import { errands, rooms } from "../views/errands";
import { type JobRow, jobs } from "../views/jobs";
import { type TaskRow, parseHeld, tasks } from "../views/tasks";
import { tvms } from "../views/tvms";
import { dropLostReferences, tryEndCertificate } from "./certificates";
import { type Order, executeAll, load } from "./execute";
import { writeHeartbeat } from "./heartbeats";
import { wake } from "./wakes";

export const reactTo = async (ports: Ports, commits: readonly Commit[], at: string): Promise<void> => {
  const places = await placesOfTasks(ports, commits);
  const effects: Effect[] = [];
  for (const commit of commits) {
    const state = places.get(commit.stream);
    for (const event of commit.events) effects.push(...react(commit.stream, event as AnyEvent, state));
  }
  await perform(ports, effects, at);
};

/** Only the events that free a TVM need to know where the task is (or was) ... */
const FREEING = new Set(["TaskReturned", "TaskRetried", "TaskRequeued", "TaskCompleted", "TaskDeleted"]);
/** And a start on another TVM than the last one, which the folder there has to follow. */
const concernsPlace = (event: StoredEvent): boolean => FREEING.has(event.type) || (event.type === "TaskStarted" && event["left"] !== undefined);

const placesOfTasks = async (ports: Ports, commits: readonly Commit[]): Promise<Map<string, TaskRow>> => {
  const streams = commits
    .filter(({ stream, events }) => categoryOf(stream) === "task" && events.some(concernsPlace))
    .map(({ stream }) => stream);
  const rows = streams.length > 0 ? await ports.views.get(tasks, streams.map((stream) => tasks.locate(keyOf(stream)))) : [];
  return new Map(streams.flatMap((stream, index) => (rows[index] ? [[stream, rows[index]]] : [])));
};

const perform = async (ports: Ports, effects: readonly Effect[], at: string): Promise<void> => {
  const wakes = new Map<string, Set<string>>();
  const wakeUp = (pool: string, tvm?: string): void => {
    const hinted = wakes.get(pool) ?? new Set();
    if (tvm !== undefined) hinted.add(tvm);
    wakes.set(pool, hinted);
  };
  const jobRows = await rowsOfJobs(ports, effects);
  const nudges = new Map<string, Extract<Effect, { kind: "nudge" }>>();
  const tell = new Set<string>();
  const ending = new Set<string>();
  for (const effect of effects) {
    switch (effect.kind) {
      case "wakePool":
        wakeUp(effect.pool, effect.tvm);
        break;
      case "wakeJob": {
        const row = jobRows.get(effect.job);
        if (row?.phase === "active") wakeUp(poolKey(row.account, row.pool));
        break;
      }
      case "nudge":
        nudges.set(effect.stream, effect);
        break;
      case "endIfJobClosed":
        if (isClosed(jobRows.get(effect.job))) ending.add(effect.task);
        break;
      case "taskEnded": {
        const phase = jobRows.get(effect.job)?.phase;
        const stream = jobStream(effect.job);
        if (phase === "terminating" || phase === "deleting" || phase === "disabling") nudges.set(stream, { kind: "nudge", process: "job", stream });
        break;
      }
      case "takeFrom":
        await takeStill(ports, effect, at);
        break;
      case "tellTvm":
        tell.add(effect.tvm);
        break;
      case "listen":
        await writeHeartbeat(ports, effect.tvm, effect.boot, effect.at, false);
        break;
      case "endCertificate":
        await tryEndCertificate(ports, effect.certificate, at);
        break;
      case "confirmReferences":
        await dropLostReferences(ports, effect.pool, at);
        break;
      case "removeFolder":
        await leaveErrand(ports, effect.tvm, effect.folder);
        tell.add(effect.tvm);
        break;
    }
  }
  if (ending.size > 0) await endTasks(ports, [...ending], "The job was closed while the task was added.", at);
  await wake(ports, [...wakes].map(([pool, hinted]) => ({ pool, tvms: [...hinted].map((tvm) => ({ tvm })) })));
  for (const { process, stream } of nudges.values()) await ports.orchestrations.nudge(process, stream);
  for (const tvm of tell) ports.signals.notify(tvm);
};

const isClosed = (row: JobRow | undefined): boolean => row !== undefined && !isOpen(row);

const rowsOfJobs = async (ports: Ports, effects: readonly Effect[]): Promise<Map<string, JobRow>> => {
  const keys = new Set<string>();
  for (const effect of effects) if ("job" in effect) keys.add(effect.job);
  const wanted = [...keys];
  const rows = wanted.length > 0 ? await ports.views.get(jobs, wanted.map((key) => jobs.locate(key))) : [];
  const found = new Map<string, JobRow>();
  wanted.forEach((key, index) => {
    const row = rows[index];
    if (row) found.set(key, row);
  });
  return found;
};

/**
 * Ends tasks that are not completed: their job is closing. Tells the TVMs itself: when the job is being deleted, the events are
 * forgotten before the feed may have brought them. Answers how many of them there are at all.
 */
export const endTasks = async (ports: Ports, keys: readonly string[], message: string, at: string): Promise<number> => {
  const outcomes = await executeAll(
    ports,
    "task",
    "service",
    keys.map((key): Order<"task"> => ({ stream: taskStream(key), command: { type: "TerminateTask", at, message, byUser: false } })),
  );
  const freed = new Map<string, Set<string>>();
  for (const outcome of outcomes) {
    if (!("events" in outcome) || !outcome.events.some((event) => event.type === "TaskCompleted" && event.attempt !== undefined)) continue;
    const { job, pool = "", tvm = "" } = outcome.state;
    const key = poolKey(accountOf(job), pool);
    freed.set(key, (freed.get(key) ?? new Set()).add(tvmKey(accountOf(job), pool, tvm)));
  }
  await wake(ports, [...freed].map(([pool, some]) => ({ pool, tvms: [...some].map((tvm) => ({ tvm })) })));
  for (const some of freed.values()) for (const tvm of some) ports.signals.notify(tvm);
  return outcomes.filter((outcome) => "events" in outcome).length;
};

/** What was true when it happened may be over when it is told: a TVM that is back keeps what it has. */
export const takeStill = async (ports: Ports, effect: Omit<Extract<Effect, { kind: "takeFrom" }>, "kind">, at: string): Promise<void> => {
  // Most hold nothing: their streams need not be read.
  if ((await ports.views.keys(tasks, { index: "tvm", prefix: `${effect.tvm}/`, limit: 1 })).length === 0) return;
  const tvm = await tvmNow(ports, effect.tvm);
  if (usable(tvm)) return;
  const heard = tvm.phase !== "absent" && tvm.phase !== "gone" && !tvm.silent;
  const wished = tvm.phase === "leaving" ? tvm.leavingOption : tvm.phase === "restarting" ? tvm.restart?.option : undefined;
  const option = (heard ? wished : undefined) ?? effect.option;
  // Whoever asks may not know why it is of no use: its user is told what happened to it.
  const reason = heard && tvm.phase === "leaving" ? "tvmRemoved" : heard && tvm.phase === "restarting" ? "tvmRestarted" : effect.reason;
  // What it holds was read after this look: it may have come back, and got it, between the two.
  await takeFrom(ports, effect.tvm, reason, option, at, async () => !usable(await tvmNow(ports, effect.tvm)));
};

/** By its row, which may be behind: that it is of no use is for its stream to say. */
const tvmNow = async (ports: Ports, key: string): Promise<Tvm> => {
  const [row] = await ports.views.get(tvms, [tvms.locate(key)]);
  return row && !row.gone && usable(row) ? row : (await load(ports, "tvm", tvmStream(key))).state;
};

/** Most attempts handled at once when a TVM is taken away. */
const TAKE_MAX = 500;

/** The attempts that a TVM holds and should not any more go back to the queue, or end. */
export const takeFrom = async (ports: Ports, tvm: string, reason: RequeueReason, option: DeallocationOption, at: string, still = async (): Promise<boolean> => true): Promise<void> => {
  if (waits(option)) return;
  for (;;) {
    const held = (await ports.views.keys(tasks, { index: "tvm", prefix: `${tvm}/`, limit: TAKE_MAX })).map(parseHeld);
    if (held.length === 0 || !(await still())) return;
    const outcomes = await executeAll(
      ports,
      "task",
      "service",
      held.map(({ task, attempt }): Order<"task"> => ({
        stream: taskStream(task),
        command:
          option === "terminate"
            ? { type: "TerminateTask", at, attempt, message: `Its TVM was ${reason === "tvmRestarted" ? "started anew" : "removed from the pool"}.`, byUser: false }
            : { type: "RequeueTask", at, attempt, reason },
      })),
    );
    // Nothing moved: the view is behind the streams, and the feed will bring it up.
    if (outcomes.every((outcome) => !("events" in outcome) || outcome.events.length === 0)) return;
  }
};

/** What a TVM was given too late to begin it waits again, counted as nothing: the TVM has said that it begins nothing any more. */
export const returnFrom = async (ports: Ports, tvm: string, at: string): Promise<void> => {
  const held = (await ports.views.keys(tasks, { index: "tvm", prefix: `${tvm}/`, limit: TAKE_MAX })).map(parseHeld);
  if (held.length === 0) return;
  await executeAll(
    ports,
    "task",
    "service",
    held.map(({ task, attempt }): Order<"task"> => ({ stream: taskStream(task), command: { type: "ReturnTask", at, attempt, tvm } })),
  );
};

const leaveErrand = async (ports: Ports, tvm: string, folder: string): Promise<void> => {
  const row: Row = { id: ports.random.id(9), version: 1, tvm, folder };
  await ports.views.write([{ view: errands, partition: tvm, rows: [{ from: 0, row }], counters: {} }]);
};

/** What the service kept about a TVM beside its events. */
export const forgetTvm = async (ports: Ports, tvm: string): Promise<void> => {
  await ports.views.forget(errands, tvm);
  const [row] = await ports.views.get(rooms, [{ partition: parentOf(tvm), id: tvm }]);
  if (row) await ports.views.write([{ view: rooms, partition: parentOf(tvm), rows: [{ from: row.version, row: { ...row, version: row.version + 1, free: 0 } }], counters: {} }]);
};
