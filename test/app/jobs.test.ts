// Jobs beyond their beginning and end: disabled and enabled, pointed at other pools, and what becomes of their tasks meanwhile.
import { disableJob, enableJob, getJob, jobCounts, keyOfJob, terminateJob, updateJob } from "../../src/app/jobs";
import { addTasks, updateTask } from "../../src/app/tasks";
import type { DisableOption, Job } from "../../src/domain/job";
import { type Agent, JOB, type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld, taskOf } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const counts = async (workItem = "Render") => jobCounts(world.ports, keyOfJob(accepted(await getJob(world.ports, world.call(), workItem, JOB))));
const jobNow = async (workItem = "Render"): Promise<Job> => accepted(await getJob(world.ports, world.call(), workItem, JOB)).state;
const disable = async (tasks: DisableOption): Promise<void> => {
  accepted(await disableJob(world.ports, world.call(), "Render", JOB, tasks));
  await world.pump.untilQuiet();
};
const enable = async (): Promise<void> => {
  accepted(await enableJob(world.ports, world.call(), "Render", JOB));
  await world.pump.untilQuiet();
};

/** One running, one that its TVM only holds, and one that waits. */
const oneOfEach = async (): Promise<Agent> => {
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 2 });
  await makeWorkItem(world);
  const [agent] = (await bootAll(world)).values();
  await addMany(world, "Render", [newTask("running"), newTask("held"), newTask("waiting")]);
  await agent!.exchange();
  agent!.started(agent!.waiting().find(({ task }) => task === "running")!);
  await agent!.exchange();
  expect(await counts()).toMatchObject({ running: 1, assigned: 1, active: 1 });
  return agent!;
};

describe("a job is disabled", () => {
  test("requeue: what runs waits again, counted, and nothing starts until the job is enabled", async () => {
    const agent = await oneOfEach();
    await disable("requeue");
    expect(await jobNow()).toMatchObject({ phase: "disabled", previousState: "disabling" });
    expect(await counts()).toMatchObject({ running: 0, assigned: 0, active: 3, requeues: 1 });
    expect(await taskOf(world, "running")).toMatchObject({ phase: "active", requeueCount: 1, retryCount: 0 });
    expect(await taskOf(world, "held")).toMatchObject({ phase: "active", requeueCount: 0 });
    expect((await agent.exchange()).stop).toHaveLength(2);
    // It takes tasks and keeps them.
    accepted(await addTasks(world.ports, world.call(), "Render", JOB, [newTask("later")]));
    await world.pass(60_000);
    await world.sweep();
    expect((await agent.exchange()).run).toEqual([]);
    expect(await counts()).toMatchObject({ active: 4 });
    await enable();
    expect(await jobNow()).toMatchObject({ phase: "active", previousState: "disabled" });
    const ran = await agent.work();
    // Two at a time, in the order in which they were added.
    const order = ran.map(({ task }) => task);
    expect([order.slice(0, 2).sort(), order.slice(2).sort()]).toEqual([["held", "running"], ["later", "waiting"]]);
    expect(await counts()).toMatchObject({ completed: 4, failed: 0 });
  });

  test("terminate: what runs ends for good, what waits goes on waiting", async () => {
    const agent = await oneOfEach();
    await disable("terminate");
    expect(await taskOf(world, "running")).toMatchObject({ phase: "completed", error: { code: "TaskEnded" } });
    expect(await counts()).toMatchObject({ running: 0, assigned: 0, active: 2, completed: 1, requeues: 0 });
    expect((await jobNow()).phase).toBe("disabled");
    await enable();
    expect((await agent.work()).map(({ task }) => task)).toEqual(["held", "waiting"]);
  });

  test("case 43: wait: disabling until the last running task has ended, then disabled; other jobs get the room", async () => {
    const agent = await oneOfEach();
    await disable("wait");
    expect((await jobNow()).phase).toBe("disabling");
    expect(await counts()).toMatchObject({ running: 1, assigned: 0, active: 2 });
    await makeWorkItem(world, "Other");
    await addMany(world, "Other", [newTask("free")]);
    await world.pass(20_000);
    expect((await jobNow()).phase).toBe("disabling");
    const answer = await agent.exchange();
    expect([...answer.run, ...agent.waiting()].map(({ task }) => task)).toContain("free");
    agent.ended(agent.waiting().find(({ task }) => task === "running")!, 0);
    await agent.exchange();
    expect(await jobNow()).toMatchObject({ phase: "disabled" });
    expect(await taskOf(world, "running")).toMatchObject({ phase: "completed", exitCode: 0, requeueCount: 0 });
  });

  test("wait: a task that fails and has retries left waits too, and its job need not", async () => {
    await makePool(world);
    await makeWorkItem(world, "Render", { constraints: { maxTaskRetryCount: 3 } });
    const [agent] = (await bootAll(world)).values();
    await addMany(world, "Render", [newTask("a")]);
    await agent!.exchange();
    agent!.started(agent!.waiting()[0]!);
    await agent!.exchange();
    await disable("wait");
    agent!.ended(agent!.waiting()[0]!, 1);
    await agent!.exchange();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", retryCount: 1 });
    expect((await jobNow()).phase).toBe("disabled");
  });

  test("while placement was looking: what it assigned after all goes back at once", async () => {
    await makePool(world);
    await makeWorkItem(world);
    const [agent] = (await bootAll(world)).values();
    const { views } = world.ports;
    const query = views.query.bind(views);
    let once = false;
    // The job is disabled between placement's look at the jobs and its assignments.
    views.query = (async (...asked: Parameters<typeof query>) => {
      const found = await query(...asked);
      if (asked[0].name !== "jobs" || asked[1].index !== "pool" || once || found.length === 0) return found;
      once = true;
      accepted(await disableJob(world.ports, world.call(), "Render", JOB, "wait"));
      return found;
    }) as typeof views.query;
    await addMany(world, "Render", [newTask("a")]);
    expect(once).toBe(true);
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", attempt: 1, requeueCount: 0 });
    expect((await jobNow()).phase).toBe("disabled");
    expect((await agent!.exchange()).run).toEqual([]);
  });

  test("a disabled job is pointed at another pool and runs there; its time runs on, and ends it", async () => {
    await makePool(world, "Pool-A", { targetDedicated: 1 });
    await makePool(world, "Pool-B", { targetDedicated: 1 });
    await makeWorkItem(world, "Render", { constraints: { maxTaskRetryCount: 0, maxWallClockMs: 3_600_000 } });
    const agents = [...(await bootAll(world)).values()];
    await disable("wait");
    await addMany(world, "Render", [newTask("a"), newTask("b")]);
    accepted(await updateJob(world.ports, world.call(), "Render", JOB, { pool: "Pool-B" }));
    await enable();
    const there = agents.find(({ key }) => key.includes("pool-b"))!;
    expect((await there.work(() => 0)).map(({ task }) => task)).toEqual(["a", "b"]);
    await disable("requeue");
    await world.pass(3_600_000);
    expect(await jobNow()).toMatchObject({ phase: "completed", terminateReason: "MaxWallClockTimeExpiry", previousState: "disabled" });
  });

  test("a disabled job is terminated: its waiting tasks end", async () => {
    await oneOfEach();
    await disable("requeue");
    accepted(await terminateJob(world.ports, world.call(), "Render", JOB, "enough"));
    await world.pump.untilQuiet();
    expect(await jobNow()).toMatchObject({ phase: "completed", terminateReason: "enough", previousState: "disabled" });
    expect(await counts()).toMatchObject({ active: 0, completed: 3 });
  });

  test("tasks that were active for more than seven days do not run when it is enabled; the others do", async () => {
    await makePool(world);
    await makeWorkItem(world);
    const [agent] = (await bootAll(world)).values();
    await disable("requeue");
    await addMany(world, "Render", [newTask("old1"), newTask("old2")]);
    const day = 86_400_000;
    await world.pass(2 * day);
    await addMany(world, "Render", [newTask("young")]);
    await world.pass(6 * day);
    // Its TVM was not heard of all the time; it is again.
    await world.sweep();
    const back = [...(await bootAll(world)).values()].at(-1) ?? agent!;
    await enable();
    for (const name of ["old1", "old2"]) {
      const task = await taskOf(world, name);
      expect(task).toMatchObject({ phase: "completed", error: { category: "UserError", code: "TaskSchedulingConstraintFailed" } });
      expect(task.attempt).toBe(0);
      expect(task.exitCode).toBeUndefined();
    }
    expect((await taskOf(world, "young")).phase).not.toBe("completed");
    expect((await back.work()).map(({ task }) => task)).toEqual(["young"]);
  });
});

test("a task's constraints are changed while it waits: its next run has them", async () => {
  await makePool(world);
  await makeWorkItem(world, "Render", { constraints: { maxTaskRetryCount: 2 } });
  await disable("requeue");
  await addMany(world, "Render", [newTask("a", { maxWallClockMs: 1000, environment: [{ name: "A", value: "1" }] })]);
  accepted(await updateTask(world.ports, world.call(), "Render", JOB, "a", { retentionMs: 5000, environment: [{ name: "B", value: "2" }] }));
  expect((await taskOf(world, "a")).spec).toEqual({ commandLine: "run a", maxTaskRetryCount: 2, retentionMs: 5000, environment: [{ name: "B", value: "2" }] });
  await enable();
  const [agent] = (await bootAll(world)).values();
  const { run } = await agent!.exchange();
  expect(run[0]).toMatchObject({ task: "a", retentionMs: 5000, environment: { B: "2" } });
  expect(run[0]).not.toHaveProperty("maxWallClockMs");
});

describe("a task that would like a TVM", () => {
  const nameOf = (agent: Agent): string => agent.key.slice(agent.key.lastIndexOf(".") + 1);

  test("gets it when it has room, however many others have more, and another when it has none", async () => {
    await makePool(world, "Pool-A", { targetDedicated: 3, maxTasksPerTvm: 2 });
    await makeWorkItem(world);
    const agents = [...(await bootAll(world)).values()];
    const wish = `TVM:${nameOf(agents[2]!).toUpperCase()}`;
    await addMany(world, "Render", ["a", "b", "c", "d"].map((name) => newTask(name, { affinityId: wish })));
    for (const agent of agents) await agent.exchange();
    expect(agents[2]!.waiting().map(({ task }) => task)).toEqual(["a", "b"]);
    expect([agents[0]!, agents[1]!].map((agent) => agent.waiting().length)).toEqual([1, 1]);
  });

  test("and that placement would not have looked at is looked at; what is no TVM's name is no wish", async () => {
    await makePool(world, "Pool-A", { targetDedicated: 60, maxTasksPerTvm: 1 });
    await makePool(world, "Pool-B", { targetDedicated: 1, maxTasksPerTvm: 1 });
    await makeWorkItem(world);
    const agents = [...(await bootAll(world)).values()].filter(({ key }) => key.includes("pool-a"));
    const last = agents.at(-1)!;
    const { views } = world.ports;
    const query = views.query.bind(views);
    // As in a pool of many more TVMs with room than are looked at in one run.
    views.query = (async (...asked: Parameters<typeof query>) => (await query(...asked)).slice(0, asked[0].name === "rooms" ? 2 : undefined)) as typeof views.query;
    await addMany(world, "Render", [newTask("a", { affinityId: `TVM:${nameOf(last)}` }), newTask("b", { affinityId: "rack 7/shelf@2!" }), newTask("c", { affinityId: "TVM:tvm-9_9-20150401t120000z" })]);
    await last.exchange();
    expect(last.waiting().map(({ task }) => task)).toEqual(["a"]);
    expect(await counts()).toMatchObject({ active: 0, assigned: 3 });
  });
});

describe("the folder of a task that runs again on another TVM", () => {
  const movedOnce = async () => {
    await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 1 });
    await makeWorkItem(world, "Render", { constraints: { maxTaskRetryCount: 5 } });
    const [first, second] = [...(await bootAll(world)).values()];
    await addMany(world, "Render", [newTask("Frame", { affinityId: `TVM:${first!.key.slice(first!.key.lastIndexOf(".") + 1)}` })]);
    await first!.exchange();
    first!.started(first!.waiting()[0]!);
    first!.ended(first!.waiting()[0]!, 1);
    return { first: first!, second: second! };
  };
  const runOn = async (agent: Agent, exitCode: number): Promise<void> => {
    await agent.exchange();
    const [one] = agent.waiting();
    agent.started(one!);
    agent.ended(one!, exitCode);
    await agent.exchange();
  };

  test("goes from the first one, once", async () => {
    const { first, second } = await movedOnce();
    accepted(await disableJob(world.ports, world.call(), "Render", JOB, "wait"));
    await first.exchange();
    await makeWorkItem(world, "Other", { priority: 9 });
    await addMany(world, "Other", [newTask("busy", { affinityId: `TVM:${first.key.slice(first.key.lastIndexOf(".") + 1)}` })]);
    expect((await first.exchange()).removeFolders).toEqual([]);
    accepted(await enableJob(world.ports, world.call(), "Render", JOB));
    await world.pump.untilQuiet();
    await runOn(second, 0);
    expect(await taskOf(world, "Frame")).toMatchObject({ phase: "completed", retryCount: 1 });
    expect((await first.exchange()).removeFolders).toEqual(["Render/job-0000000001/Frame"]);
    expect((await first.exchange({ removedFolders: ["Render/job-0000000001/Frame"] })).removeFolders).toEqual([]);
    expect((await second.exchange()).removeFolders).toEqual([]);
  });

  test("stays where the task has come back to", async () => {
    const { first, second } = await movedOnce();
    accepted(await disableJob(world.ports, world.call(), "Render", JOB, "wait"));
    await first.exchange();
    await makeWorkItem(world, "Other", { priority: 9 });
    await addMany(world, "Other", [newTask("busy", { affinityId: `TVM:${first.key.slice(first.key.lastIndexOf(".") + 1)}` })]);
    await first.exchange();
    accepted(await enableJob(world.ports, world.call(), "Render", JOB));
    await world.pump.untilQuiet();
    // It fails on the second, and the first has room again before it was told anything.
    await second.exchange();
    second.started(second.waiting()[0]!);
    second.ended(second.waiting()[0]!, 1);
    await second.send();
    first.ended(first.waiting()[0]!, 0);
    await first.send();
    await world.pump.untilQuiet();
    const told = await first.exchange();
    expect(told.run.map(({ task, attempt }) => `${task} ${attempt}`)).toEqual(["Frame 3"]);
    expect(told.removeFolders).toEqual([]);
    first.started(first.waiting()[0]!);
    first.ended(first.waiting()[0]!, 0);
    await first.exchange();
    expect((await first.exchange()).removeFolders).toEqual([]);
    expect((await second.exchange()).removeFolders).toEqual(["Render/job-0000000001/Frame"]);
  });
});
