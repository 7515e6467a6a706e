// A task virtual machine: allocated, joined by its agent at each start (a boot), prepared by the start task, usable, lost,
// leaving, gone. Its tasks are streams of their own; that it is busy is for the views to say.
import { type Decider, type Rejection, present, rejection } from "./decider";
import type { SchedulingError } from "./errors";
import type { CertificateReference, DeallocationOption, StartTask } from "./pool";

/** Why a TVM is started anew: at its user's wish, or because its pool gets another operating system. */
export type RestartHow = "reboot" | "reimage" | "upgrade";
export type RestartReason = "machineExited" | RestartHow;

export type TvmEvent =
  | { type: "TvmAllocated"; at: string; account: string; pool: string; name: string; size: string; slots: number }
  | {
      type: "TvmJoined";
      at: string;
      boot: number;
      address: string;
      cores: number;
      platform: string;
      separateUser: boolean;
      startTask?: StartTask;
      certificateReferences?: readonly CertificateReference[];
    }
  | { type: "TvmStartTaskStarted"; at: string; run: number }
  | { type: "TvmStartTaskEnded"; at: string; run: number; startedAt?: string; exitCode?: number; error?: SchedulingError; again: boolean }
  /** Silent for too long: its tasks go to others. It may come back. */
  | { type: "TvmLost"; at: string; boot: number }
  | { type: "TvmRecovered"; at: string; boot: number }
  /** It is to be started anew once its tasks are dealt with as the option says; until then it takes no new ones. */
  | { type: "TvmRestartRequested"; at: string; how: RestartHow; option: DeallocationOption }
  /** Its machine ended or is started again: what ran there is over, and `boot` is the number of the next start; `ran` tasks began in the last. */
  | { type: "TvmRestarting"; at: string; boot: number; reason: RestartReason; ran?: number }
  /** Somebody may log in: `account` is what the machine's operating system calls the user. The password is nowhere. */
  | { type: "TvmUserAdded"; at: string; user: string; account: string; isAdmin: boolean; expiresAt: string }
  | { type: "TvmUserUpdated"; at: string; user: string; isAdmin: boolean; expiresAt: string }
  | { type: "TvmUserDeleted"; at: string; user: string }
  | { type: "TvmLeaving"; at: string; option: DeallocationOption }
  /** It was to leave after its tasks, and they took longer than the resize may: it stays. */
  | { type: "TvmKept"; at: string }
  /** It was to go after its tasks, as it has been since `since`: its agent holds nothing any more and begins nothing. */
  | { type: "TvmDrained"; at: string; since: string }
  | { type: "TvmRemoved"; at: string };

export type TvmCommand =
  | { type: "AllocateTvm"; at: string; account: string; pool: string; name: string; size: string; slots: number }
  | {
      type: "JoinTvm";
      at: string;
      boot: number;
      address: string;
      cores: number;
      platform: string;
      separateUser: boolean;
      startTask?: StartTask;
      certificateReferences?: readonly CertificateReference[];
    }
  /** Runs are counted from 1 at each boot: `boot` says whose run it was. */
  | { type: "StartStartTask"; at: string; boot: number; run: number }
  | { type: "EndStartTask"; at: string; boot: number; run: number; startedAt?: string; exitCode?: number; error?: SchedulingError }
  | { type: "LoseTvm"; at: string; boot: number }
  | { type: "RecoverTvm"; at: string; boot: number }
  | { type: "RequestRestart"; at: string; how: RestartHow; option: DeallocationOption }
  | { type: "RestartTvm"; at: string; boot: number; reason: RestartReason; ran?: number }
  | { type: "AddTvmUser"; at: string; user: string; account: string; isAdmin: boolean; expiresAt: string }
  | { type: "UpdateTvmUser"; at: string; user: string; isAdmin: boolean; expiresAt: string }
  | { type: "DeleteTvmUser"; at: string; user: string }
  | { type: "RemoveTvm"; at: string; option: DeallocationOption }
  | { type: "KeepTvm"; at: string }
  | { type: "ConfirmDrained"; at: string; boot: number; since: string }
  | { type: "ForgetTvm"; at: string };

export interface StartTaskInfo {
  readonly state: "running" | "completed";
  readonly run: number;
  readonly retryCount: number;
  readonly startedAt?: string;
  readonly endedAt?: string;
  readonly exitCode?: number;
  readonly error?: SchedulingError;
  readonly lastRetryAt?: string;
}

export interface TvmUser {
  readonly user: string;
  readonly account: string;
  readonly isAdmin: boolean;
  readonly expiresAt: string;
}

export interface Tvm {
  /** `starting`: allocated, or between two boots; `unknown`: lost; `ready`: tasks may be put on it; `restarting`: to be started anew after its tasks. */
  readonly phase: "absent" | "starting" | "waitingForStartTask" | "startTaskFailed" | "ready" | "restarting" | "unknown" | "leaving" | "gone";
  readonly account: string;
  readonly pool: string;
  readonly name: string;
  readonly size: string;
  readonly slots: number;
  readonly boot: number;
  readonly joined: boolean;
  readonly address?: string;
  readonly cores?: number;
  readonly platform?: string;
  readonly separateUser?: boolean;
  readonly startTask?: StartTask;
  /** The pool's when this boot joined: what is installed on it. */
  readonly certificateReferences?: readonly CertificateReference[];
  /** The run of the start task that the agent should do at this boot; 0: none. */
  readonly startTaskRun: number;
  readonly startTaskInfo?: StartTaskInfo;
  readonly leavingOption?: DeallocationOption;
  /** The `stateAt` of the wish to go that its agent has finished its tasks for. */
  readonly drainedFor?: string;
  /** From the wish for a restart until the TVM has joined anew. */
  readonly restart?: { readonly how: RestartHow; readonly option: DeallocationOption };
  /** The upgrade of its pool (by the time it began) that it was last restarted for. */
  readonly upgradedFor?: string;
  /** Who may log in, until the next boot. */
  readonly users?: readonly TvmUser[];
  /** Tasks that began in boots before the present one. */
  readonly ranBefore?: number;
  /** Lost, and not heard of since: also while it is leaving. */
  readonly silent?: boolean;
  readonly allocatedAt: string;
  readonly stateAt: string;
  readonly lastBootAt?: string;
}

const absent: Tvm = {
  phase: "absent",
  account: "",
  pool: "",
  name: "",
  size: "",
  slots: 1,
  boot: 0,
  joined: false,
  startTaskRun: 0,
  allocatedAt: "",
  stateAt: "",
};

const alive = (state: Tvm): boolean => state.phase !== "absent" && state.phase !== "gone";

/** The TVM leaves only after its tasks. */
export const waits = (option: DeallocationOption | undefined): boolean => option === "taskcompletion" || option === "retaineddata";

/** It finishes what it has, takes nothing new, and then leaves or is started anew. */
export const drains = ({ phase, leavingOption, restart }: Pick<Tvm, "phase" | "leavingOption" | "restart">): boolean =>
  (phase === "leaving" && waits(leavingOption)) || (phase === "restarting" && waits(restart?.option));

/** Its agent said so: what it has been given and did not begin by then, it never will. */
export const isDrained = (state: Pick<Tvm, "drainedFor" | "stateAt">): boolean => state.drainedFor === state.stateAt;

export const tvm: Decider<Tvm, TvmCommand, TvmEvent> = {
  initial: absent,

  decide(command, state) {
    switch (command.type) {
      case "AllocateTvm":
        return state.phase === "absent" ? [{ ...command, type: "TvmAllocated" }] : [];
      case "JoinTvm":
        // A join code is good once: for the boot that is expected, and only until somebody has used it.
        if (state.phase !== "starting" || state.joined || command.boot !== state.boot) return [];
        return [{ ...command, type: "TvmJoined" }];
      case "StartStartTask":
        if (!expectsRun(state, command) || state.startTaskInfo?.run === command.run) return [];
        return [{ type: "TvmStartTaskStarted", at: command.at, run: command.run }];
      case "EndStartTask":
        return endStartTask(command, state);
      case "LoseTvm":
        if (!state.joined || command.boot !== state.boot || state.phase === "unknown" || !alive(state)) return [];
        return [{ type: "TvmLost", at: command.at, boot: command.boot }];
      case "RecoverTvm":
        return state.phase === "unknown" && command.boot === state.boot ? [{ type: "TvmRecovered", at: command.at, boot: command.boot }] : [];
      case "RequestRestart":
        return requestRestart(command, state);
      case "AddTvmUser":
      case "UpdateTvmUser":
      case "DeleteTvmUser":
        return changeUser(command, state);
      case "RestartTvm":
        // A machine that leaves anyway is not started again.
        if (!alive(state) || command.boot !== state.boot || state.phase === "leaving") return [];
        return [{ type: "TvmRestarting", at: command.at, boot: state.boot + 1, reason: command.reason, ...present({ ran: command.ran }) }];
      case "RemoveTvm":
        // One that waits for its tasks can still be told not to: a pool that is deleted does not wait.
        if (!alive(state) || (state.phase === "leaving" && !(waits(state.leavingOption) && !waits(command.option)))) return [];
        return [{ type: "TvmLeaving", at: command.at, option: command.option }];
      case "KeepTvm":
        return state.phase === "leaving" ? [{ type: "TvmKept", at: command.at }] : [];
      case "ConfirmDrained":
        // Said of an earlier wish to go, which was taken back since, it says nothing of this one.
        if (!drains(state) || command.boot !== state.boot || command.since !== state.stateAt || isDrained(state)) return [];
        return [{ type: "TvmDrained", at: command.at, since: command.since }];
      case "ForgetTvm":
        return alive(state) ? [{ type: "TvmRemoved", at: command.at }] : [];
    }
  },

  evolve(state, event) {
    switch (event.type) {
      case "TvmAllocated": {
        const { type: _, at, ...fields } = event;
        return { ...absent, ...fields, phase: "starting", boot: 1, allocatedAt: at, stateAt: at };
      }
      case "TvmJoined":
        return joined(state, event);
      case "TvmStartTaskStarted":
        return {
          ...state,
          startTaskInfo: { state: "running", run: event.run, retryCount: event.run - 1, startedAt: event.at, ...present({ lastRetryAt: event.run > 1 ? event.at : undefined }) },
        };
      case "TvmStartTaskEnded":
        return startTaskEnded(state, event);
      case "TvmLost":
        return { ...state, phase: "unknown", silent: true, stateAt: event.at };
      case "TvmRecovered": {
        const { silent: _, ...rest } = state;
        return { ...rest, phase: phaseAfterStartTask(state), stateAt: event.at };
      }
      case "TvmRestartRequested": {
        const { at, how, option } = event;
        const next = { ...state, restart: { how, option }, ...(how === "upgrade" ? { upgradedFor: at } : {}) };
        return state.joined && !state.silent ? { ...next, phase: "restarting", stateAt: at } : next;
      }
      case "TvmRestarting": {
        // Users are for one boot: the next one may be another machine.
        const { startTaskInfo: _, silent: _silent, users: _users, ...rest } = state;
        const ran = event.ran ? { ranBefore: (state.ranBefore ?? 0) + event.ran } : {};
        return { ...rest, ...ran, phase: "starting", boot: event.boot, joined: false, startTaskRun: 0, stateAt: event.at };
      }
      case "TvmUserAdded": {
        const { user, account, isAdmin, expiresAt } = event;
        return { ...state, users: [...othersThan(state, user), { user, account, isAdmin, expiresAt }] };
      }
      case "TvmUserUpdated":
        return { ...state, users: (state.users ?? []).map((one) => (sameName(one.user, event.user) ? { ...one, isAdmin: event.isAdmin, expiresAt: event.expiresAt } : one)) };
      case "TvmUserDeleted":
        return { ...state, users: othersThan(state, event.user) };
      case "TvmLeaving":
        return { ...state, phase: "leaving", leavingOption: event.option, stateAt: event.at };
      case "TvmKept": {
        const { leavingOption: _, drainedFor: _drained, ...rest } = state;
        // That it was to leave does not mean that it is there: one that is lost stays so until it speaks again.
        return { ...rest, phase: !state.joined ? "starting" : state.silent ? "unknown" : phaseAfterStartTask(state), stateAt: event.at };
      }
      case "TvmDrained":
        return { ...state, drainedFor: event.since };
      case "TvmRemoved":
        return { ...state, phase: "gone", stateAt: event.at };
    }
  },
};

const joined = (state: Tvm, event: Extract<TvmEvent, { type: "TvmJoined" }>): Tvm => {
  const { type: _, at, startTask, ...machine } = event;
  const { startTask: _old, startTaskInfo: _info, certificateReferences: _certificates, restart: _restart, ...rest } = state;
  return {
    ...rest,
    ...machine,
    joined: true,
    ...present({ startTask }),
    startTaskRun: startTask ? 1 : 0,
    phase: startTask?.waitForSuccess ? "waitingForStartTask" : "ready",
    lastBootAt: at,
    stateAt: at,
  };
};

/** It is to be started anew, and has not been yet. */
export const awaitsRestart = (state: Tvm): boolean => state.restart !== undefined && state.joined && alive(state) && state.phase !== "leaving";

/** A user may restart a TVM that is idle or running (reference section 6); an upgrade of its pool takes it as it is. */
const requestRestart = (command: Extract<TvmCommand, { type: "RequestRestart" }>, state: Tvm): readonly TvmEvent[] | Rejection => {
  const { at, how, option } = command;
  if (how === "upgrade") {
    if (!alive(state) || state.phase === "leaving" || (state.upgradedFor ?? "") >= at) return [];
    const asked: TvmEvent = { type: "TvmRestartRequested", at, how, option };
    // Between two boots: the machine under way is of the former system, and the next one is ordered at once.
    return state.joined ? [asked] : [asked, { type: "TvmRestarting", at, boot: state.boot + 1, reason: how }];
  }
  return notIdleOrRunning(state) ?? [{ type: "TvmRestartRequested", at, how, option }];
};

type UserCommand = Extract<TvmCommand, { type: "AddTvmUser" | "UpdateTvmUser" | "DeleteTvmUser" }>;

const sameName = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();
const othersThan = (state: Tvm, user: string): readonly TvmUser[] => (state.users ?? []).filter((one) => !sameName(one.user, user));

/** Users come and go while the TVM is idle or running (reference section 6); one whose time is over is none. */
const changeUser = (command: UserCommand, state: Tvm): readonly TvmEvent[] | Rejection => {
  const refusal = notIdleOrRunning(state);
  if (refusal) return refusal;
  const known = state.users?.find((one) => sameName(one.user, command.user));
  const there = known !== undefined && known.expiresAt > command.at;
  switch (command.type) {
    case "AddTvmUser":
      return there ? rejection("TVMUserExists", "The TVM has a user of that name.") : [{ ...command, type: "TvmUserAdded" }];
    case "UpdateTvmUser":
      return there ? [{ ...command, type: "TvmUserUpdated" }] : noSuchUser;
    case "DeleteTvmUser":
      return known ? [{ ...command, type: "TvmUserDeleted" }] : noSuchUser;
  }
};

const noSuchUser = rejection("TVMUserNotFound", "The TVM has no user of that name.");

/** Why nothing may be done that needs an idle or running TVM: in the service's own codes. */
export const notIdleOrRunning = (state: Tvm): Rejection | undefined => {
  const how = state.restart?.how;
  switch (state.phase) {
    case "ready":
      return undefined;
    case "absent":
    case "gone":
      return rejection("TVMNotFound", "The pool has no TVM of that name.");
    case "starting":
    case "restarting":
      if (how === undefined) return rejection("TVMBeingStarted", "The TVM is being started: wait until it is idle.");
      return rejection(how === "reboot" ? "TVMBeingRebooted" : "TVMBeingReimaged", `The TVM is being ${how === "reboot" ? "rebooted" : "reimaged"} already: wait until it is idle.`);
    default:
      return rejection("OperationInvalidForCurrentState", `The TVM is neither idle nor running: it ${WHY_NOT[state.phase]}.`);
  }
};

const WHY_NOT = {
  waitingForStartTask: "waits for its start task",
  startTaskFailed: "cannot be used, for its start task failed",
  unknown: "was not heard of for too long",
  leaving: "leaves its pool",
} as const;

const failed = (end: { exitCode?: number; error?: SchedulingError }): boolean => end.error !== undefined || end.exitCode !== 0;

/** A report about the run that this boot of the TVM is to do: one from an earlier boot is old news. */
const expectsRun = (state: Tvm, { boot, run }: { boot: number; run: number }): boolean =>
  alive(state) && state.phase !== "leaving" && state.joined && boot === state.boot && run > 0 && run === state.startTaskRun;

const endStartTask = (command: Extract<TvmCommand, { type: "EndStartTask" }>, state: Tvm): readonly TvmEvent[] => {
  if (!expectsRun(state, command) || state.startTask === undefined) return [];
  if (state.startTaskInfo?.run === command.run && state.startTaskInfo.state === "completed") return [];
  const budget = state.startTask.maxTaskRetryCount;
  const again = failed(command) && (budget === -1 || command.run <= budget);
  const { boot: _, ...ended } = command;
  return [{ ...ended, type: "TvmStartTaskEnded", again }];
};

const startTaskEnded = (state: Tvm, event: Extract<TvmEvent, { type: "TvmStartTaskEnded" }>): Tvm => {
  const info: StartTaskInfo = {
    state: "completed",
    run: event.run,
    retryCount: event.run - 1,
    endedAt: event.at,
    ...present({
      startedAt: event.startedAt ?? state.startTaskInfo?.startedAt,
      lastRetryAt: state.startTaskInfo?.lastRetryAt,
      exitCode: event.exitCode,
      error: event.error,
    }),
  };
  if (event.again) return { ...state, startTaskInfo: info, startTaskRun: event.run + 1 };
  const next = { ...state, startTaskInfo: info, startTaskRun: 0 };
  return state.phase === "waitingForStartTask" ? { ...next, phase: phaseAfterStartTask(next), stateAt: event.at } : next;
};

const phaseAfterStartTask = (state: Tvm): Tvm["phase"] => {
  if (state.restart) return "restarting";
  if (!state.startTask?.waitForSuccess) return "ready";
  if (state.startTaskRun !== 0 || state.startTaskInfo === undefined) return "waitingForStartTask";
  return failed(state.startTaskInfo) ? "startTaskFailed" : "ready";
};

/** The TVM may be given tasks. */
export const usable = (state: Tvm): boolean => state.phase === "ready";
