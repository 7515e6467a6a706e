// Jobs of the classic dialect. There is no operation to add one: they come from work items.
import { deleteJob, disableJob, enableJob, getJob, listJobs, terminateJob, updateJob } from "../../app/jobs";
import { isRejection } from "../../domain/decider";
import type { JobRow } from "../../views/jobs";
import { writeCondition } from "../conditions";
import { GET_QUERY, LIST_QUERY, listAnswer, readList } from "../lists";
import { ALL, EQ_NE, type Fields } from "../odata";
import { type Input, type Operation, operation } from "../operation";
import { changed, deleted, read } from "./answers";
import { JOB_PROPERTIES, renderJob } from "./render";
import { disableJobBody, jobBody, jobChange, jobReplacement, terminateJobBody } from "./schemas";
import { jobStats } from "./stats";

const fields: Fields<JobRow> = {
  name: { type: "text", operators: [...ALL, "startswith"], of: (row) => row.name },
  "executionInfo/poolName": { type: "text", operators: [...ALL, "startswith"], of: (row) => row.pool },
  state: {
    type: "state",
    operators: EQ_NE,
    values: ["active", "disabling", "disabled", "enabling", "terminating", "completed", "deleting"],
    of: (row) => row.phase,
  },
  creationTime: { type: "time", operators: ALL, of: (row) => row.createdAt },
  lastModified: { type: "time", operators: ALL, of: (row) => row.modifiedAt },
  stateTransitionTime: { type: "time", operators: ALL, of: (row) => row.stateAt },
  "executionInfo/startTime": { type: "time", operators: ALL, of: (row) => row.createdAt },
  "executionInfo/endTime": { type: "time", operators: ALL, of: (row) => row.endedAt },
};

type Change = ReturnType<typeof jobChange>;

const at = ({ names }: Pick<Input, "names">): [workItem: string, job: string] => [names.workItem as string, names.job as string];

const update = async (input: Input, change: Change) =>
  changed(await updateJob(input.ports, input.call, ...at(input), change, writeCondition(input.conditions)), 200);

export const jobs: readonly Operation[] = [
  operation({
    name: "ListJobs",
    method: "GET",
    path: "/workitems/{workItem}/jobs",
    action: "job.read",
    version: "classic",
    query: LIST_QUERY,
    run: async (input) => {
      const list = readList(input, fields, JOB_PROPERTIES);
      if (isRejection(list)) return list;
      const rows = await listJobs(input.ports, input.call, input.names.workItem as string, list.page);
      return isRejection(rows) ? rows : listAnswer(input, "jobs", list, rows, (row) => renderJob(row, input.base), (row) => jobStats(input, row));
    },
  }),
  operation({
    name: "GetJob",
    method: "GET",
    path: "/workitems/{workItem}/jobs/{job}",
    action: "job.read",
    version: "classic",
    query: GET_QUERY,
    run: async (input) => read(input, await getJob(input.ports, input.call, ...at(input)), "jobs", JOB_PROPERTIES, renderJob, (state) => jobStats(input, state)),
  }),
  operation({
    name: "PatchJob",
    method: "PATCH",
    path: "/workitems/{workItem}/jobs/{job}",
    action: "job.update",
    version: "classic",
    body: "required",
    schema: jobBody,
    run: (input) => update(input, jobChange(input.body)),
  }),
  operation({
    name: "UpdateJob",
    method: "PUT",
    path: "/workitems/{workItem}/jobs/{job}",
    action: "job.update",
    version: "classic",
    body: "required",
    schema: jobBody,
    run: (input) => update(input, jobReplacement(input.body)),
  }),
  operation({
    name: "DisableJob",
    method: "POST",
    path: "/workitems/{workItem}/jobs/{job}",
    verb: "disable",
    action: "job.update",
    version: "classic",
    body: "required",
    schema: disableJobBody,
    run: async (input) => changed(await disableJob(input.ports, input.call, ...at(input), input.body.disableTasks, writeCondition(input.conditions)), 202),
  }),
  operation({
    name: "EnableJob",
    method: "POST",
    path: "/workitems/{workItem}/jobs/{job}",
    verb: "enable",
    action: "job.update",
    version: "classic",
    run: async (input) => changed(await enableJob(input.ports, input.call, ...at(input), writeCondition(input.conditions)), 202),
  }),
  operation({
    name: "TerminateJob",
    method: "POST",
    path: "/workitems/{workItem}/jobs/{job}",
    verb: "terminate",
    action: "job.terminate",
    version: "classic",
    body: "optional",
    schema: terminateJobBody,
    run: async (input) =>
      changed(await terminateJob(input.ports, input.call, ...at(input), input.body.terminateReason, writeCondition(input.conditions)), 202),
  }),
  operation({
    name: "DeleteJob",
    method: "DELETE",
    path: "/workitems/{workItem}/jobs/{job}",
    action: "job.delete",
    version: "classic",
    run: async (input) => deleted(await deleteJob(input.ports, input.call, ...at(input), writeCondition(input.conditions)), 202),
  }),
];
