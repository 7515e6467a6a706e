// From state to the JSON of the classic dialect, property by property: what is not written here is never shown. Absent
// values are left out. Signatures of addresses are not here to be shown: the state has them sealed, and that is left out too.
import type { TvmInfo } from "../../app/pools";
import type { TvmFile } from "../../app/tvmFiles";
import { type Certificate, shownState } from "../../domain/certificate";
import type { SchedulingError } from "../../domain/errors";
import type { Job, JobConstraints, JobManager, JobSpec } from "../../domain/job";
import { type Pool, type PoolSpec, type StartTask, currentOsVersion } from "../../domain/pool";
import { type Schedule, nextRunTime } from "../../domain/schedule";
import type { Task, TaskFile, TaskSpec } from "../../domain/task";
import { UNLIMITED, formatDuration } from "../../domain/time";
import type { StartTaskInfo, Tvm } from "../../domain/tvm";
import { type AutoPoolSpec, type WorkItem, scheduleOf } from "../../domain/workItem";
import { taskState } from "../../views/tasks";
import { eTagOf, httpDate, wireDate } from "../dates";

// ---------------------------------------------------------------- addresses

export const poolPath = (pool: string): string => `/pools/${pool}`;
export const tvmPath = (pool: string, tvm: string): string => `${poolPath(pool)}/tvms/${tvm}`;
export const workItemPath = (workItem: string): string => `/workitems/${workItem}`;
export const jobPath = (workItem: string, job: string): string => `${workItemPath(workItem)}/jobs/${job}`;
export const taskPath = (workItem: string, job: string, task: string): string => `${jobPath(workItem, job)}/tasks/${task}`;
export const filePath = (owner: string, path: string): string => `${owner}/files/${path.split("/").map(encodeURIComponent).join("/")}`;

// ---------------------------------------------------------------- pieces

const date = (at: string | undefined): string | undefined => (at === undefined ? undefined : wireDate(at));
/** A limit in words of the wire; absent is the longest there is. */
const limit = (milliseconds: number | undefined): string => (milliseconds === undefined ? UNLIMITED : formatDuration(milliseconds));

const definition = (state: { modifiedAt: string; createdAt: string; stateAt: string }) => ({
  eTag: eTagOf(state.modifiedAt),
  lastModified: wireDate(state.modifiedAt),
  creationTime: wireDate(state.createdAt),
});

/** Headers that go with a definition. */
export const definitionHeaders = (modifiedAt: string): Record<string, string> => ({ ETag: eTagOf(modifiedAt), "Last-Modified": httpDate(modifiedAt) });

const files = (list: readonly TaskFile[] | undefined) => list?.map(({ blobSource, filePath: path }) => ({ blobSource, filePath: path }));

const environment = (list: StartTask["environment"]) => list?.map(({ name, value }) => ({ name, value }));

const schedulingError = (error: SchedulingError | undefined) =>
  error && {
    category: error.category,
    code: error.code,
    message: error.message,
    details: error.details?.map(({ name, value }) => ({ name, value })),
  };

const metadata = (list: Pool["spec"]["metadata"]) => list?.map(({ name, value }) => ({ name, value }));

// ---------------------------------------------------------------- pools and TVMs

const startTask = (task: StartTask | undefined) =>
  task && {
    commandLine: task.commandLine,
    resourceFiles: files(task.resourceFiles),
    environmentSettings: environment(task.environment),
    runElevated: task.runElevated ?? false,
    maxTaskRetryCount: task.maxTaskRetryCount,
    waitForSuccess: task.waitForSuccess,
  };

const certificateReferences = (list: Pool["spec"]["certificateReferences"]) =>
  list?.map(({ thumbprint, thumbprintAlgorithm, storeLocation, storeName, visibility }) => ({ thumbprint, thumbprintAlgorithm, storeLocation, storeName, visibility }));

export const POOL_PROPERTIES = [
  "name", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime", "allocationState", "allocationStateTransitionTime",
  "osFamily", "targetOSVersion", "currentOSVersion", "tvmSize", "targetDedicated", "currentDedicated", "resizeTimeout", "resizeError",
  "enableAutoScale", "communication", "startTask", "certificateReferences", "metadata", "maxTasksPerTVM", "schedulingPolicy",
  "storageAccountAffinity", "stats", "autoScaleFormula", "autoScaleRun", "autoScaleEvaluationInterval", "autoScaleMaxDedicated",
] as const;

/** Details of a run's error are names and values; those of an error body are keys and values (reference autoscale-formula, 1.4). */
export const renderRun = (run: NonNullable<NonNullable<Pool["autoScale"]>["run"]>) => ({
  timestamp: date(run.at),
  results: run.results,
  error: run.error && { code: run.error.code, message: run.error.message, values: [{ name: "Message", value: run.error.detail }] },
});

/** Properties that the era's version did not have are there only for who has set them. */
const autoScaleProperties = (scale: PoolSpec["autoScale"]) =>
  scale && {
    autoScaleFormula: scale.formula,
    autoScaleEvaluationInterval: scale.intervalMs === AUTO_SCALE_INTERVAL_MS ? undefined : formatDuration(scale.intervalMs),
    autoScaleMaxDedicated: scale.targetMax,
  };

const autoScale = (scale: Pool["autoScale"]) => scale && { ...autoScaleProperties(scale), autoScaleRun: scale.run && renderRun(scale.run) };

/** Of 2015: fixed, and not shown. */
const AUTO_SCALE_INTERVAL_MS = 900_000;

export const poolState = (pool: Pool): string => (pool.phase === "active" && pool.upgrade ? "upgrading" : pool.phase);

/** What a user says of a pool besides its name, wherever that is: of a pool that there is, or of one to be made. */
const poolProperties = (spec: PoolSpec) => ({
  osFamily: spec.osFamily,
  targetOSVersion: spec.targetOSVersion,
  tvmSize: spec.tvmSize,
  targetDedicated: spec.targetDedicated,
  resizeTimeout: limit(spec.resizeTimeoutMs),
  enableAutoScale: spec.autoScale !== undefined,
  ...autoScaleProperties(spec.autoScale),
  communication: spec.communication,
  startTask: startTask(spec.startTask),
  certificateReferences: certificateReferences(spec.certificateReferences),
  metadata: metadata(spec.metadata),
  maxTasksPerTVM: spec.maxTasksPerTvm,
  schedulingPolicy: { tvmFillType: spec.fillType },
  storageAccountAffinity: spec.storageAccountAffinity,
});

export const renderPool = (pool: Pool, base: string) => ({
  name: pool.name,
  url: base + poolPath(pool.name),
  ...definition(pool),
  state: poolState(pool),
  stateTransitionTime: date(pool.stateAt),
  allocationState: pool.allocation,
  allocationStateTransitionTime: date(pool.allocationAt),
  currentOSVersion: currentOsVersion(pool),
  currentDedicated: pool.tvms.length,
  resizeError: pool.allocation === "steady" && pool.resizeError ? { code: pool.resizeError.code, message: pool.resizeError.message } : undefined,
  ...poolProperties(pool.spec),
  // Of a pool that there is, what it follows now counts, and not what it was made with.
  enableAutoScale: pool.autoScale !== undefined,
  ...autoScale(pool.autoScale),
});

const TVM_STATES: Readonly<Partial<Record<Tvm["phase"], string>>> = {
  starting: "starting",
  waitingForStartTask: "waitingforstarttask",
  startTaskFailed: "starttaskfailed",
  unknown: "unknown",
  leaving: "leavingpool",
};

export const TVM_STATE_NAMES: readonly string[] = [
  "creating", "starting", "waitingforstarttask", "starttaskfailed", "idle", "running", "rebooting", "reimaging", "leavingpool", "unknown", "unusable",
];

/** Busy or not is for the tasks to say; everything else is the TVM's own. */
export const tvmState = ({ tvm, running }: Pick<TvmInfo, "tvm" | "running">): string => {
  // From the wish on, until it has joined anew: a new operating system is a new image.
  if (tvm.restart && (tvm.phase === "restarting" || tvm.phase === "starting")) return tvm.restart.how === "reboot" ? "rebooting" : "reimaging";
  return TVM_STATES[tvm.phase] ?? (running > 0 ? "running" : "idle");
};

export const tvmStateAt = ({ tvm, running, tasks }: TvmInfo): string => {
  if (tvm.phase !== "ready" || running === 0) return tvm.stateAt;
  const since = tasks.flatMap(({ startedAt }) => startedAt ?? []).sort()[0];
  return since !== undefined && since > tvm.stateAt ? since : tvm.stateAt;
};

export const TVM_PROPERTIES = [
  "name", "url", "state", "stateTransitionTime", "lastBootTime", "tvmAllocationTime", "ipAddress", "affinityId", "tvmSize",
  "totalTasksRun", "recentTasks", "startTask", "startTaskInfo", "certificateReferences", "errors",
] as const;

export const renderTvm = (info: TvmInfo, base: string) => {
  const { tvm, recent, totalRun } = info;
  // Between two starts there is nothing to say of the start task (reference 5.3).
  const started = tvm.phase !== "starting";
  return {
    name: tvm.name,
    url: base + tvmPath(tvm.pool, tvm.name),
    state: tvmState(info),
    stateTransitionTime: date(tvmStateAt(info)),
    lastBootTime: started ? date(tvm.lastBootAt) : undefined,
    tvmAllocationTime: date(tvm.allocatedAt),
    ipAddress: tvm.address,
    affinityId: affinityOf(tvm.name),
    tvmSize: tvm.size,
    totalTasksRun: totalRun,
    recentTasks: recent.length === 0 ? undefined : recent.map((task) => recentTask(task, base)),
    startTask: started ? startTask(tvm.startTask) : undefined,
    startTaskInfo: started ? startTaskInfo(tvm.startTaskInfo) : undefined,
    certificateReferences: started ? certificateReferences(tvm.certificateReferences) : undefined,
    errors: tvmErrors(tvm),
  };
};

/** Why no task is given to a TVM that is not being started: for people who would ask. */
const tvmErrors = (tvm: Tvm) => {
  const error = (code: string, message: string) => [{ code, message }];
  if (tvm.phase === "startTaskFailed") {
    const { exitCode, error: failure } = tvm.startTaskInfo ?? {};
    const how = failure ? `${failure.code}${failure.message ? `: ${failure.message}` : ""}` : `exit code ${exitCode}`;
    return error("StartTaskFailed", `The start task failed (${how}): no task is given to this TVM. Correct the start task and reboot or remove the TVM.`);
  }
  return tvm.silent ? error("TVMLost", "The TVM was not heard of for too long. Its tasks were given to others; it is started anew if it does not come back.") : undefined;
};

const affinityOf = (tvm: string): string => `TVM:${tvm}`;

const recentTask = (task: Task, base: string) => ({
  taskUrl: base + taskPath(task.workItemName, task.jobName, task.name),
  workItemName: task.workItemName,
  jobName: task.jobName,
  taskName: task.name,
  taskState: taskState(task),
  executionInfo: executionInfo(task),
});

const startTaskInfo = (info: StartTaskInfo | undefined) =>
  info && {
    state: info.state,
    startTime: date(info.startedAt),
    endTime: date(info.endedAt),
    exitCode: info.exitCode,
    schedulingError: schedulingError(info.error),
    retryCount: info.retryCount,
    lastRetryTime: date(info.lastRetryAt),
  };

// ---------------------------------------------------------------- certificates

export const certificatePath = ({ thumbprintAlgorithm, thumbprint }: Pick<Certificate, "thumbprint" | "thumbprintAlgorithm">): string =>
  `/certificates(thumbprintAlgorithm=${thumbprintAlgorithm},thumbprint=${thumbprint})`;

export const CERTIFICATE_PROPERTIES = [
  "thumbprint", "thumbprintAlgorithm", "url", "state", "stateTransitionTime", "previousState", "previousStateTransitionTime", "publicData", "deleteCertificateError",
] as const;

/** Never what opens it: the private part is not here to be shown. */
export const renderCertificate = (certificate: Certificate, base: string) => ({
  thumbprint: certificate.thumbprint,
  thumbprintAlgorithm: certificate.thumbprintAlgorithm,
  url: base + certificatePath(certificate),
  state: shownState(certificate),
  stateTransitionTime: date(certificate.stateAt),
  previousState: certificate.previousState,
  previousStateTransitionTime: date(certificate.previousStateAt),
  publicData: certificate.publicData,
  deleteCertificateError: certificate.deleteError && { code: certificate.deleteError.code, message: certificate.deleteError.message, values: certificate.deleteError.values.map(({ name, value }) => ({ name, value })) },
});

// ---------------------------------------------------------------- work items and jobs

const jobConstraints = (constraints: JobConstraints) => ({
  maxWallClockTime: limit(constraints.maxWallClockMs),
  maxTaskRetryCount: constraints.maxTaskRetryCount,
});

const jobSpecification = (spec: JobSpec) =>
  spec.specified ? { priority: spec.priority, jobConstraints: jobConstraints(spec.constraints), jobManager: spec.manager && jobManager(spec.manager) } : undefined;

const jobManager = (manager: JobManager) => ({
  name: manager.name,
  ...taskDefinition(manager),
  runExclusive: manager.exclusive,
  killJobOnCompletion: manager.killJobOnCompletion,
});

export const WORK_ITEM_PROPERTIES = [
  "name", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime", "previousState", "previousStateTransitionTime",
  "schedule", "jobSpecification", "jobExecutionEnvironment", "metadata", "executionInfo", "stats",
] as const;

const schedule = (set: Schedule | undefined) =>
  set && {
    doNotRunUntil: date(set.doNotRunUntil),
    doNotRunAfter: date(set.doNotRunAfter),
    startWindow: set.startWindowMs === undefined ? undefined : formatDuration(set.startWindowMs),
    recurrenceInterval: set.recurrenceMs === undefined ? undefined : formatDuration(set.recurrenceMs),
  };

const autoPoolSpecification = (auto: AutoPoolSpec | undefined) =>
  auto && {
    autoPoolNamePrefix: auto.prefix,
    poolLifeTimeOption: auto.lifetime,
    keepAlive: auto.keepAlive,
    pool: poolProperties(auto.spec),
  };

/** When the next job comes depends on the time at which one asks. */
export const renderWorkItem = (item: WorkItem, base: string, at: string) => ({
  name: item.name,
  url: base + workItemPath(item.name),
  ...definition(item),
  state: item.phase,
  stateTransitionTime: date(item.stateAt),
  previousState: item.previousState,
  previousStateTransitionTime: date(item.previousStateAt),
  schedule: schedule(item.spec.schedule),
  jobSpecification: jobSpecification(item.spec.job),
  jobExecutionEnvironment: { poolName: item.spec.pool, autoPoolSpecification: autoPoolSpecification(item.spec.autoPool) },
  metadata: metadata(item.spec.metadata),
  executionInfo: {
    nextRunTime: item.phase === "active" ? date(nextRunTime(scheduleOf(item), item.nextRun, at)) : undefined,
    recentJob: item.recentJob === undefined ? undefined : { url: base + jobPath(item.name, item.recentJob), name: item.recentJob },
    endTime: date(item.endedAt),
  },
});

export const JOB_PROPERTIES = [
  "name", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime", "previousState", "previousStateTransitionTime",
  "priority", "jobConstraints", "jobManager", "poolName", "poolLifeTimeOption", "keepAlive", "executionInfo", "stats",
] as const;

export const renderJob = (job: Job, base: string) => ({
  name: job.name,
  url: base + jobPath(job.workItemName, job.name),
  ...definition(job),
  state: job.phase,
  stateTransitionTime: date(job.stateAt),
  previousState: job.previousState,
  previousStateTransitionTime: date(job.previousStateAt),
  ...jobSpecification(job.spec),
  poolName: job.pool,
  poolLifeTimeOption: job.autoPool?.lifetime,
  keepAlive: job.autoPool?.keepAlive,
  executionInfo: {
    startTime: date(job.createdAt),
    endTime: date(job.endedAt),
    terminateReason: job.error ? undefined : job.terminateReason,
    schedulingError: schedulingError(job.error),
  },
});

// ---------------------------------------------------------------- tasks

const executionInfo = (task: Task) => {
  // How the latest run ended is shown once there is no further one (reference 5.9 and its later pages).
  const ended = task.phase === "completed";
  return {
    startTime: date(task.startedAt),
    endTime: ended ? date(task.endedAt) : undefined,
    exitCode: ended ? task.exitCode : undefined,
    schedulingError: ended ? schedulingError(task.error) : undefined,
    retryCount: task.retryCount,
    lastRetryTime: date(task.lastRetryAt),
    requeueCount: task.requeueCount,
    lastRequeueTime: date(task.lastRequeueAt),
  };
};

/** Lower case, as the service wrote it. From the first run on. */
const tvmInfo = ({ ranOn }: Task, base: string) =>
  ranOn
    ? {
        affinityId: affinityOf(ranOn.tvm),
        tvmUrl: (base + tvmPath(ranOn.pool, ranOn.tvm)).toLowerCase(),
        poolName: ranOn.pool.toLowerCase(),
        tvmName: ranOn.tvm,
      }
    : undefined;

export const TASK_PROPERTIES = [
  "name", "url", "eTag", "lastModified", "creationTime", "state", "stateTransitionTime", "previousState", "previousStateTransitionTime",
  "commandLine", "resourceFiles", "environmentSettings", "affinityInfo", "runElevated", "taskConstraints", "executionInfo", "tvmInfo", "stats",
] as const;

const taskDefinition = (spec: TaskSpec) => ({
  commandLine: spec.commandLine,
  resourceFiles: files(spec.resourceFiles),
  environmentSettings: environment(spec.environment),
  runElevated: spec.runElevated ?? false,
  taskConstraints: {
    maxWallClockTime: limit(spec.maxWallClockMs),
    retentionTime: limit(spec.retentionMs),
    maxTaskRetryCount: spec.maxTaskRetryCount,
  },
});

export const renderTask = (task: Task, base: string) => ({
  name: task.name,
  url: base + taskPath(task.workItemName, task.jobName, task.name),
  ...definition(task),
  state: taskState(task),
  stateTransitionTime: date(task.stateAt),
  previousState: task.previousState,
  previousStateTransitionTime: date(task.previousStateAt),
  ...taskDefinition(task.spec),
  affinityInfo: task.spec.affinityId === undefined ? undefined : { affinityId: task.spec.affinityId },
  executionInfo: executionInfo(task),
  tvmInfo: tvmInfo(task, base),
});

// ---------------------------------------------------------------- files

export const FILE_PROPERTIES = ["name", "url", "isDirectory", "properties"] as const;
export const FILE_TYPE = "application/octet-stream";

/** Names are written with back slashes, lengths as text, folders without properties (reference 5.11). */
export const renderFile = (file: TvmFile, owner: string, base: string) => ({
  name: file.path.replaceAll("/", "\\"),
  url: base + filePath(owner, file.path),
  isDirectory: file.isDirectory,
  properties: file.isDirectory
    ? undefined
    : { creationTime: date(file.createdAt), lastModified: date(file.modifiedAt), contentLength: String(file.length), contentType: FILE_TYPE },
});

export const fileHeaders = (file: TvmFile, owner: string, base: string): Record<string, string> => ({
  "Content-Type": FILE_TYPE,
  "Content-Disposition": "attachment",
  "Last-Modified": httpDate(file.modifiedAt),
  "ocp-creation-time": httpDate(file.createdAt),
  "ocp-batch-file-isdirectory": file.isDirectory ? "True" : "False",
  "ocp-batch-file-url": encodeURIComponent(base + filePath(owner, file.path)),
});
