// What a user of certificates writes: a secret encrypted for a certificate, and the program of a task that opens it with the PFX
// that the service has installed and the password beside that.
import { constants, publicEncrypt } from "node:crypto";
import { readFileSync } from "node:fs";

const PROGRAM = `
// The library is the one for browsers, in one file.
globalThis.window = globalThis;
const fs = require("fs"), path = require("path"), { createPrivateKey, privateDecrypt, constants } = require("crypto"), forge = require("./forge.js");
const pfx = path.join(process.env.WATASK_CERTIFICATES_DIR, process.argv[2]);
const whole = forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(fs.readFileSync(pfx, "latin1")), fs.readFileSync(pfx + ".pw", "utf8"));
const [bag] = whole.getBags({ bagType: forge.pki.oids.pkcs8ShroudedKeyBag })[forge.pki.oids.pkcs8ShroudedKeyBag];
const key = createPrivateKey(forge.pki.privateKeyToPem(bag.key));
console.log(privateDecrypt({ key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" }, fs.readFileSync("secret.bin")).toString());
`;

/** Files for the task; its command line is `node open.js sha1-THUMBPRINT.pfx`. */
export const filesToOpen = (certificate: string, secret: string): { readonly name: string; readonly content: Buffer }[] => [
  { name: "open.js", content: Buffer.from(PROGRAM) },
  { name: "secret.bin", content: publicEncrypt({ key: certificate, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" }, Buffer.from(secret)) },
  { name: "forge.js", content: readFileSync(require.resolve("node-forge/dist/forge.min.js")) },
];
