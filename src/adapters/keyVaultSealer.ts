// The sealer's key on Azure: a secret in Key Vault, read once when the service starts. The key stays in memory; it is never
// written, and a new version of the secret counts from the next start on. It makes no key: whoever deploys the service does.

import { SecretClient, type SecretClientOptions } from "@azure/keyvault-secrets";
import type { TokenCredential } from "@azure/identity";
import type { Sealer } from "../ports";
import { sealerWith } from "./aesSealer";

export interface KeyVaultSealerOptions {
  /** `https://{vault}.vault.azure.net` */
  readonly vault: string;
  /** The secret that holds the base64 of 32 random bytes. */
  readonly secret: string;
  readonly credential: TokenCredential;
  /** Further options of the client, such as the certificate of a stand-in. */
  readonly client?: SecretClientOptions;
}

/** Throws a sentence when the secret is not there, may not be read or is no key. */
export async function keyVaultSealer({ vault, secret, credential, client }: KeyVaultSealerOptions): Promise<Sealer> {
  const source = `The secret ${secret} of ${vault}`;
  const found = await new SecretClient(vault, credential, client ?? {}).getSecret(secret).catch((error: unknown) => Promise.reject(refusal(source, error)));
  const text = found.value?.trim() ?? "";
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text)) throw new Error(`${source} must be the base64 of a key.`);
  return sealerWith(Buffer.from(text, "base64"), source);
}

/** Without a cause: the SDK's error carries the request and its token. */
function refusal(source: string, error: unknown): Error {
  const { statusCode, code } = error as { statusCode?: unknown; code?: unknown };
  const answer = typeof statusCode === "number" ? `Key Vault answered ${statusCode}` : "Key Vault did not answer";
  return new Error(`${source} could not be read: ${answer}${typeof code === "string" && /^\w{1,60}$/.test(code) ? ` (${code})` : ""}.`);
}
