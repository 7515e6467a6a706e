// What happens by the clock: the sweep, which repeats lost hints and notices silent TVMs.
import { app } from "@azure/functions";
import * as df from "durable-functions";
import { sweep } from "../src/app/sweep";
import { portsFor } from "../src/compose";

app.timer("sweep", {
  schedule: "*/10 * * * * *",
  useMonitor: false,
  extraInputs: [df.input.durableClient()],
  handler: async (_timer, context) => {
    const ports = portsFor(context);
    await sweep(ports, ports.clock.now().toISOString());
  },
});
