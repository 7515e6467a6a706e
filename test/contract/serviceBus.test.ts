// The contract of the bus on Service Bus, and what is its own: processes that share queues, locks that are lost, connections
// that break, batches and their limits, and the topic of events. The real SDK against a broker in this process.

import { systemClock, systemRandom } from "../../src/adapters/system";
import { serviceBus } from "../../src/adapters/serviceBus";
import { serviceBusSource } from "../../src/adapters/serviceBusSource";
import type { Bus, Log, QueueSource } from "../../src/ports";
import { type BrokerOptions, type ServiceBusBroker, startServiceBusBroker } from "../standins/serviceBusBroker";
import { describeBus } from "./bus.contract";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

type Source = QueueSource & { close(): Promise<void> };
type Sender = Bus & { close(): Promise<void> };

const open = (broker: ServiceBusBroker, log: Log = silent): { sender: Sender; source: Source } => {
  const address = { connection: broker.connectionString };
  return { sender: serviceBus(address, { random: systemRandom, log }), source: serviceBusSource(address, { clock: systemClock, log, settleMs: 2_000 }) };
};

/** Queues named `laned...` have sessions, all others have none; both notice duplicates. */
const options: BrokerOptions = {
  topics: { events: {} },
  template: (name) => ({ sessions: name.startsWith("laned"), duplicateWindowMs: 60_000 }),
};

describeBus("service bus", async () => {
  const broker = await startServiceBusBroker(options);
  const parts = open(broker);
  let source = parts.source;
  const port = (): Bus & QueueSource => ({ ...parts.sender, ...source });
  return {
    port: port(),
    reopen: async () => {
      await source.close();
      broker.expireLocks();
      source = open(broker).source;
      return port();
    },
    close: async () => {
      await Promise.all([source.close(), parts.sender.close()]);
      await broker.close();
    },
    unclaimed: () => broker.counts("events").active,
  };
});
