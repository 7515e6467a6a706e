// The service on Azure's parts when these do not do what they should, and when several copies of it share the work: every task
// completes exactly once, by the stored events.
import { mkdtempSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import path from "node:path";
import { createClient } from "../../src/cli/client";
import { azureParts } from "../support/azure";
import { completionsOf } from "../support/completions";
import { openFrontDoor } from "../support/frontDoor";
import { type Running, allCompleted, compose, kill, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

const TASKS = 300;
const tasks = (commandLine: string) => Array.from({ length: TASKS }, (_, index) => ({ name: `t${index}`, commandLine }));
const azure = azureParts("scaleSets");
compose(azure);
afterAll(() => azure.close());

test("5 % of the calls to Cosmos DB fail, some after they were carried out, and messages come twice: 300 tasks complete exactly once", async () => {
  const data = newData();
  const service = await start(data);
  const { gateway, broker } = await azure.standIns(data);
  try {
    await pool(service.client, "main", 2, 4);
    await workItem(service.client, "faulty", "main");
    gateway.fail({ rate: 0.05, seed: 11 });
    broker.setFaults({ seed: 11, repeat: 0.2 });
    const added = await service.client.addTasks("faulty", "job-0000000001", tasks("/bin/true"));
    expect(added).toMatchObject({ added: TASKS, failed: 0 });
    const counts = await allCompleted(service.client, "faulty", TASKS, 120_000);
    expect(gateway.failed).toEqual({ throttled: expect.any(Number), unavailable: expect.any(Number), lost: expect.any(Number) });
    expect(Math.min(...Object.values(gateway.failed))).toBeGreaterThan(0);
    expect(broker.totals().faults).toBeGreaterThan(0);
    gateway.fail();
    broker.setFaults(undefined);
    expect(counts).toMatchObject({ active: 0, assigned: 0, running: 0, completed: TASKS, failed: 0 });
    expect(await completionsOf(await azure.standIns(data), "faulty")).toEqual({ tasks: TASKS, wrong: [] });
  } finally {
    await stop(service);
    await removeData(data);
  }
});

/** Who holds what, by the task hub that the copies share. */
const holdersIn = (hub: string): Map<string, string[]> => {
  const database = new DatabaseSync(path.join(hub, "taskhub.db"), { readOnly: true });
  const rows = database.prepare("SELECT share, owner FROM leases WHERE owner IS NOT NULL AND until>?").all(Date.now()) as { share: string; owner: string }[];
  database.close();
  const holders = new Map<string, string[]>();
  for (const { share, owner } of rows) holders.set(owner, [...(holders.get(owner) ?? []), share]);
  return holders;
};

test("two copies share Cosmos DB, Service Bus and the task hub; one is killed in the middle: nothing is lost, every task completes exactly once", async () => {
  const data = newData();
  const shared = mkdtempSync(path.join(data, "shared-"));
  const front = await openFrontDoor();
  const copies: Running[] = [];
  const launch = async (name: string): Promise<void> => void copies.push(await start(data, [JSON.stringify({ data: path.join(data, name), shared, url: front.url })]));
  try {
    await Promise.all([launch("one"), launch("two")]);
    front.use(copies.map(({ url }) => url));
    const [first, second] = copies as [Running, Running];
    const client = createClient({ url: front.url, account: first.account, key: first.key });
    // Each has about half of the orchestrations (four shares) and of the feed (four ranges).
    await until(async () => [...holdersIn(shared).values()].map((shares) => shares.length).join() === "4,4", "the copies share evenly");
    await pool(client, "main", 2, 4);
    await workItem(client, "shared", "main");
    expect(await client.addTasks("shared", "job-0000000001", tasks("/bin/sleep 0.02"))).toMatchObject({ added: TASKS, failed: 0 });
    await until(async () => (await client.counts("shared", "job-0000000001")).completed >= 60, "60 tasks completed");
    await kill(first);
    front.use([second.url]);
    expect(Math.min(...copies.map(({ url }) => front.answered.get(url) ?? 0))).toBeGreaterThan(5);
    const counts = await allCompleted(client, "shared", TASKS, 120_000);
    expect(counts).toMatchObject({ active: 0, assigned: 0, running: 0, completed: TASKS, failed: 0 });
    expect(await completionsOf(await azure.standIns(data), "shared")).toEqual({ tasks: TASKS, wrong: [] });
    // The orchestrations of the killed one go on: a pool goes and a job ends only by them.
    await client.deleteWorkItem("shared");
    await client.deletePool("main");
    await until(async () => client.getPool("main").then(() => false, (error: { code?: string }) => error.code === "PoolNotFound"), "the pool is gone");
    await until(async () => client.getWorkItem("shared").then(() => false, (error: { code?: string }) => error.code === "WorkItemNotFound"), "the work item is gone");
    expect([...holdersIn(shared).values()].map((shares) => shares.length)).toEqual([8]);
    client.close();
  } finally {
    for (const copy of copies) if (copy.process.exitCode === null && copy.process.signalCode === null) await stop(copy);
    await front.close();
    await removeData(data);
  }
});
