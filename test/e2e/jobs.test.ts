// Job managers, and jobs that are disabled, on the built service: real processes that speak real HTTP for themselves.
import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { taskFiles } from "../../src/cli/client";
import { JOB, type Running, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

const ROOT = path.resolve(__dirname, "..", "..");
const LAUNCHER = path.join(ROOT, "bin", "batchledger.js");

let data: string;
let inputs: string;
let service: Running;
beforeAll(async () => {
  data = newData();
  inputs = mkdtempSync(path.join(os.tmpdir(), "batchledger-inputs-"));
  service = await start(data);
  await pool(service.client, "main", 2, 2);
});
afterAll(async () => {
  await stop(service);
  removeData(data);
  rmSync(inputs, { recursive: true, force: true });
});

const shell = (script: string): string => `/bin/sh -c '${script}'`;
type Any = Record<string, any>;
const task = async (item: string, name: string): Promise<Any> => (await service.client.getTask(item, JOB, name)) as unknown as Any;
const job = async (item: string): Promise<Any> => (await service.client.getJob(item, JOB)) as unknown as Any;
const stdout = async (item: string, name: string): Promise<string> => Buffer.from((await service.client.readFile(taskFiles(item, JOB, name), "stdout.txt")).bytes).toString();

/** Nothing but HTTP: adds tasks to its own job, waits for them, looks where it may not, and says what it saw. */
const MANAGER = `
const { WATASK_SERVICE_URL: url, WATASK_AUTHENTICATION_TOKEN: token, WATASK_WORKITEM_NAME: item, WATASK_JOB_NAME: job } = process.env;
const call = (method, path, body) => fetch(url + path + (path.includes("?") ? "&" : "?") + "api-version=2014-10-01.1.0", {
  method, headers: { authorization: "Bearer " + token, ...(body ? { "content-type": "application/json" } : {}) }, ...(body ? { body: JSON.stringify(body) } : {}),
});
const own = "/workitems/" + item + "/jobs/" + job;
const names = ["one", "two", "three", "four", "five"];
for (const name of names) {
  const { status } = await call("POST", own + "/tasks", { name, commandLine: "/bin/sh -c 'echo I am " + name + "; test -z \\"$WATASK_AUTHENTICATION_TOKEN\\"'" });
  if (status !== 201) throw new Error("adding " + name + ": " + status);
}
for (;;) {
  const { value } = await (await call("GET", own + "/tasks")).json();
  if (value.filter(({ name, state }) => names.includes(name) && state === "completed").length === names.length) break;
  await new Promise((resolve) => setTimeout(resolve, 20));
}
const said = [];
for (const name of names) said.push((await (await call("GET", own + "/tasks/" + name + "/files/stdout.txt")).text()).trim());
console.log(said.join(", "));
for (const path of ["/workitems/other/jobs/" + job + "/tasks", "/workitems", "/pools"]) console.log("GET " + path + ": " + (await call("GET", path)).status);
console.log("POST other: " + (await call("POST", "/workitems/other/jobs/" + job + "/tasks", { name: "mine", commandLine: "x" })).status);
console.log("terminate own job: " + (await call("POST", own + "?terminate")).status);
console.log("token: " + token);
`;

const inputFile = async (name: string, text: string): Promise<{ blobSource: string; filePath: string }> => {
  const address = await service.client.fileAddress("inputs", name);
  await service.client.upload(address, Buffer.from(text), Buffer.byteLength(text));
  return { blobSource: address.readUrl, filePath: name };
};

test("case 45: a job manager adds tasks to its own job, waits for them, and its job ends with it; another job is closed to it", async () => {
  const { client } = service;
  await workItem(client, "other", "main");
  const jobManager = { name: "plan", commandLine: "node plan.mjs", resourceFiles: [await inputFile("plan.mjs", MANAGER)], runExclusive: false };
  await workItem(client, "managed", "main", { jobSpecification: { jobManager } });
  const done = await until(async () => ((await job("managed"))["state"] === "completed" ? job("managed") : undefined), "the managed job has completed");
  expect(done["executionInfo"]).toMatchObject({ terminateReason: "JMComplete" });
  expect(await client.counts("managed", JOB)).toMatchObject({ completed: 6, failed: 0, active: 0 });
  const lines = (await stdout("managed", "plan")).trim().split("\n");
  expect(lines.slice(0, -1)).toEqual([
    "I am one, I am two, I am three, I am four, I am five",
    `GET /workitems/other/jobs/${JOB}/tasks: 403`, "GET /workitems: 403", "GET /pools: 403", "POST other: 403", "terminate own job: 403",
  ]);
  // What it was given is worth nothing now.
  const token = (lines.at(-1) as string).slice("token: ".length);
  expect(token.length).toBeGreaterThan(30);
  const answer = await fetch(`${service.url}/workitems/managed/jobs/${JOB}?api-version=2014-10-01.1.0`, { headers: { authorization: `Bearer ${token}` } });
  expect([answer.status, ((await answer.json()) as Any)["code"]]).toEqual([403, "AuthenticationFailed"]);
  expect((await client.counts("other", JOB)).active).toBe(0);
});

test("submit --manager: the command line finds its way from inside the manager, and waits for all of it", async () => {
  const script = path.join(inputs, "fanout.mjs");
  writeFileSync(script, `
import { createRequire } from "node:module";
const { createClient } = createRequire(import.meta.url)(${JSON.stringify(path.join(ROOT, "dist", "src", "cli", "client.js"))});
const { findConnection } = createRequire(import.meta.url)(${JSON.stringify(path.join(ROOT, "dist", "src", "cli", "connection.js"))});
const client = createClient(findConnection(undefined, process.env));
const [item, job] = [process.env.WATASK_WORKITEM_NAME, process.env.WATASK_JOB_NAME];
const result = await client.addTasks(item, job, Array.from({ length: 30 }, (_, index) => ({ name: "part" + index, commandLine: "/bin/true" })));
console.log("added " + result.added);
while ((await client.counts(item, job)).completed < 30) await new Promise((resolve) => setTimeout(resolve, 20));
client.close();
`);
  const { stdout: out } = await promisify(execFile)(process.execPath, [LAUNCHER, "submit", "--data", data, "--json", "--manager", "--wait", "--pool", "main", "--name", "fan", "--input", script, "--", "node", "fanout.mjs"], { cwd: inputs });
  expect(JSON.parse(out)).toMatchObject({ workItem: "fan", manager: "manager", succeeded: true, counts: { completed: 31, failed: 0 } });
  expect(await stdout("fan", "manager")).toBe("added 30\n");
  expect((await job("fan"))["executionInfo"]).toMatchObject({ terminateReason: "JMComplete" });
});

test("with a TVM to itself: while it runs nothing else is there, and its job's tasks run elsewhere", async () => {
  const { client } = service;
  const jobManager = { name: "alone", commandLine: shell("while [ ! -e done ]; do sleep 0.02; done"), killJobOnCompletion: false };
  await workItem(client, "exclusive", "main", { jobSpecification: { jobManager } });
  const at = await until(async () => {
    const found: Any = await task("exclusive", "alone");
    return found["state"] === "running" ? (found["tvmInfo"].tvmName as string) : undefined;
  }, "the manager runs");
  await client.addTasks("exclusive", JOB, Array.from({ length: 6 }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/true", affinityInfo: { affinityId: `TVM:${at}` } })));
  await until(async () => (await client.counts("exclusive", JOB)).completed === 6, "the others have run");
  for (let index = 0; index < 6; index++) expect((await task("exclusive", `t${index}`))["tvmInfo"].tvmName).not.toBe(at);
  const folder = path.join(data, "tvms", service.account, "main", at, "tasks", "exclusive", JOB, "alone", "wd");
  writeFileSync(path.join(folder, "done"), "");
  // Case 46: the manager has ended, and the job goes on.
  await until(async () => (await task("exclusive", "alone"))["state"] === "completed", "the manager has ended");
  expect((await job("exclusive"))["state"]).toBe("active");
  await client.terminateJob("exclusive", JOB);
});

test("job disable and enable from the command line: the running process ends, and runs again when it may; case 41: deleted, its folder goes", async () => {
  const { client } = service;
  const bl = (...words: string[]) => promisify(execFile)(process.execPath, [LAUNCHER, ...words, "--data", data, "--json"]);
  await workItem(client, "paused", "main");
  await client.addTask("paused", JOB, { name: "long", commandLine: shell("echo $$ > pid; exec sleep 300") });
  const running = async (): Promise<{ folder: string; pid: number }> => {
    const found = await until(async () => ((await task("paused", "long"))["state"] === "running" ? task("paused", "long") : undefined), "the task runs");
    const folder = path.join(data, "tvms", service.account, "main", found["tvmInfo"].tvmName as string, "tasks", "paused", JOB, "long");
    const pid = await until(async () => Number(await client.readFile(taskFiles("paused", JOB, "long"), "wd/pid").then(({ bytes }) => bytes.toString(), () => "")) || undefined, "its process has said its number");
    return { folder, pid };
  };
  const gone = (pid: number) => until(async () => { try { process.kill(pid, 0); return false; } catch { return true; } }, `process ${pid} has ended`);
  const first = await running();
  await bl("job", "disable", "paused");
  await until(async () => (await job("paused"))["state"] === "disabled", "the job is disabled");
  await gone(first.pid);
  expect((await task("paused", "long"))["executionInfo"]).toMatchObject({ requeueCount: 1, retryCount: 0 });
  await bl("task", "update", "paused/long", "--retries", "2", "--retention", "5m");
  await bl("job", "update", "paused", "--priority", "7", "--retries", "1");
  expect(await job("paused")).toMatchObject({ priority: 7, jobConstraints: { maxTaskRetryCount: 1 } });
  expect((await task("paused", "long"))["taskConstraints"]).toMatchObject({ maxTaskRetryCount: 2, retentionTime: "PT5M" });
  await bl("job", "enable", "paused");
  const second = await running();
  expect(second.pid).not.toBe(first.pid);
  await client.deleteTask("paused", JOB, "long");
  await expect(client.getTask("paused", JOB, "long")).rejects.toMatchObject({ code: "TaskNotFound" });
  await gone(second.pid);
  await until(async () => !existsSync(second.folder) && !existsSync(first.folder), "its folders are gone");
  await bl("job", "terminate", "paused", "--reason", "over");
  await until(async () => (await job("paused"))["state"] === "completed", "the job has completed");
  expect((await job("paused"))["executionInfo"].terminateReason).toBe("over");
});
