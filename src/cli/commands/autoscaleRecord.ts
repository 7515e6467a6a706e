// batchledger autoscale explain, backtest: why a pool has its target, and what another formula would have said. Both work on the samples
// and runs that the service has kept, with the service's own interpreter (src/domain/autoscale).
import { writeFileSync } from "node:fs";
import path from "node:path";
import { backtest, spreadOut } from "../../domain/autoscale/backtest";
import { type Evaluation, type Look, type Step, evaluateFormula } from "../../domain/autoscale/evaluate";
import { type FormulaFault, isFault } from "../../domain/autoscale/fault";
import { type Formula, parseFormula } from "../../domain/autoscale/parse";
import { type History, historyFrom, historyUntil, samplesOf } from "../../domain/autoscale/samples";
import type { Command, Invocation } from "../command";
import { EXIT, Failure } from "../failures";
import { FORMULA_OPTIONS, excerptOf, neededFormula, pointedOut } from "../formulas";
import { clean, json, plural, spell, table, when } from "../output";
import * as parse from "../options";
import { plot } from "../plot";
import type { AutoScalePastRun, AutoScaleRecordResource } from "../resources";

export const autoscaleRecordCommands: readonly Command[] = [
  {
    words: "autoscale explain", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Shows how the last evaluation of a pool's formula came to its target: each variable, and the samples that it used.",
    options: {}, run: explain,
  },
  {
    words: "autoscale backtest", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Shows what a formula would have said over the samples that were recorded of a pool, beside what the pool had.",
    options: {
      ...FORMULA_OPTIONS,
      hours: { type: "string", value: "N", help: "how far back, 1 to 192 (default 24); what is older than a day is known as averages of five minutes" },
      every: { type: "string", value: "TIME", help: "between two evaluations (default: the pool's own interval)" },
      max: { type: "string", value: "N", help: "never more TVMs than this (default: the pool's own maximum)" },
      svg: { type: "string", value: "FILE", help: "write a plot" },
    },
    more: `
The samples stay what they were: what other TVMs would have done to the tasks is not known. "Would wait" is how many of the tasks that were
waiting or running then are more than the slots of the suggested TVMs.`,
    run: runBacktest,
  },
];

const HOURS_MAX = 192;
/** Older samples are averaged, and no evaluation sees them. */
const DAY_HOURS = 25;

// ---------------------------------------------------------------- explain

interface Explained {
  readonly run: AutoScalePastRun;
  readonly steps: readonly Step[];
  /** The explanation comes to what the run came to. */
  readonly same: boolean;
}

async function explain(call: Invocation): Promise<number> {
  const name = call.operands[0] as string;
  const client = call.client();
  let record = await client.autoScaleRecord(name, DAY_HOURS);
  if (record.runs.length === 0) record = await client.autoScaleRecord(name, HOURS_MAX);
  const run = record.runs.at(-1);
  if (!run) throw new Failure(EXIT.failed, `The pool ${name} has no evaluation in the last ${HOURS_MAX} hours.`, `Turn autoscale on: batchledger autoscale enable ${name} --formula ...`);
  const explained = explainRun(run, record);
  if (call.json) json(call.io, { pool: record.pool, autoScale: record.autoScale, ...explained });
  else tell(call, record, explained);
  return EXIT.ok;
}

/** The run made again over the recorded samples, statement by statement. */
function explainRun(run: AutoScalePastRun, { samples }: AutoScaleRecordResource): Explained {
  const nowMs = Date.parse(run.at);
  const steps: Step[] = [];
  const formula = parseFormula(run.formula);
  if (isFault(formula)) return { run, steps, same: false };
  const history = historyFrom(samples.filter(({ aggregated }) => !aggregated), nowMs);
  const again: Evaluation = evaluateFormula(formula, { ...run.inputs, nowMs, target: run.targetBefore, samples: samplesOf(history) }, (step) => steps.push(step));
  return { run, steps, same: again.results === run.results };
}

function tell(call: Invocation, { pool, autoScale, tvmSize }: AutoScaleRecordResource, { run, steps, same }: Explained): void {
  const { io } = call;
  io.out(`Pool ${clean(pool)} (${clean(tvmSize)}): ${run.targetBefore} -> ${plural(run.target, "TVM")}, option ${clean(run.option)}, evaluated ${when(run.at)}.\n`);
  if (run.inputs.targetMax !== undefined) io.out(`The pool's own maximum is ${run.inputs.targetMax}.\n`);
  io.out(autoScale ? `The next evaluation is due ${when(autoScale.dueAt)}.\n\n` : "Autoscale is off now.\n\n");
  if (steps.length > 0) {
    io.out(table(steps.flatMap(rowsOf), [
      { title: "VARIABLE", value: ([name]) => name },
      { title: "VALUE", value: ([, value]) => short(value) },
      { title: "FROM", value: ([, , look]) => (look ? spellLook(look, Date.parse(run.at)) : "") },
    ]));
  }
  io.out(`\nResults: ${clean(run.results)}\n`);
  if (run.error) io.out(`Error: ${pointedOut(run.formula, run.error.detail)}`);
  if (!same) io.out("Note: samples that came late, or were averaged since, make this explanation differ from the run.\n");
  if (run.replayed === "different") io.out("Note: the run does not come out the same from what is stored of it.\n");
}

/** A row for each look at samples, the first with the variable. */
const rowsOf = ({ name, value, looks }: Step): (readonly [string | undefined, string | undefined, Look | undefined])[] =>
  looks.length === 0 ? [[name, value, undefined]] : looks.map((look, index) => (index === 0 ? [name, value, look] : [undefined, undefined, look]));

const short = (value: string | undefined): string | undefined => (value !== undefined && value.length > 40 ? `${value.slice(0, 37)}...` : value);

function spellLook({ metric, method, window, presence, values }: Look, nowMs: number): string {
  const span = window ? `, ${spell(nowMs - window.fromMs)} to ${window.toMs >= nowMs ? "now" : `${spell(nowMs - window.toMs)} ago`}` : "";
  const share = presence ? `, ${presence.present} of ${plural(presence.expected, "sample")} (${Math.round(presence.percent)} %)` : "";
  const found = values ? `, ${values.length === 0 ? "no values" : spellValues(values)}` : "";
  return `${metric} ${method}${span}${share}${found}`;
}

const spellValues = (values: readonly number[]): string => {
  if (values.length <= 6) return values.map(plain).join(" ");
  const sorted = [...values].sort((a, b) => a - b);
  return `${values.length} values from ${plain(sorted[0] as number)} to ${plain(sorted.at(-1) as number)}`;
};

const plain = (value: number): string => String(Number(value.toPrecision(6)));

// ---------------------------------------------------------------- backtest

/** More would say no more. */
const STEPS_MAX = 2000;
const ROWS_MAX = 50;
const FIVE_MINUTES_MS = 300_000;

export interface Point {
  readonly at: string;
  readonly waiting?: number;
  readonly running?: number;
  /** TVMs that there were, and the target that there was. */
  readonly tvms?: number;
  readonly target?: number;
  readonly suggested: number;
  /** Tasks beyond the slots of the suggested TVMs. */
  readonly wouldWait?: number;
  readonly error?: Pick<FormulaFault, "code" | "line" | "column" | "detail">;
}

async function runBacktest(call: Invocation): Promise<number> {
  const name = call.operands[0] as string;
  const text = neededFormula(call);
  const formula = parseFormula(text);
  if (isFault(formula)) throw new Failure(EXIT.usage, `${formula.detail} [${formula.code}]`, undefined, { code: formula.code, excerpt: excerptOf(text, formula) });
  const hours = parse.wholeNumber("--hours", call.text("hours") ?? "24", 1, HOURS_MAX);
  const record = await call.client().autoScaleRecord(name, hours);
  const cores = (await call.client().sizes()).find((size) => size.name === record.tvmSize)?.cores ?? 1;
  const { points, everyMs } = replay(formula, record, optionsOf(call));
  const summary = summarize(points, everyMs, cores);
  const svg = call.text("svg");
  if (svg !== undefined) writeFileSync(path.resolve(call.io.cwd, svg), plotOf(record.pool, points));
  if (call.json) json(call.io, { pool: record.pool, everyMs, cores, summary, points });
  else if (points.length === 0) call.io.out(`No samples of pool ${clean(name)} in the last ${plural(hours, "hour")}. They are taken while autoscale is on, one every ${spell(record.samplePeriodMs)}.\n`);
  else print(call, text, points, summary);
  if (!call.json && svg !== undefined) call.io.out(`Plot: ${clean(svg)}\n`);
  return EXIT.ok;
}

const optionsOf = (call: Invocation): { readonly everyMs?: number; readonly max?: number } => {
  const [every, max] = [call.text("every"), call.text("max")];
  return {
    ...(every === undefined ? {} : { everyMs: Math.max(1000, parse.milliseconds("--every", every)) }),
    ...(max === undefined ? {} : { max: parse.wholeNumber("--max", max, 0, 10_000) }),
  };
};

const DEFAULT_INTERVAL_MS = 900_000;

/** From the first sample to the last. */
function replay(formula: Formula, record: AutoScaleRecordResource, given: { readonly everyMs?: number; readonly max?: number }): { points: Point[]; everyMs: number } {
  const { samplePeriodMs: periodMs, wantedPercent, taskSlots } = record;
  const samples = record.samples.map((one) => (one.aggregated ? spreadOut(one, periodMs, FIVE_MINUTES_MS) : one));
  const [fromMs, toMs] = [samples[0]?.times[0], samples.at(-1)?.times.at(-1)];
  const wanted = given.everyMs ?? record.autoScale?.intervalMs ?? DEFAULT_INTERVAL_MS;
  if (fromMs === undefined || toMs === undefined) return { points: [], everyMs: wanted };
  const everyMs = Math.max(wanted, Math.ceil((toMs - fromMs) / STEPS_MAX));
  const history = historyFrom(samples, toMs);
  const targetMax = given.max ?? record.autoScale?.targetMax;
  const target = newestAt(history, "$CurrentDedicated", fromMs) ?? record.runs[0]?.targetBefore ?? 0;
  const suggestions = backtest(formula, history, { fromMs, toMs, everyMs, periodMs, wantedPercent, taskSlots, target, ...(targetMax === undefined ? {} : { targetMax }) });
  return { everyMs, points: suggestions.map(({ atMs, target: suggested, error }) => ({ ...pointAt(atMs, suggested, history, record), ...(error ? { error: faultOf(error) } : {}) })) };
}

const faultOf = ({ code, line, column, detail }: FormulaFault) => ({ code, line, column, detail });

function pointAt(atMs: number, suggested: number, history: History, { runs, taskSlots }: AutoScaleRecordResource): Point {
  const at = new Date(atMs).toISOString();
  const value = (metric: string) => newestAt(history, metric, atMs);
  const [waiting, running, tvms] = [value("$ActiveTasks"), value("$RunningTasks"), value("$CurrentDedicated")];
  const target = runs.findLast((run) => run.at <= at)?.target;
  return {
    at, suggested,
    ...(waiting === undefined ? {} : { waiting, wouldWait: Math.max(0, waiting + (running ?? 0) - suggested * taskSlots) }),
    ...(running === undefined ? {} : { running }), ...(tvms === undefined ? {} : { tvms }), ...(target === undefined ? {} : { target }),
  };
}

const newestAt = (history: History, metric: string, atMs: number): number | undefined => historyUntil(history, atMs).get(metric)?.values.at(-1);

export interface Summary {
  readonly evaluations: number;
  readonly failed: number;
  readonly coreHours: { readonly actual: number; readonly suggested: number };
  /** Means over the evaluations. */
  readonly waitingTasks: { readonly actual: number; readonly suggested: number };
}

function summarize(points: readonly Point[], everyMs: number, cores: number): Summary {
  const sum = (of: (point: Point) => number): number => points.reduce((total, point) => total + of(point), 0);
  const hours = (tvms: number): number => Number(((tvms * cores * everyMs) / 3_600_000).toPrecision(4));
  const mean = (total: number): number => Number((total / Math.max(1, points.length)).toPrecision(4));
  return {
    evaluations: points.length,
    failed: points.filter(({ error }) => error).length,
    coreHours: { actual: hours(sum(({ tvms = 0 }) => tvms)), suggested: hours(sum(({ suggested }) => suggested)) },
    waitingTasks: { actual: mean(sum(({ waiting = 0 }) => waiting)), suggested: mean(sum(({ wouldWait = 0 }) => wouldWait)) },
  };
}

function print(call: Invocation, formula: string, points: readonly Point[], { evaluations, failed, coreHours, waitingTasks }: Summary): void {
  const changes = points.filter((point, index) => index === 0 || index === points.length - 1 || !alike(point, points[index - 1] as Point));
  call.io.out(table(changes.slice(0, ROWS_MAX), [
    { title: "TIME", value: ({ at }) => when(at) },
    { title: "WAITING", right: true, value: ({ waiting }) => waiting },
    { title: "RUNNING", right: true, value: ({ running }) => running },
    { title: "TVMS", right: true, value: ({ tvms }) => tvms },
    { title: "TARGET", right: true, value: ({ target }) => target },
    { title: "SUGGESTED", right: true, value: ({ suggested }) => suggested },
    { title: "ERROR", value: ({ error }) => error?.detail },
  ]));
  if (changes.length > ROWS_MAX) call.io.out(`... and ${changes.length - ROWS_MAX} more changes: --json has all.\n`);
  call.io.out(`\n${plural(evaluations, "evaluation")}, ${failed} failed; rows are those at which a target changed.\n`);
  call.io.out(`Core-hours: ${coreHours.actual} actual, ${coreHours.suggested} suggested. Tasks waiting, on average: ${waitingTasks.actual} actual, ${waitingTasks.suggested} would wait.\n`);
  const first = points.find(({ error }) => error)?.error;
  if (first) call.io.out(`First error: ${clean(first.detail)}\n${excerptOf(formula, first)}`);
}

const alike = (a: Point, b: Point): boolean => a.suggested === b.suggested && a.target === b.target && a.error?.detail === b.error?.detail;

const plotOf = (pool: string, points: readonly Point[]): string => {
  const of = (value: (point: Point) => number | undefined) => points.flatMap((point) => (value(point) === undefined ? [] : [[Date.parse(point.at), value(point) as number] as const]));
  return plot(`Pool ${pool}: a formula over recorded samples`, [
    { name: "waiting tasks", color: "#999999", points: of(({ waiting }) => waiting) },
    { name: "TVMs there were", color: "#1f77b4", points: of(({ tvms }) => tvms) },
    { name: "target suggested", color: "#d62728", points: of(({ suggested }) => suggested) },
  ]);
};
