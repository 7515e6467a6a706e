// batchledger stats: what a pool, work item, job or task has used and come to.
import type { Command, Invocation } from "../command";
import { EXIT, usage } from "../failures";
import { clean, json } from "../output";
import * as parse from "../options";

export const statsCommand: Command = {
  words: "stats", operands: "WORKITEM[/TASK] | pools/POOL", operandsMin: 1, operandsMax: 1, connects: true,
  summary: "Shows what a work item, one of its jobs or tasks, or a pool has used: CPU, wall clock, waiting, core time, and how its tasks ended.",
  options: { job: { type: "string", value: "JOB", help: "this job of the work item alone (with a task: default its first)" } },
  run: stats,
};

async function stats(call: Invocation): Promise<number> {
  const found = await call.client().stats(...pathOf(call));
  if (call.json) json(call.io, found);
  else call.io.out(lines(found).map(([name, value]) => `${name.padEnd(20)}${clean(value)}\n`).join(""));
  return EXIT.ok;
}

const FIRST_JOB = "job-0000000001";

const pathOf = (call: Invocation): string[] => {
  const [operand] = call.operands as [string];
  const job = call.text("job");
  if (operand.startsWith("pools/")) {
    if (job !== undefined) throw usage("--job is for work items.");
    return ["pools", parse.name("A pool's name", operand.slice(6))];
  }
  const { workItem, task } = parse.workReference(operand);
  const own = ["workitems", workItem];
  if (task !== undefined) return [...own, "jobs", job ?? FIRST_JOB, "tasks", task];
  return job === undefined ? own : [...own, "jobs", job];
};

/** Of an answer's values those that are for people: nested ones too, addresses not. */
const lines = (found: Readonly<Record<string, unknown>>): [string, string][] =>
  Object.entries(found).flatMap(([name, value]): [string, string][] => {
    if (name === "url") return [];
    if (typeof value === "object" && value !== null) return lines(value as Record<string, unknown>).filter(([inner]) => !(inner in found));
    return [[name, String(value)]];
  });
