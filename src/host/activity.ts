// Runs one activity and says how it ended, as a history event: a throw, a missing function and a time-out are ends too.
// It stores nothing.

import { protocolEvent } from "./durableEvents";
import { findFunction, log } from "./functionsCore";
import type { TypedData } from "./functionsCore";
import type { HostClock } from "./clock";
import { returnedValue } from "./invoke";
import type { Call, Invoker } from "./invoke";
import { eventType } from "./replay";
import type { HistoryEvent } from "./replay";
import { messageOf } from "./retry";
import type { WorkRow } from "./taskHubStore";

/** Resolves with TaskCompleted or TaskFailed; after the time with TaskFailed, whatever the handler still does. */
export function runActivity(invoker: Invoker, clock: HostClock, timeoutMs: number, work: WorkRow): Promise<HistoryEvent> {
  return new Promise((resolve) => {
    const cancel = clock.after(timeoutMs, () => resolve(failed(work, clock, new Error(`Timeout value of ${timeoutMs} ms was exceeded.`))));
    void perform(invoker, clock, work).then((event) => {
      cancel();
      resolve(event);
    });
  });
}

async function perform(invoker: Invoker, clock: HostClock, work: WorkRow): Promise<HistoryEvent> {
  try {
    const fn = findFunction("activitytrigger", work.name);
    if (!fn) throw new Error(`The function '${work.name}' doesn't exist, is disabled, or is not an activity function.`);
    const result = returnedValue(await invoker.invoke(fn, callOf(work)));
    const json = result instanceof Uint8Array ? Buffer.from(result).toString("base64") : (result ?? null);
    return ended(work, eventType.taskCompleted, clock, { Result: JSON.stringify(json) });
  } catch (error) {
    return failed(work, clock, error);
  }
}

function ended(work: WorkRow, type: number, clock: HostClock, more: Record<string, unknown>): HistoryEvent {
  return protocolEvent(type, clock.now(), { TaskScheduledId: work.task, ...more });
}

function failed(work: WorkRow, clock: HostClock, error: unknown): HistoryEvent {
  const message = messageOf(error);
  const details = error instanceof Error ? (error.stack ?? message) : message;
  log("error", "user", details, work.name);
  return ended(work, eventType.taskFailed, clock, {
    Reason: `Activity function '${work.name}' failed: ${message}`,
    Details: details,
    FailureDetails: failureDetails(message),
  });
}

/** Scalars reach an activity as .NET prints them: the SDK has encoded strings as JSON already, true becomes "True". */
function callOf(work: WorkRow): Call {
  const triggerMetadata: Record<string, TypedData> = { instanceId: { string: work.id } };
  if (work.input === null || work.input === "null") return { data: undefined, triggerMetadata };
  triggerMetadata["data"] = { json: work.input };
  const value: unknown = JSON.parse(work.input);
  const text = typeof value === "object" ? work.input : typeof value === "boolean" ? (value ? "True" : "False") : String(value);
  return { data: { string: text }, triggerMetadata };
}

/** An app with an exception properties provider throws its failures as JSON. */
function failureDetails(message: string): Record<string, unknown> | null {
  if (!message.startsWith("{")) return null;
  try {
    const { errorType, errorMessage, stackTrace, isNonRetriable, properties } = JSON.parse(message) as Record<string, unknown>;
    if (typeof errorType !== "string" || typeof errorMessage !== "string") return null;
    return {
      ErrorType: errorType,
      ErrorMessage: errorMessage,
      StackTrace: stackTrace,
      IsNonRetriable: isNonRetriable === true,
      Properties: properties,
    };
  } catch {
    return null;
  }
}
