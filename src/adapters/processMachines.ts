// Machines of the embedded default: TVMs are hosted by node agent processes on this machine, several in one process. The
// processes live on when the service is killed: small files beside the data say which process hosts which TVMs, so that a
// restarted service finds them and starts none twice. It never talks to an agent (agents talk to the service); it starts
// them, watches that they live, and says which TVMs went down with one.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Clock, Log, MachineOrder, Machines, MachineStatus } from "../ports";
import { type ProcessName, isAlive, killLeftovers, runProgram, signal, startTicksOf } from "./osProcesses";
import { lastLines, readJson, writeJson } from "./smallFiles";
import { systemClock } from "./system";
import { type HostedTvm, type Place, firstUserOf, hostedFor, placeOfRoots, removeEmptyParents, rootOf, same, sameTvm, subfolders } from "./tvmFolders";

export interface ProcessMachinesOptions {
  readonly dataDir: string;
  /** The file that tells agents where the service is. */
  readonly endpointFile: string;
  readonly log: Log;
  /** Called once for each TVM whose process is gone without having been asked to go. */
  readonly onMachineLost: (lost: { readonly account: string; readonly pool: string; readonly tvm: string; readonly boot: number }) => unknown;
  /** Hosts that resource files may come from besides public https addresses, the service, and this machine. */
  readonly allowedHosts?: readonly string[];
  /** The agent's program; absent: the one of this release. */
  readonly agentMain?: string;
  readonly clock?: Clock;
  /** When the service is root, each TVM's tasks get a user of their own: this number and those after it. Absent: a block by the data folder. */
  readonly firstUserId?: number;
  /** Runs a program of the system to its end, for tests; its own answer is the exit code. */
  readonly run?: (file: string, args: readonly string[]) => Promise<number>;
  /** Further members of the agents' specification, for tests. */
  readonly agentSpec?: Readonly<Record<string, unknown>>;
}

export interface ProcessMachines extends Machines {
  /** Ends all agents and what they run. The next start reports their TVMs as lost, so that they are started again. */
  stopAll(): Promise<void>;
  /** Stops watching and leaves the agents alone: they go on. */
  detach(): void;
}

const TVMS_PER_PROCESS = 50;
const WATCH_MS = 1_000;
const STARTUP_MS = 10_000;
const STOP_MS = 8_000;
const REMOVE_MS = 10_000;
const LOOK_MS = 25;
const TELL_AGAIN_MS = 1_000;

/** One file in DATA/machines: an agent process and its TVMs. */
interface GroupRecord extends ProcessName {
  readonly id: string;
  readonly startedAt: string;
  readonly tvms: readonly HostedTvm[];
}

interface Group extends GroupRecord {
  /** Ours to watch by looking; children of this process tell by themselves. */
  readonly adopted: boolean;
}

export function processMachines(options: ProcessMachinesOptions): ProcessMachines {
  const clock = options.clock ?? systemClock;
  const folder = path.join(options.dataDir, "machines");
  fs.mkdirSync(options.dataDir, { recursive: true });
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 });
  const isRoot = process.getuid?.() === 0;
  const place = placeOfRoots(options.dataDir, isRoot, options.log);
  const firstUserId = options.firstUserId ?? firstUserOf(options.dataDir);
  const run = options.run ?? runProgram;
  const groups = new Map<string, Group>();
  let detached = false;
  let turn: Promise<unknown> = Promise.resolve();
  /** Changes happen one after the other. */
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const mine = turn.then(act, act);
    turn = mine.catch(() => undefined);
    return mine;
  };

  const save = (group: Group): void => {
    const { adopted: _, ...record } = group;
    groups.set(group.id, group);
    writeJson(path.join(folder, `${group.id}.json`), record satisfies GroupRecord);
    tellNumber();
  };
  /** Agents divide what the machine does by the number of TVMs on it. */
  const tellNumber = (): void => {
    const tvms = [...groups.values()].reduce((total, group) => total + group.tvms.length, 0);
    try {
      writeJson(machineFile(options), { tvms });
    } catch {
      // The number of before is good enough for measurements, and whoever changes groups must go on.
    }
  };
  const forget = (group: Group): void => {
    groups.delete(group.id);
    tellNumber();
    fs.rmSync(path.join(folder, `${group.id}.json`), { force: true });
    fs.rmSync(path.join(folder, `${group.id}.log`), { force: true });
  };

  /** A process is gone: so are its TVMs, unless they were removed or moved to another before. */
  const lost = (id: string): void => {
    const group = groups.get(id);
    if (!group || detached) return;
    for (const tvm of group.tvms) killLeftovers(tvm);
    const tail = lastLines(path.join(folder, `${id}.log`));
    forget(group);
    if (group.tvms.length === 0) return;
    options.log.warn("an agent process ended", { pid: group.pid, tvms: group.tvms.length, said: tail });
    for (const { account, pool, tvm, boot } of group.tvms) {
      void tellLost({ account, pool, tvm, boot });
    }
  };

  /** Until it is told: the disk may be full for a while, and nobody else knows. */
  const tellLost = async (machine: Parameters<ProcessMachinesOptions["onMachineLost"]>[0]): Promise<void> => {
    for (let tries = 0; !detached; tries++) {
      try {
        await options.onMachineLost(machine);
        return;
      } catch (error) {
        if (tries === 0) options.log.error("a lost machine cannot be reported yet", { tvm: machine.tvm, message: (error as Error).message });
        await clock.sleep(TELL_AGAIN_MS);
      }
    }
  };

  const adopt = (): void => {
    for (const name of fs.readdirSync(folder)) {
      const record = name.endsWith(".json") ? readJson<GroupRecord>(path.join(folder, name)) : undefined;
      if (record) groups.set(record.id, { ...record, adopted: true });
    }
  };
  const watch = async (): Promise<void> => {
    while (!detached) {
      for (const group of groups.values()) if (group.adopted && !isAlive(group)) lost(group.id);
      if (![...groups.values()].some((group) => group.adopted)) return;
      await clock.sleep(WATCH_MS);
    }
  };

  const find = (account: string, pool: string, tvm: string): { group: Group; hosted: HostedTvm } | undefined => {
    for (const group of groups.values()) {
      const hosted = group.tvms.find((one) => sameTvm(one, { account, pool, tvm }));
      if (hosted) return { group, hosted };
    }
    return undefined;
  };
  const isRunning = (order: MachineOrder): boolean => {
    const found = find(order.account, order.pool, order.tvm);
    if (!found || found.hosted.boot < order.boot || !isAlive(found.group)) return false;
    // A TVM that has ended by itself in a process that lives for others has no claim on its root any more.
    const young = Math.abs(clock.now().getTime() - Date.parse(found.group.startedAt)) < STARTUP_MS;
    return young || fs.existsSync(`${found.hosted.root}.claim`);
  };

  const start = (orders: readonly MachineOrder[]): void => {
    const id = randomBytes(8).toString("hex");
    const others = [...groups.values()].flatMap((group) => group.tvms);
    const hosted = orders.map((order) => hostedFor(order, place, others, isRoot ? firstUserId : undefined));
    const log = fs.openSync(path.join(folder, `${id}.log`), "a", 0o600);
    try {
      const program = agentProgram(options.agentMain);
      const child = spawn(process.execPath, program, { detached: true, stdio: ["pipe", log, log], env: agentEnvironment(), cwd: "/" });
      if (child.pid === undefined) throw new Error("the agent process could not be started");
      child.on("exit", () => lost(id));
      child.on("error", (error) => options.log.error("the agent process failed", { message: error.message }));
      for (const moved of hosted) dropElsewhere(moved);
      // Recorded before it is told what to do: an agent that nobody knows about ends when its input does, and that nobody could note down, here.
      note(child, { id, pid: child.pid, startTicks: startTicksOf(child.pid), startedAt: clock.now().toISOString(), tvms: hosted, adopted: false });
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(JSON.stringify(agentSpec(options, place, folder, hosted, orders)));
      child.unref();
      (child.stdin as unknown as { unref?: () => void } | null)?.unref?.();
    } finally {
      fs.closeSync(log);
    }
  };
  const note = (child: ChildProcess, group: Group): void => {
    try {
      save(group);
    } catch (error) {
      groups.delete(group.id);
      child.kill("SIGKILL");
      throw error;
    }
  };
  /** The TVM has a newer boot: its old process is not asked about it any more (and lets go of it by itself). */
  const dropElsewhere = (moved: HostedTvm): void => {
    for (const group of groups.values()) {
      const rest = group.tvms.filter((one) => !sameTvm(one, moved));
      if (rest.length !== group.tvms.length) save({ ...group, tvms: rest });
    }
  };

  const ensure = async (orders: readonly MachineOrder[]): Promise<{ tvm: string; error?: string }[]> => {
    const missing = orders.filter((order) => !isRunning(order));
    const errors = new Map<MachineOrder, string>();
    for (let from = 0; from < missing.length; from += TVMS_PER_PROCESS) {
      const some = missing.slice(from, from + TVMS_PER_PROCESS);
      try {
        start(some);
      } catch (error) {
        for (const order of some) errors.set(order, (error as Error).message);
      }
    }
    return orders.map((order) => {
      const error = errors.get(order);
      return { tvm: order.tvm, ...(error === undefined ? {} : { error }) };
    });
  };

  /** Tells whoever hosts it that it is gone, waits until it has let go, and removes what is left. */
  const removeOne = async (account: string, pool: string, tvm: string): Promise<void> => {
    const found = find(account, pool, tvm);
    const root = found?.hosted.root ?? rootOf(place, account, pool, tvm);
    if (found) {
      save({ ...found.group, tvms: found.group.tvms.filter((one) => one !== found.hosted) });
      await letGo(found.group, root);
      killLeftovers(found.hosted);
    }
    await removeUsers(root);
    for (const left of [root, `${root}.cache`, `${root}.certs`, `${root}.claim`, `${root}.next`, `${root}.retention`, `${root}.users`]) await fs.promises.rm(left, { recursive: true, force: true, maxRetries: 3 });
    await removeEmptyParents(path.dirname(root), place.roots);
    const rest = found && groups.get(found.group.id);
    if (rest && rest.tvms.length === 0) await endProcess(rest);
  };
  /** Users of the machine that an agent made for the TVM and, being killed, could not remove. */
  const removeUsers = async (root: string): Promise<void> => {
    const prefix = `bl${createHash("sha256").update(root).digest("hex").slice(0, 8)}`;
    const noted = readJson<unknown>(`${root}.users`);
    const names = (Array.isArray(noted) ? noted : []).filter((name): name is string => typeof name === "string" && /^bl[0-9a-f]{8}[-_][a-z0-9_-]{1,20}$/.test(name) && name.startsWith(prefix));
    for (const name of names) {
      await run("userdel", ["-f", name]);
      await run("groupdel", [name]);
    }
  };
  const letGo = async (group: Group, root: string): Promise<void> => {
    const claimed = (): boolean => fs.existsSync(`${root}.claim`) && isAlive(group);
    if (!isAlive(group)) return;
    writeJson(`${root}.next`, { boot: "gone" });
    const until = clock.steady() + REMOVE_MS;
    // Once it has claimed a root, the agent takes this signal as "look at once".
    if (claimed()) signal(group.pid, "SIGUSR2");
    while (claimed() && clock.steady() < until) await clock.sleep(LOOK_MS);
  };
  /** A process without TVMs ends by itself; one that does not is ended. */
  const endProcess = async (group: Group): Promise<void> => {
    const until = clock.steady() + STOP_MS;
    while (isAlive(group) && clock.steady() < until) await clock.sleep(LOOK_MS);
    if (isAlive(group)) signal(group.pid, "SIGKILL");
    forget(group);
  };

  const stopOne = async (group: Group): Promise<void> => {
    signal(group.pid, "SIGTERM");
    const until = clock.steady() + STOP_MS;
    while (isAlive(group) && clock.steady() < until) await clock.sleep(LOOK_MS);
    if (isAlive(group)) signal(group.pid, "SIGKILL");
    for (const tvm of group.tvms) killLeftovers(tvm);
  };

  adopt();
  // Not within the construction: whoever is told may not be ready yet.
  setImmediate(() => void watch());
  return {
    ensure: (orders) => inTurn(() => ensure(orders)),
    async list(account, pool) {
      const found: MachineStatus[] = [];
      for (const group of groups.values()) {
        if (!isAlive(group)) continue;
        for (const one of group.tvms) if (same(one.account, account) && same(one.pool, pool)) found.push({ tvm: one.tvm, boot: one.boot });
      }
      return found;
    },
    remove: (account, pool, tvms) => inTurn(async () => {
      await Promise.all(tvms.map((tvm) => removeOne(account, pool, tvm)));
    }),
    stopAll: () => inTurn(async () => {
      detached = true;
      await Promise.all([...groups.values()].filter(isAlive).map(stopOne));
      // A folder outside the data folder stays only as long as there are TVMs to come back to.
      if (place.elsewhere && subfolders(place.roots).length === 0) fs.rmSync(path.dirname(place.roots), { recursive: true, force: true });
    }),
    detach() {
      detached = true;
    },
  };
}

// ---------------------------------------------------------------- the agent's program

function agentProgram(main: string | undefined): string[] {
  // A debugger's port is taken by this process.
  return [...process.execArgv.filter((flag) => !flag.startsWith("--inspect")), main ?? path.join(__dirname, "..", "agent", `main${path.extname(__filename)}`)];
}

/** Beside the data, not among the records of processes. */
const machineFile = ({ dataDir }: ProcessMachinesOptions): string => path.resolve(dataDir, "machine.json");

/** What an agent needs to find compilers and temporary folders; nothing of the service's settings. */
function agentEnvironment(): NodeJS.ProcessEnv {
  const { PATH, TMPDIR } = process.env;
  return { PATH: PATH ?? "/usr/local/bin:/usr/bin:/bin", ...(TMPDIR === undefined ? {} : { TMPDIR }) };
}

/** Tasks of these TVMs reach what listens on this machine anyway, and a store of its user's may be there. By these names only: a name
 * of the outside world that leads here is still refused. */
const THIS_MACHINE: readonly string[] = ["127.0.0.1", "localhost", "[::1]"];

function agentSpec(options: ProcessMachinesOptions, place: Place, folder: string, hosted: readonly HostedTvm[], orders: readonly MachineOrder[]): unknown {
  return {
    endpointFile: path.resolve(options.endpointFile), machineFile: machineFile(options), helperCache: path.resolve(folder, "helpers"), allowHosts: [...THIS_MACHINE, ...(options.allowedHosts ?? [])], programFolders: place.programFolders,
    ...options.agentSpec,
    tvms: hosted.map(({ tvm, boot, root, uid, address }, index) => ({
      name: tvm, joinCode: orders[index]?.joinCode ?? "", boot, root, address, ...(uid === undefined ? {} : { uid, gid: uid }),
      ...(orders[index]?.clean ? { clean: true } : {}),
    })),
  };
}
