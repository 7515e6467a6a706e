// Stands in for Cosmos DB: speaks its wire protocol to the unmodified SDK, with several partition key ranges, request charges by
// the published table, and faults at will. For tests and measurements alone. Not here: stored procedures, other query languages,
// throughput, expiry, several regions.
import type { CosmosClientOptions } from "@azure/cosmos";
import { type KeyObject, createHmac, createSecretKey, randomUUID, timingSafeEqual } from "node:crypto";
import http, { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { seeded } from "../support/seeded";
import { refusalUnits } from "./cosmosCharges";
import { type Answer, type Collection, type Documents, type Kind, type Operation, Refusal, openDocuments } from "./cosmosDocuments";
import { QueryFault, type QuerySpec, type Statement, parseQuery } from "./cosmosSql";

export type Fault = "throttled" | "unavailable" | "lost";

export interface Faults {
  /** Share of the calls on documents that fail, 0 to 1. */
  readonly rate: number;
  readonly seed: number;
  /** `lost`: the write is done and the connection ends without an answer (reads are answered as unavailable). */
  readonly kinds?: readonly Fault[];
  /** After so many failures all goes well again. */
  readonly max?: number;
  /** Only calls that write. */
  readonly writesOnly?: boolean;
}

export interface CosmosGatewayOptions {
  /** Keeps everything for the next start; default: in memory. */
  readonly file?: string;
  readonly port?: number;
  readonly ranges?: number;
  /** Base64; a made-up one by default. */
  readonly key?: string;
  readonly tls?: { readonly key: string; readonly cert: string };
}

export interface CosmosGateway {
  readonly endpoint: string;
  readonly key: string;
  /** From now on calls fail like this; without faults they do not. Counts since the last call of this are forgotten. */
  fail(faults?: Faults): void;
  readonly failed: Readonly<Record<Fault, number>>;
  /** Request units charged and calls answered since the start. */
  readonly charged: { readonly units: number; readonly calls: number };
  /** For the SDK's option `httpClient`: the same calls and answers without a network between, many times as fast. */
  readonly httpClient: NonNullable<CosmosClientOptions["httpClient"]>;
  close(): Promise<void>;
}

interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

const retryAfterMs = 3;
const batchMax = 100;

/** Starts on a loopback port; call `close`. */
export const startCosmosGateway = async (options: CosmosGatewayOptions = {}): Promise<CosmosGateway> => {
  const ranges = options.ranges ?? 4;
  const key = options.key ?? Buffer.from("a key of nobody").toString("base64");
  const secret = createSecretKey(Buffer.from(key, "base64"));
  const documents = openDocuments(options.file ?? ":memory:", ranges);
  const charged = { units: 0, calls: 0 };
  const failed: Record<Fault, number> = { throttled: 0, unavailable: 0, lost: 0 };
  let nextFault: (isWrite: boolean) => Fault | undefined = () => undefined;
  let endpoint = "";

  /** Undefined: done, perhaps, and no answer. */
  const reply = (call: Call): Reply | undefined => {
    const fault = call.onDocuments ? nextFault(call.isWrite) : undefined;
    if (fault) failed[fault]++;
    const result = fault && fault !== "lost" ? faultAnswer(fault) : handle({ documents, ranges, secret, endpoint }, call);
    charged.units += result.units;
    charged.calls++;
    if (fault === "lost") return undefined;
    return { status: result.status, headers: headersOf(result), text: result.status === 304 || result.status === 204 ? "" : (result.text ?? JSON.stringify(result.body ?? {})) };
  };
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const replied = reply(callOf(request, Buffer.concat(chunks)));
    if (!replied) return void request.socket.destroy();
    response.writeHead(replied.status, replied.headers);
    response.end(replied.text);
  };
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    answer(request, response).catch(() => response.destroy());
  };
  const server = options.tls ? https.createServer(options.tls, listener) : http.createServer(listener);
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
  endpoint = `${options.tls ? "https" : "http"}://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  return {
    endpoint,
    key,
    charged,
    failed,
    httpClient: {
      async sendRequest(request) {
        const { pathname, search } = new URL(request.url);
        const body = typeof request.body === "string" ? Buffer.from(request.body) : Buffer.alloc(0);
        const replied = reply(callOf({ method: request.method, url: pathname + search, headers: request.headers.toJSON() }, body));
        if (!replied) throw Object.assign(new Error("socket hang up"), { code: "ECONNRESET" });
        const headers = { toJSON: () => replied.headers, get: (name: string) => replied.headers[name.toLowerCase()] };
        return { request, status: replied.status, headers: headers as unknown as typeof request.headers, bodyAsText: replied.text };
      },
    },
    fail(faults) {
      Object.assign(failed, { throttled: 0, unavailable: 0, lost: 0 });
      nextFault = faults ? faultsFrom(faults) : () => undefined;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          documents.close();
          resolve();
        });
        server.closeAllConnections();
      }),
  };
};

const faultsFrom = ({ rate, seed, kinds = ["throttled", "unavailable", "lost"], max = Infinity, writesOnly = false }: Faults) => {
  const random = seeded(seed);
  let left = max;
  return (isWrite: boolean): Fault | undefined => {
    if (left === 0 || (writesOnly && !isWrite) || !random.chance(rate)) return undefined;
    left--;
    const fault = random.oneOf(kinds);
    return fault === "lost" && !isWrite ? "unavailable" : fault;
  };
};

const faultAnswer = (fault: Fault): Result =>
  fault === "throttled"
    ? { status: 429, units: 0, substatus: 3200, headers: { "x-ms-retry-after-ms": String(retryAfterMs) }, body: { code: "429", message: "Request rate is large." } }
    : { status: 503, units: 0, body: { code: "ServiceUnavailable", message: "Service is currently unavailable." } };

// ---------------------------------------------------------------- a call

interface Call {
  readonly method: string;
  /** Names between the slashes, decoded. */
  readonly path: readonly string[];
  readonly headers: IncomingHttpHeaders;
  readonly body: unknown;
  readonly tooLarge: boolean;
  readonly onDocuments: boolean;
  readonly isWrite: boolean;
}

interface Result {
  readonly status: number;
  readonly units: number;
  readonly body?: unknown;
  readonly text?: string;
  readonly etag?: string | undefined;
  readonly substatus?: number | undefined;
  readonly continuation?: string | undefined;
  readonly lsn?: number;
  readonly headers?: Record<string, string>;
}

interface Context {
  readonly documents: Documents;
  readonly ranges: number;
  readonly secret: KeyObject;
  readonly endpoint: string;
}

const requestBytesMax = 2 * 1024 * 1024 + 64 * 1024;

const callOf = ({ method = "GET", url = "/", headers }: Pick<IncomingMessage, "method" | "url" | "headers">, raw: Buffer): Call => {
  const path = (url.split("?")[0] as string).split("/").filter(Boolean).map(decodeURIComponent);
  const isQuery = headers["x-ms-documentdb-isquery"] === "True" || (headers["content-type"] ?? "").startsWith("application/query+json");
  return {
    method, path, headers,
    body: raw.length > 0 && raw.length <= requestBytesMax ? JSON.parse(raw.toString()) : undefined,
    tooLarge: raw.length > requestBytesMax,
    onDocuments: path[4] === "docs" && headers["x-ms-cosmos-is-query-plan-request"] === undefined,
    isWrite: method !== "GET" && !isQuery,
  };
};

const codes: Readonly<Record<number, string>> = { 400: "BadRequest", 401: "Unauthorized", 404: "NotFound", 409: "Conflict", 412: "PreconditionFailed", 413: "RequestEntityTooLarge" };

const handle = (context: Context, call: Call): Result => {
  try {
    if (!isAuthorized(context.secret, call)) throw new Refusal(401, "The input authorization token can't serve the request.");
    if (call.tooLarge) throw new Refusal(413, "Request size is too large.");
    return route(context, call);
  } catch (error) {
    if (error instanceof QueryFault) return { status: 400, units: refusalUnits, body: { code: "BadRequest", message: error.message } };
    if (!(error instanceof Refusal)) throw error;
    return { status: error.status, units: refusalUnits, substatus: error.substatus, body: { code: codes[error.status] ?? "Error", message: error.message } };
  }
};

const headersOf = ({ status, units, etag, substatus, continuation, lsn = 0, body, headers }: Result): Record<string, string> => ({
  "content-type": "application/json",
  "x-ms-request-charge": String(Math.round(units * 100) / 100),
  "x-ms-activity-id": randomUUID(),
  "x-ms-session-token": `0:-1#${lsn}`,
  ...(status === 200 && Array.isArray((body as { Documents?: unknown[] } | undefined)?.Documents) ? { "x-ms-item-count": String((body as { Documents: unknown[] }).Documents.length) } : {}),
  ...(etag === undefined ? {} : { etag }),
  ...(substatus === undefined ? {} : { "x-ms-substatus": String(substatus) }),
  ...(continuation === undefined ? {} : { "x-ms-continuation": continuation }),
  ...headers,
});

/** A master key's signature is checked; a token of Entra ID is taken as it is. */
const isAuthorized = (secret: KeyObject, { method, path, headers }: Call): boolean => {
  const given = decodeURIComponent(headers.authorization ?? "");
  if (given.startsWith("type=aad&ver=1.0&sig=")) return given.length > 30;
  const named = path.length % 2 === 0;
  const type = (named ? path.at(-2) : path.at(-1)) ?? "";
  const resource = (named ? path : path.slice(0, -1)).join("/");
  const text = `${method.toLowerCase()}\n${type}\n${resource}\n${String(headers["x-ms-date"] ?? "").toLowerCase()}\n\n`;
  const expected = Buffer.from(`type=master&ver=1.0&sig=${createHmac("sha256", secret).update(text).digest("base64")}`);
  const actual = Buffer.from(given);
  return actual.length === expected.length && timingSafeEqual(actual, expected);
};

// ---------------------------------------------------------------- accounts, databases, containers

const route = (context: Context, call: Call): Result => {
  const [top, database, colls, collection, what] = call.path;
  if (top === undefined) return ok(accountDocument(context.endpoint));
  if (top !== "dbs") throw new Refusal(404, "There is no such resource.");
  if (database === undefined) return call.method === "POST" ? makeDatabase(context, call) : listDatabases(context);
  const found = context.documents.one<{ id: string; rid: string }>("SELECT id, rid FROM databases WHERE id = ?", database);
  if (!found) throw new Refusal(404, "Owner resource does not exist.", 1003);
  if (colls === undefined) return ok(databaseDocument(found));
  if (collection === undefined) return call.method === "POST" ? makeCollection(context, call, database) : listCollections(context, database);
  const of = collectionOf(context, database, collection);
  if (what === undefined) return onCollection(context, call, of);
  if (what === "pkranges") return ok({ _rid: of.rid, PartitionKeyRanges: keyRanges(context.ranges), _count: context.ranges });
  if (what !== "docs") throw new Refusal(404, "There is no such resource.");
  return { lsn: context.documents.lsnOf(of), ...onDocuments(context, call, of) };
};

const ok = (body: unknown, status = 200): Result => ({ status, units: 1, body });

const accountDocument = (endpoint: string) => {
  const here = [{ name: "Here", databaseAccountEndpoint: endpoint }];
  return { id: "standin", _rid: "standin", writableLocations: here, readableLocations: here, enableMultipleWriteLocations: false, userConsistencyPolicy: { defaultConsistencyLevel: "Session" }, queryEngineConfiguration: "{}" };
};

const databaseDocument = ({ id, rid }: { id: string; rid: string }) => ({ id, _rid: rid, _self: `dbs/${rid}/`, _etag: '"0"', _colls: "colls/", _users: "users/", _ts: 0 });
const collectionDocument = ({ rid, definition }: Collection) => ({ ...definition, _rid: rid, _self: `dbs/0/colls/${rid}/`, _etag: '"0"', _ts: 0, _docs: "docs/", _sprocs: "sprocs/", _triggers: "triggers/", _udfs: "udfs/", _conflicts: "conflicts/" });
const newRid = (): string => randomUUID().replaceAll("-", "").slice(0, 12);

const makeDatabase = ({ documents }: Context, { body }: Call): Result => {
  const { id } = body as { id: string };
  if (documents.one("SELECT 1 FROM databases WHERE id = ?", id)) throw new Refusal(409, "Resource with specified id or name already exists.");
  const made = { id, rid: newRid() };
  documents.run("INSERT INTO databases VALUES (?, ?)", made.id, made.rid);
  return ok(databaseDocument(made), 201);
};

const listDatabases = ({ documents }: Context): Result => {
  const list = documents.all<{ id: string; rid: string }>("SELECT id, rid FROM databases").map(databaseDocument);
  return ok({ Databases: list, _count: list.length });
};

const collectionColumns = "SELECT key, rid, definition FROM collections WHERE database = ?";
type CollectionRow = { key: number; rid: string; definition: string };
const parsed = ({ key, rid, definition }: CollectionRow): Collection => ({ key, rid, definition: JSON.parse(definition) as Collection["definition"] });

const collectionOf = ({ documents }: Context, database: string, id: string): Collection => {
  const row = documents.one<CollectionRow>(`${collectionColumns} AND id = ?`, database, id);
  if (!row) throw new Refusal(404, "Owner resource does not exist.", 1003);
  return parsed(row);
};

const makeCollection = (context: Context, { body }: Call, database: string): Result => {
  const definition = body as Collection["definition"];
  if (!definition.partitionKey?.paths?.length) throw new Refusal(400, "A partition key is required.");
  if (context.documents.one(`${collectionColumns} AND id = ?`, database, definition.id)) throw new Refusal(409, "Resource with specified id or name already exists.");
  context.documents.run("INSERT INTO collections (database, id, rid, definition) VALUES (?, ?, ?, ?)", database, definition.id, newRid(), JSON.stringify(definition));
  return ok(collectionDocument(collectionOf(context, database, definition.id)), 201);
};

const listCollections = ({ documents }: Context, database: string): Result => {
  const list = documents.all<CollectionRow>(collectionColumns, database).map((row) => collectionDocument(parsed(row)));
  return ok({ DocumentCollections: list, _count: list.length });
};

const onCollection = ({ documents }: Context, { method }: Call, collection: Collection): Result => {
  if (method !== "DELETE") return ok(collectionDocument(collection));
  documents.run("DELETE FROM documents WHERE collection = ?", collection.key);
  documents.run("DELETE FROM collections WHERE key = ?", collection.key);
  return { status: 204, units: 1 };
};

const keyRanges = (ranges: number) => {
  const bound = (index: number): string => (index === 0 ? "" : index === ranges ? "FF" : Math.floor((index * 256) / ranges).toString(16).toUpperCase().padStart(2, "0"));
  return Array.from({ length: ranges }, (_, index) => ({
    id: String(index), minInclusive: bound(index), maxExclusive: bound(index + 1), _rid: `range${index}`, _etag: '"0"', ridPrefix: index, throughputFraction: 1 / ranges, status: "online", parents: [],
  }));
};

// ---------------------------------------------------------------- documents

const kinds: Readonly<Record<string, Kind>> = { PUT: "Replace", DELETE: "Delete", PATCH: "Patch" };

const onDocuments = (context: Context, call: Call, collection: Collection): Result => {
  const { headers, method, body } = call;
  const partition = normalized(headers["x-ms-documentdb-partitionkey"]);
  const id = call.path[5];
  if (id !== undefined && method === "GET") return single(context.documents.read(collection, needed(partition), id, headers["if-none-match"]));
  if (id !== undefined) return single(context.documents.write(collection, needed(partition), { kind: kinds[method] as Kind, id, body: body as never, ifMatch: headers["if-match"] }));
  if (method === "GET") {
    if (headers["a-im"] === undefined) return query(context, collection, { query: "SELECT * FROM c" }, call, partition);
    return feed(context, collection, call);
  }
  if (headers["x-ms-cosmos-is-query-plan-request"] !== undefined) return { ...ok(planOf(parseQuery(body as QuerySpec))), units: 0 };
  if (headers["x-ms-cosmos-is-batch-request"] !== undefined) return batch(context, collection, call, needed(partition));
  if (!call.isWrite) return query(context, collection, body as QuerySpec, call, partition);
  const kind = headers["x-ms-documentdb-is-upsert"] === "true" ? "Upsert" : "Create";
  return single(context.documents.write(collection, needed(partition), { kind, body: body as never, ifMatch: headers["if-match"] }));
};

const normalized = (header: string | string[] | undefined): string | undefined => (typeof header === "string" ? JSON.stringify(JSON.parse(header)) : undefined);

const needed = (partition: string | undefined): string => {
  if (partition === undefined) throw new Refusal(400, "PartitionKey value must be supplied for this operation.", 1001);
  return partition;
};

const single = ({ status, units, etag, text }: Answer): Result => ({ status, units, etag, ...(text === undefined ? {} : { text }) });

interface BatchOperation {
  readonly operationType: Kind;
  readonly id?: string;
  readonly resourceBody?: Record<string, unknown>;
  readonly ifMatch?: string;
}

const batch = ({ documents }: Context, collection: Collection, { headers, body }: Call, partition: string): Result => {
  if (headers["x-ms-cosmos-batch-atomic"] !== "true") throw new Refusal(501, "Bulk is not here.");
  const operations = body as BatchOperation[];
  if (operations.length === 0 || operations.length > batchMax) throw new Refusal(400, "A batch has 1 to 100 operations.");
  const done = documents.batch(collection, partition, operations.map(({ operationType, id, resourceBody, ifMatch }): Operation => ({ kind: operationType, id, body: resourceBody, ifMatch })));
  const text = `[${done.answers.map((one) => `{"statusCode":${one.status},"requestCharge":${one.units}${one.etag === undefined ? "" : `,"eTag":${JSON.stringify(one.etag)}`}${one.text === undefined ? "" : `,"resourceBody":${one.text}`}}`).join(",")}]`;
  return { status: done.status, units: done.units, text };
};

/** A query over all partitions that has an order is not answered: the SDK asks for its plan and merges the ranges itself. */
const query = (context: Context, collection: Collection, spec: QuerySpec, { headers }: Call, partition: string | undefined): Result => {
  const statement = parseQuery(spec);
  const range = headers["x-ms-documentdb-partitionkeyrangeid"];
  if (statement.orderBy && partition === undefined && range === undefined && context.ranges > 1) {
    const message = "The provided cross partition query can not be directly served by the gateway.";
    return { status: 400, units: 0, substatus: 1004, body: { code: "BadRequest", message, additionalErrorInfo: JSON.stringify(planOf(statement)) } };
  }
  const offset = Number(headers["x-ms-continuation"] ?? 0);
  const limit = Number(headers["x-ms-max-item-count"] ?? 100);
  const found = context.documents.query(collection, statement, { partition, range: range === undefined ? undefined : Number(range) }, limit > 0 ? limit : 1_000, offset);
  return {
    status: 200, units: found.units, continuation: found.more ? String(offset + found.documents.length) : undefined,
    body: { _rid: collection.rid, Documents: found.documents, _count: found.documents.length },
  };
};

const planOf = (statement: Statement) => ({
  partitionedQueryExecutionInfoVersion: 2,
  queryInfo: {
    distinctType: "None", top: statement.top ?? null, offset: null, limit: null,
    orderBy: statement.orderBy ? [statement.orderBy.descending ? "Descending" : "Ascending"] : [],
    orderByExpressions: statement.orderBy ? [statement.orderBy.text] : [],
    groupByExpressions: [], groupByAliases: [], aggregates: [], groupByAliasToAggregateType: {},
    rewrittenQuery: statement.orderBy ? rewritten(statement, statement.orderBy) : "",
    hasSelectValue: statement.select.kind === "value",
  },
  queryRanges: [{ min: "", max: "FF", isMinInclusive: true, isMaxInclusive: false }],
});

const rewritten = ({ select, top, where, valueText }: Statement, { text, descending }: NonNullable<Statement["orderBy"]>): string => {
  const payload = select.kind === "star" ? "c" : select.kind === "value" ? valueText : `{${select.items.map(({ name, text: of }) => `"${name}": ${of}`).join(", ")}}`;
  return `SELECT ${top === undefined ? "" : `TOP ${top} `}c._rid, [{"item": ${text}}] AS orderByItems, ${payload} AS payload FROM c WHERE (${where.text}) AND ({documentdb-formattableorderbyquery-filter}) ORDER BY ${text} ${descending ? "DESC" : "ASC"}`;
};

const feed = ({ documents }: Context, collection: Collection, { headers }: Call): Result => {
  const range = headers["x-ms-documentdb-partitionkeyrangeid"];
  if (range === undefined) throw new Refusal(400, "The feed is read range by range here.");
  const position = headers["if-none-match"];
  const after = position === undefined ? 0 : position === "*" ? documents.lsnOf(collection) : Number(position.replaceAll('"', ""));
  const page = documents.feed(collection, Number(range), after, Math.max(1, Number(headers["x-ms-max-item-count"] ?? 100)));
  const etag = `"${page.position}"`;
  if (page.texts.length === 0) return { status: 304, units: page.units, etag };
  return { status: 200, units: page.units, etag, text: `{"_rid":"${collection.rid}","Documents":[${page.texts.join(",")}],"_count":${page.texts.length}}` };
};
