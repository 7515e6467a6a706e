// The commit feed: every commit becomes rows, then effects, then messages of the topic `events`. A batch that fails is tried again
// until it passes, or what is wrong with it is parked: none is ever skipped, and what passed before is recognised.
import { type InvocationContext, app } from "@azure/functions";
import * as df from "durable-functions";
import { followFeed } from "../src/app/feed";
import { commitsFrom, portsFor } from "../src/compose";

app.cosmosDB("onCommits", {
  connection: "Cosmos",
  databaseName: "batchledger",
  containerName: "events",
  leaseContainerName: "leases",
  createLeaseContainerIfNotExists: false,
  startFromBeginning: true,
  maxItemsPerInvocation: 500,
  extraInputs: [df.input.durableClient()],
  retry: { strategy: "exponentialBackoff", maxRetryCount: -1, minimumInterval: { seconds: 1 }, maximumInterval: { seconds: 30 } },
  handler: async (documents: unknown[], context: InvocationContext) => {
    const ports = portsFor(context);
    await followFeed(ports, commitsFrom(documents), context.retryContext?.retryCount ?? 0, ports.clock.now().toISOString());
  },
});
