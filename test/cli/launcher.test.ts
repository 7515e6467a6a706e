// bin/batchledger.js as a process of its own, in a folder that looks like a checkout: what it does with an older Node, with no
// build, and how it passes on signals and exit codes.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const SOURCE = path.resolve(__dirname, "../../bin/batchledger.js");
let folder: string;
const launcher = () => path.join(folder, "bin", "batchledger.js");
const launch = (args: string[], nodeArgs: string[] = []) => spawnSync(process.execPath, [...nodeArgs, launcher(), ...args], { encoding: "utf8" });

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), "batchledger-bin-"));
  mkdirSync(path.join(folder, "bin"));
  cpSync(SOURCE, launcher());
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function build(main: string): void {
  mkdirSync(path.join(folder, "dist", "src", "cli"), { recursive: true });
  writeFileSync(path.join(folder, "dist", "src", "cli", "main.js"), `exports.main = async () => { ${main} };`);
}

/** Loaded first, it makes the process believe that its Node is too old, unless it was handed over. */
function pretendOld(): string {
  const file = path.join(folder, "old.js");
  writeFileSync(file, `if (!process.env.BATCHLEDGER_HANDED_OVER) Object.defineProperty(process.versions, "node", { value: "20.20.2" });`);
  return file;
}

function installNode(): void {
  mkdirSync(path.join(folder, "node_modules", "node", "bin"), { recursive: true });
  const file = path.join(folder, "node_modules", "node", "bin", "node");
  writeFileSync(file, `#!/bin/sh\nexec "${process.execPath}" "$@"\n`);
  chmodSync(file, 0o755);
}

test("it runs the command line with the arguments, and the exit code is the command's", () => {
  build("console.log(JSON.stringify(process.argv.slice(2))); process.exitCode = 4;");
  const { status, stdout } = launch(["a b", "--", "-x"]);
  expect([status, JSON.parse(stdout)]).toEqual([4, ["a b", "--", "-x"]]);
});

test("without a build it says what to do", () => {
  const { status, stderr } = launch([]);
  expect(status).toBe(70);
  expect(stderr).toContain("npm run build");
});

test("an older Node hands over to the project's own", () => {
  build("console.log(process.versions.node, process.env.BATCHLEDGER_HANDED_OVER); process.exitCode = 3;");
  const old = pretendOld();
  installNode();
  const { status, stdout } = launch([], ["--require", old]);
  expect([status, stdout]).toEqual([3, `${process.versions.node} undefined\n`]);
});

test("an older Node and no other: it says which one is needed", () => {
  build("");
  const { status, stderr } = launch([], ["--require", pretendOld()]);
  expect(status).toBe(70);
  expect(stderr).toContain("needs Node 22.13 or newer; this is 20.20.2");
});

test("signals reach the one that was handed over to, and its exit code comes back", async () => {
  build(`process.on("SIGTERM", () => process.exit(7)); setInterval(() => {}, 1000); console.log("ready");`);
  const old = pretendOld();
  installNode();
  const child: ChildProcess = spawn(process.execPath, ["--require", old, launcher()], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout as NodeJS.ReadableStream, "data");
  child.kill("SIGTERM");
  expect(await once(child, "exit")).toEqual([7, null]);
});

test("the warning about SQLite is kept from users, others are not", () => {
  build(`process.emitWarning("SQLite is an experimental feature", "ExperimentalWarning"); process.emitWarning("something else", "ExperimentalWarning");`);
  const { stderr } = launch([]);
  expect(stderr).not.toContain("SQLite");
  expect(stderr).toContain("something else");
});
