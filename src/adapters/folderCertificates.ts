// Private parts of certificates in a folder: one sealed file each, named after its place and bound to it, so that a file under
// another name cannot be opened. A file appears whole, synced, and readable by its owner alone, or not at all.

import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { CertificatePlace, Certificates, Sealer } from "../ports";
import { noRoomIfFull } from "./noRoom";

const form = /^[a-z0-9]{1,64}$/;
const unfinished = ".new";

/** Opening removes what a killed process left half-written: only the owner of the data folder may, so open the database first. */
export function folderCertificates(folder: string, sealer: Pick<Sealer, "seal" | "open">): Certificates {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(folder)) if (name.endsWith(unfinished)) rmSync(path.join(folder, name), { force: true });

  return {
    async put(place, { data, password }) {
      const name = nameOf(place);
      await writeWhole(folder, name, sealer.seal(JSON.stringify({ data: Buffer.from(data).toString("base64"), password }), name));
      return undefined;
    },
    async get(place) {
      const name = nameOf(place);
      const sealed = await readFile(path.join(folder, name), "utf8").catch(absent);
      if (sealed === undefined) return undefined;
      const { data, password } = JSON.parse(sealer.open(sealed, name)) as { data: string; password: string };
      return { data: Buffer.from(data, "base64"), password };
    },
    async remove(place) {
      await rm(path.join(folder, nameOf(place)), { force: true });
      await syncFolder(folder);
    },
  };
}

/** The name of the file, and what the secret is bound to. */
function nameOf({ account, thumbprint, edition }: CertificatePlace): string {
  for (const part of [account, thumbprint, edition]) if (!form.test(part)) throw new Error("A certificate's place has a part that no file name may have.");
  return `${account}.${thumbprint}.${edition}`;
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code === "ENOENT") return undefined;
  throw error;
}

async function writeWhole(folder: string, name: string, text: string): Promise<void> {
  const temporary = path.join(folder, `${name}.${randomBytes(6).toString("hex")}${unfinished}`);
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path.join(folder, name));
  } catch (error) {
    await rm(temporary, { force: true });
    throw noRoomIfFull(error);
  }
  await syncFolder(folder);
}

/** A name is durable once its folder is. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
