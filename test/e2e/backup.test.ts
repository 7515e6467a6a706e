// A backup taken while the service runs: whole, and a service starts on it with everything that was acknowledged before. And a
// data folder that was damaged: found, named, and not taken for the truth.
import { spawn } from "node:child_process";
import { existsSync, openSync, readFileSync, readdirSync, statSync, writeFileSync, writeSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";
import { JOB, allCompleted, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

const LAUNCHER = path.resolve(__dirname, "..", "..", "bin", "batchledger.js");
let folders: string[] = [];
const folder = (): string => {
  const made = newData();
  folders.push(made);
  return made;
};
afterEach(() => {
  for (const one of folders) removeData(one);
  folders = [];
});

const run = async (...args: string[]): Promise<{ code: number | null; out: string; err: string }> => {
  const child = spawn(process.execPath, [LAUNCHER, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  return { code: await new Promise((resolve) => child.once("close", (code) => resolve(code))), out, err };
};

test("a service starts on a backup that was made while it ran, with all that was there before, and goes on", async () => {
  const [data, copy] = [folder(), folder()];
  const service = await start(data);
  await pool(service.client, "main", 1, 4);
  await workItem(service.client, "before", "main");
  const address = await service.client.fileAddress("inputs", "a.txt");
  await service.client.upload(address, Buffer.from("kept"), 4);
  await service.client.addTasks("before", JOB, Array.from({ length: 20 }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/true" })));
  await allCompleted(service.client, "before", 20);
  await workItem(service.client, "busy", "main");
  const adding = service.client.addTasks("busy", JOB, Array.from({ length: 100 }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/true" })));
  expect(await run("backup", copy, "--data", data, "--json")).toMatchObject({ code: 0, err: "" });
  expect((await run("backup", copy, "--data", data)).err).toContain("is not empty");
  expect((await run("verify", "--data", data)).err).toContain("in use");
  await adding;
  await stop(service);
  expect(statSync(path.join(copy, "keys", `${service.account}.key`)).mode & 0o077).toBe(0);
  const looked = await run("verify", "--data", copy, "--json");
  expect([looked.code, JSON.parse(looked.out)]).toMatchObject([0, { problems: 0, faults: [] }]);
  const again = await start(copy);
  expect(await again.client.counts("before", JOB)).toMatchObject({ completed: 20 });
  const { active = 0, assigned = 0, running = 0, completed = 0 } = (await again.client.counts("busy", JOB).catch(() => ({}))) as Partial<Record<string, number>>;
  await allCompleted(again.client, "busy", active + assigned + running + completed, 60_000);
  expect(existsSync(path.join(copy, "files"))).toBe(true);
  expect(readdirSync(path.join(copy, "files"), { recursive: true }).some((name) => String(name).includes("a.txt"))).toBe(true);
  await stop(again);
});

test("damage is found and named, and nobody is served it as the truth", async () => {
  const data = folder();
  const service = await start(data);
  await workItem(service.client, "w", "main");
  await service.client.addTasks("w", JOB, [{ name: "a", commandLine: "/bin/true" }, { name: "b", commandLine: "/bin/true" }]);
  await until(async () => (await service.client.counts("w", JOB)).active === 2, "two tasks wait");
  await stop(service);
  const database = new DatabaseSync(path.join(data, "ledger.db"));
  database.exec("UPDATE commits SET events = replace(events, '/bin/true', '/bin/evil') WHERE stream LIKE 'task-%.a'");
  database.close();
  const looked = await run("verify", "--data", data);
  expect(looked.code).toBe(1);
  expect(looked.err).toContain("the checksum differs");
  const hurt = await start(data);
  await expect(hurt.client.terminateTask("w", JOB, "a")).rejects.toMatchObject({ status: 500 });
  await hurt.client.terminateTask("w", JOB, "b");
  await stop(hurt);
});

test("rows that another release's rules made are made anew at the start, once", async () => {
  const data = folder();
  const first = await start(data);
  await workItem(first.client, "w", "main");
  await first.client.addTasks("w", JOB, [{ name: "a", commandLine: "/bin/true" }]);
  await stop(first);
  const madeBy = readFileSync(path.join(data, "views.json"), "utf8");
  const database = new DatabaseSync(path.join(data, "ledger.db"));
  const spoil = (): void => database.exec("UPDATE counters SET value = 7 WHERE view = 'tasks' AND name = 'active'");
  spoil();
  const second = await start(data);
  expect((await second.client.counts("w", JOB)).active).toBe(7);
  await stop(second);
  writeFileSync(path.join(data, "views.json"), JSON.stringify({ madeBy: "an earlier release" }));
  const third = await start(data);
  expect((await third.client.counts("w", JOB)).active).toBe(1);
  expect(third.said()).toContain("made anew");
  await stop(third);
  expect(readFileSync(path.join(data, "views.json"), "utf8")).toBe(madeBy);
  database.close();
});

test("a file that is no database any more is said to be none", async () => {
  const data = folder();
  const service = await start(data);
  await stop(service);
  const file = path.join(data, "ledger.db");
  expect(readFileSync(file).length).toBeGreaterThan(4096);
  writeSync(openSync(file, "r+"), Buffer.alloc(4096, 7), 0, 4096, 0);
  const looked = await run("verify", "--data", data);
  expect([looked.code, looked.err]).toEqual([1, expect.stringContaining("cannot be read")]);
});
