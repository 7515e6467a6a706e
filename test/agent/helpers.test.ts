// The contract of the start helpers: every kind passes the same cases, with real processes.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { findHelper, type Helper, type HelperEvent, type HelperKind, type StartOrder } from "../../src/agent/helper";
import { processInfo, processes, variableOf } from "../../src/agent/processTree";
import { eventually } from "./eventually";

const errno = os.constants.errno;
const root = process.getuid?.() === 0;
const kinds: HelperKind[] = ["c", "perl", "node"];
// The Node helper must run from TypeScript here; built, it is plain JavaScript.
process.execArgv.push("--require", path.join(__dirname, "register.js"));
afterAll(() => void process.execArgv.splice(process.execArgv.indexOf("--require"), 2));

describe.each(kinds)("the %s helper", (kind) => {
  let folder: string;
  let helper: Helper;
  let events: HelperEvent[];
  let gone: boolean;
  let serial = 0;

  beforeEach(async () => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), "helper-"));
    fs.mkdirSync(path.join(folder, ".trash"));
    events = [];
    gone = false;
    const open = await findHelper({ cacheFolder: path.join(os.tmpdir(), `helper-cache-${process.getuid?.()}`), limits: { openFiles: 512 }, kinds: [kind], log: () => undefined });
    helper = await open({ onEvents: (news) => void events.push(...news), onExit: () => void (gone = true) });
  });

  afterEach(async () => {
    await helper.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });

  const order = (argv: string[], changes: Partial<StartOrder> = {}): StartOrder => {
    const dir = path.join(folder, "tasks", "w", "j", "t");
    return {
      id: `run-${++serial}`, folder: "fresh", dir, trash: path.join(folder, ".trash"), cwd: path.join(dir, "wd"),
      stdout: path.join(dir, "stdout.txt"), stderr: path.join(dir, "stderr.txt"), elevated: false, keepGroup: false,
      limits: { openFiles: 512 }, env: { PATH: "/usr/bin:/bin" }, argv, ...changes,
    };
  };
  const start = (argv: string[], changes: Partial<StartOrder> = {}): StartOrder => {
    const started = order(argv, changes);
    helper.start(started);
    return started;
  };
  const last = <K extends HelperEvent["kind"]>(id: string, what: K): Promise<HelperEvent & { kind: K }> =>
    eventually(() => events.find((event): event is HelperEvent & { kind: K } => event.id === id && event.kind === what), () => `${what} of ${id}: ${JSON.stringify(events)}`);
  const outputOf = (started: StartOrder): string => fs.readFileSync(started.stdout, "utf8");
  const marked = (mark: string) => processes().filter((one) => variableOf(one.pid, "MARK") === mark);
  const alive = (mark: string): number => marked(mark).length;

  test("tells start and end, and keeps output in two files", async () => {
    const before = Date.now();
    const run = start(["sh", "-c", "echo out; echo err >&2; exit 7"]);
    expect(await last(run.id, "ended")).toMatchObject({ exitCode: 7, signal: 0 });
    const began = await last(run.id, "started");
    expect(began.atMs).toBeGreaterThanOrEqual(before - 1);
    expect(outputOf(run)).toBe("out\n");
    expect(fs.readFileSync(run.stderr, "utf8")).toBe("err\n");
    expect(events.map((event) => event.kind)).toEqual(["started", "ended"]);
  });

  test("passes arguments and environment unchanged, and nothing else", async () => {
    const odd = "tab\tline\nback\\slash \"quote' ünï %41 $HOME";
    const run = start(["sh", "-c", 'printf "%s|" "$@" "$ODD"; env | cut -d= -f1 | sort | tr "\\n" " "', "sh", odd, ""], { env: { PATH: "/usr/bin:/bin", ODD: odd.replaceAll("\n", " ") } });
    await last(run.id, "ended");
    expect(outputOf(run)).toBe(`${odd}||${odd.replaceAll("\n", " ")}|ODD PATH PWD `);
  });

  test("gives the task a session of its own, no descriptors but three, no core files, umask 077", async () => {
    const script = 'cut -d" " -f1,5,6 /proc/self/stat; readlink /proc/$$/fd/0; ulimit -c; ulimit -n; umask; pwd';
    const run = start(["sh", "-c", `echo $$; ${script}`]);
    await last(run.id, "ended");
    const [pid, ids, stdin, core, files, umask, cwd] = outputOf(run).split("\n");
    expect(ids?.split(" ").slice(1)).toEqual([pid, pid]);
    expect([stdin, core, files]).toEqual(["/dev/null", "0", "512"]);
    expect(umask).toBe("0077");
    expect(cwd).toBe(fs.realpathSync(run.cwd));
    expect(fs.statSync(run.stdout).mode & 0o777).toBe(0o600);
    expect(fs.statSync(run.dir).mode & 0o777).toBe(0o700);
    const look = start(["ls", "-l", "/proc/self/fd"]);
    await last(look.id, "ended");
    const open = outputOf(look).split("\n").filter((line) => line.includes(" -> ") && !line.includes("-> /proc/")).map((line) => line.slice(line.indexOf(" -> ") + 4));
    expect(open).toEqual(["/dev/null", fs.realpathSync(look.stdout), fs.realpathSync(look.stderr)]);
  });

  test("does not pass ignored or blocked signals on", async () => {
    const run = start(["cat", "/proc/self/status"]);
    await last(run.id, "ended");
    const mask = (name: string): string | undefined => new RegExp(`^${name}:\\s*(\\w+)`, "m").exec(outputOf(run))?.[1];
    expect([mask("SigBlk"), mask("SigIgn")]).toEqual(["0000000000000000", "0000000000000000"]);
  });

  test("a task gains no rights by starting a program that has them", async () => {
    const run = start(["grep", "NoNewPrivs", "/proc/self/status"]);
    await last(run.id, "ended");
    // The last resort does so where the system has a program for it.
    const able = kind !== "node" || ["/usr/bin/setpriv", "/bin/setpriv"].some((file) => fs.existsSync(file));
    expect(outputOf(run)).toBe(`NoNewPrivs:\t${able ? 1 : 0}\n`);
  });

  test("a new run gets a new folder; the old one is in the trash", async () => {
    const first = start(["sh", "-c", "echo old > left"]);
    await last(first.id, "ended");
    const second = start(["ls"]);
    await last(second.id, "ended");
    expect(outputOf(second)).toBe("");
    expect(fs.readFileSync(path.join(folder, ".trash", second.id, "wd", "left"), "utf8")).toBe("old\n");
  });

  test("tells a signal from an exit", async () => {
    const run = start(["sh", "-c", "kill -9 $$"]);
    expect(await last(run.id, "ended")).toMatchObject({ exitCode: 0, signal: 9 });
  });

  test("tells what could not be started, and why", async () => {
    const missing = start(["no-such-program-anywhere"]);
    expect(await last(missing.id, "failed")).toMatchObject({ stage: "exec", errno: errno.ENOENT });
    const missingFile = start(["./missing"]);
    expect(await last(missingFile.id, "failed")).toMatchObject({ stage: "exec", errno: errno.ENOENT });
    const cwd = path.join(folder, "programs");
    fs.mkdirSync(cwd);
    fs.writeFileSync(path.join(cwd, "data"), "text", { mode: 0o644 });
    fs.writeFileSync(path.join(cwd, "script"), "#!/no/such/interpreter\n", { mode: 0o755 });
    const notExecutable = start(["data"], { cwd, folder: "fresh" });
    expect(await last(notExecutable.id, "failed")).toMatchObject({ stage: "exec", errno: errno.EACCES });
    const noInterpreter = start(["script"], { cwd });
    expect(await last(noInterpreter.id, "failed")).toMatchObject({ stage: "exec", errno: errno.ENOEXEC });
    fs.writeFileSync(path.join(folder, "file"), "");
    const noFolder = start(["true"], { dir: path.join(folder, "file", "t"), cwd: path.join(folder, "file", "t", "wd") });
    expect(await last(noFolder.id, "failed")).toMatchObject({ stage: "dir", errno: errno.ENOTDIR });
    expect(processes().filter((one) => one.parent === helper.pid)).toEqual([]);
  });

  test("finds a program in its working directory before PATH", async () => {
    const cwd = path.join(folder, "programs");
    fs.mkdirSync(cwd);
    fs.writeFileSync(path.join(cwd, "ls"), "#!/bin/sh\necho mine\n", { mode: 0o755 });
    const run = start(["ls"], { cwd });
    await last(run.id, "ended");
    expect(outputOf(run)).toBe("mine\n");
  });

  test("signals the whole group, and kills what is left of it when the first process ends", async () => {
    const env = { PATH: "/usr/bin:/bin", MARK: `left-${folder}` };
    const run = start(["sh", "-c", "sleep 1000 & sleep 1000 & wait"], { env });
    await last(run.id, "started");
    await eventually(() => alive(env.MARK) === 3);
    helper.signal(run.id, os.constants.signals.SIGTERM);
    expect(await last(run.id, "ended")).toMatchObject({ signal: 15 });
    await eventually(() => alive(env.MARK) === 0);
    const quick = start(["sh", "-c", "sleep 1000 & exit 0"], { env });
    await last(quick.id, "ended");
    await eventually(() => alive(env.MARK) === 0);
    const kept = start(["sh", "-c", "sleep 1000 & exit 0"], { env, keepGroup: true });
    await last(kept.id, "ended");
    // Had it been killed it would be gone by now; while a process changes its program it has no environment to be known by.
    await eventually(() => alive(env.MARK) === 1);
    for (const { pid } of marked(env.MARK)) process.kill(pid, "SIGKILL");
  });

  test("kills every descendant when its input ends, also one that left the session", async () => {
    const env = { PATH: "/usr/bin:/bin", MARK: `eof-${folder}` };
    const run = start(["sh", "-c", "setsid sleep 1000 & sleep 1000 & wait"], { env });
    await last(run.id, "started");
    await eventually(() => alive(env.MARK) === 3);
    await helper.close();
    expect(gone).toBe(true);
    await eventually(() => alive(env.MARK) === 0);
    expect(processInfo(helper.pid)).toBeUndefined();
  });

  test("many at once, each told once", async () => {
    const ids = Array.from({ length: 60 }, (_, n) => start(["true"], { dir: path.join(folder, "tasks", "w", "j", `t${n}`), cwd: path.join(folder, "tasks", "w", "j", `t${n}`, "wd"), stdout: path.join(folder, "tasks", "w", "j", `t${n}`, "stdout.txt"), stderr: path.join(folder, "tasks", "w", "j", `t${n}`, "stderr.txt") }).id);
    await eventually(() => events.filter((event) => event.kind === "ended").length === 60);
    expect(events.filter((event) => event.kind === "ended").map((event) => event.id).sort()).toEqual([...ids].sort());
  });

  (kind === "node" ? test.skip : test)("tasks die with a helper that is killed, and use is measured", async () => {
    const env = { PATH: "/usr/bin:/bin", MARK: `killed-${folder}` };
    const busy = start(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"]);
    const used = await last(busy.id, "ended");
    expect(used.usage?.userUs).toBeGreaterThan(1000);
    expect(used.usage?.maxRssKib).toBeGreaterThan(100);
    const run = start(["sleep", "1000"], { env });
    await last(run.id, "started");
    process.kill(helper.pid, "SIGKILL");
    await eventually(() => gone && alive(env.MARK) === 0);
  });

  (root ? test : test.skip)("another user: no groups, no new privileges, own folders; elevated keeps the user but not the folders' owner", async () => {
    const owner = { uid: 64_990, gid: 64_990 };
    fs.chmodSync(folder, 0o711);
    fs.chownSync(folder, owner.uid, owner.gid);
    fs.chownSync(path.join(folder, ".trash"), owner.uid, owner.gid);
    const script = "id -u; id -G; grep NoNewPrivs /proc/self/status | cut -f2";
    const run = start(["sh", "-c", script], { owner });
    await last(run.id, "ended");
    expect(outputOf(run)).toBe("64990\n64990\n1\n");
    expect(fs.statSync(run.cwd)).toMatchObject(owner);
    expect(fs.statSync(run.stdout)).toMatchObject(owner);
    const elevated = start(["id", "-u"], { owner, elevated: true });
    await last(elevated.id, "ended");
    expect(outputOf(elevated)).toBe("0\n");
    expect(fs.statSync(elevated.stdout)).toMatchObject(owner);
    // A link planted by the user leads nobody to a place that only root may write.
    const outside = fs.mkdtempSync(path.join(os.tmpdir(), "outside-"));
    fs.rmSync(path.join(folder, "tasks"), { recursive: true });
    fs.symlinkSync(outside, path.join(folder, "tasks"));
    const trapped = start(["true"], { owner, elevated: true });
    expect(await last(trapped.id, "failed")).toMatchObject({ stage: "dir" });
    expect(fs.readdirSync(outside)).toEqual([]);
    fs.rmSync(outside, { recursive: true });
  });
});
