// A small secret file that only its owner may read. It appears whole or not at all, and never replaces one that exists.

import { randomBytes } from "node:crypto";
import { closeSync, fstatSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import path from "node:path";

/** The content of the file; when there is none, it is made with mode 0600 from `create`. Throws when others may read it. */
export function readOrCreate(file: string, create: () => Uint8Array): Buffer {
  return readSecret(file) ?? (createSecret(file, create()), readSecret(file)!);
}

/** The content, or undefined when there is no such file. */
export function readSecret(file: string): Buffer | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    const open = fstatSync(descriptor).mode & 0o077;
    if (open !== 0 && process.platform !== "win32") throw new Error(`${file} can be read by others. Make it private: chmod 600.`);
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function createSecret(file: string, content: Uint8Array): void {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${randomBytes(6).toString("hex")}.new`;
  const descriptor = openSync(temporary, "wx", 0o600);
  try {
    writeFileSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  try {
    linkSync(temporary, file);
  } catch (error) {
    // Another process was faster: its file counts.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    unlinkSync(temporary);
  }
}
