// A network that refuses, cuts, drags and falls silent, between agents and the service and between clients and the service at the same
// time, with real processes: what is asked again is done once, every task runs and is counted once.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { createClient } from "../../src/cli/client";
import { ServiceError } from "../../src/cli/failures";
import { type Fault, type Proxy, openProxy } from "../faults/proxy";
import { JOB, type Running, allCompleted, newData, removeData, start, stop, until, verify } from "../support/service";

let data: string;
let service: Running | undefined;
const proxies: Proxy[] = [];

beforeEach(() => {
  data = newData();
});
afterEach(async () => {
  if (service) await stop(service);
  service = undefined;
  for (const proxy of proxies.splice(0)) await proxy.close();
  await removeData(data);
});

const TASKS = 150;
/** The silence of a connection is noticed by its time limit alone, so one is enough. */
const plan = (order: readonly Fault[]) => (connection: number): Fault => {
  const fault = order[connection % order.length] as Fault;
  return fault === "mute" && connection >= order.length ? "short" : fault;
};

test("refused, cut, slow and silent connections of agents and of a client: all is done once", async () => {
  const notes = path.join(data, "notes");
  mkdirSync(notes);
  chmodSync(notes, 0o777);
  service = await start(data);
  const agents = await openProxy(service.url, plan(["short", "cutAnswer", "refuse", "mute", "slow", "short"]));
  const clients = await openProxy(service.url, plan(["cutAnswer", "refuse", "slow", "mute", "short"]));
  proxies.push(agents, clients);
  // Agents read where the service is from here.
  const endpoint = path.join(data, "service.json");
  writeFileSync(endpoint, JSON.stringify({ ...(JSON.parse(readFileSync(endpoint, "utf8")) as object), url: agents.url }));

  const far = createClient({ url: clients.url, account: service.account, key: service.key }, { patienceMs: 5_000, timeoutMs: 2_000 });
  /** Until it is done: what was done, and whose answer was lost, is there already. */
  const sure = (act: () => Promise<unknown>, there: string): Promise<boolean> =>
    until(() => act().then(() => true, (error: unknown) => error instanceof ServiceError && error.code === there), there);
  await sure(() => far.createPool({ name: "main", tvmSize: "small", osFamily: "4", targetDedicated: 2, maxTasksPerTVM: 4 }), "PoolExists");
  await sure(() => far.createWorkItem({ name: "w", jobExecutionEnvironment: { poolName: "main" } }), "WorkItemExists");
  await until(() => far.getJob("w", JOB).then(() => true, () => false), "the job");
  const command = `/bin/sh -c 'umask 0; echo "$WATASK_TASK_NAME" >> ${notes}/runs'`;
  const sent = await far.addTasks("w", JOB, Array.from({ length: TASKS }, (_, index) => ({ name: `t${index}`, commandLine: command })));
  expect(sent).toMatchObject({ failed: 0 });
  expect(sent.added + sent.existing).toBe(TASKS);
  const unmet = ({ met }: Proxy): string[] => Object.entries(met).filter(([fault, times]) => fault !== "pass" && times === 0).map(([fault]) => fault);
  const readAll = async (): Promise<number> => {
    let found = 0;
    for await (const task of far.listTasks("w", JOB, { pageSize: 20 })) found += task.name === "" ? 0 : 1;
    return found;
  };
  // Reading goes on until each fault was met; what is read whole is all there is.
  await until(async () => (await readAll().catch(() => TASKS)) === TASKS && unmet(clients).length === 0, "each fault was met");
  far.close();

  const counts = await allCompleted(service.client, "w", TASKS);
  expect(counts).toMatchObject({ completed: TASKS, failed: 0, retries: 0, requeues: 0, active: 0, assigned: 0, running: 0 });
  const ran = readFileSync(path.join(notes, "runs"), "utf8").trim().split("\n");
  expect([ran.length, new Set(ran).size]).toEqual([TASKS, TASKS]);
  expect([unmet(agents), unmet(clients)]).toEqual([[], []]);
  expect(await stop(service)).toBe(0);
  service = undefined;
  expect(await verify(data)).toMatchObject({ code: 0, found: { problems: 0 } });
});
