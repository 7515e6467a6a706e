// What each stored event must have to be folded: checked whenever events are read back, so that a damaged or unknown one is
// named and never half understood. Events of earlier releases stay valid: fields are added as optional ones, and fields that
// this release does not know are ignored. It never changes an event.
import type { Aggregates } from "./aggregates";
import type { Category } from "./ids";

/** An `instant` is ISO 8601 in UTC with milliseconds; an object is described by what it must have itself. */
type Kind<Value> = Value extends string
  ? "text" | "instant"
  : Value extends number
    ? "number"
    : Value extends boolean
      ? "flag"
      : Value extends readonly unknown[]
        ? "list"
        : Value extends object
          ? Shape<Value>
          : never;
type Needed<T> = { [K in keyof T]-?: object extends Pick<T, K> ? never : K }[keyof T];
type Given<T> = Exclude<keyof T, Needed<T>>;

/** Every field that must be there; under `optional` those that may be, each of the right kind if it is. `null` counts as absent. */
type Shape<T> = { readonly [K in Exclude<Needed<T>, "type">]: Kind<T[K]> } & ([Given<T>] extends [never]
  ? { readonly optional?: never }
  : { readonly optional: { readonly [K in Given<T> & keyof T]: Kind<NonNullable<T[K]>> } });

type Shapes = {
  readonly [C in Category]: {
    readonly [T in Aggregates[C]["event"]["type"]]: Shape<Extract<Aggregates[C]["event"], { type: T }>>;
  };
};

const error = { category: "text", code: "text", optional: { message: "text", details: "list" } } as const;
const usage = { userMs: "number", kernelMs: "number", maxRssKib: "number" } as const;
const startTask = {
  commandLine: "text",
  maxTaskRetryCount: "number",
  waitForSuccess: "flag",
  optional: { resourceFiles: "list", environment: "list", runElevated: "flag" },
} as const;
const autoScale = { formula: "text", intervalMs: "number", optional: { targetMax: "number" } } as const;
const poolSpec = {
  tvmSize: "text",
  osFamily: "text",
  targetOSVersion: "text",
  targetDedicated: "number",
  resizeTimeoutMs: "number",
  communication: "flag",
  maxTasksPerTvm: "number",
  fillType: "text",
  optional: { startTask, certificateReferences: "list", metadata: "list", autoScale, storageAccountAffinity: "text" },
} as const;
const constraints = { maxTaskRetryCount: "number", optional: { maxWallClockMs: "number" } } as const;
const taskSpec = {
  resourceFiles: "list",
  environment: "list",
  runElevated: "flag",
  affinityId: "text",
  maxWallClockMs: "number",
  retentionMs: "number",
  manager: "flag",
} as const;
const manager = {
  name: "text",
  commandLine: "text",
  maxTaskRetryCount: "number",
  exclusive: "flag",
  killJobOnCompletion: "flag",
  optional: taskSpec,
} as const;
const jobSpec = { priority: "number", constraints, specified: "flag", optional: { manager } } as const;
const place = { pool: "text", tvm: "text" } as const;
const at = "instant";
const runError = { code: "text", message: "text", detail: "text", line: "number", column: "number" } as const;
const autoScaleRun = {
  results: "text",
  targetBefore: "number",
  target: "number",
  option: "text",
  inputs: {
    currentDedicated: "number",
    taskSlots: "number",
    seed: "number",
    periodMs: "number",
    wantedPercent: "number",
    optional: { targetMax: "number", answers: "list" },
  },
  optional: { error: runError },
} as const;
const autoPool = { lifetime: "text", keepAlive: "flag", spec: poolSpec } as const;
const workItemSpec = {
  job: jobSpec,
  optional: {
    pool: "text",
    autoPool: { ...autoPool, optional: { prefix: "text" } },
    schedule: { optional: { doNotRunUntil: at, doNotRunAfter: at, startWindowMs: "number", recurrenceMs: "number" } },
    metadata: "list",
  },
} as const;

export const EVENT_SHAPES = {
  pool: {
    PoolCreated: {
      at,
      account: "text",
      name: "text",
      spec: poolSpec,
    },
    PoolUpdated: { at, optional: { startTask, certificateReferences: "list", metadata: "list" } },
    PoolResized: { at, target: "number", timeoutMs: "number", option: "text", optional: { tvms: "list", auto: "flag" } },
    PoolAutoScaleEnabled: { at, formula: "text", intervalMs: "number", optional: { targetMax: "number" } },
    PoolAutoScaleEvaluated: { at, run: autoScaleRun },
    PoolAutoScaleDisabled: { at },
    PoolOsUpgradeStarted: { at, version: "text" },
    PoolOsUpgradeEnded: { at },
    PoolResizeStopped: { at },
    PoolResizeEnded: { at, optional: { error: { code: "text", message: "text" } } },
    PoolTvmsAllocated: { at, tvms: "list" },
    PoolTvmsReleased: { at, tvms: "list" },
    PoolDeletionStarted: { at },
    PoolDeleted: { at },
  },
  tvm: {
    TvmAllocated: { at, account: "text", pool: "text", name: "text", size: "text", slots: "number" },
    TvmJoined: { at, boot: "number", address: "text", cores: "number", platform: "text", separateUser: "flag", optional: { startTask, certificateReferences: "list" } },
    TvmStartTaskStarted: { at, run: "number" },
    TvmStartTaskEnded: { at, run: "number", again: "flag", optional: { startedAt: at, exitCode: "number", error } },
    TvmLost: { at, boot: "number" },
    TvmRecovered: { at, boot: "number" },
    TvmRestartRequested: { at, how: "text", option: "text" },
    TvmRestarting: { at, boot: "number", reason: "text", optional: { ran: "number" } },
    TvmUserAdded: { at, user: "text", account: "text", isAdmin: "flag", expiresAt: at },
    TvmUserUpdated: { at, user: "text", isAdmin: "flag", expiresAt: at },
    TvmUserDeleted: { at, user: "text" },
    TvmLeaving: { at, option: "text" },
    TvmKept: { at },
    TvmDrained: { at, since: at },
    TvmRemoved: { at },
  },
  workItem: {
    WorkItemCreated: { at, account: "text", name: "text", spec: workItemSpec },
    WorkItemJobSpawned: { at, job: "text", optional: { occurrence: at, pool: "text" } },
    WorkItemOccurrencesSkipped: { at, from: at, to: at, count: "number" },
    WorkItemUpdated: { at, spec: workItemSpec },
    WorkItemDisabled: { at },
    WorkItemEnabled: { at },
    WorkItemPoolReleased: { at, pool: "text" },
    WorkItemTerminationStarted: { at },
    WorkItemCompleted: { at },
    WorkItemDeletionStarted: { at },
    WorkItemDeleted: { at },
  },
  job: {
    JobCreated: { at, account: "text", workItem: "text", workItemName: "text", name: "text", pool: "text", spec: jobSpec, optional: { autoPool } },
    JobUpdated: { at, optional: { priority: "number", constraints, pool: "text" } },
    JobManagerQueued: { at },
    JobDisablingStarted: { at, tasks: "text" },
    JobDisabled: { at },
    JobEnabled: { at },
    JobTerminationStarted: { at, reason: "text", byUser: "flag", optional: { error } },
    JobCompleted: { at },
    JobDeletionStarted: { at },
    JobDeleted: { at },
  },
  task: {
    TaskQueued: {
      at,
      job: "text",
      workItemName: "text",
      jobName: "text",
      name: "text",
      order: "text",
      spec: {
        commandLine: "text",
        maxTaskRetryCount: "number",
        optional: { ...taskSpec, exclusive: "flag" },
      },
    },
    TaskAssigned: { at, attempt: "number", pool: "text", tvm: "text" },
    TaskStarted: { at, attempt: "number", optional: { left: place } },
    TaskReturned: { at, attempt: "number" },
    TaskRetried: { at, attempt: "number", exitCode: "number", optional: { usage } },
    TaskRequeued: { at, attempt: "number", reason: "text" },
    TaskCompleted: { at, optional: { attempt: "number", exitCode: "number", error, usage } },
    TaskUpdated: { at, maxTaskRetryCount: "number", optional: { maxWallClockMs: "number", retentionMs: "number", environment: "list" } },
    TaskDeleted: { at },
  },
  certificate: {
    CertificateAdded: { at, account: "text", thumbprint: "text", thumbprintAlgorithm: "text", format: "text", publicData: "text", edition: "text" },
    CertificateDeletionStarted: { at },
    CertificateDeletionFailed: { at, error: { code: "text", message: "text", values: "list" } },
    CertificateDeletionCancelled: { at },
    CertificateRetired: { at },
    CertificateDeleted: { at },
  },
} as const satisfies Shapes;

/** What is wrong with a stored event of this category, as a clause about "it"; undefined: it can be folded. */
export const faultOf = (category: Category, event: unknown): string | undefined => {
  const type = (event as { type?: unknown } | null | undefined)?.type;
  const check = typeof type === "string" ? checks[category]?.get(type) : undefined;
  if (check) return faultIn(check, event as Record<string, unknown>, "");
  return typeof type === "string" ? `it is of type ${type}, which this release does not know for a ${category}` : "it has no type";
};

interface Field {
  readonly name: string;
  readonly kind: string;
  readonly optional: boolean;
  readonly inside: readonly Field[] | undefined;
}

type AnyShape = { readonly [field: string]: string | AnyShape | undefined };

const fieldsOf = (shape: AnyShape, optional = false): Field[] =>
  Object.entries(shape).flatMap(([name, kind]): Field[] => {
    if (kind === undefined) return [];
    if (name === "optional") return fieldsOf(kind as AnyShape, true);
    return [{ name, optional, kind: typeof kind === "string" ? kind : "object", inside: typeof kind === "string" ? undefined : fieldsOf(kind) }];
  });

const checksOf = (shapes: object): ReadonlyMap<string, readonly Field[]> =>
  new Map(Object.entries(shapes as Record<string, AnyShape>).map(([type, shape]) => [type, fieldsOf(shape)]));

// Made ready once: the check runs for every event that is read.
const checks: { readonly [C in Category]: ReadonlyMap<string, readonly Field[]> } = {
  pool: checksOf(EVENT_SHAPES.pool),
  tvm: checksOf(EVENT_SHAPES.tvm),
  workItem: checksOf(EVENT_SHAPES.workItem),
  job: checksOf(EVENT_SHAPES.job),
  task: checksOf(EVENT_SHAPES.task),
  certificate: checksOf(EVENT_SHAPES.certificate),
};

const faultIn = (fields: readonly Field[], holder: Record<string, unknown>, path: string): string | undefined => {
  for (const { name, kind, optional, inside } of fields) {
    const value = holder[name];
    if (value === undefined || value === null) {
      if (!optional) return `it has no ${path}${name}`;
      continue;
    }
    if (!isOf(kind, value)) return `its ${path}${name} is no ${kind}`;
    const deeper = inside && faultIn(inside, value as Record<string, unknown>, `${path}${name}.`);
    if (deeper !== undefined) return deeper;
  }
  return undefined;
};

const INSTANT_LENGTH = "2015-04-01T12:00:00.000Z".length;

const isOf = (kind: string, value: unknown): boolean => {
  switch (kind) {
    case "instant":
      return typeof value === "string" && value.length === INSTANT_LENGTH && value.endsWith("Z");
    case "text":
      return typeof value === "string";
    case "number":
      return typeof value === "number";
    case "flag":
      return typeof value === "boolean";
    case "list":
      return Array.isArray(value);
    default:
      return typeof value === "object" && !Array.isArray(value);
  }
};
