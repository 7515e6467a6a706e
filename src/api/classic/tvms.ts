// TVMs of the classic dialect: read only so far. They have no ETag, so no conditions.
import { type TvmInfo, getTvm, listTvms } from "../../app/pools";
import { isRejection } from "../../domain/decider";
import { GET_QUERY, LIST_QUERY, entity, listAnswer, readList, readSelect, selected } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Operation, operation } from "../operation";
import { TVM_PROPERTIES, TVM_STATE_NAMES, renderTvm, tvmState, tvmStateAt } from "./render";

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
];
