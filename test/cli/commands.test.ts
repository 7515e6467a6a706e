import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { COMMANDS } from "../../src/cli/main";
import { defaultPool } from "../../src/cli/defaultPool";
import { FAKE_ACCOUNT, FAKE_KEY, type FakeApi, startFakeApi } from "./fakeApi";
import { cli } from "./terminal";

let api: FakeApi;
let folder: string;
const env = () => ({ BATCHLEDGER_URL: api.url, BATCHLEDGER_ACCOUNT: FAKE_ACCOUNT, BATCHLEDGER_KEY: FAKE_KEY });
const bl = (...args: string[]) => cli(args, { env: env(), cwd: folder });
const tasksOf = (name: string) => [...(api.workItems.get(name)?.tasks.values() ?? [])];

beforeEach(async () => {
  api = await startFakeApi();
  folder = mkdtempSync(path.join(tmpdir(), "batchledger-cli-"));
});
afterEach(async () => {
  await api.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe("the command line itself", () => {
  test.each(COMMANDS.map(({ words }) => words))("%s --help", async (words) => {
    const { code, out } = await bl(...words.split(" "), "--help");
    expect(code).toBe(0);
    expect(out).toContain(`Usage: batchledger ${words}`);
    expect(out).toContain("--json");
  });

  test("the overview names every command", async () => {
    const { code, out } = await bl();
    expect(code).toBe(0);
    for (const { words } of COMMANDS) expect(out).toContain(`  ${words} `);
    expect((await bl("--version")).out).toMatch(/^batchledger \d+\.\d+\.\d+\n$/);
  });

  test.each([
    [["nonsense"], 'There is no command "nonsense"'],
    [["pool"], "needs one more word: pool create, pool resize"],
    [["tasks"], "Something is missing: batchledger tasks WORKITEM"],
    [["tasks", "a", "b"], '"b" is one word too many'],
    [["ps", "--nope"], "Unknown option '--nope'"],
    [["submit", "echo", "hi"], '"echo" is one word too many'],
    [["submit"], "There is no command."],
    [["submit", "--array", "9-1", "--", "x"], "--array: 1 comes before 9."],
    [["submit", "--array", "1-2", "--each-line", "f", "--", "x"], "cannot be used together"],
    [["submit", "--retries", "x", "--", "x"], "--retries must be a whole number"],
    [["submit", "--manager", "--array", "1-2", "--", "x"], "--manager takes one command"],
    [["submit", "--exclusive", "--", "x"], "--exclusive goes with --manager"],
    [["job", "update", "w"], "There is nothing to change"],
    [["job", "update", "w", "--priority", "1001"], "--priority must be a whole number from -1000 to 1000"],
    [["job", "disable", "w", "--tasks", "kill"], "--tasks must be one of requeue, terminate, wait"],
    [["job", "enable", "w/t"], "names a task"],
    [["task", "update", "w", "--retries", "1"], "names no task"],
    [["task", "update", "w/t"], "There is nothing to change"],
    [["submit", "--priority", "1001", "--", "x"], "--priority must be a whole number from -1000 to 1000"],
    [["submit", "--input", "missing.txt", "--", "x"], "There is no file missing.txt"],
    [["submit", "--to", "w", "--pool", "p", "--", "x"], "--to and --pool cannot be used together"],
    [["cp", "w/t", "."], "has no colon"],
    [["cp", "w:a", "."], "names no task"],
    [["workitem", "create", "w"], "Where do its jobs run?"],
    [["workitem", "create", "w", "--pool", "p", "--auto-pool", "job"], "--pool and --auto-pool cannot be used together"],
    [["workitem", "create", "w", "--auto-pool", "day"], "--auto-pool must be job or workitem"],
    [["workitem", "create", "w", "--pool", "p", "--keep-alive"], "--keep-alive is for an automatic pool"],
    [["workitem", "create", "w", "--pool", "p", "--every", "daily"], "--every must be a duration"],
    [["workitem", "create", "w", "--pool", "p", "--not-before", "tomorrow"], "--not-before must be a time"],
    [["workitem", "create", "a b", "--pool", "p"], "A work item's name must have"],
    [["workitem", "update", "w"], "Nothing is to be changed"],
    [["workitem", "update", "w", "--no-schedule", "--every", "1d"], "--no-schedule and a schedule cannot"],
    [["start", "--least-interval", "soon"], "--least-interval must be a duration"],
    [["start", "--autoscale-interval", "often"], "--autoscale-interval must be a duration"],
    [["certificate", "show", "ab"], "THUMBPRINT must have 40 hexadecimal digits"],
    [["certificate", "add", "missing.pfx"], "There is no file"],
    [["certificate", "add", "/dev/null", "--format", "pem"], "--format must be pfx or cer"],
    [["certificate", "add", "/dev/null"], "expected a PKCS#12 file"],
    [["pool", "create", "p", "--certificate", "x=task"], "--certificate must have 40 hexadecimal digits"],
    [["start", "--sync", "maybe"], "--sync must be normal or full"],
    [["start", "--port", "99999"], "--port must be a whole number from 0 to 65535"],
  ])("%j is a usage error and changes nothing", async (args, message) => {
    const { code, out, err } = await bl(...args);
    expect(err).toContain(message);
    expect(err).not.toContain("    at ");
    expect([code, out]).toEqual([2, ""]);
    expect(api.requests.filter((request) => !request.startsWith("GET"))).toEqual([]);
  });

  test("no service: exit code 3 and what to do", async () => {
    const { url } = api;
    await api.stop();
    const gone = await cli(["ps"], { env: { ...env(), BATCHLEDGER_URL: url } });
    expect(gone.code).toBe(3);
    expect(gone.err).toContain("batchledger start");
    const never = await cli(["ps", "--data", path.join(folder, "none")]);
    expect(never.code).toBe(3);
    expect(never.err).toContain("No service runs on the data in");
    api = await startFakeApi();
  });

  test("refused: exit code 4, with the service's code, as JSON if asked", async () => {
    const { code, err } = await bl("pool", "show", "none");
    expect(code).toBe(4);
    expect(err).toBe("error: The specified pool does not exist. [PoolNotFound]\n  `batchledger pool list` names the pools.\n");
    const asJson = await bl("pool", "show", "none", "--json");
    expect(JSON.parse(asJson.err)).toMatchObject({ exitCode: 4, error: { code: "PoolNotFound" } });
  });

  test("interrupted: exit code 130", async () => {
    api.hold = true;
    await bl("submit", "--name", "w", "--", "x");
    const stop = new AbortController();
    const { code, err } = await cli(["wait", "w", "--progress"], { env: env(), signal: stop.signal, onErr: () => stop.abort(new Error("stop")) });
    expect(code).toBe(130);
    expect(err).toContain("Interrupted.");
  });
});

describe("work items", () => {
  test("made with a schedule, shown, changed, disabled and enabled", async () => {
    const made = await bl("workitem", "create", "nightly", "--pool", "p", "--every", "1d", "--window", "2h", "--not-before", "2030-01-01T03:00:00+01:00", "--priority", "5", "--retries=-1", "--job-manager", "plan all");
    expect(made.code).toBe(0);
    expect(api.workItems.get("nightly")?.body).toEqual({
      name: "nightly", jobExecutionEnvironment: { poolName: "p" },
      schedule: { recurrenceInterval: "P1D", startWindow: "PT2H", doNotRunUntil: "2030-01-01T03:00:00+01:00" },
      jobSpecification: { priority: 5, jobConstraints: { maxTaskRetryCount: -1 }, jobManager: { name: "manager", commandLine: "plan all" } },
    });
    expect(made.out).toMatch(/^nightly is active, on pool p\.\nJobs: one every 1d, not before 20[\d: -]+, skipped if 2h late\. Next: none\.\nJOB /);
    const changed = await bl("workitem", "update", "nightly", "--every", "12h", "--json");
    expect(changed.json()).toMatchObject({ schedule: { recurrenceInterval: "PT12H" }, jobs: [{ name: "job-0000000001" }], skipped: { count: 0 } });
    expect((await bl("workitem", "update", "nightly", "--no-schedule")).out).toContain("nightly is active, on pool p.\nJOB");
    expect((await bl("workitem", "disable", "nightly")).out).toContain("nightly is disabled");
    expect((await bl("workitem", "enable", "nightly")).out).toContain("nightly is active");
    expect((await bl("workitem", "show", "none")).code).toBe(4);
  });

  test("on a pool that the service makes, from now on", async () => {
    const { code, out } = await bl("workitem", "create", "burst", "--auto-pool", "job", "--tvms", "4", "--slots", "2", "--pool-prefix", "b", "--not-before", "+10m");
    expect([code, out]).toEqual([0, expect.stringContaining("burst is active, on a pool for each job.")]);
    const body = api.workItems.get("burst")?.body as { schedule: { doNotRunUntil: string }; jobExecutionEnvironment: object };
    expect(body.jobExecutionEnvironment).toEqual({
      autoPoolSpecification: { poolLifeTimeOption: "job", keepAlive: false, autoPoolNamePrefix: "b", pool: { osFamily: "4", tvmSize: "small", targetDedicated: 4, maxTasksPerTVM: 2 } },
    });
    const ahead = Date.parse(body.schedule.doNotRunUntil) - Date.now();
    expect(ahead > 9 * 60_000 && ahead <= 10 * 60_000).toBe(true);
  });
});

describe("where the service is", () => {
  const serve = (pid: number) => {
    mkdirSync(path.join(folder, "data", "keys"), { recursive: true });
    writeFileSync(path.join(folder, "data", "service.json"), JSON.stringify({ url: api.url, pid }));
    writeFileSync(path.join(folder, "data", "keys", `${FAKE_ACCOUNT}.key`), `${FAKE_KEY}\n${FAKE_KEY}\n`);
    return path.join(folder, "data");
  };

  test("its data folder says, and --data wins over the environment", async () => {
    const data = serve(process.pid);
    expect((await cli(["pool", "list", "--data", data], { env: { BATCHLEDGER_URL: "http://127.0.0.1:1" } })).code).toBe(0);
  });

  test("env prints what brings a client there", async () => {
    const data = serve(process.pid);
    const { out } = await cli(["env", "--data", data]);
    expect(out).toBe(`export BATCHLEDGER_URL=${api.url}\nexport BATCHLEDGER_ACCOUNT=${FAKE_ACCOUNT}\nexport BATCHLEDGER_KEY_FILE=${data}/keys/${FAKE_ACCOUNT}.key\n`);
    const variables = Object.fromEntries(out.trim().split("\n").map((line) => line.slice(7).split("=") as [string, string]));
    expect((await cli(["pool", "list"], { env: variables })).code).toBe(0);
    expect((await cli(["env", "--data", data, "--key", "--json"])).json()).toMatchObject({ BATCHLEDGER_KEY: FAKE_KEY });
  });

  test("key show needs no running service", async () => {
    const data = serve(2 ** 22 + 1);
    expect((await cli(["key", "show", "--data", data])).out).toBe(`${FAKE_KEY}\n`);
    expect((await cli(["key", "show", "--data", folder])).code).toBe(3);
  });

  test("a killed service is told at once", async () => {
    const { code, err } = await cli(["ps", "--data", serve(2 ** 22 + 1)]);
    expect([code, err.split("\n")[0]]).toEqual([3, `error: No answer from ${api.url} (the service ended without cleaning up).`]);
  });
});

describe("TVMs", () => {
  test("reboot, reimage, show, remove", async () => {
    await bl("pool", "create", "p3", "--tvms", "2");
    const asked = () => (api.pools.get("p3") as { asked: string }).asked;
    expect((await bl("tvm", "reboot", "p3", "tvm-0")).out).toBe("TVM tvm-0 is being rebooted.\n");
    expect(asked()).toBe("POST tvm-0 reboot {}");
    expect((await bl("tvm", "reimage", "p3", "tvm-1", "--tasks", "taskcompletion", "--wait")).out).toBe("TVM tvm-1 is ready.\n");
    expect(asked()).toBe('POST tvm-1 reimage {"reimageOption":"taskcompletion"}');
    expect((await bl("tvm", "show", "p3", "tvm-1")).out).toMatch(/^name +tvm-1\nstate +idle\n/);
    expect((await bl("tvm", "show", "p3", "tvm-1", "--json")).json()).toMatchObject({ totalTasksRun: 3 });
    expect((await bl("tvm", "remove", "p3", "tvm-0", "tvm-1", "--tasks", "terminate", "--timeout", "10m")).out).toBe("2 TVMs leaving: pool p3 is to have 2.\n");
    expect(api.pools.get("p3")).toMatchObject({ tvmList: ["tvm-0", "tvm-1"], resizeTimeout: "PT10M", tvmDeallocationOption: "terminate" });
    writeFileSync(path.join(folder, "password"), "Secret#1\n");
    expect((await bl("tvm", "user", "add", "p3", "tvm-0", "ann", "--password-file", path.join(folder, "password"), "--admin")).out).toContain("batchledger tvm ssh p3 tvm-0");
    expect(asked()).toBe('POST tvm-0/users  {"name":"ann","password":"Secret#1","isAdmin":true}');
    await bl("tvm", "user", "update", "p3", "tvm-0", "ann", "--expires", "2099-01-01T00:00:00Z");
    expect(asked()).toBe('PUT tvm-0/users/ann  {"isAdmin":false,"expiryTime":"2099-01-01T00:00:00Z"}');
    expect((await bl("tvm", "user", "delete", "p3", "tvm-0", "ann")).out).toBe("User ann is gone.\n");
    expect(asked()).toBe("DELETE tvm-0/users/ann  {}");
    expect((await bl("tvm", "user", "add", "p3", "tvm-0", "ann")).err).toContain("--password-file");
    expect((await bl("tvm", "ssh", "p3", "tvm-0")).out).toMatch(/^127\.9\.8\.7:22, from here\nUSER .*\nann +ssh bl1-ann@127\.9\.8\.7 +yes /);
    expect((await bl("pool", "upgrade-os", "p3", "WA-GUEST-OS-4.19_201504-01", "--wait")).out).toBe("Pool p3: has version WA-GUEST-OS-4.19_201504-01.\n");
    expect(api.pools.get("p3")).toMatchObject({ targetOSVersion: "WA-GUEST-OS-4.19_201504-01" });
    expect((await bl("pool", "stop", "p3")).out).toBe("Pool p3: the resize is stopped.\n");
    await bl("pool", "delete", "p3");
  });
});

describe("pools", () => {
  test("create, list, resize, show, tvms, delete", async () => {
    expect((await bl("pool", "create", "p1", "--tvms", "3", "--slots", "2", "--fill", "pack", "--start-task", "setup.sh x", "--wait")).out).toBe("Pool p1: 3 TVMs ready.\n");
    expect(api.pools.get("p1")).toMatchObject({ targetDedicated: 3, maxTasksPerTVM: 2, schedulingPolicy: { tvmFillType: "Pack" }, startTask: { commandLine: "setup.sh x", waitForSuccess: true } });
    expect((await bl("pool", "list")).out).toMatch(/^POOL +STATE +TVMS +TARGET +SLOTS .*\np1 +steady +3 +3 +2 /);
    expect((await bl("pool", "resize", "p1", "1", "--deallocation", "taskcompletion")).out).toBe("Pool p1: going to 1 TVM.\n");
    expect(api.pools.get("p1")).toMatchObject({ targetDedicated: 1, tvmDeallocationOption: "taskcompletion" });
    expect((await bl("pool", "show", "p1", "--json")).json()).toMatchObject({ name: "p1", targetDedicated: 1 });
    expect((await bl("tvms", "p1")).out).toContain("tvm-0");
    expect((await bl("pool", "delete", "p1", "--wait")).out).toBe("Pool p1 is gone.\n");
    expect((await bl("pool", "list")).out).toContain("No pools.");
  });

  test("the default pool is as big as the machine", () => {
    expect(defaultPool(2)).toMatchObject({ name: "default", targetDedicated: 2, maxTasksPerTVM: 1 });
    expect(defaultPool(64)).toMatchObject({ targetDedicated: 16, maxTasksPerTVM: 4 });
    expect(defaultPool(1)).toMatchObject({ targetDedicated: 1, maxTasksPerTVM: 1 });
  });
});

describe("submit", () => {
  test("one command: the name of the work item is all of standard output", async () => {
    const { code, out, err } = await bl("submit", "--", "/usr/bin/printf", "%s", "two words");
    expect(code).toBe(0);
    expect(out).toMatch(/^printf-[a-z0-9]+\n$/);
    expect(err).toContain("Made the pool default");
    expect(tasksOf(out.trim())).toEqual([{ name: "task", commandLine: "/usr/bin/printf %s 'two words'" }]);
    expect(api.workItems.get(out.trim())?.body).toMatchObject({ jobExecutionEnvironment: { poolName: "default" } });
  });

  test("the pool: the one named, else the only one, else a question", async () => {
    api.pools.set("only", { name: "only", targetDedicated: 1 });
    const { out } = await bl("submit", "--", "x");
    expect(api.workItems.get(out.trim())?.body).toMatchObject({ jobExecutionEnvironment: { poolName: "only" } });
    api.pools.set("other", { name: "other", targetDedicated: 1 });
    const several = await bl("submit", "--", "x");
    expect([several.code, several.err]).toEqual([2, expect.stringContaining("There are several pools: only, other.")]);
    expect((await bl("submit", "--pool", "none", "--", "x")).code).toBe(4);
    api.pools.set("default", { name: "default", targetDedicated: 1 });
    expect((await bl("submit", "--name", "d", "--", "x")).code).toBe(0);
    expect(api.workItems.get("d")?.body).toMatchObject({ jobExecutionEnvironment: { poolName: "default" } });
  });

  test("--array: a task for each index, in name order", async () => {
    await bl("submit", "--name", "w", "--array", "8-12:2", "--env", "A=1", "--retries", "3", "--max-wall-clock", "90s", "--priority", "5", "--", "work", "{}");
    expect(api.workItems.get("w")?.body).toMatchObject({ jobSpecification: { priority: 5 } });
    expect(tasksOf("w").map(({ name, commandLine }) => [name, commandLine])).toEqual([["task-08", "work 8"], ["task-10", "work 10"], ["task-12", "work 12"]]);
    expect(tasksOf("w")[1]).toMatchObject({
      environmentSettings: [{ name: "A", value: "1" }, { name: "BATCHLEDGER_ARRAY_INDEX", value: "10" }],
      taskConstraints: { maxTaskRetryCount: 3, maxWallClockTime: "PT90S" },
    });
  });

  test("--each-line: a task for each line, from a file or standard input", async () => {
    writeFileSync(path.join(folder, "lines"), "one\r\n\n  \ntwo words\n");
    await bl("submit", "--name", "w", "--each-line", "lines", "--", "wc");
    expect(tasksOf("w").map(({ commandLine }) => commandLine)).toEqual(["wc one", "wc 'two words'"]);
    await cli(["submit", "--name", "v", "--each-line", "-", "--task-name", "t"], { env: env(), stdin: "echo a\necho 'b c'\n" });
    expect(tasksOf("v").map(({ name, commandLine }) => [name, commandLine])).toEqual([["t-000001", "echo a"], ["t-000002", "echo 'b c'"]]);
    expect((await bl("submit", "--each-line", "missing", "--", "wc")).code).toBe(2);
    const unreadable = await bl("submit", "--name", "u", "--each-line", ".", "--", "wc");
    expect([unreadable.code, unreadable.err]).toEqual([2, expect.stringContaining("A folder was given where a file is wanted.")]);
    writeFileSync(path.join(folder, "none"), "\n");
    expect((await bl("submit", "--name", "n", "--each-line", "none", "--wait", "--", "wc")).err).toContain("n: 0 tasks ended, 0 failed");
  });

  test("--input: files and folders go to the file store and become resource files", async () => {
    mkdirSync(path.join(folder, "lib", "deep"), { recursive: true });
    writeFileSync(path.join(folder, "a b.txt"), "A");
    writeFileSync(path.join(folder, "lib", "deep", "x.js"), "X");
    writeFileSync(path.join(folder, "empty"), "");
    const { code } = await bl("submit", "--name", "w", "--input", "a b.txt", "lib", "--input", "empty", "--wait", "--", "cat", "a b.txt");
    expect(code).toBe(0);
    const files = tasksOf("w")[0]?.resourceFiles ?? [];
    expect(files.map(({ filePath }) => filePath)).toEqual(["a b.txt", "empty", "lib/deep/x.js"]);
    const read = async (at: number) => (await fetch(files[at]?.blobSource as string)).text();
    expect([await read(0), await read(1), await read(2)]).toEqual(["A", "", "X"]);
    mkdirSync(path.join(folder, "again"));
    writeFileSync(path.join(folder, "again", "empty"), "");
    expect((await bl("submit", "--input", "empty", "again/empty", "--", "x")).err).toContain("Two inputs would have the name empty");
  });

  test("--wait: 0 when all is well, 1 when a task failed; the work item is ended", async () => {
    const good = await bl("submit", "--name", "good", "--array", "1-5", "--wait", "--progress", "--", "true", "{}");
    expect(good.code).toBe(0);
    expect(good.err).toContain("good: 5 tasks ended, 0 failed; 50 ms of processor time.");
    expect(api.workItems.get("good")?.ended).toBe(true);
    const bad = await bl("submit", "--name", "bad", "--wait", "--keep-open", "--", "false");
    expect(bad.code).toBe(1);
    expect(bad.err).toContain("task: exit code 1; see: batchledger logs bad task --stderr");
    expect(api.workItems.get("bad")?.ended).toBe(false);
    const more = await bl("submit", "--to", "bad", "--task-name", "more", "--wait", "--json", "--", "true");
    expect(more.json()).toMatchObject({ workItem: "bad", job: "job-0000000001", tasks: 1, succeeded: false, counts: { completed: 2, failed: 1 } });
  });

  test("tasks that the service refuses: exit code 4, and which", async () => {
    await bl("submit", "--name", "w", "--", "one");
    const { code, err } = await bl("submit", "--to", "w", "--", "another");
    expect(code).toBe(4);
    expect(err).toContain("task: The task exists. [TaskExists]");
  });

  test("--shell and --json", async () => {
    const { code, out } = await bl("submit", "--json", "--name", "w", "--shell", "--", "echo $A | wc -c > out");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ workItem: "w", job: "job-0000000001", pool: "default", tasks: 1 });
    expect(tasksOf("w")[0]?.commandLine).toBe("sh -c 'echo $A | wc -c > out'");
  });
});

describe("what there is", () => {
  beforeEach(async () => {
    await bl("submit", "--name", "w", "--array", "1-3", "--", "echo", "{}");
    await bl("submit", "--name", "bad", "--", "false");
  });

  test("ps", async () => {
    const { out } = await bl("ps");
    expect(out).toMatch(/WORK ITEM +STATE +POOL +WAITING +RUNNING +DONE +FAILED/);
    expect(out).toMatch(/\nw +active \(all done\) +p +0 +0 +3 +0 +0 +30 ms /);
    expect((await bl("ps", "--json")).json<{ workItem: string; counts: { failed: number } }[]>().find(({ workItem }) => workItem === "bad")?.counts.failed).toBe(1);
    expect((await bl("ps", "--limit", "1")).out.trim().split("\n")).toHaveLength(2);
  });

  test("tasks", async () => {
    expect((await bl("tasks", "w")).out.split("\n").slice(1, 4).map((line) => line.split(/ {2,}/).slice(0, 3))).toEqual([["task-1", "completed", "0"], ["task-2", "completed", "0"], ["task-3", "completed", "0"]]);
    expect((await bl("tasks", "bad", "--failed")).out).toMatch(/\ntask +failed +1 /);
    expect((await bl("tasks", "w", "--failed")).out).toBe("No such tasks.\n");
    const cut = await bl("tasks", "w", "--limit", "2");
    expect([cut.out.trim().split("\n").length, cut.err]).toEqual([3, "Only the first 2 are shown: --limit N shows more.\n"]);
  });

  test("wait", async () => {
    expect((await bl("wait", "w")).code).toBe(0);
    expect((await bl("wait", "bad", "--end")).code).toBe(1);
    expect(api.workItems.get("bad")?.ended).toBe(true);
    api.hold = true;
    const late = await bl("wait", "w", "--timeout", "PT0.1S");
    expect([late.code, late.err]).toEqual([1, expect.stringContaining("w has not finished in the time given.")]);
  });

  test("terminate and delete", async () => {
    expect((await bl("terminate", "w")).code).toBe(0);
    expect((await bl("terminate", "w/task-1")).code).toBe(0);
    expect((await bl("delete", "w")).out).toBe("w is being deleted.\n");
    expect((await bl("delete", "w")).code).toBe(4);
  });

  test("logs: one, all, followed", async () => {
    expect((await bl("logs", "bad")).out).toBe("false\n");
    expect((await bl("logs", "w", "task-2")).out).toBe("echo 2\n");
    expect((await bl("logs", "w/task-2", "-f")).out).toBe("echo 2\n");
    expect((await bl("logs", "w")).out).toBe("==> task-1 <==\necho 1\n==> task-2 <==\necho 2\n==> task-3 <==\necho 3\n");
    expect((await bl("logs", "w", "task-2", "--stderr")).out).toBe("");
    expect((await bl("logs", "w", "-f")).code).toBe(2);
    api.hold = true;
    expect((await bl("logs", "bad")).err).toContain("[TaskFilesUnavailable]");
  });

  test("logs -f waits for a task that has not begun", async () => {
    api.hold = true;
    setTimeout(() => { api.hold = false; }, 60);
    expect((await bl("logs", "bad", "-f")).out).toBe("false\n");
  });

  test("on a terminal logs cannot take it over", async () => {
    await bl("submit", "--to", "bad", "--task-name", "evil", "--", "a\u001b[2Jb");
    const { out } = await cli(["logs", "bad", "evil"], { env: env(), terminal: true });
    expect(out).toBe("'ab'\n");
    expect((await bl("logs", "bad", "evil")).out).toBe("'a\u001b[2Jb'\n");
  });

  test("files and cp", async () => {
    expect((await bl("files", "bad/task")).out).toMatch(/FILE +SIZE +CHANGED\nwd\/ .*\nstdout.txt +6 B /);
    expect((await bl("cp", "bad/task:stdout.txt", "copied")).code).toBe(0);
    expect(readFileSync(path.join(folder, "copied"), "utf8")).toBe("false\n");
    expect((await bl("cp", "bad/task:out/deep.bin", ".")).code).toBe(0);
    expect([...readFileSync(path.join(folder, "deep.bin"))]).toEqual([1, 2, 3, 0, 255]);
    expect((await bl("cp", "bad/task:stdout.txt", "-")).out).toBe("false\n");
    expect((await bl("cp", "-r", "bad/task:wd", "all")).code).toBe(0);
    expect([...readFileSync(path.join(folder, "all", "out", "deep.bin"))]).toEqual([1, 2, 3, 0, 255]);
    const missing = await bl("cp", "bad/task:none.txt", ".");
    expect([missing.code, missing.err]).toEqual([4, expect.stringContaining("[FileNotFound]")]);
  });

  test("why and events", async () => {
    expect((await bl("why", "w", "task-1")).out).toBe("task-1 is active.\n  - Every TVM of the pool is busy.\n");
    api.hold = true;
    const all = await bl("why", "w");
    expect(all.out).toContain("w (active): 3 waiting, 0 running, 0 of 3 tasks ended, 0 failed.");
    expect(all.out.match(/ is active\./g)).toHaveLength(3);
    const events = await bl("events", "w");
    expect(events.out).toMatch(/VERSION +AT +BY +EVENT +DETAILS\n +1 +2015-07-09T19:31:21.09Z +testing +WorkItemCreated +name=w note=red\n/);
    expect((await bl("events", "pools/p/t/x")).code).toBe(2);
    await bl("events", "pools/p");
    await bl("events", "w/task-1");
    expect(api.requests.slice(-1)[0]).toBe("GET /batchledger/history/workitems/w/jobs/job-0000000001/tasks/task-1");
  });
});
