// The sealer whose key is in Key Vault: what it seals is opened by another process with the same key and by nobody else, the key is
// asked for once, and what is wrong with the vault is said without saying anything secret.

import { randomBytes } from "node:crypto";
import { keyVaultSealer } from "../../src/adapters/keyVaultSealer";
import { testCertificate } from "../standins/certificate";
import { startKeyVault, type KeyVault } from "../standins/keyVault";

const tls = testCertificate();
let vault: KeyVault;
beforeAll(async () => {
  vault = await startKeyVault({ tls });
});
afterAll(() => vault.stop());

const open = (secret: string, url = vault.url) => keyVaultSealer({
  vault: url, secret, credential: { getToken: async () => ({ token: "a token", expiresOnTimestamp: Date.now() + 3_600_000 }) },
  client: { disableChallengeResourceVerification: true, tlsOptions: { ca: tls.cert }, retryOptions: { maxRetries: 0 } },
});

test("seals and signs alike in all processes, with a key that is read once", async () => {
  vault.setSecret("sealing-key", `${randomBytes(32).toString("base64")}\n`);
  const [first, second] = [await open("sealing-key"), await open("sealing-key")];
  const reads = vault.asked.filter(({ status }) => status === 200).length;
  const sealed = first.seal("?sig=secret \u00fc", "task-1");
  expect(sealed).not.toContain("secret");
  expect(second.open(sealed, "task-1")).toBe("?sig=secret \u00fc");
  expect(() => second.open(sealed, "task-2")).toThrow("cannot be opened");
  expect(second.sign("join~a")).toBe(first.sign("join~a"));
  expect(reads).toBe(2);
  expect(vault.asked.filter(({ status }) => status === 200)).toHaveLength(reads);
  vault.setSecret("another-key", randomBytes(32).toString("base64"));
  const other = await open("another-key");
  expect(() => other.open(sealed, "task-1")).toThrow("cannot be opened");
  expect(other.sign("join~a")).not.toBe(first.sign("join~a"));
});

test("a secret that is missing or no key, and a vault that is away, are sentences without the secret", async () => {
  await expect(open("none")).rejects.toThrow(`The secret none of ${vault.url} could not be read: Key Vault answered 404 (SecretNotFound).`);
  vault.setSecret("short", Buffer.from("short and secret").toString("base64"));
  await expect(open("short")).rejects.toThrow(`The secret short of ${vault.url} must hold 32 bytes, not 16.`);
  vault.setSecret("prose", "not a key!");
  const refused = await open("prose").catch((error: Error) => error);
  expect(refused).toMatchObject({ message: `The secret prose of ${vault.url} must be the base64 of a key.` });
  expect(JSON.stringify({ ...(refused as Error) })).not.toContain("not a key!");
  await expect(open("none", "https://localhost:9")).rejects.toThrow("could not be read: Key Vault did not answer (ECONNREFUSED).");
});
