// Closes what this process inherited by mistake: descriptors above 2 that would pass on to every child. Node opens its own
// with close-on-exec, so whatever lacks that mark came from outside (a shell's pipe, say). Linux only; elsewhere it does nothing.
import fs from "node:fs";

const CLOSE_ON_EXEC = 0o2000000;

export function closeInheritedDescriptors(): void {
  for (const name of listing()) {
    const descriptor = Number(name);
    if (descriptor > 2 && inherits(descriptor)) close(descriptor);
  }
}

function listing(): string[] {
  try {
    return fs.readdirSync("/proc/self/fd");
  } catch {
    return [];
  }
}

function inherits(descriptor: number): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${descriptor}`, "latin1"))?.[1];
    return flags !== undefined && (parseInt(flags, 8) & CLOSE_ON_EXEC) === 0;
  } catch {
    return false;
  }
}

function close(descriptor: number): void {
  try {
    fs.closeSync(descriptor);
  } catch {
    // closed meanwhile
  }
}
