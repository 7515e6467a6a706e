// Hints between processes over Service Bus: who waits in one is woken by news from another, and nobody is bothered for nothing.
import { CosmosClient } from "@azure/cosmos";
import { openCosmos } from "../../src/adapters/cosmosClient";
import { createCosmosContainers } from "../../src/adapters/cosmosContainers";
import { cosmosViews } from "../../src/adapters/cosmosViews";
import { serviceBus } from "../../src/adapters/serviceBus";
import { processes, serviceBusSignals, signalsQueue } from "../../src/adapters/serviceBusSignals";
import { systemClock, systemRandom } from "../../src/adapters/system";
import type { Clock, Log, Views } from "../../src/ports";
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

/** `gathers` counts the times that something was begun to be sent. */
const open = () => {
  const address = { connection: broker.connectionString };
  const bus = serviceBus(address, { random: systemRandom, clock: systemClock, log: silent });
  let gathers = 0;
  const clock: Clock = {
    now: systemClock.now,
    steady: systemClock.steady,
    sleep(milliseconds, abort) {
      if (milliseconds < rollCallMs) gathers++;
      return systemClock.sleep(milliseconds, abort);
    },
  };
  const signals = serviceBusSignals({ address, bus, views, clock, random: systemRandom, log: silent, rollCallMs });
  opened.push({ close: async () => void (await signals.close(), await bus.close()) });
  return { ...signals, gathers: () => gathers };
};
type Open = ReturnType<typeof open>;

const present = async (): Promise<number> => (await views.keys(processes, { index: "seen", prefix: "all/", limit: 10 })).length;
/** Until the second hears what the first says, and has heard all that was said before. */
const acquainted = async (one: Open, two: Open): Promise<void> => {
  let heard = false;
  void two.wait("hello", 20_000).then(() => (heard = true));
  await eventually(() => {
    if (!heard) one.notify("hello");
    return heard;
  });
  const last = two.wait("the last hello", 20_000);
  one.notify("the last hello");
  expect(await last).toBe(true);
};

test("news of one process wake who waits in another; who waits at home is told without a message", async () => {
  const [one, two] = [open(), open()];
  await acquainted(one, two);
  const waiting = two.wait("local.main.tvm-1", 10_000);
  one.notify("local.main.tvm-1");
  expect(await waiting).toBe(true);
  const before = one.gathers();
  const atHome = one.wait("local.main.tvm-2", 10_000);
  one.notify("local.main.tvm-2");
  expect(await atHome).toBe(true);
  expect(one.gathers()).toBe(before);
  // What happens together goes together.
  const sent = broker.totals().sent[signalsQueue] ?? 0;
  const woken = Promise.all(["a", "b", "c"].map((topic) => two.wait(topic, 10_000)));
  for (const topic of ["a", "b", "c"]) one.notify(topic);
  expect(await woken).toEqual([true, true, true]);
  expect(broker.totals().sent[signalsQueue]).toBe(sent + 1);
});

test("a process that is alone sends nothing; one that has stopped is not told any more", async () => {
  const one = open();
  await eventually(async () => (await present()) === 1);
  one.notify("nobody");
  expect(one.gathers()).toBe(0);
  const two = open();
  await acquainted(one, two);
  expect(one.gathers()).toBeGreaterThan(0);
  await two.close();
  expect(await present()).toBe(1);
  await eventually(() => {
    const before = one.gathers();
    one.notify("nobody either");
    return one.gathers() === before;
  });
});
