// What is on TVMs of a job that is being disabled: requeued, terminated or waited for, as its user said. It never touches what
// waits.
import { poolKey, taskStream, tvmKey } from "../domain/ids";
import type { DisableOption, Job } from "../domain/job";
import type { TaskCommand } from "../domain/task";
import type { Ports } from "../ports";
import { type TaskRow, parseHeld, tasks } from "../views/tasks";
import { tvms } from "../views/tvms";
import { type Order, executeAll } from "./execute";
import { HOLD_MAX } from "./holding";

/** Rounds before the caller looks at the world again. */
const ROUNDS = 10;
const TVMS_PAGE = 500;

/** True when no task of the job is on a TVM any more. Tasks that a TVM only holds go back whatever the option: nobody saw them run. */
export const takeOff = async (ports: Ports, job: string, state: Job, at: string): Promise<boolean> => {
  for (let round = 0; round < ROUNDS; round++) {
    const { assigned = 0, running = 0 } = await ports.views.counters(tasks, `${job}/`);
    if (assigned + running === 0) return true;
    const orders = (await heldOf(ports, job, state)).flatMap((row): Order<"task">[] => {
      const command = commandFor(row, state.account, state.disableTasks ?? "requeue", at);
      return command ? [{ stream: taskStream(`${job}.${row.id}`), command }] : [];
    });
    const outcomes = await executeAll(ports, "task", "service", orders);
    if (!outcomes.some((outcome) => "events" in outcome && outcome.events.length > 0)) return false;
  }
  return false;
};

const commandFor = (row: TaskRow, account: string, option: DisableOption, at: string): TaskCommand | undefined => {
  const { attempt } = row;
  if (row.phase === "assigned") return { type: "ReturnTask", at, attempt, tvm: tvmKey(account, row.pool ?? "", row.tvm ?? "") };
  if (row.phase !== "running" || option === "wait") return undefined;
  return option === "terminate"
    ? { type: "TerminateTask", at, attempt, message: "Its job was disabled.", byUser: false }
    : { type: "RequeueTask", at, attempt, reason: "jobDisabled" };
};

/** Of each TVM of the job's pool what it holds of the job: the work is in what runs, not in how much waits. */
const heldOf = async (ports: Ports, job: string, { account, pool }: Job): Promise<TaskRow[]> => {
  const rows: TaskRow[] = [];
  for (let after: string | undefined; ; ) {
    const page = await ports.views.query(tvms, { index: "pool", prefix: `${poolKey(account, pool)}/`, limit: TVMS_PAGE, ...(after === undefined ? {} : { after }) });
    const keys = await Promise.all(
      page.map(({ row }) => ports.views.keys(tasks, { index: "tvm", prefix: `${tvmKey(account, pool, row.name)}/${job}.`, limit: HOLD_MAX })),
    );
    const held = keys.flat().map(parseHeld);
    const found = await ports.views.get(tasks, held.map(({ task }) => tasks.locate(task)));
    for (const row of found) if (row && !row.gone) rows.push(row);
    if (page.length < TVMS_PAGE) return rows;
    after = (page[page.length - 1] as { key: string }).key;
  }
};
