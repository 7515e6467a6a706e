// The reference's own cases, word for word in cases.txt: a formula, the samples it sees, and the exact results or failure.
import { readFileSync } from "node:fs";
import path from "node:path";
import { evaluateFormula } from "../../../src/domain/autoscale/evaluate";
import { isFault } from "../../../src/domain/autoscale/fault";
import { parseFormula } from "../../../src/domain/autoscale/parse";
import { FIXTURES } from "./fixtures";

interface Case {
  readonly id: string;
  readonly fixture: string;
  readonly note: string;
  readonly formula: string;
  readonly expected: string;
}

const cases = readFileSync(path.join(__dirname, "cases.txt"), "utf8")
  .split(/^@ /m)
  .slice(1)
  .map((text): Case => {
    const [, id, fixture, note, formula, expected] = /^(\w+) (\w+) \w+ +(.*)\n([\s\S]*?)\n=> (.*)\n*$/.exec(text) as RegExpExecArray;
    return { id, fixture, note, formula, expected } as Case;
  });

const KINDS = { AutoScalingFormulaEvaluationError: "!eval", InsufficientSampleData: "!insufficient", AutoScalingFormulaSyntaxError: "!syntax" } as Record<string, string>;

/** In the notation of the cases. */
const outcomeOf = ({ formula, fixture }: Case, withText: boolean): string => {
  const inputs = FIXTURES[fixture];
  if (!inputs) throw new Error(`no fixture ${fixture}`);
  const parsed = parseFormula(formula);
  const { results, error } = isFault(parsed) ? { results: "", error: parsed } : evaluateFormula(parsed, inputs);
  if (!error) return results;
  if (!isFault(parsed)) expect(results).toBe(`$TargetDedicated=${inputs.target};$NodeDeallocationOption=requeue`);
  return `${KINDS[error.code]} ${error.line}:${error.column}${withText ? ` ${error.detail.replace(/^Line \d+, Col \d+: /, "")}` : ""}`;
};

test("all cases of the reference are here", () => expect(cases).toHaveLength(59));

test.each(cases)("case $id: $note", (one) => expect(outcomeOf(one, /^!\w+ \S+ ./.test(one.expected))).toBe(one.expected));
