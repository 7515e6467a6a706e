// The only orchestrator body: look (an activity), wait for a nudge or a deadline, begin again. Uses only activity, timer,
// external event and continue-as-new. A nudge that comes while it looks is waiting when it waits; one that is lost with an
// old generation was there before the next look.
import type { OrchestrationContext, Task } from "durable-functions";
import type { ProcessKind } from "../ports";
import type { Next } from "./step";

export interface ProcessInput {
  readonly kind: ProcessKind;
  readonly stream: string;
}

export const NUDGE = "nudge";
export const STEP = "step";
const AGAIN_MS = 5_000;

export function* loop(context: OrchestrationContext): Generator<Task, void, unknown> {
  const input = context.df.getInput() as ProcessInput;
  let next: Next;
  try {
    next = (yield context.df.callActivity(STEP, input)) as Next;
  } catch {
    // Whatever stood in the way (it has been logged where it happened), the process goes on: it looks again after a while.
    next = { wakeAt: new Date(context.df.currentUtcDateTime.getTime() + AGAIN_MS).toISOString() };
  }
  if (next.done) return;
  const nudge = context.df.waitForExternalEvent(NUDGE);
  if (next.wakeAt === undefined) yield nudge;
  else {
    const timer = context.df.createTimer(new Date(next.wakeAt));
    const first = yield context.df.Task.any([nudge, timer]);
    if (first !== timer) timer.cancel();
  }
  context.df.continueAsNew(input);
}
