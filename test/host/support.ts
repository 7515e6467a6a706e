// Stand-ins that the host's tests share: a bus and a feed in memory, a clock that only moves when told, a log that keeps.

import http from "node:http";
import type { HostClock } from "../../src/host/clock";
import type { Commit, FeedSource, EventStore, Log, Message, QueueSource, ReceivedMessage } from "../../src/ports";

/** Looks again after every turn of the event loop until the value is truthy; fails after the time. */
export async function until<T>(look: () => T | Promise<T>, milliseconds = 60_000): Promise<NonNullable<T>> {
  const deadline = Date.now() + milliseconds;
  for (;;) {
    const value = await look();
    if (value) return value as NonNullable<T>;
    if (Date.now() > deadline) throw new Error(`Not within ${milliseconds} ms: ${look.toString()}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

export interface KeptLog extends Log {
  readonly errors: string[];
}

export function keptLog(): KeptLog {
  const errors: string[] = [];
  return { errors, debug: () => {}, info: () => {}, warn: () => {}, error: (message) => void errors.push(message) };
}

export interface VirtualClock extends HostClock {
  /** Moves on, firing what falls due in order, with turns of the event loop between. */
  advance(milliseconds: number): Promise<void>;
  readonly pending: number;
}

export function virtualClock(start: string): VirtualClock {
  let now = Date.parse(start);
  let ids = 0;
  const timers = new Set<{ at: number; run: () => void }>();
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  };
  return {
    now: () => now,
    after(milliseconds, run) {
      const timer = { at: now + Math.max(0, milliseconds), run };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    uuid: () => `00000000-0000-4000-8000-${String(++ids).padStart(12, "0")}`,
    async advance(milliseconds) {
      const end = now + milliseconds;
      for (;;) {
        await settle();
        const next = [...timers].filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        timers.delete(next);
        now = Math.max(now, next.at);
        next.run();
      }
      now = end;
      await settle();
    },
    get pending() {
      return timers.size;
    },
  };
}

export interface MemoryQueues extends QueueSource {
  send(queue: string, ...messages: Message[]): void;
  waiting(queue: string): number;
}

interface Held {
  message: ReceivedMessage;
  locked: boolean;
}

/** A bus that keeps order and lanes, and moves a message to the dead letters at its `deliveriesMax`th failure. */
export function memoryQueues(deliveriesMax = 10): MemoryQueues {
  const queues = new Map<string, Held[]>();
  const dead = new Map<string, { message: ReceivedMessage; reason: string }[]>();
  const listeners = new Map<string, Set<() => void>>();
  let sequence = 0;
  const of = (queue: string): Held[] => queues.get(queue) ?? queues.set(queue, []).get(queue)!;
  const remove = (queue: string, messages: readonly ReceivedMessage[]): void => {
    const gone = new Set(messages.map((message) => message.messageId));
    queues.set(queue, of(queue).filter((held) => !gone.has(held.message.messageId)));
  };
  const notify = (queue: string): void => listeners.get(queue)?.forEach((listener) => listener());
  return {
    send(queue, ...messages) {
      for (const message of messages) {
        sequence++;
        of(queue).push({ locked: false, message: { ...message, messageId: `m${sequence}`, sequence, deliveryCount: 0, enqueuedAt: new Date(0).toISOString() } });
      }
      notify(queue);
    },
    waiting: (queue) => of(queue).length,
    async receive(queue, { max, byLane }) {
      const lockedLanes = new Set(of(queue).filter((held) => held.locked).map((held) => held.message.lane));
      const free = of(queue).filter((held) => !held.locked && !(byLane && lockedLanes.has(held.message.lane)));
      const lane = free[0]?.message.lane;
      return free
        .filter((held) => !byLane || held.message.lane === lane)
        .slice(0, max)
        .map((held) => {
          held.locked = true;
          held.message = { ...held.message, deliveryCount: held.message.deliveryCount + 1 };
          return held.message;
        });
    },
    async complete(queue, messages) {
      remove(queue, messages);
      notify(queue);
    },
    async abandon(queue, messages, reason) {
      const ids = new Set(messages.map((message) => message.messageId));
      for (const held of of(queue).filter((each) => ids.has(each.message.messageId))) {
        held.locked = false;
        if (held.message.deliveryCount < deliveriesMax) continue;
        remove(queue, [held.message]);
        dead.set(queue, [...(dead.get(queue) ?? []), { message: held.message, reason }]);
      }
      notify(queue);
    },
    async deadLetter(queue, messages, reason) {
      remove(queue, messages);
      dead.set(queue, [...(dead.get(queue) ?? []), ...messages.map((message) => ({ message, reason }))]);
    },
    deadLetters: async (queue, limit) => (dead.get(queue) ?? []).slice(0, limit),
    onArrival(queue, listener) {
      const set = listeners.get(queue) ?? listeners.set(queue, new Set()).get(queue)!;
      set.add(listener);
      return () => void set.delete(listener);
    },
  };
}

export interface MemoryFeed extends Pick<EventStore, "readFeed">, FeedSource {
  push(count: number): void;
  readonly reads: { position: string | undefined; limit: number }[];
}

export function memoryFeed(): MemoryFeed {
  const commits: Commit[] = [];
  const listeners = new Set<() => void>();
  const reads: { position: string | undefined; limit: number }[] = [];
  return {
    reads,
    push(count) {
      for (let n = 0; n < count; n++) {
        const version = commits.length + 1;
        commits.push({ stream: "task-1", partition: "p", version, id: `c${version}`, events: [{ type: "Happened", at: "2026-01-01T00:00:00Z" }], by: "test" });
      }
      listeners.forEach((listener) => listener());
    },
    async readFeed(position, limit) {
      reads.push({ position, limit });
      const from = Number(position ?? 0);
      const found = commits.slice(from, from + limit);
      return { commits: found, position: String(from + found.length) };
    },
    onAppend(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}

/** A request with full control over headers, path and body. */
export function send(port: number, path: string, options: { method?: string; headers?: http.OutgoingHttpHeaders; body?: string | Buffer } = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port, path, method: options.method ?? "GET", agent: false, headers: { host: `localhost:${port}`, ...options.headers } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(chunks).toString("utf8") }));
    });
    request.on("error", reject);
    request.end(options.body);
  });
}
