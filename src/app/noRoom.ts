// Full disks, as the ports tell of them.
import type { NoRoom } from "../ports";

/** Nothing of the call was kept, and there is nothing wrong with it: the same one will do once there is room. */
export const isNoRoom = (error: unknown): error is NoRoom => (error as Partial<NoRoom> | undefined | null)?.noRoom === true;
