// Hands the event store's commits to Cosmos DB (change feed) functions, in order, one batch of each function at a time.
// A batch that fails is tried again for ever with growing pauses, so that none is dropped; the position is kept after
// success only, so a batch may come twice. Every such function reads the one feed there is, whatever container it names.

import type { Commit, EventStore, FeedSource } from "../ports";
import { byReference, functionsOf, log } from "./functionsCore";
import type { RegisteredFunction } from "./functionsCore";
import { nextTurn } from "./clock";
import type { HostClock } from "./clock";
import type { Invoker, RetryContext } from "./invoke";
import { messageOf, retryContextOf } from "./retry";
import type { HostStore } from "./store";
import { stopAll } from "./timerPump";
import type { Pump } from "./timerPump";

export type Feed = Pick<EventStore, "readFeed"> & FeedSource;

/** Makes the pump for all change feed functions. */
export function createFeedPump(invoker: Invoker, clock: HostClock, store: HostStore, feed: Feed): Pump {
  const readers = functionsOf("cosmosdbtrigger").map((fn) => reader(fn, invoker, clock, store, feed));
  return {
    start: () => readers.forEach((each) => each.start()),
    stop: () => stopAll(readers),
  };
}

const itemsMaxDefault = 100;
const firstPauseMs = 100;
const longestPauseMs = 30_000;
const skipLimit = 1_000;

function reader(fn: RegisteredFunction, invoker: Invoker, clock: HostClock, store: HostStore, feed: Feed): Pump {
  const options = fn.trigger as { maxItemsPerInvocation?: number; startFromBeginning?: boolean };
  const { maxItemsPerInvocation: itemsMax = itemsMaxDefault, startFromBeginning = false } = options;
  const key = `feed:${fn.name}`;
  let position: string | undefined;
  let reading = false;
  let again = false;
  let stopped = false;
  let failures = 0;
  let lastFailure: unknown;
  let unsubscribe = (): void => {};
  let endPause: (() => void) | undefined;
  let running = Promise.resolve();

  function kick(): void {
    again = true;
    if (!reading && !stopped) running = readAll();
  }

  async function readAll(): Promise<void> {
    reading = true;
    while (again && !stopped) {
      again = false;
      await nextTurn();
      try {
        if (await readOne()) again = true;
        failures = 0;
      } catch (error) {
        again = true;
        await backOff(error);
      }
    }
    reading = false;
  }

  /** Reads and hands over one batch; false when there was nothing. */
  async function readOne(): Promise<boolean> {
    const { commits, position: next } = await feed.readFeed(position, itemsMax);
    if (commits.length === 0) return false;
    if (stopped) return false;
    await invoker.invoke(fn, { data: byReference(commits satisfies Commit[]), triggerMetadata: {}, ...retryContext() });
    position = next;
    store.write(key, next);
    return true;
  }

  function retryContext(): { retryContext?: RetryContext } {
    return failures === 0 ? {} : { retryContext: retryContextOf(lastFailure, failures, -1) };
  }

  async function backOff(error: unknown): Promise<void> {
    const pauseMs = Math.min(firstPauseMs * 2 ** Math.min(failures, 20), longestPauseMs);
    failures++;
    lastFailure = error;
    const details = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
    log("error", "user", `Batch failed ${failures} time(s), again in ${pauseMs} ms: ${details}`, fn.name);
    await new Promise<void>((resolve) => {
      const cancel = clock.after(pauseMs, resolve);
      endPause = () => {
        cancel();
        resolve();
      };
    });
    endPause = undefined;
  }

  /** Without a kept position, and unless the function starts from the beginning: past everything there is now. */
  async function begin(): Promise<void> {
    position = store.read(key);
    while (position === undefined && !startFromBeginning && !stopped) {
      let end: string | undefined;
      for (;;) {
        const read: { commits: Commit[]; position: string } = await feed.readFeed(end, skipLimit);
        end = read.position;
        if (read.commits.length < skipLimit) break;
      }
      store.write(key, end);
      position = end;
    }
    unsubscribe = feed.onAppend(kick);
    if (stopped) unsubscribe();
    else kick();
  }

  return {
    start: () => void begin().catch((error: unknown) => log("error", "system", `Reading the feed: ${messageOf(error)}`, fn.name)),
    stop() {
      stopped = true;
      unsubscribe();
      endPause?.();
      return running;
    },
  };
}
