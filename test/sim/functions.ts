// The shipped functions, as they register themselves with the library: loaded once, and called with what the platform would
// hand over. It changes nothing about them; what it replaces is the durable client that an invocation is given.
import { readdirSync } from "node:fs";
import path from "node:path";
import { usePorts } from "../../src/compose";
import { type RegisteredFunction, functionsOf, provideCoreModule, registry } from "../../src/host/functionsCore";
import type { BasePorts } from "../../src/compose";

/** What Durable Functions' client can do, as far as the service uses it. */
export interface DurableClient {
  startNew(orchestrator: string, options: { instanceId: string; input: unknown }): Promise<string>;
  raiseEvent(instanceId: string, name: string, data: unknown): Promise<void>;
}

export interface TriggerContext {
  readonly retryContext?: { readonly retryCount: number };
  readonly triggerMetadata?: Readonly<Record<string, unknown>>;
  readonly signal?: AbortSignal;
}

const folder = path.resolve(__dirname, "..", "..", "functions");

/** Registers all functions of the app, the first time: their timers depend on how the service is set up. */
export const loadFunctions = (policy: BasePorts["policy"]): void => {
  if (registry.functions.size > 0) return;
  usePorts({ policy } as BasePorts);
  const restore = provideCoreModule();
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts"))) require(path.join(folder, file));
  restore();
  // The library finds it there at each call.
  const library = require("durable-functions/lib/src/durableClient/getClient") as { getClient(context: unknown): unknown };
  library.getClient = (context) => (context as { client: unknown }).client;
};

export const functionNamed = (name: string): RegisteredFunction => {
  const found = registry.functions.get(name);
  if (!found) throw new Error(`The app registers no function ${name}.`);
  return found;
};

export const functionsFor = (kind: string): RegisteredFunction[] => functionsOf(kind);

/** Calls a function in a process that has these ports: handlers take theirs before they wait for anything. */
export const callFunction = async (fn: RegisteredFunction, ports: BasePorts, client: DurableClient, trigger: unknown, more: TriggerContext = {}): Promise<unknown> => {
  const context = { functionName: fn.name, options: { extraInputs: fn.inputs.map(({ binding }) => binding) }, client, triggerMetadata: {}, ...more };
  usePorts(ports);
  return fn.callback(trigger, context);
};
