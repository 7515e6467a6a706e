// README's commands, run as a reader runs them: every line of its blocks that begins with `npx batchledger`, in their order, in an
// empty folder with the service started in it. Lines of other kinds (npm, outputs) are not commands of ours.
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { testPfx } from "../standins/certificate";

const ROOT = path.resolve(__dirname, "..", "..");
const LAUNCHER = path.join(ROOT, "bin", "batchledger.js");

/** The commands of each block, with what a reader would have to type before them. */
const commandsOf = (markdown: string): string[] =>
  [...markdown.matchAll(/^```[a-z]*\n([\s\S]*?)^```$/gm)]
    .map(([, block]) => (block as string).split("\n").filter((line) => /^(npx batchledger|printf) /.test(line)))
    .filter((lines) => lines.some((line) => line.startsWith("npx batchledger")))
    .flat();

/** What the reader has beside an empty folder: a certificate of their own. */
const OWN = testPfx();

let folder: string;
let service: ChildProcess;
const environment = (): NodeJS.ProcessEnv => ({ ...process.env, PATH: `${path.join(folder, "bin")}:${process.env["PATH"]}`, THUMBPRINT: OWN.thumbprint });

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), "batchledger-readme-"));
  chmodSync(folder, 0o755);
  mkdirSync(path.join(folder, "bin"));
  // What npx finds in a checkout.
  writeFileSync(path.join(folder, "bin", "npx"), `#!/bin/sh\nshift\nexec ${process.execPath} ${LAUNCHER} "$@"\n`, { mode: 0o755 });
  writeFileSync(path.join(folder, "own.pfx"), OWN.pfx("secret"));
  writeFileSync(path.join(folder, "password.txt"), "secret\n");
  service = spawn(process.execPath, [LAUNCHER, "start", "--json", "--port", "0", "--log-level", "error"], { cwd: folder, stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve) => service.stdout?.once("data", resolve));
});

afterAll(async () => {
  service.kill("SIGTERM");
  await new Promise((resolve) => service.once("exit", resolve));
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
});

const run = (command: string): Promise<{ code: number | null; out: string; err: string }> =>
  new Promise((resolve) => {
    const child = spawn("/bin/sh", ["-c", command], { cwd: folder, env: environment(), stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (err += chunk));
    child.once("close", (code) => resolve({ code, out, err }));
  });

const commands = commandsOf(readFileSync(path.join(ROOT, "README.md"), "utf8"));

test("README has the seed's workflow in commands", () => {
  const all = commands.join("\n");
  for (const step of ["pool create", "workitem create", "submit --to", "--input", "tasks ", "logs ", "cp ", "delete "]) expect(all).toContain(`${step.startsWith("--") ? "" : "npx batchledger "}${step}`.trim());
});

// One after the other: later ones need what earlier ones made.
test.each(commands)("%s", async (command) => {
  const { code, err } = await run(command);
  expect([code, code === 0 ? "" : err]).toEqual([0, ""]);
});
