// The built service's listener (security 9): where it listens and under which names, verbs and types, what answers tell, and what
// the one that listens for other machines says about that.
import { spawnSync } from "node:child_process";
import http from "node:http";
import { networkInterfaces } from "node:os";
import path from "node:path";
import { embeddedSettings } from "../../src/settings";
import { type Running, newData, removeData, start, stop } from "../support/service";

const LAUNCHER = path.resolve(__dirname, "..", "..", "bin", "batchledger.js");
let data: string;
let service: Running;

beforeAll(async () => {
  data = newData();
  service = await start(data, ["--bind", "0.0.0.0", "--insecure-http", "--allowed-host", "batch.example"]);
});
afterAll(async () => {
  await stop(service);
  removeData(data);
});

interface Sent {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly text: string;
}
const send = (target: string, options: http.RequestOptions & { body?: string } = {}): Promise<Sent> =>
  new Promise((resolve, reject) => {
    const { port } = new URL(service.url);
    const { body, ...rest } = options;
    const request = http.request({ hostname: "127.0.0.1", port, path: target, ...rest }, (response) => {
      let text = "";
      response.on("data", (chunk) => (text += chunk));
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
    });
    request.on("error", reject);
    request.end(body);
  });

test("it listens for other machines only when told so by name, and says so in a box", () => {
  for (const bind of ["0.0.0.0", "::", "10.0.0.1", "batch.example", "127.0.0.1.example", "localhost.example"]) {
    expect(() => embeddedSettings({ bind })).toThrow(/without TLS[^]*--insecure-http/);
    expect(embeddedSettings({ bind, insecureHttp: true }).bind).toBe(bind);
  }
  for (const bind of [undefined, "127.0.0.1", "127.1.2.3", "localhost", "::1"]) expect(embeddedSettings({ bind }).insecureHttp).toBe(false);
  expect(embeddedSettings({}).bind).toBe("127.0.0.1");
  const refused = spawnSync(process.execPath, [LAUNCHER, "start", "--data", path.join(data, "other"), "--port", "0", "--bind", "0.0.0.0"], { encoding: "utf8", timeout: 90_000 });
  expect([refused.status === 0, refused.stdout, refused.stderr]).toEqual([false, "", expect.stringContaining("--insecure-http")]);
  expect(service.said()).toMatch(/^\+-+\+\n\| THE API IS SERVED WITHOUT TLS[^\n]*\|\n/m);
});

test("names: loopback's and those that were listed, on whichever address it was reached", async () => {
  const outside = Object.values(networkInterfaces()).flat().find((one) => one && !one.internal && one.family === "IPv4")?.address;
  for (const [host, status] of [["localhost", 200], ["127.0.0.1:80", 200], ["batch.example", 200], ["BATCH.example:8080", 200], ["evil.example", 421], ["batch.example.evil.example", 421], ["10.0.0.1", 421], ["[::ffff:127.0.0.1]", 421]] as const)
    expect([host, (await send("/batchledger/health", { headers: { host } })).status]).toEqual([host, status]);
  if (outside !== undefined) expect((await send("/batchledger/health", { hostname: outside })).status).toBe(421);
});

test("verbs: those of the API; no page of another origin is let in", async () => {
  for (const method of ["OPTIONS", "PROPFIND", "TRACE", "PUT"]) {
    const got = await send("/pools?api-version=2014-10-01.1.0", { method, headers: { origin: "https://evil.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization" } });
    expect([method, got.status >= 400]).toEqual([method, true]);
    expect(Object.keys(got.headers).filter((name) => name.startsWith("access-control-"))).toEqual([]);
  }
  const read = await send("/batchledger/health", { headers: { origin: "https://evil.example" } });
  expect([read.status, read.headers["access-control-allow-origin"], read.headers["x-content-type-options"], read.headers["cache-control"]]).toEqual([200, undefined, "nosniff", "no-store"]);
});

test("what an address is not for says nothing of the service's inside", async () => {
  const long = "y".repeat(3000);
  const odd = ["/", "/admin/functions/sweep", "/admin/functions/onCommits", "/runtime/webhooks/durabletask/instances", "/.batchledger/ledger.db", "/files/../keys/local.key", "/files/inputs/words.txt", "/files/%2e%2e/keys", "/pools?$filter=" + long, "/pools/" + long, "/workitems/%00"];
  for (const target of odd)
    for (const method of ["GET", "POST"]) {
      const got = await send(target, { method, headers: { authorization: `SharedKey local:${"A".repeat(43)}=`, "ocp-date": new Date().toUTCString() } });
      expect([target, method, got.status >= 400 && got.status < 500]).toEqual([target, method, true]);
      expect(got.text).not.toMatch(/\bat .*\.[jt]s|node_modules|\/tmp\/|\/work\/|\/dist\/|ENOENT|SQLITE|y{65}/);
      expect(got.text).not.toContain(data);
    }
});

test("a body must be JSON in UTF-8, and is refused before it is anything else", async () => {
  await expect(service.client.createPool({ name: "fine", tvmSize: "small", osFamily: "4", targetDedicated: 0 } as never)).resolves.toBeDefined();
  const got = await send("/agent/join", { method: "POST", headers: { "content-type": "text/plain" }, body: "{}" });
  expect([got.status, JSON.parse(got.text).code]).toEqual([400, "InvalidHeaderValue"]);
  const utf16 = await send("/agent/join", { method: "POST", headers: { "content-type": "application/json; charset=utf-16" }, body: "{}" });
  expect([utf16.status, JSON.parse(utf16.text).code]).toEqual([400, "InvalidHeaderValue"]);
});
