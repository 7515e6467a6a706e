// The commit feed: every commit becomes rows, then effects. A batch that fails is tried again until it passes: none is ever
// skipped, and what passed before is recognised.
import { type InvocationContext, app } from "@azure/functions";
import * as df from "durable-functions";
import { projectFeed } from "../src/app/project";
import { reactTo } from "../src/app/react";
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
    const commits = commitsFrom(documents);
    await projectFeed(ports, commits);
    await reactTo(ports, commits, ports.clock.now().toISOString());
  },
});
