// Every error code of the reference (section 3): its status, and a test that reaches it; and the limits of section 8 at their edges.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { isKnownCode, statusOf } from "../../src/api/problems";
import { execute } from "../../src/app/execute";
import { jobKey, poolKey, poolStream, taskKey, taskStream, tvmKey, tvmStream } from "../../src/domain/ids";
import { ACCOUNT, JOB, POOL, type Service, TASK, WORK_ITEM, ask, openService, refusal, withJob } from "./support";

const CODES: Readonly<Record<number, string>> = {
  400: `MissingRequiredHeader UnsupportedHeader InvalidHeaderValue MissingRequiredProperty UnsupportedProperty InvalidPropertyValue MissingRequiredQueryParameter
    UnsupportedQueryParameter InvalidQueryParameterValue OutOfRangeQueryParameterValue RequestUrlFailedToParse InvalidUri InvalidHttpVerb EmptyMetadataKey InvalidMetadata
    MetadataTooLarge InvalidRequestBody OutOfRangeInput InvalidInput InvalidAuthenticationInfo MultipleConditionHeadersNotSupported UnsupportedRequestVersion
    InvalidAutoScalingSettings AutoScalingFormulaSyntaxError AutoScalingFormulaTooLong OSVersionNotFound OSVersionDisabled OSVersionExpired
    PoolVersionEqualsUpgradeVersion PoolNotEligibleForOSVersionUpgrade`,
  403: "AuthenticationFailed InsufficientAccountPermissions AccountIsDisabled IOError",
  404: "ResourceNotFound PoolNotFound TVMNotFound WorkItemNotFound JobNotFound TaskNotFound FileNotFound TVMUserNotFound CertificateNotFound",
  405: "UnsupportedHttpVerb",
  409: `PoolExists WorkItemExists JobExists TaskExists TVMUserExists CertificateExists OperationInvalidForCurrentState PoolBeingCreated PoolBeingResized PoolBeingDeleted
    TVMBeingCreated TVMBeingStarted TVMBeingRebooted TVMBeingReimaged TVMStateUnusable WorkItemDisabled WorkItemCompleted WorkItemBeingTerminated WorkItemBeingDeleted
    JobDisabled JobCompleted JobNotActive JobBeingTerminated JobBeingDeleted TaskCompleted TaskFilesUnavailable TaskFilesCleanedup CertificateBeingDeleted
    UpgradePoolVersionConflict PoolQuotaReached ActiveJobAndScheduleQuotaReached`,
  411: "MissingContentLengthHeader",
  412: "ConditionNotMet",
  413: "RequestBodyTooLarge",
  416: "InvalidRange",
  500: "InternalError OperationTimedOut",
  503: "ServerBusy TooManyEnableAutoScaleRequests",
};

/** Never answered by this service, and why. Should one be, it leaves this list and gets a test. */
const NEVER: Readonly<Record<string, string>> = {
  MissingRequiredHeader: "no header is required but the date, which authentication speaks of",
  RequestUrlFailedToParse: "what the host cannot parse never gets here; what the service cannot is InvalidUri",
  InvalidHttpVerb: "an unknown verb is UnsupportedHttpVerb",
  EmptyMetadataKey: "metadata is in bodies, and so InvalidPropertyValue names the property",
  InvalidMetadata: "the same",
  MetadataTooLarge: "the same",
  OutOfRangeInput: "ranges are of properties and parameters, which have codes of their own",
  OSVersionDisabled: "no version is withdrawn by this service",
  OSVersionExpired: "the same",
  PoolNotEligibleForOSVersionUpgrade: "every pool may be upgraded",
  AccountIsDisabled: "an account is there or removed; nothing disables one",
  JobExists: "jobs are made by work items alone, under names that are counted",
  PoolBeingCreated: "a pool is there with the answer to its making",
  TVMBeingCreated: "a TVM is `starting` from its first moment",
  TVMStateUnusable: "a TVM that is lost is `unknown`, and its machine is started again",
  JobNotActive: "the codes of the states say more: JobDisabled, JobCompleted, JobBeingTerminated, JobBeingDeleted",
  MissingContentLengthHeader: "a body may come in chunks; none at all is an empty one",
};

const filesBelow = (folder: string, ending: string): string[] =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(path.join(folder, entry.name), ending) : entry.name.endsWith(ending) ? [path.join(folder, entry.name)] : []);
const read = (folder: string, ending: string): string =>
  filesBelow(path.resolve(__dirname, "..", "..", folder), ending).filter((file) => !file.endsWith("errors.test.ts")).map((file) => readFileSync(file, "utf8")).join("\n");

describe("every code of the reference", () => {
  // What this file reaches itself is below.
  const tests = read("test", ".test.ts") + read("test", ".scenarios.ts") + readFileSync(__filename, "utf8").slice(readFileSync(__filename, "utf8").indexOf("// ---- reached here"));
  const source = ["api", "app", "domain", "process"].map((area) => read(`src/${area}`, ".ts")).join("\n").replace(/^  \w+: \[\d{3},[^\n]*$/gm, "");
  const said = (text: string, code: string): boolean => new RegExp(`\\b${code}\\b`).test(text);

  test.each(Object.entries(CODES).flatMap(([status, codes]) => codes.split(/\s+/).map((code) => [code, Number(status)] as const)))("%s is %i", (code, status) => {
    if (NEVER[code] !== undefined) {
      expect({ code, answered: new RegExp(`"${code}"`).test(source) }).toEqual({ code, answered: false });
      return;
    }
    expect({ code, known: isKnownCode(code), status: isKnownCode(code) && statusOf(code) }).toEqual({ code, known: true, status });
    expect({ code, answered: said(source, code), reached: said(tests, code) }).toEqual({ code, answered: true, reached: true });
  });
});

// ---- reached here

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});
const post = (target: string, body?: unknown) => ask(service, "POST", target, body === undefined ? {} : { body });

test("WorkItemExists, PoolExists and TaskExists in whatever case; case 2", async () => {
  await withJob(service);
  expect(refusal(await post("/pools", { ...POOL, name: "P1" }))).toBe("409 PoolExists");
  expect(refusal(await post("/workitems", { ...WORK_ITEM, name: "W1" }))).toBe("409 WorkItemExists");
  expect((await post(`${JOB}/tasks`, TASK)).status).toBe(201);
  expect(refusal(await post(`${JOB}/tasks`, { ...TASK, name: "T1" }))).toBe("409 TaskExists");
});

test("ActiveJobAndScheduleQuotaReached: as many active work items as the operator allows, for each account", async () => {
  await service.close();
  service = await openService({ policy: { allowElevated: false, poolTvmsMax: 50, workItemsMax: 2 } });
  await post("/pools", POOL);
  for (const name of ["w1", "w2"]) expect((await post("/workitems", { ...WORK_ITEM, name })).status).toBe(201);
  const refused = await post("/workitems", { ...WORK_ITEM, name: "w3" });
  expect(refusal(refused)).toBe("409 ActiveJobAndScheduleQuotaReached");
  expect(refused.json.message.value).toContain("may have 2 active work items");
  expect(refusal(await post("/workitems", { ...WORK_ITEM, name: "w2" }))).toBe("409 WorkItemExists");
  expect((await ask(service, "POST", "/workitems", { account: "other", body: WORK_ITEM })).status).toBe(201);
  expect((await post("/workitems/w1?terminate")).status).toBe(202);
  expect((await post("/workitems", { ...WORK_ITEM, name: "w3" })).status).toBe(201);
});

test("ActiveJobAndScheduleQuotaReached: a disabled work item makes room for another, and is enabled only when there is room again", async () => {
  await service.close();
  service = await openService({ policy: { allowElevated: false, poolTvmsMax: 50, workItemsMax: 1 } });
  await post("/pools", POOL);
  await post("/workitems", { ...WORK_ITEM, name: "w1" });
  await post("/workitems/w1?disable");
  expect((await post("/workitems", { ...WORK_ITEM, name: "w2" })).status).toBe(201);
  expect(refusal(await post("/workitems/w1?enable"))).toBe("409 ActiveJobAndScheduleQuotaReached");
  expect((await ask(service, "GET", "/workitems/w1")).json.state).toBe("disabled");
  // What is no more active by it is not refused for it.
  expect((await post("/workitems/w2?enable")).status).toBe(204);
  expect(refusal(await post("/workitems/w9?enable"))).toBe("404 WorkItemNotFound");
  expect(refusal(await ask(service, "POST", "/workitems/w1?enable", { headers: { "if-match": '"0x0"' } }))).toBe("412 ConditionNotMet");
  await post("/workitems/w2?terminate");
  expect((await post("/workitems/w1?enable")).status).toBe(204);
});

test("ServerBusy when others keep being faster", async () => {
  await post("/pools", POOL);
  const busy = { ...service.ports, eventStore: { ...service.ports.eventStore, append: async (commits: readonly unknown[]) => commits.map(() => "conflict" as const) } };
  expect(refusal(await ask({ ports: busy }, "PATCH", "/pools/p1", { body: { metadata: [] } }))).toBe("503 ServerBusy");
});

test("TaskFilesUnavailable before a task has run, TaskFilesCleanedup once its retention is over", async () => {
  await withJob(service);
  await post(`${JOB}/tasks`, { ...TASK, taskConstraints: { retentionTime: "PT1M" } });
  const files = () => ask(service, "GET", `${JOB}/tasks/t1/files`);
  expect(refusal(await files())).toBe("409 TaskFilesUnavailable");
  const at = service.ports.clock.now().toISOString();
  const tvm = tvmKey(ACCOUNT, "p1", "tvm-1");
  await execute(service.ports, "pool", "test", { stream: poolStream(poolKey(ACCOUNT, "p1")), command: { type: "EndPoolResize", at } });
  await execute(service.ports, "tvm", "test", { stream: tvmStream(tvm), command: { type: "AllocateTvm", at, account: ACCOUNT, pool: "p1", name: "tvm-1", size: "small", slots: 1 } });
  const stream = taskStream(taskKey(jobKey(ACCOUNT, "w1", 1, "job-0000000001"), "t1"));
  await execute(service.ports, "task", "test", { stream, command: { type: "AssignTask", at, pool: "p1", tvm: "tvm-1" } });
  await execute(service.ports, "task", "test", { stream, command: { type: "CompleteTask", at, attempt: 1, tvm, startedAt: at, exitCode: 0 } });
  service.shift(60_001);
  expect(refusal(await files())).toBe("409 TaskFilesCleanedup");
  expect(refusal(await ask(service, "GET", `${JOB}/tasks/t1/files/stdout.txt`))).toBe("409 TaskFilesCleanedup");
});

describe("limits at their edges (section 8)", () => {
  const long = (length: number): string => "n".repeat(length);
  test.each<[string, string, unknown, unknown, string]>([
    ["a pool's name, case 3", "/pools", { ...POOL, name: long(64) }, { ...POOL, name: long(65) }, "name"],
    ["a work item's name", "/workitems", { ...WORK_ITEM, name: long(64) }, { ...WORK_ITEM, name: long(65) }, "name"],
    ["a task's name", `${JOB}/tasks`, { ...TASK, name: long(64) }, { ...TASK, name: long(65) }, "name"],
    ["resizeTimeout, case 4", "/pools", { ...POOL, name: "a", resizeTimeout: "PT5M" }, { ...POOL, name: "b", resizeTimeout: "PT4M59S" }, "resizeTimeout"],
    ["maxTasksPerTVM, four a core", "/pools", { ...POOL, name: "c", tvmSize: "medium", maxTasksPerTVM: 8 }, { ...POOL, name: "d", tvmSize: "medium", maxTasksPerTVM: 9 }, "maxTasksPerTVM"],
    ["the highest priority", "/workitems", { ...WORK_ITEM, name: "e", jobSpecification: { priority: 1000 } }, { ...WORK_ITEM, name: "f", jobSpecification: { priority: 1001 } }, "jobSpecification.priority"],
    ["the lowest priority", "/workitems", { ...WORK_ITEM, name: "g", jobSpecification: { priority: -1000 } }, { ...WORK_ITEM, name: "h", jobSpecification: { priority: -1001 } }, "jobSpecification.priority"],
    ["recurrenceInterval, case 23", "/workitems", { ...WORK_ITEM, name: "i", schedule: { recurrenceInterval: "PT1M" } }, { ...WORK_ITEM, name: "j", schedule: { recurrenceInterval: "PT59S" } }, "schedule.recurrenceInterval"],
    ["retries for ever", `${JOB}/tasks`, { ...TASK, name: "k", taskConstraints: { maxTaskRetryCount: -1 } }, { ...TASK, name: "l", taskConstraints: { maxTaskRetryCount: -2 } }, "taskConstraints.maxTaskRetryCount"],
  ])("%s", async (_what, target, good, bad, property) => {
    await withJob(service);
    expect(refusal(await post(target, bad))).toBe(`400 InvalidPropertyValue ${property}`);
    expect((await post(target, good)).status).toBe(201);
  });

  test("results of a page, seconds of a request, minutes of a clock; case 54", async () => {
    const get = (query: Record<string, string>) => ask(service, "GET", "/pools", { query });
    for (const maxresults of ["1", "1000"]) expect((await get({ maxresults })).status).toBe(200);
    for (const maxresults of ["0", "1001"]) expect(refusal(await get({ maxresults }))).toBe("400 OutOfRangeQueryParameterValue maxresults");
    for (const timeout of ["1", "30"]) expect((await get({ timeout })).status).toBe(200);
    for (const timeout of ["0", "31"]) expect(refusal(await get({ timeout }))).toBe("400 OutOfRangeQueryParameterValue timeout");
    const off = (seconds: number) => ask(service, "GET", "/pools", { date: new Date(service.ports.clock.now().getTime() + seconds * 1000).toUTCString() });
    for (const seconds of [-14 * 60 - 50, 14 * 60 + 50]) expect((await off(seconds)).status).toBe(200);
    for (const seconds of [-16 * 60, 16 * 60]) expect(refusal(await off(seconds))).toBe("403 AuthenticationFailed ocp-date");
  });

  test("2500 tasks are listed in pages of 1000; case 53", async () => {
    await withJob(service);
    const lines = Array.from({ length: 2500 }, (_, index) => JSON.stringify({ name: `t${String(index).padStart(4, "0")}`, commandLine: "x" })).join("\n");
    await ask(service, "POST", `${JOB}/tasks?addtaskcollection`, { raw: lines, headers: { "content-type": "application/x-ndjson" } });
    const pages: number[] = [];
    const names = new Set<string>();
    let query: Record<string, string> | undefined = {};
    while (query) {
      const { json } = await ask(service, "GET", `${JOB}/tasks`, { query });
      pages.push(json.value.length);
      for (const { name } of json.value) names.add(name);
      const link = json["odata.nextLink"] as string | undefined;
      query = link === undefined ? undefined : Object.fromEntries([...new URL(link).searchParams].filter(([name]) => name !== "api-version"));
    }
    expect(pages).toEqual([1000, 1000, 500]);
    expect(names.size).toBe(2500);
  });
});

test("conditions of a client that reads again and deletes; cases 12, 13 and 14", async () => {
  await post("/pools", POOL);
  const tag = (await ask(service, "GET", "/pools/p1")).headers.get("etag") as string;
  const again = (method: string, headers: Record<string, string>) => ask(service, method, "/pools/p1", { headers });
  expect((await again("GET", { "if-none-match": tag })).status).toBe(304);
  expect(refusal(await again("DELETE", { "if-match": "0x8D28894F80EA52E" }))).toBe("412 ConditionNotMet");
  expect(refusal(await again("GET", { "if-match": tag, "if-none-match": tag }))).toBe("400 MultipleConditionHeadersNotSupported");
  expect((await ask(service, "GET", "/pools/p1")).json.state).toBe("active");
});
