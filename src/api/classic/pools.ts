// Pools of the classic dialect: bodies to use cases, outcomes to answers. No rule about pools is here.
import { addPool, deletePool, getPool, listPools, removePoolTvms, resizePool, stopPoolResize, updatePool, upgradePoolOs } from "../../app/pools";
import { disableAutoScale, enableAutoScale, tryFormula } from "../../app/autoscale";
import { isRejection } from "../../domain/decider";
import type { PoolRow } from "../../views/pools";
import { writeCondition } from "../conditions";
import { GET_QUERY, LIST_QUERY, listAnswer, readList } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Input, type Operation, operation } from "../operation";
import { changed, created, deleted, read } from "./answers";
import { POOL_PROPERTIES, poolPath, poolState, renderPool, renderRun } from "./render";
import { enableAutoScaleBody, enablingOf, evaluateAutoScaleBody, poolBody, poolChange, poolPatchBody, poolReplacement, poolSpec, removalOf, removeTvmsBody, resizeBody, resizeOf, upgradeOsBody } from "./schemas";
import { poolStats } from "./stats";

const fields: Fields<PoolRow> = {
  name: { type: "text", operators: [...ALL, "startswith"], of: (row) => row.name },
  state: { type: "state", operators: EQ_NE, values: ["active", "deleting", "upgrading"], of: poolState },
  allocationState: { type: "state", operators: ["eq"], values: ["steady", "resizing", "stopping"], of: (row) => row.allocation },
  tvmSize: { type: "text", operators: EQ_NE, of: (row) => row.spec.tvmSize },
  enableAutoScale: { type: "boolean", operators: EQ_NE, of: (row) => row.autoScale !== undefined },
  communication: { type: "boolean", operators: EQ_NE, of: (row) => row.spec.communication },
  creationTime: { type: "time", operators: ALL, of: (row) => row.createdAt },
  lastModified: { type: "time", operators: ALL, of: (row) => row.modifiedAt },
  stateTransitionTime: { type: "time", operators: ALL, of: (row) => row.stateAt },
  allocationStateTransitionTime: { type: "time", operators: ALL, of: (row) => row.allocationAt },
};

const nameOf = (input: Pick<Input, "names">): string => input.names.pool as string;
const idOf = (input: Pick<Input, "names" | "base">): string => input.base + poolPath(nameOf(input));

const get = async (input: Input<undefined>) =>
  read(input, await getPool(input.ports, input.call, nameOf(input)), "pools", POOL_PROPERTIES, renderPool, (state) => poolStats(input, state));

export const pools: readonly Operation[] = [
  operation({
    name: "ListPools",
    method: "GET",
    path: "/pools",
    action: "pool.read",
    version: "classic",
    query: LIST_QUERY,
    run: async (input) => {
      const list = readList(input, fields, POOL_PROPERTIES);
      if (isRejection(list)) return list;
      return listAnswer(input, "pools", list, await listPools(input.ports, input.call, list.page), (row) => renderPool(row, input.base), (row) => poolStats(input, row));
    },
  }),
  operation({ name: "GetPool", method: "GET", path: "/pools/{pool}", action: "pool.read", version: "classic", query: GET_QUERY, run: get }),
  operation({ name: "HeadPool", method: "HEAD", path: "/pools/{pool}", action: "pool.read", version: "classic", run: get }),
  operation({
    name: "AddPool",
    method: "POST",
    path: "/pools",
    action: "pool.add",
    version: "classic",
    body: "required",
    schema: poolBody,
    run: async ({ ports, call, body, base }) => {
      const spec = poolSpec(body, ports.policy);
      return isRejection(spec) ? spec : created(await addPool(ports, call, body.name, spec), base, poolPath(body.name));
    },
  }),
  operation({
    name: "PatchPool",
    method: "PATCH",
    path: "/pools/{pool}",
    action: "pool.update",
    version: "classic",
    body: "required",
    schema: poolPatchBody,
    run: async (input) => {
      const change = poolChange(input.body, input.ports.policy);
      if (isRejection(change)) return change;
      return changed(await updatePool(input.ports, input.call, nameOf(input), change, writeCondition(input.conditions)), 200);
    },
  }),
  operation({
    name: "UpdatePoolProperties",
    method: "POST",
    path: "/pools/{pool}",
    verb: "updateproperties",
    action: "pool.update",
    version: "classic",
    body: "required",
    schema: poolPatchBody,
    run: async (input) => {
      const change = poolReplacement(input.body, input.ports.policy);
      if (isRejection(change)) return change;
      return changed(await updatePool(input.ports, input.call, nameOf(input), change, writeCondition(input.conditions)), 204);
    },
  }),
  operation({
    name: "ResizePool",
    method: "POST",
    path: "/pools/{pool}",
    verb: "resize",
    action: "pool.resize",
    version: "classic",
    body: "required",
    schema: resizeBody,
    run: async (input) => {
      const resize = resizeOf(input.body, input.ports.policy);
      if (isRejection(resize)) return resize;
      return changed(await resizePool(input.ports, input.call, nameOf(input), resize, writeCondition(input.conditions)), 202, idOf(input));
    },
  }),
  operation({
    name: "StopPoolResize",
    method: "POST",
    path: "/pools/{pool}",
    verb: "stopresize",
    action: "pool.resize",
    version: "classic",
    run: async (input) =>
      changed(await stopPoolResize(input.ports, input.call, nameOf(input), writeCondition(input.conditions)), 202, idOf(input)),
  }),
  operation({
    name: "EnableAutoScale",
    method: "POST",
    path: "/pools/{pool}",
    verb: "enableautoscale",
    action: "pool.update",
    version: "classic",
    body: "required",
    schema: enableAutoScaleBody,
    run: async (input) => {
      const enabling = enablingOf(input.body, input.ports);
      if (isRejection(enabling)) return enabling;
      return changed(await enableAutoScale(input.ports, input.call, nameOf(input), enabling, writeCondition(input.conditions)), 200, idOf(input));
    },
  }),
  operation({
    name: "DisableAutoScale",
    method: "POST",
    path: "/pools/{pool}",
    verb: "disableautoscale",
    action: "pool.update",
    version: "classic",
    run: async (input) => changed(await disableAutoScale(input.ports, input.call, nameOf(input), writeCondition(input.conditions)), 200, idOf(input)),
  }),
  operation({
    name: "EvaluateAutoScale",
    repeatable: "changes nothing",
    method: "POST",
    path: "/pools/{pool}",
    verb: "evaluateautoscale",
    action: "pool.read",
    version: "classic",
    body: "required",
    schema: evaluateAutoScaleBody,
    run: async ({ ports, call, body, names, base }) => {
      const run = await tryFormula(ports, call, names.pool as string, body.autoScaleFormula);
      if (isRejection(run)) return run;
      return { status: 200, json: { "odata.metadata": `${base}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.AutoScaleRun`, ...renderRun({ at: call.at, ...run }) } };
    },
  }),
  operation({
    name: "RemoveTVMs",
    method: "POST",
    path: "/pools/{pool}",
    verb: "removetvms",
    action: "pool.resize",
    version: "classic",
    body: "required",
    schema: removeTvmsBody,
    run: async (input) =>
      changed(await removePoolTvms(input.ports, input.call, nameOf(input), removalOf(input.body), writeCondition(input.conditions)), 202, idOf(input)),
  }),
  operation({
    name: "UpgradePoolOS",
    method: "POST",
    path: "/pools/{pool}",
    verb: "upgradeos",
    action: "pool.update",
    version: "classic",
    body: "required",
    schema: upgradeOsBody,
    run: async (input) =>
      changed(await upgradePoolOs(input.ports, input.call, nameOf(input), input.body.targetOSVersion, writeCondition(input.conditions)), 202, idOf(input)),
  }),
  operation({
    name: "DeletePool",
    method: "DELETE",
    path: "/pools/{pool}",
    action: "pool.delete",
    version: "classic",
    run: async (input) => deleted(await deletePool(input.ports, input.call, nameOf(input), writeCondition(input.conditions)), 202),
  }),
];
