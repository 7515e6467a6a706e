// `npm run start:azure-local` as a user has it: everything in one process, the TVMs machines of scale sets. The demo runs on it. What else
// the service does on Azure's parts is in livesAzure, killsAzure and azureFaults.
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { ended, newData, removeData } from "../support/service";

const root = path.resolve(__dirname, "..", "..");
let data: string;
let service: ChildProcess;
let errors = "";

beforeAll(async () => {
  data = newData();
  service = spawn(process.execPath, [path.join(root, "test", "standins", "start.js"), data, "0"], { stdio: ["ignore", "pipe", "pipe"] });
  service.stderr?.on("data", (chunk) => (errors += chunk));
  const early = once(service, "exit").then(([code]) => {
    throw new Error(`ended with ${code} before it was ready: ${errors}`);
  });
  early.catch(() => undefined);
  const [line] = (await Promise.race([once(service.stdout as NodeJS.ReadableStream, "data"), early])) as [Buffer];
  expect(JSON.parse(String(line))).toMatchObject({ event: "ready", account: "local", data });
});

afterAll(async () => {
  service.kill("SIGTERM");
  await ended(service);
  await removeData(data);
});

test("the demo renders its picture there, retries the tile that fails once, and lets its machines go", async () => {
  const scene = JSON.parse(readFileSync(path.join(root, "examples/render/scene.json"), "utf8")) as object;
  const sceneFile = path.join(data, "scene.json");
  writeFileSync(sceneFile, JSON.stringify({ ...scene, width: 96, height: 64, columns: 3, rows: 2, failOnce: "1,1" }));
  const picture = path.join(data, "picture.png");
  const args = ["demo", "--service", "--data", data, "--scene", sceneFile, "--samples", "1", "--out", picture, "--json"];
  const { stdout } = await promisify(execFile)(process.execPath, [path.join(root, "bin", "batchledger.js"), ...args]);
  expect(JSON.parse(stdout)).toMatchObject({ picture, tasks: 7, requeues: 0 });
  expect((JSON.parse(stdout) as { retries: number }).retries).toBeGreaterThanOrEqual(1);
  const png = readFileSync(picture);
  expect([png.subarray(1, 4).toString(), png.readUInt32BE(16), png.readUInt32BE(20)]).toEqual(["PNG", 96, 64]);
  for (const deadline = Date.now() + 30_000; readdirSync(path.join(data, "azure", "machines")).length > 0; ) {
    if (Date.now() > deadline) throw new Error("the machines are still there");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
});
