// Jobs and tasks over HTTP: disabled, enabled, updated, terminated; what is answered in each state, and what moves an ETag.
import { keyOf } from "../../src/domain/ids";
import { jobStep } from "../../src/process/jobStep";
import { execute } from "../../src/app/execute";
import { managerToken } from "../../src/app/managers";
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

describe("a job manager", () => {
  const MANAGED = "/workitems/managed/jobs/job-0000000001";
  const KEY = "myaccount.managed.1.job-0000000001.jm";
  const jobManager = { name: "Jm", commandLine: "plan", resourceFiles: [{ blobSource: "https://store/c/plan?sig=secret", filePath: "plan" }], environmentSettings: [{ name: "A", value: "1" }] };
  const now = () => service.ports.clock.now().toISOString();
  const make = (specification: object) => ask(service, "POST", "/workitems", { body: { name: "managed", jobExecutionEnvironment: { poolName: "p1" }, jobSpecification: specification } });
  const settle = () => jobStep(service.ports, "job-myaccount.managed.1.job-0000000001", now());

  test("is shown by work item and job with its defaults, the retries of its job, and no signature", async () => {
    expect((await make({ jobManager, jobConstraints: { maxTaskRetryCount: 5 } })).status).toBe(201);
    await settle();
    const shown = {
      name: "Jm",
      commandLine: "plan",
      resourceFiles: [{ blobSource: "https://store/c/plan?sig=REDACTED", filePath: "plan" }],
      environmentSettings: [{ name: "A", value: "1" }],
      runElevated: false,
      taskConstraints: { maxWallClockTime: "P10675199DT2H48M5.4775807S", retentionTime: "P10675199DT2H48M5.4775807S", maxTaskRetryCount: 5 },
      runExclusive: true,
      killJobOnCompletion: true,
    };
    const item = (await ask(service, "GET", "/workitems/managed")).json;
    expect(item.jobSpecification).toEqual({ priority: 0, jobConstraints: { maxWallClockTime: "P10675199DT2H48M5.4775807S", maxTaskRetryCount: 5 }, jobManager: shown });
    expect((await ask(service, "GET", MANAGED)).json.jobManager).toEqual(shown);
    const task = (await ask(service, "GET", `${MANAGED}/tasks/jm`)).json;
    expect(task).toMatchObject({ name: "Jm", state: "active", commandLine: "plan", taskConstraints: { maxTaskRetryCount: 5 }, environmentSettings: [{ name: "A", value: "1" }] });
    expect(JSON.stringify(task)).not.toContain("secret");
  });

  test("that nobody limits is started again for ever", async () => {
    await make({ jobManager: { ...jobManager, taskConstraints: { maxWallClockTime: "PT1H" } } });
    await settle();
    expect((await ask(service, "GET", `${MANAGED}/tasks/jm`)).json.taskConstraints).toMatchObject({ maxTaskRetryCount: -1, maxWallClockTime: "PT1H" });
  });

  describe("with its token", () => {
    let token: string;
    const as = (method: string, target: string, body?: unknown) => ask(service, method, target, { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { body }) });
    beforeEach(async () => {
      await make({ jobManager });
      await settle();
      await execute(service.ports, "task", "test", { stream: `task-${KEY}`, command: { type: "AssignTask", at: now(), pool: "p1", tvm: "tvm-1" } });
      token = managerToken(service.ports, KEY, 1);
    });

    test("does what its job needs", async () => {
      expect((await as("GET", MANAGED)).json.name).toBe("job-0000000001");
      expect((await as("POST", `${MANAGED}/tasks`, TASK)).status).toBe(201);
      expect((await as("POST", `${MANAGED.toUpperCase().replace("WORKITEMS", "workitems").replace("JOBS", "jobs")}/tasks`, { ...TASK, name: "t2" })).status).toBe(201);
      expect((await as("POST", `${MANAGED}/tasks?addtaskcollection`, { value: [{ ...TASK, name: "t3" }] })).status).toBe(200);
      expect((await as("GET", `${MANAGED}/tasks`)).json.value.map(({ name }: { name: string }) => name)).toEqual(["Jm", "t1", "t2", "t3"]);
      expect((await as("PUT", `${MANAGED}/tasks/t1`, { taskConstraints: { maxTaskRetryCount: 1 } })).status).toBe(200);
      expect((await as("POST", `${MANAGED}/tasks/t1?terminate`)).status).toBe(204);
      expect((await as("GET", `${MANAGED}/tasks/t1`)).json.state).toBe("completed");
      expect((await as("DELETE", `${MANAGED}/tasks/t2`)).status).toBe(200);
      expect(refusal(await as("GET", `${MANAGED}/tasks/t1/files`))).toBe("409 TaskFilesUnavailable");
      expect((await as("GET", `/batchledger/counts${MANAGED}`)).json).toMatchObject({ completed: 1 });
      // It is on record who did it.
      const history = (await ask(service, "GET", `/batchledger/history${MANAGED}/tasks/t1`)).json.value;
      expect(history.map(({ by }: { by: string }) => by)).toEqual([KEY, KEY, KEY]);
    });

    test("and nothing else: not another job, not its own job's fate, nothing of the account", async () => {
      await ask(service, "POST", `${JOB}/tasks`, { body: TASK });
      const refused: [string, string, unknown?][] = [
        ["GET", JOB], ["GET", `${JOB}/tasks`], ["GET", `${JOB}/tasks/t1`], ["POST", `${JOB}/tasks`, { ...TASK, name: "t9" }], ["DELETE", `${JOB}/tasks/t1`], ["POST", `${JOB}/tasks/t1?terminate`],
        ["GET", `${JOB}/tasks/t1/files/stdout.txt`], ["GET", "/workitems/managed/jobs/job-0000000002"], ["GET", "/workitems/managed/jobs"],
        ["PATCH", MANAGED, { priority: 1000 }], ["POST", `${MANAGED}?terminate`], ["POST", `${MANAGED}?disable`, { disableTasks: "wait" }], ["POST", `${MANAGED}?enable`], ["DELETE", MANAGED],
        ["DELETE", `${MANAGED}/tasks/t1/files/stdout.txt`], ["GET", "/workitems"], ["GET", "/workitems/managed"], ["POST", "/workitems", { name: "w3", jobExecutionEnvironment: { poolName: "p1" } }],
        ["GET", "/pools"], ["GET", "/pools/p1"], ["POST", "/pools/p1?resize", { targetDedicated: 9 }], ["GET", "/pools/p1/tvms"], ["POST", "/batchledger/files/inputs/x"],
        ["GET", `/batchledger/history${MANAGED}`], ["POST", "/batchledger/commands", {}], ["GET", "/certificates"], ["POST", "/agent/exchange", {}],
      ];
      for (const [method, target, body] of refused) expect([method, target, refusal(await as(method, target, body))]).toEqual([method, target, "403 InsufficientAccountPermissions"]);
      expect((await ask(service, "GET", `${JOB}/tasks`)).json.value).toHaveLength(1);
    });

    test("is a stranger when the token is wrong, changed, or its attempt has ended", async () => {
      const good = token;
      for (const wrong of [`${good}x`, good.replace("~1~", "~2~"), good.replace("managed", "w1"), "x", "a~1~b"]) {
        token = wrong;
        expect(refusal(await as("GET", MANAGED))).toBe("403 AuthenticationFailed");
      }
      token = good;
      await execute(service.ports, "task", "test", { stream: `task-${KEY}`, command: { type: "RequeueTask", at: now(), attempt: 1, reason: "tvmLost" } });
      expect(refusal(await as("GET", MANAGED))).toBe("403 AuthenticationFailed");
      expect(refusal(await ask(service, "GET", MANAGED, { authorization: "Bearer" }))).toBe("400 InvalidAuthenticationInfo Authorization");
    });
  });
});
