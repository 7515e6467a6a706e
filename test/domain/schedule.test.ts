// Schedules: when jobs are due, what is skipped, and that nothing drifts, doubles or gets lost.
import { type Decider, fold, isRejection } from "../../src/domain/decider";
import { type Schedule, firstRun, nextRunTime, runUnder, skipDue, turnAt } from "../../src/domain/schedule";
import { addMs, msBetween } from "../../src/domain/time";
import { type WorkItem, type WorkItemCommand, type WorkItemEvent, workItem } from "../../src/domain/workItem";
import { randomSchedule } from "../support/commands";
import { type Seeded, forSeeds } from "../support/seeded";
import { at, spec } from "../support/spec";

const MINUTE = 60_000;
const minute = (minutes: number): string => at(minutes * 60);

describe("what an instant brings", () => {
  const tens: Schedule = { recurrenceMs: 10 * MINUTE };
  test.each<[string, Schedule, next: number, now: number, object]>([
    ["nothing before it is due", tens, 10, 9.99, {}],
    ["the job when it is due", tens, 10, 10, { start: minute(10) }],
    ["late, without a window: until the next is due", tens, 10, 19.9, { start: minute(10) }],
    ["the latest of several, and the others skipped", tens, 10, 35, { start: minute(30), skipped: { from: minute(10), to: minute(20), count: 2 } }],
    ["within the window", { ...tens, startWindowMs: 2 * MINUTE }, 10, 12, { start: minute(10) }],
    ["past the window", { ...tens, startWindowMs: 2 * MINUTE }, 10, 12.01, { skipped: { from: minute(10), to: minute(10), count: 1 } }],
    ["past two windows", { ...tens, startWindowMs: 2 * MINUTE }, 10, 25, { skipped: { from: minute(10), to: minute(20), count: 2 } }],
    ["a window longer than the interval is none", { ...tens, startWindowMs: 15 * MINUTE }, 10, 19.9, { start: minute(10) }],
    ["nothing starts after doNotRunAfter", { ...tens, doNotRunAfter: minute(32) }, 10, 33, { skipped: { from: minute(10), to: minute(30), count: 3 } }],
    ["at doNotRunAfter it does", { ...tens, doNotRunAfter: minute(30) }, 30, 30, { start: minute(30) }],
    ["once only, as late as it likes", {}, 10, 500, { start: minute(10) }],
    ["once only, too late", { startWindowMs: MINUTE }, 10, 12, { skipped: { from: minute(10), to: minute(10), count: 1 } }],
  ])("%s", (_, schedule, next, now, expected) => {
    expect(turnAt(schedule, minute(next), minute(now))).toEqual(expected);
  });

  test("the first: at its time, or at once when that has passed; none after the end", () => {
    expect(firstRun({}, minute(5))).toBe(minute(5));
    expect(firstRun({ doNotRunUntil: minute(9) }, minute(5))).toBe(minute(9));
    expect(firstRun({ doNotRunUntil: minute(1) }, minute(5))).toBe(minute(5));
    expect(firstRun({ doNotRunAfter: minute(4) }, minute(5))).toBeUndefined();
  });

  test("what is shown as the next: the one that waits in its window, else the one to come", () => {
    const windowed: Schedule = { ...tens, startWindowMs: 2 * MINUTE };
    expect(nextRunTime(windowed, minute(10), minute(9))).toBe(minute(10));
    expect(nextRunTime(windowed, minute(10), minute(11))).toBe(minute(10));
    expect(nextRunTime(windowed, minute(10), minute(13))).toBe(minute(20));
    expect(nextRunTime({ ...windowed, doNotRunAfter: minute(15) }, minute(10), minute(13))).toBeUndefined();
    expect(nextRunTime(windowed, undefined, minute(13))).toBeUndefined();
  });

  test("under another schedule: counted from the last one, never in the past", () => {
    expect(runUnder({ recurrenceMs: 4 * MINUTE }, minute(10), minute(21))).toBe(minute(22));
    expect(runUnder({ recurrenceMs: 4 * MINUTE }, minute(10), minute(10))).toBe(minute(14));
    expect(runUnder({ recurrenceMs: 4 * MINUTE, doNotRunUntil: minute(100) }, minute(10), minute(21))).toBe(minute(100));
    expect(runUnder({ recurrenceMs: 4 * MINUTE, doNotRunAfter: minute(21) }, minute(10), minute(21))).toBeUndefined();
    expect(runUnder({ doNotRunUntil: minute(100) }, minute(10), minute(21))).toBeUndefined();
    expect(skipDue({ recurrenceMs: MINUTE }, minute(1), minute(3.5))).toEqual({ from: minute(1), to: minute(3), count: 3 });
  });
});

describe("a work item with a schedule", () => {
  const { given } = spec(workItem);
  const job = { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false };
  const created = (schedule: Schedule, more: object = {}): WorkItemEvent => ({ type: "WorkItemCreated", at: minute(0), account: "local", name: "Render", spec: { pool: "Pool-A", schedule, job, ...more } });
  const create = (schedule: Schedule): WorkItemCommand => ({ ...created(schedule), type: "CreateWorkItem", unique: "U" }) as WorkItemCommand;
  const spawned = (number: number, due: number, now = due, more: object = {}): WorkItemEvent => ({ type: "WorkItemJobSpawned", at: minute(now), job: `job-000000000${number}`, occurrence: minute(due), ...more });
  const skipped = (now: number, from: number, to = from, count = 1): WorkItemEvent => ({ type: "WorkItemOccurrencesSkipped", at: minute(now), from: minute(from), to: minute(to), count });
  const run = (now: number, ended?: number): WorkItemCommand => ({ type: "RunWorkItem", at: minute(now), unique: "U", ...(ended === undefined ? {} : { ended: `job-000000000${ended}` }) });

  test("case 19: the first job at once, and the next due an interval after the creation", () => {
    const state = given().when(create({ recurrenceMs: 1440 * MINUTE })).then(created({ recurrenceMs: 1440 * MINUTE }), spawned(1, 0));
    expect(state).toMatchObject({ jobCount: 1, recentJob: "job-0000000001", nextRun: minute(1440) });
  });

  test("not before doNotRunUntil", () => {
    const later: Schedule = { doNotRunUntil: minute(30) };
    expect(given().when(create(later)).then(created(later))).toMatchObject({ jobCount: 0, nextRun: minute(30) });
    given(created(later)).when(run(29.9)).then();
    given(created(later)).when(run(30.1)).then(spawned(1, 30, 30.1));
    given(created(later), spawned(1, 30)).when(run(40, 1)).then({ type: "WorkItemCompleted", at: minute(40) });
  });

  test("case 20: no second job while the first is open; when it ends, one at once", () => {
    const item = given(created({ recurrenceMs: MINUTE }), spawned(1, 0));
    for (const now of [1, 2, 50]) item.when(run(now)).then();
    item.when(run(1.5, 1)).then(spawned(2, 1, 1.5));
    item.when(run(3.5, 1)).then(skipped(3.5, 1, 2, 2), spawned(2, 3, 3.5));
  });

  test("case 21: the first job ends outside the window: that occurrence is skipped, and the next is exact", () => {
    const item = given(created({ recurrenceMs: 10 * MINUTE, startWindowMs: 2 * MINUTE }), spawned(1, 0));
    expect(item.when(run(13, 1)).then(skipped(13, 10))).toMatchObject({ nextRun: minute(20), skipped: 1, lastSkipped: minute(10) });
    item.and(skipped(13, 10)).when(run(20.001, 1)).then(spawned(2, 20, 20.001));
  });

  test("case 22: it ends inside the window: the second job then, and the third when it was due all along", () => {
    const item = given(created({ recurrenceMs: 10 * MINUTE, startWindowMs: 2 * MINUTE }), spawned(1, 0));
    expect(item.when(run(11, 1)).then(spawned(2, 10, 11))).toMatchObject({ nextRun: minute(20) });
  });

  test("case 24: doNotRunAfter passes and the last job ends: completed", () => {
    const item = given(created({ recurrenceMs: 10 * MINUTE, doNotRunAfter: minute(25) }), spawned(1, 0), spawned(2, 10), spawned(3, 20));
    expect(item.state.nextRun).toBeUndefined();
    // Until then a user may still give it a longer life.
    item.when(run(24, 3)).then();
    item.when(run(26)).then();
    item.when(run(26, 3)).then({ type: "WorkItemCompleted", at: minute(26) });
  });

  test("a job that has long been replaced does not count as the one that ended", () => {
    given(created({ recurrenceMs: MINUTE }), spawned(1, 0), spawned(2, 1)).when(run(5, 1)).then();
  });

  test("disabled: no jobs; enabled again: what is still in its window, the rest is skipped", () => {
    const off = given(created({ recurrenceMs: 10 * MINUTE, startWindowMs: 5 * MINUTE }), spawned(1, 0), { type: "WorkItemDisabled", at: minute(5) });
    off.when(run(10, 1)).then();
    const on = off.and({ type: "WorkItemEnabled", at: minute(33) });
    on.when(run(33, 1)).then(skipped(33, 10, 20, 2), spawned(2, 30, 33));
    on.when(run(38, 1)).then(skipped(38, 10, 30, 3));
  });

  test("refused by its phase: to disable, enable, update", () => {
    const all = (history: ReturnType<typeof given>, code: string): void => {
      for (const command of [{ type: "DisableWorkItem", at: minute(9) }, { type: "EnableWorkItem", at: minute(9) }, { type: "UpdateWorkItem", at: minute(9) }] as const) history.when(command).refused(code);
    };
    const item = given(created({}), spawned(1, 0));
    all(given(), "WorkItemNotFound");
    all(item.and({ type: "WorkItemTerminationStarted", at: minute(1) }), "WorkItemBeingTerminated");
    all(item.and({ type: "WorkItemCompleted", at: minute(1) }), "WorkItemCompleted");
    all(item.and({ type: "WorkItemDeletionStarted", at: minute(1) }), "WorkItemBeingDeleted");
  });

  test("another schedule: what was due and had no turn is skipped, the steps go on from the last occurrence", () => {
    const item = given(created({ recurrenceMs: 10 * MINUTE }), spawned(1, 0));
    const shorter = { pool: "Pool-A", schedule: { recurrenceMs: 4 * MINUTE }, job };
    const state = item.when({ type: "UpdateWorkItem", at: minute(13), schedule: { recurrenceMs: 4 * MINUTE } }).then(skipped(13, 10), { type: "WorkItemUpdated", at: minute(13), spec: shorter });
    expect(state.nextRun).toBe(minute(14));
    // The same schedule again changes nothing of what is due.
    expect(item.when({ type: "UpdateWorkItem", at: minute(13), schedule: { recurrenceMs: 10 * MINUTE } }).then({ type: "WorkItemUpdated", at: minute(13), spec: { ...shorter, schedule: { recurrenceMs: 10 * MINUTE } } }).nextRun).toBe(minute(10));
    expect(item.when({ type: "UpdateWorkItem", at: minute(5), schedule: null }).then({ type: "WorkItemUpdated", at: minute(5), spec: { pool: "Pool-A", job } }).nextRun).toBeUndefined();
  });

  test("a schedule taken away before its first job: that job is due at once", () => {
    const item = given(created({ doNotRunUntil: minute(500) }), { type: "WorkItemUpdated", at: minute(1), spec: { pool: "Pool-A", job } });
    item.when(run(1)).then(spawned(1, 1));
  });

  test("auto pools: a name of its own for each job, or one for all; a changed specification gets a new one, the old one is let go later", () => {
    const pool = { tvmSize: "small", osFamily: "4", targetOSVersion: "*", targetDedicated: 2, resizeTimeoutMs: 300_000, communication: false, maxTasksPerTvm: 1, fillType: "Spread" } as const;
    const auto = { lifetime: "workitem", keepAlive: false, spec: pool, prefix: "auto" } as const;
    const made = (autoPool: object): WorkItemEvent => ({ type: "WorkItemCreated", at: minute(0), account: "local", name: "Render", spec: { autoPool, schedule: { recurrenceMs: MINUTE }, job } as never });
    const each = given(made({ ...auto, lifetime: "job" }), spawned(1, 0, 0, { pool: "auto_1" }));
    each.when({ ...run(1, 1), unique: "2" } as WorkItemCommand).then(spawned(2, 1, 1, { pool: "auto_2" }));
    expect(each.state.pools).toBeUndefined();
    const one = given(made(auto), spawned(1, 0, 0, { pool: "auto_1" }));
    expect(one.when({ ...run(1, 1), unique: "2" } as WorkItemCommand).then(spawned(2, 1, 1, { pool: "auto_1" }))).toMatchObject({ sharedPool: "auto_1", pools: ["auto_1"] });
    const bigger = { ...auto, spec: { ...pool, targetDedicated: 9 } };
    const changed = one.and({ type: "WorkItemUpdated", at: minute(0.5), spec: { autoPool: bigger, schedule: { recurrenceMs: MINUTE }, job } });
    expect(changed.when({ ...run(1, 1), unique: "2" } as WorkItemCommand).then(spawned(2, 1, 1, { pool: "auto_2" })).pools).toEqual(["auto_1", "auto_2"]);
    expect(changed.when({ type: "ReleaseWorkItemPool", at: minute(2), pool: "auto_1" }).then({ type: "WorkItemPoolReleased", at: minute(2), pool: "auto_1" }).pools).toEqual([]);
    expect(given(made({ ...auto, keepAlive: true }), spawned(1, 0, 0, { pool: "auto_1" })).state.pools).toBeUndefined();
  });

  test("what the recent job was made from is known after an update", () => {
    const item = given(created({ recurrenceMs: MINUTE }), spawned(1, 0), { type: "WorkItemUpdated", at: minute(0.1), spec: { pool: "Pool-B", job } }, { type: "WorkItemUpdated", at: minute(0.2), spec: { pool: "Pool-C", job } });
    expect(item.state.spawnedFrom).toMatchObject({ pool: "Pool-A" });
    expect(item.and(spawned(2, 1)).state.spawnedFrom).toBeUndefined();
  });
});

describe("whatever the schedule, and however late, often or rarely anybody looks", () => {
  interface Lived {
    readonly schedule: Schedule;
    readonly started: { due: string; at: string }[];
    readonly skipped: string[];
    readonly end: string;
    readonly state: WorkItem;
  }

  /** A work item that lives through random looks, some of them repeated, while its jobs end when chance will have it. */
  const live = (random: Seeded): Lived => {
    const schedule: Schedule = { recurrenceMs: 1500, ...randomSchedule(random, at(0)) };
    const job = { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false };
    let state = workItem.initial;
    const started: { due: string; at: string }[] = [];
    const skipped: string[] = [];
    let open = false;
    const apply = (command: WorkItemCommand): void => {
      const events = workItem.decide(command, state);
      if (isRejection(events)) throw new Error(events.code);
      for (const event of events) {
        if (event.type === "WorkItemJobSpawned") {
          expect(open).toBe(false);
          open = true;
          started.push({ due: event.occurrence as string, at: event.at });
        }
        if (event.type === "WorkItemOccurrencesSkipped")
          for (let due = event.from, count = 0; count < event.count; count++, due = addMs(due, schedule.recurrenceMs as number)) {
            skipped.push(due);
            if (count === event.count - 1) expect(due).toBe(event.to);
          }
      }
      state = fold(workItem as Decider<WorkItem, never, WorkItemEvent>, events, state);
    };
    apply({ type: "CreateWorkItem", at: at(0), account: "local", name: "Render", spec: { pool: "P", schedule, job }, unique: "U" });
    let now = 0;
    for (let look = 0; look < 40; look++) {
      now += random.oneOf([0, 0.001, 0.4, 1, 1.5, 7]) + random.below(1000) / 1000;
      if (random.chance(0.4)) open = false;
      const ended = !open && state.recentJob !== undefined ? { ended: state.recentJob } : {};
      const command: WorkItemCommand = { type: "RunWorkItem", at: at(now), unique: "U", ...ended };
      for (let times = random.oneOf([1, 1, 2]); times > 0; times--) apply(command);
    }
    return { schedule, started, skipped, end: at(now), state };
  };

  test("at most one open job; every occurrence is exact, and either started once or skipped once", () =>
    forSeeds(400, (random) => {
      const { schedule, started, skipped, end, state } = live(random);
      const first = firstRun(schedule, at(0));
      const dealt = [...started.map(({ due }) => due), ...skipped].sort();
      expect(new Set(dealt).size).toBe(dealt.length);
      // Without drift: the n-th is the first and n intervals, and none is left out.
      dealt.forEach((due, index) => expect(due).toBe(addMs(first as string, index * (schedule.recurrenceMs as number))));
      const { doNotRunAfter, startWindowMs, recurrenceMs = 0 } = schedule;
      for (const { due, at: when } of started) {
        expect(when >= due).toBe(true);
        expect(doNotRunAfter === undefined || when <= doNotRunAfter).toBe(true);
        expect(msBetween(due, when)).toBeLessThanOrEqual(Math.min(startWindowMs ?? Infinity, recurrenceMs));
      }
      // What is due and not dealt with waits for the open job.
      if (state.nextRun !== undefined) expect(state.nextRun).toBe(dealt.length === 0 ? first : addMs(dealt.at(-1) as string, recurrenceMs));
      if (state.phase === "completed") expect(doNotRunAfter !== undefined && end > doNotRunAfter).toBe(true);
    }));
});
