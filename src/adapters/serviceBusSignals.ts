// Hints between requests of all processes: those of this process in memory, those for others over the queue `signals`, whose lane is
// a process. Who is there stands in the view `processes`, one small row each. Nothing here is a promise: a hint that is lost, or for a
// process that nobody knows of yet, is made up for by who waits and looks again.
//
// What it costs: one row written and one list read by each process every 15 s (about 0.9 RU/s with one physical partition), and no
// request unit for a hint; a message for each other process, for all hints of 10 ms, unless the one who waits is here.

import type { ServiceBusSessionReceiver } from "@azure/service-bus";
import type { Bus, Clock, Log, Random, Row, Signals, ViewLayout, Views } from "../ports";
import { localSignals } from "./localSignals";
import { type ServiceBusAddress, describe, isTimeout, openServiceBus } from "./serviceBusClient";

export interface SignalsOptions {
  readonly address: ServiceBusAddress;
  readonly bus: Pick<Bus, "send">;
  readonly views: Views;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** How often a process says that it is there, and looks who else is. */
  readonly rollCallMs?: number;
}

interface ProcessRow extends Row {
  readonly at: string;
}

/** Who is there: index `seen` is `all/{instant}/{process}`. */
export const processes: ViewLayout<ProcessRow> = { name: "processes", indexes: { seen: ({ id, at }) => `all/${at}/${id}` } };

export const signalsQueue = "signals";
const gatherMs = 10;
const rollCallMs = 15_000;
/** A process that has not said that it is there for so many roll calls is not told any more. */
const silentCalls = 3;
/** With more processes than this, the others look again after their while. */
const toldMax = 32;
const renewMs = 24 * 3_600_000;
const retryMs = 1_000;

/** Begins at once to say that this process is there, and to listen. */
export function serviceBusSignals(options: SignalsOptions): Signals & { close(): Promise<void> } {
  const { bus, clock, log } = options;
  const local = localSignals(clock);
  const me = options.random.id(12);
  const stopped = new AbortController();
  let others: readonly string[] = [];
  let gathered: Set<string> | undefined;

  function tellOthers(topic: string): void {
    if (others.length === 0) return;
    if (gathered !== undefined) return void gathered.add(topic);
    gathered = new Set([topic]);
    void clock.sleep(gatherMs).then(async () => {
      const topics = [...(gathered ?? [])];
      gathered = undefined;
      await bus.send(signalsQueue, others.map((lane) => ({ lane, body: topics })));
    }).catch((error: unknown) => log.debug("hints for other processes were lost", { error: describe(error) }));
  }

  const rollCalls = keepRollCall(options, me, stopped.signal, (found) => (others = found));
  const listening = listen(options, me, stopped.signal, (topics) => topics.forEach((topic) => local.notify(topic)));

  return {
    notify(topic) {
      if (!local.notify(topic)) tellOthers(topic);
    },
    wait: local.wait,
    closed: local.closed,
    async close() {
      local.close();
      stopped.abort();
      await Promise.all([rollCalls, listening]);
    },
  };
}

/** Says that this process is there, and learns who else is; in the end, that it is not any more. */
async function keepRollCall({ views, clock, log, rollCallMs: everyMs = rollCallMs }: SignalsOptions, me: string, stopped: AbortSignal, learn: (others: string[]) => void): Promise<void> {
  let version = 0;
  const say = async (gone: boolean): Promise<void> => {
    const row: ProcessRow = { id: me, version: version + 1, at: clock.now().toISOString(), ...(gone ? { gone } : {}) };
    const [outcome] = await views.write([{ view: processes, partition: "all", rows: [{ from: version, row }], counters: {} }]);
    if (outcome === "ok") version++;
    else version = (await views.get(processes, [{ partition: "all", id: me }]))[0]?.version ?? 0;
  };
  const call = async (): Promise<void> => {
    await say(false);
    const since = new Date(clock.now().getTime() - silentCalls * everyMs).toISOString();
    const found = await views.keys(processes, { index: "seen", prefix: "all/", after: `all/${since}`, limit: toldMax + 1 });
    const others = found.map((key) => key.slice(key.lastIndexOf("/") + 1)).filter((id) => id !== me);
    learn(others.length > toldMax ? [] : others);
  };
  while (!stopped.aborted) {
    await call().catch((error: unknown) => log.debug("the roll call of processes failed", { error: describe(error) }));
    await clock.sleep(everyMs, stopped);
  }
  await say(true).catch(() => undefined);
}

async function listen({ address, clock, log }: SignalsOptions, me: string, stopped: AbortSignal, tell: (topics: string[]) => void): Promise<void> {
  const client = openServiceBus(address);
  const ended = new Promise<void>((resolve) => stopped.addEventListener("abort", () => resolve(), { once: true }));
  /** For as long as the lane lasts; then it fails. */
  const receive = (lane: ServiceBusSessionReceiver): Promise<never> =>
    new Promise((_, reject) => {
      lane.subscribe({
        processMessage: async ({ body }) => {
          if (Array.isArray(body)) tell(body.filter((topic): topic is string => typeof topic === "string"));
        },
        processError: async ({ error }) => reject(error),
      });
    });
  const work = async (): Promise<void> => {
    while (!stopped.aborted) {
      let lane: ServiceBusSessionReceiver | undefined;
      try {
        lane = await client.acceptSession(signalsQueue, me, { receiveMode: "receiveAndDelete", maxAutoLockRenewalDurationInMs: renewMs });
        await receive(lane);
      } catch (error) {
        if (stopped.aborted) return;
        if (!isTimeout(error)) log.debug("hints of other processes cannot be received now", { error: describe(error) });
        await lane?.close().catch(() => undefined);
        await clock.sleep(retryMs, stopped);
      }
    }
  };
  // What waits for a message is not waited for: closing the connection ends it.
  await Promise.race([work(), ended]);
  await Promise.race([client.close().catch(() => undefined), clock.sleep(retryMs)]);
}
