// The host's half of the durable protocol: walks an orchestration's history with the actions that the SDK returned, counts
// sequence numbers exactly as the real engine does, checks determinism, and says what is new. Pure: history in, decisions
// out. Five features are known: activities (with retry), timers, external events, continue-as-new, and waiting for any or all.

/** Event type numbers of the protocol. */
export const eventType = {
  executionStarted: 0,
  executionCompleted: 1,
  executionTerminated: 3,
  taskScheduled: 4,
  taskCompleted: 5,
  taskFailed: 6,
  timerCreated: 10,
  timerFired: 11,
  orchestratorStarted: 12,
  orchestratorCompleted: 13,
  eventRaised: 15,
} as const;

export interface HistoryEvent {
  readonly EventType: number;
  /** The sequence number of what was scheduled; -1 for everything else. */
  readonly EventId: number;
  readonly Timestamp: string;
  readonly [field: string]: unknown;
}

/** An action as the SDK returns it: the whole list since the start, each turn. */
export interface Action {
  readonly actionType: number;
  readonly functionName?: string;
  readonly input?: unknown;
  readonly retryOptions?: ActionRetry;
  readonly fireAt?: string | Date;
  readonly isCanceled?: boolean;
  readonly externalEventName?: string;
  readonly compoundActions?: readonly Action[];
}

export interface ActionRetry {
  readonly firstRetryIntervalInMilliseconds: number;
  readonly maxNumberOfAttempts: number;
  readonly backoffCoefficient?: number;
  readonly maxRetryIntervalInMilliseconds?: number;
  readonly retryTimeoutInMilliseconds?: number;
}

/** New work: an activity to run, or a timer to set. `id` is its sequence number. */
export type Decision =
  | { readonly id: number; readonly kind: "task"; readonly name: string; readonly input: unknown }
  | { readonly id: number; readonly kind: "timer"; readonly fireAtMs: number };

export interface ReplayResult {
  /** In order of their sequence numbers. */
  readonly decisions: readonly Decision[];
  /** Sequence numbers of timers that the orchestration gave up, newly or long ago. */
  readonly cancelledTimers: readonly number[];
  /** Every action is settled and nothing is under way: the generation is over if the SDK says that it is done. */
  readonly over: boolean;
  readonly continueAsNew: { readonly input: unknown } | undefined;
  /** Events that arrived after continue-as-new was called: they go to the next generation. */
  readonly carryOver: readonly HistoryEvent[];
  /** The sequence number that comes next. */
  readonly nextId: number;
}

/** Why an orchestration cannot go on; it fails with this message. */
export class ReplayError extends Error {}

/** Replays a history against the actions. Throws a ReplayError when they do not fit, or ask for what this host does not do. */
export function replay(history: readonly HistoryEvent[], actions: readonly Action[]): ReplayResult {
  const run = new Replay(actions);
  for (const event of history) run.take(event);
  return run.result();
}

const dayMs = 86_400_000;
const shortTimerMaxMs = 6 * dayMs;
const longTimerHopMs = 3 * dayMs;

const unsupportedActions: Readonly<Record<number, string>> = {
  2: "sub-orchestrations",
  3: "sub-orchestrations",
  7: "entities",
  8: "durable HTTP calls",
  9: "entities",
  10: "entities",
  13: "entity locks",
  14: "entity locks",
};

/** Something that settles once; the listeners run at once, in the order they came. */
class Waiter {
  settled = false;
  failed = false;
  value: unknown;
  #listeners: (() => void)[] = [];
  settle(failed: boolean, value?: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.failed = failed;
    this.value = value;
    for (const listener of this.#listeners.splice(0)) listener();
  }
  whenSettled(listener: () => void): void {
    if (this.settled) listener();
    else this.#listeners.push(listener);
  }
}

const settledWaiter = (): Waiter => {
  const waiter = new Waiter();
  waiter.settle(false);
  return waiter;
};

class Replay {
  readonly #actions: readonly Action[];
  #nextAction = 0;
  #nextId = 0;
  #nowMs = 0;
  #finished = false;
  #continueAsNew: { input: unknown } | undefined;
  /** Decided, and not yet met in the history. */
  readonly #pending = new Map<number, Decision>();
  /** Under way, by sequence number. */
  readonly #open = new Map<number, Waiter>();
  readonly #cancelled: number[] = [];
  readonly #eventWaiters = new Map<string, Waiter[]>();
  readonly #eventBuffer = new Map<string, unknown[]>();
  readonly #carryOver: HistoryEvent[] = [];

  constructor(actions: readonly Action[]) {
    this.#actions = actions;
  }

  take(event: HistoryEvent): void {
    switch (event.EventType) {
      case eventType.orchestratorStarted:
        // The SDK's clock never goes back either.
        this.#nowMs = Math.max(this.#nowMs, Date.parse(event.Timestamp));
        return;
      case eventType.executionStarted:
        return this.#advance();
      case eventType.taskScheduled:
        return this.#confirm(event, "task", String(event["Name"]));
      case eventType.timerCreated:
        return this.#confirm(event, "timer");
      case eventType.taskCompleted:
        return this.#settle(event["TaskScheduledId"] as number, false);
      case eventType.taskFailed:
        return this.#settle(event["TaskScheduledId"] as number, true, event["FailureDetails"]);
      case eventType.timerFired:
        return this.#settle(event["TimerId"] as number, false);
      case eventType.eventRaised:
        if (this.#continueAsNew) this.#carryOver.push(event);
        else this.#raise(String(event["Name"]).toLowerCase());
        return;
      default:
        return;
    }
  }

  result(): ReplayResult {
    return {
      decisions: [...this.#pending.values()].sort((a, b) => a.id - b.id),
      cancelledTimers: this.#cancelled,
      over: this.#finished && this.#open.size === 0,
      continueAsNew: this.#continueAsNew,
      carryOver: this.#carryOver,
      nextId: this.#nextId,
    };
  }

  /** Performs actions until one is not settled yet; goes on when it is. */
  #advance(): void {
    for (;;) {
      const action = this.#actions[this.#nextAction];
      if (!action) {
        this.#finished = true;
        return;
      }
      this.#nextAction++;
      const waiter = this.#perform(action);
      if (!waiter.settled) return waiter.whenSettled(() => this.#advance());
    }
  }

  #perform(action: Action): Waiter {
    switch (action.actionType) {
      case 0:
        return this.#task(action);
      case 1:
        return this.#retried(action, action.retryOptions as ActionRetry);
      case 4:
        this.#continueAsNew = { input: action.input };
        return settledWaiter();
      case 5:
        return this.#timerAction(new Date(action.fireAt as string | Date).getTime(), action.isCanceled === true);
      case 6:
        return this.#waitForEvent(String(action.externalEventName).toLowerCase());
      case 11:
        return this.#compound(action, 1);
      case 12:
        return this.#compound(action, action.compoundActions?.length ?? 0);
      default: {
        const what = unsupportedActions[action.actionType];
        throw new ReplayError(what === undefined ? `Unknown orchestrator action ${action.actionType}.` : `The local host does not support ${what}.`);
      }
    }
  }

  /** Settles when so many of the parts have; the others stay under way. */
  #compound(action: Action, needed: number): Waiter {
    const all = new Waiter();
    let left = needed;
    const parts = (action.compoundActions ?? []).map((part) => this.#perform(part));
    if (left === 0) all.settle(false);
    for (const part of parts) {
      part.whenSettled(() => {
        if (--left === 0) all.settle(false);
      });
    }
    return all;
  }

  #task(action: Action): Waiter {
    const id = this.#nextId++;
    this.#pending.set(id, { id, kind: "task", name: String(action.functionName), input: action.input });
    return this.#opened(id);
  }

  #timer(fireAtMs: number): Waiter {
    const id = this.#nextId++;
    this.#pending.set(id, { id, kind: "timer", fireAtMs });
    return this.#opened(id);
  }

  #opened(id: number): Waiter {
    const waiter = new Waiter();
    this.#open.set(id, waiter);
    return waiter;
  }

  #timerAction(fireAtMs: number, cancelled: boolean): Waiter {
    if (!cancelled) return fireAtMs - this.#nowMs > shortTimerMaxMs ? this.#longTimer(fireAtMs) : this.#timer(fireAtMs);
    // Takes its number and is never under way.
    const id = this.#nextId++;
    this.#pending.set(id, { id, kind: "timer", fireAtMs });
    this.#cancelled.push(id);
    return settledWaiter();
  }

  #longTimer(fireAtMs: number): Waiter {
    const whole = new Waiter();
    const hop = (): void => {
      const leftMs = fireAtMs - this.#nowMs;
      if (leftMs <= 0) whole.settle(false);
      else this.#timer(this.#nowMs + Math.min(leftMs, longTimerHopMs)).whenSettled(hop);
    };
    hop();
    return whole;
  }

  /** The host retries, the SDK only counts along: a delay timer and an attempt take a number each. */
  #retried(action: Action, retry: ActionRetry): Waiter {
    const whole = new Waiter();
    const startedMs = this.#nowMs;
    const attempt = (number: number): void => {
      const task = this.#task(action);
      task.whenSettled(() => {
        if (!task.failed || isNonRetriable(task.value)) return whole.settle(task.failed, task.value);
        // After the last failure the real engine sets one more timer, due at once, before the error reaches user code.
        if (number >= retry.maxNumberOfAttempts) return this.#timer(this.#nowMs).whenSettled(() => whole.settle(true, task.value));
        if (retry.retryTimeoutInMilliseconds && this.#nowMs >= startedMs + retry.retryTimeoutInMilliseconds) return whole.settle(true, task.value);
        this.#timer(this.#nowMs + retryDelayMs(retry, number)).whenSettled(() => attempt(number + 1));
      });
    };
    attempt(1);
    return whole;
  }

  #waitForEvent(name: string): Waiter {
    const waiter = new Waiter();
    const buffered = this.#eventBuffer.get(name);
    if (buffered && buffered.length > 0) {
      buffered.shift();
      waiter.settle(false);
    } else {
      const waiting = this.#eventWaiters.get(name);
      if (waiting) waiting.push(waiter);
      else this.#eventWaiters.set(name, [waiter]);
    }
    return waiter;
  }

  /** The newest waiter gets the event; without one it is kept, oldest first. */
  #raise(name: string): void {
    const waiter = this.#eventWaiters.get(name)?.pop();
    if (waiter) return waiter.settle(false);
    const buffered = this.#eventBuffer.get(name);
    if (buffered) buffered.push(true);
    else this.#eventBuffer.set(name, [true]);
  }

  #confirm(event: HistoryEvent, kind: Decision["kind"], name?: string): void {
    const decision = this.#pending.get(event.EventId);
    if (decision?.kind !== kind || (decision.kind === "task" && decision.name.toLowerCase() !== name?.toLowerCase())) {
      const recorded = name === undefined ? kind : `${kind} '${name}'`;
      const instead = decision ? (decision.kind === "task" ? `task '${decision.name}'` : decision.kind) : "nothing";
      throw new ReplayError(
        `Non-deterministic orchestrator: the history has ${recorded} with sequence number ${event.EventId}, where the replay scheduled ${instead}. ` +
          "Was the orchestrator changed after this instance had started?",
      );
    }
    this.#pending.delete(event.EventId);
  }

  /** An unknown number is a repetition or a cancelled timer: old news. */
  #settle(id: number, failed: boolean, value?: unknown): void {
    const waiter = this.#open.get(id);
    this.#open.delete(id);
    waiter?.settle(failed, value);
  }
}

function retryDelayMs(retry: ActionRetry, attempt: number): number {
  const delayMs = retry.firstRetryIntervalInMilliseconds * (retry.backoffCoefficient ?? 1) ** (attempt - 1);
  return Math.min(delayMs, retry.maxRetryIntervalInMilliseconds ?? shortTimerMaxMs);
}

function isNonRetriable(failureDetails: unknown): boolean {
  return typeof failureDetails === "object" && failureDetails !== null && (failureDetails as { IsNonRetriable?: boolean }).IsNonRetriable === true;
}
