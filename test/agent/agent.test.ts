// The state machine of one TVM, without processes, network or time.
import { createAgent, TIME_LIMIT_EXIT_CODE, type Effect } from "../../src/agent/agent";
import { exchangeRequest, type Assignment, type ExchangeAnswer } from "../../src/wire";

const quiet: ExchangeAnswer = { run: [], stop: [], removeFolders: [], files: [] };
const task = (name: string, changes: Partial<Assignment> = {}): Assignment => ({
  key: name, attempt: 1, workItem: "w", job: "j", task: name, commandLine: "true", resourceFiles: [], environment: {}, runElevated: false, ...changes,
});
const ref = (name: string, attempt = 1) => ({ key: name, attempt });
const ok = (atMs = 1) => ({ startedAtMs: 0, atMs, exitCode: 0 });
const runs = (effects: readonly Effect[]): string[] => effects.flatMap((effect) => (effect.kind === "run" ? [effect.assignment.key] : []));
const agentWith = (slots: number, holdMax = 100) => {
  const agent = createAgent({ boot: 3, slots, holdMax });
  /** Sends what there is; the request must be valid by the protocol. */
  const exchange = (nowMs = 0) => {
    const outgoing = agent.request(0, true, nowMs);
    return { ...exchangeRequest.parse(outgoing.body), accepted: outgoing.accepted };
  };
  return { agent, exchange };
};

test("fills its slots and keeps the rest waiting; an end makes room", () => {
  const { agent } = agentWith(2);
  expect(runs(agent.accept({ ...quiet, run: [task("a"), task("b"), task("c")] }, 0))).toEqual(["a", "b"]);
  expect(runs(agent.accept({ ...quiet, run: [task("a"), task("c")] }, 1))).toEqual([]);
  expect(runs(agent.ended(ref("a"), ok(), 5))).toEqual(["c"]);
});

test("holds what ended until the service confirms it, and repeats reports until they are accepted", () => {
  const { agent, exchange } = agentWith(1);
  agent.accept({ ...quiet, run: [task("a")] }, 0);
  agent.started(ref("a"), 10, 10);
  agent.ended(ref("a"), ok(20), 20);
  const first = exchange();
  expect(first.reports.map((report) => report.kind)).toEqual(["taskStarted", "taskEnded"]);
  expect(exchange().reports).toEqual(first.reports);
  first.accepted();
  const later = exchange();
  expect([later.reports, later.holding, later.boot]).toEqual([[], [ref("a")], 3]);
  agent.accept({ ...quiet, stop: [ref("a")] }, 30);
  expect(exchange().holding).toEqual([]);
});

test("never starts an attempt again that ended, even when it is named again: it tells the end again", () => {
  const { agent, exchange } = agentWith(1);
  agent.accept({ ...quiet, run: [task("a")] }, 0);
  agent.ended(ref("a"), ok(), 1);
  exchange().accepted();
  expect(runs(agent.accept({ ...quiet, run: [task("a")] }, 2))).toEqual([]);
  agent.accept({ ...quiet, stop: [ref("a")] }, 3);
  expect(runs(agent.accept({ ...quiet, run: [task("a")] }, 4))).toEqual([]);
  const again = exchange();
  expect([again.holding, again.reports]).toEqual([[ref("a")], [expect.objectContaining({ kind: "taskEnded", exitCode: 0 })]]);
  expect(runs(agent.accept({ ...quiet, run: [task("a", { attempt: 2 })] }, 5))).toEqual(["a"]);
});

test("what is not its own any more ends without a report, and its slot is free only when it is gone", () => {
  const { agent, exchange } = agentWith(1);
  agent.accept({ ...quiet, run: [task("a"), task("b"), task("c")] }, 0);
  const effects = agent.accept({ ...quiet, stop: [ref("a"), ref("b")] }, 1);
  expect(effects).toEqual([{ kind: "end", ref: ref("a"), why: "notOurs" }]);
  expect(exchange().holding).toEqual([ref("c")]);
  expect(runs(agent.ended(ref("a"), ok(), 2))).toEqual(["c"]);
  expect(exchange().reports).toEqual([]);
  expect(runs(agent.accept({ ...quiet, run: [task("a"), task("b")] }, 3))).toEqual([]);
});

test("one that wants the TVM to itself starts when nothing else is left, and has it until it is gone, also while it is being ended", () => {
  const { agent } = agentWith(2);
  const alone = task("alone", { exclusive: true });
  expect(runs(agent.accept({ ...quiet, run: [task("a"), alone] }, 0))).toEqual(["a"]);
  expect(runs(agent.ended(ref("a"), ok(), 1))).toEqual(["alone"]);
  expect(runs(agent.accept({ ...quiet, run: [alone, task("b")] }, 2))).toEqual([]);
  expect(runs(agent.accept({ ...quiet, run: [task("b")], stop: [ref("alone")] }, 3))).toEqual([]);
  expect(runs(agent.ended(ref("alone"), ok(), 4))).toEqual(["b"]);
});

test("case 34: a time limit counts from the start and is told as the seed says", () => {
  const { agent, exchange } = agentWith(1);
  agent.accept({ ...quiet, run: [task("a", { maxWallClockMs: 1000 })] }, 0);
  expect(agent.nextDueMs()).toBe(Infinity);
  agent.started(ref("a"), 77, 500);
  expect(agent.nextDueMs()).toBe(1500);
  expect(agent.due(1499)).toEqual([]);
  expect(agent.due(1500)).toEqual([{ kind: "end", ref: ref("a"), why: "timeLimit" }]);
  expect(agent.due(1600)).toEqual([]);
  agent.ended(ref("a"), { startedAtMs: 77, atMs: 1700, exitCode: 143 }, 1700);
  expect(exchange().reports.at(-1)).toMatchObject({ kind: "taskEnded", exitCode: TIME_LIMIT_EXIT_CODE, error: { category: "ServerError", code: "TaskEnded" } });
});

test("asks for more than its slots only while tasks are short", () => {
  const { agent, exchange } = agentWith(2, 100);
  expect(exchange(0).capacity).toBe(2);
  agent.accept({ ...quiet, run: [task("a"), task("b")] }, 0);
  agent.ended(ref("a"), ok(), 10);
  // Two slots, 10 ms each: thirty end in 150 ms.
  expect(exchange(10).capacity).toBe(32);
  agent.accept({ ...quiet, run: [task("c")] }, 10);
  expect(exchange(500).capacity).toBe(2);
  agent.ended(ref("b"), ok(), 5_000);
  expect(exchange(5_000).capacity).toBe(2);
});

test("is never greedier than allowed", () => {
  const { agent, exchange } = agentWith(2, 5);
  agent.accept({ ...quiet, run: [task("a")] }, 0);
  agent.ended(ref("a"), ok(), 1);
  expect(exchange(1).capacity).toBe(5);
});

test("gives back what no slot is about to take", () => {
  const { agent, exchange } = agentWith(1);
  agent.accept({ ...quiet, run: [task("long"), task("b"), task("c")] }, 0);
  expect(agent.nextDueMs()).toBe(1000);
  agent.due(999);
  expect(exchange().reports).toEqual([]);
  agent.due(1000);
  expect(exchange().reports).toEqual([expect.objectContaining({ kind: "taskReturned", key: "b" }), expect.objectContaining({ kind: "taskReturned", key: "c" })]);
  expect(exchange().holding.length).toBe(3);
  expect(runs(agent.ended(ref("long"), ok(), 1200))).toEqual([]);
});

test("keeps what waits while slots turn over", () => {
  const { agent, exchange } = agentWith(1);
  agent.accept({ ...quiet, run: [task("a"), task("b"), task("c")] }, 0);
  agent.ended(ref("a"), ok(), 900);
  agent.due(1500);
  expect(exchange().reports.map((report) => report.kind)).toEqual(["taskEnded"]);
  agent.due(1900);
  expect(exchange().reports.map((report) => report.kind)).toEqual(["taskEnded", "taskReturned"]);
});

test("without contact it ends what runs and forgets it, but tells what had ended", () => {
  const { agent, exchange } = agentWith(2);
  agent.accept({ ...quiet, run: [task("a"), task("b"), task("c")] }, 0);
  agent.ended(ref("a"), ok(), 1);
  expect(agent.selfStop()).toEqual([{ kind: "end", ref: ref("b"), why: "notOurs" }, { kind: "end", ref: ref("c"), why: "notOurs" }]);
  const back = exchange();
  expect([back.holding, back.reports.map((report) => report.kind)]).toEqual([[ref("a")], ["taskEnded"]]);
  // Still dying: not yet. Gone, and named again by the service: nobody else has it.
  expect(runs(agent.accept({ ...quiet, run: [task("b")] }, 5))).toEqual([]);
  agent.ended(ref("b"), ok(), 6);
  expect(runs(agent.accept({ ...quiet, run: [task("b")] }, 7))).toEqual(["b"]);
});

test("each start task order runs once", () => {
  const { agent, exchange } = agentWith(1);
  const startTask = { run: 1, commandLine: "true", resourceFiles: [], environment: {}, runElevated: false };
  expect(agent.accept({ ...quiet, startTask }, 0)).toEqual([{ kind: "runStartTask", order: startTask }]);
  expect(agent.accept({ ...quiet, startTask }, 1)).toEqual([]);
  agent.startTaskStarted(1, 5);
  agent.startTaskEnded(1, { startedAtMs: 5, atMs: 9, exitCode: 1 });
  expect(agent.accept({ ...quiet, startTask }, 10)).toEqual([]);
  expect(exchange().reports).toEqual([expect.objectContaining({ kind: "startTaskStarted", run: 1 }), expect.objectContaining({ kind: "startTaskEnded", run: 1, exitCode: 1 })]);
  expect(agent.accept({ ...quiet, startTask: { ...startTask, run: 2 } }, 11).length).toBe(1);
});

describe("drained", () => {
  const since = "2015-04-01T12:00:00.000Z";
  const asked = (taken: number, more: Partial<ExchangeAnswer> = {}): ExchangeAnswer => ({ ...quiet, drain: { since, taken }, ...more });

  test("holding nothing it begins nothing any more, says so at once and from then on, until it is told to resume", () => {
    const { agent, exchange } = agentWith(1);
    expect(exchange().taken).toBe(0);
    expect(agent.hasPayload()).toBe(false);
    agent.accept(asked(0), 0);
    expect(agent.hasPayload()).toBe(true);
    const told = exchange();
    expect(told.drained).toBe(since);
    told.accepted();
    expect(agent.hasPayload()).toBe(false);
    expect(runs(agent.accept({ ...quiet, run: [task("a")] }, 1))).toEqual([]);
    expect(exchange()).toMatchObject({ drained: since, holding: [], taken: 0 });
    agent.accept({ ...quiet, resume: "2015-04-01T11:00:00.000Z" }, 2);
    expect(exchange().drained).toBe(since);
    expect(runs(agent.accept({ ...quiet, resume: since, run: [task("a")] }, 3))).toEqual(["a"]);
    expect(exchange()).not.toHaveProperty("drained");
    expect(exchange()).toMatchObject({ holding: [ref("a")], taken: 1 });
  });

  test("an answer that is older than what it has taken in meanwhile is not about it as it is", () => {
    const { agent, exchange } = agentWith(1);
    agent.accept({ ...quiet, run: [task("a")] }, 0);
    agent.started(ref("a"), 0, 0);
    agent.ended(ref("a"), ok(), 1);
    exchange().accepted();
    agent.accept({ ...asked(0), stop: [ref("a")] }, 2);
    expect(exchange()).not.toHaveProperty("drained");
    agent.accept(asked(1), 3);
    expect(exchange().drained).toBe(since);
  });

  test("not while it holds something, ends something, or has something to report", () => {
    const { agent, exchange } = agentWith(2);
    agent.accept({ ...quiet, run: [task("a"), task("b")] }, 0);
    const refused = (): void => {
      agent.accept(asked(2), 1);
      expect(exchange()).not.toHaveProperty("drained");
    };
    refused();
    agent.accept({ ...quiet, stop: [ref("a")] }, 2);
    agent.ended(ref("b"), ok(), 3);
    refused();
    exchange().accepted();
    refused();
    agent.accept({ ...quiet, stop: [ref("b")] }, 4);
    refused();
    agent.ended(ref("a"), ok(), 5);
    agent.accept(asked(2), 6);
    expect(exchange().drained).toBe(since);
  });

  test("what it once ran and is told of again it reports again", () => {
    const { agent, exchange } = agentWith(1);
    agent.accept({ ...quiet, run: [task("a")] }, 0);
    agent.ended(ref("a"), ok(), 1);
    exchange().accepted();
    agent.accept({ ...quiet, stop: [ref("a")] }, 2);
    agent.accept(asked(1), 3);
    expect(runs(agent.accept({ ...quiet, run: [task("a")] }, 4))).toEqual([]);
    expect(exchange()).toMatchObject({ drained: since, holding: [ref("a")], reports: [{ kind: "taskEnded" }] });
  });
});

test("file requests are answered once, folders removed before tasks run, and leaving wins", () => {
  const { agent, exchange } = agentWith(1);
  const request = { id: "f1", kind: "stat" as const, path: "shared" };
  expect(agent.accept({ ...quiet, files: [request] }, 0)).toEqual([{ kind: "answerFile", request }]);
  expect(agent.accept({ ...quiet, files: [request] }, 1)).toEqual([]);
  agent.fileAnswered({ id: "f1", entries: [] });
  exchange().accepted();
  expect(agent.accept({ ...quiet, files: [request] }, 2).length).toBe(1);
  expect(agent.accept({ ...quiet, removeFolders: ["w/j/a"], run: [task("a")] }, 3).map((effect) => effect.kind)).toEqual(["removeFolder", "run"]);
  expect([agent.isFolderBusy("w/j/a"), agent.isFolderBusy("w"), agent.isFolderBusy("w/j/ab"), agent.isFolderBusy("w/j/a/b")]).toEqual([true, true, false, false]);
  expect(agent.accept({ ...quiet, run: [task("b")], leave: true }, 4)).toEqual([{ kind: "leave" }]);
});
