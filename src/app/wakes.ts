// Hints that something may be placed: messages of the queue `wakes`, whose lane is the pool, so that placement of one pool
// runs one at a time wherever it runs.
import { z } from "zod";
import type { Ports } from "../ports";

export interface Wake {
  readonly pool: string;
  /** TVMs that may have room, and how much they would like to hold if they just said so. */
  readonly tvms: readonly { readonly tvm: string; readonly capacity?: number }[];
}

const wakeBody = z.strictObject({
  pool: z.string(),
  tvms: z.array(z.strictObject({ tvm: z.string(), capacity: z.int().min(0).exactOptional() })),
});

export const parseWake = (body: unknown): Wake => wakeBody.parse(body);

export const wake = async (ports: Pick<Ports, "bus">, wakes: readonly Wake[]): Promise<void> => {
  if (wakes.length === 0) return;
  await ports.bus.send(
    "wakes",
    wakes.map(({ pool, tvms }) => ({ lane: pool, body: { pool, tvms: tvms.map((one) => ({ ...one })) } })),
  );
};
