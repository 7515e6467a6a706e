// The sizes of TVMs: Cloud Services sizes of spring 2015 without the smallest (A0, "ExtraSmall"), which the seed rules out. The
// size says how many cores, how much memory and how large a local disk a TVM has (seed, section on TVMs), and so how many tasks
// it may run at once. Names are compared without case; A1 to A4 are the virtual machines' names of small to extralarge.

export interface TvmSize {
  readonly name: string;
  readonly cores: number;
  readonly memoryMb: number;
  readonly diskGb: number;
}

const size = (name: string, cores: number, memoryGb: number, diskGb: number): TvmSize => ({ name, cores, memoryMb: memoryGb * 1024, diskGb });

export const TVM_SIZES: readonly TvmSize[] = [
  size("small", 1, 1.75, 225),
  size("medium", 2, 3.5, 490),
  size("large", 4, 7, 1000),
  size("extralarge", 8, 14, 2040),
  size("A1", 1, 1.75, 225),
  size("A2", 2, 3.5, 490),
  size("A3", 4, 7, 1000),
  size("A4", 8, 14, 2040),
  size("A5", 2, 14, 490),
  size("A6", 4, 28, 1000),
  size("A7", 8, 56, 2040),
  size("A8", 8, 56, 1817),
  size("A9", 16, 112, 1817),
  size("A10", 8, 56, 1817),
  size("A11", 16, 112, 1817),
  size("STANDARD_D1", 1, 3.5, 50),
  size("STANDARD_D2", 2, 7, 100),
  size("STANDARD_D3", 4, 14, 200),
  size("STANDARD_D4", 8, 28, 400),
  size("STANDARD_D11", 2, 14, 100),
  size("STANDARD_D12", 4, 28, 200),
  size("STANDARD_D13", 8, 56, 400),
  size("STANDARD_D14", 16, 112, 800),
];

const BY_NAME: ReadonlyMap<string, TvmSize> = new Map(TVM_SIZES.map((one) => [one.name.toLowerCase(), one]));

/** Cores of a TVM of this size (compared without case); undefined: no such size. */
export const coresOf = (tvmSize: string): number | undefined => BY_NAME.get(tvmSize.toLowerCase())?.cores;

/** Most tasks that may run at once on a TVM: four a core (reference section 8). */
export const maxTasksPerTvmOf = (tvmSize: string): number => 4 * (coresOf(tvmSize) ?? 1);

/** For messages to people. */
export const sizeNames = (): string[] => TVM_SIZES.map(({ name }) => name);

const ALIKE: Readonly<Record<number, readonly [general: string, memory: string]>> = {
  1: ["Standard_DS1_v2", "Standard_DS11_v2"],
  2: ["Standard_D2as_v5", "Standard_E2as_v5"],
  4: ["Standard_D4as_v5", "Standard_E4as_v5"],
  8: ["Standard_D8as_v5", "Standard_E8as_v5"],
  16: ["Standard_D16as_v5", "Standard_E16as_v5"],
};

/**
 * What stands in for each size on Azure today, where the sizes of 2015 are sold no more: as many cores, at least as much memory, and
 * good for a trusted launch. By the size's name in lower case.
 */
export const presentSizes = (): Readonly<Record<string, string>> =>
  Object.fromEntries(
    TVM_SIZES.flatMap(({ name, cores, memoryMb }): [string, string][] => {
      const alike = ALIKE[cores]?.[memoryMb > cores * 4096 ? 1 : 0];
      return alike === undefined ? [] : [[name.toLowerCase(), alike]];
    }),
  );
