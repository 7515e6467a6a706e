// Job manager tasks: made with their job, first to run, first to run again, with a TVM to themselves, and the job that ends with them.
import { makeRoomForManagers } from "../../src/app/makeRoom";
import { managerOf, managerToken } from "../../src/app/managers";
import { addTasks, deleteTask, terminateTask } from "../../src/app/tasks";
import { getJob, jobCounts, keyOfJob } from "../../src/app/jobs";
import { removePoolTvms, resizePool } from "../../src/app/pools";
import { isRejection } from "../../src/domain/decider";
import type { Job, JobManager } from "../../src/domain/job";
import { managersIn, restartsIn, tasks } from "../../src/views/tasks";
import { type Agent, JOB, type World, accepted, addMany, agentFor, bootAll, makePool, makeWorkItem, newTask, openWorld, taskOf } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const manager = (more: Partial<JobManager> = {}): JobManager => ({ name: "Manager", commandLine: "plan", maxTaskRetryCount: -1, exclusive: false, killJobOnCompletion: true, ...more });
const managed = (more: Partial<JobManager> = {}, name = "Render", priority = 0) => makeWorkItem(world, name, { manager: manager(more), priority });
const jobNow = async (name = "Render"): Promise<Job> => accepted(await getJob(world.ports, world.call(), name, JOB)).state;
const counts = async (name = "Render") => jobCounts(world.ports, keyOfJob(accepted(await getJob(world.ports, world.call(), name, JOB))));
const agentsOf = async (): Promise<Agent[]> => [...(await bootAll(world)).values()];

/** Takes what there is to run and says that it runs. */
const begin = async (agent: Agent): Promise<string[]> => {
  const { run } = await agent.exchange();
  for (const one of run) agent.started(one);
  await agent.exchange();
  return run.map(({ task }) => task);
};
const end = async (agent: Agent, task: string, exitCode = 0): Promise<void> => {
  agent.ended(agent.waiting().find((one) => one.task === task)!, exitCode);
  await agent.exchange();
};

test("it is a task of its job as soon as the job is there, and goes before all others; case 46: it has ended, and its job stays active", async () => {
  await managed({ environment: [{ name: "A", value: "1" }], maxWallClockMs: 5000, killJobOnCompletion: false });
  expect(await taskOf(world, "manager")).toMatchObject({ phase: "active", name: "Manager", spec: { commandLine: "plan", manager: true, maxTaskRetryCount: -1, maxWallClockMs: 5000 } });
  expect((await jobNow()).managerQueued).toBe(true);
  await addMany(world, "Render", [newTask("a"), newTask("b")]);
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 1 });
  const [agent] = await agentsOf();
  expect((await agent!.work()).map(({ task }) => task)).toEqual(["Manager", "a", "b"]);
  expect((await jobNow()).phase).toBe("active");
});

test("it is there when its work item's maker is answered, before any process has looked", async () => {
  world.ports.orchestrations.nudge = async () => undefined;
  await managed();
  expect(await taskOf(world, "manager")).toMatchObject({ name: "Manager", phase: "active" });
  expect((await jobNow()).managerQueued).toBe(true);
});

test("made once: not again when a step is repeated, nor after its user has deleted it; its name is taken from the start", async () => {
  // The call that makes the job dies before the manager is made, and its process has not been there yet.
  const { eventStore, orchestrations } = world.ports;
  const [append, nudge] = [eventStore.append, orchestrations.nudge];
  eventStore.append = async (commits) => {
    if (commits.some(({ stream }) => stream.startsWith("task-"))) throw new Error("killed here");
    return append(commits);
  };
  orchestrations.nudge = async (kind, stream) => (kind === "pool" ? nudge(kind, stream) : undefined);
  await expect(managed()).rejects.toThrow("killed here");
  eventStore.append = append;
  await world.pump.untilQuiet();
  const [mine, other] = accepted(await addTasks(world.ports, world.call(), "Render", JOB, [newTask("manager"), newTask("other")]));
  expect([isRejection(mine!) && mine.code, isRejection(other!)]).toEqual(["TaskExists", false]);
  // Nothing of the job is placed before its manager.
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 1 });
  const [agent] = await agentsOf();
  expect((await agent!.exchange()).run).toEqual([]);
  orchestrations.nudge = nudge;
  await world.sweep();
  expect((await agent!.exchange()).run.map(({ task }) => task)).toEqual(["Manager"]);
  accepted(await deleteTask(world.ports, world.call(), "Render", JOB, "manager"));
  await world.pump.untilQuiet();
  for (let turn = 0; turn < 3; turn++) await world.sweep();
  expect(await counts()).toMatchObject({ active: 0, assigned: 1, completed: 0 });
  expect((await jobNow()).phase).toBe("active");
});

test("case 45: it exits with killJobOnCompletion: the two tasks that run are ended, and the job is completed with JMComplete", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 3 });
  await managed();
  const [agent] = await agentsOf();
  await begin(agent!);
  await addMany(world, "Render", [newTask("a"), newTask("b")]);
  await begin(agent!);
  expect(await counts()).toMatchObject({ running: 3 });
  await end(agent!, "Manager");
  expect(await jobNow()).toMatchObject({ phase: "completed", terminateReason: "JMComplete", previousState: "active" });
  for (const name of ["a", "b"]) expect(await taskOf(world, name)).toMatchObject({ phase: "completed", error: { code: "TaskEnded" } });
  expect((await agent!.exchange()).stop.length).toBeGreaterThanOrEqual(2);
});

test("the hint that it has ended is lost: the sweep's next one ends the job", async () => {
  await makePool(world);
  await managed();
  const [agent] = await agentsOf();
  await begin(agent!);
  const { nudge } = world.ports.orchestrations;
  world.ports.orchestrations.nudge = async () => undefined;
  await end(agent!, "Manager");
  world.ports.orchestrations.nudge = nudge;
  expect((await jobNow()).phase).toBe("active");
  await world.sweep();
  expect(await jobNow()).toMatchObject({ phase: "completed", terminateReason: "JMComplete" });
});

test("it fails: it is started again before anything else, on and on, until it succeeds", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 1 });
  await managed();
  const [agent] = await agentsOf();
  await addMany(world, "Render", [newTask("a")]);
  for (let run = 1; run <= 3; run++) {
    expect(await begin(agent!)).toEqual(["Manager"]);
    await end(agent!, "Manager", run === 3 ? 0 : 7);
  }
  expect(await taskOf(world, "Manager")).toMatchObject({ phase: "completed", retryCount: 2, exitCode: 0 });
  expect((await jobNow()).terminateReason).toBe("JMComplete");
});

test("with a TVM to itself: it waits for an empty one, which gets nothing more meanwhile, and shares it with nobody", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 3 });
  await makeWorkItem(world, "Other");
  const [agent] = await agentsOf();
  await addMany(world, "Other", [newTask("x"), newTask("y")]);
  expect((await begin(agent!)).sort()).toEqual(["x", "y"]);
  await managed({ exclusive: true, killJobOnCompletion: false }, "Render", 5);
  await addMany(world, "Render", [newTask("a")]);
  await addMany(world, "Other", [newTask("z")]);
  await agent!.exchange();
  // There is room for one, but the manager of the higher priority waits for all of it.
  expect(await counts("Other")).toMatchObject({ running: 2, active: 1, assigned: 0 });
  await end(agent!, "x");
  expect(await counts("Other")).toMatchObject({ active: 1, assigned: 0 });
  await end(agent!, "y");
  const { run } = await agent!.exchange();
  const [only] = [...run, ...agent!.waiting()];
  expect(only).toMatchObject({ task: "Manager", exclusive: true });
  agent!.started(only!);
  await agent!.exchange({ capacity: 50 });
  await world.sweep();
  expect(await counts()).toMatchObject({ running: 1, active: 1, assigned: 0 });
  expect(await counts("Other")).toMatchObject({ active: 1, assigned: 0 });
  await end(agent!, "Manager");
  await agent!.exchange();
  expect(agent!.waiting().map(({ task }) => task).sort()).toEqual(["a", "z"]);
});

describe("no TVM has room when it has to run again", () => {
  /** Two TVMs; the one of the manager is lost, the other is full. */
  const full = async (own: boolean, priority: number, exclusive = false) => {
    await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 1 });
    await managed({ exclusive });
    await makeWorkItem(world, "Other", { priority });
    const agents = await bootAll(world);
    const [first, second] = [...agents.values()];
    for (const one of [first!, second!]) await begin(one);
    const [mine, spare] = first!.waiting().length > 0 ? [first!, second!] : [second!, first!];
    await addMany(world, own ? "Render" : "Other", [newTask("busy")]);
    await begin(spare);
    expect(spare.waiting().map(({ task }) => task)).toEqual(["busy"]);
    // Its TVM falls silent and is lost.
    await spare.exchange();
    await world.pass(30_000);
    await spare.exchange();
    await world.pass(31_000);
    await spare.exchange();
    await world.sweep();
    await spare.send();
    await world.pump.untilQuiet();
    return { mine, spare };
  };

  test.each([["of its own job", true, 0], ["of a job of lower priority", false, -1]])("a running task %s is requeued for it", async (_, own, priority) => {
    const { spare } = await full(own, priority);
    expect(await taskOf(world, "busy", own ? "Render" : "Other")).toMatchObject({ phase: "active", requeueCount: 1, retryCount: 0 });
    const job = await taskOf(world, "Manager");
    expect(job).toMatchObject({ phase: "assigned", requeueCount: 1, attempt: 2 });
    await spare.exchange();
    expect(spare.waiting().map(({ task, attempt }) => `${task} ${attempt}`)).toEqual(["Manager 2"]);
  });

  test("for one that wants a TVM to itself, all that is on one", async () => {
    const { spare } = await full(true, 0, true);
    await spare.exchange();
    expect(spare.waiting().map(({ task, exclusive }) => `${task} ${exclusive}`)).toEqual(["Manager true"]);
    expect(await taskOf(world, "busy")).toMatchObject({ phase: "active", requeueCount: 1 });
  });

  test.each([["equal", 0], ["higher", 7]])("a running task of another job of %s priority goes on", async (_, priority) => {
    const { spare } = await full(false, priority);
    expect(await taskOf(world, "busy", "Other")).toMatchObject({ phase: "running", requeueCount: 0 });
    expect(await taskOf(world, "Manager")).toMatchObject({ phase: "active", requeueCount: 1 });
    await end(spare, "busy");
    await spare.exchange();
    expect(spare.waiting().map(({ task }) => task)).toEqual(["Manager"]);
  });

  test("and the TVM with that task leaves the pool as it is chosen: it goes on waiting, and is not left with a TVM that is gone", async () => {
    const { append } = world.ports.eventStore;
    world.ports.eventStore.append = async (commits) => {
      const outcomes = await append(commits);
      if (!commits.some(({ events }) => events.some(({ reason }) => reason === "roomForJobManager"))) return outcomes;
      world.ports.eventStore.append = append;
      const { tvm } = await taskOf(world, "busy");
      accepted(await removePoolTvms(world.ports, world.call(), "Pool-A", { tvms: [tvm as string], timeoutMs: 300_000, option: "requeue" }));
      await world.pump.untilQuiet();
      return outcomes;
    };
    const { spare } = await full(true, 0);
    expect(world.machines.removed).toEqual([spare.key]);
    expect(await taskOf(world, "Manager")).toMatchObject({ phase: "active", attempt: 1 });
    await resizePool(world.ports, world.call(), "Pool-A", { target: 2, timeoutMs: 300_000, option: "requeue" });
    await world.pump.untilQuiet();
    const young = [...world.machines.orders.values()].find(({ tvm }) => tvm.startsWith("tvm-3_"));
    const agent = agentFor(world, young!);
    await agent.join();
    await world.pump.untilQuiet();
    expect((await agent.exchange()).run.map(({ task }) => task)).toEqual(["Manager"]);
  });

  test("asked again, or when it does not wait any more: nothing happens", async () => {
    await full(true, 0);
    const before = await taskOf(world, "busy");
    await makeRoomForManagers(world.ports, "local.pool-a", world.now());
    expect(await taskOf(world, "busy")).toEqual(before);
    expect(await world.ports.views.keys(tasks, { ...restartsIn("local.pool-a"), limit: 9 })).toEqual([]);
  });
});

test("at its first start it waits its turn: what runs is not stopped for it", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 1, maxTasksPerTvm: 1 });
  await makeWorkItem(world, "Other", { priority: -10 });
  const [agent] = await agentsOf();
  await addMany(world, "Other", [newTask("busy"), newTask("next")]);
  await begin(agent!);
  await managed({ exclusive: true });
  await world.sweep();
  expect(await taskOf(world, "busy", "Other")).toMatchObject({ phase: "running" });
  await end(agent!, "busy");
  await agent!.exchange();
  expect(agent!.waiting().map(({ task }) => task)).toEqual(["Manager"]);
});

test("case 52: when the pool shrinks from 3 to 1, the TVM of the job manager remains", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 3, maxTasksPerTvm: 1 });
  const agents = await agentsOf();
  // All are busy, and the manager's is the youngest, which would go first.
  await makeWorkItem(world, "Other");
  await addMany(world, "Other", [newTask("a"), newTask("b")]);
  await managed();
  for (const agent of agents) await begin(agent);
  const { tvm } = await taskOf(world, "Manager");
  expect(tvm).toMatch(/^tvm-3_/);
  expect((await world.ports.views.keys(tasks, { ...managersIn("local.pool-a"), limit: 9 })).map((key) => key.split("/")[0])).toEqual([`local.pool-a.${tvm}`]);
  accepted(await resizePool(world.ports, world.call(), "Pool-A", { target: 1, timeoutMs: 300_000, option: "requeue" }));
  await world.pump.untilQuiet();
  for (const agent of agents) if (!agent.key.endsWith(tvm!)) await agent.send();
  await world.pass(60_000);
  expect([...world.machines.orders.keys()]).toEqual([`local.pool-a.${tvm}`]);
  expect(await taskOf(world, "Manager")).toMatchObject({ phase: "running", requeueCount: 0, tvm });
});

test("its token is good while its attempt lives, and for nobody else", async () => {
  await makePool(world);
  await managed({ killJobOnCompletion: false });
  await addMany(world, "Render", [newTask("plain")]);
  const [agent] = await agentsOf();
  await agent!.exchange();
  const given = agent!.waiting().find(({ task }) => task === "Manager")!.manager!.token;
  expect(agent!.waiting().find(({ task }) => task === "plain")!.manager).toBeUndefined();
  const key = "local.render.1.job-0000000001.manager";
  expect(await managerOf(world.ports, given)).toEqual({ account: "local", workItem: "Render", job: JOB, task: key });
  expect(given).toBe(managerToken(world.ports, key, 1));
  const forged = [
    managerToken(world.ports, key, 2), managerToken(world.ports, "local.render.1.job-0000000001.plain", 1), managerToken(world.ports, "local.none.1.job.x", 1),
    `${given}x`, given.slice(0, -1), given.replace("manager", "other"), "", "~", "~~", `${key}~1~`, `${key}~one~x`,
  ];
  for (const token of forged) expect(await managerOf(world.ports, token)).toBeUndefined();
  agent!.started(agent!.waiting().find(({ task }) => task === "Manager")!);
  await agent!.exchange();
  expect(await managerOf(world.ports, given)).toBeDefined();
  // It fails and is started again: the old token is worth nothing, the new one is another.
  await end(agent!, "Manager", 1);
  expect(await managerOf(world.ports, given)).toBeUndefined();
  await agent!.exchange();
  const next = agent!.waiting().find(({ task }) => task === "Manager")!.manager!.token;
  expect(await managerOf(world.ports, next)).toMatchObject({ task: key });
  accepted(await terminateTask(world.ports, world.call(), "Render", JOB, "Manager"));
  expect(await managerOf(world.ports, next)).toBeUndefined();
});
