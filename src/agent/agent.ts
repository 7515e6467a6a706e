// What one TVM holds and does next: attempts in, effects out. No I/O, no clock: times come in as milliseconds.
//
//   waiting -> busy -> ended -> (the service says stop) forgotten
//
// A waiting attempt has no slot yet; a busy one has (fetching files, running, being ended); an ended one is kept, and named
// in every exchange, until the service confirms it. What ended once is never started again, whatever an answer says: answers
// may be late. Attempts that are being ended because they are no longer ours are `dying`: they hold a slot and nothing else.
import type { Assignment, AttemptRef, ExchangeAnswer, ExchangeRequest, FileAnswer, FileRequest, Report, SchedulingError, StartTaskOrder, Usage, UserRequest } from "../wire";

export type Effect =
  | { readonly kind: "run"; readonly assignment: Assignment }
  /** End it: why "timeLimit" is still reported, "notOurs" is not. */
  | { readonly kind: "end"; readonly ref: AttemptRef; readonly why: "timeLimit" | "notOurs" }
  | { readonly kind: "runStartTask"; readonly order: StartTaskOrder }
  | { readonly kind: "removeFolder"; readonly folder: string }
  | { readonly kind: "answerFile"; readonly request: FileRequest }
  | { readonly kind: "changeUser"; readonly request: UserRequest }
  | { readonly kind: "leave" };

export interface Ending {
  readonly startedAtMs?: number | undefined;
  readonly atMs: number;
  readonly exitCode?: number | undefined;
  readonly error?: SchedulingError | undefined;
  readonly usage?: Usage | undefined;
}

export interface AgentOptions {
  readonly boot: number;
  readonly slots: number;
  readonly holdMax: number;
}

interface Held {
  readonly assignment: Assignment;
  phase: "waiting" | "busy" | "ended";
  /** When it came, when it took its slot. */
  readonly heldAtMs: number;
  busyAtMs: number;
  deadlineMs: number;
  timedOut: boolean;
}

/** 0xC000013A as a signed number: what the seed article shows for a task past its time limit. */
export const TIME_LIMIT_EXIT_CODE = -1073741510;

const RETURN_AFTER_MS = 1_000;
/** The agent asks for as many attempts beyond its slots as end in this time. */
const PREFETCH_MS = 150;
const REMEMBERED_MAX = 4_096;
const REPORTS_PER_EXCHANGE = 2_000;
const ANSWERS_PER_EXCHANGE = 100;
const FOLDERS_PER_EXCHANGE = 1_000;
const HOLDING_MAX = 5_000;

export type Agent = ReturnType<typeof createAgent>;

export function createAgent(options: AgentOptions) {
  const held = new Map<string, Held>();
  const waiting: Held[] = [];
  /** Attempts with a slot; `dying` ones also keep theirs until they are gone, and the TVM to themselves if they had it. */
  const busy = new Map<string, Held>();
  const dying = new Map<string, Assignment>();
  /** Last reports of attempts already confirmed or told to stop, oldest first. */
  const remembered = new Map<string, Report | undefined>();
  const reports: Report[] = [];
  const fileAnswers: FileAnswer[] = [];
  const removedFolders: string[] = [];
  const filesUnderWay = new Set<string>();
  let startTaskRun = 0;
  let startTaskRunning = false;
  let averageMs = Infinity;
  let lastEndAtMs = -Infinity;
  let ran = 0;
  let taken = 0;
  /** Since when the TVM was to go after its tasks: it has none, and begins none. */
  let drained: string | undefined;
  let drainedTold = false;

  const hasTvmToItself = (): boolean =>
    busy.size + dying.size === 1 && ([...busy.values()].some(({ assignment }) => assignment.exclusive) || [...dying.values()].some(({ exclusive }) => exclusive));
  const freeSlots = (): number => (options.slots > 1 && hasTvmToItself() ? 0 : options.slots - busy.size - dying.size);

  /** Puts waiting attempts into free slots; one that runs alone waits until nothing else is left. */
  const fill = (nowMs: number): Effect[] => {
    const effects: Effect[] = [];
    while (freeSlots() > 0) {
      if (waiting[0]?.assignment.exclusive && busy.size + dying.size > 0) break;
      const next = waiting.shift();
      if (!next) break;
      next.phase = "busy";
      next.busyAtMs = nowMs;
      busy.set(idOf(next.assignment), next);
      effects.push({ kind: "run", assignment: next.assignment });
    }
    return effects;
  };

  const remember = (id: string, report: Report | undefined): void => {
    remembered.set(id, report);
    if (remembered.size > REMEMBERED_MAX) for (const oldest of remembered.keys()) { remembered.delete(oldest); break; }
  };

  const take = (assignment: Assignment, nowMs: number): void => {
    const id = idOf(assignment);
    if (held.has(id) || dying.has(id)) return;
    // Given before the service knew: it counts on this TVM's word, and gives it to another.
    if (drained !== undefined && !remembered.has(id)) return;
    taken++;
    const one: Held = { assignment, phase: "waiting", heldAtMs: nowMs, busyAtMs: nowMs, deadlineMs: Infinity, timedOut: false };
    if (remembered.has(id)) {
      // A late answer, or the service missed the end: tell it again and let it confirm.
      const last = remembered.get(id);
      if (last) reports.push(last);
      one.phase = "ended";
      held.set(id, one);
      return;
    }
    held.set(id, one);
    if (assignment.manager) waiting.unshift(one);
    else waiting.push(one);
  };

  const drop = (ref: AttemptRef): Effect[] => {
    const id = idOf(ref);
    const one = held.get(id);
    held.delete(id);
    if (!one) {
      if (!remembered.has(id) && !dying.has(id)) remember(id, undefined);
      return [];
    }
    if (one.phase === "ended") {
      if (!remembered.has(id)) remember(id, undefined);
      return [];
    }
    remember(id, undefined);
    return release(id, one);
  };

  /** Takes an attempt that has not ended out of its queue or slot. */
  const release = (id: string, one: Held): Effect[] => {
    if (one.phase === "waiting") {
      waiting.splice(waiting.indexOf(one), 1);
      return [];
    }
    busy.delete(id);
    dying.set(id, one.assignment);
    return [{ kind: "end", ref: refOf(one.assignment), why: "notOurs" }];
  };

  const conclude = (one: Held, report: Report): void => {
    one.phase = "ended";
    reports.push(report);
    remember(idOf(one.assignment), report);
  };

  const isIdle = (): boolean => held.size + dying.size + reports.length === 0;

  /** An answer may be older than what was taken in meanwhile with another: then it is not about this state of the TVM. */
  const drain = (asked: NonNullable<ExchangeAnswer["drain"]>): void => {
    if (asked.taken !== taken || !isIdle() || drained === asked.since) return;
    drained = asked.since;
    drainedTold = false;
  };

  /** As many as end soon: none while the running ones are long. */
  const prefetch = (nowMs: number): number => {
    let youngest = Infinity;
    for (const one of busy.values()) youngest = Math.min(youngest, nowMs - one.busyAtMs);
    const expectMs = Math.max(averageMs, busy.size >= options.slots ? youngest : 0, 0.5);
    return Math.floor((options.slots * PREFETCH_MS) / expectMs);
  };

  return {
    /** Takes in an answer. Removals come before runs: a task may be deleted and made again. */
    accept(answer: ExchangeAnswer, nowMs: number): Effect[] {
      const effects: Effect[] = [];
      for (const ref of answer.stop) effects.push(...drop(ref));
      if (answer.leave) return [...effects, { kind: "leave" }];
      if (answer.resume !== undefined && answer.resume === drained) drained = undefined;
      if (answer.drain) drain(answer.drain);
      for (const folder of answer.removeFolders) effects.push({ kind: "removeFolder", folder });
      for (const request of answer.files) {
        if (filesUnderWay.has(request.id)) continue;
        filesUnderWay.add(request.id);
        effects.push({ kind: "answerFile", request });
      }
      for (const request of answer.users ?? []) {
        if (filesUnderWay.has(request.id)) continue;
        filesUnderWay.add(request.id);
        effects.push({ kind: "changeUser", request });
      }
      const order = answer.startTask;
      if (order && order.run > startTaskRun && !startTaskRunning) {
        startTaskRun = order.run;
        startTaskRunning = true;
        effects.push({ kind: "runStartTask", order });
      }
      for (const assignment of answer.run) take(assignment, nowMs);
      return [...effects, ...fill(nowMs)];
    },

    /** The process of an attempt began. `atMs` is for people, `nowMs` (which never jumps) for the time limit. */
    started(ref: AttemptRef, atMs: number, nowMs: number): void {
      const one = busy.get(idOf(ref));
      if (!one) return;
      ran++;
      one.deadlineMs = nowMs + (one.assignment.maxWallClockMs ?? Infinity);
      reports.push({ kind: "taskStarted", ...ref, at: iso(atMs) });
    },

    /** An attempt is over (or could not begin) and nothing of it is left; its slot is free again. */
    ended(ref: AttemptRef, ending: Ending, nowMs: number): Effect[] {
      const id = idOf(ref);
      const one = busy.get(id);
      busy.delete(id);
      dying.delete(id);
      lastEndAtMs = nowMs;
      if (one) {
        const lastedMs = nowMs - one.busyAtMs;
        averageMs = averageMs === Infinity ? lastedMs : averageMs * 0.8 + lastedMs * 0.2;
        conclude(one, endReport(ref, one.timedOut ? timeLimitEnding(ending) : ending));
      }
      return fill(nowMs);
    },

    startTaskStarted(run: number, atMs: number): void {
      reports.push({ kind: "startTaskStarted", run, at: iso(atMs) });
    },

    startTaskEnded(run: number, ending: Ending): void {
      startTaskRunning = false;
      const { startedAtMs, atMs, exitCode, error } = ending;
      reports.push({
        kind: "startTaskEnded", run, at: iso(atMs), ...(startedAtMs === undefined ? {} : { startedAt: iso(startedAtMs) }),
        ...(exitCode === undefined ? {} : { exitCode }), ...(error ? { error } : {}),
      });
    },

    folderRemoved(folder: string): void {
      removedFolders.push(folder);
    },

    fileAnswered(answer: FileAnswer): void {
      fileAnswers.push(answer);
    },

    /** Time limits reached, and attempts that waited too long for a slot. */
    due(nowMs: number): Effect[] {
      const effects: Effect[] = [];
      for (const one of busy.values()) {
        if (one.timedOut || nowMs < one.deadlineMs) continue;
        one.timedOut = true;
        effects.push({ kind: "end", ref: refOf(one.assignment), why: "timeLimit" });
      }
      // As long as slots keep turning over, a slot is about to take those that wait.
      if (nowMs - lastEndAtMs < RETURN_AFTER_MS) return effects;
      while (waiting[0] && dying.size === 0 && nowMs - waiting[0].heldAtMs >= RETURN_AFTER_MS) {
        const one = waiting.shift() as Held;
        conclude(one, { kind: "taskReturned", ...refOf(one.assignment), at: iso(nowMs) });
      }
      return effects;
    },

    /** When `due` has something to do next. */
    nextDueMs(): number {
      // What is being ended gives its slot back: whoever waits for it is looked at then.
      let next = waiting[0] && dying.size === 0 ? Math.max(waiting[0].heldAtMs, lastEndAtMs) + RETURN_AFTER_MS : Infinity;
      for (const one of busy.values()) if (!one.timedOut) next = Math.min(next, one.deadlineMs);
      return next;
    },

    /**
     * The service has given this TVM's attempts to others: end and forget what has not ended. Named again, it may run again.
     * The start task is nobody else's and goes on.
     */
    selfStop(): Effect[] {
      const effects: Effect[] = [];
      for (const [id, one] of held) {
        if (one.phase === "ended") continue;
        held.delete(id);
        effects.push(...release(id, one));
      }
      return effects;
    },

    hasPayload: (): boolean => reports.length > 0 || fileAnswers.length > 0 || removedFolders.length > 0 || (drained !== undefined && !drainedTold),
    hungry: (): boolean => waiting.length === 0 && freeSlots() > 0,
    /** Attempts that may still write below this folder (`workItem`, `workItem/job` or `workItem/job/task`). */
    isFolderBusy(folder: string): boolean {
      for (const one of busy.values()) if (`${folderOf(one.assignment)}/`.startsWith(`${folder}/`)) return true;
      return false;
    },

    /** One exchange. `accepted` forgets what it carried. */
    request(waitMs: number, carry: boolean, nowMs: number): { body: ExchangeRequest; accepted(): void } {
      const carried = carry
        ? { reports: reports.slice(0, REPORTS_PER_EXCHANGE), fileAnswers: fileAnswers.slice(0, ANSWERS_PER_EXCHANGE), removedFolders: removedFolders.slice(0, FOLDERS_PER_EXCHANGE) }
        : { reports: [], fileAnswers: [], removedFolders: [] };
      const holding: AttemptRef[] = [];
      for (const one of held.values()) if (holding.length < HOLDING_MAX) holding.push(refOf(one.assignment));
      const says = drained;
      const capacity = Math.min(options.holdMax, options.slots + prefetch(nowMs));
      return {
        body: { boot: options.boot, ...carried, holding, capacity, taken, ...(says === undefined ? {} : { drained: says }), ran, waitMs },
        accepted() {
          if (says !== undefined && says === drained) drainedTold = true;
          reports.splice(0, carried.reports.length);
          for (const answer of fileAnswers.splice(0, carried.fileAnswers.length)) filesUnderWay.delete(answer.id);
          removedFolders.splice(0, carried.removedFolders.length);
        },
      };
    },
  };
}

export function folderOf(assignment: Assignment): string {
  return `${assignment.workItem}/${assignment.job}/${assignment.task}`;
}

function idOf(ref: AttemptRef): string {
  return `${ref.attempt} ${ref.key}`;
}

function refOf(assignment: Assignment): AttemptRef {
  return { key: assignment.key, attempt: assignment.attempt };
}

function timeLimitEnding(ending: Ending): Ending {
  const message = "The task ran longer than its maxWallClockTime.";
  return { ...ending, exitCode: TIME_LIMIT_EXIT_CODE, error: { category: "ServerError", code: "TaskEnded", message } };
}

function endReport(ref: AttemptRef, ending: Ending): Report {
  const { startedAtMs, atMs, exitCode, error, usage } = ending;
  return {
    kind: "taskEnded", ...ref, ...(startedAtMs === undefined ? {} : { startedAt: iso(startedAtMs) }), at: iso(atMs),
    ...(exitCode === undefined ? {} : { exitCode }), ...(error ? { error } : {}), ...(usage ? { usage } : {}),
  };
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
