// What agents report becomes commands. A report is believed only about attempts that the reporting TVM has now; everything
// else is old news and changes nothing. Reports of one message are written together.
import { z } from "zod";
import { parentOf, taskStream, tvmStream } from "../domain/ids";
import { present } from "../domain/decider";
import type { TaskCommand } from "../domain/task";
import type { TvmCommand } from "../domain/tvm";
import type { Ports } from "../ports";
import { type Report, report } from "../wire";
import { type Order, execute, executeAll } from "./execute";
import { ranAtBoot } from "./tvmTasks";
import { wake } from "./wakes";

/** A message of the queue `reports`: written by the exchange of a TVM, or by who watches its machine. */
const reportsBody = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("reports"), tvm: z.string(), boot: z.int(), capacity: z.int(), reports: z.array(report) }),
  z.strictObject({ kind: z.literal("machineExited"), tvm: z.string(), boot: z.int() }),
]);
export type ReportsBody = z.infer<typeof reportsBody>;

/** Throws when the message is malformed: it belongs to the dead letters, and is never half believed. */
export const acceptReports = async (ports: Ports, body: unknown, at: string): Promise<void> => {
  const message = reportsBody.parse(body);
  if (message.kind === "machineExited") {
    const ran = await ranAtBoot(ports, message.tvm, message.boot);
    await execute(ports, "tvm", "service", {
      stream: tvmStream(message.tvm),
      command: { type: "RestartTvm", at, boot: message.boot, reason: "machineExited", ...present({ ran }) },
    });
    return;
  }
  await acceptTaskReports(ports, message);
  for (const one of message.reports) await acceptStartTaskReport(ports, message, one);
  await wake(ports, [{ pool: parentOf(message.tvm), tvms: [{ tvm: message.tvm, capacity: message.capacity }] }]);
};

const acceptTaskReports = async (ports: Ports, message: Extract<ReportsBody, { kind: "reports" }>): Promise<void> => {
  // The last word about an attempt says all that the earlier ones did: its end tells when it started.
  const last = new Map<string, Order<"task">>();
  for (const one of message.reports) {
    const command = taskCommand(one, message.tvm);
    if (!command || !("key" in one)) continue;
    const known = last.get(one.key);
    if (known && saysMore(known.command, command)) continue;
    last.set(one.key, { stream: taskStream(one.key), command });
  }
  await executeAll(ports, "task", message.tvm, [...last.values()]);
};

const WEIGHT: Partial<Record<TaskCommand["type"], number>> = { StartTask: 0, ReturnTask: 1, CompleteTask: 2 };

/** The first of two reports about one task tells more than the second, in whatever order they come: a later attempt, or its end. */
const saysMore = (first: TaskCommand, second: TaskCommand): boolean => {
  const [a, b] = [first, second].map((command) => ("attempt" in command ? (command.attempt ?? 0) : 0)) as [number, number];
  return a === b ? (WEIGHT[first.type] ?? 0) > (WEIGHT[second.type] ?? 0) : a > b;
};

const taskCommand = (one: Report, tvm: string): TaskCommand | undefined => {
  switch (one.kind) {
    case "taskStarted":
      return { type: "StartTask", at: one.at, attempt: one.attempt, tvm };
    case "taskReturned":
      return { type: "ReturnTask", at: one.at, attempt: one.attempt, tvm };
    case "taskEnded": {
      const { at, attempt, startedAt, exitCode, error, usage } = one;
      return { type: "CompleteTask", at, attempt, tvm, ...present({ startedAt, exitCode, error, usage }) } as TaskCommand;
    }
    default:
      return undefined;
  }
};

const acceptStartTaskReport = async (ports: Ports, { tvm, boot }: { tvm: string; boot: number }, one: Report): Promise<void> => {
  if (one.kind !== "startTaskStarted" && one.kind !== "startTaskEnded") return;
  const { kind, run, at, ...rest } = one;
  const command: TvmCommand =
    kind === "startTaskStarted" ? { type: "StartStartTask", boot, run, at } : ({ type: "EndStartTask", boot, run, at, ...present(rest) } as TvmCommand);
  await execute(ports, "tvm", tvm, { stream: tvmStream(tvm), command });
};
