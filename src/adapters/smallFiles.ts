// Small files that say who is who: read whole or not at all, written whole or not at all.
import fs from "node:fs";

export function lastLines(file: string): string {
  return (readText(file) ?? "").trim().split("\n").slice(-3).join(" | ").slice(-1_000);
}

export function readText(file: string): string | undefined {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

export function readJson<T>(file: string): T | undefined {
  try {
    return JSON.parse(readText(file) ?? "") as T;
  } catch {
    return undefined;
  }
}

export function writeJson(file: string, value: unknown): void {
  const unfinished = `${file}.${process.pid}`;
  try {
    fs.writeFileSync(unfinished, JSON.stringify(value), { mode: 0o600 });
    fs.renameSync(unfinished, file);
  } catch (error) {
    fs.rmSync(unfinished, { force: true });
    throw error;
  }
}
