// Keeps short secrets unreadable at rest with AES-256-GCM, and signs. The key lives in a file of its own that only its owner
// may read, never in the database; losing the file loses what was sealed and ends what was signed.

import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { readOrCreate } from "./keyFile";
import type { Sealer } from "../ports";

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const form = "v1.";

/** Reads the key file (32 random bytes), or makes it with mode 0600. Throws when its size or mode is wrong. */
export function aesSealer(keyFile: string): Sealer {
  return sealerWith(readOrCreate(keyFile, () => randomBytes(keyBytes)), keyFile);
}

/** Seals and signs with these 32 bytes. `source` says where they are from, should they be too few or too many. */
export function sealerWith(key: Buffer, source: string): Sealer {
  if (key.length !== keyBytes) throw new Error(`${source} must hold ${keyBytes} bytes, not ${key.length}.`);
  const sealing = derive(key, "seal");
  const signing = derive(key, "sign");
  return {
    seal(plain, context) {
      const nonce = randomBytes(nonceBytes);
      const cipher = createCipheriv("aes-256-gcm", sealing, nonce).setAAD(Buffer.from(context));
      const sealed = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
      return form + Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64url");
    },
    open(sealed, context) {
      const bytes = Buffer.from(sealed.slice(form.length), "base64url");
      if (!sealed.startsWith(form) || bytes.length < nonceBytes + tagBytes) throw new Error("This is not a sealed value.");
      try {
        const decipher = createDecipheriv("aes-256-gcm", sealing, bytes.subarray(0, nonceBytes), { authTagLength: tagBytes })
          .setAAD(Buffer.from(context))
          .setAuthTag(bytes.subarray(nonceBytes, nonceBytes + tagBytes));
        return Buffer.concat([decipher.update(bytes.subarray(nonceBytes + tagBytes)), decipher.final()]).toString("utf8");
      } catch {
        throw new Error("A sealed value cannot be opened: it was changed, belongs elsewhere, or the key is another one.");
      }
    },
    sign: (text) => createHmac("sha256", signing).update(text).digest("base64url"),
  };
}

/** One key for one purpose: a signature tells nothing about what is sealed. */
function derive(key: Buffer, purpose: string): Buffer {
  return Buffer.from(hkdfSync("sha256", key, Buffer.alloc(0), `batchledger ${purpose}`, keyBytes));
}
