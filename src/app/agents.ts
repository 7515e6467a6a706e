// The agents' side of the service: a TVM joins with a code that is good once, and then exchanges. The answer to an exchange
// says what the TVM should hold and does not, and what it holds and should not; it waits when there is nothing to say.
import { sameCertificate } from "../domain/certificate";
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { accountOf, parentOf, poolStream, tvmStream } from "../domain/ids";
import type { Pool } from "../domain/pool";
import { type Tvm, drains, isDrained, waits } from "../domain/tvm";
import type { Ports, Row } from "../ports";
import { type ErrandRow, errands, heartbeats } from "../views/errands";
import { heldKey, parseHeld, plainHeld, type TaskRow, tasks } from "../views/tasks";
import { type TvmRow, tvms } from "../views/tvms";
import type { Assignment, CertificatesAnswer, ExchangeAnswer, ExchangeRequest, FileAnswer, JoinAnswer, JoinRequest, Report, StartTaskOrder, UserRequest } from "../wire";
import { PROTOCOL_VERSION } from "../wire";
import { filesOf } from "./certificates";
import { Busy, execute, load } from "./execute";
import { type Said, moveHeartbeat, writeHeartbeat } from "./heartbeats";
import { HOLD_MAX } from "./holding";
import { managerToken } from "./managers";
import { isNoRoom } from "./noRoom";
import { forgetTvm } from "./react";
import { scalingOf } from "./scaling";
import { openFiles } from "./secrets";
import { userContext } from "./tvmErrands";
import { wake } from "./wakes";

/** A TVM exchanges at least this often ... */
export const HEARTBEAT_MS = 10_000;
/** ... ends its own tasks when it has not been answered for this long ... */
export const SELF_STOP_MS = 40_000;
/** ... and is lost, its tasks given to others, when it was not heard of for this long. The second must be less than the third. */
export const LOST_AFTER_MS = 60_000;
/** Heartbeats are written down this often at most. */
const HEARTBEAT_WRITE_MS = 5_000;

// ---------------------------------------------------------------- who is it?

/** For one boot of one TVM, good until the credential that it got has been used; made when the machine is ordered, never stored. */
export const joinCodeFor = (ports: Pick<Ports, "sealer">, tvm: string, boot: number): string =>
  `${tvm}~${boot}~${ports.sealer.sign(`join~${tvm}~${boot}`)}`;

const credentialFor = (ports: Pick<Ports, "sealer">, tvm: string, boot: number): string =>
  `${tvm}~${boot}~${ports.sealer.sign(`tvm~${tvm}~${boot}`)}`;

const sameText = (a: string, b: string): boolean => {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= a.charCodeAt(index) ^ b.charCodeAt(index);
  return difference === 0;
};

const verify = (text: string, expected: (tvm: string, boot: number) => string): { tvm: string; boot: number } | undefined => {
  const [tvm, number, signature, ...rest] = text.split("~");
  const boot = Number(number);
  if (!tvm || !signature || rest.length > 0 || !Number.isSafeInteger(boot)) return undefined;
  return sameText(expected(tvm, boot), text) ? { tvm, boot } : undefined;
};

/** Whether the service ever gave this credential to somebody; what it is good for now, each of its uses looks at. */
export const isCredential = (ports: Pick<Ports, "sealer">, text: string): boolean => verify(text, (tvm, boot) => credentialFor(ports, tvm, boot)) !== undefined;

const notYours = rejection("AuthenticationFailed", "The TVM's credential or join code is not valid (any more).");
const goneTvm = rejection("TVMNotFound", "The TVM is not in its pool any more: end its tasks and stop.");

/** As it is, not as its row has it, which may be behind: a certificate that the pool has dropped is handed to nobody any more. */
const poolOf = async (ports: Ports, tvm: string): Promise<Pool> => (await load(ports, "pool", poolStream(parentOf(tvm)))).state;

// ---------------------------------------------------------------- join

/** A TVM of a pool with communication accepts connections of its pool on ports above 1100 (seed). */
const PORT_RANGE = { low: 1101, high: 65_535 };

export const join = async (ports: Ports, request: JoinRequest, at: string): Promise<JoinAnswer | Rejection> => {
  if (request.protocol !== PROTOCOL_VERSION)
    return rejection("InvalidPropertyValue", `The service speaks version ${PROTOCOL_VERSION} of the agent protocol: install the agent of this release.`, {
      PropertyName: "protocol",
      PropertyValue: String(request.protocol),
    });
  const known = verify(request.code, (tvm, boot) => joinCodeFor(ports, tvm, boot));
  if (!known) return notYours;
  const pool = await poolOf(ports, known.tvm);
  if (pool.phase === "absent") return goneTvm;
  // Written first: if this ends half way, the TVM has joined and is silent, and its silence must be noticed.
  const [row] = await ports.views.get(tvms, [tvms.locate(known.tvm)]);
  // No row yet, or one of the boot before: the row is behind.
  if (!row || row.boot < known.boot || (!row.joined && row.boot === known.boot)) await heard(ports, known.tvm, known.boot, at);
  const { address, cores, platform, separateUser } = request.machine;
  const outcome = await execute(ports, "tvm", known.tvm, {
    stream: tvmStream(known.tvm),
    command: {
      type: "JoinTvm",
      at,
      boot: known.boot,
      address,
      cores,
      platform,
      separateUser,
      ...(pool.spec.startTask ? { startTask: pool.spec.startTask } : {}),
      ...(pool.spec.certificateReferences?.length ? { certificateReferences: pool.spec.certificateReferences } : {}),
    },
  });
  if (isRejection(outcome)) return notYours;
  // The answer to the first join may have been lost: until it has used its credential, a TVM may ask for it again.
  if (outcome.events.length === 0 && !(await mayJoinAgain(ports, known, outcome.state))) return notYours;
  await heard(ports, known.tvm, known.boot, at);
  ports.log.info("audit", { who: known.tvm, action: "agent.join", boot: known.boot, status: "has a credential now" });
  return {
    credential: credentialFor(ports, known.tvm, known.boot),
    account: outcome.state.account,
    pool: outcome.state.pool,
    tvm: outcome.state.name,
    boot: known.boot,
    slots: outcome.state.slots,
    holdMax: HOLD_MAX,
    heartbeatMs: HEARTBEAT_MS,
    selfStopMs: SELF_STOP_MS,
    ...(pool.spec.communication ? { portRange: PORT_RANGE } : {}),
    runElevatedAllowed: ports.policy.allowElevated,
    ...(outcome.state.certificateReferences?.length ? { certificates: true } : {}),
    readingsMs: scalingOf(ports).samplePeriodMs,
  };
};

const mayJoinAgain = async (ports: Ports, known: { tvm: string; boot: number }, state: Tvm): Promise<boolean> => {
  if (!state.joined || state.boot !== known.boot || state.phase === "gone") return false;
  const [row] = await ports.views.get(heartbeats, [{ partition: parentOf(known.tvm), id: known.tvm }]);
  return row?.boot === known.boot && row.exchanged !== true;
};

// ---------------------------------------------------------------- certificates

/** For a TVM of a pool that refers to them, those that its boot was told of; what the pool has dropped meanwhile is left out. */
export const certificatesFor = async (ports: Ports, credential: string, boot: number, at: string): Promise<CertificatesAnswer | Rejection> => {
  const known = verify(credential, (tvm, number) => credentialFor(ports, tvm, number));
  if (!known || known.boot !== boot) return notYours;
  const [row] = await ports.views.get(tvms, [tvms.locate(known.tvm)]);
  const refusal = await refusalNow(ports, known, row);
  if (refusal || !row) return refused(ports, known, refusal);
  // From here on its join code is good no more.
  await heard(ports, known.tvm, known.boot, at, true);
  const pool = await poolOf(ports, known.tvm);
  if (pool.phase === "absent") return goneTvm;
  const present = pool.spec.certificateReferences ?? [];
  const wanted = (row.certificateReferences ?? []).filter((one) => present.some((other) => sameCertificate(one, other)));
  const certificates = await filesOf(ports, row.account, wanted);
  const details = { tvm: known.tvm, certificates: wanted.map(({ thumbprint }) => thumbprint) };
  if (certificates) ports.log.info("certificates were handed to a TVM", details);
  else ports.log.warn("a certificate that a pool refers to cannot be had: its TVM waits for it", details);
  return certificates ? { certificates } : rejection("CertificateNotFound", "A certificate that the pool refers to cannot be had.");
};

// ---------------------------------------------------------------- exchange

export const exchange = async (
  ports: Ports,
  credential: string,
  request: ExchangeRequest,
  at: string,
  abort?: AbortSignal,
): Promise<ExchangeAnswer | Rejection> => {
  const known = verify(credential, (tvm, boot) => credentialFor(ports, tvm, boot));
  if (!known || known.boot !== request.boot) return notYours;
  const [first] = await ports.views.get(tvms, [tvms.locate(known.tvm)]);
  const refusal = await refusalNow(ports, known, first);
  if (refusal || !first) return refused(ports, known, refusal);
  await heard(ports, known.tvm, known.boot, at, true, request);
  if (first.phase === "unknown")
    await execute(ports, "tvm", known.tvm, { stream: tvmStream(known.tvm), command: { type: "RecoverTvm", at, boot: known.boot } });
  await takeIn(ports, known.tvm, request);
  if (request.drained !== undefined && first.drainedFor !== request.drained) await confirmDrained(ports, known, request.drained, at);
  return answerOrWait(ports, known, request, abort);
};

const confirmDrained = async (ports: Ports, { tvm, boot }: { tvm: string; boot: number }, since: string, at: string): Promise<void> => {
  await execute(ports, "tvm", tvm, { stream: tvmStream(tvm), command: { type: "ConfirmDrained", at, boot, since } });
};

/** Rows may be behind: whoever shows a credential has joined, and is sent away for good by what its stream says alone. */
const refusalNow = async (ports: Ports, { tvm, boot }: { tvm: string; boot: number }, row: TvmRow | undefined): Promise<Rejection | undefined> => {
  const refusal = refusalFor(row, boot);
  if (!refusal || row?.gone || (row && row.boot > boot)) return refusal;
  const { state } = await load(ports, "tvm", tvmStream(tvm));
  const really = refusalFor(state, boot);
  if (!really) throw new Busy(`The row of ${tvm} is behind.`);
  return really;
};

const refusalFor = (row: (Pick<Tvm, "phase" | "joined" | "boot"> & { gone?: boolean }) | undefined, boot: number): Rejection | undefined => {
  if (!row || row.gone || row.phase === "absent" || row.phase === "gone") return goneTvm;
  // Another boot has taken over: whoever still speaks for the old one has nothing to say.
  return !row.joined || row.boot !== boot ? notYours : undefined;
};

/** On record: it had a credential, which is over; nothing of what it says is taken in. */
const refused = (ports: Ports, { tvm, boot }: { tvm: string; boot: number }, why: Rejection = goneTvm): Rejection => {
  ports.log.warn("audit", { who: tvm, action: "agent.exchange", boot, status: "refused", code: why.code });
  return why;
};

/** What the TVM tells is durable before it is answered: then it may forget it. */
const takeIn = async (ports: Ports, tvm: string, request: ExchangeRequest): Promise<void> => {
  if (request.reports.length > 0) {
    const { boot, capacity } = request;
    await ports.bus.send("reports", inParts(request.reports).map((reports) => ({ body: { kind: "reports", tvm, boot, capacity, reports: reports as never } })));
    saidBy(ports).set(tvm, request.capacity);
  } else await sayCapacity(ports, tvm, request.capacity);
  await takeErrands(ports, tvm, request);
};

/** A message of Service Bus holds 256 KB; in characters of JSON, most of which are a byte. */
const PART_CHARACTERS = 96_000;

/** Parts may arrive in any order: each report says by itself what it is about. */
const inParts = (reports: readonly Report[]): Report[][] => {
  const parts: Report[][] = [];
  let room = 0;
  for (const one of reports) {
    const length = JSON.stringify(one).length;
    if (parts.length === 0 || room < length) {
      parts.push([]);
      room = PART_CHARACTERS;
    }
    room -= length;
    parts.at(-1)?.push(one);
  }
  return parts;
};

// How much each TVM last said it would hold, so that saying it again costs nothing. Forgotten at will.
const capacities = new WeakMap<object, Map<string, number>>();

const saidBy = (ports: Ports): Map<string, number> => {
  let map = capacities.get(ports.views);
  if (!map) capacities.set(ports.views, (map = new Map()));
  return map;
};

const sayCapacity = async (ports: Ports, tvm: string, capacity: number): Promise<void> => {
  if (saidBy(ports).get(tvm) === capacity) return;
  try {
    await wake(ports, [{ pool: parentOf(tvm), tvms: [{ tvm, capacity }] }]);
  } catch (error) {
    // A hint: it is said again with the next exchange.
    if (isNoRoom(error)) return;
    throw error;
  }
  saidBy(ports).set(tvm, capacity);
};

const takeErrands = async (ports: Ports, tvm: string, request: ExchangeRequest): Promise<void> => {
  if (request.fileAnswers.length === 0 && request.removedFolders.length === 0) return;
  const removed = new Set(request.removedFolders);
  const answers = new Map(request.fileAnswers.map((answer) => [answer.id, answer]));
  const open = await openErrands(ports, tvm);
  const rows = open.flatMap((row): { from: number; row: Row }[] => {
    const answer = answers.get(row.request?.id ?? row.user?.id ?? "");
    if (answer) return [{ from: row.version, row: answeredRow(row, answer) }];
    if (row.folder !== undefined && removed.has(row.folder)) return [{ from: row.version, row: { id: row.id, version: row.version + 1, gone: true } }];
    return [];
  });
  if (rows.length === 0) return;
  await ports.views.write([{ view: errands, partition: tvm, rows, counters: {} }]);
  for (const { row } of rows) ports.signals.notify(`errand-${row.id}`);
};

/** What was asked is asked no more; a password that was in it is not kept. */
const answeredRow = ({ user: _, ...row }: ErrandRow, answer: FileAnswer): ErrandRow => ({ ...row, version: row.version + 1, answer }) as ErrandRow;

const ERRANDS_MAX = 100;

const openErrands = async (ports: Ports, tvm: string): Promise<ErrandRow[]> =>
  (await ports.views.query(errands, { index: "tvm", prefix: `${tvm}/`, limit: ERRANDS_MAX })).map(({ row }) => row);

const answerOrWait = async (
  ports: Ports,
  known: { tvm: string; boot: number },
  request: ExchangeRequest,
  abort: AbortSignal | undefined,
): Promise<ExchangeAnswer | Rejection> => {
  const until = ports.clock.steady() + request.waitMs;
  for (;;) {
    const [row] = await ports.views.get(tvms, [tvms.locate(known.tvm)]);
    const refusal = await refusalNow(ports, known, row);
    if (refusal || !row) return refusal ?? goneTvm;
    const answer = await answerNow(ports, known.tvm, row, request);
    const left = until - ports.clock.steady();
    if (left <= 0 || abort?.aborted || ports.signals.closed() || isNews(ports, known.tvm, answer)) return answer;
    // Another process may have news that it cannot signal here: look again now and then.
    await ports.signals.wait(known.tvm, Math.min(left, LOOK_AGAIN_MS), abort);
  }
};

const LOOK_AGAIN_MS = 5_000;

const isNews = (ports: Ports, tvm: string, answer: ExchangeAnswer): boolean =>
  answer.run.length > 0 ||
  answer.stop.length > 0 ||
  answer.startTask !== undefined ||
  answer.leave === true ||
  answer.drain !== undefined ||
  answer.resume !== undefined ||
  [...answer.removeFolders, ...[...answer.files, ...(answer.users ?? [])].map(({ id }) => id)].some((errand) => isUntold(ports, tvm, errand));

// An errand stays in the answers until it is done; it ends a wait only now and then, or a TVM at work on it would spin.
const told = new WeakMap<object, Map<string, number>>();
const TOLD_MAX = 10_000;

const isUntold = (ports: Ports, tvm: string, errand: string): boolean => {
  let map = told.get(ports.views);
  if (!map || map.size > TOLD_MAX) told.set(ports.views, (map = new Map()));
  const now = ports.clock.steady();
  const key = `${tvm}/${errand}`;
  if (now - (map.get(key) ?? -Infinity) < LOOK_AGAIN_MS) return false;
  map.set(key, now);
  return true;
};

const answerNow = async (ports: Ports, tvm: string, row: TvmRow, request: ExchangeRequest): Promise<ExchangeAnswer> => {
  const [assigned, asked] = await Promise.all([
    ports.views.keys(tasks, { index: "tvm", prefix: `${tvm}/`, limit: 2 * HOLD_MAX }),
    openErrands(ports, tvm),
  ]);
  const waiting = asked.some(({ folder }) => folder !== undefined) ? await dropOutdated(ports, tvm, asked, assigned) : asked;
  const should = new Set(assigned.map(plainHeld));
  const holds = new Set(request.holding.map(({ key, attempt }) => heldKey(tvm, key, attempt)));
  const missing = assigned.filter((key) => !holds.has(plainHeld(key))).map(parseHeld);
  const stop = request.holding.filter(({ key, attempt }) => !should.has(heldKey(tvm, key, attempt)));
  const draining = await drainingOf(ports, tvm, row, request, assigned.length);
  const begins = request.drained === undefined || draining.resume !== undefined;
  return {
    run: takesNothing(row) || !begins ? [] : await assignmentsOf(ports, tvm, missing),
    stop,
    removeFolders: waiting.flatMap(({ folder }) => (folder === undefined ? [] : [folder])),
    files: waiting.flatMap(({ request: file }) => (file ? [file] : [])),
    ...usersAsked(ports, tvm, waiting),
    ...startTaskFor(ports, row),
    ...draining,
    ...(row.phase === "leaving" && !drains(row) && assigned.length === 0 ? { leave: true } : {}),
  };
};

/**
 * What the views show of a TVM that is to go after its tasks may be behind what it was given: that it has none and begins none is for
 * its agent to say, before it goes. And one that has said so, and is to stay after all, is told.
 */
const drainingOf = async (ports: Ports, tvm: string, row: TvmRow, request: ExchangeRequest, assigned: number): Promise<Pick<ExchangeAnswer, "drain" | "resume">> => {
  const since = drains(row) ? row.stateAt : undefined;
  if (request.drained !== undefined && request.drained !== since) {
    // The row may be behind as well.
    const { state } = await load(ports, "tvm", tvmStream(tvm));
    return drains(state) && state.stateAt === request.drained ? {} : { resume: request.drained };
  }
  if (since === undefined || assigned > 0 || request.drained === since) return {};
  if (request.taken !== undefined) return { drain: { since, taken: request.taken } };
  // An agent of an earlier release does not know the question.
  if (!isDrained(row)) await confirmDrained(ports, { tvm, boot: request.boot }, since, ports.clock.now().toISOString());
  return {};
};

/** Requests about users, opened for the TVM alone: those that somebody still waits for. */
const usersAsked = (ports: Ports, tvm: string, waiting: readonly ErrandRow[]): { users?: UserRequest[] } => {
  const now = ports.clock.now().toISOString();
  const users = waiting.flatMap(({ user }) => (user && user.until > now ? [JSON.parse(ports.sealer.open(user.sealed, userContext(tvm))) as UserRequest] : []));
  return users.length > 0 ? { users } : {};
};

/** A task that has come back here has its folder here again: what was asked to go is not what is there now. */
const dropOutdated = async (ports: Ports, tvm: string, waiting: readonly ErrandRow[], assigned: readonly string[]): Promise<readonly ErrandRow[]> => {
  const inUse = new Set(assigned.map((key) => parseHeld(key).task.split(".").filter((_, index) => index === 1 || index > 2).join("/")));
  const outdated = waiting.filter(({ folder }) => folder !== undefined && inUse.has(folder.toLowerCase()));
  if (outdated.length === 0) return waiting;
  const rows = outdated.map(({ id, version }) => ({ from: version, row: { id, version: version + 1, gone: true } }));
  await ports.views.write([{ view: errands, partition: tvm, rows, counters: {} }]);
  return waiting.filter((one) => !outdated.includes(one));
};

/** What it holds is being taken from it: nothing more is begun. */
const takesNothing = (row: TvmRow): boolean =>
  (row.phase === "leaving" && !waits(row.leavingOption)) || (row.phase === "restarting" && !waits(row.restart?.option));

/** Most assignments in one answer; the next exchange brings more. */
const RUN_MAX = 256;

const assignmentsOf = async (ports: Ports, tvm: string, missing: readonly { task: string; attempt: number }[]): Promise<Assignment[]> => {
  const some = missing.slice(0, RUN_MAX);
  if (some.length === 0) return [];
  const rows = await ports.views.get(tasks, some.map(({ task }) => tasks.locate(task)));
  return some.flatMap(({ task, attempt }, index) => {
    const row = rows[index];
    return row && row.attempt === attempt ? [assignmentOf(ports, accountOf(tvm), task, row)] : [];
  });
};

const assignmentOf = (ports: Ports, account: string, key: string, row: TaskRow): Assignment => {
  const { spec } = row;
  return {
    key,
    attempt: row.attempt,
    workItem: row.workItemName,
    job: row.jobName,
    task: row.name,
    commandLine: spec.commandLine,
    resourceFiles: openFiles(ports, account, spec.resourceFiles),
    environment: environmentOf(spec.environment),
    runElevated: spec.runElevated ?? false,
    ...(spec.maxWallClockMs === undefined ? {} : { maxWallClockMs: spec.maxWallClockMs }),
    ...(spec.retentionMs === undefined ? {} : { retentionMs: spec.retentionMs }),
    ...(spec.manager ? { manager: { token: managerToken(ports, key, row.attempt) } } : {}),
    ...(spec.exclusive ? { exclusive: true } : {}),
  };
};

const environmentOf = (settings: readonly { name: string; value: string }[] = []): Record<string, string> =>
  Object.fromEntries(settings.map(({ name, value }) => [name, value]));

const startTaskFor = (ports: Ports, row: TvmRow): { startTask?: StartTaskOrder } => {
  const { startTask, startTaskRun, startTaskInfo } = row;
  if (!startTask || startTaskRun === 0 || row.phase === "leaving") return {};
  // Named until its end is known; an agent that is at it already is not told again by a waiting exchange.
  if (startTaskInfo?.run === startTaskRun) return {};
  return {
    startTask: {
      run: startTaskRun,
      commandLine: startTask.commandLine,
      resourceFiles: openFiles(ports, row.account, startTask.resourceFiles),
      environment: environmentOf(startTask.environment),
      runElevated: startTask.runElevated ?? false,
    },
  };
};

// ---------------------------------------------------------------- heartbeats

const lastWritten = new WeakMap<object, Map<string, { readonly boot: number; readonly at: number; readonly exchanged: boolean }>>();

const heard = async (ports: Ports, tvm: string, boot: number, at: string, exchanged = false, said: Said = {}): Promise<void> => {
  let map = lastWritten.get(ports.views);
  if (!map) lastWritten.set(ports.views, (map = new Map()));
  const now = Date.parse(at);
  const last = map.get(tvm);
  // A clock that was set back must not make a heartbeat that was written count for hours.
  if (last?.boot === boot && (last.exchanged || !exchanged) && Math.abs(now - last.at) < HEARTBEAT_WRITE_MS && !said.readings) return;
  // The first is what uses the join code up: that must be written.
  if (last?.boot === boot && last.exchanged) {
    if (!(await moveHeartbeat(ports, tvm, boot, at, said))) return;
  } else await writeHeartbeat(ports, tvm, boot, at, exchanged, said);
  map.set(tvm, { boot, at: now, exchanged });
};

/** Before views are made anew: what was written there is said again. */
export const forgetSaid = (views: Ports["views"]): void => {
  for (const memory of [capacities, told, lastWritten]) memory.delete(views);
};

/** Whatever was kept about a TVM that has left. */
export const forgetAgent = async (ports: Ports, tvm: string): Promise<void> => {
  await forgetTvm(ports, tvm);
  const partition = parentOf(tvm);
  const [row] = await ports.views.get(heartbeats, [{ partition, id: tvm }]);
  if (row) await ports.views.write([{ view: heartbeats, partition, rows: [{ from: row.version, row: { id: tvm, version: row.version + 1, gone: true } }], counters: {} }]);
};
