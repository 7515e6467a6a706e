// Work items by the clock on the real service: jobs that come and go by themselves, through the death of the service; and a pool
// that is there for one job alone.
import { taskFiles } from "../../src/cli/client";
import type { JobResource } from "../../src/cli/resources";
import { JOB, type Running, allCompleted, kill, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

let service: Running;
const begin = async (data: string): Promise<Running> => (service = await start(data, ["--least-interval", "1s"]));

beforeAll(() => begin(newData()), 60_000);
afterAll(async () => {
  await stop(service);
  await removeData(service.data);
});

const EVERY_MS = 2000;

type Event = { readonly type: string; readonly at: string; readonly occurrence?: string; readonly from?: string; readonly to?: string; readonly count?: number };
const eventsOf = async (name: string): Promise<Event[]> => (await service.client.history(["workitems", name])).flatMap(({ events }) => events as unknown as Event[]);
const jobsOf = async (name: string): Promise<JobResource[]> => {
  const found: JobResource[] = [];
  for await (const job of service.client.listJobs(name)) found.push(job);
  return found;
};

/** Every occurrence from the first on, in exact steps: started, or skipped and recorded; none twice. */
const checkSteps = (events: readonly Event[]): { started: number; skipped: number; latest: number } => {
  const dealt: number[] = [];
  let latest = 0;
  let skipped = 0;
  for (const { type, at, occurrence, from, count = 0 } of events) {
    if (type === "WorkItemJobSpawned") {
      dealt.push(Date.parse(occurrence as string));
      latest = Math.max(latest, Date.parse(at) - Date.parse(occurrence as string));
      expect(at >= (occurrence as string)).toBe(true);
    }
    if (type !== "WorkItemOccurrencesSkipped") continue;
    skipped += count;
    for (let index = 0; index < count; index++) dealt.push(Date.parse(from as string) + index * EVERY_MS);
  }
  expect(dealt).toEqual(dealt.map((_, index) => (dealt[0] as number) + index * EVERY_MS));
  return { started: dealt.length - skipped, skipped, latest };
};

test("a recurring work item makes its jobs when they are due, the service is killed and goes on in step; disabled it stops", async () => {
  const { client } = service;
  // Nobody ends these jobs but their wall clock.
  await workItem(client, "tick", "none", { schedule: { recurrenceInterval: "PT2S", startWindow: "PT1.5S" }, jobSpecification: { jobConstraints: { maxWallClockTime: "PT0.5S" } } });
  const first = await client.getWorkItem("tick");
  expect(Date.parse(first.executionInfo?.nextRunTime as string) - Date.parse(first.creationTime)).toBe(EVERY_MS);
  await until(async () => (await jobsOf("tick")).length >= 3, "three jobs");
  await kill(service);
  const killedAt = Date.now();
  await until(async () => Date.now() > killedAt + EVERY_MS, "an occurrence comes and nobody is there");
  await begin(service.data);
  const before = (await jobsOf("tick")).length;
  await until(async () => (await jobsOf("tick")).length >= before + 2, "two more jobs");
  await service.client.disableWorkItem("tick");
  const events = await eventsOf("tick");
  const { started, latest } = checkSteps(events);
  const jobs = await jobsOf("tick");
  expect(jobs.map(({ name }) => name)).toEqual(Array.from({ length: started }, (_, index) => `job-${String(started - index).padStart(10, "0")}`));
  expect(latest).toBeLessThanOrEqual(1500);
  expect((await service.client.getWorkItem("tick")).eTag).not.toBe(first["eTag"]);
  await until(async () => (await jobsOf("tick")).every(({ state }) => state === "completed"), "the last job has ended by itself");
  expect((await service.client.getWorkItem("tick")).executionInfo?.nextRunTime).toBeUndefined();
});

test("each job of a recurring work item runs its job manager and ends with it; an update is for the jobs to come", async () => {
  const { client } = service;
  await pool(client, "main", 1, 1);
  const manager = (word: string) => ({ jobManager: { name: "manager", commandLine: `/bin/sh -c 'echo ${word} $WATASK_JOB_NAME'` } });
  await workItem(client, "nightly", "main", { schedule: { recurrenceInterval: "PT2S" }, jobSpecification: manager("first") });
  await until(async () => (await jobsOf("nightly")).filter(({ state }) => state === "completed").length >= 2, "two jobs have ended by themselves");
  await client.updateWorkItem("nightly", { jobSpecification: manager("second") });
  const said = async (job: string): Promise<string> => String(Buffer.from((await client.readFile(taskFiles("nightly", job, "manager"), "stdout.txt")).bytes));
  const words = async (): Promise<string[]> => Promise.all((await jobsOf("nightly")).filter(({ state }) => state === "completed").map(({ name }) => said(name)));
  await until(async () => (await words())[0]?.startsWith("second"), "a job was made from the new definition");
  await client.terminateWorkItem("nightly");
  expect((await words()).at(-1)).toBe("first job-0000000001\n");
  expect((await jobsOf("nightly")).find(({ name }) => name === JOB)).toMatchObject({ state: "completed", executionInfo: { terminateReason: "JMComplete" } });
  checkSteps(await eventsOf("nightly"));
  await until(async () => (await client.getWorkItem("nightly")).state === "completed", "the work item has ended");
  // All its jobs and their files go with it.
  await client.deleteWorkItem("nightly");
  await until(async () => client.getWorkItem("nightly").then(() => false, (error: { code?: string }) => error.code === "WorkItemNotFound"), "the work item is gone");
});

test("a pool for one job: made for it, its task runs there, gone with it", async () => {
  const { client } = service;
  const specification = { osFamily: "4", tvmSize: "small", targetDedicated: 1 };
  await client.createWorkItem({ name: "burst", jobExecutionEnvironment: { autoPoolSpecification: { autoPoolNamePrefix: "burst", poolLifeTimeOption: "job", pool: specification } } });
  await client.addTask("burst", JOB, { name: "one", commandLine: "/bin/sh -c 'echo $WATASK_POOL_NAME'" });
  await allCompleted(client, "burst", 1);
  const [job] = await jobsOf("burst");
  expect(job?.poolName).toMatch(/^burst_[0-9A-F-]{36}$/);
  expect((await client.getTask("burst", JOB, "one")).tvmInfo?.poolName).toBe(job?.poolName?.toLowerCase());
  await client.terminateJob("burst", JOB);
  await until(async () => (await client.getWorkItem("burst")).state === "completed", "the work item has ended");
  await until(async () => client.getPool(job?.poolName as string).then(() => false, (error: { code?: string }) => error.code === "PoolNotFound"), "its pool is gone");
});
