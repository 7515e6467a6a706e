// Tells a full disk from all else that may go wrong in a file or in the database, in the ports' words. It never hides another error.
import type { NoRoom } from "../ports";

/** Result codes of SQLite: full, and no room for the index of its log. */
const FULL = 13;
const SHARED_MEMORY_SIZE = 4_874;

/** The error as it is, or `NoRoom` with it as the cause. */
export const noRoomIfFull = (error: unknown): unknown => {
  const { code, errcode } = (error ?? {}) as { code?: unknown; errcode?: number };
  const full = code === "ENOSPC" || code === "EDQUOT" || (errcode !== undefined && (errcode % 256 === FULL || errcode === SHARED_MEMORY_SIZE));
  return full ? noRoom(error) : error;
};

export const noRoom = (cause: unknown): NoRoom => Object.assign(new Error("The disk is full.", { cause }), { noRoom: true as const });
