// Autoscale from samples to TVMs: what is sampled, how long it is kept, what formulas see, and that every evaluation can be made
// again from its event. On the embedded adapters, with a clock that stands still.
import { disableAutoScale, enableAutoScale, evaluateDue } from "../../src/app/autoscale";
import { terminateJob } from "../../src/app/jobs";
import { deletePool, getPool } from "../../src/app/pools";
import { pastRuns } from "../../src/app/replay";
import { sampleRows, takeSamples } from "../../src/app/samples";
import type { Pool } from "../../src/domain/pool";
import { embeddedSettings } from "../../src/settings";
import { samples } from "../../src/views/samples";
import { type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const KEY = "local.pool-a";
const MINUTE = 60_000;
const pool = async (): Promise<Pool> => accepted(await getPool(world.ports, world.call(), "Pool-A")).state;
const scaled = (formula: string, more: object = {}) => makePool(world, "Pool-A", { targetDedicated: 0, maxTasksPerTvm: 1, autoScale: { formula, intervalMs: 300_000, ...more } });
const tick = async (milliseconds = 30_000): Promise<void> => {
  world.clock.advance(milliseconds);
  await takeSamples(world.ports, world.now());
};
const evaluate = async (milliseconds = 300_000): Promise<Pool> => {
  world.clock.advance(milliseconds);
  expect(await evaluateDue(world.ports, world.now())).toBe(1);
  await world.pump.untilQuiet();
  return pool();
};
const latest = async (): Promise<Record<string, number | null | undefined>> => {
  const row = (await sampleRows(world.ports, KEY, "")).at(-1);
  return Object.fromEntries(Object.entries(row?.values ?? {}).map(([metric, list]) => [metric, list.at(-1)]));
};
/** Every sample in order: instants in seconds after the first, and one metric. */
const series = async (metric: string): Promise<[number, number | null][]> => {
  const rows = await sampleRows(world.ports, KEY, "");
  const all = rows.flatMap((row) => row.times.map((time, index): [number, number | null] => [time, row.values[metric]?.[index] ?? null]));
  return all.map(([time, value]) => [(time - (all[0]?.[0] ?? 0)) / 1000, value]);
};

test("task counts of the pool's jobs are sampled every period, once", async () => {
  await scaled("$TargetDedicated = 1");
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a"), newTask("b"), newTask("c")]);
  await tick();
  await takeSamples(world.ports, world.now());
  const [agent] = [...(await bootAll(world)).values()];
  await agent?.exchange();
  for (const one of agent?.waiting().slice(0, 1) ?? []) agent?.started(one);
  await agent?.exchange();
  await tick();
  expect(await latest()).toMatchObject({ $ActiveTasks: 2, $RunningTasks: 1, $PendingTasks: 3, $SucceededTasks: 0, $FailedTasks: 0, $CurrentDedicated: 1, $SampleTVMCount: 0 });
  await agent?.work(({ task }) => (task === "b" ? 3 : 0));
  await tick();
  expect(await latest()).toMatchObject({ $ActiveTasks: 0, $RunningTasks: 0, $PendingTasks: 0, $SucceededTasks: 2, $FailedTasks: 1 });
  expect(await series("$PendingTasks")).toEqual([[0, 3], [30, 3], [60, 0]]);
});

test("what agents measured is averaged and summed over the pool's TVMs, and old readings count no more", async () => {
  await scaled("$TargetDedicated = 2");
  const agents = [...(await bootAll(world)).values()];
  const readings = (cpu: number) => ({
    at: world.now(), overMs: 15_000, cpu, memoryMb: 512, diskGb: 2, diskReadBytes: 1000, diskWriteBytes: 10, diskReadOps: 4, diskWriteOps: 1, networkInBytes: 500, networkOutBytes: 50, tvms: 2,
  });
  await agents[0]?.exchange({ readings: readings(0.2) });
  await agents[1]?.exchange({ readings: readings(0.6) });
  await tick();
  expect(await latest()).toMatchObject({
    $SampleTVMCount: 2, $CPUPercent: 0.4, $MemoryBytes: 512, $DiskBytes: 2, $WallClockSeconds: 60, $DiskReadBytes: 4000, $DiskWriteBytes: 40, $DiskReadOps: 16, $DiskWriteOps: 4, $NetworkInBytes: 2000, $NetworkOutBytes: 200,
  });
  await tick(120_000);
  expect(await latest()).toMatchObject({ $SampleTVMCount: 0, $CPUPercent: null });
});

test("tasks that have ended are counted on when their job is gone", async () => {
  await scaled("$TargetDedicated = 1");
  await makeWorkItem(world, "One");
  await addMany(world, "One", [newTask("a"), newTask("b")]);
  const [agent] = [...(await bootAll(world)).values()];
  await agent?.work(() => 0);
  await tick();
  accepted(await terminateJob(world.ports, world.call(), "One", "job-0000000001", "done"));
  await world.pump.untilQuiet();
  await makeWorkItem(world, "Two");
  await addMany(world, "Two", [newTask("c")]);
  await agent?.work(() => 1);
  await tick();
  await tick();
  expect(await latest()).toMatchObject({ $SucceededTasks: 2, $FailedTasks: 1 });
});

test("grows with the queue, and shrinks to nothing when it is empty; each run is an event that gives the same again", async () => {
  await scaled("$TargetDedicated = min(3, max(0, $PendingTasks.GetSample(1))); $TVMDeallocationOption = taskcompletion; r = rand()");
  await makeWorkItem(world);
  await addMany(world, "Render", ["a", "b", "c", "d", "e"].map((name) => newTask(name)));
  await tick();
  expect((await evaluate()).spec.targetDedicated).toBe(3);
  const agents = await bootAll(world);
  expect(agents.size).toBe(3);
  let ran = 0;
  for (const agent of agents.values()) ran += (await agent.work(() => 0)).length;
  expect(ran).toBe(5);
  await tick();
  const after = await evaluate();
  expect(after.spec.targetDedicated).toBe(0);
  expect(after.resize.option).toBe("taskcompletion");
  for (const agent of agents.values()) await agent.exchange();
  expect(await pool()).toMatchObject({ tvms: [], allocation: "steady" });
  const runs = await pastRuns(world.ports, world.call(), "Pool-A", 100);
  expect(runs.map(({ run }) => [run.targetBefore, run.target])).toEqual([[0, 0], [0, 3], [3, 0]]);
  for (const { run, again } of runs) expect(again).toEqual(run);
});

test("formulas that look further back than an hour see the whole day", async () => {
  await scaled("n = $ActiveTasks.Count(); h = $ActiveTasks.GetSamplePercent(3 * TimeInterval_Hour); m = $ActiveTasks.GetSamplePercent(10 * TimeInterval_Minute)");
  for (let index = 0; index < 6 * 60; index++) await tick(30_000);
  const { autoScale } = await evaluate(1000);
  expect(autoScale?.run?.results).toContain("h=100;m=100;n=360");
});

test("an evaluation whose samples are too many for an event is kept without them", async () => {
  await scaled("v = $ActiveTasks.GetSample(3 * TimeInterval_Hour, 0); w = $RunningTasks.GetSample(1000)");
  for (let index = 0; index < 900; index++) await tick(30_000);
  await evaluate(1000);
  const [last] = (await pastRuns(world.ports, world.call(), "Pool-A", 1)).slice(-1);
  expect(last?.run.inputs.answers).toHaveLength(3);
  await enableAutoScale(world.ports, world.call(), "Pool-A", { formula: "a = $ActiveTasks.GetSample(900); b = $RunningTasks.GetSample(900); c = $PendingTasks.GetSample(900)" });
  const [large] = (await pastRuns(world.ports, world.call(), "Pool-A", 1)).slice(-1);
  expect([large?.run.inputs.answers, large?.again]).toEqual([undefined, undefined]);
  expect(large?.run.results).toContain("...");
});

test("samples are kept for a day, then as averages of five minutes for a week, then not at all", async () => {
  await scaled("$TargetDedicated = 0");
  await makeWorkItem(world);
  for (let index = 0; index < 10; index++) {
    await addMany(world, "Render", [newTask(`t${index}`)]);
    await tick();
  }
  const before = await sampleRows(world.ports, KEY, "");
  await tick(24 * 60 * MINUTE - MINUTE);
  await tick();
  expect((await sampleRows(world.ports, KEY, ""))[0]).toMatchObject({ times: before[0]?.times });
  await tick(11 * MINUTE);
  const [averaged, ...rest] = await sampleRows(world.ports, KEY, "");
  const values = before[0]?.values["$ActiveTasks"] as number[];
  expect(averaged).toMatchObject({ aggregated: true, times: [Date.parse(before[0]?.start as string)], values: { $ActiveTasks: [values.reduce((a, b) => a + b) / values.length] } });
  expect(rest.at(-1)?.aggregated).toBeUndefined();
  for (let day = 0; day < 12; day++) await tick(24 * 60 * MINUTE);
  expect((await sampleRows(world.ports, KEY, ""))[0]?.start.slice(0, 10)).not.toBe(before[0]?.start.slice(0, 10));
});

test("metrics are of the time that autoscale is on: none before, gone after, and gone with the pool", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 0 });
  await tick();
  expect(await sampleRows(world.ports, KEY, "")).toEqual([]);
  accepted(await enableAutoScale(world.ports, world.call(), "Pool-A", { formula: "$TargetDedicated = 0" }));
  await world.pump.untilQuiet();
  await tick();
  expect(await sampleRows(world.ports, KEY, "")).toHaveLength(1);
  accepted(await disableAutoScale(world.ports, world.call(), "Pool-A"));
  await world.pump.untilQuiet();
  expect(await sampleRows(world.ports, KEY, "")).toEqual([]);
  accepted(await enableAutoScale(world.ports, world.call(), "Pool-A", { formula: "$TargetDedicated = 0" }));
  await world.pump.untilQuiet();
  await tick();
  accepted(await deletePool(world.ports, world.call(), "Pool-A"));
  await world.pump.untilQuiet();
  expect(await world.ports.views.keys(samples, { index: "pool", prefix: "", limit: 10 })).toEqual([]);
});

test("samples of one pool are not another's, though one name begins with the other", async () => {
  await scaled("$TargetDedicated = 0");
  await makePool(world, "Pool-A1", { targetDedicated: 0, autoScale: { formula: "$TargetDedicated = 0", intervalMs: 300_000 } });
  await makeWorkItem(world, "Other", {}, "Pool-A1");
  await addMany(world, "Other", [newTask("a")]);
  await tick();
  expect((await latest())["$ActiveTasks"]).toBe(0);
});

test("a short interval of the operator shortens what goes with it; its samples must divide a minute", () => {
  const scaling = (autoscaleIntervalMs?: number) => embeddedSettings({ autoscaleIntervalMs }).scaling;
  expect(scaling()).toBeUndefined();
  expect(scaling(2000)).toEqual({ intervalMs: 2000, intervalLeastMs: 2000, enableEveryMs: 2000, samplePeriodMs: 2000 });
  expect(scaling(600_000)).toEqual({ intervalMs: 600_000, intervalLeastMs: 300_000, enableEveryMs: 30_000, samplePeriodMs: 30_000 });
  expect(scaling(45_000)?.samplePeriodMs).toBe(30_000);
  expect(() => scaling(500)).toThrow("at least 1 s");
  for (const wrong of [7000, 1500, 30_500]) expect(() => scaling(wrong)).toThrow("must divide a minute");
});
