// What the commit feed brings: rows, then effects, then the topic of events. All of it may be repeated. A commit that fails again
// and again by itself is parked, with an alarm, so that it does not hold up the others; the sweep tries it again. None is dropped.
import { accountOf, keyOf } from "../domain/ids";
import { addMs } from "../domain/time";
import type { Commit, Ports } from "../ports";
import { type ParkedRow, parked } from "../views/errands";
import { isNoRoom } from "./noRoom";
import { projectFeed } from "./project";
import { reactTo } from "./react";

/** A batch may fail this often, which takes minutes on Azure, before what is wrong with it is looked for. */
export const PATIENCE = 8;
/** A parked commit is tried again this often. */
const AGAIN_MS = 300_000;
const PARKED_MAX = 100;
const ERROR_CHARACTERS = 500;

/** Takes a batch in; `failures` says how often it has failed before. Throws while another try may help. */
export const followFeed = async (ports: Ports, commits: readonly Commit[], failures: number, at: string): Promise<void> => {
  if (failures < PATIENCE) return takeIn(ports, commits, at);
  // Commits of one stream stay together: the later ones cannot be shown without the earlier.
  const streams = [...Map.groupBy(commits, ({ stream }) => stream).values()];
  const failed: { list: readonly Commit[]; error: unknown }[] = [];
  for (const list of streams) {
    try {
      await takeIn(ports, list, at);
    } catch (error) {
      if (isNoRoom(error)) throw error;
      failed.push({ list, error });
    }
  }
  // When nothing passes, it is not the commits.
  if (streams.length > 1 && failed.length === streams.length) throw failed[0]?.error;
  for (const { list, error } of failed) for (const commit of list) await park(ports, commit, error, at);
};

const takeIn = async (ports: Ports, commits: readonly Commit[], at: string): Promise<void> => {
  await projectFeed(ports, commits);
  await reactTo(ports, commits, at);
  await ports.bus.publish(commits.flatMap(({ stream, version, events }) => events.map((event) => ({ stream, version, event }))));
};

const park = async (ports: Ports, { stream, version }: Commit, error: unknown, at: string): Promise<void> => {
  const id = `${stream}@${version}`;
  const reason = (error instanceof Error ? error.message : String(error)).slice(0, ERROR_CHARACTERS);
  const [before] = await ports.views.get(parked, [{ partition: stream, id }]);
  const from = before?.version ?? 0;
  const row: ParkedRow = { id, version: from + 1, account: accountOf(keyOf(stream)), stream, commit: version, reason, at, since: before?.gone === false ? before.since : at, gone: false };
  const [written] = await ports.views.write([{ view: parked, partition: stream, rows: [{ from, row }], counters: {} }]);
  if (written !== "ok") throw error;
  // The alert of a deployment looks for these words.
  ports.log.error("a commit was parked", { stream, version, reason });
};

/** Tries parked commits again: what was wrong may have been mended, by an upgrade for example. */
export const retryParked = async (ports: Ports, at: string): Promise<void> => {
  const due = await ports.views.query(parked, { index: "at", prefix: "", limit: PARKED_MAX });
  for (const { row } of due) {
    if (row.at > addMs(at, -AGAIN_MS)) return;
    const commits = (await ports.eventStore.history(row.stream)).filter(({ version }) => version === row.commit);
    try {
      await takeIn(ports, commits, at);
    } catch (error) {
      for (const commit of commits) await park(ports, commit, error, at);
      continue;
    }
    await ports.views.write([{ view: parked, partition: row.stream, rows: [{ from: row.version, row: { ...row, version: row.version + 1, gone: true } }], counters: {} }]);
    ports.log.info("a parked commit was taken in", { stream: row.stream, version: row.commit });
  }
};

/** The account's parked commits, those that wait longest for another try first. */
export const parkedCommits = async (ports: Ports, account: string): Promise<ParkedRow[]> =>
  (await ports.views.query(parked, { index: "account", prefix: `${account}/`, limit: PARKED_MAX })).map(({ row }) => row);
