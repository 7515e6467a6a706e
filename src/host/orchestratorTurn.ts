// One turn of one orchestrator function: builds the trigger value from the history, invokes the function, and reads its
// answer. It stores nothing and decides nothing.

import type { RegisteredFunction } from "./functionsCore";
import { log } from "./functionsCore";
import type { Invoker } from "./invoke";
import type { Action, HistoryEvent } from "./replay";
import { messageOf } from "./retry";

/** What the SDK answered: every action since the start, and how the generation ended if it did. */
export interface OrchestratorState {
  readonly isDone: boolean;
  readonly actions: readonly Action[];
  readonly output: unknown;
  /** Undefined: unchanged. */
  readonly customStatus: unknown;
  readonly error: string | undefined;
}

/** The SDK reports a failed orchestrator by throwing; the state is in the message behind this mark. */
const outOfProcessMark = "$OutOfProcData$:";

/**
 * Runs the function over past turns (JSON texts of events) and this turn's new ones. `input` is JSON. A function that throws
 * without a state has failed with no actions.
 */
export async function runOrchestrator(
  invoker: Invoker,
  fn: RegisteredFunction,
  instance: { readonly id: string; readonly input: string },
  past: readonly string[],
  fresh: readonly HistoryEvent[],
): Promise<OrchestratorState> {
  const history = [...past, ...fresh.map((event) => JSON.stringify(event))].join(",");
  const changing = `"history":[${history}],"input":${instance.input},"instanceId":${JSON.stringify(instance.id)},"isReplaying":${past.length > 0}`;
  const binding = `{${changing},${constantFields}}`;
  const outcome = await invoker.run(fn, { data: { string: binding }, triggerMetadata: { instanceId: { string: instance.id } } });
  if (outcome.failed) return failedState(outcome.error);
  const state = outcome.result as RawState;
  warnOfRepeatedActions(fn.name, state.actions[0] ?? []);
  return readState(state);
}

const constantFields = [
  '"parentInstanceId":null',
  '"upperSchemaVersion":1',
  '"upperSchemaVersionNew":3',
  '"maximumShortTimerDuration":"6.00:00:00"',
  '"longRunningTimerIntervalDuration":"3.00:00:00"',
  '"defaultHttpAsyncRequestSleepTimeMillseconds":30000',
].join(",");

interface RawState {
  readonly isDone: boolean;
  readonly actions: readonly (readonly Action[])[];
  readonly output?: unknown;
  readonly customStatus?: unknown;
  readonly error?: string;
}

function readState(state: RawState): OrchestratorState {
  return { isDone: state.isDone, actions: state.actions[0] ?? [], output: state.output, customStatus: state.customStatus, error: state.error };
}

function failedState(error: unknown): OrchestratorState {
  const message = messageOf(error);
  const mark = message.indexOf(outOfProcessMark);
  if (mark >= 0) return readState(JSON.parse(message.slice(mark + outOfProcessMark.length)) as RawState);
  return { isDone: true, actions: [], output: undefined, customStatus: undefined, error: message };
}

const warned = new Set<string>();

/**
 * The real host cannot tell that two actions are the same task, and would run it twice; here they are the same object.
 * Putting a task that was yielded before into another Task.any or Task.all does that.
 */
function warnOfRepeatedActions(name: string, actions: readonly Action[]): void {
  if (warned.has(name)) return;
  const seen = new Set<Action>();
  const repeated = (action: Action): boolean => {
    if (action.compoundActions) return action.compoundActions.some(repeated);
    if (seen.has(action)) return true;
    seen.add(action);
    return false;
  };
  if (!actions.some(repeated)) return;
  warned.add(name);
  log("error", "system", "This orchestrator puts a task that it already yielded into another Task.any or Task.all: the task runs twice.", name);
}
