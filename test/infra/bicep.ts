// Reads Bicep as far as a test without its compiler needs: tokens, balance, declarations, what a module is given. It evaluates
// nothing.

export interface Token {
  readonly kind: "word" | "string" | "mark";
  readonly text: string;
  readonly line: number;
  /** Tokens of what a string interpolates. */
  readonly inside?: readonly Token[];
}

export interface Declaration {
  readonly kind: "param" | "var" | "resource" | "module" | "output";
  readonly name: string;
  /** Type and version of a resource, path of a module. */
  readonly of: string;
  readonly existing: boolean;
  readonly hasDefault: boolean;
  readonly decorators: readonly string[];
  readonly tokens: readonly Token[];
}

const closing: Readonly<Record<string, string>> = { "{": "}", "[": "]", "(": ")" };

/** Throws when a string or bracket is not closed, or a character has no place in Bicep. */
export function tokens(text: string): Token[] {
  const found: Token[] = [];
  const open: Token[] = [];
  let line = 1;
  const pattern = /(\n)|([ \t\r]+|\/\/[^\n]*|\/\*[\s\S]*?\*\/|#[a-z-]+[^\n]*)|([A-Za-z_]\w*)|(\d+)|(')|([{}[\]()=:,.?!<>&|+\-*/%@]+?)/y;
  for (let at = 0; at < text.length; at = pattern.lastIndex) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) throw new Error(`line ${line}: ${JSON.stringify(text.slice(at, at + 10))} has no place here`);
    const [whole, newline, blank, word, digits, quote, mark] = match;
    if (newline !== undefined) line++;
    else if (blank !== undefined) line += whole.split("\n").length - 1;
    else if (quote !== undefined) {
      const string = readString(text, at, line);
      found.push(string.token);
      pattern.lastIndex = string.end;
    } else {
      const token: Token = { kind: word !== undefined || digits !== undefined ? "word" : "mark", text: whole, line };
      found.push(token);
      if (mark !== undefined && closing[mark] !== undefined) open.push(token);
      else if (mark !== undefined && Object.values(closing).includes(mark) && closing[open.pop()?.text ?? ""] !== mark) throw new Error(`line ${line}: "${mark}" closes nothing`);
    }
  }
  const left = open.at(-1);
  if (left !== undefined) throw new Error(`line ${left.line}: "${left.text}" is not closed`);
  return found;
}

function readString(text: string, from: number, line: number): { token: Token; end: number } {
  const inside: Token[] = [];
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === "\n") break;
    if (text[at] === "\\") at++;
    else if (text[at] === "'") return { token: { kind: "string", text: text.slice(from + 1, at), line, inside }, end: at + 1 };
    else if (text.startsWith("${", at)) {
      const end = endOfInterpolation(text, at + 2);
      inside.push(...tokens(text.slice(at + 2, end)));
      at = end;
    }
  }
  throw new Error(`line ${line}: a string is not closed`);
}

function endOfInterpolation(text: string, from: number): number {
  for (let at = from, depth = 0; at < text.length; at++) {
    if (text[at] === "'") at = readString(text, at, 0).end - 1;
    else if (text[at] === "{") depth++;
    else if (text[at] === "}" && depth-- === 0) return at;
  }
  throw new Error("an interpolation is not closed");
}

const kinds = new Set(["param", "var", "resource", "module", "output"]);

/** Declarations of a file, those nested in resources after their parent, with the parent's type before theirs. */
export function declarations(text: string, parent?: Declaration): Declaration[] {
  return declarationsIn(tokens(text), parent);
}

function declarationsIn(all: readonly Token[], parent?: Declaration): Declaration[] {
  const found: Declaration[] = [];
  let decorators: string[] = [];
  const from = parent === undefined ? 0 : all.findIndex(({ text }) => text === "{") + 1;
  for (let at = from, depth = 0; at < all.length; at++) {
    const { text, kind } = all[at]!;
    if (closing[text] !== undefined) depth++;
    else if (Object.values(closing).includes(text)) depth--;
    if (depth === 0 && text === "@" && all[at + 1]?.kind === "word") decorators.push(all[at + 1]!.text);
    // Not a property's name.
    if (depth !== 0 || kind !== "word" || !kinds.has(text) || all[at + 1]?.kind !== "word") continue;
    const end = endOf(all, at);
    const own = all.slice(at, end);
    const of = own[2]?.text ?? "";
    const equals = own.findIndex((token) => token.text === "=");
    const declared: Declaration = {
      kind: text as Declaration["kind"], name: own[1]!.text, existing: own[3]?.text === "existing", hasDefault: equals > 0, decorators, tokens: own,
      of: text === "resource" && parent !== undefined ? nested(parent.of, of) : of,
    };
    found.push(declared, ...(text === "resource" ? declarationsIn(own, declared) : []));
    decorators = [];
    at = end - 1;
  }
  return found;
}

const nested = (parent: string, of: string): string => {
  const [type, version] = parent.split("@");
  const [own, ownVersion = version] = of.split("@");
  return `${type}/${own}@${ownVersion}`;
};

/** A declaration ends where, outside of brackets, a line begins that continues nothing. */
function endOf(all: readonly Token[], from: number): number {
  let depth = 0;
  for (let at = from; at < all.length; at++) {
    const { text, line } = all[at]!;
    if (depth === 0 && at > from && line > all[at - 1]!.line) return at;
    if (closing[text] !== undefined) depth++;
    else if (Object.values(closing).includes(text) && --depth < 0) return at;
  }
  return all.length;
}

/** Names that an expression uses: no keys of objects, no properties. */
export function uses(all: readonly Token[]): Set<string> {
  const found = new Set<string>();
  all.forEach((token, at) => {
    for (const name of uses(token.inside ?? [])) found.add(name);
    const before = all[at - 1]?.text;
    const isKey = all[at + 1]?.text === ":" && (before === "{" || before === "," || (all[at - 1]?.line ?? token.line) < token.line);
    if (token.kind === "word" && before !== "." && !isKey) found.add(token.text);
  });
  return found;
}

/** The value of a property right inside the declaration's own object. */
export function property(all: readonly Token[], name: string): readonly Token[] {
  const start = all.findIndex(({ text }) => text === "{");
  for (let at = start + 1, depth = 0; at < all.length; at++) {
    const { text } = all[at]!;
    if (depth === 0 && text === name && all[at + 1]?.text === ":") return all.slice(at + 2, endOf(all, at + 2));
    if (closing[text] !== undefined) depth++;
    else if (Object.values(closing).includes(text)) depth--;
  }
  return [];
}

/** The names right inside an object. */
export function keys(object: readonly Token[]): string[] {
  const found: string[] = [];
  object.forEach((token, at) => {
    const depth = object.slice(0, at).reduce((sum, { text }) => sum + (closing[text] !== undefined ? 1 : Object.values(closing).includes(text) ? -1 : 0), 0);
    const before = object[at - 1];
    if (depth === 1 && object[at + 1]?.text === ":" && (before!.line < token.line || before!.text === "{" || before!.text === ",")) found.push(token.text);
  });
  return found;
}
