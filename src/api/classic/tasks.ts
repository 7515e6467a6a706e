// Tasks of the classic dialect, one at a time; many at once are in bulk.ts.
import { addTask, deleteTask, getTask, listTasks, terminateTask, updateTask } from "../../app/tasks";
import { isRejection } from "../../domain/decider";
import { type TaskRow, taskState } from "../../views/tasks";
import { writeCondition } from "../conditions";
import { GET_QUERY, LIST_QUERY, listAnswer, readList } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Input, type Operation, operation } from "../operation";
import { changed, created, deleted, read } from "./answers";
import { TASK_PROPERTIES, renderTask, taskPath } from "./render";
import { elevated, newTask, taskBody, taskUpdate, taskUpdateBody } from "./schemas";
import { taskStats } from "./stats";

const STATES = ["active", "running", "completed"] as const;

const fields: Fields<TaskRow> = {
  name: { type: "text", operators: [...ALL, "startswith"], of: (row) => row.name },
  state: { type: "state", operators: EQ_NE, values: STATES, of: taskState },
  creationTime: { type: "time", operators: ALL, of: (row) => row.createdAt },
  lastModified: { type: "time", operators: ALL, of: (row) => row.modifiedAt },
  stateTransitionTime: { type: "time", operators: ALL, of: (row) => row.stateAt },
  "executionInfo/startTime": { type: "time", operators: ALL, of: (row) => row.startedAt },
  "executionInfo/endTime": { type: "time", operators: ALL, of: (row) => (row.phase === "completed" ? row.endedAt : undefined) },
  "executionInfo/exitCode": { type: "number", operators: ALL, of: (row) => (row.phase === "completed" ? row.exitCode : undefined) },
};

const jobOf = ({ names }: Pick<Input, "names">): [workItem: string, job: string] => [names.workItem as string, names.job as string];
const at = (input: Pick<Input, "names">): [workItem: string, job: string, task: string] => [...jobOf(input), input.names.task as string];

export const tasks: readonly Operation[] = [
  operation({
    name: "ListTasks",
    method: "GET",
    path: "/workitems/{workItem}/jobs/{job}/tasks",
    action: "task.read",
    version: "classic",
    query: LIST_QUERY,
    run: async (input) => {
      const list = readList(input, fields, TASK_PROPERTIES);
      if (isRejection(list)) return list;
      // A filter on one state reads that state's rows alone, however many the job has.
      const state = STATES.find((one) => one === list.equal["state"]);
      const rows = await listTasks(input.ports, input.call, ...jobOf(input), { ...list.page, state });
      return isRejection(rows) ? rows : listAnswer(input, "tasks", list, rows, (row) => renderTask(row, input.base), (row) => taskStats(input, row));
    },
  }),
  operation({
    name: "GetTask",
    method: "GET",
    path: "/workitems/{workItem}/jobs/{job}/tasks/{task}",
    action: "task.read",
    version: "classic",
    query: GET_QUERY,
    run: async (input) => read(input, await getTask(input.ports, input.call, ...at(input)), "tasks", TASK_PROPERTIES, renderTask, (state) => taskStats(input, state)),
  }),
  operation({
    name: "AddTask",
    repeatable: "a task of that name is there",
    method: "POST",
    path: "/workitems/{workItem}/jobs/{job}/tasks",
    action: "task.add",
    version: "classic",
    body: "required",
    schema: taskBody,
    run: async (input) => {
      const { ports, call, body, base } = input;
      const refusal = elevated(body, ports.policy, "runElevated");
      if (refusal) return refusal;
      const [workItem, job] = jobOf(input);
      return created(await addTask(ports, call, workItem, job, newTask(body)), base, taskPath(workItem, job, body.name));
    },
  }),
  operation({
    name: "UpdateTask",
    method: "PUT",
    path: "/workitems/{workItem}/jobs/{job}/tasks/{task}",
    action: "task.update",
    version: "classic",
    body: "required",
    schema: taskUpdateBody,
    run: async (input) => changed(await updateTask(input.ports, input.call, ...at(input), taskUpdate(input.body), writeCondition(input.conditions)), 200),
  }),
  operation({
    name: "TerminateTask",
    method: "POST",
    path: "/workitems/{workItem}/jobs/{job}/tasks/{task}",
    verb: "terminate",
    action: "task.terminate",
    version: "classic",
    run: async (input) => changed(await terminateTask(input.ports, input.call, ...at(input), writeCondition(input.conditions)), 204),
  }),
  operation({
    name: "DeleteTask",
    method: "DELETE",
    path: "/workitems/{workItem}/jobs/{job}/tasks/{task}",
    action: "task.delete",
    version: "classic",
    run: async (input) => deleted(await deleteTask(input.ports, input.call, ...at(input), writeCondition(input.conditions)), 200),
  }),
];
