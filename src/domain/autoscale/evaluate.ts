// A formula and its inputs to a target (reference autoscale-formula, sections 1.3, 6 to 9). Pure: the same formula and inputs give
// the same result, whatever is around; it reads no clock, draws its numbers from a seed, and handles a bounded number of elements.
import type { DeallocationOption } from "../pool";
import { Failure, type FormulaFault, faultAt } from "./fault";
import { type Surroundings, callFunction, isFunction } from "./library";
import { binary, evaluation, unary } from "./operators";
import type { Formula, Instruction } from "./parse";
import { METRICS, type Presence, type Samples, type Window } from "./samples";
import { memberOf } from "./times";
import { type Instant, type Metric, PRINTED_MAX, type Span, type Value, formatValue, instantOfMs, isVector, kindOf, msOf, span } from "./values";

export interface Inputs {
  readonly nowMs: number;
  /** The pool's present target. */
  readonly target: number;
  /** TVMs in the pool now. */
  readonly currentDedicated: number;
  /** Tasks that a TVM may run at a time; 1 when not given. */
  readonly taskSlots?: number;
  readonly samples: Samples;
  /** Spacing of the samples. */
  readonly periodMs: number;
  /** Of `rand()`; 0 when not given. */
  readonly seed?: number;
  /** Share of the samples in a window that a call without a percentage wants: 70 when not given (reference 7, rule 4). */
  readonly wantedPercent?: number;
}

export interface Evaluation {
  readonly results: string;
  readonly target: number;
  readonly option: DeallocationOption;
  readonly error?: FormulaFault;
}

/** One look at the samples of a metric. */
export interface Look {
  readonly metric: string;
  readonly method: string;
  readonly window?: Window;
  readonly presence?: Presence;
  readonly values?: readonly number[];
}

/** What a statement did: for `explain`. A statement that assigns nothing has no name. */
export interface Step {
  readonly name?: string;
  readonly value?: string;
  readonly looks: readonly Look[];
}

/** Runs the formula. Never throws: what fails is in `error`, and then target and option are the present ones. `trace` is told each statement. */
export const evaluateFormula = (formula: Formula, inputs: Inputs, trace?: (step: Step) => void): Evaluation => {
  const machine = new Machine(inputs, trace);
  try {
    return machine.run(formula.code);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    machine.leave();
    return { ...unchanged(inputs.target), error: faultAt(formula.text, error) };
  }
};

/** What an evaluation that failed, or a formula that cannot be parsed, leaves: the present target (reference 1.3, rule 4). */
export const unchanged = (target: number): Evaluation => ({ results: resultsOf(target, "requeue", new Map()), target, option: "requeue" });

const resultsOf = (target: number, option: DeallocationOption, variables: ReadonlyMap<string, Exclude<Value, Metric>>): string => {
  let room = 2 * PRINTED_MAX;
  const parts = [`$TargetDedicated=${BigInt(target)}`, `$NodeDeallocationOption=${option}`];
  // Ordinal order: of code units, which is what plain comparison is.
  for (const name of [...variables.keys()].sort()) {
    const value = variables.get(name) as Exclude<Value, Metric>;
    parts.push(`${name}=${formatValue(value, Math.min(room, PRINTED_MAX))}`);
    if (isVector(value)) room -= Math.min(value.length, room);
  }
  return parts.join(";");
};

/** Elements that one evaluation may handle: some milliseconds' work. */
const ELEMENTS_MAX = 500_000;
/** More than any history holds. */
const SAMPLES_MAX = 1_000_000;
/** What becomes of samples whose share nobody named. */
const WANTED_PERCENT = 70;

const OPTIONS: ReadonlySet<string> = new Set<DeallocationOption>(["requeue", "terminate", "taskcompletion", "retaineddata"]);

const SECOND = 10_000_000n;
const INTERVALS: ReadonlyMap<string, bigint> = new Map([
  ["TimeInterval_Zero", 0n], ["TimeInterval_100ns", 1n], ["TimeInterval_Microsecond", 10n], ["TimeInterval_Millisecond", 10_000n],
  ["TimeInterval_Second", SECOND], ["TimeInterval_Minute", 60n * SECOND], ["TimeInterval_Hour", 3600n * SECOND],
  ["TimeInterval_Day", 86_400n * SECOND], ["TimeInterval_Week", 7n * 86_400n * SECOND], ["TimeInterval_Year", 365n * 86_400n * SECOND],
]);

/** Names that can be assigned and mean something, by what they mean; of a full name and its alias the full one counts. */
const TARGETS: ReadonlyMap<string, "target" | "targetAlias" | "lowPriority" | "option"> = new Map([
  ["$TargetDedicatedNodes", "target"], ["$TargetDedicated", "targetAlias"],
  ["$TargetLowPriorityNodes", "lowPriority"], ["$TargetLowPriority", "lowPriority"],
  ["$TVMDeallocationOption", "option"], ["$NodeDeallocationOption", "option"],
] as const);

interface Assigned {
  readonly value: number;
  readonly offset: number;
}

class Machine {
  private readonly stack: Value[] = [];
  private readonly variables = new Map<string, Exclude<Value, Metric>>();
  private readonly targets = new Map<"target" | "targetAlias" | "lowPriority", Assigned>();
  private option: DeallocationOption = "requeue";
  private elements = 0;
  /** Of the instruction that runs: where failures are reported that know no better place. */
  private offset = 0;
  private looks: Look[] = [];
  private readonly around: Surroundings;

  constructor(
    private readonly inputs: Inputs,
    private readonly trace: ((step: Step) => void) | undefined,
  ) {
    this.around = {
      now: instantOfMs(inputs.nowMs),
      meter: { spend: (elements) => this.spend(elements) },
      numberOf: (value) => (typeof value === "number" ? value : kindOf(value) === "metric" ? this.present(value as Metric) : undefined),
      random: sequence(inputs.seed ?? 0),
    };
  }

  run(code: readonly Instruction[]): Evaluation {
    for (let at = 0; at < code.length; ) {
      const instruction = code[at] as Instruction;
      if (instruction.op === "call" && instruction.name === "stop") {
        if (instruction.count > 0) throw evaluation(instruction.offset, "stop: expected no arguments");
        break;
      }
      at = this.step(instruction) ?? at + 1;
    }
    return this.conclude();
  }

  /** The looks of a statement that failed are told too. */
  leave(): void {
    if (this.looks.length > 0) this.tell({});
  }

  /** Where to go on, when that is not the next instruction. */
  private step(instruction: Instruction): number | undefined {
    if ("offset" in instruction) this.offset = instruction.offset;
    switch (instruction.op) {
      case "push":
        this.stack.push(instruction.value);
        return;
      case "name":
        this.stack.push(this.named(instruction.name, instruction.offset));
        return;
      case "binary": {
        const right = this.plain(this.pop());
        this.stack.push(binary(instruction.operator, this.plain(this.pop()), right, instruction.offset, this.around.meter));
        return;
      }
      case "unary":
        this.stack.push(unary(instruction.operator, this.plain(this.pop()), instruction.offset));
        return;
      case "branch":
        return this.number(instruction.offset) === 0 ? instruction.to : undefined;
      case "jump":
        return instruction.to;
      case "decided": {
        const left = this.number(instruction.offset) === 0 ? 0 : 1;
        if (left !== instruction.by) return;
        this.stack.push(left);
        return instruction.to;
      }
      case "truth":
        this.stack.push(this.number(instruction.offset) === 0 ? 0 : 1);
        return;
      case "function":
        if (!isFunction(instruction.name) && instruction.name !== "stop") throw evaluation(instruction.offset, `Undefined symbol: ${instruction.name}`);
        return;
      case "call":
        this.stack.push(this.made(callFunction(instruction.name, this.take(instruction.count), this.around, instruction.offset)));
        return;
      case "method":
        this.method(instruction);
        return;
      case "member":
        this.member(instruction);
        return;
      case "assign":
        this.assign(instruction.name, this.plain(this.pop()), instruction.offset);
        return;
      case "drop": {
        const value = this.plain(this.pop());
        this.tell({ value: this.trace ? formatValue(value) : "" });
        return;
      }
    }
  }

  private pop(): Value {
    return this.stack.pop() as Value;
  }

  private take(count: number): Value[] {
    return count === 0 ? [] : this.stack.splice(-count);
  }

  private number(offset: number): number {
    const value = this.plain(this.pop());
    if (typeof value !== "number") throw evaluation(offset, `Expected a double, not ${kindOf(value)}`);
    return value;
  }

  /** A metric used as a value is its present one. */
  private plain(value: Value): Exclude<Value, Metric> {
    return kindOf(value) === "metric" ? this.present(value as Metric) : (value as Exclude<Value, Metric>);
  }

  private present({ name, offset }: Metric): number {
    if (name === "$CurrentDedicated") return this.inputs.currentDedicated;
    if (name === "$TaskSlotsPerNode") return this.inputs.taskSlots ?? 1;
    if (name === "$CurrentLowPriorityNodes" || name === "$PreemptedNodeCount") return 0;
    const [value] = this.inputs.samples.newest(name, 1);
    if (value === undefined) throw evaluation(offset, `${name} has no samples`);
    this.look({ metric: name, method: "present value", values: [value] });
    return value;
  }

  private named(name: string, offset: number): Value {
    const own = this.variables.get(name);
    if (own !== undefined) return own;
    const meaning = TARGETS.get(name);
    if (meaning === "option") return { kind: "option", option: this.option };
    if (meaning === "lowPriority") return this.targets.get("lowPriority")?.value ?? 0;
    if (meaning !== undefined) return this.target()?.value ?? this.inputs.target;
    const metric = METRICS.get(name);
    if (metric !== undefined) return { kind: "metric", name: metric, offset };
    const ticks = INTERVALS.get(name);
    if (ticks !== undefined) return span(ticks);
    if (OPTIONS.has(name)) return { kind: "option", option: name as DeallocationOption };
    throw evaluation(offset, `Undefined symbol: ${name}`);
  }

  private assign(name: string, value: Exclude<Value, Metric>, offset: number): void {
    const meaning = TARGETS.get(name);
    if (meaning === "option") {
      if (kindOf(value) !== "option") throw evaluation(offset, `${name} must be requeue, terminate, taskcompletion or retaineddata, not ${kindOf(value)}`);
      this.option = (value as { option: DeallocationOption }).option;
    } else if (meaning !== undefined) {
      if (typeof value !== "number") throw evaluation(offset, `${name} must be a double, not ${kindOf(value)}`);
      this.targets.set(meaning, { value, offset });
    } else if (METRICS.has(name)) throw evaluation(offset, `${name} is read-only`);
    else if (isReserved(name)) throw evaluation(offset, `${name} is a reserved name`);
    else this.variables.set(name, value);
    this.tell({ name, value: this.trace ? formatValue(value) : "" });
  }

  private target(): Assigned | undefined {
    return this.targets.get("target") ?? this.targets.get("targetAlias");
  }

  private conclude(): Evaluation {
    for (const assigned of [this.target(), this.targets.get("lowPriority")]) {
      if (assigned === undefined || (Number.isFinite(assigned.value) && Math.trunc(assigned.value) >= 0)) continue;
      throw evaluation(assigned.offset, `The target must be a finite number of at least 0, not ${formatValue(assigned.value)}`);
    }
    // + 0: what is cut to minus nothing is nothing.
    const target = Math.trunc(this.target()?.value ?? this.inputs.target) + 0;
    return { results: resultsOf(target, this.option, this.variables), target, option: this.option };
  }

  private member({ name, offset }: Extract<Instruction, { op: "member" }>): void {
    const value = this.pop();
    const found = kindOf(value) === "timestamp" ? memberOf(value as Instant, name) : undefined;
    if (found === undefined) throw evaluation(offset, `Undefined symbol: ${name}`);
    this.stack.push(found);
  }

  private method({ name, count, offset, nameOffset }: Extract<Instruction, { op: "method" }>): void {
    const values = this.take(count).map((value) => this.plain(value));
    const metric = this.pop();
    if (kindOf(metric) !== "metric" || !METHODS.has(name)) throw evaluation(nameOffset, `Undefined symbol: ${name}`);
    this.stack.push(this.made(this.ask((metric as Metric).name, name, values, offset)));
  }

  private ask(metric: string, method: string, values: readonly Value[], offset: number): Value {
    const { periodMs, nowMs, samples } = this.inputs;
    if (method === "GetSample") return this.samples(metric, values, offset);
    if (method === "GetSamplePercent") {
      const window = this.window(method, values, 2, offset);
      const share = samples.presence(metric, window, periodMs);
      this.look({ metric, method, window, presence: share });
      return share.percent;
    }
    if (values.length > 0) throw evaluation(offset, `${method}: expected no arguments`);
    if (method === "Count") return samples.count(metric);
    return method === "GetSamplePeriod" ? span(BigInt(Math.round(periodMs)) * 10_000n) : instantOfMs(samples.begin(metric) ?? nowMs);
  }

  /** By count, which never fails, or by window, which fails when too few of the window's samples are there. */
  private samples(metric: string, values: readonly Value[], offset: number): readonly number[] {
    const [count] = values;
    if (values.length === 1 && typeof count === "number") {
      if (!(count >= 0)) throw evaluation(offset, "GetSample: expected a count of at least 0");
      const found = this.inputs.samples.newest(metric, Math.trunc(Math.min(count, SAMPLES_MAX)));
      this.look({ metric, method: "GetSample", values: found });
      return found;
    }
    const last = values.at(-1);
    const percent = values.length > 1 && typeof last === "number" ? last : undefined;
    const window = this.window("GetSample", percent === undefined ? values : values.slice(0, -1), 2, offset);
    const wanted = percent ?? this.inputs.wantedPercent ?? WANTED_PERCENT;
    if (!(wanted >= 0 && wanted <= 100)) throw evaluation(offset, "GetSample: expected a percentage from 0 to 100");
    const share = this.inputs.samples.presence(metric, window, this.inputs.periodMs);
    const found = this.inputs.samples.within(metric, window);
    this.look({ metric, method: "GetSample", window, presence: share, values: found });
    if (share.percent >= wanted) return found;
    const reason = `Insufficient data from data set: ${metric} wanted ${Math.round(wanted)}%, received ${Math.round(share.percent)}%`;
    throw new Failure("InsufficientSampleData", offset, reason);
  }

  /** One or two instants, or spans counted back from now, in either order. */
  private window(method: string, values: readonly Value[], most: number, offset: number): Window {
    const [first, second] = values;
    const kind = first === undefined ? undefined : kindOf(first);
    const fits = (kind === "timestamp" || kind === "timeinterval") && (second === undefined || kindOf(second) === kind) && values.length <= most;
    if (!fits) throw evaluation(offset, `${method}: expected one or two timestamps, or one or two time intervals`);
    const { nowMs } = this.inputs;
    const atMs = (value: Value): number => (kind === "timestamp" ? msOf(value as Instant) : nowMs - msOf(value as Span));
    const a = atMs(first as Value);
    const b = second === undefined ? nowMs : atMs(second);
    return { fromMs: Math.min(a, b), toMs: Math.max(a, b) };
  }

  private made(value: Value): Value {
    if (isVector(value)) this.spend(value.length);
    return value;
  }

  private spend(elements: number): void {
    this.elements += elements;
    if (this.elements > ELEMENTS_MAX) throw evaluation(this.offset, `The evaluation handles more than ${ELEMENTS_MAX} values`);
  }

  private look(look: Look): void {
    if (this.trace) this.looks.push(look);
  }

  private tell(step: Omit<Step, "looks">): void {
    if (!this.trace) return;
    this.trace({ ...step, looks: this.looks });
    this.looks = [];
  }
}

const METHODS: ReadonlySet<string> = new Set(["Count", "GetSample", "GetSamplePercent", "GetSamplePeriod", "HistoryBeginTime"]);

const isReserved = (name: string): boolean => isFunction(name) || name === "stop" || name.startsWith("TimeInterval_") || OPTIONS.has(name);

/** Mulberry32: small, and the same everywhere. */
const sequence = (seed: number): (() => number) => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
};
