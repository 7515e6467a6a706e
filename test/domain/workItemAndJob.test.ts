// The rules of work items and of their jobs.
import { type JobCommand, type JobEvent, awaitsManager, job, refusesTasks, wallClockEnd } from "../../src/domain/job";
import { type WorkItemCommand, type WorkItemEvent, jobName, workItem } from "../../src/domain/workItem";
import { at, spec } from "../support/spec";

describe("a work item", () => {
  const { given } = spec(workItem);
  const item = { account: "local", name: "Render", spec: { pool: "Pool-A", job: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false } } };
  const created: WorkItemEvent = { type: "WorkItemCreated", at: at(0), ...item };
  const spawned: WorkItemEvent = { type: "WorkItemJobSpawned", at: at(0), job: "job-0000000001" };
  const create: WorkItemCommand = { type: "CreateWorkItem", at: at(0), ...item };
  const terminating: WorkItemEvent = { type: "WorkItemTerminationStarted", at: at(5) };
  const completed: WorkItemEvent = { type: "WorkItemCompleted", at: at(6) };
  const deleting: WorkItemEvent = { type: "WorkItemDeletionStarted", at: at(7) };
  const deleted: WorkItemEvent = { type: "WorkItemDeleted", at: at(8) };
  const active = given(created, spawned);

  test("has its job at once", () => {
    expect(given().when(create).then(created, spawned)).toMatchObject({ phase: "active", generation: 1, jobCount: 1, recentJob: "job-0000000001", createdAt: at(0) });
    expect(jobName(12)).toBe("job-0000000012");
  });

  test("one of a name at a time, and not while the old one goes", () => {
    active.when(create).refused("WorkItemExists");
    active.and(completed).when(create).refused("WorkItemExists");
    active.and(deleting).when(create).refused("WorkItemBeingDeleted");
  });

  test("terminated: terminating, then completed", () => {
    expect(active.when({ type: "TerminateWorkItem", at: at(5) }).then(terminating)).toMatchObject({ phase: "terminating", previousState: "active", previousStateAt: at(0), stateAt: at(5), modifiedAt: at(5) });
    expect(active.and(terminating).when({ type: "CompleteWorkItem", at: at(6) }).then(completed)).toMatchObject({ phase: "completed", endedAt: at(6), stateAt: at(6) });
    active.when({ type: "CompleteWorkItem", at: at(6) }).then();
  });

  test("refuses by its phase", () => {
    const terminate: WorkItemCommand = { type: "TerminateWorkItem", at: at(9) };
    given().when(terminate).refused("WorkItemNotFound");
    active.and(terminating).when(terminate).refused("WorkItemBeingTerminated");
    active.and(completed).when(terminate).refused("WorkItemCompleted");
    active.and(deleting).when(terminate).refused("WorkItemBeingDeleted");
    given().when({ type: "DeleteWorkItem", at: at(9) }).refused("WorkItemNotFound");
    active.and(deleting).when({ type: "DeleteWorkItem", at: at(9) }).refused("WorkItemBeingDeleted");
    for (const history of [given(), active.and(completed), active.and(deleting)]) history.when({ type: "CompleteWorkItem", at: at(9) }).then();
  });

  test.each([["active", [created, spawned]], ["terminating", [created, spawned, terminating]], ["completed", [created, spawned, completed]]])(
    "deleted while %s: the ETag stays, and then it is gone", (phase, events) => {
      const before = given(...events).state.modifiedAt;
      expect(given(...events).when({ type: "DeleteWorkItem", at: at(7) }).then(deleting)).toMatchObject({ phase: "deleting", previousState: phase, modifiedAt: before });
      expect(given(...events, deleting).when({ type: "ForgetWorkItem", at: at(8) }).then(deleted)).toMatchObject({ phase: "absent", generation: 1 });
    });

  test("only what is being deleted can be forgotten", () => {
    for (const history of [given(), active, active.and(terminating), active.and(completed), active.and(deleting, deleted)]) history.when({ type: "ForgetWorkItem", at: at(9) }).then();
  });

  test("made again it is another one: the next generation, with nothing of the old", () => {
    const again = active.and(completed, deleting, deleted);
    const state = again.when({ ...create, at: at(20) } as WorkItemCommand).then({ ...created, at: at(20) }, { ...spawned, at: at(20) });
    expect(state).toEqual({ ...given({ ...created, at: at(20) }, { ...spawned, at: at(20) }).state, generation: 2 });
  });
});

describe("a job", () => {
  const { given } = spec(job);
  const fields = { account: "local", workItem: "local.render.1", workItemName: "Render", name: "job-0000000001", pool: "Pool-A", spec: { priority: 3, constraints: { maxTaskRetryCount: 2 }, specified: true } };
  const created: JobEvent = { type: "JobCreated", at: at(0), ...fields };
  const terminating = (byUser: boolean): JobEvent => ({ type: "JobTerminationStarted", at: at(5), reason: "UserTerminate", byUser });
  const completed: JobEvent = { type: "JobCompleted", at: at(6) };
  const deleting: JobEvent = { type: "JobDeletionStarted", at: at(7) };
  const deleted: JobEvent = { type: "JobDeleted", at: at(8) };
  const active = given(created);
  const terminate = (byUser: boolean): JobCommand => ({ type: "TerminateJob", at: at(5), reason: "UserTerminate", byUser });

  test("is made once, whoever makes it", () => {
    const create: JobCommand = { type: "CreateJob", at: at(0), ...fields };
    expect(given().when(create).then(created)).toMatchObject({ phase: "active", createdAt: at(0), modifiedAt: at(0), stateAt: at(0) });
    for (const history of [active, active.and(terminating(true), completed), active.and(deleting, deleted)]) history.when(create).then();
  });

  test("terminated by its user: completed in the end, with `active` as the state before and the ETag of the call", () => {
    expect(active.when(terminate(true)).then(terminating(true))).toMatchObject({ phase: "terminating", modifiedAt: at(5), stateAt: at(0), terminateReason: "UserTerminate" });
    expect(active.and(terminating(true)).when({ type: "CompleteJob", at: at(6) }).then(completed))
      .toMatchObject({ phase: "completed", previousState: "active", previousStateAt: at(0), stateAt: at(6), endedAt: at(6), modifiedAt: at(5) });
  });

  test("terminated by the service (its wall clock, its work item): the ETag stays, and nothing is refused", () => {
    expect(active.when(terminate(false)).then(terminating(false)).modifiedAt).toBe(at(0));
    for (const history of [given(), active.and(terminating(true)), active.and(terminating(true), completed), active.and(deleting)]) history.when(terminate(false)).then();
  });

  test("refuses by its phase", () => {
    const phases: [ReturnType<typeof given>, string][] = [
      [given(), "JobNotFound"], [active.and(terminating(true)), "JobBeingTerminated"], [active.and(terminating(true), completed), "JobCompleted"],
      [active.and(deleting), "JobBeingDeleted"], [active.and(deleting, deleted), "JobNotFound"],
    ];
    for (const [history, code] of phases) {
      history.when(terminate(true)).refused(code);
      history.when({ type: "UpdateJob", at: at(9), priority: 1 }).refused(code);
      expect(refusesTasks(history.state)?.code).toBe(code);
    }
    expect(refusesTasks(active.state)).toBeUndefined();
    for (const history of [active, active.and(deleting), active.and(terminating(true), completed)]) history.when({ type: "CompleteJob", at: at(9) }).then();
  });

  test("updated: what is given replaces, what is not stays, and each change has a time of its own", () => {
    const first = active.when({ type: "UpdateJob", at: at(0), priority: -5 }).then({ type: "JobUpdated", at: "2015-04-01T12:00:00.001Z", priority: -5 });
    expect(first.spec).toEqual({ priority: -5, constraints: { maxTaskRetryCount: 2 }, specified: true });
    const second = active.and({ type: "JobUpdated", at: at(1), priority: -5 }).when({ type: "UpdateJob", at: at(0), constraints: { maxTaskRetryCount: 0, maxWallClockMs: 1000 } })
      .then({ type: "JobUpdated", at: "2015-04-01T12:00:01.001Z", constraints: { maxTaskRetryCount: 0, maxWallClockMs: 1000 } });
    expect(second.spec).toEqual({ priority: -5, constraints: { maxTaskRetryCount: 0, maxWallClockMs: 1000 }, specified: true });
    active.and({ type: "JobUpdated", at: at(9) }).when(terminate(true)).then({ ...terminating(true), at: "2015-04-01T12:00:09.001Z" });
  });

  test.each([["active", [created], "active"], ["terminating", [created, terminating(true)], "active"], ["completed", [created, terminating(true), completed], "completed"]])(
    "deleted while %s: deleting, then gone; the ETag stays", (_, events, previous) => {
      const { modifiedAt } = given(...events).state;
      expect(given(...events).when({ type: "DeleteJob", at: at(7) }).then(deleting)).toMatchObject({ phase: "deleting", previousState: previous, modifiedAt, stateAt: at(7) });
      expect(given(...events, deleting).when({ type: "ForgetJob", at: at(8) }).then(deleted).phase).toBe("gone");
    });

  test("deleted once, and forgotten only then", () => {
    active.and(deleting).when({ type: "DeleteJob", at: at(9) }).refused("JobBeingDeleted");
    for (const history of [given(), active.and(deleting, deleted)]) history.when({ type: "DeleteJob", at: at(9) }).refused("JobNotFound");
    for (const history of [given(), active, active.and(terminating(true)), active.and(deleting, deleted)]) history.when({ type: "ForgetJob", at: at(9) }).then();
  });

  test("its time is counted from its creation", () => {
    expect(wallClockEnd(active.state)).toBeUndefined();
    expect(wallClockEnd(active.and({ type: "JobUpdated", at: at(5), constraints: { maxTaskRetryCount: 0, maxWallClockMs: 60_000 } }).state)).toBe(at(60));
  });

  test("a limit of thousands of years is still in the future", () => {
    const end = wallClockEnd(active.and({ type: "JobUpdated", at: at(5), constraints: { maxTaskRetryCount: 0, maxWallClockMs: 8.64e16 } }).state);
    expect(end).toBe("9999-12-31T23:59:59.999Z");
    expect(at(0) < (end as string)).toBe(true);
  });

  describe("disabled and enabled", () => {
    const disabling = (seconds: number, tasks: "requeue" | "terminate" | "wait"): JobEvent => ({ type: "JobDisablingStarted", at: at(seconds), tasks });
    const disabled: JobEvent = { type: "JobDisabled", at: at(2) };
    const enabled: JobEvent = { type: "JobEnabled", at: at(9) };
    const disable = (tasks: "requeue" | "terminate" | "wait", seconds = 1): JobCommand => ({ type: "DisableJob", at: at(seconds), tasks });
    const enable: JobCommand = { type: "EnableJob", at: at(9) };
    const off = active.and(disabling(1, "requeue"), disabled);

    test("disabling until nothing of it runs, then disabled, and active again; the ETag is that of its user's calls", () => {
      expect(active.when(disable("wait")).then(disabling(1, "wait"))).toMatchObject({ phase: "disabling", previousState: "active", previousStateAt: at(0), stateAt: at(1), modifiedAt: at(1) });
      expect(active.and(disabling(1, "wait")).when({ type: "EndDisabling", at: at(2) }).then(disabled)).toMatchObject({ phase: "disabled", previousState: "disabling", stateAt: at(2), modifiedAt: at(1) });
      expect(off.when(enable).then(enabled)).toMatchObject({ phase: "active", previousState: "disabled", stateAt: at(9), modifiedAt: at(9), enabledAt: at(9) });
      expect(active.and(disabling(1, "wait")).when(enable).then(enabled)).toMatchObject({ phase: "active", previousState: "disabling" });
      expect(off.and(enabled).state.disableTasks).toBeUndefined();
    });

    test("asked again it stays; told of another option while it waits, that one counts", () => {
      active.and(disabling(1, "wait")).when(disable("wait", 2)).then();
      expect(active.and(disabling(1, "wait")).when(disable("terminate", 2)).then(disabling(2, "terminate"))).toMatchObject({ phase: "disabling", stateAt: at(1), previousState: "active", disableTasks: "terminate" });
      for (const tasks of ["requeue", "wait"] as const) off.when(disable(tasks, 3)).then();
      active.when(enable).then();
      for (const history of [active, off, given()]) history.when({ type: "EndDisabling", at: at(9) }).then();
    });

    test("case 44: a job that has ended, is ending or is being deleted is neither disabled nor enabled", () => {
      const phases: [ReturnType<typeof given>, string][] = [
        [given(), "JobNotFound"], [active.and(terminating(true)), "JobBeingTerminated"], [active.and(terminating(true), completed), "JobCompleted"], [active.and(deleting), "JobBeingDeleted"],
      ];
      for (const [history, code] of phases) for (const command of [disable("requeue"), enable]) history.when(command).refused(code);
    });

    test("takes tasks, and is terminated or deleted from where it is", () => {
      for (const history of [active.and(disabling(1, "wait")), off]) expect(refusesTasks(history.state)).toBeUndefined();
      expect(off.and(terminating(true), completed).state).toMatchObject({ phase: "completed", previousState: "disabled", previousStateAt: at(2) });
      expect(active.and(disabling(1, "wait"), terminating(false), completed).state).toMatchObject({ previousState: "disabling" });
      expect(off.and(deleting).state).toMatchObject({ phase: "deleting", previousState: "disabled" });
      expect(off.when(terminate(false)).then(terminating(false)).phase).toBe("terminating");
    });

    test("is pointed at another pool only while it is disabled", () => {
      const move: JobCommand = { type: "UpdateJob", at: at(5), pool: "Pool-B" };
      for (const history of [active, active.and(disabling(1, "wait")), off.and(enabled)]) history.when(move).refused("OperationInvalidForCurrentState");
      expect(off.when(move).then({ type: "JobUpdated", at: at(5), pool: "Pool-B" })).toMatchObject({ pool: "Pool-B", phase: "disabled" });
      active.when({ type: "UpdateJob", at: at(5), pool: "pool-a" }).then({ type: "JobUpdated", at: at(5), pool: "pool-a" });
    });
  });

  test("its manager is noted once", () => {
    const manager = { name: "m", commandLine: "plan", maxTaskRetryCount: 0, exclusive: true, killJobOnCompletion: true };
    const managed = given({ ...created, spec: { ...fields.spec, manager } });
    const noted: JobEvent = { type: "JobManagerQueued", at: at(1) };
    expect(awaitsManager(managed.state)).toBe(true);
    const state = managed.when({ type: "NoteManager", at: at(1) }).then(noted);
    expect(awaitsManager(state)).toBe(false);
    for (const history of [managed.and(noted), managed.and(terminating(true)), active]) history.when({ type: "NoteManager", at: at(2) }).then();
    // A change of priority or constraints leaves it as it is.
    expect(managed.and({ type: "JobUpdated", at: at(3), priority: 9 }).state.spec.manager).toEqual(manager);
  });
});
