// Formulas that nobody wrote: made by the grammar, made of random tokens, made by damaging good ones. None may throw, take long, or
// give two answers to one question. FUZZ=n runs n seeds; SEED=n runs one.
import { type Inputs, evaluateFormula } from "../../../src/domain/autoscale/evaluate";
import { isFault, positionOf } from "../../../src/domain/autoscale/fault";
import { parseFormula } from "../../../src/domain/autoscale/parse";
import { type Seeded, forSeeds } from "../../support/seeded";
import { FIXTURES } from "./fixtures";

const RUNS = Number(process.env["FUZZ"] ?? 4000);
const NAMES = ["a", "$b", "c", "$TargetDedicated", "$TargetDedicatedNodes", "$TVMDeallocationOption", "$ActiveTasks", "$CPUPercent", "$CurrentDedicated", "TimeInterval_Minute", "TimeInterval_Year", "requeue", "nosuch"];
const FUNCTIONS = ["avg", "len", "lg", "max", "min", "norm", "percentile", "range", "std", "sum", "time", "val", "vec", "rand", "stop", "ln", "log", "nosuch"];
const MEMBERS = ["GetSample", "GetSamplePercent", "Count", "HistoryBeginTime", "GetSamplePeriod", "year", "weekday"];
const SIGNS = ["+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "&&", "||"];
const TOKENS = [...NAMES, ...FUNCTIONS, ...MEMBERS, ...SIGNS, "(", ")", ",", ";", "?", ":", "=", ".", "!", "1", "0.5", "1e9", '"2015-07-20"', '"', "//", "\n", " ", "%", "é", "\u{1F4A5}"];

const expression = (random: Seeded, depth: number): string => {
  const deeper = (): string => expression(random, depth - 1);
  const list = (): string => Array.from({ length: random.below(4) }, deeper).join(", ");
  switch (depth <= 0 ? random.below(3) : random.below(10)) {
    case 0:
      return random.oneOf(["0", "1", "2.5", ".5", "1e3", "70", "1e308"]);
    case 1:
      return random.oneOf(NAMES);
    case 2:
      return random.oneOf(["time()", '"x"', "vec(1,2,3)", "$ActiveTasks.GetSample(5)", "$ActiveTasks.GetSample(TimeInterval_Minute * 3, 50)"]);
    case 3:
      return `(${deeper()})`;
    case 4:
      return `${random.oneOf(["-", "!"])}${deeper()}`;
    case 5:
      return `${deeper()} ? ${deeper()} : ${deeper()}`;
    case 6:
      return `${random.oneOf(FUNCTIONS)}(${list()})`;
    case 7:
      return `${random.oneOf(["$ActiveTasks", "$CPUPercent", "a", "time()"])}.${random.oneOf(MEMBERS)}${random.chance(0.8) ? `(${list()})` : ""}`;
    default:
      return `${deeper()} ${random.oneOf(SIGNS)} ${deeper()}`;
  }
};

const byGrammar = (random: Seeded): string =>
  Array.from({ length: 1 + random.below(6) }, () => `${random.chance(0.8) ? `${random.oneOf(NAMES)} = ` : ""}${expression(random, 3)}`).join(";\n");

const damaged = (random: Seeded): string => {
  const text = byGrammar(random);
  const at = random.below(text.length + 1);
  return text.slice(0, at) + (random.chance(0.5) ? random.oneOf(TOKENS) : "") + text.slice(at + random.below(4));
};

const ofTokens = (random: Seeded): string => Array.from({ length: random.below(40) }, () => random.oneOf(TOKENS)).join(random.chance(0.5) ? " " : "");

const made = (random: Seeded): { text: string; inputs: Inputs } => ({
  text: random.oneOf([byGrammar, byGrammar, damaged, ofTokens])(random),
  inputs: { ...(FIXTURES[random.oneOf(Object.keys(FIXTURES))] as Inputs), seed: random.below(1000) },
});

test(`${RUNS} formulas throw nothing, and fail only with a code and a place inside the text`, () => {
  let evaluated = 0;
  forSeeds(RUNS, (random) => {
    const { text, inputs } = made(random);
    const formula = parseFormula(text);
    const fault = isFault(formula) ? formula : evaluateFormula(formula, inputs).error;
    if (!isFault(formula)) evaluated++;
    if (!fault) return;
    const end = positionOf(text, text.length);
    expect(fault.code).toMatch(/^(InvalidAutoScalingSettings|AutoScalingFormula(Syntax|Evaluation)Error|InsufficientSampleData)$/);
    expect(fault.line >= 1 && fault.line <= end.line && fault.column >= 1).toBe(true);
    expect(fault.detail.startsWith(`Line ${fault.line}, Col ${fault.column}: `)).toBe(true);
  });
  if (process.env["SEED"] === undefined) expect(evaluated).toBeGreaterThan(RUNS / 4);
});

test("the same formula and inputs give the same results, traced or not, parsed once or twice", () =>
  forSeeds(Math.min(RUNS, 1000), (random) => {
    const { text, inputs } = made(random);
    const [one, two] = [parseFormula(text), parseFormula(text)];
    expect(two).toEqual(one);
    if (isFault(one) || isFault(two)) return;
    const first = evaluateFormula(one, inputs);
    expect(evaluateFormula(one, inputs)).toEqual(first);
    expect(evaluateFormula(two, inputs, () => {})).toEqual(first);
  }));

test("a target is a whole number of at least 0, and an error keeps the present one", () =>
  forSeeds(Math.min(RUNS, 1000), (random) => {
    const { text, inputs } = made(random);
    const formula = parseFormula(text);
    if (isFault(formula)) return;
    const { target, option, error, results } = evaluateFormula(formula, inputs);
    expect(Number.isInteger(target) && target >= 0).toBe(true);
    if (error) expect({ target, option }).toEqual({ target: inputs.target, option: "requeue" });
    expect(results.startsWith(`$TargetDedicated=${BigInt(target)};$NodeDeallocationOption=${option}`)).toBe(true);
  }));

test("white space and comments between tokens change nothing but positions", () =>
  forSeeds(500, (random) => {
    const text = byGrammar(random);
    const formula = parseFormula(text);
    const spaced = parseFormula(text.replace(/;/g, " ; // note\r\n\t").replace(/ (\?|:) /g, "\n$1 "));
    if (isFault(formula) || isFault(spaced)) return expect(isFault(spaced)).toBe(isFault(formula));
    const inputs = FIXTURES["F1"] as Inputs;
    expect(evaluateFormula(spaced, inputs).results).toBe(evaluateFormula(formula, inputs).results);
  }));
