// A certificate of an account: added, referred to by pools, and deleted once no pool refers to it. Its private part is never
// here: `edition` says which of the secrets kept for this thumbprint is the present one's.
import { type Decider, type Rejection, present, rejection } from "./decider";
import type { CertificateReference } from "./pool";
import { laterThan } from "./time";

export type CertificateEvent =
  | {
      type: "CertificateAdded";
      at: string;
      account: string;
      thumbprint: string;
      thumbprintAlgorithm: string;
      format: "pfx" | "cer";
      /** The certificate without any key: base64 of DER, some kilobytes at most. */
      publicData: string;
      edition: string;
    }
  | { type: "CertificateDeletionStarted"; at: string }
  /** Pools refer to it: it stays as it was. */
  | { type: "CertificateDeletionFailed"; at: string; error: DeleteCertificateError }
  | { type: "CertificateDeletionCancelled"; at: string }
  /** No pool refers to it: from here on nothing keeps it, and its secret goes. */
  | { type: "CertificateRetired"; at: string }
  | { type: "CertificateDeleted"; at: string };

export type CertificateCommand =
  | Omit<Extract<CertificateEvent, { type: "CertificateAdded" }>, "type"> & { type: "AddCertificate" }
  | { type: "DeleteCertificate"; at: string }
  /** Which pools were found to refer to it after the deletion of `since` began. */
  | { type: "SettleDeletion"; at: string; since: string; pools: readonly string[] }
  | { type: "CancelDeletion"; at: string }
  | { type: "ForgetCertificate"; at: string };

/** Why a certificate could not be deleted (reference section 3, `deleteCertificateError`). */
export interface DeleteCertificateError {
  readonly code: "PoolsReferencingCertificate";
  readonly message: string;
  readonly values: readonly { readonly name: string; readonly value: string }[];
}

export interface Certificate {
  /** `retired`: on its way out for good; its users see `deleting`. */
  readonly phase: "absent" | "active" | "deleting" | "deletefailed" | "retired";
  readonly account: string;
  readonly thumbprint: string;
  readonly thumbprintAlgorithm: string;
  readonly format: "pfx" | "cer";
  readonly publicData: string;
  readonly edition: string;
  readonly createdAt: string;
  readonly stateAt: string;
  readonly previousState?: "active" | "deleting" | "deletefailed";
  readonly previousStateAt?: string;
  readonly deleteError?: DeleteCertificateError;
}

const absent: Certificate = {
  phase: "absent", account: "", thumbprint: "", thumbprintAlgorithm: "sha1", format: "pfx", publicData: "", edition: "", createdAt: "", stateAt: "",
};

/** Names of pools that an error repeats; the message says how many there are. */
const POOLS_NAMED_MAX = 10;

export const certificate: Decider<Certificate, CertificateCommand, CertificateEvent> = {
  initial: absent,

  decide(command, state) {
    switch (command.type) {
      case "AddCertificate":
        return exists(state) ?? [{ ...command, type: "CertificateAdded" }];
      case "DeleteCertificate":
        return notThere(state) ?? beingDeleted(state) ?? [{ type: "CertificateDeletionStarted", at: laterThan(command.at, state.stateAt) }];
      case "SettleDeletion":
        // What was found for an earlier deletion says nothing about this one.
        if (state.phase !== "deleting" || command.since !== state.stateAt) return [];
        return [command.pools.length > 0 ? { type: "CertificateDeletionFailed", at: command.at, error: referred(command.pools) } : { type: "CertificateRetired", at: command.at }];
      case "CancelDeletion":
        if (state.phase === "active") return rejection("CertificateStateActive", "The certificate is not being deleted: there is nothing to cancel.");
        return notThere(state) ?? beingDeleted(state) ?? [{ type: "CertificateDeletionCancelled", at: command.at }];
      case "ForgetCertificate":
        return state.phase === "retired" ? [{ type: "CertificateDeleted", at: command.at }] : [];
    }
  },

  evolve(state, event) {
    switch (event.type) {
      case "CertificateAdded": {
        const { type: _, at, ...fields } = event;
        return { ...absent, ...fields, phase: "active", createdAt: at, stateAt: at };
      }
      case "CertificateDeletionStarted":
        return moved(state, "deleting", event.at);
      case "CertificateDeletionFailed":
        return { ...moved(state, "deletefailed", event.at), deleteError: event.error };
      case "CertificateDeletionCancelled":
        return moved(state, "active", event.at);
      case "CertificateRetired":
        // Its users see no change: it was being deleted and still is.
        return { ...state, phase: "retired" };
      case "CertificateDeleted":
        return absent;
    }
  },
};

const moved = (state: Certificate, phase: "active" | "deleting" | "deletefailed", at: string): Certificate => {
  const { deleteError: _, ...rest } = state;
  return { ...rest, phase, stateAt: at, ...present({ previousState: shownState(state), previousStateAt: state.stateAt }) };
};

/** The state as its users see it; undefined: there is no such certificate. */
export const shownState = ({ phase }: Pick<Certificate, "phase">): "active" | "deleting" | "deletefailed" | undefined =>
  phase === "absent" ? undefined : phase === "retired" ? "deleting" : phase;

const notThere = (state: Certificate): Rejection | undefined =>
  state.phase === "absent" ? rejection("CertificateNotFound", "The account has no certificate with that thumbprint.") : undefined;

const beingDeleted = (state: Certificate): Rejection | undefined =>
  state.phase === "deleting" || state.phase === "retired" ? rejection("CertificateBeingDeleted", "The certificate is being deleted.") : undefined;

const exists = (state: Certificate): Rejection | undefined => {
  if (state.phase === "absent") return undefined;
  if (state.phase === "deletefailed")
    return rejection("CertificateDeleteFailed", "The account has this certificate, and its deletion failed: cancel the deletion, or delete it again once no pool refers to it.");
  return beingDeleted(state) ?? rejection("CertificateExists", "The account already has a certificate with that thumbprint.");
};

const referred = (pools: readonly string[]): DeleteCertificateError => ({
  code: "PoolsReferencingCertificate",
  message: `${pools.length === 1 ? "A pool refers" : `${pools.length} pools refer`} to the certificate: delete the pools or take the reference away, then delete the certificate again, or cancel its deletion.`,
  values: [{ name: "Pools", value: pools.slice(0, POOLS_NAMED_MAX).join(", ") }],
});

/** Whether pools may refer to it; the reason if not. One whose deletion failed is there as before. */
export const referable = (state: Certificate): Rejection | undefined => notThere(state) ?? beingDeleted(state);

/** Two references, or a reference and a certificate, are about the same certificate. */
export const sameCertificate = (one: Pick<CertificateReference, "thumbprint" | "thumbprintAlgorithm">, other: Pick<CertificateReference, "thumbprint" | "thumbprintAlgorithm">): boolean =>
  one.thumbprint === other.thumbprint && one.thumbprintAlgorithm === other.thumbprintAlgorithm;

/** Who may see a certificate on a TVM, as references say it in text: absent is everybody. */
export const VISIBILITIES = ["starttask", "task", "rdp"] as const;
export type Visibility = (typeof VISIBILITIES)[number];

export const visibilityOf = ({ visibility }: Pick<CertificateReference, "visibility">): readonly Visibility[] =>
  visibility === undefined ? VISIBILITIES : VISIBILITIES.filter((one) => visibility.split(",").some((word) => word.trim().toLowerCase() === one));
