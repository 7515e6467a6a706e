// batchledger tvm ..., sizes: single TVMs, and which sizes there are.
import { readFile } from "node:fs/promises";
import path from "node:path";
import { text } from "node:stream/consumers";
import type { Command, Invocation } from "../command";
import { EXIT, Failure, usage } from "../failures";
import { clean, json, plural, spell, table, when } from "../output";
import * as parse from "../options";
import { until } from "../waiting";

const READY_MS = 5 * 60_000;

const TASKS = { type: "string", value: "HOW", help: "its tasks: requeue (default), terminate, taskcompletion, retaineddata" } as const;
const WAIT = { type: "boolean", help: "return when it is ready again" } as const;

export const tvmCommands: readonly Command[] = [
  {
    words: "tvm show", operands: "POOL TVM", operandsMin: 2, operandsMax: 2, connects: true,
    summary: "Shows one TVM: its state, its start task, and the last tasks that it ran.", options: {}, run: show,
  },
  {
    words: "tvm reboot", operands: "POOL TVM", operandsMin: 2, operandsMax: 2, connects: true,
    summary: "Starts an idle or running TVM anew; its files stay, its start task runs again.",
    options: { tasks: TASKS, wait: WAIT }, run: (call) => restart(call, "reboot"),
  },
  {
    words: "tvm reimage", operands: "POOL TVM", operandsMin: 2, operandsMax: 2, connects: true,
    summary: "Sets an idle or running TVM up anew: its files go, its start task runs again.",
    options: { tasks: TASKS, wait: WAIT }, run: (call) => restart(call, "reimage"),
  },
  {
    words: "tvm remove", operands: "POOL TVM...", operandsMin: 2, operandsMax: 101, connects: true,
    summary: "Takes TVMs out of their pool, and lowers its target by their number.",
    options: { tasks: TASKS, timeout: { type: "string", value: "TIME", help: "keep those that are not free by then (least 5m)" }, wait: { type: "boolean", help: "return when the pool is steady" } },
    run: remove,
  },
  {
    words: "tvm user", operands: "add|update|delete POOL TVM NAME", operandsMin: 4, operandsMax: 4, connects: true,
    summary: "Lets somebody log in to an idle or running TVM, changes that, or ends it.",
    options: {
      "password-file": { type: "string", value: "FILE", help: "the first line is the password; - reads standard input (never an argument: others could see it)" },
      admin: { type: "boolean", help: "the user may administer the machine" },
      expires: { type: "string", value: "TIME", help: "ISO 8601, such as 2015-06-01T00:00:00Z (default: a day from now)" },
    },
    more: "`update` replaces everything: without --password-file nobody logs in with a password any more. Users go when the TVM is\nstarted anew. A service on one machine makes users of that machine: only when it was started as root with --allow-tvm-users.",
    run: user,
  },
  { words: "tvm ssh", operands: "POOL TVM", operandsMin: 2, operandsMax: 2, connects: true, summary: "Shows where and as whom one logs in to a TVM.", options: {}, run: ssh },
  { words: "tvm rdp", operands: "POOL TVM", operandsMin: 2, operandsMax: 2, connects: true, summary: "Prints the RDP file of a TVM.", options: {}, run: rdp },
  { words: "sizes", operands: "", operandsMin: 0, operandsMax: 0, connects: true, summary: "Lists the sizes that TVMs may have.", options: {}, run: sizes },
];

async function show(call: Invocation): Promise<number> {
  const [pool, name] = call.operands as [string, string];
  const tvm = await call.client().getTvm(pool, name);
  if (call.json) json(call.io, tvm);
  else {
    const { "odata.metadata": _, ...shown } = tvm;
    const wide = Math.max(...Object.keys(shown).map((key) => key.length));
    for (const [key, value] of Object.entries(shown)) call.io.out(`${clean(key).padEnd(wide)}  ${clean(typeof value === "object" ? JSON.stringify(value) : String(value))}\n`);
  }
  return EXIT.ok;
}

async function restart(call: Invocation, how: "reboot" | "reimage"): Promise<number> {
  const client = call.client();
  const [pool, name] = call.operands as [string, string];
  const option = call.text("tasks");
  await (how === "reboot" ? client.rebootTvm(pool, name, option) : client.reimageTvm(pool, name, option));
  if (call.flag("wait")) await ready(call, pool, name);
  if (call.json) json(call.io, await client.getTvm(pool, name));
  else call.io.out(`TVM ${clean(name)} ${call.flag("wait") ? "is ready" : `is being ${how === "reboot" ? "rebooted" : "reimaged"}`}.\n`);
  return EXIT.ok;
}

/** Idle or running; throws a Failure when it cannot be used. */
async function ready(call: Invocation, pool: string, name: string): Promise<void> {
  const found = await until(async () => {
    const { state } = await call.client().getTvm(pool, name);
    if (state === "starttaskfailed" || state === "unusable") throw new Failure(EXIT.failed, `TVM ${name} is ${state}.`, `\`batchledger tvm show ${pool} ${name}\` says why.`);
    return state === "idle" || state === "running" ? true : undefined;
  }, call.io.signal, READY_MS);
  if (!found) throw new Failure(EXIT.failed, `TVM ${name} is not ready after ${spell(READY_MS)}.`, `\`batchledger tvms ${pool}\` shows the pool's TVMs.`);
}

async function remove(call: Invocation): Promise<number> {
  const client = call.client();
  const [pool, ...names] = call.operands as [string, ...string[]];
  const timeout = call.text("timeout");
  const option = call.text("tasks");
  await client.removeTvms(pool, {
    tvmList: names,
    ...(timeout === undefined ? {} : { resizeTimeout: parse.duration("--timeout", timeout) }),
    ...(option === undefined ? {} : { tvmDeallocationOption: option }),
  });
  if (call.flag("wait")) {
    const done = await until(async () => ((await client.getPool(pool)).allocationState === "steady" ? true : undefined), call.io.signal, READY_MS);
    if (!done) throw new Failure(EXIT.failed, `Pool ${pool} is still resizing after ${spell(READY_MS)}.`, `\`batchledger pool show ${pool}\` shows it.`);
  }
  const now = await client.getPool(pool);
  if (call.json) json(call.io, now);
  else call.io.out(`${plural(names.length, "TVM")} ${call.flag("wait") ? "removed" : "leaving"}: pool ${clean(pool)} is to have ${now.targetDedicated}.\n`);
  if (call.flag("wait") && now.resizeError) throw new Failure(EXIT.failed, `${now.resizeError.code}: ${now.resizeError.message ?? ""}`, "Try again, or with --tasks requeue.");
  return EXIT.ok;
}

async function user(call: Invocation): Promise<number> {
  const client = call.client();
  const [verb, pool, tvm, name] = call.operands as [string, string, string, string];
  const file = call.text("password-file");
  const expires = call.text("expires");
  const terms = { isAdmin: call.flag("admin"), ...(expires === undefined ? {} : { expiryTime: expires }) };
  if (verb === "delete") await client.deleteTvmUser(pool, tvm, name);
  else if (verb === "add") {
    if (file === undefined) throw usage("A new user needs a password: --password-file FILE, or - for standard input.");
    await client.addTvmUser(pool, tvm, { name, password: await passwordFrom(call, file), ...terms });
  } else if (verb === "update") await client.updateTvmUser(pool, tvm, { name, ...(file === undefined ? {} : { password: await passwordFrom(call, file) }), ...terms });
  else throw usage(`"${clean(verb)}" must be add, update or delete.`);
  if (call.json) json(call.io, { user: name, done: verb });
  else if (verb === "delete") call.io.out(`User ${clean(name)} is gone.\n`);
  else call.io.out(`User ${clean(name)} may log in: \`batchledger tvm ssh ${clean(pool)} ${clean(tvm)}\` shows where.\n`);
  return EXIT.ok;
}

async function passwordFrom(call: Invocation, file: string): Promise<string> {
  const content = file === "-" ? await text(call.io.stdin) : await readFile(path.resolve(call.io.cwd, file), "utf8").catch((error: NodeJS.ErrnoException) => {
    throw new Failure(EXIT.usage, `The file ${file} cannot be read (${error.code}).`);
  });
  const [password = ""] = content.split(/\r?\n/, 1);
  if (password === "") throw new Failure(EXIT.usage, "The password is empty: its first line is taken.");
  return password;
}

async function ssh(call: Invocation): Promise<number> {
  const [pool, tvm] = call.operands as [string, string];
  const access = await call.client().sshAccess(pool, tvm);
  if (call.json) json(call.io, access);
  else if (access.users.length === 0) call.io.out(`${access.host}:${access.port}, from ${clean(access.reachableFrom)}. Nobody may log in yet: batchledger tvm user add ${clean(pool)} ${clean(tvm)} NAME --password-file -\n`);
  else {
    call.io.out(`${access.host}:${access.port}, from ${clean(access.reachableFrom)}\n`);
    call.io.out(table(access.users, [
      { title: "USER", value: ({ name }) => name },
      { title: "LOG IN WITH", value: ({ account }) => `ssh ${account}@${access.host}` },
      { title: "ADMIN", value: ({ isAdmin }) => (isAdmin ? "yes" : "no") },
      { title: "UNTIL", value: ({ expiryTime }) => when(expiryTime) },
    ]));
  }
  return EXIT.ok;
}

async function rdp(call: Invocation): Promise<number> {
  const [pool, tvm] = call.operands as [string, string];
  const content = await call.client().rdpFile(pool, tvm);
  if (call.json) json(call.io, { file: content });
  else call.io.out(content);
  return EXIT.ok;
}

async function sizes(call: Invocation): Promise<number> {
  const found = await call.client().sizes();
  if (call.json) json(call.io, found);
  else {
    call.io.out(table(found, [
      { title: "SIZE", value: ({ name }) => name },
      { title: "CORES", right: true, value: ({ cores }) => cores },
      { title: "MEMORY GB", right: true, value: ({ memoryMB }) => memoryMB / 1024 },
      { title: "DISK GB", right: true, value: ({ diskGB }) => diskGB },
      { title: "MOST SLOTS", right: true, value: ({ maxTasksPerTVM }) => maxTasksPerTVM },
    ]));
  }
  return EXIT.ok;
}
