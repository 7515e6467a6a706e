// Every event that was ever stored still folds to what it folded to, and what cannot be folded is named, not guessed.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { foldCommits } from "../../src/app/fold";
import { type AnyEvent, aggregates } from "../../src/domain/aggregates";
import { type DomainEvent, fold, type Decider } from "../../src/domain/decider";
import { EVENT_SHAPES, faultOf } from "../../src/domain/events";
import type { Category } from "../../src/domain/ids";
import { react } from "../../src/domain/reactions";
import type { Commit, StoredEvent } from "../../src/ports";
import { KEYS } from "../support/commands";

interface Golden {
  readonly category: Category;
  readonly type: string;
  readonly examples: readonly { readonly what: string; readonly given: readonly StoredEvent[]; readonly event: StoredEvent; readonly state: Record<string, unknown> }[];
}

const folder = path.join(__dirname, "events");
const files: Golden[] = readdirSync(folder).sort().map((file) => {
  const golden = JSON.parse(readFileSync(path.join(folder, file), "utf8")) as Golden;
  expect(file).toBe(`${golden.type}.json`);
  return golden;
});
const examples = files.flatMap((file) => file.examples.map((example) => ({ ...example, ...file })));
const foldAll = (category: Category, events: readonly DomainEvent[]): unknown => fold(aggregates[category] as unknown as Decider<unknown, never, DomainEvent>, events);

// The compiler checks that these are all the types there are: see `satisfies Shapes` in events.ts.
const types = (Object.keys(EVENT_SHAPES) as Category[]).flatMap((category) => Object.keys(EVENT_SHAPES[category]).map((type) => ({ category, type })));

test("every type of event has examples", () => {
  expect(files.map(({ category, type }) => ({ category, type })).sort(byType)).toEqual(types.sort(byType));
  for (const { type, examples: some } of files) {
    expect({ type, examples: some.length }).not.toEqual({ type, examples: 0 });
    for (const { event } of some) expect(event.type).toBe(type);
  }
});

test("every field that an event can have is in an example", () => {
  const shown = new Map<string, Set<string>>();
  for (const { type, event } of examples) for (const name of Object.keys(event)) shown.set(type, (shown.get(type) ?? new Set()).add(name));
  for (const { category, type } of types) {
    const { optional = {}, ...needed } = (EVENT_SHAPES[category] as Record<string, { optional?: object }>)[type] as { optional?: object };
    expect({ type, fields: [...(shown.get(type) ?? [])].sort() }).toEqual({ type, fields: ["type", ...Object.keys(needed), ...Object.keys(optional)].sort() });
  }
});

describe.each(examples)("$type: $what", ({ category, given, event, state }) => {
  test("folds to what it always did, as does one with fields of a later release", () => {
    expect(foldAll(category, [...given, event])).toEqual(state);
    const later = [...given, event].map((one) => ({ ...one, fieldOfALaterRelease: { nested: [1] } }));
    const { fieldOfALaterRelease: _, ...folded } = foldAll(category, later) as Record<string, unknown>;
    expect(folded).toEqual(state);
  });

  test("is found whole, and reactions understand it", () => {
    for (const one of [...given, event]) expect(faultOf(category, one)).toBeUndefined();
    for (const effect of react(`${category}-${KEYS[category]}`, event as unknown as AnyEvent, state)) expect(typeof effect.kind).toBe("string");
  });

  test("is refused when anything that it must have is missing or of another kind", () => {
    for (const damaged of damages(event, (EVENT_SHAPES[category] as Record<string, object>)[event.type] as object)) {
      expect({ ...damaged, fault: faultOf(category, damaged.event) ?? "none" }).toEqual({ ...damaged, fault: expect.stringMatching(new RegExp(`^it(s| has no) ${damaged.field}( is no [a-z]+)?$`)) });
    }
  });
});

test("a stream with an event that cannot be used says which, where and why; what a snapshot stands for is not looked at", () => {
  const good = examples.find(({ type }) => type === "TaskQueued");
  const commit = (version: number, events: readonly unknown[], more: Partial<Commit> = {}): Commit =>
    ({ stream: "task-local.w.1.j.t", partition: "p", version, id: "x", by: "local", events: events as StoredEvent[], ...more });
  const queued = commit(1, [good?.event]);
  const read = (event: unknown) => () => foldCommits("task", [queued, commit(2, [event])]);
  const where = "of stream task-local.w.1.j.t, version 2, cannot be used:";
  expect(read({ type: "TaskStarted", at: "2015-04-01T12:00:00.000Z" })).toThrow(`An event (TaskStarted) ${where} it has no attempt.`);
  expect(read({ type: "TaskStarted", at: "2015-04-01T12:00:00.000Z", attempt: "1" })).toThrow(`${where} its attempt is no number.`);
  expect(read({ type: "TaskStarted", at: "yesterday", attempt: 1 })).toThrow(`${where} its at is no instant.`);
  expect(read({ ...good?.event, spec: { commandLine: "x" } })).toThrow(`${where} it has no spec.maxTaskRetryCount.`);
  expect(read({ type: "TaskPainted", at: "2015-04-01T12:00:00.000Z" })).toThrow(`${where} it is of type TaskPainted, which this release does not know for a task.`);
  expect(read({ type: "PoolDeleted", at: "2015-04-01T12:00:00.000Z" })).toThrow("does not know for a task");
  for (const none of [{}, null, "TaskDeleted", { type: "constructor", at: "2015-04-01T12:00:00.000Z" }]) expect(read(none)).toThrow("cannot be used");
  const state = (foldCommits("task", [queued]) as { state: unknown }).state;
  expect(foldCommits("task", [commit(64, [{ type: "TaskPainted" }], { snapshot: state })])).toEqual({ state, version: 64 });
});

/** The event without each thing that it must have, and with each thing that it has as another kind. */
function* damages(event: StoredEvent, shape: object, at: readonly string[] = []): Generator<{ field: string; event: unknown }> {
  const { optional = {}, ...needed } = shape as Record<string, object>;
  const holder = at.reduce<unknown>((inside, name) => (inside as Record<string, unknown>)[name], event) as Record<string, unknown>;
  for (const [name, inside] of [...Object.entries(needed), ...Object.entries(optional)]) {
    if (holder[name] === undefined || holder[name] === null) continue;
    const field = [...at, name].join(".");
    if (name in needed) yield { field, event: changed(event, [...at, name], undefined) };
    yield { field, event: changed(event, [...at, name], Array.isArray(holder[name]) ? "text" : [holder[name]]) };
    if (typeof inside === "object") yield* damages(event, inside, [...at, name]);
  }
}

const changed = (event: StoredEvent, place: readonly string[], value: unknown): unknown => {
  const copy = JSON.parse(JSON.stringify(event)) as Record<string, unknown>;
  const holder = place.slice(0, -1).reduce<Record<string, unknown>>((inside, name) => inside[name] as Record<string, unknown>, copy);
  holder[place.at(-1) as string] = value;
  return JSON.parse(JSON.stringify(copy));
};

const byType = (a: { type: string }, b: { type: string }): number => (a.type < b.type ? -1 : 1);
