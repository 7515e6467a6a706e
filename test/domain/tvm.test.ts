// The rules of a TVM: one join a boot, the start task with its retries, loss and return, and how it leaves.
import type { StartTask } from "../../src/domain/pool";
import { type TvmCommand, type TvmEvent, awaitsRestart, isDrained, tvm, usable } from "../../src/domain/tvm";
import { at, spec } from "../support/spec";

const { given } = spec(tvm);
const machine = { address: "127.0.0.2", cores: 2, platform: "linux", separateUser: false };
const startTask = (more: Partial<StartTask> = {}): StartTask => ({ commandLine: "prepare", maxTaskRetryCount: 0, waitForSuccess: true, ...more });
const allocated: TvmEvent = { type: "TvmAllocated", at: at(0), account: "local", pool: "Pool-A", name: "Tvm-1", size: "small", slots: 2 };
const joined = (boot = 1, task?: StartTask): TvmEvent => ({ type: "TvmJoined", at: at(10), boot, ...machine, ...(task ? { startTask: task } : {}) });
const runStarted = (run: number): TvmEvent => ({ type: "TvmStartTaskStarted", at: at(11), run });
const runEnded = (run: number, exitCode: number, again = false): TvmEvent => ({ type: "TvmStartTaskEnded", at: at(12), run, startedAt: at(11), exitCode, again });
const lost: TvmEvent = { type: "TvmLost", at: at(20), boot: 1 };
const restarting: TvmEvent = { type: "TvmRestarting", at: at(30), boot: 2, reason: "machineExited" };
const leaving = (option: "requeue" | "terminate" | "taskcompletion" | "retaineddata" = "requeue"): TvmEvent => ({ type: "TvmLeaving", at: at(40), option });
const kept: TvmEvent = { type: "TvmKept", at: at(45) };
const removed: TvmEvent = { type: "TvmRemoved", at: at(50) };

const join = (boot = 1): TvmCommand => ({ type: "JoinTvm", at: at(10), boot, ...machine });
const startRun = (run: number, boot = 1): TvmCommand => ({ type: "StartStartTask", at: at(11), boot, run });
const endRun = (run: number, exitCode: number, boot = 1): TvmCommand => ({ type: "EndStartTask", at: at(12), boot, run, startedAt: at(11), exitCode });
const remove = (option: "requeue" | "terminate" | "taskcompletion" | "retaineddata"): TvmCommand => ({ type: "RemoveTvm", at: at(40), option });
const ready = given(allocated, joined());
const waiting = given(allocated, joined(1, startTask()));

describe("allocated and joined", () => {
  test("allocated once, starting at boot 1", () => {
    const command: TvmCommand = { type: "AllocateTvm", at: at(0), account: "local", pool: "Pool-A", name: "Tvm-1", size: "small", slots: 2 };
    expect(given().when(command).then(allocated)).toMatchObject({ phase: "starting", boot: 1, joined: false });
    for (const history of [given(allocated), ready, ready.and(removed)]) history.when(command).then();
  });

  test("without a start task it is ready at once", () => {
    const state = given(allocated).when(join()).then(joined());
    expect(state).toMatchObject({ phase: "ready", joined: true, lastBootAt: at(10), startTaskRun: 0, ...machine });
    expect(usable(state)).toBe(true);
  });

  test("a join code is good once, for the boot that is expected", () => {
    ready.when(join()).then();
    given(allocated).when(join(2)).then();
    ready.and(restarting).when(join(1)).then();
    ready.and(restarting).when(join(2)).then({ ...joined(2) });
    for (const history of [given(), given(allocated, leaving()), given(allocated, removed)]) history.when(join()).then();
  });
});

describe("the start task", () => {
  test("is waited for, and its success makes the TVM ready", () => {
    expect(waiting.state).toMatchObject({ phase: "waitingForStartTask", startTaskRun: 1 });
    expect(waiting.when(startRun(1)).then(runStarted(1)).startTaskInfo).toEqual({ state: "running", run: 1, retryCount: 0, startedAt: at(11) });
    const state = waiting.and(runStarted(1)).when(endRun(1, 0)).then(runEnded(1, 0));
    expect(state).toMatchObject({ phase: "ready", startTaskRun: 0, stateAt: at(12), startTaskInfo: { state: "completed", run: 1, retryCount: 0, startedAt: at(11), endedAt: at(12), exitCode: 0 } });
  });

  test("that fails for good leaves the TVM unusable", () => {
    const state = waiting.and(runStarted(1)).when(endRun(1, 3)).then(runEnded(1, 3));
    expect(state).toMatchObject({ phase: "startTaskFailed", startTaskInfo: { exitCode: 3 } });
    expect(usable(state)).toBe(false);
  });

  test.each([[0, 1], [2, 3], [-1, Infinity]])("maxTaskRetryCount %d: %d runs", (maxTaskRetryCount, expected) => {
    let history = given(allocated, joined(1, startTask({ maxTaskRetryCount })));
    let runs = 0;
    while (history.state.startTaskRun > 0 && runs < 20) {
      runs = history.state.startTaskRun;
      history = history.and(runStarted(runs), ...(tvm.decide(endRun(runs, 1), history.state) as TvmEvent[]));
      expect(history.state.startTaskInfo?.retryCount).toBe(runs - 1);
    }
    expect(runs).toBe(Math.min(expected, 20));
    expect(history.state.phase).toBe(expected === Infinity ? "waitingForStartTask" : "startTaskFailed");
  });

  test("a retry that succeeds makes it ready, and says when it was tried again", () => {
    const again = given(allocated, joined(1, startTask({ maxTaskRetryCount: 1 })), runStarted(1), runEnded(1, 1, true), { ...runStarted(2), at: at(13) });
    expect(again.state.startTaskInfo).toMatchObject({ state: "running", run: 2, retryCount: 1, lastRetryAt: at(13) });
    expect(again.when(endRun(2, 0)).then(runEnded(2, 0))).toMatchObject({ phase: "ready", startTaskInfo: { lastRetryAt: at(13), retryCount: 1 } });
  });

  test("an error (its files, its program) counts as a failure like any other", () => {
    const error = { category: "UserError", code: "BlobNotFound" } as const;
    const state = waiting.when({ type: "EndStartTask", at: at(12), boot: 1, run: 1, error }).then({ type: "TvmStartTaskEnded", at: at(12), run: 1, error, again: false });
    expect(state).toMatchObject({ phase: "startTaskFailed", startTaskInfo: { error } });
  });

  test("that is not waited for leaves the TVM ready while it runs, and after it failed", () => {
    const beside = given(allocated, joined(1, startTask({ waitForSuccess: false })));
    expect(beside.state).toMatchObject({ phase: "ready", startTaskRun: 1 });
    expect(beside.and(runStarted(1), runEnded(1, 9)).state).toMatchObject({ phase: "ready", stateAt: at(10), startTaskInfo: { exitCode: 9 } });
  });

  test("the end without the beginning is believed; twice is once; other runs are old news", () => {
    waiting.when(endRun(1, 0)).then(runEnded(1, 0));
    waiting.and(runStarted(1)).when(startRun(1)).then();
    waiting.and(runEnded(1, 0)).when(endRun(1, 0)).then();
    waiting.and(runEnded(1, 0)).when(startRun(1)).then();
    waiting.when(endRun(2, 0)).then();
    ready.when(endRun(1, 0)).then();
    ready.when(endRun(0, 0)).then();
    ready.when(startRun(0)).then();
  });

  test("a report about run 1 of an earlier boot is not taken for run 1 of the present one", () => {
    const second = waiting.and(runStarted(1), restarting, joined(2, startTask()));
    second.when(endRun(1, 0, 1)).then();
    second.when(startRun(1, 1)).then();
    second.when(endRun(1, 0, 2)).then(runEnded(1, 0));
    waiting.and(restarting).when(endRun(1, 0, 1)).then();
  });

  test("a TVM that is gone or on its way out has no start task", () => {
    for (const history of [waiting.and(removed), waiting.and(leaving())]) {
      history.when(startRun(1)).then();
      history.when(endRun(1, 0)).then();
    }
  });
});

describe("lost and found", () => {
  const lose = (boot = 1): TvmCommand => ({ type: "LoseTvm", at: at(20), boot });
  const recover = (boot = 1): TvmCommand => ({ type: "RecoverTvm", at: at(21), boot });
  const recovered: TvmEvent = { type: "TvmRecovered", at: at(21), boot: 1 };

  test("lost once, by its present boot, and only when it had joined", () => {
    expect(ready.when(lose()).then(lost)).toMatchObject({ phase: "unknown", stateAt: at(20) });
    ready.and(lost).when(lose()).then();
    ready.when(lose(2)).then();
    ready.and(restarting).when(lose()).then();
    for (const history of [given(), given(allocated), ready.and(removed)]) history.when(lose()).then();
  });

  test("it comes back to where it was", () => {
    expect(ready.and(lost).when(recover()).then(recovered).phase).toBe("ready");
    expect(waiting.and(lost, recovered).state.phase).toBe("waitingForStartTask");
    expect(waiting.and(runEnded(1, 1), lost, recovered).state.phase).toBe("startTaskFailed");
    expect(ready.and(lost, recovered).state).not.toHaveProperty("silent");
    ready.when(recover()).then();
    ready.and(lost).when(recover(2)).then();
  });

  test("a start task that ends while it is lost counts when it is back", () => {
    expect(waiting.and(runStarted(1), lost).when(endRun(1, 0)).then(runEnded(1, 0)).phase).toBe("unknown");
    expect(waiting.and(runStarted(1), lost, runEnded(1, 0), recovered).state.phase).toBe("ready");
  });
});

describe("restarted", () => {
  const restart = (boot = 1): TvmCommand => ({ type: "RestartTvm", at: at(30), boot, reason: "machineExited" });

  test("the next boot is expected, with its start task anew", () => {
    const state = waiting.and(runEnded(1, 0)).when(restart()).then(restarting);
    expect(state).toMatchObject({ phase: "starting", boot: 2, joined: false, startTaskRun: 0 });
    expect(state).not.toHaveProperty("startTaskInfo");
    given(allocated).when(restart()).then(restarting);
    ready.and(lost).when(restart()).then(restarting);
  });

  test("the start task is the one that the pool has at the next join", () => {
    const other = startTask({ commandLine: "other" });
    expect(waiting.and(restarting, joined(2, other)).state).toMatchObject({ startTask: other, startTaskRun: 1, phase: "waitingForStartTask" });
    expect(waiting.and(restarting, joined(2)).state).not.toHaveProperty("startTask");
  });

  test("twice is once, and what leaves is not started again", () => {
    ready.and(restarting).when(restart()).then();
    for (const history of [given(), ready.and(leaving()), ready.and(removed)]) history.when(restart()).then();
  });
});

describe("leaving", () => {
  test.each(["requeue", "terminate", "taskcompletion", "retaineddata"] as const)("with option %s", (option) => {
    expect(ready.when(remove(option)).then(leaving(option))).toMatchObject({ phase: "leaving", leavingOption: option });
  });

  test("once; but what waits for its tasks can be hurried", () => {
    ready.and(leaving("requeue")).when(remove("requeue")).then();
    ready.and(leaving("requeue")).when(remove("taskcompletion")).then();
    ready.and(leaving("taskcompletion")).when(remove("retaineddata")).then();
    expect(ready.and(leaving("taskcompletion")).when(remove("requeue")).then(leaving("requeue")).leavingOption).toBe("requeue");
    ready.and(leaving("retaineddata")).when(remove("terminate")).then(leaving("terminate"));
    for (const history of [given(), ready.and(removed)]) history.when(remove("requeue")).then();
  });

  test("kept after all: as it was before", () => {
    ready.and(leaving("taskcompletion")).when({ type: "KeepTvm", at: at(45) }).then(kept);
    expect(ready.and(leaving("taskcompletion"), kept).state).toMatchObject({ phase: "ready" });
    expect(ready.and(leaving("taskcompletion"), kept).state).not.toHaveProperty("leavingOption");
    expect(waiting.and(leaving(), kept).state.phase).toBe("waitingForStartTask");
    expect(given(allocated, leaving(), kept).state.phase).toBe("starting");
    for (const history of [ready, given(), ready.and(removed)]) history.when({ type: "KeepTvm", at: at(45) }).then();
  });

  test("drained: said once, by the boot that is there, of the wish that holds", () => {
    const confirm = (since: string, boot = 1): TvmCommand => ({ type: "ConfirmDrained", at: at(44), boot, since });
    const drained = (since: string): TvmEvent => ({ type: "TvmDrained", at: at(44), since });
    const restart: TvmEvent = { type: "TvmRestartRequested", at: at(42), how: "reboot", option: "retaineddata" };
    for (const option of ["taskcompletion", "retaineddata"] as const) {
      const leaves = ready.and(leaving(option));
      expect([leaves.state, leaves.when(confirm(at(40))).then(drained(at(40)))].map(isDrained)).toEqual([false, true]);
      leaves.and(drained(at(40))).when(confirm(at(40))).then();
      leaves.when(confirm(at(39))).then();
      leaves.when(confirm(at(40), 2)).then();
    }
    expect(isDrained(ready.and(restart).when(confirm(at(42))).then(drained(at(42))))).toBe(true);
    for (const history of [ready, ready.and(leaving("requeue")), ready.and({ ...restart, option: "terminate" }), ready.and(leaving("taskcompletion"), removed)])
      for (const since of [at(10), at(40), at(42)]) history.when(confirm(since)).then();
  });

  test("drained, kept, and told to leave once more in the same moment: it is asked again", () => {
    const drained = ready.and(leaving("taskcompletion"), { type: "TvmDrained", at: at(40), since: at(40) });
    expect([drained, drained.and({ ...kept, at: at(40) }), drained.and({ ...kept, at: at(40) }, leaving("taskcompletion"))].map(({ state }) => isDrained(state))).toEqual([true, false, false]);
    expect(isDrained(drained.and(lost, { type: "TvmRecovered", at: at(60), boot: 1 }, { ...leaving("taskcompletion"), at: at(61) } as TvmEvent).state)).toBe(false);
  });

  test("kept while nobody has heard of it: it is still lost, not ready", () => {
    const state = ready.and(lost, leaving("taskcompletion"), kept);
    expect(state.state.phase).toBe("unknown");
    expect(state.when({ type: "RecoverTvm", at: at(60), boot: 1 }).then({ type: "TvmRecovered", at: at(60), boot: 1 }).phase).toBe("ready");
  });

  test("gone for good", () => {
    expect(ready.and(leaving()).when({ type: "ForgetTvm", at: at(50) }).then(removed).phase).toBe("gone");
    ready.and(removed).when({ type: "ForgetTvm", at: at(51) }).then();
    given().when({ type: "ForgetTvm", at: at(51) }).then();
  });
});

describe("started anew at its user's wish", () => {
  const wish = (how: "reboot" | "reimage" = "reboot", option: "requeue" | "taskcompletion" = "requeue"): TvmCommand => ({ type: "RequestRestart", at: at(15), how, option });
  const asked = (how: "reboot" | "reimage" | "upgrade" = "reboot", option: "requeue" | "taskcompletion" = "requeue"): TvmEvent => ({ type: "TvmRestartRequested", at: at(15), how, option });
  const again = (reason: "reboot" | "reimage" | "upgrade" = "reboot"): TvmEvent => ({ type: "TvmRestarting", at: at(16), boot: 2, reason });
  const begin = (boot = 1): TvmCommand => ({ type: "RestartTvm", at: at(16), boot, reason: "reboot" });

  test("first it takes no more tasks, then it is between two boots, and ready again when it has joined", () => {
    const state = ready.when(wish("reimage", "taskcompletion")).then(asked("reimage", "taskcompletion"));
    expect(state).toMatchObject({ phase: "restarting", joined: true, boot: 1, restart: { how: "reimage", option: "taskcompletion" } });
    expect([usable(state), awaitsRestart(state)]).toEqual([false, true]);
    const between = ready.and(asked()).when(begin()).then(again());
    expect(between).toMatchObject({ phase: "starting", joined: false, boot: 2, restart: { how: "reboot" } });
    expect(awaitsRestart(between)).toBe(false);
    const back = ready.and(asked(), again(), joined(2)).state;
    expect(back).toMatchObject({ phase: "ready", boot: 2, lastBootAt: at(10) });
    expect(back).not.toHaveProperty("restart");
  });

  test("the start task runs again", () => {
    expect(waiting.and(runStarted(1), runEnded(1, 0), asked(), again(), joined(2, startTask())).state).toMatchObject({ phase: "waitingForStartTask", startTaskRun: 1 });
  });

  test("only while it is idle or running: else the code says what it is", () => {
    const refusals: [ReturnType<typeof given>, string][] = [
      [given(), "TVMNotFound"], [ready.and(removed), "TVMNotFound"], [given(allocated), "TVMBeingStarted"], [ready.and(restarting), "TVMBeingStarted"],
      [ready.and(asked()), "TVMBeingRebooted"], [ready.and(asked("reimage")), "TVMBeingReimaged"], [ready.and(asked("reimage"), again("reimage")), "TVMBeingReimaged"],
      [waiting, "OperationInvalidForCurrentState"], [waiting.and(runStarted(1), runEnded(1, 3)), "OperationInvalidForCurrentState"],
      [ready.and(lost), "OperationInvalidForCurrentState"], [ready.and(leaving()), "OperationInvalidForCurrentState"],
    ];
    for (const [history, code] of refusals) history.when(wish()).refused(code);
  });

  test("one that is lost meanwhile is started anew all the same, and when it speaks again it still waits for that", () => {
    const silent = ready.and(asked(), lost);
    expect(silent.state).toMatchObject({ phase: "unknown", silent: true });
    expect(awaitsRestart(silent.state)).toBe(true);
    expect(silent.when({ type: "RecoverTvm", at: at(21), boot: 1 }).then({ type: "TvmRecovered", at: at(21), boot: 1 }).phase).toBe("restarting");
  });

  test("one whose machine ends by itself meanwhile is reimaged at that start", () => {
    expect(ready.and(asked("reimage"), restarting).state).toMatchObject({ phase: "starting", boot: 2, restart: { how: "reimage" } });
  });

  test("one that is kept after all goes on being started anew", () => {
    expect(ready.and(asked(), leaving("taskcompletion"), kept).state.phase).toBe("restarting");
  });

  test("an upgrade of its pool takes it in whatever state it is, once", () => {
    const upgrade: TvmCommand = { type: "RequestRestart", at: at(15), how: "upgrade", option: "requeue" };
    expect(ready.when(upgrade).then(asked("upgrade"))).toMatchObject({ phase: "restarting", upgradedFor: at(15) });
    expect(ready.and(lost).when(upgrade).then(asked("upgrade")).phase).toBe("unknown");
    given(allocated).when(upgrade).then(asked("upgrade"), { type: "TvmRestarting", at: at(15), boot: 2, reason: "upgrade" });
    for (const history of [ready.and(asked("upgrade")), ready.and(asked("upgrade"), again("upgrade"), joined(2)), ready.and(leaving()), ready.and(removed), given()]) history.when(upgrade).then();
  });
});

describe("users", () => {
  const add = (user = "ann", seconds = 15): TvmCommand => ({ type: "AddTvmUser", at: at(seconds), user, account: "bl-ann", isAdmin: true, expiresAt: at(100) });
  const added: TvmEvent = { type: "TvmUserAdded", at: at(15), user: "ann", account: "bl-ann", isAdmin: true, expiresAt: at(100) };
  const update: TvmCommand = { type: "UpdateTvmUser", at: at(16), user: "ANN", isAdmin: false, expiresAt: at(200) };
  const removeUser: TvmCommand = { type: "DeleteTvmUser", at: at(16), user: "Ann" };

  test("are added once, whatever the case; changed; and deleted once", () => {
    expect(ready.when(add()).then(added).users).toEqual([{ user: "ann", account: "bl-ann", isAdmin: true, expiresAt: at(100) }]);
    ready.and(added).when(add("ANN")).refused("TVMUserExists");
    ready.when(update).refused("TVMUserNotFound");
    ready.when(removeUser).refused("TVMUserNotFound");
    expect(ready.and(added).when(update).then({ type: "TvmUserUpdated", at: at(16), user: "ANN", isAdmin: false, expiresAt: at(200) }).users).toEqual([{ user: "ann", account: "bl-ann", isAdmin: false, expiresAt: at(200) }]);
    expect(ready.and(added).when(removeUser).then({ type: "TvmUserDeleted", at: at(16), user: "Ann" }).users).toEqual([]);
  });

  test("whose time is over are none, and go with the boot", () => {
    const after = ready.and(added).when({ ...add("ann", 100), expiresAt: at(300) } as TvmCommand).then({ ...added, at: at(100), expiresAt: at(300) } as TvmEvent);
    expect(after.users).toHaveLength(1);
    ready.and(added).when({ ...update, at: at(100) } as TvmCommand).refused("TVMUserNotFound");
    expect(ready.and(added, restarting).state).not.toHaveProperty("users");
  });

  test("need an idle or running TVM", () => {
    given(allocated).when(add()).refused("TVMBeingStarted");
    waiting.when(add()).refused("OperationInvalidForCurrentState");
    ready.and(added, lost).when(removeUser).refused("OperationInvalidForCurrentState");
    given().when(add()).refused("TVMNotFound");
  });
});
