// Whatever is told twice, late, to two processes, or all over again: the views say what the streams say.
import { execute } from "../../src/app/execute";
import { foldCommits } from "../../src/app/fold";
import { deleteJob, getJob, jobCounts, keyOfJob, terminateJob, updateJob } from "../../src/app/jobs";
import { addPool, getPool, resizePool } from "../../src/app/pools";
import { projectFeed } from "../../src/app/project";
import { rebuild } from "../../src/app/rebuild";
import { acceptReports } from "../../src/app/report";
import { addTask, addTasks, deleteTask, terminateTask } from "../../src/app/tasks";
import { isRejection } from "../../src/domain/decider";
import { jobStream } from "../../src/domain/ids";
import type { Ports } from "../../src/ports";
import { jobStep } from "../../src/process/jobStep";
import { heartbeats } from "../../src/views/errands";
import { seeded } from "../support/seeded";
import { type Agent, JOB, type World, accepted, addMany, allCommits, bootAll, makePool, makeWorkItem, newTask, openWorld, poolSpec, shownIn, taskOf } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const codeOf = (answer: unknown): string => (isRejection(answer) ? answer.code : "accepted");
const JOB_KEY = "local.render.1.job-0000000001";

/** A day in the life of the service, different for each seed: all kinds of commands and reports, mostly sensible. */
const muddle = async (seed: number, turns: number): Promise<void> => {
  const random = seeded(seed);
  await makePool(world, "Pool-A", { targetDedicated: 3, maxTasksPerTvm: 2 });
  for (const name of ["Render", "Encode"]) await makeWorkItem(world, name, { constraints: { maxTaskRetryCount: 1 } });
  const agents = await bootAll(world);
  let serial = 0;
  for (let turn = 0; turn < turns; turn++) {
    await world.pass(random.below(9_000));
    const workItem = random.oneOf(["Render", "Encode"]);
    const task = `t${random.below(serial + 1)}`;
    switch (random.below(12)) {
      case 0:
        await resizePool(world.ports, world.call(), "Pool-A", { target: 1 + random.below(4), timeoutMs: 300_000, option: random.oneOf(["requeue", "terminate", "taskcompletion"] as const) });
        break;
      case 1:
        await terminateTask(world.ports, world.call(), workItem, JOB, task);
        break;
      case 2:
        await deleteTask(world.ports, world.call(), workItem, JOB, task);
        break;
      case 3:
        for (const agent of [...agents.values()].slice(0, 1)) await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: agent.key, boot: agent.boot } }]);
        break;
      case 4:
        await world.sweep();
        break;
      default:
        await addTask(world.ports, world.call(), workItem, JOB, newTask(`t${serial++}`));
    }
    await world.pump.untilQuiet();
    await bootAll(world, agents);
    for (const agent of agents.values()) await act(agent, random);
  }
};

const act = async (agent: Agent, random: ReturnType<typeof seeded>): Promise<void> => {
  for (const one of agent.waiting()) {
    if (random.chance(0.5)) agent.started(one);
    if (random.chance(0.5)) agent.ended(one, random.below(2), { usage: { userMs: random.below(50), kernelMs: 1, maxRssKib: 1 } });
  }
  await agent.send();
  await world.pump.untilQuiet();
};

describe.each([1, 2, 3])("after a muddled day (seed %d)", (seed) => {
  test("the views rebuilt from zero equal the live ones; the feed told again changes nothing", async () => {
    await muddle(seed, 30);
    const shown = shownIn(world);
    const commits = await allCommits(world);
    expect(shown.rows.length).toBeGreaterThan(20);
    expect(shown.counters.length).toBeGreaterThan(5);

    await world.pump.feedAgain();
    expect(shownIn(world)).toEqual(shown);
    expect(await allCommits(world)).toEqual(commits);

    const told: number[] = [];
    expect(await rebuild(world.ports, world.now(), (count) => told.push(count))).toBe(commits.length);
    expect(told.at(-1)).toBe(commits.length);
    expect(shownIn(world)).toEqual(shown);

    // And by a process that has shown nothing itself.
    const other = world.otherProcess();
    await rebuild(other, world.now());
    expect(shownIn(world)).toEqual(shown);
  });

  test("a reader that gets the feed piecemeal, twice, and out of order between streams shows the same", async () => {
    await muddle(seed, 20);
    const shown = shownIn(world);
    const commits = await allCommits(world);
    const random = seeded(seed + 100);
    const other = world.otherProcess();
    await other.views.clear();
    const byStream = [...Map.groupBy(commits, ({ stream }) => stream).values()];
    for (let left = byStream.map((list) => [...list]); left.length > 0; left = left.filter((list) => list.length > 0)) {
      const list = random.oneOf(left);
      const some = list.splice(0, 1 + random.below(3));
      await projectFeed(other, some);
      if (random.chance(0.3)) await projectFeed({ ...world.otherProcess(), views: { ...other.views } }, some);
    }
    expect(shownIn(world)).toEqual(shown);
  });
});

test("after a rebuild TVMs go on being used, and one that died meanwhile is missed", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 1 });
  await makeWorkItem(world);
  const agents = [...(await bootAll(world)).values()] as [Agent, Agent];
  for (const agent of agents) await agent.exchange();
  await rebuild(world.ports, world.now());
  await addMany(world, "Render", [newTask("a"), newTask("b")]);
  await world.sweep();
  expect([(await taskOf(world, "a")).phase, (await taskOf(world, "b")).phase]).toEqual(["assigned", "assigned"]);
  for (let waited = 0; waited <= 60_000; waited += 20_000) {
    await world.pass(20_000);
    await agents[0].exchange();
  }
  await world.sweep();
  const phases = await Promise.all(["a", "b"].map(async (name) => (await taskOf(world, name)).phase));
  expect(phases.sort()).toEqual(["active", "assigned"]);
  expect((await world.ports.views.query(heartbeats, { index: "at", prefix: "", limit: 9 })).map(({ row }) => row.tvm)).toEqual([agents[0].key]);
});

describe("two processes on the same data", () => {
  test("the same task added by both: one is the first, the other is told that it exists", async () => {
    await makeWorkItem(world);
    const other = world.otherProcess();
    for (let round = 0; round < 20; round++) {
      const answers = await Promise.all([world.ports, other].map((ports) => addTask(ports, world.call(), "Render", JOB, newTask(`t${round}`))));
      expect(answers.map(codeOf).sort()).toEqual(["TaskExists", "accepted"]);
    }
    await world.pump.untilQuiet();
    expect(await jobCounts(world.ports, JOB_KEY)).toMatchObject({ active: 20 });
  });

  test("conflicting changes of one job: each is decided on the state that the other left", async () => {
    await makeWorkItem(world);
    const other = world.otherProcess();
    const answers = await Promise.all([
      updateJob(world.ports, world.call(), "Render", JOB, { priority: 1 }), updateJob(other, world.call(), "Render", JOB, { priority: 2 }),
      terminateJob(world.ports, world.call(), "Render", JOB, "one"), terminateJob(other, world.call(), "Render", JOB, "two"),
    ]);
    expect(answers.slice(2).map(codeOf).sort()).toEqual(["JobBeingTerminated", "accepted"]);
    await world.pump.untilQuiet();
    const times = (await world.ports.eventStore.history(`job-${JOB_KEY}`)).filter(({ events }) => events[0]?.type !== "JobCompleted").map(({ events }) => events[0]?.at);
    expect([...new Set(times)].sort()).toEqual(times);
    const { state } = accepted(await getJob(world.ports, world.call(), "Render", JOB));
    expect(state.terminateReason).toBe(codeOf(answers[2]) === "accepted" ? "one" : "two");
  });

  test("a condition is checked on the very state that is changed", async () => {
    await makeWorkItem(world);
    const other = world.otherProcess();
    const before = accepted(await getJob(world.ports, world.call(), "Render", JOB)).version;
    const onlyIf = ({ version }: { version: number }) => (version === before ? undefined : ({ rejected: true, code: "ConditionNotMet" } as const));
    const answers = await Promise.all([world.ports, other, world.ports, other].map((ports, index) => updateJob(ports, world.call(), "Render", JOB, { priority: index }, onlyIf)));
    expect(answers.map(codeOf).sort()).toEqual(["ConditionNotMet", "ConditionNotMet", "ConditionNotMet", "accepted"]);
  });

  test.each([1, 2])("what one remembers of a task is not believed when the other has moved it on (a report of attempt %d comes first)", async (first) => {
    await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const [agent] = [...(await bootAll(world)).values()] as [Agent];
    await agent.exchange();
    const other = world.otherProcess();
    const [one] = agent.waiting();
    expect((await taskOf(world, "a")).attempt).toBe(1);
    const stream = `task-${one?.key}`;
    const at = world.now();
    // The first process remembers attempt 1 as assigned. The other requeues and assigns it anew.
    accepted(await execute(other, "task", "service", { stream, command: { type: "RequeueTask", at, attempt: 1, reason: "tvmLost" } }));
    accepted(await execute(other, "task", "service", { stream, command: { type: "AssignTask", at, pool: "Pool-A", tvm: agent.key.split(".")[2] as string } }));
    const report = (attempt: number, exitCode: number) => acceptReports(world.ports, { kind: "reports", tvm: agent.key, boot: 1, capacity: 1, reports: [{ kind: "taskEnded", key: one?.key, attempt, at, startedAt: at, exitCode }] }, at);
    if (first === 1) {
      // By what it remembers this report is good ...
      await report(1, 0);
      expect(await taskOf(world, "a")).toMatchObject({ phase: "assigned", attempt: 2 });
    }
    // ... and this one is old news.
    await report(2, 5);
    expect(await taskOf(world, "a")).toMatchObject({ phase: "completed", exitCode: 5, requeueCount: 1 });
    expect(codeOf(await terminateTask(world.ports, world.call(), "Render", JOB, "a"))).toBe("TaskCompleted");
    await world.pump.untilQuiet();
    const shown = shownIn(world);
    await rebuild(world.ports, world.now());
    expect(shownIn(world)).toEqual(shown);
  });

  test("pools made and resized by both at once", async () => {
    const other = world.otherProcess();
    const made = await Promise.all([world.ports, other, world.ports].map((ports) => addPool(ports, world.call(), "Pool-A", poolSpec())));
    expect(made.map(codeOf).sort()).toEqual(["PoolExists", "PoolExists", "accepted"]);
    await world.pump.untilQuiet();
    const resized = await Promise.all([world.ports, other].map((ports, index) => resizePool(ports, world.call(), "Pool-A", { target: 2 + index, timeoutMs: 300_000, option: "requeue" })));
    expect(resized.map(codeOf).sort()).toEqual(["PoolBeingResized", "accepted"]);
    await world.pump.untilQuiet();
    const { state } = accepted(await getPool(world.ports, world.call(), "Pool-A"));
    expect(state.tvms).toHaveLength(state.spec.targetDedicated);
  });

  test("what is acknowledged is shown, though the feed was faster with a part of it", async () => {
    await makeWorkItem(world);
    const other = world.otherProcess();
    const told: number[] = [];
    const write: Ports["views"]["write"] = async (writes) => {
      if (told.length === 0) {
        const commits = (await allCommits(world)).filter(({ stream }) => stream.startsWith("task-"));
        told.push(commits.length);
        await projectFeed(world.ports, commits.filter((_, index) => index % 2 === 0));
      }
      return other.views.write(writes);
    };
    const twenty = Array.from({ length: 20 }, (_, index) => newTask(`t${index}`));
    for (const outcome of accepted(await addTasks({ ...other, views: { ...other.views, write } }, world.call(), "Render", JOB, twenty))) accepted(outcome);
    expect([told, await jobCounts(world.ports, JOB_KEY)]).toMatchObject([[20], { active: 20 }]);
    await world.pump.untilQuiet();
    expect(await jobCounts(world.ports, JOB_KEY)).toMatchObject({ active: 20 });
  });

  test("a row that one wrote while the other was ahead is brought up by the feed", async () => {
    await makeWorkItem(world);
    const other = world.otherProcess();
    // The other's rows do not arrive: as if it had died after the commit.
    const dying = { ...other, views: { ...other.views, write: async () => ["stale" as const] } };
    accepted(await addTask(dying, world.call(), "Render", JOB, newTask("a")));
    accepted(await terminateTask(world.ports, world.call(), "Render", JOB, "a"));
    expect(await jobCounts(world.ports, JOB_KEY)).toMatchObject({ active: 0, completed: 0 });
    await world.pump.untilQuiet();
    expect(await jobCounts(world.ports, JOB_KEY)).toMatchObject({ active: 0, completed: 1, failed: 1 });
  });
});

test("a task that was added before its job was ended, and is told of late, is ended all the same (seed 1100717)", async () => {
  await makeWorkItem(world);
  const stale = { ...world.ports, views: { ...world.ports.views, write: async () => ["stale" as const] } };
  accepted(await addTask(stale, world.call(), "Render", JOB, newTask("a")));
  const told = (await allCommits(world)).filter(({ stream }) => stream.startsWith("task-"));
  accepted(await terminateJob(world.ports, world.call(), "Render", JOB, "enough"));
  const stream = jobStream(JOB_KEY);
  const next = await jobStep(world.ports, stream, world.now());
  expect(accepted(await getJob(world.ports, world.call(), "Render", JOB)).state.phase).toBe("completed");
  // Whoever told of it saw the job as it was before.
  await projectFeed(world.ports, told);
  expect([(await taskOf(world, "a")).phase, (await jobCounts(world.ports, JOB_KEY))["active"]]).toEqual(["active", 1]);
  expect(await jobStep(world.ports, stream, next.wakeAt as string)).toMatchObject({ wakeAt: expect.any(String) });
  expect([(await taskOf(world, "a")).phase, (await jobCounts(world.ports, JOB_KEY))["active"]]).toEqual(["completed", 0]);
});

test("a job that was deleted stays deleted, however late the feed tells of its tasks", async () => {
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a")]);
  const old = await allCommits(world);
  accepted(await deleteJob(world.ports, world.call(), "Render", JOB));
  await world.pump.untilQuiet();
  await projectFeed(world.ports, old);
  expect(await jobCounts(world.ports, JOB_KEY)).toMatchObject({ active: 0 });
  await world.pump.feedAgain();
  expect(codeOf(await getJob(world.ports, world.call(), "Render", JOB))).toBe("JobNotFound");
});

test("a long stream is read from its latest snapshot, and says the same as from its start", async () => {
  await makeWorkItem(world);
  for (let change = 0; change < 200; change++) accepted(await updateJob(world.ports, world.call(), "Render", JOB, { priority: change % 7 }));
  const [loaded] = await world.ports.eventStore.load([`job-${JOB_KEY}`]);
  expect(loaded?.length).toBeLessThanOrEqual(64);
  const job = accepted(await getJob(world.ports, world.call(), "Render", JOB));
  expect(job.version).toBe(201);
  expect(keyOfJob(job)).toBe(JOB_KEY);
  const whole = (await world.ports.eventStore.history(`job-${JOB_KEY}`)).map(({ snapshot: _, ...commit }) => commit);
  expect(foldCommits("job", whole)).toEqual({ state: job.state, version: 201 });
});

test("writers who keep meeting on one stream all get through", async () => {
  await makeWorkItem(world);
  const answers = await Promise.allSettled(Array.from({ length: 5 }, (_, index) => updateJob(world.ports, world.call(), "Render", JOB, { priority: index })));
  expect(answers.map(({ status }) => status)).toEqual(Array(5).fill("fulfilled"));
});
