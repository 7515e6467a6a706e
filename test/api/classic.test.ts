// The classic dialect as a client sees it: statuses, headers, bodies, lists, conditions. Against the real app.
import { execute } from "../../src/app/execute";
import { isRejection } from "../../src/domain/decider";
import { jobKey, poolKey, poolStream, taskKey, taskStream, tvmKey } from "../../src/domain/ids";
import { jobStep } from "../../src/process/jobStep";
import { workItemStep } from "../../src/process/workItemStep";
import { ACCOUNT, BASE, JOB, KEYS, POOL, type Service, TASK, VERSION, WORK_ITEM, ask, openService, refusal, withJob } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const get = async (target: string, query?: Record<string, string>) => ask(service, "GET", target, query ? { query } : {});
const post = (target: string, body?: unknown, headers?: Record<string, string>) =>
  ask(service, "POST", target, { ...(body === undefined ? {} : { body }), ...(headers ? { headers } : {}) });

const namesOf = (got: { json: any }): string[] => got.json.value.map((one: { name: string }) => one.name);

const steady = async (pool: string): Promise<void> => {
  const outcome = await execute(service.ports, "pool", "test", {
    stream: poolStream(poolKey(ACCOUNT, pool)),
    command: { type: "EndPoolResize", at: service.ports.clock.now().toISOString() },
  });
  if (isRejection(outcome)) throw new Error(outcome.code);
};

describe("pools", () => {
  test("add: 201 without a body, with where it is; get: what was said and what was not", async () => {
    const added = await post("/pools", {
      ...POOL,
      name: "Render_1",
      "odata.metadata": "https://batch.core.windows.net/$metadata#pools/@Element",
      targetDedicated: 3,
      communication: true,
      maxTasksPerTVM: 4,
      schedulingPolicy: { tvmFillType: "Pack" },
      metadata: [{ name: "owner", value: "me" }],
      startTask: { commandLine: "setup", environmentSettings: [{ name: "A", value: "1" }], resourceFiles: [{ blobSource: "https://s/x", filePath: "a/b.txt" }] },
    });
    expect([added.status, added.text]).toEqual([201, ""]);
    expect(added.headers.get("location")).toBe(`${BASE}/pools/Render_1`);
    expect(added.headers.get("dataserviceid")).toBe(`${BASE}/pools/Render_1`);
    expect(added.headers.get("dataserviceversion")).toBe("3.0");
    expect(added.headers.get("request-id")).toMatch(/^[0-9a-f-]{36}$/);

    // Names are kept as written, and compared without case.
    const pool = await get("/pools/render_1");
    const { eTag, lastModified, creationTime, stateTransitionTime, allocationStateTransitionTime, ...rest } = pool.json;
    expect(pool.headers.get("content-type")).toBe("application/json; odata=minimalmetadata");
    expect(pool.headers.get("etag")).toBe(eTag);
    expect(added.headers.get("etag")).toBe(eTag);
    expect(pool.headers.get("last-modified")).toBe(new Date(lastModified).toUTCString());
    expect([creationTime, stateTransitionTime, allocationStateTransitionTime]).toEqual([lastModified, lastModified, lastModified]);
    expect(rest).toEqual({
      "odata.metadata": `${BASE}/$metadata#pools/@Element`,
      name: "Render_1",
      url: `${BASE}/pools/Render_1`,
      state: "active",
      allocationState: "resizing",
      osFamily: "3",
      targetOSVersion: "*",
      currentOSVersion: "*",
      tvmSize: "small",
      targetDedicated: 3,
      currentDedicated: 0,
      resizeTimeout: "PT5M",
      enableAutoScale: false,
      communication: true,
      maxTasksPerTVM: 4,
      schedulingPolicy: { tvmFillType: "Pack" },
      metadata: [{ name: "owner", value: "me" }],
      startTask: {
        commandLine: "setup",
        resourceFiles: [{ blobSource: "https://s/x", filePath: "a/b.txt" }],
        environmentSettings: [{ name: "A", value: "1" }],
        runElevated: false,
        maxTaskRetryCount: 0,
        waitForSuccess: true,
      },
    });
    expect(refusal(await post("/pools", { ...POOL, name: "RENDER_1" }))).toBe("409 PoolExists");
  });

  test("HEAD says what GET says, without a body", async () => {
    await post("/pools", POOL);
    const head = await ask(service, "HEAD", "/pools/p1");
    expect([head.status, head.text]).toEqual([200, ""]);
    expect(head.headers.get("etag")).toBe((await get("/pools/p1")).headers.get("etag"));
    const missing = await ask(service, "HEAD", "/pools/p2");
    expect([missing.status, missing.text]).toEqual([404, ""]);
  });

  test.each(["/pools/p1?resize", "/pools/p1/resize"])("POST %s: accepted when steady, and then refused while it goes on", async (target) => {
    await post("/pools", POOL);
    const before = (await get("/pools/p1")).headers.get("etag");
    expect(refusal(await post(target, { targetDedicated: 2 }))).toBe("409 PoolBeingResized");
    await steady("p1");
    expect((await get("/pools/p1")).headers.get("etag")).toBe(before);
    const accepted = await post(target, { targetDedicated: 2, resizeTimeout: "PT10M", tvmDeallocationOption: "taskcompletion" });
    expect([accepted.status, accepted.text]).toEqual([202, ""]);
    expect(accepted.headers.get("dataserviceid")).toBe(`${BASE}/pools/p1`);
    const pool = await get("/pools/p1");
    expect(pool.json).toMatchObject({ targetDedicated: 2, resizeTimeout: "PT10M", allocationState: "resizing" });
    expect(pool.headers.get("etag")).not.toBe(before);
    const stopped = await post("/pools/p1?stopresize");
    expect(stopped.status).toBe(202);
    expect(refusal(await post("/pools/p1?stopresize"))).toBe("409 OperationInvalidForCurrentState");
  });

  test("PATCH replaces what is given, updateproperties also what is not", async () => {
    await post("/pools", { ...POOL, metadata: [{ name: "a", value: "1" }], startTask: { commandLine: "x" } });
    const patched = await ask(service, "PATCH", "/pools/p1", { body: { metadata: [{ name: "b", value: "2" }] } });
    expect(patched.status).toBe(200);
    expect((await get("/pools/p1")).json).toMatchObject({ metadata: [{ name: "b", value: "2" }], startTask: { commandLine: "x" } });
    expect((await ask(service, "PATCH", "/pools/p1", { body: { startTask: null } })).status).toBe(200);
    expect((await get("/pools/p1")).json.startTask).toBeUndefined();
    const replaced = await post("/pools/p1?updateproperties", { startTask: { commandLine: "y" } });
    expect([replaced.status, replaced.text]).toEqual([204, ""]);
    expect((await get("/pools/p1")).json).toMatchObject({ metadata: [], startTask: { commandLine: "y" } });
  });

  test("DELETE: accepted once, the definition unchanged", async () => {
    await post("/pools", POOL);
    const before = await get("/pools/p1");
    const deleted = await ask(service, "DELETE", "/pools/p1");
    expect([deleted.status, deleted.text]).toEqual([202, ""]);
    const after = await get("/pools/p1");
    expect(after.json).toMatchObject({ state: "deleting", eTag: before.json.eTag, lastModified: before.json.lastModified });
    expect(refusal(await ask(service, "DELETE", "/pools/p1"))).toBe("409 PoolBeingDeleted");
  });

  test("conditions on reads and writes", async () => {
    await post("/pools", POOL);
    const tag = (await get("/pools/p1")).headers.get("etag") as string;
    const conditional = (method: string, headers: Record<string, string>, body?: unknown) => ask(service, method, "/pools/p1", { headers, ...(body ? { body } : {}) });
    const unchanged = await conditional("GET", { "if-none-match": tag });
    expect([unchanged.status, unchanged.text, unchanged.headers.get("etag")]).toEqual([304, "", tag]);
    expect(refusal(await conditional("GET", { "if-match": "0x1" }))).toBe("412 ConditionNotMet");
    expect(refusal(await conditional("DELETE", { "if-match": "0x1" }))).toBe("412 ConditionNotMet");
    expect(refusal(await conditional("PATCH", { "if-none-match": tag }, { metadata: [] }))).toBe("412 ConditionNotMet");
    expect(refusal(await conditional("GET", { "if-match": tag, "if-none-match": tag }))).toBe("400 MultipleConditionHeadersNotSupported");
    expect((await conditional("PATCH", { "if-match": tag }, { metadata: [] })).status).toBe(200);
    expect(refusal(await conditional("DELETE", { "if-match": tag }))).toBe("412 ConditionNotMet");
    // What is not there is not there, whatever the condition.
    expect(refusal(await ask(service, "PATCH", "/pools/none", { headers: { "if-match": tag }, body: { metadata: [] } }))).toBe("404 PoolNotFound");
    expect(refusal(await ask(service, "DELETE", "/workitems/none", { headers: { "if-match": tag } }))).toBe("404 WorkItemNotFound");
  });
});

describe("lists", () => {
  const addPools = async (...names: string[]): Promise<void> => {
    for (const name of names) expect((await post("/pools", { ...POOL, name })).status).toBe(201);
  };
  const follow = (link: string) => {
    const url = new URL(link);
    const { "api-version": _, ...query } = Object.fromEntries(url.searchParams);
    return get(url.pathname, query);
  };

  test("come in name order, in pages, each bound to the list that it continues", async () => {
    await addPools("c", "a", "E", "b", "D");
    const first = await get("/pools", { maxresults: "2" });
    expect(first.json["odata.metadata"]).toBe(`${BASE}/$metadata#pools`);
    expect(namesOf(first)).toEqual(["a", "b"]);
    expect(first.json["odata.nextLink"]).toMatch(new RegExp(`^${BASE}/pools\\?maxresults=2&api-version=${VERSION}&\\$skiptoken=`));
    const second = await follow(first.json["odata.nextLink"]);
    expect(namesOf(second)).toEqual(["c", "D"]);
    const third = await follow(second.json["odata.nextLink"]);
    expect(namesOf(third)).toEqual(["E"]);
    expect(third.json["odata.nextLink"]).toBeUndefined();

    const token = new URL(first.json["odata.nextLink"]).searchParams.get("$skiptoken") as string;
    for (const [target, query, account] of [
      ["/workitems", { $skiptoken: token }, ACCOUNT],
      ["/pools", { $skiptoken: token, $filter: "state eq 'active'" }, ACCOUNT],
      ["/pools", { $skiptoken: token }, "other"],
      ["/pools", { $skiptoken: `${token}x` }, ACCOUNT],
      ["/pools", { $skiptoken: "é" }, ACCOUNT],
      ["/pools", { $skiptoken: "" }, ACCOUNT],
    ] as const)
      expect(refusal(await ask(service, "GET", target, { query, account }))).toBe("400 InvalidQueryParameterValue $skiptoken");
  });

  test("are filtered and cut to what is asked for", async () => {
    await addPools("apple", "apricot", "banana");
    expect(namesOf(await get("/pools", { $filter: "startswith(name,'ap')" }))).toEqual(["apple", "apricot"]);
    const page = await get("/pools", { $filter: "name ne 'apricot' and state eq 'active'", maxresults: "1", $select: "name,state" });
    expect(page.json.value).toEqual([{ name: "apple", state: "active" }]);
    expect(namesOf(await follow(page.json["odata.nextLink"]))).toEqual(["banana"]);
    expect((await get("/pools/apple", { $select: "name" })).json).toEqual({ "odata.metadata": `${BASE}/$metadata#pools/@Element`, name: "apple" });
  });

  test.each<[Record<string, string>, string]>([
    [{ maxresults: "0" }, "400 OutOfRangeQueryParameterValue maxresults"],
    [{ maxresults: "1001" }, "400 OutOfRangeQueryParameterValue maxresults"],
    [{ maxresults: "ten" }, "400 InvalidQueryParameterValue maxresults"],
    [{ $filter: "color eq 'red'" }, "400 InvalidQueryParameterValue $filter"],
    [{ $select: "colour" }, "400 InvalidQueryParameterValue $select"],
    [{ $expand: "all" }, "400 InvalidQueryParameterValue $expand"],
    [{ $orderby: "name" }, "400 UnsupportedQueryParameter $orderby"],
    [{ timeout: "31" }, "400 OutOfRangeQueryParameterValue timeout"],
    [{ timeout: "soon" }, "400 InvalidQueryParameterValue timeout"],
  ])("refuse %j", async (query, expected) => {
    const got = await get("/pools", query);
    expect([got.status, got.json.code, got.json.values.find((one: { key: string }) => one.key === "QueryParameterName").value].join(" ")).toBe(expected);
  });

  test("tasks by state and jobs newest first", async () => {
    await withJob(service);
    for (const name of ["t3", "t1", "t2"]) expect((await post(`${JOB}/tasks`, { ...TASK, name })).status).toBe(201);
    await post(`${JOB}/tasks/t2?terminate`);
    expect(namesOf(await get(`${JOB}/tasks`))).toEqual(["t1", "t2", "t3"]);
    expect(namesOf(await get(`${JOB}/tasks`, { $filter: "state eq 'active'" }))).toEqual(["t1", "t3"]);
    expect(namesOf(await get(`${JOB}/tasks`, { $filter: "state eq 'completed' and name gt 't1'" }))).toEqual(["t2"]);
    const page = await get(`${JOB}/tasks`, { $filter: "state eq 'active'", maxresults: "1" });
    expect(namesOf(await follow(page.json["odata.nextLink"]))).toEqual(["t3"]);
    expect(namesOf(await get("/workitems/w1/jobs"))).toEqual(["job-0000000001"]);
    expect(refusal(await get("/workitems/w9/jobs"))).toBe("404 WorkItemNotFound");
  });
});

describe("work items and jobs", () => {
  test("a work item without a schedule has its job at once", async () => {
    await post("/pools", POOL);
    const added = await post("/workitems", { ...WORK_ITEM, jobSpecification: { priority: 7, jobConstraints: { maxWallClockTime: "PT1H", maxTaskRetryCount: 5 } }, metadata: [] });
    expect([added.status, added.text, added.headers.get("location")]).toEqual([201, "", `${BASE}/workitems/w1`]);
    expect((await get("/workitems/w1")).json).toMatchObject({
      name: "w1",
      state: "active",
      jobSpecification: { priority: 7, jobConstraints: { maxWallClockTime: "PT1H", maxTaskRetryCount: 5 } },
      jobExecutionEnvironment: { poolName: "p1" },
      executionInfo: { recentJob: { url: `${BASE}${JOB}`, name: "job-0000000001" } },
    });
    const job = (await get(JOB)).json;
    expect(job).toMatchObject({ state: "active", poolName: "p1", priority: 7, jobConstraints: { maxTaskRetryCount: 5 } });
    expect(job.executionInfo.startTime).toBe(job.stateTransitionTime);
    expect(job.previousState).toBeUndefined();
    expect((await post(`${JOB}/tasks`, TASK)).status).toBe(201);
    expect((await get(`${JOB}/tasks/t1`)).json.taskConstraints.maxTaskRetryCount).toBe(5);
  });

  test("without a specification the job shows neither priority nor constraints; an update gives it both", async () => {
    await withJob(service);
    const plain = (await get(JOB)).json;
    expect([plain.priority, plain.jobConstraints]).toEqual([undefined, undefined]);
    const patched = await ask(service, "PATCH", JOB, { body: { priority: -3 } });
    expect([patched.status, patched.text]).toEqual([200, ""]);
    expect((await get(JOB)).json).toMatchObject({ priority: -3, jobConstraints: { maxWallClockTime: "P10675199DT2H48M5.4775807S", maxTaskRetryCount: 0 } });
    expect((await ask(service, "PUT", JOB, { body: { jobConstraints: { maxTaskRetryCount: 2 } } })).status).toBe(200);
    expect((await get(JOB)).json).toMatchObject({ priority: 0, jobConstraints: { maxTaskRetryCount: 2 } });
  });

  test("terminating a job takes the reason that is given", async () => {
    await withJob(service);
    const accepted = await post(`${JOB}?terminate`, { terminateReason: "enough" });
    expect([accepted.status, accepted.text]).toEqual([202, ""]);
    expect((await get(JOB)).json).toMatchObject({ state: "terminating", executionInfo: { terminateReason: "enough" } });
    expect(refusal(await post(`${JOB}/tasks`, TASK))).toBe("409 JobBeingTerminated");
    expect((await ask(service, "DELETE", JOB)).status).toBe(202);
  });

  test("terminating without a body is the user's", async () => {
    await withJob(service);
    expect((await post(`${JOB}/terminate`)).status).toBe(202);
    expect((await get(JOB)).json.executionInfo.terminateReason).toBe("UserTerminate");
  });

  test("terminate and delete a work item", async () => {
    await withJob(service);
    expect((await post("/workitems/w1?terminate")).status).toBe(202);
    expect(refusal(await post("/workitems/w1?terminate"))).toBe("409 WorkItemBeingTerminated");
    expect((await ask(service, "DELETE", "/workitems/w1")).status).toBe(202);
    expect((await get("/workitems/w1")).json.state).toBe("deleting");
    expect(refusal(await ask(service, "DELETE", "/workitems/w1"))).toBe("409 WorkItemBeingDeleted");
  });
});

describe("work items with schedules", () => {
  const item = async () => (await get("/workitems/w1")).json;
  const minutes = (json: { executionInfo: { nextRunTime: string } }, since: string): number => (Date.parse(json.executionInfo.nextRunTime) - Date.parse(since)) / 60_000;

  test("case 18: without one the job is there at once, and nothing more is due", async () => {
    await withJob(service);
    expect(await item()).toMatchObject({ state: "active", executionInfo: { recentJob: { name: "job-0000000001" } } });
    expect([(await item()).executionInfo.nextRunTime, (await item()).schedule]).toEqual([undefined, undefined]);
    expect((await get(JOB)).status).toBe(200);
  });

  test("case 19: every day: the first job at once, the next exactly a day after the creation", async () => {
    const schedule = { recurrenceInterval: "P1D", startWindow: "PT2H", doNotRunAfter: "2099-01-01T01:00:00+01:00" };
    expect((await post("/workitems", { ...WORK_ITEM, schedule })).status).toBe(201);
    const json = await item();
    expect(json.schedule).toEqual({ recurrenceInterval: "P1D", startWindow: "PT2H", doNotRunAfter: "2099-01-01T00:00:00Z" });
    expect(json.executionInfo.recentJob.name).toBe("job-0000000001");
    expect(minutes(json, json.creationTime)).toBe(24 * 60);
    expect(namesOf(await get("/workitems", { $filter: "schedule/doNotRunAfter gt 2098-01-01T00:00:00Z" }))).toEqual(["w1"]);
    expect(namesOf(await get("/workitems", { $filter: "schedule/doNotRunAfter lt 2098-01-01T00:00:00Z" }))).toEqual([]);
  });

  test("not before its time: no job, and when it comes", async () => {
    await post("/workitems", { ...WORK_ITEM, schedule: { doNotRunUntil: "2098-12-31T23:59:59.1234567Z" } });
    expect((await item()).executionInfo).toEqual({ nextRunTime: "2098-12-31T23:59:59.123Z" });
    expect(namesOf(await get("/workitems/w1/jobs"))).toEqual([]);
    expect(refusal(await get(JOB))).toBe("404 JobNotFound");
  });

  test("case 23: less than a minute is too short, and the refusal says so", async () => {
    for (const property of ["recurrenceInterval", "startWindow"]) {
      const got = await post("/workitems", { ...WORK_ITEM, schedule: { [property]: "PT59S" } });
      expect(refusal(got)).toBe(`400 InvalidPropertyValue schedule.${property}`);
      expect(got.text).toContain("expected at least PT1M");
      expect((await post("/workitems", { ...WORK_ITEM, name: property, schedule: { [property]: "PT1M" } })).status).toBe(201);
    }
    const quick = { ports: { ...service.ports, policy: { ...service.ports.policy, scheduleLeastMs: 1000 } } };
    expect((await ask(quick, "POST", "/workitems", { body: { ...WORK_ITEM, schedule: { recurrenceInterval: "PT1S" } } })).status).toBe(201);
  });

  test("as many active work items as the account may have, and no more", async () => {
    const full = { ports: { ...service.ports, policy: { ...service.ports.policy, workItemsMax: 1 } } };
    const add = async (name: string) => ask(full, "POST", "/workitems", { body: { ...WORK_ITEM, name } });
    expect((await add("w1")).status).toBe(201);
    expect(refusal(await add("w2"))).toBe("409 ActiveJobAndScheduleQuotaReached");
    expect(refusal(await add("w1"))).toBe("409 WorkItemExists");
    expect(refusal(await ask(full, "POST", "/workitems", { body: WORK_ITEM, account: "other", key: KEYS["other"]![0]! }))).toBe("201");
    await post("/workitems/w1?terminate");
    expect((await add("w2")).status).toBe(201);
  });

  test("PUT replaces everything, PATCH what is given, whole", async () => {
    await post("/workitems", {
      ...WORK_ITEM, schedule: { recurrenceInterval: "P1D", startWindow: "PT2H" }, metadata: [{ name: "a", value: "b" }],
      jobSpecification: { priority: 5, jobConstraints: { maxWallClockTime: "PT1H", maxTaskRetryCount: 3 } },
    });
    const patched = await ask(service, "PATCH", "/workitems/w1", { body: { jobSpecification: { jobConstraints: { maxTaskRetryCount: 1 } } } });
    expect([patched.status, patched.text]).toEqual([200, ""]);
    expect(await item()).toMatchObject({
      eTag: patched.headers.get("etag"),
      schedule: { recurrenceInterval: "P1D", startWindow: "PT2H" },
      jobSpecification: { priority: 0, jobConstraints: { maxWallClockTime: "P10675199DT2H48M5.4775807S", maxTaskRetryCount: 1 } },
      metadata: [{ name: "a", value: "b" }],
    });
    await ask(service, "PATCH", "/workitems/w1", { body: { schedule: { recurrenceInterval: "PT1H" } } });
    expect((await item()).schedule).toEqual({ recurrenceInterval: "PT1H" });
    expect((await ask(service, "PATCH", "/workitems/w1", { body: { schedule: null } })).status).toBe(200);
    expect((await item()).schedule).toBeUndefined();
    expect((await ask(service, "PUT", "/workitems/w1", { body: { jobExecutionEnvironment: { poolName: "p2" } } })).status).toBe(200);
    const bare = await item();
    expect(bare).toMatchObject({ jobExecutionEnvironment: { poolName: "p2" }, metadata: [] });
    expect([bare.jobSpecification, bare.schedule]).toEqual([undefined, undefined]);
    // The job that there is already stays what it was.
    expect((await get(JOB)).json).toMatchObject({ poolName: "p1", priority: 5, jobConstraints: { maxTaskRetryCount: 3 } });
  });

  test("disabled and enabled: 204, a state and an ETag of their own, twice as well as once", async () => {
    await withJob(service);
    const first = (await item()).eTag;
    const disabled = await post("/workitems/w1?disable");
    expect([disabled.status, disabled.text]).toEqual([204, ""]);
    expect(await item()).toMatchObject({ state: "disabled", previousState: "active", eTag: disabled.headers.get("etag") });
    expect(disabled.headers.get("etag")).not.toBe(first);
    expect((await post("/workitems/w1/disable")).status).toBe(204);
    expect((await item()).eTag).toBe(disabled.headers.get("etag"));
    expect(namesOf(await get("/workitems", { $filter: "state eq 'disabled'" }))).toEqual(["w1"]);
    expect((await post(`${JOB}/tasks`, TASK)).status).toBe(201);
    expect((await ask(service, "PATCH", "/workitems/w1", { body: { metadata: [] } })).status).toBe(200);
    expect((await post("/workitems/w1?enable")).status).toBe(204);
    expect((await post("/workitems/w1?enable")).status).toBe(204);
    expect(await item()).toMatchObject({ state: "active", previousState: "disabled" });
    expect((await post("/workitems/w1?disable")).status).toBe(204);
    expect((await post("/workitems/w1?terminate")).status).toBe(202);
  });

  const CHANGES = [
    ["PUT", "/workitems/w1", { jobExecutionEnvironment: { poolName: "p1" } }], ["PATCH", "/workitems/w1", { metadata: [] }],
    ["POST", "/workitems/w1?enable", undefined], ["POST", "/workitems/w1?disable", undefined], ["POST", "/workitems/w1?terminate", undefined],
  ] as const;

  test("every change is refused by the state: not there, terminating, completed, deleting", async () => {
    const all = async (code: string) => {
      for (const [method, target, body] of CHANGES) expect([method, target, refusal(await ask(service, method, target, { body }))]).toEqual([method, target, code]);
    };
    await all("404 WorkItemNotFound");
    await withJob(service);
    await post("/workitems/w1?terminate");
    await all("409 WorkItemBeingTerminated");
    const step = () => workItemStep(service.ports, "workItem-myaccount.w1", service.ports.clock.now().toISOString());
    await step();
    await jobStep(service.ports, "job-myaccount.w1.1.job-0000000001", service.ports.clock.now().toISOString());
    await step();
    expect(await item()).toMatchObject({ state: "completed", previousState: "terminating" });
    await all("409 WorkItemCompleted");
    await ask(service, "DELETE", "/workitems/w1");
    await all("409 WorkItemBeingDeleted");
  });

  test("no change but under its conditions", async () => {
    await withJob(service);
    const old = (await item()).eTag;
    await ask(service, "PATCH", "/workitems/w1", { body: { metadata: [] } });
    for (const [method, target, body] of [...CHANGES, ["DELETE", "/workitems/w1", undefined] as const])
      expect([target, refusal(await ask(service, method, target, { body, headers: { "if-match": old } }))]).toEqual([target, "412 ConditionNotMet"]);
    const { eTag } = await item();
    for (const [method, target, body] of CHANGES.slice(0, 1)) expect((await ask(service, method, target, { body, headers: { "if-match": eTag } })).status).toBe(200);
  });

  test("an automatic pool is shown as it was asked for, without signatures, and the job says what pool it has", async () => {
    const pool = { osFamily: "3", tvmSize: "small", targetDedicated: 2, startTask: { commandLine: "x", resourceFiles: [{ blobSource: "https://s.example/c/x?sig=SECRET", filePath: "x" }] } };
    const autoPoolSpecification = { autoPoolNamePrefix: "nightly", poolLifeTimeOption: "Job", keepAlive: true, pool };
    expect((await post("/workitems", { name: "w1", jobExecutionEnvironment: { autoPoolSpecification } })).status).toBe(201);
    const got = await get("/workitems/w1");
    expect(got.json.jobExecutionEnvironment).toMatchObject({ autoPoolSpecification: { autoPoolNamePrefix: "nightly", poolLifeTimeOption: "job", keepAlive: true, pool: { osFamily: "3", tvmSize: "small", targetDedicated: 2, resizeTimeout: "PT5M" } } });
    expect(got.json.jobExecutionEnvironment.poolName).toBeUndefined();
    expect(got.text).not.toContain("SECRET");
    expect((await get(JOB)).json).toMatchObject({ poolLifeTimeOption: "job", keepAlive: true, poolName: expect.stringMatching(/^nightly_[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$/) });
  });
});

describe("tasks", () => {
  test("a new task shows its counts and limits, and no TVM", async () => {
    await withJob(service);
    const added = await post(`${JOB}/tasks`, {
      ...TASK,
      resourceFiles: [{ blobSource: "https://s.example/c/in.txt?sv=1&sig=SECRET%3d", filePath: "in\\a.txt" }],
      environmentSettings: [{ name: "MODE", value: "fast" }],
      affinityInfo: { affinityId: "TVM:x" },
      taskConstraints: { maxWallClockTime: "PT1H", retentionTime: "P1D", maxTaskRetryCount: -1 },
    });
    expect([added.status, added.headers.get("location")]).toEqual([201, `${BASE}${JOB}/tasks/t1`]);
    const got = await get(`${JOB}/tasks/t1`);
    expect(got.json).toMatchObject({
      name: "t1",
      state: "active",
      commandLine: "echo hello",
      runElevated: false,
      environmentSettings: [{ name: "MODE", value: "fast" }],
      affinityInfo: { affinityId: "TVM:x" },
      taskConstraints: { maxWallClockTime: "PT1H", retentionTime: "P1D", maxTaskRetryCount: -1 },
      executionInfo: { retryCount: 0, requeueCount: 0 },
    });
    expect(got.json.tvmInfo).toBeUndefined();
    expect(got.json.resourceFiles).toEqual([{ blobSource: "https://s.example/c/in.txt?sv=1&sig=REDACTED", filePath: "in\\a.txt" }]);
    expect(got.text).not.toContain("SECRET");
    expect(refusal(await post(`${JOB}/tasks`, { ...TASK, name: "T1" }))).toBe("409 TaskExists");
  });

  test("case 33: a running task shows its TVM with the pool's name in lower case", async () => {
    await post("/pools", { ...POOL, name: "P1" });
    await post("/workitems", WORK_ITEM);
    await post(`${JOB}/tasks`, TASK);
    const stream = taskStream(taskKey(jobKey(ACCOUNT, "w1", 1, "job-0000000001"), "t1"));
    const at = service.ports.clock.now().toISOString();
    const tvm = tvmKey(ACCOUNT, "P1", "tvm-1_1-20150709t193121z");
    await execute(service.ports, "task", "test", { stream, command: { type: "AssignTask", at, pool: "P1", tvm: "tvm-1_1-20150709t193121z" } });
    expect((await get(`${JOB}/tasks/t1`)).json).toMatchObject({ state: "active" });
    await execute(service.ports, "task", "test", { stream, command: { type: "StartTask", at, attempt: 1, tvm } });
    const running = (await get(`${JOB}/tasks/t1`)).json;
    expect(running).toMatchObject({
      state: "running",
      previousState: "active",
      tvmInfo: {
        affinityId: "TVM:tvm-1_1-20150709t193121z",
        tvmUrl: `${BASE}/pools/p1/tvms/tvm-1_1-20150709t193121z`,
        poolName: "p1",
        tvmName: "tvm-1_1-20150709t193121z",
      },
    });
    expect(running.executionInfo.startTime).toBe(running.stateTransitionTime);
    await execute(service.ports, "task", "test", { stream, command: { type: "CompleteTask", at, attempt: 1, tvm, exitCode: 3 } });
    expect((await get(`${JOB}/tasks/t1`)).json).toMatchObject({ state: "completed", previousState: "running", executionInfo: { exitCode: 3 } });
    expect(refusal(await post(`${JOB}/tasks/t1?terminate`))).toBe("409 TaskCompleted");
  });

  test("terminate: 204 and the reason; delete: 200, and gone at once", async () => {
    await withJob(service);
    await post(`${JOB}/tasks`, TASK);
    const ended = await post(`${JOB}/tasks/t1?terminate`);
    expect([ended.status, ended.text]).toEqual([204, ""]);
    expect((await get(`${JOB}/tasks/t1`)).json.executionInfo.schedulingError).toMatchObject({ category: "UserError", code: "TaskEnded" });
    const deleted = await ask(service, "DELETE", `${JOB}/tasks/t1`);
    expect([deleted.status, deleted.text]).toEqual([200, ""]);
    expect(refusal(await get(`${JOB}/tasks/t1`))).toBe("404 TaskNotFound");
  });
});

describe("addresses and versions", () => {
  test.each<[string, string, string]>([
    ["GET", "/nothing", "404 ResourceNotFound"],
    ["GET", "/", "404 ResourceNotFound"],
    ["GET", "/pools/p1/nothing", "404 ResourceNotFound"],
    ["GET", "/pools/a%20b", "404 PoolNotFound"],
    ["GET", "/pools/a.b", "404 PoolNotFound"],
    ["GET", "/workitems/w.1/jobs/job-0000000001/tasks", "404 WorkItemNotFound"],
    ["GET", "/pools/%ff", "400 InvalidUri"],
    ["PUT", "/pools/p1", "405 UnsupportedHttpVerb"],
    ["POST", "/pools/p1", "405 UnsupportedHttpVerb"],
    ["OPTIONS", "/pools", "405 UnsupportedHttpVerb"],
    ["HEAD", "/workitems/w1/jobs", "405"],
    ["POST", "/workitems/w1/jobs", "405 UnsupportedHttpVerb"],
    ["POST", "/pools/p1?explode", "400 UnsupportedQueryParameter explode"],
    ["POST", "/pools/p1/enableautoscale", "400 InvalidRequestBody"],
    ["POST", "/pools/p1/tvms/t1?reboot", "404 PoolNotFound"],
    ["DELETE", "/pools/p1/tvms/t1/users/me", "404 PoolNotFound"],
    ["GET", "/pools/p1/tvms/t1/rdp", "404 PoolNotFound"],
    ["GET", "/pools/p1/tvms/t1/ssh", "404 PoolNotFound"],
    ["GET", "/certificates(thumbprintAlgorithm=sha1,thumbprint=ab)", "404 CertificateNotFound"],
    ["POST", "/certificates(thumbprint=ab,thumbprintAlgorithm=sha1)/canceldelete", "404 CertificateNotFound"],
    ["DELETE", "/certificates(thumbprintAlgorithm=md5,thumbprint=0123456789abcdef0123456789abcdef01234567)", "404 CertificateNotFound"],
    ["GET", "/certificates(thumbprint=ab)", "400 InvalidUri"],
    ["GET", "/certificates(%ff)", "400 InvalidUri"],
    ["GET", "/certificates()", "400 InvalidUri"],
    ["GET", "/certificates(", "404 ResourceNotFound"],
    ["PUT", "/certificates(thumbprintAlgorithm=sha1,thumbprint=ab)", "405 UnsupportedHttpVerb"],
  ])("%s %s: %s", async (method, target, expected) => {
    expect(refusal(await ask(service, method, target))).toBe(expected);
  });

  test("the version is asked for, and known", async () => {
    expect(refusal(await ask(service, "GET", "/pools", { version: null }))).toBe("400 MissingRequiredQueryParameter api-version");
    expect(refusal(await ask(service, "GET", "/pools", { version: "2015-06-01.2.0" }))).toBe("400 UnsupportedRequestVersion api-version");
    expect(refusal(await ask(service, "GET", "/pools?api-version=2014-10-01.1.0"))).toBe("400 InvalidQueryParameterValue api-version");
  });

  test("the caller's own request id comes back when it is wanted", async () => {
    const headers = { "client-request-id": "mine-1", "return-client-request-id": "true" };
    expect((await ask(service, "GET", "/pools", { headers })).headers.get("client-request-id")).toBe("mine-1");
    expect((await ask(service, "GET", "/pools", { headers: { "client-request-id": "mine-1" } })).headers.get("client-request-id")).toBeNull();
  });

  test("a fault of the service says nothing but its request's id, and is logged", async () => {
    const broken = { ...service.ports, views: { ...service.ports.views, query: async () => Promise.reject(new Error("disk at /secret/place")) } };
    const got = await ask({ ports: broken }, "GET", "/pools");
    expect(refusal(got)).toBe("500 InternalError");
    expect(got.text).not.toContain("secret");
    expect(service.errors.splice(0)).toEqual([expect.stringContaining("/secret/place")]);
  });

  test("an operation that takes too long is answered in time", async () => {
    const slow = { ...service.ports, views: { ...service.ports.views, query: () => new Promise<never>(() => {}) } };
    expect(refusal(await ask({ ports: slow }, "GET", "/pools", { query: { timeout: "1" } }))).toBe("500 OperationTimedOut");
  });
});
