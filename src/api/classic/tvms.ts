// TVMs of the classic dialect. They have no ETag, so no conditions.
import { type TvmInfo, getTvm, listTvms } from "../../app/pools";
import { restartTvm } from "../../app/tvms";
import { type Rejection, isRejection } from "../../domain/decider";
import { GET_QUERY, LIST_QUERY, entity, listAnswer, readList, readSelect, selected } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Answer, type Input, type Operation, operation } from "../operation";
import { TVM_PROPERTIES, TVM_STATE_NAMES, renderTvm, tvmPath, tvmState, tvmStateAt } from "./render";
import { rebootBody, reimageBody } from "./schemas";

const fields: Fields<TvmInfo> = {
  state: { type: "state", operators: EQ_NE, values: TVM_STATE_NAMES, of: tvmState },
  stateTransitionTime: { type: "time", operators: ALL, of: tvmStateAt },
  lastBootTime: { type: "time", operators: ALL, of: ({ tvm }) => tvm.lastBootAt },
  tvmAllocationTime: { type: "time", operators: ALL, of: ({ tvm }) => tvm.allocatedAt },
  "startTaskInfo/startTime": { type: "time", operators: ALL, of: ({ tvm }) => tvm.startTaskInfo?.startedAt },
  "startTaskInfo/endTime": { type: "time", operators: ALL, of: ({ tvm }) => tvm.startTaskInfo?.endedAt },
  "startTaskInfo/state": { type: "state", operators: ["eq"], values: ["running", "completed"], of: ({ tvm }) => tvm.startTaskInfo?.state },
  "startTaskInfo/exitCode": { type: "number", operators: ALL, of: ({ tvm }) => tvm.startTaskInfo?.exitCode },
};

const accepted = (input: Pick<Input, "names" | "base">, outcome: unknown): Answer | Rejection =>
  isRejection(outcome) ? outcome : { status: 202, headers: { DataServiceId: input.base + tvmPath(input.names.pool as string, input.names.tvm as string) } };

export const tvms: readonly Operation[] = [
  operation({
    name: "ListTVMs",
    method: "GET",
    path: "/pools/{pool}/tvms",
    action: "tvm.read",
    version: "classic",
    query: LIST_QUERY,
    run: async (input) => {
      const list = readList(input, fields, TVM_PROPERTIES);
      if (isRejection(list)) return list;
      const rows = await listTvms(input.ports, input.call, input.names.pool as string, list.page);
      return isRejection(rows) ? rows : listAnswer(input, "tvms", list, rows, (row) => renderTvm(row, input.base));
    },
  }),
  operation({
    name: "GetTVM",
    method: "GET",
    path: "/pools/{pool}/tvms/{tvm}",
    action: "tvm.read",
    version: "classic",
    query: GET_QUERY,
    run: async ({ ports, call, names, query, base }) => {
      const select = readSelect(query, TVM_PROPERTIES);
      if (isRejection(select)) return select;
      const found = await getTvm(ports, call, names.pool as string, names.tvm as string);
      return isRejection(found) ? found : { status: 200, json: entity(base, "tvms", selected(renderTvm(found, base), select)) };
    },
  }),
  operation({
    name: "RebootTVM",
    method: "POST",
    path: "/pools/{pool}/tvms/{tvm}",
    verb: "reboot",
    action: "tvm.change",
    version: "classic",
    body: "optional",
    schema: rebootBody,
    run: async (input) => {
      const { ports, call, names, body } = input;
      const wish = { how: "reboot", option: body.rebootOption ?? "requeue" } as const;
      return accepted(input, await restartTvm(ports, call, names.pool as string, names.tvm as string, wish));
    },
  }),
  operation({
    name: "ReimageTVM",
    method: "POST",
    path: "/pools/{pool}/tvms/{tvm}",
    verb: "reimage",
    action: "tvm.change",
    version: "classic",
    body: "optional",
    schema: reimageBody,
    run: async (input) => {
      const { ports, call, names, body } = input;
      const wish = { how: "reimage", option: body.reimageOption ?? "requeue" } as const;
      return accepted(input, await restartTvm(ports, call, names.pool as string, names.tvm as string, wish));
    },
  }),
];
