// The service behind its HTTP surface, in this process: the real handler, the real app and the embedded adapters over a
// folder of the test's own. Requests are signed as a client signs them; nothing is faked but the clock's hand.
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { aesSealer } from "../../src/adapters/aesSealer";
import { folderCertificates } from "../../src/adapters/folderCertificates";
import { folderFiles } from "../../src/adapters/folderFiles";
import { localSignals } from "../../src/adapters/localSignals";
import { openSqlite } from "../../src/adapters/sqlite";
import { sqliteBus } from "../../src/adapters/sqliteBus";
import { sqliteEventStore } from "../../src/adapters/sqliteEventStore";
import { sqliteViews } from "../../src/adapters/sqliteViews";
import { systemClock, systemRandom } from "../../src/adapters/system";
import { signString, stringsToSign } from "../../src/api/auth";
import { serve } from "../../src/api/serve";
import type { Ports } from "../../src/ports";

export const VERSION = "2014-10-01.1.0";
export const ACCOUNT = "myaccount";
export const BASE = "http://127.0.0.1:7071";

const keyFor = (name: string): string => createHash("sha512").update(name).digest("base64");
/** Two keys for each of two accounts. */
export const KEYS: Readonly<Record<string, readonly string[]>> = {
  [ACCOUNT]: [keyFor("one"), keyFor("two")],
  other: [keyFor("three"), keyFor("four")],
};

export interface Service {
  /** What addresses of files begin with. */
  url: string;
  readonly ports: Ports;
  /** Where its data are. */
  readonly folder: string;
  readonly errors: string[];
  readonly files: ReturnType<typeof folderFiles>;
  /** Moves the service's clock: its time is the real one and this. */
  shift(milliseconds: number): void;
  close(): Promise<void>;
}

export const openService = async (changes: Partial<Ports> = {}): Promise<Service> => {
  const folder = await mkdtemp(path.join(tmpdir(), "batchledger-api-"));
  const db = openSqlite(path.join(folder, "ledger.db"));
  const sealer = aesSealer(path.join(folder, "seal"));
  let shifted = 0;
  // A request's time limit must not keep the test's process alive after the request.
  const sleep = (milliseconds: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, milliseconds).unref());
  const clock = { now: () => new Date(systemClock.now().getTime() + shifted), steady: () => systemClock.steady() + shifted, sleep };
  const errors: string[] = [];
  const files = folderFiles({ root: path.join(folder, "files"), baseUrl: () => service.url, sealer, clock });
  const nothing = (): void => {};
  const ports: Ports = {
    eventStore: sqliteEventStore(db),
    views: sqliteViews(db),
    bus: sqliteBus(db, clock),
    files,
    machines: { ensure: async () => [], list: async () => [], remove: async () => {} },
    orchestrations: { nudge: async () => {} },
    accounts: { keys: async (account) => KEYS[account] },
    certificates: folderCertificates(path.join(folder, "certificates"), sealer),
    sealer,
    policy: { allowElevated: false, poolTvmsMax: 50 },
    signals: localSignals(clock),
    clock,
    random: systemRandom,
    log: { debug: nothing, info: nothing, warn: nothing, error: (message, details) => errors.push(`${message} ${String((details?.["error"] as Error | undefined)?.stack ?? "")}`) },
    ...changes,
  };
  const service: Service = {
    url: BASE,
    ports,
    folder,
    errors,
    files,
    shift: (milliseconds) => {
      shifted += milliseconds;
    },
    async close() {
      await db.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return service;
};

export interface Ask {
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Sent as it is, instead of `body`. */
  readonly raw?: string | Uint8Array | ReadableStream<Uint8Array>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly account?: string;
  readonly key?: string;
  /** Instead of a signature. */
  readonly authorization?: string | null;
  /** null: without api-version. */
  readonly version?: string | null;
  readonly date?: string;
}

export interface Got {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // Tests look into answers of every shape.
  readonly json: any;
}

/** `POST /pools/p?resize` and the like, signed; the api-version is added. */
export const buildRequest = (service: Pick<Service, "ports">, method: string, target: string, ask: Ask = {}): Request => {
  const url = new URL(BASE + target);
  const extra = target.startsWith("/batchledger") || target.startsWith("/agent");
  const version = ask.version === undefined && !extra ? VERSION : ask.version;
  const pairs = Object.entries({ ...ask.query, ...(version == null ? {} : { "api-version": version }) });
  const added = pairs.map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`).join("&");
  url.search = [url.search.slice(1), added].filter(Boolean).join("&");
  const content = ask.raw ?? (ask.body === undefined ? undefined : JSON.stringify(ask.body));
  const headers: Record<string, string> = {
    "ocp-date": ask.date ?? service.ports.clock.now().toUTCString(),
    ...(content === undefined ? {} : { "content-type": "application/json;odata=minimalmetadata" }),
    ...(typeof content === "string" || content instanceof Uint8Array ? { "content-length": String(Buffer.byteLength(content)) } : {}),
    ...(content === undefined && method !== "GET" && method !== "HEAD" ? { "content-length": "0" } : {}),
    ...ask.headers,
  };
  const account = ask.account ?? ACCOUNT;
  const [text] = stringsToSign({ method, url, headers: new Headers(headers) as never }, account);
  const key = ask.key ?? KEYS[account]?.[0] ?? KEYS[ACCOUNT]![0]!;
  const authorization = ask.authorization === undefined ? `SharedKey ${account}:${signString(text as string, key)}` : ask.authorization;
  if (authorization !== null) headers["authorization"] = authorization;
  return new Request(url, { method, headers, ...(content === undefined ? {} : { body: content, duplex: "half" }) } as RequestInit);
};

export const ask = async (service: Pick<Service, "ports">, method: string, target: string, options: Ask = {}): Promise<Got> =>
  read(await serve(service.ports, buildRequest(service, method, target, options) as never));

const read = async (answer: Awaited<ReturnType<typeof serve>>): Promise<Got> => {
  const parts: Uint8Array[] = [];
  const body = answer.body as string | AsyncIterable<Uint8Array> | undefined;
  if (typeof body === "string") parts.push(Buffer.from(body));
  else if (body) for await (const part of body) parts.push(part);
  const text = Buffer.concat(parts).toString("utf8");
  const headers = new Headers(answer.headers as Record<string, string>);
  const json: unknown = /json/.test(headers.get("content-type") ?? "") && !/ndjson/.test(headers.get("content-type") ?? "") && text !== "" ? JSON.parse(text) : undefined;
  return { status: answer.status ?? 200, headers, text, json };
};

/** What an error says it is about. */
export const valueOf = (got: Got, key: string): string | undefined =>
  (got.json?.values as { key: string; value: string }[] | undefined)?.find((one) => one.key === key)?.value;

/** What a caller has to know of a refusal, in one line. */
export const refusal = (got: Got): string =>
  [got.status, got.json?.code, valueOf(got, "PropertyName") ?? valueOf(got, "QueryParameterName") ?? valueOf(got, "HeaderName")].filter((part) => part !== undefined).join(" ");

export const POOL = { name: "p1", osFamily: "3", tvmSize: "small", targetDedicated: 0 };
export const WORK_ITEM = { name: "w1", jobExecutionEnvironment: { poolName: "p1" } };
export const TASK = { name: "t1", commandLine: "echo hello" };
export const JOB = "/workitems/w1/jobs/job-0000000001";

/** A pool, a work item and its job. */
export const withJob = async (service: Service): Promise<void> => {
  for (const [target, body] of [["/pools", POOL], ["/workitems", WORK_ITEM]] as const) {
    const got = await ask(service, "POST", target, { body });
    if (got.status !== 201) throw new Error(`${target}: ${got.text}`);
  }
};
