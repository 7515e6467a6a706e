// Hands the event store's commits to Cosmos DB (change feed) functions, in order, one batch of each function at a time.
// A batch that fails is tried again for ever with growing pauses, so that none is dropped; the position is kept after
// success only, so a batch may come twice. Every such function reads the one feed there is, whatever container it names. A feed that
// has ranges is read range by range, each by the host that holds its lease.

import type { Commit, EventStore, FeedSource } from "../ports";
import { byReference, functionsOf, log } from "./functionsCore";
import type { RegisteredFunction } from "./functionsCore";
import { nextTurn } from "./clock";
import type { HostClock } from "./clock";
import type { Invoker, RetryContext } from "./invoke";
import { messageOf, retryContextOf } from "./retry";
import type { Leases } from "./leases";
import type { HostStore } from "./store";
import { stopAll } from "./timerPump";
import type { Pump } from "./timerPump";

export interface Feed extends FeedSource {
  /** Of one range, or of all there is. */
  readFeed(position: string | undefined, limit: number, range?: string): ReturnType<EventStore["readFeed"]>;
  /** Parts that can be read side by side; a stream is within one of them. Absent: it cannot be parted. */
  readonly ranges?: readonly string[];
}

/** Makes the pump for all change feed functions. */
export function createFeedPump(invoker: Invoker, clock: HostClock, store: HostStore, feed: Feed, leases: Leases): Pump {
  const parts = feed.ranges ?? [undefined];
  for (const { name } of functionsOf("cosmosdbtrigger")) leases.offer(`feed:${name}`, parts.map((range) => keyOf(name, range)));
  const readers = functionsOf("cosmosdbtrigger").flatMap((fn) => parts.map((range) => reader({ fn, range, invoker, clock, store, feed, leases })));
  return {
    start: () => readers.forEach((each) => each.start()),
    stop: () => stopAll(readers),
  };
}

const itemsMaxDefault = 100;
const firstPauseMs = 100;
const longestPauseMs = 30_000;
const skipLimit = 1_000;

const keyOf = (name: string, range: string | undefined): string => `feed:${name}${range === undefined ? "" : `:${range}`}`;

interface ReaderOptions {
  readonly fn: RegisteredFunction;
  readonly range: string | undefined;
  readonly invoker: Invoker;
  readonly clock: HostClock;
  readonly store: HostStore;
  readonly feed: Feed;
  readonly leases: Leases;
}

function reader({ fn, range, invoker, clock, store, feed, leases }: ReaderOptions): Pump {
  const options = fn.trigger as { maxItemsPerInvocation?: number; startFromBeginning?: boolean };
  const { maxItemsPerInvocation: itemsMax = itemsMaxDefault, startFromBeginning = false } = options;
  const key = keyOf(fn.name, range);
  const read = (from: string | undefined, limit: number) => (range === undefined ? feed.readFeed(from, limit) : feed.readFeed(from, limit, range));
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
    if (!reading && !stopped && leases.holds(key)) running = readAll();
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
    if (!leases.holds(key)) return false;
    // Another host may have read on from where this one was.
    if (store.shared) position = store.read(key);
    const { commits, position: next } = await read(position, itemsMax);
    if (commits.length === 0) return false;
    if (stopped) return false;
    await invoker.invoke(fn, { data: byReference(commits satisfies Commit[]), triggerMetadata: {}, ...retryContext() });
    position = next;
    if (leases.stillHolds(key)) store.write(key, next);
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
        const page: { commits: Commit[]; position: string } = await read(end, skipLimit);
        end = page.position;
        if (page.commits.length < skipLimit) break;
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
