// Certificates of the classic dialect: bodies to use cases, outcomes to answers. A certificate is named in brackets of its path
// and has no ETag. What is secret of it goes in and never comes out.
import {
  type CertificateName,
  addCertificate,
  cancelCertificateDeletion,
  deleteCertificate,
  getCertificate,
  listCertificates,
} from "../../app/certificates";
import { shownState } from "../../domain/certificate";
import { type Rejection, isRejection, rejection } from "../../domain/decider";
import type { CertificateRow } from "../../views/certificates";
import { GET_QUERY, LIST_QUERY, entity, listAnswer, readList, readSelect, selected } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Answer, type Input, type Operation, operation } from "../operation";
import { deleted } from "./answers";
import { CERTIFICATE_PROPERTIES, certificatePath, renderCertificate } from "./render";
import { certificateBody, newCertificate } from "./schemas";

/** Most certificates of a page (reference section 8). */
const RESULTS_MAX = 100;

const fields: Fields<CertificateRow> = {
  state: { type: "state", operators: EQ_NE, values: ["active", "deleting", "deletefailed"], of: (row) => shownState(row) },
  stateTransitionTime: { type: "time", operators: ALL, of: (row) => row.stateAt },
};

/** `thumbprintAlgorithm=sha1,thumbprint=...`, in either order. A name that nothing can have is one that nothing has. */
export const certificateName = ({ names }: Pick<Input, "names">): CertificateName | Rejection => {
  const parts = new Map((names.certificate ?? "").split(",").map((part) => part.split("=", 2).map((text) => text.trim().toLowerCase()) as [string, string | undefined]));
  const [algorithm, thumbprint] = ["thumbprintalgorithm", "thumbprint"].map((name) => parts.get(name)?.replace(/^'(.*)'$/, "$1"));
  if (parts.size !== 2 || algorithm === undefined || thumbprint === undefined)
    return rejection("InvalidUri", undefined, { Reason: "expected certificates(thumbprintAlgorithm=sha1,thumbprint={40 hexadecimal digits})" });
  return algorithm === "sha1" && /^[0-9a-f]{40}$/.test(thumbprint) ? { thumbprintAlgorithm: algorithm, thumbprint } : rejection("CertificateNotFound");
};

/** For operations on one certificate. */
const onOne =
  <Body>(act: (input: Input<Body>, name: CertificateName) => Promise<Answer | Rejection>) =>
  async (input: Input<Body>): Promise<Answer | Rejection> => {
    const name = certificateName(input);
    return isRejection(name) ? name : act(input, name);
  };

export const certificates: readonly Operation[] = [
  operation({
    name: "ListCertificates",
    method: "GET",
    path: "/certificates",
    action: "certificate.read",
    version: "classic",
    query: LIST_QUERY,
    run: async (input) => {
      const list = readList(input, fields, CERTIFICATE_PROPERTIES, RESULTS_MAX);
      if (isRejection(list)) return list;
      return listAnswer(input, "certificates", list, await listCertificates(input.ports, input.call, list.page), (row) => renderCertificate(row, input.base));
    },
  }),
  operation({
    name: "GetCertificate",
    method: "GET",
    path: "/certificates(...)",
    action: "certificate.read",
    version: "classic",
    query: GET_QUERY,
    run: onOne(async ({ ports, call, query, base }, name) => {
      const select = readSelect(query, CERTIFICATE_PROPERTIES);
      if (isRejection(select)) return select;
      const found = await getCertificate(ports, call, name);
      return isRejection(found) ? found : { status: 200, json: entity(base, "certificates", selected(renderCertificate(found.state, base), select)) };
    }),
  }),
  operation({
    name: "AddCertificate",
    method: "POST",
    path: "/certificates",
    action: "certificate.change",
    version: "classic",
    body: "required",
    schema: certificateBody,
    run: async ({ ports, call, body, base }) => {
      const fresh = newCertificate(body);
      if (isRejection(fresh)) return fresh;
      const outcome = await addCertificate(ports, call, fresh);
      const address = base + certificatePath(fresh);
      return isRejection(outcome) ? outcome : { status: 201, headers: { Location: address, DataServiceId: address } };
    },
  }),
  operation({
    name: "DeleteCertificate",
    method: "DELETE",
    path: "/certificates(...)",
    action: "certificate.change",
    version: "classic",
    run: onOne(async ({ ports, call }, name) => deleted(await deleteCertificate(ports, call, name), 202)),
  }),
  operation({
    name: "CancelCertificateDeletion",
    method: "POST",
    path: "/certificates(...)",
    verb: "canceldelete",
    action: "certificate.change",
    version: "classic",
    run: onOne(async ({ ports, call }, name) => {
      const outcome = await cancelCertificateDeletion(ports, call, name);
      return isRejection(outcome) ? outcome : { status: 204 };
    }),
  }),
];
