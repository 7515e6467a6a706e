// The one way to change anything: load, fold, decide, append, project; on a conflict load again and decide again. Takes many
// commands at once, so that what happens together is written together. Never retries a refusal.
import type { Aggregates } from "../domain/aggregates";
import { type DomainEvent, type Rejection, isRejection } from "../domain/decider";
import { type Category, partitionOf } from "../domain/ids";
import type { Commit, EventStore, Ports, StoredEvent } from "../ports";
import { deciderFor, foldCommits } from "./fold";
import { projectDecided } from "./project";

/** An aggregate as it was read; version 0: there is no such stream. */
export interface Loaded<State> {
  readonly stream: string;
  readonly version: number;
  readonly state: State;
}

export type Done<C extends Category> = Loaded<Aggregates[C]["state"]> & { readonly events: readonly Aggregates[C]["event"][] };
export type Outcome<C extends Category> = Done<C> | Rejection;

export interface Order<C extends Category> {
  readonly stream: string;
  readonly command: Aggregates[C]["command"];
  /** The caller expects that the stream does not exist: no read before the first try. */
  readonly fresh?: boolean;
  /** If-Match and its relatives: refuses on the very state that the decision is made on. */
  readonly condition?: ((loaded: Loaded<Aggregates[C]["state"]>) => Rejection | undefined) | undefined;
}

/** Tries before the caller is told that others keep being faster: writers of one stream are few. */
const TRIES = 12;

/** Others keep changing the same thing: nothing was done for the orders that are left, and a later try will do. */
export class Busy extends Error {}
/** Commits of a stream between two snapshots. */
const SNAPSHOT_EVERY = 64;

export const loadAll = async <C extends Category>(
  ports: Pick<Ports, "eventStore">,
  category: C,
  streams: readonly string[],
): Promise<Loaded<Aggregates[C]["state"]>[]> => {
  const commits = await ports.eventStore.load(streams);
  return streams.map((stream, index) => {
    const { state, version } = foldCommits(category, commits[index] ?? []);
    return { stream, version, state: state as Aggregates[C]["state"] };
  });
};

export const load = async <C extends Category>(
  ports: Pick<Ports, "eventStore">,
  category: C,
  stream: string,
): Promise<Loaded<Aggregates[C]["state"]>> => {
  const [loaded] = await loadAll(ports, category, [stream]);
  return loaded as Loaded<Aggregates[C]["state"]>;
};

export const execute = async <C extends Category>(
  ports: Ports,
  category: C,
  by: string,
  order: Order<C>,
): Promise<Outcome<C>> => {
  const [outcome] = await executeAll(ports, category, by, [order]);
  return outcome as Outcome<C>;
};

/** An answer per order, in order. Orders of one stream must not be in one call (the later would conflict with the earlier). */
export const executeAll = async <C extends Category>(
  ports: Ports,
  category: C,
  by: string,
  orders: readonly Order<C>[],
): Promise<Outcome<C>[]> => {
  const outcomes: (Outcome<C> | undefined)[] = orders.map(() => undefined);
  let open = orders.map((_, index) => index);
  for (let attempt = 1; open.length > 0; attempt++) {
    if (attempt > TRIES) throw new Busy(`${open.length} commands on ${category} streams met a conflict ${TRIES} times`);
    open = await round(ports, category, by, orders, open, outcomes, attempt);
  }
  return outcomes as Outcome<C>[];
};

/** One try for the orders that are still open; answers those that met a conflict. */
const round = async <C extends Category>(
  ports: Ports,
  category: C,
  by: string,
  orders: readonly Order<C>[],
  open: readonly number[],
  outcomes: (Outcome<C> | undefined)[],
  attempt: number,
): Promise<number[]> => {
  const loaded = await statesFor(ports, category, orders, open, attempt);
  const commits: Commit[] = [];
  const decided: Decided[] = [];
  const again: number[] = [];
  open.forEach((index, position) => {
    const order = orders[index] as Order<C>;
    const { from, guessed } = loaded[position] as { from: Loaded<Aggregates[C]["state"]>; guessed: boolean };
    const answer = order.condition?.(from) ?? deciderFor(category).decide(order.command, from.state);
    // A refusal or "nothing to do" must not come from a remembered state that may be old: look at the stream first.
    if (guessed && (isRejection(answer) || answer.length === 0)) {
      forget(ports.eventStore, order.stream);
      again.push(index);
    } else if (isRejection(answer)) outcomes[index] = answer;
    else if (answer.length === 0) outcomes[index] = { ...from, events: [] } as unknown as Done<C>;
    else {
      const next = step(category, ports, by, order.stream, from, answer);
      commits.push(next.commit);
      decided.push({ index, stream: order.stream, before: from, after: next.state, version: next.commit.version, events: answer });
    }
  });
  if (commits.length === 0) return again;
  const results = await ports.eventStore.append(commits);
  const written: Decided[] = [];
  decided.forEach((one, position) => {
    if (results[position] === "ok") written.push(one);
    else {
      forget(ports.eventStore, one.stream);
      again.push(one.index);
    }
  });
  await settle(ports, category, written, outcomes);
  return again;
};

interface Decided {
  readonly index: number;
  readonly stream: string;
  readonly before: Loaded<unknown>;
  readonly after: unknown;
  readonly version: number;
  readonly events: readonly DomainEvent[];
}

const step = (
  category: Category,
  ports: Ports,
  by: string,
  stream: string,
  from: Loaded<unknown>,
  events: readonly DomainEvent[],
): { commit: Commit; state: unknown } => {
  const decider = deciderFor(category);
  let state = from.state;
  for (const event of events) state = decider.evolve(state, event);
  const version = from.version + 1;
  const commit: Commit = {
    stream,
    partition: partitionOf(stream),
    version,
    id: ports.random.id(9),
    events: events as readonly StoredEvent[],
    by,
    ...(version % SNAPSHOT_EVERY === 0 ? { snapshot: state } : {}),
  };
  return { commit, state };
};

/** What is written is shown at once: the feed repeats it, and finds it done. */
const settle = async <C extends Category>(
  ports: Ports,
  category: C,
  written: readonly Decided[],
  outcomes: (Outcome<C> | undefined)[],
): Promise<void> => {
  await projectDecided(ports, category, written);
  for (const { index, stream, after, version, events } of written) {
    remember(ports.eventStore, category, { stream, version, state: after });
    outcomes[index] = { stream, version, state: after, events } as unknown as Done<C>;
  }
};

const statesFor = async <C extends Category>(
  ports: Ports,
  category: C,
  orders: readonly Order<C>[],
  open: readonly number[],
  attempt: number,
): Promise<{ from: Loaded<Aggregates[C]["state"]>; guessed: boolean }[]> => {
  const initial = deciderFor(category).initial as Aggregates[C]["state"];
  const guesses = open.map((index) => {
    const { stream, fresh } = orders[index] as Order<C>;
    if (fresh && attempt === 1) return { stream, version: 0, state: initial };
    return recall(ports.eventStore, stream) as Loaded<Aggregates[C]["state"]> | undefined;
  });
  const unknown = open.filter((_, position) => guesses[position] === undefined).map((index) => (orders[index] as Order<C>).stream);
  const read = unknown.length > 0 ? await loadAll(ports, category, unknown) : [];
  let next = 0;
  return guesses.map((guess) => (guess ? { from: guess, guessed: true } : { from: read[next++] as Loaded<Aggregates[C]["state"]>, guessed: false }));
};

// Tasks that are under way are decided on three times within moments: their states are remembered, a few thousand at most.
// A remembered state can be old (another process wrote); the version check of `append` and the second look above catch that.
const REMEMBER_MAX = 20_000;
const remembered = new WeakMap<EventStore, Map<string, Loaded<unknown>>>();

const remember = (store: EventStore, category: Category, loaded: Loaded<unknown>): void => {
  if (category !== "task") return;
  const phase = (loaded.state as Aggregates["task"]["state"]).phase;
  if (phase !== "assigned" && phase !== "running") return forget(store, loaded.stream);
  let map = remembered.get(store);
  if (!map) remembered.set(store, (map = new Map()));
  if (map.size >= REMEMBER_MAX) map.clear();
  map.set(loaded.stream, loaded);
};
const recall = (store: EventStore, stream: string): Loaded<unknown> | undefined => remembered.get(store)?.get(stream);
const forget = (store: EventStore, stream: string): void => {
  remembered.get(store)?.delete(stream);
};

