// Work items over time on the real stores: their jobs made when due, whoever is killed or not told; their pools; their end.
import { type Seeded, seeded } from "../support/seeded";
import { type World, accepted, addMany, bootAll, makePool, newTask, openWorld, poolSpec } from "../support/world";
import { autoPoolError } from "../../src/app/autoPools";
import { getJob, listJobs, terminateJob } from "../../src/app/jobs";
import { deletePool, getPool, listPools } from "../../src/app/pools";
import { addWorkItem, deleteWorkItem, disableWorkItem, enableWorkItem, getWorkItem, makeRecentJob, terminateWorkItem, updateWorkItem } from "../../src/app/workItems";
import { isRejection, rejection } from "../../src/domain/decider";
import type { Schedule } from "../../src/domain/schedule";
import { addMs } from "../../src/domain/time";
import { type AutoPoolSpec, type WorkItem, type WorkItemSpec, jobName } from "../../src/domain/workItem";
import { workItemStep } from "../../src/process/workItemStep";
import type { EventStore, Ports } from "../../src/ports";
import { jobs } from "../../src/views/jobs";

const MINUTE = 60_000;
const STREAM = "workItem-local.render";
const job = { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false };
const tens: Schedule = { recurrenceMs: 10 * MINUTE, startWindowMs: 2 * MINUTE };

/** SEED=n repeats one case. */
const seededTimes = (times: number): Seeded[] => (process.env["SEED"] === undefined ? Array.from({ length: times }, (_, index) => seeded(index + 1)) : [seeded(Number(process.env["SEED"]))]);

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(async () => {
  await world.close();
});

const make = async (spec: Partial<WorkItemSpec>): Promise<WorkItem> => {
  const outcome = accepted(await addWorkItem(world.ports, world.call(), "Render", { ...("autoPool" in spec ? {} : { pool: "Pool-A" }), job, ...spec }));
  await world.pump.untilQuiet();
  return outcome.state;
};
const item = async (): Promise<WorkItem> => accepted(await getWorkItem(world.ports, world.call(), "Render")).state;
const jobsOf = async () => accepted(await listJobs(world.ports, world.call(), "Render", { limit: 100 })).rows.map(({ row }) => row);
const names = async (): Promise<string[]> => (await jobsOf()).map(({ name }) => name);
const end = async (number: number): Promise<void> => {
  accepted(await terminateJob(world.ports, world.call(), "Render", jobName(number)));
  await world.pump.untilQuiet();
};
const pools = async (): Promise<string[]> => (await listPools(world.ports, world.call(), { limit: 100 })).rows.map(({ row }) => row.name);
const events = async (): Promise<{ type: string; occurrence?: string; from?: string; count?: number }[]> =>
  (await world.ports.eventStore.history(STREAM)).flatMap((commit) => commit.events) as never;

/** Neither timers nor nudges of before are left: what a restart that lost all hints leaves. */
const forgetHints = (): void => {
  world.processes.due.clear();
  world.processes.timers.clear();
};

class Killed extends Error {}

/** The service, killed at the n-th commit that it would write: just before it is durable, or just after. */
const killedAt = (ports: Ports, number: number, when: "before" | "after"): Ports => {
  let left = number;
  const append: EventStore["append"] = async (commits) => {
    left--;
    if (left === 0 && when === "before") throw new Killed();
    const outcome = await ports.eventStore.append(commits);
    if (left <= 0) throw new Killed();
    return outcome;
  };
  return { ...ports, eventStore: { ...ports.eventStore, append } };
};

describe("by the clock", () => {
  test("case 22, case 25: each job when it is due, or when the one before ends inside the window; the ETag stays", async () => {
    const { createdAt, modifiedAt } = await make({ schedule: tens });
    expect(await names()).toEqual(["job-0000000001"]);
    await world.pass(10 * MINUTE);
    expect(await names()).toEqual(["job-0000000001"]);
    await world.pass(MINUTE);
    await end(1);
    expect(await names()).toEqual(["job-0000000002", "job-0000000001"]);
    expect(await item()).toMatchObject({ recentJob: "job-0000000002", nextRun: addMs(createdAt, 20 * MINUTE), modifiedAt });
    await end(2);
    await world.pass(9 * MINUTE - 1);
    expect(await names()).toHaveLength(2);
    await world.pass(1);
    const [third] = await jobsOf();
    // Exactly when it was due, by the clock that ran all along.
    expect(third).toMatchObject({ name: "job-0000000003", createdAt: addMs(createdAt, 20 * MINUTE) });
    expect(world.warnings).toEqual([]);
  });

  test("case 21: the first job ends outside the window: that occurrence is skipped and recorded, the next is at 20 minutes", async () => {
    const { createdAt } = await make({ schedule: tens });
    await world.pass(13 * MINUTE);
    await end(1);
    expect(await names()).toEqual(["job-0000000001"]);
    expect(await item()).toMatchObject({ skipped: 1, lastSkipped: addMs(createdAt, 10 * MINUTE), nextRun: addMs(createdAt, 20 * MINUTE) });
    await world.pass(7 * MINUTE);
    expect(await names()).toEqual(["job-0000000002", "job-0000000001"]);
  });

  test("case 20: a job that nobody ends is the only one; when it is ended, the next follows at once", async () => {
    await make({ schedule: { recurrenceMs: MINUTE } });
    for (let minute = 0; minute < 30; minute++) await world.pass(MINUTE);
    expect(await names()).toEqual(["job-0000000001"]);
    // And nothing was written meanwhile: what was skipped is one range of one event.
    expect((await events()).map(({ type }) => type)).toEqual(["WorkItemCreated", "WorkItemJobSpawned"]);
    await world.pass(MINUTE / 2);
    await end(1);
    expect(await names()).toEqual(["job-0000000002", "job-0000000001"]);
    expect((await events()).slice(2)).toMatchObject([{ type: "WorkItemOccurrencesSkipped", count: 29 }, { type: "WorkItemJobSpawned" }]);
  });

  test("case 24: doNotRunAfter passes and the last job ends: completed; before that, or while it runs, not", async () => {
    await make({ schedule: { ...tens, doNotRunAfter: addMs(world.now(), 15 * MINUTE) } });
    await end(1);
    await world.pass(10 * MINUTE);
    expect(await names()).toHaveLength(2);
    await world.pass(6 * MINUTE);
    expect((await item()).phase).toBe("active");
    await end(2);
    expect(await item()).toMatchObject({ phase: "completed", endedAt: world.now() });
    // The other way round: the last job has ended, then the time passes.
    accepted(await addWorkItem(world.ports, world.call(), "Other", { pool: "Pool-A", job, schedule: { recurrenceMs: 10 * MINUTE, doNotRunAfter: addMs(world.now(), 5 * MINUTE) } }));
    accepted(await terminateJob(world.ports, world.call(), "Other", jobName(1)));
    await world.pump.untilQuiet();
    const other = async () => accepted(await getWorkItem(world.ports, world.call(), "Other")).state.phase;
    expect(await other()).toBe("active");
    await world.pass(5 * MINUTE + 1);
    expect(await other()).toBe("completed");
  });

  test("not before doNotRunUntil; and without recurrence the work item ends with that job", async () => {
    await make({ schedule: { doNotRunUntil: addMs(world.now(), 3 * 24 * 60 * MINUTE) } });
    for (let day = 0; day < 2; day++) await world.pass(24 * 60 * MINUTE);
    expect(await names()).toEqual([]);
    await world.pass(24 * 60 * MINUTE);
    expect(await names()).toEqual(["job-0000000001"]);
    await end(1);
    expect((await item()).phase).toBe("completed");
  });

  test("disabled: the open job goes on and is the last; enabled again: what is in its window starts", async () => {
    await make({ schedule: tens });
    accepted(await disableWorkItem(world.ports, world.call(), "Render"));
    await world.pump.untilQuiet();
    await addMany(world, "Render", [newTask("still")]);
    await end(1);
    await world.pass(25 * MINUTE);
    expect([(await item()).phase, await names()]).toEqual(["disabled", ["job-0000000001"]]);
    await world.pass(6 * MINUTE);
    accepted(await enableWorkItem(world.ports, world.call(), "Render"));
    await world.pump.untilQuiet();
    expect(await names()).toEqual(["job-0000000002", "job-0000000001"]);
    expect((await item()).skipped).toBe(2);
  });

  test("an update is for jobs to come: the pool and priority of the next, the schedule from the last one on", async () => {
    await make({ schedule: tens });
    const change = { environment: { pool: "Pool-B" }, job: { ...job, priority: 7, specified: true }, schedule: { recurrenceMs: 4 * MINUTE } };
    accepted(await updateWorkItem(world.ports, world.call(), "Render", change));
    await end(1);
    await world.pass(4 * MINUTE);
    expect((await jobsOf()).map(({ pool, spec }) => [pool, spec.priority])).toEqual([["Pool-B", 7], ["Pool-A", 0]]);
  });
});

describe("nothing is lost, nothing doubled", () => {
  test("a job that is due though nobody says so: the sweep finds it", async () => {
    await make({ schedule: tens });
    await end(1);
    forgetHints();
    await world.pass(10 * MINUTE);
    expect(await names()).toHaveLength(1);
    await world.sweep();
    expect(await names()).toHaveLength(2);
    await world.sweep();
    expect(await names()).toHaveLength(2);
  });

  test("the end of a job of which nobody was told, with and without a schedule", async () => {
    await make({ schedule: tens });
    accepted(await addWorkItem(world.ports, world.call(), "Once", { pool: "Pool-A", job }));
    await world.pass(10 * MINUTE);
    const swallowed = { ...world.ports.orchestrations };
    for (const name of ["Render", "Once"]) accepted(await terminateJob(world.ports, world.call(), name, jobName(1)));
    world.ports.orchestrations.nudge = async (kind, stream) => (kind === "workItem" ? undefined : swallowed.nudge(kind, stream));
    await world.pump.untilQuiet();
    world.ports.orchestrations.nudge = swallowed.nudge;
    expect(await names()).toHaveLength(1);
    await world.sweep();
    expect(await names()).toHaveLength(2);
    expect(accepted(await getWorkItem(world.ports, world.call(), "Once")).state.phase).toBe("completed");
  });

  test("while the job is open there is nothing to look after: the sweep leaves it alone", async () => {
    await make({ schedule: tens });
    await world.pass(15 * MINUTE);
    world.processes.due.clear();
    const told: string[] = [];
    world.ports.orchestrations.nudge = async (kind) => void told.push(kind);
    await world.sweep();
    expect(told.filter((kind) => kind === "workItem")).toEqual([]);
  });

  const KILLS = [1, 2, 3].flatMap((number) => (["before", "after"] as const).map((when) => ({ number, when })));

  test.each(KILLS)("killed $when commit $number of the look that makes a job: there is one, for that occurrence, once it looks again", async ({ number, when }) => {
    const { createdAt } = await make({ autoPool: { lifetime: "job", keepAlive: false, spec: poolSpec({ targetDedicated: 0 }), prefix: "auto" }, schedule: tens });
    await end(1);
    forgetHints();
    const before = await pools();
    await world.pass(10 * MINUTE);
    await workItemStep(killedAt(world.otherProcess(), number, when), STREAM, world.now()).catch((error: unknown) => {
      if (!(error instanceof Killed)) throw error;
    });
    await world.pass(MINUTE);
    await world.sweep();
    await world.sweep();
    expect(await names()).toEqual(["job-0000000002", "job-0000000001"]);
    const spawned = (await events()).filter(({ type }) => type === "WorkItemJobSpawned");
    expect(spawned.map(({ occurrence }) => occurrence)).toEqual([createdAt, addMs(createdAt, 10 * MINUTE)]);
    // Its pool as well: one, with the name that was decided with the job.
    const [second] = await jobsOf();
    expect((await pools()).filter((name) => !before.includes(name))).toEqual([second?.pool]);
  });

  test.each(["terminated", "deleted"] as const)("killed between the work item and its job, then %s: whoever comes to make the job finds it over", async (what) => {
    const added = addWorkItem(killedAt(world.otherProcess(), 2, "before"), world.call(), "Render", { pool: "Pool-A", job });
    await expect(added).rejects.toBeInstanceOf(Killed);
    expect(await names()).toEqual([]);
    const before = await item();
    accepted(await (what === "terminated" ? terminateWorkItem : deleteWorkItem)(world.ports, world.call(), "Render"));
    await world.pump.untilQuiet();
    await makeRecentJob(world.otherProcess(), world.call(), before);
    await world.pump.untilQuiet();
    const rows = await world.ports.views.query(jobs, { index: "pool", prefix: "local.", limit: 9 });
    expect(rows).toEqual([]);
    if (what === "terminated") expect(await jobsOf()).toMatchObject([{ phase: "completed", terminateReason: "TerminateWorkItem" }]);
    else expect(isRejection(await getWorkItem(world.ports, world.call(), "Render"))).toBe(true);
  });

  test("two processes look at the same time, again and again: one job", async () => {
    await make({ schedule: tens });
    await end(1);
    forgetHints();
    await world.pass(10 * MINUTE);
    await Promise.all(Array.from({ length: 4 }, () => workItemStep(world.otherProcess(), STREAM, world.now())));
    await world.pump.feedAgain();
    expect(await names()).toHaveLength(2);
    expect((await events()).filter(({ type }) => type === "WorkItemJobSpawned")).toHaveLength(2);
  });
});

describe("whatever happens in between", () => {
  /** One thing that may happen to a recurring work item or to the service. */
  const happen = async (random: Seeded): Promise<void> => {
    const open = (await jobsOf()).find(({ phase }) => phase === "active");
    switch (random.below(8)) {
      case 0:
      case 1:
        return world.pass(random.oneOf([1, 30_000, MINUTE, 4 * MINUTE, 11 * MINUTE]));
      case 2:
      case 3:
        if (open) accepted(await terminateJob(world.ports, world.call(), "Render", open.name));
        return random.chance(0.5) ? world.pump.untilQuiet() : undefined;
      case 4:
        return forgetHints();
      case 5:
        await workItemStep(killedAt(world.otherProcess(), 1 + random.below(3), random.oneOf(["before", "after"])), STREAM, world.now()).catch((error: unknown) => {
          if (!(error instanceof Killed)) throw error;
        });
        return;
      case 6:
        accepted(await (random.chance(0.4) ? disableWorkItem : enableWorkItem)(world.ports, world.call(), "Render"));
        return;
      default:
        return world.sweep();
    }
  };

  test("one open job at most, every job made, every occurrence dealt with once and in exact steps; healed, nothing due is left", async () => {
    for (const random of seededTimes(8)) {
      const schedule: Schedule = { recurrenceMs: 3 * MINUTE, ...(random.chance(0.6) ? { startWindowMs: (1 + random.below(2)) * MINUTE } : {}) };
      await make({ schedule });
      for (let turn = 0; turn < 60; turn++) {
        await happen(random);
        expect((await jobsOf()).filter(({ phase }) => phase !== "completed").length).toBeLessThanOrEqual(1);
      }
      accepted(await enableWorkItem(world.ports, world.call(), "Render"));
      await world.sweep();
      // The last job ends, and of what is due next nobody is told.
      for (const { name, phase } of await jobsOf()) if (phase === "active") accepted(await terminateJob(world.ports, world.call(), "Render", name));
      await world.pump.untilQuiet();
      forgetHints();
      await world.pass(3 * MINUTE);
      await world.sweep();
      await world.sweep();
      const state = await item();
      const spawned: string[] = [];
      const dealt: string[] = [];
      for (const { type, occurrence, from, count = 0 } of await events()) {
        if (type === "WorkItemJobSpawned") spawned.push(occurrence as string);
        if (type === "WorkItemJobSpawned") dealt.push(occurrence as string);
        if (type === "WorkItemOccurrencesSkipped") for (let index = 0; index < count; index++) dealt.push(addMs(from as string, index * 3 * MINUTE));
      }
      expect(dealt).toEqual(dealt.map((_, index) => addMs(state.createdAt, index * 3 * MINUTE)));
      expect((await names()).reverse()).toEqual(spawned.map((_, index) => jobName(index + 1)));
      const open = (await jobsOf()).some(({ phase }) => phase !== "completed");
      if (!open) expect((state.nextRun as string) > world.now()).toBe(true);
      await world.close();
      world = await openWorld();
    }
  });
});

describe("the end", () => {
  test("terminated: the open job is ended and says why; no job comes any more", async () => {
    await make({ schedule: tens });
    await addMany(world, "Render", [newTask("a")]);
    accepted(await terminateWorkItem(world.ports, world.call(), "Render"));
    await world.pump.untilQuiet();
    expect(await jobsOf()).toMatchObject([{ phase: "completed", terminateReason: "TerminateWorkItem" }]);
    await world.pass(10 * MINUTE);
    await world.sweep();
    expect([(await item()).phase, await names()]).toEqual(["completed", ["job-0000000001"]]);
  });

  test.each(["active", "disabled", "completed"] as const)("deleted while %s: all its jobs and their tasks go, and the name is free", async (phase) => {
    await make({ schedule: tens });
    for (let count = 1; count < 4; count++) {
      await end(count);
      await world.pass(10 * MINUTE);
    }
    accepted(await disableWorkItem(world.ports, world.call(), "Render"));
    if (phase === "active") accepted(await enableWorkItem(world.ports, world.call(), "Render"));
    if (phase === "completed") accepted(await terminateWorkItem(world.ports, world.call(), "Render"));
    await world.pump.untilQuiet();
    expect([(await item()).phase, (await names()).length]).toEqual([phase, 4]);
    accepted(await deleteWorkItem(world.ports, world.call(), "Render"));
    await world.pass(MINUTE);
    expect(isRejection(await getWorkItem(world.ports, world.call(), "Render"))).toBe(true);
    const { jobCount, generation } = await make({ schedule: tens });
    expect([jobCount, generation, await names()]).toEqual([1, 2, ["job-0000000001"]]);
  });
});

describe("auto pools", () => {
  const auto = (more: Partial<AutoPoolSpec> = {}): AutoPoolSpec => ({ lifetime: "job", keepAlive: false, prefix: "auto", spec: poolSpec({ targetDedicated: 1 }), ...more });

  test("with a formula get their size from it, from the first evaluation on", async () => {
    await make({ autoPool: auto({ spec: poolSpec({ targetDedicated: 0, autoScale: { formula: "$TargetDedicated = 2;", intervalMs: 900_000 } }) }) });
    const [made] = await jobsOf();
    const pool = accepted(await getPool(world.ports, world.call(), made?.pool as string)).state;
    expect(pool).toMatchObject({ spec: { targetDedicated: 2 }, autoScale: { formula: "$TargetDedicated = 2;" } });
    expect(pool.tvms).toHaveLength(2);
  });

  test("with a formula that is none end their job with the reason", async () => {
    await make({ autoPool: auto({ spec: poolSpec({ targetDedicated: 0, autoScale: { formula: "$TargetDedicated = ;", intervalMs: 900_000 } }) }) });
    expect(await jobsOf()).toMatchObject([{ phase: "completed", error: { code: "InvalidAutoScaleFormulaInAutoPool" } }]);
  });

  test("case 47: one for each job, with a name of its own, made with it and deleted with it; tasks run there", async () => {
    await make({ autoPool: auto(), schedule: tens });
    const [first] = await pools();
    expect(first).toMatch(/^auto_[0-9A-F-]{36}$/);
    expect(await jobsOf()).toMatchObject([{ pool: first, autoPool: { lifetime: "job", keepAlive: false } }]);
    await addMany(world, "Render", [newTask("a")]);
    const agents = await bootAll(world);
    const [agent] = agents.values();
    expect((await agent!.work()).map(({ task }) => task)).toEqual(["a"]);
    await end(1);
    await world.pass(10 * MINUTE);
    const [second, ...others] = await pools();
    expect(others).toEqual([]);
    expect(second).not.toBe(first);
    expect(await jobsOf()).toMatchObject([{ name: "job-0000000002", pool: second }, { name: "job-0000000001", pool: first }]);
    accepted(await deleteWorkItem(world.ports, world.call(), "Render"));
    await world.pass(MINUTE);
    expect(await pools()).toEqual([]);
  });

  test("case 48: one for the work item, made with the first job, deleted with the work item or when it completes", async () => {
    const shared = auto({ lifetime: "workitem", spec: poolSpec({ targetDedicated: 0 }) });
    await make({ autoPool: shared, schedule: { ...tens, doNotRunUntil: addMs(world.now(), MINUTE) } });
    expect(await pools()).toEqual([]);
    await world.pass(MINUTE);
    const [pool] = await pools();
    await end(1);
    expect(await pools()).toEqual([pool]);
    await world.pass(10 * MINUTE);
    expect((await jobsOf()).map((one) => one.pool)).toEqual([pool, pool]);
    accepted(await deleteWorkItem(world.ports, world.call(), "Render"));
    await world.pass(MINUTE);
    expect(await pools()).toEqual([]);

    await make({ autoPool: shared });
    expect(await pools()).toHaveLength(1);
    await end(1);
    expect((await item()).phase).toBe("completed");
    await world.pass(MINUTE);
    expect(await pools()).toEqual([]);
    expect((await item()).pools).toEqual([]);
  });

  test("a completed work item whose pool was not told to go: the sweep repeats it", async () => {
    await make({ autoPool: auto({ lifetime: "workitem", spec: poolSpec({ targetDedicated: 0 }) }) });
    accepted(await terminateJob(world.ports, world.call(), "Render", jobName(1)));
    const own = world.ports.orchestrations.nudge;
    await world.pump.untilQuiet();
    accepted(await addWorkItem(world.ports, world.call(), "Two", { autoPool: auto({ lifetime: "workitem", spec: poolSpec({ targetDedicated: 0 }) }), job }));
    await world.pump.untilQuiet();
    accepted(await terminateWorkItem(world.ports, world.call(), "Two"));
    let completed = false;
    world.ports.orchestrations.nudge = async (kind, stream) => (completed && kind === "workItem" ? undefined : own(kind, stream));
    for (let turn = 0; turn < 200 && !completed; turn++) {
      completed = accepted(await getWorkItem(world.ports, world.call(), "Two")).state.phase === "completed";
      if (!completed && !(await world.pump.feed()) && !(await world.pump.process())) break;
    }
    world.processes.due.clear();
    world.processes.timers.clear();
    await world.pump.untilQuiet();
    expect(await pools()).toHaveLength(1);
    world.ports.orchestrations.nudge = own;
    await world.sweep();
    expect(await pools()).toEqual([]);
  });

  test("kept alive: it stays", async () => {
    await make({ autoPool: auto({ keepAlive: true, spec: poolSpec({ targetDedicated: 0 }) }) });
    await end(1);
    accepted(await deleteWorkItem(world.ports, world.call(), "Render"));
    await world.pass(MINUTE);
    expect(await pools()).toHaveLength(1);
  });

  test("case 49: the account has its pools: the job is completed with the error, and the work item with it", async () => {
    await world.close();
    world = await openWorld();
    await makePool(world);
    const ports: Ports = { ...world.ports, policy: { ...world.ports.policy, poolsMax: 1 } };
    accepted(await addWorkItem(ports, world.call(), "Render", { autoPool: auto(), job }));
    Object.assign(world.ports, { policy: ports.policy });
    await world.pump.untilQuiet();
    expect(await jobsOf()).toMatchObject([{ phase: "completed", error: { category: "UserError", code: "AutoPoolCreationFailedWithQuotaReached" } }]);
    expect((await item()).phase).toBe("completed");
    expect(await pools()).toEqual(["Pool-A"]);
  });

  test("what a refused pool means for its job", () => {
    const codes = (code: string, PropertyName?: string): string => autoPoolError(rejection(code, undefined, PropertyName === undefined ? undefined : { PropertyName })).code;
    expect(codes("PoolQuotaReached")).toBe("AutoPoolCreationFailedWithQuotaReached");
    expect(codes("CertificateNotFound")).toBe("InvalidCertificatesInAutoPool");
    expect(codes("InvalidPropertyValue", "certificateReferences[0]")).toBe("InvalidCertificatesInAutoPool");
    expect(codes("AutoScalingFormulaSyntaxError")).toBe("InvalidAutoScaleFormulaInAutoPool");
    expect(codes("InvalidPropertyValue", "tvmSize")).toBe("InvalidAutoPoolSettings");
  });

  test("one that its user has deleted is not made again", async () => {
    await make({ autoPool: auto({ spec: poolSpec({ targetDedicated: 0 }) }) });
    const [pool] = await pools();
    accepted(await deletePool(world.ports, world.call(), pool as string));
    await world.pass(MINUTE);
    world.processes.due.set("job-local.render.1.job-0000000001", "job");
    await world.pump.untilQuiet();
    expect(isRejection(await getPool(world.ports, world.call(), pool as string))).toBe(true);
    expect(accepted(await getJob(world.ports, world.call(), "Render", jobName(1))).state.phase).toBe("active");
    await end(1);
    expect((await item()).phase).toBe("completed");
  });

  test("another specification: a new pool for the jobs to come, and the old one goes when the last job there has ended", async () => {
    const spec = poolSpec({ targetDedicated: 0 });
    await make({ autoPool: auto({ lifetime: "workitem", spec }), schedule: tens });
    const [old] = await pools();
    accepted(await updateWorkItem(world.ports, world.call(), "Render", { environment: { autoPool: auto({ lifetime: "workitem", prefix: "newer", spec }) } }));
    await world.pump.untilQuiet();
    expect(await pools()).toEqual([old]);
    await end(1);
    expect(await pools()).toEqual([]);
    await world.pass(10 * MINUTE);
    expect(await pools()).toEqual([expect.stringMatching(/^newer_/)]);
  });
});
