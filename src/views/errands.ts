// Small rows that are not folded from events: what a TVM still has to be told or asked, how much room it has, when it was
// last heard of. Losing them costs a repetition, never a fact.
import type { Row, ViewLayout } from "../ports";
import { parentOf } from "../domain/ids";
import type { FileAnswer, FileRequest, Readings } from "../wire";

/** A folder to remove, a file to show, or a user to make: rows live until the TVM has answered. */
export interface ErrandRow extends Row {
  readonly tvm: string;
  readonly folder?: string;
  readonly request?: FileRequest;
  /** A request about a user, whole and sealed, for there is a password in it; `until` it is of use to whoever asked. */
  readonly user?: { readonly id: string; readonly sealed: string; readonly until: string };
  readonly answer?: FileAnswer;
}

export const errands: ViewLayout<ErrandRow> = {
  name: "errands",
  indexes: { tvm: (row) => (row.answer || row.gone ? undefined : `${row.tvm}/${row.id}`) },
};

/** How many more attempts a TVM may be given: written by placement alone, one pool at a time. */
export interface RoomRow extends Row {
  readonly pool: string;
  readonly tvm: string;
  readonly capacity: number;
  readonly free: number;
}

const padded = (count: number): string => String(count).padStart(5, "0");

export const rooms: ViewLayout<RoomRow> = {
  name: "rooms",
  indexes: {
    /** Most room first. */
    spread: (row) => (row.free > 0 ? `${row.pool}/${padded(99_999 - row.free)}/${row.tvm}` : undefined),
    /** Least room first. */
    pack: (row) => (row.free > 0 ? `${row.pool}/${padded(row.free)}/${row.tvm}` : undefined),
  },
};

/** When the service last heard of a TVM. */
export interface HeartbeatRow extends Row {
  readonly tvm: string;
  readonly boot: number;
  readonly at: string;
  /** It has used the credential of this boot: its join code is good no more. */
  readonly exchanged?: boolean;
  /** Tasks that it has begun since this boot, as it last said. */
  readonly ran?: number;
  /** What it last measured of itself. */
  readonly readings?: Readings;
}

export const heartbeats: ViewLayout<HeartbeatRow> = {
  name: "heartbeats",
  indexes: {
    at: (row) => (row.gone ? undefined : `${row.at}/${row.tvm}`),
    pool: (row) => (row.gone ? undefined : `${parentOf(row.tvm)}/${row.tvm}`),
  },
};

/** A commit that could not be shown or reacted to, however often it was tried: it waits here, and the others go on. */
export interface ParkedRow extends Row {
  readonly account: string;
  readonly stream: string;
  /** The commit's version in its stream. */
  readonly commit: number;
  readonly reason: string;
  /** When it was tried last, and when it was parked. */
  readonly at: string;
  readonly since: string;
}

export const parked: ViewLayout<ParkedRow> = {
  name: "parked",
  indexes: {
    at: (row) => (row.gone ? undefined : `${row.at}/${row.id}`),
    account: (row) => (row.gone ? undefined : `${row.account}/${row.id}`),
  },
};
