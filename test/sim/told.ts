// How checkers read a history: each event with the state before it, and a few questions that several of them ask.
import { deciderFor } from "../../src/app/fold";
import type { DomainEvent } from "../../src/domain/decider";
import { accountOf, categoryOf, keyOf, parentOf, tvmKey } from "../../src/domain/ids";
import type { Task } from "../../src/domain/task";
import type { Tvm } from "../../src/domain/tvm";
import type { Commit } from "../../src/ports";
import type { Asked, History, Stored } from "./history";

export type Checker = (history: History) => string[];

/** Each event with the state before it, in the order in which everything was stored. */
export interface Told<State, Event> {
  readonly stream: string;
  readonly key: string;
  readonly stored: Stored;
  readonly index: number;
  readonly before: State;
  readonly event: Event;
}

export type AnyTold = Told<unknown, DomainEvent & Record<string, unknown>>;

const toldOf = (history: History): AnyTold[] => {
  const states = new Map<string, unknown>();
  const closing = new Set<string>();
  return history.stored.flatMap((stored, index) => {
    const { stream, events } = stored.commit;
    if (events.some(({ type }) => type === "JobDeletionStarted")) closing.add(keyOf(stream));
    if (beginsAnew(stored.commit, closing)) states.delete(stream);
    const decider = deciderFor(categoryOf(stream));
    return events.map((event): AnyTold => {
      const before = states.has(stream) ? states.get(stream) : decider.initial;
      states.set(stream, decider.evolve(before, event as DomainEvent));
      return { stream, key: keyOf(stream), stored, index, before, event: event as DomainEvent & Record<string, unknown> };
    });
  });
};

/** A request that was under way when its job was deleted may add its task after that was forgotten: it will be forgotten too. */
export const beginsAnew = ({ stream, version }: Commit, closing: ReadonlySet<string>): boolean => version === 1 && categoryOf(stream) === "task" && closing.has(parentOf(keyOf(stream)));

export type TaskTold = Told<Task, Record<string, unknown> & { type: string; attempt?: number; tvm?: string; pool?: string; reason?: string; exitCode?: number; error?: { message?: string } }>;

const memory = new WeakMap<History, AnyTold[]>();
export const told = (history: History): AnyTold[] => {
  const known = memory.get(history) ?? toldOf(history);
  memory.set(history, known);
  return known;
};

export const ofTasks = (history: History): TaskTold[] => told(history).filter(({ stream }) => categoryOf(stream) === "task") as unknown as TaskTold[];
export const ofTvms = (history: History) => told(history).filter(({ stream }) => categoryOf(stream) === "tvm") as unknown as Told<Tvm, DomainEvent & { option?: never }>[];

export const holds = (state: Task): boolean => state.phase === "assigned" || state.phase === "running";
export const tvmOf = (state: Task): string => tvmKey(accountOf(state.job), state.pool ?? "", state.tvm ?? "");

/** `task-sim.render.*.job-0000000001.t1` names the stream in whatever generation of its work item. */
export const isNamed = (pattern: string, stream: string): boolean => {
  const [head, tail] = pattern.split("*") as [string, string | undefined];
  return tail === undefined ? stream === pattern : stream.startsWith(head) && stream.endsWith(tail) && /^\d+$/.test(stream.slice(head.length, stream.length - tail.length));
};
export const generationless = (stream: string): string => stream.replace(/^((?:task|job)-[^.]+\.[^.]+)\.\d+\./, "$1.*.");

export const countBy = (list: readonly string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const one of list) counts.set(one, (counts.get(one) ?? 0) + 1);
  return counts;
};

export const succeeded = ({ status }: Asked): boolean => status !== undefined && status >= 200 && status < 300;

/** When the last thing happened that a history tells of. */
export const endOf = (history: History): number => Math.max(history.stored.at(-1)?.atMs ?? 0, history.asked.at(-1)?.atMs ?? 0);

/** What a stream's state was at some moment between these two: at the first, and after each change up to the second. */
export const statesDuring = <State>(list: readonly Told<unknown, DomainEvent>[], fromMs: number, toMs: number): State[] => {
  const states: State[] = [];
  for (const { stream, stored, before, event } of list) {
    if (stored.atMs > toMs) break;
    if (stored.atMs < fromMs) states.length = 0;
    else if (states.length === 0) states.push(before as State);
    states.push(deciderFor(categoryOf(stream)).evolve(before, event) as State);
  }
  return states;
};
