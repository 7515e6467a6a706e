// A job manager that has to run again goes first: when no TVM of its pool has room, a task that runs there is requeued for it
// (seed; reference 5.10). Its own job's tasks are taken first, then those of jobs of lower priority; never those of others, since
// between jobs the priority alone counts, and never another manager. At its first start it waits its turn: what runs is left alone.
import { lastOf, parentOf, poolKey, taskStream, tvmKey } from "../domain/ids";
import { usable } from "../domain/tvm";
import type { Ports } from "../ports";
import { type JobRow, jobs } from "../views/jobs";
import { type TaskRow, parseHeld, restartsIn, tasks } from "../views/tasks";
import { type TvmRow, tvms } from "../views/tvms";
import { assign, rowsOf } from "./assign";
import { type Order, executeAll } from "./execute";
import { HOLD_MAX } from "./holding";

/** Managers helped in one run, and TVMs that are looked at for each. */
const MANAGERS_MAX = 8;
const TVMS_MAX = 64;

export const makeRoomForManagers = async (ports: Ports, pool: string, at: string): Promise<void> => {
  const waiting = await ports.views.keys(tasks, { ...restartsIn(pool), limit: MANAGERS_MAX });
  for (const key of waiting) await makeRoom(ports, pool, key.slice(key.indexOf("/") + 1), at);
};

const makeRoom = async (ports: Ports, pool: string, key: string, at: string): Promise<void> => {
  const [manager] = await ports.views.get(tasks, [tasks.locate(key)]);
  const [job] = await ports.views.get(jobs, [jobs.locate(parentOf(key))]);
  if (manager?.phase !== "active" || job?.phase !== "active" || poolKey(job.account, job.pool) !== pool) return;
  const chosen = choose(await busyTvms(ports, pool), key, job.spec.priority, manager.spec.exclusive === true);
  if (!chosen) return;
  const orders = chosen.victims.map((row): Order<"task"> => {
    const stream = taskStream(`${row.job}.${row.id}`);
    // What the TVM only holds was never seen to run: it goes back without being counted.
    return row.phase === "assigned"
      ? { stream, command: { type: "ReturnTask", at, attempt: row.attempt, tvm: chosen.tvm } }
      : { stream, command: { type: "RequeueTask", at, attempt: row.attempt, reason: "roomForJobManager" } };
  });
  await executeAll(ports, "task", "service", orders);
  ports.log.info("tasks were requeued to make room for a job manager", { manager: key, tvm: chosen.tvm, tasks: chosen.victims.length });
  // The TVM may have been lost, or told to leave, since it was looked at.
  await assign(ports, pool, [{ job: parentOf(key), task: lastOf(key), tvm: chosen.tvm }], await rowsOf(ports, [chosen.tvm]), at);
};

interface Busy {
  readonly tvm: string;
  readonly row: TvmRow;
  readonly held: readonly TaskRow[];
  /** Of the job of each task that it holds. */
  readonly priorities: ReadonlyMap<string, number>;
}

const busyTvms = async (ports: Ports, pool: string): Promise<Busy[]> => {
  const found = await ports.views.query(tvms, { index: "pool", prefix: `${pool}/`, limit: TVMS_MAX });
  const rows = found.map(({ row }) => row).filter(usable);
  const held = await Promise.all(rows.map((row) => heldBy(ports, tvmKey(row.account, row.pool, row.name))));
  const names = [...new Set(held.flat().map(({ job }) => job))];
  const jobRows = await ports.views.get(jobs, names.map((job) => jobs.locate(job)));
  const priorities = new Map(names.flatMap((job, index) => (jobRows[index] ? [[job, (jobRows[index] as JobRow).spec.priority] as const] : [])));
  return rows.map((row, index) => ({ tvm: tvmKey(row.account, row.pool, row.name), row, held: held[index] as TaskRow[], priorities }));
};

const heldBy = async (ports: Ports, tvm: string): Promise<TaskRow[]> => {
  const keys = await ports.views.keys(tasks, { index: "tvm", prefix: `${tvm}/`, limit: HOLD_MAX });
  const rows = await ports.views.get(tasks, keys.map((key) => tasks.locate(parseHeld(key).task)));
  return rows.flatMap((row) => (row && (row.phase === "assigned" || row.phase === "running") ? [row] : []));
};

interface Choice {
  readonly tvm: string;
  readonly victims: readonly TaskRow[];
}

const choose = (busy: readonly Busy[], manager: string, priority: number, exclusive: boolean): Choice | undefined => {
  const job = parentOf(manager);
  const mayGo = (row: TaskRow, { priorities }: Busy): boolean =>
    !row.spec.manager && (row.job === job || (priorities.get(row.job) ?? priority) < priority);
  if (exclusive) {
    const clear = busy.filter((one) => one.held.length > 0 && one.held.every((row) => mayGo(row, one)));
    const [best] = clear.sort((a, b) => a.held.length - b.held.length || (a.tvm < b.tvm ? -1 : 1));
    return best && { tvm: best.tvm, victims: best.held };
  }
  const single = busy.flatMap((one) => (one.held.some(({ spec }) => spec.exclusive) ? [] : one.held.filter((row) => mayGo(row, one)).map((victim) => ({ one, victim }))));
  const rank = ({ one, victim }: (typeof single)[number]): readonly [number, number, number] => [
    victim.job === job ? 0 : 1,
    one.priorities.get(victim.job) ?? priority,
    // One that runs has a slot to give; the latest has least to lose.
    victim.phase === "running" ? -Date.parse(victim.startedAt ?? victim.createdAt) : 1,
  ];
  const [best] = single.map((entry) => ({ ...entry, by: rank(entry) })).sort((a, b) => a.by[0] - b.by[0] || a.by[1] - b.by[1] || a.by[2] - b.by[2]);
  return best && { tvm: best.one.tvm, victims: [best.victim] };
};
