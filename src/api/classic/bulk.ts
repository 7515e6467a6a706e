// Many tasks in one request: a collection of at most a hundred, answered task by task, or a stream of lines without end,
// answered chunk by chunk as each is durable. What is wrong with one task never stops the others. Sending the same again is
// safe: a task that is there already with the same definition counts as existing.
import { getJob } from "../../app/jobs";
import { addTasks, type NewTask } from "../../app/tasks";
import { type Rejection, isRejection, rejection } from "../../domain/decider";
import { refusesTasks } from "../../domain/job";
import type { Task } from "../../domain/task";
import { eTagOf, wireDate } from "../dates";
import { COLLECTION_MAX, parseJsonText } from "../json";
import { type Answer, type Input, type Operation, operation } from "../operation";
import { inlineProblem, messageOf, statusOf } from "../problems";
import { parseBody } from "../schemas";
import { type Line, lineSplitter } from "./lines";
import { taskPath } from "./render";
import { sameDefinition, storedTasks } from "./same";
import { type TaskBody, elevated, newTask, taskBody, taskCollectionBody } from "./schemas";

/** A chunk of a stream is as many tasks, as many bytes, or as long a wait since its first line, whichever comes first. */
const CHUNK_TASKS = 500;
const CHUNK_BYTES = 256 * 1024;
const CHUNK_MS = 20;
/** Longest line of a stream, in bytes. */
export const LINE_MAX = 256 * 1024;
export const NDJSON = /^application\/x-ndjson\s*(?:;|$)/i;

const jobOf = ({ names }: Pick<Input, "names">): [workItem: string, job: string] => [names.workItem as string, names.job as string];

/** A task from parsed JSON, or what is wrong with it. */
const toTask = (input: Pick<Input, "ports">, value: unknown): NewTask | Rejection => {
  const body = parseBody(taskBody, value) as TaskBody | Rejection;
  if (isRejection(body)) return body;
  return elevated(body, input.ports.policy, "runElevated") ?? newTask(body);
};

/** The job has to be there and take tasks before anything of the body is used. */
const openJob = async (input: Input): Promise<Rejection | undefined> => {
  const job = await getJob(input.ports, input.call, ...jobOf(input));
  return isRejection(job) ? job : refusesTasks(job.state);
};

// ---------------------------------------------------------------- a collection

const addCollection = async (input: Input<{ value: unknown[] }>): Promise<Answer | Rejection> => {
  const closed = await openJob(input);
  if (closed) return closed;
  const parsed = input.body.value.map((value) => toTask(input, value));
  const good = parsed.filter((task): task is NewTask => !isRejection(task));
  const outcomes = await addTasks(input.ports, input.call, ...jobOf(input), good);
  if (isRejection(outcomes)) return outcomes;
  let next = 0;
  const value = parsed.map((task, index) => {
    const outcome = isRejection(task) ? task : (outcomes[next++] as (typeof outcomes)[number]);
    const name = isRejection(task) ? nameIn(input.body.value[index]) : task.name;
    return isRejection(outcome) ? failedResult(name, outcome) : addedResult(input, outcome.state);
  });
  return { status: 200, json: { "odata.metadata": `${input.base}/$metadata#taskaddresult`, value } };
};

const nameIn = (value: unknown): string | undefined => {
  const name = (value as { name?: unknown } | null)?.name;
  return typeof name === "string" ? name.slice(0, 64) : undefined;
};

const addedResult = ({ base }: Pick<Input, "base">, task: Task): object => ({
  status: "Success",
  taskName: task.name,
  eTag: eTagOf(task.modifiedAt),
  lastModified: wireDate(task.modifiedAt),
  location: base + taskPath(task.workItemName, task.jobName, task.name),
});

const failedResult = (taskName: string | undefined, refused: Rejection): object => ({
  status: statusOf(refused.code) < 500 ? "ClientError" : "ServerError",
  taskName,
  error: inlineProblem(refused),
});

// ---------------------------------------------------------------- a stream

interface Chunk {
  readonly from: number;
  to: number;
  bytes: number;
  readonly tasks: NewTask[];
  readonly lines: number[];
  readonly failed: Failure[];
}

interface Failure {
  readonly line: number;
  readonly name?: string;
  readonly code: string;
  readonly message: string;
}

interface Totals {
  lines: number;
  added: number;
  existing: number;
  failed: number;
}

const newChunk = (from: number): Chunk => ({ from, to: from - 1, bytes: 0, tasks: [], lines: [], failed: [] });
const isFull = (chunk: Chunk): boolean => chunk.tasks.length + chunk.failed.length >= CHUNK_TASKS || chunk.bytes >= CHUNK_BYTES;

const addStream = async (input: Input): Promise<Answer | Rejection> => {
  if (!input.stream) return rejection("InvalidRequestBody");
  const closed = await openJob(input);
  if (closed) return closed;
  return { status: 200, headers: { "Content-Type": "application/x-ndjson" }, bytes: answers(input, input.stream.getReader() as Reader) };
};

const encoder = new TextEncoder();
const lineOf = (value: object): Uint8Array => encoder.encode(`${JSON.stringify(value)}\n`);

type Reader = { read(): Promise<{ done: boolean; value?: unknown }>; cancel(): Promise<void> };
type News =
  | { readonly kind: "read"; readonly done: boolean; readonly bytes?: Uint8Array }
  | { readonly kind: "gone" }
  | { readonly kind: "time" }
  | { readonly kind: "added"; readonly result: object | Rejection };

/** Reads on while one chunk is being added, and never more than one: what comes faster waits in the connection. */
async function* answers(input: Input, reader: Reader): AsyncGenerator<Uint8Array> {
  const totals: Totals = { lines: 0, added: 0, existing: 0, failed: 0 };
  const ready: Chunk[] = [];
  let open = newChunk(1);
  let timer: Promise<News> | undefined;
  let adding: Promise<News> | undefined;
  let reading: Promise<News> | undefined = readNext(reader);
  const split = lineSplitter(LINE_MAX, (line) => {
    accept(input, open, line);
    if (isFull(open)) close();
  });
  const close = (): void => {
    if (open.to >= open.from) ready.push(open);
    open = newChunk(open.to + 1);
    timer = undefined;
  };
  try {
    for (;;) {
      if (!adding && ready.length > 0) {
        adding = add(input, ready.shift() as Chunk, totals);
        // Should the sender go away meanwhile, nobody is left to hear of a failure.
        adding.catch(() => undefined);
      }
      if (!adding && ready.length === 0 && !reading) break;
      // Full chunks that wait for their turn stop the reading: that is the back pressure.
      const coming: (Promise<News> | undefined)[] = ready.length === 0 ? [reading, timer, adding] : [adding];
      const news: News = await Promise.race(coming.filter((one) => one !== undefined));
      if (news.kind === "added") {
        adding = undefined;
        if (isRejection(news.result)) return yield refusedLine(news.result, totals);
        yield lineOf(news.result);
      } else if (news.kind === "time") close();
      else if (news.kind === "gone") return;
      else {
        if (news.bytes) split.push(news.bytes);
        else split.end();
        reading = news.done ? undefined : readNext(reader);
        if (news.done) close();
        else if (open.to >= open.from) timer ??= input.ports.clock.sleep(CHUNK_MS).then((): News => ({ kind: "time" }));
      }
    }
    yield lineOf({ done: true, ...totals });
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** A connection that breaks is an end without a summary: what was answered is kept, the rest will be sent again. */
const readNext = async (reader: Reader): Promise<News> => {
  try {
    const { done, value } = await reader.read();
    return done ? { kind: "read", done } : { kind: "read", done, bytes: value as Uint8Array };
  } catch {
    return { kind: "gone" };
  }
};

const refusedLine = (refused: Rejection, totals: Totals): Uint8Array => lineOf({ error: { code: refused.code, message: messageOf(refused) }, ...totals });

/** One line into the chunk that is being gathered. Empty lines count as lines and are nothing else. */
const accept = (input: Input, chunk: Chunk, line: Line): void => {
  const number = ++chunk.to;
  if ("problem" in line) {
    chunk.failed.push(failure(number, undefined, line.problem));
    return;
  }
  chunk.bytes += line.text.length;
  if (line.text === "" || line.text.trim() === "") return;
  const parsed = parseJsonText(line.text);
  const task = isRejection(parsed) ? parsed : toTask(input, parsed.value);
  if (isRejection(task)) chunk.failed.push(failure(number, isRejection(parsed) ? undefined : nameIn(parsed.value), task));
  else {
    chunk.tasks.push(task);
    chunk.lines.push(number);
  }
};

const failure = (line: number, name: string | undefined, refused: Rejection): Failure => {
  const property = refused.values?.["PropertyName"];
  const reason = refused.values?.["Reason"];
  const detail = property === undefined ? "" : ` (${property}${reason === undefined ? "" : `: ${reason}`})`;
  return { line, ...(name === undefined ? {} : { name }), code: refused.code, message: messageOf(refused) + detail };
};

/** Adds a chunk. The instant is the chunk's own: a long stream does not make all its tasks at its beginning. */
const add = async (input: Input, chunk: Chunk, totals: Totals): Promise<News> => {
  const { ports, names } = input;
  const call = { ...input.call, at: ports.clock.now().toISOString() };
  const outcomes = await addTasks(ports, call, names.workItem as string, names.job as string, chunk.tasks);
  if (isRejection(outcomes)) return { kind: "added", result: outcomes };
  const there = outcomes.flatMap((outcome, index) => (isRejection(outcome) && outcome.code === "TaskExists" ? [index] : []));
  const same = await areSame(input, there.map((index) => chunk.tasks[index] as NewTask));
  let existing = 0;
  let added = 0;
  outcomes.forEach((outcome, index) => {
    if (!isRejection(outcome)) added++;
    else if (outcome.code === "TaskExists" && same[there.indexOf(index)]) existing++;
    else chunk.failed.push(failure(chunk.lines[index] as number, chunk.tasks[index]?.name, differs(outcome)));
  });
  chunk.failed.sort((a, b) => a.line - b.line);
  totals.lines = chunk.to;
  totals.added += added;
  totals.existing += existing;
  totals.failed += chunk.failed.length;
  return { kind: "added", result: { lines: [chunk.from, chunk.to], added, existing, failed: chunk.failed } };
};

const differs = (refused: Rejection): Rejection =>
  refused.code === "TaskExists" ? rejection("TaskExists", "The job already has a task of that name with another definition.") : refused;

const areSame = async (input: Input, added: readonly NewTask[]): Promise<boolean[]> => {
  if (added.length === 0) return [];
  const stored = await storedTasks(input, ...jobOf(input), added);
  return added.map((task, index) => sameDefinition(input, stored[index], task));
};

export const bulk: readonly Operation[] = [
  operation({
    name: "AddTaskCollection",
    repeatable: "tasks of those names are there",
    method: "POST",
    path: "/workitems/{workItem}/jobs/{job}/tasks",
    verb: "addtaskcollection",
    action: "task.add",
    version: "classic",
    body: "required",
    bodyMax: COLLECTION_MAX,
    schema: taskCollectionBody,
    streamed: NDJSON,
    slow: true,
    run: (input) => (input.stream === undefined ? addCollection(input) : addStream(input as Input)),
  }),
];
