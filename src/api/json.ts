// Bodies from outside: bounded reading, strict UTF-8, and JSON without the surprises that JSON.parse lets through.
// It never looks at what the JSON means.
import { type Rejection, rejection } from "../domain/decider";

/** Most bytes of an ordinary body, of a task collection, and of an agent's exchange. */
export const BODY_MAX = 1024 * 1024;
export const COLLECTION_MAX = 4 * 1024 * 1024;
export const EXCHANGE_MAX = 4 * 1024 * 1024;
/** Deepest nesting of objects and arrays: no schema needs more than six. */
export const DEPTH_MAX = 20;

type Body = { getReader(): { read(): Promise<{ done: boolean; value?: unknown }>; cancel(): Promise<void> } } | null;

/** The whole body, or RequestBodyTooLarge once it has more bytes than allowed: nothing beyond that is read. */
export const readBytes = async (body: Body, limit: number): Promise<Buffer | Rejection> => {
  if (body === null) return Buffer.alloc(0);
  const reader = body.getReader();
  const parts: Uint8Array[] = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return parts.length === 1 ? Buffer.from(parts[0]!.buffer, parts[0]!.byteOffset, size) : Buffer.concat(parts, size);
    const part = value as Uint8Array;
    size += part.byteLength;
    if (size > limit) {
      await reader.cancel().catch(() => undefined);
      return tooLarge(limit);
    }
    parts.push(part);
  }
};

export const tooLarge = (limit: number): Rejection =>
  rejection("RequestBodyTooLarge", "The request body is too large.", { MaxLimit: String(limit) });

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** The JSON value of some bytes. Refused: bad UTF-8, duplicate names, names that reach prototypes, deep nesting. */
export const parseJson = (bytes: Uint8Array): { value: unknown } | Rejection => {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    return invalidBody("The request body is not UTF-8.");
  }
  return parseJsonText(text);
};

export const parseJsonText = (text: string): { value: unknown } | Rejection => {
  const names = countNames(text);
  if (names < 0) return invalidBody(`The request body is nested more than ${DEPTH_MAX} deep.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return invalidBody("The request body is not valid JSON.");
  }
  const kept = tidy(value);
  if (kept < 0) return invalidBody("The request body has a property name that is not allowed.");
  // JSON.parse keeps the last of two equal names: then the text has more of them than the value.
  if (kept !== names) return invalidBody("The request body names a property twice.");
  return { value };
};

const invalidBody = (reason: string): Rejection => rejection("InvalidRequestBody", reason, { Reason: reason });

/** Colons outside of strings, which is one a name in well-formed JSON; -1 when nested too deeply. Never recurses. */
const countNames = (text: string): number => {
  let names = 0;
  let depth = 0;
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case 34:
        index = endOfString(text, index);
        break;
      case 58:
        names++;
        break;
      case 123:
      case 91:
        if (++depth > DEPTH_MAX) return -1;
        break;
      case 125:
      case 93:
        depth--;
        break;
    }
  }
  return names;
};

const endOfString = (text: string, start: number): number => {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === 92) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return text.length;
};

/** Counts the names of a parsed value and drops OData annotations, which clients may send and nobody reads; -1: forbidden name. */
const tidy = (value: unknown): number => {
  if (typeof value !== "object" || value === null) return 0;
  let names = 0;
  if (Array.isArray(value)) {
    for (const item of value) {
      const inner = tidy(item);
      if (inner < 0) return -1;
      names += inner;
    }
    return names;
  }
  const object = value as Record<string, unknown>;
  for (const name in object) {
    if (name === "__proto__" || name === "constructor" || name === "prototype") return -1;
    const inner = tidy(object[name]);
    if (inner < 0) return -1;
    names += inner + 1;
    if (isAnnotation(name)) delete object[name];
  }
  return names;
};

const isAnnotation = (name: string): boolean => name.startsWith("odata.") || name.includes("@odata.");
