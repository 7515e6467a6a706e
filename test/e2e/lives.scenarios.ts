// Whole lives on the built service: real processes, real HTTP, real files. Each composition loads these (lives*.test.ts).
import { writeFileSync } from "node:fs";
import path from "node:path";
import { createClient, taskFiles } from "../../src/cli/client";
import { testPfx } from "../standins/certificate";
import { filesToOpen } from "../support/openSecret";
import { JOB, type Running, allCompleted, composition, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

let data: string;
let service: Running;

beforeAll(async () => {
  data = newData();
  service = await start(data);
  await pool(service.client, "main", 2, 4);
});

afterAll(async () => {
  await stop(service);
  await removeData(data);
});

const shell = (script: string): string => `/bin/sh -c '${script}'`;

const all = async <T>(list: AsyncIterable<T>): Promise<T[]> => {
  const found: T[] = [];
  for await (const one of list) found.push(one);
  return found;
};

test("a task runs, and says what it was and how it went", async () => {
  const { client } = service;
  await workItem(client, "hello", "main");
  await client.addTask("hello", JOB, { name: "greet", commandLine: shell("echo hello from $WATASK_TASK_NAME on $WATASK_POOL_NAME; echo oops >&2; exit 0") });
  await allCompleted(client, "hello", 1);
  const task = (await client.getTask("hello", JOB, "greet")) as unknown as Record<string, any>;
  expect(task).toMatchObject({ name: "greet", state: "completed", previousState: "running", executionInfo: { exitCode: 0, retryCount: 0, requeueCount: 0 }, tvmInfo: { poolName: "main" } });
  const text = async (file: string): Promise<string> => {
    const { bytes: content } = await client.readFile(taskFiles("hello", JOB, "greet"), file);
    return Buffer.from(content).toString();
  };
  expect(await text("stdout.txt")).toBe("hello from greet on main\n");
  expect(await text("stderr.txt")).toBe("oops\n");
});

test("a failing task is retried as often as it may be, and counted once", async () => {
  const { client } = service;
  await workItem(client, "failing", "main", { jobSpecification: { jobConstraints: { maxTaskRetryCount: 2 } } });
  await client.addTask("failing", JOB, { name: "never", commandLine: shell("exit 7") });
  const counts = await allCompleted(client, "failing", 1);
  expect(counts).toMatchObject({ completed: 1, failed: 1, retries: 2, requeues: 0 });
  const task = (await client.getTask("failing", JOB, "never")) as unknown as Record<string, any>;
  expect(task["executionInfo"]).toMatchObject({ exitCode: 7, retryCount: 2 });
});

test("case 34: a task over its time ends with all its processes, the seed's exit code and error", async () => {
  const { client } = service;
  await workItem(client, "slow", "main");
  await client.addTask("slow", JOB, {
    name: "sleeper",
    commandLine: shell("sleep 300 & echo $! > child.pid; wait"),
    taskConstraints: { maxWallClockTime: "PT1S", maxTaskRetryCount: 3 },
  } as never);
  await allCompleted(client, "slow", 1);
  const task = (await client.getTask("slow", JOB, "sleeper")) as unknown as Record<string, any>;
  expect(task["executionInfo"]).toMatchObject({ exitCode: -1073741510, retryCount: 0, schedulingError: { category: "ServerError", code: "TaskEnded" } });
  const { bytes: content } = await client.readFile(taskFiles("slow", JOB, "sleeper"), "wd/child.pid");
  const pid = Number(Buffer.from(content).toString());
  expect(pid).toBeGreaterThan(1);
  expect(() => process.kill(pid, 0)).toThrow();
});

test("case 38: inputs come from the file store, and a missing one completes the task with BlobNotFound", async () => {
  const { client } = service;
  const address = await client.fileAddress("inputs", "words.txt");
  const content = Buffer.from("one two three\n");
  await client.upload(address, content, content.length);
  const gone = await client.fileAddress("inputs", "gone.txt");
  await workItem(client, "inputs", "main");
  await client.addTasks("inputs", JOB, [
    { name: "count", commandLine: shell("wc -w < words.txt"), resourceFiles: [{ blobSource: address.readUrl, filePath: "words.txt" }] },
    { name: "lost", commandLine: "/bin/true", resourceFiles: [{ blobSource: gone.readUrl, filePath: "gone.txt" }], taskConstraints: { maxTaskRetryCount: 3 } },
  ]);
  await allCompleted(client, "inputs", 2);
  const { bytes: out } = await client.readFile(taskFiles("inputs", JOB, "count"), "stdout.txt");
  expect(Buffer.from(out).toString().trim()).toBe("3");
  const lost = (await client.getTask("inputs", JOB, "lost")) as unknown as Record<string, any>;
  expect(lost["executionInfo"].schedulingError).toMatchObject({ category: "UserError", code: "BlobNotFound" });
  expect(lost["executionInfo"].exitCode).toBeUndefined();
  expect(lost["executionInfo"].retryCount).toBe(0);
  const ledger = composition().stored(data);
  expect(ledger).toContain("words.txt");
  const signature = new URL(address.readUrl).searchParams.get("sig") as string;
  expect(signature.length).toBeGreaterThan(20);
  expect(ledger).not.toContain(signature);
});

test("terminating a job ends what runs and what waits", async () => {
  const { client } = service;
  await workItem(client, "ending", "main");
  await client.addTasks("ending", JOB, Array.from({ length: 40 }, (_, index) => ({ name: `t${index}`, commandLine: shell("sleep 300") })));
  await until(async () => (await client.counts("ending", JOB)).running === 8, "eight tasks run");
  await client.terminateJob("ending", JOB, "enough");
  const job = await until(async () => {
    const found = (await client.getJob("ending", JOB)) as unknown as Record<string, any>;
    return found["state"] === "completed" ? found : undefined;
  }, "the job has completed");
  expect(job["executionInfo"].terminateReason).toBe("enough");
  expect(await client.counts("ending", JOB)).toMatchObject({ active: 0, assigned: 0, running: 0, completed: 40 });
  await expect(client.addTask("ending", JOB, { name: "late", commandLine: "/bin/true" })).rejects.toMatchObject({ code: "JobCompleted" });
  const item = await until(async () => {
    const found = (await client.getWorkItem("ending")) as unknown as Record<string, any>;
    return found["state"] === "completed" ? found : undefined;
  }, "the work item has completed");
  expect(item["name"]).toBe("ending");
});

test("a deleted work item is gone with its job and tasks, and its name is free at once", async () => {
  const { client } = service;
  await workItem(client, "again", "main");
  await client.addTask("again", JOB, { name: "one", commandLine: "/bin/true" });
  await allCompleted(client, "again", 1);
  await client.deleteWorkItem("again");
  await until(async () => client.getWorkItem("again").then(() => false, (error: { code?: string }) => error.code === "WorkItemNotFound"), "the work item is gone");
  await workItem(client, "again", "main");
  expect(await all(client.listTasks("again", JOB))).toEqual([]);
  await client.addTask("again", JOB, { name: "one", commandLine: "/bin/false" });
  expect(await allCompleted(client, "again", 1)).toMatchObject({ completed: 1, failed: 1 });
});

test("a pool grows and shrinks, its tasks go elsewhere, and goes", async () => {
  const { client } = service;
  await pool(client, "small", 1, 1);
  await workItem(client, "moving", "small");
  await client.addTask("moving", JOB, { name: "long", commandLine: shell("sleep 300") });
  const first = await until(async () => {
    const task = (await client.getTask("moving", JOB, "long")) as unknown as Record<string, any>;
    return task["state"] === "running" ? (task["tvmInfo"].tvmName as string) : undefined;
  }, "the task runs");
  await client.resizePool("small", { targetDedicated: 0, tvmDeallocationOption: "requeue" } as never);
  await until(async () => (await all(client.listTvms("small"))).length === 0, "the pool is empty");
  expect(await client.counts("moving", JOB)).toMatchObject({ active: 1, running: 0, requeues: 1 });
  await until(async () => ((await client.getPool("small")) as unknown as Record<string, any>)["allocationState"] === "steady", "the resize is over");
  await client.resizePool("small", { targetDedicated: 1 } as never);
  const second = await until(async () => {
    const task = (await client.getTask("moving", JOB, "long")) as unknown as Record<string, any>;
    return task["state"] === "running" ? (task["tvmInfo"].tvmName as string) : undefined;
  }, "the task runs again");
  expect(second).not.toBe(first);
  await client.deletePool("small");
  await until(async () => client.getPool("small").then(() => false, (error: { code?: string }) => error.code === "PoolNotFound"), "the pool is gone");
  expect(await client.counts("moving", JOB)).toMatchObject({ active: 1, requeues: 2 });
});

test("a TVM whose start task fails gets no tasks; one whose start task succeeds shares its work", async () => {
  const { client } = service;
  await pool(client, "broken", 1, 1, { startTask: { commandLine: shell("exit 3"), waitForSuccess: true } });
  const failed = await until(async () => {
    const [tvm] = (await all(client.listTvms("broken"))) as unknown as Record<string, any>[];
    return tvm?.["state"] === "starttaskfailed" ? tvm : undefined;
  }, "the start task has failed");
  expect(failed["startTaskInfo"]).toMatchObject({ state: "completed", exitCode: 3 });
  await pool(client, "prepared", 1, 1, { startTask: { commandLine: shell("echo ready > $WATASK_TVM_ROOT_DIR/shared/flag") } });
  await workItem(client, "using", "prepared");
  await client.addTask("using", JOB, { name: "look", commandLine: shell("cat $WATASK_TVM_ROOT_DIR/shared/flag") });
  expect(await allCompleted(client, "using", 1)).toMatchObject({ failed: 0 });
});

test("a task opens a secret with a certificate that its TVM has installed; in use that cannot be deleted, out of use it goes", async () => {
  const { client } = service;
  const own = testPfx();
  const reference = { thumbprint: own.thumbprint, thumbprintAlgorithm: "sha1" };
  await expect(pool(client, "secrets", 1, 1, { certificateReferences: [reference] })).rejects.toMatchObject({ code: "CertificateNotFound" });
  await client.addCertificate({ ...reference, data: own.pfx("its password").toString("base64"), password: "its password" });
  await pool(client, "secrets", 1, 1, { certificateReferences: [reference] });
  await workItem(client, "opening", "secrets");
  const resourceFiles = await Promise.all(filesToOpen(own.cert, "the secret").map(async ({ name, content }) => {
    const address = await client.fileAddress("inputs", name);
    await client.upload(address, content, content.length);
    return { blobSource: address.readUrl, filePath: name };
  }));
  await client.addTask("opening", JOB, { name: "open", commandLine: `node open.js sha1-${own.thumbprint}.pfx`, resourceFiles });
  await allCompleted(client, "opening", 1);
  const { bytes: out } = await client.readFile(taskFiles("opening", JOB, "open"), "stdout.txt");
  expect(Buffer.from(out).toString()).toBe("the secret\n");
  await client.deleteCertificate(own.thumbprint);
  await until(async () => (await client.getCertificate(own.thumbprint)).state === "deletefailed", "the deletion has failed");
  await client.deletePool("secrets");
  await until(async () => client.getPool("secrets").then(() => false, (error: { code?: string }) => error.code === "PoolNotFound"), "the pool is gone");
  await client.deleteCertificate(own.thumbprint);
  await until(async () => client.getCertificate(own.thumbprint).then(() => false, (error: { code?: string }) => error.code === "CertificateNotFound"), "the certificate is gone");
});

test("case 51: higher priority goes first; running tasks are left alone", async () => {
  const { client } = service;
  await pool(client, "single", 1, 1);
  await workItem(client, "low", "single");
  await workItem(client, "high", "single", { jobSpecification: { priority: 10 } });
  await client.addTask("low", JOB, { name: "first", commandLine: shell("while [ ! -e $WATASK_TVM_ROOT_DIR/shared/go ]; do sleep 0.02; done") });
  await until(async () => (await client.counts("low", JOB)).running === 1, "the first task runs");
  await client.addTasks("low", JOB, [1, 2, 3].map((n) => ({ name: `low${n}`, commandLine: "/bin/true" })));
  await client.addTasks("high", JOB, [1, 2, 3].map((n) => ({ name: `high${n}`, commandLine: "/bin/true" })));
  const [tvm] = await all(client.listTvms("single"));
  // The task that runs ends as soon as this file is there.
  writeFileSync(path.join(composition().tvmRoot(data, "single", (tvm as { name: string }).name), "shared", "go"), "");
  await allCompleted(client, "low", 4);
  await allCompleted(client, "high", 3);
  const started = async (item: string): Promise<string[]> =>
    ((await all(client.listTasks(item, JOB))) as unknown as Record<string, any>[]).filter(({ name }) => name !== "first").map((task) => task["executionInfo"].startTime as string);
  const lastHigh = (await started("high")).sort().at(-1) as string;
  const firstLow = (await started("low")).sort()[0] as string;
  expect(lastHigh <= firstLow).toBe(true);
});

test("a wrong key is refused, and a second service on the same data too", async () => {
  const stranger = createClient({ url: service.url, account: service.account, key: Buffer.alloc(64, 1).toString("base64") });
  await expect(stranger.listPools().next()).rejects.toMatchObject({ code: "AuthenticationFailed" });
  stranger.close();
  if (composition().exclusive) await expect(start(data)).rejects.toThrow(/in use|already|owns/i);
});

test("submissions by message do what requests do; one that cannot be done ends among the refused ones, with the reason", async () => {
  const { client } = service;
  await client.sendCommand({ operation: "addWorkItem", body: { name: "posted", jobExecutionEnvironment: { poolName: "main" } } });
  await until(async () => client.getWorkItem("posted").then(() => true, () => false), "the work item is there");
  await client.sendCommand({ operation: "addTask", workItem: "posted", job: JOB, body: { name: "one", commandLine: "/bin/true" } });
  await client.sendCommand({ operation: "addTasks", workItem: "posted", job: JOB, body: { value: [{ name: "two", commandLine: "/bin/true" }, { name: "three", commandLine: "/bin/true" }] } });
  expect(await allCompleted(client, "posted", 3)).toMatchObject({ completed: 3, failed: 0 });
  await client.sendCommand({ operation: "resizePool", pool: "nowhere", body: { targetDedicated: 1 } });
  await client.sendCommand({ operation: "dance" });
  const refused = await until(async () => {
    const letters = await client.refusedCommands();
    return letters.length === 2 ? letters : undefined;
  }, "two messages are refused");
  expect(refused.map(({ reason }) => reason).sort()).toEqual([expect.stringContaining("InvalidPropertyValue"), expect.stringContaining("PoolNotFound")]);
  await expect(client.sendCommand({ operation: "addTask", account: "stranger" })).rejects.toMatchObject({ code: "InsufficientAccountPermissions" });
});
