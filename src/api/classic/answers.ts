// Answers that the classic operations share: created, accepted, read under conditions. No bodies but those of reads.
import { type Rejection, isRejection } from "../../domain/decider";
import { readCondition } from "../conditions";
import { entity, expanded, readSelect, selected } from "../lists";
import type { Answer, Input } from "../operation";
import { definitionHeaders } from "./render";

interface Defined {
  readonly state: { readonly modifiedAt: string };
}

/** 201: where it is, and the ETag of its definition. */
export const created = (outcome: Defined | Rejection, base: string, path: string): Answer | Rejection =>
  isRejection(outcome)
    ? outcome
    : { status: 201, headers: { ...definitionHeaders(outcome.state.modifiedAt), Location: base + path, DataServiceId: base + path } };

/** A change that was made, or has begun: no body. */
export const changed = (outcome: Defined | Rejection, status: 200 | 202 | 204, id?: string): Answer | Rejection =>
  isRejection(outcome) ? outcome : { status, headers: { ...definitionHeaders(outcome.state.modifiedAt), ...(id === undefined ? {} : { DataServiceId: id }) } };

/** A deletion that has begun or is done: there is no definition to speak of. */
export const deleted = (outcome: unknown, status: 200 | 202): Answer | Rejection => (isRejection(outcome) ? outcome : { status });

/** A single resource: 304, 412 or its JSON, with what `$expand=stats` adds. */
export const read = async <State extends Defined["state"]>(
  input: Pick<Input, "conditions" | "base" | "query">,
  loaded: { readonly state: State } | Rejection,
  set: string,
  properties: readonly string[],
  render: (state: State, base: string) => object,
  stats: (state: State) => object | Promise<object> = () => ({}),
): Promise<Answer | Rejection> => {
  const select = readSelect(input.query, properties);
  if (isRejection(select)) return select;
  if (isRejection(loaded)) return loaded;
  const headers = definitionHeaders(loaded.state.modifiedAt);
  const verdict = readCondition(input.conditions, loaded.state.modifiedAt);
  if (verdict === "notModified") return { status: 304, headers };
  if (verdict) return verdict;
  const more = await expanded(input.query, [loaded.state], stats);
  return { status: 200, headers, json: entity(input.base, set, selected({ ...render(loaded.state, input.base), ...more(loaded.state) }, select)) };
};
