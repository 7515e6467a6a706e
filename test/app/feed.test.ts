// The commit feed when something is wrong: a commit that cannot be taken in waits aside, the others go on, and none is lost.
import { PATIENCE, followFeed, parkedCommits } from "../../src/app/feed";
import { getPool } from "../../src/app/pools";
import { poolStream } from "../../src/domain/ids";
import type { Commit, Ports, StoredEvent } from "../../src/ports";
import { pools } from "../../src/views/pools";
import { JOB, type World, accepted, addMany, bootAll, makePool, makeWorkItem, newTask, openWorld, taskOf } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const unknown = (stream: string, version: number): Commit => ({
  stream, version, partition: stream, id: `odd-${version}`, by: "service", events: [{ type: "PoolPaintedBlue", at: world.now() } as StoredEvent],
});
const feedOf = async (ports: Ports): Promise<Commit[]> => (await ports.eventStore.readFeed(undefined, 1000)).commits;
const parkedNow = async (): Promise<string[]> => (await parkedCommits(world.ports, "local")).map(({ id }) => id);

describe("a commit that no try takes in", () => {
  const odd = poolStream("local.odd");

  test("holds up its batch at first, for what is wrong may pass", async () => {
    await world.ports.eventStore.append([unknown(odd, 1)]);
    for (let failures = 0; failures < PATIENCE; failures++)
      await expect(followFeed(world.ports, await feedOf(world.ports), failures, world.now())).rejects.toThrow("PoolPaintedBlue");
    expect(await parkedNow()).toEqual([]);
  });

  test("is parked with an alarm, and the others of its batch are shown", async () => {
    await makePool(world, "Pool-A", { targetDedicated: 1 });
    await world.ports.eventStore.append([unknown(odd, 1)]);
    await world.ports.views.clear();
    const afresh = world.otherProcess();
    await followFeed(afresh, await feedOf(afresh), PATIENCE, world.now());
    expect(await parkedNow()).toEqual([`${odd}@1`]);
    expect(world.warnings).toContain("a commit was parked");
    const [row] = await world.ports.views.get(pools, [pools.locate("local.pool-a")]);
    expect(row?.name).toBe("Pool-A");
    const [parked] = await parkedCommits(world.ports, "local");
    expect(parked).toMatchObject({ stream: odd, commit: 1, reason: expect.stringContaining("PoolPaintedBlue") });
    expect(await parkedCommits(world.ports, "other")).toEqual([]);
  });

  test("is tried again by the sweep every five minutes, and taken in once it can be", async () => {
    await makePool(world, "Pool-A", { targetDedicated: 0 });
    const commits = (await feedOf(world.ports)).filter(({ stream }) => stream === poolStream("local.pool-a"));
    await world.ports.views.clear();
    const afresh = world.otherProcess();
    const { write } = afresh.views;
    let broken = true;
    const ports: Ports = {
      ...afresh,
      views: { ...afresh.views, write: async (writes) => (broken && writes.some(({ view }) => view.name === "pools") ? Promise.reject(new Error("this row is too odd")) : write.call(afresh.views, writes)) },
    };
    await followFeed(ports, commits, PATIENCE, world.now());
    expect((await parkedNow()).length).toBe(commits.length);
    broken = false;
    await world.sweep();
    expect((await parkedNow()).length).toBe(commits.length);
    await world.pass(300_000);
    await world.sweep();
    expect(await parkedNow()).toEqual([]);
    expect(accepted(await getPool(world.ports, world.call(), "Pool-A")).state.name).toBe("Pool-A");
  });

  test("is not blamed when nothing else passes either: then the batch waits", async () => {
    await makePool(world);
    await makeWorkItem(world);
    const commits = await feedOf(world.ports);
    const ports: Ports = { ...world.ports, bus: { ...world.ports.bus, publish: async () => Promise.reject(new Error("the topic is away")) } };
    await expect(followFeed(ports, commits, PATIENCE, world.now())).rejects.toThrow("the topic is away");
    expect(await parkedNow()).toEqual([]);
  });
});

test("every event is published, with its stream and version, after it was shown", async () => {
  await makePool(world);
  const published: string[] = [];
  const ports: Ports = {
    ...world.ports,
    bus: { ...world.ports.bus, publish: async (events) => void published.push(...events.map(({ stream, version, event }) => `${stream}@${version} ${event.type}`)) },
  };
  const commits = await feedOf(ports);
  await followFeed(ports, commits, 0, world.now());
  expect(published).toEqual(commits.flatMap(({ stream, version, events }) => events.map(({ type }) => `${stream}@${version} ${type}`)));
  expect(published).toContain("pool-local.pool-a@1 PoolCreated");
});

test("reports of thousands of tasks go in messages that a queue takes, and each is believed once", async () => {
  await makePool(world, "Pool-A", { maxTasksPerTvm: 8 });
  await makeWorkItem(world);
  const [agent] = [...(await bootAll(world)).values()];
  if (!agent) throw new Error("The pool has no TVM.");
  await addMany(world, "Render", [newTask("a")]);
  await agent.exchange();
  const details = Array.from({ length: 10 }, (_, index) => ({ name: `n${index}`, value: "x".repeat(1000) }));
  for (let index = 0; index < 40; index++)
    agent.report({ kind: "taskEnded", key: `local.render.1.${JOB}.none${index}`, attempt: 1, at: world.now(), error: { category: "UserError", code: "BlobNotFound", details } });
  agent.report({ kind: "taskEnded", key: `local.render.1.${JOB}.a`, attempt: 1, at: world.now(), startedAt: world.now(), exitCode: 0 });
  const sizes: number[] = [];
  const { send } = world.ports.bus;
  world.ports.bus.send = async (queue, messages) => {
    if (queue === "reports") sizes.push(...messages.map(({ body }) => JSON.stringify(body).length));
    return send.call(world.ports.bus, queue, messages);
  };
  await agent.exchange();
  expect(sizes.length).toBeGreaterThan(3);
  expect(Math.max(...sizes)).toBeLessThan(128 * 1024);
  expect((await taskOf(world, "a")).exitCode).toBe(0);
});
