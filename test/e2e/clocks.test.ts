// Clocks that are set and agents that stand still, with real processes. Times are short (faults/shortTimes.js), rules are not: no TVM that
// runs is lost because of a clock, one that stands still is lost all the same, its tasks run elsewhere once, and it changes nothing when
// it is back.
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Client } from "../../src/cli/client";
import type { TvmResource } from "../../src/cli/resources";
import { switches } from "../faults/preload";
import { JOB, type Running, agentPids, allCompleted, newData, pool, removeData, start, stop, until, verify, workItem } from "../support/service";

let data: string;
let service: Running | undefined;
let stopped: number | undefined;

beforeEach(() => {
  data = newData();
});
afterEach(async () => {
  if (stopped !== undefined) process.kill(stopped, "SIGCONT");
  stopped = undefined;
  if (service) await stop(service);
  service = undefined;
  await removeData(data);
});

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const times = { heartbeatMs: 1_000, selfStopMs: 4_000, lostAfterMs: 6_000 };

/** A folder that tasks may write to, and what they wrote: a line when a run begins, with its process, and one when it ends. */
const openNotes = () => {
  const folder = path.join(data, "notes");
  mkdirSync(folder);
  chmodSync(folder, 0o777);
  const [file, gate] = [path.join(folder, "runs"), path.join(folder, "gate")];
  const lines = (): string[][] => (existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").filter(Boolean).map((line) => line.split(" ")) : []);
  return {
    /** Runs until the gate is open. */
    command: `/bin/sh -c 'umask 0; echo "+ $WATASK_TASK_NAME $$ $WATASK_TVM_NAME" >> ${file}; while [ ! -e ${gate} ]; do sleep 0.1; done; echo "- $WATASK_TASK_NAME $$" >> ${file}'`,
    openGate: () => writeFileSync(gate, ""),
    begun: () => lines().filter(([mark]) => mark === "+").map(([, task, pid, tvm]) => ({ task: task as string, pid: Number(pid), tvm: tvm as string })),
    ended: () => lines().filter(([mark]) => mark === "-").map(([, task]) => task as string).sort(),
  };
};

/** Not a zombie either. */
const runs = (pid: number): boolean => existsSync(`/proc/${pid}/stat`) && !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));

const tvmsOf = async (client: Client, filter?: string): Promise<TvmResource[]> => {
  const found: TvmResource[] = [];
  for await (const tvm of client.listTvms("main", filter === undefined ? {} : { filter })) found.push(tvm);
  return found;
};
const idle = async (client: Client, count: number): Promise<boolean> => (await tvmsOf(client, "state eq 'idle'")).length === count;

/** The pool grows twice, so that its TVMs are in two processes. Answers which process a TVM is in. */
const twoAgents = async ({ client }: Running): Promise<(tvm: string) => number> => {
  await pool(client, "main", 1, 4);
  await until(() => idle(client, 1), "the first TVM is idle");
  const [first] = agentPids(data);
  const [{ name }] = (await tvmsOf(client)) as [TvmResource];
  await until(async () => (await client.getPool("main")).allocationState === "steady", "the pool is steady");
  await client.resizePool("main", { targetDedicated: 2 });
  await until(() => idle(client, 2), "the second TVM is idle");
  const second = agentPids(data).find((pid) => pid !== first);
  return (tvm) => (tvm === name ? first : second) as number;
};

test("clocks that are set by minutes and hours, and an agent that stands still: nothing is lost by a clock, what is lost runs elsewhere once", async () => {
  const clocks = { service: path.join(data, "service.clock"), agent: path.join(data, "agent.clock") };
  const notes = openNotes();
  service = await start(data, [], switches(data, { shortTimes: times, wrongClock: clocks }));
  const { client, said } = service;
  const agentOf = await twoAgents(service);
  await workItem(client, "w", "main");
  const names = ["a", "b", "c", "d"];
  await client.addTasks("w", JOB, names.map((name) => ({ name, commandLine: notes.command, taskConstraints: { maxWallClockTime: "PT1H" } })));
  await until(async () => notes.begun().length === 4 && (await client.counts("w", JOB)).running === 4, "four tasks run");

  // Forward: the sweep sees heartbeats of ten minutes ago; the agents see an hour's limit pass, by their clock.
  writeFileSync(clocks.service, String(10 * MINUTE));
  writeFileSync(clocks.agent, String(3 * HOUR));
  const set = (): number => said().split("the clock was set").length - 1;
  await until(async () => set() === 1, "the service notices that its clock was set");
  expect(await client.counts("w", JOB)).toMatchObject({ running: 4, requeues: 0, completed: 0 });

  // Back, by more than that; and now one agent stands still.
  writeFileSync(clocks.service, String(-10 * MINUTE));
  writeFileSync(clocks.agent, String(-3 * HOUR));
  const still = agentOf(notes.begun()[0]?.tvm as string);
  stopped = still;
  process.kill(still, "SIGSTOP");
  await until(async () => (await client.counts("w", JOB)).requeues > 0, "the TVM of the agent that stands still is lost");
  await until(async () => (await client.counts("w", JOB)).running === 4, "its tasks run elsewhere");
  const again = notes.begun().slice(4);
  const old = notes.begun().filter(({ task }, index) => index < 4 && again.some((other) => other.task === task));
  expect(again.map(({ task }) => task).sort()).toEqual(old.map(({ task }) => task).sort());
  expect(again.map(({ tvm }) => agentOf(tvm))).not.toContain(still);
  expect(new Set(again.map(({ task }) => task)).size).toBe(again.length);

  // It is back: it ends what is not its own any more, and nothing is changed by what it says.
  process.kill(still, "SIGCONT");
  stopped = undefined;
  await until(async () => old.every(({ pid }) => !runs(pid)), "the old runs are ended");
  await client.addTask("w", JOB, { name: "limited", commandLine: "/bin/sleep 600", taskConstraints: { maxWallClockTime: "PT1S" } });
  notes.openGate();
  const counts = await allCompleted(client, "w", 5);
  expect(counts).toMatchObject({ completed: 5, failed: 1, retries: 0, requeues: again.length, active: 0, running: 0 });
  expect((await client.getTask("w", JOB, "limited")).executionInfo?.schedulingError).toMatchObject({ code: "TaskEnded" });
  expect(notes.ended()).toEqual(names);
  expect(notes.begun()).toHaveLength(4 + again.length);
  await until(() => idle(client, 2), "both TVMs are idle");
  expect(JSON.stringify(await client.stats("workitems", "w", "jobs", JOB))).not.toMatch(/"-/);
  expect(await stop(service)).toBe(0);
  service = undefined;
  expect(await verify(data)).toMatchObject({ code: 0, found: { problems: 0 } });
}, 120_000);
