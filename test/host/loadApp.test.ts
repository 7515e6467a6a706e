// The app is loaded as Functions loads it, in a process of its own: by package.json "main", loudly when that fails.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { buildApp } from "./built";

let dir: string;

const good = `const { app } = require("@azure/functions"); app.http("hello", { route: "hello", handler: () => ({ body: "hello" }) });`;
const runner = `
const { startHost } = require("./dist/src/host/main.js");
const { registry } = require("./dist/src/host/functionsCore.js");
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
startHost({ appDir: __dirname, port: 0, log: quiet }).then(async (host) => {
  const text = await (await fetch(host.url + "/api/hello")).text();
  await host.stop();
  console.log(JSON.stringify({ text, functions: [...registry.functions.keys()] }));
}).catch((error) => { console.log("ERROR " + error.message); process.exitCode = 1; });
`;

beforeAll(() => {
  dir = buildApp({ "package.json": JSON.stringify({ main: "dist/functions/*.js" }), "run.js": runner });
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

function run(functions: Record<string, string>): { output: string; status: number | null } {
  fs.rmSync(path.join(dir, "dist", "functions"), { recursive: true, force: true });
  fs.mkdirSync(path.join(dir, "dist", "functions"));
  for (const [name, text] of Object.entries(functions)) fs.writeFileSync(path.join(dir, "dist", "functions", name), text);
  // It must end by itself: nothing of the host may keep the process alive after its stop.
  const { stdout, status } = spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", path.join(dir, "run.js")], { encoding: "utf8", timeout: 90_000 });
  return { output: stdout.trim(), status };
}

test("every file that main matches is loaded, and the process ends when the host has stopped", () => {
  const { output, status } = run({ "a.js": good, "b.js": good.replaceAll("hello", "other"), "c.mjs": "throw new Error('not matched')" });
  expect(JSON.parse(output)).toEqual({ text: "hello", functions: ["hello", "other"] });
  expect(status).toBe(0);
});

test("with streaming on, the process ends as well: the library's server never listens", () => {
  const { output, status } = run({ "a.js": good.replace("app.http", "app.setup({ enableHttpStream: true }); app.http") });
  expect(JSON.parse(output)).toMatchObject({ text: "hello" });
  expect(status).toBe(0);
});

test.each([
  ["no file", {}, "found zero files"],
  ["a file that throws", { "a.js": "throw new Error('broken at the top')" }, 'Unable to load entry point "dist/functions/a.js": broken at the top'],
  ["nothing registered", { "a.js": "module.exports = 1" }, "registered no functions"],
  ["a name registered twice", { "a.js": good, "b.js": good }, 'A function with id "hello" has already been registered'],
  ["a trigger this host has not", { "a.js": good + `app.storageQueue("q", { queueName: "q", connection: "C", handler: () => {} });` }, 'does not support the trigger "queueTrigger"'],
  ["an output this host has not", { "a.js": `const { app, output } = require("@azure/functions"); app.timer("t", { schedule: "0 0 * * * *", return: output.storageQueue({ queueName: "q", connection: "C" }), handler: () => "x" });` }, 'does not support the output "queue"'],
  ["a bad route", { "a.js": good.replace('route: "hello"', 'route: "x/{a:odd}"') }, 'Route constraint "odd"'],
])("fails loudly: %s", (_name, functions, message) => {
  const { output, status } = run(functions as Record<string, string>);
  expect(output).toContain(message);
  expect(status).toBe(1);
});
