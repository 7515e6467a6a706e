// Files of a live TVM: asked of its agent, which uploads what is read to an address that it is given.
import { utimesSync } from "node:fs";
import path from "node:path";
import { type FilesOf, listFiles, readFile, removeFile, statFile } from "../../src/app/tvmFiles";
import { isRejection } from "../../src/domain/decider";
import { errands } from "../../src/views/errands";
import type { FileAnswer, FileEntry, FileRequest } from "../../src/wire";
import { type Agent, JOB, type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld } from "../support/world";

let world: World;
let agent: Agent;
let serving: Promise<void>;
let stopped: boolean;
const instant = "2015-04-01T12:00:00.000Z";
const MIB = 1024 * 1024;

beforeEach(async () => {
  world = await openWorld();
  await makePool(world);
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("A")]);
  [agent] = [...(await bootAll(world)).values()] as [Agent];
  stopped = false;
  serving = Promise.resolve();
});
afterEach(async () => {
  stopped = true;
  await serving;
  await world.close();
});

/** The TVM's disk, and an agent that answers whatever it is asked until the test is over. */
const serve = (disk: Map<string, Buffer>, asked: FileRequest[] = []): void => {
  const entry = (name: string): FileEntry => ({ path: name, isDirectory: !disk.has(name), length: disk.get(name)?.length ?? 0, createdAt: instant, modifiedAt: instant });
  const answer = async (request: FileRequest): Promise<FileAnswer> => {
    asked.push(request);
    const { id, kind, path: name } = request;
    const below = [...disk.keys()].filter((one) => one === name || one.startsWith(name === "" ? "" : `${name}/`));
    if (name.includes("secret")) return { id, problem: { code: "forbidden", message: "This is a link." } };
    if (below.length === 0) return { id, problem: { code: "notFound", message: "There is no such file." } };
    if (kind === "list") return { id, entries: below.map(entry) };
    if (kind === "remove") for (const one of below) disk.delete(one);
    if (kind === "read") {
      const access = (world.ports.files as unknown as { parseSigned(url: string): { path: string; access: string } }).parseSigned(request.uploadUrl as string);
      expect(access.access).toBe("write");
      const from = request.offset ?? 0;
      await world.ports.files.put(access.path, (disk.get(name) as Buffer).subarray(from, from + (request.length ?? Infinity)));
    }
    return { id, entries: kind === "remove" ? [] : [entry(name)] };
  };
  serving = (async () => {
    let fileAnswers: FileAnswer[] = [];
    while (!stopped) {
      const given = await agent.send({ fileAnswers });
      if (isRejection(given)) return;
      fileAnswers = [];
      for (const request of given.files) fileAnswers.push(await answer(request));
      await new Promise(setImmediate);
    }
  })();
};

const task: FilesOf = { workItem: "Render", job: JOB, task: "a" };
const codeOf = (answer: unknown): string => (isRejection(answer) ? answer.code : "accepted");
const bytes = async (answer: Awaited<ReturnType<typeof readFile>>): Promise<Buffer> => {
  const parts: Uint8Array[] = [];
  for await (const part of accepted(answer).content) parts.push(part);
  return Buffer.concat(parts);
};
const uploads = async () => world.ports.files.list("exchange/");
const onDisk = (name: string, content: string | Buffer): [string, Buffer] => [`tasks/Render/${JOB}/A/${name}`, Buffer.from(content)];

test("a task that has not run has no files; of one that ran, paths are relative to its folder", async () => {
  expect(codeOf(await listFiles(world.ports, world.call(), task, "", true))).toBe("TaskFilesUnavailable");
  await agent.work();
  const asked: FileRequest[] = [];
  serve(new Map([onDisk("stdout.txt", "hello"), onDisk("wd/a b.txt", "x"), ["start/stdout.txt", Buffer.from("s")]]), asked);
  expect(accepted(await listFiles(world.ports, world.call(), task, "", true)).map(({ path: name }) => name)).toEqual(["stdout.txt", "wd/a b.txt"]);
  expect(accepted(await statFile(world.ports, world.call(), task, "stdout.txt"))).toEqual({ path: "stdout.txt", isDirectory: false, length: 5, createdAt: instant, modifiedAt: instant });
  expect(asked.map(({ kind, path: name }) => `${kind} ${name}`)).toEqual([`list tasks/Render/${JOB}/A`, `stat tasks/Render/${JOB}/A/stdout.txt`]);
  const whole = accepted(await listFiles(world.ports, world.call(), { pool: "pool-a", tvm: agent.key.split(".")[2] as string }, "", true));
  expect(whole.map(({ path: name }) => name)).toContain("start/stdout.txt");
});

test("read whole, in part, empty; nothing of it stays with the service", async () => {
  await agent.work();
  serve(new Map([onDisk("stdout.txt", "0123456789"), onDisk("empty", "")]));
  expect(String(await bytes(await readFile(world.ports, world.call(), task, "stdout.txt")))).toBe("0123456789");
  expect(String(await bytes(await readFile(world.ports, world.call(), task, "stdout.txt", { offset: 2, length: 3 })))).toBe("234");
  expect(String(await bytes(await readFile(world.ports, world.call(), task, "stdout.txt", { offset: 7 })))).toBe("789");
  expect(String(await bytes(await readFile(world.ports, world.call(), task, "stdout.txt", { offset: 7, length: 100 })))).toBe("789");
  expect((await bytes(await readFile(world.ports, world.call(), task, "empty"))).length).toBe(0);
  expect(codeOf(await readFile(world.ports, world.call(), task, "stdout.txt", { offset: 10 }))).toBe("InvalidRange");
  expect(await uploads()).toEqual([]);
  expect(await world.ports.views.keys(errands, { index: "tvm", prefix: "", limit: 9 })).toEqual([]);
});

test("a big file comes piece by piece, as its reader takes it", async () => {
  await agent.work();
  const big = Buffer.alloc(20 * MIB + 5, "abcdefg");
  const asked: FileRequest[] = [];
  serve(new Map([onDisk("big", big)]), asked);
  expect((await bytes(await readFile(world.ports, world.call(), task, "big"))).equals(big)).toBe(true);
  expect(asked.filter(({ kind }) => kind === "read").map(({ offset, length }) => [offset, length])).toEqual([[0, 8 * MIB], [8 * MIB, 8 * MIB], [16 * MIB, 4 * MIB + 5]]);
});

test("a file that becomes shorter while it is read breaks the stream instead of never ending", async () => {
  await agent.work();
  const disk = new Map([onDisk("big", Buffer.alloc(9 * MIB))]);
  serve(disk);
  const { content } = accepted(await readFile(world.ports, world.call(), task, "big"));
  disk.set(...onDisk("big", Buffer.alloc(1000)));
  await expect(bytes({ content } as never)).rejects.toThrow("shorter");
});

test("what is not there, what may not be read, what is removed", async () => {
  await agent.work();
  const disk = new Map([onDisk("stdout.txt", "x"), onDisk("secret", "x")]);
  serve(disk);
  expect(codeOf(await statFile(world.ports, world.call(), task, "none"))).toBe("FileNotFound");
  expect(codeOf(await readFile(world.ports, world.call(), task, "none"))).toBe("FileNotFound");
  expect(codeOf(await readFile(world.ports, world.call(), task, "secret"))).toBe("IOError");
  expect(await removeFile(world.ports, world.call(), task, "stdout.txt")).toBeUndefined();
  expect(codeOf(await removeFile(world.ports, world.call(), task, "stdout.txt"))).toBe("FileNotFound");
  expect([...disk.keys()]).toEqual([`tasks/Render/${JOB}/A/secret`]);
  expect(codeOf(await statFile(world.ports, world.call(), { pool: "Pool-A", tvm: "none" }, "x"))).toBe("TVMNotFound");
  expect(codeOf(await statFile(world.ports, world.call(), { pool: "none", tvm: "none" }, "x"))).toBe("PoolNotFound");
  expect(codeOf(await statFile(world.ports, world.call("other"), task, "stdout.txt"))).toBe("WorkItemNotFound");
});

test("a TVM that does not answer: said so after the time, and the question is withdrawn", async () => {
  await agent.work();
  const answer = statFile(world.ports, world.call(), task, "stdout.txt");
  let done = false;
  void answer.then(() => (done = true));
  for (let waited = 0; !done && waited < 60_000; waited += 1000) {
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    await world.pass(1000);
  }
  expect(codeOf(await answer)).toBe("OperationTimedOut");
  expect((await agent.exchange()).files).toEqual([]);
});

test("an upload that nobody came for goes with the sweep", async () => {
  await agent.work();
  serve(new Map([onDisk("stdout.txt", "x")]));
  accepted(await readFile(world.ports, world.call(), task, "stdout.txt"));
  const [left] = await uploads();
  expect(left).toBeDefined();
  const file = path.join(world.folder, "files", left!.path);
  const age = (ms: number): void => utimesSync(file, new Date(world.ports.clock.now().getTime() - ms), new Date(world.ports.clock.now().getTime() - ms));
  stopped = true;
  await serving;
  age(500_000);
  await world.sweep();
  expect(await uploads()).toHaveLength(1);
  age(700_000);
  await world.sweep();
  expect(await uploads()).toEqual([]);
});
