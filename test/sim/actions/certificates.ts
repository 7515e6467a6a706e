// Certificates: a few of them, added, found, deleted, wanted back; and references to them, which pools have.
import type { Seeded } from "../../support/seeded";
import { CERTIFICATES, type Fixture } from "../certificateFixtures";
import { ACCOUNT, type Action, type Ask, type Client } from "../names";

const some = ({ random }: Pick<Client, "random">): Fixture => random.oneOf(CERTIFICATES);
const pathOf = ({ thumbprint }: Fixture): string => `/certificates(thumbprintAlgorithm=sha1,thumbprint=${thumbprint})`;
const streamOf = ({ thumbprint }: Fixture): string => `certificate-${ACCOUNT}.sha1-${thumbprint}`;

export const addCertificate = (fixture: Fixture): Ask => ({
  method: "POST", target: "/certificates", body: { ...fixture, thumbprintAlgorithm: "sha1" }, change: { stream: streamOf(fixture), event: "CertificateAdded" },
});

export const deleteCertificate = (fixture: Fixture): Ask => ({ method: "DELETE", target: pathOf(fixture), change: { stream: streamOf(fixture), event: "CertificateDeletionStarted" } });

export const referenceTo = ({ thumbprint }: Fixture): object => ({ thumbprint, thumbprintAlgorithm: "sha1" });

/** To one certificate mostly; who may see it differs. */
export const someReferences = (random: Seeded): object[] =>
  [...new Set([random.oneOf(CERTIFICATES), ...(random.chance(0.25) ? [random.oneOf(CERTIFICATES)] : [])])].map((one) => ({
    ...referenceTo(one), ...(random.chance(0.5) ? { visibility: random.oneOf(["task", "starttask,task", "rdp"]) } : {}),
  }));

export const certificateActions: readonly Action[] = [
  { name: "addCertificate", weight: 3, ask: (client) => addCertificate(some(client)) },
  { name: "addWrongCertificate", weight: 0.25, ask: (client) => ({ method: "POST", target: "/certificates", body: { ...some(client), thumbprintAlgorithm: "sha1", password: "not this one" } }) },
  { name: "listCertificates", weight: 0.5, ask: () => ({ method: "GET", target: "/certificates" }) },
  { name: "getCertificate", weight: 0.5, ask: (client) => ({ method: "GET", target: pathOf(some(client)) }) },
  { name: "deleteCertificate", weight: 2, ask: (client) => deleteCertificate(some(client)) },
  { name: "cancelCertificateDeletion", weight: 1, ask: (client) => {
    const one = some(client);
    return { method: "POST", target: `${pathOf(one)}?canceldelete`, change: { stream: streamOf(one), event: "CertificateDeletionCancelled" } };
  } },
  { name: "certificateHistory", weight: 0.25, ask: (client) => ({ method: "GET", target: `/batchledger/history${pathOf(some(client))}` }) },
];
