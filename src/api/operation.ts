// What an operation is, and how a request finds its own: by verb, path template, and action (a query parameter without value,
// or a last path segment). An operation that does not say what it does to whom cannot be written down.
import type { HttpRequest } from "@azure/functions";
import type { z } from "zod";
import type { Call } from "../app/call";
import { type Rejection, rejection } from "../domain/decider";
import { NAME } from "../domain/ids";
import type { Ports } from "../ports";
import type { Action } from "./auth";
import type { Conditions } from "./conditions";

/** What of a request is read. */
export type Incoming = Pick<HttpRequest, "method" | "url" | "headers" | "body">;

export type Names = Readonly<Partial<Record<"pool" | "tvm" | "user" | "workItem" | "job" | "task" | "path" | "container" | "certificate", string>>>;

/** An operation's input, the same whether it came by HTTP or by message. */
export interface Input<Body = unknown> {
  readonly ports: Ports;
  readonly call: Call;
  /** Names from the path: those of pools and the like fit NAME. */
  readonly names: Names;
  /** Query parameters by name; one without value is "". */
  readonly query: ReadonlyMap<string, string>;
  readonly headers: { get(name: string): string | null };
  readonly conditions: Conditions;
  readonly body: Body;
  /** `scheme://host` that the caller used: addresses in answers begin with it. */
  readonly base: string;
  /** The encoded path of the request, without the action. */
  readonly path: string;
  /** Ended when nobody waits for the answer any more. */
  readonly abort?: AbortSignal | undefined;
  /** What a TVM's Authorization header says, unchecked. */
  readonly credential?: string | undefined;
  /** A body that the operation reads itself; undefined: it has been read. */
  readonly stream?: Incoming["body"] | undefined;
  /** Answers a request that is part of this one, for the same caller; undefined: this is one itself, or came by message. */
  readonly inside?: ((part: PartRequest) => Promise<PartAnswer>) | undefined;
}

/** A request within a request. It has no signature of its own: who sent the whole sent the parts. */
export interface PartRequest {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

export interface PartAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly bytes?: AsyncIterable<Uint8Array>;
}

export interface Operation {
  readonly name: string;
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD";
  /** `/pools/{pool}/tvms`: literals and names in turn; `{path}` comes last, after `files`, and takes the rest. */
  readonly path: string;
  readonly verb?: string;
  readonly action: Action;
  /** `classic` asks for an api-version that the classic dialect has; `none` does not look at it. */
  readonly version: "classic" | "none";
  /** `optional`: an empty body is an empty object. */
  readonly body?: "required" | "optional";
  /** A body of this type is handed to the operation as a stream, unread and without bound. */
  readonly streamed?: RegExp;
  readonly bodyMax?: number;
  readonly schema?: z.ZodType;
  /** Query parameters besides api-version, timeout and the action. */
  readonly query?: readonly string[];
  /**
   * Of a change: why the same signed request does no harm when it is sent again later by somebody who overheard it. Without a reason it
   * is remembered and refused (see replays.ts).
   */
  readonly repeatable?: string;
  /** May take longer than the `timeout` parameter says. */
  readonly slow?: boolean;
  readonly run: (input: Input<never>) => Promise<Answer | Rejection>;
}

/** Whether it may change something: of such the history and the log tell who asked. */
export const changes = (one: Pick<Operation, "method">): boolean => one.method !== "GET" && one.method !== "HEAD";

/** An operation whose handler gets what its schema makes of the body. */
export const operation = <S extends z.ZodType = z.ZodUndefined>(
  definition: Omit<Operation, "run" | "schema"> & { readonly schema?: S; readonly run: (input: Input<z.output<S>>) => Promise<Answer | Rejection> },
): Operation => definition as unknown as Operation;

export interface Route {
  readonly operations: readonly Operation[];
  readonly names: Names;
  readonly path: string;
  /** The action, when it was the last path segment. */
  readonly segment?: string;
}

export interface Router {
  /** The operations of a path, whatever their verb, or why there is none. */
  find(pathname: string): Route | Rejection;
}

const NOT_FOUND: Readonly<Record<string, string>> = {
  pool: "PoolNotFound",
  tvm: "TVMNotFound",
  user: "TVMUserNotFound",
  workItem: "WorkItemNotFound",
  job: "JobNotFound",
  task: "TaskNotFound",
};

const NAMES_IN_TEMPLATE = /^\{(\w+)\}$/;

interface Template {
  readonly names: readonly string[];
  readonly operations: Operation[];
}

/** Templates by their shape: the literals and how many segments; the rest of a `{path}` counts as one. */
export const router = (operations: readonly Operation[]): Router => {
  const templates = new Map<string, Template>();
  const verbs = new Set<string>();
  for (const one of operations) {
    const segments = segmentsOf(one.path);
    const shape = shapeOf(segments);
    const template = templates.get(shape) ?? { names: segments.flatMap((segment) => NAMES_IN_TEMPLATE.exec(segment)?.[1] ?? []), operations: [] };
    template.operations.push(one);
    templates.set(shape, template);
    if (one.verb) verbs.add(one.verb);
  }
  return { find: (pathname) => find(templates, verbs, pathname) };
};

const shapeOf = (segments: readonly string[]): string => `${segments.length}:${segments.filter((_, index) => index % 2 === 0).join("/")}`;

const IN_BRACKETS = /(^|\/)certificates\((.*)\)$/;

/** How many segments the literal has that a path begins with: one, but for what is not of the dialects. */
const headOf = ([first, second]: readonly string[]): number => {
  if (first === "agent") return 2;
  if (first !== "batchledger") return 1;
  return second === "history" || second === "why" || second === "counts" ? 3 : 2;
};

/** Literals at even places, names at odd ones. What follows `files` is one name, whatever is in it. */
const segmentsOf = (path: string): string[] => {
  const parts = path.slice(1).split("/");
  const head = headOf(parts);
  // A certificate's name is in brackets of the literal: certificates(thumbprintAlgorithm=...,thumbprint=...)
  const first = parts.slice(0, head).join("/").replace(IN_BRACKETS, "$1certificates(...)");
  const segments = [first, ...parts.slice(head)];
  const files = segments.findIndex((segment, index) => index % 2 === 0 && (segment === "files" || segment === "batchledger/files"));
  const inFile = files >= 0 && segments.length > files + 2;
  if (inFile) return [...segments.slice(0, files + 1), segments.slice(files + 1).join("/")];
  if (segments.length > 1 && segments.at(-1) === "") segments.pop();
  return segments;
};

const find = (templates: ReadonlyMap<string, Template>, verbs: ReadonlySet<string>, pathname: string): Route | Rejection => {
  const segments = segmentsOf(pathname);
  const direct = templates.get(shapeOf(segments));
  if (direct) return withCertificate(routed(direct, segments), pathname);
  const last = segments.at(-1) as string;
  const owner = verbs.has(last) ? templates.get(shapeOf(segments.slice(0, -1))) : undefined;
  if (owner) return withCertificate(routed(owner, segments.slice(0, -1), last), pathname);
  return rejection("ResourceNotFound");
};

/** What stands in the brackets of a certificate's path, as it is: `thumbprintAlgorithm=sha1,thumbprint=...`. */
const withCertificate = (route: Route | Rejection, pathname: string): Route | Rejection => {
  const text = /(?:^|\/)certificates\(([^/]*)\)(?:\/|$)/.exec(pathname)?.[1];
  if (text === undefined || "rejected" in route) return route;
  const certificate = decode(text);
  return certificate === undefined ? rejection("InvalidUri") : { ...route, names: { ...route.names, certificate } };
};

const routed = (template: Template, segments: readonly string[], segment?: string): Route | Rejection => {
  const names: Record<string, string> = {};
  for (const [index, name] of template.names.entries()) {
    const value = decode(segments[index * 2 + 1] as string);
    if (value === undefined) return rejection("InvalidUri");
    const missing = NOT_FOUND[name];
    // A name that nothing can have: the same answer as for one that nothing has.
    if (missing && !NAME.test(value)) return rejection(missing);
    names[name] = value;
  }
  return { operations: template.operations, names, path: `/${segments.join("/")}`, ...(segment === undefined ? {} : { segment }) };
};

const decode = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
};
