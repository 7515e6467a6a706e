// A small secret file that only its owner may read. It appears whole or not at all, and replaces one that exists only when that is
// asked for by name.

import { randomBytes } from "node:crypto";
import { closeSync, fstatSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
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

/** Makes the file; false when there is one already, which stays as it is. */
export function createSecret(file: string, content: Uint8Array): boolean {
  const temporary = written(file, content);
  try {
    linkSync(temporary, file);
    return true;
  } catch (error) {
    // Another process was faster: its file counts.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  } finally {
    unlinkSync(temporary);
  }
}

/** Puts other content in its place, at once: readers see the old or the new. */
export function replaceSecret(file: string, content: Uint8Array): void {
  renameSync(written(file, content), file);
}

/** A file beside it with the content, on the disk. */
function written(file: string, content: Uint8Array): string {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  const temporary = `${file}.${randomBytes(6).toString("hex")}.new`;
  const descriptor = openSync(temporary, "wx", 0o600);
  try {
    writeFileSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  return temporary;
}
