// A real agent process against a stand-in service: what it runs, reports, repeats, ends and leaves behind.
import fs from "node:fs";
import path from "node:path";
import { processes } from "../../src/agent/processTree";
import { eventually } from "./eventually";
import { assignment, openWorld, type World } from "./world";

let world: World;
const tvm = "tvm-1";
afterEach(() => world.close());

const submit = async (...args: Parameters<typeof assignment>) => {
  const one = assignment(...args);
  world.service.assign(tvm, one);
  return one;
};

test("runs a command, tells start, end and use, and keeps its output", async () => {
  world = await openWorld();
  await world.startAgent();
  const one = await submit("echo out; echo err >&2; pwd; exit 3", { task: "frame" });
  const end = await world.ended(tvm, one.key);
  expect(end).toMatchObject({ attempt: 1, exitCode: 3 });
  expect(end.error).toBeUndefined();
  expect(end.usage?.maxRssKib).toBeGreaterThan(0);
  expect(Date.parse(end.at)).toBeGreaterThanOrEqual(Date.parse(end.startedAt ?? ""));
  expect(world.reportsOf(tvm, one.key).map((report) => report.kind)).toEqual(["taskStarted", "taskEnded"]);
  const folder = ["tasks", "w", "j", "frame"];
  expect(world.read(tvm, ...folder, "stdout.txt")).toBe(`out\n${path.join(world.root(tvm), ...folder, "wd")}\n`);
  expect(world.read(tvm, ...folder, "stderr.txt")).toBe("err\n");
  expect(fs.readdirSync(world.root(tvm)).filter((name) => !name.startsWith(".")).sort()).toEqual(["shared", "start", "tasks"]);
  // Confirmed attempts are not held any more.
  await eventually(() => world.service.tvm(tvm).exchanges.at(-1)?.holding.length === 0);
});

test("says who it is when it joins, and shows its join code and credential to nobody", async () => {
  world = await openWorld();
  const agent = await world.startAgent();
  expect(world.service.tvm(tvm).joined).toMatchObject({ protocol: 1, machine: { address: "127.0.0.2", separateUser: false, helper: "c" } });
  const one = await submit("env; tr '\\0' '\\n' </proc/$PPID/environ; tr '\\0' '\\n' </proc/$PPID/cmdline");
  await world.ended(tvm, one.key);
  const pid = agent.child.pid ?? 0;
  const visible = [world.read(tvm, "tasks", "w", "j", one.task, "stdout.txt"), fs.readFileSync(`/proc/${pid}/environ`, "latin1"), fs.readFileSync(`/proc/${pid}/cmdline`, "latin1"), agent.output()].join("\n");
  expect(visible).not.toMatch(/joincode~|secret~/);
});

test("the environment is the documented one, and users cannot replace its own variables", async () => {
  world = await openWorld({ portRange: { low: 1101, high: 1200 } });
  await world.startAgent();
  const environment = { COLOUR: "blue\tand \\ green", WATASK_TVM_NAME: "mine", PATH: "/bin:/usr/bin", "BAD=NAME": "x" };
  const one = await submit("env -0 | sort -z | tr '\\0' '\\n'", { task: "show", environment });
  await world.ended(tvm, one.key);
  const lines = world.read(tvm, "tasks", "w", "j", "show", "stdout.txt").split("\n").filter((line) => !/^(PWD|WATASK_ATTEMPT_MARK)=/.test(line));
  const wd = path.join(world.root(tvm), "tasks", "w", "j", "show", "wd");
  expect(lines).toEqual([
    "COLOUR=blue\tand \\ green", `HOME=${wd}`, "LANG=C.UTF-8", "PATH=/bin:/usr/bin", `TMPDIR=${wd}`, "WATASK_ACCOUNT_NAME=acme", "WATASK_JOB_NAME=j", "WATASK_POOL_NAME=pool-a",
    "WATASK_PORTRANGE_HIGH=1200", "WATASK_PORTRANGE_LOW=1101", "WATASK_TASK_NAME=show", "WATASK_TVM_NAME=tvm-1", `WATASK_TVM_ROOT_DIR=${world.root(tvm)}`, "WATASK_WORKITEM_NAME=w", "",
  ]);
});

test("finds node on PATH", async () => {
  world = await openWorld();
  await world.startAgent();
  const one = await submit({ line: `node -p "6 * 7"` });
  expect(await world.ended(tvm, one.key)).toMatchObject({ exitCode: 0 });
  expect(world.read(tvm, "tasks", "w", "j", one.task, "stdout.txt")).toBe("42\n");
});

test("case 39: tells what cannot be started, and why", async () => {
  world = await openWorld();
  await world.startAgent();
  const cases: [string | { line: string }, string, Partial<Parameters<typeof assignment>[1]>?][] = [
    [{ line: "no-such-program --at-all" }, "CommandProgramNotFound"],
    [{ line: "/etc/hostname" }, "CommandLaunchFailed"],
    [{ line: 'sh -c "open' }, "CommandLaunchFailed"],
    [{ line: "   " }, "CommandLaunchFailed"],
    ["id", "CommandLaunchFailed", { runElevated: true }],
  ];
  for (const [command, code, changes] of cases) {
    const one = await submit(command, changes);
    const end = await world.ended(tvm, one.key);
    expect(end.error).toMatchObject({ category: "UserError", code });
    expect([end.exitCode, end.startedAt]).toEqual([undefined, undefined]);
  }
});

test("case 34: a time limit ends the whole tree, also what left its session", async () => {
  world = await openWorld();
  await world.startAgent();
  const one = await submit("trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 1000 & setsid sleep 1000 & wait' & (setsid sleep 1000 &) ; sleep 1000 & wait; sleep 1000", { maxWallClockMs: 2_000 });
  await world.started(tvm, one.key);
  await eventually(() => world.taskProcesses(tvm).length >= 6);
  const end = await world.ended(tvm, one.key);
  expect(end).toMatchObject({ exitCode: -1073741510, error: { category: "ServerError", code: "TaskEnded" } });
  expect(Date.parse(end.at) - Date.parse(end.startedAt ?? "")).toBeGreaterThanOrEqual(1_995);
  expect(world.taskProcesses(tvm)).toEqual([]);
});

test("what a task leaves running goes with it, though it left the session", async () => {
  world = await openWorld();
  await world.startAgent();
  const one = await submit("(setsid sleep 1000 &); sleep 1000 & exit 0");
  expect(await world.ended(tvm, one.key)).toMatchObject({ exitCode: 0 });
  await eventually(() => world.taskProcesses(tvm).length === 0);
});

test("lost answers: everything is reported again, and each attempt runs once", async () => {
  world = await openWorld({ slots: 2 });
  await world.startAgent();
  world.service.loseAnswers(5);
  const log = path.join(world.folder, "ran.txt");
  const many = Array.from({ length: 20 }, (_, n) => assignment(`echo ${n} >> ${log}`, { task: `once${n}` }));
  world.service.assign(tvm, ...many);
  for (const one of many) await world.ended(tvm, one.key);
  const ran = fs.readFileSync(log, "utf8").trim().split("\n").map(Number).sort((a, b) => a - b);
  expect(ran).toEqual(many.map((_, n) => n));
  // The very attempt named again, as by a late answer: told again, not run again.
  const [first] = many;
  if (!first) throw new Error("none");
  const told = world.reportsOf(tvm, first.key).filter((report) => report.kind === "taskEnded").length;
  world.service.assign(tvm, first);
  await eventually(() => world.reportsOf(tvm, first.key).filter((report) => report.kind === "taskEnded").length > told);
  expect(fs.readFileSync(log, "utf8").trim().split("\n").length).toBe(20);
});

test("a service that goes away and comes back elsewhere misses nothing", async () => {
  world = await openWorld();
  await world.startAgent();
  const before = await submit("sleep 0.3; echo done", { task: "long" });
  await world.started(tvm, before.key);
  await world.service.stop();
  await eventually(() => fs.existsSync(path.join(world.root(tvm), "tasks/w/j/long/stdout.txt")) && world.read(tvm, "tasks/w/j/long/stdout.txt") === "done\n");
  await eventually(() => world.taskProcesses(tvm).length === 0);
  expect(world.reportsOf(tvm, before.key).some((report) => report.kind === "taskEnded")).toBe(false);
  await world.service.start();
  expect(await world.ended(tvm, before.key)).toMatchObject({ exitCode: 0 });
  const after = await submit("exit 0");
  expect(await world.ended(tvm, after.key)).toMatchObject({ exitCode: 0 });
  expect(world.service.tvm(tvm).joins).toBe(1);
});

test("without contact for too long it ends its own tasks, and comes back", async () => {
  world = await openWorld({ selfStopMs: 3_000 });
  await world.startAgent();
  const one = await submit("echo run >> $WATASK_TVM_ROOT_DIR/shared/runs; sleep 1000");
  await world.started(tvm, one.key);
  await eventually(() => world.has(tvm, "shared", "runs") && world.read(tvm, "shared", "runs") !== "");
  await world.service.stop();
  await eventually(() => world.taskProcesses(tvm).length === 0);
  // Given to another meanwhile: nothing is told about it, and it is not run again.
  world.service.unassign(tvm, one);
  await world.service.start();
  const next = await submit("exit 0");
  expect(await world.ended(tvm, next.key)).toMatchObject({ exitCode: 0 });
  expect(world.reportsOf(tvm, one.key).map((report) => report.kind)).toEqual(["taskStarted"]);
  expect(world.read(tvm, "shared", "runs")).toBe("run\n");
});

test("a service that has no room for reports is there all the same: nothing is ended, and they are handed in when it has", async () => {
  world = await openWorld({ heartbeatMs: 1_000, selfStopMs: 2_000 });
  await world.startAgent();
  const fake = world.service.tvm(tvm);
  const long = await submit("while [ ! -e $WATASK_TVM_ROOT_DIR/shared/gate ]; do sleep 0.1; done", { task: "long" });
  await world.started(tvm, long.key);
  fake.refuseReports = 503;
  const short = await submit("exit 0");
  await eventually(() => fake.exchanges.at(-1)?.holding.some(({ key }) => key === short.key));
  // Each of these waits for half a second at least.
  const waits = (): number => fake.exchanges.filter(({ waitMs }) => waitMs > 0).length;
  const before = waits();
  await eventually(() => waits() > before + 8);
  expect(world.reportsOf(tvm, short.key)).toEqual([]);
  expect(world.taskProcesses(tvm).length).toBeGreaterThan(0);
  fake.refuseReports = undefined;
  expect(await world.ended(tvm, short.key)).toMatchObject({ exitCode: 0 });
  fs.writeFileSync(path.join(world.root(tvm), "shared", "gate"), "");
  expect(await world.ended(tvm, long.key)).toMatchObject({ exitCode: 0 });
});

test("stop ends a running attempt without a report", async () => {
  world = await openWorld();
  await world.startAgent();
  const one = await submit("sleep 1000");
  await world.started(tvm, one.key);
  world.service.unassign(tvm, one);
  await eventually(() => world.taskProcesses(tvm).length === 0);
  const next = await submit("exit 0");
  await world.ended(tvm, next.key);
  expect(world.reportsOf(tvm, one.key).map((report) => report.kind)).toEqual(["taskStarted"]);
});

test("gives back what waits too long for a slot", async () => {
  world = await openWorld({ slots: 1 });
  await world.startAgent();
  world.service.overfill();
  const long = assignment("sleep 1000", { task: "long" });
  const waiting = Array.from({ length: 5 }, (_, n) => assignment("exit 0", { task: `waiting${n}` }));
  const given = Date.now();
  world.service.assign(tvm, long, ...waiting);
  await world.started(tvm, long.key);
  const returned = (): string[] => world.service.tvm(tvm).reports.flatMap((report) => (report.kind === "taskReturned" ? [report.key] : []));
  await eventually(() => returned().length > 0);
  expect(Date.now() - given).toBeGreaterThanOrEqual(990);
  await eventually(() => returned().length === 5);
  expect(returned().sort()).toEqual(waiting.map((one) => one.key).sort());
  await eventually(() => world.service.tvm(tvm).exchanges.at(-1)?.holding.every((ref) => ref.key === long.key));
  expect(world.service.tvm(tvm).exchanges.at(-1)?.capacity).toBe(1);
});

test("a retry starts in a new folder", async () => {
  world = await openWorld();
  await world.startAgent();
  const first = await submit("touch left; exit 1", { task: "again" });
  await world.ended(tvm, first.key);
  const second = await submit("ls", { task: "again", attempt: 2 });
  await world.ended(tvm, second.key, 2);
  expect(world.read(tvm, "tasks/w/j/again/stdout.txt")).toBe("");
  await eventually(() => fs.readdirSync(path.join(world.root(tvm), ".trash")).filter((name) => name !== "log").length === 0);
});

test("retention removes a folder after its time, and removeFolders at once", async () => {
  world = await openWorld();
  await world.startAgent();
  const short = await submit("exit 0", { task: "short", retentionMs: 50 });
  const kept = await submit("exit 0", { task: "kept" });
  await world.ended(tvm, short.key);
  await world.ended(tvm, kept.key);
  await eventually(() => !fs.existsSync(path.join(world.root(tvm), "tasks/w/j/short")));
  expect(fs.existsSync(path.join(world.root(tvm), "tasks/w/j/kept/wd"))).toBe(true);
  world.service.tvm(tvm).removeFolders.add("w/j");
  world.service.tvm(tvm).removeFolders.add("../../outside");
  world.service.news();
  await eventually(() => world.service.tvm(tvm).removedFolders.includes("w/j"));
  expect(fs.existsSync(path.join(world.root(tvm), "tasks/w/j"))).toBe(false);
  expect(fs.existsSync(path.join(world.root(tvm), "tasks/w"))).toBe(true);
});

test("retention outlives the agent: a task's folder goes at its time, though the agent was killed before", async () => {
  world = await openWorld();
  const agent = await world.startAgent();
  const short = await submit("exit 0", { task: "short", retentionMs: 3_000 });
  const long = await submit("exit 0", { task: "long", retentionMs: 3_600_000 });
  await world.ended(tvm, short.key);
  await world.ended(tvm, long.key);
  agent.child.kill("SIGKILL");
  await agent.exited;
  expect(fs.existsSync(path.join(world.root(tvm), "tasks/w/j/short"))).toBe(true);
  world.service.tvm(tvm).assigned.clear();
  await world.startAgent([tvm], {}, 2);
  await eventually(() => !fs.existsSync(path.join(world.root(tvm), "tasks/w/j/short")));
  expect(fs.existsSync(path.join(world.root(tvm), "tasks/w/j/long"))).toBe(true);
  world.service.tvm(tvm).leave = true;
  world.service.news();
  await eventually(() => !fs.existsSync(world.root(tvm)) && !fs.existsSync(`${world.root(tvm)}.retention`));
});

test("a start task runs once for each order, in the start folder, and its background processes stay", async () => {
  world = await openWorld();
  await world.startAgent();
  const of = world.service.tvm(tvm);
  of.startTask = { run: 1, commandLine: `sh -c 'echo $PWD; sleep 1000 & echo x >> count; exit 0'`, resourceFiles: [], environment: {}, runElevated: false };
  world.service.news();
  const told = (kind: string, run: number) => of.reports.filter((report) => report.kind === kind && "run" in report && report.run === run);
  await eventually(() => told("startTaskEnded", 1).length === 1);
  expect(told("startTaskStarted", 1).length).toBe(1);
  expect(told("startTaskEnded", 1)[0]).toMatchObject({ exitCode: 0 });
  expect(world.read(tvm, "start", "stdout.txt")).toBe(`${world.root(tvm)}/start\n`);
  const one = await submit("exit 0");
  await world.ended(tvm, one.key);
  expect(world.taskProcesses(tvm).length).toBe(1);
  of.startTask = { run: 1, commandLine: "sh -c 'echo x >> count'", resourceFiles: [], environment: {}, runElevated: false };
  const next = await submit("exit 0");
  await world.ended(tvm, next.key);
  expect(world.read(tvm, "start", "count")).toBe("x\n");
  of.startTask = { run: 2, commandLine: "no-such-program", resourceFiles: [], environment: {}, runElevated: false };
  world.service.assign(tvm, assignment("exit 0"));
  await eventually(() => told("startTaskEnded", 2).length === 1);
  expect(told("startTaskEnded", 2)[0]).toMatchObject({ error: { code: "CommandProgramNotFound" } });
});

test("to go after its tasks: it finishes what it has, says at once that it begins nothing more, and begins again when it is told to", async () => {
  world = await openWorld();
  await world.startAgent();
  const of = world.service.tvm(tvm);
  const last = () => of.exchanges.at(-1);
  const first = await submit("while [ ! -e ../go ]; do sleep 0.02; done");
  await world.started(tvm, first.key);
  of.drain = "2015-04-01T12:00:00.000Z";
  world.service.news();
  const before = of.exchanges.length;
  await eventually(() => of.exchanges.length > before);
  fs.writeFileSync(path.join(world.root(tvm), "tasks/w/j", first.task, "go"), "");
  await world.ended(tvm, first.key);
  await eventually(() => last()?.drained === of.drain);
  expect(of.exchanges.filter(({ drained, holding }) => drained !== undefined && holding.length > 0)).toEqual([]);
  const second = await submit("exit 0");
  const since = of.exchanges.length;
  await eventually(() => of.exchanges.length > since + 2);
  expect(of.reports.filter((report) => "key" in report && report.key === second.key)).toEqual([]);
  of.drain = undefined;
  world.service.news();
  await world.ended(tvm, second.key);
  expect(last()).not.toHaveProperty("drained");
});

test("leaving ends everything and removes the files; the process ends with its last TVM", async () => {
  world = await openWorld();
  const agent = await world.startAgent([tvm, "tvm-2"]);
  const one = await submit("(setsid sleep 1000 &); sleep 1000");
  await world.started(tvm, one.key);
  world.service.tvm(tvm).leave = true;
  world.service.news();
  await eventually(() => !fs.existsSync(world.root(tvm)));
  expect(world.taskProcesses(tvm)).toEqual([]);
  expect(fs.existsSync(world.root("tvm-2"))).toBe(true);
  world.service.tvm("tvm-2").leave = true;
  world.service.news();
  expect(await agent.exited).toBe(0);
  expect(fs.existsSync(world.root("tvm-2"))).toBe(false);
});

test("a refused TVM ends its tasks at once; its files stay for the next boot", async () => {
  world = await openWorld();
  const old = await world.startAgent();
  const one = await submit("touch $WATASK_TVM_ROOT_DIR/shared/kept; sleep 1000");
  await world.started(tvm, one.key);
  await eventually(() => world.has(tvm, "shared", "kept"));
  world.service.tvm(tvm).refuse = 401;
  world.service.news();
  await eventually(() => world.taskProcesses(tvm).length === 0);
  world.service.tvm(tvm).refuse = undefined;
  world.service.tvm(tvm).assigned.clear();
  await world.startAgent([tvm], {}, 2);
  expect(await old.exited).toBe(0);
  expect(world.read(tvm, "shared", "kept")).toBe("");
  const next = await submit("exit 0");
  expect(await world.ended(tvm, next.key)).toMatchObject({ exitCode: 0 });
});

test("a newer boot takes the root over from a live agent", async () => {
  world = await openWorld();
  const old = await world.startAgent();
  const one = await submit("sleep 1000");
  await world.started(tvm, one.key);
  await world.startAgent([tvm], {}, 2);
  expect(await old.exited).toBe(0);
  // Whoever runs now was told by the new boot: the service still names the attempt, so it runs again.
  await eventually(() => world.taskProcesses(tvm).length > 0);
});

test("killing the agent leaves no process of a task behind", async () => {
  world = await openWorld();
  const agent = await world.startAgent();
  const one = await submit("setsid sleep 1000 & sleep 1000 & wait");
  await world.started(tvm, one.key);
  await eventually(() => world.taskProcesses(tvm).length === 3);
  agent.child.kill("SIGKILL");
  await agent.exited;
  await eventually(() => world.taskProcesses(tvm).length === 0);
});

test("killing a helper ends its tasks, which are told as killed, and another takes its place", async () => {
  world = await openWorld({ slots: 2 });
  const agent = await world.startAgent();
  const both = [assignment("setsid sleep 1000 & sleep 1000"), assignment("setsid sleep 1000 & sleep 1000")];
  world.service.assign(tvm, ...both);
  for (const one of both) await world.started(tvm, one.key);
  const helpers = processes().filter((one) => one.parent === agent.child.pid);
  expect(helpers.length).toBe(2);
  for (const helper of helpers) process.kill(helper.pid, "SIGKILL");
  for (const one of both) expect(await world.ended(tvm, one.key)).toMatchObject({ exitCode: 137 });
  expect(world.taskProcesses(tvm)).toEqual([]);
  const next = await submit("exit 5");
  expect(await world.ended(tvm, next.key)).toMatchObject({ exitCode: 5 });
});

test("being told to stop ends the tasks and keeps the files", async () => {
  world = await openWorld();
  const agent = await world.startAgent();
  const one = await submit("trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.05; done");
  await eventually(() => fs.existsSync(path.join(world.root(tvm), "tasks/w/j", one.task, "stdout.txt")) && world.read(tvm, "tasks/w/j", one.task, "stdout.txt") === "hi\n");
  agent.child.kill("SIGTERM");
  expect(await agent.exited).toBe(0);
  expect(world.taskProcesses(tvm)).toEqual([]);
  expect(world.read(tvm, "tasks/w/j", one.task, "stdout.txt")).toBe("hi\nbye\n");
});

test("an agent whose service is gone for good, its endpoint file too, ends by itself", async () => {
  world = await openWorld();
  const agent = await world.startAgent([tvm], { goneMs: 200 });
  const one = await submit("sleep 1000");
  await world.started(tvm, one.key);
  await world.service.stop();
  fs.rmSync(path.join(world.folder, "service.json"));
  expect(await agent.exited).toBe(0);
  expect(world.taskProcesses(tvm)).toEqual([]);
  expect(fs.existsSync(world.root(tvm))).toBe(true);
  await world.service.start();
});

test("refuses to run tasks as root unless told so", async () => {
  world = await openWorld();
  const agent = await world.startAgent([tvm], { allowSameUser: false });
  if (process.getuid?.() !== 0) return;
  expect(await agent.exited).toBe(2);
  expect(agent.output()).toContain("tasks would run as root");
});

describe("resource files", () => {
  test("are there before the command, and one may be the program", async () => {
    world = await openWorld();
    await world.startAgent();
    world.service.blobs.set("setup", { content: Buffer.from("#!/bin/sh\ncat data/in.txt; echo $0 $1; ls\n"), etag: '"1"' });
    world.service.blobs.set("data", { content: Buffer.from("data\n") });
    const resourceFiles = [{ blobSource: world.service.blobUrl("setup"), filePath: "mypoolsetup.exe" }, { blobSource: world.service.blobUrl("data"), filePath: "data/in.txt" }];
    const one = await submit({ line: "mypoolsetup.exe now" }, { task: "files", resourceFiles });
    expect(await world.ended(tvm, one.key)).toMatchObject({ exitCode: 0 });
    expect(world.read(tvm, "tasks/w/j/files/stdout.txt")).toBe("data\n./mypoolsetup.exe now\ndata\nmypoolsetup.exe\n");
    const again = await submit("cat data/in.txt; ls", { task: "files", attempt: 2, resourceFiles: resourceFiles.slice(1) });
    await world.ended(tvm, again.key, 2);
    expect(world.read(tvm, "tasks/w/j/files/stdout.txt")).toBe("data\ndata\n");
  });

  test("wanted by many tasks are fetched once; a changed one is noticed", async () => {
    world = await openWorld();
    await world.startAgent();
    world.service.blobs.set("in", { content: Buffer.from("one"), etag: '"1"' });
    const many = Array.from({ length: 30 }, () => assignment("cat in.txt", { resourceFiles: [{ blobSource: world.service.blobUrl("in"), filePath: "in.txt" }] }));
    world.service.assign(tvm, ...many);
    for (const one of many) expect(await world.ended(tvm, one.key)).toMatchObject({ exitCode: 0 });
    expect(world.service.blobRequests.filter((request) => request.status === 200).length).toBe(1);
    world.service.blobs.set("in", { content: Buffer.from("two"), etag: '"2"' });
    const last = await submit("cat in.txt", { resourceFiles: [{ blobSource: world.service.blobUrl("in"), filePath: "in.txt" }] });
    await world.ended(tvm, last.key);
    expect(world.read(tvm, "tasks/w/j", last.task, "stdout.txt")).toBe("two");
  });

  test("case 38: that cannot be had end the task without running it", async () => {
    world = await openWorld();
    const agent = await world.startAgent();
    const one = await submit("touch $WATASK_TVM_ROOT_DIR/shared/ran", { resourceFiles: [{ blobSource: world.service.blobUrl("missing"), filePath: "x" }] });
    const end = await world.ended(tvm, one.key);
    expect(end.error).toMatchObject({ category: "UserError", code: "BlobNotFound" });
    expect([end.exitCode, fs.readdirSync(path.join(world.root(tvm), "shared"))]).toEqual([undefined, []]);
    expect(JSON.stringify(end) + agent.output()).not.toContain("verysecret");
  });

  test("a stop while they are fetched ends the attempt", async () => {
    world = await openWorld({ slots: 1 });
    await world.startAgent();
    world.service.blobs.set("busy", { content: Buffer.from(""), status: 503 });
    const one = await submit("exit 0", { resourceFiles: [{ blobSource: world.service.blobUrl("busy"), filePath: "x" }] });
    await eventually(() => world.service.blobRequests.length > 0);
    world.service.unassign(tvm, one);
    const next = await submit("exit 0");
    expect(await world.ended(tvm, next.key)).toMatchObject({ exitCode: 0 });
    expect(world.reportsOf(tvm, one.key)).toEqual([]);
  });
});

test("files of the TVM are listed, read, told about and removed on request", async () => {
  world = await openWorld();
  await world.startAgent();
  const one = await submit("echo hello; echo x > made.txt; ln -s /etc/passwd link", { task: "files" });
  await world.ended(tvm, one.key);
  const ask = async (request: Parameters<typeof world.service.ask>[1]) => {
    world.service.ask(tvm, request);
    return eventually(() => world.service.tvm(tvm).fileAnswers.get(request.id));
  };
  const list = await ask({ id: "1", kind: "list", path: "tasks/w/j/files", recursive: true });
  expect(list.entries?.map((entry) => entry.path)).toEqual(["tasks/w/j/files/stderr.txt", "tasks/w/j/files/stdout.txt", "tasks/w/j/files/wd", "tasks/w/j/files/wd/made.txt"]);
  expect((await ask({ id: "2", kind: "read", path: "tasks/w/j/files/stdout.txt", offset: 1, length: 3, uploadUrl: world.service.blobUrl("range") })).problem).toBeUndefined();
  expect(world.service.blobs.get("range")?.content.toString()).toBe("ell");
  expect((await ask({ id: "3", kind: "read", path: "tasks/w/j/files/wd/link", uploadUrl: world.service.blobUrl("stolen") })).problem?.code).toBe("forbidden");
  expect((await ask({ id: "4", kind: "stat", path: "../../service.json" })).problem?.code).toBe("forbidden");
  expect((await ask({ id: "5", kind: "remove", path: "tasks/w/j/files/wd/made.txt" })).problem).toBeUndefined();
  expect((await ask({ id: "6", kind: "stat", path: "tasks/w/j/files/wd/made.txt" })).problem?.code).toBe("notFound");
  expect(world.service.blobs.has("stolen")).toBe(false);
});
