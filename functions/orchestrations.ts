// The processes of pools, work items and jobs: one loop, registered once for each, and the activity that looks.
import type { InvocationContext } from "@azure/functions";
import * as df from "durable-functions";
import { portsFor } from "../src/compose";
import type { ProcessKind, Ports } from "../src/ports";
import { jobStep } from "../src/process/jobStep";
import { type ProcessInput, STEP, loop } from "../src/process/loop";
import { poolStep } from "../src/process/poolStep";
import type { Next } from "../src/process/step";
import { workItemStep } from "../src/process/workItemStep";

const steps: Record<ProcessKind, (ports: Ports, stream: string, at: string) => Promise<Next>> = {
  pool: poolStep,
  workItem: workItemStep,
  job: jobStep,
};

df.app.orchestration("poolProcess", loop);
df.app.orchestration("workItemProcess", loop);
df.app.orchestration("jobProcess", loop);

df.app.activity(STEP, {
  extraInputs: [df.input.durableClient()],
  handler: async (input: ProcessInput, context: InvocationContext): Promise<Next> => {
    const ports = portsFor(context);
    return steps[input.kind](ports, input.stream, ports.clock.now().toISOString());
  },
});
