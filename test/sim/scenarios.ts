// Short scenarios for killing the service at every single call of a port in turn. Together they touch each kind of work that is
// done in several writes.
import { addCertificate, deleteCertificate } from "./actions/certificates";
import { SETTLING } from "./actions/scaling";
import { CERTIFICATES, type Fixture } from "./certificateFixtures";
import { type Ask, JOB, poolBody, taskOf, workItemBody } from "./clients";
import type { ScenarioStep } from "./play";
import { seeded } from "../support/seeded";

const job = `/workitems/Render/jobs/${JOB}`;
const pool = (targetDedicated: number): Ask => ({ method: "POST", target: "/pools", body: poolBody("Alpha", seeded(1), { targetDedicated, maxTasksPerTVM: 1 }), change: { stream: "pool-sim.alpha", event: "PoolCreated" } });
const workItem: Ask = { method: "POST", target: "/workitems", body: workItemBody("Render", "Alpha", seeded(3)), change: { stream: "workItem-sim.render", event: "WorkItemCreated" } };
const task = (name: string, commandLine: string, more: object = {}): Ask => ({ method: "POST", target: `${job}/tasks`, body: { name, commandLine, ...more }, adds: [{ workItem: "Render", task: name }] });
const change = (method: Ask["method"], target: string, stream: string, event: string, body?: object): Ask => ({ method, target, ...(body ? { body } : {}), change: { stream, event } });
const CERTIFICATE = CERTIFICATES[0] as Fixture;
const scaledPool = {
  targetDedicated: undefined, enableAutoScale: true, autoScaleFormula: SETTLING, autoScaleEvaluationInterval: "PT15S", autoScaleMaxDedicated: 2, maxTasksPerTVM: 1,
  certificateReferences: [{ thumbprint: CERTIFICATE.thumbprint, thumbprintAlgorithm: "sha1" }],
};
/** Named by the time at which its pool was made, which no fault changes. */
const FIRST_TVM = "tvm-1_1-20150401t120000z";
const jobStream = `job-sim.render.*.${JOB}`;

export const SCENARIOS: Readonly<Record<string, readonly ScenarioStep[]>> = {
  "a task runs, another is tried again": [
    { afterMs: 0, ask: pool(1) },
    { afterMs: 20, ask: workItem },
    { afterMs: 2_000, ask: task("once", "run 200 0") },
    { afterMs: 500, ask: task("again", "run 50 1", { taskConstraints: { maxTaskRetryCount: 1 } }) },
    { afterMs: 3_000, ask: { method: "GET", target: `${job}/tasks` } },
  ],
  "tasks are ended, deleted and made again while they run": [
    { afterMs: 0, ask: pool(1) },
    { afterMs: 20, ask: workItem },
    { afterMs: 2_500, ask: task("ended", "run 60000 0") },
    { afterMs: 300, ask: task("waits", "run 20 0") },
    { afterMs: 500, ask: change("POST", `${job}/tasks/ended?terminate`, taskOf("Render", "ended"), "TaskCompleted") },
    { afterMs: 1_000, ask: change("DELETE", `${job}/tasks/ended`, taskOf("Render", "ended"), "TaskDeleted") },
    { afterMs: 300, ask: task("ended", "run 20 0") },
  ],
  "a pool shrinks under its tasks and grows again": [
    { afterMs: 0, ask: pool(2) },
    { afterMs: 20, ask: workItem },
    { afterMs: 2_500, ask: task("moved", "run 9000 0") },
    { afterMs: 50, ask: task("stays", "run 2000 0") },
    { afterMs: 800, ask: change("POST", "/pools/Alpha?resize", "pool-sim.alpha", "PoolResized", { targetDedicated: 1, tvmDeallocationOption: "requeue" }) },
    { afterMs: 1_500, ask: change("POST", "/pools/Alpha?resize", "pool-sim.alpha", "PoolResized", { targetDedicated: 2 }) },
  ],
  "a TVM leaves after its task, and the other is started anew after its own": [
    { afterMs: 0, ask: pool(2) },
    { afterMs: 20, ask: workItem },
    { afterMs: 2_500, ask: task("first", "run 1500 0") },
    { afterMs: 20, ask: task("second", "run 3000 0") },
    { afterMs: 20, ask: task("next", "run 50 0") },
    { afterMs: 800, ask: change("POST", "/pools/Alpha?resize", "pool-sim.alpha", "PoolResized", { targetDedicated: 1, tvmDeallocationOption: "taskcompletion" }) },
    { afterMs: 200, ask: { method: "POST", target: `/pools/Alpha/tvms/${FIRST_TVM}?reboot`, body: { rebootOption: "taskcompletion" } } },
    { afterMs: 3_000, ask: task("last", "run 50 0") },
  ],
  "a job is deleted under its tasks, its work item too, and is made again": [
    { afterMs: 0, ask: pool(1) },
    { afterMs: 20, ask: workItem },
    { afterMs: 2_500, ask: task("runs", "run 60000 0") },
    { afterMs: 100, ask: task("waits", "run 20 0") },
    { afterMs: 500, ask: change("DELETE", job, jobStream, "JobDeletionStarted") },
    { afterMs: 50, ask: change("DELETE", "/workitems/Render", "workItem-sim.render", "WorkItemDeletionStarted") },
    { afterMs: 4_000, ask: workItem },
    { afterMs: 100, ask: task("runs", "run 20 0") },
  ],
  "a job is ended by its user": [
    { afterMs: 0, ask: pool(1) },
    { afterMs: 20, ask: workItem },
    { afterMs: 2_500, ask: task("runs", "run 60000 0") },
    { afterMs: 400, ask: change("POST", `${job}?terminate`, jobStream, "JobTerminationStarted") },
    { afterMs: 5, ask: task("late", "run 20 0") },
  ],
  "a pool has a certificate and a formula, jobs come by a schedule, a file is read, the certificate goes": [
    { afterMs: 0, ask: addCertificate(CERTIFICATE) },
    { afterMs: 200, ask: { method: "POST", target: "/pools", body: poolBody("Alpha", seeded(1), scaledPool), change: { stream: "pool-sim.alpha", event: "PoolCreated" } } },
    { afterMs: 200, ask: { method: "POST", target: "/workitems", body: { ...workItemBody("Render", "Alpha", seeded(3)), schedule: { recurrenceInterval: "PT10S" } }, change: { stream: "workItem-sim.render", event: "WorkItemCreated" } } },
    { afterMs: 2_500, ask: task("writes", "run 200 0") },
    { afterMs: 4_000, ask: { method: "GET", target: `${job}/tasks/writes/files/stdout.txt` } },
    { afterMs: 0, ask: { method: "GET", target: `${job}/tasks/writes/files/nothing.txt` } },
    { afterMs: 100, ask: deleteCertificate(CERTIFICATE) },
    { afterMs: 1_000, ask: change("POST", "/pools/Alpha?updateproperties", "pool-sim.alpha", "PoolUpdated", {}) },
    { afterMs: 200, ask: deleteCertificate(CERTIFICATE) },
    { afterMs: 20_000, ask: change("POST", `${job}?terminate`, jobStream, "JobTerminationStarted") },
  ],
};
