// The queues, topics and subscriptions of the Service Bus stand-in by name, and the faults that a seed decides. Names are found
// as the service finds them: without regard to case, with or without the namespace before them.

import { type Content, type Queue, type QueueOptions, createQueue } from "./serviceBusQueue";
import { notFound } from "./serviceBusProtocol";

/** Shares (0 to 1) of what goes wrong; the same seed and the same traffic make the same faults. */
export interface Faults {
  readonly seed: number;
  /** Completed messages that are handed out once more. */
  readonly repeat?: number;
  /** Sends that are refused as "server busy". */
  readonly busy?: number;
  /** Sends and settlements whose connection breaks after they took effect and before they are answered. */
  readonly drop?: number;
}

export interface EntityOptions {
  readonly queues?: Readonly<Record<string, QueueOptions>>;
  /** Topics with the options of each subscription. */
  readonly topics?: Readonly<Record<string, Readonly<Record<string, QueueOptions>>>>;
  /** Makes a queue that is first named by a client; undefined: there is none of that name. */
  readonly template?: (name: string) => QueueOptions | undefined;
}

export interface Entities {
  find(address: string): Queue | undefined;
  /** There is a queue or topic to send to. */
  takes(address: string): boolean;
  /** The sequence number, or undefined when nobody gets it. Throws a fault. */
  publish(address: string, content: Content): number | undefined;
  all(): Iterable<Queue>;
}

export function createEntities(options: EntityOptions, repeats: () => boolean, onReady: (queue: Queue) => void): Entities {
  const queues = new Map<string, Queue>();
  const topics = new Map<string, readonly Queue[]>();

  function add(name: string, of: QueueOptions): Queue {
    const queue: Queue = createQueue(name, of, () => onReady(queue), repeats);
    queues.set(name.toLowerCase(), queue);
    if (queue.deadLetters) queues.set(queue.deadLetters.name.toLowerCase(), queue.deadLetters);
    return queue;
  }

  for (const [name, of] of Object.entries(options.queues ?? {})) add(name, of);
  for (const [topic, subscriptions] of Object.entries(options.topics ?? {}))
    topics.set(topic.toLowerCase(), Object.entries(subscriptions).map(([name, of]) => add(`${topic}/Subscriptions/${name}`, of)));

  function find(address: string): Queue | undefined {
    const name = nameIn(address);
    const known = queues.get(name.toLowerCase());
    if (known !== undefined || name === "" || topics.has(name.toLowerCase())) return known;
    const of = name.includes("$") ? undefined : options.template?.(name);
    return of === undefined ? undefined : add(name, of);
  }

  return {
    find,
    takes: (address) => topics.has(nameIn(address).toLowerCase()) || find(address) !== undefined,
    publish(address, content) {
      const subscriptions = topics.get(nameIn(address).toLowerCase());
      if (subscriptions) return subscriptions.map((queue) => queue.enqueue(content)).at(-1);
      const queue = find(address);
      if (queue === undefined) throw notFound(address);
      return queue.enqueue(content);
    },
    all: () => new Set([...queues.values()].filter(({ deadLetters }) => deadLetters !== undefined)),
  };
}

const nameIn = (address: string): string => address.replace(/^(sb|amqps?):\/\/[^/]+\//, "");

export interface FaultPlan {
  strikes(kind: "repeat" | "busy" | "drop"): boolean;
  /** From now on; undefined: none. */
  set(faults: Faults | undefined): void;
  count(): number;
}

export function createFaults(first: Faults | undefined): FaultPlan {
  let faults = first;
  let draw = seeded(first?.seed ?? 0);
  let count = 0;
  return {
    strikes(kind) {
      const share = faults?.[kind] ?? 0;
      if (share === 0 || draw() >= share) return false;
      count++;
      return true;
    },
    set(next) {
      faults = next;
      draw = seeded(next?.seed ?? 0);
    },
    count: () => count,
  };
}

/** Mulberry32: numbers from 0 to 1 that depend on the seed alone. */
function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
