// The command line `batchledger`: finds the command, runs it, and turns whatever goes wrong into a message and an exit code.
import { readFileSync } from "node:fs";
import path from "node:path";
import { type Command, helpOf, runCommand } from "./command";
import { accountCommands } from "./commands/account";
import { autoscaleCommands } from "./commands/autoscale";
import { autoscaleRecordCommands } from "./commands/autoscaleRecord";
import { autoscaleTestCommand } from "./commands/autoscaleTest";
import { certificateCommands } from "./commands/certificate";
import { demoCommand } from "./commands/demo";
import { explainCommands } from "./commands/explain";
import { fileCommands } from "./commands/files";
import { jobCommands } from "./commands/job";
import { poolCommands } from "./commands/pool";
import { dataCommands } from "./commands/data";
import { serviceCommands } from "./commands/service";
import { statsCommand } from "./commands/stats";
import { submitCommand } from "./commands/submit";
import { tvmCommands } from "./commands/tvm";
import { workCommands } from "./commands/work";
import { workItemCommands } from "./commands/workItem";
import { EXIT, explain } from "./failures";
import { type Io, clean, cleanLines } from "./output";

/** In the order of the overview. */
export const COMMANDS: readonly Command[] = [
  ...serviceCommands.slice(0, 1),
  demoCommand,
  submitCommand,
  ...workCommands,
  ...jobCommands,
  ...workItemCommands,
  ...fileCommands,
  ...explainCommands, statsCommand,
  ...poolCommands,
  ...certificateCommands,
  ...tvmCommands,
  ...autoscaleCommands, ...autoscaleRecordCommands, autoscaleTestCommand,
  ...serviceCommands.slice(1),
  ...accountCommands,
  ...dataCommands,
];

/** Runs one command line (without program names); resolves to the exit code and never rejects. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  try {
    const [first] = argv;
    if (first === undefined || first === "help" || first === "--help" || first === "-h") return help(argv.slice(1), io);
    if (first === "--version" || first === "version") {
      io.out(`${version()}\n`);
      return EXIT.ok;
    }
    const command = find(argv);
    if (!command) return unknown(argv, io);
    const result = await runCommand(command, argv.slice(command.words.split(" ").length), io);
    if (result !== "help") return result;
    io.out(helpOf(command));
    return EXIT.ok;
  } catch (error) {
    return tell(error, argv.slice(0, argv.includes("--") ? argv.indexOf("--") : undefined).includes("--json"), io);
  }
}

function find(argv: readonly string[]): Command | undefined {
  return COMMANDS.find(({ words }) => words === `${argv[0]} ${argv[1]}`) ?? COMMANDS.find(({ words }) => words === argv[0]);
}

function help(words: readonly string[], io: Io): number {
  const command = words.length > 0 ? find(words) : undefined;
  io.out(command ? helpOf(command) : overview());
  return EXIT.ok;
}

function overview(): string {
  const wide = Math.max(...COMMANDS.map(({ words }) => words.length));
  return [
    "Usage: batchledger COMMAND [options]", "",
    "Runs programs as tasks on pools of task virtual machines, and keeps every change as an event.", "",
    "Commands:", ...COMMANDS.map(({ words, summary }) => `  ${words.padEnd(wide)}  ${summary.split(/(?<=[.])\s/)[0]}`), "",
    "Each command has --help and --json.", "",
    "Exit codes: 0 all well; 1 tasks failed; 2 the command line is wrong; 3 no service answers; 4 the service refused;",
    "130 interrupted.", "",
  ].join("\n");
}

function unknown(argv: readonly string[], io: Io): number {
  const group = COMMANDS.filter(({ words }) => words.startsWith(`${argv[0]} `)).map(({ words }) => words);
  io.err(group.length > 0
    ? `error: "${clean(argv[0] as string)}" needs one more word: ${group.join(", ")}.\n`
    : `error: There is no command "${clean(argv[0] as string)}".\n  \`batchledger --help\` lists the commands.\n`);
  return EXIT.usage;
}

function tell(error: unknown, asJson: boolean, io: Io): number {
  if (io.signal.aborted) {
    io.err("Interrupted.\n");
    return EXIT.interrupted;
  }
  const { exitCode, message, hint, code, excerpt } = explain(error);
  if (asJson) io.err(`${JSON.stringify({ error: { message, ...(code ? { code } : {}), ...(hint ? { hint } : {}) }, exitCode })}\n`);
  else io.err(`error: ${clean(message)}\n${excerpt ? cleanLines(excerpt) : ""}${hint ? `  ${clean(hint)}\n` : ""}`);
  if (io.env["BATCHLEDGER_TRACE"]) io.err(`${(error as Error).stack}\n`);
  return exitCode;
}

/** From the package file, wherever this was compiled to. */
function version(): string {
  for (let folder = __dirname; folder !== path.dirname(folder); folder = path.dirname(folder)) {
    try {
      const found = JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as { name?: string; version?: string };
      if (found.name === "batchledger") return `batchledger ${found.version}`;
    } catch {
      // Not there: one folder up.
    }
  }
  return "batchledger";
}

/** This process as the world of one command. */
export function processIo(): Io {
  const stop = new AbortController();
  let askedAt = 0;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      // A terminal and a parent that forwards may both tell: only a later one is a second wish, and leaves at once.
      if (stop.signal.aborted && Date.now() - askedAt > 500) process.exit(EXIT.interrupted);
      if (stop.signal.aborted) return;
      askedAt = Date.now();
      stop.abort(Object.assign(new Error("interrupted"), { code: "ABORT_ERR" }));
    });
  }
  // A reader that went away (`batchledger tasks w | head`) is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(EXIT.ok);
    throw error;
  });
  return {
    out: (text) => void process.stdout.write(text),
    err: (text) => void process.stderr.write(text),
    outIsTerminal: process.stdout.isTTY === true, errIsTerminal: process.stderr.isTTY === true,
    get columns() {
      return process.stderr.columns || 80;
    },
    env: process.env, cwd: process.cwd(), stdin: process.stdin, signal: stop.signal,
  };
}

/** What bin/batchledger.js calls. */
export async function main(): Promise<void> {
  // A command may wait for something that does not keep the process alive by itself, such as an unreferenced timer.
  const alive = setInterval(() => undefined, 60_000);
  process.exitCode = await run(process.argv.slice(2), processIo());
  clearInterval(alive);
  // Standard input may still be open; everything that must happen has happened.
  process.stdin.unref?.();
}
