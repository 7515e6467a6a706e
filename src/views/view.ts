// A view: how the events of one category become rows to list, filter and count. The row of an aggregate is its folded state,
// so that a list shows what a single read shows; what differs is where rows are kept, how they are found, what is counted.
import { deciderOf } from "../domain/aggregates";
import type { Category } from "../domain/ids";
import type { DomainEvent } from "../domain/decider";
import type { Row, ViewLayout } from "../ports";

export interface View<State = unknown> extends ViewLayout<Row & State> {
  readonly category: Category;
  /** The partition and id of the row of a stream with this key. */
  locate(key: string): { partition: string; id: string };
  /** The thing is gone for its users: the row becomes a tombstone. */
  gone(state: State): boolean;
  /** What the row adds to the counters of its partition; a change of the row moves them by the difference. */
  tally(state: State): Readonly<Record<string, number>>;
}

export type StateRow<State> = Row & State;

export const rowOf = <State>(view: View<State>, id: string, version: number, state: State): StateRow<State> => ({
  ...state,
  id,
  version,
  ...(view.gone(state) ? { gone: true } : {}),
});

/** Folds one commit into a row. The caller has made sure that the commit follows the row's version. */
export const evolveRow = <State>(
  view: View<State>,
  stream: string,
  row: StateRow<State> | undefined,
  version: number,
  events: readonly DomainEvent[],
): StateRow<State> => {
  const decider = deciderOf(stream);
  let state: unknown = row ? stateOf(row) : decider.initial;
  for (const event of events) state = decider.evolve(state, event);
  return rowOf(view, view.locate(stream.slice(stream.indexOf("-") + 1)).id, version, state as State);
};

/** The row without what makes it a row. */
export const stateOf = <State>(row: StateRow<State>): State => {
  const { id: _id, version: _version, gone: _gone, ...state } = row;
  return state as State;
};

const NONE: Readonly<Record<string, number>> = {};

export const difference = (
  before: Readonly<Record<string, number>> = NONE,
  after: Readonly<Record<string, number>> = NONE,
): Record<string, number> => {
  const moved: Record<string, number> = {};
  for (const name of Object.keys(before)) moved[name] = -(before[name] ?? 0);
  for (const name of Object.keys(after)) moved[name] = (moved[name] ?? 0) + (after[name] ?? 0);
  for (const name of Object.keys(moved)) if (moved[name] === 0) delete moved[name];
  return moved;
};
