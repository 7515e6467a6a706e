// Certificates of a TVM: fetched with its credential and installed before anything runs, at every boot, and removed when the boot
// ends. They lie in `ROOT.certs`, beside the root: tasks cannot move or change them there, and no question about files of the TVM
// reaches them. A folder each for the start task, for tasks, and for users of the TVM (rdp), with what is visible to each:
//   {algorithm}-{thumbprint}.pfx      with a private key (PKCS#12)
//   {algorithm}-{thumbprint}.pfx.pw   the password that opens it, without an end of line; empty if it has none
//   {algorithm}-{thumbprint}.cer      without a private key (DER)
// When tasks have a user of their own, that user's group may read the folder of tasks, and a group that only the start task has may
// read its own. A group of the TVM's users, which no task is in, is lent theirs when there are any (users.ts). Else all of them run as the agent's user, and only the variable WATASK_CERTIFICATES_DIR tells them apart.
import fs from "node:fs";
import path from "node:path";
import { certificatesAnswer, type CertificateFile } from "../wire";
import type { Owner } from "./beneath";
import type { Service } from "./service";

/** Where the start task and tasks find what they may see; absent: nothing is visible to them. */
export interface CertificateFolders {
  readonly starttask?: string;
  readonly task?: string;
  /** For users of the TVM, once they are lent it. */
  readonly rdp?: string;
}

type Visibility = CertificateFile["visibility"][number];

const FETCH_MS = 30_000;
const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;
/** The group of a TVM's start task is its user's and so much: no user's number, and no other TVM's, is up there. */
const START_GROUP = 2_000_000_000;

/** Tries until the service gives them, since nothing may run without; "refused" if it does not know this TVM (any more). */
export async function fetchCertificates(
  service: Service, boot: number, credential: string, over: () => boolean, log: (message: string) => void,
): Promise<readonly CertificateFile[] | "refused"> {
  for (let pause = RETRY_FIRST_MS, told = false; !over(); pause = Math.min(RETRY_MAX_MS, pause * 2)) {
    const answer = await service.post("/agent/certificates", { boot }, { authorization: `TVM ${credential}`, timeoutMs: FETCH_MS }).catch(() => undefined);
    if (answer && answer.status >= 200 && answer.status < 300) return certificatesAnswer.parse(answer.body).certificates;
    if (answer && [401, 403, 410].includes(answer.status)) return "refused";
    if (!told) log(`certificates cannot be had yet (${answer?.status ?? "no answer"}): nothing runs before they are there`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + Math.random() / 2)));
  }
  return "refused";
}

/** Installs exactly these. */
export function installCertificates(root: string, files: readonly CertificateFile[], owner: Owner | undefined): CertificateFolders {
  const folder = certificatesFolder(root);
  removeCertificates(root);
  makeFolder(folder, 0o711);
  const folderFor = (visibility: Visibility, group: number | undefined): string | undefined => {
    const visible = files.filter((file) => file.visibility.includes(visibility));
    if (visible.length === 0) return undefined;
    const inside = path.join(folder, visibility);
    makeFolder(inside, group === undefined ? 0o700 : 0o750, group);
    for (const file of visible) write(inside, file, group);
    return inside;
  };
  const [starttask, task] = [folderFor("starttask", startOwner(owner)?.gid), folderFor("task", owner?.gid)];
  const rdp = folderFor("rdp", undefined);
  return { ...(starttask === undefined ? {} : { starttask }), ...(task === undefined ? {} : { task }), ...(rdp === undefined ? {} : { rdp }) };
}

/** From now on the group may read what the folder has, and nobody else but the agent's user. */
export function lendFolder(folder: string, gid: number): void {
  for (const name of fs.readdirSync(folder)) {
    fs.chownSync(path.join(folder, name), 0, gid);
    fs.chmodSync(path.join(folder, name), 0o440);
  }
  fs.chownSync(folder, 0, gid);
  fs.chmodSync(folder, 0o750);
}

/** Whom the start task of a TVM with certificates runs as. */
export function startOwner(owner: Owner | undefined): Owner | undefined {
  return owner && { uid: owner.uid, gid: owner.gid + START_GROUP };
}

export function removeCertificates(root: string): void {
  fs.rmSync(certificatesFolder(root), { recursive: true, force: true });
}

function certificatesFolder(root: string): string {
  return `${root}.certs`;
}

/** Whatever the process's umask. */
function makeFolder(folder: string, mode: number, group?: number): void {
  fs.mkdirSync(folder, { mode: 0o700 });
  if (group !== undefined) fs.chownSync(folder, 0, group);
  fs.chmodSync(folder, mode);
}

function write(folder: string, { thumbprint, thumbprintAlgorithm, format, data, password }: CertificateFile, group: number | undefined): void {
  const name = path.join(folder, `${thumbprintAlgorithm}-${thumbprint}.${format}`);
  writeFile(name, Buffer.from(data, "base64"), group);
  if (format === "pfx") writeFile(`${name}.pw`, password, group);
}

function writeFile(name: string, content: string | Buffer, group: number | undefined): void {
  fs.writeFileSync(name, content, { mode: 0o400, flag: "wx" });
  if (group === undefined) return;
  fs.chownSync(name, 0, group);
  fs.chmodSync(name, 0o440);
}
