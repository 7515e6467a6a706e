// Looks over everything that is stored: commits whole and without gaps, each stream foldable, snapshots and rows equal to what the
// events say, counters equal to a recount. It changes nothing; every fault is told in a sentence that names the thing.
import { type Category, categoryOf, keyOf } from "../domain/ids";
import type { Commit, Integrity, Ports, Row } from "../ports";
import { anyViewOf, viewOf } from "../views/all";
import { type StateRow, type View, rowOf, stateOf } from "../views/view";
import { deciderFor, foldable } from "./fold";

export interface Verified {
  readonly commits: number;
  readonly streams: number;
  readonly rows: number;
  /** Rows that the feed had not brought up to date: no fault, the next start does. */
  readonly behind: number;
  readonly problems: number;
}

export type Progress = (what: "commits" | "streams", count: number) => void;

const STREAMS_AT_ONCE = 200;

/** `problem` is told each fault as it is found. */
export const verify = async (ports: Pick<Ports, "eventStore" | "views">, integrity: Integrity, problem: (text: string) => void, progress: Progress = () => {}): Promise<Verified> => {
  let problems = 0;
  const tell = (text: string): void => {
    problems++;
    problem(text);
  };
  for (const text of await integrity.pages()) tell(`The database file is damaged: ${text}`);
  const damaged = new Set<string>();
  const commits = await integrity.commits(
    (stream, text) => {
      damaged.add(stream);
      tell(`Stream ${stream}, ${text}.`);
    },
    (count) => progress("commits", count),
  );
  const recount = new Recount();
  const seen = await verifyStreams(ports, integrity, damaged, recount, tell, progress);
  for (const category of Object.keys(viewOf) as Category[]) await verifyView(ports, integrity, anyViewOf(category), recount, tell);
  return { commits, ...seen, problems };
};

const verifyStreams = async (
  ports: Pick<Ports, "eventStore" | "views">,
  integrity: Integrity,
  damaged: ReadonlySet<string>,
  recount: Recount,
  tell: (text: string) => void,
  progress: Progress,
): Promise<{ streams: number; rows: number; behind: number }> => {
  let [streams, rows, behind] = [0, 0, 0];
  for (let after = ""; ; ) {
    const names = await integrity.streams(after, STREAMS_AT_ONCE);
    if (names.length === 0) return { streams, rows, behind };
    after = names.at(-1) as string;
    streams += names.length;
    const known = names.filter((stream) => isKnown(stream, tell));
    const stored = await rowsFor(ports, known);
    for (const stream of known) {
      const row = stored.get(stream);
      if (row) {
        rows++;
        recount.add(anyViewOf(categoryOf(stream)), anyViewOf(categoryOf(stream)).locate(keyOf(stream)).partition, row);
      }
      if (damaged.has(stream)) continue;
      if ((await verifyStream(ports, stream, row, tell)) === "behind") behind++;
    }
    progress("streams", streams);
  }
};

const isKnown = (stream: string, tell: (text: string) => void): boolean => {
  const known = categoryOf(stream) in viewOf;
  if (!known) tell(`Stream ${stream} is of a kind that this release does not know.`);
  return known;
};

const rowsFor = async (ports: Pick<Ports, "views">, streams: readonly string[]): Promise<Map<string, StateRow<unknown>>> => {
  const found = new Map<string, StateRow<unknown>>();
  for (const [category, list] of Map.groupBy(streams, categoryOf)) {
    const view = anyViewOf(category);
    const rows = await ports.views.get(view, list.map((stream) => view.locate(keyOf(stream))));
    list.forEach((stream, index) => rows[index] && found.set(stream, rows[index] as StateRow<unknown>));
  }
  return found;
};

const verifyStream = async (ports: Pick<Ports, "eventStore">, stream: string, row: Row | undefined, tell: (text: string) => void): Promise<"same" | "behind" | "wrong"> => {
  const category = categoryOf(stream);
  const view = anyViewOf(category);
  const { id } = view.locate(keyOf(stream));
  const folded = foldAll(category, await ports.eventStore.history(stream), row?.version ?? 0, tell);
  if (!folded) return "wrong";
  if (!row || row.version < folded.version) return row && !equal(row, rowOf(view, id, row.version, folded.atRow)) ? wrongRow(stream, tell) : "behind";
  if (row.version > folded.version) {
    tell(`The row of ${stream} says version ${row.version}, and the stream ends at ${folded.version}: commits are missing, or the row is not of this stream.`);
    return "wrong";
  }
  return equal(row, rowOf(view, id, folded.version, folded.state)) ? "same" : wrongRow(stream, tell);
};

const wrongRow = (stream: string, tell: (text: string) => void): "wrong" => {
  tell(`The row of ${stream} differs from what its events say.`);
  return "wrong";
};

/** Folded from the first event, whatever the snapshots say; and the state at the row's version. */
const foldAll = (category: Category, commits: readonly Commit[], rowVersion: number, tell: (text: string) => void): { state: unknown; version: number; atRow: unknown } | undefined => {
  const decider = deciderFor(category);
  let state: unknown = decider.initial;
  let atRow = state;
  for (const commit of commits) {
    try {
      for (const event of foldable(category, commit)) state = decider.evolve(state, event);
    } catch (error) {
      tell((error as Error).message);
      return undefined;
    }
    if (commit.snapshot !== undefined && !equal(commit.snapshot, state)) {
      tell(`The snapshot of ${commit.stream} at version ${commit.version} differs from what its events say.`);
      return undefined;
    }
    if (commit.version === rowVersion) atRow = state;
  }
  return { state, version: commits.at(-1)?.version ?? 0, atRow };
};

// ---------------------------------------------------------------- counts

/** What the counters of each view's partitions should be by the rows that are stored. */
class Recount {
  readonly rows = new Map<string, number>();
  private readonly sums = new Map<string, Map<string, Record<string, number>>>();

  add(view: View, partition: string, row: StateRow<unknown>): void {
    this.rows.set(view.name, (this.rows.get(view.name) ?? 0) + 1);
    const partitions = this.sums.get(view.name) ?? new Map<string, Record<string, number>>();
    this.sums.set(view.name, partitions);
    const sum = partitions.get(partition) ?? {};
    partitions.set(partition, sum);
    for (const [name, value] of Object.entries(view.tally(stateOf(row)))) sum[name] = (sum[name] ?? 0) + value;
  }

  /** Partitions in byte order, each with the sum over all that begin with its name: that is what a store is asked for. */
  *expected(view: View): Generator<[prefix: string, sum: Record<string, number>]> {
    const partitions = [...(this.sums.get(view.name) ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
    yield ["", total(partitions.map(([, sum]) => sum))];
    for (const [index, [prefix]] of partitions.entries()) {
      let end = index + 1;
      while (partitions[end]?.[0].startsWith(prefix)) end++;
      yield [prefix, total(partitions.slice(index, end).map(([, sum]) => sum))];
    }
  }
}

const total = (sums: readonly Record<string, number>[]): Record<string, number> => {
  const all: Record<string, number> = {};
  for (const sum of sums) for (const [name, value] of Object.entries(sum)) all[name] = (all[name] ?? 0) + value;
  return all;
};

const verifyView = async (ports: Pick<Ports, "views">, integrity: Integrity, view: View, recount: Recount, tell: (text: string) => void): Promise<void> => {
  const stored = await integrity.rows(view);
  const found = recount.rows.get(view.name) ?? 0;
  if (stored !== found) tell(`The view ${view.name} has ${stored} rows, and the event store has streams for ${found} of them.`);
  for (const [prefix, sum] of recount.expected(view)) {
    const counters = await ports.views.counters(view, prefix);
    if (!equal(withoutZeros(counters), withoutZeros(sum))) tell(`The counters of the view ${view.name}${prefix === "" ? "" : ` for ${prefix}`} say ${JSON.stringify(counters)}, and its rows ${JSON.stringify(sum)}.`);
  }
};

const withoutZeros = (counts: Record<string, number>): Record<string, number> => Object.fromEntries(Object.entries(counts).filter(([, value]) => value !== 0));

/** As JSON says it: the order of fields does not count, and a field that is undefined is not there. */
const equal = (a: unknown, b: unknown): boolean => canonical(a) === canonical(b);

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_name, inner: unknown) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1))) : inner);
