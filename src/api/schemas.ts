// From JSON to what the app takes: zod schemas that name every property, with a refusal in the service's own words for the
// first thing that is wrong. Pieces shared by the dialects; whole bodies are in each dialect's folder.
import { z } from "zod";
import { type Rejection, rejection } from "../domain/decider";
import { NAME } from "../domain/ids";
import { UNLIMITED_MS, parseDuration } from "../domain/time";

// Limits of ours where the reference names none; each is far above what the era's clients sent.
export const COMMAND_LINE_MAX_BYTES = 32 * 1024;
export const FILES_MAX = 1000;
export const ADDRESS_MAX = 4096;
export const FILE_PATH_MAX = 260;
export const ENVIRONMENT_MAX = 500;
/** All names and values of a task's environment, in bytes: what a Windows process can hold. */
export const ENVIRONMENT_MAX_BYTES = 32 * 1024;
export const METADATA_MAX = 100;
export const TEXT_MAX = 1024;
const RETRIES_MAX = 2_147_483_647;

/** What the schema makes of a parsed body, or what is wrong with it. */
export const parseBody = (schema: z.ZodType | undefined, value: unknown): unknown => {
  if (schema === undefined) return value;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return rejection("InvalidRequestBody", "The request body is not a JSON object.");
  const first = schema.safeParse(value);
  if (first.success) return first.data;
  // Some clients write null for what is absent; others never do, so that the common case pays nothing for it.
  if (!dropNulls(value, first.error.issues)) return refusalFor(value, first.error.issues);
  const second = schema.safeParse(value);
  return second.success ? second.data : refusalFor(value, second.error.issues);
};

type Issue = z.core.$ZodIssue;

/** Properties whose values are never repeated, whatever is wrong with them. */
const SECRETS: ReadonlySet<string> = new Set(["password", "data"]);

const dropNulls = (body: unknown, issues: readonly Issue[]): boolean => {
  let dropped = false;
  for (const { path } of issues) {
    const name = path.at(-1);
    const parent = at(body, path.slice(0, -1)) as Record<string, unknown> | undefined;
    if (typeof name !== "string" || parent?.[name] !== null) continue;
    delete parent[name];
    dropped = true;
  }
  return dropped;
};

const at = (body: unknown, path: readonly PropertyKey[]): unknown => {
  let value: unknown = body;
  for (const step of path) value = typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[step] : undefined;
  return value;
};

/** `a.b[2].c` */
const nameOf = (path: readonly PropertyKey[]): string =>
  path.map((step, index) => (typeof step === "number" ? `[${step}]` : `${index ? "." : ""}${String(step)}`)).join("");

const refusalFor = (body: unknown, issues: readonly Issue[]): Rejection => {
  // What belongs to a later version of this service is said first: the rest of the body may be right with it.
  const issue = (issues.find((one) => one.code === "custom" && one.params?.["code"] !== undefined) ?? issues[0]) as Issue;
  if (issue.code === "unrecognized_keys")
    return rejection("UnsupportedProperty", undefined, { PropertyName: nameOf([...issue.path, issue.keys[0] as string]) });
  const value = at(body, issue.path);
  const PropertyName = nameOf(issue.path);
  const code = issue.code === "custom" ? (issue.params?.["code"] as string | undefined) : undefined;
  if (code !== undefined) return rejection(code, issue.message, { PropertyName });
  if (value === undefined && issue.code !== "custom") return rejection("MissingRequiredProperty", undefined, { PropertyName });
  // The query of an address may be a signature: it is not repeated.
  const shown = typeof value === "string" && issue.path.at(-1) === "blobSource" ? value.split("?", 1)[0] : SECRETS.has(String(issue.path.at(-1))) ? "(not shown)" : value;
  return badValue(PropertyName, shown, reasonOf(issue));
};

/** InvalidPropertyValue about a property: also for rules over more than one of them. */
export const badValue = (PropertyName: string, value: unknown, Reason: string): Rejection =>
  rejection("InvalidPropertyValue", undefined, { PropertyName, PropertyValue: typeof value === "string" ? value : (JSON.stringify(value) ?? ""), Reason });

const reasonOf = (issue: Issue): string => {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${issue.expected}`;
    case "invalid_value":
      return `expected one of ${issue.values.map(String).join(", ")}`;
    case "too_small":
      return `expected at least ${issue.minimum}${unitOf(issue.origin)}`;
    case "too_big":
      return `expected at most ${issue.maximum}${unitOf(issue.origin)}`;
    case "custom":
      return issue.message;
    default:
      return "not in the expected form";
  }
};

const unitOf = (origin: string): string => (origin === "string" ? " characters" : origin === "array" ? " items" : "");

// ---------------------------------------------------------------- pieces

const refuse = (context: { issues: unknown[] }, input: unknown, message: string): never => {
  context.issues.push({ code: "custom", message, input });
  return z.NEVER;
};

export const name = z.string().check((context) => {
  if (!NAME.test(context.value)) refuse(context, context.value, "expected 1 to 64 of A-Z, a-z, 0-9, - and _");
});

/** Text without the character that ends texts elsewhere. */
export const text = (most: number, least = 0): z.ZodType<string> =>
  z
    .string()
    .min(least)
    .max(most)
    .check((context) => {
      if (context.value.includes("\0")) refuse(context, context.value, "a NUL character is not allowed");
    });

export const commandLine = z.string().check((context) => {
  const { value } = context;
  if (value.trim() === "") refuse(context, value, "a command line is not empty");
  else if (value.includes("\0")) refuse(context, value, "a NUL character is not allowed");
  else if (value.length > COMMAND_LINE_MAX_BYTES || Buffer.byteLength(value) > COMMAND_LINE_MAX_BYTES)
    refuse(context, value, `expected at most ${COMMAND_LINE_MAX_BYTES} bytes`);
});

/** Milliseconds of an ISO 8601 duration of at least so many; undefined for "no limit", the largest .NET TimeSpan. */
export const duration = (leastMs: number, least: string): z.ZodType<number | undefined> =>
  z
    .string()
    .max(64)
    .transform((value, context) => {
      const milliseconds = parseDuration(value);
      if (milliseconds === undefined) return refuse(context, value, "expected an ISO 8601 duration of days, hours, minutes and seconds");
      if (milliseconds < leastMs) return refuse(context, value, `expected at least ${least}`);
      return milliseconds >= UNLIMITED_MS ? undefined : milliseconds;
    });

const INSTANT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:\d{2})$/i;

/** An instant as the domain has it, in UTC with milliseconds, from ISO 8601 with an offset (reference section 1). */
export const instant = z
  .string()
  .max(64)
  .transform((value, context) => {
    const milliseconds = INSTANT.test(value) ? Date.parse(value.replace(/(\.\d{3})\d+/, "$1")) : NaN;
    const written = Number.isNaN(milliseconds) ? "" : new Date(milliseconds).toISOString();
    return written.length === 24 ? written : refuse(context, value, "expected an ISO 8601 time with an offset, such as 2015-04-01T12:00:00Z");
  });

export const retries = z.int().min(-1).max(RETRIES_MAX);

const drive = /^[A-Za-z]:/;

/** Where a resource file goes, below the task's folder: never out of it. */
const filePath = text(FILE_PATH_MAX, 1).check((context) => {
  const why = pathProblem(context.value);
  if (why) refuse(context, context.value, why);
});

/** Why a path could leave its root, or name something else than a file in it; undefined: it is fine. */
export const pathProblem = (path: string): string | undefined => {
  // oxlint-disable-next-line no-control-regex: they are what is looked for.
  if (/[\u0000-\u001f\u007f]/.test(path)) return "a control character is not allowed";
  const parts = path.split(/[/\\]/);
  if (parts[0] === "" || drive.test(path)) return "expected a relative path";
  if (parts.some((part) => part === "" || part === "." || part === "..")) return "expected a path without empty, . or .. parts";
  return parts.some((part) => part.length > 255) ? "expected parts of at most 255 characters" : undefined;
};

// Most addresses are plain, and parsing one costs more than the rest of its task: only the others are parsed.
const PLAIN_ADDRESS = /^https?:\/\/[a-z0-9.-]{1,253}(?::\d{1,5})?\/[!-[\]-\uffff]*$/i;

const blobSource = z.string().min(1).max(ADDRESS_MAX).check((context) => {
  const { value } = context;
  if (PLAIN_ADDRESS.test(value)) return;
  const address = /^https?:\/\//i.test(value) && URL.canParse(value) ? new URL(value) : undefined;
  if (!address) refuse(context, value, "expected an http or https address");
  else if (address.username !== "" || address.password !== "") refuse(context, "", "a user name or password in an address is not allowed");
});

export const resourceFiles = z.array(z.strictObject({ blobSource, filePath })).max(FILES_MAX);

const RESERVED = /^WATASK_/i;
// eslint-disable-next-line no-control-regex -- control characters are what is refused
const VARIABLE = /^[^=\u0000-\u001f\u007f]{1,256}$/;

/** The service's own variables cannot be overridden (seed), whatever the case: Windows compares names without it. */
const variableName = z.string().check((context) => {
  const { value } = context;
  if (!VARIABLE.test(value)) refuse(context, value, "expected 1 to 256 characters without = and control characters");
  else if (RESERVED.test(value)) refuse(context, value, "variables that begin with WATASK_ are set by the service and cannot be overridden");
});

export const environmentSettings = z
  .array(z.strictObject({ name: variableName, value: text(ENVIRONMENT_MAX_BYTES) }))
  .max(ENVIRONMENT_MAX)
  .check((context) => {
    const seen = new Set<string>();
    let bytes = 0;
    for (const one of context.value) {
      bytes += Buffer.byteLength(one.name) + Buffer.byteLength(one.value) + 2;
      seen.add(one.name.toLowerCase());
    }
    if (seen.size < context.value.length) refuse(context, context.value, "a variable is set twice");
    else if (bytes > ENVIRONMENT_MAX_BYTES) refuse(context, context.value, `expected at most ${ENVIRONMENT_MAX_BYTES} bytes of names and values`);
  });

/** SHA-1 of a certificate, in lower case. */
export const thumbprint = z
  .string()
  .check((context) => {
    if (!/^[0-9a-f]{40}$/i.test(context.value)) refuse(context, context.value, "expected 40 hexadecimal digits");
  })
  .transform((value) => value.toLowerCase());

export const thumbprintAlgorithm: z.ZodType<"sha1"> = z.string().transform((value, context) => (value.toLowerCase() === "sha1" ? ("sha1" as const) : refuse(context, value, "expected sha1")));

/** Bytes of Base64, at most so many. */
export const base64 = (most: number): z.ZodType<Buffer> =>
  z
    .string()
    .min(1)
    .transform((value, context) => {
      if (value.length > Math.ceil(most / 3) * 4) return refuse(context, value, `expected at most ${most} bytes`);
      const bytes = Buffer.from(value, "base64");
      if (value.length % 4 !== 0 || bytes.toString("base64") !== value) return refuse(context, value, "expected Base64");
      return bytes.length > most ? refuse(context, value, `expected at most ${most} bytes`) : bytes;
    });

export const metadata = z.array(z.strictObject({ name: text(TEXT_MAX, 1), value: text(TEXT_MAX * 4) })).max(METADATA_MAX);

/** One of some words, whatever their case. */
export const word = <const W extends readonly [string, ...string[]]>(...words: W): z.ZodType<W[number]> =>
  z.string().transform((value, context) => {
    const found = words.find((one) => one.toLowerCase() === value.toLowerCase());
    return found ?? refuse(context, value, `expected one of ${words.join(", ")}`);
  });
