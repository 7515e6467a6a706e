// Stores of a world on Azure's adapters: commits and views on Cosmos DB by the real SDK, over the stand-in's gateway. A port's call is
// awaited inside an event of the timeline, so however long it really takes, it takes no virtual time. The bus stays SQLite's: on Service
// Bus a receive is over when real time has passed (5 ms for a batch, 25 ms for a lane), and messages are announced whenever the network
// brings them, so a seed would not be the same twice; test/contract/differential.test.ts compares the two buses instead.
import { createCosmosContainers } from "../../src/adapters/cosmosContainers";
import { openCosmos } from "../../src/adapters/cosmosClient";
import { cosmosEventStore } from "../../src/adapters/cosmosEventStore";
import { cosmosViews } from "../../src/adapters/cosmosViews";
import { sqliteBus } from "../../src/adapters/sqliteBus";
import { systemClock, systemRandom } from "../../src/adapters/system";
import { partitionOf } from "../../src/domain/ids";
import type { Commit, EventStore, Ports } from "../../src/ports";
import { startCosmosGateway } from "../standins/cosmosGateway";
import { memorySqlite } from "./database";
import type { WorldStores } from "./world";

/** A gateway of its own for each world, in this process and without sockets, given up with it. `ranges`: physical partitions. */
export const azureStores = async (clock: Ports["clock"], ranges = 4): Promise<WorldStores> => {
  const gateway = await startCosmosGateway({ ranges });
  const cosmos = openCosmos({ endpoint: gateway.endpoint, database: "sim", credential: { key: gateway.key }, httpClient: gateway.httpClient }, { clock: systemClock, random: systemRandom });
  await createCosmosContainers(cosmos.client, "sim");
  const messages = memorySqlite();
  return {
    eventStore: cosmosEventStore(cosmos, partitionOf),
    views: cosmosViews(cosmos),
    bus: sqliteBus(messages, clock),
    async end() {
      cosmos.close();
      await Promise.all([gateway.close(), messages.close()]);
    },
  };
};

/** The same, with the feed in the order of appends, so that a seed takes the same course as on SQLite. */
export const azureStoresInOrder = async (clock: Ports["clock"]): Promise<WorldStores> => {
  const stores = await azureStores(clock, 2);
  return { ...stores, eventStore: inOrderOfAppends(stores.eventStore) };
};

const nameOf = ({ stream, version }: Pick<Commit, "stream" | "version">): string => `${stream}@${version}`;

/**
 * The port promises the order of the feed within a stream only. Here commits are told in the order in which they were appended, with
 * numbers for positions, as SQLite happens to do; each still has to come out of the store's own feed, whole and in the order of its stream.
 */
export const inOrderOfAppends = (store: EventStore): EventStore => {
  let order: { readonly name: string; readonly partition: string; readonly position: number }[] = [];
  const names = new Set<string>();
  const live = feedOf(store);
  let last = 0;
  return {
    ...store,
    async append(commits) {
      const outcomes = await store.append(commits);
      commits.forEach((commit, index) => {
        const name = nameOf(commit);
        if (outcomes[index] !== "ok" || names.has(name)) return;
        names.add(name);
        order.push({ name, partition: commit.partition, position: ++last });
      });
      return outcomes;
    },
    async forget(partition) {
      await store.forget(partition);
      for (const one of order) if (one.partition === partition) names.delete(one.name);
      order = order.filter((one) => one.partition !== partition);
      live.forget(partition);
    },
    async readFeed(position, limit) {
      const from = position === undefined ? 0 : Number(position);
      // From the start everything is read anew, and nothing may come that is not stored.
      const feed = position === undefined ? feedOf(store) : live;
      if (position === undefined) await feed.readToEnd(limit, names);
      const page = order.slice(firstAfter(order, from)).slice(0, limit);
      for (const { name } of page) await feed.readUntil(name, limit);
      return { commits: page.map(({ name }) => feed.commit(name)), position: String(page.at(-1)?.position ?? from) };
    },
  };
};

const firstAfter = (order: readonly { readonly position: number }[], from: number): number => {
  let [low, high] = [0, order.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((order[middle] as { position: number }).position > from) high = middle;
    else low = middle + 1;
  }
  return low;
};

/** What the store's own feed has told so far, read from its start. */
const feedOf = (store: EventStore) => {
  const commits = new Map<string, Commit>();
  let position: string | undefined;
  const readPage = async (limit: number): Promise<readonly Commit[]> => {
    const page = await store.readFeed(position, limit);
    if (page.commits.length > limit) throw new Error(`The feed told ${page.commits.length} commits; ${limit} were asked for.`);
    position = page.position;
    for (const commit of page.commits) {
      if (commit.version > 1 && !commits.has(nameOf({ stream: commit.stream, version: commit.version - 1 }))) throw new Error(`The feed told ${nameOf(commit)} before its predecessor.`);
      commits.set(nameOf(commit), commit);
    }
    return page.commits;
  };
  return {
    async readUntil(name: string, limit: number): Promise<void> {
      while (!commits.has(name)) if ((await readPage(limit)).length === 0) throw new Error(`The feed does not tell ${name}.`);
    },
    async readToEnd(limit: number, stored: ReadonlySet<string>): Promise<void> {
      for (let page = await readPage(limit); page.length > 0; page = await readPage(limit)) {
        const stray = page.find((commit) => !stored.has(nameOf(commit)));
        if (stray) throw new Error(`The feed told ${nameOf(stray)}, which is not stored.`);
      }
    },
    commit: (name: string): Commit => commits.get(name) as Commit,
    forget(partition: string): void {
      for (const [name, commit] of commits) if (commit.partition === partition) commits.delete(name);
    },
  };
};
