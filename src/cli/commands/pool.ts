// batchledger pool ..., batchledger tvms: pools and their machines.
import type { Command, Invocation } from "../command";
import { EXIT, Failure, ServiceError } from "../failures";
import { withFormula } from "../formulas";
import { clean, json, plural, spell, table, when } from "../output";
import * as parse from "../options";
import type { PoolResource, TvmResource } from "../resources";
import { until } from "../waiting";

const POOL_READY_MS = 5 * 60_000;

export const poolCommands: readonly Command[] = [
  {
    words: "pool create", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Makes a pool of task virtual machines (TVMs).",
    options: {
      tvms: { type: "string", value: "N", help: "how many TVMs (default 2)" },
      "autoscale-formula": { type: "string", value: "TEXT", help: "a formula says how many, instead of --tvms" },
      slots: { type: "string", value: "N", help: "tasks at once on each TVM (default 1; at most 4 a core)" },
      size: { type: "string", value: "SIZE", help: "of `batchledger sizes` (default small)" },
      fill: { type: "string", value: "HOW", help: "spread (default) or pack: which TVM gets the next task" },
      "start-task": { type: "string", value: "COMMAND", help: "command line that each TVM runs first, and must end with 0" },
      certificate: { type: "string", multiple: true, value: "THUMBPRINT[=WHO]", help: "install it on each TVM; WHO may see it: some of starttask,task,rdp (default all); may be repeated" },
      wait: { type: "boolean", help: "return when the TVMs are ready" },
    },
    run: createPool,
  },
  {
    words: "pool resize", operands: "POOL N", operandsMin: 2, operandsMax: 2, connects: true,
    summary: "Changes how many TVMs a pool has.",
    options: {
      deallocation: { type: "string", value: "HOW", help: "tasks on TVMs that leave: requeue (default), terminate, taskcompletion, retaineddata" },
      timeout: { type: "string", value: "TIME", help: "give up after this time (least 5m)" },
      wait: { type: "boolean", help: "return when the pool is steady" },
    },
    run: resizePool,
  },
  {
    words: "pool stop", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Stops a resize that is under way: the pool keeps the TVMs that it has.", options: {}, run: stopResize,
  },
  {
    words: "pool upgrade-os", operands: "POOL VERSION", operandsMin: 2, operandsMax: 2, connects: true,
    summary: "Gives a pool another version of its operating system. Each TVM is set up anew; running tasks go back to the queue.",
    options: { wait: { type: "boolean", help: "return when all TVMs have it" } },
    run: upgradeOs,
  },
  { words: "pool list", operands: "", operandsMin: 0, operandsMax: 0, connects: true, summary: "Lists the pools.", options: {}, run: listPools },
  { words: "pool show", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true, summary: "Shows one pool.", options: {}, run: showPool },
  {
    words: "pool delete", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Deletes a pool; tasks that run on it go back to the queue.",
    options: { wait: { type: "boolean", help: "return when it is gone" } },
    run: deletePool,
  },
  { words: "tvms", operands: "POOL", operandsMin: 1, operandsMax: 1, connects: true, summary: "Lists the TVMs of a pool.", options: {}, run: listTvms },
];

async function createPool(call: Invocation): Promise<number> {
  const client = call.client();
  const name = parse.name("A pool's name", call.operands[0]);
  const formula = call.text("autoscale-formula");
  if (formula !== undefined && call.text("tvms") !== undefined) throw new Failure(EXIT.usage, "--autoscale-formula and --tvms cannot be used together.");
  const size = formula === undefined
    ? { targetDedicated: parse.wholeNumber("--tvms", call.text("tvms") ?? "2", 0, 10_000) }
    : { enableAutoScale: true, autoScaleFormula: formula };
  const fill = (call.text("fill") ?? "spread").toLowerCase();
  if (fill !== "spread" && fill !== "pack") throw new Failure(EXIT.usage, "--fill must be spread or pack.");
  const startTask = call.text("start-task");
  const certificates = call.texts("certificate").map((text) => parse.certificateReference("--certificate", text));
  await withFormula(formula ?? "", () => client.createPool({
    name, osFamily: "4", tvmSize: call.text("size") ?? "small", ...size,
    maxTasksPerTVM: parse.wholeNumber("--slots", call.text("slots") ?? "1", 1, 1000),
    schedulingPolicy: { tvmFillType: fill === "pack" ? "Pack" : "Spread" },
    ...(startTask === undefined ? {} : { startTask: { commandLine: startTask, waitForSuccess: true } }),
    ...(certificates.length === 0 ? {} : { certificateReferences: certificates }),
  }));
  if (call.flag("wait")) await poolReady(call, name);
  if (call.json) json(call.io, await client.getPool(name));
  else call.io.out(`Pool ${name}: ${plural(size.targetDedicated ?? (await client.getPool(name)).targetDedicated, "TVM")}${call.flag("wait") ? " ready" : " on the way"}.\n`);
  return EXIT.ok;
}

async function resizePool(call: Invocation): Promise<number> {
  const client = call.client();
  const [name, count] = call.operands as [string, string];
  const timeout = call.text("timeout");
  const option = call.text("deallocation");
  const targetDedicated = parse.wholeNumber("N", count, 0, 10_000);
  await client.resizePool(name, {
    targetDedicated,
    ...(timeout === undefined ? {} : { resizeTimeout: parse.duration("--timeout", timeout) }),
    ...(option === undefined ? {} : { tvmDeallocationOption: option }),
  });
  if (call.flag("wait")) await poolReady(call, name);
  if (call.json) json(call.io, await client.getPool(name));
  else call.io.out(`Pool ${clean(name)}: ${call.flag("wait") ? "has" : "going to"} ${plural(targetDedicated, "TVM")}.\n`);
  return EXIT.ok;
}

async function stopResize(call: Invocation): Promise<number> {
  const client = call.client();
  const name = call.operands[0] as string;
  await client.stopResize(name);
  if (call.json) json(call.io, await client.getPool(name));
  else call.io.out(`Pool ${clean(name)}: the resize is stopped.\n`);
  return EXIT.ok;
}

async function upgradeOs(call: Invocation): Promise<number> {
  const client = call.client();
  const [name, version] = call.operands as [string, string];
  await client.upgradePoolOs(name, version);
  if (call.flag("wait")) {
    const done = await until(async () => ((await client.getPool(name)).state === "upgrading" ? undefined : true), call.io.signal, POOL_READY_MS);
    if (!done) throw new Failure(EXIT.failed, `Pool ${name} is still being upgraded after ${spell(POOL_READY_MS)}.`, `\`batchledger tvms ${name}\` shows its TVMs.`);
  }
  if (call.json) json(call.io, await client.getPool(name));
  else call.io.out(`Pool ${clean(name)}: ${call.flag("wait") ? "has" : "is being given"} version ${clean(version)}.\n`);
  return EXIT.ok;
}

/** Steady, with as many TVMs as wanted, each of them fit for tasks. Throws a Failure that says what is wrong. */
async function poolReady(call: Invocation, name: string): Promise<void> {
  const client = call.client();
  const ready = await until(async () => {
    const pool = await client.getPool(name);
    if (pool.allocationState !== "steady") return undefined;
    if (pool.resizeError) throw new Failure(EXIT.failed, `Pool ${name} has ${pool.currentDedicated} of ${plural(pool.targetDedicated, "TVM")}: ${resizeProblem(pool)}.`, "Resize it again, or ask for fewer.");
    let fit = 0;
    for await (const tvm of client.listTvms(name)) {
      if (tvm.state === "starttaskfailed" || tvm.state === "unusable") throw new Failure(EXIT.failed, `TVM ${tvm.name} is ${tvm.state}${startTaskEnd(tvm)}.`, `\`batchledger cp pools/${name}/${tvm.name}:startup/stderr.txt -\` shows what its start task wrote.`);
      if (tvm.state === "idle" || tvm.state === "running") fit++;
    }
    return fit >= pool.targetDedicated ? true : undefined;
  }, call.io.signal, POOL_READY_MS);
  if (!ready) throw new Failure(EXIT.failed, `Pool ${name} is not ready after ${spell(POOL_READY_MS)}.`, `\`batchledger tvms ${name}\` shows its TVMs.`);
}

async function listPools(call: Invocation): Promise<number> {
  const pools: PoolResource[] = [];
  for await (const pool of call.client().listPools()) pools.push(pool);
  if (call.json) json(call.io, pools);
  else if (pools.length === 0) call.io.out("No pools. Make one: batchledger pool create NAME --tvms 2\n");
  else {
    call.io.out(table(pools, [
      { title: "POOL", value: (pool) => pool.name },
      { title: "STATE", value: (pool) => (pool.state === "active" ? pool.allocationState : pool.state) },
      { title: "TVMS", right: true, value: (pool) => pool.currentDedicated },
      { title: "TARGET", right: true, value: (pool) => pool.targetDedicated },
      { title: "SLOTS", right: true, value: (pool) => pool.maxTasksPerTVM },
      { title: "SIZE", value: (pool) => pool.tvmSize },
      { title: "CREATED", value: (pool) => when(pool.creationTime) },
      { title: "PROBLEM", value: (pool) => (pool.resizeError ? resizeProblem(pool) : "") },
    ]));
  }
  return EXIT.ok;
}

const resizeProblem = ({ resizeError }: PoolResource): string =>
  `${resizeError?.code ?? ""}${resizeError?.message ? `: ${resizeError.message}` : ""}`;

const startTaskEnd = ({ startTaskInfo: info }: TvmResource): string =>
  info?.schedulingError ? ` (${info.schedulingError.code})` : info?.exitCode === undefined ? "" : ` (exit code ${info.exitCode})`;

async function showPool(call: Invocation): Promise<number> {
  const pool = await call.client().getPool(call.operands[0] as string);
  if (call.json) json(call.io, pool);
  else {
    const { "odata.metadata": _, ...shown } = pool;
    const names = Object.keys(shown);
    const wide = Math.max(...names.map((key) => key.length));
    for (const key of names) {
      const value = shown[key];
      call.io.out(`${clean(key).padEnd(wide)}  ${clean(typeof value === "object" ? JSON.stringify(value) : String(value))}\n`);
    }
  }
  return EXIT.ok;
}

async function deletePool(call: Invocation): Promise<number> {
  const client = call.client();
  const name = call.operands[0] as string;
  await client.deletePool(name);
  if (call.flag("wait")) {
    await until(async () => {
      try {
        await client.getPool(name);
        return undefined;
      } catch (error) {
        if (error instanceof ServiceError && error.code === "PoolNotFound") return true;
        throw error;
      }
    }, call.io.signal, POOL_READY_MS);
  }
  if (call.json) json(call.io, { pool: name, deleted: true });
  else call.io.out(`Pool ${clean(name)} ${call.flag("wait") ? "is gone" : "is being deleted"}.\n`);
  return EXIT.ok;
}

async function listTvms(call: Invocation): Promise<number> {
  const tvms: TvmResource[] = [];
  for await (const tvm of call.client().listTvms(call.operands[0] as string)) tvms.push(tvm);
  if (call.json) json(call.io, tvms);
  else if (tvms.length === 0) call.io.out(`The pool has no TVMs. Give it some: batchledger pool resize ${clean(call.operands[0] as string)} 2\n`);
  else {
    call.io.out(table(tvms, [
      { title: "TVM", value: (tvm) => tvm.name },
      { title: "STATE", value: (tvm) => `${tvm.state}${tvm.state === "starttaskfailed" ? startTaskEnd(tvm) : ""}` },
      { title: "SINCE", value: (tvm) => when(tvm.stateTransitionTime) },
      { title: "ADDRESS", value: (tvm) => tvm.ipAddress },
      { title: "RUNNING", value: ({ recentTasks = [] }) => recentTasks.filter(({ taskState }) => taskState === "running").map(({ workItemName, taskName }) => `${workItemName}/${taskName}`).join(" ") },
    ]));
  }
  return EXIT.ok;
}
