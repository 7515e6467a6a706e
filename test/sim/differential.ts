// The differential: one seed on SQLite's stores and once more on Azure's. Every answer that the stores give is written down in the order
// of the calls; the first that differs is told, and so is whatever differs in the end. It knows no rule of the service.
import type { Commit, EventStore, Views } from "../../src/ports";
import { azureStoresInOrder } from "./azureStores";
import { check } from "./checkers";
import type { History } from "./history";
import { type Played, type PlayOptions, play } from "./play";
import { type WorldStores, sqliteStores } from "./world";

export interface Compared {
  readonly hash: string;
  /** Calls of ports by the service's processes, and of the stores by everybody, on each side. */
  readonly calls: number;
  readonly answers: number;
  /** What differs, in words; empty: nothing. */
  readonly lines: readonly string[];
}

type Open = NonNullable<PlayOptions["stores"]>;

/** Plays a seed on both; all that differs, and what the checkers found on Azure's side. */
export const playBoth = async (options: PlayOptions, azure: Open = azureStoresInOrder): Promise<Compared> => {
  const [here, there]: [string[], string[]] = [[], []];
  const sqlite = await play({ ...options, stores: async (clock) => heard(sqliteStores(clock), here) });
  const other = await play({ ...options, stores: async (clock) => heard(await azure(clock), there) });
  const lines = [
    ...firstDifference(here, there),
    ...differencesOf(sqlite, other),
    ...check(other.history).map(({ checker, what }) => `${checker} on Azure's parts: ${what}`),
  ];
  return { hash: other.hash, calls: other.calls, answers: there.length, lines };
};

// ---------------------------------------------------------------- every answer

/** The stores, with each call and its answer added to `lines` as text. */
const heard = (stores: WorldStores, lines: string[]): WorldStores => ({
  ...stores,
  eventStore: listening("eventStore", stores.eventStore, ["append", "load", "history", "readFeed", "forget"], lines) as EventStore,
  views: listening("views", stores.views, ["get", "write", "query", "keys", "counters", "forget", "clear"], lines) as Views,
});

const listening = (port: string, target: object, methods: readonly string[], lines: string[]): object => {
  const calls = target as Record<string, (...args: unknown[]) => Promise<unknown>>;
  const listened = methods.map((method) => [method, async (...args: unknown[]) => {
    const at = lines.push(`${port}.${method}(${args.slice(method === "readFeed" ? 1 : 0).map(textOf).join(", ")})`) - 1;
    try {
      const answer = await (calls[method] as (typeof calls)[string])(...args);
      lines[at] += ` = ${textOf(promised(method, answer))}`;
      return answer;
    } catch (error) {
      lines[at] += ` threw ${(error as Error).message}`;
      throw error;
    }
  }]);
  return { ...target, ...Object.fromEntries(listened) as object };
};

/** A layout goes by its name: it is functions. */
const textOf = (value: unknown): string =>
  withoutCount(JSON.stringify(value, (_name, inner: unknown) => ((inner as { indexes?: object } | null)?.indexes ? (inner as { name: string }).name : inner)) ?? "nothing");

/** A task's place in its queue is a time (base 36, these decades) and a count of the whole process, which has played other worlds before. */
const withoutCount = (text: string): string => text.replace(/(?<![0-9a-z])(0i[0-9a-z]{7})[0-9a-z]{5}(?![0-9a-z])/g, "$1");

/** Positions of the feed are opaque; counters come in any order, and one that is back at zero may be kept or not. */
const promised = (method: string, answer: unknown): unknown => {
  if (method === "readFeed") return (answer as { commits: readonly Commit[] }).commits;
  if (method === "counters") return Object.entries(answer as Record<string, number>).filter(([, value]) => value !== 0).sort(([a], [b]) => (a < b ? -1 : 1));
  return answer;
};

const firstDifference = (here: readonly string[], there: readonly string[]): string[] => {
  const at = here.findIndex((line, index) => line !== there[index]);
  if (at < 0) return here.length === there.length ? [] : [`${here.length} calls on SQLite, ${there.length} on Azure's parts`];
  return [`call ${at + 1} of the stores, ${(here[at] as string).slice(0, SHOWN)}: ${besides(here[at], there[at])}`];
};

const SHOWN = 160;

/** Both, from a little before they part. */
const besides = (here = "nothing", there = "nothing"): string => {
  let from = 0;
  while (from < here.length && here[from] === there[from]) from++;
  const part = (text: string): string => text.slice(Math.max(0, from - SHOWN / 2), from + SHOWN);
  return `"${part(here)}" on SQLite, "${part(there)}" on Azure's parts`;
};

// ---------------------------------------------------------------- the end

const differencesOf = (here: Played, there: Played): string[] => [
  ...(here.hash === there.hash ? [] : [`the course differs: ${here.hash} on SQLite, ${there.hash} on Azure's parts`]),
  ...differing("views", shownBy(here.history), shownBy(there.history)),
  ...differing("views after a rebuild", shownBy(here.history, "rebuilt"), shownBy(there.history, "rebuilt")),
  ...differing("streams", streamsOf(here.history), streamsOf(there.history)),
];

const shownBy = ({ final }: History, which: "shown" | "rebuilt" = "shown"): Map<string, string> =>
  new Map([
    ...final[which].rows.map(({ name, partition, id, version, json }): [string, string] => [`row ${id} of ${name} in ${partition}`, `${version} ${textOf(json)}`]),
    ...final[which].counters.map(({ view, partition, name, value }): [string, string] => [`counter ${name} of ${view} in "${partition}"`, String(value)]),
  ]);

const streamsOf = ({ final }: History): Map<string, string> =>
  new Map([...Map.groupBy(final.kept, ({ stream }) => stream)].map(([stream, commits]) => [stream, textOf(commits)]));

const TOLD_MAX = 5;

const differing = (what: string, here: ReadonlyMap<string, string>, there: ReadonlyMap<string, string>): string[] => {
  const names = [...new Set([...here.keys(), ...there.keys()])].filter((name) => here.get(name) !== there.get(name));
  const told = names.slice(0, TOLD_MAX).map((name) => `${what}: ${name}: ${besides(here.get(name), there.get(name))}`);
  return names.length > TOLD_MAX ? [...told, `${what}: ${names.length - TOLD_MAX} more differ`] : told;
};
