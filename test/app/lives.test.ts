// Whole lives on the real stores: from a pool that is added to the last task counted, and everything that may come between.
import { type Agent, JOB, type World, accepted, addMany, agentFor, allCommits, bootAll, bytesOf, makePool, makeWorkItem, newTask, openWorld, shownIn, taskOf } from "../support/world";
import { getJob, jobCounts, keyOfJob, listJobs, terminateJob, deleteJob, updateJob } from "../../src/app/jobs";
import { getPool, getTvm, listPools, listTvms, resizePool, updatePool } from "../../src/app/pools";
import { sweep } from "../../src/app/sweep";
import { addTask, addTasks, deleteTask, getTask, listTasks, terminateTask } from "../../src/app/tasks";
import { deleteWorkItem, addWorkItem, getWorkItem, terminateWorkItem } from "../../src/app/workItems";
import { isRejection } from "../../src/domain/decider";
import { tasks } from "../../src/views/tasks";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const counts = async (workItem = "Render") => jobCounts(world.ports, keyOfJob(accepted(await getJob(world.ports, world.call(), workItem, JOB))));
const codeOf = (answer: unknown): string => (isRejection(answer) ? answer.code : "accepted");
const names = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${prefix}${String(index).padStart(4, "0")}`);

test("a pool is added, its TVM joins, a task runs there and is counted", async () => {
  await makePool(world);
  const pool = accepted(await getPool(world.ports, world.call(), "pool-a")).state;
  expect(pool).toMatchObject({ phase: "active", allocation: "steady", tvms: [expect.stringMatching(/^tvm-1_1-20150401t120000z$/)] });
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("Frame1")]);
  expect(await taskOf(world, "frame1")).toMatchObject({ phase: "active", name: "Frame1", attempt: 0 });

  const [agent] = (await bootAll(world)).values();
  expect((await taskOf(world, "Frame1")).phase).toBe("assigned");
  const answer = await agent!.exchange();
  expect(answer.run).toEqual([
    { key: "local.render.1.job-0000000001.frame1", attempt: 1, workItem: "Render", job: JOB, task: "Frame1", commandLine: "run Frame1", resourceFiles: [], environment: {}, runElevated: false },
  ]);
  const [one] = answer.run;
  agent!.started(one!);
  await agent!.exchange();
  expect(await taskOf(world, "Frame1")).toMatchObject({ phase: "running", tvm: pool.tvms[0] });
  expect(accepted(await getTvm(world.ports, world.call(), "Pool-A", pool.tvms[0] as string))).toMatchObject({ running: 1, tasks: [{ name: "Frame1" }] });
  agent!.ended(one!, 0, { usage: { userMs: 70, kernelMs: 30, maxRssKib: 9 } });
  await agent!.exchange();
  expect(await taskOf(world, "Frame1")).toMatchObject({ phase: "completed", exitCode: 0 });
  expect(await counts()).toEqual({ active: 0, assigned: 0, running: 0, completed: 1, failed: 0, retries: 0, requeues: 0, cpuMs: 100 });
  // Kept until the service has taken the end in, then forgotten.
  expect((await agent!.exchange()).stop).toEqual([{ key: one!.key, attempt: 1 }]);
  expect(agent!.held.size).toBe(0);
  expect(world.warnings).toEqual([]);
});

test("a thousand tasks added at once run once each, in their order, on three TVMs", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 3, maxTasksPerTvm: 4 });
  await makeWorkItem(world);
  await addMany(world, "Render", names("t", 1000).map((name) => newTask(name)));
  expect(await counts()).toMatchObject({ active: 1000 });
  const agents = [...(await bootAll(world)).values()];
  const ran: string[] = [];
  const firsts = agents.map((agent) => agent.exchange());
  const heads = (await Promise.all(firsts)).flatMap(({ run }) => run.map(({ task }) => task));
  expect(heads.sort()).toEqual(names("t", 12));
  for (let busy = true; busy; ) {
    busy = false;
    for (const agent of agents) {
      for (const one of agent.waiting()) {
        agent.ended(one, 0);
        ran.push(one.task);
        busy = true;
      }
      await agent.exchange();
      await agent.exchange();
    }
  }
  expect(ran.sort()).toEqual(names("t", 1000));
  expect(await counts()).toMatchObject({ active: 0, assigned: 0, running: 0, completed: 1000, failed: 0 });
  const listed = accepted(await listTasks(world.ports, world.call(), "Render", JOB, { limit: 600 }));
  const rest = accepted(await listTasks(world.ports, world.call(), "Render", JOB, { limit: 600, after: listed.next }));
  expect([...listed.rows, ...rest.rows].map(({ row }) => row.name)).toEqual(names("t", 1000));
  expect(rest.next).toBeUndefined();
});

test("the same names added again are refused one by one, twice in one request too, and the others are added", async () => {
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a"), newTask("b")]);
  const answers = accepted(await addTasks(world.ports, world.call(), "Render", JOB, [newTask("A"), newTask("c"), newTask("C"), newTask("b"), newTask("d")]));
  expect(answers.map(codeOf)).toEqual(["TaskExists", "accepted", "TaskExists", "TaskExists", "accepted"]);
  expect(await counts()).toMatchObject({ active: 4 });
});

test("case 29 and case 30: retries on and on until the count is reached; what the job says counts where the task says nothing", async () => {
  await makePool(world);
  await makeWorkItem(world, "Render", { constraints: { maxTaskRetryCount: 2 } });
  await addMany(world, "Render", [newTask("own", { maxTaskRetryCount: 0 }), newTask("inherited"), newTask("lucky")]);
  const [agent] = (await bootAll(world)).values();
  const ran = await agent!.work(({ task, attempt }) => (task === "lucky" && attempt === 2 ? 0 : 9));
  expect(ran.map(({ task, attempt }) => `${task} ${attempt}`).sort()).toEqual(["inherited 1", "inherited 2", "inherited 3", "lucky 1", "lucky 2", "own 1"]);
  expect(await counts()).toMatchObject({ completed: 3, failed: 2, retries: 3 });
  expect(await taskOf(world, "inherited")).toMatchObject({ phase: "completed", exitCode: 9, retryCount: 2 });
});

test("reports that are late, repeated, in the wrong order, or somebody else's", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 1 });
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a"), newTask("b")]);
  const [first, second] = [...(await bootAll(world)).values()];
  await first!.exchange();
  await second!.exchange();
  const [mine] = first!.waiting();
  const [yours] = second!.waiting();
  // Somebody else's: not believed.
  first!.ended(yours!, 0);
  await first!.exchange();
  expect(await taskOf(world, yours!.task)).toMatchObject({ phase: "assigned" });
  // The end before the beginning, in one message and in two, and all of it again.
  const end = { kind: "taskEnded", key: mine!.key, attempt: 1, at: world.now(), startedAt: world.now(), exitCode: 3 } as const;
  const begin = { kind: "taskStarted", key: mine!.key, attempt: 1, at: world.now() } as const;
  first!.report(end, begin);
  await first!.exchange();
  expect(await taskOf(world, mine!.task)).toMatchObject({ phase: "completed", exitCode: 3 });
  const before = await allCommits(world);
  for (const reports of [[begin], [end], [end, begin, end], [{ ...end, exitCode: 0 }]]) await first!.exchange({ reports });
  expect(await allCommits(world)).toEqual(before);
  expect(await counts()).toMatchObject({ completed: 1, failed: 1, assigned: 1 });
});

describe("a TVM that falls silent", () => {
  const oneRunning = async () => {
    await makePool(world, "Pool-A", { targetDedicated: 1 });
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const agents = await bootAll(world);
    const [agent] = agents.values();
    await agent!.exchange();
    const [one] = agent!.waiting();
    agent!.started(one!);
    await agent!.exchange();
    return { agents, agent: agent!, one: one! };
  };

  test("is lost after its time, its task waits again, and when it is back it ends what is not its own any more", async () => {
    const { agent, one } = await oneRunning();
    await world.pass(59_000);
    await world.sweep();
    expect((await taskOf(world, "a")).phase).toBe("running");
    await world.pass(2_000);
    await world.sweep();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", requeueCount: 1 });
    expect(accepted(await getTvm(world.ports, world.call(), "Pool-A", agent.key.split(".")[2] as string)).tvm.phase).toBe("unknown");
    // Its word about the old attempt comes late.
    agent.ended(one, 0);
    const answer = await agent.exchange();
    expect(answer.stop).toEqual([{ key: one.key, attempt: 1 }]);
    expect(await taskOf(world, "a")).toMatchObject({ attempt: 2, phase: "assigned" });
    expect(await agent.work()).toHaveLength(1);
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", attempt: 2, requeueCount: 1, retryCount: 0 });
  });

  test("is not lost because the service's clock was set forward: its silence is counted anew", async () => {
    const { agent, one } = await oneRunning();
    await world.sweep();
    world.clock.set(3 * 3_600_000);
    await world.sweep();
    for (let second = 0; second < 60; second += 10) {
      await world.pass(10_000);
      await agent.exchange();
      await world.sweep();
    }
    expect(await taskOf(world, "a")).toMatchObject({ phase: "running", attempt: 1, requeueCount: 0 });
    expect(world.warnings).toEqual(["the clock was set: how long TVMs have been silent is counted anew"]);
    agent.ended(one, 0);
    await agent.exchange();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", attempt: 1, requeueCount: 0 });
  });

  test.each([["forward", 3 * 3_600_000], ["back", -3 * 3_600_000]])("after the service's clock was set %s is lost within two minutes all the same", async (_, setBy) => {
    const { agent } = await oneRunning();
    await world.sweep();
    world.clock.set(setBy);
    for (let second = 0; second < 50; second += 10) {
      await world.sweep();
      await world.pass(10_000);
      await agent.exchange();
    }
    expect((await taskOf(world, "a")).phase).toBe("running");
    for (let second = 0; second < 70; second += 10) {
      await world.sweep();
      await world.pass(10_000);
    }
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", requeueCount: 1 });
  });

  test("when the service's clock is set back is lost as if it had just been heard of, not hours later", async () => {
    await oneRunning();
    world.clock.set(-3 * 3_600_000);
    for (let second = 0; second < 80; second += 10) {
      await world.sweep();
      await world.pass(10_000);
    }
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", requeueCount: 1 });
  });

  test("that was heard of while a sweep stood still is not taken for one of the future, and lost", async () => {
    const { agent } = await oneRunning();
    const begun = world.ports.clock.now().toISOString();
    for (let second = 0; second < 70; second += 10) {
      await world.sweep();
      await world.pass(10_000);
      await agent.exchange();
    }
    await sweep(world.ports, begun);
    await world.sweep();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "running", requeueCount: 0 });
  });

  test("and whose machine is gone is started again; the old boot is shut out", async () => {
    const { agents, agent } = await oneRunning();
    await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: agent.key, boot: 1 } }]);
    await world.pump.untilQuiet();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "active", requeueCount: 1 });
    expect(codeOf(await agent.send())).toBe("AuthenticationFailed");
    await expect(agent.join()).rejects.toThrow("AuthenticationFailed");
    await bootAll(world, agents);
    const again = agents.get(agent.key);
    expect(again).toMatchObject({ boot: 2 });
    await again!.work();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed" });
  });

  test("and whose machine nobody has, as after a restored backup, is started again at once", async () => {
    const { agents, agent } = await oneRunning();
    world.machines.orders.clear();
    await world.pass(61_000);
    await world.sweep();
    await bootAll(world, agents);
    expect(agents.get(agent.key)).toMatchObject({ boot: 2 });
    await agents.get(agent.key)!.work();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", requeueCount: 1 });
  });

  test("and is back before a slow sweep comes to it keeps what it was given since", async () => {
    await makePool(world, "Pool-A", { targetDedicated: 1 });
    await makeWorkItem(world);
    const { keys } = world.ports.views;
    let agents = new Map<string, Agent>();
    // The sweep sees the TVM start; before it looks at what it holds the TVM has joined and got a task.
    world.ports.views.keys = async (view, asked) => {
      if (asked.index === "tvm" && agents.size === 0) {
        world.ports.views.keys = keys;
        agents = await bootAll(world);
        await addMany(world, "Render", [newTask("a")]);
      }
      return keys(view, asked);
    };
    await world.sweep();
    expect(agents.size).toBe(1);
    expect(await taskOf(world, "a")).toMatchObject({ phase: "assigned", attempt: 1, requeueCount: 0 });
  });

  test("and whose pool never heard that its machine had ended is started again by the sweep", async () => {
    const { agents, agent } = await oneRunning();
    const { orchestrations } = world.ports;
    const nudge = orchestrations.nudge;
    orchestrations.nudge = async () => {};
    await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: agent.key, boot: 1 } }]);
    await world.pump.untilQuiet();
    orchestrations.nudge = nudge;
    await bootAll(world, agents);
    expect(agents.get(agent.key)).toMatchObject({ boot: 1 });
    await world.sweep();
    await bootAll(world, agents);
    expect(agents.get(agent.key)).toMatchObject({ boot: 2 });
  });

  test("right after it joined, before it ever exchanged, is missed like any other: at its second boot too", async () => {
    const { agents, agent } = await oneRunning();
    await agent.exchange();
    await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: agent.key, boot: 1 } }]);
    await world.pump.untilQuiet();
    await bootAll(world, agents);
    expect((await taskOf(world, "a")).phase).toBe("assigned");
    await world.pass(61_000);
    await world.sweep();
    expect((await taskOf(world, "a")).phase).toBe("active");
  });

  test("and does not come back by itself gets a new machine after five minutes, at its next boot", async () => {
    const { agents, agent } = await oneRunning();
    await world.pass(61_000);
    await world.sweep();
    await world.pass(299_000);
    await world.sweep();
    expect(accepted(await getTvm(world.ports, world.call(), "Pool-A", agent.key.split(".")[2] as string)).tvm).toMatchObject({ phase: "unknown", boot: 1 });
    await world.pass(2_000);
    await world.sweep();
    await world.pump.untilQuiet();
    await bootAll(world, agents);
    expect(agents.get(agent.key)).toMatchObject({ boot: 2 });
    await agents.get(agent.key)!.work();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed" });
  });

  test("whose join was answered into the void may ask again, until it has used its credential", async () => {
    await makePool(world);
    const [order] = world.machines.orders.values();
    await agentFor(world, order!).join();
    const agent = agentFor(world, order!);
    await agent.join();
    await agent.exchange();
    await expect(agentFor(world, order!).join()).rejects.toThrow("AuthenticationFailed");
  });

  test("whose join was written and never answered is missed too", async () => {
    await makePool(world);
    const [order] = world.machines.orders.values();
    const agent = agentFor(world, order!);
    const { append } = world.ports.eventStore;
    world.ports.eventStore.append = async (commits) => {
      await append(commits);
      throw new Error("the connection is gone");
    };
    await expect(agent.join()).rejects.toThrow("the connection is gone");
    world.ports.eventStore.append = append;
    await world.pump.untilQuiet();
    await world.pass(61_000);
    await world.sweep();
    expect(accepted(await getTvm(world.ports, world.call(), "Pool-A", agent.key.split(".")[2] as string)).tvm.phase).toBe("unknown");
  });
});

test("a start task is waited for, tried again, and its file's signature reaches the agent alone", async () => {
  const blobSource = "https://store.example/tools/prepare.sh?sv=2014-02-14&sig=SECRETstart%2Btask&SIG=SECRETtwice";
  await makePool(world, "Pool-A", { startTask: { commandLine: "prepare", maxTaskRetryCount: 1, waitForSuccess: true, resourceFiles: [{ blobSource, filePath: "prepare.sh" }] } });
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a")]);
  const [agent] = (await bootAll(world)).values();
  expect((await taskOf(world, "a")).phase).toBe("active");
  const answer = await agent!.exchange();
  expect(answer.startTask).toMatchObject({ run: 1, commandLine: "prepare", resourceFiles: [{ blobSource, filePath: "prepare.sh" }] });
  agent!.report({ kind: "startTaskStarted", run: 1, at: world.now() }, { kind: "startTaskEnded", run: 1, at: world.now(), startedAt: world.now(), exitCode: 1 });
  await agent!.exchange();
  expect((await agent!.exchange()).startTask).toMatchObject({ run: 2 });
  agent!.report({ kind: "startTaskEnded", run: 2, at: world.now(), startedAt: world.now(), exitCode: 0 });
  await agent!.exchange();
  expect((await taskOf(world, "a")).phase).toBe("assigned");
  accepted(await updatePool(world.ports, world.call(), "Pool-A", { startTask: { commandLine: "other", maxTaskRetryCount: 0, waitForSuccess: true, resourceFiles: [{ blobSource, filePath: "b" }] } }));
  await world.pump.untilQuiet();
  expect(bytesOf(world)).not.toContain("SECRET");
  expect(bytesOf(world)).toContain("REDACTED");
});

test("the signature of a task's file is in no event, row or message, and its agent gets the whole address", async () => {
  const blobSource = "https://store.example/scenes/1.json?sv=2014-02-14&sig=SECRETsignature%3D&se=2016-01-01";
  await makePool(world);
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a", { resourceFiles: [{ blobSource, filePath: "1.json" }, { blobSource: "http://plain.example/2", filePath: "2" }] })]);
  const [agent] = (await bootAll(world)).values();
  const { run } = await agent!.exchange();
  expect(run[0]?.resourceFiles).toEqual([{ blobSource, filePath: "1.json" }, { blobSource: "http://plain.example/2", filePath: "2" }]);
  await agent!.work();
  expect((await taskOf(world, "a")).spec.resourceFiles?.[0]?.blobSource).toBe("https://store.example/scenes/1.json?sv=2014-02-14&sig=REDACTED&se=2016-01-01");
  expect(bytesOf(world)).not.toContain("SECRET");
});

describe("closing a job", () => {
  /** One task in each phase. */
  const oneOfEach = async () => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 2 });
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("completed"), newTask("running"), newTask("assigned"), newTask("active")]);
    const [agent] = (await bootAll(world)).values();
    await agent!.exchange();
    const [done, running] = agent!.waiting();
    agent!.started(running!);
    agent!.ended(done!);
    await agent!.exchange();
    const phases = await Promise.all(["completed", "running", "assigned", "active"].map(async (name) => (await taskOf(world, name)).phase));
    expect(phases).toEqual(["completed", "running", "assigned", "active"]);
    return agent!;
  };

  test("terminated: every task that is not completed ends with TaskEnded, the TVM drops them, and the job completes", async () => {
    const agent = await oneOfEach();
    accepted(await terminateJob(world.ports, world.call(), "Render", JOB, "Enough"));
    expect(codeOf(await addTask(world.ports, world.call(), "Render", JOB, newTask("late")))).toBe("JobBeingTerminated");
    await world.pump.untilQuiet();
    expect(accepted(await getJob(world.ports, world.call(), "Render", JOB)).state).toMatchObject({ phase: "completed", terminateReason: "Enough", previousState: "active" });
    expect(await counts()).toMatchObject({ active: 0, assigned: 0, running: 0, completed: 4, failed: 3 });
    for (const name of ["running", "assigned", "active"]) expect((await taskOf(world, name)).error).toMatchObject({ category: "ServerError", code: "TaskEnded" });
    expect((await agent.exchange()).stop.map(({ key }) => key.split(".").at(-1)).sort()).toEqual(["completed", "running"]);
    expect(accepted(await getWorkItem(world.ports, world.call(), "Render")).state.phase).toBe("completed");
    expect(codeOf(await terminateJob(world.ports, world.call(), "Render", JOB))).toBe("JobCompleted");
    expect(codeOf(await updateJob(world.ports, world.call(), "Render", JOB, { priority: 1 }))).toBe("JobCompleted");
  });

  test("deleted: the job, its tasks, their events, rows and counters are gone, and the TVM is told to remove the folder until it has", async () => {
    const agent = await oneOfEach();
    accepted(await deleteJob(world.ports, world.call(), "Render", JOB));
    expect(codeOf(await deleteJob(world.ports, world.call(), "Render", JOB))).toBe("JobBeingDeleted");
    await world.pump.untilQuiet();
    expect(codeOf(await getJob(world.ports, world.call(), "Render", JOB))).toBe("JobNotFound");
    expect((await allCommits(world)).filter(({ stream }) => stream.startsWith("task-"))).toEqual([]);
    expect(await world.ports.views.counters(tasks, "local.render.1.job-0000000001/")).toEqual({});
    const rows = world.database.statement("SELECT count(*) AS n FROM view_tasks").get();
    expect(rows?.["n"]).toBe(0);
    const answer = await agent.exchange();
    expect(answer.stop.map(({ key }) => key.split(".").at(-1)).sort()).toEqual(["completed", "running"]);
    expect(answer.removeFolders).toContain(`Render/${JOB}`);
    await agent.exchange({ removedFolders: [...answer.removeFolders] });
    expect((await agent.exchange()).removeFolders).toEqual([]);
    // A report about what is gone makes nothing.
    const before = (await allCommits(world)).length;
    agent.report({ kind: "taskEnded", key: "local.render.1.job-0000000001.running", attempt: 1, at: world.now(), startedAt: world.now(), exitCode: 0 });
    await agent.exchange();
    expect((await allCommits(world)).length).toBe(before);
  });

  test("deleted: a row that came too late, of a task that was forgotten already, does not hold it up", async () => {
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const key = `local.render.1.${JOB}`;
    const at = world.ports.views;
    const [row] = await at.get(tasks, [tasks.locate(`${key}.a`)]);
    accepted(await deleteJob(world.ports, world.call(), "Render", JOB));
    // The service dies when it has forgotten the task; the row of a request that was still under way comes after.
    const { append } = world.ports.eventStore;
    world.ports.eventStore.append = async (commits) => {
      if (!commits.some(({ events }) => events[0]?.type === "JobDeleted")) return append(commits);
      world.ports.eventStore.append = append;
      await at.write([{ view: tasks, partition: tasks.locate(`${key}.a`).partition, rows: [{ from: 0, row: row! }], counters: {} }]);
      throw new Error("killed");
    };
    await expect(world.pump.untilQuiet()).rejects.toThrow("killed");
    await world.sweep();
    await world.pass(200);
    expect(isRejection(await getJob(world.ports, world.call(), "Render", JOB))).toBe(true);
    expect(await at.keys(tasks, { index: "name", prefix: "", limit: 9 })).toEqual([]);
  });

  test.each([20_000, 500_000])("deleted: a row that a slow request writes %d ms after it was gone goes too", async (late) => {
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const at = world.ports.views;
    const place = tasks.locate(`local.render.1.${JOB}.a`);
    const [row] = await at.get(tasks, [place]);
    accepted(await deleteJob(world.ports, world.call(), "Render", JOB));
    await world.pump.untilQuiet();
    await world.pass(late);
    await at.write([{ view: tasks, partition: place.partition, rows: [{ from: 0, row: row! }], counters: { active: 1 } }]);
    await world.pass(700_000);
    expect(await at.keys(tasks, { index: "name", prefix: "", limit: 9 })).toEqual([]);
    expect(await at.counters(tasks, "")).toEqual({});
  });

  test("its time is over: it is ended as if terminated, with the reason", async () => {
    await makePool(world);
    await makeWorkItem(world, "Render", { constraints: { maxTaskRetryCount: 0, maxWallClockMs: 60_000 } });
    await addMany(world, "Render", [newTask("a")]);
    await world.pass(59_999);
    expect(accepted(await getJob(world.ports, world.call(), "Render", JOB)).state.phase).toBe("active");
    await world.pass(1);
    expect(accepted(await getJob(world.ports, world.call(), "Render", JOB)).state).toMatchObject({ phase: "completed", terminateReason: "MaxWallClockTimeExpiry" });
    expect((await taskOf(world, "a")).error?.code).toBe("TaskEnded");
  });

  test("a task that slipped in while its job closed is ended by what follows from it", async () => {
    await makeWorkItem(world);
    const slow = { ...world.ports, eventStore: { ...world.ports.eventStore, load: async (streams: readonly string[]) => {
      const read = await world.ports.eventStore.load(streams);
      // Between the look at the job and the writing of the task, the job is terminated and completed.
      if (streams.some((stream) => stream.startsWith("job-"))) {
        await terminateJob(world.ports, world.call(), "Render", JOB);
        await world.pump.untilQuiet();
      }
      return read;
    } } };
    accepted(await addTask(slow, world.call(), "Render", JOB, newTask("late")));
    await world.pump.untilQuiet();
    expect(await taskOf(world, "late")).toMatchObject({ phase: "completed", error: { code: "TaskEnded" } });
    expect(accepted(await getJob(world.ports, world.call(), "Render", JOB)).state.phase).toBe("completed");
  });
});

describe("tasks that are taken away", () => {
  test("terminated while running: the TVM is told to end it, and the next task gets the place", async () => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a"), newTask("b")]);
    const [agent] = (await bootAll(world)).values();
    await agent!.exchange();
    agent!.started(agent!.waiting()[0]!);
    await agent!.exchange();
    accepted(await terminateTask(world.ports, world.call(), "Render", JOB, "a"));
    expect(codeOf(await terminateTask(world.ports, world.call(), "Render", JOB, "a"))).toBe("TaskCompleted");
    await world.pump.untilQuiet();
    const answer = await agent!.exchange();
    expect([answer.stop.length, answer.run.map(({ task }) => task)]).toEqual([1, ["b"]]);
  });

  test("deleted and added again at once: a new task, the old attempt's folder stays if the new one has it, and it runs", async () => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const [agent] = (await bootAll(world)).values();
    await agent!.exchange();
    agent!.started(agent!.waiting()[0]!);
    await agent!.exchange();
    accepted(await deleteTask(world.ports, world.call(), "Render", JOB, "a"));
    accepted(await addTask(world.ports, world.call(), "Render", JOB, newTask("a", { commandLine: "another" })));
    await world.pump.untilQuiet();
    const answer = await agent!.exchange();
    expect(answer.stop).toHaveLength(1);
    expect(answer.removeFolders).toEqual([]);
    // The word that the TVM has room was lost with the old task; the sweep finds it out.
    await world.sweep();
    expect((await agent!.exchange()).run.map(({ commandLine, attempt }) => ({ commandLine, attempt }))).toEqual([{ commandLine: "another", attempt: 2 }]);
    await agent!.work();
    expect(await counts()).toMatchObject({ completed: 1, failed: 0 });
    await world.pump.feedAgain();
    expect((await agent!.exchange()).removeFolders).toEqual([]);
  });

  test("deleted after it ran: its folder goes, once", async () => {
    await makePool(world);
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("A")]);
    const [agent] = (await bootAll(world)).values();
    await agent!.work();
    accepted(await deleteTask(world.ports, world.call(), "Render", JOB, "a"));
    expect(codeOf(await getTask(world.ports, world.call(), "Render", JOB, "A"))).toBe("TaskNotFound");
    await world.pump.untilQuiet();
    expect((await agent!.exchange()).removeFolders).toEqual([`Render/${JOB}/A`]);
    await agent!.exchange({ removedFolders: [`Render/${JOB}/A`] });
    expect((await agent!.exchange()).removeFolders).toEqual([]);
    expect(await counts()).toMatchObject({ active: 0, completed: 0 });
  });

  test("a task that is ended between placement's look and its assignment leaves its room to the next", async () => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
    await makeWorkItem(world);
    await bootAll(world);
    for (const name of ["a", "b"]) accepted(await addTask(world.ports, world.call(), "Render", JOB, newTask(name)));
    // Placement reads the queue, and before it assigns the first task is terminated.
    const { keys } = world.ports.views;
    let once = true;
    world.ports.views.keys = async (view, asked) => {
      const found = await keys(view, asked);
      if (asked.index === "queue" && once) {
        once = false;
        accepted(await terminateTask(world.ports, world.call(), "Render", JOB, "a"));
      }
      return found;
    };
    await world.pump.untilQuiet();
    world.ports.views.keys = keys;
    expect(once).toBe(false);
    expect((await taskOf(world, "b")).phase).toBe("assigned");
  });

  test("not by a TVM that is told to leave after its tasks while placement gives it another", async () => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 2 });
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const [agent] = [...(await bootAll(world)).values()];
    await agent!.exchange();
    agent!.started(agent!.waiting()[0]!);
    await agent!.exchange();
    const { append } = world.ports.eventStore;
    let once = true;
    world.ports.eventStore.append = async (commits) => {
      if (once && commits.some(({ events }) => events[0]?.type === "TaskAssigned")) {
        once = false;
        accepted(await resizePool(world.ports, world.call(), "Pool-A", { target: 0, timeoutMs: 300_000, option: "taskcompletion" }));
        while ((await world.pump.feed()) || (await world.pump.process()));
      }
      return append(commits);
    };
    await addMany(world, "Render", [newTask("b")]);
    world.ports.eventStore.append = append;
    expect(once).toBe(false);
    expect(await taskOf(world, "a")).toMatchObject({ phase: "running", requeueCount: 0 });
  });
});

describe("work items", () => {
  test("deleted and made again at once: refused until it is gone, then another generation with none of the old tasks", async () => {
    await makePool(world);
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a"), newTask("b")]);
    const [agent] = (await bootAll(world)).values();
    await agent!.exchange();
    accepted(await deleteWorkItem(world.ports, world.call(), "Render"));
    const spec = { pool: "Pool-A", job: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false } };
    expect(codeOf(await addWorkItem(world.ports, world.call(), "render", spec))).toBe("WorkItemBeingDeleted");
    await world.pump.untilQuiet();
    expect(codeOf(await getWorkItem(world.ports, world.call(), "Render"))).toBe("WorkItemNotFound");
    accepted(await addWorkItem(world.ports, world.call(), "render", spec));
    await world.pump.untilQuiet();
    expect(accepted(await listTasks(world.ports, world.call(), "render", JOB, { limit: 10 })).rows).toEqual([]);
    await addMany(world, "render", [newTask("a")]);
    const answer = await agent!.exchange();
    expect(answer.stop).toHaveLength(2);
    expect(answer.run.map(({ key }) => key)).toEqual(["local.render.2.job-0000000001.a"]);
    await agent!.work();
    expect(await counts("render")).toMatchObject({ completed: 1 });
  });

  test("terminated: its job ends first, then itself", async () => {
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    accepted(await terminateWorkItem(world.ports, world.call(), "Render"));
    await world.pump.untilQuiet();
    expect(accepted(await getWorkItem(world.ports, world.call(), "Render")).state).toMatchObject({ phase: "completed" });
    expect(accepted(await getJob(world.ports, world.call(), "Render", JOB)).state).toMatchObject({ phase: "completed", terminateReason: "TerminateWorkItem" });
    expect((await taskOf(world, "a")).phase).toBe("completed");
  });

  test("whose maker died before it had made the job: its process makes it", async () => {
    const dying = { ...world.ports, eventStore: { ...world.ports.eventStore, append: async (commits: Parameters<typeof world.ports.eventStore.append>[0]) => {
      if (commits[0]?.stream.startsWith("job-")) throw new Error("dead");
      return world.ports.eventStore.append(commits);
    } } };
    const spec = { pool: "Pool-A", job: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false } };
    await expect(addWorkItem(dying, world.call(), "Render", spec)).rejects.toThrow("dead");
    await world.pump.untilQuiet();
    expect(accepted(await listJobs(world.ports, world.call(), "Render", { limit: 10 })).rows.map(({ row }) => row.name)).toEqual([JOB]);
  });

  test("of another account are not there", async () => {
    await makePool(world);
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const other = world.call("other");
    expect(codeOf(await getWorkItem(world.ports, other, "Render"))).toBe("WorkItemNotFound");
    expect(codeOf(await getTask(world.ports, other, "Render", JOB, "a"))).toBe("WorkItemNotFound");
    expect(codeOf(await getPool(world.ports, other, "Pool-A"))).toBe("PoolNotFound");
    expect((await listPools(world.ports, other, { limit: 10 })).rows).toEqual([]);
    expect(codeOf(await listTvms(world.ports, other, "Pool-A", { limit: 10 }))).toBe("PoolNotFound");
  });
});

test("case 51: priorities: the higher job's tasks first, what runs goes on; equal ones share", async () => {
  await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
  for (const [name, priority] of [["Low", 0], ["High", 10], ["Peer", 10]] as const) await makeWorkItem(world, name, { priority });
  for (const name of ["Low", "High", "Peer"]) await addMany(world, name, [newTask("a"), newTask("b")]);
  const [agent] = (await bootAll(world)).values();
  const ran = await agent!.work();
  expect(ran.map(({ workItem }) => workItem).slice(0, 4).sort()).toEqual(["High", "High", "Peer", "Peer"]);
  expect(ran.map(({ workItem }) => workItem).slice(4)).toEqual(["Low", "Low"]);
  expect(shownIn(world).counters).toContainEqual(expect.objectContaining({ view: "tasks", name: "completed" }));
});

test("a TVM with many tasks shows how many run, not how many are shown", async () => {
  await makePool(world, "Pool-A", { maxTasksPerTvm: 16 });
  await makeWorkItem(world);
  await addMany(world, "Render", names("t", 40).map((name) => newTask(name)));
  const [agent] = (await bootAll(world)).values();
  await agent!.exchange({ capacity: 40 });
  await agent!.exchange({ capacity: 40 });
  expect(agent!.held.size).toBe(40);
  for (const one of agent!.waiting().sort((a, b) => (a.task < b.task ? 1 : -1)).slice(0, 16)) agent!.started(one);
  await agent!.exchange({ capacity: 40 });
  const info = accepted(await getTvm(world.ports, world.call(), "Pool-A", agent!.key.split(".")[2] as string));
  expect([info.running, info.tasks.length]).toEqual([16, 16]);
});
