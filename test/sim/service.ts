// Service processes: copies of the app that share the stores and remember nothing in common. Every call of a port is an event of
// its own, at which it may be refused, lost, doubled, delayed, or the process killed; a killed process never gets an answer, and
// its next one begins with an empty memory. It knows functions and ports, and nothing of what they do.
import { AsyncLocalStorage } from "node:async_hooks";
import { localSignals } from "../../src/adapters/localSignals";
import { Busy } from "../../src/app/execute";
import type { BasePorts } from "../../src/compose";
import type { RegisteredFunction } from "../../src/host/functionsCore";
import type { Seeded } from "../support/seeded";
import { type Profile, latency, portFault } from "./faults";
import { type DurableClient, type TriggerContext, callFunction } from "./functions";
import { type Timeline, clockOn } from "./timeline";

/** A run of a function: what it read that checkers want to know. */
export interface Invocation {
  readonly id: number;
  readonly name: string;
  readonly tvms: Map<string, string>;
  readonly jobs: Map<string, number>;
  readonly waiting: Map<string, { readonly tasks: readonly string[]; readonly blocking: readonly string[] }>;
}

export interface Process {
  readonly name: string;
  readonly ports: BasePorts;
  readonly client: DurableClient;
  alive: boolean;
  /** Runs under way, and whom to tell when the process dies. */
  readonly underWay: Map<Invocation, () => void>;
}

export type Ended = { readonly kind: "done"; readonly value: unknown } | { readonly kind: "failed"; readonly error: Error } | { readonly kind: "killed" };

/** What all processes share: the stores themselves. */
export type Stores = Pick<BasePorts, "eventStore" | "views" | "bus" | "files" | "certificates" | "machines" | "accounts" | "sealer" | "policy" | "random">;

export interface ServiceOptions {
  readonly timeline: Timeline;
  readonly random: Seeded;
  readonly stores: Stores;
  readonly client: DurableClient;
  readonly processes: number;
  profile(): Profile;
  trace(line: string): void;
  /** Called around each call that a process makes, as it happens. */
  onCall?(number: number): "killBefore" | "killAfter" | undefined;
  /** The answer of a port on its way to a run. */
  observe(invocation: Invocation | undefined, port: string, method: string, args: readonly unknown[], answer: unknown): void;
}

/** What this simulation itself made fail: everything else that fails is a fault of the service. */
export class Injected extends Error {}

export type Service = ReturnType<typeof createService>;

const LOG = { debug: () => {}, info: () => {}, warn: () => {} };

export const createService = (options: ServiceOptions) => {
  const { timeline, random, stores, trace } = options;
  const current = new AsyncLocalStorage<Invocation>();
  const processes: Process[] = [];
  let calls = 0;
  let invocations = 0;
  let starts = 0;
  let performing: Invocation | undefined;
  const errors: string[] = [];
  /** Runs of functions that failed, or ended with their process. */
  const unfinished: string[] = [];
  /** Failures that were not injected, and that no later try is for. */
  const broken = (what: string, error: Error): void => {
    if (error instanceof Injected || error instanceof Busy || (error as { hopeless?: boolean }).hopeless) return;
    errors.push(`${what}: ${error.stack ?? error.message}`);
  };

  const callPort = <T>(process: () => Process, port: string, method: string, args: readonly unknown[], perform: () => Promise<T>): Promise<T> => {
    const invocation = current.getStore();
    const number = ++calls;
    const profile = options.profile();
    const fault = options.onCall?.(number) ?? portFault(profile, random);
    return new Promise((resolve, reject) => {
      timeline.after(latency(profile, random), async () => {
        const self = process();
        if (!self.alive) return;
        trace(`${self.name} ${invocation?.name ?? "-"} ${port}.${method}${fault === "none" ? "" : ` ${fault}`}`);
        if (fault === "killBefore") return kill(self);
        if (fault === "refuse") return reject(new Injected(`${port}.${method} was refused`));
        let answer: T;
        try {
          performing = invocation;
          answer = await perform();
          performing = invocation;
          if (fault === "double") answer = await perform();
        } catch (error) {
          return reject(error as Error);
        }
        if (fault === "killAfter") return kill(self);
        if (fault === "loseAnswer") return reject(new Injected(`the answer of ${port}.${method} was lost`));
        options.observe(invocation, port, method, args, answer);
        resolve(answer);
      });
    });
  };

  /** The same port, each of its calls an event. */
  const remote = <P extends object>(process: () => Process, port: string, target: P, methods: readonly (keyof P & string)[]): P => {
    const calling = Object.fromEntries(methods.map((method) => [
      method,
      (...args: unknown[]) => callPort(process, port, method, args, () => (target[method] as (...all: unknown[]) => Promise<unknown>).call(target, ...args)),
    ]));
    return { ...target, ...calling };
  };

  const start = (slot: number): void => {
    const name = `s${slot}.${++starts}`;
    const self = (): Process => process;
    const alive = (): boolean => process.alive;
    const skew = options.profile().skewMs;
    const clock = clockOn(timeline, skew === 0 ? 0 : random.below(2 * skew) - skew, alive);
    const ports: BasePorts = {
      ...stores,
      eventStore: remote(self, "eventStore", stores.eventStore, ["append", "load", "history", "readFeed", "forget"]),
      views: remote(self, "views", stores.views, ["get", "write", "query", "keys", "counters", "forget", "clear"]),
      bus: remote(self, "bus", { send: stores.bus.send, publish: stores.bus.publish, deadLetters: stores.bus.deadLetters }, ["send", "publish", "deadLetters"]),
      files: remote(self, "files", stores.files, ["put", "stat", "read", "list", "remove", "signedUrl"]),
      certificates: remote(self, "certificates", stores.certificates, ["put", "get", "remove"]),
      machines: remote(self, "machines", stores.machines, ["ensure", "list", "remove"]),
      accounts: remote(self, "accounts", stores.accounts, ["keys"]),
      clock,
      signals: localSignals(clock),
      log: { ...LOG, error: (message, details) => details?.["error"] instanceof Error ? broken(message, details["error"]) : undefined },
    };
    const process: Process = { name, ports, client: remote(self, "orchestrations", options.client, ["startNew", "raiseEvent"]), alive: true, underWay: new Map() };
    processes[slot] = process;
    trace(`${name} starts`);
  };

  const kill = (process: Process): void => {
    if (!process.alive) return;
    process.alive = false;
    trace(`${process.name} is killed`);
    const told = [...process.underWay.values()];
    process.underWay.clear();
    timeline.after(100 + random.below(5_000), () => start(processes.indexOf(process)));
    for (const tell of told) tell();
  };

  for (let slot = 0; slot < options.processes; slot++) start(slot);

  return {
    errors,
    unfinished,
    calls: () => calls,
    /** Whose call a store is answering. */
    performing: () => performing,
    alive: () => processes.filter(({ alive }) => alive),
    /** One of the processes that live, or undefined. */
    pick(): Process | undefined {
      const alive = processes.filter((one) => one.alive);
      return alive.length === 0 ? undefined : random.oneOf(alive);
    },
    kill,
    /** Runs a function to its end, or to the end of its process: tells which, once. */
    run(process: Process, fn: RegisteredFunction, trigger: unknown, more: TriggerContext, ended: (how: Ended) => void): void {
      const invocation: Invocation = { id: ++invocations, name: `${fn.name}#${invocations}`, tvms: new Map(), jobs: new Map(), waiting: new Map() };
      process.underWay.set(invocation, () => {
        unfinished.push(invocation.name);
        ended({ kind: "killed" });
      });
      const conclude = (how: Ended): void => {
        if (!process.underWay.delete(invocation)) return;
        if (how.kind === "failed") {
          unfinished.push(invocation.name);
          broken(`${fn.name} failed`, how.error);
          trace(`${process.name} ${invocation.name} fails: ${how.error.message.slice(0, 160)}`);
        }
        ended(how);
      };
      current.run(invocation, () => callFunction(fn, process.ports, process.client, trigger, more)).then(
        (value) => conclude({ kind: "done", value }),
        (error: unknown) => conclude({ kind: "failed", error: error instanceof Error ? error : new Error(String(error)) }),
      );
    },
    /** For what is no function: the watch over machines. */
    within: <T>(name: string, work: () => T): T => current.run({ id: ++invocations, name: `${name}#${invocations}`, tvms: new Map(), jobs: new Map(), waiting: new Map() }, work),
  };
};
