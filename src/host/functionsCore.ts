// Stands in for the module '@azure/functions-core' that the Functions worker provides: keeps what the app registers.
// It is one stable object a process, because @azure/functions asks for it once and never again. It runs nothing: the
// registry outlives every host that is started on it, so that tests may start and stop hosts without loading the app twice.

import Module from "node:module";

/** A value on its way into the library, as the host's wire format has it; exactly one member is set. */
export interface TypedData {
  readonly string?: string;
  readonly json?: string;
  readonly bytes?: Uint8Array;
  readonly int?: number;
  /** The library hands a `double` over untouched, whatever it is: see `byReference`. */
  readonly double?: unknown;
  readonly http?: Record<string, unknown>;
}

export interface Binding {
  readonly type: string;
  readonly direction?: string;
  readonly [option: string]: unknown;
}

export interface RetryOptions {
  readonly retryStrategy?: string;
  readonly maxRetryCount?: number;
  readonly delayInterval?: { readonly seconds?: number };
  readonly minimumInterval?: { readonly seconds?: number };
  readonly maximumInterval?: { readonly seconds?: number };
}

export interface FunctionMetadata {
  readonly name: string;
  readonly functionId?: string;
  readonly bindings: Readonly<Record<string, Binding>>;
  readonly retryOptions?: RetryOptions;
}

export type FunctionCallback = (...parameters: unknown[]) => unknown;

export interface RegisteredFunction {
  readonly name: string;
  readonly metadata: FunctionMetadata;
  readonly callback: FunctionCallback;
  /** Lower case: `httptrigger`, `timertrigger`, ... */
  readonly kind: string;
  readonly trigger: Binding;
  readonly triggerName: string;
  /** Inputs besides the trigger. */
  readonly inputs: readonly { readonly name: string; readonly binding: Binding }[];
}

export interface InvocationModel {
  getArguments(): Promise<{ context: object; inputs: unknown[] }>;
  invokeFunction(context: object, inputs: unknown[], callback: FunctionCallback): Promise<unknown>;
  getResponse(context: object, result: unknown): Promise<InvocationResponse>;
}

export interface InvocationResponse {
  returnValue?: ReturnedData | null;
  outputData?: { name: string; data: ReturnedData }[];
}

export interface ReturnedData extends TypedData {
  readonly http?: Record<string, unknown>;
}

export interface ProgrammingModel {
  getInvocationModel(context: object): InvocationModel;
  getCapabilities(capabilities: Record<string, string>): Promise<Record<string, string>>;
}

export type HookName = "appStart" | "appTerminate" | "preInvocation" | "postInvocation" | "log";
export type Hook = (context: Record<string, unknown>) => unknown;
export type LogSink = (level: string, category: string, message: string, functionName?: string, invocationId?: string) => void;

/** What the app registered, and where its log lines go. */
export interface Registry {
  readonly functions: Map<string, RegisteredFunction>;
  readonly hooks: Readonly<Record<HookName, Hook[]>>;
  model: ProgrammingModel | undefined;
  /** While sealed nothing can be registered, as after start-up of the real host. */
  sealed: boolean;
  /** Set by the host that runs. */
  sink: LogSink;
  readonly appHookData: Record<string, unknown>;
}

export const registry: Registry = {
  functions: new Map(),
  hooks: { appStart: [], appTerminate: [], preInvocation: [], postInvocation: [], log: [] },
  model: undefined,
  sealed: false,
  sink: () => {},
  appHookData: {},
};

/** Hands a value to the handler as it is, without writing and parsing JSON: the receiver must not change it. */
export const byReference = (value: unknown): TypedData => ({ double: value });

/** Logs for the app or the host itself: `log` hooks first, then the sink of the running host. */
export function log(level: string, category: string, message: string, functionName?: string, invocationId?: string): void {
  for (const hook of registry.hooks.log) {
    try {
      hook({ hookData: {}, appHookData: registry.appHookData, level, message, category });
    } catch {
      // a log hook may not break logging
    }
  }
  registry.sink(level, category, message, functionName, invocationId);
}

/** The registered function of a trigger kind by name; names compare without case. */
export function findFunction(kind: string, name: string): RegisteredFunction | undefined {
  const exact = registry.functions.get(name);
  if (exact?.kind === kind) return exact;
  const wanted = name.toLowerCase();
  for (const fn of registry.functions.values()) if (fn.kind === kind && fn.name.toLowerCase() === wanted) return fn;
  return undefined;
}

/** All functions of a trigger kind that are not disabled by `AzureWebJobs.<name>.Disabled=true`. */
export function functionsOf(kind: string): RegisteredFunction[] {
  return [...registry.functions.values()].filter((fn) => fn.kind === kind && process.env[`AzureWebJobs.${fn.name}.Disabled`] !== "true");
}

/** Replaces `%NAME%` by the app setting of that name. Throws when there is none. */
export function resolveSettings(text: string): string {
  return text.replace(/%([^%]+)%/g, (_whole, name: string) => {
    const value = process.env[name];
    if (value === undefined) throw new Error(`'%${name}%' does not resolve to a value: no app setting has that name.`);
    return value;
  });
}

/** The module's exports, as @azure/functions uses them. */
export const coreApi = {
  version: "3.99.0-local",
  hostVersion: "4.1052.0-local",
  log: (level: string, category: string, message: string): void => log(level, category, message),
  setProgrammingModel: (model: ProgrammingModel): void => {
    registry.model = model;
  },
  getProgrammingModel: (): ProgrammingModel | undefined => registry.model,
  registerHook,
  registerFunction,
  get Disposable(): typeof Disposable {
    return Disposable;
  },
};

/** Makes `require("@azure/functions-core")` answer with `coreApi`; call before the app is loaded. Returns the way back. */
export function provideCoreModule(): () => void {
  const loader = Module as unknown as { _load(request: string, ...rest: unknown[]): unknown };
  const load = loader._load;
  loader._load = function (request, ...rest) {
    return request === "@azure/functions-core" ? coreApi : load.call(this, request, ...rest);
  };
  return () => {
    loader._load = load;
  };
}

function registerHook(name: string, callback: Hook): Disposable {
  const list = (registry.hooks as Record<string, Hook[]>)[name];
  if (!list) throw Object.assign(new RangeError(`Unrecognized hook "${name}"`), { isAzureFunctionsSystemError: true });
  list.push(callback);
  return new Disposable(() => {
    const index = list.indexOf(callback);
    if (index >= 0) list.splice(index, 1);
  });
}

function registerFunction(metadata: FunctionMetadata, callback: FunctionCallback): Disposable {
  if (registry.sealed) throw new Error("A function can only be registered during app startup.");
  const id = metadata.functionId ?? metadata.name;
  if (registry.functions.has(id)) throw new Error(`A function with id "${id}" has already been registered.`);
  const bindings = Object.entries(metadata.bindings);
  const found = bindings.find(([, binding]) => /trigger$/i.test(binding.type));
  if (!found) throw new Error(`Function "${id}" has no trigger.`);
  const [triggerName, trigger] = found;
  registry.functions.set(id, {
    name: metadata.name,
    metadata,
    callback,
    kind: trigger.type.toLowerCase(),
    trigger,
    triggerName,
    inputs: bindings.filter(([name, binding]) => name !== triggerName && binding.direction === "in").map(([name, binding]) => ({ name, binding })),
  });
  return new Disposable(() => {
    registry.functions.delete(id);
  });
}

class Disposable {
  #undo: (() => unknown) | undefined;
  static from(...disposables: { dispose(): unknown }[]): Disposable {
    return new Disposable(() => disposables.forEach((disposable) => disposable.dispose()));
  }
  constructor(undo: () => unknown) {
    this.#undo = undo;
  }
  dispose(): unknown {
    const undo = this.#undo;
    this.#undo = undefined;
    return undo?.();
  }
}
