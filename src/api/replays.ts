// Signatures of changes that were proven lately (security 2.3), so that whoever overheard a request cannot have it done once more
// while its date is good. Clocks of signatures tell seconds only: the same request meant twice has the same signature for a second,
// so what comes again soon is left to the rules of what it changes, and what comes later is refused. It knows of this process's
// requests alone, and forgets the oldest when there are too many: then names that exist, states and ETags are what is left.
import { SKEW_MAX_MS } from "./auth";

export interface Replays {
  /** This proven signature came now (milliseconds): is it one that came before, longer ago than somebody would mean it twice? */
  cameBefore(signature: string, now: number): boolean;
}

/** Within this time the same signature may be two requests of one client, or its retry. */
export const TWICE_WITHIN_MS = 5_000;
/** A date in the future is good until it is as far in the past. */
const REMEMBERED_MS = 2 * SKEW_MAX_MS;
export const REMEMBERED_MAX = 100_000;

/** Two halves of a memory: when the younger is full or old enough, the older is forgotten. */
export const replays = (): Replays => {
  let young = new Map<string, number>();
  let old = new Map<string, number>();
  let since = 0;
  return {
    cameBefore(signature, now) {
      const first = young.get(signature) ?? old.get(signature);
      if (first !== undefined) return Math.abs(now - first) > TWICE_WITHIN_MS;
      if (young.size >= REMEMBERED_MAX / 2 || now - since > REMEMBERED_MS) {
        old = young;
        young = new Map();
        since = now;
      }
      young.set(signature, now);
      return false;
    },
  };
};
