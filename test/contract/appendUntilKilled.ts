// Run by adapters.test.ts in a process of its own: appends and sends for ever, and prints each version once it is acknowledged.

import { openSqlite } from "../../src/adapters/sqlite";
import { sqliteBus } from "../../src/adapters/sqliteBus";
import { sqliteEventStore } from "../../src/adapters/sqliteEventStore";
import { systemClock } from "../../src/adapters/system";
import { commit } from "./eventStore.contract";

async function main(file: string): Promise<void> {
  const db = openSqlite(file);
  const store = sqliteEventStore(db);
  const bus = sqliteBus(db, systemClock);
  for (let version = 1; ; version++) {
    const [outcomes] = await Promise.all([
      store.append(["a", "b", "c"].map((stream) => commit(stream, version))),
      bus.send("reports", [{ body: version }]),
    ]);
    if (outcomes.some((outcome) => outcome !== "ok")) throw new Error("An append was refused.");
    process.stdout.write(`${version}\n`);
  }
}

void main(process.argv[2]!);
