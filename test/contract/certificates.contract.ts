// What every store of certificates' private parts must do, whichever technology is beneath.
import { X509Certificate, createPrivateKey } from "node:crypto";
import forge from "node-forge";
import type { CertificatePlace, Certificates, Pkcs12 } from "../../src/ports";
import { openCertificate } from "../../src/x509";
import { type TestPfx, testPfx } from "../standins/certificate";

export interface Opened {
  readonly port: Certificates;
  /** The same store as another process finds it. */
  reopen(): Promise<Certificates>;
  close(): Promise<void>;
  /** Everything that lies at rest or was logged, as text; undefined: nothing of it can be seen. */
  atRest?(): string;
}

/** The private key in a PFX, as PEM: what a program on a TVM would find in it. */
export const keyIn = ({ data, password }: Pkcs12): string => {
  const whole = forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(Buffer.from(data).toString("latin1")), password);
  const bags = whole.safeContents.flatMap(({ safeBags }) => safeBags);
  const key = bags.find((bag) => bag.key)?.key as forge.pki.rsa.PrivateKey;
  return createPrivateKey(forge.pki.privateKeyToPem(key)).export({ type: "pkcs8", format: "pem" }) as string;
};

export const describeCertificates = (name: string, open: () => Promise<Opened>): void => {
  describe(`certificates: ${name}`, () => {
    let opened: Opened;
    let own: TestPfx;
    beforeAll(() => {
      own = testPfx();
    });
    beforeEach(async () => {
      opened = await open();
    });
    afterEach(() => opened.close());

    const place = (edition: string, account = "local"): CertificatePlace => ({ account, thumbprint: own.thumbprint, edition });
    const secret = (password: string): Pkcs12 => ({ data: own.pfx(password), password });
    const expectOwn = (found: Pkcs12 | undefined): void => {
      expect(found).toBeDefined();
      const { data, password } = found as Pkcs12;
      expect(openCertificate("pfx", data, password)).toMatchObject({ certificates: [{ thumbprint: own.thumbprint, hasPrivateKey: true }] });
      expect(keyIn({ data, password })).toBe(createPrivateKey(own.key).export({ type: "pkcs8", format: "pem" }));
      expect(new X509Certificate(own.cert).checkPrivateKey(createPrivateKey(keyIn({ data, password })))).toBe(true);
    };

    test("what was put is there with its key, also for another process; what was not is not", async () => {
      expect(await opened.port.get(place("none"))).toBeUndefined();
      expect(await opened.port.put(place("e1"), secret("geheim"))).toBeUndefined();
      expectOwn(await opened.port.get(place("e1")));
      expectOwn(await (await opened.reopen()).get(place("e1")));
      expect(await opened.port.get(place("e2"))).toBeUndefined();
      expect(await opened.port.get(place("e1", "other"))).toBeUndefined();
    });

    test("a file without a password, and one with a password beyond ASCII", async () => {
      for (const [edition, password] of [["empty", ""], ["wide", "p\u00e4ss w\u00f6rd"]] as const) {
        expect(await opened.port.put(place(edition), secret(password))).toBeUndefined();
        expectOwn(await opened.port.get(place(edition)));
      }
    });

    test("removed, it is gone, and may be removed again; others stay; a new edition has a place of its own", async () => {
      await opened.port.put(place("e1"), secret("a"));
      await opened.port.put(place("e2"), secret("b"));
      await opened.port.remove(place("e1"));
      await opened.port.remove(place("e1"));
      await opened.port.remove(place("never"));
      expect(await opened.port.get(place("e1"))).toBeUndefined();
      expectOwn(await opened.port.get(place("e2")));
      expect(await (await opened.reopen()).get(place("e1"))).toBeUndefined();
      expect(await opened.port.put(place("e3"), secret("a"))).toBeUndefined();
      expectOwn(await opened.port.get(place("e3")));
    });

    test("put twice it is there once", async () => {
      await Promise.all([opened.port.put(place("e1"), secret("a")), opened.port.put(place("e1"), secret("a"))]);
      expectOwn(await opened.port.get(place("e1")));
      await opened.port.remove(place("e1"));
      expect(await opened.port.get(place("e1"))).toBeUndefined();
    });

    test("a place that is no name anywhere is refused, and says nothing of the secret", async () => {
      for (const edition of ["", "../x", "a/b", "A", "a".repeat(65)]) {
        const refused = await opened.port.put(place(edition), secret("a canary of a password")).catch((error: Error) => error);
        expect(refused).toBeInstanceOf(Error);
        expect(String((refused as Error).stack)).not.toContain("canary");
      }
    });

    test("nothing of the key or its password can be read at rest", async () => {
      await opened.port.put(place("e1"), secret("a canary of a password"));
      const text = opened.atRest?.() ?? "";
      for (const canary of ["canary", own.key.split("\n")[3] as string, own.pfx("a canary of a password").toString("base64").slice(200, 260)]) expect(text).not.toContain(canary);
    });
  });
};
