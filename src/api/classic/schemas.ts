// Bodies of the classic dialect, and what they become in the domain's words. What a later dialect calls differently is not
// known here. Every property is named; what is not named is refused.
import { z } from "zod";
import type { NewTask } from "../../app/tasks";
import { type Rejection, present, rejection } from "../../domain/decider";
import type { JobConstraints, JobSpec } from "../../domain/job";
import type { PoolSpec, StartTask } from "../../domain/pool";
import { coresOf, maxTasksPerTvmOf, sizeNames } from "../../domain/sizes";
import type { WorkItemSpec } from "../../domain/workItem";
import type { Policy } from "../../ports";
import {
  TEXT_MAX,
  badValue,
  commandLine,
  duration,
  environmentSettings,
  isEmptyList,
  metadata,
  name,
  notYet,
  notYetUnless,
  resourceFiles,
  retries,
  text,
  word,
} from "../schemas";

const MINUTE_MS = 60_000;
/** Least and default time for a resize (reference 5.2). */
const RESIZE_TIMEOUT_LEAST_MS = 5 * MINUTE_MS;
/** The longest time for a resize that we take: the service's "no limit" is none for a resize. */
const RESIZE_TIMEOUT_MOST_MS = 7 * 24 * 60 * MINUTE_MS;

const resizeTimeout = duration(RESIZE_TIMEOUT_LEAST_MS, "PT5M").transform((milliseconds) =>
  Math.min(milliseconds ?? RESIZE_TIMEOUT_MOST_MS, RESIZE_TIMEOUT_MOST_MS),
);
const targetDedicated = z.int().min(0);
const osVersion = text(64, 1);
const tvmName = text(64, 1);
const certificateReferences = notYetUnless(isEmptyList);

const startTask = z.strictObject({
  commandLine,
  resourceFiles: resourceFiles.optional(),
  environmentSettings: environmentSettings.optional(),
  runElevated: z.boolean().optional(),
  maxTaskRetryCount: retries.optional(),
  waitForSuccess: z.boolean().optional(),
});
type StartTaskBody = z.output<typeof startTask>;

// ---------------------------------------------------------------- pools

export const poolBody = z.strictObject({
  name,
  osFamily: z.enum(["2", "3", "4"]),
  targetOSVersion: osVersion.optional(),
  tvmSize: z.string().check((context) => {
    if (coresOf(context.value) === undefined)
      context.issues.push({ code: "custom", message: `expected one of ${sizeNames().join(", ")}`, input: context.value });
  }),
  targetDedicated,
  resizeTimeout: resizeTimeout.optional(),
  communication: z.boolean().optional(),
  startTask: startTask.optional(),
  certificateReferences,
  metadata: metadata.optional(),
  maxTasksPerTVM: z.int().min(1).optional(),
  schedulingPolicy: z.strictObject({ tvmFillType: word("Spread", "Pack") }).optional(),
  storageAccountAffinity: text(TEXT_MAX, 1).optional(),
  enableAutoScale: notYetUnless((value) => value === false),
  autoScaleFormula: notYet,
});

/** A pool as the domain has it, or the first rule over several properties that the body breaks. */
export const poolSpec = (body: z.output<typeof poolBody>, policy: Policy): PoolSpec | Rejection => {
  const most = maxTasksPerTvmOf(body.tvmSize);
  if ((body.maxTasksPerTVM ?? 1) > most) return badValue("maxTasksPerTVM", body.maxTasksPerTVM, `expected at most ${most}, four a core of ${body.tvmSize}`);
  const refusal = tooMany(body.targetDedicated, policy) ?? elevated(body.startTask, policy, "startTask.runElevated");
  if (refusal) return refusal;
  return {
    tvmSize: body.tvmSize,
    osFamily: body.osFamily,
    targetOSVersion: body.targetOSVersion ?? "*",
    targetDedicated: body.targetDedicated,
    resizeTimeoutMs: body.resizeTimeout ?? RESIZE_TIMEOUT_LEAST_MS,
    communication: body.communication ?? false,
    maxTasksPerTvm: body.maxTasksPerTVM ?? 1,
    fillType: body.schedulingPolicy?.tvmFillType ?? "Spread",
    ...present({ startTask: body.startTask && startTaskSpec(body.startTask), metadata: body.metadata }),
    ...present({ storageAccountAffinity: body.storageAccountAffinity }),
  };
};

const tooMany = (target: number, policy: Policy): Rejection | undefined =>
  target > policy.poolTvmsMax ? badValue("targetDedicated", target, `expected at most ${policy.poolTvmsMax}, as this service is set up`) : undefined;

/** Elevated tasks run as the agent itself: only where the operator has said that they may. */
export const elevated = (task: { runElevated?: boolean | undefined } | undefined, policy: Policy, PropertyName: string): Rejection | undefined =>
  task?.runElevated && !policy.allowElevated
    ? rejection("InsufficientAccountPermissions", "This service does not run elevated tasks: it was started without --allow-elevated.", { PropertyName })
    : undefined;

// The seed advises to wait for the start task, so that is the default; the addresses' signatures are sealed by the app.
const startTaskSpec = (body: StartTaskBody): StartTask => ({
  commandLine: body.commandLine,
  maxTaskRetryCount: body.maxTaskRetryCount ?? 0,
  waitForSuccess: body.waitForSuccess ?? true,
  ...present({ resourceFiles: body.resourceFiles, environment: body.environmentSettings, runElevated: body.runElevated }),
});

/** PATCH: what is given is replaced whole; `startTask: null` takes the start task away. */
export const poolPatchBody = z.strictObject({
  startTask: startTask.nullable().optional(),
  certificateReferences,
  metadata: metadata.optional(),
});

export type PoolChange = { startTask?: StartTask | null; metadata?: readonly { name: string; value: string }[]; certificateReferences?: [] };

export const poolChange = (body: z.output<typeof poolPatchBody>, policy: Policy): PoolChange | Rejection =>
  elevated(body.startTask ?? undefined, policy, "startTask.runElevated") ?? {
    ...(body.startTask === undefined ? {} : { startTask: body.startTask && startTaskSpec(body.startTask) }),
    ...present({ metadata: body.metadata }),
  };

/** `updateproperties`: all are replaced, and what is missing is emptied. */
export const poolReplacement = (body: z.output<typeof poolPatchBody>, policy: Policy): PoolChange | Rejection => {
  const change = poolChange(body, policy);
  return "rejected" in change ? change : { startTask: null, metadata: [], certificateReferences: [], ...change };
};

const deallocationOption = word("requeue", "terminate", "taskcompletion", "retaineddata");

export const resizeBody = z.strictObject({
  targetDedicated,
  resizeTimeout: resizeTimeout.optional(),
  tvmDeallocationOption: deallocationOption.optional(),
});

export const resizeOf = (body: z.output<typeof resizeBody>, policy: Policy) =>
  tooMany(body.targetDedicated, policy) ?? {
    target: body.targetDedicated,
    timeoutMs: body.resizeTimeout ?? RESIZE_TIMEOUT_LEAST_MS,
    option: body.tvmDeallocationOption ?? ("requeue" as const),
  };

/** Most TVMs of one call (reference section 8). */
export const REMOVE_TVMS_MAX = 100;

export const removeTvmsBody = z.strictObject({
  tvmList: z.array(tvmName).min(1).max(REMOVE_TVMS_MAX),
  resizeTimeout: resizeTimeout.optional(),
  tvmDeallocationOption: deallocationOption.optional(),
});

export const removalOf = (body: z.output<typeof removeTvmsBody>) => ({
  tvms: body.tvmList,
  timeoutMs: body.resizeTimeout ?? RESIZE_TIMEOUT_LEAST_MS,
  option: body.tvmDeallocationOption ?? ("requeue" as const),
});

export const upgradeOsBody = z.strictObject({ targetOSVersion: osVersion });

export const rebootBody = z.strictObject({ rebootOption: deallocationOption.optional() });
export const reimageBody = z.strictObject({ reimageOption: deallocationOption.optional() });

// ---------------------------------------------------------------- work items and jobs

const priority = z.int().min(-1000).max(1000);
const jobConstraints = z.strictObject({
  maxWallClockTime: duration(1, "PT0.001S").optional(),
  maxTaskRetryCount: retries.optional(),
});

export const workItemBody = z.strictObject({
  name,
  schedule: notYet,
  jobSpecification: z.strictObject({ priority: priority.optional(), jobConstraints: jobConstraints.optional(), jobManager: notYet }).optional(),
  jobExecutionEnvironment: z.strictObject({ poolName: name, autoPoolSpecification: notYet }),
  metadata: metadata.optional(),
});

const constraintsOf = (body: z.output<typeof jobConstraints> | undefined): JobConstraints => ({
  maxTaskRetryCount: body?.maxTaskRetryCount ?? 0,
  ...present({ maxWallClockMs: body?.maxWallClockTime }),
});

export const workItemSpec = (body: z.output<typeof workItemBody>): WorkItemSpec => ({
  pool: body.jobExecutionEnvironment.poolName,
  job: jobSpecOf(body.jobSpecification),
  ...present({ metadata: body.metadata }),
});

const jobSpecOf = (body: z.output<typeof workItemBody>["jobSpecification"]): JobSpec => ({
  priority: body?.priority ?? 0,
  constraints: constraintsOf(body?.jobConstraints),
  specified: body?.priority !== undefined || body?.jobConstraints !== undefined,
});

export const jobBody = z.strictObject({ priority: priority.optional(), jobConstraints: jobConstraints.optional() });
type JobBody = z.output<typeof jobBody>;
type JobChange = { priority?: number; constraints?: JobConstraints };

/** PATCH: what is given is replaced, `jobConstraints` as a whole. */
export const jobChange = (body: JobBody): JobChange => ({
  ...present({ priority: body.priority }),
  ...(body.jobConstraints ? { constraints: constraintsOf(body.jobConstraints) } : {}),
});

/** PUT: everything is replaced. */
export const jobReplacement = (body: JobBody): JobChange => ({ priority: body.priority ?? 0, constraints: constraintsOf(body.jobConstraints) });

export const terminateJobBody = z.strictObject({ terminateReason: text(TEXT_MAX, 1).optional() });

// ---------------------------------------------------------------- tasks

export const taskBody = z.strictObject({
  name,
  commandLine,
  resourceFiles: resourceFiles.optional(),
  environmentSettings: environmentSettings.optional(),
  affinityInfo: z.strictObject({ affinityId: text(TEXT_MAX) }).optional(),
  runElevated: z.boolean().optional(),
  taskConstraints: z
    .strictObject({
      maxWallClockTime: duration(1, "PT0.001S").optional(),
      retentionTime: duration(0, "PT0S").optional(),
      maxTaskRetryCount: retries.optional(),
    })
    .optional(),
});
export type TaskBody = z.output<typeof taskBody>;

/** Hot path of bulk adds: one object, no copies of what the schema made. */
export const newTask = (body: TaskBody): NewTask => {
  const spec: { -readonly [K in keyof NewTask["spec"]]: NewTask["spec"][K] } = { commandLine: body.commandLine };
  if (body.resourceFiles) spec.resourceFiles = body.resourceFiles;
  if (body.environmentSettings) spec.environment = body.environmentSettings;
  if (body.runElevated) spec.runElevated = true;
  if (body.affinityInfo) spec.affinityId = body.affinityInfo.affinityId;
  const constraints = body.taskConstraints;
  if (constraints) {
    if (constraints.maxWallClockTime !== undefined) spec.maxWallClockMs = constraints.maxWallClockTime;
    if (constraints.retentionTime !== undefined) spec.retentionMs = constraints.retentionTime;
    if (constraints.maxTaskRetryCount !== undefined) spec.maxTaskRetryCount = constraints.maxTaskRetryCount;
  }
  return { name: body.name, spec };
};

/** Most tasks of one `addtaskcollection` call. */
export const COLLECTION_TASKS_MAX = 100;
export const taskCollectionBody = z.strictObject({ value: z.array(z.unknown()).min(1).max(COLLECTION_TASKS_MAX) });
