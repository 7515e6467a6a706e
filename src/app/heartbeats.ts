// When a TVM was last heard of: the only ground on which its silence is noticed. Requests of one TVM may be written down late, twice and
// in any order, so a heartbeat only ever moves on. It decides nothing about the TVM.
import { present } from "../domain/decider";
import { parentOf } from "../domain/ids";
import type { Ports } from "../ports";
import { type HeartbeatRow, heartbeats } from "../views/errands";
import type { ExchangeRequest, Readings } from "../wire";
import { Busy } from "./execute";
import { isNoRoom } from "./noRoom";

/** What an exchange may say of the TVM beside its tasks. */
export type Said = Pick<ExchangeRequest, "ran" | "readings">;

/** Several requests of one TVM may be written down at once: each looks again when another was first. */
const TRIES = 8;

/** From here on the silence of this boot is noticed. What arrives late takes nothing back: no later boot, no later word of the same one. */
export const writeHeartbeat = async (ports: Ports, tvm: string, boot: number, at: string, exchanged: boolean, said: Said = {}): Promise<void> => {
  const partition = parentOf(tvm);
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    const [before] = await ports.views.get(heartbeats, [{ partition, id: tvm }]);
    const row = rowAfter(before, { tvm, boot, at, exchanged, ...present({ ran: said.ran, readings: said.readings }) });
    if (!row) return;
    const [outcome] = await ports.views.write([{ view: heartbeats, partition, rows: [{ from: before?.version ?? 0, row }], counters: {} }]);
    if (outcome === "ok") return;
  }
  throw new Busy(`The heartbeat of ${tvm} met a conflict ${TRIES} times.`);
};

// When a heartbeat last found no room on the disk, by steady time. One process writes where disks may be full.
const refusedAt = new WeakMap<Ports["views"], number>();

/**
 * As `writeHeartbeat`, but for one that is only to be moved on: when there is no room for it, the TVM goes on all the same, for else it would
 * end its tasks. What it has measured meanwhile is lost. False: it was not written.
 */
export const moveHeartbeat = async (ports: Ports, tvm: string, boot: number, at: string, said: Said): Promise<boolean> => {
  try {
    await writeHeartbeat(ports, tvm, boot, at, true, said);
    return true;
  } catch (error) {
    if (!isNoRoom(error)) throw error;
    refusedAt.set(ports.views, ports.clock.steady());
    return false;
  }
};

/** For how long, in milliseconds, every heartbeat has been written: silence of more than that proves nothing. */
export const heartbeatsKeptMs = ({ clock, views }: Pick<Ports, "clock" | "views">): number => clock.steady() - (refusedAt.get(views) ?? -Infinity);

interface Heard {
  readonly tvm: string;
  readonly boot: number;
  readonly at: string;
  readonly exchanged: boolean;
  readonly ran?: number;
  readonly readings?: Readings;
}

/** Undefined: it is old news. What was given up is looked after again, whatever it is. */
const rowAfter = (before: HeartbeatRow | undefined, now: Heard): HeartbeatRow | undefined => {
  const place = { id: now.tvm, version: (before?.version ?? 0) + 1 };
  if (before?.boot === undefined || before.boot < now.boot) return { ...now, ...place };
  if (before.boot > now.boot) return undefined;
  const isLater = now.at > before.at;
  const uses = now.exchanged && before.exchanged !== true;
  // Whichever was measured later; where the TVM's clock was put back, the order of its requests says so.
  const newer = now.readings !== undefined && (isLater || before.readings === undefined || now.readings.at > before.readings.at);
  if (!isLater && !uses && !newer && !before.gone) return undefined;
  const ran = before.ran === undefined || now.ran === undefined ? (now.ran ?? before.ran) : Math.max(now.ran, before.ran);
  return {
    ...place,
    tvm: now.tvm,
    boot: now.boot,
    at: isLater ? now.at : before.at,
    exchanged: now.exchanged || before.exchanged === true,
    ...present({ ran, readings: newer ? now.readings : before.readings }),
  };
};
