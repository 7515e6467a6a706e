// batchledger submit: a command becomes a work item; with --array or --each-line one task for each index or line.
import { createReadStream, existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import type { Command, Invocation } from "../command";
import type { Client } from "../client";
import { choosePool } from "../defaultPool";
import { EXIT, Failure, ServiceError, usage } from "../failures";
import { bytes, clean, json, plural } from "../output";
import * as parse from "../options";
import { createProgress } from "../progress";
import { type CommandTemplate, fillIn } from "../quoting";
import type { Constraints, NewTask, ResourceFile, Setting } from "../resources";
import type { BulkResult } from "../stream";
import { WAIT_PATIENCE_MS, freshJob, waitForManager, waitForTasks } from "../waiting";
import { report } from "./work";

/** The container of the service's file store that inputs go to. */
const INPUTS = "inputs";
const UPLOADS_AT_ONCE = 4;
const INPUT_FILES_MAX = 1000;

export const submitCommand: Command = {
  words: "submit", operands: "[options] -- COMMAND [ARGUMENT...]", operandsMin: 0, operandsMax: 0, connects: true, greedy: ["input"],
  summary: "Runs a command on a pool: makes a work item and its tasks, and prints the work item's name.",
  options: {
    pool: { type: "string", value: "POOL", help: "where to run (default: the pool `default`, else the only pool, else a new one)" },
    name: { type: "string", value: "NAME", help: "name of the work item (default: made from the command)" },
    to: { type: "string", value: "WORKITEM", help: "add the tasks to a work item that is still open, instead of making one" },
    "task-name": { type: "string", value: "NAME", help: "name of the task, or what the tasks' names begin with" },
    array: { type: "string", value: "FROM-TO[:STEP]", help: "one task for each index" },
    "each-line": { type: "string", value: "FILE", help: "one task for each line of a file (- reads standard input)" },
    input: { type: "string", multiple: true, value: "FILE...", help: "files and folders that each task finds in its working directory" },
    env: { type: "string", multiple: true, value: "NAME=VALUE", help: "an environment variable of each task" },
    shell: { type: "boolean", help: "run the command by `sh -c`: pipes, redirections, variables" },
    retries: { type: "string", value: "N", help: "run a task again up to N times when it ends with another code than 0 (-1: for ever)" },
    "max-wall-clock": { type: "string", value: "TIME", help: "end a task that runs longer, such as 90s, 15m, 2h" },
    priority: { type: "string", value: "N", help: "-1000 (last) to 1000 (first); default 0" },
    wait: { type: "boolean", help: "return when all tasks have ended, and end the work item; exit code 1 if one failed" },
    progress: { type: "boolean", help: "show how far it is (with --wait)" },
    manager: { type: "boolean", help: "run the command as the job manager task: it adds the tasks, and the job ends with it" },
    exclusive: { type: "boolean", help: "with --manager: nothing else runs on its TVM" },
    "keep-open": { type: "boolean", help: "with --wait: leave the work item open for more tasks" },
  },
  more: `
{} in the command stands for the index or the line; a command without {} gets the line as its last argument. The variables
BATCHLEDGER_ARRAY_INDEX and BATCHLEDGER_LINE hold them too. Without a command, each line of --each-line is a command itself.
A job manager speaks to the service with WATASK_SERVICE_URL and WATASK_AUTHENTICATION_TOKEN (Authorization: Bearer), about its own
job alone; this command line and its client library find them by themselves.
The command is not run in a shell unless --shell is given: arguments reach the program as they are.

Examples:
  batchledger submit --wait -- echo hello
  batchledger submit --array 1-1000 --input work.js --wait --progress -- node work.js {}
  batchledger submit --manager --input plan.js --wait -- node plan.js
  ls *.txt | batchledger submit --each-line - --input *.txt -- wc -w {}
  batchledger submit --shell --retries 3 --env URL=https://example.org/ -- 'curl -sf "$URL" | sha256sum > sum.txt'`,
  run: submit,
};

interface TaskPlan {
  /** Undefined when nobody knows before the last line is read. */
  readonly count: number | undefined;
  readonly tasks: AsyncIterable<NewTask> | Iterable<NewTask>;
}

async function submit(call: Invocation): Promise<number> {
  const client = call.client(call.flag("wait") ? WAIT_PATIENCE_MS : undefined);
  const template = commandOf(call);
  const retries = call.text("retries");
  const maxWallClock = call.text("max-wall-clock");
  const environment = parse.settings("--env", call.texts("env"));
  const name = nameOf(call, template);
  const priority = parse.wholeNumber("--priority", call.text("priority") ?? "0", -1000, 1000);
  const constraints = {
    ...(retries === undefined ? {} : { maxTaskRetryCount: parse.wholeNumber("--retries", retries, -1, 1_000_000) }),
    ...(maxWallClock === undefined ? {} : { maxWallClockTime: parse.duration("--max-wall-clock", maxWallClock) }),
  };
  const inputs = inputFiles(call);
  const array = call.text("array") === undefined ? undefined : parse.arrayRange(call.text("array") as string);
  const lines = linesFile(call);
  if (call.flag("manager")) return submitManager(call, client, { template: managerCommand(call, template, array, lines), name, priority, constraints, environment, inputs });
  if (call.flag("exclusive")) throw usage("--exclusive goes with --manager.");
  // Everything that can be wrong with the command line is known by now; from here on things are made.
  const pool = await poolFor(call, client, name);
  const resourceFiles = await upload(call, client, name, inputs);
  if (call.text("to") === undefined) {
    await client.createWorkItem({ name, jobExecutionEnvironment: { poolName: pool }, ...(priority === 0 ? {} : { jobSpecification: { priority } }) });
  }
  const job = await freshJob(client, name, call.io.signal);
  const plan = planTasks(call, template, array, lines, {
    ...(resourceFiles.length ? { resourceFiles } : {}),
    ...(Object.keys(constraints).length ? { taskConstraints: constraints } : {}),
  }, environment);
  const result = await add(call, client, name, job, plan);
  if (result.failed > 0) return refused(call, name, job, result);
  const tasks = result.added + result.existing;
  if (!call.flag("wait")) {
    if (call.json) json(call.io, { workItem: name, job, pool, tasks });
    else {
      call.io.out(`${name}\n`);
      call.io.err(`${plural(tasks, "task")} queued on pool ${pool}. Follow with: batchledger wait ${name} --progress\n`);
    }
    return EXIT.ok;
  }
  if (!call.json) call.io.out(`${name}\n`);
  const counts = await waitForTasks(client, name, job, {
    signal: call.io.signal, expected: tasks,
    progress: call.flag("progress") ? createProgress(call.io, name) : undefined,
  });
  if (!call.flag("keep-open")) await end(client, name, job);
  return report(call, name, job, counts, { pool, tasks });
}

// ---------------------------------------------------------------- a job manager

interface ManagerPlan {
  readonly template: CommandTemplate;
  readonly name: string;
  readonly priority: number;
  readonly constraints: Constraints;
  readonly environment: readonly Setting[];
  readonly inputs: readonly InputFile[];
}

function managerCommand(call: Invocation, template: CommandTemplate | undefined, array: unknown, lines: unknown): CommandTemplate {
  if (!template || array !== undefined || lines !== undefined || call.text("to") !== undefined)
    throw usage("--manager takes one command, and neither --array, --each-line nor --to.", "The manager itself adds the tasks.");
  return template;
}

async function submitManager(call: Invocation, client: Client, plan: ManagerPlan): Promise<number> {
  const { name, priority, constraints, environment } = plan;
  const pool = await poolFor(call, client, name);
  const resourceFiles = await upload(call, client, name, plan.inputs);
  const jobManager = {
    name: taskPrefix(call, "manager"),
    commandLine: fillIn(plan.template, undefined, false),
    ...(resourceFiles.length ? { resourceFiles } : {}),
    ...(environment.length ? { environmentSettings: environment } : {}),
    // As for every task: it is run again only as often as is said.
    taskConstraints: { maxTaskRetryCount: 0, ...constraints },
    runExclusive: call.flag("exclusive"),
    killJobOnCompletion: !call.flag("keep-open"),
  };
  await client.createWorkItem({ name, jobExecutionEnvironment: { poolName: pool }, jobSpecification: { priority, jobManager } });
  const job = await freshJob(client, name, call.io.signal);
  if (!call.flag("wait")) {
    if (call.json) json(call.io, { workItem: name, job, pool, manager: jobManager.name });
    else {
      call.io.out(`${name}\n`);
      call.io.err(`The job manager is queued on pool ${pool}. Follow with: batchledger wait ${name} --progress\n`);
    }
    return EXIT.ok;
  }
  if (!call.json) call.io.out(`${name}\n`);
  const progress = call.flag("progress") ? createProgress(call.io, name) : undefined;
  const counts = await waitForManager(client, name, job, jobManager.name, { signal: call.io.signal, progress });
  return report(call, name, job, counts, { pool, manager: jobManager.name });
}

function nameOf(call: Invocation, template: CommandTemplate | undefined): string {
  const to = call.text("to");
  const name = call.text("name");
  if (to === undefined) return name === undefined ? nameFor(template) : parse.name("--name", name);
  const clash = ["name", "pool", "priority"].find((option) => call.text(option) !== undefined);
  if (clash) throw usage(`--to and --${clash} cannot be used together.`, "The work item has its name, pool and priority already.");
  return parse.name("--to", to);
}

async function poolFor(call: Invocation, client: Client, name: string): Promise<string> {
  if (call.text("to") !== undefined) return (await client.getWorkItem(name)).jobExecutionEnvironment?.poolName ?? "";
  const wanted = call.text("pool");
  if (wanted !== undefined) return (await client.getPool(wanted)).name;
  const { pool, made } = await choosePool(client);
  if (made) call.io.err(`Made the pool ${pool}: ${plural(made.targetDedicated, "TVM")}, ${plural(made.maxTasksPerTVM ?? 1, "task")} at once on each.\n`);
  return pool;
}

/** Somebody else may have ended it in the meantime. */
async function end(client: Client, name: string, job: string): Promise<void> {
  try {
    await client.terminateJob(name, job, "AllTasksCompleted");
  } catch (error) {
    if (!(error instanceof ServiceError && error.status === 409)) throw error;
  }
}

function commandOf(call: Invocation): CommandTemplate | undefined {
  const args = call.rest ?? [];
  if (call.text("array") !== undefined && call.text("each-line") !== undefined) throw usage("--array and --each-line cannot be used together.");
  if (args.length > 0) return { args, shell: call.flag("shell") };
  if (call.text("each-line") !== undefined) return undefined;
  throw usage("There is no command.", "Put it after two dashes: batchledger submit -- echo hello");
}

/** `wc-m8k2zq1f`: the program, and when. */
function nameFor(template: CommandTemplate | undefined): string {
  const program = template ? (template.args[0] as string).trim().split(/\s/)[0] as string : "lines";
  const word = path.posix.basename(program).replace(/\.[A-Za-z0-9]+$/, "").replace(/[^A-Za-z0-9_-]+/g, "").slice(0, 30) || "work";
  return `${word}-${Date.now().toString(36)}${Math.floor(Math.random() * 1296).toString(36).padStart(2, "0")}`;
}

// ---------------------------------------------------------------- tasks

/** The file of --each-line; `-` stays as it is. */
function linesFile(call: Invocation): string | undefined {
  const file = call.text("each-line");
  if (file === undefined || file === "-") return file;
  const found = path.resolve(call.io.cwd, file);
  if (!existsSync(found)) throw usage(`There is no file ${file}.`);
  return found;
}

function planTasks(call: Invocation, template: CommandTemplate | undefined, array: parse.ArrayRange | undefined, lines: string | undefined, common: Partial<NewTask>, environment: readonly Setting[]): TaskPlan {
  const task = (name: string, commandLine: string, own: readonly Setting[]): NewTask => {
    const environmentSettings = [...environment, ...own];
    return { name, commandLine, ...common, ...(environmentSettings.length ? { environmentSettings } : {}) };
  };
  if (array !== undefined) return { count: array.count, tasks: arrayTasks(array, taskPrefix(call, "task"), template as CommandTemplate, task) };
  if (lines !== undefined) return { count: undefined, tasks: lineTasks(call, lines, template, task) };
  return { count: 1, tasks: [task(taskPrefix(call, "task"), fillIn(template as CommandTemplate, undefined, false), [])] };
}

const taskPrefix = (call: Invocation, usual: string): string => {
  const name = call.text("task-name");
  return name === undefined ? usual : parse.name("--task-name", name);
};

type MakeTask = (name: string, commandLine: string, own: readonly Setting[]) => NewTask;

function* arrayTasks({ from, to, step }: parse.ArrayRange, prefix: string, template: CommandTemplate, task: MakeTask): Generator<NewTask> {
  const digits = String(to).length;
  for (let index = from; index <= to; index += step) {
    // Padded, so that name order is index order.
    yield task(`${prefix}-${String(index).padStart(digits, "0")}`, fillIn(template, String(index), false), [{ name: "BATCHLEDGER_ARRAY_INDEX", value: String(index) }]);
  }
}

async function* lineTasks(call: Invocation, file: string, template: CommandTemplate | undefined, task: MakeTask): AsyncGenerator<NewTask> {
  const prefix = taskPrefix(call, "line");
  let number = 0;
  for await (const line of linesOf(file === "-" ? call.io.stdin : createReadStream(file))) {
    if (line.trim() === "") continue;
    number++;
    const own = [{ name: "BATCHLEDGER_ARRAY_INDEX", value: String(number) }, { name: "BATCHLEDGER_LINE", value: line }];
    const commandLine = template ? fillIn(template, line, true) : call.flag("shell") ? fillIn({ args: [line], shell: true }, undefined, false) : line;
    yield task(`${prefix}-${String(number).padStart(6, "0")}`, commandLine, own);
  }
}

/** Unlike node:readline this fails when its input does. */
async function* linesOf(input: NodeJS.ReadableStream): AsyncGenerator<string> {
  let rest = "";
  for await (const part of input.setEncoding("utf8")) {
    const lines = (rest + String(part)).split(/\r?\n/);
    rest = lines.pop() as string;
    yield* lines;
  }
  yield rest;
}

async function add(call: Invocation, client: Client, name: string, job: string, plan: TaskPlan): Promise<BulkResult> {
  const bulk = (plan.count ?? Infinity) > 1;
  const progress = bulk && call.flag("progress") ? createProgress(call.io, "Adding tasks") : undefined;
  const result = await client.addTasks(name, job, plan.tasks, ({ answered }) => progress?.update({ done: answered, total: plan.count ?? answered }));
  progress?.end();
  return result;
}

async function refused(call: Invocation, name: string, job: string, result: BulkResult): Promise<number> {
  if (call.json) json(call.io, { workItem: name, job, added: result.added, existing: result.existing, failed: result.failed, failures: result.failures });
  else {
    call.io.out(`${name}\n`);
    call.io.err(`The service refused ${plural(result.failed, "task")}; ${result.added + result.existing} were added.\n`);
    for (const failure of result.failures.slice(0, 5)) call.io.err(`  ${clean(failure.name ?? `number ${failure.line}`)}: ${clean(failure.message)} [${clean(failure.code)}]\n`);
  }
  return EXIT.refused;
}

// ---------------------------------------------------------------- inputs

interface InputFile {
  readonly file: string;
  /** Where tasks find it, relative to their working directory. */
  readonly filePath: string;
  readonly length: number;
}

/** The files of --input: a file by its own name, a folder with all that is in it under the folder's name. */
function inputFiles(call: Invocation): InputFile[] {
  const found = new Map<string, InputFile>();
  const take = (file: string, filePath: string): void => {
    const stat = statSync(file);
    if (stat.isDirectory()) {
      for (const entry of readdirSync(file).sort()) take(path.join(file, entry), `${filePath}/${entry}`);
      return;
    }
    if (!stat.isFile()) throw usage(`${file} is neither a file nor a folder.`);
    if (found.has(filePath)) throw usage(`Two inputs would have the name ${filePath}.`, "Rename one, or put them into folders.");
    found.set(filePath, { file, filePath, length: stat.size });
    if (found.size > INPUT_FILES_MAX) throw usage(`More than ${INPUT_FILES_MAX} input files.`, "Pack them into one archive.");
  };
  for (const input of call.texts("input")) {
    const file = path.resolve(call.io.cwd, input);
    if (!existsSync(file)) throw usage(`There is no file ${input}.`);
    take(file, path.basename(file));
  }
  return [...found.values()];
}

async function upload(call: Invocation, client: Client, workItem: string, inputs: readonly InputFile[]): Promise<ResourceFile[]> {
  const total = inputs.reduce((sum, { length }) => sum + length, 0);
  const progress = inputs.length > 1 && call.flag("progress") ? createProgress(call.io, "Uploading") : undefined;
  const uploaded: ResourceFile[] = [];
  const queue = [...inputs];
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const address = await client.fileAddress(INPUTS, `${workItem}/${next.filePath}`);
      await client.upload(address, createReadStream(next.file), next.length);
      uploaded.push({ blobSource: address.readUrl, filePath: next.filePath });
      progress?.update({ done: uploaded.length, total: inputs.length, note: bytes(total) });
    }
  })).catch((error: unknown) => {
    if (error instanceof ServiceError) throw new Failure(EXIT.refused, `The file store refused an input: ${error.message} [${error.code}]`);
    throw error;
  });
  progress?.end();
  return uploaded.sort((left, right) => (left.filePath < right.filePath ? -1 : 1));
}
