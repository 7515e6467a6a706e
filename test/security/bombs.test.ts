// The built service against requests that are made to hurt: endless headers, bodies, nesting and lines, half requests that never
// end, many connections. Each is refused or cut off in bounded time and memory, and others are served meanwhile.
import { connect } from "node:net";
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { JOB, type Running, newData, removeData, start, stop, workItem } from "../support/service";

let data: string;
let service: Running;

beforeAll(async () => {
  data = newData();
  service = await start(data);
  await workItem(service.client, "w", "main");
});
afterAll(async () => {
  await stop(service);
  removeData(data);
});

const BOUND_MS = 20_000;

/** Sends bytes as they are; resolves with what came back until the other side ended, or enough of it. */
const raw = (pieces: Iterable<string | Buffer>, enough = /\r\n\r\n/): Promise<string> =>
  new Promise((resolve, reject) => {
    const { hostname, port } = new URL(service.url);
    const socket = connect(Number(port), hostname);
    let text = "";
    const bound = setTimeout(() => finish(), BOUND_MS);
    const finish = (): void => {
      clearTimeout(bound);
      socket.destroy();
      resolve(text);
    };
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (enough.test(text)) finish();
    });
    socket.once("close", finish);
    socket.once("error", () => finish());
    socket.once("connect", () => {
      const source = pieces[Symbol.iterator]();
      const more = (): void => {
        for (;;) {
          const { done, value } = source.next();
          if (done || socket.destroyed) return;
          if (!socket.write(value)) return void socket.once("drain", more);
        }
      };
      try {
        more();
      } catch (error) {
        reject(error);
      }
    });
  });

const statusOf = (answer: string): string => /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? (answer === "" ? "cut" : "odd");
const host = (): string => new URL(service.url).host;
const head = (line: string, ...headers: string[]): string => [`${line} HTTP/1.1`, `Host: ${host()}`, ...headers, "", ""].join("\r\n");

function* times(count: number, piece: string | Buffer): Generator<string | Buffer> {
  for (let index = 0; index < count; index++) yield piece;
}
function* all(...parts: Iterable<string | Buffer>[]): Generator<string | Buffer> {
  for (const part of parts) yield* part;
}

const peakKib = (): number => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${service.process.pid}/status`, "utf8"))?.[1] ?? 0);

afterEach(async () => expect((await fetch(`${service.url}/batchledger/health`)).status).toBe(200));

test("headers without end", async () => {
  expect(statusOf(await raw(all([`GET /pools HTTP/1.1\r\nHost: ${host()}\r\n`], times(5000, `x-a: ${"b".repeat(200)}\r\n`))))).toMatch(/^(431|cut)$/);
  expect(statusOf(await raw([head(`GET /${"p".repeat(100_000)}`)]))).toMatch(/^(431|414|400|cut)$/);
});

test("strangers' bodies are not read: the answer comes before them", async () => {
  const bodies = all([head("POST /pools?api-version=2014-10-01.1.0", "Content-Length: 100000000", "Content-Type: application/json", "Authorization: SharedKey x:y", `Ocp-Date: ${new Date().toUTCString()}`)], times(1, "{"));
  expect(statusOf(await raw(bodies))).toMatch(/^(401|403|413)$/);
});

test("two lengths, a length beside chunks, folded and broken headers", async () => {
  for (const headers of [["Content-Length: 1", "Content-Length: 2"], ["Content-Length: 1", "Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked, identity"], ["X-A: b\u0000c"], ["X A: b"]])
    expect([headers, statusOf(await raw([head("POST /pools", ...headers), "0\r\n\r\n"]))]).toEqual([headers, expect.stringMatching(/^(400|401|cut|501)$/)]);
});

test("a host that is not ours, and one that is missing", async () => {
  expect(statusOf(await raw([`GET /batchledger/health HTTP/1.1\r\nHost: evil.example\r\n\r\n`]))).toMatch(/^4/);
  expect(statusOf(await raw(["GET /batchledger/health HTTP/1.1\r\n\r\n"]))).toMatch(/^4|cut/);
});

test("bodies too large, and such that pretend to be small", async () => {
  const metadata = [{ name: "long", value: "x".repeat(2_000_000) }];
  await expect(service.client.createPool({ name: "p", metadata } as never)).rejects.toMatchObject({ status: 413, code: "RequestBodyTooLarge" });
  const zipped = gzipSync(Buffer.alloc(50_000_000, 32));
  const answer = await raw(all([head("POST /pools?api-version=2014-10-01.1.0", `Content-Length: ${zipped.length}`, "Content-Encoding: gzip", "Content-Type: application/json")], [zipped]));
  expect(statusOf(answer)).toMatch(/^4/);
});

test("a stream of tasks with a line without end is refused at that line, and holds no more than a line in memory", async () => {
  const before = peakKib();
  const line = Buffer.from(`{"name":"${"n".repeat(1_000_000)}`);
  const added = await service.client.addTasks("w", JOB, [{ name: "fine", commandLine: "/bin/true" }]);
  expect(added.added).toBe(1);
  await expect(service.client.addTasks("w", JOB, [{ name: "long", commandLine: `/bin/echo ${"x".repeat(300_000)}` }])).resolves.toMatchObject({ added: 0, failed: 1 });
  const answer = await raw(all([head(`POST /workitems/w/jobs/${JOB}/tasks`, "Transfer-Encoding: chunked", "Content-Type: application/x-ndjson", "Authorization: SharedKey x:y")], times(50, `${line.length.toString(16)}\r\n${line.toString()}\r\n`)));
  expect(statusOf(answer)).toMatch(/^(4|cut)/);
  expect(peakKib() - before).toBeLessThan(300_000);
});

test("many half requests that never end keep nobody else from being served", async () => {
  const { hostname, port } = new URL(service.url);
  const sockets = Array.from({ length: 300 }, () => {
    const socket = connect(Number(port), hostname, () => socket.write(`POST /pools HTTP/1.1\r\nHost: ${host()}\r\nContent-Length: 10\r\n`));
    socket.on("error", () => {});
    return socket;
  });
  try {
    await Promise.all(sockets.map((socket) => new Promise((resolve) => (socket.connecting ? socket.once("connect", resolve).once("error", resolve) : resolve(undefined)))));
    const from = performance.now();
    expect((await fetch(`${service.url}/batchledger/health`)).status).toBe(200);
    await service.client.getWorkItem("w");
    expect(performance.now() - from).toBeLessThan(5_000);
  } finally {
    for (const socket of sockets) socket.destroy();
  }
});
