// Compiles main.bicep to azuredeploy.json, which the portal's button takes, and marks it with a digest of its sources, so that
// a test without the compiler sees when one was changed and the other not. Needs the Bicep CLI: the one named by the variable
// BICEP, or `bicep` on the path.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const folder = path.dirname(fileURLToPath(import.meta.url));
const out = mkdtempSync(path.join(tmpdir(), "batchledger-infra-"));
try {
  const compiled = path.join(out, "main.json");
  execFileSync(process.env["BICEP"] ?? "bicep", ["build", path.join(folder, "main.bicep"), "--outfile", compiled], { stdio: "inherit" });
  const template = JSON.parse(readFileSync(compiled, "utf8"));
  template.metadata = { ...template.metadata, sourceSha256: digestOfSources() };
  writeFileSync(path.join(folder, "azuredeploy.json"), `${JSON.stringify(template, undefined, 1)}\n`);
} finally {
  rmSync(out, { recursive: true, force: true });
}

/** Of main.bicep and every module that it reaches. The test computes the same. */
function digestOfSources() {
  const files = new Set(["main.bicep"]);
  for (const file of files)
    for (const [, module] of readFileSync(path.join(folder, file), "utf8").matchAll(/^module \w+ '([^']+)'/gm)) files.add(module);
  const hash = createHash("sha256");
  for (const file of [...files].sort()) hash.update(`${file}\n${readFileSync(path.join(folder, file), "utf8")}\n`);
  return hash.digest("hex");
}
