// Formulas over recorded samples: what each evaluation finds, and what averages stand for.
import { type Replay, backtest, spreadOut } from "../../../src/domain/autoscale/backtest";
import { isFault } from "../../../src/domain/autoscale/fault";
import { type Formula, parseFormula } from "../../../src/domain/autoscale/parse";
import { historyFrom, historyUntil } from "../../../src/domain/autoscale/samples";

const formula = (text: string): Formula => {
  const parsed = parseFormula(text);
  if (isFault(parsed)) throw new Error(parsed.detail);
  return parsed;
};
const START = Date.parse("2015-07-20T12:00:00Z");
const times = Array.from({ length: 21 }, (_, index) => START + index * 30_000);
const history = historyFrom([{ times, values: { $ActiveTasks: times.map((_, index) => index) } }], Infinity);
const replay: Replay = { fromMs: START, toMs: START + 600_000, everyMs: 300_000, periodMs: 30_000, wantedPercent: 70, taskSlots: 1, target: 5 };
const targets = (text: string, change: Partial<Replay> = {}): number[] => backtest(formula(text), history, { ...replay, ...change }).map(({ target }) => target);

test("each evaluation sees the samples up to its instant, and none after it", () => {
  expect(targets("$TargetDedicated = $ActiveTasks.Count()")).toEqual([1, 11, 21]);
  expect(targets("$TargetDedicated = max($ActiveTasks.GetSample(1))")).toEqual([0, 10, 20]);
});

test("each finds the target and the TVMs that the one before it left", () => {
  expect(targets("$TargetDedicated = $TargetDedicated + 1")).toEqual([6, 7, 8]);
  expect(targets("$TargetDedicated = $CurrentDedicated * 2", { targetMax: 30 })).toEqual([10, 20, 30]);
});

test("one that fails leaves the target, and says where", () => {
  const [, second] = backtest(formula("$TargetDedicated = nosuch"), history, replay);
  expect(second).toMatchObject({ atMs: START + 300_000, target: 5, error: { line: 1, column: 20 } });
});

test("rand() is the same each time", () => expect(targets("$TargetDedicated = rand() * 1000")).toEqual(targets("$TargetDedicated = rand() * 1000")));

test("an average stands for a sample each period, so that nothing is missing", () => {
  const spread = spreadOut({ times: [START], values: { $ActiveTasks: [4.5], $CPUPercent: [null] } }, 30_000, 300_000);
  expect(spread.times).toEqual(times.slice(0, 10));
  const known = historyFrom([spread], Infinity);
  expect(known.get("$CPUPercent")?.values).toEqual([]);
  const [only] = backtest(formula("$TargetDedicated = $ActiveTasks.GetSamplePercent(TimeInterval_Minute * 5)"), known, { ...replay, fromMs: START + 300_000, toMs: START + 300_000 });
  expect(only?.target).toBe(100);
});

test("a history until an instant has the sample of that instant; a metric that is not there stays so", () => {
  expect(historyUntil(history, START + 30_000).get("$ActiveTasks")?.values).toEqual([0, 1]);
  expect(historyUntil(history, START - 1).get("$ActiveTasks")?.values).toEqual([]);
  expect(historyUntil(history, START).get("$CPUPercent")).toBeUndefined();
});
