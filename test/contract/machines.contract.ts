// What every kind of machines promises: a machine for each order that joins with its code, once; a newer boot in place of the
// older one; errors that concern nobody else; and an end, when asked, of what was asked for alone. Agents are real; the service
// that they join is a stand-in.

import type { MachineOrder, Machines } from "../../src/ports";
import { eventually } from "../agent/eventually";
import type { FakeService } from "../agent/fakeService";
import { assignment } from "../agent/world";

export interface OpenMachines {
  readonly port: Machines;
  /** The service that the agents join. */
  readonly service: FakeService;
  /** The same machines after the service's process ended and another began. */
  readonly reopen: () => Promise<Machines>;
  /** Changes an order so that no machine can be had for it. */
  readonly impossible: (order: MachineOrder) => MachineOrder;
  readonly close: () => Promise<void>;
}

/** Runs the suite against machines that `open` makes. */
export function describeMachines(name: string, open: () => Promise<OpenMachines>): void {
  describe(`machines: ${name}`, () => {
    let opened: OpenMachines;
    let machines: Machines;
    let service: FakeService;
    beforeEach(async () => {
      opened = await open();
      ({ port: machines, service } = opened);
    });
    afterEach(() => opened.close());

    const order = (tvm: string, boot = 1, more: Partial<MachineOrder> = {}): MachineOrder =>
      ({ account: "acme", pool: "pool-a", tvm, boot, joinCode: `joincode~${tvm}~${boot}`, slots: 2, size: "small", ...more });
    const exchanging = (tvm: string, boot = 1) => eventually(() => service.tvm(tvm).exchanges.some((one) => one.boot === boot), () => `${tvm} to exchange at boot ${boot}`);
    const listed = async (pool = "pool-a") => (await machines.list("acme", pool)).toSorted((a, b) => (a.tvm < b.tvm ? -1 : 1));
    /** Asks until each has a machine: making one may take more than one look. */
    const ensured = (orders: MachineOrder[]) => eventually(async () => (await machines.ensure(orders)).every(({ error }) => error === undefined));

    test("a machine for each order joins with its code, and no order is carried out twice", async () => {
      const orders = [order("tvm-1"), order("tvm-2")];
      expect(await machines.ensure(orders)).toEqual([{ tvm: "tvm-1" }, { tvm: "tvm-2" }]);
      await Promise.all([exchanging("tvm-1"), exchanging("tvm-2")]);
      expect(await listed()).toEqual([{ tvm: "tvm-1", boot: 1 }, { tvm: "tvm-2", boot: 1 }]);
      expect(await machines.ensure(orders.toReversed())).toEqual([{ tvm: "tvm-2" }, { tvm: "tvm-1" }]);
      await machines.ensure([order("tvm-3")]);
      await exchanging("tvm-3");
      expect(["tvm-1", "tvm-2", "tvm-3"].map((tvm) => service.tvm(tvm).joins)).toEqual([1, 1, 1]);
      expect(service.problems).toEqual([]);
    });

    test("of no orders nothing comes, of a pool without machines nothing is listed, and unknown names are removed", async () => {
      expect(await machines.ensure([])).toEqual([]);
      expect(await listed("pool-none")).toEqual([]);
      await machines.remove("acme", "pool-none", ["tvm-1"]);
      await machines.remove("acme", "pool-none", []);
    });

    test("what is removed ends, and nothing else does", async () => {
      await machines.ensure([order("tvm-1"), order("tvm-2"), order("tvm-1", 1, { pool: "pool-b", tvm: "tvm-9", joinCode: "joincode~tvm-9~1" })]);
      await Promise.all(["tvm-1", "tvm-2", "tvm-9"].map((tvm) => exchanging(tvm)));
      await machines.remove("acme", "pool-a", ["tvm-1", "tvm-9", "tvm-unknown"]);
      expect(await listed()).toEqual([{ tvm: "tvm-2", boot: 1 }]);
      expect(await listed("pool-b")).toEqual([{ tvm: "tvm-9", boot: 1 }]);
      // Again is fine; and the others are still there to be spoken to.
      await machines.remove("acme", "pool-a", ["tvm-1"]);
      const before = service.tvm("tvm-2").exchanges.length;
      service.ask("tvm-2", { id: "stat-1", kind: "stat", path: "shared" });
      await eventually(() => service.tvm("tvm-2").exchanges.length > before);
      expect(service.tvm("tvm-1").joins).toBe(1);
    });

    test("names are the same in whatever case", async () => {
      await machines.ensure([order("tvm-1")]);
      await exchanging("tvm-1");
      expect(await machines.list("ACME", "Pool-A")).toHaveLength(1);
      await machines.remove("Acme", "POOL-A", ["TVM-1"]);
      expect(await listed()).toEqual([]);
    });

    test("a machine of a higher boot takes the place of the lower one, and none goes back", async () => {
      await machines.ensure([order("tvm-1")]);
      await exchanging("tvm-1", 1);
      await ensured([order("tvm-1", 2)]);
      await exchanging("tvm-1", 2);
      expect(await listed()).toEqual([{ tvm: "tvm-1", boot: 2 }]);
      expect(service.tvm("tvm-1").joins).toBe(2);
      await ensured([order("tvm-1", 2)]);
      await ensured([order("tvm-1", 1)]);
      expect(await listed()).toEqual([{ tvm: "tvm-1", boot: 2 }]);
      expect(service.tvm("tvm-1").joins).toBe(2);
    });

    test("a clean boot finds nothing of what the one before left, and joins like any other", async () => {
      await machines.ensure([order("tvm-1")]);
      await exchanging("tvm-1", 1);
      const left = assignment("touch $WATASK_TVM_ROOT_DIR/shared/left");
      service.assign("tvm-1", left);
      await eventually(() => service.tvm("tvm-1").reports.some(({ kind }) => kind === "taskEnded"));
      service.tvm("tvm-1").assigned.clear();
      const look = async (id: string) => {
        service.ask("tvm-1", { id, kind: "list", path: "shared" });
        await eventually(() => service.tvm("tvm-1").exchanges.some(({ fileAnswers }) => fileAnswers.some((answer) => answer.id === id)));
        return service.tvm("tvm-1").exchanges.flatMap(({ fileAnswers }) => fileAnswers).find((answer) => answer.id === id)?.entries?.map((entry) => entry.path);
      };
      expect(await look("before")).toEqual(["shared/left"]);
      await ensured([order("tvm-1", 2, { clean: true })]);
      await exchanging("tvm-1", 2);
      expect(await look("after")).toEqual([]);
      expect(service.problems).toEqual([]);
    });

    test("an order that cannot be carried out is answered with a sentence, and is nobody else's error", async () => {
      const good = order("tvm-1");
      await ensured([good]);
      const bad = opened.impossible(order("tvm-2"));
      const [first, second] = await machines.ensure([good, bad]);
      expect(first).toEqual({ tvm: "tvm-1" });
      expect(second).toEqual({ tvm: bad.tvm, error: expect.stringMatching(/\w{3}/) });
      expect(second?.error).not.toContain(bad.joinCode);
      expect(await listed()).toEqual([{ tvm: "tvm-1", boot: 1 }]);
    });

    test("the machines outlive the service's process, which finds them again", async () => {
      await machines.ensure([order("tvm-1")]);
      await exchanging("tvm-1");
      machines = await opened.reopen();
      expect(await listed()).toEqual([{ tvm: "tvm-1", boot: 1 }]);
      expect(await machines.ensure([order("tvm-1")])).toEqual([{ tvm: "tvm-1" }]);
      await machines.remove("acme", "pool-a", ["tvm-1"]);
      expect(await listed()).toEqual([]);
      expect(service.tvm("tvm-1").joins).toBe(1);
    });
  });
}
