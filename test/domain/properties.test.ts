// What holds for every aggregate, whatever happens to it: any command from any reachable state is answered and folds, asking
// twice is asking once, and the rows and counters of its view, moved commit by commit, equal the whole history folded.
import { type AnyEvent, aggregates } from "../../src/domain/aggregates";
import { type Decider, type DomainEvent, fold, isRejection } from "../../src/domain/decider";
import type { Category } from "../../src/domain/ids";
import { anyViewOf } from "../../src/views/all";
import { type StateRow, difference, evolveRow, rowOf, stateOf } from "../../src/views/view";
import { type Seeded, forSeeds } from "../support/seeded";
import { type AnyCommand, KEYS, commandOf } from "../support/commands";

const CATEGORIES = Object.keys(aggregates) as Category[];
const deciderFor = (category: Category) => aggregates[category] as unknown as Decider<unknown, AnyCommand, DomainEvent>;

/** A history of the aggregate: what random commands did to it, commit by commit. */
const history = (category: Category, random: Seeded, steps: number): { commits: DomainEvent[][]; state: unknown } => {
  const decider = deciderFor(category);
  const commits: DomainEvent[][] = [];
  let state = decider.initial;
  for (let step = 0; step < steps; step++) {
    const answer = decider.decide(commandOf(category, random, state, step), state);
    if (isRejection(answer) || answer.length === 0) continue;
    // Stored and read again, as it would be.
    const stored = JSON.parse(JSON.stringify(answer)) as DomainEvent[];
    commits.push(stored);
    state = fold(decider as Decider<unknown, never, DomainEvent>, stored, state);
  }
  return { commits, state };
};

describe.each(CATEGORIES)("%s", (category) => {
  const decider = deciderFor(category);
  const view = anyViewOf(category);

  test("any command from any reachable state is answered, folds, and leaves the state before as it was", () =>
    forSeeds(120, (random) => {
      const { state } = history(category, random, random.below(25));
      const before = JSON.stringify(state);
      const answer = decider.decide(commandOf(category, random, state, 99), state);
      if (isRejection(answer)) expect(answer.code).toMatch(/^[A-Z][A-Za-z]+$/);
      else {
        const after = fold(decider as Decider<unknown, never, DomainEvent>, answer, state) as { phase: string };
        expect(typeof after.phase).toBe("string");
        expect(JSON.parse(JSON.stringify(after))).toEqual(after);
      }
      expect(JSON.stringify(state)).toBe(before);
    }));

  test("asked twice is asked once: the second time is refused or changes nothing, unless it is a change of definition", () =>
    forSeeds(120, (random) => {
      const { state } = history(category, random, random.below(25));
      const command = commandOf(category, random, state, 99);
      const first = decider.decide(command, state);
      if (isRejection(first) || first.length === 0 || REPEATABLE.has(command.type)) return;
      const after = fold(decider as Decider<unknown, never, DomainEvent>, first, state);
      const second = decider.decide(command, after);
      if (!isRejection(second)) expect({ command: command.type, again: second }).toEqual({ command: command.type, again: [] });
    }));

  test("a row moved commit by commit equals the stream folded, and the counters moved by differences equal the last tally", () =>
    forSeeds(120, (random) => {
      const { commits, state } = history(category, random, random.below(40));
      const stream = `${category}-${KEYS[category]}`;
      let row: StateRow<unknown> | undefined;
      const counters: Record<string, number> = {};
      commits.forEach((events, index) => {
        const next = evolveRow(view, stream, row, index + 1, events);
        const moved = difference(row ? view.tally(stateOf(row)) : {}, view.tally(stateOf(next)));
        for (const [name, by] of Object.entries(moved)) counters[name] = (counters[name] ?? 0) + by;
        row = JSON.parse(JSON.stringify(next)) as StateRow<unknown>;
      });
      if (!row) return;
      expect(row).toEqual(JSON.parse(JSON.stringify(rowOf(view, view.locate(KEYS[category]).id, commits.length, state))));
      const counted = Object.fromEntries(Object.entries(counters).filter(([, value]) => value !== 0));
      expect(counted).toEqual(Object.fromEntries(Object.entries(view.tally(state)).filter(([, value]) => value !== 0)));
      for (const value of Object.values(counters)) expect(value).toBeGreaterThanOrEqual(0);
    }));

  test("index values are text, and a row that is gone is in none", () =>
    forSeeds(60, (random) => {
      const { commits, state } = history(category, random, random.below(30));
      const row = rowOf(view, view.locate(KEYS[category]).id, commits.length, state);
      for (const [name, indexOf] of Object.entries(view.indexes)) {
        const value = (indexOf as (one: unknown) => unknown)(row);
        expect({ name, kind: typeof value }).toEqual({ name, kind: row.gone || value === undefined ? "undefined" : "string" });
      }
    }));

  test("random commands reach every event there is", () => {
    const seen = new Set<string>();
    forSeeds(150, (random) => history(category, random, 40).commits.flat().forEach(({ type }) => seen.add(type)));
    if (process.env["SEED"] === undefined) expect([...seen].sort()).toEqual([...EVENTS[category]].sort());
  });
});

/** A user may change a definition to what it is already: each change is one. And who asks for more TVMs twice gets more. */
const REPEATABLE = new Set(["UpdatePool", "UpdateWorkItem", "UpdateJob", "UpdateTask", "AllocateTvms", "EnableAutoScale", "DisableAutoScale"]);

const EVENTS: { readonly [C in Category]: readonly (AnyEvent["type"])[] } = {
  pool: ["PoolCreated", "PoolUpdated", "PoolResized", "PoolAutoScaleEnabled", "PoolAutoScaleEvaluated", "PoolAutoScaleDisabled", "PoolOsUpgradeStarted", "PoolOsUpgradeEnded", "PoolResizeStopped", "PoolResizeEnded", "PoolTvmsAllocated", "PoolTvmsReleased", "PoolDeletionStarted", "PoolDeleted"],
  tvm: ["TvmAllocated", "TvmJoined", "TvmStartTaskStarted", "TvmStartTaskEnded", "TvmLost", "TvmRecovered", "TvmRestartRequested", "TvmRestarting", "TvmUserAdded", "TvmUserUpdated", "TvmUserDeleted", "TvmLeaving", "TvmKept", "TvmDrained", "TvmRemoved"],
  workItem: ["WorkItemCreated", "WorkItemJobSpawned", "WorkItemOccurrencesSkipped", "WorkItemUpdated", "WorkItemDisabled", "WorkItemEnabled", "WorkItemPoolReleased", "WorkItemTerminationStarted", "WorkItemCompleted", "WorkItemDeletionStarted", "WorkItemDeleted"],
  job: ["JobCreated", "JobUpdated", "JobManagerQueued", "JobDisablingStarted", "JobDisabled", "JobEnabled", "JobTerminationStarted", "JobCompleted", "JobDeletionStarted", "JobDeleted"],
  task: ["TaskQueued", "TaskAssigned", "TaskStarted", "TaskReturned", "TaskRetried", "TaskRequeued", "TaskCompleted", "TaskUpdated", "TaskDeleted"],
  certificate: ["CertificateAdded", "CertificateDeletionStarted", "CertificateDeletionFailed", "CertificateDeletionCancelled", "CertificateRetired", "CertificateDeleted"],
};

describe("reports about a task", () => {
  test("in any order, repeated at will: the same end as once and in order, and attempts never go back", () =>
    forSeeds(200, (random) => {
      const decider = deciderFor("task");
      const { state } = history("task", random, 6 + random.below(20));
      const now = state as { phase: string; attempt: number };
      if (now.phase !== "assigned" && now.phase !== "running") return;
      const tvm = "local.pool-a.tvm-1";
      const reports: AnyCommand[] = [
        { type: "StartTask", at: "2015-04-02T00:00:00.000Z", attempt: now.attempt, tvm },
        { type: "CompleteTask", at: "2015-04-02T00:00:09.000Z", attempt: now.attempt, tvm, startedAt: "2015-04-02T00:00:00.000Z", exitCode: random.oneOf([0, 1]) },
      ];
      const run = (list: readonly AnyCommand[]): unknown => {
        let at = state;
        for (const command of list) at = fold(decider as Decider<unknown, never, DomainEvent>, decider.decide(command, at) as DomainEvent[], at);
        return at;
      };
      const shuffled = Array.from({ length: 2 + random.below(6) }, () => random.oneOf(reports)).concat(reports).sort(() => random.below(3) - 1);
      expect(run(shuffled)).toEqual(run(reports));
    }));
});
