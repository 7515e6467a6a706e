// Files of a TVM asked for from outside: names with tricks, links, devices, ranges, lists.
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { execFileSync } from "node:child_process";
import { moveToTrash, openFolder, resolveInside } from "../../src/agent/beneath";
import { answerFile } from "../../src/agent/files";
import { fileAnswer, type FileRequest } from "../../src/wire";

let folder: string;
let root: string;
let removed: number;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "files-"));
  root = path.join(folder, "root");
  fs.mkdirSync(path.join(root, "tasks/w/j/t/wd/sub"), { recursive: true });
  fs.mkdirSync(path.join(root, ".trash"));
  fs.writeFileSync(path.join(root, "tasks/w/j/t/stdout.txt"), "0123456789");
  fs.writeFileSync(path.join(root, "tasks/w/j/t/wd/sub/deep.txt"), "deep");
  fs.writeFileSync(path.join(folder, "secret.txt"), "secret");
  fs.symlinkSync(path.join(folder, "secret.txt"), path.join(root, "tasks/w/j/t/wd/link"));
  fs.symlinkSync(folder, path.join(root, "tasks/w/j/t/wd/dirlink"));
  execFileSync("mkfifo", [path.join(root, "tasks/w/j/t/wd/fifo")]);
  removed = 0;
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

const ask = async (request: Partial<FileRequest>) =>
  fileAnswer.parse(await answerFile({ id: "1", kind: "stat", path: "", ...request }, { root, trash: ".trash", onRemoved: () => void removed++ }));

test.each([
  "../secret.txt", "/etc/passwd", "tasks/../../secret.txt", "tasks//w", "tasks/./w", "C:/x", "tasks\\w", "a\0b", "a\nb", "..", "x/".repeat(600), "y".repeat(300), ".trash", ".trash/x",
])("refuses the name %j", async (name) => {
  for (const kind of ["list", "stat", "read", "remove"] as const) expect((await ask({ kind, path: name })).problem?.code).toBe("forbidden");
});

test("follows no link, at the end or on the way, and reads neither pipes nor folders", async () => {
  const wd = "tasks/w/j/t/wd";
  for (const kind of ["read", "stat"] as const) expect((await ask({ kind, path: `${wd}/link` })).problem?.code).toBe("forbidden");
  for (const kind of ["list", "stat", "read", "remove"] as const) expect((await ask({ kind, path: `${wd}/dirlink/secret.txt` })).problem).toBeDefined();
  expect((await ask({ kind: "list", path: `${wd}/dirlink` })).problem).toBeDefined();
  for (const name of ["fifo", "sub"]) expect((await ask({ kind: "read", path: `${wd}/${name}` })).problem?.code).toBe("forbidden");
  expect(fs.existsSync(path.join(folder, "secret.txt"))).toBe(true);
});

test("lists in name order, without links and devices, whole trees if asked", async () => {
  expect((await ask({ kind: "list", path: "" })).entries?.map((entry) => entry.path)).toEqual(["tasks"]);
  expect((await ask({ kind: "list", path: "tasks/w/j/t" })).entries).toEqual([
    expect.objectContaining({ path: "tasks/w/j/t/stdout.txt", isDirectory: false, length: 10 }),
    expect.objectContaining({ path: "tasks/w/j/t/wd", isDirectory: true, length: 0 }),
  ]);
  const all = await ask({ kind: "list", path: "tasks/w/j/t/", recursive: true });
  expect(all.entries?.map((entry) => entry.path.slice(12))).toEqual(["stdout.txt", "wd", "wd/sub", "wd/sub/deep.txt"]);
  expect((await ask({ kind: "list", path: "tasks/nothing" })).problem?.code).toBe("notFound");
});

test("stat tells one entry, of the root too", async () => {
  expect((await ask({ path: "tasks/w/j/t/stdout.txt" })).entries).toEqual([expect.objectContaining({ path: "tasks/w/j/t/stdout.txt", length: 10 })]);
  expect((await ask({ path: "" })).entries).toEqual([expect.objectContaining({ path: "", isDirectory: true })]);
  expect((await ask({ path: "tasks/missing" })).problem?.code).toBe("notFound");
});

describe("read", () => {
  let server: http.Server;
  let got: { body: string; headers: http.IncomingHttpHeaders }[];
  let status: number;
  beforeEach(async () => {
    got = [];
    status = 201;
    server = http.createServer((request, response) => {
      let body = "";
      request.on("data", (piece: Buffer) => (body += piece.toString()));
      request.on("end", () => {
        got.push({ body, headers: request.headers });
        response.writeHead(status).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterEach(() => new Promise((resolve) => server.close(resolve)));
  const url = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/up?sig=verysecret`;
  const read = (changes: Partial<FileRequest>) => ask({ kind: "read", path: "tasks/w/j/t/stdout.txt", uploadUrl: url(), ...changes });

  test("puts the asked range, as a blob", async () => {
    expect((await read({ offset: 2, length: 3 })).entries).toEqual([expect.objectContaining({ length: 10 })]);
    await read({});
    await read({ offset: 8, length: 100 });
    await read({ offset: 50, length: 1 });
    expect(got.map((one) => one.body)).toEqual(["234", "0123456789", "89", ""]);
    expect(got[0]?.headers).toMatchObject({ "content-length": "3", "x-ms-blob-type": "BlockBlob" });
  });

  test("tells that the store did not take it, without the address", async () => {
    status = 403;
    expect((await read({})).problem).toEqual({ code: "failed", message: "The file could not be sent: the store answered 403." });
    const nowhere = await read({ uploadUrl: "http://127.0.0.1:1/x?sig=verysecret" });
    expect(nowhere.problem?.code).toBe("failed");
    expect(JSON.stringify(nowhere)).not.toContain("sig");
  });
});

test("remove moves into the trash; the TVM's own folders stay", async () => {
  expect(await ask({ kind: "remove", path: "tasks/w/j/t/wd" })).toEqual({ id: "1", entries: [] });
  expect(fs.existsSync(path.join(root, "tasks/w/j/t/wd"))).toBe(false);
  expect(fs.readdirSync(path.join(root, ".trash")).length).toBe(1);
  expect(removed).toBe(1);
  expect((await ask({ kind: "remove", path: "tasks" })).problem?.code).toBe("forbidden");
  expect((await ask({ kind: "remove", path: "tasks/none" })).problem?.code).toBe("notFound");
});

test("a folder that is swapped for a link after it was opened is still the same folder", () => {
  const opened = openFolder(root, ["tasks", "w"]);
  fs.renameSync(path.join(root, "tasks/w"), path.join(root, "tasks/moved"));
  fs.symlinkSync(folder, path.join(root, "tasks/w"));
  fs.writeFileSync(opened.at("new.txt"), "x");
  opened.close();
  expect(fs.existsSync(path.join(root, "tasks/moved/new.txt"))).toBe(true);
  expect(fs.existsSync(path.join(folder, "new.txt"))).toBe(false);
  expect(() => openFolder(root, ["tasks", "w", "made"], { make: true })).toThrow();
  expect(moveToTrash(root, ["tasks", "w", "root"], ".trash", "x")).toBe(false);
});

test("names resolve to segments", () => {
  expect([resolveInside("a/b c/ü.txt"), resolveInside("a/"), resolveInside(""), resolveInside("...")]).toEqual([["a", "b c", "ü.txt"], ["a"], [], ["..."]]);
});
