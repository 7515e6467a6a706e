// Accounts of the embedded default: one file of keys an account, in a folder beside the data, a line a key. The service only
// reads: whoever may write to the folder administers the accounts (`accountFiles`), and the next request already goes by it.

import { randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, readdirSync, statSync, unlinkSync } from "node:fs";
import path from "node:path";
import type { Accounts } from "../ports";
import { createSecret, readOrCreate, readSecret, replaceSecret } from "./keyFile";

const accountName = /^[a-z0-9]{3,24}$/;
const keyBytes = 64;
const keysMax = 2;
const keyText = /^[A-Za-z0-9+/]{43,}={0,2}$/;

/** Makes `{folder}/{name}.key` with two random keys for each name that has none; any other `*.key` file there is an account too. */
export function fileAccounts(folder: string, names: readonly string[] = ["local"]): Accounts {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of names) {
    readOrCreate(fileOf(folder, name), () => textOf([newKey(), newKey()]));
  }
  const known = new Map<string, { readonly stamp: string; readonly keys: readonly string[] }>();
  return {
    async keys(account) {
      if (!accountName.test(account)) return undefined;
      const file = path.join(folder, `${account}.key`);
      const stamp = stampOf(file);
      const cached = known.get(account);
      if (cached !== undefined && cached.stamp === stamp) return cached.keys;
      known.delete(account);
      const content = stamp === undefined ? undefined : readSecret(file);
      if (stamp === undefined || content === undefined) return undefined;
      const keys = parseKeys(file, content.toString("utf8"));
      known.set(account, { stamp, keys });
      return keys;
    },
  };
}

export interface AccountFiles {
  /** Names of all accounts. */
  names(): string[];
  /** The file of an account's keys. Throws when the name is none. */
  file(name: string): string;
  /** Primary and, if there is one, secondary key; undefined: no such account. */
  keys(name: string): readonly string[] | undefined;
  /** Makes an account with two keys; false when there is one of that name. */
  add(name: string): boolean;
  /** A new key in the place of one; the other stays good, and the old one is dead at once. False: no such account. */
  rotate(name: string, which: "primary" | "secondary"): boolean;
  /** Ends the account: nobody can sign for it any more. False: no such account. */
  remove(name: string): boolean;
}

/**
 * The accounts of a data folder, for whoever may write there; that right is the operator's credential. Takes effect in a running
 * service without a word to it. Each change is a line of `accounts.log` in the same folder (security 1.5), without keys.
 */
export function accountFiles(folder: string, now: () => Date): AccountFiles {
  const keysOf = (name: string): readonly string[] | undefined => {
    const file = fileOf(folder, name);
    const content = readSecret(file);
    return content && parseKeys(file, content.toString("utf8"));
  };
  const noted = (action: string, account: string): true => {
    appendFileSync(path.join(folder, "accounts.log"), `${JSON.stringify({ at: now().toISOString(), action, account })}\n`, { mode: 0o600 });
    return true;
  };
  return {
    names: () => namesIn(folder),
    file: (name) => fileOf(folder, name),
    keys: keysOf,
    add: (name) => createSecret(fileOf(folder, name), textOf([newKey(), newKey()])) && noted("add", name),
    rotate(name, which) {
      const keys = keysOf(name);
      if (!keys) return false;
      const [primary = newKey(), secondary] = keys;
      replaceSecret(fileOf(folder, name), textOf(which === "primary" ? [newKey(), ...(secondary === undefined ? [] : [secondary])] : [primary, newKey()]));
      return noted(`rotate ${which}`, name);
    },
    remove(name) {
      try {
        unlinkSync(fileOf(folder, name));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
        throw error;
      }
      return noted("remove", name);
    },
  };
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((file) => file.endsWith(".key")).map((file) => file.slice(0, -4)).filter((name) => accountName.test(name)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

function fileOf(folder: string, name: string): string {
  if (!accountName.test(name)) throw new Error(`${JSON.stringify(name)} is not an account name: 3 to 24 of a-z and 0-9.`);
  return path.join(folder, `${name}.key`);
}

const newKey = (): string => randomBytes(keyBytes).toString("base64");
const textOf = (keys: readonly string[]): Buffer => Buffer.from(keys.map((key) => `${key}\n`).join(""));

/** Changes whenever the file is edited or replaced. Synchronous: two microseconds, less than a thread's turn. */
function stampOf(file: string): string | undefined {
  const stat = statSync(file, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? undefined : `${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`;
}

function parseKeys(file: string, text: string): readonly string[] {
  const keys = text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
  if (keys.length < 1 || keys.length > keysMax || !keys.every((key) => keyText.test(key))) {
    throw new Error(`${file} must hold one or two lines, each a base64 key of 32 bytes or more.`);
  }
  return keys;
}
