// Operations of the classic dialect that this service does not have yet: known, allowed or not as the real ones, and 501.
import { rejection } from "../../domain/decider";
import type { Action } from "../auth";
import { type Operation, operation } from "../operation";

const pool = "/pools/{pool}";

const LATER: readonly (readonly [Operation["method"], path: string, action: Action, verb?: string])[] = [
  ["POST", pool, "pool.update", "enableautoscale"],
  ["POST", pool, "pool.update", "disableautoscale"],
  ["POST", pool, "pool.update", "evaluateautoscale"],
];

export const later: readonly Operation[] = LATER.map(([method, path, action, verb]) =>
  operation({
    name: `${method} ${path}${verb === undefined ? "" : `?${verb}`}`,
    method,
    path,
    action,
    version: "classic",
    ...(verb === undefined ? {} : { verb }),
    // Whatever they would take: the answer is the same.
    query: ["$select", "$expand", "$filter", "maxresults", "$skiptoken"],
    run: async () => rejection("NotImplemented"),
  }),
);
