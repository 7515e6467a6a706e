// Where the service is and with which key to speak to it: from the environment, or from the data folder of a service on this
// machine. Reads files, writes none, and never speaks to the service itself.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { EXIT, Failure, UnreachableError, usage } from "./failures";

export interface Connection {
  readonly url: string;
  readonly account: string;
  /** Base64. */
  readonly key: string;
  /** Instead of the key: what a job manager task was given, good for its own job. */
  readonly token?: string;
  /** Where the key was read from, if from a file. */
  readonly keyFile?: string;
}

export const DEFAULT_DATA = ".batchledger";

/** The account of a service that was not told another name. */
const DEFAULT_ACCOUNT = "local";

/**
 * `data` (the --data option) wins over the environment, which wins over ./.batchledger; `account` (--account) over
 * BATCHLEDGER_ACCOUNT, which wins over the service's own. A job manager task speaks for itself, with the token in its environment,
 * unless it is told otherwise. Throws a Failure that says what is missing.
 */
export function findConnection(data: string | undefined, env: NodeJS.ProcessEnv, account?: string): Connection {
  if (data === undefined && env["BATCHLEDGER_URL"]) return fromEnvironment(env["BATCHLEDGER_URL"], env, account);
  const [url, token] = [env["WATASK_SERVICE_URL"], env["WATASK_AUTHENTICATION_TOKEN"]];
  if (data === undefined && url && token) return { url, account: env["WATASK_ACCOUNT_NAME"] ?? "", key: "", token };
  return fromFolder(path.resolve(data ?? DEFAULT_DATA), account ?? env["BATCHLEDGER_ACCOUNT"]);
}

/** The key of a data folder, which may be read whether the service runs or not. */
export function readKey(folder: string, wanted?: string): { account: string; keyFile: string; key: string } {
  const keys = path.join(folder, "keys");
  const names = existsSync(keys) ? readdirSync(keys).filter((name) => name.endsWith(".key")).map((name) => name.slice(0, -4)) : [];
  if (names.length === 0) throw new Failure(EXIT.unreachable, `There is no service data in ${folder}.`, START);
  const usual = names.includes(DEFAULT_ACCOUNT) ? DEFAULT_ACCOUNT : names.length === 1 ? names[0] : undefined;
  const account = wanted ?? usual;
  if (account === undefined) throw usage(`${keys} holds several accounts: ${names.join(", ")}.`, "Say which: --account NAME or BATCHLEDGER_ACCOUNT.");
  if (!names.includes(account)) throw usage(`${keys} has no account ${account}; it has ${names.join(", ")}.`);
  const keyFile = path.join(keys, `${account}.key`);
  return { account, keyFile, key: firstLine(keyFile) };
}

const START = "Start the service with `batchledger start` in this folder, or say where its data is: --data DIR.";

function fromEnvironment(url: string, env: NodeJS.ProcessEnv, wanted: string | undefined): Connection {
  const account = env["BATCHLEDGER_ACCOUNT"];
  if (wanted !== undefined && wanted !== account) throw usage("--account and BATCHLEDGER_ACCOUNT differ, and the key in the environment is of one account.", "Set BATCHLEDGER_ACCOUNT and its key.");
  const keyFile = env["BATCHLEDGER_KEY_FILE"];
  const key = env["BATCHLEDGER_KEY"];
  if (!account) throw usage("BATCHLEDGER_URL is set but BATCHLEDGER_ACCOUNT is not.", "`batchledger env` prints all that is needed.");
  if (!key && !keyFile) throw usage("BATCHLEDGER_URL is set but neither BATCHLEDGER_KEY nor BATCHLEDGER_KEY_FILE is.", "`batchledger env` prints all that is needed.");
  if (!/^https?:\/\/[^/]+/.test(url) || !URL.canParse(url)) throw usage("BATCHLEDGER_URL is not an http or https address.");
  const trimmed = url.replace(/\/+$/, "");
  return key ? { url: trimmed, account, key: key.trim() } : { url: trimmed, account, key: firstLine(keyFile as string), keyFile: keyFile as string };
}

function fromFolder(folder: string, account: string | undefined): Connection {
  const file = path.join(folder, "service.json");
  if (!existsSync(file)) throw new Failure(EXIT.unreachable, `No service runs on the data in ${folder}.`, START);
  let found: { url?: unknown; pid?: unknown; account?: unknown };
  try {
    found = JSON.parse(readFileSync(file, "utf8")) as typeof found;
  } catch {
    throw new Failure(EXIT.unreachable, `${file} is damaged.`, "Start the service again: it writes the file anew.");
  }
  if (typeof found.url !== "string") throw new Failure(EXIT.unreachable, `${file} names no address.`, START);
  // A killed service leaves the file behind: do not wait for an answer that cannot come.
  if (typeof found.pid === "number" && !alive(found.pid)) throw new UnreachableError(found.url, "the service ended without cleaning up");
  return { url: found.url.replace(/\/+$/, ""), ...readKey(folder, account ?? (typeof found.account === "string" ? found.account : undefined)) };
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

const firstLine = (file: string): string => (readFileSync(file, "utf8").split("\n")[0] ?? "").trim();
