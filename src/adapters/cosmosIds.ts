// Document ids: Cosmos DB refuses four characters in them and trims others, so whatever is not plain is spelled out. Two names
// never get the same id. It also cuts lists into the pieces that requests take.

/** Plain characters stay, every other UTF-16 unit becomes `~` and four hexadecimal digits; no characters at all, which the service refuses, `~-`. */
export const plainId = (name: string): string =>
  name === "" ? "~-" : name.replace(/[^A-Za-z0-9._-]/g, (unit) => `~${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** Consecutive pieces of at most `max`. */
export function pieces<T>(list: readonly T[], max: number): T[][] {
  const cut: T[][] = [];
  for (let from = 0; from < list.length; from += max) cut.push(list.slice(from, from + max));
  return cut;
}

/** `@i0, @i1, ...` for the values, and the parameters that bind them. */
export function listed(values: readonly string[]): { names: string; parameters: { name: string; value: string }[] } {
  const parameters = values.map((value, index) => ({ name: `@i${index}`, value }));
  return { names: parameters.map(({ name }) => name).join(", "), parameters };
}
