// Certificates on the built service: added from the command line, installed on TVMs before anything runs, used by a start task and
// by a task to open a secret, and never seen where they must not be.
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { taskFiles } from "../../src/cli/client";
import { cli } from "../cli/terminal";
import { testPfx } from "../standins/certificate";
import { filesToOpen } from "../support/openSecret";
import { JOB, type Running, allCompleted, newData, removeData, start, stop, until, workItem } from "../support/service";

const own = testPfx();
const hidden = testPfx("3des");
const PASSWORD = "canary-4711 of a password";
const SECRET = "the key of a storage account";

let data: string;
let service: Running;
/** All that the command line printed. */
let printed = "";

beforeAll(async () => {
  data = newData();
  service = await start(data, ["--log-level", "debug"]);
});
afterAll(async () => {
  await stop(service);
  removeData(data);
});

const bl = async (...args: string[]) => {
  const result = await cli([...args, "--data", data], { cwd: data });
  printed += result.out + result.err;
  return result;
};
const upload = async (name: string, content: Buffer): Promise<{ blobSource: string; filePath: string }> => {
  const address = await service.client.fileAddress("inputs", name);
  await service.client.upload(address, content, content.length);
  return { blobSource: address.readUrl, filePath: name };
};
const output = async (task: string, file = "stdout.txt"): Promise<string> => (await service.client.readFile(taskFiles("opening", JOB, task), file)).bytes.toString();

test("a task opens a secret that was encrypted with a certificate of its pool; the start task has had its own before", async () => {
  const { client } = service;
  writeFileSync(path.join(data, "own.pfx"), own.pfx(PASSWORD));
  writeFileSync(path.join(data, "hidden.pfx"), hidden.pfx(PASSWORD));
  writeFileSync(path.join(data, "password.txt"), `${PASSWORD}\n`, { mode: 0o600 });
  expect((await bl("certificate", "add", "own.pfx")).err).toContain("--password-file");
  expect((await bl("certificate", "add", "own.pfx", "--password-file", "password.txt")).out).toBe(`${own.thumbprint}\n`);
  expect((await bl("certificate", "add", "hidden.pfx", "--password-file", "password.txt")).out).toBe(`${hidden.thumbprint}\n`);
  expect((await bl("certificate", "list", "--json")).json()).toHaveLength(2);
  await bl("pool", "create", "secrets", "--tvms", "1", "--slots", "2", "--certificate", own.thumbprint.toUpperCase(), "--certificate", `${hidden.thumbprint}=starttask`,
    "--start-task", `sh -c 'ls $WATASK_CERTIFICATES_DIR > $WATASK_TVM_ROOT_DIR/shared/seen'`);
  await workItem(client, "opening", "secrets");
  const files = await Promise.all(filesToOpen(own.cert, SECRET).map(({ name, content }) => upload(name, content)));
  await client.addTask("opening", JOB, { name: "open", commandLine: `node open.js sha1-${own.thumbprint}.pfx`, resourceFiles: files });
  await client.addTask("opening", JOB, { name: "look", commandLine: `sh -c 'ls $WATASK_CERTIFICATES_DIR; cat $WATASK_TVM_ROOT_DIR/shared/seen; ls $WATASK_TVM_ROOT_DIR; cat $WATASK_CERTIFICATES_DIR/../starttask/* || echo denied'` });
  await allCompleted(client, "opening", 2);
  expect([(await output("open", "stderr.txt")).slice(-500), await output("open")]).toEqual(["", `${SECRET}\n`]);
  const names = (...of: { thumbprint: string }[]): string => of.map(({ thumbprint }) => `sha1-${thumbprint}.pfx\nsha1-${thumbprint}.pfx.pw\n`).sort().join("");
  const [seen] = [await output("look")];
  expect(seen.startsWith(names(own) + names(own, hidden) + "shared\nstart\ntasks\n")).toBe(true);
  // As root the service gives tasks a user of their own: then the start task's certificates are closed to them.
  if (process.getuid?.() === 0) expect(seen.endsWith("tasks\ndenied\n")).toBe(true);
});

test("case 50 end to end: in use it cannot be deleted; cancelled it is active; with its pool gone it goes", async () => {
  const { client } = service;
  const refused = await bl("certificate", "delete", own.thumbprint, "--wait");
  expect([refused.code, refused.err]).toEqual([1, expect.stringContaining("secrets")]);
  expect((await bl("certificate", "show", own.thumbprint, "--json")).json()).toMatchObject({ state: "deletefailed", deleteCertificateError: { code: "PoolsReferencingCertificate" } });
  expect((await bl("certificate", "cancel-delete", own.thumbprint)).out).toContain("active again");
  expect((await bl("certificate", "list")).out).toMatch(new RegExp(`${own.thumbprint} +active`));
  await client.deletePool("secrets");
  await until(async () => client.getPool("secrets").then(() => false, () => true), "the pool is gone");
  expect((await bl("certificate", "delete", own.thumbprint, "--wait")).out).toContain("is gone");
  expect((await bl("certificate", "show", own.thumbprint)).err).toContain("[CertificateNotFound]");
  expect((await bl("events", `certificates/${own.thumbprint}`)).out).toContain("CertificateRetired");
});

test("neither key nor password is in the ledger, in what was printed or logged, or in any file but the sealed ones", async () => {
  const canaries = [PASSWORD, ...[own, hidden].flatMap(({ key, pfx }) => [...key.split("\n").slice(2, 5), pfx(PASSWORD).toString("base64").slice(300, 360), pfx(PASSWORD).subarray(300, 340).toString("latin1")])];
  const files = (folder: string): string[] =>
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? files(path.join(folder, entry.name)) : entry.isFile() ? [path.join(folder, entry.name)] : []));
  // What the test itself wrote, and what lies open on no TVM any more.
  const all = files(data).filter((file) => !/^(own|hidden)\.pfx$|^password\.txt$/.test(path.basename(file)));
  expect(all.some((file) => file.endsWith("ledger.db"))).toBe(true);
  expect(all.filter((file) => file.includes(`${path.sep}certificates${path.sep}`)).map((file) => statSync(file).mode & 0o777)).toEqual([0o600]);
  const texts = [printed, service.said(), ...all.map((file) => readFileSync(file, "latin1"))];
  expect(service.said()).toContain("certificates were handed to a TVM");
  for (const text of texts) for (const canary of canaries) expect(text.includes(canary)).toBe(false);
});
