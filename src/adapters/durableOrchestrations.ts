// Orchestrations by Durable Functions, through the client that an invocation was given. One instance a process, named by
// its stream; starting one that runs already makes it look again instead.
import type { DurableClient } from "durable-functions";
import type { Log, Orchestrations, ProcessKind } from "../ports";
import { noRoom } from "./noRoom";

const ORCHESTRATOR: Record<ProcessKind, string> = { pool: "poolProcess", workItem: "workItemProcess", job: "jobProcess" };
/** Durable instance ids have at most 100 characters. */
const ID_MAX = 100;

export const durableOrchestrations = (client: DurableClient, log: Log): Orchestrations => ({
  async nudge(kind, stream) {
    const instanceId = instanceIdOf(stream);
    try {
      await client.startNew(ORCHESTRATOR[kind], { instanceId, input: { kind, stream } });
      return;
    } catch (error) {
      if (isDiskFull(error)) throw noRoom(error);
      if (!/already exists/i.test(textOf(error))) throw error;
    }
    try {
      await client.raiseEvent(instanceId, "nudge", {});
    } catch (error) {
      if (isDiskFull(error)) throw noRoom(error);
      // Should it end between the two calls, nothing is lost for long: the sweep nudges what is not settled.
      log.debug("a process ended while it was nudged", { stream, reason: textOf(error) });
    }
  },
});

const textOf = (error: unknown): string => String((error as Error | undefined)?.message);
/** So says the local host; the client passes on no more than its words. */
const isDiskFull = (error: unknown): boolean => textOf(error).includes("status code: 503") && textOf(error).includes("disk is full");

export const instanceIdOf = (stream: string): string =>
  stream.length <= ID_MAX ? stream : `${stream.slice(0, ID_MAX - 18)}.${digest(stream)}`;

/** 64 bits of FNV-1a: tells long names apart that begin alike. */
const digest = (text: string): string => {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return hash.toString(16).padStart(16, "0");
};
