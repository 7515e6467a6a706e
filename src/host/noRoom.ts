// Full disks, as the sources that the host reads from tell of them.
import type { NoRoom } from "../ports";

/** What failed may be tried again as it is: there was no room on the disk for it, and nothing of it was kept. */
export const isNoRoom = (error: unknown): error is NoRoom => (error as Partial<NoRoom> | undefined | null)?.noRoom === true;
