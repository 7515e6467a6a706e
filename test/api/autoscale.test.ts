// Autoscale as a client sees it: pools made with a formula, enabled, disabled, tried, evaluated when due (reference autoscale-formula,
// sections 1 and 12). Against the real app, with a clock that is moved.
import { evaluateDue } from "../../src/app/autoscale";
import { execute } from "../../src/app/execute";
import { takeSamples } from "../../src/app/samples";
import { isRejection } from "../../src/domain/decider";
import { poolKey, poolStream } from "../../src/domain/ids";
import type { PoolCommand } from "../../src/domain/pool";
import { ACCOUNT, BASE, POOL, type Service, ask, openService, refusal } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const { targetDedicated: _, ...NO_SIZE } = POOL;
const now = (): string => service.ports.clock.now().toISOString();
const get = async (name = "p") => (await ask(service, "GET", `/pools/${name}`)).json;
const post = (target: string, body?: unknown) => ask(service, "POST", target, body === undefined ? {} : { body });
const make = (formula: string, more: object = {}) => post("/pools", { ...NO_SIZE, name: "p", enableAutoScale: true, autoScaleFormula: formula, ...more });
const enable = (formula: string, more: object = {}) => post("/pools/p?enableautoscale", { autoScaleFormula: formula, ...more });
const pool = async (command: Omit<PoolCommand, "at"> & { type: string }): Promise<void> => {
  const outcome = await execute(service.ports, "pool", "test", { stream: poolStream(poolKey(ACCOUNT, "p")), command: { ...command, at: now() } as PoolCommand });
  if (isRejection(outcome)) throw new Error(outcome.code);
};
const steady = () => pool({ type: "EndPoolResize" });
const withSize = async (targetDedicated: number): Promise<void> => {
  expect((await post("/pools", { ...POOL, name: "p", targetDedicated })).status).toBe(201);
  await steady();
};

describe("made with a formula", () => {
  test("201; the first evaluation is part of the request", async () => {
    expect((await make("$TargetDedicated=2")).status).toBe(201);
    const made = await get();
    expect(made).toMatchObject({
      enableAutoScale: true, autoScaleFormula: "$TargetDedicated=2", targetDedicated: 2, allocationState: "resizing", resizeTimeout: "PT1H",
      autoScaleRun: { timestamp: made.lastModified, results: "$TargetDedicated=2;$NodeDeallocationOption=requeue" },
    });
    expect(made.creationTime).toBe(made.lastModified);
    expect(made.autoScaleRun).not.toHaveProperty("error");
    for (const name of ["autoScaleEvaluationInterval", "autoScaleMaxDedicated"]) expect(made).not.toHaveProperty(name);
  });

  test.each([
    ["both a formula and a size", { enableAutoScale: true, autoScaleFormula: "a=1", targetDedicated: 1 }, "400 InvalidAutoScalingSettings"],
    ["no formula", { enableAutoScale: true }, "400 InvalidAutoScalingSettings"],
    ["a formula, and autoscale off", { enableAutoScale: false, autoScaleFormula: "a=1", targetDedicated: 1 }, "400 InvalidAutoScalingSettings"],
    ["a formula, and nothing said of autoscale", { autoScaleFormula: "a=1", targetDedicated: 1 }, "400 InvalidAutoScalingSettings"],
    ["neither", {}, "400 MissingRequiredProperty targetDedicated"],
    ["an empty formula", { enableAutoScale: true, autoScaleFormula: " " }, "400 InvalidAutoScalingSettings"],
    ["101 statements", { enableAutoScale: true, autoScaleFormula: "a=1;".repeat(101) }, "400 InvalidAutoScalingSettings"],
    ["8193 characters", { enableAutoScale: true, autoScaleFormula: "a=1//".padEnd(8193, "x") }, "400 AutoScalingFormulaTooLong"],
    ["what cannot be parsed", { enableAutoScale: true, autoScaleFormula: "$TargetDedicated = 5 5" }, "400 AutoScalingFormulaSyntaxError"],
    ["too short an interval", { enableAutoScale: true, autoScaleFormula: "a=1", autoScaleEvaluationInterval: "PT4M59S" }, "400 InvalidPropertyValue autoScaleEvaluationInterval"],
    ["too long an interval", { enableAutoScale: true, autoScaleFormula: "a=1", autoScaleEvaluationInterval: "P7DT1S" }, "400 InvalidPropertyValue autoScaleEvaluationInterval"],
  ])("%s is refused", async (_what, body, expected) => {
    const answer = await post("/pools", { ...NO_SIZE, name: "p", ...body });
    expect(refusal(answer).slice(0, expected.length)).toBe(expected);
    expect((await ask(service, "GET", "/pools/p")).status).toBe(404);
  });

  test("the error of a syntax error says line and column", async () => {
    const { json } = await make("a = 1;\n b = )");
    expect(json.values).toEqual([{ key: "PropertyName", value: "autoScaleFormula" }, { key: "Message", value: "Line 2, Col 6: Unexpected token: )" }, { key: "Line", value: "2" }, { key: "Column", value: "6" }]);
  });

  test("100 statements and 8192 characters are fine", async () => {
    expect((await make("a=1;".repeat(100).padEnd(8192, " "))).status).toBe(201);
  });

  test("a first evaluation that fails leaves no TVMs, and says why", async () => {
    expect((await make("$TargetDedicated = avg($ActiveTasks.GetSample(TimeInterval_Minute))")).status).toBe(201);
    expect(await get()).toMatchObject({
      targetDedicated: 0,
      autoScaleRun: {
        results: "$TargetDedicated=0;$NodeDeallocationOption=requeue",
        error: { code: "InsufficientSampleData", message: "Autoscale evaluation failed due to insufficient sample data", values: [{ name: "Message", value: "Line 1, Col 46: Insufficient data from data set: $ActiveTasks wanted 70%, received 0%" }] },
      },
    });
  });

  test("interval and maximum are shown when they were set; the maximum holds whatever the formula says", async () => {
    expect((await make("$TargetDedicated=40", { autoScaleEvaluationInterval: "PT5M", autoScaleMaxDedicated: 3 })).status).toBe(201);
    expect(await get()).toMatchObject({ targetDedicated: 3, autoScaleEvaluationInterval: "PT5M", autoScaleMaxDedicated: 3, autoScaleRun: { results: expect.stringContaining("$TargetDedicated=40;") } });
  });

  test("lists find it by enableAutoScale", async () => {
    await make("$TargetDedicated=1");
    await post("/pools", { ...POOL, name: "q" });
    const named = async (filter: string) => (await ask(service, "GET", "/pools", { query: { $filter: filter, $select: "name" } })).json.value.map(({ name }: { name: string }) => name);
    expect([await named("enableAutoScale eq true"), await named("enableAutoScale eq false")]).toEqual([["p"], ["q"]]);
  });
});

describe("enabled", () => {
  test("200 without a body; evaluated at once; the allocation pulses though the number is the same", async () => {
    await withSize(5);
    const answer = await enable("$TargetDedicated=5");
    expect([answer.status, answer.text]).toEqual([200, ""]);
    const after = await get();
    expect(after).toMatchObject({ targetDedicated: 5, allocationState: "resizing", enableAutoScale: true, autoScaleRun: { timestamp: after.lastModified } });
    expect(answer.headers.get("etag")).toBe(after.eTag);
    expect((await post("/pools/p/disableautoscale")).status).toBe(200);
  });

  test("not while the pool is being resized", async () => {
    await post("/pools", { ...POOL, name: "p", targetDedicated: 1 });
    expect(refusal(await enable("$TargetDedicated=5"))).toMatch(/^409 PoolBeingResized/);
  });

  test("again: not before 30 s are over, then the formula is replaced and evaluated at once", async () => {
    await withSize(1);
    await enable("$TargetDedicated=2");
    service.shift(3000);
    expect(refusal(await enable("$TargetDedicated=4"))).toMatch(/^503 TooManyEnableAutoScaleRequests/);
    service.shift(30_000);
    expect((await enable("$TargetDedicated=4")).status).toBe(200);
    expect(await get()).toMatchObject({ autoScaleFormula: "$TargetDedicated=4", targetDedicated: 4 });
  });

  test("what is left out keeps its value", async () => {
    await make("$TargetDedicated=2", { autoScaleMaxDedicated: 9 });
    expect((await post("/pools/p?enableautoscale", { autoScaleEvaluationInterval: "PT10M" })).status).toBe(200);
    expect(await get()).toMatchObject({ autoScaleFormula: "$TargetDedicated=2", autoScaleEvaluationInterval: "PT10M", autoScaleMaxDedicated: 9 });
    service.shift(40_000);
    expect(refusal(await post("/pools/p?enableautoscale", {}))).toMatch(/^400 MissingRequiredProperty autoScaleFormula/);
  });

  test("off, and no formula is given: refused", async () => {
    await withSize(1);
    expect(refusal(await post("/pools/p?enableautoscale", { autoScaleEvaluationInterval: "PT10M" }))).toMatch(/^400 MissingRequiredProperty autoScaleFormula/);
  });

  test("a formula that cannot be parsed changes nothing", async () => {
    await withSize(1);
    const before = await get();
    expect(refusal(await enable("$TargetDedicated = 7 % 2"))).toMatch(/^400 AutoScalingFormulaSyntaxError/);
    expect(await get()).toEqual(before);
  });

  test("the pool is not resized by hand then", async () => {
    await make("$TargetDedicated=2");
    await steady();
    expect(refusal(await post("/pools/p?resize", { targetDedicated: 3 }))).toMatch(/^409 /);
    expect(await get()).toMatchObject({ targetDedicated: 2 });
  });

  test("an unknown pool is not found", async () => {
    for (const [verb, body] of [["enableautoscale", { autoScaleFormula: "a=1" }], ["disableautoscale", undefined], ["evaluateautoscale", { autoScaleFormula: "a=1" }]] as const)
      expect(refusal(await post(`/pools/none?${verb}`, body))).toMatch(/^404 PoolNotFound/);
  });
});

describe("disabled", () => {
  test("formula and run are gone, the target stays, the allocation pulses", async () => {
    await make("$TargetDedicated=2");
    await steady();
    const before = await get();
    expect((await post("/pools/p?disableautoscale")).status).toBe(200);
    const after = await get();
    expect(after).toMatchObject({ enableAutoScale: false, targetDedicated: 2, allocationState: "resizing", resizeTimeout: "PT1H" });
    for (const name of ["autoScaleFormula", "autoScaleRun"]) expect(after).not.toHaveProperty(name);
    expect(Date.parse(after.lastModified)).toBeGreaterThan(Date.parse(before.lastModified));
  });

  test("off already: 200, lastModified moves, no pulse", async () => {
    await withSize(1);
    const before = await get();
    service.shift(1);
    expect((await post("/pools/p?disableautoscale")).status).toBe(200);
    const after = await get();
    expect(Date.parse(after.lastModified)).toBeGreaterThan(Date.parse(before.lastModified));
    expect(after.allocationState).toBe("steady");
  });

  test("while it resizes: the resize stops", async () => {
    await make("$TargetDedicated=2");
    await post("/pools/p?disableautoscale");
    expect(await get()).toMatchObject({ allocationState: "stopping", targetDedicated: 2 });
  });
});

describe("tried", () => {
  test("200 with a run, also when it fails; pool and stored run stay as they are", async () => {
    await make("$TargetDedicated=2");
    const before = await get();
    service.shift(1000);
    const good = await post("/pools/p?evaluateautoscale", { autoScaleFormula: "$TargetDedicated = $TargetDedicated + 8; x = 1" });
    expect([good.status, good.json]).toEqual([200, {
      "odata.metadata": `${BASE}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun`,
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/), results: "$TargetDedicated=10;$NodeDeallocationOption=requeue;x=1",
    }]);
    const bad = await post("/pools/p/evaluateautoscale", { autoScaleFormula: "$nope" });
    expect([bad.status, bad.json]).toMatchObject([200, {
      results: "$TargetDedicated=2;$NodeDeallocationOption=requeue",
      error: { code: "AutoScalingFormulaEvaluationError", message: "The specified auto-scaling formula has evaluation error", values: [{ name: "Message", value: "Line 1, Col 1: Undefined symbol: $nope" }] },
    }]);
    expect(refusal(await post("/pools/p?evaluateautoscale", { autoScaleFormula: "a = " }))).toMatch(/^400 AutoScalingFormulaSyntaxError/);
    expect(await get()).toEqual(before);
  });

  test("409 while autoscale is off", async () => {
    await withSize(1);
    expect(refusal(await post("/pools/p?evaluateautoscale", { autoScaleFormula: "a=1" }))).toMatch(/^409 OperationInvalidForCurrentState/);
  });
});

describe("evaluated when due", () => {
  const due = async (milliseconds: number): Promise<number> => {
    service.shift(milliseconds);
    return evaluateDue(service.ports, now());
  };

  test("every interval and not before; a changed target resizes, and is no change of the definition", async () => {
    await make("$TargetDedicated = $TargetDedicated + 1; $TVMDeallocationOption = taskcompletion");
    await steady();
    const made = await get();
    expect(await due(899_000)).toBe(0);
    expect(await due(2000)).toBe(1);
    const after = await get();
    expect(after).toMatchObject({ targetDedicated: 2, allocationState: "resizing", resizeTimeout: "PT1H", lastModified: made.lastModified, eTag: made.eTag });
    expect(Date.parse(after.autoScaleRun.timestamp)).toBeGreaterThan(Date.parse(made.autoScaleRun.timestamp));
    expect(await due(2000)).toBe(0);
    // A resize that is under way gets the new target.
    expect(await due(900_000)).toBe(1);
    expect(await get()).toMatchObject({ targetDedicated: 3, allocationState: "resizing" });
  });

  test("an unchanged target resizes nothing; an error keeps the target, and the next run is as usual", async () => {
    await make("n = $ActiveTasks.Count(); $TargetDedicated = time() - $ActiveTasks.HistoryBeginTime() > 30 * TimeInterval_Minute ? nosuch : 5");
    await pool({ type: "AllocateTvms", count: 5 } as never);
    await steady();
    expect(await due(900_000)).toBe(1);
    expect(await get()).toMatchObject({ targetDedicated: 5, allocationState: "steady" });
    await takeSamples(service.ports, now());
    service.shift(31 * 60_000);
    expect(await due(0)).toBe(1);
    const failed = await get();
    expect(failed).toMatchObject({ targetDedicated: 5, allocationState: "steady", autoScaleRun: { error: { code: "AutoScalingFormulaEvaluationError" }, results: "$TargetDedicated=5;$NodeDeallocationOption=requeue" } });
    expect(await due(900_000)).toBe(1);
    expect(Date.parse((await get()).autoScaleRun.timestamp)).toBeGreaterThan(Date.parse(failed.autoScaleRun.timestamp));
  });

  test("a pool that is not at its target though nothing moves is moved again, unless the quota forbids", async () => {
    await make("$TargetDedicated = 2");
    await pool({ type: "EndPoolResize", error: { code: "AllocationTimedout", message: "x" } } as never);
    await due(900_000);
    expect(await get()).toMatchObject({ allocationState: "resizing" });
    await pool({ type: "EndPoolResize", error: { code: "AccountCoreQuotaReached", message: "x" } } as never);
    await due(900_000);
    expect(await get()).toMatchObject({ allocationState: "steady" });
  });

  test("a pool that is deleted is evaluated no more", async () => {
    await make("$TargetDedicated = 2");
    await ask(service, "DELETE", "/pools/p");
    expect(await due(900_000)).toBe(0);
  });
});

describe("recorded", () => {
  test("samples and runs of the last hours, each run the same when it is made again", async () => {
    await make("a = max(0, $ActiveTasks.GetSample(1)); $TargetDedicated = a + rand() * 3");
    await takeSamples(service.ports, now());
    service.shift(900_000);
    await evaluateDue(service.ports, now());
    const { json } = await ask(service, "GET", "/batchledger/autoscale/p");
    expect(json).toMatchObject({ pool: "p", samplePeriodMs: 30_000, wantedPercent: 70, autoScale: { intervalMs: 900_000 } });
    expect(json.samples).toMatchObject([{ times: [expect.any(Number)], values: { $ActiveTasks: [0], $CurrentDedicated: [0] }, aggregated: false }]);
    expect(json.runs.map(({ replayed }: { replayed: string }) => replayed)).toEqual(["same", "same"]);
    service.shift(3_600_000);
    expect((await ask(service, "GET", "/batchledger/autoscale/p", { query: { hours: "1" } })).json).toMatchObject({ samples: [], runs: [] });
  });

  test("not of unknown pools or other accounts, nor for any time", async () => {
    await make("a = 1");
    expect(refusal(await ask(service, "GET", "/batchledger/autoscale/none"))).toBe("404 PoolNotFound");
    expect(refusal(await ask(service, "GET", "/batchledger/autoscale/p", { account: "other" }))).toBe("404 PoolNotFound");
    for (const hours of ["0", "193", "x", "-1", "1.5"]) expect(refusal(await ask(service, "GET", "/batchledger/autoscale/p", { query: { hours } }))).toMatch(/^400 OutOfRange/);
  });
});
