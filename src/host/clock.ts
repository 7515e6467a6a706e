// The host's time: pumps, timers and the task hub ask this and nothing else, so that tests run days in milliseconds.

import { randomUUID } from "node:crypto";

export interface HostClock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Runs once after so many milliseconds (any number of them); returns the way to stop it. */
  after(milliseconds: number, run: () => void): () => void;
  /** A fresh id for invocations and orchestration generations. */
  uuid(): string;
}

// setTimeout counts in 32 bits and fires at once beyond that.
const longestTimeoutMs = 2 ** 31 - 1;

export const systemClock: HostClock = {
  now: () => Date.now(),
  after(milliseconds, run) {
    let timer: NodeJS.Timeout;
    const arm = (left: number): void => {
      timer = setTimeout(() => (left > longestTimeoutMs ? arm(left - longestTimeoutMs) : run()), Math.min(Math.max(left, 0), longestTimeoutMs));
    };
    arm(milliseconds);
    return () => clearTimeout(timer);
  },
  uuid: () => randomUUID(),
};

/** Resolves when the event loop has had a turn: between batches, so that HTTP stays responsive. */
export const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
