// The numbered cases about pools (reference section 9), as a client sees them.
import { execute } from "../../src/app/execute";
import { poolKey, poolStream } from "../../src/domain/ids";
import { done } from "./fakeAgent";
import { ACCOUNT, BASE, POOL, type Service, ask, openService, refusal, valueOf } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const get = (target: string, headers?: Record<string, string>) => ask(service, "GET", target, headers ? { headers } : {});
const post = (target: string, body?: unknown) => ask(service, "POST", target, body === undefined ? {} : { body });
const make = (more: object = {}) => post("/pools", { ...POOL, ...more });
const steady = async (): Promise<void> =>
  void (await done(execute(service.ports, "pool", "test", { stream: poolStream(poolKey(ACCOUNT, "p1")), command: { type: "EndPoolResize", at: service.ports.clock.now().toISOString() } })));

test("case 1: target 0: 201, empty, Location, ETag; active and resizing, soon steady", async () => {
  const made = await make();
  expect([made.status, made.text, made.headers.get("location")]).toEqual([201, "", `${BASE}/pools/p1`]);
  expect(made.headers.get("etag")).toMatch(/^0x[0-9A-F]+$/);
  expect((await get("/pools/p1")).json).toMatchObject({ state: "active", allocationState: "resizing", targetDedicated: 0 });
  await steady();
  expect((await get("/pools/p1")).json).toMatchObject({ state: "active", allocationState: "steady", currentDedicated: 0 });
});

test("case 2: the same name in other case: 409 PoolExists", async () => {
  await make();
  expect(refusal(await make({ name: "P1" }))).toBe("409 PoolExists");
});

test.each(["a b", "x".repeat(65)])("case 3: a pool named %j: 400 InvalidPropertyValue", async (name) => {
  expect(refusal(await make({ name }))).toBe("400 InvalidPropertyValue name");
});

test("case 4: resizeTimeout PT4M59S: 400", async () => {
  const refused = await make({ resizeTimeout: "PT4M59S" });
  expect([refusal(refused), valueOf(refused, "Reason")]).toEqual(["400 InvalidPropertyValue resizeTimeout", "expected at least PT5M"]);
});

test("case 5: without resizeTimeout GET shows PT5M", async () => {
  await make();
  expect((await get("/pools/p1")).json.resizeTimeout).toBe("PT5M");
});

test("case 6: resize while resizing: 409", async () => {
  await make();
  expect(refusal(await post("/pools/p1?resize", { targetDedicated: 1 }))).toBe("409 PoolBeingResized");
});

test("case 8: stopresize when steady: 409", async () => {
  await make();
  await steady();
  expect(refusal(await post("/pools/p1?stopresize"))).toBe("409 OperationInvalidForCurrentState");
});

test("case 9: a resize changes the ETag; becoming steady does not", async () => {
  await make();
  await steady();
  const before = (await get("/pools/p1")).json.eTag;
  // The same number is accepted, too (section 6).
  expect((await post("/pools/p1?resize", { targetDedicated: 0 })).status).toBe(202);
  const resizing = (await get("/pools/p1")).json;
  expect(resizing.allocationState).toBe("resizing");
  expect(resizing.eTag).not.toBe(before);
  await steady();
  expect((await get("/pools/p1")).json).toMatchObject({ allocationState: "steady", eTag: resizing.eTag });
});

test("case 10: deleted: state deleting, ETag and lastModified unchanged, until gone", async () => {
  await make();
  const { eTag, lastModified } = (await get("/pools/p1")).json;
  expect((await ask(service, "DELETE", "/pools/p1")).status).toBe(202);
  expect((await get("/pools/p1")).json).toMatchObject({ state: "deleting", eTag, lastModified });
});

test("case 11: deleted twice: 409 PoolBeingDeleted", async () => {
  await make();
  await ask(service, "DELETE", "/pools/p1");
  expect(refusal(await ask(service, "DELETE", "/pools/p1"))).toBe("409 PoolBeingDeleted");
});

test("case 12: If-None-Match of the current ETag: 304", async () => {
  await make();
  const { eTag } = (await get("/pools/p1")).json;
  const got = await get("/pools/p1", { "if-none-match": eTag });
  expect([got.status, got.text]).toEqual([304, ""]);
});

test("case 13: DELETE with If-Match of an old ETag: 412 ConditionNotMet", async () => {
  await make();
  const { eTag } = (await get("/pools/p1")).json;
  await ask(service, "PATCH", "/pools/p1", { body: { metadata: [{ name: "a", value: "b" }] } });
  expect(refusal(await ask(service, "DELETE", "/pools/p1", { headers: { "if-match": eTag } }))).toBe("412 ConditionNotMet");
  expect((await get("/pools/p1")).json.state).toBe("active");
});

test("case 14: If-Match and If-None-Match together: 400 MultipleConditionHeadersNotSupported", async () => {
  await make();
  expect(refusal(await get("/pools/p1", { "if-match": "*", "if-none-match": "0x1" }))).toMatch(/^400 MultipleConditionHeadersNotSupported/);
});
