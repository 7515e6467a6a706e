// What operators do to values (reference autoscale-formula, section 4): the list of operand types is complete, and every pair
// that is not in it is an evaluation error. Numbers are IEEE doubles; instants and spans count ticks exactly.
import { Failure } from "./fault";
import type { BinaryOperator } from "./parse";
import { type Instant, type Span, type Value, isVector, kindOf, span } from "./values";

/** Elements that an evaluation has handled; more than its budget is an evaluation error, and so every formula ends soon. */
export interface Meter {
  spend(elements: number): void;
}

export const unary = (operator: "-" | "!", value: Value, offset: number): Value => {
  if (typeof value === "number") return operator === "-" ? -value : value === 0 ? 1 : 0;
  if (operator === "-" && isKind(value, "timeinterval")) return span(-value.ticks);
  throw evaluation(offset, `Operator ${operator} cannot be applied to ${kindOf(value)}`);
};

export const binary = (operator: BinaryOperator, left: Value, right: Value, offset: number, meter: Meter): Value => {
  if (typeof left === "number" && typeof right === "number") return onNumbers(operator, left, right);
  const result = isArithmetic(operator) ? arithmetic(operator, left, right, offset, meter) : compared(operator, left, right);
  if (result === undefined) throw evaluation(offset, `Operator ${operator} cannot be applied to ${kindOf(left)} and ${kindOf(right)}`);
  return result;
};

export const evaluation = (offset: number, reason: string): Failure => new Failure("AutoScalingFormulaEvaluationError", offset, reason);

type Arithmetic = "+" | "-" | "*" | "/";
type Comparison = Exclude<BinaryOperator, Arithmetic>;

const isArithmetic = (operator: BinaryOperator): operator is Arithmetic => operator === "+" || operator === "-" || operator === "*" || operator === "/";

const isKind = <K extends "timestamp" | "timeinterval" | "string">(value: Value, kind: K): value is Extract<Value, { kind: K }> => kindOf(value) === kind;

const onNumbers = (operator: BinaryOperator, a: number, b: number): number => (isArithmetic(operator) ? calculate(operator, a, b) : holds(operator, a, b) ? 1 : 0);

const calculate = (operator: Arithmetic, a: number, b: number): number => {
  switch (operator) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      return a / b;
  }
};

const holds = <T extends number | bigint | string>(operator: Comparison, a: T, b: T): boolean => {
  switch (operator) {
    case "<":
      return a < b;
    case "<=":
      return a <= b;
    case ">":
      return a > b;
    case ">=":
      return a >= b;
    case "==":
      return a === b;
    case "!=":
      return a !== b;
  }
};

/** Two of a kind that has an order; vectors and option words have none. */
const compared = (operator: Comparison, left: Value, right: Value): number | undefined => {
  if (isKind(left, "string") && isKind(right, "string")) return holds(operator, left.text, right.text) ? 1 : 0;
  const sameTime = (isKind(left, "timestamp") && isKind(right, "timestamp")) || (isKind(left, "timeinterval") && isKind(right, "timeinterval"));
  return sameTime ? (holds(operator, (left as Span).ticks, (right as Span).ticks) ? 1 : 0) : undefined;
};

const arithmetic = (operator: Arithmetic, left: Value, right: Value, offset: number, meter: Meter): Value | undefined => {
  if (isVector(left)) return onVector(operator, left, right, offset, meter);
  const plus = operator === "+";
  if (isKind(left, "timeinterval")) {
    if (isKind(right, "timeinterval") && (plus || operator === "-")) return checkedSpan(plus ? left.ticks + right.ticks : left.ticks - right.ticks, offset);
    if (isKind(right, "timestamp") && plus) return checkedInstant(left.ticks + right.ticks, offset);
    if (typeof right === "number" && (operator === "*" || operator === "/")) return scaled(left, right, operator, offset);
  }
  if (isKind(left, "timestamp")) {
    if (isKind(right, "timeinterval") && plus) return checkedInstant(left.ticks + right.ticks, offset);
    if (isKind(right, "timestamp") && operator === "-") return span(left.ticks - right.ticks);
  }
  return typeof left === "number" && isKind(right, "timeinterval") && operator === "*" ? scaled(right, left, "*", offset) : undefined;
};

const onVector = (operator: Arithmetic, left: readonly number[], right: Value, offset: number, meter: Meter): readonly number[] | undefined => {
  meter.spend(left.length);
  if (typeof right === "number") return left.map((one) => calculate(operator, one, right));
  if (!isVector(right)) return undefined;
  if (right.length !== left.length) throw evaluation(offset, `Vectors of ${left.length} and ${right.length} elements`);
  return left.map((one, index) => calculate(operator, one, right[index] as number));
};

/** The longest span of the service's platform: 64 bits of ticks. */
const SPAN_MAX = (1n << 63n) - 1n;
/** 0001-01-01 and the last tick of 9999, counted from 1970. */
const INSTANT_MIN = -621_355_968_000_000_000n;
const INSTANT_MAX = 2_534_023_007_999_999_999n;

const checkedSpan = (ticks: bigint, offset: number): Span => {
  if (ticks > SPAN_MAX || ticks < -SPAN_MAX) throw evaluation(offset, "The time interval is too long");
  return span(ticks);
};

const checkedInstant = (ticks: bigint, offset: number): Instant => {
  if (ticks > INSTANT_MAX || ticks < INSTANT_MIN) throw evaluation(offset, "The timestamp is out of range");
  return { kind: "timestamp", ticks };
};

/** Rounded to the nearest tick; exact when the number is whole. */
const scaled = ({ ticks }: Span, by: number, operator: "*" | "/", offset: number): Span => {
  if (operator === "*" && Number.isSafeInteger(by)) return checkedSpan(ticks * BigInt(by), offset);
  const result = operator === "*" ? Number(ticks) * by : Number(ticks) / by;
  if (!Number.isFinite(result)) throw evaluation(offset, "The time interval is not finite");
  return checkedSpan(BigInt(Math.round(result)), offset);
};
