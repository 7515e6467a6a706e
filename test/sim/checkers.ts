// What must be true of every history, however much went wrong in it. Each checker reads what a simulation wrote down and answers
// what it found to be false, in words that name the thing; it plays nothing and repairs nothing. checkers.test.ts shows each one
// a history that it must refuse.
import { deciderFor, foldCommits } from "../../src/app/fold";
import { type Category, accountOf, categoryOf, keyOf, parentOf, tvmKey } from "../../src/domain/ids";
import type { Pool } from "../../src/domain/pool";
import { type Task, task as taskDecider } from "../../src/domain/task";
import { type Tvm, drains, waits } from "../../src/domain/tvm";
import type { WorkItem } from "../../src/domain/workItem";
import type { Commit } from "../../src/ports";
import { viewOf } from "../../src/views/all";
import { stateOf } from "../../src/views/view";
import { certificatesGoToTheirPools, certificatesInUseStay, certificatesKeepTheirSecrets, secretsAreNotWrittenDown } from "./checkers/certificates";
import { filesAreWhatTvmsHad, filesThatAreThereAreFound, questionsHaveAnEnd } from "./checkers/files";
import { formulasAreAlone, scalingCanBeRepeated, scalingGoesOn, scalingIsFollowed, scalingKeepsItsInterval } from "./checkers/scaling";
import { noOccurrenceIsMissing } from "./checkers/schedules";
import type { History, Stored } from "./history";
import { replay } from "./hub";
import { type Checker, beginsAnew, countBy, generationless, holds, isNamed, ofTasks, ofTvms, succeeded, told, tvmOf } from "./told";

export type { Checker } from "./told";

export interface Found {
  readonly checker: string;
  readonly what: string;
}

/** Runs every checker; one that fails itself has found something too. */
export const check = (history: History, which: Readonly<Record<string, Checker>> = CHECKERS): Found[] =>
  Object.entries(which).flatMap(([checker, look]) => {
    try {
      return look(history).map((what) => ({ checker, what }));
    } catch (error) {
      return [{ checker, what: `failed: ${(error as Error).stack ?? String(error)}` }];
    }
  });

// ---------------------------------------------------------------- what was acknowledged

/** A task whose addition was acknowledged is in the event store. */
const acknowledgedTasksAreStored: Checker = (history) => {
  const queued = countBy(ofTasks(history).filter(({ event }) => event.type === "TaskQueued").map(({ stream }) => generationless(stream)));
  const added = countBy(history.asked.flatMap((one) => one.added ?? []));
  return [...added].filter(([stream, times]) => (queued.get(stream) ?? 0) < times).map(([stream, times]) => `${stream} was acknowledged ${times} times and stored ${queued.get(stream) ?? 0} times`);
};

/** A change that was acknowledged left its event in its stream while it was under way, by whoever asked. */
const acknowledgedChangesAreStored: Checker = (history) =>
  history.asked.flatMap((one) => {
    if (!one.change || !succeeded(one)) return [];
    const { stream, event } = one.change;
    const there = history.stored.some(({ atMs, commit }) => atMs >= one.atMs && atMs <= (one.answeredMs ?? 0) && isNamed(stream, commit.stream) && commit.events.some(({ type }) => type === event));
    return there ? [] : [`${one.method} ${one.target} was answered ${one.status} and left no ${event} in ${stream}`];
  });

/** Nothing is in the store that nobody asked for. */
const noTaskIsInvented: Checker = (history) => {
  const asked = new Map<string, number>();
  for (const one of history.asked) for (const stream of one.adds ?? []) asked.set(stream, (asked.get(stream) ?? 0) + one.arrivals);
  // Job managers are queued by the service itself.
  const isManager = (event: Record<string, unknown>): boolean => (event["spec"] as Task["spec"]).manager !== undefined;
  const queued = countBy(ofTasks(history).filter(({ event }) => event.type === "TaskQueued" && !isManager(event)).map(({ stream }) => generationless(stream)));
  return [...queued].filter(([stream, times]) => (asked.get(stream) ?? 0) < times).map(([stream, times]) => `${stream} was queued ${times} times and asked for ${asked.get(stream) ?? 0} times`);
};

/** What was acknowledged is not undone: a task goes only by its own deletion, or with its job. */
const noTaskIsLost: Checker = (history) => {
  const lives = new Map<string, Task>();
  for (const { stream, before, event } of ofTasks(history)) lives.set(stream, taskDecider.evolve(before, event as never));
  const kept = new Set(history.final.kept.map(({ stream }) => stream));
  const shown = new Set(history.final.shown.rows.filter(({ name }) => name === "tasks").map(({ json }) => `${String(json["job"])}.${String(json["id"])}`));
  const gone = new Set(told(history).filter(({ event }) => event.type === "JobDeletionStarted").map(({ key }) => key));
  return [...lives].flatMap(([stream, state]) => {
    const key = keyOf(stream);
    if (state.phase === "absent" || gone.has(parentOf(key))) return [];
    return [...(kept.has(stream) ? [] : [`the events of ${stream} are gone`]), ...(shown.has(key) ? [] : [`${stream} is ${state.phase} and shown nowhere`])];
  });
};

// ---------------------------------------------------------------- attempts

/** An attempt is handed out when no other is, and only to a task that waits. */
const oneLiveAttempt: Checker = (history) =>
  ofTasks(history).filter(({ event, before }) => event.type === "TaskAssigned" && before.phase !== "active").map(({ stream, event, before }) => `${stream} got attempt ${event.attempt} while it was ${before.phase} with attempt ${before.attempt}`);

const attemptsHaveNoGap: Checker = (history) =>
  ofTasks(history).filter(({ event, before }) => event.type === "TaskAssigned" && event.attempt !== before.attempt + 1).map(({ stream, event, before }) => `${stream} got attempt ${event.attempt} after attempt ${before.attempt}`);

/** What may happen to a task in each phase. */
const ALLOWED: Readonly<Record<string, readonly Task["phase"][]>> = {
  TaskQueued: ["absent"],
  TaskAssigned: ["active"],
  TaskStarted: ["assigned"],
  TaskReturned: ["assigned"],
  TaskRetried: ["running", "assigned"],
  TaskRequeued: ["assigned", "running"],
  TaskCompleted: ["active", "assigned", "running"],
  TaskDeleted: ["active", "assigned", "running", "completed"],
};

/** After its completion only a deletion, and a new life, happens to a task. */
const nothingAfterCompletion: Checker = (history) =>
  ofTasks(history).filter(({ event, before }) => ALLOWED[event.type] !== undefined && !ALLOWED[event.type]?.includes(before.phase)).map(({ stream, event, before }) => `${event.type} happened to ${stream}, which was ${before.phase}`);

/** Every life of a task has one completion at most, and it is of the attempt that is out. */
const oneCompletion: Checker = (history) => {
  const done = new Set<string>();
  return ofTasks(history).flatMap(({ stream, event, before }) => {
    if (event.type === "TaskQueued" || event.type === "TaskDeleted") done.delete(stream);
    if (event.type !== "TaskCompleted") return [];
    const twice = done.has(stream) ? [`${stream} completed twice`] : [];
    done.add(stream);
    const wrong = event.attempt !== undefined && (event.attempt !== before.attempt || !holds(before)) ? [`${stream} completed with attempt ${event.attempt} while attempt ${before.attempt} was ${before.phase}`] : [];
    return [...twice, ...wrong];
  });
};

/** Only the TVM that has the present attempt changes a task by what it reports. */
const staleReportsChangeNothing: Checker = (history) =>
  ofTasks(history).flatMap(({ stream, event, before, stored }) => {
    if (!["TaskStarted", "TaskReturned", "TaskRetried", "TaskCompleted"].includes(event.type) || stored.commit.by.split(".").length < 3) return [];
    const own = holds(before) && event.attempt === before.attempt && stored.commit.by === tvmOf(before);
    return own ? [] : [`${stored.commit.by} made ${event.type} of attempt ${event.attempt} of ${stream}, which had attempt ${before.attempt} at ${tvmOf(before)}`];
  });

/** Not more retries than the task may have, and what a TVM's loss costs is not counted among them. */
const retriesKeepTheirLimit: Checker = (history) =>
  ofTasks(history).flatMap(({ stream, event, before }) => {
    const limit = before.spec.maxTaskRetryCount;
    if (event.type === "TaskRetried" && limit !== -1 && before.retryCount >= limit) return [`${stream} was retried ${before.retryCount + 1} times and may be ${limit} times`];
    const after = taskDecider.evolve(before, event as never);
    if (event.type === "TaskRequeued" && after.retryCount !== before.retryCount) return [`the loss of attempt ${event.attempt} was charged to ${stream}`];
    const early = event.type === "TaskCompleted" && event.exitCode !== undefined && event.exitCode !== 0 && event.error === undefined && (limit === -1 || before.retryCount < limit);
    return early ? [`${stream} failed with ${event.exitCode} after ${before.retryCount} of ${limit} retries`] : [];
  });

// ---------------------------------------------------------------- TVMs

/** Programs at one time on a TVM: never more than its slots. */
const slotsAreKept: Checker = (history) => {
  const wrong = new Set<string>();
  for (const [life, runs] of Map.groupBy(history.runs, ({ tvm, boot }) => `${tvm} (boot ${boot})`)) {
    const edges = runs.flatMap((run) => [{ at: run.startMs, by: 1 }, { at: run.endMs, by: -1 }]).sort((a, b) => a.at - b.at || a.by - b.by);
    let now = 0;
    for (const { by } of edges) if ((now += by) > (runs[0]?.slots ?? 0)) wrong.add(`${life} ran ${now} programs and has ${runs[0]?.slots} slots`);
  }
  return [...wrong];
};

/** What runs was handed out, to this very TVM, and once. */
const runsWereAssigned: Checker = (history) => {
  const assigned = new Set(ofTasks(history).filter(({ event }) => event.type === "TaskAssigned").map(({ key, event }) => `${key}@${event.attempt} ${tvmKey(accountOf(key), event.pool as string, event.tvm as string)}`));
  return history.runs.filter(({ task, attempt, tvm }) => !assigned.has(`${task}@${attempt} ${tvm}`)).map(({ task, attempt, tvm }) => `${tvm} ran ${task}@${attempt}, which it was never given`);
};

/** A TVM that is given up for lost runs nothing any more. */
const lostTvmsAreQuiet: Checker = (history) =>
  history.stored.filter(({ running }) => running !== undefined && running.length > 0).map(({ commit, running }) => `${commit.stream} was lost while it ran ${running?.join(", ")}`);

/** Placement gives tasks to TVMs that it has seen to be ready, and that were so at some time. */
const placedOnUsableTvms: Checker = (history) => {
  const everReady = new Map<string, number>();
  for (const { key, before, event, index } of ofTvms(history))
    if ((deciderFor("tvm").evolve(before, event) as Tvm).phase === "ready" && !everReady.has(key)) everReady.set(key, index);
  return ofTasks(history).flatMap(({ stream, key, event, stored, index }) => {
    if (event.type !== "TaskAssigned") return [];
    const tvm = tvmKey(accountOf(key), event.pool as string, event.tvm as string);
    if (!((everReady.get(tvm) ?? Infinity) < index)) return [`${stream} was given to ${tvm}, which was never ready`];
    const seen = stored.sight?.tvms[tvm];
    return stored.sight && seen !== "ready" ? [`${stream} was given to ${tvm}, which was seen to be ${seen ?? "nothing"}`] : [];
  });
};

/** A task is not placed while one of a job of higher priority, seen in the same look, goes on waiting. */
const priorityIsRespected: Checker = (history) => {
  const phases = new Map<string, string>();
  const wrong = new Map<string, string>();
  const placed = Map.groupBy(history.stored.filter(({ sight }) => sight !== undefined), ({ during }) => during);
  const unfinished = new Set(history.unfinished);
  const last = new Map([...placed].flatMap(([during, list]) => (during !== undefined && unfinished.has(during) ? [] : [[list.at(-1) as Stored, during]])));
  for (const stored of history.stored) {
    if (categoryOf(stored.commit.stream) === "task") for (const { type } of stored.commit.events) phases.set(keyOf(stored.commit.stream), type);
    const during = last.get(stored);
    if (during === undefined) continue;
    const list = placed.get(during) as Stored[];
    const jobs = new Map((stored.sight?.jobs ?? []).map((one) => [one.job, one]));
    const taken = new Set(list.map(({ commit }) => keyOf(commit.stream)));
    const least = Math.min(...list.map(({ commit }) => jobs.get(parentOf(keyOf(commit.stream)))?.priority ?? Infinity));
    for (const { job, priority, waiting, blocking = [] } of jobs.values())
      for (const name of waiting) {
        const key = `${job}.${name}`;
        const isWaiting = ["TaskQueued", "TaskReturned", "TaskRetried", "TaskRequeued"].includes(phases.get(key) ?? "") && !taken.has(key);
        if (isWaiting && blocking.includes(name)) break;
        if (priority > least && isWaiting) wrong.set(`${during} ${key}`, `${key} (priority ${priority}) went on waiting while ${during} placed one of priority ${least}`);
      }
  }
  return [...wrong.values()];
};

const REMOVED = "Its TVM was removed from the pool.";

/** What a TVM held when it left was treated as whoever made it leave said. */
const deallocationIsRespected: Checker = (history) => {
  const options = new Map<string, string[]>();
  const wrong: string[] = [];
  for (const { stream, key, event, before } of told(history)) {
    if (event.type === "TvmLeaving") options.set(key, [...(options.get(key) ?? []), event["option"] as string]);
    if (categoryOf(stream) !== "task" || !holds(before as Task)) continue;
    const tvm = tvmOf(before as Task);
    const said = options.get(tvm) ?? [];
    const error = (event["error"] as { message?: string } | undefined)?.message;
    // What was given to it while it left, and never ran, may wait again in any case.
    if (event.type === "TaskRequeued" && event["reason"] === "tvmRemoved" && (before as Task).phase === "running" && !said.includes("requeue")) wrong.push(`${stream} was requeued by the removal of ${tvm}, which was to leave with ${said.join() || "nothing"}`);
    if (event.type === "TaskCompleted" && error === REMOVED && !said.includes("terminate")) wrong.push(`${stream} was ended by the removal of ${tvm}, which was to leave with ${said.join() || "nothing"}`);
  }
  return wrong;
};

/** A task that is taken away for the loss of its TVM: something happened to the TVM that takes tasks away. */
const lossesAreReal: Checker = (history) => {
  const happened = new Map<string, string[]>();
  const since = new Map<string, number>();
  return told(history).flatMap(({ stream, key, event, before }) => {
    if (categoryOf(stream) === "tvm") happened.set(key, [...(happened.get(key) ?? []), `${event.type} ${String(event["option"] ?? "")}`]);
    if (categoryOf(stream) !== "task") return [];
    if (event.type === "TaskAssigned") since.set(stream, Math.max(0, (happened.get(tvmKey(accountOf(key), event["pool"] as string, event["tvm"] as string))?.length ?? 0) - 1));
    if (event.type !== "TaskRequeued" || !["tvmLost", "tvmRestarted", "tvmRemoved"].includes(event["reason"] as string)) return [];
    const tvm = tvmOf(before as Task);
    const meanwhile = (happened.get(tvm) ?? []).slice(since.get(stream) ?? 0);
    const taking = meanwhile.some((one) => /^(TvmLost|TvmRestarting|TvmRemoved)|^(TvmLeaving|TvmRestartRequested) (requeue|terminate)/.test(one));
    return taking ? [] : [`${stream} was taken from ${tvm} (${String(event["reason"])}), to which ${meanwhile.join(", ") || "nothing"} had happened`];
  });
};

/** A TVM that was to finish its tasks is let go only when none runs there. */
const waitingTvmsFinish: Checker = (history) => {
  const held = new Map<string, Set<string>>();
  return told(history).flatMap(({ stream, event, before }) => {
    if (categoryOf(stream) === "task") {
      const state = before as Task;
      if (holds(state)) held.get(tvmOf(state))?.delete(stream);
      const after = taskDecider.evolve(state, event as never);
      if (after.phase === "running") held.set(tvmOf(after), (held.get(tvmOf(after)) ?? new Set()).add(stream));
      return [];
    }
    if (event.type !== "TvmRemoved" || !waits((before as Tvm).leavingOption)) return [];
    return [...(held.get(keyOf(stream)) ?? [])].map((task) => `${stream} was let go while it ran ${task}, which it was to finish`);
  });
};

/** And whatever the service believes: no program runs there when its machine is taken, unless nobody has heard of it for long. */
const drainedTvmsAreIdle: Checker = (history) => {
  const cuts = Map.groupBy(history.runs.filter((run) => run.cut), ({ tvm, boot, cut }) => `${tvm} ${boot} ${cut}`);
  return told(history).flatMap(({ stream, event, before }) => {
    if (categoryOf(stream) !== "tvm" || (event.type !== "TvmRemoved" && (event.type !== "TvmRestarting" || event["reason"] === "machineExited"))) return [];
    const tvm = before as Tvm;
    if (!drains(tvm) || tvm.silent) return [];
    const how = event.type === "TvmRemoved" ? "removed" : "restarted";
    return (cuts.get(`${keyOf(stream)} ${tvm.boot} ${how}`) ?? []).map(({ task, attempt }) => `${stream} was to finish ${task}@${attempt}, which ran when its machine was ${how}`);
  });
};

/**
 * Targets are whole and not negative; by hand within the service's limit, by a formula within the pool's own. A pool never has
 * more TVMs than it was to have, nor more than the service allows.
 */
const targetsAreSane: Checker = (history) =>
  told(history).flatMap(({ stream, event, before }) => {
    if (categoryOf(stream) !== "pool") return [];
    const after = deciderFor("pool").evolve(before, event) as Pool;
    const target = after.spec.targetDedicated;
    const earlier = (before as Pool).spec.targetDedicated;
    // What a formula has wanted stays when it is turned off.
    const most = event["auto"] || (event.type === "PoolCreated" && after.autoScale) ? (after.autoScale?.targetMax ?? 2 ** 31 - 1) : Math.max(history.poolTvmsMax, earlier);
    const sane = Number.isInteger(target) && target >= 0 && (target === earlier || target <= most);
    const grew = event.type === "PoolTvmsAllocated" && after.tvms.length > Math.min(target, history.poolTvmsMax);
    return [...(sane ? [] : [`${stream} has the target ${target}, which may be ${most} at most`]), ...(grew ? [`${stream} has ${after.tvms.length} TVMs and the target ${target}`] : [])];
  });

// ---------------------------------------------------------------- stores

/** Versions of a stream count from 1 without gap, and the feed's order is that of the versions. */
const versionsAreGapless: Checker = (history) => {
  const wrong: string[] = [];
  const gapless = (commits: readonly Commit[], where: string): void => {
    const last = new Map<string, number>();
    const closing = new Set<string>();
    for (const commit of commits) {
      const { stream, version, events } = commit;
      if (events.some(({ type }) => type === "JobDeletionStarted")) closing.add(keyOf(stream));
      if (beginsAnew(commit, closing)) last.delete(stream);
      if (version !== (last.get(stream) ?? 0) + 1) wrong.push(`${where}: ${stream} has version ${version} after ${last.get(stream) ?? 0}`);
      last.set(stream, version);
    }
  };
  gapless(history.stored.map(({ commit }) => commit), "as stored");
  gapless(history.final.kept, "in the feed");
  return wrong;
};

/** What the store has is what was given to it. */
const storeKeepsWhatItWasGiven: Checker = (history) => {
  const given = new Map(history.stored.map(({ commit }) => [commit.id, JSON.stringify(commit)]));
  return history.final.kept.flatMap((commit) => {
    const was = given.get(commit.id);
    if (was === undefined) return [`${commit.stream}@${commit.version} was never stored`];
    return sameJson(JSON.parse(was), commit) ? [] : [`${commit.stream}@${commit.version} is not what was stored`];
  });
};

const frozen = (value: unknown): unknown => {
  if (typeof value === "object" && value !== null) {
    for (const part of Object.values(value)) frozen(part);
    Object.freeze(value);
  }
  return value;
};

/** Folding changes nothing that it is given, says the same twice, and the same of what was written and read again. */
const foldingIsPure: Checker = (history) => {
  const wrong: string[] = [];
  for (const [stream, list] of Map.groupBy(history.stored, ({ commit }) => commit.stream)) {
    const category = categoryOf(stream);
    // From the first event on, and from a snapshot where there is one: the same.
    const whole = list.map(({ commit: { snapshot: _, ...commit } }) => frozen(structuredClone(commit)) as Commit);
    const state = foldCommits(category, whole);
    if (!sameJson(state, foldCommits(category, list.map(({ commit }) => commit)))) wrong.push(`${stream} says something else from its snapshot`);
    if (!sameJson(state, foldCommits(category, JSON.parse(JSON.stringify(whole)) as Commit[]))) wrong.push(`${stream} says something else the second time`);
  }
  return wrong;
};

const canonical = (value: unknown): unknown =>
  Array.isArray(value) ? value.map(canonical) : typeof value === "object" && value !== null ? Object.fromEntries(Object.entries(value).filter(([, part]) => part !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, part]) => [name, canonical(part)])) : value;
const sameJson = (a: unknown, b: unknown): boolean => JSON.stringify(canonical(a)) === JSON.stringify(canonical(b));

/** Every counter is what counting gives: of everything that there is, and of what is gone as far as it still counts. */
const countsEqualARecount: Checker = ({ final: { shown, kept } }) => {
  const wrong: string[] = [];
  const streams = [...Map.groupBy(kept, ({ stream }) => stream)].map(([stream, commits]) => ({ category: categoryOf(stream), key: keyOf(stream), state: foldCommits(categoryOf(stream), commits).state }));
  for (const [category, view] of Object.entries(viewOf)) {
    const own = streams.filter((one) => one.category === category).map(({ key, state }) => ({ partition: view.locate(key).partition, tally: (view.tally as (of: unknown) => Record<string, number>)(state) }));
    const prefixes = new Set(["", ...shown.rows.filter(({ name }) => name === view.name).map(({ partition }) => partition)]);
    for (const prefix of prefixes) {
      const counted: Record<string, number> = {};
      for (const { partition, tally } of own) if (partition.startsWith(prefix)) for (const [name, by] of Object.entries(tally)) counted[name] = (counted[name] ?? 0) + by;
      const there = Object.fromEntries(Object.entries(counted).filter(([, value]) => value !== 0));
      const counters = Object.fromEntries(shown.counters.filter(({ view: of, partition }) => of === view.name && partition === prefix).map(({ name, value }) => [name, value]));
      if (!sameJson(there, counters)) wrong.push(`${view.name} of "${prefix}" counts ${JSON.stringify(counters)} and has ${JSON.stringify(there)}`);
    }
  }
  return wrong;
};

/** Rows say what their streams say. */
const rowsSayWhatStreamsSay: Checker = ({ final: { shown, kept } }) => {
  const streams = Map.groupBy(kept, ({ stream }) => stream);
  return shown.rows.flatMap(({ name, partition, id, version, json }) => {
    const category = (Object.entries(viewOf) as [Category, { name: string }][]).find(([, view]) => view.name === name)?.[0] as Category;
    const view = viewOf[category] as { locate(key: string): { partition: string; id: string } };
    const stream = [...streams.keys()].find((one) => categoryOf(one) === category && view.locate(keyOf(one)).partition === partition && view.locate(keyOf(one)).id === id);
    if (stream === undefined) return [`${name} shows ${partition} ${id}, of which there is no stream`];
    const folded = foldCommits(category, streams.get(stream) as Commit[]);
    return folded.version === version && sameJson(folded.state, stateOf(json as never)) ? [] : [`${name} shows ${stream}@${version}, which is at ${folded.version}`];
  });
};

const viewsEqualARebuild: Checker = ({ final: { shown, rebuilt } }) => {
  const row = ({ name, partition, id, version, json }: (typeof shown.rows)[number]): string => `${name} ${partition} ${id}@${version} ${JSON.stringify(canonical(json))}`;
  const differ = (what: string, a: readonly string[], b: readonly string[]): string[] => {
    const others = new Set(b);
    return a.filter((one) => !others.has(one)).slice(0, 3).map((one) => `${what}: ${one}`);
  };
  const [live, anew] = [shown.rows.map(row), rebuilt.rows.map(row)];
  const counters = sameJson(shown.counters, rebuilt.counters) ? [] : [`counters differ: ${JSON.stringify(shown.counters)} and ${JSON.stringify(rebuilt.counters)}`];
  return [...differ("only in the live views", live, anew), ...differ("only in the rebuilt views", anew, live), ...counters];
};

// ---------------------------------------------------------------- processes, and the end

/** An orchestrator's function waits for the same things whenever its history is told again. */
const orchestrationsAreDeterministic: Checker = ({ generations }) =>
  generations.filter(({ input, startMs, came, waits: awaited }) => JSON.stringify(replay(input, startMs, came as never).waits) !== JSON.stringify(awaited)).map(({ instance, waits: awaited }) => `${instance} waited for ${awaited.join(", then ")}, and not again`);

const queuesAreEmpty: Checker = ({ final: { queues, deadLetters, parked } }) => [
  ...Object.entries(queues).filter(([, count]) => count > 0).map(([queue, count]) => `${count} messages wait in ${queue}`),
  // While everything fails a wake may be lost, for it is a hint, and a command be refused; what a TVM reported must never end there,
  // and nothing at all that was sent when nothing failed any more, but for commands that are refused: a client may be wrong.
  ...deadLetters.filter((letter) => letter.startsWith("reports") || (letter.includes(" (nothing failed any more): ") && !/^commands [^:]*: [A-Z]\w+: /.test(letter))).map((letter) => `dead letter ${letter}`),
  ...(parked > 0 ? [`${parked} commits are parked`] : []),
];

/** Nothing fails but what was made to fail. */
const nothingBreaks: Checker = ({ broken }) => [...new Set(broken)].slice(0, 5);

/** An occurrence of a schedule gets one job at most, in their order, and none after the schedule's end. */
const occurrencesGetOneJob: Checker = (history) => {
  const last = new Map<string, string>();
  return told(history).flatMap(({ stream, event, before }) => {
    if (event.type === "WorkItemCreated") last.delete(stream);
    const occurrence = event["occurrence"] as string | undefined;
    if (event.type !== "WorkItemJobSpawned" || occurrence === undefined) return [];
    const earlier = last.get(stream);
    last.set(stream, occurrence);
    const end = (before as WorkItem).spec.schedule?.doNotRunAfter;
    return [
      ...(earlier !== undefined && occurrence <= earlier ? [`${stream} made a job for ${occurrence} after that for ${earlier}`] : []),
      ...(end !== undefined && occurrence > end ? [`${stream} made a job for ${occurrence}, after its end at ${end}`] : []),
      ...(event.at < occurrence ? [`${stream} made the job for ${occurrence} at ${event.at}`] : []),
    ];
  });
};

/** A task that wants its TVM to itself has it. */
const exclusiveTasksAreAlone: Checker = (history) => {
  const exclusive = new Set(ofTasks(history).filter(({ event }) => event.type === "TaskQueued" && (event["spec"] as Task["spec"]).exclusive).map(({ key }) => key));
  return history.runs.filter(({ task }) => exclusive.has(task)).flatMap((run) =>
    history.runs.filter((other) => other.task !== run.task && other.tvm === run.tvm && other.boot === run.boot && other.startMs < run.endMs && run.startMs < other.endMs).slice(0, 1)
      .map((other) => `${run.tvm} ran ${other.task} beside ${run.task}, which wanted to be alone`));
};

/** After the healing everything has come to an end. */
const everythingSettles: Checker = ({ final: { settled, open } }) => (settled ? [] : open.length > 0 ? open.slice(0, 10) : ["something goes on"]);

export const CHECKERS = {
  acknowledgedTasksAreStored, acknowledgedChangesAreStored, noTaskIsInvented, noTaskIsLost,
  oneLiveAttempt, attemptsHaveNoGap, nothingAfterCompletion, oneCompletion, staleReportsChangeNothing, retriesKeepTheirLimit,
  slotsAreKept, runsWereAssigned, lostTvmsAreQuiet, placedOnUsableTvms, priorityIsRespected, deallocationIsRespected, lossesAreReal, waitingTvmsFinish, drainedTvmsAreIdle, targetsAreSane,
  versionsAreGapless, storeKeepsWhatItWasGiven, foldingIsPure, countsEqualARecount, rowsSayWhatStreamsSay, viewsEqualARebuild,
  orchestrationsAreDeterministic, queuesAreEmpty, nothingBreaks, occurrencesGetOneJob, noOccurrenceIsMissing, exclusiveTasksAreAlone, everythingSettles,
  certificatesGoToTheirPools, certificatesInUseStay, certificatesKeepTheirSecrets, secretsAreNotWrittenDown,
  scalingCanBeRepeated, scalingIsFollowed, scalingKeepsItsInterval, formulasAreAlone, scalingGoesOn,
  filesAreWhatTvmsHad, filesThatAreThereAreFound, questionsHaveAnEnd,
} satisfies Record<string, Checker>;
