// Accounts on Azure: each has one or two secrets in Key Vault, `account-{name}-key1` and `-key2`. Read when somebody asks, and
// again after a minute, so that a rotated key counts without a restart and an old one is dead a minute later. It writes none.

import { SecretClient, type SecretClientOptions } from "@azure/keyvault-secrets";
import type { TokenCredential } from "@azure/identity";
import type { Accounts, Clock } from "../ports";

export interface KeyVaultAccountsOptions {
  /** `https://{vault}.vault.azure.net` */
  readonly vault: string;
  readonly credential: TokenCredential;
  readonly clock: Pick<Clock, "now">;
  readonly client?: SecretClientOptions;
}

const accountName = /^[a-z0-9]{3,24}$/;
const rememberMs = 60_000;
/** Names that strangers try are remembered too, but not without bound. */
const rememberedMax = 10_000;

export function keyVaultAccounts({ vault, credential, clock, client }: KeyVaultAccountsOptions): Accounts {
  const secrets = new SecretClient(vault, credential, client ?? {});
  const known = new Map<string, { readonly until: number; readonly keys: Promise<readonly string[] | undefined> }>();

  async function read(account: string): Promise<readonly string[] | undefined> {
    const found = await Promise.all([1, 2].map((number) => valueOf(secrets, `account-${account}-key${number}`)));
    const keys = found.filter((key): key is string => key !== undefined && key !== "");
    return keys.length > 0 ? keys : undefined;
  }

  return {
    async keys(account) {
      if (!accountName.test(account)) return undefined;
      const now = clock.now().getTime();
      const before = known.get(account);
      if (before && before.until > now) return before.keys;
      if (known.size >= rememberedMax) known.clear();
      const keys = read(account);
      known.set(account, { until: now + rememberMs, keys });
      // What failed is not remembered: the next request asks again.
      keys.catch(() => known.delete(account));
      return keys;
    },
  };
}

async function valueOf(secrets: SecretClient, name: string): Promise<string | undefined> {
  const found = await secrets.getSecret(name).catch((error: unknown) => (isAbsent(error) ? undefined : Promise.reject(refusal(name, error))));
  return found?.value?.trim();
}

const isAbsent = (error: unknown): boolean => (error as { statusCode?: unknown }).statusCode === 404;

/** Without a cause: the SDK's error carries the request and its token. */
function refusal(name: string, error: unknown): Error {
  const { statusCode } = error as { statusCode?: unknown };
  return new Error(`The secret ${name} could not be read: Key Vault ${typeof statusCode === "number" ? `answered ${statusCode}` : "did not answer"}.`);
}
