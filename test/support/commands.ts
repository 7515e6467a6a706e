// Random commands for each aggregate, mostly sensible in its present state, sometimes late, foreign or absurd.
import type { Aggregates } from "../../src/domain/aggregates";
import type { Evaluating } from "../../src/domain/autoscale/run";
import { samplesOf } from "../../src/domain/autoscale/samples";
import type { Certificate } from "../../src/domain/certificate";
import type { Category } from "../../src/domain/ids";
import type { Job } from "../../src/domain/job";
import type { Pool, StartTask } from "../../src/domain/pool";
import type { Schedule } from "../../src/domain/schedule";
import type { Task } from "../../src/domain/task";
import { addMs } from "../../src/domain/time";
import type { Tvm } from "../../src/domain/tvm";
import type { WorkItem } from "../../src/domain/workItem";
import type { Seeded } from "./seeded";

export type AnyCommand = Aggregates[Category]["command"];

export const KEYS: { readonly [C in Category]: string } = {
  pool: "local.pool-a",
  tvm: "local.pool-a.tvm-1",
  workItem: "local.render",
  job: "local.render.1.job-0000000001",
  task: "local.render.1.job-0000000001.frame1",
  certificate: "local.sha1-0123456789abcdef0123456789abcdef01234567",
};

export const commandOf = (category: Category, random: Seeded, state: unknown, step: number): AnyCommand => {
  const at = new Date(Date.UTC(2015, 3, 1, 12) + step * 1000 - (random.chance(0.2) ? 5000 : 0)).toISOString();
  switch (category) {
    case "pool":
      return poolCommand(random, state as Pool, at);
    case "tvm":
      return tvmCommand(random, state as Tvm, at);
    case "workItem":
      return workItemCommand(random, state as WorkItem, at);
    case "job":
      return jobCommand(random, state as Job, at);
    case "task":
      return taskCommand(random, state as Task, at);
    case "certificate":
      return random.oneOf<Aggregates["certificate"]["command"]>([
        { type: "AddCertificate", at, account: "local", thumbprint: "0123456789abcdef0123456789abcdef01234567", thumbprintAlgorithm: "sha1", format: random.oneOf(["pfx", "cer"] as const), publicData: "AAAA", edition: `e${step}` },
        { type: "DeleteCertificate", at },
        { type: "SettleDeletion", at, since: random.chance(0.8) ? (state as Certificate).stateAt : at, pools: random.chance(0.5) ? ["Pool-A"] : [] },
        { type: "CancelDeletion", at }, { type: "ForgetCertificate", at },
      ]);
  }
};

const poolOf = (random: Seeded) => ({ tvmSize: "small", osFamily: "4", targetOSVersion: "*", targetDedicated: random.below(5), resizeTimeoutMs: 300_000, communication: false, maxTasksPerTvm: 1, fillType: "Spread" }) as const;

/** Intervals and windows of a few seconds, so that the random steps of a second meet them from all sides. */
export const randomSchedule = (random: Seeded, at: string): Schedule => ({
  ...(random.chance(0.3) ? { doNotRunUntil: addMs(at, random.below(9000) - 3000) } : {}),
  ...(random.chance(0.3) ? { doNotRunAfter: addMs(at, 7000 + random.below(20_000)) } : {}),
  ...(random.chance(0.5) ? { startWindowMs: 500 + random.below(4000) } : {}),
  ...(random.chance(0.8) ? { recurrenceMs: 1000 + random.below(5) * 500 } : {}),
});

const workItemCommand = (random: Seeded, state: WorkItem, at: string): Aggregates["workItem"]["command"] => {
  const job = { priority: random.below(3), constraints: { maxTaskRetryCount: 0 }, specified: false };
  const autoPool = { lifetime: random.oneOf(["workitem", "job"] as const), keepAlive: random.chance(0.2), spec: poolOf(random), ...(random.chance(0.5) ? { prefix: "auto" } : {}) };
  const environment = random.chance(0.5) ? { pool: "Pool-A" } : { autoPool };
  const schedule = random.chance(0.7) ? { schedule: randomSchedule(random, at) } : {};
  const create = { type: "CreateWorkItem", at, account: "local", name: "Render", spec: { ...environment, ...schedule, job }, unique: `U${random.below(1e9)}` } as const;
  const run = { type: "RunWorkItem", at, unique: `U${random.below(1e9)}`, ...(random.chance(0.7) && state.recentJob !== undefined ? { ended: state.recentJob } : {}) } as const;
  if (state.phase === "absent") return create;
  if (random.chance(0.5)) return run;
  return random.oneOf<Aggregates["workItem"]["command"]>([
    create,
    { type: "UpdateWorkItem", at, ...(random.chance(0.3) ? { schedule: null } : schedule), ...(random.chance(0.5) ? { environment } : {}), ...(random.chance(0.3) ? { job } : {}) },
    { type: "DisableWorkItem", at }, { type: "EnableWorkItem", at }, { type: "EnableWorkItem", at },
    { type: "ReleaseWorkItemPool", at, pool: state.pools?.[0] ?? "none" },
    { type: "CompleteWorkItem", at },
    ...(random.chance(0.4) ? [{ type: "TerminateWorkItem", at } as const, { type: "DeleteWorkItem", at } as const] : []),
    { type: "ForgetWorkItem", at },
  ]);
};

const option = (random: Seeded) => random.oneOf(["requeue", "terminate", "taskcompletion", "retaineddata"] as const);
const startTask = (random: Seeded): StartTask => ({ commandLine: "prepare", maxTaskRetryCount: random.oneOf([0, 2, -1]), waitForSuccess: random.chance(0.6) });

const formula = (random: Seeded): string => random.oneOf(["$TargetDedicated = 3", "$TargetDedicated = $ActiveTasks.GetSample(1) + 1", "a = max($ActiveTasks.GetSample(3)); $TargetDedicated = min(5, a); $TVMDeallocationOption = taskcompletion", "$TargetDedicated = 5 * rand()", "$TargetDedicated = nosuch", "a ="]);
const evaluating = (random: Seeded): Evaluating => {
  const times = Array.from({ length: random.below(10) }, (_, index) => Date.UTC(2015, 3, 1, 12) + index * 1000);
  return { samples: samplesOf(new Map([["$ActiveTasks", { times, values: times.map(() => random.below(6)) }]])), periodMs: 1000, wantedPercent: 70, seed: random.below(1000) };
};

const poolCommand = (random: Seeded, state: Pool, at: string): Aggregates["pool"]["command"] => {
  const spec = { tvmSize: "small", osFamily: "4", targetOSVersion: "*", targetDedicated: random.below(5), resizeTimeoutMs: 300_000, communication: false, maxTasksPerTvm: 1 + random.below(3), fillType: "Spread" } as const;
  return random.oneOf<Aggregates["pool"]["command"]>([
    { type: "CreatePool", at, account: "local", name: "Pool-A", spec },
    { type: "UpdatePool", at, startTask: random.chance(0.5) ? null : startTask(random), ...(random.chance(0.5) ? { metadata: [] } : {}) },
    { type: "ResizePool", at, target: random.below(6), timeoutMs: 300_000, option: option(random) },
    { type: "RemoveTvms", at, tvms: random.chance(0.8) ? state.tvms.slice(0, 2) : ["tvm-none"], timeoutMs: 300_000, option: option(random) },
    { type: "UpgradePoolOs", at, version: random.oneOf(["*", "WA-GUEST-OS-4.19_201504-01", "WA-GUEST-OS-3.1_201504-01"]) },
    { type: "EndPoolOsUpgrade", at },
    { type: "StopPoolResize", at },
    { type: "CreatePool", at, account: "local", name: "Pool-A", spec: { ...spec, targetDedicated: 0, autoScale: { formula: formula(random), intervalMs: 300_000, ...(random.chance(0.3) ? { targetMax: random.below(4) } : {}) } }, evaluating: evaluating(random) },
    { type: "EnableAutoScale", at, ...(random.chance(0.7) ? { formula: formula(random) } : {}), defaultIntervalMs: 5000, everyMs: 3000, evaluating: evaluating(random) },
    { type: "EvaluateAutoScale", at, evaluating: evaluating(random) },
    { type: "EvaluateAutoScale", at, evaluating: evaluating(random) },
    { type: "DisableAutoScale", at },
    { type: "EndPoolResize", at, ...(random.chance(0.5) ? { error: { code: "ResizeStopped", message: "stopped" } as const } : {}) },
    { type: "AllocateTvms", at, count: random.below(8) },
    { type: "ReleaseTvms", at, tvms: random.chance(0.6) ? state.tvms : state.tvms.slice(0, 1) },
    ...(random.chance(0.3) ? [{ type: "DeletePool", at } as const] : []),
    { type: "ForgetPool", at },
  ]);
};

const tvmCommand = (random: Seeded, state: Tvm, at: string): Aggregates["tvm"]["command"] => {
  const boot = random.chance(0.8) ? state.boot : random.below(4);
  const run = random.chance(0.8) ? state.startTaskRun : random.below(4);
  const machine = { address: "127.0.0.2", cores: 2, platform: "linux", separateUser: false };
  return random.oneOf<Aggregates["tvm"]["command"]>([
    { type: "AllocateTvm", at, account: "local", pool: "Pool-A", name: "Tvm-1", size: "small", slots: 2 },
    { type: "JoinTvm", at, boot, ...machine, ...(random.chance(0.7) ? { startTask: startTask(random) } : {}) },
    { type: "StartStartTask", at, boot, run },
    { type: "EndStartTask", at, boot, run, ...(random.chance(0.8) ? { exitCode: random.below(2) } : { error: { category: "UserError", code: "BlobNotFound" } as const }) },
    { type: "LoseTvm", at, boot },
    { type: "RecoverTvm", at, boot },
    { type: "RequestRestart", at, how: random.oneOf(["reboot", "reimage", "upgrade"] as const), option: option(random) },
    { type: "AddTvmUser", at, user: random.oneOf(["ann", "Ann", "bob"]), account: "bl0-ann", isAdmin: random.chance(0.5), expiresAt: "2015-04-03T00:00:00.000Z" },
    ...(state.users?.length ? [{ type: "UpdateTvmUser", at, user: state.users[0]?.user ?? "", isAdmin: true, expiresAt: "2015-04-05T00:00:00.000Z" } as const] : []),
    { type: "UpdateTvmUser", at, user: "ANN", isAdmin: random.chance(0.5), expiresAt: "2015-04-04T00:00:00.000Z" },
    { type: "DeleteTvmUser", at, user: random.oneOf(["ann", "bob"]) },
    { type: "RestartTvm", at, boot, reason: random.oneOf(["machineExited", "reboot", "upgrade"] as const) },
    { type: "RemoveTvm", at, option: option(random) },
    { type: "KeepTvm", at },
    { type: "ConfirmDrained", at, boot, since: random.chance(0.8) ? state.stateAt : at },
    ...(random.chance(0.1) ? [{ type: "ForgetTvm", at } as const] : []),
  ]);
};

const MANAGER = { name: "Manager", commandLine: "plan", maxTaskRetryCount: 1, exclusive: true, killJobOnCompletion: true };

const jobCommand = (random: Seeded, _state: Job, at: string): Aggregates["job"]["command"] =>
  random.oneOf<Aggregates["job"]["command"]>([
    { type: "CreateJob", at, account: "local", workItem: "local.render.1", workItemName: "Render", name: "job-0000000001", pool: "Pool-A", spec: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: false, ...(random.chance(0.5) ? { manager: MANAGER } : {}) } },
    { type: "UpdateJob", at, ...(random.chance(0.5) ? { priority: random.below(9) } : {}), ...(random.chance(0.5) ? { constraints: { maxTaskRetryCount: 1, maxWallClockMs: random.below(1e6) } } : {}) },
    { type: "UpdateJob", at, pool: random.oneOf(["Pool-A", "Pool-B"]) },
    { type: "NoteManager", at },
    { type: "DisableJob", at, tasks: random.oneOf(["requeue", "terminate", "wait"] as const) },
    { type: "EndDisabling", at },
    { type: "EnableJob", at },
    ...(random.chance(0.5) ? [{ type: "TerminateJob", at, reason: "UserTerminate", byUser: random.chance(0.5) } as const] : []),
    { type: "CompleteJob", at },
    ...(random.chance(0.4) ? [{ type: "DeleteJob", at } as const] : []),
    { type: "ForgetJob", at },
  ]);

const taskCommand = (random: Seeded, state: Task, at: string): Aggregates["task"]["command"] => {
  const attempt = random.chance(0.8) ? state.attempt : random.below(5);
  const tvm = random.chance(0.9) ? KEYS.tvm : "local.pool-a.tvm-2";
  const usage = { userMs: random.below(1000), kernelMs: random.below(100), maxRssKib: 900 };
  return random.oneOf<Aggregates["task"]["command"]>([
    { type: "QueueTask", at, job: KEYS.job, workItemName: "Render", jobName: "job-0000000001", name: "Frame1", order: "0001", spec: { commandLine: "render", maxTaskRetryCount: random.oneOf([0, 1, 3, -1]) } },
    { type: "AssignTask", at, pool: "Pool-A", tvm: "Tvm-1" },
    { type: "AssignTask", at, pool: "Pool-A", tvm: random.oneOf(["Tvm-1", "Tvm-2"]) },
    { type: "UpdateTask", at, maxTaskRetryCount: random.oneOf([0, 2, -1]), ...(random.chance(0.5) ? { retentionMs: 1000, environment: [{ name: "A", value: "1" }] } : {}) },
    ...(random.chance(0.3) ? [{ type: "ExpireTask", at, since: at } as const] : []),
    { type: "StartTask", at, attempt, tvm },
    { type: "ReturnTask", at, attempt, tvm },
    { type: "CompleteTask", at, attempt, tvm, ...(random.chance(0.8) ? { startedAt: at } : {}), ...(random.chance(0.7) ? { exitCode: random.below(2), usage } : { error: { category: random.oneOf(["UserError", "ServerError"] as const), code: random.oneOf(["TaskEnded", "DiskFull"]) } }) },
    { type: "RequeueTask", at, attempt, reason: "tvmLost" },
    { type: "TerminateTask", at, message: "Enough.", byUser: random.chance(0.5), ...(random.chance(0.5) ? { attempt } : {}) },
    ...(random.chance(0.3) ? [{ type: "DeleteTask", at } as const] : []),
  ]);
};
