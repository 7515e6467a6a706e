// batchledger ps, tasks, wait, terminate, delete: what there is to do, how far it is, and the end of it.
import type { Command, Invocation } from "../command";
import { EXIT } from "../failures";
import { clean, json, plural, spell, table, when } from "../output";
import * as parse from "../options";
import { createProgress } from "../progress";
import type { Counts, TaskResource, WorkItemResource } from "../resources";
import { WAIT_PATIENCE_MS, failureOf, hasFailed, jobOf, noteOf, totalOf, waitForTasks } from "../waiting";

const JOB = { job: { type: "string", value: "JOB", help: "a job of the work item (default: its latest)" } } as const;
const COUNT_LOOKUPS_AT_ONCE = 8;

export const workCommands: readonly Command[] = [
  {
    words: "ps", operands: "", operandsMin: 0, operandsMax: 0, connects: true,
    summary: "Lists work items with their latest job and its tasks by state, newest first.",
    options: { limit: { type: "string", value: "N", help: "at most N work items (default 30)" } },
    run: listWork,
  },
  {
    words: "tasks", operands: "WORKITEM", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Lists the tasks of a work item's latest job, in name order.",
    options: {
      ...JOB,
      state: { type: "string", value: "STATE", help: "only active, running or completed ones" },
      failed: { type: "boolean", help: "only those that failed" },
      limit: { type: "string", value: "N", help: "at most N tasks (default 1000)" },
    },
    run: listTasks,
  },
  {
    words: "wait", operands: "WORKITEM", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Waits until every task of a work item's latest job has ended. Exit code 1 if any failed.",
    options: {
      ...JOB,
      progress: { type: "boolean", help: "show how far it is" },
      timeout: { type: "string", value: "TIME", help: "give up after this time (exit code 1)" },
      end: { type: "boolean", help: "end the work item afterwards: it takes no more tasks" },
    },
    run: waitForWork,
  },
  {
    words: "terminate", operands: "WORKITEM[/TASK]", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Ends a task, or a work item with its job and all tasks. Files stay.",
    options: { ...JOB }, run: terminate,
  },
  {
    words: "delete", operands: "WORKITEM[/TASK]", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Deletes a task, or a work item with its jobs, tasks and their files.",
    options: { ...JOB }, run: remove,
  },
];

async function listWork(call: Invocation): Promise<number> {
  const client = call.client();
  const limit = parse.wholeNumber("--limit", call.text("limit") ?? "30", 1, 100_000);
  const items: WorkItemResource[] = [];
  for await (const item of client.listWorkItems()) items.push(item);
  items.sort((left, right) => (left.creationTime < right.creationTime ? 1 : -1)).splice(limit);
  const rows: { item: WorkItemResource; job?: string; state: string; counts?: Counts }[] = [];
  for (let at = 0; at < items.length; at += COUNT_LOOKUPS_AT_ONCE) {
    rows.push(...await Promise.all(items.slice(at, at + COUNT_LOOKUPS_AT_ONCE).map(async (item) => {
      const job = item.executionInfo?.recentJob?.name;
      // A work item may go away between the list and this look.
      const counts = job === undefined ? undefined : await client.counts(item.name, job).catch(() => undefined);
      return { item, state: item.state, ...(job ? { job } : {}), ...(counts ? { counts } : {}) };
    })));
  }
  if (call.json) {
    json(call.io, rows.map(({ item, job, state, counts }) => ({ workItem: item.name, state, job, pool: item.jobExecutionEnvironment?.poolName, creationTime: item.creationTime, counts })));
  } else if (rows.length === 0) call.io.out("No work items. Make one: batchledger submit -- echo hello\n");
  else {
    call.io.out(table(rows, [
      { title: "WORK ITEM", value: ({ item }) => item.name },
      { title: "STATE", value: ({ state, counts }) => stateOf(state, counts) },
      { title: "POOL", value: ({ item }) => item.jobExecutionEnvironment?.poolName ?? "(automatic)" },
      { title: "WAITING", right: true, value: ({ counts }) => counts && counts.active + counts.assigned },
      { title: "RUNNING", right: true, value: ({ counts }) => counts?.running },
      { title: "DONE", right: true, value: ({ counts }) => counts?.completed },
      { title: "FAILED", right: true, value: ({ counts }) => counts?.failed },
      { title: "RETRIES", right: true, value: ({ counts }) => counts?.retries },
      { title: "CPU", right: true, value: ({ counts }) => counts && spell(counts.cpuMs) },
      { title: "CREATED", value: ({ item }) => when(item.creationTime) },
    ]));
  }
  return EXIT.ok;
}

/** An active work item whose tasks have all ended only waits for more: say so. */
const stateOf = (state: string, counts: Counts | undefined): string =>
  state === "active" && counts && totalOf(counts) > 0 && totalOf(counts) === counts.completed ? "active (all done)" : state;

async function listTasks(call: Invocation): Promise<number> {
  const client = call.client();
  const { workItem } = parse.workReference(call.operands[0] as string);
  const limit = parse.wholeNumber("--limit", call.text("limit") ?? "1000", 1, 10_000_000);
  const state = call.flag("failed") ? "completed" : call.text("state");
  if (state !== undefined) parse.name("--state", state);
  const job = await jobOf(client, workItem, call.text("job"));
  const tasks: TaskResource[] = [];
  let more = false;
  for await (const task of client.listTasks(workItem, job, state === undefined ? {} : { filter: `state eq '${state}'` })) {
    if (call.flag("failed") && !hasFailed(task)) continue;
    if (tasks.length >= limit) {
      more = true;
      break;
    }
    tasks.push(task);
  }
  if (call.json) json(call.io, tasks);
  else if (tasks.length === 0) call.io.out("No such tasks.\n");
  else {
    call.io.out(table(tasks, [
      { title: "TASK", value: (task) => task.name },
      { title: "STATE", value: (task) => (hasFailed(task) ? "failed" : task.state) },
      { title: "EXIT", right: true, value: (task) => task.executionInfo?.exitCode },
      { title: "RETRIES", right: true, value: (task) => task.executionInfo?.retryCount || undefined },
      { title: "TVM", value: (task) => task.tvmInfo?.tvmName },
      { title: "STARTED", value: (task) => when(task.executionInfo?.startTime) },
      { title: "TOOK", right: true, value: took },
      { title: "PROBLEM", value: (task) => (task.executionInfo?.schedulingError ? failureOf(task) : "") },
    ]));
  }
  if (more) call.io.err(`Only the first ${limit} are shown: --limit N shows more.\n`);
  return EXIT.ok;
}

const took = ({ executionInfo: info }: TaskResource): string | undefined =>
  info?.startTime && info.endTime ? spell(Date.parse(info.endTime) - Date.parse(info.startTime)) : undefined;

async function waitForWork(call: Invocation): Promise<number> {
  const client = call.client(WAIT_PATIENCE_MS);
  const { workItem } = parse.workReference(call.operands[0] as string);
  const job = await jobOf(client, workItem, call.text("job"));
  const timeout = call.text("timeout");
  const counts = await waitForTasks(client, workItem, job, {
    signal: call.io.signal,
    progress: call.flag("progress") ? createProgress(call.io, workItem) : undefined,
    ...(timeout === undefined ? {} : { timeoutMs: parse.milliseconds("--timeout", timeout) }),
  });
  if (call.flag("end")) await client.terminateJob(workItem, job, "AllTasksCompleted");
  return report(call, workItem, job, counts);
}

/** Tells how a job ended; the exit code is 1 if a task failed. */
export async function report(call: Invocation, workItem: string, job: string, counts: Counts, extra: Record<string, unknown> = {}): Promise<number> {
  const exitCode = counts.failed > 0 ? EXIT.failed : EXIT.ok;
  if (call.json) {
    json(call.io, { workItem, job, ...extra, counts, succeeded: counts.failed === 0 });
    return exitCode;
  }
  const rest = noteOf({ ...counts, failed: 0 });
  call.io.err(`${workItem}: ${plural(counts.completed, "task")} ended, ${counts.failed} failed${rest ? `, ${rest}` : ""}; ${spell(counts.cpuMs)} of processor time.\n`);
  if (counts.failed > 0) await tellFailures(call, workItem, job);
  return exitCode;
}

const FAILURES_SHOWN_MAX = 5;

async function tellFailures(call: Invocation, workItem: string, job: string): Promise<void> {
  let shown = 0;
  for await (const task of call.client().listTasks(workItem, job, { filter: "state eq 'completed'" })) {
    if (!hasFailed(task)) continue;
    if (shown++ === FAILURES_SHOWN_MAX) {
      call.io.err(`  ... all of them: batchledger tasks ${workItem} --failed\n`);
      return;
    }
    call.io.err(`  ${task.name}: ${clean(failureOf(task))}; see: batchledger logs ${workItem} ${task.name} --stderr\n`);
  }
}

async function terminate(call: Invocation): Promise<number> {
  const client = call.client();
  const { workItem, task } = parse.workReference(call.operands[0] as string);
  const job = call.text("job");
  if (task !== undefined) await client.terminateTask(workItem, await jobOf(client, workItem, job), task);
  else if (job !== undefined) await client.terminateJob(workItem, job);
  else await client.terminateWorkItem(workItem);
  return told(call, "is being ended");
}

async function remove(call: Invocation): Promise<number> {
  const client = call.client();
  const { workItem, task } = parse.workReference(call.operands[0] as string);
  const job = call.text("job");
  if (task !== undefined) await client.deleteTask(workItem, await jobOf(client, workItem, job), task);
  else if (job !== undefined) await client.deleteJob(workItem, job);
  else await client.deleteWorkItem(workItem);
  return told(call, task === undefined ? "is being deleted" : "is deleted");
}

function told(call: Invocation, what: string): number {
  if (call.json) json(call.io, { name: call.operands[0], result: what });
  else call.io.out(`${clean(call.operands[0] as string)} ${what}.\n`);
  return EXIT.ok;
}
