// `npm run start:azure-local [-- DATA PORT]`: the whole service on Azure's adapters and the stand-ins for all of Azure, in one process.
// With a file of options instead of a folder: one copy of the service on stand-ins that run elsewhere (tests kill it alone).
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { type AzureService, type AzureServiceOptions, startAzureService } from "./azureService";
import { startAzureStandIns } from "./azureStandIns";

const isFile = (name: string): boolean => statSync(name, { throwIfNoEntry: false })?.isFile() ?? false;

const startAll = async (data: string, port: number): Promise<AzureService> => {
  const standIns = await startAzureStandIns(path.join(data, "azure"));
  const service = await startAzureService({ addresses: standIns.addresses, data, port, logLevel: "info", machines: "scaleSets" });
  return {
    ...service,
    async stop() {
      await service.stop();
      await standIns.stop();
    },
  };
};

export const main = async (): Promise<void> => {
  const [first = ".batchledger/azure-local", port = "7071"] = process.argv.slice(2);
  const options = isFile(first) ? (JSON.parse(readFileSync(first, "utf8")) as AzureServiceOptions) : undefined;
  const data = options?.data ?? path.resolve(first);
  const service = await (options ? startAzureService(options) : startAll(data, Number(port)));
  console.log(JSON.stringify({ event: "ready", api: service.url, account: "local", keyFile: service.keyFile, data }));
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.once(signal, () => {
      void service.stop().then(() => process.exit(0));
    });
};
