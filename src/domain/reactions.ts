// "When this happened, also do that": the whole choreography on one page. Pure; src/app/react.ts performs the effects, and
// the sweep repeats the ones that matter, so each effect may be lost, doubled or late.
import type { AnyEvent } from "./aggregates";
import { accountOf, categoryOf, jobStream, keyOf, parentOf, tvmKey } from "./ids";
import type { DeallocationOption } from "./pool";
import type { RequeueReason, Task } from "./task";

export type Effect =
  /** Something may be placed in this pool: `tvm` names a TVM that may have room now. */
  | { readonly kind: "wakePool"; readonly pool: string; readonly tvm?: string }
  /** Tasks wait in this job: wake its pool. */
  | { readonly kind: "wakeJob"; readonly job: string }
  /** The process of this aggregate should look again. */
  | { readonly kind: "nudge"; readonly process: "pool" | "workItem" | "job"; readonly stream: string }
  /** A task was added while its job was closing: end it. */
  | { readonly kind: "endIfJobClosed"; readonly job: string; readonly task: string }
  /** A closing job waits for its last task, one that is being disabled for the last one on a TVM. */
  | { readonly kind: "taskEnded"; readonly job: string }
  /** What the TVM holds is not its any more. */
  | { readonly kind: "takeFrom"; readonly tvm: string; readonly reason: RequeueReason; readonly option: DeallocationOption }
  /** The TVM's next exchange has news. */
  | { readonly kind: "tellTvm"; readonly tvm: string }
  /** From now on the silence of this boot of the TVM means something. */
  | { readonly kind: "listen"; readonly tvm: string; readonly boot: number; readonly at: string }
  /** The folder of a task that was deleted, or ran on elsewhere, goes. */
  | { readonly kind: "removeFolder"; readonly tvm: string; readonly folder: string }
  /** The deletion of a certificate goes on. */
  | { readonly kind: "endCertificate"; readonly certificate: string }
  /** A pool got references to certificates: those that were deleted meanwhile go again. */
  | { readonly kind: "confirmReferences"; readonly pool: string };

export const react = (stream: string, event: AnyEvent, state: unknown): readonly Effect[] => {
  switch (categoryOf(stream)) {
    case "task":
      return onTask(keyOf(stream), event, state as TaskPlace | undefined);
    case "tvm":
      return onTvm(keyOf(stream), event);
    case "job":
      return onJob(stream, event);
    case "workItem":
      return event.type === "WorkItemJobSpawned" ? [] : [{ kind: "nudge", process: "workItem", stream }];
    case "certificate":
      return event.type === "CertificateDeletionStarted" || event.type === "CertificateRetired" ? [{ kind: "endCertificate", certificate: keyOf(stream) }] : [];
    case "pool":
      return onPool(stream, event);
  }
};

const onPool = (stream: string, event: AnyEvent): readonly Effect[] => {
  switch (event.type) {
    case "PoolCreated":
      return [...(event.spec.certificateReferences?.length ? [confirmReferences(stream)] : []), { kind: "nudge", process: "pool", stream }];
    case "PoolUpdated":
      return event.certificateReferences?.length ? [confirmReferences(stream)] : [];
    case "PoolTvmsAllocated":
    case "PoolDeleted":
    case "PoolAutoScaleEvaluated":
      return [];
    default:
      return [{ kind: "nudge", process: "pool", stream }];
  }
};

const confirmReferences = (stream: string): Effect => ({ kind: "confirmReferences", pool: keyOf(stream) });

type TaskPlace = Pick<Task, "phase" | "pool" | "tvm" | "ranOn" | "workItemName" | "jobName" | "name" | "spec">;

const onTask = (key: string, event: AnyEvent, state: TaskPlace | undefined): readonly Effect[] => {
  const job = parentOf(key);
  const tvm = state?.pool !== undefined && state.tvm !== undefined ? tvmKey(accountOf(key), state.pool, state.tvm) : undefined;
  const freed: Effect[] = tvm === undefined ? [] : [{ kind: "wakePool", pool: parentOf(tvm), tvm }];
  const told: Effect[] = tvm === undefined ? [] : [{ kind: "tellTvm", tvm }];
  switch (event.type) {
    case "TaskQueued":
      return [{ kind: "wakeJob", job }, { kind: "endIfJobClosed", job, task: key }];
    case "TaskStarted":
      // Back there meanwhile: the folder of that name belongs to the new run.
      return event.left && state && state.tvm !== event.left.tvm ? removeFolder(key, state, event.left) : [];
    case "TaskReturned":
    case "TaskRetried":
    case "TaskRequeued":
      return [...freed, ...told, { kind: "wakeJob", job }, { kind: "endIfJobClosed", job, task: key }, { kind: "taskEnded", job }];
    case "TaskCompleted":
      return [...freed, ...told, { kind: "taskEnded", job }, ...(state?.spec.manager ? [{ kind: "nudge", process: "job", stream: jobStream(job) } as const] : [])];
    case "TaskDeleted": {
      // Made again meanwhile (or this is told again, later): the folder of that name belongs to the new task.
      const remove = state?.ranOn && state.phase === "absent" ? removeFolder(key, state, state.ranOn) : [];
      return [...freed, ...told, ...remove, { kind: "taskEnded", job }];
    }
    default:
      return [];
  }
};

const removeFolder = (key: string, { workItemName, jobName, name }: TaskPlace, where: { pool: string; tvm: string }): readonly Effect[] => [
  { kind: "removeFolder", tvm: tvmKey(accountOf(key), where.pool, where.tvm), folder: `${workItemName}/${jobName}/${name}` },
];

const onTvm = (tvm: string, event: AnyEvent): readonly Effect[] => {
  const pool = parentOf(tvm);
  const look: Effect = { kind: "nudge", process: "pool", stream: `pool-${pool}` };
  const wake: Effect = { kind: "wakePool", pool, tvm };
  switch (event.type) {
    case "TvmJoined":
    case "TvmRecovered":
      return [{ kind: "listen", tvm, boot: event.boot, at: event.at }, wake, look];
    case "TvmKept":
      return [wake, { kind: "tellTvm", tvm }, look];
    case "TvmDrained":
      return [look];
    case "TvmStartTaskEnded":
      return [wake, { kind: "tellTvm", tvm }];
    case "TvmLost":
      return [{ kind: "takeFrom", tvm, reason: "tvmLost", option: "requeue" }, look];
    case "TvmRestartRequested":
      return [{ kind: "takeFrom", tvm, reason: "tvmRestarted", option: event.option }, { kind: "tellTvm", tvm }, look];
    case "TvmRestarting":
      return [{ kind: "takeFrom", tvm, reason: "tvmRestarted", option: "requeue" }, look];
    case "TvmLeaving":
      return [{ kind: "takeFrom", tvm, reason: "tvmRemoved", option: event.option }, { kind: "tellTvm", tvm }, look];
    case "TvmRemoved":
      return [{ kind: "takeFrom", tvm, reason: "tvmRemoved", option: "requeue" }, { kind: "tellTvm", tvm }, look];
    default:
      return [];
  }
};

const onJob = (stream: string, event: AnyEvent): readonly Effect[] => {
  const key = keyOf(stream);
  const look: Effect = { kind: "nudge", process: "job", stream };
  // The work item is the job's parent; its stream has no generation in its name.
  const parent: Effect = { kind: "nudge", process: "workItem", stream: `workItem-${parentOf(parentOf(key))}` };
  switch (event.type) {
    case "JobCreated":
      return [look];
    case "JobUpdated":
    case "JobEnabled":
    case "JobManagerQueued":
      return [look, { kind: "wakeJob", job: key }];
    case "JobDisablingStarted":
    case "JobTerminationStarted":
    case "JobDeletionStarted":
      return [look];
    case "JobCompleted":
    case "JobDeleted":
      return [parent];
    default:
      return [];
  }
};
