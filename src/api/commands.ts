// Submissions by message: what a message asks for runs through the same schemas and handlers as a request, and its answer is
// a plain value. Whoever may put messages on the queue is trusted to name the account; the account has to exist.
import { z } from "zod";
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { NAME } from "../domain/ids";
import type { Json, Ports } from "../ports";
import { NO_CONDITIONS, ifMatch } from "./conditions";
import { parseJson, parseJsonText } from "./json";
import type { Answer, Input, Names, Operation } from "./operation";
import { operations } from "./operations";
import { messageOf, statusOf, valuesOf } from "./problems";
import { parseBody } from "./schemas";
import { sameDefinition, storedTasks } from "./classic/same";
import { newTask, type TaskBody } from "./classic/schemas";

/** What a message may ask for, and the operation that does it. */
export const COMMANDS: Readonly<Record<string, string>> = {
  addPool: "AddPool",
  patchPool: "PatchPool",
  updatePoolProperties: "UpdatePoolProperties",
  resizePool: "ResizePool",
  stopPoolResize: "StopPoolResize",
  deletePool: "DeletePool",
  addWorkItem: "AddWorkItem",
  updateWorkItem: "UpdateWorkItem",
  patchWorkItem: "PatchWorkItem",
  enableWorkItem: "EnableWorkItem",
  disableWorkItem: "DisableWorkItem",
  terminateWorkItem: "TerminateWorkItem",
  deleteWorkItem: "DeleteWorkItem",
  updateJob: "UpdateJob",
  patchJob: "PatchJob",
  disableJob: "DisableJob",
  enableJob: "EnableJob",
  terminateJob: "TerminateJob",
  deleteJob: "DeleteJob",
  addTask: "AddTask",
  addTasks: "AddTaskCollection",
  updateTask: "UpdateTask",
  terminateTask: "TerminateTask",
  deleteTask: "DeleteTask",
};

const byName = new Map(operations.map((one) => [one.name, one]));

const name = z.string().regex(NAME).optional();
const command = z.strictObject({
  operation: z.string(),
  account: z.string().max(64),
  pool: name,
  workItem: name,
  job: name,
  task: name,
  body: z.unknown().optional(),
  /** The sender's own mark, given back with the answer. */
  id: z.string().max(128).optional(),
  /** An ETag: as the header If-Match of a request. */
  ifMatch: z.string().max(200).optional(),
});

export interface CommandResult {
  readonly status: number;
  /** The message cannot succeed as it is: it belongs among the dead letters, or its sender has to be told. */
  readonly rejected?: true;
  readonly code?: string;
  readonly message?: string;
  readonly values?: readonly { readonly key: string; readonly value: string }[];
  readonly id?: string;
  readonly eTag?: string;
  readonly location?: string;
  /** The task was there already with the same definition: a message that came twice. */
  readonly existing?: true;
  /** The answer's JSON, for operations that have one. */
  readonly result?: unknown;
}

/** Runs one command. Throws only for faults of the service, which a later try may not meet. */
export const handleCommand = async (ports: Ports, message: unknown, at: string): Promise<CommandResult> => {
  const parsed = parseCommand(message);
  if (isRejection(parsed)) return failed(parsed, idIn(message));
  const answer = await run(ports, parsed, at);
  if (isRejection(answer)) return failed(answer, parsed.id);
  return {
    status: answer.status,
    ...(parsed.id === undefined ? {} : { id: parsed.id }),
    ...(answer.headers?.["ETag"] === undefined ? {} : { eTag: answer.headers["ETag"] }),
    ...(answer.headers?.["Location"] === undefined ? {} : { location: answer.headers["Location"] }),
    ...(answer.existing ? { existing: true } : {}),
    ...(answer.json === undefined ? {} : { result: answer.json }),
  };
};

/**
 * A message of the queue `commands` with what came beside it. Answers to the sender's queue if it named one; else a refused
 * message throws, and so ends among the dead letters with the reason.
 */
export const handleCommandMessage = async (ports: Ports, message: unknown, metadata: Readonly<Record<string, unknown>>, at: string): Promise<CommandResult> => {
  const result = await handleCommand(ports, message, at);
  // Busy or out of order, not wrong: the queue brings it again.
  if (result.status >= 500 && !result.rejected) throw new Error(`${result.code}: ${result.message}`);
  const replyTo = metadata["replyTo"];
  if (typeof replyTo === "string" && replyTo !== "") {
    const correlationId = metadata["correlationId"] ?? metadata["messageId"];
    await ports.bus.send(replyTo, [{ body: result as unknown as Json, ...(typeof correlationId === "string" ? { correlationId } : {}) }]);
  } else if (result.rejected) throw Object.assign(new Error(`${result.code}: ${result.message}`), { hopeless: true });
  return result;
};

const failed = (refused: Rejection, id: string | undefined): CommandResult => {
  const status = statusOf(refused.code);
  const values = valuesOf(refused);
  return {
    status,
    ...(status < 500 || status === 501 ? { rejected: true as const } : {}),
    code: refused.code,
    message: messageOf(refused),
    ...(values ? { values } : {}),
    ...(id === undefined ? {} : { id }),
  };
};

const idIn = (message: unknown): string | undefined => {
  const id = (message as { id?: unknown } | null)?.id;
  return typeof id === "string" ? id.slice(0, 128) : undefined;
};

type Command = z.output<typeof command>;

/** Queues may hand over text or bytes as well as what they hold. */
const parseCommand = (message: unknown): Command | Rejection => {
  const value = typeof message === "string" ? parseJsonText(message) : message instanceof Uint8Array ? parseJson(message) : parseJsonText(JSON.stringify(message ?? null));
  return isRejection(value) ? value : (parseBody(command, value.value) as Command | Rejection);
};

const run = async (ports: Ports, asked: Command, at: string): Promise<(Answer & { existing?: true }) | Rejection> => {
  const found = byName.get(Object.hasOwn(COMMANDS, asked.operation) ? (COMMANDS[asked.operation] as string) : "");
  if (!found)
    return rejection("InvalidPropertyValue", undefined, { PropertyName: "operation", PropertyValue: asked.operation, Reason: `expected one of ${Object.keys(COMMANDS).join(", ")}` });
  const account = asked.account.toLowerCase();
  if ((await ports.accounts.keys(account)) === undefined) return rejection("InsufficientAccountPermissions", "There is no such account.", { PropertyName: "account" });
  const names = namesFor(found, asked);
  if (isRejection(names)) return names;
  const body = found.schema === undefined ? undefined : parseBody(found.schema, asked.body ?? {});
  if (isRejection(body)) return inBody(body);
  const input: Input = {
    ports,
    call: { account, at, by: account },
    names,
    query: new Map(),
    headers: NO_HEADERS,
    conditions: asked.ifMatch === undefined ? NO_CONDITIONS : ifMatch(asked.ifMatch),
    body,
    base: "",
    path: "",
  };
  const answer = await found.run(input as Input<never>);
  return isRejection(answer) && answer.code === "TaskExists" && found.name === "AddTask" ? repeated(input, answer) : answer;
};

const NO_HEADERS = { get: (): null => null };

/** Names in a message's body are told as the body's own. */
const inBody = (refused: Rejection): Rejection => {
  const property = refused.values?.["PropertyName"];
  return property === undefined ? refused : { ...refused, values: { ...refused.values, PropertyName: `body.${property}` } };
};

const namesFor = (found: Operation, asked: Command): Names | Rejection => {
  const names: Record<string, string> = {};
  for (const [, wanted] of found.path.matchAll(/\{(\w+)\}/g)) {
    const value = asked[wanted as keyof Command];
    if (typeof value !== "string") return rejection("MissingRequiredProperty", undefined, { PropertyName: wanted as string });
    names[wanted as string] = value;
  }
  return names;
};

/** Queues deliver at least once: a task that is there with the same definition has been added by this very message before. */
const repeated = async (input: Input, refused: Rejection): Promise<(Answer & { existing?: true }) | Rejection> => {
  const task = newTask(input.body as TaskBody);
  const [stored] = await storedTasks(input, input.names.workItem as string, input.names.job as string, [task]);
  return sameDefinition(input, stored, task) ? { status: 200, existing: true } : refused;
};
