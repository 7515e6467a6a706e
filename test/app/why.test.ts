// Why a task does not run, in sentences that say what to do; and what happened to it, for whoever may see it.
import { history, why } from "../../src/app/history";
import { deleteJob, terminateJob } from "../../src/app/jobs";
import { deletePool } from "../../src/app/pools";
import { terminateTask } from "../../src/app/tasks";
import { isRejection } from "../../src/domain/decider";
import { type Agent, JOB, type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
  await makeWorkItem(world);
  await addMany(world, "Render", [newTask("a")]);
});
afterEach(() => world.close());

const reasons = async (name = "a"): Promise<readonly string[]> => accepted(await why(world.ports, world.call(), "Render", JOB, name)).reasons;
const startTask = { commandLine: "prepare", maxTaskRetryCount: 0, waitForSuccess: true };

test("its pool does not exist", async () => expect(await reasons()).toEqual(["The pool Pool-A does not exist: add it, and the job's tasks run there."]));

test("its pool has no TVMs and is to have none", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 0 });
  expect(await reasons()).toEqual(["The pool Pool-A has no TVMs: resize it to one or more."]);
});

test("its pool's TVMs are starting, prepared, or failed to be", async () => {
  await makePool(world, "Pool-A", { targetDedicated: 2, startTask });
  expect(await reasons()).toEqual(["None of the 2 TVMs of the pool can run tasks: 2 starting."]);
  const [first] = [...(await bootAll(world)).values()] as [Agent];
  expect(await reasons()).toEqual(["None of the 2 TVMs of the pool can run tasks: 2 waiting for the start task to end."]);
  first.report({ kind: "startTaskEnded", run: 1, at: world.now(), startedAt: world.now(), exitCode: 1 });
  await first.exchange();
  expect((await reasons())[0]).toMatch(/^None of the 2 TVMs of the pool can run tasks: .*1 with a failed start task \(look at its stderr\.txt in the folder start\)/);
});

test("its TVM is lost", async () => {
  await makePool(world);
  await bootAll(world);
  await world.pass(61_000);
  await world.sweep();
  expect(await reasons()).toEqual(["None of the 1 TVMs of the pool can run tasks: 1 not heard of."]);
});

test("all slots are taken, others go first, others take turns, and its own job has more", async () => {
  await makePool(world, "Pool-A", { maxTasksPerTvm: 1 });
  const [agent] = [...(await bootAll(world)).values()] as [Agent];
  await makeWorkItem(world, "Urgent", { priority: 9 });
  await makeWorkItem(world, "Peer", { priority: 0 });
  await makeWorkItem(world, "Patient", { priority: -1 });
  expect(await reasons()).toEqual([expect.stringMatching(/^It has been given to TVM tvm-1_1-.* and starts as soon as a slot is free there and its files are copied\.$/)]);
  for (const name of ["Urgent", "Peer", "Patient"]) await addMany(world, name, [newTask("x")]);
  await addMany(world, "Render", [newTask("b"), newTask("c")]);
  expect(await reasons("b")).toEqual([
    "1 of 1 TVMs of the pool can run tasks, 1 at a time, and all of these slots are taken.",
    expect.stringMatching(/^Job (Urgent|Peer)/), expect.stringMatching(/^Job (Urgent|Peer)/),
    "1 other task of its job waits too; they start in the order in which they were added.",
  ]);
  expect(await reasons("b")).toEqual(expect.arrayContaining([`Job Urgent/${JOB} has waiting tasks and goes first (priority 9).`, `Job Peer/${JOB} has waiting tasks and takes turns with this job (same priority).`]));
  await agent.exchange();
  agent.started(agent.waiting()[0]!);
  await agent.exchange();
  expect(accepted(await why(world.ports, world.call(), "Render", JOB, "a"))).toEqual({ state: "running", reasons: [] });
});

test("it has completed: well, badly after retries, by an error", async () => {
  await makePool(world);
  await addMany(world, "Render", [newTask("bad", { maxTaskRetryCount: 2 }), newTask("ended")]);
  accepted(await terminateTask(world.ports, world.call(), "Render", JOB, "ended"));
  const [agent] = [...(await bootAll(world)).values()] as [Agent];
  await agent.work(({ task }) => (task === "bad" ? 7 : 0));
  expect(await reasons("a")).toEqual(["It has completed with exit code 0."]);
  expect(await reasons("bad")).toEqual(["It has completed with exit code 7 after 2 retries."]);
  expect(await reasons("ended")).toEqual(["It has completed with the error TaskEnded: The task was terminated by its user."]);
});

test("its job is ending; its pool is being deleted; it is not there", async () => {
  await makePool(world);
  accepted(await deletePool(world.ports, world.call(), "Pool-A"));
  expect((await reasons())[0]).toBe("The pool Pool-A is being deleted.");
  accepted(await terminateJob(world.ports, world.call(), "Render", JOB));
  expect(await reasons()).toEqual(["Its job is terminating: no more tasks are started."]);
  accepted(await deleteJob(world.ports, world.call(), "Render", JOB));
  await world.pump.untilQuiet();
  const answer = await why(world.ports, world.call(), "Render", JOB, "a");
  expect(isRejection(answer) && answer.code).toBe("JobNotFound");
});

test("its history is there for its account alone, oldest first, with who asked", async () => {
  await makePool(world);
  const [agent] = [...(await bootAll(world)).values()] as [Agent];
  await agent.work();
  const stream = "task-local.render.1.job-0000000001.a";
  const commits = await history(world.ports, world.call(), stream);
  expect(commits.flatMap(({ by, events }) => events.map(({ type }) => `${type} by ${by}`))).toEqual([
    "TaskQueued by local", "TaskAssigned by service", `TaskStarted by ${agent.key}`, `TaskCompleted by ${agent.key}`,
  ]);
  expect(await history(world.ports, world.call("other"), stream)).toEqual([]);
});
