// Job manager tasks: made with their job, and let into the service for that job alone. A manager's token is good while the attempt
// that it was made for is the present one and has not ended; it is a keyed digest, never stored.
import { accountOf, jobStream, keyOf, parentOf, taskKey, taskStream } from "../domain/ids";
import { type Job, awaitsManager } from "../domain/job";
import { isRejection, present } from "../domain/decider";
import type { TaskSpec } from "../domain/task";
import type { Ports } from "../ports";
import { MANAGER_ORDER } from "../views/tasks";
import { execute, load } from "./execute";

/** Makes the job's manager task, once; a user that deletes it is rid of it. */
export const queueManager = async (ports: Ports, stream: string, state: Job, at: string): Promise<void> => {
  const { manager } = state.spec;
  if (!manager || !awaitsManager(state)) return;
  const { name, killJobOnCompletion: _, exclusive, ...rest } = manager;
  const spec = { ...rest, manager: true, ...present({ exclusive: exclusive ? true : undefined }) } as TaskSpec;
  const job = keyOf(stream);
  const outcome = await execute(ports, "task", "service", {
    stream: taskStream(taskKey(job, name)),
    fresh: true,
    command: { type: "QueueTask", at, job, workItemName: state.workItemName, jobName: state.name, name, order: MANAGER_ORDER, spec },
  });
  // Made by a step that did not live to note it.
  if (isRejection(outcome) && outcome.code !== "TaskExists") throw new Error(`the manager of job ${job} cannot be made: ${outcome.code}`);
  await execute(ports, "job", "service", { stream, command: { type: "NoteManager", at } });
};

/** Its manager has completed, and the job was to end with it. */
export const managerHasEnded = async (ports: Ports, stream: string, state: Job): Promise<boolean> => {
  const { manager } = state.spec;
  if (!manager?.killJobOnCompletion || awaitsManager(state)) return false;
  return (await load(ports, "task", taskStream(taskKey(keyOf(stream), manager.name)))).state.phase === "completed";
};

// ---------------------------------------------------------------- credentials

/** For one attempt of one job manager, to be given to its process alone. */
export const managerToken = (ports: Pick<Ports, "sealer">, task: string, attempt: number): string =>
  `${task}~${attempt}~${ports.sealer.sign(`manager~${task}~${attempt}`)}`;

export interface ManagerHolder {
  readonly account: string;
  readonly workItem: string;
  readonly job: string;
  /** Key of the manager task: what is done with the token is done by it. */
  readonly task: string;
}

/** Whose token this is; undefined: nobody's (any more). */
export const managerOf = async (ports: Ports, token: string): Promise<ManagerHolder | undefined> => {
  const [task = "", number = "", signature, ...rest] = token.split("~");
  const attempt = Number(number);
  if (signature === undefined || rest.length > 0 || !Number.isSafeInteger(attempt)) return undefined;
  if (!sameText(managerToken(ports, task, attempt), token)) return undefined;
  const { state } = await load(ports, "task", taskStream(task));
  const lives = state.attempt === attempt && (state.phase === "assigned" || state.phase === "running");
  if (!lives || !state.spec.manager) return undefined;
  const { state: job } = await load(ports, "job", jobStream(parentOf(task)));
  return { account: accountOf(task), workItem: job.workItemName, job: job.name, task };
};

/** In constant time for texts of one length. */
const sameText = (a: string, b: string): boolean => {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let index = 0; index < a.length; index++) difference |= a.charCodeAt(index) ^ b.charCodeAt(index);
  return difference === 0;
};
