// What happens by the clock: the sweep, which repeats lost hints and notices silent TVMs; samples of pools with autoscale, and
// the evaluation of their formulas.
import { app } from "@azure/functions";
import * as df from "durable-functions";
import { evaluateDue } from "../src/app/autoscale";
import { takeSamples } from "../src/app/samples";
import { sweep } from "../src/app/sweep";
import { autoScaleTimers, portsFor } from "../src/compose";

app.timer("sweep", {
  schedule: "*/10 * * * * *",
  useMonitor: false,
  extraInputs: [df.input.durableClient()],
  handler: async (_timer, context) => {
    const ports = portsFor(context);
    await sweep(ports, ports.clock.now().toISOString());
  },
});

app.timer("sample", {
  schedule: autoScaleTimers().sample,
  useMonitor: false,
  handler: async (_timer, context) => {
    const ports = portsFor(context);
    await takeSamples(ports, ports.clock.now().toISOString());
  },
});

app.timer("autoscale", {
  schedule: autoScaleTimers().evaluate,
  useMonitor: false,
  handler: async (_timer, context) => {
    const ports = portsFor(context);
    await evaluateDue(ports, ports.clock.now().toISOString());
  },
});
