// batchledger autoscale enable, disable, evaluate: formulas that say how many TVMs a pool has.
import type { Command, Invocation } from "../command";
import { EXIT } from "../failures";
import { FORMULA_OPTIONS, givenFormula, neededFormula, pointedOut, withFormula } from "../formulas";
import { clean, json, plural, table } from "../output";
import * as parse from "../options";
import type { AutoScaleRunResource } from "../resources";

export const autoscaleCommands: readonly Command[] = [
  {
    words: "autoscale enable", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Lets a formula say how many TVMs a pool has. It is evaluated at once, then every interval.",
    options: {
      ...FORMULA_OPTIONS,
      max: { type: "string", value: "N", help: "never more TVMs than this, whatever the formula says" },
      every: { type: "string", value: "TIME", help: "the interval (default 15m; 5m to 168h unless the operator set others)" },
    },
    more: `
Without a formula the pool keeps the one that it has. Example:
  batchledger autoscale enable p --max 10 --formula '$TargetDedicated = max(1, $ActiveTasks.GetSample(1));'`,
    run: enable,
  },
  { words: "autoscale disable", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true, summary: "Turns autoscale of a pool off; the pool keeps its target.", options: {}, run: disable },
  {
    words: "autoscale evaluate", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Says what a formula would come to now, and changes nothing. Autoscale of the pool must be on.",
    options: FORMULA_OPTIONS, run: evaluate,
  },
];

async function enable(call: Invocation): Promise<number> {
  const client = call.client();
  const name = call.operands[0] as string;
  const formula = givenFormula(call);
  const [max, every] = [call.text("max"), call.text("every")];
  const body = {
    ...(formula === undefined ? {} : { autoScaleFormula: formula }),
    ...(max === undefined ? {} : { autoScaleMaxDedicated: parse.wholeNumber("--max", max, 0, 10_000) }),
    ...(every === undefined ? {} : { autoScaleEvaluationInterval: parse.duration("--every", every) }),
  };
  if (Object.keys(body).length === 0) neededFormula(call);
  await withFormula(formula ?? "", () => client.enableAutoScale(name, body));
  const pool = await client.getPool(name);
  if (call.json) json(call.io, pool);
  else {
    call.io.out(`Pool ${clean(name)}: autoscale is on; target ${plural(pool.targetDedicated, "TVM")}.\n`);
    if (pool.autoScaleRun) tellError(call, pool.autoScaleRun, pool.autoScaleFormula ?? "");
  }
  return EXIT.ok;
}

async function disable(call: Invocation): Promise<number> {
  const client = call.client();
  const name = call.operands[0] as string;
  await client.disableAutoScale(name);
  const pool = await client.getPool(name);
  if (call.json) json(call.io, pool);
  else call.io.out(`Pool ${clean(name)}: autoscale is off; target ${plural(pool.targetDedicated, "TVM")}.\n`);
  return EXIT.ok;
}

async function evaluate(call: Invocation): Promise<number> {
  const formula = neededFormula(call);
  const run = await withFormula(formula, () => call.client().evaluateAutoScale(call.operands[0] as string, formula));
  if (call.json) json(call.io, run);
  else {
    call.io.out(resultsTable(run.results));
    tellError(call, run, formula);
  }
  return run.error ? EXIT.failed : EXIT.ok;
}

/** `$A=1;b=[1,2]` as two columns. */
const resultsTable = (results: string): string =>
  table(results.split(/;(?=\$?[A-Za-z_]\w*=)/).map((part) => [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)] as const), [
    { title: "VARIABLE", value: ([name]) => name },
    { title: "VALUE", value: ([, value]) => value },
  ]);

function tellError(call: Invocation, { error }: AutoScaleRunResource, formula: string): void {
  if (!error) return;
  const sentence = error.values.find(({ name }) => name === "Message")?.value ?? error.message;
  call.io.err(`The evaluation failed [${clean(error.code)}], and the target stays: ${pointedOut(formula, sentence)}`);
}
