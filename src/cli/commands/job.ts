// batchledger job disable, enable, update, terminate and task update: what may be changed of work that is under way.
import type { Command, Invocation } from "../command";
import { EXIT, usage } from "../failures";
import { clean, json } from "../output";
import * as parse from "../options";
import type { Constraints, JobChange } from "../resources";
import { jobOf } from "../waiting";

const JOB = { job: { type: "string", value: "JOB", help: "a job of the work item (default: its latest)" } } as const;
const WHAT_RUNS = ["requeue", "terminate", "wait"];
const RETRIES_MAX = 1_000_000;

const LIMITS = {
  retries: { type: "string", value: "N", help: "run a task again up to N times when it ends with another code than 0 (-1: for ever)" },
  "max-wall-clock": { type: "string", value: "TIME", help: "end it when it takes longer, such as 90s, 15m, 2h" },
} as const;

export const jobCommands: readonly Command[] = [
  {
    words: "job disable", operands: "WORKITEM", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Starts no more tasks of a job until it is enabled. What waits keeps its place, and tasks may still be added.",
    options: { ...JOB, tasks: { type: "string", value: "WHAT", help: "what runs is put back to wait: requeue (default); ended: terminate; or left to end: wait" } },
    run: disable,
  },
  {
    words: "job enable", operands: "WORKITEM", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Starts tasks of a disabled job again. Those that waited for more than seven days do not run any more.",
    options: { ...JOB }, run: enable,
  },
  {
    words: "job update", operands: "WORKITEM", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Changes a job's priority, limits or, while it is disabled, its pool. Limits of tasks count for tasks that are added later.",
    options: {
      ...JOB,
      priority: { type: "string", value: "N", help: "-1000 (last) to 1000 (first)" },
      ...LIMITS,
      pool: { type: "string", value: "POOL", help: "where it is to run when it is enabled again" },
    },
    run: update,
  },
  {
    words: "job terminate", operands: "WORKITEM", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Ends a job and all its tasks. Files stay.",
    options: { ...JOB, reason: { type: "string", value: "TEXT", help: "shown as the reason (default UserTerminate)" } },
    run: terminate,
  },
  {
    words: "task update", operands: "WORKITEM/TASK", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Changes the limits or the environment of a task that has not ended. They count from its next run on.",
    options: {
      ...JOB,
      ...LIMITS,
      retention: { type: "string", value: "TIME", help: "keep its folder at least so long after its end" },
      env: { type: "string", multiple: true, value: "NAME=VALUE", help: "its environment from now on, instead of what it was" },
    },
    run: updateTask,
  },
];

async function target(call: Invocation): Promise<{ workItem: string; job: string }> {
  const { workItem, task } = parse.workReference(call.operands[0] as string);
  if (task !== undefined) throw usage(`${call.operands[0]} names a task; a work item is needed.`, "Another job than the latest: --job JOB.");
  return { workItem, job: await jobOf(call.client(), workItem, call.text("job")) };
}

async function disable(call: Invocation): Promise<number> {
  const tasks = call.text("tasks") ?? "requeue";
  if (!WHAT_RUNS.includes(tasks)) throw usage(`--tasks must be one of ${WHAT_RUNS.join(", ")}, not "${tasks}".`);
  const { workItem, job } = await target(call);
  await call.client().disableJob(workItem, job, tasks);
  return tell(call, workItem, job, tasks === "wait" ? "is disabled as soon as what runs has ended" : "is being disabled");
}

async function enable(call: Invocation): Promise<number> {
  const { workItem, job } = await target(call);
  await call.client().enableJob(workItem, job);
  return tell(call, workItem, job, "is enabled");
}

/** What was not named stays as it is: the service replaces constraints as a whole. */
function limits(call: Invocation, before: Constraints | undefined): Constraints | undefined {
  const retries = call.text("retries");
  const wall = call.text("max-wall-clock");
  const retention = call.text("retention");
  if (retries === undefined && wall === undefined && retention === undefined) return undefined;
  return {
    ...before,
    ...(retries === undefined ? {} : { maxTaskRetryCount: parse.wholeNumber("--retries", retries, -1, RETRIES_MAX) }),
    ...(wall === undefined ? {} : { maxWallClockTime: parse.duration("--max-wall-clock", wall) }),
    ...(retention === undefined ? {} : { retentionTime: parse.duration("--retention", retention) }),
  };
}

async function update(call: Invocation): Promise<number> {
  const priority = call.text("priority");
  const pool = call.text("pool");
  const asked = limits(call, undefined);
  const change: JobChange = {
    ...(priority === undefined ? {} : { priority: parse.wholeNumber("--priority", priority, -1000, 1000) }),
    ...(pool === undefined ? {} : { poolName: parse.name("--pool", pool) }),
  };
  if (!asked && Object.keys(change).length === 0) throw usage("There is nothing to change.", "Give at least one of --priority, --retries, --max-wall-clock, --pool.");
  const { workItem, job } = await target(call);
  const before = asked && (await call.client().getJob(workItem, job)).jobConstraints;
  await call.client().updateJob(workItem, job, { ...change, ...(asked ? { jobConstraints: { ...before, ...asked } } : {}) });
  return tell(call, workItem, job, "is changed");
}

async function terminate(call: Invocation): Promise<number> {
  const { workItem, job } = await target(call);
  await call.client().terminateJob(workItem, job, call.text("reason"));
  return tell(call, workItem, job, "is being ended");
}

async function updateTask(call: Invocation): Promise<number> {
  const { workItem, task } = parse.workReference(call.operands[0] as string);
  if (task === undefined) throw usage(`${call.operands[0]} names no task.`, "Write WORKITEM/TASK.");
  const env = call.texts("env");
  const asked = limits(call, undefined);
  if (!asked && env.length === 0) throw usage("There is nothing to change.", "Give at least one of --retries, --max-wall-clock, --retention, --env.");
  const settings = parse.settings("--env", env);
  const job = await jobOf(call.client(), workItem, call.text("job"));
  const before = (await call.client().getTask(workItem, job, task)).taskConstraints;
  await call.client().updateTask(workItem, job, task, { taskConstraints: { ...before, ...asked }, ...(env.length === 0 ? {} : { environmentSettings: settings }) });
  return tell(call, `${workItem}/${task}`, job, "is changed");
}

function tell(call: Invocation, name: string, job: string, what: string): number {
  if (call.json) json(call.io, { name, job, result: what });
  else call.io.out(`${clean(name)} (${clean(job)}) ${what}.\n`);
  return EXIT.ok;
}
