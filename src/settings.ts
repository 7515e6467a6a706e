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
  /** What survives a power cut; the end of a process alone loses nothing with either. */
  readonly sync: "normal" | "full";
  readonly account: string;
  readonly allowElevated: boolean;
  readonly allowedHosts: readonly string[];
  readonly poolTvmsMax: number;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
}

const schema = z.strictObject({
  data: z.string().min(1).default(".batchledger"),
  port: z.coerce.number().int().min(0).max(65_535).default(7071),
  bind: z.string().min(1).default("127.0.0.1"),
  sync: z.enum(["normal", "full"]).default("normal"),
  account: z.string().regex(/^[a-z0-9]{3,24}$/, "an account name has 3 to 24 of a-z and 0-9").default("local"),
  allowElevated: z.boolean().default(false),
  allowedHosts: z.array(z.string()).default([]),
  poolTvmsMax: z.coerce.number().int().min(1).max(10_000).default(64),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type EmbeddedOptions = z.input<typeof schema>;

/** Settings of the embedded default. Throws an Error that names the option, its fault and what would do. */
export const embeddedSettings = (options: EmbeddedOptions): EmbeddedSettings => {
  const parsed = schema.safeParse(Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)));
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(`The option ${issue?.path.join(".") || "?"} is not usable: ${issue?.message}`);
  }
  return Object.freeze({ ...parsed.data, mode: "embedded" as const, data: path.resolve(parsed.data.data) });
};
