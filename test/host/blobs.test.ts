// Signed addresses over the Files port: what a blob store answers, status by status.

import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { createBlobDoor, parseRange } from "../../src/host/blobs";
import type { FileStat, Files } from "../../src/ports";
import { send, until } from "./support";

const content = Buffer.from("0123456789");
const kept = new Map<string, { stat: FileStat; bytes: Buffer }>();
let putFailed = "";
let server: http.Server;
let port: number;

const statOf = (path: string, bytes: Buffer, contentType = "text/plain"): FileStat => ({ path, length: bytes.length, createdAt: "2026-01-01T00:00:00.000Z", modifiedAt: "2026-01-02T00:00:00.000Z", contentType });

const files: Pick<Files, "put" | "stat" | "read"> = {
  async put(path, source, contentType) {
    const chunks: Uint8Array[] = [];
    try {
      for await (const chunk of source as AsyncIterable<Uint8Array>) chunks.push(chunk);
    } catch (error) {
      putFailed = path;
      throw error;
    }
    const bytes = Buffer.concat(chunks);
    kept.set(path, { bytes, stat: statOf(path, bytes, contentType) });
    return kept.get(path)!.stat;
  },
  stat: async (path) => kept.get(path)?.stat,
  async read(path, range) {
    const found = kept.get(path);
    if (!found) return undefined;
    const bytes = range ? found.bytes.subarray(range.offset, range.offset + (range.length ?? found.bytes.length)) : found.bytes;
    return { stat: found.stat, content: (async function* () { yield bytes; })() };
  },
};

beforeAll(async () => {
  const door = createBlobDoor({
    files: files as Files,
    bytesMax: 1_000,
    parseSigned: (url) => (url.searchParams.get("sig") === null ? undefined : { path: url.pathname.slice("/files/".length), access: url.searchParams.get("sig") === "w" ? "write" : "read" }),
  });
  server = http.createServer((request, response) => void door.handle(request, response, new URL(`http://localhost${request.url}`)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  port = (server.address() as AddressInfo).port;
  kept.set("c/a.txt", { bytes: content, stat: statOf("c/a.txt", content) });
});
afterAll(() => {
  server.close();
  server.closeAllConnections();
});

const get = (headers: http.OutgoingHttpHeaders = {}, method = "GET") => send(port, "/files/c/a.txt?sig=r", { method, headers });

test("the whole file comes with what a browser must know and must not do", async () => {
  expect(await get()).toMatchObject({
    status: 200,
    text: "0123456789",
    headers: {
      "content-length": "10",
      "content-type": "text/plain",
      "accept-ranges": "bytes",
      "last-modified": "Fri, 02 Jan 2026 00:00:00 GMT",
      "content-disposition": "attachment",
      "x-content-type-options": "nosniff",
      etag: expect.stringMatching(/^"0x/),
    },
  });
  expect(await get({}, "HEAD")).toMatchObject({ status: 200, text: "", headers: { "content-length": "10" } });
});

test("ranges: 206 with what was asked for, 416 beyond the end, the whole for what is no range", async () => {
  expect(await get({ range: "bytes=2-4" })).toMatchObject({ status: 206, text: "234", headers: { "content-range": "bytes 2-4/10", "content-length": "3" } });
  expect(await get({ "x-ms-range": "bytes=8-" })).toMatchObject({ status: 206, text: "89" });
  expect(await get({ range: "bytes=-3" })).toMatchObject({ status: 206, text: "789" });
  expect(await get({ range: "bytes=10-" })).toMatchObject({ status: 416, headers: { "content-range": "bytes */10" } });
  expect(await get({ range: "lines=1-2" })).toMatchObject({ status: 200, text: "0123456789" });
  expect(await get({ range: "bytes=2-4" }, "HEAD")).toMatchObject({ status: 206, text: "" });
});

test("conditions: an unchanged file is 304, a range of a changed one is the whole", async () => {
  const etag = (await get()).headers.etag as string;
  expect((await get({ "if-none-match": etag })).status).toBe(304);
  expect((await get({ range: "bytes=0-1", "if-range": etag })).text).toBe("01");
  expect((await get({ range: "bytes=0-1", "if-range": '"other"' })).text).toBe("0123456789");
});

test("the signature decides: none 403, for reading not writing, unknown file 404, other verbs 405", async () => {
  expect((await send(port, "/files/c/a.txt")).status).toBe(403);
  expect(await send(port, "/files/c/a.txt?sig=r", { method: "PUT", body: "x" })).toMatchObject({ status: 403, headers: { "x-ms-error-code": "AuthorizationPermissionMismatch" } });
  expect((await send(port, "/files/c/a.txt?sig=w")).status).toBe(403);
  expect((await send(port, "/files/c/none?sig=r")).status).toBe(404);
  expect((await send(port, "/files/c/a.txt?sig=w", { method: "DELETE" })).status).toBe(405);
});

test("PUT keeps the body as a block blob, and refuses what it is not", async () => {
  const headers = { "x-ms-blob-type": "BlockBlob", "content-type": "x/y" };
  expect((await send(port, "/files/c/new?sig=w", { method: "PUT", headers, body: "made" })).status).toBe(201);
  expect(await send(port, "/files/c/new?sig=r")).toMatchObject({ text: "made", headers: { "content-type": "x/y" } });
  expect((await send(port, "/files/c/new?sig=w", { method: "PUT", headers: { "x-ms-blob-type": "PageBlob" }, body: "x" })).status).toBe(400);
  expect((await send(port, "/files/c/new?sig=w&comp=block", { method: "PUT", body: "x" })).status).toBe(400);
  expect((await send(port, "/files/c/big?sig=w", { method: "PUT", body: "x".repeat(1_001) })).status).toBe(413);
  expect((await send(port, "/files/c/big?sig=w", { method: "PUT", headers: { "transfer-encoding": "chunked" }, body: "x".repeat(1_001) })).status).toBe(413);
  expect(kept.has("c/big")).toBe(false);
});

test("an upload that breaks off is not kept", async () => {
  putFailed = "";
  const request = http.request({ host: "127.0.0.1", port, path: "/files/c/half?sig=w", method: "PUT", headers: { "content-length": 100 } });
  request.on("error", () => {});
  request.write("half");
  await new Promise((resolve) => request.once("socket", (socket) => (socket.connecting ? socket.once("connect", resolve) : resolve(undefined))));
  await until(() => request.writableLength === 0);
  request.destroy();
  await until(() => putFailed === "c/half");
  expect(kept.has("c/half")).toBe(false);
});

test.each([
  ["bytes=0-0", { offset: 0, length: 1 }],
  ["bytes=5-100", { offset: 5, length: 5 }],
  ["bytes=-100", { offset: 0, length: 10 }],
  ["bytes=-0", "none"],
  ["bytes=3-2", undefined],
  ["bytes=0-1,3-4", undefined],
  ["bytes=-", undefined],
])("%s of ten bytes", (header, expected) => {
  expect(parseRange(header, 10)).toEqual(expected);
});
