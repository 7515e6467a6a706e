// Virtual time: everything that happens in a simulation is an event here, and one event runs at a time, with all that it sets
// going, before the next begins. Events of one instant run in the order in which they were planned. No real clock is read.
import type { Clock } from "../../src/ports";

export interface Timeline {
  now(): number;
  /** Runs `event` after so many milliseconds of virtual time; answers the way to call it off. */
  after(milliseconds: number, event: () => void | Promise<void>): () => void;
  /** The next event and all that follows from it until everybody waits again; false when none is planned. */
  step(): Promise<boolean>;
}

interface Planned {
  readonly at: number;
  readonly order: number;
  run: (() => void | Promise<void>) | undefined;
}

export const startsAt = Date.UTC(2015, 3, 1, 12);

/** Promises of code that only waits for events have all moved on when the event loop turns. */
const everybodyWaits = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

export const createTimeline = (): Timeline => {
  const heap: Planned[] = [];
  let now = startsAt;
  let order = 0;
  return {
    now: () => now,
    after(milliseconds, event) {
      const planned: Planned = { at: now + Math.max(0, Math.round(milliseconds)), order: order++, run: event };
      push(heap, planned);
      return () => void (planned.run = undefined);
    },
    async step() {
      for (;;) {
        const next = pop(heap);
        if (!next) return false;
        if (!next.run) continue;
        now = next.at;
        await next.run();
        await everybodyWaits();
        return true;
      }
    },
  };
};

const before = (a: Planned, b: Planned): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

const push = (heap: Planned[], one: Planned): void => {
  let at = heap.push(one) - 1;
  for (let up = (at - 1) >> 1; at > 0 && before(one, heap[up] as Planned); up = (at - 1) >> 1) {
    heap[at] = heap[up] as Planned;
    at = up;
  }
  heap[at] = one;
};

const pop = (heap: Planned[]): Planned | undefined => {
  const top = heap[0];
  const last = heap.pop();
  if (!top || !last || heap.length === 0) return top;
  let at = 0;
  for (;;) {
    let down = 2 * at + 1;
    if (down >= heap.length) break;
    if (down + 1 < heap.length && before(heap[down + 1] as Planned, heap[down] as Planned)) down++;
    if (!before(heap[down] as Planned, last)) break;
    heap[at] = heap[down] as Planned;
    at = down;
  }
  heap[at] = last;
  return top;
};

/** A clock on the timeline, `skewMs` ahead of it. Nobody is woken who is not `alive` any more. */
export const clockOn = (timeline: Timeline, skewMs: number, alive: () => boolean): Clock => ({
  now: () => new Date(timeline.now() + skewMs),
  steady: () => timeline.now(),
  sleep: (milliseconds, abort) =>
    new Promise((resolve) => {
      if (abort?.aborted) return resolve();
      const cancel = timeline.after(Math.min(milliseconds, 2 ** 31), () => {
        if (alive()) resolve();
      });
      abort?.addEventListener("abort", () => {
        cancel();
        resolve();
      });
    }),
});
