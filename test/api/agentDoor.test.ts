// The agents' door, and what is read through it: a stand-in agent joins and exchanges over the same handler as the real one.
import { execute } from "../../src/app/execute";
import { jobKey, taskKey, taskStream, tvmKey, tvmStream } from "../../src/domain/ids";
import { FILES, agentPost, allocateTvm, done, exchangeBody, joinBody, startAgent } from "./fakeAgent";
import { serve } from "../../src/api/serve";
import { ACCOUNT, BASE, JOB, POOL, type Service, TASK, ask, buildRequest, openService, refusal, withJob } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const now = (): string => service.ports.clock.now().toISOString();

describe("joining and exchanging", () => {
  test("a code is good until its credential has been used, the credential for exchanges and nothing else", async () => {
    await withJob(service);
    const tvm = await allocateTvm(service);
    const joined = await agentPost(service, "/agent/join", joinBody(service, tvm), null);
    expect(joined.json).toMatchObject({ account: ACCOUNT, pool: "p1", tvm, boot: 1, runElevatedAllowed: false });
    const credential = `TVM ${joined.json.credential}`;
    const exchanged = await agentPost(service, "/agent/exchange", exchangeBody(), credential);
    expect([exchanged.status, exchanged.json]).toEqual([200, { run: [], stop: [], removeFolders: [], files: [] }]);
    // Until the credential has been used, the code may be given again: the first answer may have been lost.
    expect(refusal(await agentPost(service, "/agent/join", joinBody(service, tvm), null))).toBe("403 AuthenticationFailed");

    for (const target of ["/pools", "/pools/p1", "/batchledger/files", `${JOB}/tasks`])
      expect(refusal(await ask(service, "GET", target, { authorization: credential }))).toBe("403 InsufficientAccountPermissions");
    expect(refusal(await agentPost(service, "/agent/join", joinBody(service, tvm), credential))).toBe("403 InsufficientAccountPermissions");
    expect(refusal(await ask(service, "POST", "/agent/exchange", { body: exchangeBody() }))).toBe("403 InsufficientAccountPermissions");
    expect(refusal(await agentPost(service, "/agent/exchange", exchangeBody(), null))).toBe("403 AuthenticationFailed");
    expect(refusal(await agentPost(service, "/agent/exchange", exchangeBody(), `${credential}x`))).toBe("403 AuthenticationFailed");
    expect(refusal(await agentPost(service, "/agent/exchange", exchangeBody({ boot: 2 }), credential))).toBe("403 AuthenticationFailed");

    expect((await ask(service, "GET", `/pools/p1/tvms/${tvm}`)).json).toMatchObject({
      name: tvm,
      url: `${BASE}/pools/p1/tvms/${tvm}`,
      state: "idle",
      ipAddress: "127.0.0.9",
      affinityId: `TVM:${tvm}`,
      tvmSize: "small",
    });
    expect((await ask(service, "GET", "/pools/p1/tvms", { query: { $filter: "state eq 'idle'" } })).json.value).toHaveLength(1);
    expect((await ask(service, "GET", "/pools/p1/tvms", { query: { $filter: "state eq 'running'" } })).json.value).toEqual([]);
    expect(refusal(await ask(service, "GET", "/pools/p1/tvms/tvm-9"))).toBe("404 TVMNotFound");
    expect(refusal(await ask(service, "GET", "/pools/p9/tvms"))).toBe("404 PoolNotFound");
  });

  test("a TVM that has left its pool is told so for good", async () => {
    await withJob(service);
    const tvm = await allocateTvm(service);
    const { credential } = (await agentPost(service, "/agent/join", joinBody(service, tvm), null)).json;
    await done(execute(service.ports, "tvm", "test", { stream: tvmStream(tvmKey(ACCOUNT, "p1", tvm)), command: { type: "ForgetTvm", at: now() } }));
    const gone = await agentPost(service, "/agent/exchange", exchangeBody(), `TVM ${credential}`);
    expect([gone.status, gone.json.code]).toEqual([410, "TVMNotFound"]);
  });

  test("a wait ends when the caller has gone", async () => {
    await withJob(service);
    const tvm = await allocateTvm(service);
    const { credential } = (await agentPost(service, "/agent/join", joinBody(service, tvm), null)).json;
    const request = buildRequest(service, "POST", "/agent/exchange", { body: exchangeBody({ waitMs: 60_000 }), authorization: `TVM ${credential}` });
    const gone = new AbortController();
    const answer = serve(service.ports, request as never, { signal: gone.signal } as never);
    setImmediate(() => gone.abort());
    expect((await answer).status).toBe(200);
  });

  test("what is no exchange is refused by name, and what is too large at all; of who has no credential nothing is read", async () => {
    await withJob(service);
    const own = `TVM ${(await agentPost(service, "/agent/join", joinBody(service, await allocateTvm(service)), null)).json.credential}`;
    expect(refusal(await agentPost(service, "/agent/exchange", exchangeBody({ extra: 1 }), own))).toBe("400 UnsupportedProperty extra");
    expect(refusal(await agentPost(service, "/agent/exchange", exchangeBody({ extra: 1 }), "TVM x~1~y"))).toBe("403 AuthenticationFailed");
    expect(refusal(await agentPost(service, "/agent/exchange", exchangeBody({ capacity: -1 }), own))).toBe("400 InvalidPropertyValue capacity");
    expect(refusal(await agentPost(service, "/agent/join", { ...joinBody(service, "tvm-1"), protocol: 99 }, null))).toBe("400 InvalidPropertyValue protocol");
    const large = exchangeBody({ removedFolders: [ "x".repeat(5 * 1024 * 1024) ] });
    expect(refusal(await agentPost(service, "/agent/exchange", large, own))).toBe("413 RequestBodyTooLarge");
  });
});

// ---------------------------------------------------------------- files

describe("files", () => {
  let stop: () => Promise<void>;
  let tvm: string;
  beforeEach(async () => {
    await withJob(service);
    await ask(service, "POST", `${JOB}/tasks`, { body: TASK });
    await ask(service, "POST", `${JOB}/tasks`, { body: { ...TASK, name: "waiting" } });
    tvm = await allocateTvm(service);
    stop = await startAgent(service, tvm);
    const stream = taskStream(taskKey(jobKey(ACCOUNT, "w1", 1, "job-0000000001"), "t1"));
    await done(execute(service.ports, "task", "test", { stream, command: { type: "AssignTask", at: now(), pool: "p1", tvm } }));
    await done(execute(service.ports, "task", "test", { stream, command: { type: "StartTask", at: now(), attempt: 1, tvm: tvmKey(ACCOUNT, "p1", tvm) } }));
  });
  afterEach(() => stop());

  const files = `${JOB}/tasks/t1/files`;
  const get = (target: string, headers: Record<string, string> = {}) => ask(service, "GET", target, { headers });

  test("case 55: of a task, listed with back slashes, lengths as text, folders without properties", async () => {
    const got = await ask(service, "GET", files, { query: { recursive: "true" } });
    expect(got.json["odata.metadata"]).toBe(`${BASE}/$metadata#files`);
    expect(got.json.value).toEqual([
      { name: "empty.txt", url: `${BASE}${files}/empty.txt`, isDirectory: false, properties: properties("0") },
      { name: "stdout.txt", url: `${BASE}${files}/stdout.txt`, isDirectory: false, properties: properties("10") },
      { name: "wd", url: `${BASE}${files}/wd`, isDirectory: true },
      { name: "wd\\a b.txt", url: `${BASE}${files}/wd/a%20b.txt`, isDirectory: false, properties: properties("11") },
    ]);
    expect((await get(files)).json.value.map((one: any) => one.name)).toEqual(["empty.txt", "stdout.txt", "wd"]);
    const page = await ask(service, "GET", files, { query: { recursive: "true", maxresults: "1", $filter: "startswith(name,'wd')" } });
    expect(page.json.value.map((one: any) => one.name)).toEqual(["wd"]);
    const next = Object.fromEntries(new URL(page.json["odata.nextLink"]).searchParams);
    delete next["api-version"];
    expect((await ask(service, "GET", files, { query: next })).json.value.map((one: any) => one.name)).toEqual(["wd\\a b.txt"]);
    expect(refusal(await ask(service, "GET", files, { query: { recursive: "maybe" } }))).toBe("400 InvalidQueryParameterValue recursive");
  });

  const properties = (contentLength: string) => ({ creationTime: "2015-07-09T19:31:21.09Z", lastModified: "2015-07-09T19:31:21.09Z", contentLength, contentType: "application/octet-stream" });

  test("of a TVM are its root's", async () => {
    expect((await get(`/pools/p1/tvms/${tvm}/files`)).json.value.map((one: any) => one.name)).toEqual(["shared", "tasks"]);
    expect((await get(`/pools/p1/tvms/${tvm}/files/shared/model.bin`)).text).toBe("m");
  });

  test.each(["wd/a%20b.txt", "wd%2Fa%20b.txt", "wd%5Ca%20b.txt"])("%s names a file in a folder", async (path) => {
    const got = await get(`${files}/${path}`);
    expect([got.status, got.text]).toEqual([200, "in a folder"]);
    expect(Object.fromEntries(got.headers)).toMatchObject({
      "content-type": "application/octet-stream",
      "content-length": "11",
      "content-disposition": "attachment",
      "x-content-type-options": "nosniff",
      "last-modified": "Thu, 09 Jul 2015 19:31:21 GMT",
      "ocp-creation-time": "Thu, 09 Jul 2015 19:31:21 GMT",
      "ocp-batch-file-isdirectory": "False",
      "ocp-batch-file-url": encodeURIComponent(`${BASE}${files}/wd/a%20b.txt`),
    });
  });

  test.each<[string, string, number, string, string | null]>([
    ["ocp-range", "bytes=2-4", 200, "234", null],
    ["range", "bytes=2-4", 206, "234", "bytes 2-4/10"],
    ["range", "bytes=7-", 206, "789", "bytes 7-9/10"],
    ["range", "bytes=-2", 206, "89", "bytes 8-9/10"],
    ["range", "bytes=5-500", 206, "56789", "bytes 5-9/10"],
    ["range", "bytes=-500", 206, "0123456789", "bytes 0-9/10"],
  ])("%s %s: %i %s", async (header, range, status, text, contentRange) => {
    const got = await get(`${files}/stdout.txt`, { [header]: range });
    expect([got.status, got.text, got.headers.get("content-range")]).toEqual([status, text, contentRange]);
    expect(got.headers.get("content-length")).toBe(String(text.length));
  });

  test("a range that the file does not have, or that is none, is refused", async () => {
    for (const range of ["bytes=10-", "bytes=4-2", "bytes=-", "bytes=0-1,3-4", "lines=1-2", "bytes=-0", "bytes=a-b"])
      for (const header of ["ocp-range", "range"]) expect(refusal(await get(`${files}/stdout.txt`, { [header]: range }))).toMatch(/^416 InvalidRange/);
  });

  test("an empty file is read whole, and has no range", async () => {
    const got = await get(`${files}/empty.txt`);
    expect([got.status, got.text, got.headers.get("content-length")]).toEqual([200, "", "0"]);
    expect(refusal(await get(`${files}/empty.txt`, { range: "bytes=0-0" }))).toBe("416 InvalidRange");
  });

  test("HEAD tells the length and the kind; dates are conditions", async () => {
    const head = await ask(service, "HEAD", `${files}/stdout.txt`);
    expect([head.status, head.text, head.headers.get("content-length")]).toEqual([200, "", "10"]);
    expect((await ask(service, "HEAD", `${files}/wd`)).headers.get("ocp-batch-file-isdirectory")).toBe("True");
    expect((await get(`${files}/stdout.txt`, { "if-modified-since": "Thu, 09 Jul 2015 19:31:21 GMT" })).status).toBe(304);
    expect((await get(`${files}/stdout.txt`, { "if-modified-since": "Thu, 09 Jul 2015 19:31:20 GMT" })).text).toBe("0123456789");
    expect(refusal(await get(`${files}/stdout.txt`, { "if-unmodified-since": "Thu, 09 Jul 2015 19:31:20 GMT" }))).toBe("412 ConditionNotMet");
  });

  test("DELETE removes, and what is not there is not found", async () => {
    FILES["tasks/w1/job-0000000001/t1/old.txt"] = "x";
    const deleted = await ask(service, "DELETE", `${files}/old.txt`);
    expect([deleted.status, deleted.text]).toEqual([200, ""]);
    expect(refusal(await get(`${files}/old.txt`))).toBe("404 FileNotFound");
    expect(refusal(await get(`${files}/wd`))).toBe("404 FileNotFound");
    expect(refusal(await get(`${JOB}/tasks/waiting/files/stdout.txt`))).toBe("409 TaskFilesUnavailable");
    expect(refusal(await get(`${JOB}/tasks/none/files/stdout.txt`))).toBe("404 TaskNotFound");
  });

  test("no path leads out of the folder or names anything but a file in it", async () => {
    const tricks = ["..%2Fsecret", "wd%2F..%2F..%2F..%2Fsecret", "..%5Csecret", "%2Fetc%2Fpasswd", "C%3A%5Cx", "a%00b", "wd%2F%2Fx", ".%2Fx", "%5C%5Cserver%5Cshare", "x".repeat(1025)];
    for (const path of tricks) {
      for (const method of ["GET", "DELETE"]) expect([path, refusal(await ask(service, method, `${files}/${path}`))]).toEqual([path, "400 InvalidUri"]);
      expect((await ask(service, "HEAD", `${files}/${path}`)).status).toBe(400);
    }
  });
});

test("a path that the caller's own library has shortened is another path, and needs its own signature", async () => {
  await ask(service, "POST", "/pools", { body: POOL });
  // `/pools/x/../p1` is `/pools/p1` before it is sent.
  expect((await ask(service, "GET", "/pools/x/../p1")).status).toBe(200);
});
