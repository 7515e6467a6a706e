// The ports of this process, and of one invocation. Whoever starts the process gives them (the local service does); else they
// are composed from the settings that the platform gives the deployed app: Azure's own parts.
import type { InvocationContext } from "@azure/functions";
import * as df from "durable-functions";
import { durableOrchestrations } from "./adapters/durableOrchestrations";
import type { Commit, Ports } from "./ports";
import { azureSettings } from "./settings";

export type BasePorts = Omit<Ports, "orchestrations">;

let base: BasePorts | undefined;
let fromFeed: (documents: readonly unknown[]) => readonly Commit[] = (documents) => documents as readonly Commit[];

/** Called once, before the functions are loaded, by whoever composes the app of this process. */
export const usePorts = (ports: BasePorts | undefined, readFeed = fromFeed): void => {
  base = ports;
  fromFeed = readFeed;
};

/**
 * Timers of autoscale, as NCRONTAB: samples are taken once every period, and formulas that are due are looked for every ten
 * seconds, or each second where the operator has set a short interval: what is due is then at most a second late. Periods
 * divide a minute (settings.ts).
 */
export const autoScaleTimers = (): { readonly sample: string; readonly evaluate: string } => {
  const { samplePeriodMs = 30_000, intervalMs = 900_000 } = base?.policy.scaling ?? {};
  const every = (ms: number): string => (ms >= 60_000 ? "0 * * * * *" : `*/${Math.max(1, Math.floor(ms / 1000))} * * * * *`);
  return { sample: every(samplePeriodMs), evaluate: every(intervalMs < 60_000 ? 1000 : 10_000) };
};

/** What the commit feed's trigger hands over, as commits. */
export const commitsFrom = (documents: readonly unknown[]): readonly Commit[] => fromFeed(documents);

/** Composes the deployed app from its settings, unless whoever started this process has given it ports already. */
export const composeAtStart = async (): Promise<void> => {
  if (base) return;
  // Loaded only there: the SDKs of Azure are no part of a service on one machine.
  const { commitsOfFeed, deployed } = require("./azure") as typeof import("./azure");
  const { ports } = await deployed(azureSettings());
  usePorts(ports, commitsOfFeed);
};

/** The ports for one invocation: the process's own, with the orchestrations that the invocation's durable client reaches. */
export const portsFor = (context: InvocationContext): Ports => {
  if (!base) throw new Error("No ports were composed for this process.");
  const ports = base;
  return { ...ports, orchestrations: orchestrationsFor(ports, context) };
};

const hasClient = (context: InvocationContext): boolean => context.options.extraInputs.some(({ type }) => type === "durableClient");

const orchestrationsFor = (ports: BasePorts, context: InvocationContext): Ports["orchestrations"] =>
  hasClient(context)
    ? durableOrchestrations(df.getClient(context), ports.log)
    : {
        nudge: async (_kind, stream) => {
          throw new Error(`the function ${context.functionName} nudged ${stream} but has no durable client among its inputs`);
        },
      };
