// The pool that `submit` uses when none is named: `default`, else the only one, else a new one as big as this machine.
import { availableParallelism } from "node:os";
import type { Client } from "./client";
import { ServiceError, usage } from "./failures";
import type { NewPool } from "./resources";

export const DEFAULT_POOL = "default";
const TVMS_MAX = 16;

type SizedPool = NewPool & { readonly targetDedicated: number };

/** The pool's name, and whether it was made just now. */
export async function choosePool(client: Client, cores = availableParallelism()): Promise<{ pool: string; made?: SizedPool }> {
  const names: string[] = [];
  for await (const pool of client.listPools({ pageSize: 100 })) {
    if (pool.state !== "active") continue;
    if (pool.name.toLowerCase() === DEFAULT_POOL) return { pool: pool.name };
    if (names.push(pool.name) > 10) break;
  }
  if (names.length === 1) return { pool: names[0] as string };
  if (names.length > 1) throw usage(`There are several pools: ${names.join(", ")}.`, "Say which: --pool NAME.");
  const made = defaultPool(cores);
  try {
    await client.createPool(made);
  } catch (error) {
    // Somebody else had the same idea at the same time.
    if (!(error instanceof ServiceError && error.code === "PoolExists")) throw error;
    return { pool: DEFAULT_POOL };
  }
  return { pool: DEFAULT_POOL, made };
}

/** One task a core: one-core TVMs up to 16, then more tasks on each. */
export function defaultPool(cores: number): SizedPool {
  const targetDedicated = Math.max(1, Math.min(cores, TVMS_MAX));
  return {
    name: DEFAULT_POOL, osFamily: "4", tvmSize: "small", targetDedicated,
    maxTasksPerTVM: Math.min(4, Math.max(1, Math.ceil(cores / targetDedicated))),
  };
}
