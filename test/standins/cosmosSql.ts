// The part of Cosmos DB's SQL that the adapters speak, made into SQLite conditions over a column `body` of JSON. Values are always
// bound, never put into the text; names are checked. What it does not understand it refuses, as the service refuses what is wrong.

export class QueryFault extends Error {}

type Path = readonly string[];
type Expression = { readonly path: Path } | { readonly value: unknown } | { readonly fields: readonly (readonly [string, Expression])[] } | { readonly elements: readonly Expression[] };

export interface Statement {
  readonly top?: number;
  readonly select: { readonly kind: "star" } | { readonly kind: "value"; readonly of: Expression } | { readonly kind: "list"; readonly items: readonly { readonly name: string; readonly of: Expression; readonly text: string }[] };
  readonly where: { readonly sql: string; readonly values: readonly (string | number)[]; readonly text: string };
  readonly orderBy?: { readonly path: Path; readonly descending: boolean; readonly text: string };
  readonly valueText?: string;
}

export interface QuerySpec {
  readonly query: string;
  readonly parameters?: readonly { readonly name: string; readonly value: unknown }[];
}

type Token = { readonly kind: "word" | "number" | "string" | "parameter" | "sign" | "end"; readonly text: string; readonly from: number; readonly to: number };

const pattern = /\s*(?:(\d+(?:\.\d+)?)|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(@[A-Za-z_]\w*)|([A-Za-z_]\w*)|(<=|>=|!=|[=<>*(),.[\]{}:]))/y;

const tokensOf = (text: string): Token[] => {
  const tokens: Token[] = [];
  const scan = new RegExp(pattern);
  while (text.slice(scan.lastIndex).trim() !== "") {
    const at = scan.lastIndex;
    const found = scan.exec(text);
    if (!found) throw new QueryFault(`Syntax error near '${text.slice(at, at + 20)}'.`);
    const kinds = ["number", "string", "parameter", "word", "sign"] as const;
    const index = found.slice(1).findIndex((part) => part !== undefined);
    const part = found[index + 1] as string;
    tokens.push({ kind: kinds[index] as Token["kind"], text: part, from: scan.lastIndex - part.length, to: scan.lastIndex });
  }
  tokens.push({ kind: "end", text: "", from: text.length, to: text.length });
  return tokens;
};

/** Throws a QueryFault for what is wrong or not known here. */
export const parseQuery = ({ query, parameters = [] }: QuerySpec): Statement => new Parser(query, parameters).statement();

/** What follows a patch's `condition`: FROM c WHERE ... */
export const parseCondition = (text: string): Statement => parseQuery({ query: `SELECT * ${text}` });

/** The value of a select clause for one document; undefined is left out. */
export const project = ({ select }: Statement, document: Record<string, unknown>): unknown => {
  if (select.kind === "star") return document;
  if (select.kind === "value") return evaluate(select.of, document);
  return Object.fromEntries(select.items.map(({ name, of }) => [name, evaluate(of, document)]).filter(([, value]) => value !== undefined));
};

const evaluate = (expression: Expression, document: Record<string, unknown>): unknown => {
  if ("path" in expression) return expression.path.reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], document);
  if ("value" in expression) return expression.value;
  if ("elements" in expression) return expression.elements.map((one) => evaluate(one, document));
  return Object.fromEntries(expression.fields.map(([name, of]) => [name, evaluate(of, document)]).filter(([, value]) => value !== undefined));
};

/** A path as SQLite finds it: `id` is a column of its own. */
export const columnOf = (path: Path): string => (path.length === 1 && path[0] === "id" ? "id" : `json_extract(body, '${jsonPath(path)}')`);

const jsonPath = (path: Path): string => {
  if (path.some((name) => !/^\w+$/.test(name))) throw new QueryFault("A name in a path is not plain.");
  return `$${path.map((name) => `."${name}"`).join("")}`;
};

class Parser {
  private readonly tokens: readonly Token[];
  private at = 0;
  private readonly values: (string | number)[] = [];
  private readonly given: ReadonlyMap<string, unknown>;
  constructor(private readonly text: string, parameters: NonNullable<QuerySpec["parameters"]>) {
    this.tokens = tokensOf(text);
    this.given = new Map(parameters.map(({ name, value }) => [name, value]));
  }

  statement(): Statement {
    this.need("SELECT");
    const top = this.eat("TOP") ? this.count() : undefined;
    const valueFrom = this.peek().from;
    const select = this.select();
    const valueText = select.kind === "value" ? this.text.slice(valueFrom, this.peek().from).replace(/^\s*VALUE\s/i, "").trim() : undefined;
    this.need("FROM");
    this.need("c");
    const whereFrom = this.peek().to;
    const sql = this.eat("WHERE") ? this.or() : "1";
    const text = sql === "1" ? "true" : this.text.slice(whereFrom, this.peek().from).trim();
    const orderBy = this.eat("ORDER") ? this.order() : undefined;
    if (this.peek().kind !== "end") throw this.fault();
    return { ...(top === undefined ? {} : { top }), select, where: { sql, values: this.values, text }, ...(orderBy ? { orderBy } : {}), ...(valueText === undefined ? {} : { valueText }) };
  }

  private peek(): Token {
    return this.tokens[this.at] as Token;
  }

  private take(): Token {
    return this.tokens[this.at++] as Token;
  }

  private eat(text: string): boolean {
    const token = this.peek();
    const same = token.kind === "word" ? token.text.toUpperCase() === text.toUpperCase() : token.kind === "sign" && token.text === text;
    if (same) this.at++;
    return same;
  }

  private need(text: string): void {
    if (!this.eat(text)) throw this.fault();
  }

  private fault(): QueryFault {
    return new QueryFault(`Syntax error near '${this.text.slice(this.peek().from, this.peek().from + 20)}'.`);
  }

  private count(): number {
    const value = this.operand();
    if (!("value" in value) || !Number.isSafeInteger(value.value)) throw this.fault();
    return value.value as number;
  }

  private select(): Statement["select"] {
    if (this.eat("*")) return { kind: "star" };
    if (this.eat("VALUE")) return { kind: "value", of: this.expression() };
    const items = [];
    do {
      const { from } = this.peek();
      const of = this.expression();
      const text = this.text.slice(from, this.peek().from).trim();
      const name = this.eat("AS") ? this.take().text : "path" in of ? of.path.at(-1) : undefined;
      if (name === undefined) throw this.fault();
      items.push({ name, of, text });
    } while (this.eat(","));
    return { kind: "list", items };
  }

  private order(): NonNullable<Statement["orderBy"]> {
    this.need("BY");
    const { from } = this.peek();
    const path = this.path();
    const text = this.text.slice(from, this.peek().from).trim();
    const descending = this.eat("DESC");
    if (!descending) this.eat("ASC");
    return { path, descending, text };
  }

  private path(): Path {
    this.need("c");
    const names: string[] = [];
    while (this.eat(".")) names.push(this.take().text);
    return names;
  }

  private expression(): Expression {
    if (this.eat("{")) {
      const fields: (readonly [string, Expression])[] = [];
      while (!this.eat("}")) {
        const name = this.literal(this.take());
        this.need(":");
        fields.push([String(name), this.expression()]);
        this.eat(",");
      }
      return { fields };
    }
    if (!this.eat("[")) return this.operand();
    const elements: Expression[] = [];
    while (!this.eat("]")) {
      elements.push(this.expression());
      this.eat(",");
    }
    return { elements };
  }

  private operand(): Expression {
    const token = this.peek();
    if (token.kind === "word") return { path: this.path() };
    return { value: this.literal(this.take()) };
  }

  private literal(token: Token): unknown {
    if (token.kind === "number") return Number(token.text);
    if (token.kind === "string") return JSON.parse(token.text.startsWith('"') ? token.text : `"${token.text.slice(1, -1).replaceAll('"', '\\"')}"`);
    if (token.kind !== "parameter") throw this.fault();
    if (!this.given.has(token.text)) throw new QueryFault(`Parameter ${token.text} was not supplied.`);
    return this.given.get(token.text);
  }

  private or(): string {
    let sql = this.and();
    while (this.eat("OR")) sql = `(${sql} OR ${this.and()})`;
    return sql;
  }

  private and(): string {
    let sql = this.not();
    while (this.eat("AND")) sql = `(${sql} AND ${this.not()})`;
    return sql;
  }

  private not(): string {
    return this.eat("NOT") ? `(NOT ${this.not()})` : this.predicate();
  }

  private predicate(): string {
    if (this.eat("TRUE")) return "1";
    if (this.eat("(")) {
      const sql = this.or();
      this.need(")");
      return sql;
    }
    if (this.eat("IS_DEFINED")) {
      this.need("(");
      const path = this.path();
      this.need(")");
      return `(json_type(body, '${jsonPath(path)}') IS NOT NULL)`;
    }
    const left = this.side();
    if (this.eat("BETWEEN")) {
      const low = this.side();
      this.need("AND");
      return `(${left} BETWEEN ${low} AND ${this.side()})`;
    }
    if (this.eat("IN")) return `(${left} IN (${this.list()}))`;
    const operator = this.take().text;
    if (!["=", "!=", "<", ">", "<=", ">="].includes(operator)) throw this.fault();
    return `(${left} ${operator} ${this.side()})`;
  }

  private list(): string {
    this.need("(");
    const sides: string[] = [];
    do sides.push(this.side());
    while (this.eat(","));
    this.need(")");
    return sides.join(", ");
  }

  private side(): string {
    const operand = this.operand();
    if ("path" in operand) return columnOf(operand.path);
    const { value } = operand as { value: unknown };
    if (typeof value !== "string" && typeof value !== "number") throw new QueryFault("Only text and numbers are compared here.");
    this.values.push(value);
    return "?";
  }
}
