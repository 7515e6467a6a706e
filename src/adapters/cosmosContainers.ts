// The containers on Cosmos DB: names, partition keys, what is indexed, what expires. The infrastructure declares the same ones;
// this is the one place that says what they are. It reads and writes no document.

import { type ContainerRequest, type CosmosClient, PartitionKeyDefinitionVersion, PartitionKeyKind } from "@azure/cosmos";

/** Where every document of `events` and `views` keeps its partition key. */
const keyAt = (path: string) => ({ paths: [path], kind: PartitionKeyKind.Hash, version: PartitionKeyDefinitionVersion.V2 });

/** Everything is excluded but these: each indexed value costs on every write. `id` is always indexed by the service. */
const onlyIndexed = (...paths: readonly string[]): NonNullable<ContainerRequest["indexingPolicy"]> => ({
  indexingMode: "consistent",
  automatic: true,
  includedPaths: paths.map((path) => ({ path })),
  excludedPaths: [{ path: "/*" }],
});

/**
 * `events`: a document a commit, created once, never changed; its feed is the feed of commits.
 * `views`: a document a row, and one for the counters of a partition that has any; index values lie below `/x`.
 * `leases`: how far the Functions trigger has read the feed of `events`.
 * Nothing expires: retired jobs are forgotten by partition.
 */
export const cosmosContainers = {
  events: { id: "events", partitionKey: keyAt("/p"), indexingPolicy: onlyIndexed("/p/?") },
  views: { id: "views", partitionKey: keyAt("/p"), indexingPolicy: onlyIndexed("/p/?", "/x/*") },
  leases: { id: "leases", partitionKey: keyAt("/id") },
} as const satisfies Record<string, ContainerRequest>;

/**
 * Indexes whose values begin with the partition of their row and "/": a query that names the partition in its prefix asks that
 * partition alone, and costs the same however large the account grows. By view.
 */
export const cosmosPartitionedIndexes: Readonly<Record<string, readonly string[]>> = {
  errands: ["tvm"],
  rooms: ["spread", "pack"],
  tvms: ["pool"],
  jobs: ["workItem"],
  pools: ["name"],
  workItems: ["name"],
  processes: ["seen"],
};

/** Makes the database and its containers where they are missing: for stand-ins; on Azure the infrastructure does it. */
export async function createCosmosContainers(client: CosmosClient, database: string): Promise<void> {
  const made = await client.databases.createIfNotExists({ id: database });
  for (const container of Object.values(cosmosContainers)) await made.database.containers.createIfNotExists(container);
}
