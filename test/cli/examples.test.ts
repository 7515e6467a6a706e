// The demo and the examples on the real service, as a user runs them: built programs, real processes, real files.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const ROOT = path.resolve(__dirname, "../..");
const BIN = path.join(ROOT, "bin", "batchledger.js");
const LIMIT_MS = 180_000;
let folder: string;

beforeAll(() => {
  if (!existsSync(path.join(ROOT, "dist", "src", "cli", "main.js"))) throw new Error("Run `npm run build` first.");
});
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "batchledger-examples-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const run = promisify(execFile);
const bl = async (...args: string[]): Promise<{ stdout: string; stderr: string; code: number }> =>
  run(process.execPath, [BIN, ...args], { cwd: folder }).then(
    ({ stdout, stderr }) => ({ stdout, stderr, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => ({ stdout: error.stdout, stderr: error.stderr, code: error.code }));

/** A service of the test's own, stopped as a user stops it. */
async function withService(work: (service: { api: string }) => Promise<void>): Promise<void> {
  const child: ChildProcess = spawn(process.execPath, [BIN, "start", "--json", "--port", "0", "--log-level", "error"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  const exit = once(child, "exit");
  try {
    const [line] = await Promise.race([once(child.stdout as NodeJS.ReadableStream, "data"), exit.then(() => { throw new Error("the service ended"); })]) as [Buffer];
    const ready = JSON.parse(String(line)) as { event: string; api: string; data: string; keyFile: string; account: string };
    expect(ready).toMatchObject({ event: "ready", data: path.join(folder, ".batchledger") });
    expect(readFileSync(ready.keyFile, "utf8").length).toBeGreaterThan(20);
    await work(ready);
  } finally {
    child.kill("SIGTERM");
    await exit;
  }
  expect(await exit).toEqual([0, null]);
  expect(existsSync(path.join(folder, ".batchledger", "service.json"))).toBe(false);
}

test("the demo renders a picture, retries the tile that fails once, and leaves nothing running", async () => {
  // The demo's own scene, smaller: the whole one takes half a minute.
  const scene = JSON.parse(readFileSync(path.join(ROOT, "examples/render/scene.json"), "utf8")) as object;
  writeFileSync(path.join(folder, "scene.json"), JSON.stringify({ ...scene, width: 96, height: 64, columns: 3, rows: 2, failOnce: "1,1" }));
  const { code, stdout, stderr } = await bl("demo", "--scene", "scene.json", "--samples", "1", "--json");
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("Rendering: 7/7") as string });
  const summary = JSON.parse(stdout) as { picture: string; tasks: number; retries: number; coreMs: number };
  expect(summary).toMatchObject({ picture: path.join(folder, ".batchledger", "demo", "picture.png"), tasks: 7 });
  expect(summary.retries).toBeGreaterThanOrEqual(1);
  expect(summary.coreMs).toBeGreaterThan(0);
  const png = readFileSync(summary.picture);
  expect([png.subarray(1, 4).toString(), png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual(["PNG", 96, 64]);
  expect(existsSync(path.join(folder, ".batchledger", "demo", "service.json"))).toBe(false);
}, LIMIT_MS);

test("the demo ends at once when it is interrupted, and its service with it", async () => {
  const child = spawn(process.execPath, [BIN, "demo"], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  await new Promise<void>((resolve, reject) => {
    child.on("exit", () => reject(new Error(said)));
    child.stderr.on("data", (text: Buffer) => {
      said += String(text);
      if (said.includes("Rendering:")) resolve();
    });
  });
  const service = JSON.parse(readFileSync(path.join(folder, ".batchledger", "demo", "service.json"), "utf8")) as { url: string };
  const exit = once(child, "exit");
  child.kill("SIGINT");
  expect(await exit).toEqual([130, null]);
  expect(said).toContain("Interrupted.");
  await expect(fetch(service.url)).rejects.toThrow();
}, LIMIT_MS);

test("word count: one task a file, and one that adds up", async () => {
  await withService(async () => {
    const { stdout } = await run("sh", [path.join(ROOT, "examples/wordcount/run.sh")], { cwd: folder, env: { ...process.env, PATH: `${path.dirname(process.execPath)}:${process.env["PATH"]}` } });
    const words = readFileSync(path.join(folder, "words.txt"), "utf8").trim().split("\n").map((line) => line.split("\t"));
    // By hand: "the" in the four texts.
    const texts = path.join(ROOT, "examples/wordcount/texts");
    const expected = readdirSync(texts).flatMap((name) => readFileSync(path.join(texts, name), "utf8").toLowerCase().split(/[^a-z가-힣]+/)).filter((word) => word === "the").length;
    expect(words[0]).toEqual([String(expected), "the"]);
    expect(words).toContainEqual(["2", "바다는"]);
    expect(stdout).toContain(`${expected}\tthe`);
    const listed = JSON.parse((await bl("ps", "--json")).stdout) as { state: string; counts: object }[];
    expect(listed).toMatchObject([{ state: "completed", counts: { completed: 5, failed: 0 } }]);
  });
}, LIMIT_MS);

test("clean-up: old files of the shared folder go, on every TVM", async () => {
  await withService(async () => {
    expect((await bl("pool", "create", "p", "--tvms", "1", "--wait")).code).toBe(0);
    const fill = "mkdir -p $WATASK_TVM_ROOT_DIR/shared/logs && cd $WATASK_TVM_ROOT_DIR/shared && echo x > young && touch -d '10 days ago' logs/old";
    expect((await bl("submit", "--pool", "p", "--shell", "--wait", "--", fill)).code).toBe(0);
    const { stdout } = await run(process.execPath, [path.join(ROOT, "examples/cleanup/run.js"), "p", "7"], { cwd: folder });
    expect(stdout).toMatch(/^deleted logs\/old\ntvm-.*: 1 files, 0 bytes\n$/);
    const tvm = (JSON.parse((await bl("tvms", "p", "--json")).stdout) as { name: string }[])[0]?.name;
    const left = JSON.parse((await bl("files", `pools/p/${tvm}`, "--json")).stdout) as { name: string; isDirectory: boolean }[];
    expect(left.filter(({ name, isDirectory }) => name.startsWith("shared\\") && !isDirectory).map(({ name }) => name)).toEqual(["shared\\young"]);
  });
}, LIMIT_MS);

test("two services on one data folder: the second says so and leaves the first alone", async () => {
  await withService(async ({ api }) => {
    const second = await bl("start", "--port", "0", "--json");
    expect(second.code).toBe(4);
    expect(JSON.parse(second.stderr)).toMatchObject({ exitCode: 4 });
    expect(second.stderr).not.toContain("defect");
    const third = await bl("start", "--data", "other", "--port", new URL(api).port);
    expect([third.code, third.stderr]).toEqual([3, expect.stringContaining("The port is taken.")]);
    expect((await bl("ps")).code).toBe(0);
  });
}, LIMIT_MS);

test("a day at the command line: submit, look, read, explain, end", async () => {
  await withService(async () => {
    mkdirSync(path.join(folder, "in"));
    writeFileSync(path.join(folder, "in", "a.txt"), "some words\n");
    utimesSync(path.join(folder, "in", "a.txt"), 1, 1);
    const submitted = await bl("submit", "--name", "w", "--input", "in", "--env", "GREETING=hello there", "--wait", "--shell", "--", 'echo "$GREETING"; cat in/a.txt; echo oops >&2; echo made > out.txt');
    expect(submitted).toMatchObject({ code: 0, stdout: "w\n" });
    expect((await bl("logs", "w")).stdout).toBe("hello there\nsome words\n");
    expect((await bl("logs", "w", "--stderr")).stdout).toBe("oops\n");
    expect((await bl("cp", "w/task:out.txt", ".")).code).toBe(0);
    expect(readFileSync(path.join(folder, "out.txt"), "utf8")).toBe("made\n");

    const quoted = ["printf", "[%s]", "a b", "it's", '"x"', "\\", "", "$HOME", "*"];
    await bl("submit", "--name", "q", "--wait", "--", ...quoted);
    expect((await bl("logs", "q")).stdout).toBe(`[a b][it's]["x"][\\][][$HOME][*]`);

    const failed = await bl("submit", "--name", "f", "--retries", "2", "--wait", "--", "sh", "-c", "exit 7");
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringContaining("task: exit code 7") as string });
    const [task] = JSON.parse((await bl("tasks", "f", "--json")).stdout) as { executionInfo: { retryCount: number; exitCode: number } }[];
    expect(task?.executionInfo).toMatchObject({ retryCount: 2, exitCode: 7 });
    const history = JSON.parse((await bl("events", "f/task", "--json")).stdout) as { events: { type: string }[] }[];
    expect(history.flatMap(({ events }) => events.map(({ type }) => type)).filter((type) => type === "TaskRetried")).toHaveLength(2);

    expect((await bl("submit", "--name", "missing", "--wait", "--", "no-such-program")).stderr).toContain("CommandProgramNotFound");
    await bl("pool", "create", "none", "--tvms", "0");
    await bl("submit", "--pool", "none", "--name", "stuck", "--", "true");
    expect((await bl("why", "stuck")).stdout).toMatch(/stuck \(active\): 1 waiting.*\ntask is active\.\n {2}- .*TVM/);
    expect((await bl("terminate", "stuck")).code).toBe(0);
    expect((await bl("wait", "stuck")).code).toBe(1);
    expect((await bl("delete", "stuck")).code).toBe(0);
    expect((await bl("submit", "--name", "w", "--", "true"))).toMatchObject({ code: 4, stderr: expect.stringContaining("[WorkItemExists]") as string });
  });
}, LIMIT_MS);

test("autoscale: a pool that starts without TVMs, grows with its queue, and ends without", async () => {
  const { stdout } = await run(process.execPath, [path.join(ROOT, "examples/autoscale/run.js"), "--tasks", "60", "--interval", "1", "--json"], { cwd: folder, env: { ...process.env, TMPDIR: folder } });
  const summary = JSON.parse(stdout) as { mostTvms: number; curve: { queue: number; target: number; tvms: number }[] };
  expect(summary).toMatchObject({ added: 60, completed: 60, failed: 0, tvmsAtStart: 0, tvmsAtEnd: 0 });
  expect(summary.mostTvms).toBeGreaterThanOrEqual(1);
  expect(summary.mostTvms).toBeLessThanOrEqual(8);
  expect(summary.curve[0]).toMatchObject({ queue: 0, target: 0, tvms: 0 });
  expect(Math.max(...summary.curve.map(({ queue }) => queue))).toBeGreaterThan(0);
  expect(summary.curve.at(-1)).toMatchObject({ queue: 0, target: 0, tvms: 0 });
  // Its service and its data are gone.
  expect(readdirSync(folder).filter((name) => name.startsWith("batchledger-autoscale-"))).toEqual([]);
}, LIMIT_MS);
