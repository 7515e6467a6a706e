// Chance that can be repeated: a small generator started from a number. A failing case says its seed; SEED=n runs that one.

export interface Seeded {
  /** 0 <= x < limit, whole. */
  below(limit: number): number;
  oneOf<T>(list: readonly T[]): T;
  chance(probability: number): boolean;
}

/** mulberry32: 32 bits of state, good enough to choose test cases. */
export const seeded = (seed: number): Seeded => {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  return { below, oneOf: (list) => list[below(list.length)] as (typeof list)[number], chance: (probability) => next() < probability };
};

const seeds = (runs: number): number[] => (process.env["SEED"] === undefined ? Array.from({ length: runs }, (_, index) => index + 1) : [Number(process.env["SEED"])]);

/** Runs the check once a seed; a failure names the seed that shows it again. */
export const forSeeds = (runs: number, check: (random: Seeded) => void): void => {
  for (const seed of seeds(runs)) {
    try {
      check(seeded(seed));
    } catch (error) {
      throw new Error(`SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
};
