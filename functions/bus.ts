// Messages: submissions, reports of agents, and wakes of pools. A message that cannot be understood is refused each time it
// comes, and so ends among the dead letters with the reason.
import { app } from "@azure/functions";
import * as df from "durable-functions";
import { handleCommandMessage } from "../src/api/commands";
import { schedulePool } from "../src/app/place";
import { acceptReports } from "../src/app/report";
import { parseWake } from "../src/app/wakes";
import { portsFor } from "../src/compose";

app.serviceBusQueue("onCommand", {
  connection: "ServiceBus",
  queueName: "commands",
  handler: async (message, context) => {
    const ports = portsFor(context);
    await handleCommandMessage(ports, message, context.triggerMetadata ?? {}, ports.clock.now().toISOString());
  },
});

app.serviceBusQueue("onReports", {
  connection: "ServiceBus",
  queueName: "reports",
  cardinality: "many",
  handler: async (messages, context) => {
    const ports = portsFor(context);
    const at = ports.clock.now().toISOString();
    // Each on its own, so that a malformed one does not take the others with it; those that passed change nothing again.
    const results = await Promise.allSettled((messages as unknown[]).map((message) => acceptReports(ports, message, at)));
    const failed = results.find((result) => result.status === "rejected");
    if (failed) throw failed.reason;
  },
});

app.serviceBusQueue("schedulePool", {
  connection: "ServiceBus",
  queueName: "wakes",
  isSessionsEnabled: true,
  cardinality: "many",
  extraInputs: [df.input.durableClient()],
  handler: async (messages, context) => {
    const ports = portsFor(context);
    const wakes = (messages as unknown[]).map(parseWake);
    const pool = wakes[0]?.pool;
    if (pool !== undefined) await schedulePool(ports, pool, wakes, ports.clock.now().toISOString());
  },
});
