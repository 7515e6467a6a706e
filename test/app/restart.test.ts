// TVMs are started anew: rebooted, reimaged, upgraded with their pool, and removed by name. What becomes of their tasks, their
// machines and their start tasks; and that none of it depends on a hint.
import { getPool, getTvm, removePoolTvms, resizePool, updatePool, upgradePoolOs } from "../../src/app/pools";
import { takeStill } from "../../src/app/react";
import { restartTvm } from "../../src/app/tvms";
import { isRejection } from "../../src/domain/decider";
import type { DeallocationOption, Pool } from "../../src/domain/pool";
import { renderPool, tvmState } from "../../src/api/classic/render";
import { type Agent, type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld, taskOf } from "../support/world";

let world: World;
let agents: Map<string, Agent>;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const pool = async (): Promise<Pool> => accepted(await getPool(world.ports, world.call(), "Pool-A")).state;
const codeOf = (answer: unknown): string => (isRejection(answer) ? answer.code : "accepted");
const nameOf = (agent: Agent): string => agent.key.split(".")[2] as string;
const stateOf = async (name: string): Promise<string> => tvmState(accepted(await getTvm(world.ports, world.call(), "Pool-A", name)));
const wish = (agent: Agent, how: "reboot" | "reimage", option: DeallocationOption = "requeue") => restartTvm(world.ports, world.call(), "Pool-A", nameOf(agent), { how, option });
const restart = async (agent: Agent, how: "reboot" | "reimage", option: DeallocationOption = "requeue"): Promise<void> => {
  accepted(await wish(agent, how, option));
  await world.pump.untilQuiet();
};

/** Two TVMs of one slot; the first that got a task runs it. */
const oneBusy = async (more: Parameters<typeof newTask>[1] = {}): Promise<{ busy: Agent; idle: Agent }> => {
  await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 1, startTask: { commandLine: "prepare", maxTaskRetryCount: 0, waitForSuccess: true } });
  await makeWorkItem(world);
  agents = await bootAll(world);
  for (const agent of agents.values()) await prepare(agent);
  await addMany(world, "Render", [newTask("a", more)]);
  for (const agent of agents.values()) {
    await agent.exchange();
    for (const one of agent.waiting()) agent.started(one);
    await agent.exchange();
  }
  const busy = [...agents.values()].find((agent) => agent.held.size > 0) as Agent;
  const idle = [...agents.values()].find((agent) => agent !== busy) as Agent;
  return { busy, idle };
};

const prepare = async (agent: Agent): Promise<number> => {
  const run = (await agent.exchange()).startTask?.run ?? 0;
  agent.report({ kind: "startTaskStarted", run, at: world.now() }, { kind: "startTaskEnded", run, startedAt: world.now(), at: world.now(), exitCode: 0 });
  await agent.exchange();
  return run;
};

const orderOf = (agent: Agent) => world.machines.orders.get(agent.key);

describe("reboot and reimage", () => {
  test("requeue: the task waits again and runs elsewhere; the machine is of the next boot, and the start task runs again", async () => {
    const { busy, idle } = await oneBusy();
    await restart(busy, "reboot");
    expect(await stateOf(nameOf(busy))).toBe("rebooting");
    expect(orderOf(busy)).toMatchObject({ boot: 2 });
    expect(orderOf(busy)).not.toHaveProperty("clean");
    expect(await taskOf(world, "a")).toMatchObject({ requeueCount: 1, retryCount: 0 });
    expect(codeOf(await busy.send())).toBe("AuthenticationFailed");
    await idle.work();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", exitCode: 0, attempt: 2 });
    agents = await bootAll(world, agents);
    const back = agents.get(busy.key) as Agent;
    expect(await stateOf(nameOf(back))).toBe("waitingforstarttask");
    expect(await prepare(back)).toBe(1);
    expect(await stateOf(nameOf(back))).toBe("idle");
    expect((await pool()).tvms).toHaveLength(2);
  });

  test("terminate: the task is over, with TaskEnded", async () => {
    const { busy } = await oneBusy();
    await restart(busy, "reimage", "terminate");
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", error: { code: "TaskEnded", message: "Its TVM was started anew." } });
    expect(orderOf(busy)).toMatchObject({ boot: 2, clean: true });
    expect(await stateOf(nameOf(busy))).toBe("reimaging");
  });

  test("terminate, found out by whoever only knows that the TVM is of no use: the task says that its TVM was started anew", async () => {
    const { busy } = await oneBusy();
    accepted(await wish(busy, "reimage", "terminate"));
    await takeStill(world.ports, { tvm: busy.key, reason: "tvmLost", option: "requeue" }, world.now());
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", error: { code: "TaskEnded", message: "Its TVM was started anew." } });
  });

  test("taskcompletion: it takes no new task, and begins when the last has ended", async () => {
    const { busy, idle } = await oneBusy();
    await restart(busy, "reimage", "taskcompletion");
    expect(await stateOf(nameOf(busy))).toBe("reimaging");
    expect(orderOf(busy)).toMatchObject({ boot: 1 });
    await addMany(world, "Render", [newTask("b"), newTask("c")]);
    expect((await busy.exchange()).run).toEqual([]);
    for (const one of busy.waiting()) busy.ended(one);
    await busy.exchange();
    await busy.exchange();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", exitCode: 0, requeueCount: 0 });
    expect(orderOf(busy)).toMatchObject({ boot: 2, clean: true });
    expect((await idle.work()).map(({ task }) => task).sort()).toEqual(["b", "c"]);
    // Once is enough: the boot after it is like any other.
    agents = await bootAll(world, agents);
    await prepare(agents.get(busy.key) as Agent);
    await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: busy.key, boot: 2 } }]);
    await world.pump.untilQuiet();
    await world.pass(1_000);
    expect(orderOf(busy)).toMatchObject({ boot: 3 });
    expect(orderOf(busy)).not.toHaveProperty("clean");
  });

  test("retaineddata: it begins when the files need not be kept any longer", async () => {
    const { busy } = await oneBusy({ retentionMs: 120_000 });
    await restart(busy, "reboot", "retaineddata");
    for (const one of busy.waiting()) busy.ended(one);
    await busy.exchange();
    await busy.exchange();
    await world.pass(119_000);
    expect(orderOf(busy)).toMatchObject({ boot: 1 });
    await world.pass(15_000);
    expect(orderOf(busy)).toMatchObject({ boot: 2 });
  });

  test("an idle TVM begins at once; asked again meanwhile it says what it is doing", async () => {
    const { idle } = await oneBusy();
    await restart(idle, "reboot");
    expect(orderOf(idle)).toMatchObject({ boot: 2 });
    expect(codeOf(await wish(idle, "reboot"))).toBe("TVMBeingRebooted");
    expect(codeOf(await restartTvm(world.ports, world.call(), "Pool-A", "tvm-none", { how: "reboot", option: "requeue" }))).toBe("TVMNotFound");
    expect(codeOf(await restartTvm(world.ports, world.call(), "none", "tvm-none", { how: "reboot", option: "requeue" }))).toBe("PoolNotFound");
  });

  test("no hint is needed: with the feed's reactions lost, the sweep and the pool's process do it", async () => {
    const { busy } = await oneBusy();
    accepted(await wish(busy, "reboot", "terminate"));
    // Another process took the commits and died before it did anything about them.
    const { commits } = await world.ports.eventStore.readFeed(undefined, 10_000);
    expect(commits.some(({ events }) => events.some(({ type }) => type === "TvmRestartRequested"))).toBe(true);
    world.processes.due.clear();
    await world.sweep();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", error: { code: "TaskEnded" } });
    expect(orderOf(busy)).toMatchObject({ boot: 2 });
  });

  test("a changed start task reaches a TVM at its next start", async () => {
    const { idle } = await oneBusy();
    accepted(await updatePool(world.ports, world.call(), "Pool-A", { startTask: { commandLine: "prepare anew", maxTaskRetryCount: 0, waitForSuccess: true } }));
    await world.pump.untilQuiet();
    expect((await idle.exchange()).startTask).toBeUndefined();
    await restart(idle, "reboot");
    agents = await bootAll(world, agents);
    expect((await (agents.get(idle.key) as Agent).exchange()).startTask).toMatchObject({ run: 1, commandLine: "prepare anew" });
  });
});

describe("another operating system for the pool", () => {
  test("every TVM is set up anew, its tasks wait again, and the pool has the version when all are back", async () => {
    const { busy, idle } = await oneBusy();
    const version = "WA-GUEST-OS-4.19_201504-01";
    accepted(await upgradePoolOs(world.ports, world.call(), "Pool-A", version));
    await world.pump.untilQuiet();
    expect(renderPool(await pool(), "")).toMatchObject({ state: "upgrading", targetOSVersion: version, currentOSVersion: "*" });
    for (const agent of [busy, idle]) expect(orderOf(agent)).toMatchObject({ boot: 2, clean: true });
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", requeueCount: 1 });
    expect(codeOf(await resizePool(world.ports, world.call(), "Pool-A", { target: 1, timeoutMs: 300_000, option: "requeue" }))).toBe("OperationInvalidForCurrentState");
    agents = await bootAll(world, agents);
    expect(renderPool(await pool(), "")).toMatchObject({ state: "active", currentOSVersion: version });
    for (const agent of agents.values()) await prepare(agent);
    await (agents.get(busy.key) as Agent).work();
    await (agents.get(idle.key) as Agent).work();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed" });
    await world.pass(60_000);
    for (const agent of [busy, idle]) expect(orderOf(agent)).toMatchObject({ boot: 2 });
  });

  test("a pool without TVMs has it at once", async () => {
    await makePool(world, "Pool-A", { targetDedicated: 0 });
    accepted(await upgradePoolOs(world.ports, world.call(), "Pool-A", "WA-GUEST-OS-4.19_201504-01"));
    await world.pump.untilQuiet();
    expect(renderPool(await pool(), "")).toMatchObject({ state: "active", currentOSVersion: "WA-GUEST-OS-4.19_201504-01" });
  });

  test("a machine that does not come back does not hold the pool for ever", async () => {
    await makePool(world);
    await bootAll(world);
    accepted(await upgradePoolOs(world.ports, world.call(), "Pool-A", "WA-GUEST-OS-4.19_201504-01"));
    await world.pump.untilQuiet();
    for (let waited = 0; waited < 61; waited++) await world.pass(60_000);
    expect(await pool()).not.toHaveProperty("upgrade");
  });
});

describe("TVMs removed by name", () => {
  const remove = async (names: readonly string[], option: DeallocationOption = "requeue"): Promise<void> => {
    accepted(await removePoolTvms(world.ports, world.call(), "Pool-A", { tvms: names, timeoutMs: 300_000, option }));
    await world.pump.untilQuiet();
  };

  test("case 35: removed with requeue while a task runs: requeueCount 1, retryCount 0, and it runs elsewhere", async () => {
    const { busy, idle } = await oneBusy();
    await remove([nameOf(busy).toUpperCase()]);
    expect((await pool()).tvms.map((name) => name.toLowerCase())).toEqual([nameOf(idle)]);
    expect(await pool()).toMatchObject({ allocation: "steady", spec: { targetDedicated: 1 } });
    expect(await pool()).not.toHaveProperty("resizeError");
    expect(world.machines.removed).toEqual([busy.key]);
    expect(await taskOf(world, "a")).toMatchObject({ requeueCount: 1, retryCount: 0 });
    await idle.work();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", exitCode: 0 });
  });

  test("case 36: the same with terminate: completed, TaskEnded", async () => {
    const { busy } = await oneBusy();
    await remove([nameOf(busy)], "terminate");
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", error: { code: "TaskEnded" } });
    expect((await pool()).tvms).toHaveLength(1);
  });

  test("case 37: taskcompletion with a long task and the time of the resize over: the TVM stays, and the pool says why", async () => {
    const { busy } = await oneBusy();
    await remove([nameOf(busy)], "taskcompletion");
    expect(await stateOf(nameOf(busy))).toBe("leavingpool");
    for (let waited = 0; waited < 300_000; waited += 30_000) {
      await busy.exchange();
      await world.pass(30_001);
    }
    expect(await pool()).toMatchObject({ allocation: "steady", resizeError: { code: "RemoveTVMsFailed" }, spec: { targetDedicated: 1 } });
    expect((await pool()).tvms).toHaveLength(2);
    expect(await stateOf(nameOf(busy))).toBe("running");
  });

  test("retaineddata: the TVM goes when its files need not be kept any longer", async () => {
    const { busy } = await oneBusy({ retentionMs: 60_000 });
    await remove([nameOf(busy)], "retaineddata");
    for (const one of busy.waiting()) busy.ended(one);
    await busy.exchange();
    await busy.exchange();
    expect((await pool()).tvms).toHaveLength(2);
    await world.pass(75_000);
    expect(await pool()).toMatchObject({ allocation: "steady", tvms: [expect.any(String)] });
  });

  test("retaineddata for longer than the resize may: the TVM, which had said that it begins nothing any more, is told to go on", async () => {
    const { busy, idle } = await oneBusy({ retentionMs: 3_600_000 });
    await remove([nameOf(busy)], "retaineddata");
    for (const one of busy.waiting()) busy.ended(one);
    await busy.exchange();
    await busy.exchange();
    await addMany(world, "Render", [newTask("b"), newTask("c")]);
    await idle.exchange();
    expect((await busy.exchange()).run).toEqual([]);
    await world.pass(300_001);
    expect(await pool()).toMatchObject({ allocation: "steady", resizeError: { code: "RemoveTVMsFailed" } });
    const answer = await busy.exchange();
    expect(answer.resume).toBeDefined();
    expect(answer.run.map(({ task }) => task)).toEqual(["c"]);
    await busy.work();
    expect(await taskOf(world, "c")).toMatchObject({ phase: "completed", attempt: 1 });
  });

  test("from a pool that has fewer than it wants: they go all the same, and others come for those that are still wanted", async () => {
    await oneBusy();
    world.machines.refuse = "no room";
    accepted(await resizePool(world.ports, world.call(), "Pool-A", { target: 4, timeoutMs: 300_000, option: "requeue" }));
    await world.pump.untilQuiet();
    await world.pass(300_001);
    const [first = "", second] = (await pool()).tvms;
    expect(await pool()).toMatchObject({ allocation: "steady", spec: { targetDedicated: 4 }, tvms: [first, second] });
    world.machines.refuse = undefined;
    await remove([first]);
    const after = await pool();
    expect(after).toMatchObject({ allocation: "steady", spec: { targetDedicated: 3 } });
    expect(after.tvms).toHaveLength(3);
    expect(after.tvms).toContain(second);
    expect(after.tvms).not.toContain(first);
  });

  test("one that is there to be used goes before an idle one that was not named, and the whole is refused for one unknown name", async () => {
    const { busy, idle } = await oneBusy();
    expect(codeOf(await removePoolTvms(world.ports, world.call(), "Pool-A", { tvms: [nameOf(idle), "tvm-none"], timeoutMs: 300_000, option: "requeue" }))).toBe("TVMNotFound");
    await remove([nameOf(busy)]);
    expect((await pool()).tvms.map((name) => name.toLowerCase())).toEqual([nameOf(idle)]);
  });
});
