// Bodies of the classic dialect, and what they become in the domain's words. What a later dialect calls differently is not
// known here. Every property is named; what is not named is refused.
import { z } from "zod";
import type { NewCertificate } from "../../app/certificates";
import type { Enabling } from "../../app/autoscale";
import { scalingOf } from "../../app/scaling";
import type { NewTask, TaskUpdate } from "../../app/tasks";
import type { UserSpec } from "../../app/tvmUsers";
import { type Rejection, isRejection, present, rejection } from "../../domain/decider";
import type { JobConstraints, JobManager, JobSpec } from "../../domain/job";
import { VISIBILITIES } from "../../domain/certificate";
import type { CertificateReference, PoolSpec, StartTask } from "../../domain/pool";
import type { Schedule } from "../../domain/schedule";
import { coresOf, maxTasksPerTvmOf, sizeNames } from "../../domain/sizes";
import { formatDuration } from "../../domain/time";
import type { AutoPoolSpec, WorkItemChange, WorkItemSpec } from "../../domain/workItem";
import type { Policy, Ports } from "../../ports";
import { CERTIFICATE_MAX_BYTES, openCertificate } from "../../x509";
import {
  TEXT_MAX,
  badValue,
  base64,
  commandLine,
  duration,
  environmentSettings,
  instant,
  metadata,
  name,
  resourceFiles,
  retries,
  text,
  thumbprint,
  thumbprintAlgorithm,
  word,
} from "../schemas";

const MINUTE_MS = 60_000;
/** Least and default time for a resize (reference 5.2). */
const RESIZE_TIMEOUT_LEAST_MS = 5 * MINUTE_MS;
/** What a pool made with autoscale shows: it has no effect there (reference 5.2). */
const AUTO_SCALE_TIMEOUT_MS = 60 * MINUTE_MS;
/** The longest time for a resize that we take: the service's "no limit" is none for a resize. */
const RESIZE_TIMEOUT_MOST_MS = 7 * 24 * 60 * MINUTE_MS;

const resizeTimeout = duration(RESIZE_TIMEOUT_LEAST_MS, "PT5M").transform((milliseconds) =>
  Math.min(milliseconds ?? RESIZE_TIMEOUT_MOST_MS, RESIZE_TIMEOUT_MOST_MS),
);
const targetDedicated = z.int().min(0);
const osVersion = text(64, 1);
const tvmName = text(64, 1);

/** Certificates of one pool: a limit of ours, as the reference names none. */
const REFERENCES_MAX = 20;

const certificateReference = z
  .strictObject({
    thumbprint,
    thumbprintAlgorithm,
    storeLocation: word("CurrentUser", "LocalMachine").optional(),
    storeName: text(64, 1).optional(),
    visibility: z
      .string()
      .transform((value, context): string => {
        const words = value.split(",").map((one) => one.trim().toLowerCase());
        if (words.every((one) => (VISIBILITIES as readonly string[]).includes(one))) return VISIBILITIES.filter((one) => words.includes(one)).join(",");
        context.issues.push({ code: "custom", message: `expected some of ${VISIBILITIES.join(", ")}, with commas between them`, input: value });
        return z.NEVER;
      })
      .optional(),
  })
  // What is left out is said as it is meant (reference 5.2).
  .transform(({ storeLocation = "CurrentUser", storeName = "My", visibility = VISIBILITIES.join(","), ...certificate }): CertificateReference => ({ ...certificate, storeLocation, storeName, visibility }));

export const certificateReferences = z
  .array(certificateReference)
  .max(REFERENCES_MAX)
  .check((context) => {
    if (new Set(context.value.map(({ thumbprint: one }) => one)).size === context.value.length) return;
    context.issues.push({ code: "custom", message: "a certificate is referred to twice", input: context.value });
  });

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

const autoScaleFields = {
  autoScaleFormula: z.string().optional(),
  autoScaleEvaluationInterval: duration(1, "PT0.001S").optional(),
  /** Of this service: whatever the formula says, no more TVMs than this. */
  autoScaleMaxDedicated: z.int().min(0).optional(),
};

export const poolBody = z.strictObject({
  name,
  osFamily: z.enum(["2", "3", "4"]),
  targetOSVersion: osVersion.optional(),
  tvmSize: z.string().check((context) => {
    if (coresOf(context.value) === undefined)
      context.issues.push({ code: "custom", message: `expected one of ${sizeNames().join(", ")}`, input: context.value });
  }),
  targetDedicated: targetDedicated.optional(),
  resizeTimeout: resizeTimeout.optional(),
  communication: z.boolean().optional(),
  startTask: startTask.optional(),
  certificateReferences: certificateReferences.optional(),
  metadata: metadata.optional(),
  maxTasksPerTVM: z.int().min(1).optional(),
  schedulingPolicy: z.strictObject({ tvmFillType: word("Spread", "Pack") }).optional(),
  storageAccountAffinity: text(TEXT_MAX, 1).optional(),
  enableAutoScale: z.boolean().optional(),
  ...autoScaleFields,
});

/** A formula instead of a number, or the other way round; a size for now is what either says. */
const sizing = (body: Omit<z.output<typeof poolBody>, "name">, ports: Pick<Ports, "policy">): Pick<PoolSpec, "targetDedicated" | "autoScale"> | Rejection => {
  const { autoScaleFormula: formula, autoScaleMaxDedicated: targetMax, targetDedicated: target } = body;
  if (body.enableAutoScale !== true) {
    const given = (["autoScaleFormula", "autoScaleEvaluationInterval", "autoScaleMaxDedicated"] as const).find((property) => body[property] !== undefined);
    if (given !== undefined) return invalidScaling(given, "belongs to a pool with enableAutoScale true");
    return target === undefined ? rejection("MissingRequiredProperty", undefined, { PropertyName: "targetDedicated" }) : { targetDedicated: target };
  }
  if (target !== undefined) return invalidScaling("targetDedicated", "a pool with enableAutoScale true gets its size from its formula");
  if (formula === undefined) return invalidScaling("autoScaleFormula", "a pool with enableAutoScale true needs a formula");
  const intervalMs = intervalOf(body.autoScaleEvaluationInterval, ports);
  if (typeof intervalMs === "object") return intervalMs;
  return { targetDedicated: 0, autoScale: { formula, intervalMs: intervalMs ?? scalingOf(ports).intervalMs, ...present({ targetMax }) } };
};

const invalidScaling = (PropertyName: string, Reason: string): Rejection => rejection("InvalidAutoScalingSettings", undefined, { PropertyName, Reason });

/** Within the bounds of the API, or those of the operator. */
const intervalOf = (milliseconds: number | undefined, ports: Pick<Ports, "policy">): number | undefined | Rejection => {
  const { intervalLeastMs: least, intervalMostMs: most } = scalingOf(ports);
  if (milliseconds === undefined || (milliseconds >= least && milliseconds <= most)) return milliseconds;
  return badValue("autoScaleEvaluationInterval", formatDuration(milliseconds), `expected ${formatDuration(least)} to ${formatDuration(most)}`);
};

export const enableAutoScaleBody = z.strictObject(autoScaleFields);
export const evaluateAutoScaleBody = z.strictObject({ autoScaleFormula: z.string() });

/** What is left out keeps its value; the formula is needed when autoscale is off. */
export const enablingOf = (body: z.output<typeof enableAutoScaleBody>, ports: Pick<Ports, "policy">): Enabling | Rejection => {
  const intervalMs = intervalOf(body.autoScaleEvaluationInterval, ports);
  if (typeof intervalMs === "object") return intervalMs;
  if (Object.keys(body).length === 0) return rejection("MissingRequiredProperty", undefined, { PropertyName: "autoScaleFormula" });
  return present({ formula: body.autoScaleFormula, intervalMs, targetMax: body.autoScaleMaxDedicated }) as Enabling;
};

/** A pool as the domain has it, or the first rule over several properties that the body breaks. */
export const poolSpec = (body: Omit<z.output<typeof poolBody>, "name">, policy: Policy): PoolSpec | Rejection => {
  const most = maxTasksPerTvmOf(body.tvmSize);
  if ((body.maxTasksPerTVM ?? 1) > most) return badValue("maxTasksPerTVM", body.maxTasksPerTVM, `expected at most ${most}, four a core of ${body.tvmSize}`);
  const size = sizing(body, { policy });
  if ("rejected" in size) return size;
  const refusal = tooMany(size.targetDedicated, policy) ?? elevated(body.startTask, policy, "startTask.runElevated");
  if (refusal) return refusal;
  return {
    tvmSize: body.tvmSize,
    osFamily: body.osFamily,
    targetOSVersion: body.targetOSVersion ?? "*",
    ...size,
    resizeTimeoutMs: body.resizeTimeout ?? (size.autoScale ? AUTO_SCALE_TIMEOUT_MS : RESIZE_TIMEOUT_LEAST_MS),
    communication: body.communication ?? false,
    maxTasksPerTvm: body.maxTasksPerTVM ?? 1,
    fillType: body.schedulingPolicy?.tvmFillType ?? "Spread",
    ...present({ startTask: body.startTask && startTaskSpec(body.startTask), certificateReferences: body.certificateReferences, metadata: body.metadata }),
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
  certificateReferences: certificateReferences.optional(),
  metadata: metadata.optional(),
});

export type PoolChange = { startTask?: StartTask | null; metadata?: readonly { name: string; value: string }[]; certificateReferences?: readonly CertificateReference[] };

export const poolChange = (body: z.output<typeof poolPatchBody>, policy: Policy): PoolChange | Rejection =>
  elevated(body.startTask ?? undefined, policy, "startTask.runElevated") ?? {
    ...(body.startTask === undefined ? {} : { startTask: body.startTask && startTaskSpec(body.startTask) }),
    ...present({ certificateReferences: body.certificateReferences, metadata: body.metadata }),
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

/** As long as a local user's name on Windows may be (reference section 8). */
const USER_NAME = /^[A-Za-z0-9_-]{1,20}$/;
const PASSWORD_MAX = 127;

const userName = z.string().check((context) => {
  if (!USER_NAME.test(context.value)) context.issues.push({ code: "custom", message: "expected 1 to 20 of A-Z, a-z, 0-9, - and _", input: context.value });
});
const userPassword = z.string().check((context) => {
  const { value } = context;
  // eslint-disable-next-line no-control-regex -- control characters are what is refused
  if (value === "" || value.length > PASSWORD_MAX || /[\u0000-\u001f\u007f]/.test(value))
    context.issues.push({ code: "custom", message: `expected 1 to ${PASSWORD_MAX} characters, none of them a control character`, input: "" });
});
const userTerms = { isAdmin: z.boolean().optional(), expiryTime: instant.optional() };

export const addUserBody = z.strictObject({ name: userName, password: userPassword, ...userTerms });
export const updateUserBody = z.strictObject({ password: userPassword.optional(), ...userTerms });

/** A user as the app takes it, or why its time cannot be that. */
export const userOf = (user: string, body: z.output<typeof updateUserBody>, now: string): UserSpec | Rejection => {
  if (body.expiryTime !== undefined && body.expiryTime <= now) return badValue("expiryTime", body.expiryTime, "expected a time that is still to come");
  return { name: user, isAdmin: body.isAdmin ?? false, ...present({ password: body.password, expiresAt: body.expiryTime }) };
};

export const rebootBody = z.strictObject({ rebootOption: deallocationOption.optional() });
export const reimageBody = z.strictObject({ reimageOption: deallocationOption.optional() });

// ---------------------------------------------------------------- certificates

export const certificateBody = z.strictObject({
  thumbprint,
  thumbprintAlgorithm,
  data: base64(CERTIFICATE_MAX_BYTES),
  certificateFormat: word("pfx", "cer").optional(),
  password: text(TEXT_MAX).optional(),
});

/** What is added, once file and password are found to hold the certificate that the body names; else which of them is wrong. */
export const newCertificate = (body: z.output<typeof certificateBody>): NewCertificate | Rejection => {
  const { thumbprint: wanted, thumbprintAlgorithm: algorithm, data, certificateFormat = "pfx", password } = body;
  if (certificateFormat === "cer" && password !== undefined) return badValue("password", "(not shown)", "a certificate without a private key (cer) has none");
  const opened = openCertificate(certificateFormat, data, password ?? "");
  if ("problem" in opened) return badValue(opened.problem, "(not shown)", opened.reason);
  const found = opened.certificates.find(({ thumbprint: one }) => one === wanted);
  if (!found) return badValue("thumbprint", wanted, `the data hold ${opened.certificates.slice(0, 3).map(({ thumbprint: one }) => one).join(", ")}`);
  const certificate = { thumbprint: wanted, thumbprintAlgorithm: algorithm, publicData: found.publicData };
  if (certificateFormat === "cer") return certificate;
  if (!found.hasPrivateKey) return badValue("data", "(not shown)", "the file holds no private key of the certificate: add it in the format cer");
  return { ...certificate, secret: { data, password: password ?? "" } };
};

// ---------------------------------------------------------------- work items and jobs

const priority = z.int().min(-1000).max(1000);
const jobConstraints = z.strictObject({
  maxWallClockTime: duration(1, "PT0.001S").optional(),
  maxTaskRetryCount: retries.optional(),
});

const schedule = z.strictObject({
  doNotRunUntil: instant.optional(),
  doNotRunAfter: instant.optional(),
  // The least is the service's setting: it is checked with the rest of the schedule.
  startWindow: duration(1, "PT1M").optional(),
  recurrenceInterval: duration(1, "PT1M").optional(),
});
const taskConstraints = z.strictObject({
  maxWallClockTime: duration(1, "PT0.001S").optional(),
  retentionTime: duration(0, "PT0S").optional(),
  maxTaskRetryCount: retries.optional(),
});
const jobManager = z.strictObject({
  name,
  commandLine,
  resourceFiles: resourceFiles.optional(),
  environmentSettings: environmentSettings.optional(),
  taskConstraints: taskConstraints.optional(),
  runElevated: z.boolean().optional(),
  runExclusive: z.boolean().optional(),
  killJobOnCompletion: z.boolean().optional(),
});
const jobSpecification = z.strictObject({ priority: priority.optional(), jobConstraints: jobConstraints.optional(), jobManager: jobManager.optional() });
const jobExecutionEnvironment = z
  .strictObject({
    poolName: name.optional(),
    autoPoolSpecification: z
      .strictObject({
        autoPoolNamePrefix: z
          .string()
          .regex(/^[A-Za-z0-9_-]{1,20}$/, "expected 1 to 20 of A-Z, a-z, 0-9, - and _")
          .optional(),
        poolLifeTimeOption: word("workitem", "job"),
        keepAlive: z.boolean().optional(),
        pool: poolBody.omit({ name: true }),
      })
      .optional(),
  });

export const workItemBody = z.strictObject({
  name,
  schedule: schedule.optional(),
  jobSpecification: jobSpecification.optional(),
  jobExecutionEnvironment,
  metadata: metadata.optional(),
});

/** PUT: everything is replaced, and what is missing is emptied. */
export const workItemReplacementBody = workItemBody.omit({ name: true });

/** PATCH: what is given is replaced whole; `schedule: null` takes the schedule away. */
export const workItemPatchBody = z.strictObject({
  schedule: schedule.nullable().optional(),
  jobSpecification: jobSpecification.optional(),
  jobExecutionEnvironment: jobExecutionEnvironment.optional(),
  metadata: metadata.optional(),
});

const constraintsOf = (body: z.output<typeof jobConstraints> | undefined): JobConstraints => ({
  maxTaskRetryCount: body?.maxTaskRetryCount ?? 0,
  ...present({ maxWallClockMs: body?.maxWallClockTime }),
});

/** A work item as the domain has it, or the first rule over several properties that the body breaks at this instant. */
export const workItemSpec = (body: z.output<typeof workItemBody>, policy: Policy, at: string): WorkItemSpec | Rejection => {
  const environment = environmentOf(body.jobExecutionEnvironment, policy);
  if (isRejection(environment)) return environment;
  const refusal = elevatedManager(body, policy);
  if (refusal) return refusal;
  const set = body.schedule && scheduleOf(body.schedule, policy, at);
  if (isRejection(set)) return set;
  return { ...environment, job: jobSpecOf(body.jobSpecification), ...present({ schedule: set, metadata: body.metadata }) };
};

export const workItemChange = (body: z.output<typeof workItemPatchBody>, policy: Policy, at: string): WorkItemChange | Rejection => {
  const environment = body.jobExecutionEnvironment && environmentOf(body.jobExecutionEnvironment, policy);
  if (isRejection(environment)) return environment;
  const refusal = elevatedManager(body, policy);
  if (refusal) return refusal;
  const set = body.schedule && scheduleOf(body.schedule, policy, at);
  if (isRejection(set)) return set;
  return present({ environment, schedule: set, job: body.jobSpecification && jobSpecOf(body.jobSpecification), metadata: body.metadata }) as WorkItemChange;
};

export const workItemReplacement = (body: z.output<typeof workItemReplacementBody>, policy: Policy, at: string): WorkItemChange | Rejection => {
  const change = workItemChange(body, policy, at);
  return isRejection(change) ? change : { schedule: null, job: jobSpecOf(undefined), metadata: [], ...change };
};

/** Least interval and start window of a schedule (reference section 8). */
const SCHEDULE_LEAST_MS = MINUTE_MS;

const scheduleOf = (body: z.output<typeof schedule>, policy: Policy, at: string): Schedule | Rejection => {
  const leastMs = policy.scheduleLeastMs ?? SCHEDULE_LEAST_MS;
  for (const property of ["startWindow", "recurrenceInterval"] as const) {
    const value = body[property];
    if (value !== undefined && value < leastMs) return badValue(`schedule.${property}`, formatDuration(value), `expected at least ${formatDuration(leastMs)}`);
  }
  const { doNotRunUntil, doNotRunAfter } = body;
  if (doNotRunAfter !== undefined && doNotRunAfter <= at) return badValue("schedule.doNotRunAfter", doNotRunAfter, "expected a time that is still to come");
  if (doNotRunAfter !== undefined && doNotRunUntil !== undefined && doNotRunAfter < doNotRunUntil)
    return badValue("schedule.doNotRunAfter", doNotRunAfter, "expected a time that is not before doNotRunUntil");
  return present({ doNotRunUntil, doNotRunAfter, startWindowMs: body.startWindow, recurrenceMs: body.recurrenceInterval });
};

const ENVIRONMENT = "jobExecutionEnvironment";

const environmentOf = (body: z.output<typeof jobExecutionEnvironment>, policy: Policy): { pool: string } | { autoPool: AutoPoolSpec } | Rejection => {
  const { poolName, autoPoolSpecification: auto } = body;
  if (poolName !== undefined && auto !== undefined) return badValue(ENVIRONMENT, "", "expected poolName or autoPoolSpecification, not both");
  if (poolName !== undefined) return { pool: poolName };
  if (auto === undefined) return rejection("MissingRequiredProperty", "Either poolName or autoPoolSpecification is needed.", { PropertyName: `${ENVIRONMENT}.poolName` });
  const spec = poolSpec(auto.pool, policy);
  if (isRejection(spec)) return inside(`${ENVIRONMENT}.autoPoolSpecification.pool.`, spec);
  return { autoPool: { lifetime: auto.poolLifeTimeOption, keepAlive: auto.keepAlive ?? false, spec, ...present({ prefix: auto.autoPoolNamePrefix }) } };
};

/** A refusal of a part, as one of the whole. */
const inside = (place: string, refused: Rejection): Rejection => {
  const { PropertyName, ...values } = refused.values ?? {};
  return { ...refused, values: { PropertyName: place + (PropertyName ?? ""), ...values } };
};

const elevatedManager = (body: { jobSpecification?: z.output<typeof jobSpecification> | undefined }, policy: Policy): Rejection | undefined =>
  elevated(body.jobSpecification?.jobManager, policy, "jobSpecification.jobManager.runElevated");

const jobSpecOf = (body: z.output<typeof workItemBody>["jobSpecification"]): JobSpec => ({
  priority: body?.priority ?? 0,
  constraints: constraintsOf(body?.jobConstraints),
  specified: body?.priority !== undefined || body?.jobConstraints !== undefined || body?.jobManager !== undefined,
  ...present({ manager: body?.jobManager && managerOf(body.jobManager, body.jobConstraints?.maxTaskRetryCount) }),
});

/** It is started again whatever it failed of (seed), unless it or its job says how often. */
const managerOf = (body: z.output<typeof jobManager>, jobRetries: number | undefined): JobManager => ({
  name: body.name,
  commandLine: body.commandLine,
  maxTaskRetryCount: body.taskConstraints?.maxTaskRetryCount ?? jobRetries ?? -1,
  exclusive: body.runExclusive ?? true,
  killJobOnCompletion: body.killJobOnCompletion ?? true,
  ...present({
    resourceFiles: body.resourceFiles,
    environment: body.environmentSettings,
    runElevated: body.runElevated,
    maxWallClockMs: body.taskConstraints?.maxWallClockTime,
    retentionMs: body.taskConstraints?.retentionTime,
  }),
});

/** `poolName` is the name that a job shows its pool by: it may change while the job is disabled. */
export const jobBody = z.strictObject({ priority: priority.optional(), jobConstraints: jobConstraints.optional(), poolName: name.optional() });
type JobBody = z.output<typeof jobBody>;
type JobChange = { priority?: number; constraints?: JobConstraints; pool?: string };

/** PATCH: what is given is replaced, `jobConstraints` as a whole. */
export const jobChange = (body: JobBody): JobChange => ({
  ...present({ priority: body.priority, pool: body.poolName }),
  ...(body.jobConstraints ? { constraints: constraintsOf(body.jobConstraints) } : {}),
});

/** PUT: everything is replaced, but for the pool that is not named: a job has one. */
export const jobReplacement = (body: JobBody): JobChange => ({
  priority: body.priority ?? 0,
  constraints: constraintsOf(body.jobConstraints),
  ...present({ pool: body.poolName }),
});

export const disableJobBody = z.strictObject({ disableTasks: word("requeue", "terminate", "wait") });

export const terminateJobBody = z.strictObject({ terminateReason: text(TEXT_MAX, 1).optional() });

// ---------------------------------------------------------------- tasks

export const taskBody = z.strictObject({
  name,
  commandLine,
  resourceFiles: resourceFiles.optional(),
  environmentSettings: environmentSettings.optional(),
  affinityInfo: z.strictObject({ affinityId: text(TEXT_MAX) }).optional(),
  runElevated: z.boolean().optional(),
  taskConstraints: taskConstraints.optional(),
});
export type TaskBody = z.output<typeof taskBody>;

/** PUT: the constraints as a whole, what is missing by its default; the environment where it is given (seed: it may be). */
export const taskUpdateBody = z.strictObject({ taskConstraints: taskBody.shape.taskConstraints, environmentSettings: environmentSettings.optional() });

export const taskUpdate = ({ taskConstraints: constraints, environmentSettings: environment }: z.output<typeof taskUpdateBody>): TaskUpdate => ({
  ...present({
    maxWallClockMs: constraints?.maxWallClockTime,
    retentionMs: constraints?.retentionTime,
    maxTaskRetryCount: constraints?.maxTaskRetryCount,
    environment,
  }),
});

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
