// Private parts of certificates in Key Vault: each is imported as a certificate of the vault, and read back through the secret
// that the vault keeps with it, which is a PFX without a password. What was deleted stays recoverable in the vault, and its name
// taken, for as long as the vault says (90 days): names are of one adding and never used again. It purges nothing.
// A certificate without a private key is none for a vault; the service keeps those in its events, as nothing of them is secret.

import { CertificateClient, type CertificateClientOptions } from "@azure/keyvault-certificates";
import { SecretClient } from "@azure/keyvault-secrets";
import type { TokenCredential } from "@azure/identity";
import type { CertificatePlace, Certificates } from "../ports";

export interface KeyVaultCertificatesOptions {
  /** `https://{vault}.vault.azure.net` */
  readonly vault: string;
  readonly credential: TokenCredential;
  /** Further options of the clients, such as the certificate of a stand-in. */
  readonly client?: CertificateClientOptions;
}

const pfx = "application/x-pkcs12";
const form = /^[a-z0-9]{1,64}$/;

export function keyVaultCertificates({ vault, credential, client }: KeyVaultCertificatesOptions): Certificates {
  const certificates = new CertificateClient(vault, credential, client ?? {});
  const secrets = new SecretClient(vault, credential, client ?? {});

  return {
    async put(place, { data, password }) {
      const name = nameOf(place);
      const { account, thumbprint } = place;
      try {
        await certificates.importCertificate(name, data, {
          password,
          policy: { contentType: pfx, exportable: true, issuerName: "Unknown" },
          tags: { account, thumbprint },
        });
        return undefined;
      } catch (error) {
        // Sound, but not for this store: a key of a kind or length that the vault does not have.
        if (statusOf(error) === 400) return "Key Vault does not take this certificate: it wants an RSA key of 2048 to 4096 bits, or an EC key on P-256, P-384 or P-521";
        throw refusal(`The certificate ${thumbprint} could not be kept`, error);
      }
    },
    async get(place) {
      const name = nameOf(place);
      const found = await secrets.getSecret(name).catch((error: unknown) => (statusOf(error) === 404 ? undefined : Promise.reject(refusal(`The certificate ${place.thumbprint} could not be read`, error))));
      return found?.value === undefined ? undefined : { data: Buffer.from(found.value, "base64"), password: "" };
    },
    async remove(place) {
      // The poller would wait until the vault has moved it to the deleted ones; that it will is enough.
      await certificates.beginDeleteCertificate(nameOf(place)).catch((error: unknown) => {
        if (statusOf(error) !== 404) throw refusal(`The certificate ${place.thumbprint} could not be removed`, error);
      });
    },
  };
}

/** Letters, digits and dashes, at most 127: what a vault takes. */
function nameOf({ account, thumbprint, edition }: CertificatePlace): string {
  for (const part of [account, thumbprint, edition]) if (!form.test(part)) throw new Error("A certificate's place has a part that no name in a vault may have.");
  return `certificate-${account}-${thumbprint}-${edition}`;
}

const statusOf = (error: unknown): unknown => (error as { statusCode?: unknown }).statusCode;

/** Without a cause: the SDK's error carries the request, with its secret and token. */
function refusal(what: string, error: unknown): Error {
  const status = statusOf(error);
  return new Error(`${what}: Key Vault ${typeof status === "number" ? `answered ${status}` : "did not answer"}.`);
}
