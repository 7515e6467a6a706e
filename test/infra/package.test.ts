// The folder that Functions receives: it holds what the functions reach and nothing of one machine, and it runs as it is, with
// the compiled sources of this very tree.
import { transformFileSync } from "@swc/core";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.resolve(__dirname, "..", "..");
let dir: string;
const at = (...names: string[]): string => path.join(dir, ...names);
const pack = (from = "dist") => spawnSync(process.execPath, [path.join(root, "scripts/package.mjs"), "--from", at(from), "--app", at("dist-app"), "--agent", at("dist-agent")], { encoding: "utf8" });

beforeAll(() => {
  dir = mkdtempSync(path.join(os.tmpdir(), "package-"));
  for (const file of globSync("{functions,src}/**/*.ts", { cwd: root })) {
    const { code } = transformFileSync(path.join(root, file), { swcrc: false, jsc: { target: "es2024", parser: { syntax: "typescript" } }, module: { type: "commonjs" } });
    mkdirSync(path.dirname(at("dist", file)), { recursive: true });
    writeFileSync(at("dist", file.replace(/\.ts$/, ".js")), code);
  }
  for (const file of globSync("src/agent/helpers/*.{c,pl}", { cwd: root })) cpSync(path.join(root, file), at("dist", file));
  symlinkSync(path.join(root, "node_modules"), at("node_modules"));
  const { status, stderr } = pack();
  if (status !== 0) throw new Error(stderr);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const filesOf = (folder: string): string[] => globSync("**/*", { cwd: at(folder), withFileTypes: true, exclude: (entry) => entry.name === "node_modules" })
  .filter((entry) => entry.isFile()).map((entry) => path.relative(at(folder), path.join(entry.parentPath, entry.name)).split(path.sep).join("/")).sort();
const json = (...names: string[]) => JSON.parse(readFileSync(at(...names), "utf8")) as Record<string, Record<string, unknown>>;

test("it holds the functions, what they reach, and nothing of one machine", () => {
  const files = filesOf("dist-app");
  expect(files).toEqual(expect.arrayContaining(["host.json", "infra/cloud-init.yaml", "package-lock.json", "package.json", "functions/http.js", "src/api/serve.js"]));
  expect(files.filter((file) => /^(bench|test|bin)\/|^src\/(host|cli|agent|service|embedded)\b|sqlite|\.ts$|settings\.json$/.test(file))).toEqual([]);
  expect(files.filter((file) => file.startsWith("functions/"))).toHaveLength(globSync("functions/*.ts", { cwd: root }).length);
  expect(existsSync(at("dist-app", "node_modules"))).toBe(false);
});

test("its dependencies are the production ones that it requires, locked as here, and nothing runs at their install", () => {
  const manifest = json("dist-app", "package.json");
  const { dependencies } = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as { dependencies: Record<string, string> };
  expect(manifest).not.toHaveProperty("scripts");
  expect(manifest).not.toHaveProperty("devDependencies");
  expect(dependencies).toMatchObject(manifest["dependencies"]!);
  const required = new Set(filesOf("dist-app").filter((file) => file.endsWith(".js")).flatMap((file) => [...readFileSync(at("dist-app", file), "utf8").matchAll(/require\("(@[\w-]+\/[\w-]+|[\w-]+)[^"]*"\)/g)].map(([, name]) => name!)));
  for (const name of [...required].filter((one) => dependencies[one] !== undefined)) expect(manifest["dependencies"]).toHaveProperty([name]);
  const locked = json("dist-app", "package-lock.json")["packages"] as Record<string, { dev?: boolean; version?: string; hasInstallScript?: boolean }>;
  const whole = (JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")) as { packages: typeof locked }).packages;
  const { "": own, ...packages } = locked;
  expect(own).toMatchObject({ dependencies: manifest["dependencies"] });
  expect(whole).toMatchObject(packages);
  expect(Object.entries(packages).filter(([, { dev, hasInstallScript }]) => dev === true || hasInstallScript === true)).toEqual([]);
});

test("each package says what it is made of: a bill of materials, the same each time, with every dependency's version, digest and licence", () => {
  for (const folder of ["dist-app", "dist-agent"]) {
    const bill = json(folder, "sbom.cdx.json") as unknown as { bomFormat: string; components: { group?: string; name: string; version: string; hashes: { alg: string; content: string }[]; licenses: { expression: string }[] }[] };
    expect(bill.bomFormat).toBe("CycloneDX");
    const named = bill.components.map(({ group, name, version }) => `${group === undefined ? "" : `${group}/`}${name}@${version}`);
    const { packages } = JSON.parse(readFileSync(path.join(root, "package-lock.json"), "utf8")) as { packages: Record<string, { version: string; integrity: string }> };
    for (const [index, { hashes, licenses }] of bill.components.entries()) {
      const [name] = named[index]!.split(/(?!^)@/);
      const candidates = Object.entries(packages).filter(([where]) => where.endsWith(`node_modules/${name as string}`)).map(([, { integrity }]) => Buffer.from(integrity.slice("sha512-".length), "base64").toString("hex"));
      expect([hashes[0]?.alg, candidates.includes(hashes[0]?.content ?? "")]).toEqual(["SHA-512", true]);
      expect(licenses[0]?.expression).toEqual(expect.any(String));
    }
    const locked = folder === "dist-app" ? Object.keys(json(folder, "package-lock.json")["packages"] as object).length - 1 : globSync("node_modules/{*,@*/*}/package.json", { cwd: at(folder) }).length;
    expect(named).toHaveLength(locked);
    expect(JSON.stringify(bill)).not.toMatch(/timestamp|serialNumber/);
  }
});

test("the local host loads exactly that folder: every function is there, and the API answers", () => {
  symlinkSync(path.join(root, "node_modules"), at("dist-app", "node_modules"));
  const runner = `
    const app = ${JSON.stringify(at("dist-app"))};
    const { startHost } = require("./dist/src/host/main.js");
    const { registry } = require("./dist/src/host/functionsCore.js");
    const { embedded } = require("./dist/src/embedded.js");
    const { embeddedSettings } = require("./dist/src/settings.js");
    const log = { debug() {}, info() {}, warn() {}, error() {} };
    (async () => {
      const parts = embedded(embeddedSettings({ data: ${JSON.stringify(at("data"))}, logLevel: "silent" }), () => "");
      const loadedBefore = new Set(Object.keys(require.cache));
      require(app + "/src/compose.js").usePorts(parts.ports);
      const host = await startHost({ appDir: app, port: 0, timers: false, log });
      const answer = await fetch(host.url + "/pools?api-version=2014-10-01.1.0");
      const said = { status: answer.status, code: JSON.parse(await answer.text()).code };
      await host.stop();
      await parts.close({ stopMachines: true });
      const loaded = Object.keys(require.cache).filter((file) => !loadedBefore.has(file) && !file.includes("node_modules"));
      console.log(JSON.stringify({ said, functions: [...registry.functions.values()].map(({ name }) => name).sort(), outside: loaded.filter((file) => !file.startsWith(require("fs").realpathSync(app))) }));
    })().catch((error) => { console.error(error); process.exitCode = 1; });`;
  writeFileSync(at("run.js"), runner);
  const { stdout, stderr } = spawnSync(process.execPath, ["--no-warnings", at("run.js")], { encoding: "utf8", timeout: 90_000 });
  expect(stderr).toBe("");
  const { said, functions, outside } = JSON.parse(stdout) as { said: { status: number; code: string }; functions: string[]; outside: string[] };
  const text = globSync("functions/*.ts", { cwd: root }).map((file) => readFileSync(path.join(root, file), "utf8")).join("\n");
  const step = /STEP = "(\w+)"/.exec(readFileSync(path.join(root, "src/process/loop.ts"), "utf8"))![1]!;
  const registered = [...text.matchAll(/\bapp\.(?:http|timer|serviceBusQueue|cosmosDB|orchestration|activity|generic)\((?:"(\w+)"|STEP)/g)].map(([, name = step]) => name).sort();
  expect(functions).toEqual(registered);
  expect(outside).toEqual([]);
  expect(said).toMatchObject({ status: 403, code: "AuthenticationFailed" });
});

test("the agent's folder runs by itself", () => {
  expect(filesOf("dist-agent").filter((file) => file.endsWith(".js") && !/^src\/(agent\/|wire\.js)/.test(file))).toEqual([]);
  expect(existsSync(at("dist-agent", "node_modules", "zod", "package.json"))).toBe(true);
  const { status, stderr } = spawnSync(process.execPath, [at("dist-agent", "src/agent/main.js")], { input: "{}", encoding: "utf8", timeout: 90_000 });
  expect(stderr).toMatch(/the agent's specification is wrong: endpointFile/);
  expect(status).toBe(2);
});

test("an app that reaches what belongs to one machine is not packaged", () => {
  cpSync(at("dist"), at("wrong"), { recursive: true });
  writeFileSync(at("wrong/functions/timers.js"), `require("../src/host/main");`);
  const { status, stderr } = pack("wrong");
  expect(status).toBe(1);
  expect(stderr).toContain("functions/timers.js -> src/host/main.js");
});
