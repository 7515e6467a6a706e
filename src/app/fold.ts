// Commits that were read back become a state. Each event is looked at first: what cannot be folded is named, never guessed.
import { aggregates } from "../domain/aggregates";
import type { Decider, DomainEvent } from "../domain/decider";
import { faultOf } from "../domain/events";
import type { Category } from "../domain/ids";
import type { Commit } from "../ports";

type AnyDecider = Decider<unknown, unknown, DomainEvent>;

/** The decider of a category with its types erased. */
export const deciderFor = (category: Category): AnyDecider => aggregates[category] as unknown as AnyDecider;

/** Throws, naming stream, version and field, when an event is not one that this release can fold: a guess would be worse. */
export const foldCommits = (category: Category, commits: readonly Commit[]): { state: unknown; version: number } => {
  const decider = deciderFor(category);
  let state: unknown = decider.initial;
  let version = 0;
  for (const commit of commits) {
    if (commit.snapshot !== undefined) state = commit.snapshot;
    else for (const event of foldable(category, commit)) state = decider.evolve(state, event);
    version = commit.version;
  }
  return { state, version };
};

/** The events of a commit that was read back; throws like `foldCommits`. */
export const foldable = (category: Category, commit: Commit): readonly DomainEvent[] => {
  for (const event of commit.events) {
    const fault = faultOf(category, event);
    if (fault !== undefined) throw new Error(`An event (${event?.type}) of stream ${commit.stream}, version ${commit.version}, cannot be used: ${fault}.`);
  }
  return commit.events;
};
