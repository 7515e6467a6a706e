// A certificate of its own for a stand-in that speaks https on this machine: clients trust it by `ca`, nothing else changes.

import { X509Certificate, generateKeyPairSync, randomBytes } from "node:crypto";
import forge from "node-forge";

export interface TestCertificate {
  readonly cert: string;
  readonly key: string;
}

/** For `localhost` and 127.0.0.1, good for a day. */
export function testCertificate(): TestCertificate {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048, publicKeyEncoding: { type: "spki", format: "pem" }, privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const made = forge.pki.createCertificate();
  made.publicKey = forge.pki.publicKeyFromPem(publicKey);
  // A first byte that is never a superfluous 00, which some readers refuse.
  made.serialNumber = `01${randomBytes(8).toString("hex")}`;
  made.validity.notBefore = new Date(Date.now() - 3_600_000);
  made.validity.notAfter = new Date(Date.now() + 86_400_000);
  const name = [{ name: "commonName", value: "localhost" }];
  made.setSubject(name);
  made.setIssuer(name);
  made.setExtensions([
    { name: "basicConstraints", cA: true },
    { name: "keyUsage", keyCertSign: true, digitalSignature: true, keyEncipherment: true },
    { name: "extKeyUsage", serverAuth: true },
    { name: "subjectAltName", altNames: [{ type: 2, value: "localhost" }, { type: 7, ip: "127.0.0.1" }] },
  ]);
  made.sign(forge.pki.privateKeyFromPem(privateKey), forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(made), key: privateKey };
}

export interface TestPfx {
  readonly thumbprint: string;
  /** DER. */
  readonly cer: Buffer;
  /** PEM, for tests that look for it where it must not be, or encrypt to it. */
  readonly cert: string;
  readonly key: string;
  pfx(password: string): Buffer;
}

/** What a user adds to an account: a certificate with an RSA key, packed with AES or (as Windows exports it) with 3DES. */
export function testPfx(algorithm: "aes256" | "3des" = "aes256"): TestPfx {
  const { cert, key } = testCertificate();
  const x509 = new X509Certificate(cert);
  // Packing takes a while: a file once made is used again.
  const packed = new Map<string, Buffer>();
  return {
    thumbprint: x509.fingerprint.replaceAll(":", "").toLowerCase(),
    cer: x509.raw,
    cert,
    key,
    pfx(password) {
      const known = packed.get(password);
      if (known) return known;
      const made = forge.pkcs12.toPkcs12Asn1(forge.pki.privateKeyFromPem(key), [forge.pki.certificateFromPem(cert)], password, { algorithm: algorithm as "3des" });
      const bytes = Buffer.from(forge.asn1.toDer(made).getBytes(), "latin1");
      packed.set(password, bytes);
      return bytes;
    },
  };
}
