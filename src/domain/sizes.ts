// The sizes of TVMs: Cloud Services sizes of spring 2015 without the smallest (A0, "ExtraSmall"), which the seed rules out.

const CORES: ReadonlyMap<string, number> = new Map(
  Object.entries({
    small: 1,
    medium: 2,
    large: 4,
    extralarge: 8,
    a1: 1,
    a2: 2,
    a3: 4,
    a4: 8,
    a5: 2,
    a6: 4,
    a7: 8,
    a8: 8,
    a9: 16,
    a10: 8,
    a11: 16,
    standard_d1: 1,
    standard_d2: 2,
    standard_d3: 4,
    standard_d4: 8,
    standard_d11: 2,
    standard_d12: 4,
    standard_d13: 8,
    standard_d14: 16,
  }),
);

/** Cores of a TVM of this size (compared without case); undefined: no such size. */
export const coresOf = (size: string): number | undefined => CORES.get(size.toLowerCase());

/** Most tasks that may run at once on a TVM: four a core (reference section 8). */
export const maxTasksPerTvmOf = (size: string): number => 4 * (coresOf(size) ?? 1);

/** For messages to people. */
export const sizeNames = (): string[] => [...CORES.keys()];
