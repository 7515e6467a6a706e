// TVMs of the built service are started anew: real agents, real start tasks, real files.
import { readFileSync } from "node:fs";
import path from "node:path";
import { tvmFiles } from "../../src/cli/client";
import { JOB, type Running, composition, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

let data: string;
let service: Running;
beforeAll(async () => {
  data = newData();
  service = await start(data, ["--pools-max", "2", "--cores-max", "3"]);
  // Says in the TVM's own folder that it began, and with which ports.
  const begun = "/bin/sh -c 'echo $WATASK_PORTRANGE_LOW-$WATASK_PORTRANGE_HIGH >> $WATASK_TVM_ROOT_DIR/shared/begun'";
  await pool(service.client, "main", 1, 1, { communication: true, startTask: { commandLine: begun, waitForSuccess: true } });
});
afterAll(async () => {
  await stop(service);
  await removeData(data);
});

const onlyTvm = async () => {
  for await (const tvm of service.client.listTvms("main")) return tvm;
  return undefined;
};
const ready = (state: string) => until(async () => ((await onlyTvm())?.state === state ? onlyTvm() : undefined), `the TVM to be ${state}`);
const begun = async (tvm: string): Promise<string> => Buffer.from((await service.client.readFile(tvmFiles("main", tvm), "shared/begun")).bytes).toString();

test("reboot: the task runs again, the files stay, the start task has run twice; reimage: the files are gone, and it has run once", async () => {
  const { client } = service;
  const { name = "" } = (await ready("idle")) ?? {};
  expect(await begun(name)).toBe("1101-65535\n");
  await workItem(client, "long", "main");
  // Waits for a file that only the test makes; it is requeued before.
  await client.addTask("long", JOB, { name: "wait", commandLine: "/bin/sh -c 'echo $$ > $WATASK_TVM_ROOT_DIR/shared/pid; while [ ! -e $WATASK_TVM_ROOT_DIR/shared/go ]; do sleep 0.1; done'" });
  await ready("running");
  await until(async () => (await client.readFile(tvmFiles("main", name), "shared/pid").catch(() => undefined))?.bytes.length, "the task to begin");
  const pid = Number(readFileSync(path.join(composition().tvmRoot(data, "main", name), "shared", "pid"), "utf8"));

  await client.rebootTvm("main", name);
  expect(["rebooting", "waitingforstarttask", "idle", "running"]).toContain((await onlyTvm())?.state);
  const task = await until(async () => {
    const now = (await client.getTask("long", JOB, "wait")) as unknown as Record<string, any>;
    return now["executionInfo"].requeueCount === 1 && now["state"] === "running" ? now : undefined;
  }, "the task to run again");
  expect(task["executionInfo"]).toMatchObject({ requeueCount: 1, retryCount: 0 });
  expect(() => process.kill(pid, 0)).toThrow();
  expect(await begun(name)).toBe("1101-65535\n1101-65535\n");
  expect((await onlyTvm())?.["lastBootTime"]).toBeDefined();

  await client.reimageTvm("main", name, "terminate");
  await until(async () => (await client.getTask("long", JOB, "wait")).state === "completed", "the task to end");
  await ready("idle");
  expect(await begun(name)).toBe("1101-65535\n");
  expect(await client.getTvm("main", name)).toMatchObject({ totalTasksRun: expect.any(Number), recentTasks: [{ taskName: "wait", taskState: "completed" }] });
});

test("quotas: pools are refused, cores stop a pool short", async () => {
  const { client } = service;
  await pool(client, "second", 3, 1);
  const second = await until(async () => {
    const now = await client.getPool("second");
    return now.allocationState === "steady" ? now : undefined;
  }, "the pool to be steady");
  expect(second).toMatchObject({ targetDedicated: 3, currentDedicated: 2, resizeError: { code: "AccountCoreQuotaReached" } });
  await expect(pool(client, "third", 0, 1)).rejects.toMatchObject({ code: "PoolQuotaReached" });
  const names = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const { name } of client.listTvms("second")) found.push(name);
    return found;
  };
  const [gone = "", stays = ""] = await names();
  await client.removeTvms("second", { tvmList: [gone] });
  const after = await until(async () => {
    const now = await client.getPool("second");
    return now.allocationState === "steady" ? now : undefined;
  }, "the TVM to go");
  // Two are wanted now, and there are cores for two: another came for the one that was sent away.
  expect(after).toMatchObject({ targetDedicated: 2, currentDedicated: 2 });
  expect(await names()).toContain(stays);
  expect(await names()).not.toContain(gone);
});
