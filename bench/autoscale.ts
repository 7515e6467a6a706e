// What autoscale costs: one JSON line a figure. Ten thousand pools evaluated in one pass on the embedded store, and the interpreter
// alone on formulas of people and of those who mean harm. In this process, in a temporary folder. Usage: npm run bench -- autoscale [pools]
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { aesSealer } from "../src/adapters/aesSealer";
import { localSignals } from "../src/adapters/localSignals";
import { type Sqlite, openSqlite } from "../src/adapters/sqlite";
import { sqliteBus } from "../src/adapters/sqliteBus";
import { sqliteEventStore } from "../src/adapters/sqliteEventStore";
import { sqliteViews } from "../src/adapters/sqliteViews";
import { systemClock, systemRandom } from "../src/adapters/system";
import { evaluateDue } from "../src/app/autoscale";
import { makePool } from "../src/app/pools";
import { takeSamples } from "../src/app/samples";
import { type Inputs, evaluateFormula } from "../src/domain/autoscale/evaluate";
import { isFault } from "../src/domain/autoscale/fault";
import { parseFormula } from "../src/domain/autoscale/parse";
import { samplesOf } from "../src/domain/autoscale/samples";
import type { PoolSpec } from "../src/domain/pool";
import type { Ports } from "../src/ports";

const POOLS = Number(process.argv[2] ?? 10_000);
const PERIOD_MS = 30_000;
const INTERVAL_MS = 900_000;
const SAMPLES = 10;

const print = (figure: string, value: number, unit: string, more: Record<string, unknown> = {}): void => console.log(JSON.stringify({ figure, value: Math.round(value * 100) / 100, unit, ...more }));

/** The seed's kinds of formula: of the time, of resources, of tasks (reference autoscale-formula, section 11). */
const FORMULAS: Readonly<Record<string, string>> = {
  tasks: `$samples = $ActiveTasks.GetSamplePercent(TimeInterval_Minute * 5);
$tasks = $samples < 70 ? max(0, $ActiveTasks.GetSample(1)) : max($ActiveTasks.GetSample(1), avg($ActiveTasks.GetSample(TimeInterval_Minute * 5)));
$targetVMs = $tasks > 0 ? $tasks : max(0, $TargetDedicated / 2);
$TargetDedicated = max(0, min($targetVMs, 20));
$TVMDeallocationOption = taskcompletion;`,
  resources: `$totalTVMs = (min($CPUPercent.GetSample(TimeInterval_Minute * 5, 1)) > 0.7) ? ($CurrentDedicated * 1.1) : $CurrentDedicated;
$totalTVMs = (avg($CPUPercent.GetSample(TimeInterval_Minute * 5, 1)) < 0.2) ? ($CurrentDedicated * 0.9) : $totalTVMs;
$TargetDedicated = min(400, $totalTVMs);`,
  time: `$curTime = time();
$workHours = $curTime.hour >= 8 && $curTime.hour < 18;
$isWeekday = $curTime.weekday <= 5;
$isWorkingWeekdayHour = $workHours && $isWeekday;
$TargetDedicated = $isWorkingWeekdayHour ? 20 : 10;`,
};

// ---------------------------------------------------------------- many pools

const nowhere = (): never => {
  throw new Error("These pools have no files, machines or certificates.");
};

const openPorts = (db: Sqlite, folder: string): Ports => ({
  eventStore: sqliteEventStore(db),
  views: sqliteViews(db),
  bus: sqliteBus(db, systemClock),
  files: { put: nowhere, stat: nowhere, read: nowhere, list: nowhere, remove: nowhere, signedUrl: nowhere },
  machines: { ensure: async () => [], list: async () => [], remove: async () => {} },
  orchestrations: { nudge: async () => {} },
  accounts: { keys: async () => undefined },
  certificates: { put: nowhere, get: nowhere, remove: nowhere },
  sealer: aesSealer(path.join(folder, "service.secret")),
  policy: { allowElevated: false, poolTvmsMax: 10_000 },
  signals: localSignals(systemClock),
  clock: systemClock,
  random: systemRandom,
  log: { debug() {}, info() {}, warn() {}, error: (message, details) => console.error(message, details) },
});

const specOf = (formula: string): PoolSpec => ({
  tvmSize: "small", osFamily: "4", targetOSVersion: "*", targetDedicated: 0, resizeTimeoutMs: INTERVAL_MS, communication: false, maxTasksPerTvm: 1, fillType: "Spread",
  autoScale: { formula, intervalMs: INTERVAL_MS },
});

const manyPools = async (ports: Ports): Promise<void> => {
  const start = Math.ceil(Date.now() / INTERVAL_MS) * INTERVAL_MS;
  const at = (ms: number): string => new Date(start + ms).toISOString();
  const call = { account: "local", by: "local", at: at(0) };
  const formulas = Object.values(FORMULAS);
  for (let index = 0; index < POOLS; index++) await makePool(ports, call, `p${index}`, specOf(formulas[index % formulas.length] as string));
  const passes: number[] = [];
  for (let index = SAMPLES; index > 0; index--) {
    const began = performance.now();
    await takeSamples(ports, at(INTERVAL_MS - index * PERIOD_MS));
    passes.push(performance.now() - began);
  }
  print("one sample of each pool", Math.max(...passes) / 1000, "s", { pools: POOLS, passes: SAMPLES, everySeconds: PERIOD_MS / 1000 });
  const [cpu, began] = [process.cpuUsage(), performance.now()];
  const evaluated = await evaluateDue(ports, at(INTERVAL_MS));
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  if (evaluated !== POOLS) throw new Error(`${evaluated} of ${POOLS} pools were evaluated`);
  print("pools evaluated in one pass", seconds, "s", { pools: POOLS, cpuMsPerPool: Math.round((user + system) / POOLS) / 1000, aim: 10 });
};

// ---------------------------------------------------------------- the interpreter alone

/** A day of samples, one every five seconds: more than the service keeps at its default period. */
const fullInputs = (): Inputs => {
  const nowMs = Date.parse("2015-07-20T12:00:00Z");
  const times = Array.from({ length: 17_280 }, (_, index) => nowMs - (17_280 - index) * 5000);
  const series = (value: (index: number) => number) => ({ times, values: times.map((_, index) => value(index)) });
  return {
    nowMs, target: 10, currentDedicated: 10, periodMs: 5000,
    samples: samplesOf(new Map([["$ActiveTasks", series((index) => index)], ["$CPUPercent", series((index) => (index % 100) / 100)]])),
  };
};

const evaluated = (text: string, inputs: Inputs): void => {
  const formula = parseFormula(text);
  if (!isFault(formula)) evaluateFormula(formula, inputs);
};

/** Parsed and evaluated each time. */
const examples = (inputs: Inputs): void => {
  for (const [name, text] of Object.entries(FORMULAS)) {
    for (let run = 0; run < 500; run++) evaluated(text, inputs);
    const began = performance.now();
    for (let run = 0; run < 2000; run++) evaluated(text, inputs);
    print(`a formula of ${name}`, (performance.now() - began) / 2, "us", { aim: 200 });
  }
};

const LENGTH = 8192;
const fill = (before: string, piece: string, after: string): string => before + piece.repeat(Math.floor((LENGTH - before.length - after.length) / piece.length)) + after;

const HOSTILE: Readonly<Record<string, string>> = {
  sorts: fill("v=$ActiveTasks.GetSample(17280);a=", "percentile(v,5)+", "1"),
  sums: fill("v=$ActiveTasks.GetSample(17280);a=", "sum(v)+", "1"),
  samples: fill("a=", "len($ActiveTasks.GetSample(17280))+", "1"),
  "vectors that double": `v=vec(1,2,3,4);${"v=vec(v,v);".repeat(99)}`,
  "vectors kept": Array.from({ length: 100 }, (_, index) => `v${index}=$ActiveTasks.GetSample(17280)`).join(";"),
  brackets: `a=${"(".repeat(4000)}1${")".repeat(4000)}`,
  intervals: `a=TimeInterval_Year;${"a=a*9e15;".repeat(99)}`,
  sentence: fill("a=", "1+", "1"),
};

/** The best of some runs: the machine's other work is not the formula's. */
const hostile = (inputs: Inputs): void => {
  for (const [name, text] of Object.entries(HOSTILE)) {
    const runs = Array.from({ length: 7 }, () => {
      const began = performance.now();
      evaluated(text, inputs);
      return performance.now() - began;
    });
    print(`hostile: ${name}`, Math.min(...runs), "ms", { worst: Math.round(Math.max(...runs) * 100) / 100, characters: text.length, aim: 50 });
  }
};

const main = async (): Promise<void> => {
  const inputs = fullInputs();
  examples(inputs);
  hostile(inputs);
  const folder = await mkdtemp(path.join(tmpdir(), "batchledger-bench-"));
  const db = openSqlite(path.join(folder, "ledger.db"));
  try {
    await manyPools(openPorts(db, folder));
  } finally {
    await db.close();
    await rm(folder, { recursive: true, force: true });
  }
};

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
