// Whether a regular expression takes time that grows faster than its input (security 7.4). It reads the expression as a tree and looks
// for what makes matchers try again: repetition within repetition, choices that begin alike within repetition, neighbours that take the
// same characters, and searches that begin anew at every place. Cautious: it may name a harmless one; what it lets through is linear,
// but for back references, which it always names.

interface Atom {
  /** Of Latin-1 and one for the rest: which characters it takes; undefined: none, it only looks. */
  readonly set: Uint8Array | undefined;
  readonly choices?: readonly Item[][];
}
interface Item extends Atom {
  readonly min: number;
  readonly max: number;
  readonly anchor?: "start" | "end";
}

const REST = ["\u4e00", "\u2028", "\u0130"];
/** Latin-1, and a few for the rest. */
const SIZE = 256 + REST.length;

/** Reasons why it may be slow; none: it is linear. */
export const slowness = (source: string, flags = ""): string[] => {
  const choices = parse(source, flags);
  const found = new Set<string>();
  for (const items of choices) {
    within(items, found);
    if (!flags.includes("y")) search(items, found);
  }
  return [...found];
};

/** `/source/flags` literals in a text of TypeScript without comments. */
export const literalsIn = (code: string): { source: string; flags: string }[] => {
  const found: { source: string; flags: string }[] = [];
  const token = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`|(?<=(?:[(,=:[!&|?{};+]|\breturn|=>)\s*)\/((?![/*])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+)\/([dgimsuvy]*)/g;
  for (const [, source, flags] of code.matchAll(token)) if (source !== undefined) found.push({ source, flags: flags as string });
  return found;
};

// ---------------------------------------------------------------- reading

const parse = (source: string, flags: string): Item[][] => {
  let at = 0;
  const setOf = (text: string): Uint8Array => {
    const one = new RegExp(`^(?:${text})$`, flags.replace(/[gyd]/g, ""));
    const set = new Uint8Array(SIZE);
    for (let code = 0; code < 256; code++) if (one.test(String.fromCharCode(code))) set[code] = 1;
    REST.forEach((character, index) => one.test(character) && (set[256 + index] = 1));
    return set;
  };
  const choices = (): Item[][] => {
    const all: Item[][] = [[]];
    while (at < source.length && source[at] !== ")") {
      if (source[at] === "|") {
        at++;
        all.push([]);
      } else (all.at(-1) as Item[]).push(item());
    }
    return all;
  };
  const item = (): Item => {
    const one = atom();
    const [text = "", low, comma, high] = /^(?:[*+?]|\{(\d+)(,(\d*))?\})\??/.exec(source.slice(at)) ?? [];
    at += text.length;
    if (text === "") return { ...one, min: 1, max: 1 };
    const [first] = text;
    if (first === "{") return { ...one, min: Number(low), max: comma === undefined ? Number(low) : high ? Number(high) : Infinity };
    return { ...one, min: first === "+" ? 1 : 0, max: first === "?" ? 1 : Infinity };
  };
  const atom = (): Atom & { anchor?: "start" | "end" } => {
    const character = source[at] as string;
    if (character === "^" || character === "$") {
      at++;
      return { set: undefined, anchor: character === "^" ? "start" : "end" };
    }
    if (character === "(") return group();
    const text = (/^\[(?:[^\]\\]|\\.)*\]|^\\(?:u\{[0-9a-f]+\}|u[0-9a-f]{4}|x[0-9a-f]{2}|[pP]\{[^}]*\}|[1-9]|k<\w+>|[^])|^[^]/i.exec(source.slice(at)) as RegExpExecArray)[0];
    at += text.length;
    if (/^\\[bB]$/.test(text)) return { set: undefined };
    if (/^\\(?:[1-9]|k<)/.test(text)) return { set: new Uint8Array(SIZE).fill(1), choices: [[{ set: new Uint8Array(SIZE).fill(1), min: 0, max: Infinity }]] };
    return { set: setOf(text) };
  };
  const group = (): Atom => {
    const [opening] = /^\((?:\?(?::|=|!|<=|<!|<\w+>))?/.exec(source.slice(at)) as RegExpExecArray;
    at += opening.length;
    const inner = choices();
    at++;
    if (/^\(\?<?[=!]/.test(opening)) return { set: undefined };
    return { set: union(inner.flat()), choices: inner };
  };
  const all = choices();
  if (at !== source.length) throw new Error(`cannot read /${source}/ at ${at}`);
  return all;
};

// ---------------------------------------------------------------- judging

const union = (items: readonly Atom[]): Uint8Array => {
  const set = new Uint8Array(SIZE);
  for (const one of items) one.set?.forEach((has, code) => has && (set[code] = 1));
  return set;
};
const meet = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean => a !== undefined && b !== undefined && a.some((has, code) => has === 1 && b[code] === 1);
const repeats = (one: Item): boolean => one.max > LONG;
/** Repetitions up to here are as good as none: their square is small. */
const LONG = 300;
const nullable = (one: Item): boolean => one.set === undefined || one.min === 0 || (one.choices?.some((items) => items.every(nullable)) ?? false);
const deep = (items: readonly Item[]): Item[] => items.flatMap((one) => [one, ...(one.choices ?? []).flatMap(deep)]);
/** What a sequence may begin with. */
const beginning = (items: readonly Item[]): Uint8Array => {
  const first: Atom[] = [];
  for (const one of items) {
    first.push(one.choices ? { set: union(one.choices.map((inner) => ({ set: beginning(inner) }))) } : one);
    if (!nullable(one)) break;
  }
  return union(first);
};

const within = (items: readonly Item[], found: Set<string>): void => {
  for (const one of items) {
    for (const inner of one.choices ?? []) within(inner, found);
    if (repeats(one) && one.choices) repeated(one.choices, found);
  }
  for (let from = 0; from < items.length; from++) {
    const one = items[from] as Item;
    if (!repeats(one)) continue;
    for (let to = from + 1; to < items.length; to++) {
      const other = items[to] as Item;
      if (repeats(other) && meet(one.set, other.choices ? union(other.choices.map((inner) => ({ set: beginning(inner) }))) : other.set)) found.add("neighbours take the same characters");
      // What has to come between and is no part of the first is where it ends.
      if (!nullable(other) && !meet(one.set, other.set)) break;
    }
  }
};

/** What is repeated: it must show by its first or last character where each turn begins or ends. */
const repeated = (choices: readonly Item[][], found: Set<string>): void => {
  for (let a = 0; a < choices.length; a++)
    for (let b = a + 1; b < choices.length; b++) if (meet(beginning(choices[a] as Item[]), beginning(choices[b] as Item[]))) found.add("choices that begin alike are repeated");
  for (const items of choices) {
    if (items.every(nullable)) found.add("what may be empty is repeated");
    if (!deep(items).some(repeats)) continue;
    const marks = (one: Item | undefined): boolean => one !== undefined && one.max === 1 && !nullable(one) && !items.some((other) => other !== one && meet(one.set, other.set));
    if (!marks(items[0]) && !marks(items.at(-1))) found.add("a repetition within a repetition");
  }
};

/** A search tries every place: from each it must not go far before it fails. */
const search = (items: readonly Item[], found: Set<string>): void => {
  const first = items.find((one) => one.set !== undefined || one.anchor !== undefined);
  if (first?.anchor === "start") return;
  const before: Item[] = [];
  for (const [index, one] of items.entries()) {
    const rest = items.slice(index + 1);
    const mayFail = rest.some((other) => !nullable(other) || other.anchor === "end");
    if (repeats(one) && mayFail && before.every((other) => other.set === undefined || nullable(other) || meet(other.set, one.set))) found.add("a search that goes far from every place");
    before.push(one);
  }
};
