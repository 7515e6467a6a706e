// The host's HTTP side in the library's message mode, for apps that do not ask for streaming.

import { app } from "@azure/functions";
import { startHost } from "../../src/host/main";
import type { RunningHost } from "../../src/host/main";
import { keptLog, send } from "./support";

let host: RunningHost;

beforeAll(async () => {
  host = await startHost({ loadFunctions: register, hostJson: { version: "2.0" }, port: 0, log: keptLog(), limits: { bodyBytesMax: 1_000 } });
});
afterAll(() => host.stop());

function register(): void {
  app.http("echo", {
    route: "echo/{name}",
    methods: ["POST"],
    handler: async (request) => ({
      status: 201,
      headers: { "x-a": "1" },
      cookies: [{ name: "c", value: "v w", path: "/", httpOnly: true, sameSite: "Lax", maxAge: 5 }],
      jsonBody: { params: request.params, query: Object.fromEntries(request.query), body: await request.text(), url: request.url },
    }),
  });
  app.http("boom", { handler: () => Promise.reject(new Error("no")) });
}

test("request and response pass through the library's messages, below the default prefix", async () => {
  const answer = await send(host.port, "/api/echo/n?x=1&x=2", { method: "POST", body: "body" });
  expect(answer).toMatchObject({ status: 201, headers: { "x-a": "1", "set-cookie": ["c=v%20w; Max-Age=5; Path=/; HttpOnly; SameSite=Lax"] } });
  expect(JSON.parse(answer.text)).toEqual({ params: { name: "n" }, query: { x: "1,2" }, body: "body", url: `http://localhost:${host.port}/api/echo/n?x=1&x=2` });
});

test("a throw is 500, a large body 413", async () => {
  expect(await send(host.port, "/api/boom")).toMatchObject({ status: 500, text: "" });
  expect((await send(host.port, "/api/echo/n", { method: "POST", body: "x".repeat(1_001) })).status).toBe(413);
  expect((await send(host.port, "/api/echo/n", { method: "POST", headers: { "transfer-encoding": "chunked" }, body: "x".repeat(1_001) })).status).toBe(413);
});
