// Placement while TVMs come and go: what is chosen is written a moment later, and whoever writes it may be killed.
import { execute } from "../../src/app/execute";
import { addTasks } from "../../src/app/tasks";
import { removePoolTvms } from "../../src/app/pools";
import { takeStill } from "../../src/app/react";
import { tvmStream } from "../../src/domain/ids";
import { type Agent, JOB, type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld, taskOf } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

test("a TVM is lost between the look and the choice: all is chosen anew, and what is first in turn does not wait for it", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 1 });
  await makeWorkItem(world, "High", { priority: 5 });
  await makeWorkItem(world, "Low", { priority: -5 });
  await bootAll(world);
  for (const name of ["Low", "High"]) for (const outcome of accepted(await addTasks(world.ports, world.call(), name, JOB, [newTask("a")]))) accepted(outcome);
  while (await world.pump.feed());
  const { get } = world.ports.views;
  let looks = 0;
  let lost = "";
  world.ports.views.get = async (view, keys) => {
    if (view.name !== "tvms" || ++looks !== 2) return get(view, keys);
    // The first that was chosen is for the task of the higher priority.
    lost = `${keys[0]!.partition}.${keys[0]!.id}`;
    await execute(world.ports, "tvm", "service", { stream: tvmStream(lost), command: { type: "LoseTvm", at: world.now(), boot: 1 } });
    return get(view, keys);
  };
  await world.pump.wakes();
  world.ports.views.get = get;
  const high = await taskOf(world, "a", "High");
  expect(lost).toMatch(/tvm-/);
  expect(high).toMatchObject({ phase: "assigned", attempt: 1 });
  expect(lost.endsWith(high.tvm as string)).toBe(false);
  expect(await taskOf(world, "a", "Low")).toMatchObject({ phase: "active", attempt: 0 });
});

test("a TVM has left when a task is given to it, and placement is killed before it can look again: the sweep gives the task back", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 1 });
  await makeWorkItem(world);
  const [agent] = (await bootAll(world)).values();
  const { append } = world.ports.eventStore;
  world.ports.eventStore.append = async (commits) => {
    if (!commits.some(({ events }) => events.some(({ type }) => type === "TaskAssigned"))) return append(commits);
    world.ports.eventStore.append = append;
    accepted(await removePoolTvms(world.ports, world.call(), "Pool-A", { tvms: [agent!.key.split(".")[2] as string], timeoutMs: 300_000, option: "requeue" }));
    await world.pump.untilQuiet();
    await append(commits);
    throw new Error("killed here");
  };
  await expect(addMany(world, "Render", [newTask("a")])).rejects.toThrow("killed here");
  await world.pump.untilQuiet();
  expect(world.machines.removed).toEqual([agent!.key]);
  expect(await taskOf(world, "a")).toMatchObject({ phase: "assigned" });
  await world.sweep();
  expect(await taskOf(world, "a")).toMatchObject({ phase: "active", attempt: 1, retryCount: 0 });
});

/** One TVM, whose agent has been given the task `a`. */
const oneHolding = async (): Promise<Agent> => {
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 1 });
  await makeWorkItem(world);
  const [agent] = (await bootAll(world)).values() as unknown as [Agent];
  await addMany(world, "Render", [newTask("a")]);
  await agent.exchange();
  return agent;
};

test("the sweep takes nothing from a TVM whose row is behind, or is made anew just now", async () => {
  await oneHolding();
  const { get } = world.ports.views;
  world.ports.views.get = async (view, keys) => (view.name === "tvms" ? keys.map(() => undefined) : get(view, keys));
  await world.sweep();
  world.ports.views.get = get;
  expect(await taskOf(world, "a")).toMatchObject({ phase: "assigned", attempt: 1, requeueCount: 0 });
});

test("a restart that is told of when the TVM is back takes nothing from it, though its row is behind (seed 1269464)", async () => {
  const agent = await oneHolding();
  const { get } = world.ports.views;
  world.ports.views.get = async (view, keys) => (await get(view, keys)).map((row) => (row && view.name === "tvms" ? { ...row, phase: "starting", joined: false } : row)) as never;
  await takeStill(world.ports, { tvm: agent.key, reason: "tvmRestarted", option: "requeue" }, world.now());
  expect(await taskOf(world, "a")).toMatchObject({ phase: "assigned", attempt: 1, requeueCount: 0 });
  world.ports.views.get = get;
});
