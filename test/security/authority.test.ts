// Who may do what, made from the table of operations: each operation by each kind of caller, what a TVM's credential opens and when it
// ends, requests that are sent again, and the audit trail. What is allowed is written down here a second time, on purpose.
import { acceptReports } from "../../src/app/report";
import { execute } from "../../src/app/execute";
import { joinCodeFor } from "../../src/app/agents";
import { managerToken } from "../../src/app/managers";
import { type Action, authorize } from "../../src/api/auth";
import { type Operation, changes } from "../../src/api/operation";
import { operations } from "../../src/api/operations";
import { REMEMBERED_MAX, TWICE_WITHIN_MS, replays } from "../../src/api/replays";
import { jobKey, poolKey, poolStream, taskKey, taskStream, tvmKey, tvmStream } from "../../src/domain/ids";
import { jobStep } from "../../src/process/jobStep";
import { agentPost, done, exchangeBody } from "../api/fakeAgent";
import { ACCOUNT, JOB, POOL, type Service, TASK, WORK_ITEM, ask, openService, refusal, withJob } from "../api/support";

/** Each action there is, and who may; anybody else may not. */
const MAY: Readonly<Record<Action, readonly ("account" | "manager" | "tvm" | "anonymous")[]>> = {
  "pool.read": ["account"], "pool.add": ["account"], "pool.update": ["account"], "pool.resize": ["account"], "pool.delete": ["account"],
  "tvm.read": ["account"], "tvm.change": ["account"],
  "workItem.read": ["account"], "workItem.add": ["account"], "workItem.update": ["account"], "workItem.terminate": ["account"], "workItem.delete": ["account"],
  "job.read": ["account", "manager"], "job.update": ["account"], "job.terminate": ["account"], "job.delete": ["account"],
  "task.read": ["account", "manager"], "task.add": ["account", "manager"], "task.update": ["account", "manager"], "task.terminate": ["account", "manager"], "task.delete": ["account", "manager"],
  "file.read": ["account", "manager"], "file.delete": ["account"],
  "certificate.read": ["account"], "certificate.change": ["account"],
  "batch.run": ["account"], "history.read": ["account"], "upload.grant": ["account"], "upload.read": ["account"], "message.send": ["account"], "message.read": ["account"],
  "agent.join": ["anonymous"], "agent.exchange": ["tvm"],
  "health.read": ["account", "anonymous"],
};

interface World {
  readonly service: Service;
  readonly logged: { level: string; message: string; details: Record<string, unknown> }[];
  /** What the exchanges of TVMs put on their queue. */
  readonly reports: unknown[];
  readonly credential: string;
  readonly token: string;
}

const now = (service: Service): string => service.ports.clock.now().toISOString();
const allocate = async (service: Service, account: string, pool: string, name: string): Promise<void> => {
  const stream = tvmStream(tvmKey(account, pool, name));
  await done(execute(service.ports, "tvm", "test", { stream, command: { type: "AllocateTvm", at: now(service), account, pool, name, size: "small", slots: 1 } }));
};
const MACHINE = { address: "127.0.0.9", cores: 2, platform: "linux", separateUser: false, helper: "node" };
const joinAs = async (service: Service, account: string, pool: string, name: string, boot = 1): Promise<string> => {
  const joined = await agentPost(service, "/agent/join", { protocol: 1, code: joinCodeFor(service.ports, tvmKey(account, pool, name), boot), machine: MACHINE }, null);
  expect(joined.status).toBe(200);
  return `TVM ${joined.json.credential}`;
};

const openWorld = async (): Promise<World> => {
  const logged: World["logged"] = [];
  const reports: unknown[] = [];
  const say = (level: string) => (message: string, details: Record<string, unknown> = {}) => void logged.push({ level, message, details });
  const service = await openService({ log: { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") } });
  const { bus } = service.ports;
  Object.assign(service.ports, { bus: { ...bus, send: async (queue: string, messages: { body: unknown }[]) => (queue === "reports" ? void reports.push(...messages.map(({ body }) => body)) : bus.send(queue as never, messages as never)) } });
  await withJob(service);
  expect((await ask(service, "POST", `${JOB}/tasks`, { body: TASK })).status).toBe(201);
  await allocate(service, ACCOUNT, "p1", "tvm-1");
  const credential = await joinAs(service, ACCOUNT, "p1", "tvm-1");
  const body = { name: "managed", jobExecutionEnvironment: { poolName: "p1" }, jobSpecification: { jobManager: { name: "jm", commandLine: "plan" } } };
  expect((await ask(service, "POST", "/workitems", { body })).status).toBe(201);
  await jobStep(service.ports, "job-myaccount.managed.1.job-0000000001", now(service));
  const manager = "myaccount.managed.1.job-0000000001.jm";
  await done(execute(service.ports, "task", "test", { stream: taskStream(manager), command: { type: "AssignTask", at: now(service), pool: "p1", tvm: tvmKey(ACCOUNT, "p1", "tvm-1") } }));
  return { service, logged, reports, credential, token: `Bearer ${managerToken(service.ports, manager, 1)}` };
};

let world: World;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world.service.close());

/** The target on things of the manager's own job, or on those of another. */
const targetOf = (one: Operation, workItem = "managed", pool = "p1"): string => {
  const names: Record<string, string> = { pool, tvm: "tvm-1", user: "me", workItem, job: "job-0000000001", task: "t1", path: "stdout.txt", container: "inputs" };
  const path = one.path.replace("/certificates(...)", `/certificates(thumbprintAlgorithm=sha1,thumbprint=${"0a".repeat(20)})`).replace(/\{(\w+)\}/g, (_, name: string) => names[name] as string);
  expect(path).not.toContain("undefined");
  return one.verb === undefined ? path : `${path}?${one.verb}`;
};
const commits = async (): Promise<number> => (await world.service.ports.eventStore.readFeed(undefined, 10_000)).commits.length;
/** With a body that nothing is made of: whoever gets so far is told what is wrong with it. */
const send = (one: Operation, options: Parameters<typeof ask>[3], workItem?: string, pool?: string) =>
  ask(world.service, one.method, targetOf(one, workItem, pool), { ...(one.body === undefined ? {} : { body: { colour: "red" } }), ...options });
const REFUSED = /^403 (?:AuthenticationFailed|InsufficientAccountPermissions)$|^403$/;

const named = operations.map((one) => [one.name, one] as const);

test("each operation says what it does, and each action is somebody's; what is not in the table is nobody's", () => {
  expect(operations.filter((one) => MAY[one.action] === undefined).map((one) => one.name)).toEqual([]);
  const kinds = ["account", "manager", "tvm", "anonymous"] as const;
  for (const [action, who] of Object.entries(MAY)) for (const kind of kinds) expect([action, kind, authorize({ kind, account: "a" }, action as Action, "a") === undefined]).toEqual([action, kind, who.includes(kind)]);
  expect(authorize({ kind: "account", account: "a" }, "pool.read", "b")?.code).toBe("InsufficientAccountPermissions");
  expect(new Set(operations.map(({ action }) => action))).toEqual(new Set(Object.keys(MAY)));
});

test.each(named)("%s: not by strangers, TVMs, or a job manager out of its job", async (_name, one) => {
  const before = await commits();
  const may = MAY[one.action];
  const ofJob = /\{workItem\}.*\{job\}/.test(one.path);
  const denied: [string, Parameters<typeof ask>[3], string?][] = [
    ["an account that there is not", { account: "nobody" }],
    ["a wrong key", { key: Buffer.alloc(64).toString("base64") }],
    ["another's key", { account: ACCOUNT, key: Buffer.from("other").toString("base64") }],
    ["a made-up TVM", { authorization: "TVM myaccount.p1.tvm-1~1~AAAA" }],
    ["a made-up job manager", { authorization: `${world.token}x` }],
    ...(may.includes("anonymous") ? [] : [["nobody", { authorization: null }] as [string, object]]),
    ...(may.includes("tvm") ? [] : [["a TVM", { authorization: world.credential }] as [string, object]]),
    ...(may.includes("manager") && ofJob ? [["a manager of another job", { authorization: world.token }, "w1"] as [string, object, string]] : [["a job manager", { authorization: world.token }] as [string, object]]),
    ...(may.includes("account") ? [] : [["an account", {}] as [string, object]]),
  ];
  for (const [who, options, workItem] of denied) expect([who, refusal(await send(one, options, workItem))]).toEqual([who, expect.stringMatching(REFUSED)]);
  expect(await commits()).toBe(before);
});

test.each(named)("%s: by whom it is for", async (_name, one) => {
  const own = await commits();
  const ofJob = /\{workItem\}.*\{job\}/.test(one.path);
  const allowed: Record<string, Parameters<typeof ask>[3]> = { account: { account: "other" }, manager: { authorization: world.token }, tvm: { authorization: world.credential }, anonymous: { authorization: null } };
  for (const who of MAY[one.action]) {
    if (who === "manager" && (!ofJob || changes(one))) continue;
    // The other account has nothing of these names: it is let in, and finds nothing to change.
    expect([who, refusal(await send(one, allowed[who]))]).toEqual([who, expect.not.stringMatching(REFUSED)]);
  }
  expect(await commits()).toBe(own);
});

// ---------------------------------------------------------------- a TVM's credential

describe("a TVM's credential", () => {
  const running = async (account: string, workItem: string, pool: string, tvm: string): Promise<string> => {
    const { service } = world;
    await ask(service, "POST", "/pools", { account, body: { ...POOL, name: pool } });
    expect((await ask(service, "POST", "/workitems", { account, body: { ...WORK_ITEM, name: workItem, jobExecutionEnvironment: { poolName: pool } } })).status).toBe(201);
    expect((await ask(service, "POST", `/workitems/${workItem}/jobs/job-0000000001/tasks`, { account, body: TASK })).status).toBe(201);
    await allocate(service, account, pool, tvm);
    const key = taskKey(jobKey(account, workItem, 1, "job-0000000001"), "t1");
    await done(execute(service.ports, "task", "test", { stream: taskStream(key), command: { type: "AssignTask", at: now(service), pool, tvm: tvmKey(account, pool, tvm) } }));
    return key;
  };

  test.each([["of another pool", ACCOUNT, "w-b", "p-b"], ["of another TVM of its pool", ACCOUNT, "w-c", "p1"], ["of another account", "other", "w-d", "p1"]])("changes no task %s, whatever it reports", async (_what, account, workItem, pool) => {
    const { service, credential, reports } = world;
    const key = await running(account, workItem, pool, "tvm-7");
    const before = await service.ports.eventStore.history(taskStream(key));
    reports.length = 0;
    const at = now(service);
    const said = [{ kind: "taskStarted", key, attempt: 1, at }, { kind: "taskEnded", key, attempt: 1, at, startedAt: at, exitCode: 0 }, { kind: "taskReturned", key, attempt: 1, at }];
    expect((await agentPost(service, "/agent/exchange", exchangeBody({ reports: said, holding: [{ key, attempt: 1 }] }), credential)).json).toMatchObject({ run: [], stop: [{ key, attempt: 1 }] });
    // Whom a report is by, the credential says; nothing in it can.
    expect(reports).toEqual([expect.objectContaining({ tvm: "myaccount.p1.tvm-1", boot: 1 })]);
    for (const body of reports) await acceptReports(service.ports, body, at);
    expect(await service.ports.eventStore.history(taskStream(key))).toEqual(before);
    expect(refusal(await agentPost(service, "/agent/exchange", { ...exchangeBody(), tvm: "myaccount.p1.tvm-7" }, credential))).toBe("400 UnsupportedProperty tvm");
  });

  test("ends with its boot: the next boot's is another, and who still speaks for the last one is not heard, which is on record", async () => {
    const { service, reports, logged } = world;
    await allocate(service, ACCOUNT, "p1", "tvm-8");
    const first = await joinAs(service, ACCOUNT, "p1", "tvm-8");
    expect((await agentPost(service, "/agent/exchange", exchangeBody(), first)).status).toBe(200);
    const stream = tvmStream(tvmKey(ACCOUNT, "p1", "tvm-8"));
    await done(execute(service.ports, "tvm", "test", { stream, command: { type: "RestartTvm", at: now(service), boot: 1, reason: "machineExited" } }));
    const second = await joinAs(service, ACCOUNT, "p1", "tvm-8", 2);
    expect(second).not.toBe(first);
    [reports.length, logged.length] = [0, 0];
    const late = { kind: "taskEnded", key: `${ACCOUNT}.w1.1.job-0000000001.t1`, attempt: 1, at: now(service), exitCode: 0 };
    const before = await commits();
    for (const boot of [1, 2]) {
      expect(refusal(await agentPost(service, "/agent/exchange", exchangeBody({ boot, reports: [late] }), first))).toBe("403 AuthenticationFailed");
      expect(refusal(await agentPost(service, "/agent/certificates", { boot }, first))).toBe("403 AuthenticationFailed");
    }
    expect([await commits(), reports]).toEqual([before, []]);
    expect(logged.filter(({ level, details }) => level === "warn" && details["who"] === "myaccount.p1.tvm-8" && details["boot"] === 1)).toHaveLength(2);
    // A join code of the first boot, and one for a boot that is not yet, open nothing.
    for (const boot of [1, 3]) expect(refusal(await agentPost(service, "/agent/join", { protocol: 1, code: joinCodeFor(service.ports, tvmKey(ACCOUNT, "p1", "tvm-8"), boot), machine: MACHINE }, null))).toBe("403 AuthenticationFailed");
    expect((await agentPost(service, "/agent/exchange", exchangeBody({ boot: 2 }), second)).status).toBe(200);
  });
});

// ---------------------------------------------------------------- requests that are sent again

describe("a signed request that is sent again", () => {
  /** What does no harm when it is done again, as the table says why. */
  const REPEATABLE = ["AddTask", "AddTaskCollection", "EvaluateAutoScale"];
  const byAccount = operations.filter((one) => changes(one) && MAY[one.action].includes("account"));

  test("is remembered, if it changes something, but for these", () => {
    expect(byAccount.filter((one) => one.repeatable !== undefined).map((one) => one.name).sort()).toEqual(REPEATABLE);
    expect(byAccount.length).toBeGreaterThan(30);
  });

  test.each(byAccount.map((one) => [one.name, one] as const))("%s: is refused a moment later, whatever came of it first", async (name, one) => {
    const { service } = world;
    const date = service.ports.clock.now().toUTCString();
    const again = () => send(one, { account: "other", date }, "nothing", "nothing");
    const first = refusal(await again());
    // The same second is the same signature: a client that means it twice, or tries again, gets what the thing itself says.
    expect(refusal(await again())).toBe(first);
    service.shift(TWICE_WITHIN_MS + 1000);
    const before = await commits();
    expect([name, refusal(await again())]).toEqual([name, one.repeatable === undefined ? "403 AuthenticationFailed Authorization" : first]);
    expect(await commits()).toBe(before);
    expect(refusal(await send(one, { account: "other" }, "nothing", "nothing"))).toBe(first);
  });

  test("does not bring back what was removed meanwhile, with another body neither", async () => {
    const { service } = world;
    const date = service.ports.clock.now().toUTCString();
    const body = { ...POOL, name: "once" };
    expect((await ask(service, "POST", "/pools", { body, date })).status).toBe(201);
    service.shift(60_000);
    for (const later of [body, { ...body, name: "evil" }]) expect(refusal(await ask(service, "POST", "/pools", { body: later, date }))).toBe("403 AuthenticationFailed Authorization");
    // Reading again is no change.
    const read = { date: service.ports.clock.now().toUTCString() };
    for (let time = 0; time < 2; time++) {
      expect((await ask(service, "GET", "/pools/once", read)).status).toBe(200);
      service.shift(60_000);
    }
  });

  test("is remembered as long as its date can be good, in bounded memory", () => {
    const memory = replays();
    expect([memory.cameBefore("a", 0), memory.cameBefore("a", TWICE_WITHIN_MS), memory.cameBefore("a", TWICE_WITHIN_MS + 1), memory.cameBefore("b", 0)]).toEqual([false, false, true, false]);
    for (const at of [60_000, 15 * 60_000, 30 * 60_000]) {
      memory.cameBefore(`other ${at}`, at);
      expect(memory.cameBefore("a", at)).toBe(true);
    }
    memory.cameBefore("late", 29 * 60_000);
    memory.cameBefore("x", 31 * 60_000);
    expect(memory.cameBefore("late", 32 * 60_000)).toBe(true);
    memory.cameBefore("y", 62 * 60_000);
    expect(memory.cameBefore("a", 62 * 60_000)).toBe(false);
    const full = replays();
    full.cameBefore("first", 0);
    for (let index = 0; index < REMEMBERED_MAX; index++) full.cameBefore(`s${index}`, 0);
    expect([full.cameBefore("first", 60_000), full.cameBefore(`s${REMEMBERED_MAX - 1}`, 60_000)]).toEqual([false, true]);
  });
});

// ---------------------------------------------------------------- the audit trail

describe("the audit trail", () => {
  const CANARY = "canary-of-a-body";
  const audits = () => world.logged.filter(({ message }) => message === "audit");

  test("each change is on record, done or refused, with who, what, what came of it, and the request's id; nothing of its body or query", async () => {
    const { service, logged } = world;
    for (const one of operations.filter((each) => changes(each) && MAY[each.action].includes("account"))) {
      logged.length = 0;
      service.shift(1000);
      const got = await send(one, one.body === undefined ? {} : { body: { [CANARY]: CANARY } }, "nothing", "nothing");
      expect([one.name, audits()]).toEqual([one.name, [expect.objectContaining({ details: expect.objectContaining({ who: ACCOUNT, action: one.action, operation: one.name, status: got.status, request: got.headers.get("request-id") }) })]]);
      expect(audits()[0]?.details["resource"]).toBe(targetOf(one, "nothing", "nothing").split("?")[0]);
      expect(JSON.stringify(logged)).not.toContain(CANARY);
      expect(audits()[0]?.level).toBe(/^(task|file)\./.test(one.action) ? "debug" : "info");
    }
  });

  test("what was done is in the history with who asked", async () => {
    const history = (await ask(world.service, "GET", "/batchledger/history/pools/once")).json.value;
    expect(history[0]).toMatchObject({ by: ACCOUNT, version: 1 });
    const stream = poolStream(poolKey(ACCOUNT, "once"));
    expect((await world.service.ports.eventStore.history(stream)).map(({ by }) => by)).toEqual([ACCOUNT]);
  });

  test("who asks for what is not theirs is on record, and so are wrong signatures, but not a line each", async () => {
    const { service, logged, credential, token } = world;
    logged.length = 0;
    await ask(service, "GET", "/pools", { authorization: credential });
    await ask(service, "DELETE", JOB, { authorization: token });
    expect(audits().map(({ level, details }) => [level, details["who"], details["action"], details["code"]])).toEqual([
      ["warn", "tvm", "pool.read", "InsufficientAccountPermissions"], ["warn", "myaccount.managed.1.job-0000000001.jm", "job.delete", "InsufficientAccountPermissions"],
    ]);
    logged.length = 0;
    service.shift(60_000);
    for (let time = 0; time < 50; time++) await ask(service, "GET", "/pools", { key: Buffer.alloc(64).toString("base64") });
    service.shift(60_000);
    await ask(service, "GET", "/pools", { authorization: "TVM a~1~b" });
    const told = audits().map(({ level, details }) => [level, details["action"], details["count"]]);
    expect(told).toHaveLength(2);
    expect(told[1]).toEqual(["warn", "sign in", 50]);
  });

  test("a credential that is handed to a TVM is on record, without the credential", async () => {
    const { service, logged } = world;
    await allocate(service, ACCOUNT, "p1", "tvm-9");
    logged.length = 0;
    const credential = await joinAs(service, ACCOUNT, "p1", "tvm-9");
    expect(audits().map(({ details }) => details["who"])).toContain("myaccount.p1.tvm-9");
    expect(JSON.stringify(logged)).not.toContain(credential.slice(4));
  });
});
