// Hints between requests of this process, in memory. A hint may come without reason and is never waited for longer than
// asked; it carries no data. Nothing here is a promise: whoever waits looks again after the time is over.
//
// How to miss nothing, with any number of waiters:  const woken = signals.wait(topic, ms, abort);  look;  then  await woken.
// The wait begins with the call, and a notification wakes all that have begun. Looking first and waiting then is safe too for
// a topic with one waiter (as a TVM's): a notification that found nobody waiting answers the topic's next wait at once.

import type { Clock, Signals } from "../ports";

interface Waiter {
  readonly deadline: number;
  readonly settle: (woken: boolean) => void;
}

/** Topics that were notified while nobody waited, as far as they are remembered: the oldest is forgotten first. */
const rememberedMax = 10_000;

/** `notify` says whether somebody here has waited for it. */
export function localSignals(clock: Clock): Omit<Signals, "notify"> & { notify(topic: string): boolean; close(): void } {
  let closed = false;
  const waiting = new Map<string, Set<Waiter>>();
  const remembered = new Set<string>();
  // One sleep serves all: it ends when the earliest deadline is due.
  let planned = Infinity;
  const stopped = new AbortController();

  function plan(deadline: number, now: number): void {
    if (deadline >= planned) return;
    planned = deadline;
    void clock.sleep(Math.max(deadline - now, 0), stopped.signal).then(() => {
      if (planned === deadline) planned = Infinity;
      expire(clock.steady());
    });
  }

  function expire(now: number): void {
    let next = Infinity;
    for (const waiters of waiting.values()) {
      for (const waiter of waiters) {
        if (waiter.deadline <= now) waiter.settle(false);
        else next = Math.min(next, waiter.deadline);
      }
    }
    if (next < Infinity) plan(next, now);
  }

  function begin(topic: string, deadline: number, abort: AbortSignal | undefined, resolve: (woken: boolean) => void): void {
    const waiters = waiting.get(topic) ?? new Set();
    waiting.set(topic, waiters);
    const stop = () => waiter.settle(false);
    const waiter: Waiter = {
      deadline,
      settle(woken) {
        waiters.delete(waiter);
        if (waiters.size === 0 && waiting.get(topic) === waiters) waiting.delete(topic);
        abort?.removeEventListener("abort", stop);
        resolve(woken);
      },
    };
    waiters.add(waiter);
    abort?.addEventListener("abort", stop);
  }

  return {
    notify(topic) {
      const waiters = waiting.get(topic);
      if (waiters !== undefined) {
        for (const waiter of waiters) waiter.settle(true);
        return true;
      }
      remembered.delete(topic);
      remembered.add(topic);
      if (remembered.size > rememberedMax) remembered.delete(remembered.values().next().value!);
      return false;
    },

    wait(topic, milliseconds, abort) {
      return new Promise((resolve) => {
        if (closed || abort?.aborted) return resolve(false);
        if (remembered.delete(topic)) return resolve(true);
        const now = clock.steady();
        begin(topic, now + milliseconds, abort, resolve);
        plan(now + milliseconds, now);
      });
    },

    closed: () => closed,

    /** The process is about to stop: nobody waits any more. */
    close() {
      closed = true;
      stopped.abort();
      for (const waiters of waiting.values()) for (const waiter of waiters) waiter.settle(false);
    },
  };
}
