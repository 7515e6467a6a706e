// batchledger autoscale test: evaluates formulas over samples that it is given, with no service: JSON lines in, JSON lines out.
// The interpreter is the service's own (src/domain/autoscale); nothing here decides what a formula means.
import { createInterface } from "node:readline";
import { type Evaluation, type Inputs, evaluateFormula, unchanged } from "../../domain/autoscale/evaluate";
import { type FormulaFault, isFault } from "../../domain/autoscale/fault";
import { parseFormula } from "../../domain/autoscale/parse";
import { METRICS, type Series, samplesOf } from "../../domain/autoscale/samples";
import type { Command, Invocation } from "../command";
import { EXIT, usage } from "../failures";

export const autoscaleTestCommand: Command = {
  words: "autoscale test", operands: "", operandsMin: 0, operandsMax: 0, connects: false,
  summary: "Evaluates formulas over given samples, without a service.",
  options: { batch: { type: "boolean", help: "read JSON lines from standard input, write one JSON line each" } },
  more: `
Each line in: {"id":"a","formula":"$TargetDedicated=2","now":"2015-07-20T12:00:00Z","target":10,"currentDedicated":10,
"metrics":{"$ActiveTasks":[["2015-07-20T11:59:30Z",8]]},"sampleSeconds":30}; "seed" (of rand()), "taskSlots" and
"samplePercent" (wanted where a formula names no percentage; 70) may be there too.
Each line out: {"id","results","error"?:{"code","line","column","message"}}. The exit code is 2 if a line could not be understood.`,
  run: testFormulas,
};

async function testFormulas(call: Invocation): Promise<number> {
  if (!call.flag("batch")) throw usage("autoscale test reads its formulas from standard input: add --batch.", "See `batchledger autoscale test --help`.");
  let wrong = 0;
  for await (const line of createInterface({ input: call.io.stdin, crlfDelay: Infinity })) {
    if (line.trim() === "") continue;
    const answer = answerTo(line);
    if (answer.error?.code === "InvalidInput") wrong++;
    call.io.out(`${JSON.stringify(answer)}\n`);
  }
  return wrong > 0 ? EXIT.usage : EXIT.ok;
}

interface Answer {
  readonly id: unknown;
  readonly results?: string;
  readonly error?: { readonly code: string; readonly line?: number; readonly column?: number; readonly message: string };
}

function answerTo(line: string): Answer {
  let id: unknown = null;
  try {
    const given = JSON.parse(line) as Record<string, unknown>;
    if (typeof given !== "object" || given === null || Array.isArray(given)) throw new Error("a line is a JSON object");
    id = given["id"] ?? null;
    const inputs = inputsFrom(given);
    const { results, error } = evaluateText(textOf(given, "formula"), inputs);
    return { id, results, ...(error ? { error: shown(error) } : {}) };
  } catch (error) {
    return { id, error: { code: "InvalidInput", message: (error as Error).message } };
  }
}

/** Parses and evaluates; a formula that cannot be parsed leaves the target as one that fails does. */
export function evaluateText(formula: string, inputs: Inputs): Evaluation {
  const parsed = parseFormula(formula);
  return isFault(parsed) ? { ...unchanged(inputs.target), error: parsed } : evaluateFormula(parsed, inputs);
}

const shown = ({ code, line, column, detail }: FormulaFault) => ({ code, line, column, message: detail });

function inputsFrom(given: Readonly<Record<string, unknown>>): Inputs {
  const target = countOf(given, "target", 0);
  return {
    nowMs: instantOf(given["now"], "now"),
    target,
    currentDedicated: countOf(given, "currentDedicated", target),
    taskSlots: countOf(given, "taskSlots", 1),
    seed: countOf(given, "seed", 0),
    wantedPercent: numberOf(given, "samplePercent", 70),
    periodMs: positive(numberOf(given, "sampleSeconds", 30), "sampleSeconds") * 1000,
    samples: samplesOf(historyFrom(given["metrics"] ?? {})),
  };
}

function historyFrom(metrics: unknown): ReadonlyMap<string, Series> {
  if (typeof metrics !== "object" || metrics === null || Array.isArray(metrics)) throw new Error("metrics is an object of lists");
  return new Map(Object.entries(metrics).map(([name, list]) => {
    const metric = METRICS.get(name);
    if (metric === undefined) throw new Error(`metrics: ${name} is no metric`);
    if (!Array.isArray(list)) throw new Error(`metrics: ${name} is a list of [time, value]`);
    const samples = list.map((entry: unknown): [number, number] => {
      const [at, value] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (typeof value !== "number") throw new Error(`metrics: ${name} is a list of [time, value]`);
      return [instantOf(at, name), value];
    });
    samples.sort((a, b) => a[0] - b[0]);
    return [metric, { times: samples.map(([at]) => at), values: samples.map(([, value]) => value) }];
  }));
}

function instantOf(value: unknown, name: string): number {
  const ms = typeof value === "string" ? Date.parse(value) : NaN;
  if (Number.isNaN(ms)) throw new Error(`${name} must be an instant such as 2015-07-20T12:00:00Z`);
  return ms;
}

function textOf(given: Readonly<Record<string, unknown>>, name: string): string {
  const value = given[name];
  if (typeof value !== "string") throw new Error(`${name} must be text`);
  return value;
}

function numberOf(given: Readonly<Record<string, unknown>>, name: string, otherwise: number): number {
  const value = given[name] ?? otherwise;
  if (typeof value !== "number" || !Number.isFinite(value)) throw new Error(`${name} must be a number`);
  return value;
}

function countOf(given: Readonly<Record<string, unknown>>, name: string, otherwise: number): number {
  const value = numberOf(given, name, otherwise);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} must be a whole number of at least 0`);
  return value;
}

function positive(value: number, name: string): number {
  if (value <= 0) throw new Error(`${name} must be more than 0`);
  return value;
}
