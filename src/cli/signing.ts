// SharedKey: the string that a request's signature covers, and the header that carries it. Pure; sends nothing and reads no clock.
import { createHmac } from "node:crypto";

export interface Signable {
  readonly method: string;
  /** Encoded path, as it will be sent. */
  readonly path: string;
  /** Decoded names and values; a parameter without a value (an action such as `resize`) has "". */
  readonly query: readonly (readonly [name: string, value: string])[];
  /** Headers that will be sent, any case. */
  readonly headers: Readonly<Record<string, string>>;
}

const SIGNED_HEADERS = [
  "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
  "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
] as const;

/** The `Authorization` header. `key` is the account key as Base64 text. */
export function authorization(account: string, key: string, request: Signable): string {
  return `SharedKey ${account}:${signature(key, stringToSign(account, request))}`;
}

/** Base64 of the HMAC-SHA256 of the text under the decoded key. */
export function signature(key: string, text: string): string {
  return createHmac("sha256", Buffer.from(key, "base64")).update(text, "utf8").digest("base64");
}

/** Verb and eleven headers, the `ocp-` headers, then the resource with its query: one item a line. */
export function stringToSign(account: string, request: Signable): string {
  const headers = new Map(Object.entries(request.headers).map(([name, value]) => [name.toLowerCase(), fold(value)]));
  const own = [...headers].filter(([name]) => name.startsWith("ocp-")).sort(byName);
  // `ocp-date` stands in for `Date`, whose line is then empty.
  const line = (name: string) => (name === "date" && headers.has("ocp-date") ? "" : (headers.get(name) ?? ""));
  return [
    `${request.method.toUpperCase()}\n`,
    ...SIGNED_HEADERS.map((name) => `${line(name)}\n`),
    ...own.map(([name, value]) => `${name}:${value}\n`),
    resource(account, request),
  ].join("");
}

function resource(account: string, { path, query }: Signable): string {
  const values = new Map<string, string[]>();
  for (const [name, value] of query) {
    const lower = name.toLowerCase();
    values.set(lower, [...(values.get(lower) ?? []), value]);
  }
  const pairs = [...values].sort(byName).map(([name, list]) => `\n${name}:${list.join(",")}`);
  // Clients of the service sign file paths with their separators as "/" (reference, section 2).
  return `/${account}${path.replace(/%5C|%2F/gi, "/")}${pairs.join("")}`;
}

const byName = ([left]: readonly [string, unknown], [right]: readonly [string, unknown]): number =>
  left < right ? -1 : left > right ? 1 : 0;

const fold = (value: string): string => value.trim().replace(/\r?\n\s+/g, " ");
