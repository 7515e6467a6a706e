// Opens what users add as certificates: X.509 certificates (CER) and PKCS#12 files (PFX), and says which certificates are in
// them. Pure: bytes and a password in, public facts out. It never gives a private key or a password back, in errors least of all.
// node-forge opens PKCS#12, which Node cannot; everything else about keys and certificates is Node's own.
import { createPrivateKey, type KeyObject, pbkdf2Sync, X509Certificate } from "node:crypto";
import forge from "node-forge";

export type CertificateFormat = "pfx" | "cer";

export interface CertificateFacts {
  /** SHA-1 of the certificate's DER: 40 of 0-9 and a-f. */
  readonly thumbprint: string;
  /** The certificate itself, without any key: base64 of DER. */
  readonly publicData: string;
  /** The file holds the private key that belongs to it. */
  readonly hasPrivateKey: boolean;
}

export type Opened = { readonly certificates: readonly CertificateFacts[] } | { readonly problem: "password" | "data"; readonly reason: string };

/** Most bytes of a file (reference section 8: certificate data). */
export const CERTIFICATE_MAX_BYTES = 10 * 1024;

/**
 * Rounds of key derivation that a file may ask for in all: exports have some thousands, and a file that asks for billions would
 * stop the service for hours.
 */
const ROUNDS_MAX = 400_000;

/** The certificates of a file, in its order; or which of file and password is not usable, and why. */
export const openCertificate = (format: CertificateFormat, bytes: Uint8Array, password: string): Opened => {
  try {
    return format === "cer" ? { certificates: [factsOf(new X509Certificate(bytes), [])] } : openPkcs12(bytes, password);
  } catch (error) {
    if (error instanceof TooManyRounds) return { problem: "data", reason: `expected a file whose password takes at most ${ROUNDS_MAX} rounds to check` };
    // The library tells a wrong password by its words alone.
    const wrongPassword = format === "pfx" && /password|MAC could not/i.test(error instanceof Error ? error.message : "");
    return wrongPassword
      ? { problem: "password", reason: "the password does not open the data" }
      : { problem: "data", reason: format === "pfx" ? "expected a PKCS#12 file (PFX)" : "expected an X.509 certificate (CER)" };
  }
};

const factsOf = (certificate: X509Certificate, keys: readonly KeyObject[]): CertificateFacts => ({
  thumbprint: certificate.fingerprint.replaceAll(":", "").toLowerCase(),
  publicData: certificate.raw.toString("base64"),
  hasPrivateKey: keys.some((key) => certificate.checkPrivateKey(key)),
});

const openPkcs12 = (bytes: Uint8Array, password: string): Opened => {
  const whole = withinRounds(() => forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(Buffer.from(bytes).toString("latin1")), password));
  const bags = whole.safeContents.flatMap(({ safeBags }) => safeBags);
  const keys = bags.flatMap((bag) => keyIn(bag) ?? []);
  const certificates = bags.flatMap((bag) => certificateIn(bag) ?? []).map((one) => factsOf(one, keys));
  return certificates.length > 0 ? { certificates } : { problem: "data", reason: "the file holds no certificate" };
};

// Keys and certificates of kinds that the library does not know come as their own ASN.1.
const keyIn = ({ type, key, asn1 }: forge.pkcs12.Bag): KeyObject | undefined => {
  if (type !== forge.pki.oids["pkcs8ShroudedKeyBag"] && type !== forge.pki.oids["keyBag"]) return undefined;
  return createPrivateKey(key ? forge.pki.privateKeyToPem(key as forge.pki.rsa.PrivateKey) : { key: der(asn1), format: "der", type: "pkcs8" });
};

const certificateIn = ({ type, cert, asn1 }: forge.pkcs12.Bag): X509Certificate | undefined => {
  if (type !== forge.pki.oids["certBag"]) return undefined;
  return new X509Certificate(der(cert ? forge.pki.certificateToAsn1(cert) : asn1));
};

const der = (value: forge.asn1.Asn1): Buffer => Buffer.from(forge.asn1.toDer(value).getBytes(), "latin1");

// ---------------------------------------------------------------- the bound

class TooManyRounds extends Error {}

/** Rounds that the file which is being opened may still ask for. */
let left = Infinity;

const take = (rounds: number): void => {
  left -= rounds;
  if (!(left >= 0)) throw new TooManyRounds();
};

const withinRounds = <T>(open: () => T): T => {
  left = ROUNDS_MAX;
  try {
    return open();
  } finally {
    left = Infinity;
  }
};

// The library derives keys through these members of its own, and has no bound: they count here. PBKDF2 is Node's, which is
// faster and takes passwords beyond ASCII as others write them (UTF-8).
type Derive = (password: string, salt: unknown, ...rest: readonly unknown[]) => unknown;
const library = forge as unknown as { pbe: { generatePkcs12Key: Derive }; pkcs12: { generateKey: Derive }; pkcs5: { pbkdf2: Derive } };

const pkcs12Key = library.pbe.generatePkcs12Key;
const countedPkcs12Key: Derive = (password, salt, id, rounds, ...rest) => {
  take(Number(rounds));
  return pkcs12Key(password, salt, id, rounds, ...rest);
};
library.pbe.generatePkcs12Key = countedPkcs12Key;
library.pkcs12.generateKey = countedPkcs12Key;
library.pkcs5.pbkdf2 = (password, salt, rounds, length, digest) => {
  take(Number(rounds));
  const algorithm = typeof digest === "string" ? digest : ((digest as { algorithm?: string } | undefined)?.algorithm ?? "sha1");
  return pbkdf2Sync(Buffer.from(password, "utf8"), Buffer.from(String(salt), "latin1"), Number(rounds), Number(length), algorithm).toString("latin1");
};
