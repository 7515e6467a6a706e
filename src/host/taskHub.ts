// Durable orchestrations on one machine: histories in SQLite, one transaction a turn, so that a process killed at any
// moment repeats the turn or finds it done. Activities run at least once, their results count once. An orchestration that
// waits costs a row and nothing else: there is one timer for all of them, and no polling.

import { runActivity } from "./activity";
import type { HostClock } from "./clock";
import { parseEvent, parseTurn, played, protocolEvent, startedEvent } from "./durableEvents";
import { findFunction, functionsOf, log } from "./functionsCore";
import type { RegisteredFunction } from "./functionsCore";
import type { Invoker } from "./invoke";
import { runOrchestrator } from "./orchestratorTurn";
import type { OrchestratorState } from "./orchestratorTurn";
import { type Leases, leaseMs } from "./leases";
import { eventType, replay, ReplayError } from "./replay";
import type { HistoryEvent, ReplayResult } from "./replay";
import { messageOf } from "./retry";
import type { HostStore } from "./store";
import { atOnce, beforeAll, openTaskHubStore } from "./taskHubStore";
import type { InboxRow, Instance, InstanceFilter, WorkRow } from "./taskHubStore";

export interface TaskHubOptions {
  readonly invoker: Invoker;
  readonly clock: HostClock;
  readonly store: HostStore;
  readonly leases: Leases;
  readonly activitiesMax: number;
  readonly orchestratorsMax: number;
  /** An activity that takes longer has failed; its late result counts for nothing. */
  readonly functionTimeoutMs: number;
}

export interface TaskHub {
  start(): void;
  /** Starts nothing from now on; resolves when what runs has ended. */
  stop(): Promise<void>;
  /** Starts an orchestration; `input` is JSON. Answers its id. Rejects with a TaskHubError: 400 bad name or id, 500 it lives already. */
  startNew(name: string, id: string | undefined, input: string): Promise<string>;
  /** Gives an event (JSON) to a live orchestration. Rejects with a TaskHubError: 404 unknown, 410 ended. */
  raiseEvent(id: string, name: string, input: string): Promise<void>;
  /**
   * Starts the orchestration of this id, or gives the one that lives an event without content; one that waits unread is
   * enough. Cheaper than through the client: no HTTP, and one statement or two. Rejects as `startNew` for bad names and ids.
   */
  nudge(name: string, id: string, input: string, event: string): Promise<void>;
  /** Ends a live orchestration at its next turn. Rejects as `raiseEvent`. */
  terminate(id: string, reason: string): Promise<void>;
  instance(id: string): Instance | undefined;
  history(id: string): HistoryEvent[];
  list(filter: InstanceFilter): Instance[];
  /** Forgets an ended instance; false when there is none, or it is live. */
  purge(id: string): Promise<boolean>;
}

/** Why a client's request was refused, with the status that the real host answers. */
export class TaskHubError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const endStatuses: ReadonlySet<string> = new Set(["Completed", "Failed", "Terminated"]);
export const isEnded = (instance: Instance): boolean => endStatuses.has(instance.status);

// Many messages in one turn cost one replay; a bound keeps the turn short.
const messagesATurnMax = 500;
const abortedPauseMs = 1_000;
const alarmMsMax = 60_000;
/** As many shares of the orchestrations as the platform has by default. */
const partitions = 4;
const idLengthMax = 100;

/** Makes the task hub over the registered orchestrators and activities. */
export function createTaskHub(options: TaskHubOptions): TaskHub {
  const { invoker, clock, leases } = options;
  const store = openTaskHubStore(options.store);
  /** Instances with visible messages, oldest first. */
  const ready = new Set<string>();
  const turning = new Set<string>();
  const working = new Set<number>();
  const whenQuiet: (() => void)[] = [];
  let workSeen = 0;
  let scheduled = false;
  let stopped = true;
  let lookedUntil = 0;
  let latest = 0;
  let alarm: { at: number; cancel: () => void } | undefined;

  /** Never goes back, whatever the machine's clock does: what an orchestration has seen is in order. */
  function now(): number {
    return (latest = Math.max(latest, clock.now()));
  }

  // ---------------------------------------------------------------- shared with other hosts

  leases.offer("hub", Array.from({ length: partitions }, (_, index) => `hub:${index}`));
  leases.onLook((gained) => {
    // What came while another host had these orchestrations has to be found, timers that were due included.
    if (gained) lookedUntil = 0;
    for (const id of store.instancesWaiting()) ready.add(id);
    alarm?.cancel();
    ring();
  });
  leases.onRenewal((until) => store.renewClaims(leases.owner, until));
  const shareOf = (id: string): string => `hub:${Array.from(id).reduce((sum, character) => sum + character.charCodeAt(0), 0) % partitions}`;

  /** Keeps what a turn of this orchestration has come to, unless another host has it now: then that one has the turn again. */
  const keep = (id: string, work: () => void): Promise<void> =>
    store.together(() => {
      if (leases.stillHolds(shareOf(id))) work();
    });

  let claiming = false;
  async function claimActivities(): Promise<void> {
    const at = clock.now();
    if (claiming || stopped || working.size >= options.activitiesMax || !store.hasFreeWork(at)) return;
    claiming = true;
    try {
      const claimed = await store.together(() => store.claimWork(leases.owner, at, at + leaseMs, options.activitiesMax - working.size));
      for (const work of claimed) if (!working.has(work.seq)) startActivity(work);
    } finally {
      claiming = false;
    }
  }

  // ---------------------------------------------------------------- scheduling

  function kick(): void {
    if (scheduled || stopped) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (!stopped) dispatch();
    });
  }

  function dispatch(): void {
    for (const id of ready) {
      if (turning.size >= options.orchestratorsMax) break;
      if (turning.has(id)) continue;
      ready.delete(id);
      if (!leases.holds(shareOf(id))) continue;
      turning.add(id);
      void settle(takeTurn(id), `The turn of '${id}'`, () => {
        turning.delete(id);
        return () => ready.add(id);
      });
    }
    const free = options.activitiesMax - working.size;
    if (options.store.shared) void claimActivities().catch((error: unknown) => log("error", "system", `Claiming activities: ${messageOf(error)}`));
    else if (free > 0) for (const work of store.workAfter(workSeen, free)) startActivity(work);
  }

  function startActivity(work: WorkRow): void {
    workSeen = Math.max(workSeen, work.seq);
    working.add(work.seq);
    void settle(activity(work), `The activity '${work.name}' of '${work.id}'`, () => {
      working.delete(work.seq);
      return () => startActivity(work);
    });
  }

  /** Waits for the end of a turn or an activity; the host's own faults (a full disk) are tried again after a pause. */
  async function settle(running: Promise<void>, what: string, release: () => () => void): Promise<void> {
    try {
      await running;
      release();
    } catch (error) {
      log("error", "system", `${what} was broken off and will be repeated: ${error instanceof Error ? error.stack : messageOf(error)}`);
      const again = release();
      clock.after(abortedPauseMs, () => {
        if (stopped) return;
        again();
        kick();
      });
    }
    if (turning.size + working.size === 0) whenQuiet.splice(0).forEach((resolve) => resolve());
    kick();
  }

  /** A message for an instance; inside the caller's transaction, as all that follow here. */
  function post(id: string, exec: string | null, event: HistoryEvent, visible = atOnce): void {
    store.post(id, exec, visible, event, null);
    ready.add(id);
  }

  function postTimer(id: string, exec: string, timer: number, fireAtMs: number): void {
    const fired = protocolEvent(eventType.timerFired, fireAtMs, { TimerId: timer, FireAt: new Date(fireAtMs).toISOString() });
    // A timer that is due already must not look like a message that is visible at once.
    store.post(id, exec, Math.max(fireAtMs, 1), fired, timer);
    if (fireAtMs <= clock.now()) ready.add(id);
    else arm(fireAtMs);
  }

  /** One alarm for the earliest message that is not visible yet; it looks at the clock now and then, which may be set meanwhile. */
  function arm(at: number | undefined): void {
    if (at === undefined || stopped || (alarm && alarm.at <= at)) return;
    alarm?.cancel();
    alarm = { at, cancel: clock.after(Math.min(at - clock.now(), alarmMsMax), ring) };
  }

  function ring(): void {
    alarm = undefined;
    if (stopped) return;
    // By the clock as it is, not by the latest it has been: what is to be done at noon waits for noon when the clock was set back.
    const until = clock.now();
    for (const id of store.instancesDue(until < lookedUntil ? 0 : lookedUntil, until)) ready.add(id);
    lookedUntil = until;
    arm(store.nextDue(until));
    kick();
  }

  // ---------------------------------------------------------------- turns

  async function takeTurn(id: string): Promise<void> {
    const instance = store.instance(id);
    const rows = store.inbox(id, clock.now(), messagesATurnMax);
    if (rows.length === messagesATurnMax) ready.add(id);
    const events = readInbox(rows, instance);
    if (!instance || isEnded(instance) || events.length === 0) return keep(id, () => consume(rows));
    const at = Math.max(now(), instance.updated);
    const begun = protocolEvent(eventType.orchestratorStarted, at);
    const past = store.history(id);
    const terminated = events.find((event) => event.EventType === eventType.executionTerminated);
    if (terminated) {
      const end = { status: "Terminated", output: String(terminated["Input"]), custom: instance.custom } as const;
      return keep(id, () => finish(instance, end, { events: [begun, terminated], number: past.length, at }));
    }
    const fn = findFunction("orchestrationtrigger", instance.name);
    const fresh = [begun, ...events];
    const state = fn ? await runOrchestrator(invoker, fn, instance, past, fresh) : missingOrchestrator(instance.name);
    const decided = decide(instance.name, [...past.flatMap(parseTurn), ...fresh], state);
    await keep(id, () => {
      consume(rows);
      commitTurn(instance, state, decided, { events: fresh, number: past.length, at });
    });
  }

  const consume = (rows: readonly InboxRow[]): void => store.consume(rows.map((row) => row.seq));

  function commitTurn(instance: Instance, state: OrchestratorState, { replayed, failure }: Decided, turn: Turn): void {
    const { id } = instance;
    const { at } = turn;
    const custom = state.customStatus === undefined ? instance.custom : JSON.stringify(state.customStatus);
    if (!replayed || failure !== undefined) return finish(instance, { status: "Failed", output: JSON.stringify(failure), custom }, turn);
    const done = replayed.over && state.isDone;
    if (done && replayed.continueAsNew) return nextGeneration(instance, replayed, custom, at);
    const events = [...turn.events, ...schedule(instance, replayed, at)];
    const output = state.output === undefined ? null : JSON.stringify(state.output);
    if (done) return finish(instance, { status: "Completed", output, custom }, { ...turn, events });
    store.appendTurn(id, turn.number, [...events, protocolEvent(eventType.orchestratorCompleted, at)].map(played));
    store.updateInstance(id, { ...instance, status: "Running", custom, updated: at });
  }

  /** Records new work, and takes back timers that are not waited for any more. */
  function schedule({ id, exec }: Instance, replayed: ReplayResult, at: number): HistoryEvent[] {
    const cancelled = new Set(replayed.cancelledTimers);
    const events = replayed.decisions.map((decision) => {
      if (decision.kind === "task") {
        const input = decision.input === undefined ? null : JSON.stringify(decision.input);
        store.addWork({ id, exec, task: decision.id, name: decision.name, input });
        return protocolEvent(eventType.taskScheduled, at, { EventId: decision.id, Name: decision.name, Version: "", Input: null });
      }
      if (!cancelled.has(decision.id)) postTimer(id, exec, decision.id, decision.fireAtMs);
      return protocolEvent(eventType.timerCreated, at, { EventId: decision.id, FireAt: new Date(decision.fireAtMs).toISOString() });
    });
    for (const timer of cancelled) store.takeBackTimer(id, exec, timer);
    return events;
  }

  function nextGeneration(instance: Instance, replayed: ReplayResult, custom: string | null, at: number): void {
    const { id } = instance;
    const exec = clock.uuid();
    const input = JSON.stringify(replayed.continueAsNew?.input ?? null);
    // The closed generation's history, timers and results are of no use to anyone; events not yet delivered stay.
    store.clearGeneration(id, instance.exec);
    store.updateInstance(id, { ...instance, exec, status: "Running", input, custom, updated: at });
    // Before any event that waits already: a history begins with its start.
    post(id, exec, startedEvent(instance, exec, input, at), beforeAll);
    for (const event of replayed.carryOver) post(id, exec, event, beforeAll);
  }

  function finish(instance: Instance, end: Pick<Instance, "status" | "output" | "custom">, { events, number, at }: Turn): void {
    const completed = protocolEvent(eventType.executionCompleted, at, { OrchestrationStatus: end.status, Result: end.output });
    const all = [...events, completed, protocolEvent(eventType.orchestratorCompleted, at)];
    store.appendTurn(instance.id, number, all.map(played));
    store.updateInstance(instance.id, { ...instance, ...end, updated: at });
    store.clearWaiting(instance.id);
  }

  async function activity(work: WorkRow): Promise<void> {
    const event = await runActivity(invoker, clock, options.functionTimeoutMs, work);
    await store.together(() => {
      // Gone when the instance ended or continued as new meanwhile: then the result counts for nothing.
      if (store.removeWork(work.seq)) post(work.id, work.exec, event);
    });
  }

  // ---------------------------------------------------------------- clients

  async function startNew(name: string, wanted: string | undefined, input: string): Promise<string> {
    const fn = orchestratorNamed(name);
    const id = wanted || clock.uuid().replaceAll("-", "");
    checkId(id);
    await store.together(() => create(id, fn, input));
    kick();
    return id;
  }

  function create(id: string, fn: RegisteredFunction, input: string): void {
    const current = store.instance(id);
    if (current && !isEnded(current)) throw new TaskHubError(500, `An Orchestration instance with the status ${current.status} already exists.`);
    const at = now();
    const exec = clock.uuid();
    const instance = { id, exec, name: fn.name, status: "Pending", input, output: null, custom: null, created: at, updated: at } as const;
    store.clear(id);
    store.insertInstance(instance);
    post(id, exec, startedEvent(instance, exec, input, at));
  }

  async function nudge(name: string, id: string, input: string, event: string): Promise<void> {
    const fn = orchestratorNamed(name);
    checkId(id);
    await store.together(() => {
      const instance = store.instance(id);
      if (!instance || isEnded(instance)) return create(id, fn, input);
      // A turn that is under way has read its messages already; what waits without one will be read.
      if (leases.holds(shareOf(id)) && !turning.has(id) && store.hasEvent(id, event)) return;
      post(id, null, protocolEvent(eventType.eventRaised, now(), { Name: event, Input: "{}" }));
    });
    kick();
  }

  async function toLive(id: string, event: HistoryEvent): Promise<void> {
    await store.together(() => {
      const instance = store.instance(id);
      if (!instance) throw new TaskHubError(404, "");
      if (isEnded(instance)) throw new TaskHubError(410, "");
      post(id, null, event);
    });
    kick();
  }

  return {
    start() {
      stopped = false;
      for (const id of store.instancesWaiting()) ready.add(id);
      ring();
    },
    stop() {
      stopped = true;
      alarm?.cancel();
      alarm = undefined;
      if (turning.size + working.size === 0) return Promise.resolve();
      return new Promise((resolve) => whenQuiet.push(resolve));
    },
    startNew,
    nudge,
    raiseEvent: (id, name, input) => toLive(id, protocolEvent(eventType.eventRaised, now(), { Name: name, Input: input })),
    terminate: (id, reason) => toLive(id, protocolEvent(eventType.executionTerminated, now(), { Input: JSON.stringify(reason) })),
    instance: store.instance,
    history: (id) => store.history(id).flatMap(parseTurn),
    list: store.list,
    purge(id) {
      return store.together(() => {
        const instance = store.instance(id);
        if (!instance || !isEnded(instance)) return false;
        store.clear(id);
        store.removeInstance(id);
        return true;
      });
    },
  };
}

/** A turn as it is stored: its events so far, which one it is, and its instant. */
interface Turn {
  readonly events: readonly HistoryEvent[];
  readonly number: number;
  readonly at: number;
}

interface Decided {
  readonly replayed: ReplayResult | undefined;
  /** The message that the instance fails with. */
  readonly failure: string | undefined;
}

function decide(name: string, history: readonly HistoryEvent[], state: OrchestratorState): Decided {
  try {
    const replayed = replay(history, state.actions);
    // A failed orchestrator may still have work under way: it is over when that has ended.
    return { replayed, failure: state.error !== undefined && replayed.over ? `Orchestrator function '${name}' failed: ${state.error}` : undefined };
  } catch (error) {
    if (error instanceof ReplayError) return { replayed: undefined, failure: error.message };
    throw error;
  }
}

function missingOrchestrator(name: string): OrchestratorState {
  const error = `The orchestrator function '${name}' doesn't exist.`;
  return { isDone: true, actions: [], output: undefined, customStatus: undefined, error };
}

/** The events that this turn takes, in order; those addressed to an older generation are dropped, and nothing counts beside a termination. */
function readInbox(rows: readonly InboxRow[], instance: Instance | undefined): HistoryEvent[] {
  return rows.filter((row) => row.exec === null || row.exec === instance?.exec).map((row) => parseEvent(row.ev));
}

function orchestratorNamed(name: string): RegisteredFunction {
  const fn = findFunction("orchestrationtrigger", name);
  if (fn) return fn;
  const known = functionsOf("orchestrationtrigger").map((each) => `'${each.name}'`);
  const problem = `The function '${name}' doesn't exist, is disabled, or is not an orchestrator function.`;
  throw new TaskHubError(400, `${problem} The known orchestrator functions are: ${known.join(", ")}.`);
}

function checkId(id: string): void {
  if (id.startsWith("@")) throw new TaskHubError(400, "Orchestration instance ids must not start with @.");
  if (id.length > idLengthMax) throw new TaskHubError(400, `Instance ID lengths must not exceed ${idLengthMax} characters.`);
  const isForbidden = (character: string): boolean => "/\\?#".includes(character) || character < " " || character === "\u007f";
  if ([...id].some(isForbidden)) throw new TaskHubError(400, "Orchestration instance ids must not contain /, \\, #, ?, or control characters.");
}
