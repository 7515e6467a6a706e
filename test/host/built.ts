// The host as a program of its own: its source translated into a temporary folder beside a small app, so that tests may
// load the app as Functions does (package.json "main") and kill the process that runs it.

import { transformFileSync } from "@swc/core";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.join(__dirname, "..", "..");

/** Makes the folder: dist/src/host from source, the given files beside it, and the project's packages. */
export function buildApp(files: Record<string, string>): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "host-app-"));
  fs.mkdirSync(path.join(dir, "dist", "src", "host"), { recursive: true });
  for (const file of fs.readdirSync(path.join(root, "src", "host"))) {
    const { code } = transformFileSync(path.join(root, "src", "host", file), {
      swcrc: false,
      jsc: { target: "es2023", parser: { syntax: "typescript" } },
      module: { type: "commonjs" },
    });
    fs.writeFileSync(path.join(dir, "dist", "src", "host", file.replace(/\.ts$/, ".js")), code);
  }
  fs.symlinkSync(path.join(root, "node_modules"), path.join(dir, "node_modules"));
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
    fs.writeFileSync(path.join(dir, name), text);
  }
  return dir;
}
