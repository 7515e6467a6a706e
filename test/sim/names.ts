// The few names that clients use, so that they meet, and what an action is. It knows no operation.
import type { Seeded } from "../support/seeded";

export const ACCOUNT = "sim";
export const POOLS = ["Alpha", "Beta"] as const;
export const WORK_ITEMS = ["Render", "Encode"] as const;
export const JOB = "job-0000000001";
/** Tasks that clients still speak of: the last of these. */
export const TASKS = 40;

/** A request, and what a success of it leaves behind. */
export interface Ask {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly target: string;
  readonly body?: unknown;
  /** As it is, with this type. */
  readonly raw?: { readonly type: string; readonly text: string };
  readonly headers?: Readonly<Record<string, string>>;
  /** Under the condition that the resource is as it was last read here. */
  readonly conditional?: string;
  readonly change?: { readonly stream: string; readonly event: string };
  readonly adds?: readonly { readonly workItem: string; readonly task: string }[];
  /** Leads to a message: what it asks for may be done any number of times, and long after the answer. */
  readonly later?: true;
  /** As a message of the queue `commands` instead. */
  readonly command?: Readonly<Record<string, unknown>>;
}

export interface Client {
  readonly random: Seeded;
  /** Milliseconds since 1970. */
  now(): number;
  /** Tasks that were ever named by somebody, so that others may speak of them. */
  nextTask(): string;
  someTask(): string;
  /** TVMs that somebody has seen, as `{pool}/tvms/{tvm}`. */
  readonly tvms: string[];
  /** Tasks that somebody has asked for, the last ones. */
  readonly added: { readonly workItem: string; readonly task: string }[];
}

export interface Action {
  readonly name: string;
  readonly weight: number;
  readonly ask: (client: Client) => Ask;
}

export const lower = (...parts: readonly string[]): string => parts.join(".").toLowerCase();
export const poolOf = (name: string): string => `pool-${lower(ACCOUNT, name)}`;
export const workItemOf = (name: string): string => `workItem-${lower(ACCOUNT, name)}`;
export const jobOf = (workItem: string): string => `job-${lower(ACCOUNT, workItem, "*", JOB)}`;
export const taskOf = (workItem: string, task: string): string => `task-${lower(ACCOUNT, workItem, "*", JOB, task)}`;
export const jobPath = (workItem: string): string => `/workitems/${workItem}/jobs/${JOB}`;
export const OPTIONS = ["requeue", "terminate", "taskcompletion", "retaineddata"] as const;

export const somePool = ({ random }: Client): string => random.oneOf(POOLS);
export const someTvm = (client: Client): string => (client.tvms.length === 0 ? `${somePool(client)}/tvms/none` : client.random.oneOf(client.tvms));
export const someItem = ({ random }: Client): string => random.oneOf(WORK_ITEMS);
/** A task that may be there, mostly. */
export const knownTask = (client: Client): { readonly workItem: string; readonly task: string } =>
  client.added.length > 0 && client.random.chance(0.85) ? client.random.oneOf(client.added) : { workItem: someItem(client), task: client.someTask() };
export const taskPath = (client: Client): string => {
  const { workItem, task } = knownTask(client);
  return `${jobPath(workItem)}/tasks/${task}`;
};
/** Under a condition now and then. */
export const perhaps = ({ random }: Client, target: string): { conditional?: string } => (random.chance(0.3) ? { conditional: target } : {});

/** In proportion to their weights, which are quarters. */
export const weighted = (random: Seeded, actions: readonly Action[]): Action => {
  let left = random.below(actions.reduce((sum, { weight }) => sum + 4 * weight, 0));
  return actions.find(({ weight }) => (left -= 4 * weight) < 0) as Action;
};
