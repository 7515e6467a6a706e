// A certificate: there or not, referred to or not, and what a deletion that fails leaves behind.
import { type CertificateEvent, certificate, referable, shownState, visibilityOf } from "../../src/domain/certificate";
import { at, spec } from "../support/spec";

const { given } = spec(certificate);
const THUMBPRINT = "0123456789abcdef0123456789abcdef01234567";
const fields = { account: "local", thumbprint: THUMBPRINT, thumbprintAlgorithm: "sha1", format: "pfx", publicData: "AAAA", edition: "e1" } as const;
const added: CertificateEvent = { type: "CertificateAdded", at: at(0), ...fields };
const started: CertificateEvent = { type: "CertificateDeletionStarted", at: at(3) };
const error = { code: "PoolsReferencingCertificate", message: expect.stringContaining("2 pools refer"), values: [{ name: "Pools", value: "a, b" }] } as const;
const failed: CertificateEvent = { type: "CertificateDeletionFailed", at: at(4), error: { ...error, message: "2 pools refer to it." } };
const retired: CertificateEvent = { type: "CertificateRetired", at: at(4) };
const deleted: CertificateEvent = { type: "CertificateDeleted", at: at(5) };
const active = given(added);

const add = { type: "AddCertificate", at: at(9), ...fields } as const;
const remove = { type: "DeleteCertificate", at: at(9) } as const;
const cancel = { type: "CancelDeletion", at: at(9) } as const;

test("is added once; what is there, going, or could not go says so", () => {
  expect(given().when(add).then({ ...added, at: at(9) })).toMatchObject({ phase: "active", createdAt: at(9), stateAt: at(9) });
  active.when(add).refused("CertificateExists");
  active.and(started).when(add).refused("CertificateBeingDeleted");
  active.and(started, retired).when(add).refused("CertificateBeingDeleted");
  active.and(started, failed).when(add).refused("CertificateDeleteFailed");
  active.and(started, retired, deleted).when({ ...add, edition: "e2" }).then({ ...added, at: at(9), edition: "e2" });
});

test("case 50: deleted while pools refer to it, it stays with an error that names them; cancelled, it is active again", () => {
  const deleting = active.when(remove).then({ ...started, at: at(9) });
  expect(deleting).toMatchObject({ phase: "deleting", previousState: "active", previousStateAt: at(0) });
  const kept = active.and(started).when({ type: "SettleDeletion", at: at(4), since: at(3), pools: ["a", "b"] }).then({ ...failed, error });
  expect(kept).toMatchObject({ phase: "deletefailed", previousState: "deleting", deleteError: { values: [{ name: "Pools", value: "a, b" }] } });
  const back = active.and(started, failed).when(cancel).then({ type: "CertificateDeletionCancelled", at: at(9) });
  expect(back).toMatchObject({ phase: "active", previousState: "deletefailed", previousStateAt: at(4) });
  expect(back).not.toHaveProperty("deleteError");
});

test("a deletion that failed may be tried again", () => {
  expect(active.and(started, failed).when(remove).then({ ...started, at: at(9) })).not.toHaveProperty("deleteError");
});

test("without a pool that refers to it, it is on its way out for good, and then gone", () => {
  const going = active.and(started).when({ type: "SettleDeletion", at: at(4), since: at(3), pools: [] }).then(retired);
  expect(shownState(going)).toBe("deleting");
  expect(active.and(started, retired).when({ type: "ForgetCertificate", at: at(5) }).then(deleted)).toMatchObject({ phase: "absent" });
});

test("what was found for an earlier deletion settles no later one; two deletions never begin at the same instant", () => {
  const again = active.and(started, failed, { type: "CertificateDeletionCancelled", at: at(5) }, { ...started, at: at(6) });
  again.when({ type: "SettleDeletion", at: at(7), since: at(3), pools: [] }).then();
  active.when({ type: "SettleDeletion", at: at(7), since: at(0), pools: [] }).then();
  active.and(started, retired).when({ type: "SettleDeletion", at: at(7), since: at(3), pools: ["late"] }).then();
  const [event] = certificate.decide({ ...remove, at: at(4) }, given(added, started, failed).state) as CertificateEvent[];
  expect(event?.at).toBe("2015-04-01T12:00:04.001Z");
});

test("only a deletion that failed can be cancelled", () => {
  given().when(cancel).refused("CertificateNotFound");
  active.when(cancel).refused("CertificateStateActive");
  active.and(started).when(cancel).refused("CertificateBeingDeleted");
  active.and(started, retired).when(cancel).refused("CertificateBeingDeleted");
  given().when(remove).refused("CertificateNotFound");
  active.and(started).when(remove).refused("CertificateBeingDeleted");
  active.when({ type: "ForgetCertificate", at: at(9) }).then();
});

test("pools may refer to what is there and stays", () => {
  const codes = [given(), active, active.and(started), active.and(started, failed), active.and(started, retired)].map(({ state }) => referable(state)?.code);
  expect(codes).toEqual(["CertificateNotFound", undefined, "CertificateBeingDeleted", undefined, "CertificateBeingDeleted"]);
});

test("visibility is everybody's unless it is said", () => {
  expect(visibilityOf({})).toEqual(["starttask", "task", "rdp"]);
  expect(visibilityOf({ visibility: "Task, rdp" })).toEqual(["task", "rdp"]);
});
