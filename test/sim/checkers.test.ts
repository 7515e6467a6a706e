// Each checker can fail: every one is shown a history in which what it watches over is false, made by hand from that of a scenario,
// in which everything is true.
import { foldCommits } from "../../src/app/fold";
import type { Pool } from "../../src/domain/pool";
import { CERTIFICATES } from "./certificateFixtures";
import { CHECKERS, type Checker, check } from "./checkers";
import type { History, Run, Shown, Stored } from "./history";
import { playScenario } from "./play";
import { SCENARIOS } from "./scenarios";

type Writable<T> = T extends (infer Item)[] | readonly (infer Item)[] ? Writable<Item>[] : T extends object ? { -readonly [K in keyof T]: Writable<T[K]> } : T;
type Tampered = Writable<History>;

let good: History;
/** With a certificate, a formula, a schedule and files. */
let rich: History;
beforeAll(async () => {
  ({ history: good } = await playScenario(SCENARIOS["a task runs, another is tried again"] ?? []));
  ({ history: rich } = await playScenario(Object.entries(SCENARIOS).find(([name]) => name.includes("a certificate and a formula"))?.[1] ?? []));
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

const TAMPER: Readonly<Partial<Record<keyof typeof CHECKERS, (history: Tampered) => void>>> = {
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
  drainedTvmsAreIdle: (history) => {
    const { key } = tvmIn(history);
    const run = history.runs.find(({ tvm }) => tvm === key) as Run;
    history.runs.push({ ...run, cut: "restarted" });
    add(history, `tvm-${key}`, { type: "TvmRestartRequested", how: "reboot", option: "taskcompletion" });
    add(history, `tvm-${key}`, { type: "TvmRestarting", boot: run.boot + 1, reason: "reboot" });
  },
  targetsAreSane: (history) => add(history, ofType(history, "PoolCreated").commit.stream, { type: "PoolResized", target: 1.5, timeoutMs: 1, option: "requeue" }),
  versionsAreGapless: (history) => void history.final.kept.splice(history.final.kept.findIndex(({ version }) => version === 2) - 1, 1, ...history.final.kept.filter(({ version }) => version === 2).slice(0, 1)),
  storeKeepsWhatItWasGiven: (history) => void (history.final.kept[0] as { by: string }).by.concat((history.final.kept[0] as { by: string }).by = "somebody"),
  foldingIsPure: (history) => {
    const { commit } = ofType(history, "PoolCreated");
    (commit as { snapshot?: unknown }).snapshot = { ...(foldCommits("pool", [commit as never]).state as Pool), name: "Another" };
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

const inRich = (history: Tampered, type: string): Record<string, unknown> => eventIn(ofType(history, type), type);
const without = (history: Tampered, type: string): void => void (history.stored = history.stored.filter(({ commit }) => !commit.events.some((event) => event["type"] === type)));
const readOf = (history: Tampered, file: string): Tampered["asked"][number] => {
  const found = history.asked.find(({ method, target }) => method === "GET" && target.endsWith(file));
  if (!found) throw new Error(`The scenario reads no ${file}.`);
  return found;
};
const evaluation = (history: Tampered): { run: { target: number; targetBefore: number; results: string; error?: object }; at: string } =>
  history.stored.flatMap(({ commit }) => commit.events).findLast((event) => event["type"] === "PoolAutoScaleEvaluated") as never;

/** Of the scenario with a certificate, a formula, a schedule and files: every one of these has to be refused. */
const TAMPER_RICH: Readonly<Partial<Record<keyof typeof CHECKERS, Readonly<Record<string, (history: Tampered) => void>>>>> = {
  noOccurrenceIsMissing: {
    "one has neither a job nor a skip": (history) => {
      const skip = inRich(history, "WorkItemOccurrencesSkipped");
      Object.assign(skip, { from: new Date(Date.parse(String(skip["from"])) + 10_000).toISOString(), count: Number(skip["count"]) - 1 });
    },
    "a skip is miscounted": (history) => void (inRich(history, "WorkItemOccurrencesSkipped")["count"] = 9),
    "one is skipped for no reason": (history) => {
      const skip = inRich(history, "WorkItemOccurrencesSkipped");
      skip["at"] = skip["to"];
    },
    "skips are not recorded": (history) => {
      for (const { commit } of history.stored) commit.events = commit.events.filter((event) => event["type"] !== "WorkItemOccurrencesSkipped");
    },
    "a job is made while another is open": (history) => without(history, "JobCompleted"),
    "a job is made too early": (history) => {
      const second = history.stored.flatMap(({ commit }) => commit.events).filter((event) => event["type"] === "WorkItemJobSpawned")[1] as Record<string, unknown>;
      second["at"] = "2015-04-01T12:00:01.000Z";
    },
    "one is due for long and nothing happens": (history) => {
      const { commit, atMs } = ofType(history, "WorkItemCreated");
      history.stored = history.stored.filter((stored) => stored.commit.stream !== commit.stream);
      const created = commit.events.filter((event) => event["type"] === "WorkItemCreated").map((event) => ({ ...event, at: "2015-04-01T11:00:00.000Z" }));
      history.stored.unshift({ atMs, during: "by hand", commit: { ...commit, events: created } as never });
      without(history, "JobCreated");
    },
    "the work item ends before its schedule": (history) => {
      const { commit } = ofType(history, "WorkItemCreated");
      commit.events.push({ type: "WorkItemCompleted", at: String(commit.events[0]?.at) } as never);
    },
    "a job is made while the work item is disabled": (history) => {
      const created = ofType(history, "WorkItemCreated");
      created.commit.events.push({ type: "WorkItemDisabled", at: String(created.commit.events[0]?.at) } as never);
    },
    "a new schedule forgets what was due": (history) => {
      const skip = ofType(history, "WorkItemOccurrencesSkipped");
      skip.commit.events = skip.commit.events.map((event) => (event["type"] === "WorkItemOccurrencesSkipped" ? { type: "WorkItemUpdated", at: event.at, spec: { pool: "Alpha", job: {} } } : event)) as never;
    },
  },
  certificatesGoToTheirPools: {
    "one is handed out that the pool does not list": (history) => void history.installed[0]?.thumbprints.push("0".repeat(40)),
    "one is not handed out that the pool lists": (history) => void history.installed[0]?.thumbprints.pop(),
    "the pool does not list it any more": (history) => {
      const [one] = history.installed;
      if (one) one.askedMs = one.atMs = Number.MAX_SAFE_INTEGER;
    },
  },
  certificatesInUseStay: { "the pool still refers to it": (history) => without(history, "PoolUpdated") },
  certificatesKeepTheirSecrets: {
    "the private part of one that is there is gone": (history) => {
      const { json } = rowOf(history.final.shown, "pools");
      history.final.shown.rows.push({ name: "certificates", partition: "sim", id: "sha1-1", version: 1, json: { phase: "active", format: "pfx", thumbprint: "1", edition: "e" } }, { name: "pools", partition: "", id: "x", version: 1, json });
    },
    "a pool refers to one that is not there": (history) => void ((rowOf(history.final.shown, "pools").json["spec"] as Record<string, unknown>)["certificateReferences"] = [{ thumbprint: "1" }]),
    "a deletion leaves a private part": (history) => {
      const { edition, thumbprint, account } = inRich(history, "CertificateAdded") as Record<string, string>;
      history.final.secrets.push({ edition, thumbprint, account } as never);
    },
  },
  secretsAreNotWrittenDown: {
    "a password is in an event": (history) => void (inRich(history, "CertificateAdded")["edition"] = "Canary-of-a-password-1"),
    "a private part is in a row": (history) => void (rowOf(history.final.shown, "pools").json["data"] = CERTIFICATES[1]?.data),
  },
  scalingCanBeRepeated: {
    "another target": (history) => void evaluation(history).run.target++,
    "other results": (history) => void (evaluation(history).run.results = "$TargetDedicated=7"),
    "while autoscale is off": (history) => add(history, ofType(history, "PoolCreated").commit.stream, { type: "PoolAutoScaleEvaluated", run: evaluation(history).run }),
  },
  scalingIsFollowed: {
    "the pool's target is another": (history) => void evaluation(history).run.target++,
    "a failure moves the target": (history) => Object.assign(evaluation(history).run, { error: { code: "x" }, target: 2 }),
    "more than the pool's own maximum": (history) => void (evaluation(history).run.target = 3),
  },
  scalingKeepsItsInterval: {
    "too early": (history) => {
      const last = evaluation(history);
      last.at = new Date(Date.parse(last.at) - 10_000).toISOString();
    },
  },
  formulasAreAlone: {
    "a resize by hand": (history) => {
      const evaluated = history.stored.findLast(({ commit }) => commit.events.some((event) => event["type"] === "PoolAutoScaleEvaluated"));
      evaluated?.commit.events.push({ type: "PoolResized", at, target: 3, timeoutMs: 1, option: "requeue" } as never);
    },
  },
  scalingGoesOn: { "long due": (history) => void (rowOf(history.final.shown, "pools").json["autoScale"] = { formula: "x", intervalMs: 1, dueAt: "2015-04-01T11:00:00.000Z" }) },
  filesAreWhatTvmsHad: {
    "another content": (history) => void (readOf(history, "stdout.txt").answer = "sim.render.1.job-0000000001.other@1 since 1"),
    "less than there was": (history) => void (readOf(history, "stdout.txt").answer = String(readOf(history, "stdout.txt").answer).slice(0, 9)),
    "of another life of the task": (history) => {
      for (const change of history.disk) if (change.content) change.content = change.content.replace(/since \d+/, "since 1");
      const read = readOf(history, "stdout.txt");
      read.answer = String(read.answer).replace(/since \d+/, "since 1");
    },
    "of another TVM": (history) => {
      for (const change of history.disk) change.tvm = "sim.alpha.another";
    },
    "a list of what is not there": (history) => {
      const read = readOf(history, "stdout.txt");
      history.asked.push({ ...read, target: read.target.replace("/stdout.txt", "?recursive=true"), answer: { value: [{ name: "wd\\ghost.txt", isDirectory: false }] } });
    },
  },
  filesThatAreThereAreFound: {
    "said to be missing": (history) => void Object.assign(readOf(history, "stdout.txt"), { status: 404, code: "FileNotFound" }),
    "said to be removed": (history) => void (readOf(history, "stdout.txt").method = "DELETE"),
  },
  questionsHaveAnEnd: { "never": (history) => void (readOf(history, "nothing.txt").tookMs = 90_000) },
};

test("calm scenarios are content in every way", () => expect([...check(good), ...check(rich)]).toEqual([]));

const CASES = [
  ...Object.entries(TAMPER).map(([name, tamper]) => [name, "by hand", () => good, tamper] as const),
  ...Object.entries(TAMPER_RICH).flatMap(([name, cases]) => Object.entries(cases).map(([how, tamper]) => [name, how, () => rich, tamper] as const)),
];

test("every checker is shown to fail", () => expect([...new Set(CASES.map(([name]) => name))].sort()).toEqual(Object.keys(CHECKERS).sort()));

test.each(CASES)("%s can fail: %s", (name, _how, base, tamper) => {
  const history = structuredClone(base()) as Tampered;
  tamper(history);
  const found = check(history as History, { [name]: CHECKERS[name as keyof typeof CHECKERS] as Checker });
  // By what it says, not by falling over what it was given.
  expect(found.filter(({ what }) => !what.startsWith("failed: "))).not.toEqual([]);
});

test("a wake may end among the dead letters while everything fails, and not after that", () => {
  const deadLetters = (...letters: string[]) => check({ ...good, final: { ...good.final, deadLetters: letters } }).map(({ what }) => what);
  expect(deadLetters("wakes: delivered too often", "commands: JobNotFound", "commands (nothing failed any more): WorkItemExists: There is one. {}")).toEqual([]);
  expect(deadLetters("wakes (nothing failed any more): delivered too often")).toEqual(["dead letter wakes (nothing failed any more): delivered too often"]);
});

test("a checker that fails itself has found something", () => {
  const broken = (): never => {
    throw new Error("cannot read this");
  };
  expect(check(good, { broken })).toEqual([{ checker: "broken", what: expect.stringContaining("cannot read this") }]);
});
