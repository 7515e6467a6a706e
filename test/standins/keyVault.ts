// A small Key Vault over https: certificates (import, read, list, update, delete, recover, purge) and secrets, as the SDKs ask for
// them, with the challenge that real vaults begin with. Everything is in memory, and it keeps what it was asked.

import { createHash, createPrivateKey, randomBytes, X509Certificate, type KeyObject } from "node:crypto";
import { once } from "node:events";
import https from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import forge from "node-forge";
import type { TestCertificate } from "./certificate";

export type KeyVault = Awaited<ReturnType<typeof startKeyVault>>;

interface Opened {
  readonly key: KeyObject | undefined;
  readonly certs: readonly X509Certificate[];
}

interface CertificateVersion {
  readonly name: string;
  readonly version: string;
  readonly cert: X509Certificate;
  readonly contentType: string;
  readonly attributes: Record<string, unknown>;
  readonly policy: unknown;
  /** What its secret gives: PFX without a password as base64, or PEM; undefined when it may not be exported. */
  readonly secret: string | undefined;
  tags: unknown;
}

interface ImportBody {
  readonly value: string;
  readonly pwd?: string;
  readonly tags?: unknown;
  readonly attributes?: { readonly enabled?: boolean };
  readonly policy?: { readonly secret_props?: { readonly contentType?: string }; readonly key_props?: { readonly exportable?: boolean } };
}

const pemType = "application/x-pem-file";
const retentionDays = 90;

class Refused extends Error {
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

export async function startKeyVault({ tls }: { readonly tls: TestCertificate }) {
  const live = new Map<string, CertificateVersion[]>();
  const deleted = new Map<string, { versions: CertificateVersion[]; at: number }>();
  const secrets = new Map<string, string>();
  const asked: { method: string; path: string; status: number }[] = [];
  let url = "";

  const versionOf = (name: string, version?: string): CertificateVersion => {
    const found = version === undefined ? live.get(name)?.at(-1) : live.get(name)?.find((one) => one.version === version);
    if (!found) throw new Refused(404, "CertificateNotFound", `A certificate with (name/id) ${name} was not found in this key vault.`);
    return found;
  };
  const item = (one: CertificateVersion) => ({
    id: `${url}/certificates/${one.name}/${one.version}`, x5t: createHash("sha1").update(one.cert.raw).digest("base64url"), subject: one.cert.subject,
    attributes: one.attributes, tags: one.tags,
  });
  const bundle = (one: CertificateVersion) => ({
    ...item(one), kid: `${url}/keys/${one.name}/${one.version}`, sid: `${url}/secrets/${one.name}/${one.version}`, cer: one.cert.raw.toString("base64"),
    contentType: one.contentType, policy: one.policy,
  });
  const deletedBundle = (name: string) => {
    const found = deleted.get(name);
    if (!found) throw new Refused(404, "CertificateNotFound", `Deleted certificate not found: ${name}`);
    const newest = found.versions.at(-1) as CertificateVersion;
    return { ...bundle(newest), recoveryId: `${url}/deletedcertificates/${name}`, deletedDate: found.at, scheduledPurgeDate: found.at + retentionDays * 86_400 };
  };
  const page = (value: unknown[]) => ({ value, nextLink: null });

  const importCertificate = (name: string, body: ImportBody): unknown => {
    if (deleted.has(name)) throw new Refused(409, "ConflictError", `Certificate ${name} is currently in a deleted but recoverable state, and its name cannot be reused.`);
    const made = versionFrom(name, body, url);
    live.set(name, [...(live.get(name) ?? []), made]);
    return bundle(made);
  };

  const certificates = (method: string, name: string | undefined, sub: string | undefined, body: unknown): unknown => {
    if (name === undefined) return page([...live.values()].map((versions) => item(versions.at(-1) as CertificateVersion)));
    if (method === "POST" && sub === "import") return importCertificate(name, body as ImportBody);
    if (method === "GET" && sub === "versions") return page((live.get(name) ?? []).map(item));
    if (method === "GET" && sub === "policy") return versionOf(name).policy;
    if (method === "GET" && sub === "pending") throw new Refused(404, "PendingCertificateNotFound", "no pending certificate");
    if (method === "GET") return bundle(versionOf(name, sub));
    if (method === "PATCH") {
      const found = versionOf(name, sub === "policy" ? undefined : sub);
      const change = body as { tags?: unknown; attributes?: Record<string, unknown> };
      if (change.tags !== undefined) found.tags = change.tags;
      Object.assign(found.attributes, change.attributes);
      return bundle(found);
    }
    if (method === "DELETE" && sub === undefined) {
      versionOf(name);
      deleted.set(name, { versions: live.get(name) ?? [], at: seconds(Date.now()) });
      live.delete(name);
      return deletedBundle(name);
    }
    throw new Refused(400, "BadParameter", `not known here: ${method} certificates/${name}/${sub}`);
  };

  const deletedCertificates = (method: string, name: string | undefined, sub: string | undefined): unknown => {
    if (name === undefined) return page([...deleted.keys()].map(deletedBundle));
    const found = deletedBundle(name);
    if (method === "GET") return found;
    const { versions } = deleted.get(name) as { versions: CertificateVersion[] };
    deleted.delete(name);
    if (method === "DELETE") return undefined;
    if (sub === "recover") live.set(name, versions);
    return bundle(versionOf(name));
  };

  const secret = (method: string, name: string, version: string | undefined, body: unknown): unknown => {
    const known = { id: `${url}/secrets/${name}/1`, attributes: { enabled: true } };
    if (method === "PUT") {
      const { value } = body as { value: string };
      secrets.set(name, value);
      return { ...known, value };
    }
    if (secrets.has(name)) return { ...known, value: secrets.get(name) };
    const found = live.has(name) ? versionOf(name, version) : undefined;
    if (!found) throw new Refused(404, "SecretNotFound", `A secret with (name/id) ${name} was not found in this key vault.`);
    return { value: found.secret, contentType: found.contentType, id: `${url}/secrets/${name}/${found.version}`, managed: true, attributes: found.attributes, kid: bundle(found).kid };
  };

  const route = (method: string, path: string, body: unknown): unknown => {
    const [kind = "", name, sub] = path.split("/").filter(Boolean).map(decodeURIComponent);
    if (kind === "certificates") return certificates(method, name, sub, body);
    if (kind === "deletedcertificates") return deletedCertificates(method, name, sub);
    if (kind === "secrets" && name !== undefined) return secret(method, name, sub, body);
    throw new Refused(400, "BadParameter", `not known here: ${method} ${path}`);
  };

  const answerTo = (request: IncomingMessage, path: string, body: string): { status: number; body?: unknown; headers?: Record<string, string> } => {
    if (!/^Bearer \S+/.test(request.headers.authorization ?? "")) {
      const challenge = `Bearer authorization="https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000", resource="https://vault.azure.net"`;
      return { status: 401, headers: { "www-authenticate": challenge }, body: { error: { code: "Unauthorized", message: "Request is missing a Bearer or PoP token." } } };
    }
    try {
      const answer = route(request.method ?? "", path, body === "" ? {} : JSON.parse(body));
      return answer === undefined ? { status: 204 } : { status: 200, body: answer };
    } catch (error) {
      const { status = 500, code = "Internal", message } = error as Partial<Refused> & Error;
      return { status, body: { error: { code, message } } };
    }
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    const path = new URL(request.url ?? "/", url).pathname;
    const answer = answerTo(request, path, Buffer.concat(pieces).toString("utf8"));
    asked.push({ method: request.method ?? "", path, status: answer.status });
    response.writeHead(answer.status, { "content-type": "application/json; charset=utf-8", ...answer.headers });
    response.end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
  };

  const server = https.createServer({ cert: tls.cert, key: tls.key }, (request, response) => {
    handle(request, response).catch((error: Error) => response.writeHead(500).end(error.message));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `https://localhost:${(server.address() as AddressInfo).port}`;

  return {
    url,
    asked,
    setSecret: (name: string, value: string): void => void secrets.set(name, value),
    async stop(): Promise<void> {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

const seconds = (milliseconds: number): number => Math.floor(milliseconds / 1_000);

// ---------------------------------------------------------------- what is imported

function versionFrom(name: string, body: ImportBody, url: string): CertificateVersion {
  const pem = body.policy?.secret_props?.contentType === pemType || body.value.startsWith("-----");
  const { key, certs } = opened(body, pem);
  if (!key) throw new Refused(400, "BadParameter", "Private key is not specified in the specified X.509 certificate content.");
  const cert = certs.find((one) => one.checkPrivateKey(key));
  if (!cert) throw new Refused(400, "BadParameter", "Private key does not match the certificate");
  const now = seconds(Date.now());
  const contentType = pem ? pemType : "application/x-pkcs12";
  const exportable = body.policy?.key_props?.exportable ?? true;
  return {
    name, version: randomBytes(16).toString("hex"), cert, contentType, tags: body.tags,
    attributes: {
      enabled: body.attributes?.enabled ?? true, nbf: seconds(Date.parse(cert.validFrom)), exp: seconds(Date.parse(cert.validTo)), created: now, updated: now,
      recoveryLevel: "Recoverable+Purgeable", recoverableDays: retentionDays,
    },
    policy: {
      id: `${url}/certificates/${name}/policy`, secret_props: { contentType }, issuer: { name: "Unknown" }, attributes: { enabled: true, created: now, updated: now },
      key_props: { exportable, kty: key.asymmetricKeyType === "ec" ? "EC" : "RSA", key_size: key.asymmetricKeyDetails?.modulusLength ?? 256, reuse_key: false },
      x509_props: { subject: cert.subject, validity_months: 12, key_usage: [] },
    },
    secret: !exportable ? undefined : pem ? pemOf(key, certs) : repacked(key, certs),
  };
}

function opened(body: ImportBody, pem: boolean): Opened {
  try {
    return pem ? readPem(body.value) : readPkcs12(Buffer.from(body.value, "base64"), body.pwd ?? "");
  } catch (error) {
    const { message } = error as Error;
    const wrongPassword = /password|MAC/i.test(message);
    throw new Refused(400, "BadParameter", wrongPassword ? "The specified password does not match with the specified X.509 certificate content." : `The specified X.509 certificate content can not be read. ${message}`);
  }
}

function readPem(text: string): Opened {
  const certs = [...text.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)].map(([one]) => new X509Certificate(one));
  const key = /-----BEGIN (?:\w+ )?PRIVATE KEY-----[^-]+-----END (?:\w+ )?PRIVATE KEY-----/.exec(text)?.[0];
  return { key: key === undefined ? undefined : createPrivateKey(key), certs };
}

function readPkcs12(bytes: Buffer, password: string): Opened {
  const whole = forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(bytes.toString("binary")), password);
  const bags = (type: string | undefined) => (type === undefined ? [] : (whole.getBags({ bagType: type })[type] ?? []));
  const { pkcs8ShroudedKeyBag, keyBag, certBag } = forge.pki.oids;
  const [found] = [...bags(pkcs8ShroudedKeyBag), ...bags(keyBag)];
  const der = (value: forge.asn1.Asn1): Buffer => Buffer.from(forge.asn1.toDer(value).getBytes(), "binary");
  const key = found && createPrivateKey(found.key ? forge.pki.privateKeyToPem(found.key) : { key: der(found.asn1), format: "der", type: "pkcs8" });
  return { key, certs: bags(certBag).map((bag) => new X509Certificate(der(bag.cert ? forge.pki.certificateToAsn1(bag.cert) : bag.asn1))) };
}

function pemOf(key: KeyObject, certs: readonly X509Certificate[]): string {
  return `${key.export({ type: "pkcs8", format: "pem" })}${certs.join("")}`;
}

/** Key Vault gives a PFX back without a password. Keys of other kinds than RSA cannot be packed here. */
function repacked(key: KeyObject, certs: readonly X509Certificate[]): string | undefined {
  if (key.asymmetricKeyType !== "rsa") return undefined;
  const packed = forge.pkcs12.toPkcs12Asn1(
    forge.pki.privateKeyFromPem(key.export({ type: "pkcs8", format: "pem" }).toString()), certs.map((one) => forge.pki.certificateFromPem(one.toString())), "", { algorithm: "aes256" as "3des" },
  );
  return Buffer.from(forge.asn1.toDer(packed).getBytes(), "binary").toString("base64");
}
