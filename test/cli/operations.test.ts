// Which command reaches which operation of the service, and why some have none: a new operation has to be written down here.
import { operations } from "../../src/api/operations";
import { COMMANDS } from "../../src/cli/main";

/** Words of a command; or, in brackets, why there is none. */
const REACHED: Readonly<Record<string, string>> = {
  ListPools: "pool list", GetPool: "pool show", HeadPool: "(GetPool says more)", AddPool: "pool create", ResizePool: "pool resize", StopPoolResize: "pool stop", DeletePool: "pool delete",
  PatchPool: "(definitions are JSON: the client library, or any HTTP client)", UpdatePoolProperties: "(as PatchPool)", UpgradePoolOS: "pool upgrade-os", RemoveTVMs: "tvm remove",
  EnableAutoScale: "autoscale enable", DisableAutoScale: "autoscale disable", EvaluateAutoScale: "autoscale evaluate",
  EnablePoolAutoScale: "autoscale enable", DisablePoolAutoScale: "autoscale disable", EvaluatePoolAutoScale: "autoscale evaluate",
  ListTVMs: "tvms", GetTVM: "tvm show", RebootTVM: "tvm reboot", ReimageTVM: "tvm reimage", GetTVMRdpFile: "tvm rdp", GetTVMSsh: "tvm ssh",
  AddTVMUser: "tvm user", UpdateTVMUser: "tvm user", DeleteTVMUser: "tvm user", ListSizes: "sizes",
  ListWorkItems: "ps", GetWorkItem: "workitem show", HeadWorkItem: "(GetWorkItem says more)", AddWorkItem: "workitem create", UpdateWorkItem: "workitem update", PatchWorkItem: "workitem update",
  EnableWorkItem: "workitem enable", DisableWorkItem: "workitem disable", TerminateWorkItem: "terminate", DeleteWorkItem: "delete",
  ListJobs: "workitem show", GetJob: "why", PatchJob: "(as PatchPool)", UpdateJob: "(as PatchPool)", DisableJob: "(as PatchPool: the client library)", EnableJob: "(as DisableJob)",
  TerminateJob: "terminate", DeleteJob: "(a work item is deleted with its jobs: delete)",
  ListTasks: "tasks", GetTask: "why", AddTask: "submit", AddTaskCollection: "submit", UpdateTask: "(as PatchPool)", TerminateTask: "terminate", DeleteTask: "delete",
  Batch: "(submit streams tasks, which does more with less)",
  ListTaskFiles: "files", GetTaskFile: "cp", HeadTaskFile: "logs", DeleteTaskFile: "(files go with their task or its retention)",
  ListTVMFiles: "files", GetTVMFile: "cp", HeadTVMFile: "cp", DeleteTVMFile: "(as DeleteTaskFile)",
  ListCertificates: "certificate list", GetCertificate: "certificate show", AddCertificate: "certificate add", DeleteCertificate: "certificate delete",
  CancelCertificateDeletion: "certificate cancel-delete",
};

const words = new Set(COMMANDS.map((command) => command.words));
const classic = operations.filter((one) => one.version === "classic" && !one.name.startsWith(`${one.method} `));

test.each(classic.map(({ name }) => name))("%s", (name) => {
  const reached = REACHED[name];
  expect({ name, reached: reached !== undefined }).toEqual({ name, reached: true });
  if (!reached?.startsWith("(")) expect({ name, command: words.has(reached as string) ? reached : undefined }).toEqual({ name, command: reached });
});
