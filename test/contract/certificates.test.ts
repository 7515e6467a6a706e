// The stores of certificates' private parts: the contract on both, and what is theirs alone.
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { aesSealer } from "../../src/adapters/aesSealer";
import { folderCertificates } from "../../src/adapters/folderCertificates";
import { keyVaultCertificates } from "../../src/adapters/keyVaultCertificates";
import { testCertificate, testPfx } from "../standins/certificate";
import { type KeyVault, startKeyVault } from "../standins/keyVault";
import { describeCertificates } from "./certificates.contract";

const own = testPfx();
const place = { account: "local", thumbprint: own.thumbprint, edition: "e1" };
const secret = { data: own.pfx("a canary"), password: "a canary" };

const inFolder = () => {
  const folder = mkdtempSync(path.join(tmpdir(), "batchledger-test-"));
  const at = path.join(folder, "certificates");
  const open = () => folderCertificates(at, aesSealer(path.join(folder, "keys", "service.secret")));
  return { folder, at, open, remove: () => rmSync(folder, { recursive: true, force: true }) };
};

describeCertificates("folder", async () => {
  const { at, open, remove } = inFolder();
  return { port: open(), reopen: async () => open(), close: async () => remove(), atRest: () => readdirSync(at).map((name) => readFileSync(path.join(at, name), "latin1")).join("") };
});

const tls = testCertificate();
const credential = { getToken: async () => ({ token: "a token", expiresOnTimestamp: Date.now() + 3_600_000 }) };
const inVault = (url: string) =>
  keyVaultCertificates({ vault: url, credential, client: { disableChallengeResourceVerification: true, tlsOptions: { ca: tls.cert }, retryOptions: { maxRetries: 0 } } });

describeCertificates("Key Vault", async () => {
  const vault = await startKeyVault({ tls });
  return { port: inVault(vault.url), reopen: async () => inVault(vault.url), close: () => vault.stop(), atRest: () => JSON.stringify(vault.asked) };
});

describe("in a folder", () => {
  let place1: ReturnType<typeof inFolder>;
  beforeEach(() => {
    place1 = inFolder();
  });
  afterEach(() => place1.remove());

  test("files are their owner's alone, whole, and bound to their names; what a killed process left half-written goes", async () => {
    const store = place1.open();
    await store.put(place, secret);
    const [name] = readdirSync(place1.at) as [string];
    expect(name).toBe(`local.${own.thumbprint}.e1`);
    expect([statSync(place1.at).mode & 0o777, statSync(path.join(place1.at, name)).mode & 0o777]).toEqual([0o700, 0o600]);
    writeFileSync(path.join(place1.at, name.replace(/e1$/, "e2")), readFileSync(path.join(place1.at, name)));
    await expect(store.get({ ...place, edition: "e2" })).rejects.toThrow("cannot be opened");
    writeFileSync(path.join(place1.at, `${name}.abc.new`), "half");
    place1.open();
    expect(readdirSync(place1.at).sort()).toEqual([name, name.replace(/e1$/, "e2")]);
  });
});

describe("in Key Vault", () => {
  let vault: KeyVault;
  beforeEach(async () => {
    vault = await startKeyVault({ tls });
  });
  afterEach(() => vault.stop());

  test("names say whose they are and are used once: the one of a deleted certificate stays taken", async () => {
    const store = inVault(vault.url);
    await store.put(place, secret);
    await store.remove(place);
    expect(vault.asked.filter(({ status, method }) => status === 200 && method !== "GET").map(({ method, path: asked }) => `${method} ${asked}`)).toEqual([
      `POST /certificates/certificate-local-${own.thumbprint}-e1/import`,
      `DELETE /certificates/certificate-local-${own.thumbprint}-e1`,
    ]);
    await expect(store.put(place, secret)).rejects.toThrow(`The certificate ${own.thumbprint} could not be kept: Key Vault answered 409.`);
    expect(await store.put({ ...place, edition: "e2" }, secret)).toBeUndefined();
  });

  test("what the vault does not take is told as that; a vault that is away is an error without the secret", async () => {
    expect(await inVault(vault.url).put(place, { data: Buffer.from("no pfx"), password: "a canary" })).toContain("Key Vault does not take");
    const away = inVault("https://localhost:9");
    for (const act of [() => away.put(place, secret), () => away.get(place), () => away.remove(place)]) {
      const refused = (await act().then(() => undefined, (error: Error) => error)) as Error;
      expect(refused.message).toContain("Key Vault did not answer.");
      expect(refused.cause).toBeUndefined();
      expect(`${refused.stack}${JSON.stringify({ ...refused })}`).not.toMatch(/canary|a token/);
    }
  });
});
