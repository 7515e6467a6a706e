// A network between two parties that does to connections what networks do: refuses them, cuts them in the middle, carries bytes slowly,
// or carries nothing more without a word to either side.
import net from "node:net";
import type { AddressInfo } from "node:net";

/**
 * refuse: reset at once. cutAnswer: the request arrives, and of the answer one byte; then reset. mute: open and silent for ever, nothing is
 * carried. short: reset after some kilobytes of answers, more with each connection, so that every answer gets through once. slow: the same, some bytes at a time. pass: as it should be.
 */
export type Fault = "refuse" | "cutAnswer" | "mute" | "slow" | "short" | "pass";

export interface Proxy {
  readonly url: string;
  /** How many connections met each fault. */
  readonly met: Readonly<Record<Fault, number>>;
  close(): Promise<void>;
}

const SLOW_BYTES = 512;
const SLOW_MS = 2;
const SHORT_BYTES = 6_000;

/** `plan`: what the nth connection, from 0, meets. */
export const openProxy = async (to: string, plan: (connection: number) => Fault): Promise<Proxy> => {
  const target = new URL(to);
  const met = { refuse: 0, cutAnswer: 0, mute: 0, slow: 0, short: 0, pass: 0 };
  const open = new Set<net.Socket>();
  let count = 0;
  const server = net.createServer((near) => {
    const fault = plan(count++);
    const lasts = SHORT_BYTES * (1 + Math.floor(count / 4));
    met[fault]++;
    near.on("error", () => undefined);
    open.add(near);
    near.once("close", () => open.delete(near));
    if (fault === "refuse") return void near.resetAndDestroy();
    if (fault === "mute") return void near.resume();
    const far = net.connect(Number(target.port), target.hostname);
    far.on("error", () => near.destroy());
    far.once("close", () => near.destroy());
    near.once("close", () => far.destroy());
    carry(near, far, fault === "slow", Infinity);
    carry(far, near, fault === "slow", fault === "pass" ? Infinity : fault === "cutAnswer" ? 1 : lasts);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    met,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
};

/** So many bytes, then a reset. */
const carry = (from: net.Socket, to: net.Socket, slow: boolean, bytes: number): void => {
  let left = bytes;
  const send = (piece: Buffer): void => {
    if (left <= 0 || to.destroyed) return;
    const some = piece.subarray(0, Math.min(piece.length, left));
    left -= some.length;
    to.write(some, left > 0 ? undefined : () => to.resetAndDestroy());
  };
  from.once("end", () => to.end());
  if (!slow) return void from.on("data", send);
  from.on("data", (piece: Buffer) => {
    from.pause();
    const next = (at: number): void => {
      if (at >= piece.length || to.destroyed) return void from.resume();
      send(piece.subarray(at, at + SLOW_BYTES));
      setTimeout(() => next(at + SLOW_BYTES), SLOW_MS);
    };
    next(0);
  });
};
