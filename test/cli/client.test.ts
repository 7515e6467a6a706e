import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { createClient, taskFiles } from "../../src/cli/client";
import { ServiceError, UnreachableError } from "../../src/cli/failures";
import { FAKE_ACCOUNT, FAKE_KEY, type FakeApi, startFakeApi } from "./fakeApi";

let api: FakeApi;
const client = () => createClient({ url: api.url, account: FAKE_ACCOUNT, key: FAKE_KEY });
const JOB = "job-0000000001";
const task = (number: number) => ({ name: `t${number}`, commandLine: `echo ${number}` });

beforeEach(async () => {
  api = await startFakeApi();
});
afterEach(() => api.stop());

async function withWorkItem(): Promise<ReturnType<typeof client>> {
  const one = client();
  await one.createWorkItem({ name: "w", jobExecutionEnvironment: { poolName: "p" } });
  return one;
}

test("requests are signed so that the service accepts them, files with blanks and marks included", async () => {
  const one = await withWorkItem();
  await one.addTasks("w", JOB, [task(1)]);
  await expect(one.readFile(taskFiles("w", JOB, "t1"), "wd/a b#c'(1)+é.txt")).rejects.toMatchObject({ status: 404, code: "FileNotFound" });
  const { bytes } = await one.readFile(taskFiles("w", JOB, "t1"), "stdout.txt", { offset: 5, length: 1 });
  expect(bytes.toString()).toBe("1");
  expect((await one.readFile(taskFiles("w", JOB, "t1"), "stdout.txt", { offset: 99 })).bytes).toHaveLength(0);
});

test("an error carries status, code and text, without the service's own trailer", async () => {
  const error = await client().getPool("none").catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(ServiceError);
  expect(error).toMatchObject({ status: 404, code: "PoolNotFound", message: "The specified pool does not exist." });
});

test("a wrong key is refused", async () => {
  const one = createClient({ url: api.url, account: FAKE_ACCOUNT, key: Buffer.from("another").toString("base64") });
  await expect(one.getPool("p")).rejects.toMatchObject({ status: 403, code: "AuthenticationFailed" });
});

test("lists go on page after page, at this client's address whatever the link says", async () => {
  const one = await withWorkItem();
  await one.addTasks("w", JOB, Array.from({ length: 7 }, (_, at) => task(at)));
  const names: string[] = [];
  for await (const { name } of one.listTasks("w", JOB, { pageSize: 3 })) names.push(name);
  expect(names).toEqual(["t0", "t1", "t2", "t3", "t4", "t5", "t6"]);
  expect(api.requests.filter((request) => request.endsWith("/tasks"))).toHaveLength(3);
});

test("a busy service is asked again", async () => {
  api.pools.set("p", { name: "p", targetDedicated: 1 });
  api.busy = 2;
  expect((await client().getPool("p")).name).toBe("p");
  expect(api.requests).toHaveLength(3);
});

test("a service that stays busy is told as such", async () => {
  api.busy = Infinity;
  const one = createClient({ url: api.url, account: FAKE_ACCOUNT, key: FAKE_KEY }, { patienceMs: 100 });
  await expect(one.getPool("p")).rejects.toMatchObject({ status: 503, code: "ServerBusy" });
});

test("nobody there: UnreachableError after some patience", async () => {
  const { url } = api;
  await api.stop();
  const one = createClient({ url, account: FAKE_ACCOUNT, key: FAKE_KEY }, { patienceMs: 100 });
  await expect(one.getPool("p")).rejects.toBeInstanceOf(UnreachableError);
  api = await startFakeApi();
});

test("after a lost connection the service is looked for again, where it is now", async () => {
  const other = await startFakeApi();
  other.pools.set("p", { name: "p", targetDedicated: 1 });
  await api.stop();
  const places = [api.url, other.url];
  const one = createClient(() => ({ url: places.shift() ?? other.url, account: FAKE_ACCOUNT, key: FAKE_KEY }));
  expect((await one.getPool("p")).name).toBe("p");
  await other.stop();
  api = await startFakeApi();
});

test("a call that may not be done twice is not repeated after its connection broke", async () => {
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    socket.once("data", () => socket.destroy());
    socket.on("error", () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const one = createClient({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, account: FAKE_ACCOUNT, key: FAKE_KEY }, { patienceMs: 150 });
  await expect(one.createPool({ name: "p", osFamily: "4", tvmSize: "small", targetDedicated: 0 })).rejects.toBeInstanceOf(UnreachableError);
  expect(connections).toBe(1);
  await expect(one.getPool("p")).rejects.toBeInstanceOf(UnreachableError);
  expect(connections).toBeGreaterThan(2);
  await new Promise((resolve) => server.close(resolve));
});

test("tasks in bulk: every one arrives once, progress tells", async () => {
  const one = await withWorkItem();
  const answered: number[] = [];
  const result = await one.addTasks("w", JOB, Array.from({ length: 10 }, (_, at) => task(at)), (progress) => answered.push(progress.answered));
  expect(result).toEqual({ added: 10, existing: 0, failed: 0, failures: [], resends: 0 });
  expect(answered.at(-1)).toBe(10);
  expect(api.workItems.get("w")?.tasks.size).toBe(10);
});

test("a stream longer than one request goes on in a further one", async () => {
  const one = await withWorkItem();
  const result = await one.addTasks("w", JOB, (function* () {
    for (let at = 0; at < 20_005; at++) yield task(at);
  })());
  expect(result).toMatchObject({ added: 20_005, existing: 0, failed: 0 });
  expect(api.requests.filter((request) => request.includes("addtaskcollection"))).toHaveLength(2);
});

test("a broken stream is sent again from the first line without an answer", async () => {
  const one = await withWorkItem();
  api.breakStreams = 2;
  const result = await one.addTasks("w", JOB, Array.from({ length: 20 }, (_, at) => task(at)));
  expect(result.resends).toBeGreaterThanOrEqual(2);
  expect(result.failed).toBe(0);
  expect(result.added + result.existing).toBe(20);
  expect([...(api.workItems.get("w")?.tasks.keys() ?? [])].sort()).toEqual(Array.from({ length: 20 }, (_, at) => `t${at}`).sort());
});

test("tasks that are refused are named by their place in the whole stream", async () => {
  const one = await withWorkItem();
  await one.addTasks("w", JOB, [{ name: "t7", commandLine: "other" }]);
  api.breakStreams = 1;
  const result = await one.addTasks("w", JOB, Array.from({ length: 10 }, (_, at) => task(at)));
  expect(result.failed).toBe(1);
  expect(result.failures[0]).toMatchObject({ line: 8, name: "t7", code: "TaskExists" });
});

test("a source that fails is no connection that broke: its error comes out, nothing is sent again", async () => {
  const one = await withWorkItem();
  const failing = (async function* () {
    yield task(1);
    throw Object.assign(new Error("the list is damaged"), { code: "EIO" });
  })();
  await expect(one.addTasks("w", JOB, failing)).rejects.toThrow("the list is damaged");
  expect(api.requests.filter((request) => request.includes("addtaskcollection")).length).toBeLessThanOrEqual(1);
});

test("a stream to a job that is not there ends with the service's refusal", async () => {
  await expect(client().addTasks("none", JOB, [task(1)])).rejects.toMatchObject({ code: "WorkItemNotFound" });
});

test("uploads go to the address for writing", async () => {
  const one = client();
  const address = await one.fileAddress("inputs", "w/a.txt");
  await one.upload(address, Buffer.from("hello"), 5);
  expect(api.stored.get("inputs/w/a.txt")?.toString()).toBe("hello");
  await expect(one.upload({ ...address, writeUrl: address.readUrl }, Buffer.from("x"), 1)).rejects.toMatchObject({ status: 403 });
});
