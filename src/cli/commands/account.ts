// batchledger account ...: who may use the service on this machine. Works on the data folder itself, whose owner is the operator:
// there is no request that makes accounts or shows keys, so no stolen account key can. Takes effect without a restart.
import path from "node:path";
import { createClient } from "../client";
import type { Command, Invocation } from "../command";
import { DEFAULT_DATA, findConnection } from "../connection";
import { EXIT, Failure, UnreachableError, usage } from "../failures";
import { json, table } from "../output";
import { accountsIn } from "../serviceDoor";

const DATA = { data: { type: "string", value: "DIR", help: `data folder of the service (default ./${DEFAULT_DATA})` } } as const;

export const accountCommands: readonly Command[] = [
  {
    words: "account add", operands: "NAME", operandsMin: 1, operandsMax: 1, connects: false,
    summary: "Makes an account with two keys: pools, work items and tasks of its own, which no other account sees.",
    options: DATA,
    run: add,
  },
  { words: "account list", operands: "", operandsMin: 0, operandsMax: 0, connects: false, summary: "Lists the accounts.", options: DATA, run: list },
  {
    words: "account show", operands: "NAME", operandsMin: 1, operandsMax: 1, connects: false,
    summary: "Prints an account's keys. Whoever has one of them may do everything in the account.",
    options: DATA,
    run: show,
  },
  {
    words: "account rotate", operands: "NAME", operandsMin: 1, operandsMax: 1, connects: false,
    summary: "Makes a new key in the place of one of an account's two; the old one is dead at once.",
    options: { ...DATA, key: { type: "string", value: "WHICH", help: "primary or secondary (default): the other one stays good meanwhile" } },
    more: "Without downtime: rotate the secondary key, move the clients to it, then rotate the primary one.",
    run: rotate,
  },
  {
    words: "account remove", operands: "NAME", operandsMin: 1, operandsMax: 1, connects: false,
    summary: "Ends an account that has no pools, no work items and no certificates: its keys are good no more.",
    options: { ...DATA, force: { type: "boolean", help: "also when it has some, or when no service runs that could say so: what it has stays and goes on" } },
    run: remove,
  },
];

const NAME = /^[a-z0-9]{3,24}$/;

const dataOf = (call: Invocation): string => path.resolve(call.io.cwd, call.text("data") ?? DEFAULT_DATA);

const nameOf = (call: Invocation): string => {
  const [name] = call.operands as [string];
  if (!NAME.test(name)) throw usage(`"${name}" is no account name.`, "Account names have 3 to 24 of a-z and 0-9.");
  return name;
};

/** Only where a service keeps its data: a folder is not made by a typing error. */
const accounts = (call: Invocation): ReturnType<typeof accountsIn> => {
  const found = accountsIn(dataOf(call));
  if (found.names().length === 0) throw new Failure(EXIT.unreachable, `There is no service data in ${dataOf(call)}.`, "Start the service once with `batchledger start`, or say where its data is: --data DIR.");
  return found;
};

const unknown = (name: string): Failure => new Failure(EXIT.refused, `There is no account ${name}.`, "`batchledger account list` names the accounts.");

async function add(call: Invocation): Promise<number> {
  const name = nameOf(call);
  const found = accounts(call);
  if (!found.add(name)) throw new Failure(EXIT.refused, `There is an account ${name} already.`, "`batchledger account show` prints its keys.");
  if (call.json) json(call.io, { account: name, keyFile: found.file(name) });
  else call.io.out(`Account ${name}: its keys are in ${found.file(name)}.\nCommands speak for it with --account ${name} or BATCHLEDGER_ACCOUNT.\n`);
  return EXIT.ok;
}

async function list(call: Invocation): Promise<number> {
  const found = accounts(call);
  const rows = found.names().map((account) => ({ account, keys: found.keys(account)?.length ?? 0, keyFile: found.file(account) }));
  if (call.json) json(call.io, rows);
  else call.io.out(table(rows, [{ title: "ACCOUNT", value: (row) => row.account }, { title: "KEYS", right: true, value: (row) => row.keys }, { title: "FILE", value: (row) => row.keyFile }]));
  return EXIT.ok;
}

async function show(call: Invocation): Promise<number> {
  const name = nameOf(call);
  const found = accounts(call);
  const keys = found.keys(name);
  if (!keys) throw unknown(name);
  const [primary, secondary] = keys;
  if (call.json) json(call.io, { account: name, primary, ...(secondary === undefined ? {} : { secondary }), keyFile: found.file(name) });
  else call.io.out(`primary    ${primary}\n${secondary === undefined ? "" : `secondary  ${secondary}\n`}`);
  return EXIT.ok;
}

async function rotate(call: Invocation): Promise<number> {
  const name = nameOf(call);
  const which = call.text("key") ?? "secondary";
  if (which !== "primary" && which !== "secondary") throw usage("--key must be primary or secondary.");
  const found = accounts(call);
  if (!found.rotate(name, which)) throw unknown(name);
  if (call.json) json(call.io, { account: name, rotated: which, keyFile: found.file(name) });
  else call.io.out(`Account ${name} has a new ${which} key; \`batchledger account show ${name}\` prints it.\n`);
  return EXIT.ok;
}

async function remove(call: Invocation): Promise<number> {
  const name = nameOf(call);
  const found = accounts(call);
  if (!found.names().includes(name)) throw unknown(name);
  if (!call.flag("force")) await mustBeEmpty(call, name);
  if (!found.remove(name)) throw unknown(name);
  if (call.json) json(call.io, { account: name, removed: true });
  else call.io.out(`Account ${name} is gone: nobody can sign for it any more.\n`);
  return EXIT.ok;
}

/** Pools of an account that nobody can sign for would run for ever, secrets of its certificates lie there for ever: the running service is asked first, with the account's own key. */
async function mustBeEmpty(call: Invocation, name: string): Promise<void> {
  const client = createClient(() => findConnection(dataOf(call), {}, name), { signal: call.io.signal, patienceMs: 0 });
  try {
    const [pools, workItems, certificates] = await Promise.all([some(client.listPools()), some(client.listWorkItems()), some(client.listCertificates())]);
    const has = [pools ? "pools" : "", workItems ? "work items" : "", certificates ? "certificates" : ""].filter(Boolean);
    if (has.length > 0)
      throw new Failure(EXIT.refused, `The account ${name} still has ${has.join(" and ")}.`, "Delete them first, or say --force: then they stay, and nobody can reach them.");
  } catch (error) {
    if (error instanceof UnreachableError || (error instanceof Failure && error.exitCode === EXIT.unreachable)) throw new Failure(EXIT.refused, "No service runs that could say whether the account has pools, work items or certificates.", "Start it, or say --force.");
    throw error;
  } finally {
    client.close();
  }
}

const some = async (items: AsyncIterable<unknown>): Promise<boolean> => {
  for await (const _ of items) return true;
  return false;
};
