// The order in which index values and file names are listed: by their UTF-8 bytes, which is the order of code points. It is
// SQLite's, Cosmos DB's and Blob storage's. JavaScript's own `<` differs: it puts U+10000 and above before U+E000 to U+FFFF.

/** Negative, zero or positive, as `a` comes before, is or comes after `b`. */
export function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index);
    const right = b.charCodeAt(index);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

/** The first string after all strings that begin with `prefix`; undefined when there is none. */
export function endOfPrefix(prefix: string): string | undefined {
  // The usual case: it ends with a character of one unit that is followed by another such.
  const unit = prefix.charCodeAt(prefix.length - 1);
  if (unit < 0xd7ff) return prefix.slice(0, -1) + String.fromCharCode(unit + 1);
  const points = Array.from(prefix, (character) => character.codePointAt(0)!);
  while (points.length > 0) {
    const last = points.pop()!;
    if (last === 0x10ffff) continue;
    points.push(last === 0xd7ff ? 0xe000 : last + 1);
    return String.fromCodePoint(...points);
  }
  return undefined;
}

function rank(unit: number): number {
  if (unit >= 0xe000) return unit - 0x800;
  return unit >= 0xd800 ? unit + 0x2000 : unit;
}
