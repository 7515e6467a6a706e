// Each checker can fail: every one is shown a history in which what it watches over is false, made by hand from that of a scenario,
// in which everything is true.
import { CHECKERS, type Checker, check } from "./checkers";
import type { History, Run, Shown, Stored } from "./history";
import { playScenario } from "./play";
import { SCENARIOS } from "./scenarios";

type Writable<T> = T extends (infer Item)[] | readonly (infer Item)[] ? Writable<Item>[] : T extends object ? { -readonly [K in keyof T]: Writable<T[K]> } : T;
type Tampered = Writable<History>;

let good: History;
beforeAll(async () => {
  ({ history: good } = await playScenario(SCENARIOS["a task runs, another is tried again"] ?? []));
});

const ofType = (history: Tampered, type: string): Writable<Stored> => {
  const found = history.stored.find(({ commit }) => commit.events.some((event) => event["type"] === type));
  if (!found) throw new Error(`The scenario has no ${type}.`);
  return found;
};
const eventIn = (stored: Writable<Stored>, type: string): Record<string, unknown> => stored.commit.events.find((event) => event["type"] === type) as Record<string, unknown>;
const versionOf = (history: Tampered, stream: string): number => Math.max(0, ...history.stored.filter(({ commit }) => commit.stream === stream).map(({ commit }) => commit.version));
const at = "2015-04-01T13:00:00.000Z";

/** One more commit in a stream. */
const add = (history: Tampered, stream: string, event: Record<string, unknown>, more: Partial<Writable<Stored>> = {}, by = "service"): void => {
  const commit = { stream, partition: stream, version: versionOf(history, stream) + 1, id: `made by hand ${history.stored.length}`, events: [{ at, ...event }], by };
  history.stored.push({ atMs: history.stored.at(-1)?.atMs ?? 0, commit: commit as never, during: "by hand", ...more });
};
const completedTask = (history: Tampered): string => {
  const { rows } = history.final.shown;
  const stream = rows.filter(({ name, json }) => name === "tasks" && json["phase"] === "completed").map(({ json }) => `task-${String(json["job"])}.${String(json["id"])}`)[0];
  if (stream === undefined) throw new Error("The scenario has completed no task.");
  return stream;
};
const queue = (history: Tampered, name: string): string => {
  const stream = `task-sim.render.1.job-0000000001.${name}`;
  const model = eventIn(ofType(history, "TaskQueued"), "TaskQueued");
  add(history, stream, { ...model, name, job: "sim.render.1.job-0000000001" });
  return stream;
};
const tvmIn = (history: Tampered): { key: string; pool: string; tvm: string } => {
  const { stream } = ofType(history, "TvmJoined").commit;
  const [, pool = "", tvm = ""] = stream.split(".");
  return { key: stream.slice("tvm-".length), pool: pool.charAt(0).toUpperCase() + pool.slice(1), tvm };
};
const assign = (history: Tampered, stream: string, attempt: number, more: Partial<Writable<Stored>> = {}): void => {
  const { pool, tvm } = tvmIn(history);
  add(history, stream, { type: "TaskAssigned", attempt, pool, tvm }, more);
};
const asked = (history: Tampered, more: Partial<Tampered["asked"][number]>): void =>
  void history.asked.push({ action: "by hand", atMs: 0, method: "POST", target: "/", arrivals: 1, status: 201, answeredMs: 1, ...more } as Tampered["asked"][number]);
const rowOf = (shown: Writable<Shown>, name: string): Writable<Shown>["rows"][number] => {
  const row = shown.rows.find((one) => one.name === name);
  if (!row) throw new Error(`The scenario shows no ${name}.`);
  return row;
};

const TAMPER: Readonly<Record<keyof typeof CHECKERS, (history: Tampered) => void>> = {
  acknowledgedTasksAreStored: (history) => asked(history, { added: ["task-sim.render.*.job-0000000001.ghost"] }),
  acknowledgedChangesAreStored: (history) => asked(history, { status: 202, change: { stream: "pool-sim.alpha", event: "PoolResized" } }),
  noTaskIsInvented: (history) => void queue(history, "invented"),
  noTaskIsLost: (history) => {
    const stream = completedTask(history);
    history.final.kept = history.final.kept.filter((commit) => commit.stream !== stream);
  },
  oneLiveAttempt: (history) => {
    const stream = queue(history, "twice");
    assign(history, stream, 1);
    assign(history, stream, 2);
  },
  attemptsHaveNoGap: (history) => assign(history, queue(history, "gap"), 2),
  nothingAfterCompletion: (history) => add(history, completedTask(history), { type: "TaskStarted", attempt: 1 }),
  oneCompletion: (history) => add(history, completedTask(history), { type: "TaskCompleted", attempt: 1, exitCode: 0 }),
  staleReportsChangeNothing: (history) => {
    const stream = queue(history, "stale");
    assign(history, stream, 1);
    add(history, stream, { type: "TaskStarted", attempt: 1 }, {}, "sim.alpha.tvm-of-somebody-else");
  },
  retriesKeepTheirLimit: (history) => {
    const stream = queue(history, "retried");
    const model = eventIn(history.stored.at(-1) as Writable<Stored>, "TaskQueued");
    model["spec"] = { commandLine: "run", maxTaskRetryCount: 0 };
    assign(history, stream, 1);
    add(history, stream, { type: "TaskRetried", attempt: 1, exitCode: 1 });
  },
  slotsAreKept: (history) => {
    const run = history.runs.find(({ startMs, endMs }) => endMs > startMs) as Run;
    for (let more = 0; more < run.slots; more++) history.runs.push({ ...run });
  },
  runsWereAssigned: (history) => void history.runs.push({ ...(history.runs[0] as Run), attempt: 99 }),
  lostTvmsAreQuiet: (history) => add(history, `tvm-${tvmIn(history).key}`, { type: "TvmLost", boot: 1 }, { running: ["a task@1"] }),
  placedOnUsableTvms: (history) => assign(history, queue(history, "misplaced"), 1, { sight: { tvms: { [tvmIn(history).key]: "unknown" }, jobs: [] } }),
  priorityIsRespected: (history) => {
    const [high, low] = ["sim.render.2.job-0000000001", "sim.render.1.job-0000000001"];
    const model = eventIn(ofType(history, "TaskQueued"), "TaskQueued");
    add(history, `task-${high}.first`, { ...model, name: "first", job: high });
    assign(history, queue(history, "second"), 1, {
      sight: { tvms: { [tvmIn(history).key]: "ready" }, jobs: [{ job: high, priority: 9, waiting: ["first"] }, { job: low, priority: 0, waiting: ["second"] }] },
    });
  },
  deallocationIsRespected: (history) => {
    const stream = queue(history, "removed");
    assign(history, stream, 1);
    add(history, stream, { type: "TaskStarted", attempt: 1 });
    add(history, `tvm-${tvmIn(history).key}`, { type: "TvmLeaving", option: "taskcompletion" });
    add(history, stream, { type: "TaskRequeued", attempt: 1, reason: "tvmRemoved" });
  },
  lossesAreReal: (history) => {
    const stream = queue(history, "takenAway");
    add(history, `tvm-${tvmIn(history).key}`, { type: "TvmKept" });
    assign(history, stream, 1);
    add(history, stream, { type: "TaskRequeued", attempt: 1, reason: "tvmLost" });
  },
  waitingTvmsFinish: (history) => {
    const stream = queue(history, "left");
    assign(history, stream, 1);
    add(history, stream, { type: "TaskStarted", attempt: 1 });
    add(history, `tvm-${tvmIn(history).key}`, { type: "TvmLeaving", option: "taskcompletion" });
    add(history, `tvm-${tvmIn(history).key}`, { type: "TvmRemoved" });
  },
  targetsAreSane: (history) => add(history, ofType(history, "PoolCreated").commit.stream, { type: "PoolResized", target: 1.5, timeoutMs: 1, option: "requeue" }),
  versionsAreGapless: (history) => void history.final.kept.splice(history.final.kept.findIndex(({ version }) => version === 2) - 1, 1, ...history.final.kept.filter(({ version }) => version === 2).slice(0, 1)),
  storeKeepsWhatItWasGiven: (history) => void (history.final.kept[0] as { by: string }).by.concat((history.final.kept[0] as { by: string }).by = "somebody"),
  foldingIsPure: (history) => {
    const stored = ofType(history, "PoolCreated");
    (stored.commit as { snapshot?: unknown }).snapshot = { phase: "absent", tvms: [], spec: {} };
  },
  countsEqualARecount: (history) => {
    (history.final.shown.counters[0] as { value: number }).value++;
  },
  rowsSayWhatStreamsSay: (history) => {
    rowOf(history.final.shown, "pools").json["name"] = "Another";
  },
  viewsEqualARebuild: (history) => void history.final.rebuilt.rows.pop(),
  orchestrationsAreDeterministic: (history) => void history.generations[0]?.waits.push("timer 0"),
  queuesAreEmpty: (history) => void history.final.deadLetters.push("reports: delivered too often"),
  nothingBreaks: (history) => void history.broken.push("A request failed."),
  occurrencesGetOneJob: (history) => {
    const { stream } = ofType(history, "WorkItemCreated").commit;
    for (const job of ["job-0000000002", "job-0000000003"]) add(history, stream, { type: "WorkItemJobSpawned", job, occurrence: "2015-04-01T12:30:00.000Z" });
  },
  noOccurrenceIsMissing: (history) => {
    const { json } = rowOf(history.final.shown, "workItems");
    Object.assign(json, { phase: "active", nextRun: "2015-04-01T10:00:00.000Z", recentJob: "job-0000000009" });
  },
  exclusiveTasksAreAlone: (history) => {
    const model = eventIn(ofType(history, "TaskQueued"), "TaskQueued");
    add(history, "task-sim.render.1.job-0000000001.alone", { ...model, name: "alone", spec: { commandLine: "run", maxTaskRetryCount: 0, exclusive: true } });
    const run = history.runs[0] as Run;
    history.runs.push({ ...run, task: "sim.render.1.job-0000000001.alone" });
  },
  everythingSettles: (history) => {
    history.final.settled = false;
  },
};

test("a calm scenario is content in every way", () => expect(check(good)).toEqual([]));

test.each(Object.keys(CHECKERS) as (keyof typeof CHECKERS)[])("%s can fail", (name) => {
  const history = structuredClone(good) as Tampered;
  TAMPER[name](history);
  expect(check(history as History, { [name]: CHECKERS[name] as Checker })).not.toEqual([]);
});

test("a wake may end among the dead letters while everything fails, and not after that", () => {
  const deadLetters = (...letters: string[]) => check({ ...good, final: { ...good.final, deadLetters: letters } }).map(({ what }) => what);
  expect(deadLetters("wakes: delivered too often", "commands: JobNotFound")).toEqual([]);
  expect(deadLetters("wakes (nothing failed any more): delivered too often")).toEqual(["dead letter wakes (nothing failed any more): delivered too often"]);
});

test("a checker that fails itself has found something", () => {
  const broken = (): never => {
    throw new Error("cannot read this");
  };
  expect(check(good, { broken })).toEqual([{ checker: "broken", what: expect.stringContaining("cannot read this") }]);
});
