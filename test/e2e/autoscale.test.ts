// Pools that follow their work, on the built service: real TVMs that come when tasks queue and go when they have ended, with every task
// run and counted once; and formulas over what agents measure.
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import type { PoolResource } from "../../src/cli/resources";
import { createTransport } from "../../src/cli/transport";
import { JOB, type Running, allCompleted, newData, removeData, start, stop, until, workItem } from "../support/service";

let data: string;
let shared: string;
let service: Running;
beforeAll(async () => {
  data = newData();
  // Tasks of a service that runs as root have users of their own.
  shared = mkdtempSync(path.join(os.tmpdir(), "batchledger-shared-"));
  chmodSync(shared, 0o777);
  service = await start(data, ["--autoscale-interval", "1s"]);
});
afterAll(async () => {
  await stop(service);
  await removeData(data);
  rmSync(shared, { recursive: true, force: true });
});

const TVMS = 3;
const FOLLOW = `
queue = max(0, $PendingTasks.GetSample(1));
waiting = max(0, $ActiveTasks.GetSample(1));
$TargetDedicated = min(${TVMS}, max(queue, waiting));`;
const followWith = (option: string): string => `${FOLLOW} $TVMDeallocationOption = ${option};`;

const scaledPool = async (name: string, formula: string): Promise<PoolResource> => {
  await service.client.createPool({ name, tvmSize: "small", osFamily: "4", maxTasksPerTVM: 1, enableAutoScale: true, autoScaleFormula: formula } as never);
  return service.client.getPool(name);
};
/** Not sooner than the interval after the last time. */
const enable = async (name: string, formula: string): Promise<void> => {
  const transport = createTransport(service);
  await until(
    () =>
      transport.call({ method: "POST", path: ["pools", name], query: { enableautoscale: "" }, body: { autoScaleFormula: formula } }).then(
        () => true,
        (error: { code?: string }) => {
          if (error.code !== "TooManyEnableAutoScaleRequests" && error.code !== "PoolBeingResized") throw error;
          return false;
        },
      ),
    "autoscale is enabled again",
  );
  transport.close();
};
/** Tasks that wait for a file, and then say once that they have ended. */
const addHeld = async (item: string, count: number): Promise<{ go(): void; ends(): string[] }> => {
  const go = path.join(shared, `${item}.go`);
  const log = path.join(shared, `${item}.log`);
  writeFileSync(log, "");
  chmodSync(log, 0o666);
  const tasks = Array.from({ length: count }, (_, index) => ({ name: `t${index}`, commandLine: `/bin/sh -c 'while [ ! -e ${go} ]; do sleep 0.05; done; echo $WATASK_TASK_NAME >> ${log}'` }));
  await service.client.addTasks(item, JOB, tasks);
  return { go: () => writeFileSync(go, ""), ends: () => readFileSync(log, "utf8").trim().split("\n").sort() };
};
const counts = (item: string) => service.client.counts(item, JOB);
const runningAre = (item: string, number: number) => until(async () => (await counts(item)).running === number, `${number} tasks of ${item} run`);
const emptied = (name: string) =>
  until(async () => {
    const { targetDedicated, currentDedicated, allocationState } = await service.client.getPool(name);
    return targetDedicated === 0 && currentDedicated === 0 && allocationState === "steady";
  }, `${name} has no TVMs`);
const tvmStates = async (pool: string): Promise<string[]> => {
  const states: string[] = [];
  for await (const { state } of service.client.listTvms(pool)) states.push(state ?? "");
  return states;
};
const NAMES = ["t0", "t1", "t2", "t3", "t4", "t5", "t6"];

test("starts with no TVMs, grows with the queue, and goes back to none by taskcompletion without touching what runs", async () => {
  expect(await scaledPool("patient", followWith("taskcompletion"))).toMatchObject({ targetDedicated: 0, currentDedicated: 0 });
  await workItem(service.client, "patient", "patient");
  const held = await addHeld("patient", NAMES.length);
  await runningAre("patient", TVMS);
  expect(await service.client.getPool("patient")).toMatchObject({ targetDedicated: TVMS, currentDedicated: TVMS });

  // Told to go while their tasks run: they wait for them, and take no others.
  await enable("patient", "$TargetDedicated = 0; $TVMDeallocationOption = taskcompletion;");
  await until(async () => (await tvmStates("patient")).every((state) => state === "leavingpool"), "all TVMs know that they are to leave");
  expect(await service.client.getPool("patient")).toMatchObject({ targetDedicated: 0, currentDedicated: TVMS });
  expect(await counts("patient")).toMatchObject({ running: TVMS, requeues: 0 });
  held.go();
  await emptied("patient");
  expect(await counts("patient")).toMatchObject({ completed: TVMS, active: NAMES.length - TVMS, running: 0, requeues: 0 });

  await enable("patient", followWith("taskcompletion"));
  expect(await allCompleted(service.client, "patient", NAMES.length)).toMatchObject({ completed: NAMES.length, failed: 0, requeues: 0 });
  await emptied("patient");
  expect(held.ends()).toEqual(NAMES);
});

test("by requeue, tasks are taken back and run again: none is lost, none ends twice", async () => {
  expect(await scaledPool("hasty", followWith("requeue"))).toMatchObject({ targetDedicated: 0, currentDedicated: 0 });
  await workItem(service.client, "hasty", "hasty");
  const held = await addHeld("hasty", NAMES.length);
  await runningAre("hasty", TVMS);
  await enable("hasty", "$TargetDedicated = 0; $TVMDeallocationOption = requeue;");
  await emptied("hasty");
  expect(await counts("hasty")).toMatchObject({ active: NAMES.length, running: 0, completed: 0, requeues: TVMS });
  held.go();
  await enable("hasty", followWith("requeue"));
  expect(await allCompleted(service.client, "hasty", NAMES.length)).toMatchObject({ completed: NAMES.length, failed: 0 });
  await emptied("hasty");
  expect(held.ends()).toEqual(NAMES);
});

test("a formula over what agents measure: no data while there are no TVMs, then the share of processors in use", async () => {
  const made = await scaledPool("measured", "cpu = $CPUPercent.GetSample(1); $TargetDedicated = len(cpu) == 0 ? 1 : (avg(cpu) >= 0 && avg(cpu) <= 1 ? 2 : 3); memory = len($MemoryBytes.GetSample(1));");
  expect(made).toMatchObject({ targetDedicated: 1, autoScaleRun: { results: expect.stringContaining("cpu=[];memory=0") } });
  const run = await until(async () => {
    const { targetDedicated, autoScaleRun } = await service.client.getPool("measured");
    return targetDedicated === 2 ? (autoScaleRun as { results: string; error?: unknown }) : undefined;
  }, "the formula has data");
  expect(run.error).toBeUndefined();
  expect(run.results).toMatch(/^\$TargetDedicated=2;.*cpu=\[[\d.e-]+\];memory=1$/);
  expect(existsSync(path.join(data, "machine.json"))).toBe(true);
});
