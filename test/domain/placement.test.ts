// Who goes where: priority, turns, spreading and packing, and what it costs.
import { type Placed, type TvmRoom, type WaitingJob, place } from "../../src/domain/placement";
import { type Seeded, forSeeds } from "../support/seeded";

const room = (tvm: string, slots: number, held = 0, capacity = slots): TvmRoom => ({ tvm, slots, held, capacity });
const job = (name: string, count: number, priority = 0, running = 0): WaitingJob => ({
  job: name, priority, running, waiting: Array.from({ length: count }, (_, index) => ({ task: `${name}${index}` })),
});
const tasksOf = (placed: readonly Placed[]): string => placed.map(({ task }) => task).join(" ");
const tvmsOf = (placed: readonly Placed[]): string => placed.map(({ tvm }) => tvm).join(" ");

describe("which task", () => {
  test("of one job in the order of its queue", () => expect(tasksOf(place([room("x", 3)], [job("a", 5)], "Spread"))).toBe("a0 a1 a2"));
  test("of the higher priority first, all of it", () =>
    expect(tasksOf(place([room("x", 4)], [job("low", 3, -5), job("high", 2, 10), job("mid", 1, 0)], "Spread"))).toBe("high0 high1 mid0 low0"));
  test("of equal priorities in turn", () => expect(tasksOf(place([room("x", 4)], [job("a", 5), job("b", 5)], "Spread"))).toBe("a0 b0 a1 b1"));
  test("of who has least running, until the shares are equal", () =>
    expect(tasksOf(place([room("x", 5)], [job("a", 9, 0, 3), job("b", 9, 0, 0)], "Spread"))).toBe("b0 b1 b2 a0 b3"));
  test("a job without waiting tasks takes no turn, one that runs out leaves the rest to others", () =>
    expect(tasksOf(place([room("x", 4)], [job("none", 0), job("a", 1), job("b", 9)], "Spread"))).toBe("a0 b0 b1 b2"));
  test("shares of another priority do not matter", () =>
    expect(tasksOf(place([room("x", 2)], [job("a", 2, 5, 100), job("b", 2, 0, 0)], "Spread"))).toBe("a0 a1"));
  test("nothing waits, or nowhere is room: nothing", () => {
    expect(place([room("x", 2)], [], "Spread")).toEqual([]);
    expect(place([], [job("a", 2)], "Pack")).toEqual([]);
    expect(place([room("x", 2, 2), room("y", 0)], [job("a", 2)], "Pack")).toEqual([]);
    expect(place([room("x", 2, 5)], [job("a", 2)], "Spread")).toEqual([]);
  });
});

describe("which TVM", () => {
  test("spread: the one with most room", () => expect(tvmsOf(place([room("x", 4, 3), room("y", 4, 1), room("z", 4, 2)], [job("a", 6)], "Spread"))).toBe("y z y x z y"));
  test("pack: one is filled before the next is begun", () => expect(tvmsOf(place([room("x", 4, 0), room("y", 4, 3), room("z", 4, 2)], [job("a", 6)], "Pack"))).toBe("y z z x x x"));
  test("a wish is granted while there is room, else it is ignored", () => {
    const waiting = [{ task: "1", affinity: "y" }, { task: "2", affinity: "y" }, { task: "3", affinity: "y" }, { task: "4", affinity: "nowhere" }];
    expect(tvmsOf(place([room("x", 4), room("y", 2)], [{ job: "a", priority: 0, running: 0, waiting }], "Spread"))).toBe("y y x x");
    expect(tvmsOf(place([room("x", 4), room("y", 2)], [{ job: "a", priority: 0, running: 0, waiting }], "Pack"))).toBe("y y x x");
  });
  test("in advance only when all slots are taken, and then spread", () => {
    const rooms = [room("x", 1, 0, 3), room("y", 2, 0, 3)];
    expect(tvmsOf(place(rooms, [job("a", 3)], "Pack"))).toBe("x y y");
    expect(tvmsOf(place(rooms, [job("a", 9)], "Pack"))).toBe("x y y x y x");
  });
  test("what it is told is not changed", () => {
    const rooms = [Object.freeze(room("x", 2))];
    const jobs = [Object.freeze({ ...job("a", 2), waiting: Object.freeze([Object.freeze({ task: "a0" })]) })];
    expect(place(Object.freeze(rooms), Object.freeze(jobs), "Spread")).toHaveLength(1);
  });
});

describe("a task that wants a TVM to itself", () => {
  const alone = (name: string, more: object = {}, count = 3): WaitingJob => ({ ...job(name, count), waiting: [{ task: `${name}!`, exclusive: true, ...more }, ...job(name, count).waiting] });

  test("gets an empty one, and nothing else goes there", () => {
    const placed = place([room("x", 3, 1), room("y", 3, 0, 9), room("z", 3, 2)], [alone("a")], "Spread");
    expect(placed[0]).toEqual({ job: "a", task: "a!", tvm: "y", exclusive: true });
    expect(tvmsOf(placed.slice(1)).split(" ").sort().join(" ")).toBe("x x z");
  });
  test("the one that it would like, if that is empty", () => {
    for (const fill of ["Spread", "Pack"] as const) {
      expect(place([room("x", 2), room("y", 2)], [alone("a", { affinity: "y" })], fill)[0]?.tvm).toBe("y");
      expect(place([room("x", 2), room("y", 2, 1)], [alone("a", { affinity: "y" })], fill)[0]?.tvm).toBe("x");
    }
  });
  test("while none is empty, its job waits and the emptiest TVM gets nothing more; the others go on", () => {
    const rooms = [room("x", 3, 2), room("y", 3, 1, 9), room("z", 3, 2)];
    expect(place(rooms, [alone("a"), job("b", 9)], "Spread").map(({ job: name, tvm }) => `${name}${tvm}`).sort()).toEqual(["bx", "bz"]);
    expect(place([room("x", 3, 2)], [alone("a"), job("b", 9)], "Spread")).toEqual([]);
  });
  test("and tasks of higher priority still go first, onto any TVM", () =>
    expect(tasksOf(place([room("x", 2, 1)], [alone("a"), job("high", 2, 5)], "Spread"))).toBe("high0"));
  test("neither it nor a job manager is held in advance, and what follows them in their job is not either", () => {
    expect(place([room("x", 1, 1, 9)], [alone("a")], "Spread")).toEqual([]);
    const managed: WaitingJob = { ...job("m", 2), waiting: [{ task: "m!", manager: true }, ...job("m", 2).waiting] };
    expect(tasksOf(place([room("x", 1, 1, 9)], [managed, job("b", 2)], "Spread"))).toBe("b0 b1");
    expect(tasksOf(place([room("x", 2, 1)], [managed], "Spread"))).toBe("m!");
  });
});

describe("whatever comes", () => {
  const situation = (random: Seeded): { rooms: TvmRoom[]; jobs: WaitingJob[]; fill: "Spread" | "Pack" } => {
    const rooms = Array.from({ length: random.below(6) }, (_, index) => {
      const slots = random.below(5);
      return room(`tvm${index}`, slots, random.below(7), slots + (slots > 0 ? random.below(4) : 0));
    });
    const jobs = Array.from({ length: random.below(5) }, (_, index) => ({
      ...job(`j${index}`, random.below(12), random.below(3), random.below(4)),
      waiting: Array.from({ length: random.below(12) }, (_none, task) => ({ task: `${task}`, ...(random.chance(0.3) ? { affinity: `tvm${random.below(7)}` } : {}) })),
    }));
    return { rooms, jobs, fill: random.oneOf(["Spread", "Pack"] as const) };
  };

  test("with tasks that want a TVM to themselves: each has one that was empty, alone; order and room are kept for all", () =>
    forSeeds(200, (random) => {
      const { rooms, jobs: plain, fill } = situation(random);
      const jobs = plain.map((one) => ({ ...one, waiting: one.waiting.map((task, index) => ({ ...task, ...(random.chance(0.2) ? { exclusive: true } : {}), ...(index === 0 && random.chance(0.3) ? { manager: true } : {}) })) }));
      const placed = place(rooms, jobs, fill);
      expect(new Set(placed.map((one) => `${one.job}/${one.task}`)).size).toBe(placed.length);
      for (const { tvm, slots, held, capacity } of rooms) {
        const here = placed.filter((one) => one.tvm === tvm);
        if (here.some(({ exclusive }) => exclusive)) expect([held, here.length]).toEqual([0, 1]);
        expect(here.length).toBeLessThanOrEqual(Math.max(0, capacity - held));
        for (const one of here) {
          const task = jobs.find(({ job: name }) => name === one.job)?.waiting.find((waits) => waits.task === one.task);
          expect(task?.exclusive ?? false).toBe(one.exclusive ?? false);
          if (task?.exclusive || task?.manager) expect(slots).toBeGreaterThan(0);
        }
      }
      // What is placed of a job is the head of its queue: nobody overtakes one that could not be placed.
      for (const one of jobs) {
        const mine = placed.filter(({ job: name }) => name === one.job).map(({ task }) => task);
        expect(mine).toEqual(one.waiting.slice(0, mine.length).map(({ task }) => task));
      }
    }));

  test("no TVM gets more than it can hold, no task is placed twice, each is one that waits, and room is not left while tasks wait", () =>
    forSeeds(150, (random) => {
      const { rooms, jobs, fill } = situation(random);
      const placed = place(rooms, jobs, fill);
      const keys = placed.map((one) => `${one.job}/${one.task}`);
      expect(new Set(keys).size).toBe(keys.length);
      const waiting = new Set(jobs.flatMap((one) => one.waiting.map(({ task }) => `${one.job}/${task}`)));
      for (const key of keys) expect(waiting.has(key)).toBe(true);
      let space = 0;
      for (const { tvm, held, capacity } of rooms) {
        const given = placed.filter((one) => one.tvm === tvm).length;
        expect(given).toBeLessThanOrEqual(Math.max(0, capacity - held));
        space += Math.max(0, capacity - held);
      }
      expect(placed.length).toBe(Math.min(space, waiting.size));
    }));

  test("nobody holds in advance what another could start, and no lower priority starts before a higher one", () =>
    forSeeds(150, (random) => {
      const { rooms, jobs, fill } = situation(random);
      const placed = place(rooms, jobs, fill);
      const given = (tvm: string): number => placed.filter((one) => one.tvm === tvm).length;
      const inAdvance = rooms.some(({ tvm, slots, held }) => given(tvm) > 0 && held + given(tvm) > slots);
      if (inAdvance) for (const { tvm, slots, held } of rooms) expect(held + given(tvm)).toBeGreaterThanOrEqual(slots);
      const priorities = placed.map((one) => jobs.find(({ job: name }) => name === one.job)?.priority as number);
      expect(priorities).toEqual([...priorities].sort((a, b) => b - a));
    }));
});

test("the cost is in what is placed: a queue of a million costs what a queue of a hundred does", () => {
  const looked = (length: number): number => {
    let count = 0;
    const waiting = new Proxy([] as { task: string }[], {
      get: (_, property) => {
        count++;
        if (property === "length") return length;
        const index = Number(String(property));
        return Number.isInteger(index) && index < length ? { task: String(index) } : Reflect.get([], property);
      },
    });
    expect(place([room("x", 10), room("y", 10)], [{ job: "a", priority: 0, running: 0, waiting }], "Spread")).toHaveLength(20);
    return count;
  };
  expect(looked(1_000_000)).toBe(looked(100));
  expect(looked(100)).toBeLessThan(100);
});
