// Commits become rows and counters. Two ways in: right after a decision, with the state at hand; and from the feed, which
// repeats everything and catches up on what the first way missed. A row's version makes both idempotent.
import { type Category, categoryOf, keyOf } from "../domain/ids";
import type { Commit, Ports, ViewWrite, Views } from "../ports";
import { anyViewOf } from "../views/all";
import { type StateRow, type View, difference, evolveRow, rowOf, stateOf } from "../views/view";
import { foldCommits, foldable } from "./fold";

interface Decided {
  readonly stream: string;
  readonly before: { readonly version: number; readonly state: unknown };
  readonly after: unknown;
  readonly version: number;
}

/** Where the feed was faster with some rows of a write, the others are written again: as often as it is likely to help. */
const DECIDED_ROUNDS = 3;

/** Shows decisions that were just appended, before whoever made them is answered. What misses an earlier commit is left to the feed. */
export const projectDecided = async (ports: Ports, category: Category, decided: readonly Decided[]): Promise<void> => {
  const view = anyViewOf(category);
  let open = decided;
  for (let round = 1; open.length > 0 && round <= DECIDED_ROUNDS; round++) {
    const stale = await projectOnce(ports, view, open);
    open = stale.length === 0 || round === DECIDED_ROUNDS ? [] : await notShownYet(ports, view, stale);
  }
};

/** Those whose write found a row that was not as it was when it was decided. */
const projectOnce = async (ports: Ports, view: View, decided: readonly Decided[]): Promise<readonly Decided[]> => {
  const groups = new Groups<Decided>(view);
  for (const one of decided) {
    const { partition, id } = view.locate(keyOf(one.stream));
    const moved = difference(one.before.version === 0 ? {} : view.tally(one.before.state), view.tally(one.after));
    groups.add(partition, { from: one.before.version, row: rowOf(view, id, one.version, one.after) }, moved, one);
  }
  const results = await ports.views.write(groups.writes());
  return groups.all.flatMap(({ members }, index) => {
    if (results[index] !== "ok") return members;
    for (const { stream, version } of members) shown(ports.views, stream, version);
    return [];
  });
};

const notShownYet = async (ports: Ports, view: View, decided: readonly Decided[]): Promise<readonly Decided[]> => {
  const rows = await ports.views.get(view, decided.map(({ stream }) => view.locate(keyOf(stream))));
  return decided.filter(({ before }, index) => (rows[index]?.version ?? 0) === before.version);
};

/** Rows of one atomic write: a transactional batch of Cosmos DB holds 100 operations, the counters' among them. */
const WRITE_ROWS_MAX = 90;

interface Group<Member> {
  readonly partition: string;
  readonly rows: ViewWrite["rows"][number][];
  readonly counters: Record<string, number>;
  readonly members: Member[];
}

/** Rows that share a partition go together, with what they move the counters by; too many of them in several writes. */
class Groups<Member> {
  readonly all: Group<Member>[] = [];
  private readonly open = new Map<string, Group<Member>>();

  constructor(private readonly view: View) {}

  add(partition: string, row: ViewWrite["rows"][number], moved: Readonly<Record<string, number>>, member: Member): void {
    let group = this.open.get(partition);
    if (!group || group.rows.length >= WRITE_ROWS_MAX) {
      group = { partition, rows: [], counters: {}, members: [] };
      this.open.set(partition, group);
      this.all.push(group);
    }
    group.rows.push(row);
    group.members.push(member);
    for (const name of Object.keys(moved)) group.counters[name] = (group.counters[name] ?? 0) + (moved[name] ?? 0);
  }

  writes(): ViewWrite[] {
    return this.all.map(({ partition, rows, counters }) => ({ view: this.view, partition, rows, counters }));
  }
}

/** Shows commits of the feed, each exactly once however often they come; commits of one stream must come in order. */
export const projectFeed = async (ports: Ports, commits: readonly Commit[]): Promise<void> => {
  const byView = new Map<Category, Commit[]>();
  for (const commit of commits) {
    if (isShown(ports.views, commit.stream, commit.version)) continue;
    const category = categoryOf(commit.stream);
    const list = byView.get(category);
    if (list) list.push(commit);
    else byView.set(category, [commit]);
  }
  for (const [category, list] of byView) await projectCategory(ports, category, list);
};

/** Writers that meet in one partition: each round at least one of them gets through. */
const ROUNDS = 50;

const projectCategory = async (ports: Ports, category: Category, commits: readonly Commit[]): Promise<void> => {
  const view = anyViewOf(category);
  const streams = new Map<string, Commit[]>();
  for (const commit of commits) {
    const list = streams.get(commit.stream);
    if (list) list.push(commit);
    else streams.set(commit.stream, [commit]);
  }
  let open = [...streams.values()];
  for (let round = 1; open.length > 0; round++) {
    if (round > ROUNDS) throw new Error(`rows of ${view.name} changed under the projection ${ROUNDS} times`);
    open = await projectRound(ports, view, open);
  }
};

const projectRound = async (ports: Ports, view: View, open: readonly Commit[][]): Promise<Commit[][]> => {
  const places = open.map((list) => view.locate(keyOf((list[0] as Commit).stream)));
  const rows = await ports.views.get(view, places);
  const groups = new Groups<Commit[]>(view);
  for (const [index, list] of open.entries()) {
    const before = rows[index];
    const after = await advance(ports, view, before, list);
    if (!after) continue;
    const moved = difference(before ? view.tally(stateOf(before as StateRow<unknown>)) : {}, view.tally(stateOf(after)));
    groups.add((places[index] as { partition: string }).partition, { from: before?.version ?? 0, row: after }, moved, list);
  }
  if (groups.all.length === 0) return [];
  const results = await ports.views.write(groups.writes());
  return groups.all.flatMap(({ members }, index) => (results[index] === "ok" ? [] : members));
};

/** The row after these commits, or undefined when it has seen them all. */
const advance = async (
  ports: Ports,
  view: View,
  before: StateRow<unknown> | undefined,
  commits: readonly Commit[],
): Promise<StateRow<unknown> | undefined> => {
  const seen = before?.version ?? 0;
  const fresh = commits.filter(({ version }) => version > seen);
  const first = fresh[0];
  if (!first) return undefined;
  if (first.version > seen + 1) return fromStream(ports, view, first.stream);
  let row = before;
  for (const commit of fresh) row = evolveRow(view, commit.stream, row, commit.version, foldable(view.category, commit));
  return row;
};

/** Commits are missing between the row and what came (its partition was forgotten, or the feed started late): fold anew. */
const fromStream = async (ports: Ports, view: View, stream: string): Promise<StateRow<unknown> | undefined> => {
  const [commits] = await ports.eventStore.load([stream]);
  if (!commits || commits.length === 0) return undefined;
  const { state, version } = foldCommits(view.category, commits);
  return rowOf(view, view.locate(keyOf(stream)).id, version, state);
};

// What this process has shown itself it need not read again when the feed repeats it. Only a shortcut: forgotten at will.
const SHOWN_MAX = 50_000;
const shownBy = new WeakMap<Views, Map<string, number>>();

const shown = (views: Views, stream: string, version: number): void => {
  let map = shownBy.get(views);
  if (!map) shownBy.set(views, (map = new Map()));
  if (map.size >= SHOWN_MAX) map.clear();
  map.set(stream, version);
};

const isShown = (views: Views, stream: string, version: number): boolean => (shownBy.get(views)?.get(stream) ?? 0) >= version;

/** Before a rebuild from zero. */
export const forgetShown = (views: Views): void => {
  shownBy.delete(views);
};
