// Certificates: who gets them, when they may go, and that nothing secret is written down.
import { deciderFor } from "../../../src/app/fold";
import type { Certificate } from "../../../src/domain/certificate";
import { parentOf } from "../../../src/domain/ids";
import type { Pool } from "../../../src/domain/pool";
import { CERTIFICATES } from "../certificateFixtures";
import type { History } from "../history";
import { type Checker, isNamed, statesDuring, succeeded, told } from "../told";

type AnyTold = ReturnType<typeof told>[number];

const ofStream = (history: History, stream: string): AnyTold[] => told(history).filter((one) => one.stream === stream);
const listed = (pool: Pool): string[] => (pool.phase === "absent" ? [] : (pool.spec.certificateReferences ?? []).map(({ thumbprint }) => thumbprint));

/** A TVM gets what its pool listed when it joined and lists still: no other certificate, and none of these is left out. */
export const certificatesGoToTheirPools: Checker = (history) =>
  history.installed.flatMap(({ tvm, boot, askedMs, atMs, thumbprints }) => {
    const states = statesDuring<Pool>(ofStream(history, `pool-${parentOf(tvm)}`), askedMs, atMs).map(listed);
    const joined = ofStream(history, `tvm-${tvm}`).find(({ event }) => event.type === "TvmJoined" && event["boot"] === boot)?.event as { certificateReferences?: { thumbprint: string }[] } | undefined;
    const promised = (joined?.certificateReferences ?? []).map(({ thumbprint }) => thumbprint);
    const strange = thumbprints.filter((one) => !promised.includes(one) || !states.some((list) => list.includes(one)));
    const missing = promised.filter((one) => !thumbprints.includes(one) && states.every((list) => list.includes(one)));
    return [...strange.map((one) => `${tvm} (boot ${boot}) was handed ${one}, which its pool does not list`), ...missing.map((one) => `${tvm} (boot ${boot}) was not handed ${one}, which its pool lists`)];
  });

const thumbprintOf = ({ key }: Pick<AnyTold, "key">): string => key.slice(key.lastIndexOf("-") + 1);

/** A certificate goes for good only when no pool has it whose user was told so before the deletion began. */
export const certificatesInUseStay: Checker = (history) => {
  const begun = new Map<string, number>();
  const pools = new Map<string, { readonly thumbprints: readonly string[]; readonly sinceMs: number }>();
  return told(history).flatMap(({ stream, key, event, stored, before }) => {
    if (stream.startsWith("pool-")) {
      const now = listed(deciderFor("pool").evolve(before, event) as Pool);
      const known = pools.get(stream);
      if (known?.thumbprints.join() !== now.join()) pools.set(stream, { thumbprints: now, sinceMs: toldMs(history, stream, event.type, stored.atMs) });
    }
    if (event.type === "CertificateDeletionStarted") begun.set(key, stored.atMs);
    if (event.type !== "CertificateRetired") return [];
    const thumbprint = thumbprintOf({ key });
    return [...pools].filter(([, { thumbprints, sinceMs }]) => thumbprints.includes(thumbprint) && sinceMs < (begun.get(key) ?? 0)).map(([pool]) => `${key} was deleted while ${pool} referred to it`);
  });
};

/** When somebody was told that this change had been made; Infinity: nobody was. */
const toldMs = (history: History, stream: string, event: string, atMs: number): number =>
  Math.min(Infinity, ...history.asked.filter((one) => succeeded(one) && one.change && one.change.event === event && isNamed(one.change.stream, stream) && one.atMs <= atMs && (one.answeredMs ?? 0) >= atMs).map(({ answeredMs }) => answeredMs as number));

/** At the end every pool's certificates are there, with the private part that each should have; what is deleted has left none. */
export const certificatesKeepTheirSecrets: Checker = (history) => {
  const { shown, secrets } = history.final;
  const rows = shown.rows.filter(({ name }) => name === "certificates").map(({ json }) => json as unknown as Certificate);
  const kept = new Set(secrets.map(({ thumbprint, edition }) => `${thumbprint} ${edition}`));
  const there = new Set(rows.map(({ thumbprint }) => thumbprint));
  const lacking = rows.filter(({ format, phase, thumbprint, edition }) => format === "pfx" && phase !== "retired" && !kept.has(`${thumbprint} ${edition}`)).map(({ thumbprint }) => `the private part of ${thumbprint} is gone`);
  const lost = shown.rows.filter(({ name }) => name === "pools").flatMap(({ id, json }) => listed(json as unknown as Pool).filter((one) => !there.has(one)).map((one) => `pool ${id} refers to ${one}, which is not there`));
  const left = told(history).filter(({ event, before }) => event.type === "CertificateDeleted" && kept.has(`${(before as Certificate).thumbprint} ${(before as Certificate).edition}`)).map(({ key }) => `the private part of ${key} is there after its deletion`);
  return [...lacking, ...lost, ...left];
};

/** What was said in confidence: private parts, passwords, signatures of addresses. */
const CANARIES = [...CERTIFICATES.filter(({ certificateFormat }) => certificateFormat === "pfx").map(({ data }) => data.slice(40, 100)), "Canary-of-a-password", "Secret-of-ann", "sig=secret", "not this one"];

/** Nothing secret is in an event or a row; a message holds what its sender wrote into it. */
export const secretsAreNotWrittenDown: Checker = (history) => {
  const texts = [...history.stored.map(({ commit }) => [commit.stream, JSON.stringify(commit)] as const), ...history.final.shown.rows.map(({ name, id, json }) => [`row ${name} ${id}`, JSON.stringify(json)] as const)];
  return texts.flatMap(([where, text]) => CANARIES.filter((canary) => text.includes(canary)).map((canary) => `${where} holds ${canary}`));
};
