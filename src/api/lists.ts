// Lists: page size, continuation, filter and selection from the query, and the answer with its nextLink. A continuation is
// signed and good for one list of one account with one filter only: it cannot be made up or carried elsewhere.
import { timingSafeEqual } from "node:crypto";
import type { Page, Rows } from "../app/rows";
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { type Fields, type Filter, parseFilter, parseSelect } from "./odata";
import type { Answer, Input } from "./operation";

export const LIST_QUERY = ["maxresults", "$filter", "$select", "$expand", "$skiptoken"] as const;
/** Resources that are not lists take these. */
export const GET_QUERY = ["$select", "$expand"] as const;

const RESULTS_MAX = 1000;

export interface ListQuery<Row> {
  readonly page: Page<Row>;
  readonly equal: Filter<Row>["equal"];
  readonly select?: ReadonlySet<string> | undefined;
}

type Asking = Pick<Input, "ports" | "call" | "query" | "path" | "base">;

/** `most`: rows of a page, by default too. */
export const readList = <Row>(input: Asking, fields: Fields<Row>, properties: readonly string[], most = RESULTS_MAX): ListQuery<Row> | Rejection => {
  const select = readSelect(input.query, properties);
  if (isRejection(select)) return select;
  const limit = readLimit(input.query, most);
  if (isRejection(limit)) return limit;
  const text = input.query.get("$filter");
  const filter = text === undefined ? undefined : parseFilter(text, fields);
  if (isRejection(filter)) return filter;
  const token = input.query.get("$skiptoken");
  const after = token === undefined ? undefined : openToken(input, token);
  if (isRejection(after)) return after;
  return {
    page: { limit, ...(after === undefined ? {} : { after }), ...(filter ? { filter: (row: Row) => filter.test(row) } : {}) },
    equal: filter?.equal ?? {},
    select,
  };
};

/** `$select` and `$expand` of a single resource or of a list: `stats` where it is one of the properties, and nothing else. */
export const readSelect = (query: ReadonlyMap<string, string>, properties: readonly string[]): ReadonlySet<string> | undefined | Rejection => {
  const expand = query.get("$expand");
  if (expand !== undefined && !properties.includes("stats")) return badValue("$expand", expand, "this resource has nothing to expand");
  if (expand !== undefined && expand !== "stats") return badValue("$expand", expand, "expected stats");
  const select = query.get("$select");
  return select === undefined ? undefined : parseSelect(select, properties);
};

/** What `$expand=stats` adds to some rows, by row; nothing when it was not asked for. */
export const expanded = async <Row>(query: ReadonlyMap<string, string>, rows: readonly Row[], stats: (row: Row) => object | Promise<object>): Promise<(row: Row) => object> => {
  if (query.get("$expand") !== "stats") return () => ({});
  const found = new Map<Row, object>();
  for (let from = 0; from < rows.length; from += EXPANDED_AT_ONCE) {
    const some = rows.slice(from, from + EXPANDED_AT_ONCE);
    const all = await Promise.all(some.map(stats));
    some.forEach((row, index) => found.set(row, { stats: all[index] }));
  }
  return (row) => found.get(row) ?? {};
};

/** Statistics are sums of counters: as many are asked for at a time. */
const EXPANDED_AT_ONCE = 50;

const badValue = (name: string, value: string, reason: string, code = "InvalidQueryParameterValue"): Rejection =>
  rejection(code, undefined, { QueryParameterName: name, QueryParameterValue: value, Reason: reason });

const readLimit = (query: ReadonlyMap<string, string>, most: number): number | Rejection => {
  const text = query.get("maxresults");
  if (text === undefined) return most;
  if (!/^-?\d{1,9}$/.test(text)) return badValue("maxresults", text, "expected a whole number");
  const limit = Number(text);
  return limit >= 1 && limit <= most ? limit : badValue("maxresults", text, `expected 1 to ${most}`, "OutOfRangeQueryParameterValue");
};

// ---------------------------------------------------------------- continuation

const signatureOf = ({ ports, call, query, path }: Asking, after: string): string =>
  ports.sealer.sign(JSON.stringify(["skiptoken", call.account, path.toLowerCase(), query.get("$filter") ?? "", after]));

const makeToken = (input: Asking, after: string): string => `${Buffer.from(after, "utf8").toString("base64url")}.${signatureOf(input, after)}`;

const openToken = (input: Asking, token: string): string | Rejection => {
  const [place = "", signature = ""] = token.split(".", 3);
  const after = Buffer.from(place, "base64url").toString("utf8");
  return sameText(token, makeToken(input, after)) && signature !== "" ? after : badValue("$skiptoken", token, "not a continuation of this list");
};

const sameText = (a: string, b: string): boolean => {
  const [one, other] = [Buffer.from(a), Buffer.from(b)];
  return one.length === other.length && timingSafeEqual(one, other);
};

/** The same request with the continuation in place of the one it had. */
const nextLink = (input: Asking, after: string): string => {
  const parameters = [...input.query].filter(([name]) => name !== "$skiptoken");
  parameters.push(["$skiptoken", makeToken(input, after)]);
  return `${input.base}${input.path}?${parameters.map(([name, value]) => `${encodeURIComponent(name).replace("%24", "$")}=${encodeURIComponent(value)}`).join("&")}`;
};

// ---------------------------------------------------------------- answers

/** Only what was selected; everything when nothing was. */
export const selected = (resource: object, select: ReadonlySet<string> | undefined): object =>
  select ? Object.fromEntries(Object.entries(resource).filter(([name]) => select.has(name))) : resource;

export const listAnswer = async <Row>(
  input: Asking,
  set: string,
  list: ListQuery<Row>,
  rows: Rows<Row>,
  render: (row: Row) => object,
  stats: (row: Row) => object | Promise<object> = () => ({}),
): Promise<Answer> => {
  const more = await expanded(input.query, rows.rows.map(({ row }) => row), stats);
  return {
    status: 200,
    json: {
      "odata.metadata": `${input.base}/$metadata#${set}`,
      value: rows.rows.map(({ row }) => selected({ ...render(row), ...more(row) }, list.select)),
      ...(rows.next === undefined ? {} : { "odata.nextLink": nextLink(input, rows.next) }),
    },
  };
};

/** A list that comes whole, in the order of its keys: cut into pages here. */
export const pageOf = <Row>(all: readonly Row[], keyOf: (row: Row) => string, page: Page<Row>): Rows<Row> => {
  const { after, filter, limit } = page;
  const rest = all.filter((row) => (after === undefined || keyOf(row) > after) && (filter?.(row) ?? true));
  const rows = rest.slice(0, limit).map((row) => ({ key: keyOf(row), row }));
  const last = rows.at(-1);
  return rest.length > limit && last ? { rows, next: last.key } : { rows };
};

export const entity = (base: string, set: string, resource: object): object => ({ "odata.metadata": `${base}/$metadata#${set}/@Element`, ...resource });

