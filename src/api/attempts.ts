// How failed signatures are slowed down (security 2.7): a budget for each account that is named and one for all together. Only
// failures wait; a right signature is answered at once, whatever others have tried, so nobody can lock an owner out. Bounded: a
// few names, a few who wait; whoever comes beyond that is told that the service is busy.

interface Budget {
  /** Failures that may still come at once. */
  left: number;
  at: number;
}

export interface Attempts {
  /** A signature for this account failed now (milliseconds): how long its answer waits; undefined: too many wait already. */
  failed(account: string, now: number): number | undefined;
  /** One that waited has been answered. */
  answered(): void;
  /** How many failed since this was last told, every so often; else 0: a line for each would let strangers fill the log. */
  toTell(now: number): number;
}

const TELL_EVERY_MS = 10_000;

export const FAILURES_AT_ONCE = 1000;
const FAILURES_PER_SECOND = 20;
const ALL_AT_ONCE = 5000;
const ALL_PER_SECOND = 200;
const WAIT_MAX_MS = 2000;
export const WAITING_MAX = 200;
const ACCOUNTS_MAX = 1000;

export const attempts = (): Attempts => {
  const accounts = new Map<string, Budget>();
  const all: Budget = { left: ALL_AT_ONCE, at: 0 };
  let waiting = 0;
  let untold = 0;
  let toldAt = -Infinity;
  return {
    toTell(now) {
      if (untold === 0 || Math.abs(now - toldAt) < TELL_EVERY_MS) return 0;
      const count = untold;
      [untold, toldAt] = [0, now];
      return count;
    },
    failed(account, now) {
      untold++;
      // Names that strangers make up share the budget of all: forgetting one costs nothing.
      if (!accounts.has(account) && accounts.size >= ACCOUNTS_MAX) accounts.clear();
      const own = accounts.get(account) ?? { left: FAILURES_AT_ONCE, at: now };
      accounts.set(account, own);
      const wait = Math.max(spend(own, now, FAILURES_AT_ONCE, FAILURES_PER_SECOND), spend(all, now, ALL_AT_ONCE, ALL_PER_SECOND));
      if (wait === 0) return 0;
      if (waiting >= WAITING_MAX) return undefined;
      waiting++;
      return wait;
    },
    answered() {
      waiting--;
    },
  };
};

/** Takes one of the budget; the time until it is there, if it is not. */
const spend = (budget: Budget, now: number, most: number, perSecond: number): number => {
  budget.left = Math.min(most, budget.left + (Math.max(0, now - budget.at) / 1000) * perSecond);
  budget.at = now;
  // Never deeper than the longest wait: who stops trying is soon where he began.
  budget.left = Math.max(budget.left - 1, (-WAIT_MAX_MS / 1000) * perSecond);
  return budget.left >= 0 ? 0 : Math.min(WAIT_MAX_MS, Math.ceil((-budget.left / perSecond) * 1000));
};
