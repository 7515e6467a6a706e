// Placement of one pool: gathers who has room and what waits, asks the domain who gets what, assigns, and tells the TVMs.
// Runs one at a time per pool (the lane of the queue `wakes`). The work is in what is placed, not in how much waits or how
// many TVMs there are: only TVMs that may have room are looked at, and only the head of each job's queue.
import { parentOf, poolKey, poolStream } from "../domain/ids";
import { awaitsManager, expiredBefore } from "../domain/job";
import { type Placed, type TvmRoom, type WaitingJob, type WaitingTask, place } from "../domain/placement";
import { usable } from "../domain/tvm";
import type { Ports } from "../ports";
import { type RoomRow, rooms } from "../views/errands";
import { type JobRow, jobs } from "../views/jobs";
import { pools } from "../views/pools";
import { isExclusive, parseQueued, queuedSince, tasks } from "../views/tasks";
import { type TvmRow, tvms } from "../views/tvms";
import { assign, isUsable, rowsOf } from "./assign";
import { HOLD_MAX } from "./holding";
import { makeRoomForManagers } from "./makeRoom";
import { type Wake, wake } from "./wakes";

/** TVMs looked at in one run, beside those that said that they have room. */
const ROOMS_MAX = 64;
/** Tasks placed in one run; more is for the next. */
const PLACE_MAX = 512;
/** Active jobs of a pool that placement looks at. */
const JOBS_MAX = 1000;

export const schedulePool = async (ports: Ports, pool: string, wakes: readonly Wake[], at: string): Promise<void> => {
  const [poolRow] = await ports.views.get(pools, [pools.locate(pool)]);
  if (!poolRow || poolRow.gone) return;
  const fill = poolRow.spec.fillType;
  const open = await gatherRooms(ports, pool, wakes, fill);
  const space = open.reduce((sum, { room }) => sum + Math.max(0, room.capacity - room.held), 0);
  const waiting = space > 0 ? await gatherJobs(ports, pool, Math.min(space, PLACE_MAX)) : [];
  const candidates = [...open, ...(await wishedRooms(ports, pool, waiting, open, fill))];
  const { placed, looked } = await choose(ports, candidates, waiting, fill);
  const assigned = await assign(ports, pool, placed, looked, at);
  await keepRooms(ports, pool, candidates, assigned);
  if (space === 0 || waiting.some((job) => job.waiting[0]?.manager && !placed.some(({ task }) => task === job.waiting[0]?.task)))
    await makeRoomForManagers(ports, pool, at);
  // What was not assigned after all (its task was ended meanwhile) has left room for another.
  if (placed.length >= PLACE_MAX || assigned.length < placed.length) await wake(ports, [{ pool, tvms: [] }]);
};

/**
 * Who gets what. TVMs that are chosen are looked at once more: where some are lost meanwhile, all is chosen anew without them, for what
 * was first in turn would else wait, and others behind it run.
 */
const choose = async (ports: Ports, candidates: readonly Candidate[], waiting: readonly WaitingJob[], fill: "Spread" | "Pack"): Promise<{ placed: Placed[]; looked: ReadonlyMap<string, TvmRow> }> => {
  const looked = new Map<string, TvmRow>();
  let open = candidates.map(({ room }) => room);
  for (;;) {
    const placed = place(open, waiting, fill);
    const chosen = [...new Set(placed.map(({ tvm }) => tvm))].filter((tvm) => !looked.has(tvm));
    if (chosen.length > 0) for (const [tvm, row] of await rowsOf(ports, chosen)) looked.set(tvm, row);
    const lost = chosen.filter((tvm) => !isUsable(looked.get(tvm)));
    if (lost.length === 0) return { placed, looked };
    open = open.filter(({ tvm }) => !lost.includes(tvm));
  }
};

interface Candidate {
  readonly room: TvmRoom;
  readonly stored: RoomRow | undefined;
}

const gatherRooms = async (ports: Ports, pool: string, wakes: readonly Wake[], fill: "Spread" | "Pack"): Promise<Candidate[]> => {
  const wished = new Map<string, number | undefined>();
  for (const { tvms: hinted } of wakes) for (const { tvm, capacity } of hinted) wished.set(tvm, capacity ?? wished.get(tvm));
  const open = await ports.views.query(rooms, { index: fill === "Spread" ? "spread" : "pack", prefix: `${pool}/`, limit: ROOMS_MAX });
  for (const { row } of open) if (!wished.has(row.tvm)) wished.set(row.tvm, undefined);
  return lookAt(ports, pool, wished);
};

/** TVMs that waiting tasks would like and that have room, should they not be among those already looked at. */
const wishedRooms = async (ports: Ports, pool: string, jobsWaiting: readonly WaitingJob[], open: readonly Candidate[], fill: "Spread" | "Pack"): Promise<Candidate[]> => {
  const known = new Set(open.map(({ room }) => room.tvm));
  const wished = new Set<string>();
  for (const { waiting } of jobsWaiting) for (const { affinity } of waiting) if (affinity !== undefined && !known.has(affinity)) wished.add(affinity);
  const stored = await ports.views.get(rooms, [...wished].map((tvm) => ({ partition: pool, id: tvm })));
  const found = new Map<string, undefined>(stored.flatMap((row) => (row && row.free > 0 ? [[row.tvm, undefined] as const] : [])));
  // Packing looks at the fullest TVMs first; who wants one to itself looks for the emptiest.
  if (fill === "Pack" && jobsWaiting.some(({ waiting }) => waiting.some(({ exclusive }) => exclusive)))
    for (const { row } of await ports.views.query(rooms, { index: "spread", prefix: `${pool}/`, limit: 1 })) if (!known.has(row.tvm)) found.set(row.tvm, undefined);
  return found.size === 0 ? [] : lookAt(ports, pool, found);
};

/** The TVMs as they are now; beside each name how much it has just said that it would hold. */
const lookAt = async (ports: Ports, pool: string, wished: ReadonlyMap<string, number | undefined>): Promise<Candidate[]> => {
  const names = [...wished.keys()].filter((tvm) => parentOf(tvm) === pool);
  const [rows, stored, held] = await Promise.all([
    ports.views.get(tvms, names.map((tvm) => tvms.locate(tvm))),
    ports.views.get(rooms, names.map((tvm) => ({ partition: pool, id: tvm }))),
    Promise.all(names.map((tvm) => ports.views.keys(tasks, { index: "tvm", prefix: `${tvm}/`, limit: HOLD_MAX }))),
  ]);
  // A TVM that was to leave, or to be started anew, after its tasks is empty now: the pool's process goes on with it.
  if (rows.some((row, index) => (row?.phase === "leaving" || row?.phase === "restarting") && held[index]?.length === 0)) await ports.orchestrations.nudge("pool", poolStream(pool));
  return names.map((tvm, index) => {
    const row = rows[index];
    const slots = row && !row.gone && usable(row) && !held[index]?.some(isExclusive) ? row.slots : 0;
    const wish = wished.get(tvm) ?? stored[index]?.capacity ?? slots;
    const capacity = slots === 0 ? 0 : Math.min(HOLD_MAX, Math.max(slots, wish));
    return { room: { tvm, slots, held: held[index]?.length ?? 0, capacity }, stored: stored[index] };
  });
};

/** The heads of the queues: jobs of the highest priority first, until there is enough to fill the space. */
const gatherJobs = async (ports: Ports, pool: string, space: number): Promise<WaitingJob[]> => {
  const active = await ports.views.query(jobs, { index: "pool", prefix: `${pool}/`, limit: JOBS_MAX });
  const byPriority = [...Map.groupBy(active.map(({ row }) => row), (row) => row.spec.priority)].sort(([a], [b]) => b - a);
  const gathered: WaitingJob[] = [];
  let found = 0;
  for (const [, group] of byPriority) {
    const waiting = await Promise.all(group.map((row) => headOf(ports, row, space, group.length > 1)));
    for (const job of waiting) {
      if (job.waiting.length === 0) continue;
      gathered.push(job);
      found += job.waiting.length;
    }
    if (found >= space) break;
  }
  return gathered;
};

const headOf = async (ports: Ports, row: JobRow, limit: number, shared: boolean): Promise<WaitingJob> => {
  const job = `${row.workItem}.${row.id}`;
  const keys = awaitsManager(row) ? [] : await youngEnough(ports, row, job, await ports.views.keys(tasks, { index: "queue", prefix: `${job}/`, limit }));
  // Fair turn only matters where jobs of equal priority wait: else their shares need not be counted.
  const counts: Record<string, number> = shared && keys.length > 0 ? await ports.views.counters(tasks, `${job}/`) : {};
  return {
    job,
    priority: row.spec.priority,
    running: (counts["assigned"] ?? 0) + (counts["running"] ?? 0),
    waiting: keys.map((key) => waitingFrom(key, poolKey(row.account, row.pool))),
  };
};

const waitingFrom = (key: string, pool: string): WaitingTask => {
  const queued = parseQueued(key);
  return queued.affinity === undefined ? queued : { ...queued, affinity: `${pool}.${queued.affinity}` };
};

/** Of a job that was enabled again, tasks that have been active for too long do not run: its process ends them. */
const youngEnough = async (ports: Ports, row: JobRow, job: string, keys: string[]): Promise<string[]> => {
  const since = expiredBefore(row);
  const old = since === undefined ? [] : keys.filter((key) => queuedSince(key) < since);
  if (since === undefined || old.length === 0) return keys;
  const rows = await ports.views.get(tasks, old.map((key) => tasks.locate(`${job}.${parseQueued(key).task}`)));
  const expired = new Set(old.filter((_, index) => (rows[index]?.stateAt ?? "") < since));
  return keys.filter((key) => !expired.has(key));
};

/** Written only where it changed: a TVM that is refilled as fast as it empties costs nothing here. */
const keepRooms = async (ports: Ports, pool: string, candidates: readonly Candidate[], placed: readonly Placed[]): Promise<void> => {
  const given = new Map<string, number>();
  for (const { tvm, exclusive } of placed) given.set(tvm, (given.get(tvm) ?? 0) + (exclusive ? HOLD_MAX : 1));
  const changed = candidates.flatMap(({ room, stored }) => {
    const free = Math.max(0, room.slots - room.held - (given.get(room.tvm) ?? 0));
    if (stored ? stored.free === free && stored.capacity === room.capacity : free === 0 && room.capacity === 0) return [];
    const row: RoomRow = { id: room.tvm, version: (stored?.version ?? 0) + 1, pool, tvm: room.tvm, capacity: room.capacity, free };
    return [{ from: stored?.version ?? 0, row }];
  });
  if (changed.length > 0) await ports.views.write([{ view: rooms, partition: pool, rows: changed, counters: {} }]);
};
