// Keeps the house in order by reading the source: who may import whom, who may touch clocks, chance and the environment, and
// that no file is forgotten. The tables say what is allowed; each test says what it found.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";

// ---------------------------------------------------------------- the tables

/**
 * Who may import whom. An area is a folder of `src` (or a file right below it), `functions` or `bench`; each may import itself.
 * `type X`: types alone, nothing that exists at run time. `node:*` stands for all of Node's own modules.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  views: ["domain", "type ports", "type wire"],
  ports: [],
  wire: ["zod"],
  settings: ["zod", "node:path"],
  // What users add as certificates, opened: pure, but for what opens it.
  x509: ["node:crypto", "node-forge"],
  // zod: messages of queues come from outside, and are parsed where they are understood.
  app: ["domain", "views", "type ports", "wire", "zod"],
  process: ["domain", "views", "app", "type ports", "type durable-functions"],
  api: ["domain", "views", "app", "type ports", "wire", "x509", "zod", "type @azure/functions", "node:crypto"],
  adapters: ["type ports", "type durable-functions", "node:*", "@azure/*"],
  compose: ["adapters", "azure", "type ports", "settings", "durable-functions", "type @azure/functions"],
  // The two compositions: this machine's, which only the local service knows, and Azure's.
  embedded: ["adapters", "type compose", "type ports", "type settings", "node:fs", "node:fs/promises", "node:path"],
  azure: ["adapters", "domain", "type compose", "type ports", "type settings", "@azure/identity", "node:fs", "node:path"],
  functions: ["api", "app", "process", "compose", "type ports", "@azure/functions", "durable-functions"],
  // The local host stands in for the platform: it knows the ports' types and the functions' library, and nothing of the service.
  host: ["type ports", "node:*", "@azure/functions-core"],
  // app: rebuilding the views before the service starts.
  service: ["compose", "embedded", "settings", "host", "app", "node:*"],
  // The agent talks HTTP to the service, and shares nothing with it but the protocol.
  agent: ["wire", "node:*"],
  // domain: the formula language, which is pure, so that formulas can be tried without a service. x509: thumbprints of files.
  cli: ["service", "domain", "x509", "node:*"],
  bench: ["adapters", "agent", "service", "cli", "domain", "app", "process", "type ports", "wire", "node:*"],
};

/** Where a process begins, or what is started by its path: everything else must be imported by something. */
const ENTRIES: readonly string[] = [
  "functions/",
  "bench/",
  "src/cli/main.ts",
  "src/cli/client.ts", // the client library
  "src/agent/main.ts",
  "src/agent/helpers/",
  "src/adapters/serviceBusSource.ts", // for the local host on Azure's parts (test/standins): on Azure the platform receives
];

/** What a line of code may touch only in these places (a folder ends with a slash). */
const AMBIENT: readonly { readonly what: string; readonly pattern: RegExp; readonly where: readonly string[] }[] = [
  {
    what: "the clock or a timer",
    pattern: /\bDate\.now\b|\bnew Date\(\)|\bDate\(\)|\bperformance\.now\b|\bhrtime\b|\bsetTimeout\b|\bsetInterval\b/,
    where: ["src/adapters/system.ts", "src/host/", "src/agent/", "src/cli/", "bench/"],
  },
  {
    what: "chance",
    pattern: /\bMath\.random\b|\brandomUUID\b|\brandomBytes\b|\bgetRandomValues\b|\brandomInt\b/,
    // Beside the port: keys and nonces, which belong to who seals; names of temporary files.
    where: ["src/adapters/system.ts", "src/adapters/aesSealer.ts", "src/adapters/keyFile.ts", "src/adapters/fileAccounts.ts", "src/adapters/folderCertificates.ts", "src/adapters/processMachines.ts", "src/host/", "src/agent/", "src/cli/", "bench/"],
  },
  {
    what: "the environment",
    pattern: /\bprocess\.env\b/,
    // processMachines: what a machine's process is started with.
    where: ["src/settings.ts", "src/adapters/processMachines.ts", "src/host/", "src/agent/", "src/cli/", "bench/"],
  },
  { what: "the console", pattern: /\bconsole\./, where: ["src/adapters/system.ts", "src/agent/", "src/cli/", "bench/"] },
  { what: "the end of the process", pattern: /\bprocess\.(exit|abort|kill)\b/, where: ["src/adapters/osProcesses.ts", "src/agent/", "src/cli/", "bench/"] },
];

/** Never part of what is deployed. */
const NOT_DEPLOYED = ["host", "cli", "service", "embedded", "agent", "bench"];

/** An adapter is named after its technology, and knows no other. */
const TECHNOLOGY: Readonly<Record<string, readonly string[]>> = {
  cosmos: ["@azure/cosmos"],
  serviceBus: ["@azure/service-bus"],
  blob: ["@azure/storage-blob"],
  scaleSet: ["@azure/arm-compute"],
  keyVault: ["@azure/keyvault-certificates", "@azure/keyvault-secrets"],
};

// ---------------------------------------------------------------- reading

const root = path.resolve(__dirname, "..");

interface Import {
  readonly to: string;
  readonly typeOnly: boolean;
}
interface Source {
  readonly file: string;
  readonly text: string;
  /** Without comments. */
  readonly code: string;
  readonly imports: readonly Import[];
}

const filesBelow = (folder: string): string[] =>
  readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = `${folder}/${entry.name}`;
    return entry.isDirectory() ? filesBelow(name) : name.endsWith(".ts") ? [name] : [];
  });

/** Comments go; strings stay, so that what looks like a comment in one does not hide code. */
const withoutComments = (text: string): string =>
  text.replace(/("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|(?<![\w)\]]\s*)\/(?![/*])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (all, kept: string | undefined) =>
    kept !== undefined ? kept : all.startsWith("//") || all.startsWith("/*") ? " " : all);

const STATEMENT = /^(?:import|export)\s+(type\s+)?(?:([^"';]*?)\s+from\s+)?"([^"]+)"/gm;
const CALL = /\b(?:import|require)\(\s*"([^"]+)"\s*\)/g;

const importsOf = (file: string, code: string): Import[] => {
  const resolve = (to: string): string => (to.startsWith(".") ? path.posix.join(path.posix.dirname(file), to) : to);
  const statements = [...code.matchAll(STATEMENT)].map(([, type, names = "", to]) => {
    const listed = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1]?.split(",").map((name) => name.trim()).filter(Boolean);
    const typeOnly = type !== undefined || (listed !== undefined && listed.length > 0 && listed.every((name) => name.startsWith("type ")));
    return { to: resolve(to as string), typeOnly };
  });
  return [...statements, ...[...code.matchAll(CALL)].map(([, to]) => ({ to: resolve(to as string), typeOnly: false }))];
};

const sources: Source[] = ["src", "functions", "bench"].flatMap(filesBelow).map((file) => {
  const text = readFileSync(path.join(root, file), "utf8");
  const code = withoutComments(text);
  return { file, text, code, imports: importsOf(file, code) };
});
const byFile = new Map(sources.map((source) => [source.file, source]));
const fileOf = (to: string): string | undefined => [`${to}.ts`, to].find((name) => byFile.has(name));

const areaOf = (file: string): string => {
  const [top, second = ""] = file.split("/");
  return top === "src" ? second.replace(/\.ts$/, "") : (top as string);
};

// ---------------------------------------------------------------- the tests

test("there is a table entry for every area, and an area for every entry", () =>
  expect(Object.keys(MAY_IMPORT).sort()).toEqual([...new Set(sources.map(({ file }) => areaOf(file)))].sort()));

test("nobody imports whom it may not", () => {
  const wrong = sources.flatMap(({ file, imports }) => {
    const area = areaOf(file);
    const allowed = MAY_IMPORT[area] ?? [];
    return imports.flatMap(({ to, typeOnly }) => {
      const target = /^(src|functions|bench|test)\//.test(to) ? areaOf(to) : to;
      const names = [target, ...(target.startsWith("node:") ? ["node:*"] : []), ...(target.startsWith("@azure/") ? ["@azure/*"] : [])];
      const fine = target === area || names.some((name) => allowed.includes(name) || (typeOnly && allowed.includes(`type ${name}`)));
      return fine ? [] : [`${file} imports ${typeOnly ? "types of " : ""}${to}`];
    });
  });
  expect(wrong).toEqual([]);
});

test("an adapter knows its own technology alone", () => {
  // What the SDKs share: pipelines, credentials, retries.
  const shared = (to: string): boolean => /^@azure\/(core-|identity$|abort-controller$|logger$)/.test(to);
  const wrong = sources
    .filter(({ file }) => areaOf(file) === "adapters")
    .flatMap(({ file, imports }) => {
      const own = Object.entries(TECHNOLOGY).find(([name]) => path.basename(file).startsWith(name))?.[1] ?? [];
      return imports.filter(({ to }) => to.startsWith("@azure/") && !shared(to) && !own.includes(to)).map(({ to }) => `${file} imports ${to}`);
    });
  expect(wrong).toEqual([]);
});

test("every relative import finds its file", () => {
  const lost = sources.flatMap(({ file, imports }) => imports.filter(({ to }) => /^(src|functions|bench|test)\//.test(to) && !fileOf(to)).map(({ to }) => `${file} -> ${to}`));
  expect(lost).toEqual([]);
});

/** What can be reached from these files by imports that exist at run time, each with the way there. */
const reach = (from: readonly string[]): Map<string, string> => {
  const ways = new Map(from.map((file) => [file, file]));
  for (const [file, way] of ways)
    for (const { to, typeOnly } of byFile.get(file)?.imports ?? []) {
      const target = fileOf(to);
      if (target !== undefined && !typeOnly && !ways.has(target)) ways.set(target, `${way} -> ${target}`);
    }
  return ways;
};

test("what is deployed reaches neither the local host nor anything else of this machine", () => {
  const ways = reach(sources.map(({ file }) => file).filter((file) => file.startsWith("functions/")));
  expect(ways.size).toBeGreaterThan(40);
  expect([...ways].filter(([file]) => NOT_DEPLOYED.includes(areaOf(file))).map(([, way]) => way)).toEqual([]);
});

test("no file is forgotten: each is an entry or imported by one that is not", () => {
  const isEntry = (file: string): boolean => ENTRIES.some((entry) => file === entry || (entry.endsWith("/") && file.startsWith(entry)));
  const imported = new Set(sources.flatMap(({ file, imports }) => imports.flatMap(({ to }) => fileOf(to) ?? []).filter((target) => target !== file)));
  expect(sources.map(({ file }) => file).filter((file) => !isEntry(file) && !imported.has(file))).toEqual([]);
  for (const entry of ENTRIES) expect({ entry, there: sources.some(({ file }) => file === entry || file.startsWith(entry)) }).toEqual({ entry, there: true });
});

test("no two files need each other at run time", () => {
  const cycles = new Set<string>();
  for (const { file, imports } of sources)
    for (const { to, typeOnly } of imports) {
      const target = fileOf(to);
      if (target === undefined || typeOnly || target === file) continue;
      const back = reach([target]).get(file);
      if (back !== undefined) cycles.add([file, ...back.split(" -> ")].slice(0, -1).sort().join(" <-> "));
    }
  expect([...cycles]).toEqual([]);
});

test.each(AMBIENT)("$what is touched only where it may be", ({ pattern, where }) => {
  const wrong = sources
    .filter(({ file }) => !where.some((place) => file === place || (place.endsWith("/") && file.startsWith(place))))
    .flatMap(({ file, code }) => code.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1} ${line.trim()}`] : [])));
  expect(wrong).toEqual([]);
  // A rule that nothing needs any more goes.
  for (const place of where) expect({ place, there: sources.some(({ file }) => file.startsWith(place)) }).toEqual({ place, there: true });
});

test("every file opens with what it is for", () => {
  const silent = sources.filter(({ text }) => !/^(#![^\n]*\n)?(\/\/ \S|\/\*\*?\s)/.test(text)).map(({ file }) => file);
  expect(silent).toEqual([]);
});

test("the domain knows no promise and no package: pure values in, pure values out", () => {
  const wrong = sources.filter(({ file }) => /^src\/(domain|views)\//.test(file)).flatMap(({ file, code }) => (/\basync\b|\bawait\b|\bPromise\b/.test(code) ? [file] : []));
  expect(wrong).toEqual([]);
});

test("nothing is left to do, and nothing names the place where it was written", () => {
  const wrong = sources.flatMap(({ file, text }) => (/\b(TODO|FIXME|XXX|HACK)\b|\/work\/|\/root\/|\/home\//.test(text) ? [file] : []));
  expect(wrong).toEqual([]);
});

test("what the reader of the source sees is what the tests see: comments go, code and strings stay", () => {
  expect(withoutComments('a("// no", \'/* no */\', `//${b}`); // yes\n/* yes */ c(/[/"]\\/\\//); d = e / f; // "x')).toBe('a("// no", \'/* no */\', `//${b}`);  \n  c(/[/"]\\/\\//); d = e / f;  ');
  expect(importsOf("src/app/x.ts", 'import type { A } from "../a";\nimport { type B, c } from "./b";\nimport { type D } from "./d";\nimport * as e from "e";\nimport "./f";\nexport { g } from "../../g";\nconst h = require("h");'))
    .toEqual([{ to: "src/a", typeOnly: true }, { to: "src/app/b", typeOnly: false }, { to: "src/app/d", typeOnly: true }, { to: "e", typeOnly: false }, { to: "src/app/f", typeOnly: false }, { to: "g", typeOnly: false }, { to: "h", typeOnly: false }]);
});
