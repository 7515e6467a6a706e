// batchledger workitem ...: work items by themselves, with their schedules and automatic pools; `submit` makes the plain ones.
import type { Command, Invocation, OptionSpec } from "../command";
import { EXIT, usage } from "../failures";
import { clean, json, table, when } from "../output";
import * as parse from "../options";
import type { JobResource, NewAutoPool, NewSchedule, NewWorkItem, WorkItemChange, WorkItemResource } from "../resources";

const JOBS_SHOWN = 10;
/** The task that a job manager is. */
const JOB_MANAGER = "manager";

const TIME = "an ISO 8601 time with an offset, or +2h: that long from now";
const DEFINITION: Readonly<Record<string, OptionSpec>> = {
  pool: { type: "string", value: "POOL", help: "the pool that its jobs run on" },
  "auto-pool": { type: "string", value: "LIFETIME", help: "instead: the service makes the pool, for each job (job) or for all (workitem)" },
  "pool-prefix": { type: "string", value: "TEXT", help: "what the automatic pool's name begins with" },
  "keep-alive": { type: "boolean", help: "the automatic pool is not deleted" },
  tvms: { type: "string", value: "N", help: "TVMs of the automatic pool (default 2)" },
  slots: { type: "string", value: "N", help: "tasks at once on each of them (default 1)" },
  size: { type: "string", value: "SIZE", help: "their size (default small)" },
  "start-task": { type: "string", value: "COMMAND", help: "command line that each of them runs first" },
  every: { type: "string", value: "TIME", help: "a job again and again, such as every 1d (least 1m)" },
  window: { type: "string", value: "TIME", help: "a job that cannot start for so long is skipped (least 1m)" },
  "not-before": { type: "string", value: "WHEN", help: `no job before this: ${TIME}` },
  "not-after": { type: "string", value: "WHEN", help: "no job after this" },
  "job-manager": { type: "string", value: "COMMAND", help: "command line that each job runs first; the job ends with it" },
  priority: { type: "string", value: "N", help: "of its jobs, -1000 to 1000 (default 0)" },
  "job-time": { type: "string", value: "TIME", help: "a job that takes longer is ended" },
  retries: { type: "string", value: "N", help: "how often a task that fails is run again (--retries=-1: for ever)" },
};
const one = { operands: "WORKITEM", operandsMin: 1, operandsMax: 1, connects: true } as const;

export const workItemCommands: readonly Command[] = [
  {
    words: "workitem create", ...one,
    summary: "Makes a work item: a job at once, or one for each occurrence of its schedule.",
    options: DEFINITION,
    more: "Examples:\n  batchledger workitem create nightly --pool main --every 1d --not-before 2030-01-01T03:00:00+01:00 --window 2h \\\n      --job-manager 'sh -c \"date; df\"'\n"
      + "  batchledger workitem create burst --auto-pool job --tvms 4 --not-before +10m",
    run: create,
  },
  {
    words: "workitem update", ...one,
    summary: "Changes what later jobs of a work item are made from. Of schedule, pool and job options those of a kind replace all of that kind.",
    options: { ...DEFINITION, "no-schedule": { type: "boolean", help: "takes the schedule away" } },
    run: update,
  },
  { words: "workitem show", ...one, summary: "Shows a work item: its schedule, its next run, its latest jobs.", options: {}, run: show },
  { words: "workitem disable", ...one, summary: "No new jobs until it is enabled again; the one that runs goes on.", options: {}, run: (call) => act(call, "disable") },
  { words: "workitem enable", ...one, summary: "Lets a disabled work item make jobs again.", options: {}, run: (call) => act(call, "enable") },
];

async function create(call: Invocation): Promise<number> {
  const name = parse.name("A work item's name", call.operands[0]);
  const { jobExecutionEnvironment, ...rest } = definition(call);
  if (!jobExecutionEnvironment) throw usage("Where do its jobs run? Say --pool POOL, or --auto-pool job or workitem.");
  const body: NewWorkItem = { name, jobExecutionEnvironment, ...rest };
  await call.client().createWorkItem(body);
  return show(call);
}

async function update(call: Invocation): Promise<number> {
  const name = parse.name("A work item's name", call.operands[0]);
  const change: WorkItemChange = { ...definition(call), ...(call.flag("no-schedule") ? { schedule: null } : {}) };
  if (Object.keys(change).length === 0) throw usage("Nothing is to be changed: give an option.", "See `batchledger workitem update --help`.");
  if (call.flag("no-schedule") && scheduleOf(call)) throw usage("--no-schedule and a schedule cannot be used together.");
  await call.client().updateWorkItem(name, change);
  return show(call);
}

async function act(call: Invocation, what: "enable" | "disable"): Promise<number> {
  const name = parse.name("A work item's name", call.operands[0]);
  const client = call.client();
  await (what === "enable" ? client.enableWorkItem(name) : client.disableWorkItem(name));
  return show(call);
}

// ---------------------------------------------------------------- from options

const definition = (call: Invocation): Omit<WorkItemChange, "schedule"> & { schedule?: NewSchedule } => {
  const schedule = scheduleOf(call);
  const jobSpecification = jobOf(call);
  const jobExecutionEnvironment = environmentOf(call);
  return { ...(schedule ? { schedule } : {}), ...(jobSpecification ? { jobSpecification } : {}), ...(jobExecutionEnvironment ? { jobExecutionEnvironment } : {}) };
};

const scheduleOf = (call: Invocation): NewSchedule | undefined =>
  anyOf({
    doNotRunUntil: of(call, "not-before", parse.instant),
    doNotRunAfter: of(call, "not-after", parse.instant),
    startWindow: of(call, "window", parse.duration),
    recurrenceInterval: of(call, "every", parse.duration),
  });

const jobOf = (call: Invocation): NewWorkItem["jobSpecification"] => {
  const jobConstraints = anyOf({
    maxWallClockTime: of(call, "job-time", parse.duration),
    maxTaskRetryCount: of(call, "retries", (option, text) => parse.wholeNumber(option, text, -1, 1_000_000)),
  });
  return anyOf({
    priority: of(call, "priority", (option, text) => parse.wholeNumber(option, text, -1000, 1000)),
    jobConstraints,
    jobManager: of(call, "job-manager", (_, commandLine) => ({ name: JOB_MANAGER, commandLine })),
  });
};

const POOL_OPTIONS = ["pool-prefix", "tvms", "slots", "size", "start-task"] as const;

const environmentOf = (call: Invocation): NewWorkItem["jobExecutionEnvironment"] | undefined => {
  const pool = call.text("pool");
  const lifetime = call.text("auto-pool");
  if (pool !== undefined && lifetime !== undefined) throw usage("--pool and --auto-pool cannot be used together.");
  if (lifetime !== undefined) return { autoPoolSpecification: autoPool(call, lifetime) };
  const lost = call.flag("keep-alive") ? "keep-alive" : POOL_OPTIONS.find((option) => call.text(option) !== undefined);
  if (lost !== undefined) throw usage(`--${lost} is for an automatic pool: say --auto-pool job or --auto-pool workitem too.`);
  return pool === undefined ? undefined : { poolName: parse.name("--pool", pool) };
};

const autoPool = (call: Invocation, lifetime: string): NewAutoPool => {
  if (lifetime !== "job" && lifetime !== "workitem") throw usage(`--auto-pool must be job or workitem, not "${lifetime}".`);
  const prefix = call.text("pool-prefix");
  const startTask = call.text("start-task");
  return {
    poolLifeTimeOption: lifetime,
    keepAlive: call.flag("keep-alive"),
    ...(prefix === undefined ? {} : { autoPoolNamePrefix: prefix }),
    pool: {
      osFamily: "4",
      tvmSize: call.text("size") ?? "small",
      targetDedicated: parse.wholeNumber("--tvms", call.text("tvms") ?? "2", 0, 10_000),
      maxTasksPerTVM: parse.wholeNumber("--slots", call.text("slots") ?? "1", 1, 1000),
      ...(startTask === undefined ? {} : { startTask: { commandLine: startTask, waitForSuccess: true } }),
    },
  };
};

const of = <T>(call: Invocation, option: string, read: (option: string, text: string) => T): T | undefined => {
  const text = call.text(option);
  return text === undefined ? undefined : read(`--${option}`, text);
};

type Given<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

/** The fields that are given; undefined when none is. */
const anyOf = <T extends object>(fields: T): Given<T> | undefined => {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length === 0 ? undefined : (Object.fromEntries(given) as Given<T>);
};

// ---------------------------------------------------------------- to people

async function show(call: Invocation): Promise<number> {
  const client = call.client();
  const name = parse.name("A work item's name", call.operands[0]);
  const item = await client.getWorkItem(name);
  const jobs: JobResource[] = [];
  for await (const job of client.listJobs(name, { pageSize: JOBS_SHOWN })) {
    jobs.push(job);
    if (jobs.length === JOBS_SHOWN) break;
  }
  const skipped = item.schedule ? await skippedOf(call, name) : { count: 0 };
  if (call.json) {
    json(call.io, { ...item, jobs, skipped });
    return EXIT.ok;
  }
  call.io.out(`${clean(item.name)} is ${clean(item.state)}, on ${poolOf(item)}.\n`);
  if (item.schedule) call.io.out(`Jobs: ${scheduleIn(item.schedule)}. Next: ${when(item.executionInfo?.nextRunTime) ?? "none"}.\n`);
  if (skipped.count > 0) call.io.out(`Skipped: ${skipped.count}, the last one due at ${when(skipped.last)}.\n`);
  if (jobs.length > 0) {
    call.io.out(table(jobs, [
      { title: "JOB", value: (job) => job.name },
      { title: "STATE", value: (job) => job.state },
      { title: "POOL", value: (job) => job.poolName },
      { title: "CREATED", value: (job) => when(job.creationTime) },
      { title: "ENDED", value: (job) => when(job.executionInfo?.endTime) },
      { title: "REASON", value: (job) => job.executionInfo?.schedulingError?.code ?? job.executionInfo?.terminateReason },
    ]));
  }
  return EXIT.ok;
}

/** Occurrences of its schedule that got no job. */
async function skippedOf(call: Invocation, name: string): Promise<{ count: number; last?: string }> {
  const events = (await call.client().history(["workitems", name])).flatMap((commit) => commit.events);
  const begin = events.map(({ type }) => type).lastIndexOf("WorkItemCreated");
  const skipped = events.slice(Math.max(0, begin)).filter(({ type }) => type === "WorkItemOccurrencesSkipped");
  const last = skipped.at(-1)?.["to"];
  return { count: skipped.reduce((sum, event) => sum + Number(event["count"]), 0), ...(typeof last === "string" ? { last } : {}) };
}

const poolOf = ({ jobExecutionEnvironment: where }: WorkItemResource): string => {
  const auto = where?.autoPoolSpecification;
  if (!auto) return `pool ${clean(where?.poolName ?? "?")}`;
  return auto.poolLifeTimeOption === "job" ? "a pool for each job" : "a pool of its own";
};

const scheduleIn = (schedule: NewSchedule): string =>
  [
    schedule.recurrenceInterval === undefined ? "one" : `one every ${parse.shortDuration(schedule.recurrenceInterval)}`,
    schedule.doNotRunUntil === undefined ? "" : `not before ${when(schedule.doNotRunUntil)}`,
    schedule.doNotRunAfter === undefined ? "" : `not after ${when(schedule.doNotRunAfter)}`,
    schedule.startWindow === undefined ? "" : `skipped if ${parse.shortDuration(schedule.startWindow)} late`,
  ].filter(Boolean).join(", ");
