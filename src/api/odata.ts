// $filter as a hand-written interpreter: text to tokens, tokens to a test on rows, with bounds on length, depth and terms.
// Nothing of the text is ever executed. $select is a list of names. Refusals say what was wrong, as a query parameter's.
import { type Rejection, rejection } from "../domain/decider";
import { parseInstant } from "./dates";

export type Comparison = "eq" | "ne" | "gt" | "ge" | "lt" | "le";
type Scalar = string | number | boolean;

/** A property that a list may be filtered by. Texts compare without case, as names do; `state` values are a closed list. */
export interface Field<Row> {
  readonly type: "text" | "state" | "time" | "number" | "boolean";
  readonly operators: readonly (Comparison | "startswith")[];
  readonly values?: readonly string[];
  /** Times as ISO 8601 text; undefined: the row has no such property. */
  of(row: Row): Scalar | undefined;
}

export type Fields<Row> = Readonly<Record<string, Field<Row>>>;

export interface Filter<Row> {
  test(row: Row): boolean;
  /** What every row that passes has: `state eq 'x'` that stands alone or under `and`. */
  readonly equal: Readonly<Record<string, string>>;
}

export const ALL: readonly Comparison[] = ["eq", "ne", "gt", "ge", "lt", "le"];
export const EQ_NE: readonly Comparison[] = ["eq", "ne"];

const LENGTH_MAX = 4096;
const DEPTH_MAX = 32;
const TERMS_MAX = 100;

export const badFilter = (text: string, reason: string): Rejection =>
  rejection("InvalidQueryParameterValue", undefined, { QueryParameterName: "$filter", QueryParameterValue: text, Reason: reason });

/** The filter of a list, or why the text is none for it. */
export const parseFilter = <Row>(text: string, fields: Fields<Row>): Filter<Row> | Rejection => {
  if (text.length > LENGTH_MAX) return badFilter(text, `longer than ${LENGTH_MAX} characters`);
  try {
    const parser: Parser<Row> = { tokens: tokenize(text), next: 0, terms: 0, fields };
    const filter = parseOr(parser, 0);
    const rest = parser.tokens[parser.next];
    if (rest) fail(`${describe(rest)} is not expected there`);
    return filter;
  } catch (error) {
    if (error instanceof FilterError) return badFilter(text, error.message);
    throw error;
  }
};

/** The names that `$select` lists, or a refusal: each must be one of the resource's. */
export const parseSelect = (text: string, known: readonly string[]): ReadonlySet<string> | Rejection => {
  const names = text.split(",", 100).map((name) => name.trim());
  for (const name of names)
    if (!known.includes(name))
      return rejection("InvalidQueryParameterValue", undefined, {
        QueryParameterName: "$select",
        QueryParameterValue: text,
        Reason: name === "" ? "a name is empty" : "a name is no property of this resource",
      });
  return new Set(names);
};

// ---------------------------------------------------------------- tokens

type Token =
  | { readonly kind: "word" | "text"; readonly value: string }
  | { readonly kind: "time"; readonly value: string }
  | { readonly kind: "(" | ")" | ","; readonly value: string };

class FilterError extends Error {}

const fail = (reason: string): never => {
  throw new FilterError(reason);
};

const WORD = /[A-Za-z0-9_./:+-]/;

const tokenize = (text: string): Token[] => {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; ) {
    const char = text[at] as string;
    if (char === " " || char === "\t") at++;
    else if (char === "(" || char === ")" || char === ",") {
      tokens.push({ kind: char, value: char });
      at++;
    } else if (char === "'") {
      const { value, end } = quoted(text, at);
      tokens.push({ kind: "text", value });
      at = end;
    } else if (WORD.test(char)) at = word(text, at, tokens);
    else fail("it has a character that no filter has");
  }
  return tokens;
};

/** A name, number, keyword or bare instant; `datetime'...'` is one token. */
const word = (text: string, start: number, tokens: Token[]): number => {
  let at = start;
  while (at < text.length && WORD.test(text[at] as string)) at++;
  const value = text.slice(start, at);
  if (text[at] !== "'") {
    tokens.push({ kind: "word", value });
    return at;
  }
  if (!["datetime", "datetimeoffset"].includes(value.toLowerCase())) fail("a word stands against a quote");
  const literal = quoted(text, at);
  tokens.push({ kind: "time", value: literal.value });
  return literal.end;
};

/** Text in single quotes, a quote within it written twice. */
const quoted = (text: string, start: number): { value: string; end: number } => {
  for (let at = text.indexOf("'", start + 1); at >= 0; at = text.indexOf("'", at + 2)) {
    if (text[at + 1] !== "'") return { value: text.slice(start + 1, at).replaceAll("''", "'"), end: at + 1 };
  }
  return fail("a quote is not closed");
};

const describe = (token: Token): string => (token.kind === "word" ? `'${token.value.slice(0, 20)}'` : token.kind === "text" ? "a text" : `'${token.kind}'`);

// ---------------------------------------------------------------- tree

interface Parser<Row> {
  readonly tokens: readonly Token[];
  readonly fields: Fields<Row>;
  next: number;
  terms: number;
}

const peekWord = (parser: Parser<never>): string | undefined => {
  const token = parser.tokens[parser.next];
  return token?.kind === "word" ? token.value : undefined;
};

const take = (parser: Parser<never>, kind: Token["kind"]): Token => {
  const token = parser.tokens[parser.next++];
  if (!token) return fail("it ends too early");
  return token.kind === kind ? token : fail(`${describe(token)} is not expected there`);
};

const parseOr = <Row>(parser: Parser<Row>, depth: number): Filter<Row> => {
  const parts = [parseAnd(parser, depth)];
  while (peekWord(parser as Parser<never>) === "or") {
    parser.next++;
    parts.push(parseAnd(parser, depth));
  }
  return parts.length === 1 ? (parts[0] as Filter<Row>) : { test: (row) => parts.some((part) => part.test(row)), equal: {} };
};

const parseAnd = <Row>(parser: Parser<Row>, depth: number): Filter<Row> => {
  const parts = [parseTerm(parser, depth)];
  while (peekWord(parser as Parser<never>) === "and") {
    parser.next++;
    parts.push(parseTerm(parser, depth));
  }
  if (parts.length === 1) return parts[0] as Filter<Row>;
  return { test: (row) => parts.every((part) => part.test(row)), equal: Object.assign({}, ...parts.map((part) => part.equal)) as Record<string, string> };
};

const parseTerm = <Row>(parser: Parser<Row>, depth: number): Filter<Row> => {
  if (depth > DEPTH_MAX) fail(`nested more than ${DEPTH_MAX} deep`);
  if (++parser.terms > TERMS_MAX) fail(`more than ${TERMS_MAX} terms`);
  const token = parser.tokens[parser.next];
  if (token?.kind === "(") {
    parser.next++;
    const inner = parseOr(parser, depth + 1);
    take(parser as Parser<never>, ")");
    return inner;
  }
  const name = take(parser as Parser<never>, "word").value;
  return name === "startswith" ? parseStartsWith(parser) : parseComparison(parser, name);
};

const parseStartsWith = <Row>(parser: Parser<Row>): Filter<Row> => {
  const any = parser as Parser<never>;
  take(any, "(");
  const field = fieldOf(parser, take(any, "word").value, "startswith");
  take(any, ",");
  const start = take(any, "text").value.toLowerCase();
  take(any, ")");
  let wanted = true;
  if (peekWord(any) === "eq") {
    parser.next++;
    const value = take(any, "word").value;
    if (value !== "true" && value !== "false") fail("startswith is true or false");
    wanted = value === "true";
  }
  return { test: (row) => String(field.of(row) ?? "").toLowerCase().startsWith(start) === wanted, equal: {} };
};

const fieldOf = <Row>(parser: Parser<Row>, name: string, operator: string): Field<Row> => {
  const field = Object.hasOwn(parser.fields, name) ? parser.fields[name] : undefined;
  if (!field) return fail(`this list cannot be filtered by '${name.slice(0, 40)}'`);
  if (!(field.operators as readonly string[]).includes(operator)) fail(`'${name}' cannot be compared with '${operator.slice(0, 12)}'`);
  return field;
};

const parseComparison = <Row>(parser: Parser<Row>, name: string): Filter<Row> => {
  const operator = take(parser as Parser<never>, "word").value;
  const field = fieldOf(parser, name, operator);
  const value = literalFor(field, name, parser.tokens[parser.next++]);
  const compare = COMPARE[operator as Comparison];
  const of = comparable(field);
  return {
    test: (row) => {
      const own = of(row);
      // A property that is not there equals nothing: only `ne` is true of it.
      return own === undefined ? operator === "ne" : compare(own, value);
    },
    equal: field.type === "state" && operator === "eq" ? { [name]: String(value) } : {},
  };
};

const COMPARE: Readonly<Record<Comparison, (a: Scalar, b: Scalar) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
};

const comparable = <Row>(field: Field<Row>): ((row: Row) => Scalar | undefined) => {
  if (field.type === "text" || field.type === "state") return (row) => (field.of(row) as string | undefined)?.toLowerCase();
  if (field.type !== "time") return (row) => field.of(row);
  return (row) => {
    const at = field.of(row);
    return at === undefined ? undefined : Date.parse(at as string);
  };
};

const literalFor = <Row>(field: Field<Row>, name: string, token: Token | undefined): Scalar => {
  if (!token) return fail("it ends too early");
  switch (field.type) {
    case "text":
    case "state": {
      if (token.kind !== "text") return fail(`'${name}' is compared with a text in single quotes`);
      const text = token.value.toLowerCase();
      return field.values && !field.values.includes(text) ? fail(`invalid ${name}`) : text;
    }
    case "time": {
      const at = token.kind === "time" || token.kind === "word" ? parseInstant(token.value) : undefined;
      return at ?? fail(`'${name}' is compared with an instant such as datetime'2015-07-09T19:31:21Z'`);
    }
    case "number":
      return token.kind === "word" && /^-?\d{1,15}$/.test(token.value) ? Number(token.value) : fail(`'${name}' is compared with a whole number`);
    case "boolean":
      if (token.kind !== "word" || !["true", "false"].includes(token.value)) return fail(`'${name}' is compared with true or false`);
      return token.value === "true";
  }
};
