// Simulated TVMs: machines that boot, crash, fall silent, come back, run out of disk, and whose clocks are wrong; on each the
// agent's own logic decides, and programs run on virtual time. What the agent's process does around that logic (when to
// exchange, when to stop by itself) is done here by the same rules. It reaches the service by HTTP only.
import { type Agent, type Effect, createAgent } from "../../src/agent/agent";
import type { MachineOrder, Machines } from "../../src/ports";
import { type AttemptRef, type FileRequest, type JoinAnswer, PROTOCOL_VERSION, type UserRequest, certificatesAnswer, exchangeAnswer, joinAnswer } from "../../src/wire";
import type { Seeded } from "../support/seeded";
import { createDisks } from "./disks";
import type { Profile } from "./faults";
import type { Installed, Run } from "./history";
import type { Timeline } from "./timeline";

export interface Reply {
  readonly status: number;
  readonly json: unknown;
}

export interface MachinesOptions {
  readonly timeline: Timeline;
  readonly random: Seeded;
  profile(): Profile;
  trace(line: string): void;
  /** One request; undefined: no answer came. */
  http(from: string, method: string, path: string, headers: Record<string, string>, body: unknown, answered: (reply: Reply | undefined) => void): void;
  /** Sends bytes to an address that came with a question; whether they arrived. */
  upload(url: string, bytes: Buffer, sent: (arrived: boolean) => void): void;
  /** Whoever watches machines says that one has ended. */
  watchSays(tvm: string, boot: number): void;
}

interface Machine {
  readonly order: MachineOrder;
  readonly key: string;
  alive: boolean;
  silentUntil: number;
  fullUntil: number;
  readonly skewMs: number;
  readonly runs: Map<string, Run>;
  session: Session | undefined;
}

interface Session {
  readonly agent: Agent;
  readonly joined: JoinAnswer;
  waiting: boolean;
  carrying: boolean;
  failures: number;
  retryAt: number;
  lastAcceptedAt: number;
  silent: boolean;
  planned: number;
  dueAt: number;
  readAt: number;
  /** To be removed once nothing writes there any more. */
  readonly folders: Set<string>;
}

const WAIT_MS = 5_000;
const ANSWER_MS = 10_000;
const FAST_MS = 60;

export type SimMachines = ReturnType<typeof createMachines>;

export const createMachines = (options: MachinesOptions) => {
  const { timeline, random, trace, profile } = options;
  const machines = new Map<string, Machine>();
  const runs: Run[] = [];
  const installed: Installed[] = [];
  const disks = createDisks(() => timeline.now());
  const keyOf = (account: string, pool: string, tvm: string): string => `${account}.${pool}.${tvm}`.toLowerCase();

  // ---------------------------------------------------------------- life

  const boot = (order: MachineOrder): void => {
    const key = keyOf(order.account, order.pool, order.tvm);
    const skew = profile().tvmSkewMs;
    const machine: Machine = { order, key, alive: true, silentUntil: 0, fullUntil: 0, skewMs: skew === 0 ? 0 : random.below(2 * skew) - skew, runs: new Map(), session: undefined };
    machines.set(key, machine);
    if (order.clean) disks.clear(key);
    disks.write(key, "shared/note.txt", `boot ${order.boot} of ${key}\n`);
    trace(`machine ${key} boots (${order.boot})`);
    timeline.after(random.chance(profile().slowBoot) ? 5_000 + random.below(60_000) : 200 + random.below(2_000), () => join(machine, 50));
    timeline.after(60_000, () => misfortune(machine));
  };

  const misfortune = (machine: Machine): void => {
    if (!machine.alive) return;
    const { crash, silence, fullDisk } = profile();
    const soon = (): number => random.below(60_000);
    if (crash > 0 && random.chance(crash)) timeline.after(soon(), () => end(machine, "crashes", true));
    if (silence > 0 && random.chance(silence)) timeline.after(soon(), () => fallSilent(machine));
    if (fullDisk > 0 && random.chance(fullDisk)) machine.fullUntil = timeline.now() + 60_000;
    timeline.after(60_000, () => misfortune(machine));
  };

  const fallSilent = (machine: Machine): void => {
    machine.silentUntil = timeline.now() + random.oneOf([5_000, 30_000, 90_000, 400_000]);
    trace(`machine ${machine.key} cannot be reached until ${machine.silentUntil}`);
  };

  const end = (machine: Machine, why: string, crashed = false): void => {
    if (!machine.alive) return;
    machine.alive = false;
    for (const run of machine.runs.values()) run.endMs = timeline.now();
    machine.runs.clear();
    if (machines.get(machine.key) === machine) machines.delete(machine.key);
    trace(`machine ${machine.key} ${why}`);
    if (crashed && !random.chance(profile().unnoticed)) timeline.after(random.below(2_000), () => options.watchSays(machine.key, machine.order.boot));
  };

  const cut = (machine: Machine, how: "removed" | "restarted"): void => {
    for (const run of machine.runs.values()) run.cut = how;
    end(machine, `is ${how}`);
  };

  const post = (machine: Machine, path: string, headers: Record<string, string>, body: unknown, timeoutMs: number, answered: (reply: Reply | undefined) => void): void => {
    let over = false;
    const once = (reply: Reply | undefined): void => {
      if (over || !machine.alive) return;
      over = true;
      answered(timeline.now() < machine.silentUntil ? undefined : reply);
    };
    if (timeline.now() < machine.silentUntil) return void timeline.after(Math.min(timeoutMs, 1_000), () => once(undefined));
    timeline.after(timeoutMs, () => once(undefined));
    options.http(machine.key, "POST", path, headers, body, once);
  };

  const join = (machine: Machine, pause: number): void => {
    if (!machine.alive) return;
    const body = { protocol: PROTOCOL_VERSION, code: machine.order.joinCode, machine: { address: "10.0.0.4", cores: 4, platform: "sim", separateUser: true, helper: "node" } };
    post(machine, "/agent/join", {}, body, 10_000, (reply) => {
      if (reply?.status === 200) return prepare(machine, joinAnswer.parse(reply.json), 100);
      if (reply && reply.status >= 400 && reply.status < 500 && reply.status !== 429 && reply.status !== 408) return end(machine, `is refused (${reply.status})`);
      timeline.after(pause, () => join(machine, Math.min(2_000, pause * 2)));
    });
  };

  /** Nothing runs before its certificates are there. */
  const prepare = (machine: Machine, joined: JoinAnswer, pause: number): void => {
    if (!joined.certificates) return begin(machine, joined);
    const askedMs = timeline.now();
    post(machine, "/agent/certificates", { authorization: `TVM ${joined.credential}` }, { boot: joined.boot }, 30_000, (reply) => {
      if (reply?.status === 200) {
        const { certificates } = certificatesAnswer.parse(reply.json);
        installed.push({ tvm: machine.key, boot: joined.boot, askedMs, atMs: timeline.now(), thumbprints: certificates.map(({ thumbprint }) => thumbprint) });
        return begin(machine, joined);
      }
      if (reply && [401, 403, 410].includes(reply.status)) return end(machine, `is refused its certificates (${reply.status})`);
      timeline.after(pause, () => {
        if (machine.alive) prepare(machine, joined, Math.min(5_000, pause * 2));
      });
    });
  };

  // ---------------------------------------------------------------- a joined TVM

  const begin = (machine: Machine, joined: JoinAnswer): void => {
    const now = timeline.now();
    const session: Session = { agent: createAgent(joined), joined, waiting: false, carrying: false, failures: 0, retryAt: 0, lastAcceptedAt: now, silent: false, planned: Infinity, dueAt: Infinity, readAt: now, folders: new Set() };
    machine.session = session;
    trace(`machine ${machine.key} has joined`);
    watch(machine, session);
    look(machine, session);
  };

  /** Without an accepted exchange for long it ends its own tasks. */
  const watch = (machine: Machine, session: Session): void => {
    if (!machine.alive) return;
    if (!session.silent && timeline.now() - session.lastAcceptedAt >= session.joined.selfStopMs) {
      session.silent = true;
      trace(`machine ${machine.key} stops by itself`);
      perform(machine, session, session.agent.selfStop());
    }
    timeline.after(1_000, () => watch(machine, session));
  };

  const look = (machine: Machine, session: Session): void => {
    if (!machine.alive) return;
    const now = timeline.now();
    if (now < session.retryAt) return lookIn(machine, session, session.retryAt - now);
    if (session.agent.hasPayload() && !session.carrying) exchange(machine, session, true);
    if (!session.waiting) exchange(machine, session, false);
  };

  const lookIn = (machine: Machine, session: Session, delayMs: number): void => {
    const at = timeline.now() + delayMs;
    if (at >= session.planned) return;
    session.planned = at;
    timeline.after(delayMs, () => {
      session.planned = Infinity;
      look(machine, session);
    });
  };

  const exchange = (machine: Machine, session: Session, carry: boolean): void => {
    const which = carry ? "carrying" : "waiting";
    session[which] = true;
    const waitMs = carry || session.failures > 0 ? 0 : WAIT_MS;
    const sentAt = timeline.now();
    const outgoing = session.agent.request(waitMs, carry, sentAt);
    const sent = { ...structuredClone(outgoing.body), ...readings(machine, session) };
    post(machine, "/agent/exchange", { authorization: `TVM ${session.joined.credential}` }, sent, waitMs + ANSWER_MS, (reply) => {
      session[which] = false;
      if (reply && (reply.status === 401 || reply.status === 403 || reply.status === 410)) return end(machine, `is sent away (${reply.status})`);
      if (reply?.status !== 200) {
        session.failures++;
        session.retryAt = timeline.now() + Math.min(2_000, 50 * 2 ** Math.min(session.failures, 10));
        return lookIn(machine, session, session.retryAt - timeline.now());
      }
      const answer = exchangeAnswer.parse(reply.json);
      session.failures = 0;
      session.lastAcceptedAt = Math.max(session.lastAcceptedAt, sentAt);
      session.silent = false;
      outgoing.accepted();
      perform(machine, session, session.agent.accept(answer, timeline.now()));
      lookIn(machine, session, timeline.now() - sentAt < FAST_MS ? FAST_MS : 1);
    });
  };

  /** Now and then: how busy the machine is. */
  const readings = (machine: Machine, session: Session): object => {
    const overMs = timeline.now() - session.readAt;
    if (session.joined.readingsMs === undefined || overMs < session.joined.readingsMs) return {};
    session.readAt = timeline.now();
    return { readings: { at: new Date(wall(machine)).toISOString(), overMs, cpu: Math.min(1, machine.runs.size / session.joined.slots), memoryMb: 512, diskGb: 1, diskReadBytes: 1_000, tvms: 1 } };
  };

  const perform = (machine: Machine, session: Session, effects: readonly Effect[]): void => {
    for (const effect of effects) {
      switch (effect.kind) {
        case "run":
          launch(machine, session, effect);
          break;
        case "end":
          // SIGTERM, and its grace.
          timeline.after(random.below(1_500), () => over(machine, session, effect.ref, 143));
          break;
        case "runStartTask":
          startTask(machine, session, effect.order.run);
          break;
        case "removeFolder":
          session.folders.add(effect.folder);
          removeFolders(machine, session);
          break;
        case "answerFile":
          timeline.after(1 + random.below(50), () => answerFile(machine, session, effect.request));
          break;
        case "changeUser":
          timeline.after(1 + random.below(50), () => changeUser(machine, session, effect.request));
          break;
        case "leave":
          return end(machine, "leaves");
      }
    }
    if (!machine.alive) return;
    const due = session.agent.nextDueMs();
    if (due < session.dueAt) {
      session.dueAt = due;
      timeline.after(due - timeline.now(), () => {
        session.dueAt = Infinity;
        if (machine.alive) perform(machine, session, session.agent.due(timeline.now()));
      });
    }
    if (session.agent.hasPayload()) lookIn(machine, session, 1);
  };

  const removeFolders = (machine: Machine, session: Session): void => {
    for (const folder of session.folders) {
      if (session.agent.isFolderBusy(folder)) continue;
      session.folders.delete(folder);
      disks.remove(machine.key, `tasks/${folder}`);
      session.agent.folderRemoved(folder);
    }
  };

  const answerFile = (machine: Machine, session: Session, request: FileRequest): void => {
    if (!machine.alive) return;
    const { answer, bytes } = disks.answer(machine.key, request);
    const tell = (arrived: boolean): void => {
      if (!machine.alive) return;
      session.agent.fileAnswered(arrived ? answer : { id: request.id, problem: { code: "failed", message: "The file could not be sent." } });
      perform(machine, session, []);
    };
    if (!bytes || request.uploadUrl === undefined) return tell(true);
    if (timeline.now() < machine.silentUntil) return void timeline.after(1_000, () => tell(false));
    options.upload(request.uploadUrl, bytes, tell);
  };

  const changeUser = (machine: Machine, session: Session, { id, kind, name }: UserRequest): void => {
    if (!machine.alive) return;
    session.agent.fileAnswered({ id, ...(kind === "add" ? { account: `u-${name}` } : {}) });
    perform(machine, session, []);
  };

  const wall = (machine: Machine): number => timeline.now() + machine.skewMs;

  const launch = (machine: Machine, session: Session, { assignment }: Extract<Effect, { kind: "run" }>): void => {
    const ref = { key: assignment.key, attempt: assignment.attempt };
    if (timeline.now() < machine.fullUntil && random.chance(0.5)) {
      const error = { category: "ServerError" as const, code: "DiskFull", message: "No space is left on the TVM." };
      timeline.after(5, () => {
        if (machine.alive) ended(machine, session, ref, { atMs: wall(machine), error });
      });
      return;
    }
    const run: Run = { task: ref.key, attempt: ref.attempt, tvm: machine.key, boot: machine.order.boot, slots: session.joined.slots, startMs: timeline.now(), endMs: Infinity };
    const startedAtMs = wall(machine);
    runs.push(run);
    machine.runs.set(idOf(ref), run);
    trace(`machine ${machine.key} runs ${idOf(ref)}`);
    const folder = `tasks/${assignment.workItem}/${assignment.job}/${assignment.task}`;
    disks.remove(machine.key, folder);
    disks.write(machine.key, `${folder}/stdout.txt`, `${idOf(ref)} since ${run.startMs} on ${machine.key}\n`);
    timeline.after(random.below(30), () => {
      if (machine.runs.get(idOf(ref)) !== run) return;
      session.agent.started(ref, startedAtMs, timeline.now());
      perform(machine, session, []);
    });
    // What the program does is in its command line: `{milliseconds} {exit code}`.
    const [lastsMs = 100, exitCode = 0] = assignment.commandLine.split(" ").slice(1).map(Number);
    const fails = exitCode !== 0 && (assignment.attempt < 4 || profile().crash + profile().refuse > 0);
    timeline.after(lastsMs, () => {
      if (machine.runs.get(idOf(ref)) !== run) return;
      disks.append(machine.key, `${folder}/stdout.txt`, "done\n");
      disks.write(machine.key, `${folder}/wd/result.txt`, `result of ${idOf(ref)} since ${run.startMs}\n`);
      over(machine, session, ref, fails ? exitCode : 0, startedAtMs);
    });
  };

  const over = (machine: Machine, session: Session, ref: AttemptRef, exitCode: number, startedAtMs = wall(machine)): void => {
    if (!machine.alive || !machine.runs.has(idOf(ref))) return;
    ended(machine, session, ref, { startedAtMs, atMs: wall(machine), exitCode, usage: { userMs: 7, kernelMs: 1, maxRssKib: 100 } });
  };

  const ended = (machine: Machine, session: Session, ref: AttemptRef, ending: Parameters<Agent["ended"]>[1]): void => {
    const run = machine.runs.get(idOf(ref));
    if (run) run.endMs = timeline.now();
    machine.runs.delete(idOf(ref));
    const effects = session.agent.ended(ref, ending, timeline.now());
    removeFolders(machine, session);
    perform(machine, session, effects);
  };

  const startTask = (machine: Machine, session: Session, run: number): void => {
    const startedAtMs = wall(machine);
    session.agent.startTaskStarted(run, startedAtMs);
    disks.write(machine.key, "start/stdout.txt", `run ${run} of boot ${machine.order.boot} of ${machine.key}\n`);
    timeline.after(50 + random.below(3_000), () => {
      if (!machine.alive) return;
      session.agent.startTaskEnded(run, { startedAtMs, atMs: wall(machine), exitCode: profile().crash > 0 && random.chance(0.3) ? 1 : 0 });
      perform(machine, session, []);
    });
  };

  // ---------------------------------------------------------------- the port

  const port: Machines = {
    async ensure(orders) {
      return orders.map((order) => {
        const key = keyOf(order.account, order.pool, order.tvm);
        const there = machines.get(key);
        if (there && there.order.boot >= order.boot) return { tvm: order.tvm };
        if (random.chance(profile().noMachine)) return { tvm: order.tvm, error: "There is no room for a machine." };
        if (there) cut(there, "restarted");
        boot(order);
        return { tvm: order.tvm };
      });
    },
    async list(account, pool) {
      return [...machines.values()].filter(({ order }) => order.account === account && order.pool === pool).map(({ order }) => ({ tvm: order.tvm, boot: order.boot }));
    },
    async remove(account, pool, tvms) {
      for (const tvm of tvms) {
        const there = machines.get(keyOf(account, pool, tvm));
        if (there) cut(there, "removed");
        disks.clear(keyOf(account, pool, tvm));
      }
    },
  };

  return {
    port,
    runs,
    installed,
    disk: disks.changes,
    runningOn: (tvm: string): string[] => [...(machines.get(tvm)?.runs.keys() ?? [])],
    alive: () => [...machines.values()].map(({ key }) => key),
    /** From now on all can be reached. */
    heal(): void {
      for (const machine of machines.values()) machine.silentUntil = machine.fullUntil = 0;
    },
    kill(seeded: Seeded): void {
      const all = [...machines.values()];
      if (all.length > 0) end(seeded.oneOf(all), "crashes", true);
    },
  };
};

const idOf = ({ key, attempt }: AttemptRef): string => `${key}@${attempt}`;
