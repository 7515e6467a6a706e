// `npm run bench [-- figure ...] [-- --smoke]`: measures the built service as a user has it, and prints one JSON line a figure.
// Figures: submit, throughput, latency, queue, views; and by name only: autoscale, and against the stand-ins for Azure azure and azure-faults. Every line says what the machine itself could do in the same run where
// that is the measure. Ratios travel between machines, absolute times do not.
import { execFileSync, spawnSync } from "node:child_process";
import path from "node:path";
import { processLimit } from "./limit";
import { JOB, type Service, addPool, addWorkItem, completed, cpuOf, memoryOf, newFolder, removeFolder, startService, stopService, tasks, until } from "./service";

const chosen = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const smoke = process.argv.includes("--smoke");
const scale = (count: number): number => (smoke ? Math.max(20, Math.round(count / 100)) : count);

const print = (figure: string, value: number, unit: string, more: Record<string, unknown> = {}): void => {
  console.log(JSON.stringify({ figure, value: Math.round(value * 100) / 100, unit, ...more }));
};

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

const perSecond = async (count: number, work: () => Promise<unknown>): Promise<number> => {
  const began = performance.now();
  await work();
  return count / ((performance.now() - began) / 1000);
};

/** Tasks accepted per second through HTTP: one by one, in collections of 100, as a stream. There is no pool to run them. */
const submit = async (service: Service): Promise<void> => {
  const { client } = service;
  await addWorkItem(client, "submit", "nowhere");
  const single = scale(2000);
  const one = await perSecond(single, async () => {
    const source = tasks(single, "one");
    const worker = async (): Promise<void> => {
      for (let next = source.next(); !next.done; next = source.next()) await client.addTask("submit", JOB, next.value);
    };
    await Promise.all(Array.from({ length: 8 }, worker));
  });
  print("accepted one by one", one, "tasks/s", { connections: 8, tasks: single });
  const many = scale(20_000);
  const hundred = await perSecond(many, async () => {
    const source = [...tasks(many, "col")];
    const worker = async (): Promise<void> => {
      for (let chunk = source.splice(0, 100); chunk.length > 0; chunk = source.splice(0, 100)) await collection(service, "submit", chunk);
    };
    await Promise.all([worker(), worker()]);
  });
  print("accepted in collections of 100", hundred, "tasks/s", { connections: 2, tasks: many });
  const streamed = scale(50_000);
  const stream = await perSecond(streamed, () => client.addTasks("submit", JOB, tasks(streamed, "str")));
  print("accepted as a stream", stream, "tasks/s", { connections: 1, tasks: streamed, aim: 10_000 });
};

const collection = async ({ client }: Service, workItem: string, value: readonly object[]): Promise<void> => {
  await client.addCollection(workItem, JOB, value as never);
};

/** No-op tasks per second end to end: 2 TVMs of 4 slots, every attempt with its own output files and durable events. */
const throughput = async (service: Service): Promise<void> => {
  const count = scale(10_000);
  const limit = processLimit(service.data);
  const before = limit.measure(scale(5000));
  await addPool(service.client, "bench", 2, 4);
  await addWorkItem(service.client, "warm", "bench");
  await service.client.addTasks("warm", JOB, tasks(scale(1000)));
  await completed(service.client, "warm", scale(1000));
  await addWorkItem(service.client, "noop", "bench");
  const cpu = cpuOf(service.child.pid as number);
  const rate = await perSecond(count, async () => {
    await service.client.addTasks("noop", JOB, tasks(count));
    await completed(service.client, "noop", count);
  });
  const used = cpuOf(service.child.pid as number) - cpu;
  const after = limit.measure(scale(5000));
  limit.close();
  const machine = before && after ? (before + after) / 2 : undefined;
  print("no-op tasks end to end", rate, "tasks/s", {
    tasks: count,
    machineLimit: machine && Math.round(machine),
    share: machine && Math.round((rate / machine) * 1000) / 1000,
    serviceCpuMsPerTask: Math.round((used / count) * 1000) / 1000,
    aim: "0.3, better 0.6 of the machine's limit",
  });
  const counts = await service.client.counts("noop", JOB);
  if (counts.completed !== count || counts.failed !== 0) throw new Error(`counts are off: ${JSON.stringify(counts)}`);
};

/** From the submission of a single task on an idle pool to the start of its process, by the clock of the task's own event. */
const latency = async (service: Service): Promise<void> => {
  await addPool(service.client, "idle", 1, 1);
  await addWorkItem(service.client, "single", "idle");
  const starts: number[] = [];
  const ends: number[] = [];
  for (let run = 0; run < 22; run++) {
    const name = `t${run}`;
    const began = Date.now();
    await service.client.addTask("single", JOB, { name, commandLine: "/bin/true" });
    await until(async () => (await service.client.getTask("single", JOB, name)).state === "completed", 5);
    const { startTime, endTime } = (await service.client.getTask("single", JOB, name)).executionInfo as { startTime: string; endTime: string };
    if (run < 2) continue;
    starts.push(Date.parse(startTime) - began);
    ends.push(Date.parse(endTime) - began);
  }
  print("submission to start, idle pool", median(starts), "ms", { runs: starts.length, min: Math.min(...starts), max: Math.max(...starts), medianToEnd: median(ends), aim: 20 });
};

/** Cost per task beside 1,000, 10,000 and 100,000 queued tasks; memory with the last. */
const queue = async (service: Service): Promise<void> => {
  const { client } = service;
  await addPool(client, "deep", 2, 4);
  await addWorkItem(client, "blocked", "deep");
  // The queue grows behind a job of higher priority, whose tasks are measured while all the others wait.
  await client.updateJob("blocked", JOB, { priority: -10 });
  await client.resizePool("deep", { targetDedicated: 0 } as never);
  await until(async () => (await client.getPool("deep")).allocationState === "steady");
  let queued = 0;
  const measured = scale(2000);
  for (const depth of [scale(1000), scale(10_000), scale(100_000)]) {
    await client.addTasks("blocked", JOB, tasks(depth - queued, `q${depth}-`));
    queued = depth;
    const name = `front${depth}`;
    await addWorkItem(client, name, "deep");
    await client.addTasks(name, JOB, tasks(measured));
    await client.resizePool("deep", { targetDedicated: 2 } as never);
    await until(async () => (await client.counts(name, JOB)).completed >= 1, 5);
    const cpu = cpuOf(service.child.pid as number);
    const rate = await perSecond(measured, () => completed(client, name, measured));
    const used = cpuOf(service.child.pid as number) - cpu;
    print(`no-op tasks beside ${depth} queued`, rate, "tasks/s", { tasks: measured, serviceCpuMsPerTask: Math.round((used / measured) * 1000) / 1000 });
    await client.resizePool("deep", { targetDedicated: 0 } as never);
    await until(async () => (await client.getPool("deep")).allocationState === "steady");
    queued -= (await client.counts("blocked", JOB)).completed;
  }
  const { now, peak } = memoryOf(service.child.pid as number);
  print("memory of the service, 100,000 queued", peak, "MiB", { now, queued, aim: 600 });
};

/** Rebuilding the views of many finished tasks, and restarting with them. */
const views = async (service: Service): Promise<Service> => {
  const count = scale(100_000);
  const { client } = service;
  await addWorkItem(client, "finished", "nowhere");
  await client.addTasks("finished", JOB, tasks(count));
  await client.terminateJob("finished", JOB);
  await until(async () => (await client.counts("finished", JOB)).completed >= count, 200);
  await stopService(service);
  const script = path.resolve(__dirname, "..", "..", "bin", "batchledger.js");
  const began = performance.now();
  execFileSync(process.execPath, [script, "rebuild", "--data", service.data, "--json"], { stdio: ["ignore", "ignore", "inherit"] });
  print("views rebuilt from zero", (performance.now() - began) / 1000, "s", { tasks: count });
  const again = await startService(service.data);
  print("restart with finished tasks", again.startMs, "ms", { tasks: count });
  const counts = await again.client.counts("finished", JOB);
  if (counts.completed !== count) throw new Error(`counts are off after the rebuild: ${JSON.stringify(counts)}`);
  return again;
};

const figures: Record<string, (service: Service) => Promise<Service | void>> = { submit, latency, throughput, queue, views };

/** Against the stand-ins, which are in the folder `test`: a program of its own. */
const forwarded = (): string[] | undefined => {
  const [name, count] = chosen;
  const more = count ?? (smoke ? "40" : undefined);
  const root = path.resolve(__dirname, "..", "..");
  if (name === "autoscale") return [path.join(__dirname, "autoscale.js"), ...(count !== undefined ? [count] : smoke ? ["200"] : [])];
  if (name === "azure") return [path.join(__dirname, "azure.js"), ...(more === undefined ? [] : [more])];
  if (name === "azure-faults") return ["--require", path.join(root, "test", "agent", "register.js"), path.join(root, "test", "standins", "azureFaults.ts"), ...(more === undefined ? [] : [more])];
  return undefined;
};

const main = async (): Promise<void> => {
  const other = forwarded();
  if (other !== undefined) {
    process.exitCode = spawnSync(process.execPath, other, { stdio: "inherit" }).status ?? 1;
    return;
  }
  for (const [name, measure] of Object.entries(figures)) {
    if (chosen.length > 0 && !chosen.includes(name)) continue;
    const data = newFolder();
    let service = await startService(data);
    try {
      service = (await measure(service)) ?? service;
    } finally {
      await stopService(service);
      removeFolder(data);
    }
  }
};

main().catch((error: unknown) => {
  console.error(error);
  process.exit(1);
});
