// What the environment and the command line say, checked once, as one frozen value. Nothing else reads the environment.
import path from "node:path";
import { z } from "zod";

export interface EmbeddedSettings {
  readonly mode: "embedded";
  /** Folder of everything that the service keeps. */
  readonly data: string;
  /** 0: whichever was used last for this data, if it is free, else any. */
  readonly port: number;
  readonly bind: string;
  /** The API may be reached from other machines, in the clear: only by this name. */
  readonly insecureHttp: boolean;
  /** What survives a power cut; the end of a process alone loses nothing with either. */
  readonly sync: "normal" | "full";
  readonly account: string;
  readonly allowElevated: boolean;
  readonly allowedHosts: readonly string[];
  readonly poolTvmsMax: number;
  readonly quotas: Quotas;
  /** Users of this machine's operating system may be made for people who want to log in to a TVM. Only as root. */
  readonly allowTvmUsers: boolean;
  /** Least interval and start window of a schedule: the reference's minute, or less to try things out. */
  readonly scheduleLeastMs: number;
  /** Times of autoscale that follow from `autoscaleIntervalMs`; absent: the API's own. */
  readonly scaling?: { readonly intervalMs: number; readonly intervalLeastMs: number; readonly enableEveryMs: number; readonly samplePeriodMs: number };
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
}

/** Quotas of an account (reference section 8): without one there is no limit. */
export interface Quotas {
  readonly poolsMax?: number;
  readonly coresMax?: number;
  readonly workItemsMax?: number;
}

const quota = z.coerce.number().int().min(1).max(1_000_000);

const quotasOf = (poolsMax: number | undefined, coresMax: number | undefined, workItemsMax: number | undefined): Quotas => ({
  ...(poolsMax === undefined ? {} : { poolsMax }),
  ...(coresMax === undefined ? {} : { coresMax }),
  ...(workItemsMax === undefined ? {} : { workItemsMax }),
});

/** A short interval shortens what goes with it; none lengthens anything. */
const scalingEvery = (intervalMs: number): NonNullable<EmbeddedSettings["scaling"]> => ({
  intervalMs,
  intervalLeastMs: Math.min(intervalMs, 300_000),
  enableEveryMs: Math.min(intervalMs, 30_000),
  samplePeriodMs: Math.min(intervalMs, 30_000),
});

/** Samples lie on multiples of their period, and timers begin anew with each minute: so the period divides it. */
const dividesMinute = (intervalMs: number): boolean => intervalMs % 1000 === 0 && 60_000 % Math.min(intervalMs, 30_000) === 0;

const schema = z.strictObject({
  data: z.string().min(1).default(".batchledger"),
  port: z.coerce.number().int().min(0).max(65_535).default(7071),
  bind: z.string().min(1).default("127.0.0.1"),
  insecureHttp: z.boolean().default(false),
  sync: z.enum(["normal", "full"]).default("normal"),
  account: z.string().regex(/^[a-z0-9]{3,24}$/, "an account name has 3 to 24 of a-z and 0-9").default("local"),
  allowElevated: z.boolean().default(false),
  allowedHosts: z.array(z.string()).default([]),
  poolTvmsMax: z.coerce.number().int().min(1).max(10_000).default(64),
  poolsMax: quota.optional(),
  coresMax: quota.optional(),
  workItemsMax: quota.optional(),
  allowTvmUsers: z.boolean().default(false),
  scheduleLeastMs: z.coerce.number().int().min(100).default(60_000),
  autoscaleIntervalMs: z.coerce
    .number()
    .int()
    .min(1000, "the interval of autoscale is at least 1 s")
    .max(168 * 3_600_000, "the interval of autoscale is at most 168 h")
    .refine(dividesMinute, "the interval of autoscale is 1, 2, 3, 4, 5, 6, 10, 12, 15 or 20 s, or whole seconds from 30 s: samples are as far apart, and that must divide a minute")
    .optional(),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

/** An address that no other machine reaches. */
export const isLoopback = (bind: string): boolean => /^(?:localhost|::1|127(?:\.\d{1,3}){3})$/i.test(bind);

export type EmbeddedOptions = z.input<typeof schema>;

/** Settings of the embedded default. Throws an Error that names the option, its fault and what would do. */
export const embeddedSettings = (options: EmbeddedOptions): EmbeddedSettings => {
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(`The option ${issue?.path.join(".") || "?"} is not usable: ${issue?.message}`);
  }
  const { poolsMax, coresMax, workItemsMax, autoscaleIntervalMs, ...rest } = parsed.data;
  if (!isLoopback(rest.bind) && !rest.insecureHttp)
    throw new Error(
      "The option bind is not usable: other machines would reach the API without TLS, so whoever is on the way reads keys' signatures and data. " +
        "Leave it out and let a proxy with TLS on this machine pass requests on (--allowed-host NAME), or say --insecure-http as well.",
    );
  const scaling = autoscaleIntervalMs === undefined ? {} : { scaling: scalingEvery(autoscaleIntervalMs) };
  return Object.freeze({ ...rest, ...scaling, quotas: quotasOf(poolsMax, coresMax, workItemsMax), mode: "embedded" as const, data: path.resolve(rest.data) });
};

// ---------------------------------------------------------------- on Azure

export interface AzureSettings {
  readonly cosmosEndpoint: string;
  readonly serviceBusNamespace: string;
  /** Of the service's identity; absent: whichever credential the environment offers. */
  readonly clientId?: string | undefined;
  readonly url: string;
  readonly filesUrl: string;
  readonly vaultUrl: string;
  readonly subscription: string;
  readonly location: string;
  readonly poolsGroup: string;
  readonly subnets: { readonly isolated: string; readonly communicating: string };
  readonly poolTvmsMax: number;
  readonly quotas: Quotas;
  readonly allowElevated: boolean;
  readonly tvmImage?: string | undefined;
  /** For the template of a TVM's first start. */
  readonly packages: { readonly nodeUrl: string; readonly nodeSha256: string; readonly agentUrl: string; readonly agentSha256: string };
}

const text = z.string().min(1);
const address = z.url();
const azureSchema = z.object({
  Cosmos__accountEndpoint: address,
  ServiceBus__fullyQualifiedNamespace: text,
  Cosmos__clientId: text.optional(),
  BATCHLEDGER_URL: address,
  BATCHLEDGER_FILES_URL: address,
  BATCHLEDGER_VAULT_URL: address,
  BATCHLEDGER_SUBSCRIPTION: text,
  BATCHLEDGER_LOCATION: text,
  BATCHLEDGER_POOLS_GROUP: text,
  BATCHLEDGER_POOL_SUBNET: text,
  BATCHLEDGER_POOL_SUBNET_COMMUNICATING: text,
  BATCHLEDGER_POOL_TVMS_MAX: z.coerce.number().int().min(1).max(1000).default(1000),
  BATCHLEDGER_POOLS_MAX: quota.optional(),
  BATCHLEDGER_CORES_MAX: quota.optional(),
  BATCHLEDGER_WORK_ITEMS_MAX: quota.optional(),
  BATCHLEDGER_ALLOW_ELEVATED: text.default("False"),
  BATCHLEDGER_TVM_IMAGE: text.optional(),
  BATCHLEDGER_AGENT_URL: address,
  BATCHLEDGER_AGENT_SHA256: text,
  BATCHLEDGER_NODE_URL: address,
  BATCHLEDGER_NODE_SHA256: text,
});

/** Settings of the deployed app; infra/README.md says what each is. Throws an Error that names the first that is missing or wrong. */
export const azureSettings = (environment: Readonly<Record<string, string | undefined>> = process.env): AzureSettings => {
  const parsed = azureSchema.safeParse(environment);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(`The app setting ${issue?.path.join(".") || "?"} is not usable: ${issue?.message}. infra/README.md lists all of them.`);
  }
  const found = parsed.data;
  return Object.freeze({
    cosmosEndpoint: found.Cosmos__accountEndpoint,
    serviceBusNamespace: found.ServiceBus__fullyQualifiedNamespace,
    clientId: found.Cosmos__clientId,
    url: found.BATCHLEDGER_URL,
    filesUrl: found.BATCHLEDGER_FILES_URL,
    vaultUrl: found.BATCHLEDGER_VAULT_URL,
    subscription: found.BATCHLEDGER_SUBSCRIPTION,
    location: found.BATCHLEDGER_LOCATION,
    poolsGroup: found.BATCHLEDGER_POOLS_GROUP,
    subnets: { isolated: found.BATCHLEDGER_POOL_SUBNET, communicating: found.BATCHLEDGER_POOL_SUBNET_COMMUNICATING },
    poolTvmsMax: found.BATCHLEDGER_POOL_TVMS_MAX,
    quotas: quotasOf(found.BATCHLEDGER_POOLS_MAX, found.BATCHLEDGER_CORES_MAX, found.BATCHLEDGER_WORK_ITEMS_MAX),
    // Templates write booleans as True and False.
    allowElevated: found.BATCHLEDGER_ALLOW_ELEVATED.toLowerCase() === "true",
    tvmImage: found.BATCHLEDGER_TVM_IMAGE,
    packages: {
      nodeUrl: found.BATCHLEDGER_NODE_URL,
      nodeSha256: found.BATCHLEDGER_NODE_SHA256,
      agentUrl: found.BATCHLEDGER_AGENT_URL,
      agentSha256: found.BATCHLEDGER_AGENT_SHA256,
    },
  });
};
