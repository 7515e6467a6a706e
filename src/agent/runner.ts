// Runs commands through the start helpers and sees to it that nothing of a run is left when it is reported as over.
// One runner serves all TVMs of the agent process; runs alternate between its helpers. It never knows tasks or attempts:
// a run is an order and what happens to it.
import { randomBytes } from "node:crypto";
import os from "node:os";
import type { Helper, HelperEvent, HelperHandlers, HelperKind, HelperUsage, StartOrder } from "./helper";
import { MARK, ROOT } from "./environment";
import { descendants, killProcess, killWhere, ownerOf, processes, variableOf, type ProcessInfo } from "./processTree";

export type Outcome =
  | { readonly kind: "failed"; readonly stage: string; readonly errno: number; readonly atMs: number }
  | { readonly kind: "ended"; readonly startedAtMs: number; readonly atMs: number; readonly exitCode: number; readonly usage?: HelperUsage };

export interface RunHandlers {
  onStarted(atMs: number): void;
  onOutcome(outcome: Outcome): void;
}

export interface Run {
  /** SIGTERM to the group, SIGKILL after the grace to it and to every descendant; the outcome comes when nothing is left. */
  end(graceMs: number): void;
}

export interface Runner {
  readonly kind: HelperKind;
  /** `order` gets the run's id, which must also be the value of the MARK variable in the environment. */
  run(order: (id: string) => StartOrder, handlers: RunHandlers): Run;
  /** Kills every process that was ever started with this TVM root in its environment, or that runs as its user. */
  killTvm(root: string, uid: number | undefined): void;
  close(): Promise<void>;
}

interface RunState {
  readonly order: StartOrder;
  readonly handlers: RunHandlers;
  helper: HelperSlot | undefined;
  pid: number;
  startedAtMs: number;
  endWith: number | undefined;
  ending: boolean;
  victims: ProcessInfo[];
  timer: NodeJS.Timeout | undefined;
}

interface HelperSlot {
  helper: Helper | undefined;
  readonly runs: Set<string>;
}

const HELPERS = 2;
const REOPEN_MS = 500;
const STRAYS_MS = 500;
const { SIGTERM, SIGKILL } = os.constants.signals;

export async function openRunner(open: (handlers: HelperHandlers) => Promise<Helper>, log: (message: string) => void): Promise<Runner> {
  const prefix = randomBytes(9).toString("hex");
  const runs = new Map<string, RunState>();
  /** Runs whose background processes may stay. */
  const kept = new Set<string>();
  const slots: HelperSlot[] = Array.from({ length: HELPERS }, () => ({ helper: undefined, runs: new Set() }));
  const queue: string[] = [];
  let serial = 0;
  let turn = 0;
  let closed = false;
  let strays: NodeJS.Timeout | undefined;

  const openSlot = async (slot: HelperSlot): Promise<void> => {
    slot.helper = await open({ onEvents: (events) => events.forEach(handle), onExit: () => lost(slot) });
    for (const id of queue.splice(0)) dispatch(id);
  };

  const dispatch = (id: string): void => {
    const run = runs.get(id);
    if (!run) return;
    const next = slots[turn++ % HELPERS];
    const slot = next?.helper ? next : slots.find((one) => one.helper);
    if (!slot?.helper) return void queue.push(id);
    run.helper = slot;
    slot.runs.add(id);
    slot.helper.start(run.order);
  };

  const handle = (event: HelperEvent): void => {
    const run = runs.get(event.id);
    if (!run) return;
    if (event.kind === "started") {
      run.pid = event.pid;
      run.startedAtMs = event.atMs;
      run.handlers.onStarted(event.atMs);
      if (run.endWith !== undefined) beginEnd(run, run.endWith);
    } else if (event.kind === "failed") {
      conclude(run, { kind: "failed", stage: event.stage, errno: event.errno, atMs: Date.now() });
    } else {
      const exitCode = event.signal > 0 ? 128 + event.signal : event.exitCode;
      const outcome: Outcome = { kind: "ended", startedAtMs: run.startedAtMs, atMs: event.atMs, exitCode, ...(event.usage ? { usage: event.usage } : {}) };
      if (run.ending) sweepThen(run, () => conclude(run, outcome));
      else conclude(run, outcome);
      planStrays();
    }
  };

  const conclude = (run: RunState, outcome: Outcome): void => {
    clearTimeout(run.timer);
    runs.delete(run.order.id);
    run.helper?.runs.delete(run.order.id);
    run.handlers.onOutcome(outcome);
  };

  const beginEnd = (run: RunState, graceMs: number): void => {
    if (run.ending) return;
    run.ending = true;
    // Who descends from it is known best before the first process goes.
    run.victims = descendants(snapshot(), run.pid);
    const kill = (): void => {
      run.victims.push(...descendants(snapshot(), run.pid));
      run.helper?.helper?.signal(run.order.id, SIGKILL);
    };
    if (graceMs <= 0) return kill();
    run.helper?.helper?.signal(run.order.id, SIGTERM);
    run.timer = setTimeout(kill, graceMs);
  };

  /** One look at all processes serves all runs that end in the same turn. */
  const sweeps: { run: RunState; done: () => void }[] = [];
  const sweepThen = (run: RunState, done: () => void): void => {
    if (sweeps.push({ run, done }) > 1) return;
    setImmediate(() => {
      const batch = sweeps.splice(0);
      for (const one of batch) for (const victim of one.run.victims) killProcess(victim);
      const marks = new Set(batch.map((one) => one.run.order.id));
      killOrphans((mark) => mark !== undefined && marks.has(mark));
      for (const one of batch) one.done();
    });
  };

  /** Among processes that lost their parent (they come back to a helper, or to process 1), those whose mark is wanted. */
  const killOrphans = (wanted: (mark: string | undefined, parent: number) => boolean): number => {
    const helpers = new Set(slots.map((slot) => slot.helper?.pid ?? 0));
    return killWhere((one) => {
      if (one.parent !== 1 && !helpers.has(one.parent)) return false;
      return wanted(variableOf(one.pid, MARK), one.parent);
    });
  };

  /** Processes that left their group and outlived their run. Looked for some time after runs ended, not after each. */
  const planStrays = (): void => {
    if (strays || closed) return;
    strays = setTimeout(() => {
      strays = undefined;
      const current = new Set<number>();
      for (const run of runs.values()) current.add(run.pid);
      const all = snapshot();
      const suspects = all.filter((one) => (one.parent === 1 || slots.some((slot) => slot.helper?.pid === one.parent)) && !current.has(one.pid));
      for (const one of suspects) {
        const mark = variableOf(one.pid, MARK);
        // A run that is being started has no pid yet, but its mark is known.
        if (mark?.startsWith(prefix) && !runs.has(mark) && !kept.has(mark)) killProcess(one);
      }
    }, STRAYS_MS);
    strays.unref();
  };

  /** A helper died: its runs died with it or are killed now. */
  const lost = (slot: HelperSlot): void => {
    slot.helper = undefined;
    const ids = new Set(slot.runs);
    slot.runs.clear();
    if (closed) return;
    log("a start helper ended; its tasks end with it");
    killWhere((one) => {
      const mark = variableOf(one.pid, MARK);
      return mark !== undefined && ids.has(mark);
    });
    for (const id of ids) {
      const run = runs.get(id);
      if (run) conclude(run, { kind: "ended", startedAtMs: run.startedAtMs || Date.now(), atMs: Date.now(), exitCode: 128 + SIGKILL });
    }
    reopen(slot);
  };

  const reopen = (slot: HelperSlot, told = false): void => {
    if (closed) return;
    openSlot(slot).catch((error: Error) => {
      if (!told) log(`a start helper does not start: ${error.message}`);
      setTimeout(() => reopen(slot, true), REOPEN_MS);
    });
  };

  await Promise.all(slots.map(openSlot));
  return {
    kind: slots[0]?.helper?.kind ?? "node",
    run(build, handlers) {
      const id = `${prefix}-${++serial}`;
      const run: RunState = { order: build(id), handlers, helper: undefined, pid: 0, startedAtMs: 0, endWith: undefined, ending: false, victims: [], timer: undefined };
      runs.set(id, run);
      if (run.order.keepGroup) kept.add(id);
      dispatch(id);
      return {
        end(graceMs) {
          if (!runs.has(id)) return;
          run.endWith = graceMs;
          if (run.pid !== 0) beginEnd(run, graceMs);
        },
      };
    },
    killTvm(root, uid) {
      killWhere((one) => variableOf(one.pid, ROOT) === root || (uid !== undefined && ownerOf(one.pid) === uid));
    },
    async close() {
      closed = true;
      clearTimeout(strays);
      await Promise.all(slots.map((slot) => slot.helper?.close()));
    },
  };
}

let lastSnapshot: { readonly at: number; readonly all: ProcessInfo[] } | undefined;
/** All processes, at most 20 ms old: many runs may be ended at once. */
function snapshot(): ProcessInfo[] {
  const now = performance.now();
  if (!lastSnapshot || now - lastSnapshot.at > 20) lastSnapshot = { at: now, all: processes() };
  return lastSnapshot.all;
}
