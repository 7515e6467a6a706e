// A pool grows and shrinks: what happens to the TVMs, to their tasks, and what the pool says when it could not.
import { deletePool, getPool, getTvm, resizePool, stopPoolResize, addPool } from "../../src/app/pools";
import { type Agent, type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld, poolSpec, taskOf } from "../support/world";
import { renderPool, renderTvm } from "../../src/api/classic/render";
import { isRejection } from "../../src/domain/decider";
import type { DeallocationOption, Pool } from "../../src/domain/pool";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const pool = async (): Promise<Pool> => accepted(await getPool(world.ports, world.call(), "Pool-A")).state;
const codeOf = (answer: unknown): string => (isRejection(answer) ? answer.code : "accepted");
const resize = async (target: number, option: DeallocationOption = "requeue"): Promise<void> => {
  accepted(await resizePool(world.ports, world.call(), "Pool-A", { target, timeoutMs: 300_000, option }));
  await world.pump.untilQuiet();
};

/** Two TVMs with one slot, each running a task; `idle` has none. */
const twoBusy = async (idle = 0): Promise<{ agents: Map<string, Agent>; busy: Agent[] }> => {
  await makePool(world, "Pool-A", { targetDedicated: 2 + idle, maxTasksPerTvm: 1 });
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a"), newTask("b")]);
  const agents = await bootAll(world);
  for (const agent of agents.values()) {
    await agent.exchange();
    for (const one of agent.waiting()) agent.started(one);
    await agent.exchange();
  }
  const busy = [...agents.values()].filter((agent) => agent.held.size > 0);
  expect(busy).toHaveLength(2);
  return { agents, busy };
};

test("grows: more TVMs, more machines, and steady at once; the new ones get what waits", async () => {
  const { agents } = await twoBusy();
  await addMany(world, "Render", [newTask("c")]);
  await resize(3);
  expect(await pool()).toMatchObject({ allocation: "steady", spec: { targetDedicated: 3 } });
  expect((await pool()).tvms).toHaveLength(3);
  await bootAll(world, agents);
  expect((await taskOf(world, "c")).phase).toBe("assigned");
});

test("idle TVMs go first, then the youngest; their machines end and nothing about them stays", async () => {
  const { agents, busy } = await twoBusy(1);
  const before = (await pool()).tvms;
  await resize(2);
  const idle = [...agents.values()].find((agent) => !busy.includes(agent)) as Agent;
  expect(world.machines.removed).toEqual([idle.key]);
  expect((await pool()).tvms).toEqual(before.filter((name) => !idle.key.endsWith(name)));
  expect(codeOf(await idle.send())).toBe("TVMNotFound");
  expect(codeOf(await getTvm(world.ports, world.call(), "Pool-A", idle.key.split(".")[2] as string))).toBe("TVMNotFound");
  await resize(1, "requeue");
  expect((await pool()).tvms).toEqual([before[0]]);
  expect(await pool()).not.toHaveProperty("resizeError");
});

test("requeue: the task waits again, counted as a requeue, and runs on the TVM that stays", async () => {
  const { busy } = await twoBusy();
  await resize(1, "requeue");
  const [stays] = busy.filter(({ key }) => !world.machines.removed.includes(key)) as [Agent];
  const moved = (await taskOf(world, "a")).phase === "active" ? "a" : "b";
  expect(await taskOf(world, moved)).toMatchObject({ phase: "active", requeueCount: 1, retryCount: 0 });
  for (const one of stays.waiting()) stays.ended(one);
  await stays.work();
  expect(await taskOf(world, moved)).toMatchObject({ phase: "completed", exitCode: 0, attempt: 2 });
});

test("terminate: the task is over, with TaskEnded", async () => {
  await twoBusy();
  await resize(0, "terminate");
  expect(await pool()).toMatchObject({ tvms: [], allocation: "steady" });
  for (const name of ["a", "b"]) expect(await taskOf(world, name)).toMatchObject({ phase: "completed", error: { code: "TaskEnded", category: "ServerError" } });
});

describe.each(["taskcompletion", "retaineddata"] as const)("%s", (option) => {
  test("the TVM leaves when its task has ended, and takes no new one", async () => {
    const { busy } = await twoBusy();
    await addMany(world, "Render", [newTask("c")]);
    await resize(0, option);
    expect(await pool()).toMatchObject({ allocation: "resizing" });
    expect((await pool()).tvms).toHaveLength(2);
    for (const agent of busy) {
      for (const one of agent.waiting()) agent.ended(one);
      const answer = await agent.exchange();
      expect(answer.run).toEqual([]);
      await agent.exchange();
    }
    expect(await pool()).toMatchObject({ allocation: "steady", tvms: [] });
    for (const name of ["a", "b"]) expect(await taskOf(world, name)).toMatchObject({ phase: "completed", exitCode: 0 });
    expect((await taskOf(world, "c")).phase).toBe("active");
    expect(await pool()).not.toHaveProperty("resizeError");
  });

  test("what a leaving TVM was given and had not fetched yet reaches it still", async () => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
    await makeWorkItem(world);
    const [agent] = (await bootAll(world)).values() as unknown as [Agent];
    await addMany(world, "Render", [newTask("a")]);
    await resize(0, option);
    expect((await agent.exchange()).run.map(({ task }) => task)).toEqual(["a"]);
    await agent.work().catch(() => undefined);
    expect((await taskOf(world, "a")).phase).toBe("completed");
    expect((await pool()).tvms).toEqual([]);
  });

  /** One TVM that is told to leave while placement gives it the task `a`; `then` happens when that is stored and before placement goes on. */
  const toldWhileGiven = async (then: (agent: Agent) => Promise<void>): Promise<Agent> => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
    await makeWorkItem(world);
    const [agent] = (await bootAll(world)).values() as unknown as [Agent];
    const { eventStore } = world.ports;
    const append = eventStore.append.bind(eventStore);
    let once = true;
    eventStore.append = async (commits) => {
      if (!once || !commits.some(({ events }) => events[0]?.type === "TaskAssigned")) return append(commits);
      once = false;
      accepted(await resizePool(world.ports, world.call(), "Pool-A", { target: 0, timeoutMs: 300_000, option }));
      while ((await world.pump.feed()) || (await world.pump.process()));
      const outcome = await append(commits);
      await then(agent);
      return outcome;
    };
    await addMany(world, "Render", [newTask("a")]);
    eventStore.append = append;
    expect(once).toBe(false);
    return agent;
  };
  const settle = async (): Promise<void> => {
    while ((await world.pump.feed()) || (await world.pump.process()));
  };

  test("told to leave just while it is given a task, which it begins before anybody has looked again: it finishes it, and leaves then", async () => {
    const agent = await toldWhileGiven(async (one) => {
      await settle();
      accepted(await one.send());
      for (const task of one.waiting()) one.started(task);
      expect(one.waiting()).toHaveLength(1);
      await settle();
    });
    expect(world.machines.removed).toEqual([]);
    for (const one of agent.waiting()) agent.ended(one);
    await agent.exchange();
    await agent.exchange();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", exitCode: 0, attempt: 1, requeueCount: 0 });
    expect(world.machines.removed).toEqual([agent.key]);
  });

  test("told to leave just while it is given a task, and it says that it is drained: it gets nothing, goes, and the task is no requeue", async () => {
    const agent = await toldWhileGiven(async (one) => {
      expect(accepted(await one.send()).drain).toBeDefined();
      await settle();
      const answer = accepted(await one.send());
      expect(answer).toMatchObject({ run: [] });
      expect(answer).not.toHaveProperty("resume");
      await settle();
    });
    expect(world.machines.removed).toEqual([agent.key]);
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", attempt: 1, requeueCount: 0 });
  });

  test("the service ends when the TVM is gone and its pool does not know it yet: the pool hears of it later", async () => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
    const [agent] = (await bootAll(world)).values() as unknown as [Agent];
    const { append } = world.ports.eventStore;
    let asked = 0;
    world.ports.eventStore.append = async (commits) => {
      if (!commits.some(({ events }) => events[0]?.type === "PoolTvmsReleased")) return append(commits);
      asked++;
      throw new Error("the service ends here");
    };
    await resize(0, option);
    await world.pass(1_000);
    await agent.exchange().catch(() => undefined);
    world.ports.eventStore.append = append;
    expect(asked).toBeGreaterThan(0);
    expect(world.machines.removed).toEqual([agent.key]);
    expect((await pool()).tvms).toHaveLength(1);
    await world.pass(30_000);
    expect(await pool()).toMatchObject({ allocation: "steady", tvms: [] });
  });

  test("an agent of an earlier release, which is not asked: it leaves when the service knows of no task", async () => {
    const { busy } = await twoBusy();
    await resize(0, option);
    for (const agent of busy) {
      for (const one of agent.waiting()) agent.ended(one);
      await agent.exchange({ taken: undefined });
      expect(await agent.exchange({ taken: undefined })).not.toHaveProperty("drain");
    }
    expect(await pool()).toMatchObject({ allocation: "steady", tvms: [] });
  });

  test("takes longer than the resize may: the TVMs stay, are used again, and the pool says why", async () => {
    const { busy } = await twoBusy();
    await addMany(world, "Render", [newTask("c")]);
    await resize(0, option);
    await world.pass(299_000);
    expect((await pool()).allocation).toBe("resizing");
    for (const agent of busy) await agent.exchange();
    await world.pass(1_001);
    expect(await pool()).toMatchObject({ allocation: "steady", spec: { targetDedicated: 0 }, resizeError: { code: "RemoveTVMsFailed", message: expect.stringContaining("2 of 0 TVMs are in the pool") } });
    const [agent] = busy as [Agent, Agent];
    for (const one of agent.waiting()) agent.ended(one);
    await agent.exchange();
    expect((await agent.exchange()).run.map(({ task }) => task)).toEqual(["c"]);
  });

  test("the pool is deleted meanwhile: nothing is waited for any more", async () => {
    await twoBusy();
    await resize(0, option);
    accepted(await deletePool(world.ports, world.call(), "Pool-A"));
    await world.pump.untilQuiet();
    expect(codeOf(await getPool(world.ports, world.call(), "Pool-A"))).toBe("PoolNotFound");
    for (const name of ["a", "b"]) expect(await taskOf(world, name)).toMatchObject({ phase: "active", requeueCount: 1 });
  });
});

test("machines that cannot be had: asked for again until the time is over, then the reason, and the pool has what it reached", async () => {
  world.machines.refuse = "The cloud has no room.";
  await makePool(world, "Pool-A", { targetDedicated: 2 });
  expect((await pool()).allocation).toBe("resizing");
  await world.pass(150_000);
  expect(await pool()).toMatchObject({ allocation: "resizing" });
  await world.pass(150_000);
  expect(await pool()).toMatchObject({ allocation: "steady", tvms: [], spec: { targetDedicated: 2 }, resizeError: { code: "AllocationFailed", message: expect.stringMatching(/no room.* 0 of 2/) } });
  world.machines.refuse = undefined;
  await resize(2);
  expect(world.machines.orders.size).toBe(2);
  expect(await pool()).toMatchObject({ allocation: "steady", tvms: [expect.any(String), expect.any(String)] });
});

test("stopped by its user: steady with ResizeStopped, the target stays what was asked", async () => {
  world.machines.refuse = "no";
  await makePool(world, "Pool-A", { targetDedicated: 2 });
  expect(codeOf(await resizePool(world.ports, world.call(), "Pool-A", { target: 1, timeoutMs: 300_000, option: "requeue" }))).toBe("PoolBeingResized");
  accepted(await stopPoolResize(world.ports, world.call(), "Pool-A"));
  await world.pump.untilQuiet();
  expect(await pool()).toMatchObject({ allocation: "steady", resizeError: { code: "ResizeStopped" }, spec: { targetDedicated: 2 } });
  expect(codeOf(await stopPoolResize(world.ports, world.call(), "Pool-A"))).toBe("OperationInvalidForCurrentState");
});

test("more than the service allows: as many as it does, and it says so", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 70 });
  expect((await pool()).tvms).toHaveLength(64);
  expect(await pool()).toMatchObject({ allocation: "steady", resizeError: { code: "AccountCoreQuotaReached" } });
});

test("the account's quota of cores: what its other pools leave, and no TVM is taken away for a lower one", async () => {
  Object.assign(world.ports.policy, { coresMax: 10 });
  await makePool(world, "Other", { tvmSize: "medium", targetDedicated: 2 });
  await makePool(world, "Pool-A", { tvmSize: "medium", targetDedicated: 4 });
  expect((await pool()).tvms).toHaveLength(3);
  expect(await pool()).toMatchObject({ allocation: "steady", spec: { targetDedicated: 4 }, resizeError: { code: "AccountCoreQuotaReached", message: expect.stringContaining("10 cores") } });
  Object.assign(world.ports.policy, { coresMax: 2 });
  await resize(4);
  expect((await pool()).tvms).toHaveLength(3);
  await resize(1);
  expect((await pool()).tvms).toHaveLength(1);
  expect(await pool()).not.toHaveProperty("resizeError");
});

test("a TVM says what it ran last, the latest first, ten of them at most, and how many there were", async () => {
  await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
  await makeWorkItem(world);
  let agents = await bootAll(world);
  const [agent] = agents.values() as unknown as [Agent];
  const name = agent.key.split(".")[2] as string;
  const shown = async () => renderTvm(accepted(await getTvm(world.ports, world.call(), "Pool-A", name)), "");
  expect(await shown()).toMatchObject({ totalTasksRun: 0, recentTasks: undefined, affinityId: `TVM:${(await pool()).tvms[0]}` });
  for (let index = 0; index < 12; index++) {
    await addMany(world, "Render", [newTask(`t${index}`)]);
    await agent.work(() => index % 2);
    await world.pass(1_000);
  }
  expect((await shown()).recentTasks).toMatchObject(Array.from({ length: 10 }, (_, at) => ({ taskName: `t${11 - at}`, taskState: "completed", executionInfo: { exitCode: (11 - at) % 2 } })));
  expect((await shown()).totalTasksRun).toBe(12);
  // What an agent said is kept over its end, also when the tasks are gone; the next boot counts from nothing.
  await world.pass(6_000);
  await agent.exchange({ ran: 300 });
  expect((await shown()).totalTasksRun).toBe(300);
  await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: agent.key, boot: 1 } }]);
  await world.pump.untilQuiet();
  agents = await bootAll(world, agents);
  await world.pass(6_000);
  await (agents.get(agent.key) as Agent).exchange({ ran: 5 });
  expect((await shown()).totalTasksRun).toBe(305);
});

test("case 7: target 17, stopped at 12: steady with ResizeStopped, 17 wanted and 12 there", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 12 });
  await bootAll(world);
  world.machines.refuse = "no room";
  await resize(17);
  accepted(await stopPoolResize(world.ports, world.call(), "Pool-A"));
  await world.pump.untilQuiet();
  const stopped = await pool();
  expect(stopped).toMatchObject({ allocation: "steady", resizeError: { code: "ResizeStopped" }, spec: { targetDedicated: 17 } });
  expect(renderPool(stopped, "")).toMatchObject({ targetDedicated: 17, currentDedicated: 12 });
});

test("case 40: a start task that exits with 1, waited for, without retries: starttaskfailed, no task placed, and the TVM says why", async () => {
  await makePool(world, "Pool-A", { startTask: { commandLine: "prepare", maxTaskRetryCount: 0, waitForSuccess: true } });
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a")]);
  const [agent] = (await bootAll(world)).values() as unknown as [Agent];
  const { startTask } = await agent.exchange();
  agent.report({ kind: "startTaskEnded", run: startTask?.run ?? 0, startedAt: world.now(), at: world.now(), exitCode: 1 });
  await agent.exchange();
  expect((await agent.exchange()).run).toEqual([]);
  expect((await taskOf(world, "a")).phase).toBe("active");
  const shown = renderTvm(accepted(await getTvm(world.ports, world.call(), "Pool-A", agent.key.split(".")[2] as string)), "");
  expect(shown).toMatchObject({ state: "starttaskfailed", startTaskInfo: { state: "completed", exitCode: 1 }, errors: [{ code: "StartTaskFailed", message: expect.stringContaining("exit code 1") }] });
});

test("a machine that keeps ending is started again after ever longer pauses", async () => {
  await makePool(world);
  const [key] = [...world.machines.orders.keys()] as [string];
  const waits: number[] = [];
  for (let boot = 1; boot < 6; boot++) {
    await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: key, boot } }]);
    await world.pump.untilQuiet();
    let waited = 0;
    for (; world.machines.orders.get(key)?.boot !== boot + 1; waited += 250) await world.pass(250);
    waits.push(waited);
  }
  expect(waits[0]).toBe(0);
  expect(waits).toEqual([...waits].sort((a, b) => a - b));
  expect(waits[4]).toBeGreaterThan(2_000);
});

test("deleted and made again: refused until it is gone; the new one's TVMs have names of their own", async () => {
  await twoBusy();
  const before = (await pool()).tvms;
  accepted(await deletePool(world.ports, world.call(), "Pool-A"));
  expect(codeOf(await addPool(world.ports, world.call(), "pool-a", poolSpec()))).toBe("PoolBeingDeleted");
  await world.pump.untilQuiet();
  expect(codeOf(await getPool(world.ports, world.call(), "Pool-A"))).toBe("PoolNotFound");
  expect([...world.machines.orders]).toEqual([]);
  await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 1 });
  expect((await pool()).tvms.filter((name) => before.includes(name))).toEqual([]);
  // Its tasks waited; they run on.
  for (const agent of (await bootAll(world)).values()) await agent.work();
  for (const name of ["a", "b"]) expect(await taskOf(world, name)).toMatchObject({ phase: "completed", attempt: 2, requeueCount: 1 });
  expect(accepted(await getPool(world.ports, world.call(), "Pool-A")).state.generation).toBe(2);
});

test("a TVM that is lost while it waits to leave goes without its task, which runs elsewhere", async () => {
  const { busy } = await twoBusy();
  await resize(1, "taskcompletion");
  const leaving = (await pool()).tvms.at(-1) as string;
  for (let waited = 0; waited < 61_000; waited += 10_000) {
    await world.pass(10_000);
    for (const agent of busy) if (!agent.key.endsWith(leaving)) await agent.exchange();
  }
  await world.sweep();
  expect((await pool()).tvms).toHaveLength(1);
  expect(await pool()).toMatchObject({ allocation: "steady" });
  const moved = await Promise.all(["a", "b"].map(async (name) => taskOf(world, name)));
  expect(moved.map(({ requeueCount }) => requeueCount).sort()).toEqual([0, 1]);
});
