// Accounts of the embedded default: one file of keys an account, in a folder beside the data. It never writes to a file that
// exists: keys are rotated by editing it, a line a key, and the next request already goes by what it says.

import { randomBytes } from "node:crypto";
import { mkdirSync, statSync } from "node:fs";
import path from "node:path";
import type { Accounts } from "../ports";
import { readOrCreate, readSecret } from "./keyFile";

const accountName = /^[a-z0-9]{3,24}$/;
const keyBytes = 64;
const keysMax = 2;
const keyText = /^[A-Za-z0-9+/]{43,}={0,2}$/;

/** Makes `{folder}/{name}.key` with one random key for each name that has none; any other `*.key` file there is an account too. */
export function fileAccounts(folder: string, names: readonly string[] = ["local"]): Accounts {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of names) {
    if (!accountName.test(name)) throw new Error(`${JSON.stringify(name)} is not an account name: 3 to 24 of a-z and 0-9.`);
    readOrCreate(path.join(folder, `${name}.key`), () => Buffer.from(`${randomBytes(keyBytes).toString("base64")}\n`));
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
