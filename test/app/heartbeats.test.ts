// What is heard of TVMs comes late, twice and in any order, and whoever writes it down may be killed: a TVM that is there is not lost for
// it, and one that is silent is missed all the same.
import { Busy } from "../../src/app/execute";
import { writeHeartbeat } from "../../src/app/heartbeats";
import { addPool, getTvm } from "../../src/app/pools";
import { restartTvm } from "../../src/app/tvms";
import { isRejection } from "../../src/domain/decider";
import type { Tvm } from "../../src/domain/tvm";
import type { MachineOrder, Ports } from "../../src/ports";
import { type HeartbeatRow, heartbeats } from "../../src/views/errands";
import type { Readings } from "../../src/wire";
import { type Agent, type World, accepted, addMany, agentFor, bootAll, makePool, makeWorkItem, newTask, openWorld, poolSpec, taskOf } from "../support/world";

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const nameOf = (agent: Agent): string => agent.key.split(".")[2] as string;
const tvmOf = async (agent: Agent): Promise<Tvm> => accepted(await getTvm(world.ports, world.call(), "Pool-A", nameOf(agent))).tvm;
const orderOf = (): MachineOrder => [...world.machines.orders.values()][0] as MachineOrder;
const heard = async (): Promise<HeartbeatRow[]> => (await world.ports.views.query(heartbeats, { index: "at", prefix: "", limit: 10 })).map(({ row }) => row);

const reboot = async (agent: Agent): Promise<void> => void accepted(await restartTvm(world.ports, world.call(), "Pool-A", nameOf(agent), { how: "reboot", option: "requeue" }));

const oneTvm = async (): Promise<Agent> => {
  await makePool(world);
  const [agent] = (await bootAll(world)).values();
  await agent!.exchange();
  return agent!;
};

/** Work that stands still before it looks at a heartbeat for the n-th time, until it is told to go on. */
const heldAtHeartbeat = async <T>(ports: Ports, work: () => Promise<T>, nth = 1): Promise<() => Promise<T>> => {
  const { get } = ports.views;
  const reached = Promise.withResolvers<void>();
  const told = Promise.withResolvers<void>();
  let left = nth;
  ports.views.get = async (view, keys) => {
    if (view.name === "heartbeats" && --left === 0) {
      ports.views.get = get;
      reached.resolve();
      await told.promise;
    }
    return get(view, keys);
  };
  const done = work();
  await Promise.race([reached.promise, done]);
  expect(left).toBe(0);
  return () => {
    told.resolve();
    return done;
  };
};

/** The TVM joins, and the process ends before it can say so. */
const joinsUnanswered = async (order: MachineOrder, meanwhile = async (): Promise<void> => {}): Promise<void> => {
  const { append } = world.ports.eventStore;
  world.ports.eventStore.append = async (commits) => {
    world.ports.eventStore.append = append;
    await meanwhile();
    await append(commits);
    throw new Error("the connection is gone");
  };
  await expect(agentFor(world, order).join()).rejects.toThrow("the connection is gone");
};

describe("without room on the disk", () => {
  /** Nothing can be written until it is given back. */
  const fill = (): (() => void) => {
    const { views, eventStore, bus } = world.ports;
    const [write, append, send] = [views.write, eventStore.append, bus.send];
    const refuse = (): Promise<never> => Promise.reject(Object.assign(new Error("The disk is full."), { noRoom: true }));
    views.write = eventStore.append = bus.send = refuse;
    return () => {
      Object.assign(views, { write });
      Object.assign(eventStore, { append });
      Object.assign(bus, { send });
    };
  };

  test("a TVM that has nothing to report is answered, and is not missed when there is room again and it has not spoken yet", async () => {
    const agent = await oneTvm();
    const giveBack = fill();
    for (let waited = 0; waited < 90_000; waited += 10_000) {
      await world.pass(10_000);
      expect(isRejection(await agent.send({ capacity: 3 }))).toBe(false);
    }
    giveBack();
    await world.sweep();
    expect((await tvmOf(agent)).phase).toBe("ready");
    // Silent from then on, it is.
    await world.pass(61_000);
    await world.sweep();
    expect((await tvmOf(agent)).phase).toBe("unknown");
  });

  test("what it reports is refused, so that it keeps it; and its join code is not good for longer", async () => {
    const agent = await oneTvm();
    await world.pass(10_000);
    const giveBack = fill();
    await expect(agent.send({ reports: [{ kind: "startTaskStarted", run: 1, at: world.now() }] })).rejects.toMatchObject({ noRoom: true });
    giveBack();
    await reboot(agent);
    await world.pump.untilQuiet();
    const second = agentFor(world, orderOf());
    await second.join();
    fill();
    await expect(second.send()).rejects.toMatchObject({ noRoom: true });
  });
});

describe("late words", () => {
  test("of an earlier boot are not of the present one: its join may be asked for again, and it is missed", async () => {
    const agent = await oneTvm();
    await world.pass(10_000);
    const goOn = await heldAtHeartbeat(world.ports, () => agent.send());
    await reboot(agent);
    await world.pump.untilQuiet();
    expect(orderOf().boot).toBe(2);
    await agentFor(world, orderOf()).join();
    expect(await goOn()).toMatchObject({ code: "AuthenticationFailed" });
    // The answer to the first join was lost.
    await agentFor(world, orderOf()).join();
    await world.pump.untilQuiet();
    await world.pass(61_000);
    await world.sweep();
    expect((await tvmOf(agent)).phase).toBe("unknown");
  });

  test("of a TVM that was heard of since do not make it lost", async () => {
    await makePool(world);
    await makeWorkItem(world);
    await addMany(world, "Render", [newTask("a")]);
    const [agent] = (await bootAll(world)).values();
    await agent!.exchange();
    await world.pass(10_000);
    const goOn = await heldAtHeartbeat(world.ports, () => agent!.send());
    await world.pass(61_000);
    await agent!.exchange();
    expect(isRejection(await goOn())).toBe(false);
    await world.sweep();
    expect(await taskOf(world, "a")).toMatchObject({ phase: "assigned", attempt: 1, requeueCount: 0 });
    expect((await tvmOf(agent!)).phase).toBe("ready");
  });

  test("of a repeated join do not make a join code good again that was used", async () => {
    await makePool(world);
    const agent = agentFor(world, orderOf());
    await agent.join();
    const other = world.otherProcess();
    // Its second look is for what it writes, after it was found to have the right.
    const goOn = await heldAtHeartbeat(other, () => agentFor(world, orderOf()).join(other), 2);
    await agent.exchange();
    await goOn();
    await expect(agentFor(world, orderOf()).join(world.otherProcess())).rejects.toThrow("AuthenticationFailed");
  });
});

describe("a join that is never answered is missed", () => {
  /** The pool's process writes what happens to the TVM, not its row, and orders the machine when it looks again. */
  const orderedWithoutRow = async (): Promise<MachineOrder> => {
    const { write } = world.ports.views;
    world.ports.views.write = async (writes) => {
      if (writes.some(({ view }) => view.name === "tvms")) throw new Error("the row cannot be written");
      return write(writes);
    };
    await expect(world.pump.process()).rejects.toThrow("the row cannot be written");
    await world.ports.orchestrations.nudge("pool", "pool-local.pool-a");
    await world.pump.process();
    world.ports.views.write = write;
    return orderOf();
  };

  test("when the TVM's row was not there yet, from the join on", async () => {
    accepted(await addPool(world.ports, world.call(), "Pool-A", poolSpec()));
    await world.pump.feed();
    await joinsUnanswered(await orderedWithoutRow());
    expect(await heard()).toMatchObject([{ boot: 1, exchanged: false }]);
    // Nor is it in the way of the TVM that asks again.
    await agentFor(world, orderOf()).join();
  });

  test("when the TVM's row was still of the boot before, from the join on", async () => {
    const agent = await oneTvm();
    await reboot(agent);
    await world.pump.feed();
    const order = await orderedWithoutRow();
    expect(order.boot).toBe(2);
    await joinsUnanswered(order);
    expect(await heard()).toMatchObject([{ boot: 2, exchanged: false }]);
    await agentFor(world, order).join();
  });

  test.each([
    ["was written after a sweep that found nobody there", async () => {
      await world.pass(61_000);
      await world.sweep();
    }],
    ["was written, and what was heard is gone", async () => world.ports.views.forget(heartbeats, "local.pool-a")],
  ])("when it %s, from the feed on", async (_, meanwhile) => {
    await makePool(world);
    await joinsUnanswered(orderOf(), meanwhile);
    await world.pump.untilQuiet();
    await world.pass(61_000);
    await world.sweep();
    expect((await tvmOf(agentFor(world, orderOf()))).phase).toBe("unknown");
  });

  test("and so is a TVM that was back and fell silent before that was written", async () => {
    const agent = await oneTvm();
    await world.pass(61_000);
    await world.sweep();
    expect((await tvmOf(agent)).phase).toBe("unknown");
    const { append } = world.ports.eventStore;
    world.ports.eventStore.append = async (commits) => {
      world.ports.eventStore.append = append;
      await world.pass(61_000);
      await world.sweep();
      return append(commits);
    };
    await agent.exchange();
    expect((await tvmOf(agent)).phase).toBe("ready");
    await world.sweep();
    expect((await tvmOf(agent)).phase).toBe("unknown");
  });
});

test("a TVM whose row is behind its join is told to ask again, not sent away", async () => {
  await makePool(world);
  const agent = agentFor(world, orderOf());
  const { write } = world.ports.views;
  // Another process was faster, as far as one can see.
  world.ports.views.write = async (writes) => (writes.some(({ view }) => view.name === "tvms") ? writes.map(() => "stale") : write(writes));
  await agent.join();
  world.ports.views.write = write;
  await expect(agent.send()).rejects.toThrow(Busy);
  await world.pump.untilQuiet();
  expect(isRejection(await agent.send())).toBe(false);
  await reboot(agent);
  await world.pump.untilQuiet();
  expect(await agent.send()).toMatchObject({ code: "AuthenticationFailed" });
});

describe("a heartbeat moves on", () => {
  const TVM = "local.pool-a.tvm-1";
  const at = (second: number): string => new Date(Date.UTC(2015, 3, 1, 12, 0, second)).toISOString();
  const readings = (second: number, cpu: number): Readings => ({ at: at(second), overMs: 1_000, cpu, memoryMb: 1, tvms: 1 }) as Readings;

  test("and never back: boot, time, use of the join code, tasks that ran", async () => {
    await writeHeartbeat(world.ports, TVM, 2, at(10), true, { ran: 7 });
    await writeHeartbeat(world.ports, TVM, 1, at(20), true, { ran: 90 });
    await writeHeartbeat(world.ports, TVM, 2, at(5), false, { ran: 3 });
    expect(await heard()).toMatchObject([{ version: 1, boot: 2, at: at(10), exchanged: true, ran: 7 }]);
    await writeHeartbeat(world.ports, TVM, 2, at(11), false);
    expect(await heard()).toMatchObject([{ version: 2, boot: 2, at: at(11), exchanged: true, ran: 7 }]);
    await writeHeartbeat(world.ports, TVM, 3, at(9), false);
    expect(await heard()).toEqual([{ id: TVM, tvm: TVM, version: 3, boot: 3, at: at(9), exchanged: false }]);
  });

  test("with the latest readings, though they come with an earlier request, or from a clock that was put back", async () => {
    await writeHeartbeat(world.ports, TVM, 1, at(10), true);
    await writeHeartbeat(world.ports, TVM, 1, at(9), true, { readings: readings(9, 0.9) });
    expect(await heard()).toMatchObject([{ at: at(10), readings: { cpu: 0.9 } }]);
    await writeHeartbeat(world.ports, TVM, 1, at(8), true, { readings: readings(8, 0.8) });
    expect(await heard()).toMatchObject([{ at: at(10), readings: { cpu: 0.9 } }]);
    await writeHeartbeat(world.ports, TVM, 1, at(11), true, { readings: readings(1, 0.1) });
    expect(await heard()).toMatchObject([{ at: at(11), readings: { cpu: 0.1 } }]);
  });

  test("also when two write at once", async () => {
    await writeHeartbeat(world.ports, TVM, 1, at(1), true);
    const { write } = world.ports.views;
    world.ports.views.write = async (writes) => {
      world.ports.views.write = write;
      await writeHeartbeat(world.ports, TVM, 1, at(2), true);
      return write(writes);
    };
    await writeHeartbeat(world.ports, TVM, 2, at(2), false);
    expect(await heard()).toMatchObject([{ boot: 2, at: at(2), exchanged: false }]);
  });
});
