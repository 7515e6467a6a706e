// Full disks, with real processes and real file systems: a small one in memory is mounted where the service, or its TVMs, keep things, and
// filled. Needs root; elsewhere the tests are skipped, and say so.
import { execFileSync } from "node:child_process";
import { chmodSync, closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { ServiceError } from "../../src/cli/failures";
import { switches } from "../faults/preload";
import { testPfx } from "../standins/certificate";
import { JOB, type Running, agentPids, allCompleted, newData, pool, removeData, start, stop, until, verify, workItem } from "../support/service";

const mount = (folder: string, megabytes: number, mode: string): void => void execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=${mode}`, "none", folder], { stdio: "ignore" });
const unmount = (folder: string): void => void execFileSync("umount", ["--lazy", folder], { stdio: "ignore" });

/** Whether a file system may be mounted here. */
const canMount = (): boolean => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  const folder = mkdtempSync(path.join(os.tmpdir(), "batchledger-mount-"));
  try {
    mount(folder, 1, "700");
    unmount(folder);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
const mayMount = canMount();

let data: string;
let service: Running | undefined;
let mounted: string[];

beforeEach(() => {
  data = newData();
  mounted = [];
});
afterEach(async () => {
  if (service) await stop(service);
  service = undefined;
  for (const folder of mounted.reverse()) unmount(folder);
  await removeData(data);
});

const pfx = testPfx();
const certificate = { thumbprint: pfx.thumbprint, thumbprintAlgorithm: "sha1", certificateFormat: "pfx", data: pfx.pfx("secret").toString("base64"), password: "secret" } as const;

const smallDisk = (folder: string, megabytes: number, mode: string): void => {
  mkdirSync(folder, { recursive: true });
  mount(folder, megabytes, mode);
  mounted.push(folder);
};

/** Takes all that is left; answers the way to give it back. */
const fill = (folder: string): (() => void) => {
  const ballast = path.join(folder, "ballast");
  const file = openSync(ballast, "w", 0o600);
  for (let bytes = 65_536; bytes > 0; ) {
    try {
      writeSync(file, Buffer.alloc(bytes, 1));
    } catch {
      bytes = bytes > 512 ? 512 : 0;
    }
  }
  closeSync(file);
  return () => rmSync(ballast);
};

(mayMount ? test : test.skip)("the service's disk is full: it says so, loses nothing that it acknowledged, and goes on by itself when there is room", async () => {
  smallDisk(data, 24, "755");
  // Tasks have a disk of their own here.
  smallDisk(path.join(data, "tvms"), 8, "711");
  const notes = mkdtempSync(path.join(os.tmpdir(), "batchledger-notes-"));
  chmodSync(notes, 0o777);
  try {
    service = await start(data);
    const { client } = service;
    await pool(client, "main", 2, 2);
    await workItem(client, "w", "main");
    const command = `/bin/sh -c 'umask 0; sleep 0.2; echo "$WATASK_TASK_NAME" >> ${notes}/runs'`;
    const before = await client.addTasks("w", JOB, Array.from({ length: 40 }, (_, index) => ({ name: `t${index}`, commandLine: command })));
    expect(before).toMatchObject({ added: 40, failed: 0 });
    await until(async () => (await client.counts("w", JOB)).completed >= 4, "four tasks completed");
    const address = await client.fileAddress("input", "in.txt");
    const agents = agentPids(data);
    const giveBack = fill(data);

    // What is refused is not there afterwards; what is accepted, for a little room may be left in the log, is.
    const large = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`late${index}`, "x".repeat(30_000)]));
    const accepted: string[] = [];
    let refused: unknown;
    for (const [name, value] of Object.entries(large)) {
      const added = await client.addTask("w", JOB, { name, commandLine: command, environmentSettings: [{ name: "LARGE", value }] }).then(() => true, (error: unknown) => ((refused = error), false));
      if (added) accepted.push(name);
      else break;
    }
    expect(refused).toBeInstanceOf(ServiceError);
    expect(refused).toMatchObject({ status: 503, code: "ServerBusy", message: expect.stringContaining("disk of the service is full"), values: [{ key: "Reason", value: "DiskFull" }] });
    await expect(client.upload(address, Buffer.alloc(100_000), 100_000)).rejects.toMatchObject({ status: 503 });
    await expect(client.addCertificate(certificate)).rejects.toMatchObject({ status: 503, code: "ServerBusy", values: [{ key: "Reason", value: "DiskFull" }] });
    // Reading goes on, and so do the agents with what they have.
    expect((await client.getTask("w", JOB, "t0")).name).toBe("t0");
    await until(async () => (service as Running).said().includes("disk is full"), "the log says it");
    expect(agentPids(data)).toEqual(agents);

    giveBack();
    await client.upload(address, Buffer.alloc(100_000), 100_000);
    await client.addCertificate(certificate);
    const counts = await allCompleted(client, "w", 40 + accepted.length);
    expect(counts).toMatchObject({ completed: 40 + accepted.length, failed: 0, retries: 0, active: 0, assigned: 0, running: 0 });
    const ran = readFileSync(path.join(notes, "runs"), "utf8").trim().split("\n");
    expect(new Set(ran).size).toBe(40 + accepted.length);
    if (counts.requeues === 0) expect(ran).toHaveLength(40 + accepted.length);
    expect(agentPids(data)).toEqual(agents);
    expect(await stop(service)).toBe(0);
    service = undefined;
    expect(await verify(data)).toMatchObject({ code: 0, found: { problems: 0 } });
  } finally {
    rmSync(notes, { recursive: true, force: true });
  }
});

(mayMount ? test : test.skip)("the service's disk fills again and again while tasks run: whatever was half way each time, all of them end", async () => {
  smallDisk(data, 40, "755");
  smallDisk(path.join(data, "tvms"), 8, "711");
  service = await start(data);
  const { client, said } = service;
  await pool(client, "main", 2, 2);
  await workItem(client, "w", "main");
  const [tasks, rounds] = [100, 4];
  await client.addTasks("w", JOB, Array.from({ length: tasks }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/sh -c 'sleep 0.05'" })));
  const complaints = (): number => said().split("disk is full").length;
  for (let round = 1; round <= rounds; round++) {
    await until(async () => (await client.counts("w", JOB)).completed >= (round * tasks) / (rounds + 1), `tasks completed before the disk is full for the ${round}. time`);
    const before = complaints();
    const giveBack = fill(data);
    await until(async () => complaints() > before + 2, "several had to wait for room");
    giveBack();
  }
  expect(await allCompleted(client, "w", tasks)).toMatchObject({ completed: tasks, failed: 0, retries: 0, active: 0, assigned: 0, running: 0 });
  expect(await stop(service)).toBe(0);
  service = undefined;
  expect(await verify(data)).toMatchObject({ code: 0, found: { problems: 0 } });
});

(mayMount ? test : test.skip)("the service's disk is full for longer than TVMs may be silent: they are not, and no task is ended", async () => {
  smallDisk(data, 24, "755");
  smallDisk(path.join(data, "tvms"), 8, "711");
  const times = { heartbeatMs: 1_000, selfStopMs: 4_000, lostAfterMs: 6_000 };
  service = await start(data, [], switches(data, { shortTimes: times }));
  const { client } = service;
  await pool(client, "main", 2, 2);
  await workItem(client, "w", "main");
  // Ends when its folder says so; the others end while the disk is full.
  const gate = "$WATASK_TVM_ROOT_DIR/shared/gate";
  await client.addTask("w", JOB, { name: "long", commandLine: `/bin/sh -c 'until [ -e ${gate} ]; do sleep 0.1; done'` });
  await client.addTasks("w", JOB, Array.from({ length: 2 }, (_, index) => ({ name: `short${index}`, commandLine: "/bin/sh -c 'sleep 1'" })));
  const long = await until(async () => {
    const task = await client.getTask("w", JOB, "long");
    return task.state === "running" && (await client.counts("w", JOB)).running === 3 ? task : undefined;
  }, "all run");
  const giveBack = fill(data);
  const since = Date.now();
  await until(async () => Date.now() > since + 2 * times.lostAfterMs, "it has been full for long enough");
  giveBack();
  await until(async () => (await client.counts("w", JOB)).completed === 2, "the short ones are told");
  const { tvmName } = (await client.getTask("w", JOB, "long")).tvmInfo as { tvmName: string };
  writeFileSync(path.join(data, "tvms", "local", "main", tvmName.toLowerCase(), "shared", "gate"), "");
  expect(await allCompleted(client, "w", 3)).toMatchObject({ completed: 3, failed: 0, retries: 0, requeues: 0 });
  expect((await client.getTask("w", JOB, "long")).executionInfo?.startTime).toBe(long.executionInfo?.startTime);
  expect(service.said()).not.toContain("was not heard of for too long");
});

(mayMount ? test : test.skip)("a TVM's disk is full: its task ends with DiskFull, and with room again the TVM works on at the same boot", async () => {
  const roots = path.join(data, "tvms");
  smallDisk(roots, 4, "711");
  service = await start(data);
  const { client } = service;
  await pool(client, "main", 1, 1);
  await workItem(client, "w", "main");
  const content = Buffer.alloc(1_000_000, 7);
  const address = await client.fileAddress("input", "in.bin");
  await client.upload(address, content, content.length);
  await until(async () => existsSync(path.join(roots, "local", "main")), "the TVM has its folder");
  const task = (name: string) => ({ name, commandLine: "/bin/sh -c 'wc -c < in.bin'", resourceFiles: [{ blobSource: address.readUrl, filePath: "in.bin" }] });
  await client.addTask("w", JOB, task("before"));
  await allCompleted(client, "w", 1);
  const agents = agentPids(data);
  const giveBack = fill(roots);
  await client.addTask("w", JOB, task("full"));
  await allCompleted(client, "w", 2);
  expect((await client.getTask("w", JOB, "full")).executionInfo).toMatchObject({ schedulingError: { category: "ServerError", code: "DiskFull" } });
  giveBack();
  await client.addTask("w", JOB, task("after"));
  expect(await allCompleted(client, "w", 3)).toMatchObject({ completed: 3, failed: 1, retries: 0, requeues: 0 });
  expect((await client.getTask("w", JOB, "after")).executionInfo).toMatchObject({ exitCode: 0 });
  expect(agentPids(data)).toEqual(agents);
  expect(await stop(service)).toBe(0);
  service = undefined;
  expect(await verify(data)).toMatchObject({ code: 0, found: { problems: 0 } });
});
