// Certificates on a TVM: there before anything runs, in folders that show each only what it may see, and gone with the boot.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { installCertificates, lendFolder } from "../../src/agent/certificates";
import type { CertificateFile } from "../../src/wire";
import { eventually } from "./eventually";
import { assignment, openWorld, type World } from "./world";

const file = (digit: string, more: Partial<CertificateFile> = {}): CertificateFile =>
  ({ thumbprint: digit.repeat(40), thumbprintAlgorithm: "sha1", format: "pfx", data: Buffer.from(`pfx ${digit}`).toString("base64"), password: `password ${digit}`, visibility: ["starttask", "task"], ...more });
const nameOf = (digit: string, ending = "pfx"): string => `sha1-${digit.repeat(40)}.${ending}`;
const START = { run: 1, commandLine: `sh -c 'ls $WATASK_CERTIFICATES_DIR > ../start/seen; cat $WATASK_CERTIFICATES_DIR/*.pw >> ../start/seen'`, resourceFiles: [], environment: {}, runElevated: false };

let world: World;
afterEach(() => world.close());

const prepare = async (...files: CertificateFile[]): Promise<void> => {
  world = await openWorld({ certificates: true });
  world.service.tvm("tvm-1").certificates.push(...files);
};
const certs = (): string => `${world.root("tvm-1")}.certs`;

test("start task and tasks see their own, as files with a password beside them; others see nothing of it in the TVM's files", async () => {
  await prepare(file("a"), file("b", { visibility: ["starttask"] }), file("c", { visibility: ["task"], format: "cer", password: "" }), file("d", { visibility: ["rdp"], password: "" }));
  const tvm = world.service.tvm("tvm-1");
  tvm.startTask = START;
  world.service.assign("tvm-1", assignment("ls $WATASK_CERTIFICATES_DIR; cat $WATASK_CERTIFICATES_DIR/*.pw", { task: "look" }), assignment("echo $WATASK_CERTIFICATES_DIR", { task: "mine", environment: { WATASK_CERTIFICATES_DIR: "/tmp" } }));
  await world.startAgent();
  await world.ended("tvm-1", "acme.w.j.look");
  await world.ended("tvm-1", "acme.w.j.mine");
  expect(world.read("tvm-1", "tasks/w/j/look/stdout.txt")).toBe([nameOf("a"), nameOf("a", "pfx.pw"), nameOf("c", "cer"), "password a"].join("\n"));
  expect(world.read("tvm-1", "tasks/w/j/mine/stdout.txt")).toBe(`${certs()}/task\n`);
  await eventually(() => tvm.reports.some(({ kind }) => kind === "startTaskEnded"), () => "end of the start task");
  expect(world.read("tvm-1", "start/seen")).toBe([nameOf("a"), nameOf("a", "pfx.pw"), nameOf("b"), nameOf("b", "pfx.pw"), "password apassword b"].join("\n"));
  expect(fs.readFileSync(`${certs()}/task/${nameOf("a")}`, "utf8")).toBe("pfx a");
  expect(fs.readFileSync(`${certs()}/rdp/${nameOf("d", "pfx.pw")}`, "utf8")).toBe("");
  for (const [name, mode] of [["task", 0o700], [`task/${nameOf("a")}`, 0o400], ["rdp", 0o700]] as const) expect(fs.statSync(`${certs()}/${name}`).mode & 0o777).toBe(mode);
  world.service.ask("tvm-1", { id: "f1", kind: "list", path: "", recursive: true });
  const answer = await eventually(() => tvm.fileAnswers.get("f1"), () => "the list of files");
  expect(answer.entries?.map(({ path }) => path).join()).not.toMatch(/certs|pfx/);
});

test("nothing runs before they are there, however long that takes; a later boot has exactly its own, and none are left behind", async () => {
  await prepare(file("a"));
  const tvm = world.service.tvm("tvm-1");
  tvm.certificateFaults.push(503, 404, 500);
  world.service.assign("tvm-1", assignment("ls $WATASK_CERTIFICATES_DIR", { task: "first" }));
  const first = await world.startAgent();
  await world.ended("tvm-1", "acme.w.j.first");
  expect(world.read("tvm-1", "tasks/w/j/first/stdout.txt")).toContain(nameOf("a"));
  expect(tvm.certificateFaults).toEqual([]);
  expect(first.output()).toContain("certificates cannot be had yet (503)");
  expect(first.output()).not.toContain("password a");

  tvm.certificates.splice(0, 1, file("e"));
  const second = await world.startAgent(["tvm-1"], {}, 2);
  await eventually(() => fs.existsSync(`${certs()}/task/${nameOf("e")}`), () => `the other certificate; ${second.output()}`);
  expect(fs.readdirSync(`${certs()}/task`)).toEqual([nameOf("e"), nameOf("e", "pfx.pw")]);
  second.child.kill("SIGTERM");
  await second.exited;
  expect(fs.existsSync(certs())).toBe(false);
});

test("a TVM that the service does not know any more ends while it waits for certificates", async () => {
  await prepare(file("a"));
  world.service.tvm("tvm-1").certificateFaults.push(410);
  world.service.assign("tvm-1", assignment("true", { task: "never" }));
  const agent = await world.startAgent().catch(() => undefined);
  await eventually(() => world.service.tvm("tvm-1").joins > 0, () => "the join");
  await agent?.exited;
  expect(world.service.tvm("tvm-1").exchanges).toEqual([]);
  expect(fs.existsSync(certs())).toBe(false);
});

(process.getuid?.() === 0 ? test : test.skip)("with users of their own, neither start task nor tasks can read what is not visible to them, or change what is", async () => {
  await prepare(file("a", { visibility: ["starttask"] }), file("b", { visibility: ["task"] }), file("d", { visibility: ["rdp"] }));
  fs.chmodSync(world.folder, 0o755);
  const tvm = world.service.tvm("tvm-1");
  const all = `D=$(dirname $WATASK_CERTIFICATES_DIR); cat $D/starttask/*.pw; cat $D/task/*.pw; cat $D/rdp/*.pw; rm -rf $D; echo x > $WATASK_CERTIFICATES_DIR/x; mv $D $D.away; id -u`;
  tvm.startTask = { ...START, commandLine: `sh -c '${all}'` };
  world.service.assign("tvm-1", assignment(all, { task: "look" }));
  const uid = 1_700_000_123;
  const agent = world.startAgent(["tvm-1"], { tvms: [{ name: "tvm-1", joinCode: "joincode~tvm-1~1", boot: 1, root: world.root("tvm-1"), address: "127.0.0.2", uid, gid: uid }] });
  fs.chmodSync(`${world.folder}/tvms`, 0o711);
  await agent;
  await world.ended("tvm-1", "acme.w.j.look");
  expect(world.read("tvm-1", "tasks/w/j/look/stdout.txt")).toBe(`password b${uid}\n`);
  await eventually(() => tvm.reports.some(({ kind }) => kind === "startTaskEnded"), () => "end of the start task");
  expect(world.read("tvm-1", "start/stdout.txt")).toBe(`password a${uid}\n`);
  expect(fs.readdirSync(certs()).sort()).toEqual(["rdp", "starttask", "task"]);
  for (const name of fs.readdirSync(certs())) expect(fs.readdirSync(`${certs()}/${name}`)).toHaveLength(2);
});

(process.getuid?.() === 0 ? test : test.skip)("what is visible to users of the TVM is read by who is in their group, once it is lent that, and by no task of the same number", async () => {
  world = await openWorld();
  fs.chmodSync(world.folder, 0o755);
  fs.mkdirSync(`${world.folder}/tvms`, { mode: 0o711 });
  const uid = 1_700_000_124;
  const group = 1_700_500_124;
  const { rdp } = installCertificates(world.root("tvm-1"), [file("d", { visibility: ["rdp"] })], { uid, gid: uid });
  const reads = (gid: number): string => spawnSync("cat", [`${rdp}/${nameOf("d", "pfx.pw")}`], { uid, gid, encoding: "utf8" }).stdout;
  expect([reads(group), reads(uid)]).toEqual(["", ""]);
  lendFolder(rdp as string, group);
  expect([reads(group), reads(uid)]).toEqual(["password d", ""]);
  expect(spawnSync("sh", ["-c", `echo x > ${rdp}/x || rm -rf ${rdp}`], { uid, gid: group }).status).not.toBe(0);
  expect(fs.readdirSync(rdp as string)).toHaveLength(2);
});
