import { FAILURES_AT_ONCE, WAITING_MAX, attempts } from "../../src/api/attempts";
import { authorize, signString, stringsToSign } from "../../src/api/auth";
import { parseHttpDate } from "../../src/api/dates";
import { serve } from "../../src/api/serve";
import { ACCOUNT, KEYS, POOL, type Service, VERSION, ask, buildRequest, openService, refusal } from "./support";

const KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/** Verb, address, headers, signature: the vectors of the reference, section 2. */
const VECTORS: [string, string, Record<string, string>, string, string][] = [
  [
    "GET",
    `/pools?api-version=${VERSION}&timeout=30`,
    { "ocp-date": "Thu, 09 Jul 2015 19:31:21 GMT" },
    "7s4sXN5GDgpGkdzgib8WPM7SrQgeZPBCANabLiBOX4U=",
    `GET~~~~~~~~~~~~ocp-date:Thu, 09 Jul 2015 19:31:21 GMT~/myaccount/pools~api-version:2014-10-01.1.0~timeout:30`,
  ],
  [
    "POST",
    `/pools/p1?resize&api-version=${VERSION}`,
    { "ocp-date": "Thu, 09 Jul 2015 21:07:08 GMT", "content-length": "45", "content-type": "application/json;odata=minimalmetadata" },
    "SprPKeVY5mJOckMuKrEqpEwTnF5VaA6TkBlDzu4YhjE=",
    `POST~~~45~~application/json;odata=minimalmetadata~~~~~~~ocp-date:Thu, 09 Jul 2015 21:07:08 GMT~/myaccount/pools/p1~api-version:2014-10-01.1.0~resize:`,
  ],
  [
    "DELETE",
    `/pools/p1?api-version=${VERSION}`,
    { "ocp-date": "Thu, 09 Jul 2015 21:07:08 GMT", "content-length": "0", "if-match": "0x8D28894F80EA52E" },
    "hmBdsYTCZTVQ6BFV1vc8z+b9+IjxZHl2rEqCrFkEi8Q=",
    `DELETE~~~0~~~~~0x8D28894F80EA52E~~~~ocp-date:Thu, 09 Jul 2015 21:07:08 GMT~/myaccount/pools/p1~api-version:2014-10-01.1.0`,
  ],
  [
    "GET",
    `/workitems/w1/jobs/job-0000000001/tasks/t1/files/wd%2Fa%20b.txt?api-version=${VERSION}`,
    { "ocp-date": "Thu, 09 Jul 2015 21:07:08 GMT", "ocp-range": "bytes=0-9" },
    "fm4oELHTGwSub8upfi3se8MSYlzwLkEXt5VeI4qFI2U=",
    `GET~~~~~~~~~~~~ocp-date:Thu, 09 Jul 2015 21:07:08 GMT~ocp-range:bytes=0-9~/myaccount/workitems/w1/jobs/job-0000000001/tasks/t1/files/wd/a%20b.txt~api-version:2014-10-01.1.0`,
  ],
];

test.each(VECTORS)("vector: %s %s", (method, target, headers, signature, text) => {
  const request = { method, url: new URL(`http://h${target}`), headers: new Headers(headers) as never };
  const candidates = [...stringsToSign(request, "myaccount")];
  expect(candidates).toContain(text.replaceAll("~", "\n"));
  expect(candidates.map((one) => signString(one, KEY))).toContain(signature);
});

describe("the handler", () => {
  let service: Service;
  beforeEach(async () => {
    service = await openService();
  });
  afterEach(() => service.close());

  const get = (options: Parameters<typeof ask>[3]) => ask(service, "GET", "/pools", options);

  test.each([0, 1])("takes key %i of the account", async (index) => {
    expect((await get({ key: KEYS[ACCOUNT]![index]! })).status).toBe(200);
  });

  test("takes Date in place of ocp-date, and says no to a signature made for the other", async () => {
    const date = service.ports.clock.now().toUTCString();
    const url = new URL(`http://127.0.0.1:7071/pools?api-version=${VERSION}`);
    const sign = (headers: Record<string, string>) => signString([...stringsToSign({ method: "GET", url, headers: new Headers(headers) as never }, ACCOUNT)][0]!, KEYS[ACCOUNT]![0]!);
    const send = (headers: Record<string, string>, signed: Record<string, string>) =>
      serve(service.ports, { method: "GET", url: url.href, headers: new Headers({ ...headers, authorization: `SharedKey ${ACCOUNT}:${sign(signed)}` }), body: null } as never);
    expect((await send({ date }, { date })).status).toBe(200);
    expect((await send({ date }, { "ocp-date": date })).status).toBe(403);
    // ocp-date wins: a stale Date beside it does not matter.
    const stale = new Date(0).toUTCString();
    expect((await send({ date: stale, "ocp-date": date }, { date: stale, "ocp-date": date })).status).toBe(200);
  });

  test.each<[string, Parameters<typeof ask>[3], string]>([
    ["no header", { authorization: null }, "403 AuthenticationFailed"],
    ["another scheme", { authorization: "Basic abc" }, "400 InvalidAuthenticationInfo Authorization"],
    ["a token that nobody was given", { authorization: "Bearer abc" }, "403 AuthenticationFailed"],
    ["no signature", { authorization: `SharedKey ${ACCOUNT}` }, "400 InvalidAuthenticationInfo Authorization"],
    ["a short signature", { authorization: `SharedKey ${ACCOUNT}:abcd` }, "403 AuthenticationFailed"],
    ["the key of another account", { key: KEYS["other"]![0]! }, "403 AuthenticationFailed"],
    ["an unknown account", { account: "nobody" }, "403 AuthenticationFailed"],
    ["an account name that none can have", { account: "x" }, "403 AuthenticationFailed"],
    ["a made-up TVM's credential", { authorization: "TVM p~1~abc" }, "403 AuthenticationFailed"],
  ])("refuses %s", async (_what, options, expected) => {
    expect(refusal(await get(options))).toBe(expected);
  });

  test.each([
    [14 * 60, 200],
    [-14 * 60, 200],
    [16 * 60, 403],
    [-16 * 60, 403],
  ])("a date %i seconds off is answered %i", async (seconds, status) => {
    const date = new Date(service.ports.clock.now().getTime() + seconds * 1000).toUTCString();
    expect((await get({ date })).status).toBe(status);
  });

  test("refuses a date that is none", async () => {
    expect(refusal(await get({ date: "2015-07-09T19:31:21Z" }))).toBe("403 AuthenticationFailed ocp-date");
  });

  test("a signature covers the method, the path, the query and the length", async () => {
    const signed = buildRequest(service, "POST", "/pools", { body: POOL });
    const send = (changes: object) => serve(service.ports, { method: signed.method, url: signed.url, headers: signed.headers, body: null, ...changes } as never);
    expect((await send({ method: "PUT" })).status).toBe(403);
    expect((await send({ url: signed.url.replace("/pools", "/workitems") })).status).toBe(403);
    expect((await send({ url: `${signed.url}&timeout=1` })).status).toBe(403);
    const headers = new Headers(signed.headers);
    headers.set("content-length", "1");
    expect((await send({ headers })).status).toBe(403);
  });

  test("the body is not looked at before the signature is proven", async () => {
    let read = false;
    const body = { getReader: () => ((read = true), { read: async () => ({ done: true }), cancel: async () => {} }) };
    const answer = await serve(service.ports, {
      method: "POST",
      url: `http://127.0.0.1:7071/pools?api-version=${VERSION}`,
      headers: new Headers({ "ocp-date": service.ports.clock.now().toUTCString(), authorization: `SharedKey ${ACCOUNT}:${"A".repeat(43)}=` }),
      body,
    } as never);
    expect(answer.status).toBe(403);
    expect(read).toBe(false);
  });

  test("strangers are not told which paths there are", async () => {
    for (const target of ["/pools", "/nothing", "/agent/exchange", "/batchledger/files"])
      expect(refusal(await ask(service, "GET", target, { authorization: null }))).toBe("403 AuthenticationFailed");
    expect((await ask(service, "GET", "/batchledger/health", { authorization: null })).json).toEqual({ status: "ok" });
  });

  test("one account does not see what another has", async () => {
    expect((await ask(service, "POST", "/pools", { body: POOL })).status).toBe(201);
    expect(refusal(await ask(service, "GET", "/pools/p1", { account: "other" }))).toBe("404 PoolNotFound");
    expect((await ask(service, "GET", "/pools", { account: "other" })).json.value).toEqual([]);
  });
});

describe("failed signatures", () => {
  test("wait the more the more there were; who stops trying is soon forgotten; the rest are told to come back", () => {
    const budget = attempts();
    const now = 1_000_000;
    for (let time = 0; time < FAILURES_AT_ONCE; time++) expect(budget.failed("contoso", now)).toBe(0);
    const first = budget.failed("contoso", now) as number;
    const second = budget.failed("contoso", now) as number;
    expect([first > 0, second > first, second <= 2000]).toEqual([true, true, true]);
    // Another account's failures are its own.
    expect(budget.failed("local", now)).toBe(0);
    expect(budget.failed("contoso", now + 60_000)).toBe(0);
    for (let time = 0; time < FAILURES_AT_ONCE + WAITING_MAX; time++) budget.failed("contoso", now + 60_000);
    expect(budget.failed("contoso", now + 60_000)).toBeUndefined();
    budget.answered();
    expect(budget.failed("contoso", now + 60_000)).toBeGreaterThan(0);
    // Names that are made up are remembered within bounds, and all together have a budget too.
    let waits = 0;
    for (let name = 0; name < 6000; name++) if (budget.failed(`x${name}`, now + 60_000) !== 0) waits++;
    expect(waits).toBeGreaterThan(500);
  });

  test("slow down nobody whose signature is right", async () => {
    const waits: number[] = [];
    const service = await openService();
    const ports = { ...service.ports, clock: { now: service.ports.clock.now, steady: service.ports.clock.steady, sleep: async (ms: number) => void waits.push(ms) } };
    try {
      const wrong = { key: Buffer.alloc(64).toString("base64") };
      for (let time = 0; time < FAILURES_AT_ONCE + 200; time++) expect((await ask({ ports }, "GET", "/pools", wrong)).status).toBe(403);
      const before = waits.filter((ms) => ms <= 2000).length;
      expect(before).toBeGreaterThan(50);
      expect((await ask(service, "GET", "/pools")).status).toBe(200);
      expect(waits.filter((ms) => ms <= 2000)).toHaveLength(before);
    } finally {
      await service.close();
    }
  });
});

test("what is not allowed by name is refused", () => {
  expect(authorize({ kind: "account", account: "a" }, "pool.add", "a")).toBeUndefined();
  expect(authorize({ kind: "account", account: "a" }, "pool.add", "b")?.code).toBe("InsufficientAccountPermissions");
  expect(authorize({ kind: "account", account: "a" }, "agent.exchange", "a")?.code).toBe("InsufficientAccountPermissions");
  expect(authorize({ kind: "tvm" }, "agent.exchange", undefined)).toBeUndefined();
  expect(authorize({ kind: "tvm" }, "pool.read", undefined)?.code).toBe("InsufficientAccountPermissions");
  expect(authorize({ kind: "anonymous" }, "pool.read", undefined)?.code).toBe("InsufficientAccountPermissions");
  expect(authorize({ kind: "anonymous" }, "made.up" as never, undefined)?.code).toBe("InsufficientAccountPermissions");
});

test("HTTP dates: RFC 1123 and RFC 850, nothing else", () => {
  const at = Date.UTC(2015, 6, 9, 19, 31, 21);
  expect(parseHttpDate("Thu, 09 Jul 2015 19:31:21 GMT")).toBe(at);
  expect(parseHttpDate("Thursday, 09-Jul-15 19:31:21 GMT")).toBe(at);
  for (const text of ["Thu, 31 Feb 2015 19:31:21 GMT", "Thu, 09 Jul 2015 19:31:21", "09 Jul 2015 19:31:21 GMT", "Thu, 09 Jul 2015 24:31:21 GMT", ""])
    expect(parseHttpDate(text)).toBeUndefined();
});
