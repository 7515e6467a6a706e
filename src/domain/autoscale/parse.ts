// Tokens to code for a small stack machine (reference autoscale-formula, section 2). Code has no loops and jumps forward only,
// so that an evaluation ends by construction. What names mean is found out when they are evaluated, never here.
import { Failure, type FormulaFault, faultAt } from "./fault";
import { type Token, tokensOf } from "./tokens";
import type { Value } from "./values";

export const FORMULA_MAX = 8192;
export const STATEMENTS_MAX = 100;
/** Brackets and calls within each other: far more than a formula that people write, and no danger to the stack. */
export const NESTING_MAX = 200;

export type BinaryOperator = "+" | "-" | "*" | "/" | "<" | "<=" | ">" | ">=" | "==" | "!=";

/** `offset`: where a failure of the instruction is reported. */
export type Instruction =
  | { readonly op: "push"; readonly value: Value }
  | { readonly op: "name"; readonly name: string; readonly offset: number }
  | { readonly op: "binary"; readonly operator: BinaryOperator; readonly offset: number }
  | { readonly op: "unary"; readonly operator: "-" | "!"; readonly offset: number }
  /** Takes a number: goes on, or to `to` if it is 0. */
  | { readonly op: "branch"; to: number; readonly offset: number }
  | { readonly op: "jump"; to: number }
  /** Takes the left side of `&&` or `||`: goes to `to` with 0 or 1 when that decides. */
  | { readonly op: "decided"; readonly by: 0 | 1; to: number; readonly offset: number }
  /** Makes the right side of `&&` or `||` 0 or 1. */
  | { readonly op: "truth"; readonly offset: number }
  /** Refuses a function that there is not, before its arguments are looked at. */
  | { readonly op: "function"; readonly name: string; readonly offset: number }
  | { readonly op: "call"; readonly name: string; readonly count: number; readonly offset: number }
  | { readonly op: "method"; readonly name: string; readonly count: number; readonly offset: number; readonly nameOffset: number }
  | { readonly op: "member"; readonly name: string; readonly offset: number }
  | { readonly op: "assign"; readonly name: string; readonly offset: number }
  | { readonly op: "drop" };

export interface Formula {
  readonly text: string;
  readonly code: readonly Instruction[];
  readonly statements: number;
}

/** The formula, or why it is none: too long, empty, more than 100 statements, or a syntax error with its place. Never throws. */
export const parseFormula = (text: string): Formula | FormulaFault => {
  try {
    if (text.length > FORMULA_MAX)
      throw new Failure("AutoScalingFormulaTooLong", FORMULA_MAX, `The formula has ${text.length} characters, and may have ${FORMULA_MAX}`);
    if (text.trim() === "") throw new Failure("InvalidAutoScalingSettings", 0, "The formula is empty");
    const parser = new Parser(tokensOf(text));
    parser.program();
    return { text, code: parser.code, statements: parser.statements };
  } catch (error) {
    if (error instanceof Failure) return faultAt(text, error);
    throw error;
  }
};

/** Binary operators by how tightly they bind, loosest first; `&&` and `||` may leave their right side alone. */
const BINDING: ReadonlyMap<string, number> = new Map([
  ["||", 1], ["&&", 2], ["==", 3], ["!=", 3], ["<", 4], ["<=", 4], [">", 4], [">=", 4], ["+", 5], ["-", 5], ["*", 6], ["/", 6],
]);

class Parser {
  readonly code: Instruction[] = [];
  statements = 0;
  private at = 0;
  private depth = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  program(): void {
    for (;;) {
      while (this.takes(";"));
      if (this.peek().kind === "end") return;
      this.statement();
      if (this.peek().kind !== "end") this.expect(";");
    }
  }

  private statement(): void {
    const first = this.peek();
    if (++this.statements > STATEMENTS_MAX)
      throw new Failure("InvalidAutoScalingSettings", first.offset, `The formula has more than ${STATEMENTS_MAX} statements`);
    const assigns = first.kind === "name" && this.isSign(this.tokens[this.at + 1], "=");
    if (assigns) this.at += 2;
    this.expression();
    this.code.push(assigns ? { op: "assign", name: first.text, offset: first.offset } : { op: "drop" });
  }

  /** A chain of `a ? b : c ? d : e` is one loop: only brackets go deeper. */
  private expression(): void {
    const open = this.peek();
    if (++this.depth > NESTING_MAX) throw new Failure("AutoScalingFormulaSyntaxError", open.offset, `Expressions are nested more than ${NESTING_MAX} deep`);
    const ends: { to: number }[] = [];
    for (;;) {
      this.binary(1);
      const question = this.peek();
      if (!this.takes("?")) break;
      const branch = this.emit({ op: "branch", to: 0, offset: question.offset });
      this.expression();
      ends.push(this.emit({ op: "jump", to: 0 }));
      this.expect(":");
      branch.to = this.code.length;
    }
    for (const end of ends) end.to = this.code.length;
    this.depth--;
  }

  private binary(least: number): void {
    this.unary();
    for (;;) {
      const sign = this.peek();
      const binding = sign.kind === "sign" ? BINDING.get(sign.text) : undefined;
      if (binding === undefined || binding < least) return;
      this.at++;
      const { offset } = sign;
      if (sign.text === "&&" || sign.text === "||") {
        const decided = this.emit({ op: "decided", by: sign.text === "&&" ? 0 : 1, to: 0, offset });
        this.binary(binding + 1);
        this.code.push({ op: "truth", offset });
        decided.to = this.code.length;
      } else {
        this.binary(binding + 1);
        this.code.push({ op: "binary", operator: sign.text as BinaryOperator, offset });
      }
    }
  }

  private unary(): void {
    const signs: Token[] = [];
    while (this.isSign(this.peek(), "-") || this.isSign(this.peek(), "!")) signs.push(this.next());
    this.primary();
    while (this.takes(".")) this.member();
    for (const { text, offset } of signs.reverse()) this.code.push({ op: "unary", operator: text as "-" | "!", offset });
  }

  private primary(): void {
    const token = this.next();
    const { text, offset } = token;
    if (token.kind === "number") this.code.push({ op: "push", value: Number(text) });
    else if (token.kind === "string") this.code.push({ op: "push", value: { kind: "string", text } });
    else if (token.kind === "name" && this.isSign(this.peek(), "(")) {
      this.code.push({ op: "function", name: text, offset });
      const call = this.arguments();
      this.code.push({ op: "call", name: text, ...call });
    } else if (token.kind === "name") this.code.push({ op: "name", name: text, offset });
    else if (this.isSign(token, "(")) {
      this.expression();
      this.expect(")");
    } else throw unexpected(token);
  }

  private member(): void {
    const token = this.next();
    if (token.kind !== "name" || token.text.startsWith("$")) throw unexpected(token);
    const { text: name, offset } = token;
    if (this.isSign(this.peek(), "(")) this.code.push({ op: "method", name, nameOffset: offset, ...this.arguments() });
    else this.code.push({ op: "member", name, offset });
  }

  private arguments(): { count: number; offset: number } {
    const { offset } = this.next();
    let count = 0;
    if (!this.isSign(this.peek(), ")"))
      do {
        this.expression();
        count++;
      } while (this.takes(","));
    this.expect(")");
    return { count, offset };
  }

  private emit<I extends Instruction>(instruction: I): I {
    this.code.push(instruction);
    return instruction;
  }

  private peek(): Token {
    return this.tokens[this.at] as Token;
  }

  private next(): Token {
    const token = this.peek();
    if (token.kind !== "end") this.at++;
    return token;
  }

  private isSign(token: Token | undefined, text: string): boolean {
    return token?.kind === "sign" && token.text === text;
  }

  private takes(text: string): boolean {
    if (!this.isSign(this.peek(), text)) return false;
    this.at++;
    return true;
  }

  private expect(text: string): void {
    if (!this.takes(text)) throw unexpected(this.peek());
  }
}

const unexpected = ({ kind, text, offset }: Token): Failure =>
  new Failure("AutoScalingFormulaSyntaxError", offset, kind === "end" ? "Unexpected end of formula" : `Unexpected token: ${text.slice(0, 64)}`);
