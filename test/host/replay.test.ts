// The host's half of the durable protocol from event lists alone: numbering, order, determinism.

import { eventType as type, replay, ReplayError } from "../../src/host/replay";
import type { Action, HistoryEvent } from "../../src/host/replay";

const t0 = Date.parse("2026-01-01T00:00:00Z");
const event = (EventType: number, more: Record<string, unknown> = {}): HistoryEvent => ({ EventType, EventId: -1, Timestamp: new Date(t0).toISOString(), ...more });
const turn = (seconds = 0): HistoryEvent => event(type.orchestratorStarted, { Timestamp: new Date(t0 + seconds * 1000).toISOString() });
const begin = [turn(), event(type.executionStarted)];
const scheduled = (id: number, name: string): HistoryEvent => event(type.taskScheduled, { EventId: id, Name: name });
const completed = (id: number): HistoryEvent => event(type.taskCompleted, { TaskScheduledId: id, Result: "1" });
const failed = (id: number, FailureDetails: object | null = null): HistoryEvent => event(type.taskFailed, { TaskScheduledId: id, Reason: "r", Details: "d", FailureDetails });
const created = (id: number): HistoryEvent => event(type.timerCreated, { EventId: id });
const fired = (id: number): HistoryEvent => event(type.timerFired, { TimerId: id });
const raised = (name: string): HistoryEvent => event(type.eventRaised, { Name: name, Input: "1" });

const task = (functionName: string): Action => ({ actionType: 0, functionName, input: { of: functionName } });
const retried = (functionName: string, maxNumberOfAttempts: number, more = {}): Action => ({ actionType: 1, functionName, retryOptions: { firstRetryIntervalInMilliseconds: 1000, maxNumberOfAttempts, ...more } });
const timer = (seconds: number, isCanceled = false): Action => ({ actionType: 5, fireAt: new Date(t0 + seconds * 1000).toISOString(), isCanceled });
const wait = (externalEventName: string): Action => ({ actionType: 6, externalEventName });
const any = (...compoundActions: Action[]): Action => ({ actionType: 11, compoundActions });
const all = (...compoundActions: Action[]): Action => ({ actionType: 12, compoundActions });
const continueAsNew = (input: unknown): Action => ({ actionType: 4, input });

/** Decisions as "id:name" or "id:+seconds". */
function decisions(history: HistoryEvent[], ...actions: Action[]): string[] {
  return replay(history, actions).decisions.map((each) => `${each.id}:${each.kind === "task" ? each.name : `+${(each.fireAtMs - t0) / 1000}`}`);
}

test("one action after the other: the next is scheduled when the one before has settled", () => {
  expect(decisions(begin, task("A"), task("B"))).toEqual(["0:A"]);
  expect(decisions([...begin, scheduled(0, "A"), turn(), completed(0)], task("A"), task("B"))).toEqual(["1:B"]);
});

test("the history so far is confirmed, names without case; nothing is scheduled twice", () => {
  expect(decisions([...begin, scheduled(0, "a")], task("A"))).toEqual([]);
});

test("it is over when every action is settled and nothing is under way", () => {
  const history = [...begin, scheduled(0, "A"), created(1), turn(), completed(0)];
  expect(replay(history, [any(task("A"), timer(60))])).toMatchObject({ over: false, nextId: 2 });
  expect(replay([...history, turn(60), fired(1)], [any(task("A"), timer(60))]).over).toBe(true);
  expect(replay(history, [any(task("A"), timer(60, true))])).toMatchObject({ over: true, cancelledTimers: [1] });
});

test("Task.all waits for every child even after a failure; Task.any for the first", () => {
  const history = [...begin, scheduled(0, "A"), scheduled(1, "B"), turn(), failed(0)];
  expect(decisions(history, all(task("A"), task("B")), task("C"))).toEqual([]);
  expect(decisions([...history, turn(), completed(1)], all(task("A"), task("B")), task("C"))).toEqual(["2:C"]);
  expect(decisions(history, any(task("A"), task("B")), task("C"))).toEqual(["2:C"]);
  expect(decisions(begin, all(), task("C"))).toEqual(["0:C"]);
});

test("a retry takes a number for its delay and one for its next attempt, growing by the coefficient up to the maximum", () => {
  const action = retried("A", 4, { backoffCoefficient: 10, maxRetryIntervalInMilliseconds: 50_000 });
  const one = [...begin, scheduled(0, "A"), turn(1), failed(0)];
  expect(decisions(one, action)).toEqual(["1:+2"]);
  const two = [...one, created(1), turn(2), fired(1)];
  expect(decisions(two, action)).toEqual(["2:A"]);
  const three = [...two, scheduled(2, "A"), turn(3), failed(2)];
  expect(decisions(three, action)).toEqual(["3:+13"]);
  expect(decisions([...three, created(3), turn(13), fired(3), scheduled(4, "A"), turn(14), failed(4)], action)).toEqual(["5:+64"]);
});

test("after the last failure one more timer fires at once, before user code goes on", () => {
  const history = [...begin, scheduled(0, "A"), turn(1), failed(0)];
  expect(decisions(history, retried("A", 1), task("B"))).toEqual(["1:+1"]);
  expect(decisions([...history, created(1), turn(1), fired(1)], retried("A", 1), task("B"))).toEqual(["2:B"]);
});

test("a failure that is marked as not retriable is not retried", () => {
  expect(decisions([...begin, scheduled(0, "A"), turn(1), failed(0, { IsNonRetriable: true })], retried("A", 3), task("B"))).toEqual(["1:B"]);
});

test("interleaved retries number their timers and attempts in the order of the events that cause them", () => {
  const actions = [all(retried("A", 3), task("B"), retried("C", 3)), task("D")];
  const history = [...begin, scheduled(0, "A"), scheduled(1, "B"), scheduled(2, "C"), turn(1), failed(2), failed(0)];
  expect(decisions(history, ...actions)).toEqual(["3:+2", "4:+2"]);
  const later = [...history, created(3), created(4), turn(2), fired(4), fired(3)];
  expect(decisions(later, ...actions)).toEqual(["5:A", "6:C"]);
  expect(decisions([...later, scheduled(5, "A"), scheduled(6, "C"), turn(3), completed(5), completed(1), completed(6)], ...actions)).toEqual(["7:D"]);
});

test("timers longer than six days go in hops of three", () => {
  const day = 86_400;
  expect(decisions(begin, timer(6 * day))).toEqual([`0:+${6 * day}`]);
  expect(decisions(begin, timer(7 * day))).toEqual([`0:+${3 * day}`]);
  const history = [...begin, created(0), turn(3 * day), fired(0)];
  expect(decisions(history, timer(7 * day))).toEqual([`1:+${6 * day}`]);
  expect(decisions([...history, created(1), turn(6 * day), fired(1)], timer(7 * day), task("A"))).toEqual([`2:+${7 * day}`]);
});

test("events: kept for a later waiter, oldest first; given to the newest waiter", () => {
  expect(decisions([...begin, raised("GO")], wait("go"), task("A"))).toEqual(["0:A"]);
  expect(decisions([...begin, raised("go")], wait("go"), wait("go"), task("A"))).toEqual([]);
  const both = any(all(wait("x"), task("A")), all(wait("x"), task("B")));
  expect(replay([...begin, scheduled(0, "A"), scheduled(1, "B"), turn(), completed(1), raised("x")], [both, task("C")]).decisions).toHaveLength(1);
  expect(replay([...begin, scheduled(0, "A"), scheduled(1, "B"), turn(), completed(0), raised("x")], [both, task("C")]).decisions).toHaveLength(0);
});

test("waiting for an event is nothing under way", () => {
  expect(replay([...begin, scheduled(0, "A"), turn(), completed(0)], [any(task("A"), wait("never"))]).over).toBe(true);
});

test("events after continue-as-new go to the next generation, those before are lost", () => {
  const result = replay([...begin, raised("lost"), scheduled(0, "A"), turn(), completed(0), raised("kept")], [task("A"), continueAsNew({ n: 1 })]);
  expect(result).toMatchObject({ over: true, continueAsNew: { input: { n: 1 } }, carryOver: [{ Name: "kept" }] });
  expect(result.carryOver).toHaveLength(1);
});

test("a second completion of the same task, and one of a cancelled timer, are old news", () => {
  expect(decisions([...begin, scheduled(0, "A"), turn(), completed(0), completed(0)], task("A"), task("B"))).toEqual(["1:B"]);
  expect(replay([...begin, created(0), scheduled(1, "A"), turn(), completed(1), fired(0)], [any(timer(9, true), task("A"))]).over).toBe(true);
});

test.each([
  ["another name", [...begin, scheduled(0, "B")], [task("A")], "scheduled task 'A'"],
  ["another kind", [...begin, created(0)], [task("A")], "scheduled task 'A'"],
  ["nothing there", [...begin, scheduled(0, "A"), scheduled(1, "B")], [task("A")], "scheduled nothing"],
])("a replay that differs fails: %s", (_name, history, actions, message) => {
  expect(() => replay(history, actions)).toThrow(ReplayError);
  expect(() => replay(history, actions)).toThrow(message);
});

test.each([
  [2, "sub-orchestrations"],
  [7, "entities"],
  [8, "durable HTTP calls"],
  [13, "entity locks"],
])("action %i is refused by name", (actionType, what) => {
  expect(() => replay(begin, [{ actionType }])).toThrow(`does not support ${what}`);
});
