// The rules of a task, one by one: its whole life, what is retried and what is not, and whose reports count.
import { type TaskCommand, type TaskEvent, type TaskSpec, task } from "../../src/domain/task";
import { at, spec } from "../support/spec";

const { given } = spec(task);
const JOB = "local.render.1.job-0000000001";
const TVM = "local.pool-a.tvm-1";

const taskSpec = (more: Partial<TaskSpec> = {}): TaskSpec => ({ commandLine: "render 1", maxTaskRetryCount: 0, ...more });
const fields = { job: JOB, workItemName: "Render", jobName: "job-0000000001", name: "Frame1", order: "0001" };
const queued = (more: Partial<TaskSpec> = {}): TaskEvent => ({ type: "TaskQueued", at: at(0), ...fields, spec: taskSpec(more) });
const assigned = (attempt: number, tvm = "Tvm-1"): TaskEvent => ({ type: "TaskAssigned", at: at(1), attempt, pool: "Pool-A", tvm });
const started = (attempt: number): TaskEvent => ({ type: "TaskStarted", at: at(2), attempt });
const retried = (attempt: number): TaskEvent => ({ type: "TaskRetried", at: at(3), attempt, exitCode: 1 });
const requeued = (attempt: number): TaskEvent => ({ type: "TaskRequeued", at: at(3), attempt, reason: "tvmLost" });
const completed: TaskEvent = { type: "TaskCompleted", at: at(3), attempt: 1, exitCode: 0 };
const deleted: TaskEvent = { type: "TaskDeleted", at: at(4) };
const running = (more: Partial<TaskSpec> = {}) => given(queued(more), assigned(1), started(1));

const queue: TaskCommand = { type: "QueueTask", at: at(0), ...fields, spec: taskSpec() };
const assign: TaskCommand = { type: "AssignTask", at: at(1), pool: "Pool-A", tvm: "Tvm-1" };
const start = (attempt: number, tvm = TVM): TaskCommand => ({ type: "StartTask", at: at(2), attempt, tvm });
type Ending = Partial<Omit<Extract<TaskCommand, { type: "CompleteTask" }>, "type" | "at">>;
const complete = (ending: Ending): TaskCommand => ({ type: "CompleteTask", at: at(9), attempt: 1, tvm: TVM, startedAt: at(2), ...ending });
const terminate = (more: Partial<Extract<TaskCommand, { type: "TerminateTask" }>> = {}): TaskCommand => ({ type: "TerminateTask", at: at(9), message: "Enough.", byUser: true, ...more });
const taskEnded = (category: "UserError" | "ServerError") => ({ category, code: "TaskEnded", message: "Enough." });

describe("a whole life", () => {
  test("queued, assigned, started, completed", () => {
    const usage = { userMs: 5, kernelMs: 1, maxRssKib: 900 };
    expect(given().when(queue).then(queued())).toMatchObject({ phase: "active", attempt: 0, retryCount: 0, requeueCount: 0, createdAt: at(0), modifiedAt: at(0) });
    expect(given(queued()).when(assign).then(assigned(1))).toMatchObject({ phase: "assigned", attempt: 1, tvm: "Tvm-1", stateAt: at(0) });
    expect(given(queued(), assigned(1)).when(start(1)).then(started(1)))
      .toMatchObject({ phase: "running", previousState: "active", previousStateAt: at(0), stateAt: at(2), startedAt: at(2), ranOn: { pool: "Pool-A", tvm: "Tvm-1" } });
    const done = running().when(complete({ exitCode: 0, usage })).then({ type: "TaskCompleted", at: at(9), attempt: 1, exitCode: 0, usage });
    expect(done).toMatchObject({ phase: "completed", previousState: "running", previousStateAt: at(2), stateAt: at(9), endedAt: at(9), exitCode: 0, usage });
    expect(done).not.toHaveProperty("error");
  });

  test("its definition changes with none of this: the ETag stays", () => {
    expect(running().and(completed).state.modifiedAt).toBe(at(0));
  });

  test("a second task of that name is refused while there is one", () => {
    given(queued()).when(queue).refused("TaskExists");
    running().and(completed).when(queue).refused("TaskExists");
  });

  test("the end that comes without its beginning tells both", () => {
    given(queued(), assigned(1)).when(complete({ exitCode: 0, startedAt: at(5) }))
      .then({ type: "TaskStarted", at: at(5), attempt: 1 }, { type: "TaskCompleted", at: at(9), attempt: 1, exitCode: 0 });
  });

  test("what could not be started has no beginning, no exit code, and was never running", () => {
    const error = { category: "UserError", code: "BlobNotFound" } as const;
    const { startedAt: _, ...ending } = complete({ error }) as Extract<TaskCommand, { type: "CompleteTask" }>;
    const state = given(queued({ maxTaskRetryCount: 5 }), assigned(1)).when(ending).then({ type: "TaskCompleted", at: at(9), attempt: 1, error });
    expect(state).toMatchObject({ phase: "completed", previousState: "active", error });
    expect(state).not.toHaveProperty("exitCode");
    expect(state).not.toHaveProperty("startedAt");
  });

  test("a held task that is given back waits again, counted as nothing", () => {
    const state = given(queued(), assigned(1)).when({ type: "ReturnTask", at: at(2), attempt: 1, tvm: TVM }).then({ type: "TaskReturned", at: at(2), attempt: 1 });
    expect(state).toMatchObject({ phase: "active", attempt: 1, retryCount: 0, requeueCount: 0, stateAt: at(0) });
    running().when({ type: "ReturnTask", at: at(3), attempt: 1, tvm: TVM }).then();
  });

  test("only a waiting task is assigned", () => {
    for (const history of [given(), given(queued(), assigned(1)), running(), running().and(completed)]) history.when(assign).then();
  });
});

describe("retries", () => {
  const runs = (maxTaskRetryCount: number, most: number): number => {
    let history = given(queued({ maxTaskRetryCount }));
    for (let attempt = 1; attempt <= most; attempt++) {
      history = history.and(assigned(attempt), started(attempt));
      const [end] = task.decide(complete({ attempt, exitCode: 1 }), history.state) as readonly TaskEvent[];
      history = history.and(end as TaskEvent);
      if (history.state.phase === "completed") {
        expect(history.state).toMatchObject({ exitCode: 1, retryCount: attempt - 1 });
        return attempt;
      }
      expect(history.state).toMatchObject({ phase: "active", retryCount: attempt, lastRetryAt: at(9), exitCode: 1 });
    }
    return Infinity;
  };

  test.each([[0, 1], [1, 2], [3, 4], [-1, Infinity]])("maxTaskRetryCount %d with a program that always fails: %d runs", (count, expected) => {
    expect(runs(count, 20)).toBe(expected);
  });

  test("success ends it with retries left", () => {
    running({ maxTaskRetryCount: 3 }).when(complete({ exitCode: 0 })).then({ type: "TaskCompleted", at: at(9), attempt: 1, exitCode: 0 });
  });

  test("a new run forgets how the last one ended", () => {
    const state = running({ maxTaskRetryCount: 1 }).and(retried(1), assigned(2), { ...started(2), at: at(5) }).state;
    expect(state).toMatchObject({ phase: "running", retryCount: 1, startedAt: at(5) });
    for (const field of ["exitCode", "error", "endedAt", "usage"]) expect(state).not.toHaveProperty(field);
  });

  test("requeues do not spend retries", () => {
    const history = running({ maxTaskRetryCount: 1 }).and(requeued(1), assigned(2), started(2), requeued(2), assigned(3), started(3));
    expect(history.state).toMatchObject({ retryCount: 0, requeueCount: 2 });
    history.when(complete({ attempt: 3, exitCode: 7 })).then({ type: "TaskRetried", at: at(9), attempt: 3, exitCode: 7 });
  });

  test("a scheduling error completes it at once, whatever is left", () => {
    const error = { category: "UserError", code: "CommandProgramNotFound" } as const;
    running({ maxTaskRetryCount: -1 }).when(complete({ error })).then({ type: "TaskCompleted", at: at(9), attempt: 1, error });
  });

  test("past its time limit it completes with 0xC000013A and TaskEnded, without a retry, whatever the program exited with", () => {
    const error = { category: "ServerError", code: "TaskEnded", message: "too long" } as const;
    for (const exitCode of [137, 0, undefined]) {
      const state = running({ maxTaskRetryCount: 5, maxWallClockMs: 1000 }).when(complete({ error, ...(exitCode === undefined ? {} : { exitCode }) }))
        .then({ type: "TaskCompleted", at: at(9), attempt: 1, exitCode: -1073741510, error });
      expect(state).toMatchObject({ phase: "completed", exitCode: -1073741510, retryCount: 0, error });
    }
  });
});

describe("whose reports count", () => {
  test("a late report from a lost attempt changes nothing", () => {
    const history = running().and(requeued(1), assigned(2, "Tvm-2"));
    history.when(complete({ attempt: 1, exitCode: 0 })).then();
    history.when(start(1)).then();
    history.and(started(2)).when(complete({ attempt: 1, exitCode: 0 })).then();
  });

  test("another TVM's word about the present attempt is not believed", () => {
    given(queued(), assigned(1)).when(start(1, "local.pool-a.tvm-2")).then();
    running().when(complete({ tvm: "local.pool-a.tvm-2", exitCode: 0 })).then();
    running().when(complete({ tvm: "other.pool-a.tvm-1", exitCode: 0 })).then();
    given(queued(), assigned(1)).when({ type: "ReturnTask", at: at(2), attempt: 1, tvm: "local.pool-a.tvm-2" }).then();
  });

  test("an attempt that there never was", () => {
    running().when(complete({ attempt: 2, exitCode: 0 })).then();
    given(queued()).when(complete({ attempt: 0, exitCode: 0 })).then();
    given().when(complete({ attempt: 0, exitCode: 0 })).then();
  });

  test("twice is once", () => {
    running().when(start(1)).then();
    running().and(completed).when(complete({ exitCode: 0 })).then();
    running({ maxTaskRetryCount: 2 }).and(retried(1)).when(complete({ exitCode: 1 })).then();
    running().and(requeued(1)).when({ type: "RequeueTask", at: at(9), attempt: 1, reason: "tvmLost" }).then();
  });

  test("a TVM that is taken away: held and running attempts go back, older ones and waiting tasks are left alone", () => {
    const requeue = (attempt: number): TaskCommand => ({ type: "RequeueTask", at: at(3), attempt, reason: "tvmLost" });
    expect(running().when(requeue(1)).then(requeued(1))).toMatchObject({ phase: "active", requeueCount: 1, lastRequeueAt: at(3), previousState: "running", stateAt: at(3) });
    expect(given(queued(), assigned(1)).when(requeue(1)).then(requeued(1))).toMatchObject({ phase: "active", requeueCount: 1, stateAt: at(0) });
    given(queued()).when(requeue(0)).then();
    running().and(requeued(1), assigned(2)).when(requeue(1)).then();
  });
});

describe("terminated and deleted", () => {
  test("by its user, wherever it is", () => {
    const error = taskEnded("UserError");
    expect(given(queued()).when(terminate()).then({ type: "TaskCompleted", at: at(9), error })).toMatchObject({ phase: "completed", previousState: "active", error });
    given(queued(), assigned(1)).when(terminate()).then({ type: "TaskCompleted", at: at(9), attempt: 1, error });
    expect(running().when(terminate()).then({ type: "TaskCompleted", at: at(9), attempt: 1, error })).toMatchObject({ previousState: "running", endedAt: at(9) });
  });

  test("what ran before and waits again shows the termination, not the failure before", () => {
    const state = running({ maxTaskRetryCount: 1 }).and(retried(1)).when(terminate()).then({ type: "TaskCompleted", at: at(9), error: taskEnded("UserError") });
    expect(state).not.toHaveProperty("exitCode");
  });

  test("a completed task is refused to its user; the end of its job finds nothing to do", () => {
    running().and(completed).when(terminate()).refused("TaskCompleted");
    running().and(completed).when(terminate({ byUser: false })).then();
  });

  test("by the service: an error of the server; limited to an attempt, no other is touched", () => {
    running().when(terminate({ byUser: false })).then({ type: "TaskCompleted", at: at(9), attempt: 1, error: taskEnded("ServerError") });
    running().and(requeued(1), assigned(2)).when(terminate({ byUser: false, attempt: 1 })).then();
    running().and(requeued(1)).when(terminate({ byUser: false, attempt: 1 })).then();
    given().when(terminate({ byUser: false, attempt: 0 })).then();
  });

  test("there must be a task", () => {
    for (const history of [given(), running().and(deleted)]) {
      history.when(terminate()).refused("TaskNotFound");
      history.when({ type: "DeleteTask", at: at(9) }).refused("TaskNotFound");
    }
  });

  test.each([
    ["waiting", [queued()]], ["assigned", [queued(), assigned(1)]], ["running", [queued(), assigned(1), started(1)]],
    ["completed", [queued(), assigned(1), started(1), completed]],
  ])("deleted while %s, it is gone at once and what its attempt reports is old news", (_, events) => {
    given(...events).when({ type: "DeleteTask", at: at(4) }).then(deleted);
    given(...events, deleted).when(complete({ exitCode: 0 })).then();
    given(...events, deleted).when(start(1)).then();
  });

  test("deleted and added again: nothing of the old one shows, and attempts go on counting", () => {
    const again = running({ maxTaskRetryCount: 3 }).and(retried(1), assigned(2), started(2), deleted);
    again.when({ ...queue, at: at(20) } as TaskCommand).then({ ...queued(), at: at(20) });
    const renewed = again.and({ ...queued(), at: at(20) });
    // What the old one used is kept apart: it was done, whatever became of the name.
    const { attempt, past, ...fresh } = renewed.state;
    expect(past).toEqual({ cpuMs: 0, kernelMs: 0, wallMs: expect.any(Number), waitMs: 2000, succeeded: 0, failed: 0, retries: 1 });
    const { attempt: _, ...first } = given({ ...queued(), at: at(20) }).state;
    expect(fresh).toEqual(first);
    expect(attempt).toBe(2);
    renewed.when(complete({ attempt: 2, exitCode: 0 })).then();
    renewed.when(assign).then(assigned(3));
    renewed.and(assigned(3), started(3)).when(complete({ attempt: 2, exitCode: 0 })).then();
  });

  test("what was deleted still says where its folder is", () => {
    expect(running().and(deleted).state).toMatchObject({ phase: "absent", ranOn: { pool: "Pool-A", tvm: "Tvm-1" }, name: "Frame1" });
  });
});

describe("changed by its user", () => {
  const update = (more: object = {}): TaskCommand => ({ type: "UpdateTask", at: at(5), maxTaskRetryCount: 2, ...more });

  test("all constraints are replaced, the environment where it is given; the ETag moves", () => {
    const before = given(queued({ maxWallClockMs: 1000, retentionMs: 5, environment: [{ name: "A", value: "1" }] }));
    const state = before.when(update({ retentionMs: 9 })).then({ type: "TaskUpdated", at: at(5), maxTaskRetryCount: 2, retentionMs: 9 });
    expect(state).toMatchObject({ modifiedAt: at(5), stateAt: at(0), phase: "active" });
    expect(state.spec).toEqual({ commandLine: "render 1", maxTaskRetryCount: 2, retentionMs: 9, environment: [{ name: "A", value: "1" }] });
    expect(before.when(update({ environment: [] })).then({ type: "TaskUpdated", at: at(5), maxTaskRetryCount: 2, environment: [] }).spec.environment).toEqual([]);
  });

  test("the retries that it has now are the ones that count when its run ends", () => {
    expect(running().and({ type: "TaskUpdated", at: at(5), maxTaskRetryCount: 1 }).when(complete({ exitCode: 1 })).then({ type: "TaskRetried", at: at(9), attempt: 1, exitCode: 1 }).retryCount).toBe(1);
  });

  test("one that has completed, or is not there, is not", () => {
    running().and(completed).when(update()).refused("TaskCompleted");
    given().when(update()).refused("TaskNotFound");
  });
});

test("a run on another TVM says where the one before was, one on the same TVM does not", () => {
  const elsewhere = running({ maxTaskRetryCount: 1 }).and(requeued(1), assigned(2, "Tvm-2"));
  const left = { pool: "Pool-A", tvm: "Tvm-1" };
  expect(elsewhere.when(start(2, "local.pool-a.tvm-2")).then({ type: "TaskStarted", at: at(2), attempt: 2, left }).ranOn).toEqual({ pool: "Pool-A", tvm: "Tvm-2" });
  elsewhere.when(complete({ attempt: 2, tvm: "local.pool-a.tvm-2", exitCode: 0 })).then({ type: "TaskStarted", at: at(2), attempt: 2, left }, { type: "TaskCompleted", at: at(9), attempt: 2, exitCode: 0 });
  running().and(requeued(1), assigned(2)).when(start(2)).then(started(2));
});

test("one that was active before the instant expires, with an error and no run; others do not", () => {
  const expire: TaskCommand = { type: "ExpireTask", at: at(9), since: at(1) };
  expect(given(queued()).when(expire).then({ type: "TaskCompleted", at: at(9), error: expect.objectContaining({ category: "UserError", code: "TaskSchedulingConstraintFailed" }) as never }))
    .toMatchObject({ phase: "completed" });
  for (const history of [running().and(requeued(1)), given(queued(), assigned(1)), running(), running().and(completed), given()]) history.when(expire).then();
});
