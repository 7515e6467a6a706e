// Looking over what is stored: a life of the service is found whole, and each kind of damage is found and named; and damaged
// commits are refused by whoever reads them.
import { sqliteIntegrity } from "../../src/adapters/sqliteIntegrity";
import { load } from "../../src/app/execute";
import { deleteJob } from "../../src/app/jobs";
import { rebuild } from "../../src/app/rebuild";
import { deleteTask } from "../../src/app/tasks";
import { verify } from "../../src/app/verify";
import { JOB, type World, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
  await makePool(world, "Pool-A", { targetDedicated: 2, maxTasksPerTvm: 2 });
  for (const name of ["Render", "Gone"]) await makeWorkItem(world, name, { constraints: { maxTaskRetryCount: 1 } });
  await addMany(world, "Render", Array.from({ length: 30 }, (_, index) => newTask(`t${index}`)));
  await addMany(world, "Gone", [newTask("a"), newTask("b")]);
  for (const agent of (await bootAll(world)).values()) await agent.work(({ task }) => (task === "t7" ? 1 : 0));
  await addMany(world, "Render", [newTask("late")]);
  await deleteTask(world.ports, world.call(), "Render", JOB, "t3");
  await deleteJob(world.ports, world.call(), "Gone", JOB);
  await world.pump.untilQuiet();
  await world.pass(31_000);
});
afterEach(() => world.close());

const faults = async (): Promise<{ faults: string[]; behind: number; commits: number }> => {
  const found: string[] = [];
  const { problems, behind, commits } = await verify(world.ports, sqliteIntegrity(world.database), (text) => found.push(text));
  expect(problems).toBe(found.length);
  return { faults: found, behind, commits };
};
const sql = (text: string, ...values: string[]): unknown => world.database.statement(text).run(...values);
const TASK = `task-local.render.1.${JOB}.t1`;
const POOL = "pool-local.pool-a";

test("a life with retries, deletions and a forgotten job is whole, also after its views were made anew", async () => {
  const before = await faults();
  expect(before).toMatchObject({ faults: [], behind: 0 });
  expect(before.commits).toBeGreaterThan(60);
  await rebuild(world.ports, world.now());
  expect(await faults()).toMatchObject({ faults: [], behind: 0, commits: before.commits });
});

test("rows that the feed has not brought yet are behind, not wrong", async () => {
  const queued = { stream: "workItem-local.fresh", partition: "p", version: 1, id: "x", by: "local", events: [{ type: "WorkItemTerminationStarted", at: world.now() }] };
  await world.ports.eventStore.append([queued]);
  expect(await faults()).toMatchObject({ faults: [], behind: 1 });
});

test.each([
  ["a changed byte", () => sql("UPDATE commits SET events = replace(events, 'exitCode\":0', 'exitCode\":1') WHERE stream = ?", TASK), "the checksum differs"],
  ["a commit that is no JSON, of a time without checksums", () => sql("UPDATE commits SET events = '[{', checksum = NULL WHERE stream = ? AND version = 1", TASK), "not JSON"],
  ["a writer's name that was changed", () => sql("UPDATE commits SET writer = 'nobody' WHERE stream = ?", TASK), "the checksum differs"],
])("%s is found, and refused by whoever reads it", async (_what, damage, message) => {
  damage();
  const found = await faults();
  expect(found.faults[0]).toContain(`Stream ${TASK}, version`);
  expect(found.faults[0]).toContain(message);
  await expect(load(world.ports, "task", TASK)).rejects.toThrow(`Stream ${TASK} version`);
  await expect(world.ports.eventStore.history(TASK)).rejects.toThrow("is damaged");
  await expect(world.ports.eventStore.readFeed(undefined, 10_000)).rejects.toThrow("is damaged");
});

test.each([
  ["a missing commit", () => sql("DELETE FROM commits WHERE stream = ? AND version = 2", TASK), `Stream ${TASK}, it has`],
  ["a row that lies", () => sql("UPDATE view_pools SET json = replace(json, '\"targetDedicated\":2', '\"targetDedicated\":3')"), `The row of ${POOL} differs from what its events say.`],
  ["a row without a stream", () => sql("INSERT INTO view_tasks (partition, id, version, json) VALUES ('p', 'x', 1, '{}')"), "The view tasks has"],
  ["a row that is ahead", () => sql("UPDATE view_pools SET version = 99, json = replace(json, '\"version\":', '\"version\":9')"), "commits are missing, or the row is not of this stream"],
  ["a counter that is off", () => sql("UPDATE counters SET value = value + 1 WHERE view = 'tasks' AND name = 'completed'"), "The counters of the view tasks say"],
  ["an event that this release does not know", () => sql("UPDATE commits SET events = replace(events, 'PoolCreated', 'PoolPainted'), checksum = NULL WHERE stream = ?", POOL), "of type PoolPainted, which this release does not know"],
])("%s is found", async (_what, damage, message) => {
  damage();
  expect((await faults()).faults.join("\n")).toContain(message);
});

test("a snapshot that differs from its events is found", async () => {
  const first = await load(world.ports, "pool", POOL);
  sql(`UPDATE commits SET snapshot = '${JSON.stringify({ ...first.state, name: "Pool-B" })}', checksum = NULL WHERE stream = ? AND version = ${first.version}`, POOL);
  expect((await faults()).faults).toEqual([`The snapshot of ${POOL} at version ${first.version} differs from what its events say.`]);
});
