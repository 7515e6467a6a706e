// batchledger start, key show, env: the service on this machine, and what others need to speak to it.
import type { Command, Invocation } from "../command";
import { DEFAULT_DATA, findConnection, readKey } from "../connection";
import { EXIT, Failure, usage } from "../failures";
import { json } from "../output";
import * as parse from "../options";
import { shellQuote } from "../quoting";
import { rebuildViews, startService } from "../serviceDoor";
import path from "node:path";

const LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

export const serviceCommands: readonly Command[] = [
  {
    words: "start", operands: "", operandsMin: 0, operandsMax: 0, connects: false,
    summary: "Runs the service on this machine until it is stopped (SIGTERM, or Ctrl-C).",
    options: {
      data: { type: "string", value: "DIR", help: `where everything is kept (default ./${DEFAULT_DATA})` },
      port: { type: "string", value: "N", help: "port of the API (default 7071; 0 picks a free one)" },
      bind: { type: "string", value: "ADDRESS", help: "address to listen on (default 127.0.0.1)" },
      "insecure-http": { type: "boolean", help: "other machines may reach the API without TLS, if --bind lets them" },
      "allowed-host": { type: "string", multiple: true, value: "NAME", help: "a further host name that requests may name" },
      sync: { type: "string", value: "HOW", help: "normal (default) or full: full also survives a power cut, and is slower" },
      "least-interval": { type: "string", value: "TIME", help: "least interval and start window of a schedule (default 1m)" },
      "autoscale-interval": { type: "string", value: "TIME", help: "how often formulas of pools are evaluated (default 15m; from 1s, to try things out)" },
      "allow-elevated": { type: "boolean", help: "tasks may ask to run as the service's own user" },
      "allow-tvm-users": { type: "boolean", help: "make users of this machine for people who want to log in to TVMs (as root only)" },
      "pool-tvms-max": { type: "string", value: "N", help: "TVMs of one pool at most (default 64)" },
      "pools-max": { type: "string", value: "N", help: "quota: pools of an account at most (default: no limit)" },
      "work-items-max": { type: "string", value: "N", help: "quota: active work items of an account at most (default: no limit)" },
      "cores-max": { type: "string", value: "N", help: "quota: cores of all TVMs of an account at most (default: no limit)" },
      "log-level": { type: "string", value: "LEVEL", help: `${LEVELS.join(", ")} (default info)` },
    },
    more: 'With --json it prints one line when it is ready:\n  {"event":"ready","api":"http://127.0.0.1:7071","account":"...","keyFile":"...","data":"..."}',
    run: start,
  },
  {
    words: "key show", operands: "", operandsMin: 0, operandsMax: 0, connects: true,
    summary: "Prints the account key. Whoever has it may do everything.",
    options: {},
    run: showKey,
  },
  {
    words: "env", operands: "", operandsMin: 0, operandsMax: 0, connects: true,
    summary: 'Prints shell exports for clients: eval "$(batchledger env)".',
    options: { key: { type: "boolean", help: "the key itself instead of the name of its file" } },
    run: printEnv,
  },
  {
    words: "rebuild", operands: "", operandsMin: 0, operandsMax: 0, connects: false,
    summary: "Makes all lists and counts anew from the events, while the service is stopped.",
    options: { data: { type: "string", value: "DIR", help: `data folder of the service (default ./${DEFAULT_DATA})` } },
    run: rebuild,
  },
];

async function start(call: Invocation): Promise<number> {
  const level = call.text("log-level") ?? "info";
  const sync = call.text("sync") ?? "normal";
  const bind = call.text("bind");
  if (!LEVELS.some((known) => known === level)) throw usage(`--log-level must be one of ${LEVELS.join(", ")}.`);
  if (sync !== "normal" && sync !== "full") throw usage("--sync must be normal or full.");
  const data = call.text("data");
  const port = call.text("port");
  const leastInterval = call.text("least-interval");
  const autoscaleInterval = call.text("autoscale-interval");
  const limit = (option: string) => (call.text(option) === undefined ? undefined : parse.wholeNumber(`--${option}`, call.text(option) as string, 1, 10_000));
  const [poolTvmsMax, poolsMax, coresMax, workItemsMax] = ["pool-tvms-max", "pools-max", "cores-max", "work-items-max"].map(limit);
  const service = await startService({
    poolTvmsMax, poolsMax, coresMax, workItemsMax, allowTvmUsers: call.flag("allow-tvm-users"),
    ...(data === undefined ? {} : { data: path.resolve(call.io.cwd, data) }),
    ...(port === undefined ? {} : { port: parse.wholeNumber("--port", port, 0, 65_535) }),
    ...(bind === undefined ? {} : { bind }), insecureHttp: call.flag("insecure-http"),
    ...(call.texts("allowed-host").length ? { allowedHosts: [...call.texts("allowed-host")] } : {}),
    ...(leastInterval === undefined ? {} : { scheduleLeastMs: parse.milliseconds("--least-interval", leastInterval) }),
    ...(autoscaleInterval === undefined ? {} : { autoscaleIntervalMs: parse.milliseconds("--autoscale-interval", autoscaleInterval) }),
    sync, allowElevated: call.flag("allow-elevated"), logLevel: level as (typeof LEVELS)[number],
  }).catch((error: unknown) => {
    throw startProblem(error);
  });
  if (service.inTheClear) call.io.err(INSECURE);
  try {
    if (call.json) call.io.out(`${JSON.stringify({ event: "ready", api: service.url, account: service.account, keyFile: service.keyFile, data: service.data })}\n`);
    else call.io.out(welcome(service, data));
    await stopAsked(call.io.signal);
    if (!call.json) call.io.err("Stopping.\n");
  } finally {
    await service.stop();
  }
  return EXIT.ok;
}

/** Nobody runs it like this without having been told. */
const INSECURE = boxed([
  "THE API IS SERVED WITHOUT TLS, to other machines too (--insecure-http).",
  "Whoever is on the way reads what is sent, and may send it again within 15 minutes.",
  "Put a proxy with TLS in front of it, and leave --bind out.",
]);

function boxed(lines: readonly string[]): string {
  const width = Math.max(...lines.map(({ length }) => length));
  const edge = `+${"-".repeat(width + 2)}+`;
  return `${[edge, ...lines.map((line) => `| ${line.padEnd(width)} |`), edge].join("\n")}\n`;
}

async function rebuild(call: Invocation): Promise<number> {
  const data = path.resolve(call.io.cwd, call.text("data") ?? DEFAULT_DATA);
  readKey(data);
  let told = Date.now();
  const commits = await rebuildViews({ data, logLevel: "error" }, (count) => {
    if (call.json || Date.now() - told < PROGRESS_MS) return;
    told = Date.now();
    call.io.err(`${count} commits so far\n`);
  }).catch((error: unknown) => {
    throw startProblem(error);
  });
  if (call.json) json(call.io, { commits });
  else call.io.out(`Lists and counts are made anew from ${commits} commits.\n`);
  return EXIT.ok;
}

const PROGRESS_MS = 1000;

/** What usually goes wrong at a start, with what to do. */
export function startProblem(error: unknown): unknown {
  switch ((error as NodeJS.ErrnoException).code) {
    case "EADDRINUSE":
      return new Failure(EXIT.unreachable, "The port is taken.", "Another service may run already. Choose another port: --port N, or --port 0 for any free one.");
    case "EADDRNOTAVAIL":
      return new Failure(EXIT.usage, "This machine has no such address.", "Choose another --bind, or leave it out.");
    case "ENOSPC":
    case "EDQUOT":
      return new Failure(EXIT.refused, "The disk of the data folder is full.", "Make room there and start again: nothing that was acknowledged is lost.");
    case "EACCES":
    case "EROFS":
      return new Failure(EXIT.usage, (error as Error).message, "Choose a data folder that can be written: --data DIR. Ports below 1024 need rights.");
    default:
      if ((error as { noRoom?: boolean }).noRoom === true) return startProblem({ code: "ENOSPC" });
      // Plain errors of a start are sentences for people: a folder in use, an option that is not usable. Others are defects.
      return error instanceof Error && error.constructor === Error ? new Failure(EXIT.refused, error.message) : error;
  }
}

const stopAsked = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });

function welcome(service: { url: string; account: string; keyFile: string; data: string }, data: string | undefined): string {
  const option = data === undefined ? "" : ` --data ${shellQuote(data)}`;
  return [
    "Batchledger is running.", "",
    `  API      ${service.url}`, `  Account  ${service.account}`, `  Key      ${service.keyFile}`, `  Data     ${service.data}`, "",
    "Next, in another terminal:", "",
    `  batchledger submit${option} --wait -- echo hello     run a command`,
    `  batchledger ps${option}                              what there is to do, and how far it is`,
    `  eval "$(batchledger env${option})"                   let clients find the service`, "",
    "Ctrl-C stops it; nothing is lost.", "",
  ].join("\n");
}

async function showKey(call: Invocation): Promise<number> {
  const account = call.text("account");
  const found = call.text("data") === undefined && call.io.env["BATCHLEDGER_URL"]
    ? findConnection(undefined, call.io.env, account)
    : readKey(path.resolve(call.io.cwd, call.text("data") ?? DEFAULT_DATA), account ?? call.io.env["BATCHLEDGER_ACCOUNT"]);
  if (call.json) json(call.io, { account: found.account, key: found.key, ...(found.keyFile ? { keyFile: found.keyFile } : {}) });
  else call.io.out(`${found.key}\n`);
  return EXIT.ok;
}

async function printEnv(call: Invocation): Promise<number> {
  const { url, account, key, keyFile } = findConnection(call.text("data"), call.io.env, call.text("account"));
  const variables: Record<string, string> = {
    BATCHLEDGER_URL: url,
    BATCHLEDGER_ACCOUNT: account,
    ...(keyFile && !call.flag("key") ? { BATCHLEDGER_KEY_FILE: path.resolve(keyFile) } : { BATCHLEDGER_KEY: key }),
  };
  if (call.json) json(call.io, variables);
  else for (const [name, value] of Object.entries(variables)) call.io.out(`export ${name}=${shellQuote(value)}\n`);
  return EXIT.ok;
}
