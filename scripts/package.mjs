// Makes the folder that Functions receives, dist-app/, from what the compiler made: the functions and exactly the files that
// they reach, host.json, and a package.json and package-lock.json of production dependencies alone. No node_modules: they are
// installed where the package goes (`npm ci` there, or the platform's remote build). And dist-agent/, the folder that TVMs
// install: the node agent with its dependencies, which are few, so that a TVM needs no registry.
//   node scripts/package.mjs [--from dist] [--app dist-app] [--agent dist-agent]
// Fails when the app reaches what belongs to one machine, or a package that is not a production dependency.
import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: { from: { type: "string", default: "dist" }, app: { type: "string", default: "dist-app" }, agent: { type: "string", default: "dist-agent" } },
});
const from = path.resolve(root, values.from);
const manifest = readJson(path.join(root, "package.json"));

/** What the app must not reach: this machine's host, commands, agent and embedded composition, and what measures them. */
const NOT_DEPLOYED = [/^src\/(host|cli|agent)\//, /^src\/(service|embedded)\.js$/, /^bench\//, /^test\//, /^src\/adapters\/(sqlite\w*|processMachines|osProcesses|tvmFolders|folderFiles|fileAccounts)\.js$/];
/** Said nowhere else. */
const LICENCE_IN_README = { semaphore: "MIT" };
/** What is in a package, for those who watch for known flaws. */
const BILL = "sbom.cdx.json";
/** The Functions runtime provides it. */
const PROVIDED = new Set(["@azure/functions-core"]);

packageApp(path.resolve(root, values.app));
packageAgent(path.resolve(root, values.agent));

function packageApp(to) {
  const entries = globSync("functions/*.js", { cwd: from });
  if (entries.length === 0) fail(`There are no compiled functions in ${from}. Run \`npm run build\` first.`);
  const { ways, packages } = reach(entries);
  const strange = [...ways].filter(([file]) => NOT_DEPLOYED.some((pattern) => pattern.test(file)));
  if (strange.length > 0) fail(`The deployed app reaches what is not deployed:\n${strange.map(([, way]) => `  ${way}`).join("\n")}`);
  fresh(to);
  copy(ways.keys(), to);
  cpSync(path.join(root, "host.json"), path.join(to, "host.json"));
  cpSync(path.join(root, ".funcignore"), path.join(to, ".funcignore"));
  // The scale sets' machines start by it.
  const cloudInit = path.join(root, "infra", "cloud-init.yaml");
  mkdirSync(path.join(to, "infra"));
  cpSync(cloudInit, path.join(to, "infra", "cloud-init.yaml"));
  const dependencies = versions(packages);
  writeJson(path.join(to, "package.json"), { ...about(), main: "functions/*.js", engines: manifest.engines, dependencies });
  const lock = lockOf(dependencies);
  writeJson(path.join(to, "package-lock.json"), lock);
  writeJson(path.join(to, BILL), billOf(lock));
  console.log(`${path.relative(root, to)}: ${ways.size} files, ${Object.keys(dependencies).length} dependencies`);
}

function packageAgent(to) {
  const { ways, packages } = reach(["src/agent/main.js", ...globSync("src/agent/helpers/*.js", { cwd: from })]);
  fresh(to);
  copy(ways.keys(), to);
  copy(globSync("src/agent/helpers/*.{c,pl}", { cwd: from }), to);
  const dependencies = versions(packages);
  const lock = lockOf(dependencies);
  for (const name of Object.keys(lock.packages)) if (name !== "") cpSync(path.join(root, name), path.join(to, name), { recursive: true });
  writeJson(path.join(to, "package.json"), { ...about(), name: "batchledger-agent", engines: manifest.engines, dependencies });
  writeJson(path.join(to, BILL), billOf({ ...lock, name: "batchledger-agent" }));
  console.log(`${path.relative(root, to)}: ${ways.size} files, ${Object.keys(dependencies).length} dependencies`);
}

/** Compiled files that these need when they run, each with the way there; and the packages. */
function reach(entries) {
  const ways = new Map(entries.map((entry) => [posix(entry), posix(entry)]));
  const packages = new Set();
  for (const [file, way] of ways) {
    for (const [, to] of readFileSync(path.join(from, file), "utf8").matchAll(/\b(?:require|import)\(\s*"([^"]+)"\s*\)/g)) {
      if (to.startsWith(".")) {
        const target = [`${path.posix.join(path.posix.dirname(file), to)}.js`, path.posix.join(path.posix.dirname(file), to)].find((name) => existsSync(path.join(from, name)));
        if (target === undefined) fail(`${file} needs ${to}, which was not compiled.`);
        if (!ways.has(target)) ways.set(target, `${way} -> ${target}`);
      } else if (!isBuiltin(to) && !PROVIDED.has(to)) packages.add(to.split("/").slice(0, to.startsWith("@") ? 2 : 1).join("/"));
    }
  }
  return { ways, packages };
}

function versions(packages) {
  const missing = [...packages].filter((name) => manifest.dependencies[name] === undefined);
  if (missing.length > 0) fail(`Not among the production dependencies: ${missing.join(", ")}.`);
  return Object.fromEntries([...packages].sort().map((name) => [name, manifest.dependencies[name]]));
}

/** The part of the lock file that these dependencies need, with the very same versions and digests. */
function lockOf(dependencies) {
  const lock = readJson(path.join(root, "package-lock.json"));
  const kept = new Map();
  const open = Object.keys(dependencies).map((name) => ({ name, within: "", optional: false }));
  for (const { name, within, optional } of open) {
    const where = resolve(lock.packages, name, within);
    if (where === undefined && !optional) fail(`package-lock.json has no ${name} for ${within || "the app"}.`);
    if (where === undefined || kept.has(where)) continue;
    const entry = lock.packages[where];
    kept.set(where, entry);
    for (const dependency of Object.keys(entry.dependencies ?? {})) open.push({ name: dependency, within: where, optional: false });
    for (const dependency of Object.keys(entry.optionalDependencies ?? {})) open.push({ name: dependency, within: where, optional: true });
    for (const dependency of Object.keys(entry.peerDependencies ?? {})) open.push({ name: dependency, within: where, optional: true });
  }
  const own = { name: manifest.name, version: manifest.version, license: manifest.license, dependencies, engines: manifest.engines };
  const packages = Object.fromEntries([...kept].sort(([a], [b]) => (a < b ? -1 : 1)));
  return { name: manifest.name, version: manifest.version, lockfileVersion: lock.lockfileVersion, requires: true, packages: { "": own, ...packages } };
}

/**
 * The bill of materials (CycloneDX) of what this lock file brings: names, versions, digests, licences. npm has a command for it, which names
 * a time and a random number in each: the same release would never be the same twice.
 */
function billOf({ name, version, packages }) {
  const components = Object.entries(packages).filter(([where]) => where !== "").map(([where, entry]) => {
    const full = where.slice(where.lastIndexOf("node_modules/") + "node_modules/".length);
    const [group, own] = full.startsWith("@") ? full.split("/") : [undefined, full];
    const [algorithm, digest] = entry.integrity.split("-");
    return {
      type: "library", "bom-ref": `${full}@${entry.version}#${where}`, ...(group === undefined ? {} : { group }), name: own, version: entry.version, purl: `pkg:npm/${full.replace("@", "%40")}@${entry.version}`,
      hashes: [{ alg: algorithm.replace("sha", "SHA-"), content: Buffer.from(digest, "base64").toString("hex") }], licenses: [{ expression: entry.license ?? LICENCE_IN_README[full] }],
    };
  });
  return { bomFormat: "CycloneDX", specVersion: "1.5", version: 1, metadata: { component: { type: "application", "bom-ref": `${name}@${version}`, name, version, licenses: [{ expression: manifest.license }] } }, components };
}

/** As Node finds it: beside the one that needs it, or in a folder further up. */
function resolve(packages, name, within) {
  for (let at = within; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
    const where = `${at === "" ? "" : `${at}/`}node_modules/${name}`;
    if (packages[where] !== undefined) return where;
    if (at === "") return undefined;
  }
}

/** Without scripts: an install on the platform builds nothing. */
function about() {
  const { name, version, description, license, type } = manifest;
  return { name, version, description, license, private: true, type };
}

function copy(files, to) {
  for (const file of files) {
    mkdirSync(path.dirname(path.join(to, file)), { recursive: true });
    cpSync(path.join(from, file), path.join(to, file));
  }
}

function fresh(folder) {
  // Only what this script made before is ever removed.
  if (existsSync(folder) && !existsSync(path.join(folder, "package.json")) && globSync("*", { cwd: folder }).length > 0) fail(`${folder} holds something else.`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
}

function readJson(file) {
  return JSON.parse(readFileSync(file, "utf8"));
}

function writeJson(file, value) {
  writeFileSync(file, `${JSON.stringify(value, undefined, 2)}\n`);
}

function posix(file) {
  return file.split(path.sep).join("/");
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
