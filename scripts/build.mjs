// Compiles to dist/ with the TypeScript compiler, and copies what the compiler leaves behind (the agent's helpers).
// Skips the work when nothing changed, so that `npm start` costs nothing the second time.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
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
rmSync("dist", { recursive: true, force: true });
try {
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.json"], { stdio: "inherit" });
} catch {
  process.exit(1);
}
for (const file of globSync("src/**/*.{c,pl,py}")) {
  const to = path.join("dist", file);
  mkdirSync(path.dirname(to), { recursive: true });
  cpSync(file, to);
}
writeFileSync(stamp, new Date().toISOString());
