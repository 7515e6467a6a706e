// The rules of formulas one by one, beyond the reference's cases: names, types, functions, samples, limits, results.
import { type Inputs, type Step, evaluateFormula } from "../../../src/domain/autoscale/evaluate";
import { faultMessage, isFault, positionOf } from "../../../src/domain/autoscale/fault";
import { type Formula, FORMULA_MAX, NESTING_MAX, parseFormula } from "../../../src/domain/autoscale/parse";
import { samplesOf } from "../../../src/domain/autoscale/samples";
import { formatNumber, formatSpan, span } from "../../../src/domain/autoscale/values";
import { FIXTURES } from "./fixtures";

const F1 = FIXTURES["F1"] as Inputs;

/** The results behind target and option, or the failure as `line:column text`. */
const outcome = (text: string, inputs: Inputs = F1): string => {
  const formula = parseFormula(text);
  const { results, error } = isFault(formula) ? { results: "", error: formula } : evaluateFormula(formula, inputs);
  return error ? `${error.code} ${error.detail}` : results.replace(/^\$TargetDedicated=\d+;\$NodeDeallocationOption=\w+;?/, "");
};
const targetOf = (text: string, inputs: Inputs = F1): number => evaluateFormula(parseFormula(text) as Formula, inputs).target;
const fails = (position: string, reason = ""): RegExp =>
  new RegExp(`^AutoScalingFormulaEvaluationError Line ${position.replace(":", ", Col ")}: ${reason.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}`);
const refused = (position: string, reason = ""): RegExp => new RegExp(`^AutoScalingFormulaSyntaxError Line ${position.replace(":", ", Col ")}: ${reason}`);

describe("numbers and text in results", () => {
  test.each([
    ["0", 0], ["0", -0], ["3", 3], ["0.5", 0.5], ["96.6667", (29 / 30) * 100], ["1e+06", 1e6], ["999999", 999_999], ["1e+06", 999_999.7], ["0.0001", 1e-4], ["1e-05", 1e-5],
    ["1.23457e+08", 123_456_789], ["-2.5", -2.5], ["inf", Infinity], ["-inf", -Infinity], ["nan", NaN], ["1e+100", 1e100], ["100000", 100_000], ["1.5e-10", 1.5e-10], ["0.000123457", 0.000123456789],
  ])("%s", (text, value) => expect(formatNumber(value)).toBe(text));
  test.each([
    ["PT0S", 0n], ["PT10M", 6_000_000_000n], ["P1D", 864_000_000_000n], ["PT0.0000001S", 1n], ["-PT6H", -216_000_000_000n], ["P1DT1H1M1.5S", 900_615_000_000n],
  ])("%s", (text, ticks) => expect(formatSpan(span(ticks))).toBe(text));
  test("variables come in ordinal order, with their last value", () =>
    expect(outcome("a = 1; Avg = 2; $x = 3; a = 4; _b = 5")).toBe("$x=3;Avg=2;_b=5;a=4"));
  test("strings, instants, intervals and option words print as themselves", () =>
    expect(outcome('s = "a;b"; t = time("2015-07-20T12:00:00.1239Z"); i = -90 * TimeInterval_Second; o = taskcompletion;')).toBe("i=-PT1M30S;o=taskcompletion;s=a;b;t=2015-07-20T12:00:00.123Z"));
  test("long vectors are cut", () => {
    const long = outcome("v = vec($ActiveTasks.GetSample(20), 1); v = vec(v,v,v,v,v,v,v,v,v,v); v = vec(v,v,v,v,v,v,v,v,v,v); w = v; x = v;");
    expect(long).toMatch(/\.\.\.\];w=\[.*\.\.\.\];x=\[\.\.\.\]$/);
    expect(long.length).toBeLessThan(10_000);
  });
});

describe("operators", () => {
  test.each([
    ["a = 1 + 2 * 3 - 4 / 2", "a=5"], ["a = 1 < 2 == 1", "a=1"], ["a = 0 || 0; b = 3 && 4; c = 0 && nosuch; d = 1 || nosuch", "a=0;b=1;c=0;d=1"],
    ["a = 1 ? 2 : nosuch; b = 0 ? nosuch : 3", "a=2;b=3"], ["a = 0 ? 1 : 0 ? 2 : 3; b = 1 ? 0 ? 1 : 2 : 3", "a=3;b=2"], ["a = 1/0; b = -1/0; c = 0/0", "a=inf;b=-inf;c=nan"],
    ['a = "x" < "y"; b = "x" == "x"; c = "x" != "x"', "a=1;b=1;c=0"], ["a = TimeInterval_Hour / 2; b = 2 * TimeInterval_Minute; c = TimeInterval_Minute * 0.5", "a=PT30M;b=PT2M;c=PT30S"],
    ["a = TimeInterval_Hour - TimeInterval_Minute; b = -TimeInterval_Hour + TimeInterval_Hour", "a=PT59M;b=PT0S"],
    ["a = time() + (-6 * TimeInterval_Hour); b = TimeInterval_Day + time()", "a=2015-07-20T06:00:00.000Z;b=2015-07-21T12:00:00.000Z"],
    ["a = time() - time(\"2015-07-20\"); b = time() > time(\"2015-07-20\")", "a=PT12H;b=1"], ["v = vec(1,2) / 2; w = vec(4,9) - vec(1,2); x = vec() * 2", "v=[0.5,1];w=[3,7];x=[]"],
    ["a = --3; b = !-1; c = -!0", "a=3;b=0;c=-1"], ["a = (1 ? $ActiveTasks : $RunningTasks).GetSample(1)", "a=[8]"],
  ])("%s", (text, results) => expect(outcome(text)).toBe(results));
  test.each([
    ["a = 2 * vec(1)", "1:7"], ["a = -vec(1)", "1:5"], ["a = vec(1) == vec(1)", "1:12"], ["a = vec(1) && 1", "1:12"], ["a = 1 && vec(1)", "1:7"], ['a = "x" + "y"', "1:9"], ["a = !time()", "1:5"],
    ["a = time() ? 1 : 2", "1:12"], ["a = time() + 1", "1:12"], ["a = time() + time()", "1:12"], ["a = 1 - TimeInterval_Hour", "1:7"], ["a = requeue == requeue", "1:13"], ["a = TimeInterval_Hour * TimeInterval_Hour", "1:23"],
    ["a = TimeInterval_Hour / 0", "1:23"], ["a = TimeInterval_Year * 1e9", "1:23"], ["a = time() + TimeInterval_Year * 8000", "1:12"], ["a = 1 / TimeInterval_Hour", "1:7"], ["a = -\"x\"", "1:5"],
  ])("%s is an evaluation error at the operator", (text, position) => expect(outcome(text)).toMatch(fails(position)));
  test("a dash before a name of another generation is an operator", () => expect(outcome("a = 5-$RunningTasks")).toBe("a=4"));
});

describe("functions", () => {
  test.each([
    ["a = percentile(vec(15,20,35,40,50), 90)", "a=50"], ["a = percentile(vec(15,20,35,40,50), 30)", "a=20"], ["a = val(vec(10,20), 1.9); b = val(vec(), 7)", "a=20;b=0"], ["a = norm(3,4); b = norm()", "a=5;b=0"],
    ["a = range(3,9,5); b = std(5); c = lg(8); d = ln(1); e = log(1000)", "a=6;b=0;c=3;d=0;e=3"], ["a = log(0); b = lg(-1)", "a=-inf;b=nan"], ["v = ln(vec(1)); w = log(10, 100)", "v=[0];w=[1,2]"],
    ["a = max($ActiveTasks, 3); b = sum($RunningTasks, vec(1,2))", "a=8;b=4"], ["a = time(\"\") == time()", "a=1"], ['a = time("2015-07-20T14:00:00+02:00") == time()', "a=1"], ['a = time("2015-07-20T12:00Z") == time(); b = time("2015-07-20T12:00:00.0000001Z") - time()', "a=1;b=PT0.0000001S"],
    ["d = time().day; w = time(\"2015-07-19\").weekday; s = time(\"2015-07-18\").weekday", "d=20;s=6;w=7"],
  ])("%s", (text, results) => expect(outcome(text)).toBe(results));
  test.each([
    ["a = avg()", "1:8"], ["a = min(vec())", "1:8"], ["a = range()", "1:10"], ["a = percentile(vec(), 5)", "1:15"], ["a = percentile(vec(1), 101)", "1:15"], ["a = percentile(1, 50)", "1:15"], ["a = val(vec(1), -1)", "1:8"], ["a = val(1, 0)", "1:8"],
    ['a = sum("x")', "1:8"], ["a = rand(1)", "1:9"], ["a = time(1)", "1:9"], ['a = time("2015-02-30")', "1:9"], ['a = time("2015-07-20T12:00:00.123456789Z")', "1:9"], ['a = time("Tue, 20 Jul 2015 12:00:00 GMT")', "1:9"], ["stop(1)", "1:5"],
    ["a = time().century", "1:12"], ["a = 1; b = a.year", "1:14"], ["a = max(1, time())", "1:8"],
  ])("%s is an evaluation error", (text, position) => expect(outcome(text)).toMatch(fails(position)));
  test("round is in no edition of the language", () => expect(outcome("a = round(1.5)")).toMatch(fails("1:5", "Undefined symbol: round")));
  test("rand is drawn from the seed of the run", () => {
    const drawn = (seed: number): string => outcome("a = rand(); b = rand(); c = a >= 0 && a < 1 && b != a", { ...F1, seed });
    expect(drawn(1)).toBe(drawn(1));
    expect(drawn(1)).not.toBe(drawn(2));
    expect(drawn(3)).toMatch(/c=1$/);
  });
  test("stop keeps what was assigned, and is no error", () => {
    expect(outcome("a = 1; stop(); b = nosuch")).toBe("a=1");
    expect(outcome("a = 1; b = 1 ? stop() : 2; c = 3")).toBe("a=1");
    expect(targetOf("$TargetDedicated = 4; stop(); $TargetDedicated = 5")).toBe(4);
  });
});

describe("names", () => {
  test.each([
    ["$ActiveTasks = 3", "1:1"], ["$CurrentDedicatedNodes = 3", "1:1"], ["avg = 3", "1:1"], ["stop = 3", "1:1"], ["TimeInterval_Hour = 3", "1:1"], ["TimeInterval_Mine = 3", "1:1"], ["requeue = 3", "1:1"],
    ["$TargetDedicated = vec(1)", "1:1"], ["$TargetDedicated = time()", "1:1"], ['$TargetDedicated = "5"', "1:1"], ["x = 1; $TargetDedicated = 0 - 3", "1:8"], ["$TVMDeallocationOption = 1", "1:1"], ["$TargetLowPriorityNodes = -1", "1:1"],
    ["a = avg", "1:5"], ["a = true", "1:5"], ["a = $ActiveTasks(1)", "1:5"], ["a = $targetDedicated", "1:5"], ["a = $ActiveTasks.Nosuch()", "1:18"], ["a = $ActiveTasks.year", "1:18"], ["x = 1; a = x.GetSample(1)", "1:14"],
  ])("%s is an evaluation error", (text, position) => expect(outcome(text)).toMatch(fails(position)));
  test("an unknown name with a dollar sign becomes a variable", () => expect(outcome("$mine = 3")).toBe("$mine=3"));
  test("both generations name the same metric", () => {
    expect(outcome("a = $CurrentDedicated; b = $CurrentDedicatedNodes; c = $CurrentDedicatedNodes.GetSample(1); d = $TaskSlotsPerNode; e = $PreemptedNodeCount", { ...F1, taskSlots: 4 })).toBe("a=10;b=10;c=[10];d=4;e=0");
    expect(outcome("a = $SampleNodeCount.Count(); b = $SampleTVMCount.Count(); c = $CurrentLowPriority")).toBe("a=0;b=0;c=0");
  });
  test("the target is read as assigned, by either name, and as it is before", () =>
    expect(outcome("a = $TargetDedicated; $TargetDedicated = 2.5; b = $TargetDedicated; c = $TargetDedicatedNodes; $TargetDedicatedNodes = 3; d = $TargetDedicated")).toBe("a=10;b=2.5;c=2.5;d=3"));
  test("the option is read as assigned, by either name", () => expect(outcome("a = $NodeDeallocationOption; $TVMDeallocationOption = retaineddata; b = $NodeDeallocationOption")).toBe("a=requeue;b=retaineddata"));
  test("a target may be unusable on the way, as long as it is not in the end", () => expect(targetOf("$TargetDedicated = 0 - 5; $TargetDedicated = max(0, $TargetDedicated)")).toBe(0));
  test("a target that is cut to nothing is nothing, not minus nothing", () => expect(Object.is(targetOf("$TargetDedicated = -0.5"), 0)).toBe(true));
  test("what fails leaves the present target and the default option", () => {
    const { target, option, results, error } = evaluateFormula(parseFormula("$TargetDedicated = 3; $TVMDeallocationOption = terminate; x = nosuch") as Formula, F1);
    expect({ target, option, results, code: error?.code }).toEqual({ target: 10, option: "requeue", results: "$TargetDedicated=10;$NodeDeallocationOption=requeue", code: "AutoScalingFormulaEvaluationError" });
    expect(faultMessage(error?.code as never)).toBe("The specified auto-scaling formula has evaluation error");
  });
});

describe("samples", () => {
  test.each([
    ["a = $ActiveTasks.Count(); b = $CPUPercent.GetSamplePeriod(); c = $ActiveTasks.HistoryBeginTime()", "a=20;b=PT30S;c=2015-07-20T11:50:00.000Z"],
    ["a = $FailedTasks.Count(); b = $FailedTasks.HistoryBeginTime() == time()", "a=0;b=1"],
    ["a = $RunningTasks.GetSample(6 * TimeInterval_Minute, 1 * TimeInterval_Minute)", "a=[1,1,1,1,1,1,1,1,1,1]"],
    ["a = len($ActiveTasks.GetSample(100)); b = len($ActiveTasks.GetSample(0)); c = len($ActiveTasks.GetSample(2.9))", "a=20;b=0;c=2"],
    ["a = $ActiveTasks.GetSamplePercent(TimeInterval_Zero)", "a=0"], ["a = $ActiveTasks.GetSamplePercent(time() + -1 * TimeInterval_Minute, time())", "a=100"],
  ])("%s", (text, results) => expect(outcome(text)).toBe(results));
  test.each([
    ["a = $ActiveTasks.GetSample()", "1:27"], ["a = $ActiveTasks.GetSample(-1)", "1:27"], ["a = $ActiveTasks.GetSample(1, 2)", "1:27"], ["a = $ActiveTasks.GetSample(TimeInterval_Hour, time())", "1:27"],
    ["a = $ActiveTasks.GetSample(TimeInterval_Hour, 101)", "1:27"], ["a = $ActiveTasks.GetSamplePercent(1)", "1:34"], ["a = $ActiveTasks.GetSamplePercent(TimeInterval_Hour, 50)", "1:34"], ["a = $ActiveTasks.Count(1)", "1:23"], ["a = $FailedTasks + 1", "1:5"],
    ["a = $ActiveTasks.GetSample(TimeInterval_Hour, TimeInterval_Zero, TimeInterval_Zero)", "1:27"], ['a = $ActiveTasks.GetSample("x")', "1:27"],
  ])("%s is an evaluation error", (text, position) => expect(outcome(text)).toMatch(fails(position)));
  test("without a percentage 70 are wanted, or what the service is set to", () => {
    const text = "a = len($ActiveTasks.GetSample(TimeInterval_Minute * 15))";
    expect(outcome(text)).toBe("InsufficientSampleData Line 1, Col 31: Insufficient data from data set: $ActiveTasks wanted 70%, received 67%");
    expect(outcome(text, { ...F1, wantedPercent: 10 })).toBe("a=20");
  });
  test("a share that equals the wanted one is enough", () => expect(outcome("a = len($CPUPercent.GetSample(TimeInterval_Minute * 20, 50))")).toBe("a=20"));
  test("the trace names what each statement looked at, also of one that failed", () => {
    const steps: Step[] = [];
    evaluateFormula(parseFormula("p = $ActiveTasks.GetSamplePercent(TimeInterval_Minute); q = $CPUPercent.GetSample(2); r = avg($PendingTasks.GetSample(TimeInterval_Hour));") as Formula, F1, (step) => steps.push(step));
    expect(steps.map(({ name, value, looks }) => ({ name, value, looks: looks.map(({ metric, presence, values }) => ({ metric, percent: presence?.percent, count: values?.length })) }))).toEqual([
      { name: "p", value: "100", looks: [{ metric: "$ActiveTasks", percent: 100, count: undefined }] },
      { name: "q", value: "[0.75,0.75]", looks: [{ metric: "$CPUPercent", percent: undefined, count: 2 }] },
      { name: undefined, value: undefined, looks: [{ metric: "$PendingTasks", percent: (20 / 120) * 100, count: 20 }] },
    ]);
  });
});

describe("syntax", () => {
  test.each([
    ["a = ;", "1:5", "Unexpected token: ;"], ["a = (1 + 2;", "1:11"], ["a = 1 +", "1:8", "Unexpected end"], ["a = max(1,)", "1:11"], ["a = 1 ? 2", "1:10"], ['a = "open', "1:5", "The string has no closing"], ["a = 'x'", "1:5", "Unexpected character"],
    ["a = 5x", "1:6"], ["1 = 2", "1:3"], ["a == ;", "1:6"], ["a = b = 3", "1:7"], ["a & b", "1:3"], ["a | b", "1:3"], ["a = 1 ** 2", "1:8"], ["a.b.", "1:5"], ["a = x[0]", "1:6"], ["\n\ta = )", "2:6"], ["a = 1;\r\nb = 2 2", "2:7"], ["a = .", "1:5"], ["a = 1e", "1:6"], ["/* x */", "1:1"], ["= 3", "1:1"], ["a = 1, 2", "1:6"],
    ["a = x.$y", "1:7"], ["a = 💥", "1:5", "Unexpected character: 💥"],
  ])("%j is refused at the first unusable token", (text, position, reason = "") => expect(outcome(text)).toMatch(refused(position, reason)));
  test.each([["// only a comment"], [" ; ; "], ["a = 1 // x"], ["a\n=\n1\n"], ["a=1;"]])("%j is a formula", (text) => expect(isFault(parseFormula(text))).toBe(false));
  test.each([[""], [" \n\t"]])("%j is none", (text) => expect(parseFormula(text)).toMatchObject({ code: "InvalidAutoScalingSettings", line: 1, column: 1 }));
  test("100 statements pass, 101 do not; empty ones do not count", () => {
    expect(parseFormula("a=1;;".repeat(100))).toMatchObject({ statements: 100 });
    expect(parseFormula("a=1;".repeat(101))).toMatchObject({ code: "InvalidAutoScalingSettings", line: 1, column: 401 });
  });
  test("8192 characters pass, 8193 do not", () => {
    const padded = (length: number): string => "$TargetDedicated=1;//".padEnd(length, "x");
    expect(isFault(parseFormula(padded(FORMULA_MAX)))).toBe(false);
    expect(parseFormula(padded(FORMULA_MAX + 1))).toMatchObject({ code: "AutoScalingFormulaTooLong" });
  });
  test("brackets nest, up to a bound", () => {
    const nested = (depth: number): string => `a=${"(".repeat(depth)}1${")".repeat(depth)}`;
    expect(outcome(nested(NESTING_MAX - 1))).toBe("a=1");
    expect(outcome(nested(NESTING_MAX))).toMatch(/^AutoScalingFormulaSyntaxError .* nested more than/);
  });
  test("a line break is LF, CR or CR LF", () => expect(["a\nb", "a\rb", "a\r\nb"].map((text) => positionOf(text, text.indexOf("b"))).map(({ line, column }) => `${line}:${column}`)).toEqual(["2:1", "2:1", "2:1"]));
});

describe("hostile formulas end soon", () => {
  const day = Array.from({ length: 17_280 }, (_, index) => index);
  const full: Inputs = { ...F1, periodMs: 5000, samples: samplesOf(new Map([["$ActiveTasks", { times: day.map((index) => F1.nowMs - (17_280 - index) * 5000), values: day }]])) };
  const fit = (piece: string, end = ""): string => piece.repeat(Math.floor((FORMULA_MAX - end.length - 2) / piece.length));
  const HOSTILE: Readonly<Record<string, string>> = {
    "nested calls": `a=${fit("max(", "1")}1`,
    "nested brackets": `a=${"(".repeat(4000)}1${")".repeat(4000)}`,
    "a chain of signs": `a=${fit("!-", "1")}1`,
    "a chain of sums": `a=${fit("1+", "1")}1`,
    "a chain of choices": `a=${fit("0?1:", "1")}1`,
    "a chain of members": `a=time()${fit(".year")}`.slice(0, FORMULA_MAX),
    "vectors that double": `v=vec(1,2,3,4);${"v=vec(v,v);".repeat(99)}`,
    "vectors over and over": `v=$ActiveTasks.GetSample(17280);a=${fit("sum(v)+", "v=$ActiveTasks.GetSample(17280);1")}1`,
    "sorts over and over": `v=$ActiveTasks.GetSample(17280);a=${fit("percentile(v,5)+", "v=$ActiveTasks.GetSample(17280);1")}1`,
    "samples over and over": `a=${fit("len($ActiveTasks.GetSample(17280))+", "1")}1`,
    "vectors in every variable": Array.from({ length: 100 }, (_, index) => `v${index}=$ActiveTasks.GetSample(17280)`).join(";"),
    "powers of intervals": `a=TimeInterval_Year;${"a=a*9e15;".repeat(99)}`,
    "a long string": `a="${"x".repeat(8000)}"`,
    "backtracking": `a="${'\\" '.repeat(2000)}`,
  };
  test.each(Object.entries(HOSTILE))("%s", (_, text) => {
    expect(text.length).toBeLessThanOrEqual(FORMULA_MAX);
    outcome(text, full);
    const times = [1, 2, 3].map(() => {
      const start = process.cpuUsage();
      outcome(text, full);
      const { user, system } = process.cpuUsage(start);
      return (user + system) / 1000;
    });
    // Of processor time 50 ms on a machine of its own; the bound here is for one that is busy with other tests.
    expect(Math.min(...times)).toBeLessThan(250);
  });
});
