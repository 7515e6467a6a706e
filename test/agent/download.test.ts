// Resource files: fetched once while unchanged, from allowed places only, with the codes that the reference names.
import dns from "node:dns";
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { addressAllowed, DEFAULT_DOWNLOAD_LIMITS, download, openCache, type DownloadCache, type DownloadOptions } from "../../src/agent/download";

let folder: string;
let cache: DownloadCache;
let server: http.Server;
let requests: { path: string; etag: string | undefined; status: number }[];
let serve: (request: http.IncomingMessage, response: http.ServerResponse) => void;

beforeEach(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "download-"));
  fs.mkdirSync(path.join(folder, "root", "wd"), { recursive: true });
  cache = openCache(path.join(folder, "cache"));
  requests = [];
  serve = (_, response) => void response.writeHead(404).end();
  server = http.createServer((request, response) => {
    response.on("close", () => requests.push({ path: request.url ?? "", etag: request.headers["if-none-match"], status: response.statusCode }));
    serve(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  fs.rmSync(folder, { recursive: true, force: true });
});

const url = (name: string): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/${name}?sig=verysecret`;
const fetchTo = (filePath: string, blobSource = url("blob"), changes: Partial<DownloadOptions> = {}) =>
  download([{ blobSource, filePath }], {
    root: path.join(folder, "root"), folder: ["wd"], owner: undefined, cache, allowHosts: ["127.0.0.1"], limits: DEFAULT_DOWNLOAD_LIMITS, signal: new AbortController().signal, ...changes,
  });
const read = (...names: string[]): string => fs.readFileSync(path.join(folder, "root", "wd", ...names), "utf8");
const failure = (fetching: Promise<void>): Promise<{ category: string; code: string; message: string }> =>
  fetching.then(() => { throw new Error("fetched"); }, (error: { error?: { category: string; code: string; message: string } }) => error.error ?? { category: "none", code: "none", message: String(error) });

test("a file becomes whole, executable, in folders that are made for it", async () => {
  serve = (_, response) => void response.end("#!/bin/sh\n");
  await fetchTo("tools/bin/setup.sh");
  expect(read("tools", "bin", "setup.sh")).toBe("#!/bin/sh\n");
  expect(fs.statSync(path.join(folder, "root/wd/tools/bin/setup.sh")).mode & 0o777).toBe(0o700);
  expect(fs.readdirSync(path.join(folder, "cache"))).toEqual([]);
});

test("back slashes part names as slashes do", async () => {
  serve = (_, response) => void response.end("x");
  await fetchTo("tools\\bin/a.txt");
  expect(read("tools", "bin", "a.txt")).toBe("x");
});

test("the same file for many tasks is fetched once, at the same time or later, until it changes", async () => {
  let version = 1;
  serve = (request, response) => {
    const etag = `"v${version}"`;
    if (request.headers["if-none-match"] === etag) return void response.writeHead(304, { etag }).end();
    response.writeHead(200, { etag }).end(`content ${version}`);
  };
  await Promise.all(Array.from({ length: 20 }, (_, n) => fetchTo(`t${n}`)));
  expect(requests.filter((one) => one.status === 200).length).toBe(1);
  expect(requests.length).toBe(20);
  // What a task does to its copy is its own affair.
  fs.writeFileSync(path.join(folder, "root/wd/t0"), "spoiled");
  version = 2;
  await fetchTo("later");
  await fetchTo("latest");
  expect([read("t19"), read("later"), read("latest")]).toEqual(["content 1", "content 2", "content 2"]);
  expect(requests.filter((one) => one.status === 200).length).toBe(2);
});

test.each([
  [404, "UserError", "BlobNotFound"], [401, "UserError", "BlobAccessDenied"], [403, "UserError", "BlobAccessDenied"],
  [302, "ServerError", "BlobDownloadMiscError"], [400, "ServerError", "BlobDownloadMiscError"], [206, "ServerError", "BlobDownloadMiscError"],
])("status %s is %s %s, at once and without the address", async (status, category, code) => {
  serve = (_, response) => void response.writeHead(status, { location: url("elsewhere") }).end("inner details");
  const error = await failure(fetchTo("x"));
  expect(error).toMatchObject({ category, code });
  expect(error.message).not.toMatch(/sig|127\.0|inner/);
  expect(requests.length).toBe(1);
  expect(fs.readdirSync(path.join(folder, "root/wd"))).toEqual([]);
});

test("tries again after a failure of the store, and after a transfer that broke off", async () => {
  let tries = 0;
  serve = (_, response) => {
    if (++tries === 1) return void response.writeHead(503).end();
    response.writeHead(200, { "content-length": 8 });
    if (tries > 2) return void response.end("complete");
    response.write("comp");
    setImmediate(() => response.destroy());
  };
  await fetchTo("x");
  expect([tries, read("x")]).toEqual([3, "complete"]);
});

test("a service that restarts is waited for, another store is not", async () => {
  let tries = 0;
  serve = (_, response) => void (++tries < 8 ? response.destroy() : response.end("complete"));
  expect(await failure(fetchTo("x", url("blob"), { isService: () => false }))).toMatchObject({ category: "ServerError", code: "BlobDownloadMiscError" });
  expect(tries).toBe(4);
  await fetchTo("x", url("blob"), { isService: ({ origin }) => url("").startsWith(origin) });
  expect([tries, read("x")]).toEqual([8, "complete"]);
});

test.each([[408], [504]])("status %s is tried again, and told as a time that was too long", async (status) => {
  serve = (_, response) => void response.writeHead(status).end();
  expect(await failure(fetchTo("x"))).toMatchObject({ category: "ServerError", code: "BlobDownloadTimedOut" });
  expect(requests.length).toBe(4);
});

test("a store that keeps public access out by a conflict refuses access", async () => {
  serve = (_, response) => void response.writeHead(409, { "x-ms-error-code": "PublicAccessNotPermitted" }).end();
  expect(await failure(fetchTo("x"))).toMatchObject({ category: "UserError", code: "BlobAccessDenied" });
  expect(requests.length).toBe(1);
});

test.each([["a pause", { idleMs: 40 }], ["all of it", { fileMs: 40 }]])("a transfer that stops in the middle is given up when %s takes too long", async (_, limits) => {
  serve = (request, response) => {
    response.writeHead(200, { "content-length": 8 }).write("comp");
    request.on("close", () => response.destroy());
  };
  expect(await failure(fetchTo("x", url("blob"), { limits: { ...DEFAULT_DOWNLOAD_LIMITS, ...limits } }))).toMatchObject({ category: "ServerError", code: "BlobDownloadTimedOut" });
  expect(fs.readdirSync(path.join(folder, "root/wd"))).toEqual([]);
});

describe("what the TVM's own disk refuses is not tried again", () => {
  afterEach(() => jest.restoreAllMocks());
  const refusing = (method: "writeSync" | "mkdirSync" | "openSync", code: string, syscall: string, what = ""): void => {
    const real = fs[method] as (...args: unknown[]) => unknown;
    jest.spyOn(fs, method as "writeSync").mockImplementation(((...args: unknown[]) => {
      if (String(args[0]).includes(what)) throw Object.assign(new Error("refused"), { code, syscall });
      return real(...args);
    }) as unknown as typeof fs.writeSync);
  };

  test.each<[string, string, Parameters<typeof refusing>]>([
    ["DiskFull", "no room for a piece", ["writeSync", "ENOSPC", "write"]],
    ["DiskFull", "no room for a folder", ["mkdirSync", "EDQUOT", "mkdir", "sub"]],
    ["ResourceDirectoryCreateFailed", "a folder that cannot be made", ["mkdirSync", "EROFS", "mkdir", "sub"]],
    ["ResourceFileCreateFailed", "a file that cannot be made", ["openSync", "EMFILE", "open", "cache"]],
    ["ResourceFileWriteFailed", "a piece that cannot be written", ["writeSync", "EIO", "write"]],
  ])("%s: %s", async (code, _, refusal) => {
    let served = 0;
    serve = (__, response) => void response.end(`${++served}`);
    refusing(...refusal);
    expect(await failure(fetchTo("sub/x"))).toMatchObject({ category: "ServerError", code });
    jest.restoreAllMocks();
    expect(fs.existsSync(path.join(folder, "root/wd/sub/x"))).toBe(false);
    expect(served).toBeLessThan(2);
  });

  test("ResourceFileCreateFailed: a folder is where the file should be", async () => {
    serve = (_, response) => void response.end("x");
    fs.mkdirSync(path.join(folder, "root/wd/x"));
    expect(await failure(fetchTo("x"))).toMatchObject({ category: "ServerError", code: "ResourceFileCreateFailed" });
  });
});

test("a store that does not answer is given up in time", async () => {
  serve = () => undefined;
  expect(await failure(fetchTo("x", url("blob"), { limits: { ...DEFAULT_DOWNLOAD_LIMITS, idleMs: 30 } }))).toMatchObject({ category: "ServerError", code: "BlobDownloadTimedOut" });
});

test("a file larger than allowed is refused, announced or not", async () => {
  serve = (_, response) => void response.end("x".repeat(100));
  expect(await failure(fetchTo("x", url("blob"), { limits: { ...DEFAULT_DOWNLOAD_LIMITS, fileBytesMax: 99 } }))).toMatchObject({ code: "BlobDownloadMiscError" });
  expect(fs.readdirSync(path.join(folder, "root/wd"))).toEqual([]);
});

test.each(["../x", "/etc/x", "a/../../x", "", "a\\..\\..\\b", "\\b", "a\0b"])("refuses the file path %j", async (filePath) => {
  expect(await failure(fetchTo(filePath))).toMatchObject({ category: "ServerError", code: "ResourceFileCreateFailed" });
  expect(requests).toEqual([]);
});

test("a link on the way leads nowhere", async () => {
  serve = (_, response) => void response.end("x");
  fs.mkdirSync(path.join(folder, "outside"));
  fs.symlinkSync(path.join(folder, "outside"), path.join(folder, "root/wd/link"));
  expect(await failure(fetchTo("link/x"))).toMatchObject({ category: "ServerError", code: "ResourceDirectoryCreateFailed" });
  fs.symlinkSync(path.join(folder, "outside", "y"), path.join(folder, "root/wd/file"));
  await fetchTo("file");
  expect(read("file")).toBe("x");
  expect(fs.readdirSync(path.join(folder, "outside"))).toEqual([]);
});

test.each(["http://10.0.0.1/x", "http://93.184.215.14/x", "https://192.168.1.1/x", "https://169.254.169.254/x", "https://[fd00::1]/x", "https://[::ffff:10.0.0.1]/x", "http://127.0.0.2/x", "https://[::1]/x", "https://2130706433/x", "https://0x7f.1/x", "https://0177.0.0.1/x", "https://example.com:25/x", "https://example.com:22/x", "https://user:pw@example.com/x", "ftp://example.com/x", "file:///etc/passwd", "not an address"])("does not fetch from %s", async (source) => {
  expect(await failure(fetchTo("x", source, { allowHosts: [] }))).toMatchObject({ category: "UserError", code: "BlobAccessDenied" });
  expect(requests).toEqual([]);
});

test.each<[string, string[]]>([
  ["this machine", ["127.0.0.1"]], ["a private network", ["10.1.2.3"]], ["one public address and one of this machine", ["93.184.215.14", "127.0.0.1"]], ["metadata of the cloud", ["169.254.169.254"]],
  ["this machine by IPv6", ["::1"]], ["a mapped form", ["::ffff:127.0.0.1"]], ["nothing", []],
])("a name of the outside that leads to %s is not fetched from: what was looked up is what is checked, and what would be connected to", async (_, addresses) => {
  const { port } = server.address() as AddressInfo;
  const looked = jest.spyOn(dns, "lookup").mockImplementation(((_name: string, _options: unknown, callback: (error: null, found: object[]) => void) =>
    callback(null, addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })))) as never);
  try {
    serve = (_request, response) => void response.end("inside");
    const error = await failure(fetchTo("x", `https://rebinding.example:${port}/x`, { allowHosts: [] }));
    expect(error).toMatchObject({ category: "UserError", code: "BlobAccessDenied" });
    expect([looked.mock.calls.length, requests, fs.readdirSync(path.join(folder, "root/wd"))]).toEqual([1, [], []]);
  } finally {
    looked.mockRestore();
  }
});

test("a redirect is not followed, wherever it leads", async () => {
  serve = (request, response) => void (request.url?.startsWith("/inner") ? response.end("inside") : response.writeHead(307, { location: url("inner") }).end());
  expect((await failure(fetchTo("x"))).code).toBe("BlobDownloadMiscError");
  expect(requests.map(({ path: asked }) => asked.split("?")[0])).toEqual(["/blob"]);
});

test("public addresses by https, listed hosts always, no inner address and not this machine", () => {
  const table: [string, string, boolean, boolean][] = [
    ["93.184.215.14", "https:", false, true], ["93.184.215.14", "http:", false, false], ["93.184.215.14", "http:", true, true], ["127.0.0.1", "http:", false, false], ["127.9.9.9", "https:", false, false], ["127.0.0.1", "http:", true, true],
    ["::1", "https:", false, false], ["::", "https:", false, false], ["::127.0.0.1", "https:", false, false], ["::ffff:127.0.0.1", "https:", false, false], ["64:ff9b::a00:1", "https:", false, false],
    ["2002:7f00:1::", "https:", false, false], ["169.254.169.254", "https:", false, false], ["168.63.129.16", "https:", false, false], ["224.0.0.1", "https:", false, false], ["ff02::1", "https:", false, false], ["::ffff:10.1.1.1", "https:", false, false], ["::ffff:a00:1", "https:", false, false], ["172.20.0.1", "https:", false, false],
    ["100.100.0.1", "https:", false, false], ["10.0.0.1", "http:", true, true], ["2606:4700::1111", "https:", false, true], ["fe80::1", "https:", false, false], ["0.0.0.0", "https:", false, false],
  ];
  expect(table.map(([address, protocol, listed]) => addressAllowed(address, protocol, listed))).toEqual(table.map((row) => row[3]));
});
