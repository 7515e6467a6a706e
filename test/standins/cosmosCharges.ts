// What the stand-in for Cosmos DB charges: the published table of request units by size, and what is indexed by the container's
// own policy. Figures marked "estimate" are not published; they are of the size that is observed.

/** Bytes up to which a document costs so much. */
type Table = readonly (readonly [kib: number, units: number])[];

const writeTable: Table = [[1, 4.95], [2, 6.29], [4, 6.67], [8, 7.04], [16, 9.52], [32, 11.23], [64, 22.67], [128, 48.19]];
const readTable: Table = [[1, 1], [4, 1.14], [8, 1.33], [16, 1.67], [32, 2.19]];
const perTerm = 0.2;
/** A patch reads what it changes. Estimate. */
const perPatch = 0.5;
const perQueryAndRange = 2.8;
/** For each KiB that a query looks at. Estimate. */
const perQueriedKib = 0.05;
/** A refusal, a 304 or a 404. */
export const refusalUnits = 1;

const lookUp = (table: Table, bytes: number): number => {
  const kib = bytes / 1024;
  const found = table.find(([upTo]) => kib <= upTo);
  if (found) return found[1];
  const [largest, units] = table.at(-1) as readonly [number, number];
  return (kib / largest) * units;
};

export const readUnits = (bytes: number): number => lookUp(readTable, bytes);
export const feedUnits = (sizes: readonly number[]): number => Math.max(1, sizes.reduce((sum, bytes) => sum + readUnits(bytes), 0));
export const queryUnits = (ranges: number, sizes: readonly number[]): number =>
  ranges * perQueryAndRange + sizes.reduce((sum, bytes) => sum + perQueriedKib * Math.ceil(bytes / 1024), 0);

interface Indexing {
  readonly includedPaths?: readonly { readonly path: string }[];
  readonly excludedPaths?: readonly { readonly path: string }[];
}

/** Creates, deletes (`after` undefined) and replaces (delete and insert, and the terms that differ). */
export const writeUnits = (indexing: Indexing | undefined, before: object | undefined, after: object | undefined, bytesBefore: number, bytesAfter: number): number => {
  const [old, fresh] = [before, after].map((document) => (document ? terms(indexing, document) : new Set<string>())) as [Set<string>, Set<string>];
  const changed = [...old].filter((term) => !fresh.has(term)).length + [...fresh].filter((term) => !old.has(term)).length;
  return (before ? lookUp(writeTable, bytesBefore) : 0) + (after ? lookUp(writeTable, bytesAfter) : 0) + perTerm * changed;
};

export const patchUnits = perPatch;

/** Each indexed value with its path. */
const terms = (indexing: Indexing | undefined, document: object): Set<string> => {
  const found = new Set<string>();
  const walk = (value: unknown, path: string): void => {
    if (value !== null && typeof value === "object") {
      for (const [name, inner] of Object.entries(value)) walk(inner, `${path}/${Array.isArray(value) ? "[]" : name}`);
    } else if (isIndexed(indexing, path)) found.add(`${path}=${JSON.stringify(value)}`);
  };
  walk(document, "");
  // The service indexes it by itself, at no charge of its own.
  for (const term of found) if (term.startsWith("/id=")) found.delete(term);
  return found;
};

/** The most precise path wins. */
const isIndexed = ({ includedPaths = [{ path: "/*" }], excludedPaths = [] }: Indexing = {}, path: string): boolean => {
  const best = (paths: readonly { readonly path: string }[]): number =>
    Math.max(-1, ...paths.map(({ path: pattern }) => {
      const plain = pattern.replaceAll('"', "");
      if (plain.endsWith("/?")) return plain.slice(0, -2) === path ? plain.length : -1;
      const stem = plain.slice(0, -1);
      return `${path}/`.startsWith(stem) ? stem.length : -1;
    }));
  return best(includedPaths) > best(excludedPaths);
};
