// Rules that are kept by how the source is written (security 4.1, 7.3 to 7.5, 12): read from it, and from what is installed.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { literalsIn, slowness } from "./regex";

const root = path.resolve(__dirname, "..", "..");
const read = (file: string): string => readFileSync(path.join(root, file), "utf8");
/** Comments go; strings and expressions stay. */
const withoutComments = (text: string): string =>
  text.replace(/("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`)|(?<![\w)\]]\s*)\/(?![/*])(?:[^/\\\n[]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (all, kept: string | undefined) =>
    kept !== undefined ? kept : all.startsWith("//") || all.startsWith("/*") ? " " : all);
const sources = ["src", "functions"]
  .flatMap((folder) => readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts")).map((name) => path.posix.join(folder, name.replaceAll(path.sep, "/"))))
  .map((file) => ({ file, code: withoutComments(read(file)) }));
/** Every match, with its file. */
const all = (pattern: RegExp): string[] => sources.flatMap(({ file, code }) => [...code.matchAll(pattern)].map(([whole, one]) => `${file}: ${one ?? whole}`));

describe("regular expressions", () => {
  /** Slow on text that nobody outside can send: why. */
  const HARMLESS: Readonly<Record<string, string>> = {
    "src/agent/readings.ts /p?\\d+$/": "names of disks, from the kernel",
    "src/cli/connection.ts /\\/+$/": "the address that the command's own user gives",
    "src/cli/commands/files.ts /^\\/+|\\/+$/": "a path that the command's own user gives",
    "src/domain/autoscale/values.ts /\\.?0+$/": "a number as it was printed: 25 characters",
    "src/domain/autoscale/values.ts /0+$/": "a number as it was printed: 25 characters",
  };

  test("are linear, each in the source", () => {
    const found = sources.flatMap(({ file, code }) => literalsIn(code).map((one) => ({ ...one, file })));
    expect(found.length).toBeGreaterThan(150);
    const slow = found.flatMap(({ file, source, flags }) => (slowness(source, flags).length > 0 ? [`${file} /${source}/`] : []));
    expect(slow.filter((one) => HARMLESS[one] === undefined)).toEqual([]);
    expect(Object.keys(HARMLESS).filter((one) => !slow.includes(one))).toEqual([]);
    // Made at run time: from a name that the source has.
    expect(all(/new RegExp\(/g)).toEqual(["src/agent/readings.ts: new RegExp("]);
  });

  test.each([
    ["(a+)+$", "a repetition within a repetition"], ["(?:a*b?)*c", "a repetition within a repetition"], ["^(?:a|aa)*$", "choices that begin alike"], ["^(\\d+|\\w+)*$", "choices that begin alike"],
    ["^\\s*(\\d*)\\s*-$", "neighbours"], ["^.*=.*$", "neighbours"], ["^a*[ab]*c", "neighbours"], ["\\s+$", "a search"], ["a.*b", "a search"], ["^(?:a?)*$", "what may be empty"], ["^(a+)\\1*$", "a repetition within a repetition"],
  ])("/%s/ is named: %s", (source, why) => {
    expect(slowness(source).join()).toContain(why);
  });

  test.each(["^[a-z0-9]+(?:-[a-z0-9]+)*$", "^(?:[^\"\\\\]|\\\\.)*$", "^\\d{1,9}$", "[\\p{Cc}\\u2028]+", "^a*b*$", "\\bBearer\\s+[^\\s]+", "^x{0,200}y{0,200}$", "^(?:ab|cd)*e"])("/%s/ is let through", (source) => {
    expect(slowness(source, source.includes("\\p{") ? "u" : "")).toEqual([]);
  });
});

describe("what runs", () => {
  test("is no text that came from outside: no eval, no functions from text, no contexts, no modules by a computed name", () => {
    expect(all(/\beval\s*\(|\bnew Function\b|\bFunction\s*\(|"node:vm"|"vm"|\bsetTimeout\(\s*["`]/g)).toEqual([]);
    // The local host loads the functions of the folder that it is started on.
    expect(all(/\b(?:require|import)\(\s*(?!["])([^)\n]{1,40})/g)).toEqual(["src/host/loadApp.ts: pathToFileURL(full", "src/host/loadApp.ts: full"]);
  });

  test("processes are started in these files, and never through a shell", () => {
    const starters = sources.filter(({ code }) => /"node:child_process"/.test(code) && !/import type [^;]*"node:child_process"/.test(code)).map(({ file }) => file);
    expect(starters.sort()).toEqual(["src/adapters/osProcesses.ts", "src/adapters/processMachines.ts", "src/agent/helper.ts", "src/agent/helpers/spawner.ts", "src/agent/users.ts"]);
    const service = ({ file }: { file: string }): boolean => !file.startsWith("src/cli/");
    expect(sources.filter(service).filter(({ code }) => /\bshell:\s*(?!false)\S|\b(?:execSync|execFileSync|spawnSync|fork)\(/.test(code)).map(({ file }) => file)).toEqual([]);
    // The last resort among the start helpers: a text of ours, which gets what it works on as arguments.
    expect(sources.filter(service).filter(({ code }) => /"-c"/.test(code)).map(({ file }) => file)).toEqual(["src/agent/helper.ts"]);
    expect(read("src/agent/helper.ts")).toContain('["/bin/sh", "-c", guarded, "sh", ...node]');
  });
});

test("SQL is made of these words of ours, and values are bound", () => {
  const WORDS = new Set([
    // Names of tables and columns, and lists of as many marks as there are values.
    "columns", "name", "name as string", "table", "table.name", "column", "view.name", "which", "where", "text", "names", "path", "wanted.replaceAll(\"$key\", path)", "place", "sets.join(\"\")",
    // Numbers of ours.
    "process.pid", "cacheKib", "checkpointPages", "walBytesKept", "forgottenRowsPerUnit", "from", "synchronous", "batch",
  ]);
  const statements = sources.flatMap(({ file, code }) => [...code.matchAll(/`((?:[^`\\]|\\.)*)`/g)].map(([, text]) => ({ file, text: text as string })).filter(({ text }) => /\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|PRAGMA|FROM c WHERE)\b/.test(text)));
  expect(statements.length).toBeGreaterThan(25);
  const pieces = statements.flatMap(({ file, text }) => [...text.matchAll(/\$\{([^{}]*)\}/g)].map(([, piece]) => ({ file, piece: (piece as string).trim() })));
  // What is more than a word chooses between texts of ours.
  const strange = pieces.filter(({ piece }) => !WORDS.has(piece) && !/^[\w.]+ (?:===?|!==?) \S+ \? "[^"]*" : "[^"]*"$|^[\w.]+ \? "[^"]*" : "[^"]*"$|^\["[^"]*"(?:, "[^"]*")*(?:, \.\.\.columns)?(?:, "[^"]*")*\]\.join\(", "\)$|^"\?, "\.repeat\(columns\.length \+ \d\)$/.test(piece));
  expect(strange).toEqual([]);
  expect(sources.filter(({ code }) => /"[^"\n]*\b(?:SELECT|DELETE FROM|INSERT INTO)\b[^"\n]*"\s*\+/.test(code)).map(({ file }) => file)).toEqual([]);
});

describe("no switch makes it weaker", () => {
  test("the environment is asked for these names alone, none of which ends a check", () => {
    const names = new Set(sources.filter(({ file }) => !file.startsWith("src/cli/")).flatMap(({ code }) => [...code.matchAll(/\benv(?:ironment)?(?:\.|\[["`])([A-Z][A-Za-z_.$]*)/g)].map(([, name]) => name as string)));
    expect([...names].sort()).toEqual(["AzureWebJobs.$", "HOME", "LANG", "PATH", "TMPDIR", "WEBSITE_HOSTNAME"]);
    const settings = [...read("src/settings.ts").matchAll(/^ {2}(BATCHLEDGER_\w+|\w+__\w+):/gm)].map(([, name]) => name);
    expect(settings.length).toBeGreaterThan(10);
    expect(settings.filter((name) => /INSECURE|SKIP|DISABLE|NO_|DEBUG|FAULT|TEST|UNSAFE|TRUST/.test(name as string))).toEqual([]);
  });

  test("nothing of the tests, of faults or of other clocks is part of it", () => {
    expect(all(/from "([^"]*\b(?:test|standins|sim)\/[^"]*)"/g)).toEqual([]);
    expect(all(/\b(?:injectFault|faultRate|virtualClock|debugEndpoint|skipAuth|noAuth|allowAnonymous|rejectUnauthorized|NODE_TLS_REJECT_UNAUTHORIZED)\b/g)).toEqual([]);
  });
});

describe("dependencies", () => {
  interface Locked {
    readonly version: string;
    readonly resolved?: string;
    readonly integrity?: string;
    readonly hasInstallScript?: boolean;
    readonly license?: string;
    readonly dev?: boolean;
    readonly optional?: boolean;
    readonly link?: boolean;
  }
  const lock = JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> };
  const packages = Object.entries(lock.packages).filter(([name]) => name !== "");
  const own = JSON.parse(read("package.json")) as { dependencies: Record<string, string>; devDependencies: Record<string, string>; allowScripts: Record<string, boolean> };

  test("are of exact versions, and locked to their content", () => {
    for (const [name, version] of Object.entries({ ...own.dependencies, ...own.devDependencies })) {
      expect([name, version]).toEqual([name, expect.stringMatching(/^\d+\.\d+\.\d+$/)]);
      expect([name, lock.packages[`node_modules/${name}`]?.version]).toEqual([name, version]);
    }
    expect(packages.filter(([, one]) => !one.link && !one.integrity?.startsWith("sha512-")).map(([name]) => name)).toEqual([]);
    expect(packages.filter(([, one]) => one.resolved !== undefined && !one.resolved.startsWith("https://registry.npmjs.org/")).map(([name]) => name)).toEqual([]);
  });

  test("run nothing at their install but what was looked at, and none that is deployed does", () => {
    expect(Object.keys(own.allowScripts)).toEqual(["node"]);
    expect(packages.filter(([, one]) => one.hasInstallScript && !one.dev).map(([name]) => name)).toEqual([]);
  });

  test("have licences that may go with a service", () => {
    const FREE = ["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "(BSD-3-Clause OR GPL-2.0)", "ISC", "MIT"];
    // Says so in its README only.
    expect(read("node_modules/semaphore/README.md")).toMatch(/MIT/);
    const other = packages.filter(([name, one]) => !one.dev && name !== "node_modules/semaphore" && !FREE.includes(one.license ?? ""));
    expect(other.map(([name, one]) => `${name} ${one.license}`)).toEqual([]);
  });
});
