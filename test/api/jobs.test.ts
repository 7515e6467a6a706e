// Jobs and tasks over HTTP: disabled, enabled, updated, terminated; what is answered in each state, and what moves an ETag.
import { keyOf } from "../../src/domain/ids";
import { jobStep } from "../../src/process/jobStep";
import { JOB, type Service, TASK, ask, openService, refusal, withJob } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
  await withJob(service);
});
afterEach(() => service.close());

const STREAM = "job-myaccount.w1.1.job-0000000001";
const step = () => jobStep(service.ports, STREAM, service.ports.clock.now().toISOString());
const job = async () => (await ask(service, "GET", JOB)).json;
const post = (action: string, body?: object, headers?: Record<string, string>) => ask(service, "POST", `${JOB}?${action}`, { ...(body ? { body } : {}), ...(headers ? { headers } : {}) });

test("disabled, then enabled: 202, no body, a new ETag each time, and the states between", async () => {
  expect(keyOf(STREAM)).toBe("myaccount.w1.1.job-0000000001");
  const before = await job();
  const got = await post("disable", { disableTasks: "Requeue" }, { "if-match": before.eTag });
  expect([got.status, got.text]).toEqual([202, ""]);
  const disabling = await job();
  expect(disabling).toMatchObject({ state: "disabling", previousState: "active", eTag: got.headers.get("etag") });
  expect(disabling.eTag).not.toBe(before.eTag);
  await step();
  expect(await job()).toMatchObject({ state: "disabled", previousState: "disabling", eTag: disabling.eTag });
  expect(refusal(await post("disable", { disableTasks: "requeue" }, { "if-match": before.eTag }))).toBe("412 ConditionNotMet");
  expect((await post("disable", { disableTasks: "wait" })).status).toBe(202);
  expect((await ask(service, "POST", `${JOB}/tasks`, { body: TASK })).status).toBe(201);
  const enabled = await post("enable");
  expect([enabled.status, enabled.text]).toEqual([202, ""]);
  expect(await job()).toMatchObject({ state: "active", previousState: "disabled" });
  expect((await post("enable")).status).toBe(202);
});

test("what is to become of running tasks must be said", async () => {
  expect(refusal(await post("disable"))).toMatch(/^400 /);
  expect(refusal(await post("disable", {}))).toBe("400 MissingRequiredProperty disableTasks");
  expect(refusal(await post("disable", { disableTasks: "kill" }))).toBe("400 InvalidPropertyValue disableTasks");
});

test("case 44: a job that has completed, or is being deleted, is neither disabled nor enabled", async () => {
  await post("terminate");
  expect(refusal(await post("disable", { disableTasks: "wait" }))).toBe("409 JobBeingTerminated");
  await step();
  for (const [action, body] of [["disable", { disableTasks: "wait" }], ["enable", undefined], ["terminate", undefined]] as const) expect(refusal(await post(action, body))).toBe("409 JobCompleted");
  await ask(service, "DELETE", JOB);
  expect(refusal(await post("disable", { disableTasks: "wait" }))).toBe("409 JobBeingDeleted");
  expect(refusal(await post("enable"))).toBe("409 JobBeingDeleted");
});

test("case 26 and case 27: terminated with a reason and without; case 28: then it takes no tasks", async () => {
  const got = await post("terminate", { terminateReason: "enough" });
  expect(got.status).toBe(202);
  expect(refusal(await ask(service, "POST", `${JOB}/tasks`, { body: TASK }))).toBe("409 JobBeingTerminated");
  await step();
  const done = await job();
  expect(done).toMatchObject({ state: "completed", previousState: "active", executionInfo: { terminateReason: "enough", endTime: done.stateTransitionTime }, eTag: got.headers.get("etag") });
  expect(refusal(await ask(service, "POST", `${JOB}/tasks`, { body: TASK }))).toBe("409 JobCompleted");
  const other = { name: "w2", jobExecutionEnvironment: { poolName: "p1" } };
  await ask(service, "POST", "/workitems", { body: other });
  await ask(service, "POST", "/workitems/w2/jobs/job-0000000001?terminate");
  expect((await ask(service, "GET", "/workitems/w2/jobs/job-0000000001")).json.executionInfo.terminateReason).toBe("UserTerminate");
});

test("PATCH replaces what is given, PUT everything; another pool only while it is disabled", async () => {
  const constraints = { maxWallClockTime: "PT1H", maxTaskRetryCount: 2 };
  expect((await ask(service, "PATCH", JOB, { body: { priority: 7, jobConstraints: constraints } })).status).toBe(200);
  expect(await job()).toMatchObject({ priority: 7, jobConstraints: constraints, poolName: "p1" });
  await ask(service, "PATCH", JOB, { body: { jobConstraints: { maxTaskRetryCount: 3 } } });
  expect(await job()).toMatchObject({ priority: 7, jobConstraints: { maxWallClockTime: "P10675199DT2H48M5.4775807S", maxTaskRetryCount: 3 } });
  expect(refusal(await ask(service, "PATCH", JOB, { body: { poolName: "p2" } }))).toBe("409 OperationInvalidForCurrentState poolName");
  await post("disable", { disableTasks: "wait" });
  await step();
  expect((await ask(service, "PUT", JOB, { body: { poolName: "p2" } })).status).toBe(200);
  expect(await job()).toMatchObject({ priority: 0, jobConstraints: { maxTaskRetryCount: 0 }, poolName: "p2", state: "disabled" });
});

describe("a task", () => {
  const task = async () => (await ask(service, "GET", `${JOB}/tasks/t1`)).json;

  test("case 31 and case 32: new, it shows the job's retries, no counts, no TVM", async () => {
    await ask(service, "PATCH", JOB, { body: { jobConstraints: { maxTaskRetryCount: 5 } } });
    await ask(service, "POST", `${JOB}/tasks`, { body: { ...TASK, environmentSettings: [{ name: "A", value: "1" }], affinityInfo: { affinityId: "anything at all" } } });
    const shown = await task();
    expect(shown).toMatchObject({
      state: "active",
      taskConstraints: { maxTaskRetryCount: 5 },
      executionInfo: { retryCount: 0, requeueCount: 0 },
      environmentSettings: [{ name: "A", value: "1" }],
      affinityInfo: { affinityId: "anything at all" },
      runElevated: false,
    });
    expect(shown).not.toHaveProperty("tvmInfo");
    expect(shown).not.toHaveProperty("previousState");
  });

  test("PUT: 200, all constraints, the environment where it is given, and the ETag", async () => {
    await ask(service, "POST", `${JOB}/tasks`, { body: { ...TASK, taskConstraints: { maxWallClockTime: "PT1H", maxTaskRetryCount: 2 }, environmentSettings: [{ name: "A", value: "1" }] } });
    const { eTag } = await task();
    const got = await ask(service, "PUT", `${JOB}/tasks/t1`, { body: { taskConstraints: { retentionTime: "PT5M" } }, headers: { "if-match": eTag } });
    expect([got.status, got.text]).toEqual([200, ""]);
    const after = await task();
    expect(after).toMatchObject({ eTag: got.headers.get("etag"), taskConstraints: { maxWallClockTime: "P10675199DT2H48M5.4775807S", retentionTime: "PT5M", maxTaskRetryCount: 0 }, environmentSettings: [{ name: "A", value: "1" }] });
    expect(after.eTag).not.toBe(eTag);
    expect(refusal(await ask(service, "PUT", `${JOB}/tasks/t1`, { body: {}, headers: { "if-match": eTag } }))).toBe("412 ConditionNotMet");
    await ask(service, "PUT", `${JOB}/tasks/t1`, { body: { environmentSettings: [{ name: "B", value: "2" }] } });
    expect((await task()).environmentSettings).toEqual([{ name: "B", value: "2" }]);
    for (const name of ["WATASK_JOB_NAME", "watask_account_name"])
      expect(refusal(await ask(service, "PUT", `${JOB}/tasks/t1`, { body: { environmentSettings: [{ name, value: "mine" }] } }))).toBe("400 InvalidPropertyValue environmentSettings[0].name");
  });

  test("case 42: one that has completed is not terminated again, nor changed", async () => {
    await ask(service, "POST", `${JOB}/tasks`, { body: TASK });
    expect((await ask(service, "POST", `${JOB}/tasks/t1?terminate`)).status).toBe(204);
    expect(await task()).toMatchObject({ state: "completed", executionInfo: { schedulingError: { category: "UserError", code: "TaskEnded" } } });
    expect(refusal(await ask(service, "POST", `${JOB}/tasks/t1?terminate`))).toBe("409 TaskCompleted");
    expect(refusal(await ask(service, "PUT", `${JOB}/tasks/t1`, { body: {} }))).toBe("409 TaskCompleted");
    expect(refusal(await ask(service, "PUT", `${JOB}/tasks/none`, { body: {} }))).toBe("404 TaskNotFound");
  });
});
