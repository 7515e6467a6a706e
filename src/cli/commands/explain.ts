// batchledger why, events: why something does not happen, and all that did happen.
import type { Command, Invocation } from "../command";
import { EXIT, usage } from "../failures";
import { clean, json, plural, table } from "../output";
import * as parse from "../options";
import type { HistoryCommit, TaskResource, WhyAnswer } from "../resources";
import { certificateOf } from "../client";
import { jobOf, totalOf } from "../waiting";

const JOB = { job: { type: "string", value: "JOB", help: "a job of the work item (default: its latest)" } } as const;
const TASKS_EXPLAINED_MAX = 5;

export const explainCommands: readonly Command[] = [
  {
    words: "why", operands: "WORKITEM [TASK]", operandsMin: 1, operandsMax: 2, connects: true,
    summary: "Says why a task does not run, or why it ended as it did. Without TASK: of the first tasks that have not ended.",
    options: { ...JOB }, run: why,
  },
  {
    words: "events", operands: "WORKITEM[/TASK] | pools/POOL[/TVM] | certificates/THUMBPRINT", operandsMin: 1, operandsMax: 1, connects: true,
    summary: "Prints the history of a work item, task, pool, TVM or certificate: every change of its state, oldest first.",
    options: { ...JOB }, run: events,
  },
];

async function why(call: Invocation): Promise<number> {
  const client = call.client();
  const [first, second] = call.operands as [string, string | undefined];
  const { workItem, task = second } = parse.workReference(first);
  const job = await jobOf(client, workItem, call.text("job"));
  if (task !== undefined) {
    const answer = await client.why(workItem, job, task);
    if (call.json) json(call.io, answer);
    else call.io.out(told(task, answer));
    return EXIT.ok;
  }
  const unfinished: TaskResource[] = [];
  for (const state of ["active", "running"]) {
    if (unfinished.length === TASKS_EXPLAINED_MAX) break;
    for await (const found of client.listTasks(workItem, job, { filter: `state eq '${state}'`, pageSize: TASKS_EXPLAINED_MAX })) {
      unfinished.push(found);
      if (unfinished.length === TASKS_EXPLAINED_MAX) break;
    }
  }
  const counts = await client.counts(workItem, job);
  const answers = await Promise.all(unfinished.map(async ({ name }) => ({ task: name, ...(await client.why(workItem, job, name)) })));
  if (call.json) {
    json(call.io, { counts, tasks: answers });
    return EXIT.ok;
  }
  const state = (await client.getJob(workItem, job)).state;
  call.io.out(`${workItem} (${clean(state)}): ${counts.active + counts.assigned} waiting, ${counts.running} running, ${counts.completed} of ${plural(totalOf(counts), "task")} ended, ${counts.failed} failed.\n`);
  for (const answer of answers) call.io.out(told(answer.task, answer));
  if (counts.failed > 0) call.io.out(`The failed ones: batchledger tasks ${workItem} --failed\n`);
  return EXIT.ok;
}

const told = (task: string, { state, reasons }: WhyAnswer): string =>
  `${clean(task)} is ${clean(state)}.\n${reasons.map((reason) => `  - ${clean(reason)}\n`).join("")}`;

async function events(call: Invocation): Promise<number> {
  const commits = await call.client().history(await historyPath(call, call.operands[0] as string));
  if (call.json) {
    json(call.io, commits);
    return EXIT.ok;
  }
  const rows = commits.flatMap((commit: HistoryCommit) => commit.events.map((event) => ({ commit, event })));
  call.io.out(table(rows, [
    { title: "VERSION", right: true, value: ({ commit }) => commit.version },
    { title: "AT", value: ({ event }) => event.at },
    { title: "BY", value: ({ commit }) => commit.by },
    { title: "EVENT", value: ({ event }) => event.type },
    { title: "DETAILS", value: ({ event }) => details(event) },
  ]));
  return EXIT.ok;
}

async function historyPath(call: Invocation, text: string): Promise<string[]> {
  if (text.startsWith("pools/")) {
    const [, pool, tvm, ...more] = text.split("/") as [string, string, ...string[]];
    if (!pool || tvm === "" || more.length > 0) throw usage(`"${text}" is not pools/POOL or pools/POOL/TVM.`);
    return tvm === undefined ? ["pools", pool] : ["pools", pool, "tvms", tvm];
  }
  if (text.startsWith("certificates/")) return [certificateOf(parse.thumbprint("The name after certificates/", text.slice("certificates/".length)))];
  const { workItem, task } = parse.workReference(text);
  const named = call.text("job");
  if (task === undefined) return named === undefined ? ["workitems", workItem] : ["workitems", workItem, "jobs", named];
  return ["workitems", workItem, "jobs", await jobOf(call.client(), workItem, named), "tasks", task];
}

const DETAILS_MAX = 160;

/** The event's own fields as name=value, cut to a line. */
function details(event: HistoryCommit["events"][number]): string {
  const fields = Object.entries(event).filter(([name]) => name !== "type" && name !== "at");
  const text = fields.map(([name, value]) => `${name}=${typeof value === "object" ? JSON.stringify(value) : String(value)}`).join(" ");
  return text.length > DETAILS_MAX ? `${text.slice(0, DETAILS_MAX - 3)}...` : text;
}
