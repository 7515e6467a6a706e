// The whole way: the registration of functions/http.ts on the local host, spoken to over TCP by this project's own client.
import http from "node:http";
import { createClient, taskFiles } from "../../src/cli/client";
import { execute } from "../../src/app/execute";
import { usePorts } from "../../src/compose";
import { jobKey, taskKey, taskStream, tvmKey } from "../../src/domain/ids";
import { type RunningHost, startHost } from "../../src/host/main";
import { FILES, allocateTvm, done, startAgent } from "./fakeAgent";
import { ACCOUNT, JOB, KEYS, POOL, type Service, TASK, WORK_ITEM, buildRequest, openService } from "./support";

let service: Service;
let host: RunningHost;
let client: ReturnType<typeof createClient>;
beforeAll(async () => {
  service = await openService();
  usePorts(service.ports);
  host = await startHost({
    loadFunctions: () => require("../../functions/http"),
    hostJson: { version: "2.0", extensions: { http: { routePrefix: "" } } },
    port: 0,
    files: service.ports.files,
    parseSigned: (url) => service.files.parseSigned(url.href) as never,
    log: service.ports.log,
  });
  service.url = host.url;
  client = createClient({ url: host.url, account: ACCOUNT, key: KEYS[ACCOUNT]![0]! });
  await client.createPool(POOL);
  await client.createWorkItem(WORK_ITEM);
});
afterAll(async () => {
  client.close();
  await host.stop();
  usePorts(undefined);
  await service.close();
  expect(service.errors).toEqual([]);
});

test("resources, with addresses that begin with the caller's own", async () => {
  expect(await client.health()).toEqual({ status: "ok" });
  expect(await client.getPool("p1")).toMatchObject({ name: "p1", url: `${host.url}/pools/p1` });
  await client.updateJob("w1", "job-0000000001", { priority: 5 });
  expect(await client.getJob("w1", "job-0000000001")).toMatchObject({ priority: 5 });
  await expect(client.getPool("none")).rejects.toMatchObject({ status: 404, code: "PoolNotFound" });
});

test("a stream of tasks, a list over many pages, counts", async () => {
  const tasks = Array.from({ length: 2500 }, (_, index) => ({ ...TASK, name: `s${String(index).padStart(4, "0")}` }));
  expect(await client.addTasks("w1", "job-0000000001", tasks)).toMatchObject({ added: 2500, existing: 0, failed: 0, resends: 0 });
  expect(await client.addTasks("w1", "job-0000000001", tasks.slice(0, 700))).toMatchObject({ added: 0, existing: 700, failed: 0 });
  const listed: string[] = [];
  for await (const task of client.listTasks("w1", "job-0000000001", { filter: "startswith(name,'s')" })) listed.push(task.name);
  expect(listed).toEqual(tasks.map(({ name }) => name));
  expect(await client.counts("w1", "job-0000000001")).toMatchObject({ active: 2500 });
});

test("an answer line comes while the request is still being written", async () => {
  const { headers } = buildRequest(service, "POST", `${JOB}/tasks?addtaskcollection`, { raw: new ReadableStream(), headers: { "content-type": "application/x-ndjson" } });
  const request = http.request(`${host.url}${JOB}/tasks?addtaskcollection&api-version=2014-10-01.1.0`, { method: "POST", headers: { ...Object.fromEntries(headers), "transfer-encoding": "chunked" } });
  const response = new Promise<http.IncomingMessage>((resolve, reject) => request.on("response", resolve).on("error", reject));
  request.write(`${JSON.stringify({ ...TASK, name: "early" })}\n`);
  const lines = (await response).setEncoding("utf8")[Symbol.asyncIterator]();
  expect(JSON.parse((await lines.next()).value as string)).toEqual({ lines: [1, 1], added: 1, existing: 0, failed: [] });
  request.end(JSON.stringify({ ...TASK, name: "late" }));
  let rest = "";
  for await (const part of { [Symbol.asyncIterator]: () => lines }) rest += part as string;
  expect(rest.trim().split("\n").map((text) => JSON.parse(text))).toEqual([{ lines: [2, 2], added: 1, existing: 0, failed: [] }, { done: true, lines: 2, added: 2, existing: 0, failed: 0 }]);
});

test("uploads to and reads from the addresses that are handed out", async () => {
  const address = await client.fileAddress("inputs", "a b/c.txt");
  await client.upload(address, Buffer.from("content"), 7);
  expect(await (await fetch(address.readUrl)).text()).toBe("content");
  expect(await client.listStored("inputs")).toMatchObject([{ path: "inputs/a b/c.txt", length: 7 }]);
});

test("files of a task: list, length, part", async () => {
  await client.addTask("w1", "job-0000000001", TASK);
  const tvm = await allocateTvm(service);
  const stop = await startAgent(service, tvm);
  const at = service.ports.clock.now().toISOString();
  const stream = taskStream(taskKey(jobKey(ACCOUNT, "w1", 1, "job-0000000001"), "t1"));
  await done(execute(service.ports, "task", "test", { stream, command: { type: "AssignTask", at, pool: "p1", tvm } }));
  await done(execute(service.ports, "task", "test", { stream, command: { type: "StartTask", at, attempt: 1, tvm: tvmKey(ACCOUNT, "p1", tvm) } }));
  try {
    const base = taskFiles("w1", "job-0000000001", "t1");
    const names: string[] = [];
    for await (const file of client.listFiles(base, true)) names.push(file.name);
    expect(names).toEqual(["empty.txt", "stdout.txt", "wd", "wd\\a b.txt"]);
    expect(await client.fileLength(base, "stdout.txt")).toBe(10);
    expect((await client.readFile(base, "wd\\a b.txt")).bytes.toString()).toBe(FILES["tasks/w1/job-0000000001/t1/wd/a b.txt"]);
    expect((await client.readFile(base, "stdout.txt", { offset: 2, length: 3 })).bytes.toString()).toBe("234");
    expect((await client.readFile(base, "stdout.txt", { offset: 50 })).bytes).toHaveLength(0);
  } finally {
    await stop();
  }
});

test("verbs that the host would not know get the service's own answer", async () => {
  const answer = await fetch(`${host.url}/pools`, { method: "OPTIONS" });
  expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([403, "AuthenticationFailed"]);
  expect((await fetch(`${host.url}/batchledger/health`, { method: "HEAD" })).status).toBe(200);
});
