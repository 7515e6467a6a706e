// What the rows of each view are found by and counted as, and how counters move.
import { job } from "../../src/domain/job";
import { pool } from "../../src/domain/pool";
import { type Task, task } from "../../src/domain/task";
import { tvm } from "../../src/domain/tvm";
import { workItem } from "../../src/domain/workItem";
import { anyViewOf, viewOf } from "../../src/views/all";
import { errands, heartbeats, rooms } from "../../src/views/errands";
import { jobs } from "../../src/views/jobs";
import { pools } from "../../src/views/pools";
import { heldKey, parseHeld, taskFailed, taskState, tasks } from "../../src/views/tasks";
import { tvms } from "../../src/views/tvms";
import { difference, rowOf, stateOf } from "../../src/views/view";
import { workItems } from "../../src/views/workItems";
import type { Row, ViewLayout } from "../../src/ports";

const JOB = "local.render.1.job-0000000001";
const indexed = <R extends Row>(view: ViewLayout<R>, row: R): Record<string, string | undefined> =>
  Object.fromEntries(Object.entries(view.indexes).map(([name, of]) => [name, of(row)]));
const taskRow = (more: Partial<Task>) => rowOf(tasks, "frame1", 3, { ...task.initial, phase: "active", job: JOB, name: "Frame1", order: "0007", ...more } as Task);

describe("tasks", () => {
  test("live in the bucket of their job that their name chooses", () => {
    const { partition, id } = tasks.locate(`${JOB}.frame1`);
    expect(partition).toMatch(/^local\.render\.1\.job-0000000001\/\d+$/);
    expect(id).toBe("frame1");
  });

  test("waiting: by name, state and place in the queue", () =>
    expect(indexed(tasks, taskRow({}))).toEqual({ name: `${JOB}/frame1`, state: `${JOB}/active/frame1`, queue: `${JOB}/0007/frame1`, tvm: undefined }));

  test("held: still active to its user, out of the queue, and found by its TVM with its attempt", () =>
    expect(indexed(tasks, taskRow({ phase: "assigned", attempt: 2, pool: "Pool-A", tvm: "Tvm-1" })))
      .toEqual({ name: `${JOB}/frame1`, state: `${JOB}/active/frame1`, queue: undefined, tvm: `local.pool-a.tvm-1/${JOB}.frame1@2` }));

  test("completed, or waiting again after a run: on no TVM; deleted: nowhere", () => {
    expect(indexed(tasks, taskRow({ phase: "completed", pool: "Pool-A", tvm: "Tvm-1" }))).toMatchObject({ state: `${JOB}/completed/frame1`, queue: undefined, tvm: undefined });
    expect(indexed(tasks, taskRow({ phase: "active", pool: "Pool-A", tvm: "Tvm-1" })).tvm).toBeUndefined();
    const gone = taskRow({ phase: "absent", pool: "Pool-A", tvm: "Tvm-1" });
    expect(gone.gone).toBe(true);
    expect(Object.values(indexed(tasks, gone))).toEqual([undefined, undefined, undefined, undefined]);
    expect(tasks.tally(stateOf(gone))).toEqual({});
  });

  test("what a TVM holds is read back from its key", () => {
    expect(parseHeld(heldKey("local.pool-a.tvm-1", `${JOB}.a@b`, 12))).toEqual({ task: `${JOB}.a@b`, attempt: 12 });
  });

  test("count what deleted tasks of their name used, apart from those that are there", () => {
    const past = { cpuMs: 5, kernelMs: 2, wallMs: 9, waitMs: 4, succeeded: 1, failed: 2, retries: 3 };
    const gone = { goneSucceeded: 1, goneFailed: 2, goneRetries: 3 };
    expect(tasks.tally(stateOf(taskRow({ phase: "absent", past, cpuMs: 5, retryCount: 1 })))).toEqual({ cpuUs: 5000, kernelUs: 2000, wallMs: 9, waitMs: 4, ...gone });
    const again = taskRow({ past, cpuMs: 1, wallMs: 1, createdAt: "2015-04-01T12:00:00.000Z", startedAt: "2015-04-01T12:00:01.000Z" });
    expect(tasks.tally(stateOf(again))).toEqual({ active: 1, cpuUs: 6000, kernelUs: 2000, wallMs: 10, waitMs: 1004, ...gone });
  });

  test("count by phase, failures, retries, requeues and CPU time", () => {
    const counted = (more: Partial<Task>) => tasks.tally(stateOf(taskRow(more)));
    expect(counted({})).toEqual({ active: 1 });
    expect(counted({ phase: "completed", exitCode: 0, cpuMs: 7 })).toEqual({ completed: 1, cpuUs: 7000 });
    expect(counted({ phase: "completed", exitCode: 1, retryCount: 2, requeueCount: 1 })).toEqual({ completed: 1, failed: 1, retries: 2, requeues: 1 });
    expect(counted({ phase: "running", kernelMs: 3, wallMs: 9 })).toEqual({ running: 1, kernelUs: 3000, wallMs: 9 });
    expect(counted({ phase: "completed", error: { category: "UserError", code: "BlobNotFound" } })).toEqual({ completed: 1, failed: 1 });
    expect(taskFailed({ phase: "active", exitCode: 1 })).toBe(false);
    expect(["active", "assigned", "running", "completed"].map((phase) => taskState({ phase } as Task))).toEqual(["active", "active", "running", "completed"]);
  });
});

test("jobs: by work item, by pool while they are active, and unsettled while they close", () => {
  const row = (phase: "active" | "terminating" | "completed" | "gone") => rowOf(jobs, "job-0000000001", 1, { ...job.initial, phase, account: "local", workItem: "local.render.1", pool: "Pool-A" });
  expect(indexed(jobs, row("active"))).toEqual({ workItem: "local.render.1/job-0000000001", pool: "local.pool-a/local.render.1.job-0000000001", unsettled: undefined });
  expect(indexed(jobs, row("terminating"))).toEqual({ workItem: "local.render.1/job-0000000001", pool: undefined, unsettled: JOB });
  expect(indexed(jobs, row("completed"))).toEqual({ workItem: "local.render.1/job-0000000001", pool: undefined, unsettled: undefined });
  expect(row("gone").gone).toBe(true);
});

test("pools, TVMs and work items: by name, and unsettled or unfit while something is under way", () => {
  const poolRow = (more: object) => rowOf(pools, "pool-a", 1, { ...pool.initial, phase: "active" as const, account: "local", ...more });
  expect(indexed(pools, poolRow({ allocation: "steady" }))).toEqual({ name: "local/pool-a", unsettled: undefined });
  expect(indexed(pools, poolRow({ allocation: "stopping" })).unsettled).toBe("local.pool-a");
  expect(indexed(pools, poolRow({ phase: "deleting" })).unsettled).toBe("local.pool-a");
  const tvmRow = (phase: "ready" | "unknown" | "gone") => rowOf(tvms, "tvm-1", 1, { ...tvm.initial, phase, account: "local", pool: "Pool-A" });
  expect(indexed(tvms, tvmRow("ready"))).toEqual({ pool: "local.pool-a/tvm-1", unfit: undefined });
  expect(indexed(tvms, tvmRow("unknown"))).toEqual({ pool: "local.pool-a/tvm-1", unfit: "local.pool-a.tvm-1" });
  expect(indexed(tvms, tvmRow("gone"))).toEqual({ pool: undefined, unfit: undefined });
  const itemRow = (phase: "active" | "disabled" | "completed" | "deleting" | "absent", more: object = {}) =>
    rowOf(workItems, "render", 1, { ...workItem.initial, phase, account: "local", ...more });
  expect(indexed(workItems, itemRow("active"))).toEqual({ name: "local/render", unsettled: undefined, active: "local.render" });
  expect(indexed(workItems, itemRow("disabled"))).toEqual({ name: "local/render", unsettled: undefined, active: undefined });
  expect(indexed(workItems, itemRow("completed", { pools: ["auto"] })).unsettled).toBe("local.render");
  expect(indexed(workItems, itemRow("completed", { pools: [] })).unsettled).toBeUndefined();
  expect(indexed(workItems, itemRow("deleting")).unsettled).toBe("local.render");
  expect(itemRow("absent").gone).toBe(true);
});

test("small rows: errands until they are answered, rooms by how much is free, heartbeats by time and pool", () => {
  expect(indexed(errands, { id: "e", version: 1, tvm: "t", folder: "f" })).toEqual({ tvm: "t/e" });
  expect(indexed(errands, { id: "e", version: 2, tvm: "t", answer: { id: "e" } })).toEqual({ tvm: undefined });
  const room = (free: number) => indexed(rooms, { id: "t", version: 1, pool: "p", tvm: "t", capacity: 9, free });
  expect(room(0)).toEqual({ spread: undefined, pack: undefined });
  expect((room(12).spread as string) < (room(3).spread as string)).toBe(true);
  expect((room(3).pack as string) < (room(12).pack as string)).toBe(true);
  expect(indexed(heartbeats, { id: "t", version: 1, tvm: "a.p.t", boot: 1, at: "2015" })).toEqual({ at: "2015/a.p.t", pool: "a.p/a.p.t" });
  expect(indexed(heartbeats, { id: "t", version: 1, tvm: "t", boot: 1, at: "2015", gone: true })).toEqual({ at: undefined });
});

test("counters move by what changed, and by nothing when nothing did", () => {
  expect(difference({}, { active: 1 })).toEqual({ active: 1 });
  expect(difference({ active: 1, cpuMs: 5 }, { completed: 1, cpuMs: 7 })).toEqual({ active: -1, completed: 1, cpuMs: 2 });
  expect(difference({ completed: 1, retries: 2 }, { completed: 1, retries: 2 })).toEqual({});
  expect(difference({ completed: 1 }, {})).toEqual({ completed: -1 });
  expect(difference(undefined, undefined)).toEqual({});
});

test("each view is that of its category, under a name that storage can use", () => {
  for (const [category, view] of Object.entries(viewOf)) {
    expect(view.category).toBe(category);
    expect(anyViewOf(view.category)).toBe(view);
    expect(view.name).toMatch(/^[a-zA-Z]+$/);
  }
});
