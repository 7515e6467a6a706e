// The service on Azure's parts for the end-to-end tests: stand-ins in this process, one set a data folder and one Azurite a file of
// tests, and copies of the service in processes of their own, which may be killed.
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type AzureServiceOptions } from "../standins/azureService";
import { type AzureStandIns, startAzureStandIns } from "../standins/azureStandIns";
import { type Azurite, startAzurite } from "../standins/azurite";
import type { Composition } from "./service";

const START = path.resolve(__dirname, "..", "standins", "start.js");

export interface AzureComposition extends Composition {
  /** The stand-ins of this data folder, started when they are first asked for. */
  standIns(data: string): Promise<AzureStandIns>;
  /** After all tests of the file. */
  close(): Promise<void>;
}

/** What `start` is given beside the folder: one JSON text of options that differ. */
export const azureParts = (machines: AzureServiceOptions["machines"]): AzureComposition => {
  const sets = new Map<string, Promise<AzureStandIns>>();
  const known = new Map<string, AzureStandIns>();
  let azurite: Promise<Azurite> | undefined;
  const open = async (data: string): Promise<AzureStandIns> => {
    const set = await startAzureStandIns(path.join(data, "azure"), await (azurite ??= startAzurite()));
    known.set(data, set);
    return set;
  };
  const standIns = (data: string): Promise<AzureStandIns> => {
    const set = sets.get(data) ?? open(data);
    sets.set(data, set);
    return set;
  };
  return {
    name: "Azure's parts",
    exclusive: false,
    share: 0.1,
    lookMs: 150,
    standIns,
    async launch(data, [more = "{}"]) {
      const { addresses } = await standIns(data);
      const changes = JSON.parse(more) as Partial<AzureServiceOptions>;
      const own = changes.data ?? data;
      mkdirSync(own, { recursive: true, mode: 0o711 });
      const file = path.join(own, "options.json");
      writeFileSync(file, JSON.stringify({ addresses, data: own, port: 0, logLevel: "warn", machines, ...changes } satisfies AzureServiceOptions));
      return [START, file];
    },
    agentPids(data) {
      if (machines === "scaleSets") return (known.get(data)?.resourceManager.machines() ?? []).flatMap(({ pid }) => pid ?? []);
      const folder = path.join(data, "machines");
      return readdirSync(folder).filter((name) => name.endsWith(".json")).map((name) => (JSON.parse(readFileSync(path.join(folder, name), "utf8")) as { pid: number }).pid);
    },
    tvmRoot(data, pool, tvm) {
      if (machines === "processes") return path.join(data, "tvms", "local", pool, tvm);
      const set = known.get(data) as AzureStandIns;
      const machine = set.resourceManager.machines().find(({ tags }) => Object.values(tags).includes(tvm) && Object.values(tags).some((tag) => tag.toLowerCase() === pool.toLowerCase()));
      return path.join(set.machines, machine?.name ?? "unknown", "tvm");
    },
    stored(data) {
      const set = known.get(data) as AzureStandIns;
      const folder = path.dirname(set.documents);
      return readdirSync(folder).filter((name) => name.startsWith(path.basename(set.documents))).map((name) => readFileSync(path.join(folder, name), "latin1")).join("");
    },
    // Locks of messages and lanes outlive who holds them, by a minute.
    killed: (data) => known.get(data)?.broker.expireLocks("gone"),
    async forget(data) {
      const set = await sets.get(data);
      sets.delete(data);
      known.delete(data);
      await set?.stop();
    },
    async close() {
      await Promise.all([...sets.keys()].map((data) => this.forget?.(data)));
      await (await azurite)?.stop();
    },
  };
};
