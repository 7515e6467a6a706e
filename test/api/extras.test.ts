// What the service has beyond the era's: history, reasons, counts, uploads; and submissions by message.
import { handleCommand, handleCommandMessage } from "../../src/api/commands";
import { ACCOUNT, JOB, POOL, type Service, TASK, WORK_ITEM, ask, openService, refusal, withJob } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const get = (target: string, options: Parameters<typeof ask>[3] = {}) => ask(service, "GET", target, options);

describe("history, reasons, counts", () => {
  test("what happened to a thing, also when it is gone; never what is sealed", async () => {
    await withJob(service);
    const blobSource = "https://s.example/c/x?sig=SECRET";
    await ask(service, "POST", `${JOB}/tasks`, { body: { ...TASK, resourceFiles: [{ blobSource, filePath: "x" }] } });
    const history = await get(`/batchledger/history${JOB}/tasks/t1`);
    expect(history.json.value).toMatchObject([{ version: 1, by: ACCOUNT, events: [{ type: "TaskQueued", name: "t1", spec: { resourceFiles: [{ filePath: "x" }] } }] }]);
    expect(history.text).not.toMatch(/SECRET|sealed/);
    await ask(service, "DELETE", `${JOB}/tasks/t1`);
    const types = async (target: string) => (await get(`/batchledger/history${target}`)).json.value.flatMap((commit: any) => commit.events.map((event: any) => event.type));
    expect(await types(`${JOB}/tasks/t1`)).toEqual(["TaskQueued", "TaskDeleted"]);
    expect(await types("/pools/p1")).toEqual(["PoolCreated"]);
    expect(await types("/workitems/W1")).toEqual(["WorkItemCreated", "WorkItemJobSpawned"]);
    expect(await types(JOB)).toEqual(["JobCreated"]);
  });

  test("what never was is not found, and nobody else's is", async () => {
    await withJob(service);
    expect(refusal(await get("/batchledger/history/pools/none"))).toBe("404 PoolNotFound");
    expect(refusal(await get("/batchledger/history/pools/p1/tvms/none"))).toBe("404 TVMNotFound");
    expect(refusal(await get("/batchledger/history/pools/p1", { account: "other" }))).toBe("404 PoolNotFound");
    expect(refusal(await get(`/batchledger/history${JOB}/tasks/none`))).toBe("404 TaskNotFound");
    expect(refusal(await get(`/batchledger/history${JOB}`, { account: "other" }))).toBe("404 WorkItemNotFound");
    expect(refusal(await get("/batchledger/history"))).toBe("404 ResourceNotFound");
    expect(refusal(await get("/batchledger/history/pools/p1", { query: { x: "1" } }))).toBe("400 UnsupportedQueryParameter x");
  });

  test("why a task does not run, and how many there are", async () => {
    await withJob(service);
    await ask(service, "POST", `${JOB}/tasks`, { body: TASK });
    expect((await get(`/batchledger/why${JOB}/tasks/t1`)).json).toEqual({ state: "active", reasons: [expect.stringContaining("no TVMs")] });
    expect((await get(`/batchledger/counts${JOB}`)).json).toMatchObject({ active: 1, running: 0, completed: 0, failed: 0 });
    expect(refusal(await get(`/batchledger/counts/workitems/w1/jobs/none`))).toBe("404 JobNotFound");
  });
});

describe("uploads", () => {
  const grant = (path: string, account = ACCOUNT) => ask(service, "POST", `/batchledger/files/${path}`, { account });

  test("an address to write to and one to read from, in the account's own place", async () => {
    const granted = (await grant("inputs/a%20b/c.txt")).json;
    expect(granted.path).toBe("inputs/a b/c.txt");
    const write = service.files.parseSigned(granted.writeUrl);
    expect(write).toMatchObject({ path: `files-${ACCOUNT}/inputs/a b/c.txt`, access: "write" });
    expect(service.files.parseSigned(granted.readUrl)).toMatchObject({ path: `files-${ACCOUNT}/inputs/a b/c.txt`, access: "read" });
    await service.ports.files.put((write as { path: string }).path, Buffer.from("four"));
    expect((await get("/batchledger/files/inputs")).json.value).toMatchObject([{ path: "inputs/a b/c.txt", length: 4 }]);
    expect((await get("/batchledger/files")).json.value).toHaveLength(1);
    expect((await get("/batchledger/files", { query: { after: "inputs/a b/c.txt" } })).json.value).toEqual([]);
    expect((await get("/batchledger/files/inputs", { account: "other" })).json.value).toEqual([]);
  });

  test("a path that leads elsewhere has no address", async () => {
    for (const path of ["x", "inputs", "UP/x", "a_b/x", "inputs/..%2F..%2Fx", "inputs/%2Fx", "inputs/a%5Cb", "inputs/%00", `inputs/${"x".repeat(901)}`])
      expect([path, refusal(await grant(path))]).toEqual([path, "400 InvalidUri"]);
  });
});

describe("messages", () => {
  const at = (): string => service.ports.clock.now().toISOString();
  const command = (message: unknown) => handleCommand(service.ports, message, at());

  test("do what requests do, with the same bodies", async () => {
    expect(await command({ operation: "addPool", account: ACCOUNT, body: POOL, id: "1" })).toMatchObject({ status: 201, id: "1", location: "/pools/p1" });
    expect(await command(JSON.stringify({ operation: "addWorkItem", account: ACCOUNT, body: WORK_ITEM }))).toMatchObject({ status: 201 });
    const job = { account: ACCOUNT, workItem: "w1", job: "job-0000000001" };
    const added = await command({ operation: "addTask", ...job, body: TASK });
    expect(added).toMatchObject({ status: 201, location: `${JOB}/tasks/t1` });
    expect((await get(`${JOB}/tasks/t1`)).headers.get("etag")).toBe(added.eTag);
    expect(await command({ operation: "addTasks", ...job, body: { value: [{ ...TASK, name: "t2" }, { name: "t3" }] } })).toMatchObject({
      status: 200,
      result: { value: [{ status: "Success", taskName: "t2" }, { status: "ClientError", taskName: "t3" }] },
    });
    expect(await command({ operation: "terminateTask", ...job, task: "t2" })).toMatchObject({ status: 204 });
    expect(await command({ operation: "terminateJob", ...job, body: { terminateReason: "by message" } })).toMatchObject({ status: 202 });
    expect((await get(JOB)).json.executionInfo.terminateReason).toBe("by message");
    expect(await command({ operation: "deletePool", account: ACCOUNT, pool: "p1", ifMatch: "0x1" })).toMatchObject({ status: 412, rejected: true, code: "ConditionNotMet" });
    expect(await command({ operation: "deletePool", account: ACCOUNT, pool: "p1" })).toEqual({ status: 202 });
  });

  test("a task that came twice is there once, and that is no error", async () => {
    await withJob(service);
    const message = { operation: "addTask", account: ACCOUNT, workItem: "w1", job: "job-0000000001", body: TASK };
    expect(await command(message)).toMatchObject({ status: 201 });
    expect(await command(message)).toEqual({ status: 200, existing: true });
    expect(await command({ ...message, body: { ...TASK, commandLine: "other" } })).toMatchObject({ status: 409, rejected: true, code: "TaskExists" });
  });

  test.each<[string, unknown, string, string | undefined]>([
    ["not JSON", "{", "InvalidRequestBody", undefined],
    ["not an object", 7, "InvalidRequestBody", undefined],
    ["no operation", { account: ACCOUNT }, "MissingRequiredProperty", "operation"],
    ["an unknown operation", { operation: "explode", account: ACCOUNT }, "InvalidPropertyValue", "operation"],
    ["an operation of every object", { operation: "constructor", account: ACCOUNT }, "InvalidPropertyValue", "operation"],
    ["no account", { operation: "addPool", body: POOL }, "MissingRequiredProperty", "account"],
    ["an unknown account", { operation: "addPool", account: "nobody", body: POOL }, "InsufficientAccountPermissions", "account"],
    ["no pool", { operation: "deletePool", account: ACCOUNT }, "MissingRequiredProperty", "pool"],
    ["a name that none can have", { operation: "deletePool", account: ACCOUNT, pool: "a.b" }, "InvalidPropertyValue", "pool"],
    ["an unknown property", { operation: "deletePool", account: ACCOUNT, pool: "p1", force: true }, "UnsupportedProperty", "force"],
    ["a wrong body", { operation: "addPool", account: ACCOUNT, body: { ...POOL, targetDedicated: -1 } }, "InvalidPropertyValue", "body.targetDedicated"],
    ["no body", { operation: "addPool", account: ACCOUNT }, "MissingRequiredProperty", "body.name"],
    ["a thing that is not there", { operation: "deletePool", account: ACCOUNT, pool: "p9" }, "PoolNotFound", undefined],
  ])("refused: %s", async (_what, message, code, property) => {
    const result = await command(message);
    expect(result).toMatchObject({ rejected: true, code });
    expect(result.values?.find(({ key }) => key === "PropertyName")?.value).toBe(property);
  });

  test("the sender is answered on its queue; without one a refused message fails, with the reason", async () => {
    const sent: unknown[] = [];
    const ports = { ...service.ports, bus: { ...service.ports.bus, send: async (queue: string, messages: readonly unknown[]) => void sent.push(queue, ...messages) } };
    const bad = { operation: "deletePool", account: ACCOUNT, pool: "p9" };
    await handleCommandMessage(ports, bad, { replyTo: "answers", messageId: "m1" }, at());
    expect(sent).toEqual(["answers", { correlationId: "m1", body: expect.objectContaining({ status: 404, rejected: true, code: "PoolNotFound" }) }]);
    await expect(handleCommandMessage(ports, bad, {}, at())).rejects.toThrow(/PoolNotFound: /);
    await expect(handleCommandMessage(ports, { operation: "addPool", account: ACCOUNT, body: POOL }, {}, at())).resolves.toMatchObject({ status: 201 });
  });
});
