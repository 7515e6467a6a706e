// The functions of formulas (reference autoscale-formula, section 5), except `stop()`, which is the machine's own. Arguments are
// values of any kind: each function says what it takes, and everything else is an evaluation error at its opening parenthesis.
import { type Meter, evaluation } from "./operators";
import { parseTime } from "./times";
import { type Instant, type Value, isVector, kindOf } from "./values";

export interface Surroundings {
  readonly now: Instant;
  readonly meter: Meter;
  /** The number that a metric stands for. */
  numberOf(value: Value): number | undefined;
  /** The next number of the evaluation's own seeded sequence, 0 <= x < 1. */
  random(): number;
}

type Function = (values: readonly Value[], around: Surroundings, fail: (reason: string) => never) => Value;

/** Throws a Failure at `offset` when the arguments do not fit. The name is one of `isFunction`. */
export const callFunction = (name: string, values: readonly Value[], around: Surroundings, offset: number): Value =>
  (FUNCTIONS.get(name) as Function)(values, around, (reason) => {
    throw evaluation(offset, `${name}: ${reason}`);
  });

export const isFunction = (name: string): boolean => FUNCTIONS.has(name);

/** Most elements of one vector: a day of samples every two seconds. */
export const VECTOR_MAX = 50_000;

type Fail = (reason: string) => never;

/** A list of numbers and vectors in any mix, flattened. Mostly there is one vector: it is taken as it is. */
const flat = (values: readonly Value[], around: Surroundings, fail: Fail): readonly number[] => {
  const [only] = values;
  if (values.length === 1 && only !== undefined && isVector(only)) return charged(only, around);
  const all: number[] = [];
  for (const value of values) {
    if (isVector(value)) {
      if (all.length + value.length > VECTOR_MAX) fail(`a vector has ${VECTOR_MAX} elements at most`);
      for (const one of charged(value, around)) all.push(one);
    } else all.push(around.numberOf(value) ?? fail(`expected numbers and vectors of numbers, not ${kindOf(value)}`));
  }
  return all;
};

const charged = (vector: readonly number[], { meter }: Surroundings): readonly number[] => {
  meter.spend(vector.length);
  return vector;
};

const overList = (compute: (list: readonly number[]) => number, empty?: number): Function => (values, around, fail) => {
  const list = flat(values, around, fail);
  if (list.length > 0) return compute(list);
  return empty ?? fail("there are no values");
};

/** One number gives a number, everything else a vector. */
const logarithm = (compute: (value: number) => number): Function => (values, around, fail) => {
  const [only] = values;
  const single = values.length === 1 && only !== undefined ? around.numberOf(only) : undefined;
  return single === undefined ? flat(values, around, fail).map(compute) : compute(single);
};

const sum = (list: readonly number[]): number => list.reduce((total, one) => total + one, 0);
const mean = (list: readonly number[]): number => sum(list) / list.length;
const largest = (list: readonly number[]): number => list.reduce((most, one) => (one > most || Number.isNaN(one) ? one : most));
const smallest = (list: readonly number[]): number => list.reduce((least, one) => (one < least || Number.isNaN(one) ? one : least));

/** Of a sample: the divisor is n - 1. */
const deviation = (list: readonly number[]): number => {
  if (list.length === 1) return 0;
  const middle = mean(list);
  return Math.sqrt(list.reduce((total, one) => total + (one - middle) ** 2, 0) / (list.length - 1));
};

/** What sorting costs, in elements handled once. */
const SORT_COST = 5;

const percentile: Function = ([first, second, ...more], around, fail) => {
  const share = second === undefined ? undefined : around.numberOf(second);
  if (first === undefined || !isVector(first) || share === undefined || more.length > 0) return fail("expected a vector and a number");
  if (!(share >= 0 && share <= 100)) fail("expected a percentage from 0 to 100");
  if (first.length === 0) fail("there are no values");
  around.meter.spend(first.length * SORT_COST);
  const sorted = Float64Array.from(first).sort();
  return sorted[Math.max(1, Math.ceil((share / 100) * sorted.length)) - 1] as number;
};

const element: Function = ([first, second, ...more], around, fail) => {
  const index = second === undefined ? undefined : around.numberOf(second);
  if (first === undefined || !isVector(first) || index === undefined || more.length > 0) return fail("expected a vector and a number");
  if (first.length === 0) return 0;
  return first[Math.trunc(index)] ?? fail(`there is no element ${Math.trunc(index)} of ${first.length}`);
};

const time: Function = ([text, ...more], around, fail) => {
  if (text === undefined) return around.now;
  if (kindOf(text) !== "string" || more.length > 0) return fail("expected one string or nothing");
  const { text: written } = text as { text: string };
  return written === "" ? around.now : (parseTime(written) ?? fail("the string is not a date and time"));
};

const FUNCTIONS: ReadonlyMap<string, Function> = new Map<string, Function>([
  ["avg", overList(mean)],
  ["len", overList((list) => list.length, 0)],
  ["lg", logarithm(Math.log2)],
  ["ln", logarithm(Math.log)],
  ["log", logarithm(Math.log10)],
  ["max", overList(largest)],
  ["min", overList(smallest)],
  ["norm", overList((list) => Math.sqrt(list.reduce((total, one) => total + one * one, 0)), 0)],
  ["percentile", percentile],
  ["rand", (values, around, fail) => (values.length > 0 ? fail("expected no arguments") : around.random())],
  ["range", overList((list) => largest(list) - smallest(list))],
  ["std", overList(deviation, 0)],
  ["sum", overList(sum, 0)],
  ["time", time],
  ["val", element],
  ["vec", (values, around, fail) => flat(values, around, fail)],
]);
