// If-Match and its relatives (reference 1.1), read from headers once and checked on the state a decision is made on.
import { type Rejection, rejection } from "../domain/decider";
import { eTagOf, parseHttpDate } from "./dates";

/** What must hold of a resource; at most one kind counts. Absent: nothing. */
export type Conditions =
  | { readonly kind: "none" }
  | { readonly kind: "match" | "noneMatch"; readonly tags: readonly string[] }
  | { readonly kind: "modified" | "unmodified"; readonly since: number };

export const NO_CONDITIONS: Conditions = { kind: "none" };

interface Headers {
  get(name: string): string | null;
}

/** The conditions of a request: of a tag and a date that say the same kind of thing the tag counts, other mixes are refused. */
export const readConditions = (headers: Headers): Conditions | Rejection => {
  const match = headers.get("if-match");
  const noneMatch = headers.get("if-none-match");
  const modified = headers.get("if-modified-since");
  const unmodified = headers.get("if-unmodified-since");
  if ((match ?? unmodified) !== null && (noneMatch ?? modified) !== null) return rejection("MultipleConditionHeadersNotSupported");
  if (match !== null) return ifMatch(match);
  if (noneMatch !== null) return { kind: "noneMatch", tags: tags(noneMatch) };
  if (modified !== null) return since("modified", "If-Modified-Since", modified);
  if (unmodified !== null) return since("unmodified", "If-Unmodified-Since", unmodified);
  return NO_CONDITIONS;
};

/** The same as the header, for those who have none. */
export const ifMatch = (text: string): Conditions => ({ kind: "match", tags: tags(text) });

const tags = (text: string): string[] => text.split(",", 20).map((tag) => tag.trim().replace(/^W\//, "").replace(/^"|"$/g, ""));

const since = (kind: "modified" | "unmodified", name: string, text: string): Conditions | Rejection => {
  const at = parseHttpDate(text);
  if (at === undefined) return rejection("InvalidHeaderValue", undefined, { HeaderName: name, HeaderValue: text });
  return { kind, since: at };
};

/** Whether the conditions hold for a resource that was last changed then. */
export const holds = (conditions: Conditions, modifiedAt: string): boolean => {
  switch (conditions.kind) {
    case "none":
      return true;
    case "match":
      return matches(conditions.tags, modifiedAt);
    case "noneMatch":
      return !matches(conditions.tags, modifiedAt);
    // Headers carry whole seconds: so does the comparison.
    case "modified":
      return wholeSeconds(modifiedAt) > conditions.since;
    case "unmodified":
      return wholeSeconds(modifiedAt) <= conditions.since;
  }
};

const matches = (given: readonly string[], modifiedAt: string): boolean => {
  const own = eTagOf(modifiedAt);
  return given.some((tag) => tag === "*" || tag.toUpperCase() === own.toUpperCase());
};

const wholeSeconds = (at: string): number => Math.floor(Date.parse(at) / 1000) * 1000;

/** For the app layer: refuses a write when the conditions do not hold. Undefined: no conditions. */
export const writeCondition = (
  conditions: Conditions,
): ((loaded: { readonly state: { readonly modifiedAt: string } }) => Rejection | undefined) | undefined =>
  conditions.kind === "none"
    ? undefined
    : // What does not exist meets no condition and breaks none: the rules say that it is not there.
      (loaded) => (loaded.state.modifiedAt === "" || holds(conditions, loaded.state.modifiedAt) ? undefined : rejection("ConditionNotMet"));

/** For reads: "notModified" is a 304, a rejection a 412, undefined goes on. */
export const readCondition = (conditions: Conditions, modifiedAt: string): "notModified" | Rejection | undefined => {
  if (holds(conditions, modifiedAt)) return undefined;
  return conditions.kind === "match" || conditions.kind === "unmodified" ? rejection("ConditionNotMet") : "notModified";
};
