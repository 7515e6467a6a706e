// The contract suites of the event store and of the views on Cosmos DB's adapters, over the stand-in with its four key ranges:
// as they are, and while one call in twenty fails or loses its answer. And what is Cosmos DB's alone.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { type Cosmos, openCosmos } from "../../src/adapters/cosmosClient";
import { cosmosContainers, createCosmosContainers } from "../../src/adapters/cosmosContainers";
import { commitOfDocument, cosmosEventStore } from "../../src/adapters/cosmosEventStore";
import { cosmosViews } from "../../src/adapters/cosmosViews";
import { systemClock, systemRandom } from "../../src/adapters/system";
import type { EventStore, Views } from "../../src/ports";
import { type CosmosGateway, type Faults, startCosmosGateway } from "../standins/cosmosGateway";
import { commit, describeEventStore } from "./eventStore.contract";
import { describeViews } from "./views.contract";

let gateway: CosmosGateway;
let databases = 0;
beforeAll(async () => void (gateway = await startCosmosGateway()));
afterAll(() => gateway.close());

const connect = (database: string, of = gateway): Cosmos =>
  openCosmos({ endpoint: of.endpoint, database, credential: { key: of.key } }, { clock: systemClock, random: systemRandom });

/** The suite puts streams where it likes; in the service the stream says where it lives. */
const eventStoreOn = (cosmos: Cosmos, places: Map<string, string>): EventStore => {
  const store = cosmosEventStore(cosmos, (stream) => places.get(stream) ?? `partition of ${stream}`);
  return {
    ...store,
    append: (commits) => {
      for (const { stream, partition } of commits) places.set(stream, partition);
      return store.append(commits);
    },
  };
};

/** A database of its own for each test; another client is another process. */
const opened = <P>(adapter: (cosmos: Cosmos) => P, faults?: Faults) => async () => {
  const database = `test-${++databases}`;
  let cosmos = connect(database);
  gateway.fail();
  await createCosmosContainers(cosmos.client, database);
  gateway.fail(faults && { ...faults, seed: faults.seed + databases });
  return {
    port: adapter(cosmos),
    reopen: async () => {
      cosmos.close();
      cosmos = connect(database);
      return adapter(cosmos);
    },
    close: async () => {
      gateway.fail();
      cosmos.close();
    },
  };
};

const stores = (faults?: Faults) => async () => {
  const places = new Map<string, string>();
  return opened((cosmos) => eventStoreOn(cosmos, places), faults)();
};

describeEventStore("Cosmos DB", stores());
describeViews("Cosmos DB", opened((cosmos): Views => cosmosViews(cosmos)));
const faults: Faults = { rate: 0.05, seed: Number(process.env["SEED"] ?? 1) };
describeEventStore("Cosmos DB, with faults", stores(faults));
describeViews("Cosmos DB, with faults", opened((cosmos): Views => cosmosViews(cosmos), faults));
