// Files that users add as certificates: what is in them, what opens them, and what a hostile one may cost.
import { generateKeyPairSync } from "node:crypto";
import forge from "node-forge";
import { CERTIFICATE_MAX_BYTES, openCertificate } from "../../src/x509";
import { testCertificate, testPfx } from "../standins/certificate";

const own = testPfx();
const pack = (key: string | undefined, certificates: readonly string[], password: string, options: object = {}): Buffer =>
  Buffer.from(forge.asn1.toDer(forge.pkcs12.toPkcs12Asn1((key === undefined ? null : forge.pki.privateKeyFromPem(key)) as never, certificates.map((one) => forge.pki.certificateFromPem(one)), password, options)).getBytes(), "latin1");

test("a certificate as DER and as PEM; a PFX as OpenSSL and as Windows pack it", () => {
  const facts = { thumbprint: own.thumbprint, publicData: own.cer.toString("base64") };
  for (const bytes of [own.cer, Buffer.from(own.cert)]) expect(openCertificate("cer", bytes, "")).toEqual({ certificates: [{ ...facts, hasPrivateKey: false }] });
  for (const algorithm of ["aes128", "aes256", "3des"]) expect(openCertificate("pfx", pack(own.key, [own.cert], "geheim", { algorithm }), "geheim")).toEqual({ certificates: [{ ...facts, hasPrivateKey: true }] });
  expect(openCertificate("pfx", own.pfx(""), "")).toEqual({ certificates: [{ ...facts, hasPrivateKey: true }] });
});

test("of several certificates each says whether its key is there", () => {
  const issuer = testCertificate();
  const opened = openCertificate("pfx", pack(own.key, [own.cert, issuer.cert], "p"), "p");
  expect("certificates" in opened && opened.certificates.map(({ thumbprint, hasPrivateKey }) => [thumbprint === own.thumbprint, hasPrivateKey])).toEqual([[true, true], [false, false]]);
  expect(openCertificate("pfx", pack(undefined, [own.cert], "p"), "p")).toMatchObject({ certificates: [{ hasPrivateKey: false }] });
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048, privateKeyEncoding: { type: "pkcs8", format: "pem" }, publicKeyEncoding: { type: "spki", format: "pem" } });
  expect(openCertificate("pfx", pack(privateKey, [own.cert], "p"), "p")).toMatchObject({ certificates: [{ hasPrivateKey: false }] });
});

test("a wrong password is told from a file that is none", () => {
  for (const password of ["", "wrong", "RIGHT", "right "]) expect(openCertificate("pfx", own.pfx("right"), password)).toMatchObject({ problem: "password" });
  const file = own.pfx("right");
  for (const bytes of [Buffer.alloc(0), Buffer.from("x"), own.cer, file.subarray(0, 900), Buffer.alloc(CERTIFICATE_MAX_BYTES, 0x30), Buffer.from("3080".repeat(CERTIFICATE_MAX_BYTES / 2), "hex")])
    expect(openCertificate("pfx", bytes, "right")).toMatchObject({ problem: "data", reason: "expected a PKCS#12 file (PFX)" });
  for (const bytes of [Buffer.alloc(0), file, Buffer.from("-----BEGIN CERTIFICATE-----")]) expect(openCertificate("cer", bytes, "")).toMatchObject({ problem: "data" });
});

test("a file whose password would take hours to check is refused at once, and the next one opens", () => {
  const slow = Buffer.from(own.pfx("right"));
  // The rounds of its integrity check stand at the end of the file, as a number of two bytes: now one of four.
  const asn1 = forge.asn1.fromDer(slow.toString("latin1"));
  const mac = (asn1.value as forge.asn1.Asn1[])[2] as forge.asn1.Asn1;
  (mac.value as forge.asn1.Asn1[])[2] = forge.asn1.create(forge.asn1.Class.UNIVERSAL, forge.asn1.Type.INTEGER, false, "\x7f\xff\xff\xff");
  const hostile = Buffer.from(forge.asn1.toDer(asn1).getBytes(), "latin1");
  expect(openCertificate("pfx", hostile, "right")).toEqual({ problem: "data", reason: expect.stringContaining("rounds") });
  expect(openCertificate("pfx", slow, "right")).toMatchObject({ certificates: [{ hasPrivateKey: true }] });
});
