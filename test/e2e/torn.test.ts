// What disks and schedulers do to real processes: a write-ahead log that was torn off at any place, a service that stands still for
// a while. What is left is whole, what is damaged is said, and nothing is counted twice.
import { chmodSync, copyFileSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { JOB, allCompleted, kill, newData, pool, removeData, start, stop, until, verify, workItem } from "../support/service";

let data: string;
beforeEach(() => {
  data = newData();
});
afterEach(() => removeData(data));

test("a log that is torn off anywhere leaves a whole beginning of what there was", async () => {
  const service = await start(data);
  await workItem(service.client, "w", "main");
  for (let round = 0; round < 5; round++) await service.client.addTasks("w", JOB, Array.from({ length: 40 }, (_, index) => ({ name: `r${round}t${index}`, commandLine: "/bin/true" })));
  await kill(service);
  const size = statSync(path.join(data, "ledger.db-wal")).size;
  expect(size).toBeGreaterThan(50_000);
  const copies = mkdtempSync(path.join(os.tmpdir(), "batchledger-torn-"));
  try {
    const counts: number[] = [];
    for (const share of [0, 0.21, 0.5, 0.77, 0.999, 1]) {
      const copy = path.join(copies, String(share));
      cpSync(path.join(data, "keys"), path.join(copy, "keys"), { recursive: true });
      for (const file of ["ledger.db", "ledger.db-wal"]) copyFileSync(path.join(data, file), path.join(copy, file));
      truncateSync(path.join(copy, "ledger.db-wal"), Math.floor(size * share));
      const { code, found, err } = await verify(copy);
      expect([share, code, found?.faults, err]).toEqual([share, 0, [], ""]);
      counts.push((found as { commits: number }).commits);
    }
    expect(counts).toEqual(counts.toSorted((a, b) => a - b));
    expect(counts.at(-1)).toBeGreaterThanOrEqual(200);
    expect(counts[0]).toBeLessThan(counts.at(-1) as number);
  } finally {
    rmSync(copies, { recursive: true, force: true });
  }
});

test("a page of the database that was overwritten is found, and the service says so instead of guessing", async () => {
  const service = await start(data);
  await workItem(service.client, "w", "main");
  await service.client.addTasks("w", JOB, Array.from({ length: 200 }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/true" })));
  await stop(service);
  const file = path.join(data, "ledger.db");
  const bytes = readFileSync(file);
  const at = bytes.lastIndexOf("TaskQueued");
  expect(at).toBeGreaterThan(0);
  bytes.fill(0x5a, Math.floor(at / 4096) * 4096 + 200, Math.floor(at / 4096) * 4096 + 2_000);
  writeFileSync(file, bytes);
  const { code, found, err } = await verify(data);
  expect(code).toBe(1);
  expect((found?.problems ?? 0) > 0 || err.includes("cannot be read")).toBe(true);
});

test("a service that stands still while its TVMs work hears of everything afterwards, once", async () => {
  const notes = path.join(data, "notes");
  writeFileSync(notes, "", { mode: 0o666 });
  chmodSync(notes, 0o666);
  const service = await start(data);
  const { client } = service;
  await pool(client, "main", 2, 4);
  await workItem(client, "w", "main");
  await client.addTasks("w", JOB, Array.from({ length: 200 }, (_, index) => ({ name: `t${index}`, commandLine: `/bin/sh -c 'sleep 0.2; echo ${index} >> ${notes}'` })));
  await until(async () => (await client.counts("w", JOB)).completed >= 5, "some have completed");
  service.process.kill("SIGSTOP");
  const lines = (): number => readFileSync(notes, "utf8").split("\n").length - 1;
  const before = lines();
  await until(async () => lines() > before, "TVMs go on with what they have");
  service.process.kill("SIGCONT");
  expect(await allCompleted(client, "w", 200)).toMatchObject({ completed: 200, failed: 0, retries: 0, requeues: 0, active: 0, running: 0 });
  expect(new Set(readFileSync(notes, "utf8").trim().split("\n")).size).toBe(200);
  expect(lines()).toBe(200);
  await stop(service);
  expect(await verify(data)).toMatchObject({ code: 0, found: { problems: 0 } });
  expect(existsSync(notes)).toBe(true);
});
