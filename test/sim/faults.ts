// What may go wrong between a service process and a port, and how often: each seed has a profile of its own, since runs in which
// everything fails a little find less than runs in which some things fail much. It knows no port.
import type { Seeded } from "../support/seeded";

export type PortFault = "none" | "refuse" | "loseAnswer" | "double" | "killBefore" | "killAfter";

export interface Profile {
  /** Chances for one call of a port. */
  readonly refuse: number;
  readonly loseAnswer: number;
  readonly double: number;
  readonly killBefore: number;
  readonly killAfter: number;
  /** Chance that a call takes long, and how long at most. */
  readonly slow: number;
  readonly slowMs: number;
  /** Chances for one delivery of a batch of the feed, of messages, of a timer. */
  readonly again: number;
  readonly late: number;
  readonly lateMs: number;
  /** Chance that a lease of the feed is taken up from an older position. */
  readonly replay: number;
  /** Chance that a buffered nudge is lost when an orchestration begins a new generation. */
  readonly loseNudge: number;
  /** Chances for one request on the network. */
  readonly loseRequest: number;
  readonly loseReply: number;
  readonly repeatRequest: number;
  /** TVMs: chances for a minute of one machine's life. */
  readonly crash: number;
  readonly silence: number;
  readonly fullDisk: number;
  /** Chance that a machine cannot be had, that its boot takes long, that its end is noticed by nobody. */
  readonly noMachine: number;
  readonly slowBoot: number;
  readonly unnoticed: number;
  /** Clocks are off by this at most: TVMs, service processes. */
  readonly tvmSkewMs: number;
  readonly skewMs: number;
}

export const CALM: Profile = {
  refuse: 0, loseAnswer: 0, double: 0, killBefore: 0, killAfter: 0, slow: 0, slowMs: 0, again: 0, late: 0, lateMs: 0, replay: 0, loseNudge: 0,
  loseRequest: 0, loseReply: 0, repeatRequest: 0, crash: 0, silence: 0, fullDisk: 0, noMachine: 0, slowBoot: 0, unnoticed: 0, tvmSkewMs: 0, skewMs: 0,
};

/** Each fault is absent in half of the seeds, and else as likely as the seed says. */
export const profileOf = (random: Seeded): Profile => {
  const maybe = (most: number): number => (random.chance(0.5) ? most * random.oneOf([0.1, 0.3, 1]) : 0);
  return {
    refuse: maybe(0.04), loseAnswer: maybe(0.04), double: maybe(0.06), killBefore: maybe(0.008), killAfter: maybe(0.008),
    slow: maybe(0.03), slowMs: random.oneOf([200, 5_000, 70_000]),
    again: maybe(0.3), late: maybe(0.2), lateMs: random.oneOf([500, 20_000]), replay: maybe(0.15), loseNudge: maybe(0.5),
    loseRequest: maybe(0.1), loseReply: maybe(0.1), repeatRequest: maybe(0.2),
    crash: maybe(0.3), silence: maybe(0.4), fullDisk: maybe(0.2), noMachine: maybe(0.3), slowBoot: maybe(0.3), unnoticed: random.oneOf([0, 0.5, 1]),
    tvmSkewMs: random.oneOf([0, 2_000, 600_000]), skewMs: random.oneOf([0, 0, 500]),
  };
};

export const portFault = (profile: Profile, random: Seeded): PortFault => {
  if (profile === CALM) return "none";
  const kinds = ["refuse", "loseAnswer", "double", "killBefore", "killAfter"] as const;
  for (const kind of kinds) if (profile[kind] > 0 && random.chance(profile[kind])) return kind;
  return "none";
};

/** How long a call takes, its way to the port; what is quick is quick most of the time. */
export const latency = (profile: Profile, random: Seeded): number =>
  profile.slow > 0 && random.chance(profile.slow) ? random.below(profile.slowMs) : random.below(4);
