// One short life of a service, with real processes, that is cut short at a numbered point of the service or of its agent (faults/killAt.js),
// taken up again, and looked over: what was acknowledged is there, each task completed once and is counted once, nothing is stuck, nothing
// is left running, and the data folder is whole.
import { chmodSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { type Client, createClient } from "../../src/cli/client";
import { ServiceError } from "../../src/cli/failures";
import { type KillAt, switches } from "../faults/preload";
import { JOB, type Running, agentPids, ended, newData, removeData, start, stop, until, verify } from "../support/service";

export interface Played {
  /** Which point it was; absent: the run had no such point. */
  readonly died?: string;
  /** Names of the points of a run in which nobody died. */
  readonly names: readonly string[];
}

/** Plays the life and throws an Error that says what does not hold. `at` 0 kills nobody. */
export const playPoint = async (role: KillAt["role"], at: KillAt["at"], keep = false): Promise<Played> => {
  const data = newData();
  const [marker, names] = [path.join(data, "died"), path.join(data, "names")];
  const life = await begin(data, switches(data, { killAt: { role, at, marker, names } }));
  try {
    await live(life);
    await settle(life, role, () => existsSync(marker));
    const lines = existsSync(names) ? readFileSync(names, "utf8").trim().split("\n") : [];
    const longest = lines.map((line) => JSON.parse(line) as string[]).toSorted((a, b) => b.length - a.length)[0];
    return { ...(existsSync(marker) ? { died: readFileSync(marker, "utf8").trim() } : {}), names: longest ?? [] };
  } catch (error) {
    const died = existsSync(marker) ? readFileSync(marker, "utf8").trim() : "nobody died";
    throw new Error(`${role} at ${at} (${died}): ${(error as Error).message}${keep ? ` (${data})` : ""}\n${life.said()}`, { cause: error });
  } finally {
    await life.end();
    if (!keep) await removeData(data);
  }
};

// ---------------------------------------------------------------- a service that may die

interface Life {
  readonly data: string;
  readonly notes: string;
  client(): Client;
  /**
   * Does it, again after a broken connection, until the service has said yes, or that it is done. `holds`: true from then on, until
   * something is done that is `against` it.
   */
  sure(what: string, act: (client: Client) => Promise<unknown>, done: readonly string[], holds: (client: Client) => Promise<boolean>, against?: string): Promise<void>;
  look<T>(what: string, read: (client: Client) => Promise<T | undefined | false>): Promise<T>;
  said(): string;
  end(): Promise<number | null>;
}

const BOUND_MS = 60_000;

const begin = async (data: string, flags: readonly string[]): Promise<Life> => {
  const notes = path.join(data, "notes");
  mkdirSync(notes);
  chmodSync(notes, 0o777);
  const promises = new Map<string, (client: Client) => Promise<boolean>>();
  let running: Running | undefined;
  let client: Client | undefined;
  let said = "";
  const open = async (withFlags: readonly string[]): Promise<void> => {
    // It may die before it is ready; whoever follows lives.
    running = await start(data, [], withFlags).catch(() => start(data));
    client = createClient(running, { patienceMs: 0 });
  };
  /** After a broken connection: the same service, or the next with all that was promised. */
  const mended = async (): Promise<void> => {
    const { process: child } = running as Running;
    await Promise.race([ended(child), new Promise((resolve) => setTimeout(resolve, 100))]);
    if (child.exitCode === null && child.signalCode === null) return;
    said += (running as Running).said();
    client?.close();
    await open([]);
    for (const [what, holds] of promises) if (!(await holds(client as Client))) throw new Error(`was acknowledged and is lost: ${what}`);
  };
  await open(flags);

  const trying = async <T>(what: string, act: (client: Client) => Promise<T>): Promise<T> => {
    for (const deadline = performance.now() + BOUND_MS; ; ) {
      try {
        return await act(client as Client);
      } catch (error) {
        if (error instanceof ServiceError && error.status < 500) throw error;
        if (performance.now() > deadline) throw new Error(`not within ${BOUND_MS} ms: ${what}`, { cause: error });
        await mended();
      }
    }
  };
  return {
    data,
    notes: path.join(notes, "runs"),
    client: () => client as Client,
    async sure(what, act, done, holds, against) {
      if (against !== undefined) promises.delete(against);
      await trying(what, act).catch((error: unknown) => {
        if (!(error instanceof ServiceError && done.includes(error.code))) throw error;
      });
      promises.set(what, holds);
    },
    look: (what, read) => until(() => trying(what, read), what, BOUND_MS),
    said: () => `${said}${running?.said() ?? ""}`.split("\n").slice(-15).join("\n"),
    async end() {
      client?.close();
      if (!running) return null;
      let code = await stop(running);
      if (code === null) {
        // It died while it stopped, or before: whoever follows stops as it should.
        await open([]);
        client?.close();
        code = await stop(running);
      }
      running = undefined;
      return code;
    },
  };
};

// ---------------------------------------------------------------- what happens in it

const TASKS = 6;
const is = (code: string, act: Promise<unknown>): Promise<boolean> =>
  act.then(() => false, (error: unknown) => {
    if (error instanceof ServiceError) return error.code === code;
    throw error;
  });
const there = (act: Promise<unknown>): Promise<boolean> => act.then(() => true);

const live = async (life: Life): Promise<void> => {
  const noting = (work: string): string => `/bin/sh -c 'umask 0; echo "+ $WATASK_TASK_NAME" >> ${life.notes}; ${work}; echo "- $WATASK_TASK_NAME" >> ${life.notes}'`;
  const input = Buffer.from("from far away\n");
  await life.sure("a pool", (client) => client.createPool({ name: "main", tvmSize: "small", osFamily: "4", targetDedicated: 2, maxTasksPerTVM: 2 }), ["PoolExists"], (client) => there(client.getPool("main")));
  let source = "";
  await life.sure("a file", async (client) => {
    const address = await client.fileAddress("input", "in.txt");
    source = address.readUrl;
    await client.upload(address, input, input.length).catch((error: unknown) => {
      throw error instanceof ServiceError && error.status < 500 ? new Error(error.message) : error;
    });
  }, [], async (client) => (await client.listStored("input")).length === 1);
  await life.sure("a work item", (client) => client.createWorkItem({ name: "w", jobExecutionEnvironment: { poolName: "main" } } as never), ["WorkItemExists"], (client) => there(client.getWorkItem("w")));
  await life.look("the job", (client) => client.getJob("w", JOB).catch(absent));
  for (let index = 0; index < TASKS; index++) {
    const task = { name: `t${index}`, commandLine: noting(index === 1 ? `cat in.txt` : "true"), ...(index === 1 ? { resourceFiles: [{ blobSource: source, filePath: "in.txt" }] } : {}) };
    await life.sure(`task ${index}`, (client) => client.addTask("w", JOB, task), ["TaskExists"], (client) => there(client.getTask("w", JOB, `t${index}`)));
  }
  const retried = { name: "retried", commandLine: `/bin/sh -c 'umask 0; echo "+ $WATASK_TASK_NAME" >> ${life.notes}; exit 3'`, taskConstraints: { maxTaskRetryCount: 1 } };
  await life.sure("a task that fails", (client) => client.addTask("w", JOB, retried), ["TaskExists"], (client) => there(client.getTask("w", JOB, "retried")));
};

const absent = (error: unknown): undefined => {
  if (error instanceof ServiceError && error.status === 404) return undefined;
  throw error;
};

const settle = async (life: Life, role: KillAt["role"], died: () => boolean): Promise<void> => {
  const counts = await life.look("all tasks completed", async (client) => {
    const found = await client.counts("w", JOB);
    return found.completed === TASKS + 1 && found;
  });
  same("counts", { ...counts, cpuMs: 0, requeues: 0 }, { active: 0, assigned: 0, running: 0, completed: TASKS + 1, failed: 1, retries: 1, requeues: 0, cpuMs: 0 });
  if (!died() && counts.requeues > 0) throw new Error("a task was requeued, and nobody had died");
  for (let index = 0; index < TASKS; index++) await completedOnce(life, `t${index}`);
  await completedOnce(life, "retried");
  ranRightly(life.notes, role, counts.requeues);
  await life.sure("the deletion of a task", (client) => client.deleteTask("w", JOB, "t0"), ["TaskNotFound"], (client) => is("TaskNotFound", client.getTask("w", JOB, "t0")), "task 0");
  await life.sure("the job's termination", (client) => client.terminateJob("w", JOB), ["JobBeingTerminated", "JobCompleted"], async (client) => (await client.getJob("w", JOB)).state !== "active");
  await life.look("the job completed", async (client) => (await client.getJob("w", JOB)).state === "completed");
  await life.sure("the pool's deletion", (client) => client.deletePool("main"), ["PoolBeingDeleted", "PoolNotFound"], async (client) => (await client.getPool("main").catch(absent))?.state !== "active", "a pool");
  await life.look("the pool gone", async (client) => (await client.getPool("main").catch(absent)) === undefined);
  await until(async () => agentPids(life.data).length === 0, "no agent left", BOUND_MS);
  same("exit code of the service", await life.end(), 0);
  const { code, found, err } = await verify(life.data);
  same("verify", { code, faults: found?.faults }, { code: 0, faults: [] });
  if (err !== "") throw new Error(`verify says ${err}`);
};

const completedOnce = async (life: Life, task: string): Promise<void> => {
  const history = await life.look(`history of ${task}`, (client) => client.history(["workitems", "w", "jobs", JOB, "tasks", task]));
  const events = history.flatMap((commit) => commit.events as readonly { type: string; attempt?: number }[]);
  const completed = events.filter(({ type }) => type === "TaskCompleted");
  const given = events.filter(({ type }) => type === "TaskAssigned");
  if (completed.length !== 1 || completed[0]?.attempt !== given.at(-1)?.attempt) throw new Error(`${task} did not complete once: ${JSON.stringify(events.map(({ type, attempt }) => `${type} ${attempt ?? ""}`))}`);
};

/** While the agent lives, its TVMs run each attempt once; one whose agent died runs again, after it and never beside it. */
const ranRightly = (notes: string, role: KillAt["role"], requeues: number): void => {
  const runs = new Map<string, { begun: number; ended: number }>();
  for (const line of readFileSync(notes, "utf8").trim().split("\n")) {
    const [mark, name] = line.split(" ") as [string, string];
    const run = runs.get(name) ?? { begun: 0, ended: 0 };
    if (mark === "+") run.begun++;
    else run.ended++;
    runs.set(name, run);
  }
  same("tasks that ran", runs.size, TASKS + 1);
  for (const [name, { begun, ended: done }] of runs) {
    const least = name === "retried" ? 2 : 1;
    if (begun < least || (name !== "retried" && done < 1)) throw new Error(`${name} ran ${begun} times and came to its end ${done} times`);
    if (role === "service" && requeues === 0 && begun > least) throw new Error(`${name} ran ${begun} times, though its agent lived`);
  }
};

const same = (what: string, found: unknown, wanted: unknown): void => {
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`${what}: ${JSON.stringify(found)} and not ${JSON.stringify(wanted)}`);
};
