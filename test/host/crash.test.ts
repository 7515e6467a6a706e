// The host is killed again and again, at chosen moments, while orchestrations run: nothing may be lost, and nothing that
// counts may count twice.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { buildApp } from "./built";

const instances = 24;

// Kills its own process at the Nth call of a kind: while an activity runs, while an orchestrator replays, or in the turn of
// the event loop after an activity, when its result is being stored or has just been.
const functions = `
const df = require("durable-functions");
const fs = require("node:fs");
const [kind, nth] = (process.env.KILL_AT || "none:0").split(":");
const calls = { activity: 0, orchestrator: 0, after: 0 };
const die = () => process.kill(process.pid, "SIGKILL");
const point = (name) => { if (name === kind && ++calls[name] === Number(nth)) name === "after" ? setImmediate(die) : die(); };
df.app.activity("add", { handler: async (input) => {
  point("activity");
  fs.appendFileSync(process.env.RUNS, input.key + "\\n");
  await new Promise(setImmediate);
  point("after");
  return input.n + 1;
} });
df.app.activity("flaky", { handler: (input) => {
  const runs = fs.readFileSync(process.env.RUNS, "utf8").split("\\n").filter((line) => line === input.key).length;
  fs.appendFileSync(process.env.RUNS, input.key + "\\n");
  if (runs === 0) throw new Error("the first time fails");
  return 1;
} });
df.app.orchestration("chain", function* (context) {
  point("orchestrator");
  const { generation, n } = context.df.getInput();
  const id = context.df.instanceId;
  const results = yield context.df.Task.all([0, 1, 2].map((i) => context.df.callActivity("add", { key: id + "." + generation + "." + i, n: n + i })));
  yield context.df.createTimer(new Date(context.df.currentUtcDateTime.getTime() + 5));
  const more = yield context.df.callActivityWithRetry("flaky", new df.RetryOptions(5, 5), { key: id + "." + generation + ".flaky" });
  if (generation < 2) { context.df.continueAsNew({ generation: generation + 1, n: results[2] + more }); return; }
  const go = yield context.df.waitForExternalEvent("go");
  return results[2] + more + go.add;
});
`;

const runner = `
const { startHost } = require("./dist/src/host/main.js");
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
(async () => {
  const host = await startHost({ appDir: __dirname, port: 0, dataDir: __dirname + "/data", log: quiet });
  const ids = Array.from({ length: ${instances} }, (_, n) => "chain-" + n);
  for (const id of ids) {
    if (!host.taskHub.instance(id)) await host.taskHub.startNew("chain", id, JSON.stringify({ generation: 0, n: 0 }));
  }
  const look = () => {
    const left = ids.filter((id) => host.taskHub.instance(id).status !== "Completed");
    for (const id of left) {
      const { input, status } = host.taskHub.instance(id);
      if (status === "Failed") throw new Error(id + ": " + host.taskHub.instance(id).output);
      if (JSON.parse(input).generation === 2) host.taskHub.raiseEvent(id, "go", '{"add":100}').catch((error) => { if (error.status !== 410) throw error; });
    }
    if (left.length === 0) host.stop().then(() => process.exit(0)); else setTimeout(look, 20);
  };
  look();
})().catch((error) => { console.error(error); process.exit(1); });
`;

let dir: string;
let child: ChildProcess | undefined;

beforeAll(() => {
  dir = buildApp({
    "package.json": JSON.stringify({ main: "dist/functions/*.js" }),
    "host.json": JSON.stringify({ version: "2.0" }),
    "dist/functions/chain.js": functions,
    "run.js": runner,
    runs: "",
  });
});
afterAll(() => {
  child?.kill("SIGKILL");
  fs.rmSync(dir, { recursive: true, force: true });
});

async function run(killAt: string): Promise<{ code: number | null; signal: NodeJS.Signals | null; errors: string }> {
  child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", path.join(dir, "run.js")], { env: { ...process.env, KILL_AT: killAt, RUNS: path.join(dir, "runs") }, stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr?.on("data", (chunk: Buffer) => (errors += chunk.toString()));
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  return { code, signal, errors };
}

test("twelve kills lose nothing and double nothing", async () => {
  const kills = ["activity:1", "orchestrator:3", "after:5", "activity:30", "after:17", "orchestrator:60", "after:1", "activity:12", "orchestrator:31", "after:40", "activity:7", "orchestrator:1"];
  for (const kill of kills) expect([kill, (await run(kill)).signal]).toEqual([kill, "SIGKILL"]);
  expect(await run("none:0")).toMatchObject({ code: 0, errors: "" });

  const database = new DatabaseSync(path.join(dir, "data", "taskhub.db"), { readOnly: true });
  try {
    const rows = database.prepare("SELECT id, status, output FROM instances").all() as { id: string; status: string; output: string }[];
    // Each generation adds 3 (two by index, one by the activity) and 1; the event adds 100.
    expect(rows).toHaveLength(instances);
    for (const row of rows) expect([row.id, row.status, row.output]).toEqual([row.id, "Completed", "112"]);
    for (const row of rows) checkHistory(database.prepare("SELECT events FROM history WHERE id=? ORDER BY turn").all(row.id).flatMap((each) => JSON.parse(`[${String(each["events"])}]`)));
    expect(database.prepare("SELECT (SELECT count(*) FROM inbox) AS inbox, (SELECT count(*) FROM work) AS work").get()).toEqual({ inbox: 0, work: 0 });
  } finally {
    database.close();
  }
  const ran = new Set(fs.readFileSync(path.join(dir, "runs"), "utf8").split("\n").filter(Boolean));
  expect(ran.size).toBe(instances * 3 * 4);
});

interface StoredEvent {
  EventType: number;
  EventId: number;
  TaskScheduledId?: number;
  TimerId?: number;
}

function checkHistory(events: StoredEvent[]): void {
  const scheduled = events.filter((event) => event.EventType === 4 || event.EventType === 10).map((event) => event.EventId);
  const ended = events.filter((event) => [5, 6, 11].includes(event.EventType)).map((event) => event.TaskScheduledId ?? event.TimerId ?? -1);
  expect(new Set(scheduled).size).toBe(scheduled.length);
  expect(new Set(ended).size).toBe(ended.length);
  expect(new Set(ended)).toEqual(new Set(scheduled));
  expect(events.filter((event) => event.EventType === 1)).toHaveLength(1);
}
