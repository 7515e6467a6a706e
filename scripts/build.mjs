// Compiles to dist/ with the TypeScript compiler, and copies what the compiler leaves behind (the agent's helpers).
// Skips the work when nothing changed, so that `npm start` costs nothing the second time.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
process.chdir(root);
const stamp = "dist/.built";
const sources = [...globSync("{functions,src,bench}/**/*"), "package.json", "tsconfig.json", "scripts/build.mjs"];
const newest = Math.max(...sources.map((file) => statSync(file).mtimeMs));
if (existsSync(stamp) && statSync(stamp).mtimeMs > newest && !process.argv.includes("--force")) process.exit(0);

// The packaged compiler has no shim of its own on every platform: run its entry point with this Node.
const tsc = path.join(root, "node_modules", "typescript", "bin", "tsc");
if (!existsSync(tsc)) {
  console.error("The compiler is missing. Run `npm ci` first (without --omit=dev).");
  process.exit(1);
}
// Compiled beside, then put in place: a failed or concurrent build never leaves half of a dist/ behind.
const fresh = `dist.${process.pid}`;
try {
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.json", "--outDir", fresh], { stdio: "inherit" });
} catch {
  rmSync(fresh, { recursive: true, force: true });
  process.exit(1);
}
for (const file of globSync("src/**/*.{c,pl}")) {
  const to = path.join(fresh, file);
  mkdirSync(path.dirname(to), { recursive: true });
  cpSync(file, to);
}
writeFileSync(path.join(fresh, ".built"), new Date().toISOString());
const old = `dist.old.${process.pid}`;
if (existsSync("dist")) renameSync("dist", old);
renameSync(fresh, "dist");
rmSync(old, { recursive: true, force: true });
