// Orchestrations through durable-functions 3.5 unmodified: the five features, and the client call by call.

import { app } from "@azure/functions";
import type { HttpRequest, InvocationContext } from "@azure/functions";
import * as df from "durable-functions";
import type { OrchestrationContext, OrchestrationHandler, Task } from "durable-functions";
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { systemClock } from "../../src/host/clock";
import { startHost } from "../../src/host/main";
import type { RunningHost } from "../../src/host/main";
import { keptLog, until } from "./support";

const runs: Record<string, number> = {};
const count = (name: string): number => (runs[name] = (runs[name] ?? 0) + 1);
let changed = false;
/** By how much the machine's clock was set. */
let setBy = 0;
const clock = { ...systemClock, now: () => systemClock.now() + setBy };
let host: RunningHost;
let dataDir: string;
const log = keptLog();

const orchestration = (name: string, body: (context: OrchestrationContext) => Generator<Task, unknown, any>): void => {
  df.app.orchestration(name, body as OrchestrationHandler);
};
const inMs = (context: OrchestrationContext, milliseconds: number): Date => new Date(context.df.currentUtcDateTime.getTime() + milliseconds);

function register(): void {
  app.setup({ enableHttpStream: true });
  df.app.activity("hello", { handler: (input: { name: string }) => `hello ${input.name}` });
  df.app.activity("echo", { handler: (value: unknown, context: InvocationContext) => ({ value: value ?? null, type: typeof value, instance: context.triggerMetadata?.["instanceId"] }) });
  df.app.activity("flaky", {
    handler: (input: { key: string; failures: number }) => {
      const run = count(input.key);
      if (run <= input.failures) throw new Error(`flaky ${run}`);
      return run;
    },
  });
  df.app.activity("tick", { handler: () => (count("tick"), clock.now() + 100) });
  orchestration("ticks", function* (context) {
    const next: number = yield context.df.callActivity("tick", {});
    yield context.df.createTimer(new Date(next));
    context.df.continueAsNew({});
    return undefined;
  });
  df.app.activity("never", { handler: () => new Promise(() => {}) });
  orchestration("everything", everything);
  orchestration("fanOut", function* (context) {
    const { n } = context.df.getInput() as { n: number };
    const results: string[] = yield context.df.Task.all(Array.from({ length: n }, (_, index) => context.df.callActivity("hello", { name: String(index) })));
    return results.length;
  });
  orchestration("race", function* (context) {
    const timer = context.df.createTimer(inMs(context, 3_600_000));
    const activity = context.df.callActivity("hello", { name: "race" });
    const winner: Task = yield context.df.Task.any([timer, activity]);
    if (winner === activity) timer.cancel();
    return winner === activity ? "activity" : "timer";
  });
  orchestration("exhausted", function* (context) {
    try {
      yield context.df.callActivityWithRetry("flaky", new df.RetryOptions(5, 3), { key: context.df.instanceId, failures: 99 });
    } catch (error) {
      return `${String((error as Error).message).split("\n")[0]}; ${yield context.df.callActivity("hello", { name: "after" })}`;
    }
    return "not reached";
  });
  orchestration("interleaved", function* (context) {
    const retry = new df.RetryOptions(5, 5);
    const id = context.df.instanceId;
    const results: number[] = yield context.df.Task.all([
      context.df.callActivityWithRetry("flaky", retry, { key: `${id}-a`, failures: 2 }),
      context.df.callActivity("hello", { name: "between" }),
      context.df.callActivityWithRetry("flaky", retry, { key: `${id}-b`, failures: 1 }),
    ]);
    return [results, yield context.df.callActivity("hello", { name: "end" })];
  });
  orchestration("fails", function* (context) {
    yield context.df.callActivity("flaky", { key: "fails", failures: 99 });
  });
  orchestration("types", function* (context) {
    const seen: unknown[] = [];
    for (const value of ["s", 5, true, { a: 1 }, [1], null, '{"j":1}']) seen.push(yield context.df.callActivity("echo", value));
    return seen;
  });
  orchestration("eternal", function* (context) {
    const { n } = context.df.getInput() as { n: number };
    yield context.df.callActivity("hello", { name: String(n) });
    if (n >= 30) return n;
    context.df.continueAsNew({ n: n + 1 });
    return undefined;
  });
  orchestration("collect", function* (context) {
    const { got } = context.df.getInput() as { got: number[] };
    const next: number = yield context.df.waitForExternalEvent("item");
    if (next === 0) return got;
    context.df.continueAsNew({ got: [...got, next] });
    return undefined;
  });
  orchestration("looks", function* (context) {
    const { looked } = context.df.getInput() as { looked: number };
    yield context.df.waitForExternalEvent("nudge");
    context.df.continueAsNew({ looked: looked + 1 });
    return undefined;
  });
  orchestration("waits", function* (context) {
    context.df.setCustomStatus({ waiting: true });
    return [yield context.df.waitForExternalEvent("first"), yield context.df.waitForExternalEvent("second")];
  });
  orchestration("changes", function* (context) {
    yield context.df.callActivity(changed ? "echo" : "hello", { name: "x" });
    yield context.df.waitForExternalEvent("go");
  });
  orchestration("hangs", function* (context) {
    yield context.df.callActivity("never", {});
  });
  orchestration("parent", function* (context) {
    yield context.df.callSubOrchestrator("waits", {});
  });
  app.http("client", { route: "client", methods: ["POST"], extraInputs: [df.input.durableClient()], handler: callClient });
}

function* everything(context: OrchestrationContext): Generator<Task, unknown, any> {
  const { round, log: before } = context.df.getInput() as { round: number; log: string[] };
  const kept = [...before, (yield context.df.callActivity("hello", { name: `r${round}` })) as string];
  yield context.df.createTimer(inMs(context, 20));
  const tries: number = yield context.df.callActivityWithRetry("flaky", new df.RetryOptions(5, 5), { key: `${context.df.instanceId}-${round}`, failures: 2 });
  kept.push(`tries ${tries}`);
  context.df.setCustomStatus({ waiting: round });
  const event: { by: string } = yield context.df.waitForExternalEvent("go");
  kept.push(`by ${event.by}`);
  if (round > 0) return kept;
  context.df.continueAsNew({ round: round + 1, log: kept });
  return undefined;
}

type ClientCall = { operation: string; parameters: unknown[] };

async function callClient(request: HttpRequest, context: InvocationContext) {
  const { operation, parameters } = (await request.json()) as ClientCall;
  const durable = df.getClient(context) as unknown as Record<string, (...values: unknown[]) => unknown>;
  try {
    const result = await durable[operation]!(...(operation === "createHttpManagementPayload" ? parameters : parameters.map(revive)));
    return { jsonBody: { result: result ?? null } };
  } catch (error) {
    return { jsonBody: { error: (error as Error).message } };
  }
}

const revive = (value: unknown): unknown =>
  typeof value === "object" && value !== null && "createdTimeFrom" in value ? { ...value, createdTimeFrom: new Date((value as { createdTimeFrom: string }).createdTimeFrom) } : value;

async function client(operation: string, ...parameters: unknown[]): Promise<any> {
  const answer = await fetch(`${host.url}/client`, { method: "POST", body: JSON.stringify({ operation, parameters }) });
  return answer.json();
}

const startNew = async (name: string, input: unknown = {}, instanceId?: string): Promise<string> => (await client("startNew", name, { instanceId, input })).result as string;
const instance = (id: string) => host.taskHub.instance(id);
const ended = (id: string) => until(() => (["Completed", "Failed", "Terminated"].includes(instance(id)?.status ?? "") ? instance(id) : undefined));
const output = async (id: string): Promise<unknown> => JSON.parse((await ended(id)).output ?? "null");

const hostJson = { version: "2.0", functionTimeout: "00:00:01", extensions: { http: { routePrefix: "" } } };

beforeAll(async () => {
  dataDir = await mkdtemp(path.join(os.tmpdir(), "host-"));
  host = await startHost({ loadFunctions: register, hostJson, port: 0, dataDir, log, drainMs: 200, clock });
});
afterAll(async () => {
  await host.stop();
  await rm(dataDir, { recursive: true, force: true });
});

test("activity, timer, retry, event and continue-as-new in one orchestration, by webhook and by client", async () => {
  const id = await startNew("everything", { round: 0, log: [] });
  const links = (await client("createHttpManagementPayload", id)).result as Record<string, string>;
  await until(() => instance(id)?.custom === '{"waiting":0}');
  const status = await fetch(links["statusQueryGetUri"] as string);
  expect(status.status).toBe(202);
  expect(await status.json()).toMatchObject({ name: "everything", instanceId: id, runtimeStatus: "Running", customStatus: { waiting: 0 } });
  const sent = await fetch((links["sendEventPostUri"] as string).replace("{eventName}", "go"), { method: "POST", headers: { "content-type": "application/json" }, body: '{"by":"link"}' });
  expect(sent.status).toBe(202);
  await until(() => instance(id)?.custom === '{"waiting":1}');
  expect(await client("raiseEvent", id, "go", { by: "client" })).toEqual({ result: null });
  expect(await output(id)).toEqual(["hello r0", "tries 3", "by link", "hello r1", "tries 3", "by client"]);
});

test("fan-out of two hundred activities", async () => {
  expect(await output(await startNew("fanOut", { n: 200 }))).toBe(200);
});

test("Task.any: a cancelled timer does not keep the instance running, nor wake it later", async () => {
  const id = await startNew("race");
  expect(await output(id)).toBe("activity");
});

test("retries: the host runs them, the SDK agrees on the numbers", async () => {
  expect(await output(await startNew("exhausted"))).toMatch(/^Activity function 'flaky' failed: flaky 3.*; hello after$/);
  expect(await output(await startNew("interleaved"))).toEqual([[3, "hello between", 2], "hello end"]);
});

test("an activity's failure fails the orchestration that does not catch it", async () => {
  const id = await startNew("fails");
  expect((await ended(id)).status).toBe("Failed");
  expect(await output(id)).toMatch(/^Orchestrator function 'fails' failed: Activity function 'flaky' failed: flaky 1/);
});

test("inputs of activities arrive as on the real host", async () => {
  const seen = (await output(await startNew("types"))) as { value: unknown; type: string; instance: string }[];
  expect(seen.map(({ value, type }) => [type, value])).toEqual([
    ["string", "s"],
    ["number", 5],
    ["string", "True"],
    ["object", { a: 1 }],
    ["object", [1]],
    ["undefined", null],
    ["string", '{"j":1}'],
  ]);
});

test("continue-as-new: thirty generations, and the history of one", async () => {
  const id = await startNew("eternal", { n: 0 });
  expect(await output(id)).toBe(30);
  expect(host.taskHub.history(id).filter((event) => event.EventType === 0)).toHaveLength(1);
  expect(host.taskHub.history(id).length).toBeLessThan(12);
});

test("events that arrive one by one reach one generation each", async () => {
  const id = await startNew("collect", { got: [] });
  for (const item of [1, 2, 3]) {
    await host.taskHub.raiseEvent(id, "item", String(item));
    await until(() => instance(id)?.input === JSON.stringify({ got: Array.from({ length: item }, (_, index) => index + 1) }));
  }
  await client("raiseEvent", id, "item", 0);
  expect(await output(id)).toEqual([1, 2, 3]);
});

test("a changed orchestrator is found out, and fails its instance", async () => {
  const id = await startNew("changes");
  await until(() => host.taskHub.history(id).some((event) => event.EventType === 5));
  changed = true;
  await client("raiseEvent", id, "go", 1);
  expect(await output(id)).toMatch(/^Non-deterministic orchestrator/);
});

test("an activity that takes longer than functionTimeout has failed", async () => {
  expect(await output(await startNew("hangs"))).toMatch(/Timeout value of 1000 ms was exceeded/);
});

test("what this host leaves out fails by name", async () => {
  expect(await output(await startNew("parent"))).toBe("The local host does not support sub-orchestrations.");
});

test("a nudge starts what does not run, and wakes what does; many at once wake it once", async () => {
  const looked = () => (JSON.parse(instance("looker")?.input ?? "null") as { looked: number } | null)?.looked;
  const nudge = () => host.taskHub.nudge("looks", "looker", '{"looked":0}', "nudge");
  await nudge();
  await until(() => instance("looker")?.status === "Running");
  expect(looked()).toBe(0);
  await Promise.all(Array.from({ length: 100 }, nudge));
  await until(() => looked() === 1);
  await nudge();
  await until(() => looked() === 2);
  await expect(host.taskHub.nudge("nobody", "looker", "{}", "nudge")).rejects.toMatchObject({ status: 400 });
});

describe("the client", () => {
  test("a fixed id is a singleton while it lives, and may be used again after", async () => {
    expect(await startNew("waits", {}, "single")).toBe("single");
    expect((await client("startNew", "waits", { instanceId: "single", input: {} })).error).toContain("already exists");
    await client("terminate", "single", "enough");
    expect(await ended("single")).toMatchObject({ status: "Terminated", output: '"enough"' });
    expect(await startNew("waits", {}, "single")).toBe("single");
    await client("raiseEvent", "single", "first", 1);
    await client("raiseEvent", "single", "second", { n: 2 });
    expect(await output("single")).toEqual([1, { n: 2 }]);
  });

  test("what cannot be started is refused: unknown names, bad ids", async () => {
    expect((await client("startNew", "nobody", {})).error).toContain("doesn't exist");
    expect((await client("startNew", "waits", { instanceId: "@x", input: {} })).error).toContain("must not start with @");
    expect((await client("startNew", "waits", { instanceId: "x".repeat(101), input: {} })).error).toContain("100 characters");
  });

  test("getStatus: input, output, custom status, history; an unknown id throws", async () => {
    const id = await startNew("waits", { some: "input" }, "looked-at");
    await until(() => instance(id)?.status === "Running");
    expect((await client("getStatus", id)).result).toMatchObject({ name: "waits", instanceId: id, runtimeStatus: "Running", input: { some: "input" }, output: null, customStatus: { waiting: true } });
    expect((await client("getStatus", "nobody")).error).toContain("nobody");
    await client("terminate", id, "");
    await ended(id);
  });

  test("raising an event on an ended instance is silent, on an unknown one an error, without data an error", async () => {
    expect(await client("raiseEvent", "looked-at", "first", 1)).toEqual({ result: null });
    expect((await client("raiseEvent", "nobody", "first", 1)).error).toContain("No instance with ID");
    const id = await startNew("waits");
    expect((await client("raiseEvent", id, "first")).error).toContain("400");
  });

  test("lists by status, and page by page", async () => {
    for (let n = 0; n < 120; n++) await host.taskHub.startNew("waits", `page-${String(n).padStart(3, "0")}`, "{}");
    await until(() => instance("page-119")?.status === "Running");
    const all = (await client("getStatusAll")).result as { instanceId: string }[];
    expect(all.filter((each) => each.instanceId.startsWith("page-"))).toHaveLength(120);
    const failed = (await client("getStatusBy", { runtimeStatus: ["Failed"] })).result as { runtimeStatus: string }[];
    expect(failed.length).toBeGreaterThan(1);
    expect(new Set(failed.map((each) => each.runtimeStatus))).toEqual(new Set(["Failed"]));
  });

  test("purges ended instances, one or many, and no live one", async () => {
    expect(await client("purgeInstanceHistory", "single")).toEqual({ result: { instancesDeleted: 1 } });
    expect(await client("purgeInstanceHistory", "single")).toEqual({ result: { instancesDeleted: 0 } });
    expect(await client("purgeInstanceHistory", "page-000")).toEqual({ result: { instancesDeleted: 0 } });
    expect((await client("purgeInstanceHistoryBy", { createdTimeFrom: new Date(Date.now() - 600_000).toISOString(), runtimeStatus: ["Failed"] })).result.instancesDeleted).toBeGreaterThan(1);
    expect(host.taskHub.list({ statuses: ["Failed"], limit: 10 })).toEqual([]);
    expect(instance("page-000")?.status).toBe("Running");
  });

  test("operations that this host leaves out are 501, webhooks want the system key", async () => {
    const links = (await client("createHttpManagementPayload", "page-000")).result as Record<string, string>;
    expect((await fetch((links["suspendPostUri"] as string).replace("{text}", "x"), { method: "POST" })).status).toBe(501);
    expect((await fetch((links["statusQueryGetUri"] as string).replace(/code=[^&]+/, "code=wrong"))).status).toBe(401);
    expect((await fetch(`${host.url}/runtime/webhooks/durabletask/entities/a/b?code=${host.keys.system}`)).status).toBe(501);
  });
});

test("timers go by the clock as it is: set forward and back again, they neither stand still nor come all at once", async () => {
  const ticks = async (more: number): Promise<number> => {
    const [from, startedAt] = [runs["tick"] ?? 0, performance.now()];
    await until(() => (runs["tick"] ?? 0) >= from + more);
    return performance.now() - startedAt;
  };
  await startNew("ticks", {}, "ticks");
  await ticks(2);
  setBy = 3 * 3_600_000;
  await ticks(2);
  setBy = 0;
  // The timer that was set while the clock was wrong is hours away; another wakes it, as the service's nudges do.
  await client("terminate", "ticks", "again");
  await ended("ticks");
  await startNew("ticks", {}, "ticks");
  expect(await ticks(5)).toBeGreaterThan(350);
  await client("terminate", "ticks", "enough");
  await ended("ticks");
});

test("a restart finds the instances where they were", async () => {
  const before = host;
  await startNew("waits", {}, "survivor");
  await until(() => instance("survivor")?.status === "Running");
  await before.stop();
  host = await startHost({ loadFunctions: () => {}, hostJson, port: 0, dataDir, log, drainMs: 200 });
  await client("raiseEvent", "survivor", "first", "a");
  await client("raiseEvent", "survivor", "second", "b");
  expect(await output("survivor")).toEqual(["a", "b"]);
});

test("two hosts cannot share a folder", async () => {
  await expect(startHost({ loadFunctions: () => {}, hostJson, port: 0, dataDir, log })).rejects.toThrow("another host");
});
