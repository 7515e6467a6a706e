// What every blob store promises: files that appear whole, ranges, lists in name order, paths that cannot leave the store, and
// signed addresses. What a signed address does over HTTP is tested where it is served.

import { randomUUID } from "node:crypto";
import type { Files } from "../../src/ports";

export interface OpenFiles {
  readonly port: Files;
  /** The same store after its process ended and another began; absent where that makes no sense. */
  readonly reopen?: () => Promise<Files>;
  readonly close: () => Promise<void>;
}

/** Runs the suite against stores that `open` makes. */
export function describeFiles(name: string, open: () => Promise<OpenFiles>): void {
  describe(`files: ${name}`, () => {
    let opened: OpenFiles;
    let files: Files;
    let container: string;
    beforeEach(async () => {
      opened = await open();
      files = opened.port;
      container = `c-${randomUUID()}`;
    });
    afterEach(() => opened.close());

    const text = async (path: string, range?: { offset: number; length?: number }) => {
      const found = await files.read(path, range);
      return found && (await bytesOf(found.content)).toString("utf8");
    };
    const put = (path: string, content: string, type?: string) => files.put(`${container}/${path}`, Buffer.from(content), type);

    test("gives back what was put, and says what it is", async () => {
      const stat = await put("in/scene.txt", "hello");
      expect(stat).toMatchObject({ path: `${container}/in/scene.txt`, length: 5 });
      expect(new Date(stat.modifiedAt).getTime()).toBeGreaterThan(0);
      expect(new Date(stat.createdAt).getTime()).toBeLessThanOrEqual(new Date(stat.modifiedAt).getTime());
      expect(await files.stat(stat.path)).toEqual(stat);
      expect((await files.read(stat.path))?.stat).toEqual(stat);
      expect(await text(stat.path)).toBe("hello");
    });

    test("what is not there is undefined, and removing it is fine", async () => {
      expect(await files.stat(`${container}/none`)).toBeUndefined();
      expect(await files.read(`${container}/none`)).toBeUndefined();
      await files.remove(`${container}/none`);
      expect(await files.list(`${container}/`)).toEqual([]);
    });

    test("keeps the content type it was given, and follows the last one", async () => {
      await put("odd.txt", "1", "application/x-scene; v=2");
      expect((await files.stat(`${container}/odd.txt`))?.contentType).toBe("application/x-scene; v=2");
      await put("odd.txt", "1", "text/plain");
      expect((await files.stat(`${container}/odd.txt`))?.contentType).toBe("text/plain");
    });

    test("takes streams of any size, empty ones too", async () => {
      const chunk = Buffer.alloc(100_000, "0123456789");
      const stat = await files.put(`${container}/large`, chunks(chunk, 12));
      expect(stat.length).toBe(1_200_000);
      expect((await bytesOf((await files.read(stat.path))!.content)).equals(Buffer.concat(Array(12).fill(chunk)))).toBe(true);
      expect((await put("empty", "")).length).toBe(0);
      expect(await text(`${container}/empty`)).toBe("");
    });

    test("reads ranges, short and long, up to the end and not beyond", async () => {
      await put("digits", "0123456789");
      expect(await text(`${container}/digits`, { offset: 3, length: 4 })).toBe("3456");
      expect(await text(`${container}/digits`, { offset: 7 })).toBe("789");
      expect(await text(`${container}/digits`, { offset: 8, length: 100 })).toBe("89");
      expect(await text(`${container}/digits`, { offset: 10 })).toBe("");
      await put("long", "abcdefghij".repeat(20_000));
      expect(await text(`${container}/long`, { offset: 5, length: 150_000 })).toBe("abcdefghij".repeat(20_000).slice(5, 150_005));
    });

    test("overwriting replaces the whole file", async () => {
      await put("a", "long content");
      await put("a", "short");
      expect(await text(`${container}/a`)).toBe("short");
    });

    test("a put that fails midway leaves the old file, or none", async () => {
      await put("old", "old");
      for (const path of ["old", "new"]) {
        await expect(files.put(`${container}/${path}`, broken())).rejects.toThrow("the sender went away");
      }
      expect(await text(`${container}/old`)).toBe("old");
      expect(await files.stat(`${container}/new`)).toBeUndefined();
      expect((await files.list(`${container}/`)).map(({ path }) => path)).toEqual([`${container}/old`]);
    });

    test("of puts at the same time one wins whole", async () => {
      const contents = Array.from({ length: 8 }, (_, index) => String(index).repeat(50_000));
      await Promise.all(contents.map((content) => put("raced", content)));
      expect(contents).toContain(await text(`${container}/raced`));
    });

    test("a file that is put again and again can be read at any time, whole", async () => {
      await put("raced", "0".repeat(1_000));
      let writing = true;
      const writer = (async () => {
        for (let round = 1; round <= 60; round++) await put("raced", String(round % 10).repeat(1_000));
      })().finally(() => (writing = false));
      for (let reads = 0; writing || reads < 5; reads++) expect(await text(`${container}/raced`)).toMatch(/^(\d)\1{999}$/);
      await writer;
    });

    test("a removed file is gone, and its name and the names above it can be used again", async () => {
      await put("out/deep/a", "1");
      await files.remove(`${container}/out/deep/a`);
      expect(await files.stat(`${container}/out/deep/a`)).toBeUndefined();
      expect(await files.list(`${container}/`)).toEqual([]);
      await put("out", "now a file");
      expect(await text(`${container}/out`)).toBe("now a file");
    });

    test("lists names in the order of their bytes, by prefix, page after page", async () => {
      const names = ["a-b", "a.b", "a/b", "a/b-c", "a/b/c", "a0", "b", "é", "\uffee", "𝄞"].filter((one) => one !== "a/b");
      for (const one of names.toReversed()) await put(one, one);
      const list = async (prefix: string, after?: string, limit?: number) =>
        (await files.list(`${container}/${prefix}`, after === undefined ? undefined : `${container}/${after}`, limit)).map(({ path }) => path.slice(container.length + 1));
      expect(await list("")).toEqual(names);
      expect(await list("a/")).toEqual(["a/b-c", "a/b/c"]);
      expect(await list("a/b")).toEqual(["a/b-c", "a/b/c"]);
      expect(await list("", undefined, 3)).toEqual(names.slice(0, 3));
      expect(await list("", "a/b-c")).toEqual(names.slice(names.indexOf("a/b-c") + 1));
      expect(await list("", "a/b/c", 2)).toEqual(["a0", "b"]);
      expect(await list("zzz")).toEqual([]);
      expect((await files.list(`${container}/b`))[0]).toMatchObject({ length: 1 });
    });

    test("lists nothing of a container whose name only begins alike", async () => {
      await files.put(`${container}x/other`, Buffer.from("1"));
      await put("own", "1");
      expect((await files.list(`${container}/`)).map(({ path }) => path)).toEqual([`${container}/own`]);
    });

    const impossible = [
      "", "/", "own", "own/", "/etc/passwd", "own/../other/a", "own/./a", "own//a", "own/a/", "own/a\0b", "own/a\\b", "own/..\\a",
      "../own/a", "Own/a", "ow/a", "own_1/a", `${"c".repeat(64)}/a`, "-own/a", "own/C:/a", "C:/a", `own/${"n".repeat(1_100)}`, "own/a\nb",
    ];
    test.each(impossible)("refuses the path %j", async (path) => {
      await expect(files.put(path, Buffer.from("x"))).rejects.toThrow(/path/);
      await expect(files.signedUrl(path, "read", new Date("2030-01-01T00:00:00Z"))).rejects.toThrow(/path/);
      expect(await files.stat(path)).toBeUndefined();
      expect(await files.read(path)).toBeUndefined();
      await files.remove(path);
    });

    test("a signed address is a URL of its file, differs by access and time, and needs nothing to exist", async () => {
      const at = new Date("2030-01-01T00:00:00Z");
      const read = await files.signedUrl(`${container}/a b/ü?#%.txt`, "read", at);
      const url = new URL(read);
      expect(decodeURIComponent(url.pathname)).toContain(`${container}/a b/ü?#%.txt`);
      expect(url.hash).toBe("");
      const signature = (address: string) => new URL(address).searchParams.get("sig");
      expect(signature(read)).toMatch(/.{20}/);
      expect(signature(await files.signedUrl(`${container}/a b/ü?#%.txt`, "write", at))).not.toBe(signature(read));
      expect(signature(await files.signedUrl(`${container}/a b/ü?#%.txt`, "read", new Date("2031-01-01T00:00:00Z")))).not.toBe(signature(read));
    });

    test("after a restart files and their types are there", async () => {
      if (opened.reopen === undefined) return;
      const stat = await put("kept", "still here", "application/x-kept");
      files = await opened.reopen();
      expect(await files.stat(stat.path)).toEqual(stat);
      expect(await text(stat.path)).toBe("still here");
    });
  });
}

async function bytesOf(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of content) parts.push(part);
  return Buffer.concat(parts);
}

async function* chunks(chunk: Uint8Array, count: number): AsyncGenerator<Uint8Array> {
  for (let sent = 0; sent < count; sent++) yield chunk;
}

async function* broken(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("half of ");
  throw new Error("the sender went away");
}
