// One evaluation of a pool's formula as it is kept for ever: what went in, what came out. That alone is
// enough to make the same run again, long after the samples are gone.
import type { DeallocationOption } from "../pool";
import { type Inputs, evaluateFormula } from "./evaluate";
import { type FormulaFault, faultMessage, isFault } from "./fault";
import { parseFormula } from "./parse";
import { type Answer, type Samples, recording, replayed } from "./samples";

/** What an evaluation is given beside the pool itself. Never stored: `run.inputs` has what of it mattered. */
export interface Evaluating {
  readonly samples: Samples;
  /** Spacing of the samples. */
  readonly periodMs: number;
  readonly wantedPercent: number;
  /** Of `rand()`. */
  readonly seed: number;
}

export interface RunError {
  readonly code: string;
  readonly message: string;
  /** The service's own sentence with line and column in it. */
  readonly detail: string;
  readonly line: number;
  readonly column: number;
}

export interface AutoScaleRun {
  readonly results: string;
  readonly error?: RunError;
  readonly targetBefore: number;
  /** After the pool's own maximum. */
  readonly target: number;
  readonly option: DeallocationOption;
  readonly inputs: {
    readonly currentDedicated: number;
    readonly taskSlots: number;
    readonly seed: number;
    readonly periodMs: number;
    readonly wantedPercent: number;
    /** The pool's own maximum at that time. */
    readonly targetMax?: number;
    /** What the formula was told about samples, in order; missing when that was more than an event should hold. */
    readonly answers?: readonly Answer[];
  };
}

export interface PoolNow {
  readonly target: number;
  readonly currentDedicated: number;
  readonly taskSlots: number;
  readonly targetMax?: number | undefined;
}

/** Numbers of samples that an event holds at most. */
const ANSWERS_MAX = 2000;

/** Evaluates a formula that can be parsed; `atMs` is the evaluation's now. Never throws. */
export const runFormula = (text: string, atMs: number, pool: PoolNow, { samples, ...settings }: Evaluating): AutoScaleRun => {
  const record = recording(samples, ANSWERS_MAX);
  const run = evaluated(text, { ...settings, nowMs: atMs, ...pool, samples: record.samples }, pool);
  const answers = record.answers();
  return { ...run, inputs: { ...inputsOf(pool, settings), ...(answers ? { answers } : {}) } };
};

/** The run made again from what was kept; undefined when its samples were too many to be kept. Throws when they do not fit the formula. */
export const replayRun = (text: string, atMs: number, run: AutoScaleRun): AutoScaleRun | undefined => {
  const { answers, currentDedicated, taskSlots, targetMax, ...settings } = run.inputs;
  if (!answers) return undefined;
  const pool = { target: run.targetBefore, currentDedicated, taskSlots, targetMax };
  return runFormula(text, atMs, pool, { ...settings, samples: replayed(answers) });
};

const evaluated = (text: string, inputs: Inputs, pool: PoolNow): Omit<AutoScaleRun, "inputs"> => {
  const formula = parseFormula(text);
  if (isFault(formula)) throw new Error(`A formula that was accepted cannot be parsed: ${formula.detail}`);
  const { results, target, option, error } = evaluateFormula(formula, inputs);
  const most = pool.targetMax ?? Infinity;
  return { results, ...(error ? { error: errorOf(error) } : {}), targetBefore: pool.target, target: error ? pool.target : Math.min(target, most, TARGET_MAX), option };
};

/** What a pool's number of TVMs can be written as everywhere: 32 bits. */
const TARGET_MAX = 2_147_483_647;

const inputsOf = ({ currentDedicated, taskSlots, targetMax }: PoolNow, settings: Omit<Evaluating, "samples">) => ({
  currentDedicated,
  taskSlots,
  ...settings,
  ...(targetMax === undefined ? {} : { targetMax }),
});

export const errorOf = ({ code, line, column, detail }: FormulaFault): RunError => ({ code, message: faultMessage(code), detail, line, column });
