// Hints between processes over Service Bus: who waits in one is woken by news from another, and nobody is bothered for nothing.
import { CosmosClient } from "@azure/cosmos";
import { openCosmos } from "../../src/adapters/cosmosClient";
import { createCosmosContainers } from "../../src/adapters/cosmosContainers";
import { cosmosViews } from "../../src/adapters/cosmosViews";
import { serviceBus } from "../../src/adapters/serviceBus";
import { processes, serviceBusSignals, signalsQueue } from "../../src/adapters/serviceBusSignals";
import { systemClock, systemRandom } from "../../src/adapters/system";
import type { Log, Signals, Views } from "../../src/ports";
import { eventually } from "../agent/eventually";
import { type CosmosGateway, startCosmosGateway } from "../standins/cosmosGateway";
import { type ServiceBusBroker, startServiceBusBroker } from "../standins/serviceBusBroker";

const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const rollCallMs = 400;
let gateway: CosmosGateway;
let broker: ServiceBusBroker;
let views: Views;
let close: () => Promise<void>;
const opened: { close(): Promise<void> }[] = [];

beforeAll(async () => {
  [gateway, broker] = await Promise.all([startCosmosGateway(), startServiceBusBroker({ queues: { [signalsQueue]: { sessions: true, ttlMs: 10_000 } } })]);
  const client = new CosmosClient({ endpoint: gateway.endpoint, key: gateway.key, connectionPolicy: { enableBackgroundEndpointRefreshing: false } });
  await createCosmosContainers(client, "signals");
  const cosmos = openCosmos({ endpoint: gateway.endpoint, database: "signals", credential: { key: gateway.key } }, { clock: systemClock, random: systemRandom });
  views = cosmosViews(cosmos);
  close = async () => {
    cosmos.close();
    client.dispose();
    await Promise.all([gateway.close(), broker.close()]);
  };
});
afterEach(async () => void (await Promise.all(opened.splice(0).map((one) => one.close()))));
afterAll(() => close());

const open = () => {
  const address = { connection: broker.connectionString };
  const bus = serviceBus(address, { random: systemRandom, clock: systemClock, log: silent });
  const signals = serviceBusSignals({ address, bus, views, clock: systemClock, random: systemRandom, log: silent, rollCallMs });
  opened.push({ close: async () => void (await signals.close(), await bus.close()) });
  return signals;
};
const present = async (): Promise<number> => (await views.keys(processes, { index: "seen", prefix: "all/", limit: 10 })).length;
/** Until the second hears what the first says. */
const acquainted = async (one: Signals, two: Signals): Promise<void> => {
  let heard = false;
  void two.wait("hello", 20_000).then(() => (heard = true));
  await eventually(() => {
    if (!heard) one.notify("hello");
    return heard;
  });
  // What was said more often than needed is through, too.
  await systemClock.sleep(100);
};

test("news of one process wake who waits in another; who waits at home is told without a message", async () => {
  const [one, two] = [open(), open()];
  await acquainted(one, two);
  const waiting = two.wait("local.main.tvm-1", 10_000);
  one.notify("local.main.tvm-1");
  expect(await waiting).toBe(true);
  const sent = broker.totals().sent[signalsQueue];
  const atHome = one.wait("local.main.tvm-2", 10_000);
  one.notify("local.main.tvm-2");
  expect(await atHome).toBe(true);
  await systemClock.sleep(50);
  expect(broker.totals().sent[signalsQueue]).toBe(sent);
  // What happens together goes together.
  const woken = Promise.all(["a", "b", "c"].map((topic) => two.wait(topic, 10_000)));
  for (const topic of ["a", "b", "c"]) one.notify(topic);
  expect(await woken).toEqual([true, true, true]);
  expect(broker.totals().sent[signalsQueue]).toBe((sent ?? 0) + 1);
});

test("a process that is alone sends nothing; one that has stopped is not told any more", async () => {
  const one = open();
  await eventually(async () => (await present()) === 1);
  await systemClock.sleep(rollCallMs);
  const before = broker.totals().sent[signalsQueue] ?? 0;
  one.notify("nobody");
  const two = open();
  expect(broker.totals().sent[signalsQueue] ?? 0).toBe(before);
  await acquainted(one, two);
  await two.close();
  expect(await present()).toBe(1);
  await systemClock.sleep(2 * rollCallMs);
  const after = broker.totals().sent[signalsQueue];
  one.notify("nobody either");
  await systemClock.sleep(50);
  expect(broker.totals().sent[signalsQueue]).toBe(after);
});
