// Statistics with `$expand=stats`: exact, the same however often the feed repeats and after a rebuild, and read from counters.
import { execute } from "../../src/app/execute";
import { forgetShown, projectFeed } from "../../src/app/project";
import { rebuild } from "../../src/app/rebuild";
import { isRejection } from "../../src/domain/decider";
import { jobKey, poolKey, poolStream, taskKey, taskStream, tvmKey } from "../../src/domain/ids";
import type { TaskCommand } from "../../src/domain/task";
import { tasks } from "../../src/views/tasks";
import { ACCOUNT, BASE, JOB, POOL, type Service, TASK, ask, openService, refusal, withJob } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
  await withJob(service);
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const TVM = "tvm-1_1-20150709t193121z";
const stream = (name: string): string => taskStream(taskKey(jobKey(ACCOUNT, "w1", 1, "job-0000000001"), name));
const on = async (name: string, command: Partial<TaskCommand> & { type: TaskCommand["type"]; at: string }): Promise<void> => {
  const outcome = await execute(service.ports, "task", "test", { stream: stream(name), command: { tvm: tvmKey(ACCOUNT, "p1", TVM), ...command } as TaskCommand });
  if (isRejection(outcome) || outcome.events.length === 0) throw new Error(`${command.type} did nothing`);
};
const usage = (userMs: number, kernelMs: number) => ({ userMs, kernelMs, maxRssKib: 1000 });

/** Added now; starts and ends so many milliseconds later. */
const runs = async (name: string, ...times: { start: number; end: number; exitCode: number; user?: number; kernel?: number }[]): Promise<void> => {
  const created = Date.parse((await ask(service, "GET", `${JOB}/tasks/${name}`)).json.creationTime);
  const at = (ms: number): string => new Date(created + ms).toISOString();
  let attempt = 0;
  for (const { start, end, exitCode, user = 0, kernel = 0 } of times) {
    attempt++;
    await on(name, { type: "AssignTask", at: at(start), pool: "p1", tvm: TVM } as never);
    await on(name, { type: "StartTask", at: at(start), attempt });
    await on(name, { type: "CompleteTask", at: at(end), attempt, exitCode, usage: usage(user, kernel) });
  }
};

const add = async (name: string, maxTaskRetryCount = 0): Promise<void> => {
  expect((await ask(service, "POST", `${JOB}/tasks`, { body: { ...TASK, name, taskConstraints: { maxTaskRetryCount } } })).status).toBe(201);
};
const stats = async (target: string) => (await ask(service, "GET", target, { query: { $expand: "stats", $select: "stats" } })).json.stats;

/** Feeds everything again from the start, twice, as the feed of a restarted service may. */
const feedAgain = async (): Promise<void> => {
  for (let time = 0; time < 2; time++) {
    forgetShown(service.ports.views);
    const { commits } = await service.ports.eventStore.readFeed(undefined, 1000);
    await projectFeed(service.ports, commits);
  }
};

test("times and counts of tasks, jobs and work items; of deleted tasks too, and of those that have their names", async () => {
  for (const name of ["good", "bad", "again", "gone", "waits"]) await add(name, name === "again" ? 1 : 0);
  await runs("good", { start: 1000, end: 3000, exitCode: 0, user: 1500, kernel: 250 });
  await runs("bad", { start: 2000, end: 2500, exitCode: 7, user: 100, kernel: 10 });
  await runs("again", { start: 1000, end: 2000, exitCode: 1, user: 10, kernel: 1 }, { start: 5000, end: 6000, exitCode: 0, user: 20, kernel: 2 });
  await runs("gone", { start: 500, end: 700, exitCode: 0, user: 5, kernel: 0 });

  expect(await stats(`${JOB}/tasks/again`)).toEqual({
    url: `${BASE}${JOB}/tasks/again?$select=stats&$expand=stats`,
    startTime: expect.any(String),
    lastUpdateTime: expect.any(String),
    userCPUTime: "PT0.03S",
    kernelCPUTime: "PT0.003S",
    wallClockTime: "PT2S",
    waitTime: "PT5S",
  });
  const whole = { userCPUTime: "PT1.635S", kernelCPUTime: "PT0.263S", wallClockTime: "PT4.7S", numSucceededTasks: "3", numFailedTasks: "1", numTaskRetries: "1", waitTime: "PT8.5S" };
  expect(await stats(JOB)).toMatchObject({ url: `${BASE}${JOB}?$select=stats&$expand=stats`, ...whole });
  expect(await stats("/workitems/w1")).toMatchObject(whole);

  // Deleting a task takes nothing back, and another of its name begins at nothing.
  expect((await ask(service, "DELETE", `${JOB}/tasks/gone`)).status).toBe(200);
  expect(await stats(JOB)).toMatchObject(whole);
  await add("gone");
  expect(await stats(`${JOB}/tasks/gone`)).toMatchObject({ wallClockTime: "PT0S", waitTime: "PT0S" });
  expect(await stats(JOB)).toMatchObject(whole);

  await feedAgain();
  expect(await stats(JOB)).toMatchObject(whole);
  expect(await stats("/workitems/w1")).toMatchObject(whole);
  const counted = async () => {
    const all = await service.ports.views.counters(tasks, "");
    return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== 0));
  };
  const live = await counted();
  await rebuild(service.ports, service.ports.clock.now().toISOString());
  expect(await counted()).toEqual(live);
  expect(await stats(JOB)).toMatchObject(whole);
  // A task that is taken away while it runs has run until then.
  const other = (await ask(service, "GET", `${JOB}/tasks/waits`)).json.creationTime as string;
  const at = (ms: number): string => new Date(Date.parse(other) + ms).toISOString();
  await on("waits", { type: "AssignTask", at: at(100), pool: "p1", tvm: TVM } as never);
  await on("waits", { type: "StartTask", at: at(100), attempt: 1 });
  await on("waits", { type: "RequeueTask", at: at(400), attempt: 1, reason: "tvmLost" } as never);
  expect(await stats(JOB)).toMatchObject({ ...whole, wallClockTime: "PT5S", waitTime: "PT8.6S" });
});

test("core time of a pool: each TVM from its allocation to its release, the present ones until now", async () => {
  const created = await ask(service, "POST", "/pools", { body: { ...POOL, name: "big", tvmSize: "medium", targetDedicated: 3 } });
  expect(created.status).toBe(201);
  const own = poolStream(poolKey(ACCOUNT, "big"));
  const start = Date.parse((await ask(service, "GET", "/pools/big")).json.creationTime);
  const at = (seconds: number): string => new Date(start + seconds * 1000).toISOString();
  const command = (one: object) => execute(service.ports, "pool", "test", { stream: own, command: one as never });
  await command({ type: "AllocateTvms", at: at(10), count: 2 });
  const more = await command({ type: "AllocateTvms", at: at(20), count: 1 });
  if (isRejection(more)) throw new Error(more.code);
  await command({ type: "ReleaseTvms", at: at(50), tvms: more.state.tvms.slice(0, 2) });
  await command({ type: "ReleaseTvms", at: at(60), tvms: more.state.tvms.slice(2) });
  // Two for 40 s and one for 40 s, of two cores each.
  const expected = { url: `${BASE}/pools/big?$select=stats&$expand=stats`, usageStats: { startTime: expect.any(String), lastUpdateTime: expect.any(String), dedicatedCoreTime: "PT4M" } };
  service.shift(3_600_000);
  expect(await stats("/pools/big")).toMatchObject(expected);
  const list = (await ask(service, "GET", "/pools", { query: { $expand: "stats", $select: "name,stats" } })).json.value;
  expect(list).toEqual([{ name: "big", stats: expect.objectContaining({ usageStats: expected.usageStats }) }, { name: "p1", stats: expect.objectContaining({ usageStats: expect.objectContaining({ dedicatedCoreTime: "PT0S" }) }) }]);
  await feedAgain();
  expect(await stats("/pools/big")).toMatchObject(expected);
});

test("lists have them when they are asked for, and what has none says so", async () => {
  await add("one");
  for (const target of ["/workitems", "/workitems/w1/jobs", `${JOB}/tasks`]) {
    const plain = (await ask(service, "GET", target)).json.value;
    const full = (await ask(service, "GET", target, { query: { $expand: "stats" } })).json.value;
    expect(plain[0].stats).toBeUndefined();
    expect(full[0].stats).toMatchObject({ userCPUTime: "PT0S", waitTime: "PT0S" });
    expect(full[0].url).toBe(plain[0].url);
  }
  // Selected without being expanded: there is nothing to show.
  expect((await ask(service, "GET", JOB, { query: { $select: "stats" } })).json).toEqual({ "odata.metadata": `${BASE}/$metadata#jobs/@Element` });
  expect(refusal(await ask(service, "GET", JOB, { query: { $expand: "colours" } }))).toBe("400 InvalidQueryParameterValue $expand");
  expect(refusal(await ask(service, "GET", "/pools/p1/tvms", { query: { $expand: "stats" } }))).toBe("400 InvalidQueryParameterValue $expand");
});
