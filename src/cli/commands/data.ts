// batchledger verify, backup: is what a data folder holds whole, and a copy of it that a service can be started on.
import { existsSync, statSync } from "node:fs";
import path from "node:path";
import type { Command, Invocation } from "../command";
import { DEFAULT_DATA } from "../connection";
import { EXIT, Failure } from "../failures";
import { clean, json } from "../output";
import { shellQuote } from "../quoting";
import { backupData, verifyData } from "../serviceDoor";
import { startProblem } from "./service";

const data = { type: "string", value: "DIR", help: `data folder of the service (default ./${DEFAULT_DATA})` } as const;

export const dataCommands: readonly Command[] = [
  {
    words: "verify", operands: "", operandsMin: 0, operandsMax: 0, connects: false,
    summary: "Looks over everything that is stored, while the service is stopped: commits, folds, lists, counts.",
    options: { data },
    more: "Ends with 1 when something is wrong, and says what and what to do. It changes nothing.",
    run: verify,
  },
  {
    words: "backup", operands: "FOLDER", operandsMin: 1, operandsMax: 1, connects: false,
    summary: "Copies what the service keeps to a new folder, while it runs or not.",
    options: { data },
    more: "The copy is a data folder: `batchledger start --data FOLDER` runs on it. It holds the keys: keep it as you keep those.",
    run: backup,
  },
];

/** Faults shown to people; --json shows this many more. */
const SHOWN = 20;
const TOLD_MAX = 1000;
const PROGRESS_MS = 1000;

async function verify(call: Invocation): Promise<number> {
  const folder = folderOf(call);
  const faults: string[] = [];
  let told = Date.now();
  const found = await verifyData(
    { data: folder, logLevel: "error" },
    (text) => {
      if (faults.push(text) <= SHOWN && !call.json) call.io.err(`${clean(text)}\n`);
      if (faults.length > TOLD_MAX) faults.pop();
    },
    (what, count) => {
      if (call.json || Date.now() - told < PROGRESS_MS) return;
      told = Date.now();
      call.io.err(`${count} ${what} so far\n`);
    },
  ).catch((error: unknown) => {
    throw unreadable(error, folder);
  });
  if (call.json) json(call.io, { ...found, faults });
  else call.io.out(summary(found, call.text("data")));
  return found.problems === 0 ? EXIT.ok : EXIT.failed;
}

function summary({ commits, streams, rows, behind, problems }: Awaited<ReturnType<typeof verifyData>>, folder: string | undefined): string {
  const option = folder === undefined ? "" : ` --data ${shellQuote(folder)}`;
  const looked = `Looked at ${commits} commits of ${streams} streams, and ${rows} rows.`;
  const late = behind === 0 ? "" : ` ${behind} rows are behind their streams: the next start brings them up to date.`;
  if (problems === 0) return `${looked}${late}\nNothing is wrong.\n`;
  return [
    `${looked}${late}`, `${problems} things are wrong${problems > SHOWN ? `, of which ${SHOWN} are shown above` : ""}.`,
    `Rows and counters are made anew from the events: batchledger rebuild${option}`,
    "Damaged or missing commits come back only from a backup: a stream that has one is refused, never guessed.", "",
  ].join("\n");
}

async function backup(call: Invocation): Promise<number> {
  const from = folderOf(call);
  const to = path.resolve(call.io.cwd, call.operands[0] as string);
  if (!call.json) call.io.err(`Copying ${megabytes(statSync(path.join(from, "ledger.db")).size)} of events and lists, then keys and files.\n`);
  await backupData(from, to).catch((error: unknown) => {
    throw startProblem(error);
  });
  if (call.json) json(call.io, { folder: to });
  else call.io.out(`The copy is in ${to}. Look it over with: batchledger verify --data ${shellQuote(to)}\n`);
  return EXIT.ok;
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1024 / 1024)} MB`;

function folderOf(call: Invocation): string {
  const folder = path.resolve(call.io.cwd, call.text("data") ?? DEFAULT_DATA);
  if (!existsSync(path.join(folder, "ledger.db"))) throw new Failure(EXIT.unreachable, `There is no service data in ${folder}.`, "Say where it is: --data DIR.");
  return folder;
}

/** A file that SQLite does not even open is the worst that can be found, and is said as such. */
function unreadable(error: unknown, folder: string): unknown {
  const { errcode, message } = error as { errcode?: number; message: string };
  return errcode === undefined ? startProblem(error) : new Failure(EXIT.failed, `The database in ${folder} cannot be read: ${message}.`, "Start from a backup: batchledger start --data COPY.");
}
