// Killed without a word, in the middle of work: nothing that was acknowledged is lost, every task completes and is counted
// once, and no attempt of a task runs beside another. Each composition loads these (kills*.test.ts).
import { chmodSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { JOB, type Running, agentPids, allCompleted, composition, kill, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

let data: string;
let service: Running | undefined;

beforeEach(() => {
  data = newData();
});

afterEach(async () => {
  if (service) await stop(service);
  service = undefined;
  await removeData(data);
});

/** As many as this composition is given. */
const many = (count: number): number => Math.round(count * composition().share);

/** Tasks note their start and end in one file, which tells who ran when. */
const noteFile = (): string => {
  const folder = path.join(data, "notes");
  mkdirSync(folder);
  chmodSync(data, 0o755);
  chmodSync(folder, 0o777);
  return path.join(folder, "runs.txt");
};

const noting = (file: string, work: string): string => `/bin/sh -c 'umask 0; echo "+ $WATASK_TASK_NAME" >> ${file}; ${work}; echo "- $WATASK_TASK_NAME" >> ${file}'`;

/** What a failed task has to say for itself: shown when there should be none. */
const failures = async ({ client }: Running, name: string): Promise<string[]> => {
  const found: string[] = [];
  for await (const task of client.listTasks(name, JOB, { filter: "state eq 'completed'" })) {
    const { exitCode, schedulingError } = task.executionInfo ?? {};
    if (exitCode === 0 && !schedulingError) continue;
    const history = await client.history(["workitems", name, "jobs", JOB, "tasks", task.name]);
    found.push(JSON.stringify({ name: task.name, exitCode, schedulingError, history: history.map(({ events }) => events.map(({ type, at, ...rest }) => ({ type, at, attempt: (rest as Record<string, unknown>)["attempt"] }))) }));
  }
  return found;
};

/** Per task: how often it began and ended, and whether it ever ran beside itself. */
const runsIn = (file: string): Map<string, { begun: number; ended: number; beside: boolean }> => {
  const runs = new Map<string, { begun: number; ended: number; beside: boolean }>();
  for (const line of readFileSync(file, "utf8").split("\n").filter(Boolean)) {
    const [mark, name] = line.split(" ") as [string, string];
    const run = runs.get(name) ?? { begun: 0, ended: 0, beside: false };
    if (mark === "+") {
      run.begun++;
      if (run.begun - run.ended > 1) run.beside = true;
    } else run.ended++;
    runs.set(name, run);
  }
  return runs;
};

test("kill -9 of the service in the middle of many tasks", async () => {
  const notes = noteFile();
  service = await start(data);
  await pool(service.client, "main", 2, 4);
  await workItem(service.client, "many", "main");
  const added = await service.client.addTasks("many", JOB, Array.from({ length: many(2000) }, (_, index) => ({ name: `t${index}`, commandLine: noting(notes, "sleep 0.02") })));
  expect(added).toMatchObject({ added: many(2000), failed: 0 });
  const before = service;
  await until(async () => (await before.client.counts("many", JOB)).completed >= many(300), "some tasks completed");
  const agents = agentPids(data);
  await kill(service);
  service = await start(data);
  // The agents have lived on, with what they ran.
  expect(agentPids(data)).toEqual(agents);
  const counts = await allCompleted(service.client, "many", many(2000), 120_000);
  expect(await failures(service, "many")).toEqual([]);
  expect(counts).toEqual({ active: 0, assigned: 0, running: 0, completed: many(2000), failed: 0, retries: 0, requeues: 0, cpuMs: expect.any(Number) });
  const runs = runsIn(notes);
  expect(runs.size).toBe(many(2000));
  expect([...runs].filter(([, { begun, ended }]) => begun !== 1 || ended !== 1)).toEqual([]);
});

test("kill -9 of the service while tasks are added: what was acknowledged is there, and sending all again adds the rest once", async () => {
  service = await start(data);
  await pool(service.client, "main", 1, 4);
  await workItem(service.client, "added", "main");
  const tasks = Array.from({ length: many(5000) }, (_, index) => ({ name: `t${index}`, commandLine: "/bin/true" }));
  const { client, process: child } = service;
  let answered = 0;
  const sending = client
    .addTasks("added", JOB, tasks, (progress) => {
      answered = progress.answered;
      if (answered >= many(1000)) child.kill("SIGKILL");
    })
    .catch(() => undefined);
  await new Promise((resolve) => child.once("exit", resolve));
  client.close();
  await sending;
  composition().killed?.(data);
  expect(answered).toBeGreaterThanOrEqual(many(1000));
  service = await start(data);
  const again = await service.client.addTasks("added", JOB, tasks);
  expect(again.failed).toBe(0);
  expect(again.existing).toBeGreaterThanOrEqual(answered);
  expect(again.added + again.existing).toBe(many(5000));
  expect(await allCompleted(service.client, "added", many(5000), 120_000)).toMatchObject({ completed: many(5000), failed: 0, active: 0, running: 0 });
});

test("kill -9 of an agent: its tasks are requeued and complete elsewhere or there again, none beside itself", async () => {
  const notes = noteFile();
  service = await start(data);
  const { client } = service;
  await pool(client, "main", 2, 2);
  await workItem(client, "requeued", "main");
  await client.addTasks("requeued", JOB, Array.from({ length: 60 }, (_, index) => ({ name: `t${index}`, commandLine: noting(notes, "sleep 0.2") })));
  await until(async () => (await client.counts("requeued", JOB)).completed >= 8, "eight tasks completed");
  for (const pid of agentPids(data)) process.kill(pid, "SIGKILL");
  const counts = await allCompleted(client, "requeued", 60, 90_000);
  expect(await failures(service, "requeued")).toEqual([]);
  expect(counts).toMatchObject({ completed: 60, failed: 0, retries: 0, active: 0, assigned: 0, running: 0 });
  expect(counts.requeues).toBeGreaterThan(0);
  // A killed task leaves a begun line without an end: its next run begins after it, never beside it.
  const runs = runsIn(notes);
  expect(runs.size).toBe(60);
  expect([...runs].filter(([, { ended }]) => ended < 1)).toEqual([]);
  // What had ended when its agent was killed, and was not reported yet, has run twice; there were four slots.
  expect([...runs].filter(([, { ended }]) => ended > 1).length).toBeLessThanOrEqual(4);
});
