// What the service sends and takes, as far as this client uses it: the wire's own names (reference, section 5). Types only.

export interface ResourceFile {
  readonly blobSource: string;
  readonly filePath: string;
}

export interface Setting {
  readonly name: string;
  readonly value: string;
}

export interface NewPool {
  readonly name: string;
  readonly osFamily: string;
  readonly tvmSize: string;
  /** Left out of a pool with a formula. */
  readonly targetDedicated?: number;
  readonly enableAutoScale?: boolean;
  readonly autoScaleFormula?: string;
  readonly autoScaleEvaluationInterval?: string;
  /** Of this service: holds whatever the formula says. */
  readonly autoScaleMaxDedicated?: number;
  readonly resizeTimeout?: string;
  readonly maxTasksPerTVM?: number;
  readonly communication?: boolean;
  readonly schedulingPolicy?: { readonly tvmFillType: "Spread" | "Pack" };
  readonly startTask?: {
    readonly commandLine: string;
    readonly resourceFiles?: readonly ResourceFile[];
    readonly maxTaskRetryCount?: number;
    readonly waitForSuccess?: boolean;
  };
  readonly certificateReferences?: readonly CertificateReference[];
  readonly metadata?: readonly Setting[];
}

export interface CertificateReference {
  readonly thumbprint: string;
  readonly thumbprintAlgorithm: string;
  readonly storeLocation?: string;
  readonly storeName?: string;
  readonly visibility?: string;
}

export interface NewCertificate {
  readonly thumbprint: string;
  readonly thumbprintAlgorithm: string;
  /** Base64 of the file. */
  readonly data: string;
  readonly certificateFormat?: "pfx" | "cer";
  readonly password?: string;
}

export interface CertificateResource {
  readonly thumbprint: string;
  readonly thumbprintAlgorithm: string;
  readonly state: string;
  readonly stateTransitionTime: string;
  readonly publicData?: string;
  readonly deleteCertificateError?: { readonly code: string; readonly message?: string; readonly values?: readonly Setting[] };
  readonly [more: string]: unknown;
}

export interface ResizePool {
  readonly targetDedicated: number;
  readonly resizeTimeout?: string;
  readonly tvmDeallocationOption?: string;
}

/** What is left out keeps its value while autoscale is on. */
export interface EnableAutoScale {
  readonly autoScaleFormula?: string;
  readonly autoScaleEvaluationInterval?: string;
  readonly autoScaleMaxDedicated?: number;
}

/** One evaluation of a formula. */
export interface AutoScaleRunResource {
  readonly timestamp: string;
  readonly results: string;
  readonly error?: { readonly code: string; readonly message: string; readonly values: readonly { readonly name: string; readonly value: string }[] };
}

/** Samples and evaluations of a pool, oldest first. */
export interface AutoScaleRecordResource {
  readonly at: string;
  readonly pool: string;
  readonly target: number;
  readonly currentDedicated: number;
  readonly taskSlots: number;
  readonly tvmSize: string;
  /** Missing: autoscale is off. */
  readonly autoScale?: { readonly formula: string; readonly intervalMs: number; readonly targetMax?: number; readonly dueAt: string };
  readonly samplePeriodMs: number;
  readonly wantedPercent: number;
  /** Of five minutes each, from `start`; `times` in milliseconds since 1970, `values` by metric. An aggregated one is an average of the five minutes. */
  readonly samples: readonly {
    readonly start: string;
    readonly times: readonly number[];
    readonly values: Readonly<Record<string, readonly (number | null)[]>>;
    readonly aggregated: boolean;
  }[];
  readonly runs: readonly AutoScalePastRun[];
}

export interface AutoScalePastRun {
  readonly at: string;
  readonly formula: string;
  readonly results: string;
  readonly error?: { readonly code: string; readonly message: string; readonly detail: string; readonly line: number; readonly column: number };
  readonly targetBefore: number;
  readonly target: number;
  readonly option: string;
  readonly inputs: { readonly currentDedicated: number; readonly taskSlots: number; readonly seed: number; readonly periodMs: number; readonly wantedPercent: number; readonly targetMax?: number };
  /** Whether it gave the same when it was made again from what is stored of it. */
  readonly replayed: "same" | "different" | "unknown";
}

export interface RemoveTvms {
  readonly tvmList: readonly string[];
  readonly resizeTimeout?: string;
  readonly tvmDeallocationOption?: string;
}

export interface NewTvmUser {
  readonly name: string;
  readonly password: string;
  readonly isAdmin?: boolean;
  /** ISO 8601; absent: a day from now. */
  readonly expiryTime?: string;
}

export interface SshAccess {
  readonly host: string;
  readonly port: number;
  readonly platform?: string;
  readonly reachableFrom: string;
  readonly users: readonly { readonly name: string; readonly account: string; readonly isAdmin: boolean; readonly expiryTime: string }[];
}

export interface SizeResource {
  readonly name: string;
  readonly cores: number;
  readonly memoryMB: number;
  readonly diskGB: number;
  readonly maxTasksPerTVM: number;
}

export interface PoolResource {
  readonly name: string;
  readonly state: string;
  readonly allocationState: string;
  readonly tvmSize: string;
  readonly targetDedicated: number;
  readonly currentDedicated: number;
  readonly maxTasksPerTVM: number;
  readonly creationTime: string;
  readonly resizeError?: { readonly code: string; readonly message?: string };
  readonly enableAutoScale?: boolean;
  readonly autoScaleFormula?: string;
  readonly autoScaleRun?: AutoScaleRunResource;
  readonly [more: string]: unknown;
}

export interface TvmResource {
  readonly name: string;
  readonly state: string;
  readonly stateTransitionTime: string;
  readonly ipAddress?: string;
  readonly recentTasks?: readonly { readonly workItemName: string; readonly taskName: string; readonly taskState: string }[];
  readonly startTaskInfo?: { readonly state: string; readonly exitCode?: number; readonly schedulingError?: SchedulingError };
  readonly [more: string]: unknown;
}

export interface Constraints {
  readonly maxWallClockTime?: string;
  readonly maxTaskRetryCount?: number;
  readonly retentionTime?: string;
}

export interface NewSchedule {
  readonly doNotRunUntil?: string;
  readonly doNotRunAfter?: string;
  readonly startWindow?: string;
  readonly recurrenceInterval?: string;
}

export interface NewAutoPool {
  readonly autoPoolNamePrefix?: string;
  readonly poolLifeTimeOption: "workitem" | "job";
  readonly keepAlive?: boolean;
  readonly pool: Omit<NewPool, "name">;
}

export interface NewWorkItem {
  readonly name: string;
  readonly schedule?: NewSchedule;
  readonly jobExecutionEnvironment: { readonly poolName: string } | { readonly autoPoolSpecification: NewAutoPool };
  readonly jobSpecification?: {
    readonly priority?: number;
    readonly jobConstraints?: Constraints;
    readonly jobManager?: NewJobManager;
  };
  readonly metadata?: readonly Setting[];
}

/** What is given replaces what was there, whole. */
export type WorkItemChange = Partial<Omit<NewWorkItem, "name" | "schedule">> & { readonly schedule?: NewSchedule | null };

/** The task that is made with the job, before any other; see the service's documentation of job managers. */
export interface NewJobManager {
  readonly name: string;
  readonly commandLine: string;
  readonly resourceFiles?: readonly ResourceFile[];
  readonly environmentSettings?: readonly Setting[];
  readonly taskConstraints?: Constraints;
  readonly runElevated?: boolean;
  /** Default true: nothing else runs on its TVM. */
  readonly runExclusive?: boolean;
  /** Default true: the job ends with it. */
  readonly killJobOnCompletion?: boolean;
}

export interface JobChange {
  readonly priority?: number;
  readonly jobConstraints?: Constraints;
  /** Only while the job is disabled. */
  readonly poolName?: string;
}

export interface WorkItemResource {
  readonly name: string;
  readonly state: string;
  readonly creationTime: string;
  readonly schedule?: NewSchedule;
  readonly jobExecutionEnvironment?: { readonly poolName?: string; readonly autoPoolSpecification?: NewAutoPool };
  readonly executionInfo?: { readonly nextRunTime?: string; readonly recentJob?: { readonly name: string }; readonly endTime?: string };
  readonly [more: string]: unknown;
}

export interface JobResource {
  readonly name: string;
  readonly state: string;
  readonly creationTime: string;
  readonly priority?: number;
  readonly jobConstraints?: Constraints;
  readonly poolName?: string;
  readonly executionInfo?: { readonly startTime?: string; readonly endTime?: string; readonly terminateReason?: string; readonly schedulingError?: SchedulingError };
  readonly [more: string]: unknown;
}

export interface NewTask {
  readonly name: string;
  readonly commandLine: string;
  readonly resourceFiles?: readonly ResourceFile[];
  readonly environmentSettings?: readonly Setting[];
  readonly affinityInfo?: { readonly affinityId: string };
  readonly runElevated?: boolean;
  readonly taskConstraints?: Constraints;
}

export interface SchedulingError {
  readonly category: string;
  readonly code: string;
  readonly message?: string;
}

export interface TaskResource {
  readonly name: string;
  readonly state: string;
  readonly commandLine: string;
  readonly creationTime: string;
  readonly stateTransitionTime: string;
  readonly executionInfo?: {
    readonly startTime?: string;
    readonly endTime?: string;
    readonly exitCode?: number;
    readonly retryCount?: number;
    readonly requeueCount?: number;
    readonly schedulingError?: SchedulingError;
  };
  readonly taskConstraints?: Constraints;
  readonly tvmInfo?: { readonly tvmName?: string; readonly poolName?: string };
  readonly [more: string]: unknown;
}

export interface FileEntry {
  readonly name: string;
  readonly isDirectory: boolean;
  readonly properties?: { readonly contentLength?: string; readonly lastModified?: string };
}

/** Bytes from `offset`, `length` of them or all to the end. */
export interface FileRange {
  readonly offset: number;
  readonly length?: number;
}

export interface FileSlice {
  readonly bytes: Buffer;
}

/** Tasks of a job by state; `failed` is part of `completed`. */
export interface Counts {
  readonly active: number;
  readonly assigned: number;
  readonly running: number;
  readonly completed: number;
  readonly failed: number;
  readonly retries: number;
  readonly requeues: number;
  readonly cpuMs: number;
}

export interface WhyAnswer {
  readonly state: string;
  readonly reasons: readonly string[];
}

export interface HistoryCommit {
  readonly version: number;
  readonly by: string;
  readonly events: readonly { readonly type: string; readonly at: string; readonly [field: string]: unknown }[];
}

export interface UploadAddress {
  readonly readUrl: string;
  readonly writeUrl: string;
}

export interface StoredFile {
  readonly path: string;
  readonly length: number;
  readonly modifiedAt?: string;
}
