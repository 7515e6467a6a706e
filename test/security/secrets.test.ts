// The built service with secrets that would be recognised anywhere: after lives of all kinds they are in no event, row, log,
// error, answer or file but those that exist to hold them. And what a task can get at of the service and of others: nothing.
import { spawn } from "node:child_process";
import { chownSync, existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import { taskFiles } from "../../src/cli/client";
import { JOB, type Running, agentPids, allCompleted, ended, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

let data: string;
let service: Running;
const answers: string[] = [];

beforeAll(async () => {
  data = newData();
  service = await start(data, ["--log-level", "debug"]);
  await pool(service.client, "main", 2, 1);
});

afterAll(async () => {
  await stop(service);
  removeData(data);
});

/** Of every file below the folder, with its content: what is written while we look may be missing. */
const filesBelow = (folder: string): { name: string; content: string }[] =>
  (readdirSync(folder, { recursive: true }) as string[]).flatMap((name) => {
    try {
      return statSync(path.join(folder, name)).isFile() ? [{ name, content: readFileSync(path.join(folder, name), "latin1") }] : [];
    } catch {
      return [];
    }
  });

const signatureOf = (address: string): string => new URL(address).searchParams.get("sig") as string;

test("keys, signatures and credentials are only where they are kept", async () => {
  const { client } = service;
  const address = await client.fileAddress("inputs", "words.txt");
  await client.upload(address, Buffer.from("one two\n"), 8);
  await workItem(client, "secrets", "main");
  const gone = `${address.readUrl.replace("words.txt", "nothing.txt")}`;
  await client.addTasks("secrets", JOB, [
    { name: "reads", commandLine: "/bin/cat words.txt", resourceFiles: [{ blobSource: address.readUrl, filePath: "words.txt" }] },
    { name: "fails", commandLine: "/bin/cat words.txt", resourceFiles: [{ blobSource: gone, filePath: "words.txt" }] },
    { name: "nothing", commandLine: "/no/such/program" },
  ]);
  await allCompleted(client, "secrets", 3);
  answers.push(JSON.stringify([await client.getTask("secrets", JOB, "reads"), await client.getTask("secrets", JOB, "fails"), await client.getPool("main")]));
  for (const target of ["/batchledger/history/pools/main", `/batchledger/history/workitems/secrets/jobs/${JOB}/tasks/fails`, `/workitems/secrets/jobs/${JOB}/tasks?api-version=2014-10-01.1.0`])
    answers.push(await (await fetch(service.url + target)).text());
  // Of somebody who may log in to a TVM: refused here, or sealed until the TVM has it.
  const password = "Canary-of-1-password";
  const tvm = (await client.getTask("secrets", JOB, "reads") as unknown as { tvmInfo: { tvmName: string } }).tvmInfo.tvmName;
  for (const user of [{ name: "ann", password }, { name: "ann", password, isAdmin: "x" }, { name: "no such name", password: `${password}\0` }]) {
    const refused = await client.addTvmUser("main", tvm, user as never).then(() => undefined, (error: unknown) => error as { code?: string });
    answers.push(JSON.stringify(refused) + String(refused));
    expect(refused?.code).toMatch(/^[A-Z]\w+$/);
  }
  const secrets = { key: service.key, password, signature: signatureOf(address.readUrl), "signature, encoded": encodeURIComponent(signatureOf(address.readUrl)), "other signature": signatureOf(gone) };
  const places = [
    ...filesBelow(data).filter(({ name }) => !name.startsWith("keys")),
    { name: "what it said", content: service.said() },
    { name: "answers", content: answers.join("\n") },
  ];
  // Otherwise the test would look at nothing.
  expect(places.filter(({ name }) => name.startsWith("ledger.db")).map(({ content }) => content).join("").includes("REDACTED")).toBe(true);
  const found = places.flatMap(({ name, content }) => Object.entries(secrets).filter(([, secret]) => content.includes(secret)).map(([kind]) => `${kind} in ${name}`));
  expect(found).toEqual([]);
  // Join codes, TVMs' credentials, tokens of job managers.
  const tokens = places.flatMap(({ name, content }) => (/~\d{1,3}~[A-Za-z0-9_-]{20,}/.test(content) ? [name] : []));
  expect(tokens).toEqual([]);
});

test("what the service keeps is for its own user alone", () => {
  const open = filesBelow(data)
    .map(({ name }) => name)
    .filter((name) => !name.startsWith("machines") && !name.startsWith("tvms"))
    .filter((name) => (statSync(path.join(data, name)).mode & 0o077) !== 0 && !behindClosedDoor(name));
  expect(open).toEqual([]);
});

/** A folder on the way lets nobody else in. */
const behindClosedDoor = (name: string): boolean => {
  const parts = name.split(path.sep);
  return parts.some((_, index) => index > 0 && (statSync(path.join(data, ...parts.slice(0, index))).mode & 0o007) === 0);
};

/** Where the service may give each TVM a user of its own; elsewhere it says that it does not. */
const separate = process.getuid?.() === 0;

(separate ? test : test.skip)("a task reads no key, no event, no other TVM's files, and no process of the service", async () => {
  const { client } = service;
  await workItem(client, "curious", "main");
  const secret = "canary-of-another-task";
  await client.addTasks("curious", JOB, [{ name: "victim", commandLine: `/bin/sh -c 'echo ${secret} > kept.txt; umask 0; echo ${secret} > open.txt; chmod 777 . open.txt'` }]);
  await allCompleted(client, "curious", 1);
  const victim = await client.getTask("curious", JOB, "victim") as unknown as { tvmInfo: { tvmName: string } };
  const look = [
    "id -u",
    `find ${data} -type f -readable 2>/dev/null | while read f; do echo "FILE $f"; cat "$f" 2>/dev/null; done`,
    `cat ${data}/keys/*.key ${data}/keys/* ${data}/ledger.db ${data}/ledger.db-wal ${data}/taskhub.db 2>/dev/null`,
    "for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; tr '\\0' '\\n' < $p/cmdline; ls -l $p/fd $p/cwd; done 2>/dev/null",
    "env",
  ].join("\n");
  const script = await client.fileAddress("inputs", "look.sh");
  await client.upload(script, Buffer.from(look), look.length);
  await client.addTasks("curious", JOB, Array.from({ length: 4 }, (_, index) => ({ name: `look${index}`, commandLine: "/bin/sh look.sh", resourceFiles: [{ blobSource: script.readUrl, filePath: "look.sh" }] })));
  await allCompleted(client, "curious", 5);
  const elsewhere = new Set<string>();
  for (let index = 0; index < 4; index++) {
    const task = await client.getTask("curious", JOB, `look${index}`) as unknown as { tvmInfo: { tvmName: string } };
    const seen = (await client.readFile(taskFiles("curious", JOB, `look${index}`), "stdout.txt")).bytes.toString("latin1");
    expect(seen.split("\n")[0]).not.toBe("0");
    expect(seen).toContain("look.sh");
    for (const [what, text] of [["the key", service.key], ["a join code or credential", "~1~"], ["the service's secret", readFileSync(path.join(data, "keys", "service.secret"), "latin1").trim()]] as const)
      expect([what, seen.includes(text)]).toEqual([what, false]);
    // Tasks of one TVM share its user; those of another TVM see nothing of it.
    if (task.tvmInfo.tvmName === victim.tvmInfo.tvmName) continue;
    elsewhere.add(task.tvmInfo.tvmName);
    expect([...seen.matchAll(/^FILE (.*)$/gm)].map(([, file]) => file).filter((file) => file?.includes(victim.tvmInfo.tvmName))).toEqual([]);
    expect(seen).not.toContain(secret);
  }
  expect(elsewhere.size).toBe(1);
});

test("a service that cannot keep tasks apart says so at its start; one that can does not", async () => {
  expect(/can read what it can/.test(service.said())).toBe(!separate);
  if (!separate) return;
  const own = newData();
  const nobody = 65_534;
  chownSync(own, nobody, nobody);
  const child = spawn(process.execPath, [path.resolve(__dirname, "..", "..", "bin", "batchledger.js"), "start", "--json", "--data", own, "--port", "0"], { uid: nobody, gid: nobody, stdio: ["ignore", "pipe", "pipe"], cwd: own });
  let [out, said] = ["", ""];
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (said += chunk));
  try {
    const told = () => out.includes("ready") && said.includes("Tasks run as the user of this service and can read what it can");
    await until(async () => told() || (child.exitCode !== null && Promise.reject(new Error(said))), "it is ready and has said so");
  } finally {
    child.kill("SIGTERM");
    await ended(child);
    removeData(own);
  }
});

test("the agents' command lines and environments hold no credential that outlives their start", () => {
  const pids = agentPids(data);
  expect(pids.length).toBeGreaterThan(0);
  if (!existsSync("/proc/self/environ")) return;
  for (const pid of pids) {
    const shown = readFileSync(`/proc/${pid}/environ`, "latin1") + readFileSync(`/proc/${pid}/cmdline`, "latin1");
    expect(shown).not.toContain(service.key);
    expect(shown).not.toContain("~1~");
  }
});
