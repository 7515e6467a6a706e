// Repeats what matters, now and then: hints may be lost, so nothing may depend on one. Also the only place where silence
// means something: a TVM that was not heard of for too long is lost, and its tasks go to others.
import { present } from "../domain/decider";
import { addMs } from "../domain/time";
import { jobStream, parentOf, poolStream, tvmStream, workItemKey, workItemStream } from "../domain/ids";
import { isOver } from "../domain/job";
import { isDue } from "../domain/workItem";
import type { Ports, Row, ViewLayout, Views } from "../ports";
import { heartbeats, rooms } from "../views/errands";
import { certificates } from "../views/certificates";
import { jobs } from "../views/jobs";
import { pools } from "../views/pools";
import { tasks } from "../views/tasks";
import { tvms } from "../views/tvms";
import { workItems } from "../views/workItems";
import { LOST_AFTER_MS } from "./agents";
import { tryEndCertificate } from "./certificates";
import { execute, loadAll } from "./execute";
import { retryParked } from "./feed";
import { heartbeatsKeptMs } from "./heartbeats";
import { reportMissing } from "./missing";
import { takeStill } from "./react";
import { UPLOADS, UPLOAD_MS } from "./tvmFiles";
import { ranAtBoot } from "./tvmTasks";
import { wake } from "./wakes";
import { parentKey } from "./workItems";

const SWEEP_MAX = 500;
/** A lost TVM that has not come back by itself after this gets a new machine. */
const RESTART_AFTER_MS = 300_000;

export const sweep = async (ports: Ports, at: string): Promise<void> => {
  await loseSilentTvms(ports, at);
  await freeUnfitTvms(ports, at);
  await freeOrphans(ports, at);
  await repeatNudges(ports, at);
  await repeatDeletions(ports, at);
  await repeatWakes(ports);
  await removeUploads(ports, at);
  await retryParked(ports, at);
};

const loseSilentTvms = async (ports: Ports, at: string): Promise<void> => {
  await pullBackHeartbeats(ports);
  if (!isClockTrusted(ports) || heartbeatsKeptMs(ports) < LOST_AFTER_MS) return;
  const deadline = addMs(at, -LOST_AFTER_MS);
  const oldest = await ports.views.query(heartbeats, { index: "at", prefix: "", limit: SWEEP_MAX });
  for (const { row } of oldest) {
    if (row.at > deadline) break;
    ports.log.warn("a TVM was not heard of for too long: its tasks go to others", { tvm: row.tvm, lastHeard: row.at });
    await execute(ports, "tvm", "service", { stream: tvmStream(row.tvm), command: { type: "LoseTvm", at, boot: row.boot } });
    await ports.views.write([
      { view: heartbeats, partition: parentOf(row.tvm), rows: [{ from: row.version, row: { ...row, version: row.version + 1, gone: true } }], counters: {} },
    ]);
  }
};

/** By how much this process's clock may differ from steady time between two sweeps before it counts as set. */
const SET_MS = 5_000;
// How far this process's clock was from steady time at the last sweep, and since when it was not set.
const clocks = new WeakMap<Views, { readonly offset: number; readonly since: number }>();

/**
 * A clock that was set forward (or a machine that was suspended) makes all TVMs look silent, and they run on. So silence is
 * counted anew from there: each has a whole LOST_AFTER_MS to be heard.
 */
const isClockTrusted = ({ clock, views, log }: Ports): boolean => {
  const steady = clock.steady();
  const offset = clock.now().getTime() - steady;
  const known = clocks.get(views) ?? { offset, since: -Infinity };
  const setBy = offset - known.offset;
  const since = Math.abs(setBy) > SET_MS ? steady : known.since;
  if (since === steady) log.warn("the clock was set: how long TVMs have been silent is counted anew", { setBySeconds: Math.round(setBy / 1000) });
  clocks.set(views, { offset, since });
  return steady - since >= LOST_AFTER_MS;
};

/** What was heard in the future was heard before a clock was set back: else a TVM that falls silent now is missed for as long. */
const pullBackHeartbeats = async (ports: Ports): Promise<void> => {
  const begun = ports.clock.now().toISOString();
  const ahead = await ports.views.query(heartbeats, { index: "at", prefix: "", after: addMs(begun, LOST_AFTER_MS), limit: SWEEP_MAX });
  // Not the time of this run: it may have stood still, and what was heard since is not of the future.
  const at = ports.clock.now().toISOString();
  for (const { row } of ahead)
    if (row.at > addMs(at, LOST_AFTER_MS))
      await ports.views.write([{ view: heartbeats, partition: parentOf(row.tvm), rows: [{ from: row.version, row: { ...row, version: row.version + 1, at } }], counters: {} }]);
};

/** A TVM that is lost, between two boots or not prepared must hold nothing; `leaving` has its own rules (the pool's process). */
const freeUnfitTvms = async (ports: Ports, at: string): Promise<void> => {
  const unfit = await ports.views.query(tvms, { index: "unfit", prefix: "", limit: SWEEP_MAX });
  // One that is to be started, or let go, waits for its pool's process, also when the pool itself is settled.
  const waiting = new Set(unfit.filter(({ row }) => row.phase === "leaving" || (row.phase === "starting" && !row.joined)).map(({ key }) => parentOf(key)));
  for (const pool of waiting) await ports.orchestrations.nudge("pool", poolStream(pool));
  for (const { key, row } of unfit) {
    if (row.silent) await takeStill(ports, { tvm: key, reason: "tvmLost", option: "requeue" }, at);
    // It may have come back by itself; now its machine is made anew, for nobody else may ever say that it is gone.
    if (row.phase === "unknown" && row.stateAt <= addMs(at, -RESTART_AFTER_MS))
      await execute(ports, "tvm", "service", {
        stream: tvmStream(key),
        command: { type: "RestartTvm", at, boot: row.boot, reason: "machineExited", ...present({ ran: await ranAtBoot(ports, key, row.boot) }) },
      });
    // Before it is started anew its tasks end as was asked; the pool's process does that.
    else if (row.phase === "restarting") await ports.orchestrations.nudge("pool", poolStream(parentOf(key)));
    else if (row.phase !== "leaving") await takeStill(ports, { tvm: key, reason: "tvmRestarted", option: "requeue" }, at);
  }
  // Those that are not there at all need not be waited for.
  await reportMissing(ports, unfit.map(({ row }) => row).filter(({ phase }) => phase === "unknown"));
};

/** What was given to a TVM that had left, by a placement that was killed before it could look again. Some attempts each time, all in turn. */
const freeOrphans = async (ports: Ports, at: string): Promise<void> => {
  const held = await nextOf(ports, tasks, "", SWEEP_MAX, "tvm");
  const names = [...new Set(held.map((key) => key.slice(0, key.indexOf("/"))))];
  const rows = names.length > 0 ? await ports.views.get(tvms, names.map((tvm) => tvms.locate(tvm))) : [];
  const missing = names.filter((_, index) => rows[index] === undefined || rows[index]?.gone);
  // Rows may be behind, or be made anew just now: the stream says what is true.
  const states = missing.length > 0 ? await loadAll(ports, "tvm", missing.map(tvmStream)) : [];
  for (const [index, tvm] of missing.entries())
    if (["absent", "gone"].includes(states[index]?.state.phase ?? "gone")) await takeStill(ports, { tvm, reason: "tvmRemoved", option: "requeue" }, at);
};

const unsettled = async (ports: Ports, view: ViewLayout<never> | ViewLayout): Promise<string[]> =>
  ports.views.keys(view, { index: "unsettled", prefix: "", limit: SWEEP_MAX });

const repeatNudges = async (ports: Ports, at: string): Promise<void> => {
  for (const key of await unsettled(ports, pools as unknown as ViewLayout<Row>)) await ports.orchestrations.nudge("pool", poolStream(key));
  for (const key of await unsettled(ports, workItems as unknown as ViewLayout<Row>)) await ports.orchestrations.nudge("workItem", workItemStream(key));
  for (const key of await neglectedWorkItems(ports, at)) await ports.orchestrations.nudge("workItem", workItemStream(key));
  for (const key of await unsettled(ports, jobs as unknown as ViewLayout<Row>)) await ports.orchestrations.nudge("job", jobStream(key));
};

/** Work items with a job due, or one that was never made, or done: the nudge by the clock, or by the job's end, may have been lost. */
const neglectedWorkItems = async (ports: Ports, at: string): Promise<string[]> => {
  const keys = await nextOf(ports, workItems, "", SWEEP_MAX, "active");
  const items = (await ports.views.get(workItems, keys.map((key) => workItems.locate(key)))).filter((row) => row !== undefined);
  const recent = await ports.views.get(jobs, items.map((row) => jobs.locate(`${parentKey(row)}.${row.recentJob ?? ""}`.toLowerCase())));
  const neglected = items.filter((row, index) => {
    const job = recent[index];
    if (row.recentJob !== undefined && job === undefined) return true;
    return (job === undefined || isOver(job)) && isDue(row, at);
  });
  return neglected.map((row) => workItemKey(row.account, row.name));
};

/** A certificate that is being deleted, and whose secret could not go. */
const repeatDeletions = async (ports: Ports, at: string): Promise<void> => {
  for (const key of await unsettled(ports, certificates as unknown as ViewLayout<Row>)) await tryEndCertificate(ports, key, at);
};

/** Pools in which a TVM has room: whatever waits there is placed, should its wake have been lost. */
const repeatWakes = async (ports: Ports): Promise<void> => {
  const open = await ports.views.query(rooms, { index: "spread", prefix: "", limit: SWEEP_MAX });
  const hints = new Map<string, string[]>(open.map(({ row }) => [row.pool, []]));
  // And that a TVM has room may be what was lost: where tasks wait, some TVMs are looked at anew each time, all of them in turn.
  for (const pool of await poolsWithWaitingTasks(ports)) hints.set(pool, await nextOf(ports, tvms, `${pool}/`, HINTS_MAX));
  await wake(
    ports,
    [...hints].map(([pool, names]) => ({ pool, tvms: names.map((name) => ({ tvm: `${pool}.${name}` })) })),
  );
};

/** TVMs of a pool looked at anew in one sweep. */
const HINTS_MAX = 64;

const poolsWithWaitingTasks = async (ports: Ports): Promise<Set<string>> => {
  const found = new Set<string>();
  for (const entry of await nextOf(ports, jobs, "", SWEEP_MAX)) {
    const [pool, job] = entry.split("/") as [string, string];
    if (!found.has(pool) && (await ports.views.keys(tasks, { index: "queue", prefix: `${job}/`, limit: 1 })).length > 0) found.add(pool);
  }
  return found;
};

// Where the last sweep of an index by pool ended, so that each goes on from there. Forgotten at will.
const ends = new WeakMap<Views, Map<string, string>>();

/** What follows the prefix in the next entries of the view's index, from the start again after the last. */
const nextOf = async (ports: Ports, view: ViewLayout<never> | ViewLayout, prefix: string, limit: number, index = "pool"): Promise<string[]> => {
  const known = ends.get(ports.views) ?? new Map<string, string>();
  ends.set(ports.views, known);
  const place = `${view.name} ${index} ${prefix}`;
  const after = known.get(place);
  const found = await ports.views.keys(view, { index, prefix, limit, ...(after === undefined ? {} : { after }) });
  if (found.length < limit) known.delete(place);
  else known.set(place, found[found.length - 1] as string);
  return found.map((entry) => entry.slice(prefix.length));
};

/** Pieces of files that nobody came to read. */
const removeUploads = async (ports: Ports, at: string): Promise<void> => {
  const deadline = addMs(at, -UPLOAD_MS);
  for (const { path, modifiedAt } of await ports.files.list(UPLOADS, undefined, SWEEP_MAX)) if (modifiedAt < deadline) await ports.files.remove(path);
};
