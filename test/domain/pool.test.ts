// The rules of a pool: which TVMs it has, how it is resized, and when it is gone.
import { ALLOCATE_MAX, type PoolCommand, type PoolEvent, type PoolSpec, currentOsVersion, pool } from "../../src/domain/pool";
import { at, spec } from "../support/spec";

const { given } = spec(pool);
const poolSpec: PoolSpec = {
  tvmSize: "small", osFamily: "4", targetOSVersion: "*", targetDedicated: 3, resizeTimeoutMs: 300_000, communication: false, maxTasksPerTvm: 2, fillType: "Spread",
  startTask: { commandLine: "prepare", maxTaskRetryCount: 1, waitForSuccess: true },
};
const created: PoolEvent = { type: "PoolCreated", at: at(0), account: "local", name: "Pool-A", spec: poolSpec };
const create: PoolCommand = { type: "CreatePool", at: at(0), account: "local", name: "Pool-A", spec: poolSpec };
const ended: PoolEvent = { type: "PoolResizeEnded", at: at(5) };
const resized: PoolEvent = { type: "PoolResized", at: at(10), target: 1, timeoutMs: 600_000, option: "taskcompletion" };
const resize: PoolCommand = { type: "ResizePool", at: at(10), target: 1, timeoutMs: 600_000, option: "taskcompletion" };
const allocated: PoolEvent = { type: "PoolTvmsAllocated", at: at(1), tvms: ["a", "b", "c"] };
const deletion: PoolEvent = { type: "PoolDeletionStarted", at: at(20) };
const gone: PoolEvent = { type: "PoolDeleted", at: at(30) };
const steady = given(created, allocated, ended);

describe("made and deleted", () => {
  test("a new pool grows at once", () => {
    expect(given().when(create).then(created)).toMatchObject({
      phase: "active", allocation: "resizing", generation: 1, tvms: [], resize: { since: at(0), timeoutMs: 300_000, option: "requeue" }, createdAt: at(0), modifiedAt: at(0),
    });
  });

  test("one of a name at a time, and not while the old one goes", () => {
    given(created).when(create).refused("PoolExists");
    given(created, deletion).when(create).refused("PoolBeingDeleted");
  });

  test("deleted: refuses changes, shows nothing new, and is gone when its TVMs are", () => {
    const going = steady.and(deletion);
    steady.when({ type: "DeletePool", at: at(20) }).then(deletion);
    expect(going.state).toMatchObject({ phase: "deleting", stateAt: at(20), modifiedAt: at(0) });
    for (const command of [resize, { type: "UpdatePool", at: at(21) }, { type: "StopPoolResize", at: at(21) }, { type: "DeletePool", at: at(21) }] as PoolCommand[])
      going.when(command).refused("PoolBeingDeleted");
    going.when({ type: "ForgetPool", at: at(30) }).then();
    going.and({ type: "PoolTvmsReleased", at: at(25), tvms: ["a", "b", "c"] }).when({ type: "ForgetPool", at: at(30) }).then(gone);
    steady.when({ type: "ForgetPool", at: at(30) }).then();
  });

  test("what is not there is not found", () => {
    for (const history of [given(), steady.and(deletion, gone)])
      for (const command of [resize, { type: "UpdatePool", at: at(40) }, { type: "StopPoolResize", at: at(40) }, { type: "DeletePool", at: at(40) }] as PoolCommand[])
        history.when(command).refused("PoolNotFound");
  });

  test("made again under its name it starts anew, but names no TVM twice", () => {
    const again = given(created, { type: "PoolTvmsAllocated", at: at(1), tvms: ["x", "y", "z"] }, ended, deletion, { type: "PoolTvmsReleased", at: at(21), tvms: ["x", "y", "z"] }, gone);
    const state = again.when({ ...create, at: at(40) } as PoolCommand).then({ ...created, at: at(40) });
    expect(state).toMatchObject({ phase: "active", generation: 2, tvmSerial: 3, tvms: [], createdAt: at(40) });
    again.and({ ...created, at: at(40) }).when({ type: "AllocateTvms", at: at(41), count: 1 })
      .then({ type: "PoolTvmsAllocated", at: at(41), tvms: ["tvm-4_1-20150401t120041z"] });
  });
});

describe("resized", () => {
  test("steady, resizing, steady; the user's change alone moves the ETag", () => {
    const state = steady.when(resize).then(resized);
    expect(state).toMatchObject({ allocation: "resizing", modifiedAt: at(10), allocationAt: at(10), spec: { targetDedicated: 1, resizeTimeoutMs: 600_000 } });
    const after = steady.and(resized, { ...ended, at: at(12) }).state;
    expect(after).toMatchObject({ allocation: "steady", modifiedAt: at(10), allocationAt: at(12) });
    expect(after).not.toHaveProperty("resizeError");
  });

  test("not while it is being resized or stopped", () => {
    given(created).when(resize).refused("PoolBeingResized");
    given(created, { type: "PoolResizeStopped", at: at(2) }).when(resize).refused("PoolBeingResized");
  });

  test("stopped: stopping, then steady with the reason; the target stays what was asked", () => {
    const error = { code: "ResizeStopped", message: "stopped" } as const;
    const stopping = given(created).when({ type: "StopPoolResize", at: at(2) }).then({ type: "PoolResizeStopped", at: at(2) });
    expect(stopping).toMatchObject({ allocation: "stopping", modifiedAt: at(2) });
    expect(given(created, { type: "PoolResizeStopped", at: at(2) }).when({ type: "EndPoolResize", at: at(3), error }).then({ type: "PoolResizeEnded", at: at(3), error }))
      .toMatchObject({ allocation: "steady", resizeError: error, spec: { targetDedicated: 3 } });
    steady.when({ type: "StopPoolResize", at: at(9) }).refused("OperationInvalidForCurrentState");
    given(created, { type: "PoolResizeStopped", at: at(2) }).when({ type: "StopPoolResize", at: at(9) }).refused("OperationInvalidForCurrentState");
  });

  test("an error is that of the latest resize only", () => {
    const failed = given(created, { type: "PoolResizeEnded", at: at(3), error: { code: "AllocationTimedout", message: "no" } });
    expect(failed.state.resizeError?.code).toBe("AllocationTimedout");
    expect(failed.and(resized).state).not.toHaveProperty("resizeError");
  });

  test("the end of a resize that has ended, or of a pool that goes, is nothing", () => {
    for (const history of [steady, given(), given(created, deletion)]) history.when({ type: "EndPoolResize", at: at(9) }).then();
  });
});

describe("its TVMs", () => {
  test("are named by number, place and time, up to the target and no further", () => {
    const state = given(created).when({ type: "AllocateTvms", at: at(1), count: 10 })
      .then({ type: "PoolTvmsAllocated", at: at(1), tvms: ["tvm-1_1-20150401t120001z", "tvm-2_2-20150401t120001z", "tvm-3_3-20150401t120001z"] });
    expect(state).toMatchObject({ tvmSerial: 3 });
    given(created, allocated).when({ type: "AllocateTvms", at: at(1), count: 10 }).then();
  });

  test("a big pool grows in several events", () => {
    const big: PoolEvent = { ...created, spec: { ...poolSpec, targetDedicated: 1000 } } as PoolEvent;
    const [event] = pool.decide({ type: "AllocateTvms", at: at(1), count: 1000 }, given(big).state) as PoolEvent[];
    expect((event as Extract<PoolEvent, { type: "PoolTvmsAllocated" }>).tvms).toHaveLength(ALLOCATE_MAX);
  });

  test("none is added unless it is being resized", () => {
    const short: PoolEvent = { type: "PoolTvmsAllocated", at: at(1), tvms: ["a"] };
    for (const history of [given(created, short, ended), given(created, short, { type: "PoolResizeStopped", at: at(2) }), given(created, short, deletion), given()])
      history.when({ type: "AllocateTvms", at: at(9), count: 2 }).then();
    given(created).when({ type: "AllocateTvms", at: at(9), count: 0 }).then();
  });

  test("leave once; strangers do not", () => {
    expect(steady.when({ type: "ReleaseTvms", at: at(7), tvms: ["b", "z"] }).then({ type: "PoolTvmsReleased", at: at(7), tvms: ["b"] }).tvms).toEqual(["a", "c"]);
    steady.and({ type: "PoolTvmsReleased", at: at(7), tvms: ["b"] }).when({ type: "ReleaseTvms", at: at(8), tvms: ["b"] }).then();
  });
});

describe("updated", () => {
  const references = [{ thumbprint: "ab", thumbprintAlgorithm: "sha1" }];
  test("what is given is replaced whole, what is not stays", () => {
    const startTask = { commandLine: "other", maxTaskRetryCount: 0, waitForSuccess: false };
    const state = steady.when({ type: "UpdatePool", at: at(9), startTask, metadata: [{ name: "a", value: "b" }] })
      .then({ type: "PoolUpdated", at: at(9), startTask, metadata: [{ name: "a", value: "b" }] });
    expect(state.spec).toEqual({ ...poolSpec, startTask, metadata: [{ name: "a", value: "b" }] });
    expect(steady.and({ type: "PoolUpdated", at: at(9), certificateReferences: references }).state.spec).toEqual({ ...poolSpec, certificateReferences: references });
  });

  test("null takes the start task away", () => {
    const { startTask: _, ...rest } = poolSpec;
    expect(steady.and({ type: "PoolUpdated", at: at(9), startTask: null }).state.spec).toEqual(rest);
  });
});

test("the time of a user's change grows strictly, however fast the changes follow each other and whatever the clock does", () => {
  let history = given(created);
  const times = [history.state.modifiedAt];
  const changes: PoolCommand[] = [
    { type: "StopPoolResize", at: at(0) }, { type: "EndPoolResize", at: at(0) }, { ...resize, at: at(0) } as PoolCommand,
    { type: "UpdatePool", at: at(-60), metadata: [] }, { type: "UpdatePool", at: at(0), startTask: null }, { type: "StopPoolResize", at: at(-1) },
  ];
  for (const change of changes) {
    history = history.and(...(pool.decide(change, history.state) as PoolEvent[]));
    if (change.type !== "EndPoolResize") times.push(history.state.modifiedAt);
  }
  expect(times).toHaveLength(6);
  expect([...new Set(times)].sort()).toEqual(times);
});

describe("TVMs removed by name", () => {
  const remove = (...tvms: string[]): PoolCommand => ({ type: "RemoveTvms", at: at(10), tvms, timeoutMs: 600_000, option: "terminate" });

  test("they go and the target with them, whatever the case of the names and however often they are named", () => {
    const state = steady.when(remove("B", "b", "c")).then({ type: "PoolResized", at: at(10), target: 1, timeoutMs: 600_000, option: "terminate", tvms: ["b", "c"] });
    expect(state).toMatchObject({ allocation: "resizing", spec: { targetDedicated: 1 }, resize: { tvms: ["b", "c"], option: "terminate" } });
    expect(steady.and({ type: "PoolResized", at: at(10), target: 1, timeoutMs: 1, option: "requeue", tvms: ["b"] }, { ...ended, at: at(11) }).state.resize).not.toHaveProperty("tvms");
  });

  test("needs a steady pool and TVMs that it has", () => {
    given(created, allocated).when(remove("a")).refused("PoolBeingResized");
    steady.when(remove("a", "z")).refused("TVMNotFound");
    steady.and(deletion).when(remove("a")).refused("PoolBeingDeleted");
    given().when(remove("a")).refused("PoolNotFound");
  });
});

describe("another operating system", () => {
  const version = "WA-GUEST-OS-4.19_201504-01";
  const upgrade = (to = version): PoolCommand => ({ type: "UpgradePoolOs", at: at(10), version: to });
  const started: PoolEvent = { type: "PoolOsUpgradeStarted", at: at(10), version };

  test("is the target at once and the present one when all TVMs have it", () => {
    const state = steady.when(upgrade()).then(started);
    expect(state).toMatchObject({ phase: "active", upgrade: { since: at(10), from: "*" }, spec: { targetOSVersion: version }, modifiedAt: at(10), stateAt: at(10) });
    expect(currentOsVersion(state)).toBe("*");
    const after = steady.and(started).when({ type: "EndPoolOsUpgrade", at: at(90) }).then({ type: "PoolOsUpgradeEnded", at: at(90) });
    expect(currentOsVersion(after)).toBe(version);
    expect(after).toMatchObject({ stateAt: at(90), modifiedAt: at(10) });
    steady.when({ type: "EndPoolOsUpgrade", at: at(90) }).then();
  });

  test("is refused when it is the same, of another family, or at a wrong time; and meanwhile nothing is resized", () => {
    steady.when(upgrade("*")).refused("PoolVersionEqualsUpgradeVersion");
    steady.when(upgrade("WA-GUEST-OS-3.26_201504-01")).refused("OSVersionNotFound");
    given(created).when(upgrade()).refused("PoolBeingResized");
    given().when(upgrade()).refused("PoolNotFound");
    const upgrading = steady.and(started);
    upgrading.when(upgrade("*")).refused("UpgradePoolVersionConflict");
    upgrading.when(resize).refused("OperationInvalidForCurrentState");
    upgrading.when({ type: "RemoveTvms", at: at(11), tvms: ["a"], timeoutMs: 1, option: "requeue" }).refused("OperationInvalidForCurrentState");
    expect(upgrading.and(deletion).state).not.toHaveProperty("upgrade");
  });
});
