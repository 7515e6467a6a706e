// What is the folder store's own: signed addresses and what they allow, links that lead nowhere, and what a killed process
// leaves behind.

import { mkdir, mkdtemp, open as openFile, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { execFileSync } from "node:child_process";
import { aesSealer } from "../../src/adapters/aesSealer";
import { folderFiles } from "../../src/adapters/folderFiles";
import type { Clock } from "../../src/ports";

let folder: string;
let root: string;
let now: Date;
let base: string;
const clock: Clock = { now: () => now, steady: () => now.getTime(), sleep: async () => {} };
const open = (keyName = "seal") => folderFiles({ root, baseUrl: () => base, sealer: aesSealer(path.join(folder, keyName)), clock });

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "batchledger-test-"));
  root = path.join(folder, "files");
  now = new Date("2026-01-01T12:00:00Z");
  base = "http://127.0.0.1:7071";
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe("signed addresses", () => {
  const later = new Date("2026-01-01T13:00:00Z");
  const name = "inputs/a b/ü?#%+&.txt";

  test.each(["read", "write"] as const)("allow %s of one file until they expire, whole or from the path on", async (access) => {
    const files = open();
    const url = await files.signedUrl(name, access, later);
    expect(url.startsWith("http://127.0.0.1:7071/files/inputs/a%20b/")).toBe(true);
    const allowed = { path: name, access, expiresAt: later };
    expect(files.parseSigned(url)).toEqual(allowed);
    expect(files.parseSigned(url.slice(base.length))).toEqual(allowed);
    expect(files.parseSigned(new URL(url).href)).toEqual(allowed);
    now = later;
    expect(files.parseSigned(url)).toEqual({ problem: "expired" });
  });

  test("take the base address of the moment", async () => {
    const files = open();
    base = "https://batch.example/sub";
    const url = await files.signedUrl(name, "read", later);
    expect(url.startsWith("https://batch.example/sub/files/inputs/")).toBe(true);
    expect(files.parseSigned(url)).toMatchObject({ path: name });
  });

  test("are worth nothing when anything in them was changed", async () => {
    const files = open();
    const url = await files.signedUrl("inputs/scene.txt", "read", later);
    const changed = [
      url.replace("scene", "other"), url.replace("sp=r", "sp=w"), url.replace("T13", "T14"), url.replace(/sig=(.)/, (_, first) => (first === "A" ? "sig=B" : "sig=A")),
      `${url}A`, url.replace(/sig=.*/, "sig=x"), url.replace("inputs/", "inputs2/"),
    ];
    for (const one of changed) expect(files.parseSigned(one)).toEqual({ problem: "signature" });
    expect(open("other key").parseSigned(url)).toEqual({ problem: "signature" });
  });

  test("that are malformed are told so, whatever they are", async () => {
    const files = open();
    const url = await files.signedUrl("inputs/scene.txt", "read", later);
    const malformed = [
      "", "/files/", "nonsense", "/files/inputs/scene.txt", url.replace(/&sig=.*/, ""), url.replace(/&se=[^&]*/, ""), url.replace("sp=r", "sp=rw"),
      `${url}&sp=r`, `${url}&sig=again`, url.replace("inputs/", "inputs/../inputs/"), url.replace("inputs/", "inputs/%2e%2e/inputs/"),
      url.replace("inputs/", "inputs%2f"), url.replace("scene", "%E0%A4%A"), url.replace("scene", "sc%00ene"), url.replace("inputs", "Inputs"),
      url.replace("scene", "%2e%2e%2f%2e%2e%2fkeys%2fseal"),
    ];
    for (const one of malformed) expect(files.parseSigned(one)).toEqual({ problem: "malformed" });
  });

  test("hold after a restart", async () => {
    const url = await open().signedUrl("inputs/scene.txt", "write", later);
    expect(open().parseSigned(url)).toMatchObject({ access: "write" });
  });
});

describe("links and devices", () => {
  beforeEach(async () => {
    await mkdir(path.join(folder, "outside"));
    await writeFile(path.join(folder, "outside", "secret.txt"), "secret");
  });

  test("a link to a file is not a file", async () => {
    const files = open();
    await files.put("inputs/own.txt", Buffer.from("own"));
    await symlink(path.join(folder, "outside", "secret.txt"), path.join(root, "inputs", "link.txt"));
    await symlink(path.join(root, "inputs", "own.txt"), path.join(root, "inputs", "inner.txt"));
    for (const name of ["inputs/link.txt", "inputs/inner.txt"]) {
      expect(await files.stat(name)).toBeUndefined();
      expect(await files.read(name)).toBeUndefined();
    }
    expect((await files.list("inputs/")).map(({ path: name }) => name)).toEqual(["inputs/own.txt"]);
  });

  test("a put over a link replaces the link and not what it leads to", async () => {
    const files = open();
    await files.put("inputs/own.txt", Buffer.from("own"));
    await symlink(path.join(folder, "outside", "secret.txt"), path.join(root, "inputs", "link.txt"));
    await files.put("inputs/link.txt", Buffer.from("mine"));
    expect(await readFile(path.join(folder, "outside", "secret.txt"), "utf8")).toBe("secret");
    expect((await files.stat("inputs/link.txt"))?.length).toBe(4);
  });

  test("a folder that is a link is neither read, listed, written nor emptied", async () => {
    const files = open();
    await files.put("inputs/own.txt", Buffer.from("own"));
    await symlink(path.join(folder, "outside"), path.join(root, "inputs", "linked"));
    await symlink(path.join(folder, "outside"), path.join(root, "container"));
    for (const name of ["inputs/linked", "container"]) {
      expect(await files.read(`${name}/secret.txt`)).toBeUndefined();
      expect(await files.list(`${name}/`)).toEqual([]);
      await expect(files.put(`${name}/new.txt`, Buffer.from("x"))).rejects.toThrow("link");
      await files.remove(`${name}/secret.txt`);
    }
    expect(await readdir(path.join(folder, "outside"))).toEqual(["secret.txt"]);
  });

  test("a pipe is not a file, and does not hold up who asks for it", async () => {
    const files = open();
    await files.put("inputs/own.txt", Buffer.from("own"));
    execFileSync("mkfifo", [path.join(root, "inputs", "pipe")]);
    expect(await files.read("inputs/pipe")).toBeUndefined();
    expect(await files.list("inputs/")).toHaveLength(1);
  });
});

test("what a killed process left half-written is gone after the next start, and was never listed", async () => {
  const files = open();
  await files.put("inputs/whole", Buffer.from("whole"));
  await writeFile(path.join(root, ".incoming", "4711-1"), "half");
  expect((await files.list("")).map(({ path: name }) => name)).toEqual(["inputs/whole"]);
  expect(await open().stat("inputs/whole")).toBeDefined();
  expect(await readdir(path.join(root, ".incoming"))).toEqual([]);
});

test("a name cannot be a file and a folder at once: the second is refused, the first stays", async () => {
  const files = open();
  await files.put("inputs/a", Buffer.from("file"));
  await expect(files.put("inputs/a/b", Buffer.from("x"))).rejects.toThrow("both a file and a folder");
  await files.put("inputs/c/d", Buffer.from("file"));
  await expect(files.put("inputs/c", Buffer.from("x"))).rejects.toThrow("both a file and a folder");
  expect((await files.list("inputs/")).map(({ path: name }) => name)).toEqual(["inputs/a", "inputs/c/d"]);
});

test("what was put is on the disk, and so is its name, before the answer", async () => {
  const handle = await openFile(path.join(folder, "any"), "w");
  const prototype = Object.getPrototypeOf(handle) as { sync(): Promise<void> };
  await handle.close();
  const synced = jest.spyOn(prototype, "sync");
  try {
    await open().put("inputs/a.txt", Buffer.from("kept"));
    // The file, and a folder that names it.
    expect(synced.mock.calls.length).toBeGreaterThanOrEqual(2);
  } finally {
    synced.mockRestore();
  }
});
