// Statistics of jobs and work items: sums of the counters that task rows move, so reading them costs the same however many
// tasks there were. They are of all that the job did, deleted tasks included; a deleted job takes its own with it.
import type { Used } from "../domain/usage";
import type { Ports } from "../ports";
import { tasks } from "../views/tasks";

/** `prefix`: `{job key}/` for one job, `{work item key with generation}.` for all jobs of a work item. */
export const usedUnder = async (ports: Pick<Ports, "views">, prefix: string): Promise<Used> => {
  const counters = await ports.views.counters(tasks, prefix);
  const of = (name: string): number => counters[name] ?? 0;
  return {
    cpuMs: of("cpuUs") / 1000,
    kernelMs: of("kernelUs") / 1000,
    wallMs: of("wallMs"),
    waitMs: of("waitMs"),
    succeeded: of("completed") - of("failed") + of("goneSucceeded"),
    failed: of("failed") + of("goneFailed"),
    retries: of("retries") + of("goneRetries"),
  };
};
