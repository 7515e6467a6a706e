// The task hub: runs the one orchestrator body as Durable Functions does, from its history, each turn from the start of its
// generation, so that a process may die between any two. Durable itself; its activities run in service processes.
import type { OrchestrationContext } from "durable-functions";
import { type ProcessInput, STEP, loop } from "../../src/process/loop";
import type { Seeded } from "../support/seeded";
import type { Profile } from "./faults";
import { type DurableClient, functionNamed } from "./functions";
import type { Generation } from "./history";
import type { Service } from "./service";
import type { Timeline } from "./timeline";

type Came = { kind: "result" | "failed" | "nudge" | "timer"; value?: unknown; atMs: number };

interface Instance {
  readonly id: string;
  readonly input: ProcessInput;
  running: boolean;
  generation: number;
  startMs: number;
  came: Came[];
  /** Nudges that nobody has waited for yet. */
  nudges: number;
  cancelTimer: (() => void) | undefined;
}

export interface HubOptions {
  readonly timeline: Timeline;
  readonly random: Seeded;
  service(): Service;
  profile(): Profile;
  trace(line: string): void;
}

const ORCHESTRATORS = ["poolProcess", "workItemProcess", "jobProcess"];
/** An activity whose process died is handed out again after this. */
const LOST_WORK_MS = 5_000;

export type Hub = ReturnType<typeof createHub>;

export const createHub = ({ timeline, random, service, profile, trace }: HubOptions) => {
  const instances = new Map<string, Instance>();
  const generations: Generation[] = [];

  const turn = (one: Instance): void => {
    const { waits, over } = replay(one.input, one.startMs, one.came);
    if (over) return conclude(one, waits, over);
    const last = waits.at(-1) as string;
    if (last.startsWith("activity")) return perform(one);
    if (one.nudges > 0) {
      one.nudges--;
      return arrive(one, "nudge");
    }
    const at = /^any timer (\d+)$/.exec(last)?.[1];
    const { generation } = one;
    if (at !== undefined)
      one.cancelTimer = timeline.after(Number(at) - timeline.now(), () => {
        if (one.running && one.generation === generation) arrive(one, "timer");
      });
  };

  const arrive = (one: Instance, kind: Came["kind"], value?: unknown): void => {
    one.cancelTimer?.();
    one.cancelTimer = undefined;
    one.came.push({ kind, atMs: timeline.now(), ...(value === undefined ? {} : { value }) });
    turn(one);
  };

  const conclude = (one: Instance, waits: readonly string[], over: "done" | "again"): void => {
    generations.push({ instance: one.id, input: one.input, startMs: one.startMs, came: one.came, waits });
    one.running = over === "again";
    if (!one.running) return;
    one.generation++;
    one.startMs = timeline.now();
    one.came = [];
    if (one.nudges > 0 && random.chance(profile().loseNudge)) one.nudges = 0;
    timeline.after(1, () => turn(one));
  };

  /** At least once: also when it was done, and the process died before it could say so. */
  const perform = (one: Instance): void => {
    const again = (): void => void timeline.after(LOST_WORK_MS, () => perform(one));
    const process = service().pick();
    if (!process) return again();
    service().run(process, functionNamed(STEP), one.input, {}, (how) => {
      if (how.kind === "killed") return again();
      timeline.after(1, () => (how.kind === "done" ? arrive(one, "result", how.value) : arrive(one, "failed")));
    });
  };

  const client: DurableClient = {
    async startNew(orchestrator, { instanceId, input }) {
      if (!ORCHESTRATORS.includes(orchestrator)) throw new Error(`No orchestrator ${orchestrator}.`);
      const there = instances.get(instanceId);
      if (there?.running) throw new Error(`An instance with ID ${instanceId} already exists.`);
      const one: Instance = { id: instanceId, input: input as ProcessInput, running: true, generation: (there?.generation ?? 0) + 1, startMs: timeline.now(), came: [], nudges: 0, cancelTimer: undefined };
      instances.set(instanceId, one);
      trace(`orchestration ${instanceId} starts`);
      timeline.after(random.below(10), () => turn(one));
      return instanceId;
    },
    async raiseEvent(instanceId) {
      const one = instances.get(instanceId);
      if (!one?.running) throw new Error(`No instance with ID ${instanceId} is running.`);
      one.nudges++;
      timeline.after(random.below(10), () => {
        if (one.running && one.nudges > 0 && isWaiting(one)) {
          one.nudges--;
          arrive(one, "nudge");
        }
      });
    },
  };
  const isWaiting = (one: Instance): boolean => one.came.length === 1;

  return { client, generations, running: () => [...instances.values()].filter((one) => one.running).map(({ id }) => id) };
};

/** The orchestrator's function over what came so far: what it waited for each time, and how it ended if it did. */
export const replay = (input: ProcessInput, startMs: number, came: readonly Came[]): { waits: string[]; over?: "done" | "again" } => {
  let again = false;
  let nowMs = startMs;
  const df = {
    getInput: () => input,
    get currentUtcDateTime() {
      return new Date(nowMs);
    },
    callActivity: (name: string, given: unknown) => ({ wait: `activity ${name} ${JSON.stringify(given)}` }),
    waitForExternalEvent: (name: string) => ({ wait: `event ${name}` }),
    createTimer: (at: Date) => ({ wait: `timer ${at.getTime()}`, cancel: () => {} }),
    Task: { any: (tasks: readonly { wait: string }[]) => ({ wait: `any ${tasks.filter(({ wait }) => wait.startsWith("timer")).map(({ wait }) => wait).join()}`, tasks }) },
    continueAsNew: () => void (again = true),
  };
  const body = loop({ df } as unknown as OrchestrationContext);
  const waits: string[] = [];
  let next = body.next();
  for (const one of came) {
    if (next.done) break;
    const task = next.value as unknown as { wait: string; tasks?: readonly { wait: string }[] };
    waits.push(task.wait);
    nowMs = one.atMs;
    if (one.kind === "failed") next = body.throw(new Error("The activity failed."));
    else next = body.next(one.kind === "result" ? one.value : task.tasks?.find(({ wait }) => wait.startsWith(one.kind === "timer" ? "timer" : "event")));
  }
  if (!next.done) waits.push((next.value as unknown as { wait: string }).wait);
  return next.done ? { waits, over: again ? "again" : "done" } : { waits };
};

