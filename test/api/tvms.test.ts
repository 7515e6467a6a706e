// What may be asked of TVMs and of a pool's TVMs over HTTP: statuses, headers, codes. What then happens is in test/app.
import { execute } from "../../src/app/execute";
import { poolKey, poolStream } from "../../src/domain/ids";
import { USERS, agentPost, allocateTvm, done, exchangeBody, joinBody, startAgent } from "./fakeAgent";
import { ACCOUNT, BASE, POOL, type Service, ask, openService, refusal } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const get = async (target: string, query?: Record<string, string>) => ask(service, "GET", target, query ? { query } : {});
const post = (target: string, body?: unknown) => ask(service, "POST", target, body === undefined ? {} : { body });
const steady = async (): Promise<void> =>
  void (await done(execute(service.ports, "pool", "test", { stream: poolStream(poolKey(ACCOUNT, "p1")), command: { type: "EndPoolResize", at: service.ports.clock.now().toISOString() } })));

/** A pool with one TVM, which has joined unless it is to be left starting. */
const withTvm = async (joined = true): Promise<{ tvm: string; at: string; credential: string }> => {
  await post("/pools", POOL);
  const tvm = await allocateTvm(service);
  const credential = joined ? ((await agentPost(service, "/agent/join", joinBody(service, tvm), null)).json.credential as string) : "";
  if (joined) await agentPost(service, "/agent/exchange", exchangeBody(), `TVM ${credential}`);
  return { tvm, at: `/pools/p1/tvms/${tvm}`, credential };
};

describe("reboot and reimage", () => {
  test.each([["reboot", "rebooting"], ["reimage", "reimaging"]])("%s: 202 without a body, and the state says so", async (verb, state) => {
    const { at } = await withTvm();
    expect((await get(at)).json.state).toBe("idle");
    const got = await post(`${at}?${verb}`, { [`${verb}Option`]: "TaskCompletion" });
    expect([got.status, got.text, got.headers.get("dataserviceid")]).toEqual([202, "", `${BASE}${at}`]);
    expect((await get(at)).json.state).toBe(state);
    expect((await get("/pools/p1/tvms", { $filter: `state eq '${state}'` })).json.value).toHaveLength(1);
    const again = await post(`${at}?${verb}`);
    expect(refusal(again)).toBe(`409 TVMBeing${verb === "reboot" ? "Rebooted" : "Reimaged"}`);
  });

  test("the body may be left out, and the action may be in the path", async () => {
    const { at } = await withTvm();
    expect((await post(`${at}/reboot`)).status).toBe(202);
  });

  test("409 for a TVM that is starting, 404 for none", async () => {
    const { at } = await withTvm(false);
    expect(refusal(await post(`${at}?reboot`))).toBe("409 TVMBeingStarted");
    expect(refusal(await post("/pools/p1/tvms/tvm-none?reimage"))).toBe("404 TVMNotFound");
    expect(refusal(await post("/pools/none/tvms/tvm-none?reimage"))).toBe("404 PoolNotFound");
  });
});

describe("TVMs removed by name", () => {
  test("202; the pool is resizing toward a target that is lower by their number, and the ETag is another", async () => {
    const { tvm } = await withTvm();
    expect(refusal(await post("/pools/p1?removetvms", { tvmList: [tvm] }))).toBe("409 PoolBeingResized");
    await steady();
    const before = (await get("/pools/p1")).json.eTag;
    expect(refusal(await post("/pools/p1?removetvms", { tvmList: ["tvm-none"] }))).toBe("404 TVMNotFound tvmList");
    const got = await post("/pools/p1?removetvms", { tvmList: [tvm], resizeTimeout: "PT10M", tvmDeallocationOption: "terminate" });
    expect([got.status, got.text, got.headers.get("dataserviceid")]).toEqual([202, "", `${BASE}/pools/p1`]);
    const pool = (await get("/pools/p1")).json;
    expect(pool).toMatchObject({ allocationState: "resizing", targetDedicated: 0, currentDedicated: 1, resizeTimeout: "PT10M" });
    expect(pool.eTag).not.toBe(before);
  });
});

describe("another operating system", () => {
  test("202; state upgrading, with the version as the target and the former one as the present", async () => {
    await withTvm();
    await steady();
    const version = "WA-GUEST-OS-3.26_201504-01";
    expect(refusal(await post("/pools/p1?upgradeos", { targetOSVersion: "*" }))).toBe("400 PoolVersionEqualsUpgradeVersion");
    expect(refusal(await post("/pools/p1?upgradeos", { targetOSVersion: "WA-GUEST-OS-4.19_201504-01" }))).toBe("400 OSVersionNotFound");
    expect((await post("/pools/p1?upgradeos", { targetOSVersion: version })).status).toBe(202);
    expect((await get("/pools/p1")).json).toMatchObject({ state: "upgrading", targetOSVersion: version, currentOSVersion: "*" });
    expect((await get("/pools", { $filter: "state eq 'upgrading'" })).json.value).toHaveLength(1);
    expect(refusal(await post("/pools/p1?upgradeos", { targetOSVersion: "*" }))).toBe("409 UpgradePoolVersionConflict");
  });
});

describe("users", () => {
  const allowed = { allowElevated: false, poolTvmsMax: 50, allowTvmUsers: true };
  const put = (target: string, body: unknown) => ask(service, "PUT", target, { body });
  const remove = (target: string) => ask(service, "DELETE", target);
  const PASSWORD = "Correct-Horse#7";

  test("cases 15 and 16: case 15 added twice: 201, then 409 TVMUserExists; case 16 deleted twice: 200, then 404 TVMUserNotFound", async () => {
    await service.close();
    service = await openService({ policy: allowed });
    await post("/pools", POOL);
    const tvm = await allocateTvm(service);
    const stop = await startAgent(service, tvm);
    try {
      const at = `/pools/p1/tvms/${tvm}`;
      USERS.length = 0;
      const added = await post(`${at}/users`, { name: "Ann", password: PASSWORD, isAdmin: true });
      expect([added.status, added.text, added.headers.get("location")]).toEqual([201, "", `${BASE}${at}/users/Ann`]);
      expect(USERS).toMatchObject([{ kind: "add", name: "Ann", password: PASSWORD, isAdmin: true }]);
      expect(refusal(await post(`${at}/users`, { name: "ann", password: PASSWORD }))).toBe("409 TVMUserExists");
      const ssh = await get(`${at}/ssh`);
      expect(ssh.json).toMatchObject({ host: "127.0.0.9", port: 22, platform: "linux", reachableFrom: "the machine that the service runs on", users: [{ name: "Ann", account: "os-Ann", isAdmin: true }] });
      const days = (Date.parse(ssh.json.users[0].expiryTime) - service.ports.clock.now().getTime()) / 86_400_000;
      expect(Math.abs(days - 1)).toBeLessThan(0.01);
      const changed = await put(`${at}/users/ANN`, { expiryTime: "2099-01-01T00:00:00Z" });
      expect([changed.status, changed.text]).toEqual([200, ""]);
      expect(USERS[1]).toMatchObject({ kind: "update", name: "ANN", isAdmin: false, expiresAt: "2099-01-01T00:00:00.000Z" });
      expect(USERS[1]).not.toHaveProperty("password");
      expect((await get(`${at}/ssh`)).json.users).toMatchObject([{ name: "Ann", isAdmin: false, expiryTime: "2099-01-01T00:00:00Z" }]);
      const removed = await remove(`${at}/users/ann`);
      expect([removed.status, removed.text]).toEqual([200, ""]);
      expect(refusal(await remove(`${at}/users/ann`))).toBe("404 TVMUserNotFound");
      expect(refusal(await put(`${at}/users/ann`, {}))).toBe("404 TVMUserNotFound");
      const history = await get(`/batchledger/history${at}`);
      expect(history.text).toContain("TvmUserAdded");
      expect(history.text).not.toContain(PASSWORD);
    } finally {
      await stop();
    }
  });

  test("case 17: to a TVM that is starting: 409", async () => {
    const { at } = await withTvm(false);
    expect(refusal(await post(`${at}/users`, { name: "ann", password: PASSWORD }))).toBe("409 TVMBeingStarted");
    expect(refusal(await get(`${at}/rdp`))).toBe("409 TVMBeingStarted");
  });

  test("where TVMs share a machine they are not made unless its operator allows it; the answer says how", async () => {
    const { at } = await withTvm();
    const refused = await post(`${at}/users`, { name: "ann", password: PASSWORD });
    expect(refusal(refused)).toBe("501 NotImplemented");
    expect(refused.text).toContain("--allow-tvm-users");
  });

  test("a password is not repeated in a refusal", async () => {
    const { at } = await withTvm();
    expect((await post(`${at}/users`, { name: "ann", password: `${PASSWORD}\n` })).text).not.toContain(PASSWORD);
  });
});

test("the RDP file has the address and names the instance", async () => {
  const { tvm, at } = await withTvm();
  const rdp = await get(`${at}/rdp`);
  expect([rdp.status, rdp.headers.get("content-type")]).toEqual([200, "application/octet-stream"]);
  expect(rdp.text).toBe(`full address:s:127.0.0.9\r\nLoadBalanceInfo:s:Cookie: mstshash=TVM#TVM_IN_${Number(/_(\d+)-/.exec(tvm)?.[1]) - 1}\r\n`);
  expect(rdp.headers.get("content-length")).toBe(String(rdp.text.length));
});

describe("limits", () => {
  test("the sizes there are, each with four tasks a core at most, which is the limit of a pool of that size", async () => {
    const { value } = (await get("/batchledger/sizes")).json;
    expect(value).toHaveLength(23);
    expect(value[0]).toEqual({ name: "small", cores: 1, memoryMB: 1792, diskGB: 225, maxTasksPerTVM: 4 });
    for (const { name, maxTasksPerTVM } of value) {
      const pool = (slots: number) => post("/pools", { ...POOL, name: `p-${name}`, tvmSize: name, maxTasksPerTVM: slots });
      expect([name, refusal(await pool(maxTasksPerTVM + 1)), (await pool(maxTasksPerTVM)).status]).toEqual([name, "400 InvalidPropertyValue maxTasksPerTVM", 201]);
    }
    expect(refusal(await post("/pools", { ...POOL, tvmSize: "A0" }))).toBe("400 InvalidPropertyValue tvmSize");
  });

  test("a storage account that the TVMs should be near to is kept and shown", async () => {
    await post("/pools", { ...POOL, storageAccountAffinity: "mystore" });
    expect((await get("/pools/p1")).json.storageAccountAffinity).toBe("mystore");
  });

  test("as many pools as the account may have, and no more: PoolQuotaReached", async () => {
    await service.close();
    service = await openService({ policy: { allowElevated: false, poolTvmsMax: 50, poolsMax: 1 } });
    expect((await post("/pools", POOL)).status).toBe(201);
    const refused = await post("/pools", { ...POOL, name: "p2" });
    expect(refusal(refused)).toBe("409 PoolQuotaReached");
    expect(refused.text).toContain("may have 1");
    expect(refusal(await post("/pools", POOL))).toBe("409 PoolExists");
    expect((await ask(service, "POST", "/pools", { body: { ...POOL, name: "p2" }, account: "other" })).status).toBe(201);
  });
});

