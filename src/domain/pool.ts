// A pool: what its TVMs are, how many there should be, and which there are. The stream of a pool names its TVMs, so the
// target and the present number never disagree by more than what is under way.
import { faultMessage, isFault } from "./autoscale/fault";
import { parseFormula } from "./autoscale/parse";
import { type AutoScaleRun, type Evaluating, type RunError, runFormula } from "./autoscale/run";
import { sameCertificate } from "./certificate";
import { type Decider, type Rejection, present, rejection } from "./decider";
import type { ResizeError } from "./errors";
import type { TaskFile } from "./task";
import { addMs, laterThan, msBetween } from "./time";

export interface StartTask {
  readonly commandLine: string;
  readonly resourceFiles?: readonly TaskFile[];
  readonly environment?: readonly { readonly name: string; readonly value: string }[];
  readonly runElevated?: boolean;
  readonly maxTaskRetryCount: number;
  /** Seed: waiting is advised, so it is the default; `false` lets tasks run beside and after it. */
  readonly waitForSuccess: boolean;
}

export interface MetadataItem {
  readonly name: string;
  readonly value: string;
}

export interface CertificateReference {
  readonly thumbprint: string;
  readonly thumbprintAlgorithm: string;
  readonly storeLocation?: string;
  readonly storeName?: string;
  readonly visibility?: string;
}

export interface PoolSpec {
  readonly tvmSize: string;
  readonly osFamily: string;
  readonly targetOSVersion: string;
  readonly targetDedicated: number;
  readonly resizeTimeoutMs: number;
  readonly communication: boolean;
  readonly maxTasksPerTvm: number;
  readonly fillType: "Spread" | "Pack";
  readonly startTask?: StartTask;
  readonly certificateReferences?: readonly CertificateReference[];
  readonly metadata?: readonly MetadataItem[];
  /** The storage account that the TVMs should be near to (seed): a hint that is kept and shown. */
  readonly storageAccountAffinity?: string;
  /** Of a pool made with autoscale; what it is now is in the pool's `autoScale`. */
  readonly autoScale?: AutoScaleSpec;
}

export interface AutoScaleSpec {
  readonly formula: string;
  readonly intervalMs: number;
  /** Whatever the formula says, no more TVMs than this. */
  readonly targetMax?: number;
}

/** Autoscale of a pool while it is on. */
export interface AutoScale extends AutoScaleSpec {
  /** Of the last request that enabled it; absent when the pool was made with it. */
  readonly enabledAt?: string;
  /** When the next evaluation is due. */
  readonly dueAt: string;
  readonly run?: { readonly at: string; readonly results: string; readonly error?: RunError };
}

export type DeallocationOption = "requeue" | "terminate" | "taskcompletion" | "retaineddata";

export type PoolEvent =
  | { type: "PoolCreated"; at: string; account: string; name: string; spec: PoolSpec }
  | {
      type: "PoolUpdated";
      at: string;
      startTask?: StartTask | null;
      certificateReferences?: readonly CertificateReference[];
      metadata?: readonly MetadataItem[];
    }
  /** `tvms`: these go by name; the others stay unless they are too many. */
  /** `auto`: by the pool's formula, so that it is no change of the pool's definition. */
  | { type: "PoolResized"; at: string; target: number; timeoutMs: number; option: DeallocationOption; tvms?: readonly string[]; auto?: boolean }
  | { type: "PoolAutoScaleEnabled"; at: string; formula: string; intervalMs: number; targetMax?: number }
  | { type: "PoolAutoScaleEvaluated"; at: string; run: AutoScaleRun }
  | { type: "PoolAutoScaleDisabled"; at: string }
  | { type: "PoolOsUpgradeStarted"; at: string; version: string }
  | { type: "PoolOsUpgradeEnded"; at: string }
  | { type: "PoolResizeStopped"; at: string }
  | { type: "PoolResizeEnded"; at: string; error?: ResizeError }
  | { type: "PoolTvmsAllocated"; at: string; tvms: readonly string[] }
  | { type: "PoolTvmsReleased"; at: string; tvms: readonly string[] }
  | { type: "PoolDeletionStarted"; at: string }
  | { type: "PoolDeleted"; at: string };

export type PoolCommand =
  /** `evaluating`: with autoscale, whose first evaluation gives the target. */
  | { type: "CreatePool"; at: string; account: string; name: string; spec: PoolSpec; evaluating?: Evaluating }
  /** What is left out keeps its value; `defaultIntervalMs` is taken when there is none, `everyMs` passes between two of these. */
  | { type: "EnableAutoScale"; at: string; formula?: string; intervalMs?: number; targetMax?: number; defaultIntervalMs: number; everyMs: number; evaluating: Evaluating }
  | { type: "EvaluateAutoScale"; at: string; evaluating: Evaluating }
  | { type: "DisableAutoScale"; at: string }
  | {
      type: "UpdatePool";
      at: string;
      startTask?: StartTask | null;
      certificateReferences?: readonly CertificateReference[];
      metadata?: readonly MetadataItem[];
    }
  /** Certificates that are gone: whatever refers to them does so no more. */
  | { type: "DropCertificates"; at: string; certificates: readonly Pick<CertificateReference, "thumbprint" | "thumbprintAlgorithm">[] }
  | { type: "ResizePool"; at: string; target: number; timeoutMs: number; option: DeallocationOption }
  | { type: "RemoveTvms"; at: string; tvms: readonly string[]; timeoutMs: number; option: DeallocationOption }
  | { type: "UpgradePoolOs"; at: string; version: string }
  | { type: "EndPoolOsUpgrade"; at: string }
  | { type: "StopPoolResize"; at: string }
  | { type: "EndPoolResize"; at: string; error?: ResizeError }
  | { type: "AllocateTvms"; at: string; count: number }
  | { type: "ReleaseTvms"; at: string; tvms: readonly string[] }
  | { type: "DeletePool"; at: string }
  | { type: "ForgetPool"; at: string };

export interface Pool {
  readonly phase: "absent" | "active" | "deleting";
  readonly generation: number;
  readonly account: string;
  readonly name: string;
  readonly spec: PoolSpec;
  readonly allocation: "steady" | "resizing" | "stopping";
  readonly resize: { readonly since: string; readonly timeoutMs: number; readonly option: DeallocationOption; readonly tvms?: readonly string[] };
  /** Under way: the version that the TVMs had before. */
  readonly upgrade?: { readonly since: string; readonly from: string };
  readonly resizeError?: ResizeError;
  /** Absent: off. */
  readonly autoScale?: AutoScale;
  /** Names of the TVMs that are in the pool now, oldest first. */
  readonly tvms: readonly string[];
  /** TVMs ever allocated: part of the next one's name. */
  readonly tvmSerial: number;
  /** How long TVMs have been in the pool, all together, up to the last time that some came or went. */
  readonly used?: { readonly tvmMs: number; readonly until: string };
  readonly createdAt: string;
  readonly modifiedAt: string;
  readonly stateAt: string;
  readonly allocationAt: string;
}

const absent: Pool = {
  phase: "absent",
  generation: 0,
  account: "",
  name: "",
  spec: {
    tvmSize: "small",
    osFamily: "",
    targetOSVersion: "*",
    targetDedicated: 0,
    resizeTimeoutMs: 0,
    communication: false,
    maxTasksPerTvm: 1,
    fillType: "Spread",
  },
  allocation: "steady",
  resize: { since: "", timeoutMs: 0, option: "requeue" },
  tvms: [],
  tvmSerial: 0,
  createdAt: "",
  modifiedAt: "",
  stateAt: "",
  allocationAt: "",
};

/** `tvm-{number}_{index}-{yyyymmdd}t{hhmmss}z`, the time being that of allocation (reference 5.3). */
const tvmName = (serial: number, index: number, at: string): string =>
  `tvm-${serial}_${index}-${at.slice(0, 10).replaceAll("-", "")}t${at.slice(11, 19).replaceAll(":", "")}z`;

const notActive = (state: Pool): Rejection | undefined =>
  state.phase === "absent"
    ? rejection("PoolNotFound")
    : state.phase === "deleting"
      ? rejection("PoolBeingDeleted", "The pool is being deleted.")
      : undefined;

export const pool: Decider<Pool, PoolCommand, PoolEvent> = {
  initial: absent,

  decide(command, state) {
    switch (command.type) {
      case "CreatePool":
        if (state.phase === "deleting") return rejection("PoolBeingDeleted", "A pool of that name is being deleted.");
        if (state.phase !== "absent") return rejection("PoolExists", "The account already has a pool of that name.");
        return create(command);
      case "UpdatePool":
        return notActive(state) ?? [{ ...command, type: "PoolUpdated", at: laterThan(command.at, state.modifiedAt) }];
      case "DropCertificates":
        return dropCertificates(state, command);
      case "EnableAutoScale":
        return notActive(state) ?? enableAutoScale(command, state);
      case "EvaluateAutoScale":
        return evaluateAutoScale(command, state);
      case "DisableAutoScale":
        return notActive(state) ?? disableAutoScale(command, state);
      case "ResizePool":
        if (state.phase === "active" && state.autoScale)
          return rejection("OperationInvalidForCurrentState", "The pool's size follows its autoscale formula: disable autoscale before resizing it by hand.");
        if (state.phase === "active" && state.allocation !== "steady")
          return rejection("PoolBeingResized", "The pool is being resized: wait until its allocationState is steady, or stop the resize first.");
        return notActive(state) ?? beingUpgraded(state) ?? [{ ...command, type: "PoolResized", at: laterThan(command.at, state.modifiedAt) }];
      case "RemoveTvms":
        return removeTvms(command, state);
      case "UpgradePoolOs":
        return upgradeOs(command, state);
      case "EndPoolOsUpgrade":
        return state.phase === "active" && state.upgrade ? [{ type: "PoolOsUpgradeEnded", at: command.at }] : [];
      case "StopPoolResize":
        if (state.phase === "active" && state.allocation !== "resizing")
          return rejection("OperationInvalidForCurrentState", "The pool is not being resized.");
        return notActive(state) ?? [{ type: "PoolResizeStopped", at: laterThan(command.at, state.modifiedAt) }];
      case "EndPoolResize":
        if (state.phase !== "active" || state.allocation === "steady") return [];
        return [{ type: "PoolResizeEnded", at: command.at, ...present({ error: command.error }) } as PoolEvent];
      case "AllocateTvms":
        return allocate(command, state);
      case "ReleaseTvms": {
        const tvms = command.tvms.filter((name) => state.tvms.includes(name));
        return tvms.length === 0 ? [] : [{ type: "PoolTvmsReleased", at: command.at, tvms }];
      }
      case "DeletePool":
        return notActive(state) ?? [{ type: "PoolDeletionStarted", at: command.at }];
      case "ForgetPool":
        return state.phase === "deleting" && state.tvms.length === 0 ? [{ type: "PoolDeleted", at: command.at }] : [];
    }
  },

  evolve(state, event) {
    switch (event.type) {
      case "PoolCreated": {
        const { autoScale, ...poolSpec } = event.spec;
        return {
          ...absent,
          phase: "active",
          generation: state.generation + 1,
          tvmSerial: state.tvmSerial,
          account: event.account,
          name: event.name,
          spec: poolSpec,
          allocation: "resizing",
          resize: { since: event.at, timeoutMs: autoScale ? AUTO_RESIZE_MS : event.spec.resizeTimeoutMs, option: "requeue" },
          createdAt: event.at,
          modifiedAt: event.at,
          stateAt: event.at,
          allocationAt: event.at,
          ...present({ autoScale: autoScale && { ...autoScale, dueAt: event.at } }),
        };
      }
      case "PoolUpdated":
        return { ...state, spec: updatedSpec(state.spec, event), modifiedAt: event.at };
      case "PoolResized": {
        const { resizeError: _, ...rest } = state;
        return {
          ...rest,
          spec: { ...state.spec, targetDedicated: event.target, ...(event.auto ? {} : { resizeTimeoutMs: event.timeoutMs }) },
          allocation: "resizing",
          resize: { since: event.at, timeoutMs: event.timeoutMs, option: event.option, ...present({ tvms: event.tvms }) },
          ...(event.auto ? {} : { modifiedAt: event.at }),
          allocationAt: event.at,
        };
      }
      case "PoolAutoScaleEnabled": {
        const { formula, intervalMs, targetMax } = event;
        const run = state.autoScale?.run;
        return { ...state, autoScale: { formula, intervalMs, enabledAt: event.at, dueAt: event.at, ...present({ targetMax, run }) }, modifiedAt: event.at };
      }
      case "PoolAutoScaleEvaluated": {
        if (!state.autoScale) return state;
        const { results, error } = event.run;
        return { ...state, autoScale: { ...state.autoScale, dueAt: addMs(event.at, state.autoScale.intervalMs), run: { at: event.at, results, ...present({ error }) } } };
      }
      case "PoolAutoScaleDisabled": {
        const { autoScale: _, ...rest } = state;
        return { ...rest, modifiedAt: event.at };
      }
      case "PoolOsUpgradeStarted":
        return {
          ...state,
          spec: { ...state.spec, targetOSVersion: event.version },
          upgrade: { since: event.at, from: state.spec.targetOSVersion },
          modifiedAt: event.at,
          stateAt: event.at,
        };
      case "PoolOsUpgradeEnded": {
        const { upgrade: _, ...rest } = state;
        return { ...rest, stateAt: event.at };
      }
      case "PoolResizeStopped":
        return { ...state, allocation: "stopping", modifiedAt: event.at, allocationAt: event.at };
      case "PoolResizeEnded": {
        const { resizeError: _, ...rest } = state;
        const { tvms: _tvms, ...resize } = state.resize;
        return { ...rest, resize, allocation: "steady", allocationAt: event.at, ...present({ resizeError: event.error }) };
      }
      case "PoolTvmsAllocated":
        return { ...state, tvms: [...state.tvms, ...event.tvms], tvmSerial: state.tvmSerial + event.tvms.length, used: usedUntil(state, event.at) };
      case "PoolTvmsReleased": {
        const gone = new Set(event.tvms);
        return { ...state, tvms: state.tvms.filter((name) => !gone.has(name)), used: usedUntil(state, event.at) };
      }
      case "PoolDeletionStarted":
        return { ...withoutUpgrade(state), phase: "deleting", stateAt: event.at };
      case "PoolDeleted":
        return { ...absent, generation: state.generation, tvmSerial: state.tvmSerial };
    }
  },
};

/** TVM time up to an instant: each TVM counts from its allocation to its release. */
export const usedUntil = (state: Pool, at: string): NonNullable<Pool["used"]> => {
  const since = state.used?.until ?? at;
  return { tvmMs: (state.used?.tvmMs ?? 0) + state.tvms.length * Math.max(0, msBetween(since, at)), until: at > since ? at : since };
};

// ---------------------------------------------------------------- autoscale

/** A resize by formula takes as long as it takes: the resize timeout has no effect then (reference autoscale-formula, 1.2). */
const AUTO_RESIZE_MS = 7 * 86_400_000;

/** The code, and where and why, of a formula that cannot be accepted; undefined: it can. */
export const formulaRefusal = (text: string): Rejection | undefined => {
  const parsed = parseFormula(text);
  if (!isFault(parsed)) return undefined;
  return rejection(parsed.code, `${faultMessage(parsed.code)}. ${parsed.detail}`, { PropertyName: "autoScaleFormula", Message: parsed.detail, Line: String(parsed.line), Column: String(parsed.column) });
};

/** The pool as its formula sees it. */
export const poolNow = (state: Pick<Pool, "spec" | "tvms">, targetMax?: number) => ({
  target: state.spec.targetDedicated,
  currentDedicated: state.tvms.length,
  taskSlots: state.spec.maxTasksPerTvm,
  targetMax,
});

const create = ({ evaluating, ...command }: Extract<PoolCommand, { type: "CreatePool" }>): readonly PoolEvent[] | Rejection => {
  const { spec, at } = command;
  if (!spec.autoScale || !evaluating) return [{ ...command, type: "PoolCreated" }];
  const refusal = formulaRefusal(spec.autoScale.formula);
  if (refusal) return refusal;
  const run = runFormula(spec.autoScale.formula, Date.parse(at), poolNow({ spec, tvms: [] }, spec.autoScale.targetMax), evaluating);
  return [
    { ...command, type: "PoolCreated", spec: { ...spec, targetDedicated: run.target } },
    { type: "PoolAutoScaleEvaluated", at, run },
  ];
};

/** The formula is parsed before anything changes, and evaluated at once (reference autoscale-formula, 1.2). */
const enableAutoScale = (command: Extract<PoolCommand, { type: "EnableAutoScale" }>, state: Pool): readonly PoolEvent[] | Rejection => {
  const before = state.autoScale;
  const formula = command.formula ?? before?.formula;
  if (formula === undefined) return rejection("MissingRequiredProperty", undefined, { PropertyName: "autoScaleFormula" });
  if (before?.enabledAt !== undefined && command.at < addMs(before.enabledAt, command.everyMs))
    return rejection("TooManyEnableAutoScaleRequests", `Autoscale of one pool can be enabled once every ${command.everyMs / 1000} seconds.`);
  const refusal = (before ? undefined : notSteady(state)) ?? beingUpgraded(state) ?? formulaRefusal(formula);
  if (refusal) return refusal;
  const at = laterThan(command.at, state.modifiedAt);
  const targetMax = command.targetMax ?? before?.targetMax;
  const intervalMs = command.intervalMs ?? before?.intervalMs ?? command.defaultIntervalMs;
  const run = runFormula(formula, Date.parse(at), poolNow(state, targetMax), command.evaluating);
  return [
    { type: "PoolAutoScaleEnabled", at, formula, intervalMs, ...present({ targetMax }) } as PoolEvent,
    { type: "PoolAutoScaleEvaluated", at, run },
    autoResize(at, run),
  ];
};

const autoResize = (at: string, { target, option }: AutoScaleRun): PoolEvent => ({ type: "PoolResized", at, target, timeoutMs: AUTO_RESIZE_MS, option, auto: true });

/** When it is due; a pool whose resize is being stopped or whose system is being upgraded waits for that. */
const evaluateAutoScale = ({ at, evaluating }: Extract<PoolCommand, { type: "EvaluateAutoScale" }>, state: Pool): readonly PoolEvent[] => {
  const { autoScale } = state;
  if (state.phase !== "active" || !autoScale || at < autoScale.dueAt || state.upgrade || state.allocation === "stopping") return [];
  const run = runFormula(autoScale.formula, Date.parse(at), poolNow(state, autoScale.targetMax), evaluating);
  const evaluation: PoolEvent = { type: "PoolAutoScaleEvaluated", at, run };
  const moves = !run.error && (run.target !== state.spec.targetDedicated || isAstray(state));
  return moves ? [evaluation, autoResize(at, run)] : [evaluation];
};

/** Steady, and not at its target: an earlier resize ended early. What the quota forbids is not tried again and again. */
const isAstray = (state: Pool): boolean =>
  state.allocation === "steady" && state.tvms.length !== state.spec.targetDedicated && state.resizeError?.code !== "AccountCoreQuotaReached";

/** The target stays; the allocation pulses once more, or the resize under way stops (reference autoscale-formula, 1.2). */
const disableAutoScale = (command: Extract<PoolCommand, { type: "DisableAutoScale" }>, state: Pool): readonly PoolEvent[] => {
  const at = laterThan(command.at, state.modifiedAt);
  const disabled: PoolEvent = { type: "PoolAutoScaleDisabled", at };
  if (!state.autoScale || state.allocation === "stopping") return [disabled];
  if (state.allocation === "resizing") return [disabled, { type: "PoolResizeStopped", at }];
  const { targetDedicated: target, resizeTimeoutMs: timeoutMs } = state.spec;
  return [disabled, { type: "PoolResized", at, target, timeoutMs, option: "requeue" }];
};

// ---------------------------------------------------------------- TVMs

/** Most TVMs named by one event: a bigger pool grows in several. */
export const ALLOCATE_MAX = 200;

const allocate = (command: Extract<PoolCommand, { type: "AllocateTvms" }>, state: Pool): readonly PoolEvent[] => {
  const room = state.phase === "active" && state.allocation === "resizing" ? state.spec.targetDedicated - state.tvms.length : 0;
  const count = Math.min(command.count, room, ALLOCATE_MAX);
  if (count <= 0) return [];
  const tvms = Array.from({ length: count }, (_, index) => tvmName(state.tvmSerial + index + 1, index + 1, command.at));
  return [{ type: "PoolTvmsAllocated", at: command.at, tvms }];
};

const withoutUpgrade = ({ upgrade: _, ...rest }: Pool): Pool => rest;

const notSteady = (state: Pool): Rejection | undefined =>
  state.allocation === "steady"
    ? undefined
    : rejection("PoolBeingResized", "The pool is being resized: wait until its allocationState is steady, or stop the resize first.");

const beingUpgraded = (state: Pool): Rejection | undefined =>
  state.upgrade ? rejection("OperationInvalidForCurrentState", "The pool's operating system is being upgraded: wait until its state is active.") : undefined;

/** By name: the target goes down by their number, or the pool would grow again (reference section 7, 6). */
const removeTvms = (command: Extract<PoolCommand, { type: "RemoveTvms" }>, state: Pool): readonly PoolEvent[] | Rejection => {
  const refusal = notActive(state) ?? notSteady(state) ?? beingUpgraded(state);
  if (refusal) return refusal;
  const known = new Map(state.tvms.map((name) => [name.toLowerCase(), name]));
  const unknown = command.tvms.find((name) => !known.has(name.toLowerCase()));
  if (unknown !== undefined) return rejection("TVMNotFound", "The pool has no TVM of that name.", { PropertyName: "tvmList", PropertyValue: unknown });
  const tvms = [...new Set(command.tvms.map((name) => known.get(name.toLowerCase()) as string))];
  const { at, timeoutMs, option } = command;
  return [{ type: "PoolResized", at: laterThan(at, state.modifiedAt), target: Math.max(0, state.spec.targetDedicated - tvms.length), timeoutMs, option, tvms }];
};

/** Versions of Cloud Services name their family: `WA-GUEST-OS-4.19_201504-01` is of family 4. */
const GUEST_OS = /^WA-GUEST-OS-(\d+)\.\d+_\d{6}-\d{2}$/i;

const upgradeOs = (command: Extract<PoolCommand, { type: "UpgradePoolOs" }>, state: Pool): readonly PoolEvent[] | Rejection => {
  const refusal = notActive(state) ?? notSteady(state);
  if (refusal) return refusal;
  const { version } = command;
  if (state.upgrade) return rejection("UpgradePoolVersionConflict", "The pool's operating system is being upgraded already.");
  if (version === state.spec.targetOSVersion) return rejection("PoolVersionEqualsUpgradeVersion", `The pool's target is ${version} already.`);
  const family = GUEST_OS.exec(version)?.[1];
  if (family !== undefined && family !== state.spec.osFamily)
    return rejection("OSVersionNotFound", `The version is of family ${family}, and the pool is of family ${state.spec.osFamily}.`);
  return [{ type: "PoolOsUpgradeStarted", at: laterThan(command.at, state.modifiedAt), version }];
};

/** The version that the TVMs have (reference 5.2: `*` while the target is `*`). */
export const currentOsVersion = (state: Pool): string => state.upgrade?.from ?? state.spec.targetOSVersion;

const dropCertificates = (state: Pool, { at, certificates }: Extract<PoolCommand, { type: "DropCertificates" }>): PoolEvent[] => {
  if (state.phase !== "active") return [];
  const references = state.spec.certificateReferences ?? [];
  const kept = references.filter((one) => !certificates.some((gone) => sameCertificate(one, gone)));
  return kept.length === references.length ? [] : [{ type: "PoolUpdated", certificateReferences: kept, at: laterThan(at, state.modifiedAt) }];
};

const updatedSpec = (spec: PoolSpec, event: Extract<PoolEvent, { type: "PoolUpdated" }>): PoolSpec => {
  const { startTask, ...rest } = spec;
  const next = event.startTask === undefined ? startTask : (event.startTask ?? undefined);
  return {
    ...rest,
    ...present({ startTask: next, certificateReferences: event.certificateReferences ?? spec.certificateReferences }),
    ...present({ metadata: event.metadata ?? spec.metadata }),
  } as PoolSpec;
};
