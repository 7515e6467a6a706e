// The embedded machines: agent processes that are started once, found again by a restarted service, and missed when they die.
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { processMachines, type ProcessMachines, type ProcessMachinesOptions } from "../../src/adapters/processMachines";
import { processes, variableOf } from "../../src/agent/processTree";
import type { MachineOrder } from "../../src/ports";
import { eventually } from "./eventually";
import { startFakeService, type FakeService } from "./fakeService";
import { assignment } from "./world";

const isRoot = process.getuid?.() === 0;
/** Of this test process alone: users are how leftovers are found. */
const FIRST_USER = 2_000_000_000 + process.pid * 1_000;
const account = "Acme";
const pool = "Pool-A";
let folder: string;
let service: FakeService;
let lost: { tvm: string; boot: number }[];
let open: ProcessMachines[];

process.execArgv.push("--require", path.join(__dirname, "register.js"));
afterAll(() => void process.execArgv.splice(process.execArgv.indexOf("--require"), 2));

beforeEach(async () => {
  folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "machines-")));
  fs.chmodSync(folder, 0o755);
  service = await startFakeService({ endpointFile: path.join(folder, "service.json") });
  lost = [];
  open = [];
});

afterEach(async () => {
  const last = machines();
  await Promise.all(open.map((one) => one.detach()));
  await last.remove(account, pool, ["tvm-1", "tvm-2", "tvm-3"]);
  await last.stopAll();
  await service.stop();
  fs.rmSync(folder, { recursive: true, force: true });
  expect(service.problems).toEqual([]);
});

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const machines = (changes: Partial<ProcessMachinesOptions> = {}): ProcessMachines => {
  const made = processMachines({
    dataDir: path.join(folder, "data"), endpointFile: path.join(folder, "service.json"), log, onMachineLost: (one) => lost.push({ tvm: one.tvm, boot: one.boot }), firstUserId: FIRST_USER,
    agentSpec: { graceMs: 200, helperCache: path.join(os.tmpdir(), `helper-cache-${process.getuid?.()}`) }, ...changes,
  });
  open.push(made);
  return made;
};
const order = (tvm: string, boot = 1): MachineOrder => ({ account, pool, tvm, boot, joinCode: `joincode~${tvm}~${boot}`, slots: 4, size: "small" });
const exchanging = (tvm: string, boot = 1) => eventually(() => service.tvm(tvm).exchanges.some((one) => one.boot === boot), () => `${tvm} to exchange`);
const rootOf = (tvm: string): string => path.join(folder, "data", "tvms", "acme", "pool-a", tvm);
const records = () => fs.readdirSync(path.join(folder, "data", "machines")).filter((name) => name.endsWith(".json")).map((name) => JSON.parse(fs.readFileSync(path.join(folder, "data", "machines", name), "utf8")) as { pid: number });
const marked = (tvm: string) => processes().filter((one) => variableOf(one.pid, "WATASK_TVM_ROOT_DIR") === rootOf(tvm));

test("starts one process for a group of orders, and none twice", async () => {
  const first = machines();
  expect(await first.ensure([order("tvm-1"), order("tvm-2")])).toEqual([{ tvm: "tvm-1" }, { tvm: "tvm-2" }]);
  await exchanging("tvm-1");
  await exchanging("tvm-2");
  await first.ensure([order("tvm-1"), order("tvm-2")]);
  expect(records().length).toBe(1);
  expect((await first.list("acme", "pool-a")).map((one) => one.tvm).sort()).toEqual(["tvm-1", "tvm-2"]);
  expect([service.tvm("tvm-1").joins, service.tvm("tvm-2").joins]).toEqual([1, 1]);
  const addresses = ["tvm-1", "tvm-2"].map((tvm) => service.tvm(tvm).joined?.machine.address ?? "");
  expect(new Set(addresses).size).toBe(2);
  for (const address of addresses) expect(address).toMatch(/^127\./);
});

(isRoot ? test : test.skip)("each TVM's tasks run as a user of their own, who cannot read another TVM's files", async () => {
  await machines().ensure([order("tvm-1"), order("tvm-2")]);
  const secret = assignment("id -u; id -G; echo secret > secret.txt; umask", { task: "secret" });
  service.assign("tvm-1", secret);
  await eventually(() => service.tvm("tvm-1").reports.some((report) => report.kind === "taskEnded"));
  const [uid, groups, umask] = fs.readFileSync(path.join(rootOf("tvm-1"), "tasks/w/j/secret/stdout.txt"), "utf8").split("\n");
  expect([uid, groups, umask]).toEqual([String(fs.statSync(rootOf("tvm-1")).uid), uid, "0077"]);
  expect(Number(uid)).toBeGreaterThanOrEqual(FIRST_USER);
  expect(service.tvm("tvm-1").joined?.machine.separateUser).toBe(true);
  const spy = assignment(`cat ${rootOf("tvm-1")}/tasks/w/j/secret/wd/secret.txt; ls ${path.join(folder, "data", "machines")}; node -p 6*7`, { task: "spy" });
  service.assign("tvm-2", spy);
  await eventually(() => service.tvm("tvm-2").reports.some((report) => report.kind === "taskEnded"));
  expect(fs.readFileSync(path.join(rootOf("tvm-2"), "tasks/w/j/spy/stdout.txt"), "utf8")).toBe("42\n");
  expect(fs.readFileSync(path.join(rootOf("tvm-2"), "tasks/w/j/spy/stderr.txt"), "utf8").match(/Permission denied/g)?.length).toBe(2);
  expect(fs.statSync(rootOf("tvm-2")).uid).not.toBe(Number(uid));
});

(isRoot ? test : test.skip)("when other users cannot reach the data folder, TVM folders are elsewhere until nothing is left", async () => {
  fs.chmodSync(folder, 0o700);
  const notes: unknown[] = [];
  const first = machines({ log: { ...log, info: (_, details) => void notes.push(details?.["folder"]) } });
  await first.ensure([order("tvm-1")]);
  const one = assignment("echo here; node -p 6*7");
  service.assign("tvm-1", one);
  await eventually(() => service.tvm("tvm-1").reports.some((report) => report.kind === "taskEnded"));
  const [elsewhere] = notes as string[];
  expect(elsewhere).toMatch(/^\/var\/tmp\/batchledger-[0-9a-f]+\/tvms$/);
  expect(fs.readFileSync(path.join(elsewhere ?? "", "acme/pool-a/tvm-1/tasks/w/j", one.task, "stdout.txt"), "utf8")).toBe("here\n42\n");
  // Those of data folders that are gone are cleared away by whoever comes next; those of others are not.
  const forgotten = path.join("/var/tmp", `batchledger-${"0".repeat(10)}${process.pid}`);
  fs.mkdirSync(path.join(forgotten, "tvms", "acme"), { recursive: true });
  fs.writeFileSync(path.join(forgotten, "data-folder"), path.join(folder, "gone"));
  machines();
  expect(fs.existsSync(forgotten)).toBe(false);
  expect(fs.existsSync(elsewhere ?? "")).toBe(true);
  await first.remove(account, pool, ["tvm-1"]);
  await first.stopAll();
  expect(fs.existsSync(path.dirname(elsewhere ?? ""))).toBe(false);
});

test("a restarted service finds the agents that went on, and misses those that died", async () => {
  const first = machines();
  await first.ensure([order("tvm-1")]);
  await first.ensure([order("tvm-2")]);
  await exchanging("tvm-1");
  await exchanging("tvm-2");
  first.detach();
  const second = machines();
  await second.ensure([order("tvm-1"), order("tvm-2")]);
  expect((await second.list(account, pool)).length).toBe(2);
  expect(service.tvm("tvm-1").joins).toBe(1);
  const victim = records()[0]?.pid ?? 0;
  process.kill(victim, "SIGKILL");
  await eventually(() => lost.length === 1);
  expect((await second.list(account, pool)).length).toBe(1);
  expect(lost[0]?.boot).toBe(1);
  const name = lost[0]?.tvm ?? "";
  await second.ensure([order(name, 2)]);
  await exchanging(name, 2);
});

test("a dead agent's tasks are gone, its TVM is told lost once, and the next boot keeps the files", async () => {
  const first = machines();
  await first.ensure([order("tvm-1")]);
  const one = assignment("touch $WATASK_TVM_ROOT_DIR/shared/kept; for n in 1 2 3 4 5 6 7 8 9; do setsid sleep 1000 & setsid setsid sleep 1000 & done; sleep 1000");
  service.assign("tvm-1", one);
  await eventually(() => marked("tvm-1").length >= 20);
  // Helpers and agent at one blow: nobody is left to clean up but the adapter.
  const agent = records()[0]?.pid ?? 0;
  const all = [agent, ...processes().filter((process) => process.parent === agent).map((process) => process.pid)];
  process.kill(agent, "SIGSTOP");
  for (const pid of all.reverse()) process.kill(pid, "SIGKILL");
  await eventually(() => lost.length > 0);
  // Killed, which takes a busy machine a moment.
  await eventually(() => marked("tvm-1").length === 0);
  expect(lost).toEqual([{ tvm: "tvm-1", boot: 1 }]);
  service.tvm("tvm-1").assigned.clear();
  await first.ensure([order("tvm-1", 2)]);
  await exchanging("tvm-1", 2);
  expect(fs.existsSync(path.join(rootOf("tvm-1"), "shared", "kept"))).toBe(true);
  expect(lost.length).toBe(1);
});

test("what died while the service was away is told at its start", async () => {
  const first = machines();
  await first.ensure([order("tvm-1"), order("tvm-2")]);
  await exchanging("tvm-1");
  await first.stopAll();
  expect(lost).toEqual([]);
  machines();
  await eventually(() => lost.length === 2);
  expect(lost.map((one) => one.tvm).sort()).toEqual(["tvm-1", "tvm-2"]);
});

test("removing a TVM ends its tasks and files; the process goes with its last", async () => {
  const first = machines();
  await first.ensure([order("tvm-1"), order("tvm-2")]);
  await exchanging("tvm-2");
  const one = assignment("setsid sleep 1000 & sleep 1000");
  service.assign("tvm-1", one);
  await eventually(() => marked("tvm-1").length >= 3);
  const pid = records()[0]?.pid ?? 0;
  await first.remove(account, pool, ["tvm-1", "never-heard-of"]);
  await eventually(() => marked("tvm-1").length === 0);
  expect(fs.readdirSync(path.dirname(rootOf("tvm-1"))).filter((name) => name.startsWith("tvm-1"))).toEqual([]);
  expect((await first.list(account, pool)).map((left) => left.tvm)).toEqual(["tvm-2"]);
  await first.remove(account, pool, ["tvm-2"]);
  expect(processes().some((process) => process.pid === pid)).toBe(false);
  expect(fs.readdirSync(path.join(folder, "data", "tvms"))).toEqual([]);
  expect(records()).toEqual([]);
  expect(lost).toEqual([]);
});

test("removing a TVM whose agent was killed also removes the users of the machine that the agent had made for it, and no others", async () => {
  const ran: string[] = [];
  const first = machines({ run: async (file, args) => ran.push([file, ...args].join(" ")) && 0 });
  await first.ensure([order("tvm-1"), order("tvm-2")]);
  await exchanging("tvm-1");
  const prefix = `bl${createHash("sha256").update(rootOf("tvm-1")).digest("hex").slice(0, 8)}`;
  process.kill(records()[0]?.pid ?? 0, "SIGKILL");
  await eventually(() => lost.length === 2);
  fs.writeFileSync(`${rootOf("tvm-1")}.users`, JSON.stringify([`${prefix}-ann`, `${prefix}_users`, "root", "bl00000000-eve", `${prefix}-x y`, 7]));
  fs.writeFileSync(`${rootOf("tvm-2")}.users`, "not a list");
  await first.remove(account, pool, ["tvm-1", "tvm-2"]);
  expect(ran).toEqual([`userdel -f ${prefix}-ann`, `groupdel ${prefix}-ann`, `userdel -f ${prefix}_users`, `groupdel ${prefix}_users`]);
  expect(fs.readdirSync(path.join(folder, "data", "tvms"))).toEqual([]);
});

test("a refused TVM in a process that lives for others is started again when it is ordered again", async () => {
  const first = machines();
  service.tvm("tvm-2").refuse = 403;
  await first.ensure([order("tvm-1"), order("tvm-2")]);
  await exchanging("tvm-1");
  const state = JSON.parse(fs.readFileSync(path.join(folder, "data", "machines", fs.readdirSync(path.join(folder, "data", "machines")).find((name) => name.endsWith(".json")) ?? ""), "utf8")) as { startedAt: string };
  expect(Date.parse(state.startedAt)).toBeLessThanOrEqual(Date.now());
  service.tvm("tvm-2").refuse = undefined;
  first.detach();
  // As if the process had been started long ago: by then every TVM of it that lives has claimed its root.
  await eventually(() => !fs.existsSync(`${rootOf("tvm-2")}.claim`));
  const second = machines({ clock: { now: () => new Date(Date.now() + 60_000), steady: () => performance.now(), sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)) } });
  await second.ensure([order("tvm-1"), order("tvm-2")]);
  await exchanging("tvm-2");
  expect(service.tvm("tvm-1").joins).toBe(1);
});
