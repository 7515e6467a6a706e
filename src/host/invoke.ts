// One invocation: a trigger's value goes through the library's own invocation model to the handler, hooks around it, and
// the result comes back. This is the hot path of every trigger; it decides nothing about retries or settling.

import { log, registry } from "./functionsCore";
import type { InvocationResponse, RegisteredFunction, TypedData } from "./functionsCore";
import { systemClock } from "./clock";
import type { HostClock } from "./clock";

export interface Call {
  /** The trigger's own value. */
  readonly data: TypedData | undefined;
  readonly triggerMetadata?: Record<string, TypedData | undefined>;
  readonly retryContext?: RetryContext;
  readonly invocationId?: string;
}

export interface RetryContext {
  readonly retryCount: number;
  /** -1: without end. */
  readonly maxRetryCount: number;
  readonly exception: { readonly message: string; readonly source: string; readonly stackTrace: string };
}

/** What a handler did: its result or its error, and how to turn a result into the library's answer. */
export interface Outcome {
  readonly result: unknown;
  readonly failed: boolean;
  readonly error: unknown;
  respond(result: unknown): Promise<InvocationResponse>;
}

/** Values for inputs besides the trigger, by lower-case binding type, set by the host that runs. */
export type InputProviders = Map<string, (fn: RegisteredFunction) => TypedData>;

export interface Invoker {
  /** Runs the handler; its error is part of the outcome, only the host's own faults throw. */
  run(fn: RegisteredFunction, call: Call): Promise<Outcome>;
  /** Runs the handler and answers with the library's response. Throws what the handler threw. */
  invoke(fn: RegisteredFunction, call: Call): Promise<InvocationResponse>;
  /** Waits until no invocation runs, at most so long; true when it is quiet. */
  drain(milliseconds: number): Promise<boolean>;
  readonly active: number;
}

/** Makes an invoker over the registry. */
export function createInvoker(inputs: InputProviders, clock: HostClock = systemClock): Invoker {
  let active = 0;
  const quiet = new Set<() => void>();

  async function run(fn: RegisteredFunction, call: Call): Promise<Outcome> {
    active++;
    try {
      return await execute(fn, call, call.invocationId ?? clock.uuid(), inputs);
    } finally {
      if (--active === 0) for (const resolve of quiet) resolve();
    }
  }

  return {
    run,
    async invoke(fn, call) {
      const outcome = await run(fn, call);
      if (outcome.failed) throw outcome.error;
      return outcome.respond(outcome.result);
    },
    drain(milliseconds) {
      if (active === 0) return Promise.resolve(true);
      return new Promise((resolve) => {
        const settle = (ended: boolean): void => {
          quiet.delete(whenQuiet);
          stop();
          resolve(ended);
        };
        const whenQuiet = (): void => settle(true);
        const stop = clock.after(milliseconds, () => settle(false));
        quiet.add(whenQuiet);
      });
    },
    get active() {
      return active;
    },
  };
}

/** The JSON or plain value that a function returned; undefined for none. */
export function returnedValue(response: InvocationResponse): unknown {
  const data = response.returnValue;
  if (!data) return undefined;
  if (data.json !== undefined && data.json !== null) return JSON.parse(data.json);
  return data.string ?? data.bytes ?? data.int ?? data.double ?? data.http;
}

interface CoreContext {
  readonly invocationId: string;
  readonly metadata: object;
  state: "preInvocationHooks" | "invocation" | "postInvocationHooks" | undefined;
  readonly request: object;
  log(level: string, category: string, message: string): void;
}

async function execute(fn: RegisteredFunction, call: Call, invocationId: string, inputs: InputProviders): Promise<Outcome> {
  const model = registry.model;
  if (!model) throw new Error("No programming model is registered: load the app first.");
  const core = coreContext(fn, call, invocationId, inputs);
  const invocation = model.getInvocationModel(core);
  const { context, inputs: parameters } = await invocation.getArguments();
  const hookData = {};
  const before = { hookData, appHookData: registry.appHookData, invocationContext: context, inputs: parameters, functionCallback: fn.callback };
  if (registry.hooks.preInvocation.length > 0) {
    core.state = "preInvocationHooks";
    for (const hook of registry.hooks.preInvocation) await hook(before);
  }
  core.state = "invocation";
  const after: Ended = { result: null, error: null };
  try {
    after.result = await invocation.invokeFunction(context, before.inputs, before.functionCallback);
  } catch (error) {
    after.error = error ?? new Error(`${fn.name} threw ${String(error)}`);
  }
  const ended = registry.hooks.postInvocation.length > 0 ? await afterHooks(core, before, after) : after;
  core.state = undefined;
  return {
    result: ended.result,
    failed: ended.error !== null && ended.error !== undefined,
    error: ended.error,
    respond: (result) => invocation.getResponse(context, result),
  };
}

interface Ended {
  result: unknown;
  error: unknown;
}

async function afterHooks(core: CoreContext, before: { hookData: object; invocationContext: object; inputs: unknown[] }, outcome: Ended): Promise<Ended> {
  core.state = "postInvocationHooks";
  const { hookData, invocationContext, inputs } = before;
  const context = { hookData, appHookData: registry.appHookData, invocationContext, inputs, ...outcome };
  for (const hook of registry.hooks.postInvocation) await hook(context);
  return context;
}

function coreContext(fn: RegisteredFunction, call: Call, invocationId: string, providers: InputProviders): CoreContext {
  const inputData: { name: string; data: TypedData | undefined }[] = [{ name: fn.triggerName, data: call.data }];
  for (const { name, binding } of fn.inputs) {
    const provide = providers.get(binding.type.toLowerCase());
    if (!provide) throw new Error(`Function "${fn.name}": the local host has no input binding "${binding.type}".`);
    inputData.push({ name, data: provide(fn) });
  }
  const traceId = invocationId.replaceAll("-", "");
  return {
    invocationId,
    metadata: fn.metadata,
    state: undefined,
    request: {
      invocationId,
      functionId: fn.metadata.functionId ?? fn.name,
      inputData,
      triggerMetadata: call.triggerMetadata ?? {},
      retryContext: call.retryContext,
      traceContext: { traceParent: `00-${traceId}-${traceId.slice(16)}-00`, traceState: "", attributes: {} },
    },
    log: (level, category, message) => log(level, category, message, fn.name, invocationId),
  };
}
