// The same service on Azure's adapters, against the stand-ins: the real SDKs of Cosmos DB, Service Bus and Blob storage over their
// wire protocols, the built functions, real agents and processes.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { type Client, createClient, taskFiles } from "../../src/cli/client";
import { JOB, allCompleted, ended, newData, pool, removeData, until, workItem } from "../support/service";

const START = path.resolve(__dirname, "..", "standins", "start.js");
let data: string;
let service: ChildProcess;
let client: Client;
let errors = "";

beforeAll(async () => {
  data = newData();
  service = spawn(process.execPath, [START, data, "0"], { stdio: ["ignore", "pipe", "pipe"] });
  service.stderr?.on("data", (chunk) => (errors += chunk));
  const line = await new Promise<string>((resolve, reject) => {
    let text = "";
    service.stdout?.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\n")) resolve(text);
    });
    service.once("exit", (code) => reject(new Error(`ended with ${code} before it was ready: ${errors}`)));
  });
  const { api, account, keyFile } = JSON.parse(line) as { api: string; account: string; keyFile: string };
  client = createClient({ url: api, account, key: readFileSync(keyFile, "utf8").split("\n")[0] as string });
  await pool(client, "main", 2, 4);
}, 60_000);

afterAll(async () => {
  client.close();
  service.kill("SIGTERM");
  await ended(service);
  removeData(data);
}, 60_000);

test("a task runs with its input, and its output is read back", async () => {
  const address = await client.fileAddress("inputs", "words.txt");
  const content = Buffer.from("one two three\n");
  await client.upload(address, content, content.length);
  await workItem(client, "hello", "main");
  await client.addTask("hello", JOB, { name: "count", commandLine: "/bin/sh -c 'wc -w < words.txt'", resourceFiles: [{ blobSource: address.readUrl, filePath: "words.txt" }] });
  expect(await allCompleted(client, "hello", 1)).toMatchObject({ completed: 1, failed: 0 });
  const { bytes } = await client.readFile(taskFiles("hello", JOB, "count"), "stdout.txt");
  expect(bytes.toString().trim()).toBe("3");
});

test("300 tasks, some of which fail and are tried again, are each counted once", async () => {
  await workItem(client, "many", "main", { jobSpecification: { jobConstraints: { maxTaskRetryCount: 1 } } });
  const added = await client.addTasks("many", JOB, Array.from({ length: 300 }, (_, index) => ({ name: `t${index}`, commandLine: index % 100 === 7 ? "/bin/false" : "/bin/true" })));
  expect(added).toMatchObject({ added: 300, failed: 0 });
  const counts = await allCompleted(client, "many", 300, 120_000);
  expect(counts).toMatchObject({ active: 0, assigned: 0, running: 0, completed: 300, failed: 3, retries: 3, requeues: 0 });
}, 150_000);

test("a pool shrinks and goes; a job is terminated and deleted", async () => {
  await workItem(client, "ending", "main");
  await client.addTasks("ending", JOB, Array.from({ length: 12 }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/sleep 300" })));
  await until(async () => (await client.counts("ending", JOB)).running === 8, "eight tasks run");
  await client.deleteWorkItem("ending");
  await until(async () => client.getWorkItem("ending").then(() => false, (error: { code?: string }) => error.code === "WorkItemNotFound"), "the work item is gone");
  await client.deletePool("main");
  await until(async () => client.getPool("main").then(() => false, (error: { code?: string }) => error.code === "PoolNotFound"), "the pool is gone");
}, 120_000);
