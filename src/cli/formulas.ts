// Formulas of autoscale as people write them: from an option or a file; and where one is wrong, its line with a caret below the place.
// What a formula means is not known here.
import { readFileSync } from "node:fs";
import path from "node:path";
import type { Invocation, OptionSpec } from "./command";
import { EXIT, Failure, ServiceError, usage } from "./failures";
import { clean, width } from "./output";

export const FORMULA_OPTIONS: Readonly<Record<string, OptionSpec>> = {
  formula: { type: "string", value: "TEXT", help: "the formula" },
  file: { type: "string", value: "FILE", help: "a file with the formula" },
};

/** Of `--formula` or `--file`: undefined when there is neither. */
export function givenFormula(call: Invocation): string | undefined {
  const [formula, file] = [call.text("formula"), call.text("file")];
  if (formula !== undefined && file !== undefined) throw usage("--formula and --file cannot be used together.");
  return file === undefined ? formula : readFileSync(path.resolve(call.io.cwd, file), "utf8");
}

export function neededFormula(call: Invocation): string {
  const formula = givenFormula(call);
  if (formula === undefined) throw usage("There is no formula: --formula TEXT or --file FILE.", "A formula is like '$TargetDedicated = max(1, $ActiveTasks.GetSample(1));'");
  return formula;
}

export interface Place {
  readonly line: number;
  readonly column: number;
}

/** Characters of a long line that are shown before and after the place. */
const AROUND = 60;

/** The line of the place, and a caret below it: two lines, indented. Line and column count from 1. */
export function excerptOf(formula: string, { line, column }: Place): string {
  const text = formula.split(/\r\n|\r|\n/)[line - 1] ?? "";
  const from = Math.max(0, column - 1 - AROUND);
  const before = clean(text.slice(from, column - 1));
  const after = clean(text.slice(column - 1, column - 1 + AROUND));
  const cut = from > 0 ? "... " : "";
  return `    ${cut}${before}${after}\n    ${" ".repeat(cut.length + width(before))}^\n`;
}

/** The place that the service's sentence names: `Line 1, Col 5: ...`. */
export function placeIn(sentence: string): Place | undefined {
  const match = /^Line (\d{1,6}), Col (\d{1,6}):/.exec(sentence);
  return match ? { line: Number(match[1]), column: Number(match[2]) } : undefined;
}

/** A sentence with a place, below it the excerpt, if it names one. */
export function pointedOut(formula: string, sentence: string): string {
  const place = placeIn(sentence);
  return `${clean(sentence)}\n${place ? excerptOf(formula, place) : ""}`;
}

/** Does it; when the service refuses the formula, the failure shows where. */
export async function withFormula<T>(formula: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    const sentence = error.values.find(({ key }) => key === "Message")?.value ?? "";
    const place = placeIn(sentence);
    if (!place) throw error;
    throw new Failure(EXIT.refused, `${sentence} [${error.code}]`, undefined, { code: error.code, excerpt: excerptOf(formula, place) });
  }
}
