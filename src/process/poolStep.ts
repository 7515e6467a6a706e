// Moves the TVMs of a pool toward its target: allocates, orders machines, lets TVMs leave, ends the resize, deletes the pool.
// Slow work with retries: each look does what can be done now and says when to look again.
import { present } from "../domain/decider";
import type { ResizeError } from "../domain/errors";
import { keyOf, poolKey, tvmKey, tvmStream } from "../domain/ids";
import type { DeallocationOption, Pool } from "../domain/pool";
import { coresOf } from "../domain/sizes";
import { addMs } from "../domain/time";
import { type Tvm, type TvmCommand, awaitsRestart, drains, isDrained, waits } from "../domain/tvm";
import { forgetAgent, joinCodeFor } from "../app/agents";
import { type Loaded, type Order, execute, executeAll, load, loadAll } from "../app/execute";
import type { MachineOrder, Ports } from "../ports";
import { returnFrom, takeFrom } from "../app/react";
import { forgetSamples } from "../app/samples";
import { ranAtBoot, retainedUntil } from "../app/tvmTasks";
import { pools } from "../views/pools";
import { managersIn, tasks } from "../views/tasks";
import { DONE, type Next, earlier, wakeAt } from "./step";

/** A TVM that should have joined and has not is looked after this often. */
const STARTING_LOOK_MS = 15_000;
/** TVMs that finish their tasks before they leave: emptiness is noticed at once, this is for a lost hint. */
const LEAVING_LOOK_MS = 15_000;
/** Machines that could not be had are asked for again after this. */
const RETRY_MS = 5_000;

export const poolStep = async (ports: Ports, stream: string, at: string): Promise<Next> => {
  const pool = (await load(ports, "pool", stream)).state;
  if (pool.phase === "absent") return DONE;
  const most = await mostTvms(ports, pool);
  const grown = await grow(ports, stream, pool, most, at);
  const tvms = await restart(ports, grown, await membersOf(ports, grown), at);
  const left = await shrink(ports, grown, tvms, most, at);
  const failures = await orderMachines(ports, grown, left.staying, at);
  const now = await release(ports, stream, grown, left.leaving, at);
  return conclude(ports, stream, now, most, left, failures, at);
};

type Member = Loaded<Tvm>;

/** Names TVMs up to the target, and makes their streams. A pool that is not growing only has its missing streams made. */
const grow = async (ports: Ports, stream: string, pool: Pool, most: number, at: string): Promise<Pool> => {
  let state = pool;
  while (state.phase === "active" && state.allocation === "resizing" && state.tvms.length < wanted(state, most)) {
    const before = state.tvms.length;
    const outcome = await execute(ports, "pool", "service", { stream, command: { type: "AllocateTvms", at, count: wanted(state, most) - before } });
    if (!("state" in outcome) || outcome.state.tvms.length === before) break;
    state = outcome.state;
  }
  return state;
};

const wanted = (pool: Pool, most: number): number => (pool.phase === "deleting" ? 0 : Math.min(pool.spec.targetDedicated, most));

/** Most pools of an account that are looked at for its quota. */
const POOLS_MAX = 1000;

/**
 * How many TVMs the pool may have: by the service's limit for a pool, and by what the account's other pools leave of its quota of
 * cores. A quota that was lowered takes no TVM away. Two pools that grow at the same moment may both get the last cores.
 */
const mostTvms = async (ports: Ports, pool: Pool): Promise<number> => {
  const { poolTvmsMax, coresMax } = ports.policy;
  if (coresMax === undefined || pool.phase !== "active" || pool.allocation === "steady") return poolTvmsMax;
  const all = await ports.views.query(pools, { index: "name", prefix: `${pool.account}/`, limit: POOLS_MAX });
  const others = all.filter(({ row }) => row.name.toLowerCase() !== pool.name.toLowerCase());
  const taken = others.reduce((sum, { row }) => sum + row.tvms.length * (coresOf(row.spec.tvmSize) ?? 1), 0);
  const left = Math.floor((coresMax - taken) / (coresOf(pool.spec.tvmSize) ?? 1));
  return Math.min(poolTvmsMax, Math.max(left, pool.tvms.length));
};

const membersOf = async (ports: Ports, pool: Pool): Promise<Member[]> => {
  const streams = pool.tvms.map((name) => tvmStream(tvmKey(pool.account, pool.name, name)));
  const loaded = await loadAll(ports, "tvm", streams);
  const missing = loaded.flatMap(({ state }, index) => (state.phase === "absent" ? [index] : []));
  if (missing.length === 0) return loaded;
  const at = pool.allocationAt;
  await executeAll(
    ports,
    "tvm",
    "service",
    missing.map((index): Order<"tvm"> => ({
      stream: streams[index] as string,
      command: {
        type: "AllocateTvm",
        at,
        account: pool.account,
        pool: pool.name,
        name: pool.tvms[index] as string,
        size: pool.spec.tvmSize,
        slots: pool.spec.maxTasksPerTvm,
      },
    })),
  );
  return loadAll(ports, "tvm", streams);
};

/**
 * TVMs that are to be started anew are, as soon as they hold nothing that has to be waited for; an upgrade of the pool asks for
 * that of each TVM once. What was to be taken from them and was not (a lost hint) is taken here.
 */
const restart = async (ports: Ports, pool: Pool, members: readonly Member[], at: string): Promise<readonly Member[]> => {
  const asked = pool.upgrade ? await upgraded(ports, members, pool.upgrade.since) : members;
  const waiting = asked.filter(({ state }) => awaitsRestart(state));
  if (waiting.length === 0) return asked;
  const free = await Promise.all(waiting.map(({ state }) => isFree(ports, state, state.restart?.option, at)));
  const ran = await Promise.all(waiting.map(({ state }) => ranAtBoot(ports, tvmKey(state.account, state.pool, state.name), state.boot)));
  const outcomes = await executeAll(
    ports,
    "tvm",
    "service",
    waiting.flatMap(({ stream, state }, index): Order<"tvm">[] =>
      free[index] && state.restart ? [{ stream, command: { type: "RestartTvm", at, boot: state.boot, reason: state.restart.how, ...present({ ran: ran[index] }) } }] : [],
    ),
  );
  return replaced(asked, outcomes.flatMap((outcome) => ("state" in outcome ? [outcome] : [])));
};

const upgraded = async (ports: Ports, members: readonly Member[], since: string): Promise<readonly Member[]> => {
  const old = members.filter(({ state }) => (state.upgradedFor ?? "") < since);
  // The time of the upgrade names it: asked for twice, it happens once.
  return replaced(members, await onTvms(ports, old, { type: "RequestRestart", at: since, how: "upgrade", option: "requeue" }));
};

const replaced = (members: readonly Member[], changed: readonly Member[]): readonly Member[] => {
  const byStream = new Map(changed.map((member) => [member.stream, member]));
  return members.map((member) => byStream.get(member.stream) ?? member);
};

/**
 * The TVM holds nothing any more, nor files that have to be kept for a while. One that was to finish its tasks has said that it has:
 * while it is silent, or was never there, it has nothing to say.
 */
const isFree = async (ports: Ports, tvm: Tvm, option: DeallocationOption | undefined, at: string): Promise<boolean> => {
  const key = tvmKey(tvm.account, tvm.pool, tvm.name);
  if (tvm.restart && option && !waits(option)) await takeFrom(ports, key, "tvmRestarted", option, at);
  if (drains(tvm) && tvm.joined && !tvm.silent) {
    if (!isDrained(tvm)) return false;
    await returnFrom(ports, key, at);
  }
  if ((await heldBy(ports, tvm, 1)) > 0) return false;
  return option !== "retaineddata" || tvm.silent === true || (await retainedUntil(ports, tvm)) <= at;
};

interface Split {
  readonly staying: readonly Member[];
  readonly leaving: readonly Member[];
}

const MANAGERS_MAX = 1000;

/** TVMs that run a job manager go last (seed). */
const tvmsOfManagers = async (ports: Ports, pool: string): Promise<ReadonlySet<string>> =>
  new Set((await ports.views.keys(tasks, { ...managersIn(pool), limit: MANAGERS_MAX })).map((key) => key.slice(0, key.indexOf("/"))));

/** Chooses who goes: TVMs that were named, then idle ones, then the youngest; those that run a job manager last. */
const shrink = async (ports: Ports, pool: Pool, members: readonly Member[], most: number, at: string): Promise<Split> => {
  const leaving = await hurry(ports, pool, members.filter(({ state }) => state.phase === "leaving" || state.phase === "gone"), at);
  const staying = members.filter(({ state }) => state.phase !== "leaving" && state.phase !== "gone");
  const moving = pool.phase === "deleting" || pool.allocation === "resizing";
  const named = new Set(pool.allocation === "resizing" ? pool.resize.tvms : []);
  const asked = staying.filter(({ state }) => named.has(state.name)).length;
  const tooMany = moving ? Math.max(staying.length - wanted(pool, most), asked) : 0;
  if (tooMany <= 0) return { staying, leaving };
  const held = await Promise.all(staying.map(({ state }) => heldBy(ports, state, 1)));
  const managed = await tvmsOfManagers(ports, poolKey(pool.account, pool.name));
  const ranked = staying
    .map((member, index) => ({ member, named: named.has(member.state.name) ? 0 : 1, managed: managed.has(keyOf(member.stream)) ? 1 : 0, busy: held[index] as number, index }))
    .sort((a, b) => a.named - b.named || a.managed - b.managed || a.busy - b.busy || b.index - a.index);
  const going = ranked.slice(0, tooMany).map(({ member }) => member);
  const option: DeallocationOption = pool.phase === "deleting" ? "requeue" : pool.resize.option;
  const gone = await onTvms(ports, going, { type: "RemoveTvm", at, option });
  return { staying: staying.filter((member) => !going.includes(member)), leaving: [...leaving, ...gone] };
};

/** A pool that is deleted waits for no task: TVMs that were to leave after theirs leave now. */
const hurry = async (ports: Ports, pool: Pool, leaving: readonly Member[], at: string): Promise<readonly Member[]> => {
  const slow = pool.phase === "deleting" ? leaving.filter(({ state }) => state.phase === "leaving" && waits(state.leavingOption)) : [];
  if (slow.length === 0) return leaving;
  return [...leaving.filter((member) => !slow.includes(member)), ...(await onTvms(ports, slow, { type: "RemoveTvm", at, option: "requeue" }))];
};

const heldBy = async (ports: Ports, tvm: Tvm, limit: number): Promise<number> =>
  (await ports.views.keys(tasks, { index: "tvm", prefix: `${tvmKey(tvm.account, tvm.pool, tvm.name)}/`, limit })).length;

const onTvms = async (ports: Ports, members: readonly Member[], command: TvmCommand): Promise<Member[]> => {
  const outcomes = await executeAll(ports, "tvm", "service", members.map(({ stream }): Order<"tvm"> => ({ stream, command })));
  return outcomes.flatMap((outcome) => ("state" in outcome ? [outcome] : []));
};

/** A machine that keeps ending is started again after ever longer pauses. */
const pauseBefore = (tvm: Tvm): number => (tvm.boot <= 2 ? 0 : Math.min(60_000, 250 * 2 ** Math.min(tvm.boot - 2, 10)));

interface Failures {
  readonly messages: readonly string[];
  /** TVMs that never had a machine, and for which none could be had now. */
  readonly without: readonly Member[];
  readonly lookAt: string | undefined;
}

const orderMachines = async (ports: Ports, pool: Pool, staying: readonly Member[], at: string): Promise<Failures> => {
  const starting = staying.map(({ state }) => state).filter((tvm) => tvm.phase === "starting" && !tvm.joined);
  if (starting.length === 0) return { messages: [], without: [], lookAt: undefined };
  // Without a pause it is due whatever the clocks say: the time of an allocation can lie a moment ahead.
  const due = starting.filter((tvm) => pauseBefore(tvm) === 0 || addMs(tvm.stateAt, pauseBefore(tvm)) <= at);
  const later = starting.filter((tvm) => !due.includes(tvm)).map((tvm) => addMs(tvm.stateAt, pauseBefore(tvm)));
  const answers = due.length > 0 ? await ports.machines.ensure(due.map((tvm) => orderFor(ports, pool, tvm))) : [];
  const messages = answers.flatMap(({ error }) => (error === undefined ? [] : [error]));
  for (const message of new Set(messages)) ports.log.warn("a machine could not be started", { pool: pool.name, message });
  const again = addMs(at, messages.length > 0 ? RETRY_MS : STARTING_LOOK_MS);
  const refused = new Set(answers.flatMap(({ tvm, error }) => (error === undefined ? [] : [tvm])));
  const without = staying.filter(({ state }) => refused.has(state.name) && state.lastBootAt === undefined);
  return { messages, without, lookAt: [...later, again].sort()[0] };
};

const orderFor = (ports: Ports, pool: Pool, tvm: Tvm): MachineOrder => ({
  account: pool.account,
  pool: pool.name,
  tvm: tvm.name,
  boot: tvm.boot,
  joinCode: joinCodeFor(ports, tvmKey(pool.account, pool.name, tvm.name), tvm.boot),
  slots: tvm.slots,
  size: tvm.size,
  ...(pool.spec.communication ? { communication: true } : {}),
  ...(tvm.restart && tvm.restart.how !== "reboot" ? { clean: true } : {}),
});

/** TVMs that leave and hold nothing any more go: machine, stream, membership. */
const release = async (ports: Ports, stream: string, pool: Pool, leaving: readonly Member[], at: string): Promise<Pool> => {
  if (leaving.length === 0) return pool;
  const free = await Promise.all(leaving.map(({ state }) => isFree(ports, state, state.leavingOption, at)));
  return letGo(ports, stream, pool, leaving.filter((_, index) => free[index]), at);
};

const letGo = async (ports: Ports, stream: string, pool: Pool, empty: readonly Member[], at: string): Promise<Pool> => {
  if (empty.length === 0) return pool;
  const names = empty.map(({ state }) => state.name);
  await ports.machines.remove(pool.account, pool.name, names);
  await onTvms(ports, empty, { type: "ForgetTvm", at });
  for (const name of names) await forgetAgent(ports, tvmKey(pool.account, pool.name, name));
  const outcome = await execute(ports, "pool", "service", { stream, command: { type: "ReleaseTvms", at, tvms: names } });
  return "state" in outcome ? outcome.state : pool;
};

const conclude = async (ports: Ports, stream: string, pool: Pool, most: number, split: Split, failures: Failures, at: string): Promise<Next> => {
  const target = wanted(pool, most);
  const waiting = split.leaving.filter(({ state }) => pool.tvms.includes(state.name));
  if (pool.phase === "deleting") {
    if (pool.tvms.length > 0) return wakeAt(addMs(at, RETRY_MS));
    await execute(ports, "pool", "service", { stream, command: { type: "ForgetPool", at } });
    await forgetSamples(ports, keyOf(stream));
    return DONE;
  }
  const upgrading = await concludeUpgrade(ports, stream, pool, split.staying, at);
  const restarting = upgrading || split.staying.some(({ state }) => state.restart !== undefined);
  const lookAt = earlier(failures.lookAt, waiting.length > 0 || restarting ? addMs(at, LEAVING_LOOK_MS) : undefined);
  if (pool.allocation === "steady") return wakeAt(lookAt);
  const reached = pool.tvms.length === target && waiting.length === 0 && failures.messages.length === 0;
  const deadline = addMs(pool.resize.since, pool.resize.timeoutMs);
  if (pool.allocation === "resizing" && !reached && at < deadline) return wakeAt(earlier(lookAt, deadline));
  // What the pool has is what it reached: names for which there is no machine are none of its TVMs.
  const had = reached ? pool : await letGo(ports, stream, pool, failures.without, at);
  const error = reached && pool.allocation === "resizing" ? quotaError(pool, most, ports) : endedEarly(had, target, failures);
  if (!reached) await onTvms(ports, waiting, { type: "KeepTvm", at });
  await execute(ports, "pool", "service", { stream, command: { type: "EndPoolResize", at, ...(error ? { error } : {}) } });
  return wakeAt(failures.lookAt);
};

/** An upgrade that a machine does not come back from is over after this all the same; the machine is still looked after. */
const UPGRADE_MAX_MS = 3_600_000;

/** Whether the upgrade goes on. */
const concludeUpgrade = async (ports: Ports, stream: string, pool: Pool, staying: readonly Member[], at: string): Promise<boolean> => {
  if (!pool.upgrade) return false;
  const { since } = pool.upgrade;
  const under = staying.some(({ state }) => state.restart !== undefined || (state.upgradedFor ?? "") < since);
  if (under && at < addMs(since, UPGRADE_MAX_MS)) return true;
  await execute(ports, "pool", "service", { stream, command: { type: "EndPoolOsUpgrade", at } });
  return false;
};

const quotaError = (pool: Pool, most: number, { policy }: Ports): ResizeError | undefined => {
  if (pool.spec.targetDedicated <= most) return undefined;
  const message =
    most === policy.poolTvmsMax
      ? `A pool of this service has ${most} TVMs at most.`
      : `The account may have ${policy.coresMax} cores: with those of its other pools that is ${most} of ${pool.spec.targetDedicated} TVMs of size ${pool.spec.tvmSize}.`;
  return { code: "AccountCoreQuotaReached", message };
};

const endedEarly = (pool: Pool, target: number, failures: Failures): ResizeError => {
  const reached = `${pool.tvms.length} of ${target} TVMs are in the pool.`;
  if (pool.allocation === "stopping") return { code: "ResizeStopped", message: `The resize was stopped by its user. ${reached}` };
  const [message] = failures.messages;
  if (message !== undefined) return { code: "AllocationFailed", message: `${message} ${reached}` };
  return pool.tvms.length > target
    ? { code: "RemoveTVMsFailed", message: `Tasks on the TVMs that were to leave took longer than the resize may. ${reached}` }
    : { code: "AllocationTimedout", message: `The TVMs could not be had in time. ${reached}` };
};
