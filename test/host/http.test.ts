// The host's HTTP side in streaming mode, with @azure/functions unmodified: routes, keys, limits, streams, failures.

import net from "node:net";
import { once } from "node:events";
import http from "node:http";
import { app, HttpResponse } from "@azure/functions";
import { startHost } from "../../src/host/main";
import type { RunningHost } from "../../src/host/main";
import { keptLog, send, until } from "./support";

const log = keptLog();
const seen = { pulled: 0, cancelled: false, uploaded: 0, running: 0 };
let releaseSlow = (): void => {};
let host: RunningHost;

function register(): void {
  app.setup({ enableHttpStream: true });
  app.http("api", { route: "{*path}", methods: ["GET", "POST", "PATCH"], handler: (request) => ({ jsonBody: { catchAll: request.params["path"] ?? null, method: request.method, url: request.url } }) });
  app.http("item", { route: "items/{id:int}/{tail?}", methods: ["GET"], handler: (request) => ({ jsonBody: { item: request.params } }) });
  app.http("anyItem", { route: "items/{name}", methods: ["GET"], handler: (request) => ({ jsonBody: { any: request.params } }) });
  app.http("special", { route: "items/special", methods: ["GET"], handler: () => ({ body: "special", headers: { "X-A": "1" }, cookies: [{ name: "c", value: "v", httpOnly: true }] }) });
  app.http("function", { route: "locked/function", authLevel: "function", handler: () => ({ status: 204 }) });
  app.http("admin", { route: "locked/admin", authLevel: "admin", handler: () => ({ status: 204 }) });
  app.http("echo", { route: "echo", methods: ["POST"], handler: async (request) => ({ status: 201, body: await request.text(), headers: { "content-type": "text/x-echo", connection: "upgrade" } }) });
  app.http("headers", { route: "headers", handler: (request) => ({ jsonBody: Object.fromEntries(request.headers) }) });
  app.http("boom", { route: "boom", handler: () => Promise.reject(new Error("it broke")) });
  app.http("odd", { route: "odd", handler: () => ({ status: 99 }) });
  app.http("nothing", { route: "nothing", handler: () => undefined as never });
  app.http("instance", { route: "instance", handler: () => new HttpResponse({ status: 202, jsonBody: { made: "by class" } }) });
  app.http("bytes", { route: "bytes", handler: () => ({ body: Buffer.from([0, 255, 1]), headers: new Headers({ "content-type": "x/y" }) }) });
  app.http("upload", {
    route: "upload",
    methods: ["PUT"],
    handler: async (request) => {
      seen.uploaded = 0;
      for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) seen.uploaded += chunk.length;
      return { jsonBody: { bytes: seen.uploaded } };
    },
  });
  app.http("endless", { route: "endless", handler: () => ({ body: endless() }) });
  app.http("halfway", { route: "halfway", handler: () => ({ body: halfway() }) });
  app.http("slow", { route: "slow", handler: slow });
}

async function* endless(): AsyncGenerator<Uint8Array> {
  try {
    for (;;) {
      seen.pulled++;
      yield Buffer.alloc(64 * 1024, 1);
    }
  } finally {
    seen.cancelled = true;
  }
}

async function* halfway(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("first");
  throw new Error("source broke");
}

async function slow(): Promise<{ body: string }> {
  seen.running++;
  await new Promise<void>((resolve) => {
    releaseSlow = resolve;
  });
  seen.running--;
  return { body: "at last" };
}

beforeAll(async () => {
  host = await startHost({ loadFunctions: register, hostJson: { version: "2.0", extensions: { http: { routePrefix: "" } } }, port: 0, log, limits: { bodyBytesMax: 1_000_000 } });
});
afterAll(() => host.stop());
beforeEach(() => {
  log.errors.length = 0;
});

const get = async (path: string, headers: http.OutgoingHttpHeaders = {}) => send(host.port, path, { headers });
const json = async (path: string) => JSON.parse((await get(path)).text) as Record<string, unknown>;

test("literals win over constrained, over free, over catch-all", async () => {
  expect((await get("/items/special")).text).toBe("special");
  expect(await json("/items/42")).toEqual({ item: { id: "42" } });
  expect(await json("/items/42/x")).toEqual({ item: { id: "42", tail: "x" } });
  expect(await json("/ITEMS/books")).toEqual({ any: { name: "books" } });
  expect(await json("/items/42/x/y?q=1")).toMatchObject({ catchAll: "items/42/x/y" });
  expect(await json("/")).toMatchObject({ catchAll: null });
});

test("the handler sees an absolute URL under the name that the client used, and the decoded path", async () => {
  expect(await json("/a%20b/c%2Fd?x=%20")).toEqual({ catchAll: "a b/c%2Fd", method: "GET", url: `http://localhost:${host.port}/a%20b/c%2Fd?x=%20` });
});

test("a method that no route takes is 404", async () => {
  expect((await send(host.port, "/items/special", { method: "DELETE" })).status).toBe(404);
  expect((await send(host.port, "/items/special", { method: "HEAD" })).status).toBe(404);
});

test("headers reach the handler as sent; those the host adds for the library do not", async () => {
  const headers = await json("/headers");
  expect(headers["host"]).toBe(`localhost:${host.port}`);
  expect(Object.keys(headers).filter((name) => name.startsWith("x-"))).toEqual([]);
});

test("levels: none, function, admin", async () => {
  const { keys } = host;
  expect((await get("/locked/function")).status).toBe(401);
  expect((await get("/locked/function", { "x-functions-key": "wrong" })).status).toBe(401);
  expect((await get("/locked/function", { "x-functions-key": keys.host })).status).toBe(204);
  expect((await get(`/locked/function?code=${keys.master}`)).status).toBe(204);
  expect((await get("/locked/admin", { "x-functions-key": keys.host })).status).toBe(401);
  expect((await get("/locked/admin", { "x-functions-key": keys.master })).status).toBe(204);
});

test("plain answers carry their length, type and headers", async () => {
  const answer = await send(host.port, "/echo", { method: "POST", body: "héllo" });
  expect(answer).toMatchObject({ status: 201, text: "héllo", headers: { "content-type": "text/x-echo", "content-length": "6" } });
  expect(answer.headers.connection).not.toBe("upgrade");
  expect((await get("/bytes")).headers).toMatchObject({ "content-type": "x/y", "content-length": "3" });
  expect(await get("/instance")).toMatchObject({ status: 202, text: '{"made":"by class"}', headers: { "content-type": "application/json" } });
  expect((await get("/items/special")).headers).toMatchObject({ "x-a": "1", "set-cookie": ["c=v; HttpOnly"] });
  expect((await get("/items/special")).headers["x-ms-invocation-id"]).toBeUndefined();
});

test("nothing returned is 200 without a body; a throw and an impossible status are 500 without one, and logged", async () => {
  expect(await get("/nothing")).toMatchObject({ status: 200, text: "" });
  expect(await get("/boom")).toMatchObject({ status: 500, text: "" });
  expect(log.errors[0]).toContain("it broke");
  expect(await get("/odd")).toMatchObject({ status: 500, text: "" });
});

test("a Host header that is not ours is refused", async () => {
  for (const name of ["evil.example", "evil.example:7071", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:1:2"]) expect([name, (await get("/nothing", { host: name })).status]).toEqual([name, 421]);
  for (const name of ["LOCALHOST:1", "127.0.0.1", "127.3.2.1:80", "[::1]:80"]) expect((await get("/nothing", { host: name })).status).toBe(200);
});

test("paths that a later reader would resolve otherwise are refused", async () => {
  for (const path of ["/a/../admin", "/a/%2e%2e/b", "//evil.example/x", "/%E0%A4%A", "http://evil.example/"]) expect((await get(path)).status).toBe(400);
});

test("Content-Length beside Transfer-Encoding is refused", async () => {
  const socket = net.connect(host.port, "127.0.0.1");
  socket.write(`POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`);
  const [data] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  expect(data.toString()).toMatch(/^HTTP\/1.1 400/);
});

test("a body beyond the limit is 413, announced or not", async () => {
  expect((await send(host.port, "/echo", { method: "POST", headers: { "content-length": 1_000_001 }, body: Buffer.alloc(1_000_001) })).status).toBe(413);
  const status = await new Promise<number | undefined>((resolve) => {
    const request = http.request({ port: host.port, host: "127.0.0.1", path: "/echo", method: "POST", headers: { host: "localhost", "transfer-encoding": "chunked" } }, (response) => resolve(response.statusCode));
    request.on("error", () => {});
    for (let n = 0; n < 20; n++) request.write(Buffer.alloc(100_000));
    request.end();
  });
  expect(status).toBe(413);
});

test("a request body streams into the handler while it is sent", async () => {
  const request = http.request({ port: host.port, host: "127.0.0.1", path: "/upload", method: "PUT", headers: { host: "localhost", "content-length": 200_000 } });
  request.write(Buffer.alloc(100_000));
  await until(() => seen.uploaded === 100_000);
  request.end(Buffer.alloc(100_000));
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.setEncoding("utf8");
  const [text] = (await once(response, "data")) as [string];
  expect(JSON.parse(text)).toEqual({ bytes: 200_000 });
});

test("a response streams at the reader's pace, and ends at the source when the reader goes", async () => {
  const request = http.get({ port: host.port, host: "127.0.0.1", path: "/endless", headers: { host: "localhost" } });
  const [response] = (await once(request, "response")) as [http.IncomingMessage];
  response.pause();
  let before = -1;
  // The buffers between fill, then the source is not asked any more.
  await until(async () => {
    if (before === seen.pulled) return true;
    before = seen.pulled;
    await new Promise((resolve) => setTimeout(resolve, 50));
    return false;
  });
  expect(seen.pulled).toBeLessThan(1_000);
  request.destroy();
  await until(() => seen.cancelled);
});

test("a response whose source breaks is cut, not ended", async () => {
  await expect(get("/halfway")).rejects.toThrow(/aborted|hang up/);
});

test("a client that goes away leaves no invocation behind", async () => {
  const request = http.get({ port: host.port, host: "127.0.0.1", path: "/slow", headers: { host: "localhost" } });
  request.on("error", () => {});
  await until(() => seen.running === 1);
  request.destroy();
  releaseSlow();
  await until(() => seen.running === 0);
  expect((await get("/nothing")).status).toBe(200);
  expect(log.errors).toEqual([]);
});

test("admin: ping is open, everything else wants the master key", async () => {
  expect((await get("/admin/host/ping")).status).toBe(200);
  for (const target of ["/admin/host/status", "/admin/functions", "/admin/x"]) expect((await get(target)).status).toBe(401);
  expect((await get("/admin/host/status", { "x-functions-key": host.keys.system })).status).toBe(401);
  const status = await get("/admin/host/status", { "x-functions-key": host.keys.master });
  expect(JSON.parse(status.text)).toMatchObject({ state: "Running" });
  expect((await send(host.port, "/admin/functions/none", { method: "POST" })).status).toBe(401);
  expect((await send(host.port, "/admin/functions/none", { method: "POST", headers: { "x-functions-key": host.keys.master } })).status).toBe(404);
});

test("nothing but the host's own address listens", () => {
  const handles = (process as unknown as { _getActiveHandles(): unknown[] })._getActiveHandles();
  const servers = handles.filter((handle): handle is net.Server => handle instanceof net.Server).map((server) => server.address());
  expect(servers).toEqual([expect.objectContaining({ address: "127.0.0.1", port: host.port })]);
});

test("a stop answers what runs, then refuses connections", async () => {
  const pending = get("/slow");
  await until(() => seen.running === 1);
  const stopping = host.stop();
  expect((await get("/nothing")).status).toBe(503);
  releaseSlow();
  expect((await pending).text).toBe("at last");
  await stopping;
  await expect(get("/nothing")).rejects.toThrow("ECONNREFUSED");
});
