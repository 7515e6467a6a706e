// Use cases on certificates: adding, finding, deleting; what pools may refer to; what TVMs get. The private part is kept by a
// port of its own and named here by the edition that its event has: it is on its way through, and never written down or logged.
import { type Certificate, type CertificateCommand, certificate, referable, sameCertificate, visibilityOf } from "../domain/certificate";
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { certificateKey, certificateStream, poolStream } from "../domain/ids";
import type { CertificateReference } from "../domain/pool";
import type { CertificatePlace, Pkcs12, Ports } from "../ports";
import { type CertificateRow, certificates } from "../views/certificates";
import { type PoolRow, pools } from "../views/pools";
import type { CertificateFile } from "../wire";
import type { Call } from "./call";
import { type Loaded, type Outcome, execute, load, loadAll } from "./execute";
import { type Page, type Rows, scan } from "./rows";

export interface CertificateName {
  readonly thumbprint: string;
  readonly thumbprintAlgorithm: string;
}

export interface NewCertificate extends CertificateName {
  /** The certificate without any key: base64 of DER. */
  readonly publicData: string;
  /** Absent: a certificate without a private key (CER), of which nothing is secret. */
  readonly secret?: Pkcs12;
}

const streamOf = (account: string, { thumbprintAlgorithm, thumbprint }: CertificateName): string =>
  certificateStream(certificateKey(account, thumbprintAlgorithm, thumbprint));

const placeOf = ({ account, thumbprint, edition }: Pick<Certificate, "account" | "thumbprint" | "edition">): CertificatePlace => ({ account, thumbprint, edition });

const onCertificate = (ports: Ports, call: Call, name: CertificateName, command: CertificateCommand): Promise<Outcome<"certificate">> =>
  execute(ports, "certificate", call.by, { stream: streamOf(call.account, name), command });

// ---------------------------------------------------------------- what users do

/** The secret is kept first: a certificate that is there can be installed. If it was not to be there, its secret goes again. */
export const addCertificate = async (ports: Ports, call: Call, { secret, ...fresh }: NewCertificate): Promise<Outcome<"certificate">> => {
  const edition = ports.random.uuid().replaceAll("-", "");
  const command: CertificateCommand = { ...fresh, type: "AddCertificate", at: call.at, account: call.account, format: secret ? "pfx" : "cer", edition };
  const { state } = await load(ports, "certificate", streamOf(call.account, fresh));
  const refusal = certificate.decide(command, state);
  if (isRejection(refusal)) return refusal;
  const place = placeOf(command);
  if (secret) {
    const problem = await ports.certificates.put(place, secret);
    if (problem !== undefined) return rejection("InvalidPropertyValue", undefined, { PropertyName: "data", PropertyValue: "(not shown)", Reason: problem });
  }
  const outcome = await onCertificate(ports, call, fresh, command);
  if (isRejection(outcome) && secret) await ports.certificates.remove(place);
  return outcome;
};

export const getCertificate = async (ports: Ports, call: Call, name: CertificateName): Promise<Loaded<Certificate> | Rejection> => {
  const loaded = await load(ports, "certificate", streamOf(call.account, name));
  return loaded.state.phase === "absent" ? rejection("CertificateNotFound", "The account has no certificate with that thumbprint.") : loaded;
};

export const listCertificates = (ports: Ports, call: Call, page: Page<CertificateRow>): Promise<Rows<CertificateRow>> =>
  scan(ports.views, certificates, "name", `${call.account}/`, page);

/** Begins the deletion; whether it can be is found out a moment later (`endCertificate`). */
export const deleteCertificate = (ports: Ports, call: Call, name: CertificateName): Promise<Outcome<"certificate">> =>
  onCertificate(ports, call, name, { type: "DeleteCertificate", at: call.at });

export const cancelCertificateDeletion = (ports: Ports, call: Call, name: CertificateName): Promise<Outcome<"certificate">> =>
  onCertificate(ports, call, name, { type: "CancelDeletion", at: call.at });

// ---------------------------------------------------------------- the end of a certificate

/**
 * Goes on with a deletion: fails it if a pool refers to the certificate, else lets the secret go and then the certificate. May be
 * repeated, and takes up where it was left. Throws when the store of secrets does not answer.
 */
export const endCertificate = async (ports: Ports, key: string, at: string): Promise<void> => {
  const stream = certificateStream(key);
  let { state } = await load(ports, "certificate", stream);
  if (state.phase === "deleting") {
    const command: CertificateCommand = { type: "SettleDeletion", at, since: state.stateAt, pools: await poolsWith(ports, state) };
    const outcome = await execute(ports, "certificate", "service", { stream, command });
    if (isRejection(outcome)) return;
    state = outcome.state;
  }
  if (state.phase !== "retired") return;
  if (state.format === "pfx") await ports.certificates.remove(placeOf(state));
  await execute(ports, "certificate", "service", { stream, command: { type: "ForgetCertificate", at } });
};

/** For whoever must go on with other things: what could not be ended now is taken up by the sweep. */
export const tryEndCertificate = async (ports: Ports, key: string, at: string): Promise<void> => {
  try {
    await endCertificate(ports, key, at);
  } catch (error) {
    ports.log.warn("the deletion of a certificate is not over yet", { certificate: key, error });
  }
};

/** Pools that refer to it, those that are being deleted too: their TVMs have it. */
const poolsWith = async (ports: Ports, state: Certificate): Promise<string[]> => {
  const filter = (row: PoolRow): boolean => row.phase !== "absent" && (row.spec.certificateReferences ?? []).some((one) => sameCertificate(one, state));
  const { rows } = await scan(ports.views, pools, "name", `${state.account}/`, { limit: Number.MAX_SAFE_INTEGER, filter });
  return rows.map(({ row }) => row.name);
};

// ---------------------------------------------------------------- references

const statesOf = async (ports: Ports, account: string, references: readonly CertificateName[]): Promise<Certificate[]> =>
  references.length === 0 ? [] : (await loadAll(ports, "certificate", references.map((one) => streamOf(account, one)))).map(({ state }) => state);

/** Refuses references that a pool may not have, naming the first. Asked before a pool has them. */
export const checkReferences = async (ports: Ports, account: string, references: readonly CertificateReference[] = []): Promise<Rejection | undefined> => {
  const states = await statesOf(ports, account, references);
  for (const [index, state] of states.entries()) {
    const refusal = referable(state);
    if (refusal) return { ...refusal, values: { PropertyName: `certificateReferences[${index}].thumbprint`, PropertyValue: (references[index] as CertificateReference).thumbprint, Reason: refusal.message ?? "" } };
  }
  return undefined;
};

/**
 * Asked again once a pool has them: a deletion that began in between either finds the pool and fails, which keeps the certificate,
 * or was faster. Answers those that are gone.
 */
export const lostReferences = async (ports: Ports, account: string, references: readonly CertificateReference[] = [], at: string): Promise<CertificateReference[]> => {
  const states = await statesOf(ports, account, references);
  for (const [index, { phase }] of states.entries()) {
    const { thumbprintAlgorithm, thumbprint } = references[index] as CertificateReference;
    if (phase === "deleting") await tryEndCertificate(ports, certificateKey(account, thumbprintAlgorithm, thumbprint), at);
  }
  const after = states.some(({ phase }) => phase === "deleting") ? await statesOf(ports, account, references) : states;
  return references.filter((_, index) => ["absent", "retired"].includes((after[index] as Certificate).phase));
};

/** Said again by the feed: whoever gave the pool its references may have ended before it asked once more. */
export const dropLostReferences = async (ports: Ports, pool: string, at: string): Promise<void> => {
  const stream = poolStream(pool);
  const { state } = await load(ports, "pool", stream);
  if (state.phase !== "active") return;
  const lost = await lostReferences(ports, state.account, state.spec.certificateReferences, at);
  if (lost.length === 0) return;
  ports.log.warn("a pool referred to certificates that were deleted: it does not any more", { pool, certificates: lost.map(({ thumbprint }) => thumbprint) });
  await execute(ports, "pool", "service", { stream, command: { type: "DropCertificates", at, certificates: lost } });
};

// ---------------------------------------------------------------- what TVMs get

/** The files for a TVM, private parts included; undefined when one that is referred to cannot be had. */
export const filesOf = async (ports: Ports, account: string, references: readonly CertificateReference[]): Promise<CertificateFile[] | undefined> => {
  const states = await statesOf(ports, account, references);
  const files = await Promise.all(states.map((state, index) => fileOf(ports, state, references[index] as CertificateReference)));
  return files.some((file) => file === undefined) ? undefined : (files as CertificateFile[]);
};

const fileOf = async (ports: Ports, state: Certificate, reference: CertificateReference): Promise<CertificateFile | undefined> => {
  if (state.phase === "absent" || state.phase === "retired") return undefined;
  const { thumbprint, thumbprintAlgorithm, format } = state;
  const file = { thumbprint, thumbprintAlgorithm, format, visibility: [...visibilityOf(reference)] };
  if (format === "cer") return { ...file, data: state.publicData, password: "" };
  const secret = await ports.certificates.get(placeOf(state));
  return secret && { ...file, data: Buffer.from(secret.data).toString("base64"), password: secret.password };
};
