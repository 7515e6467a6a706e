// Schedules, told again from a work item's events alone: by what a schedule means (seed; reference 5.6), not by the code that
// decides. Each occurrence, in its turn, gets its job or is skipped for a reason, and no job is made beside that.
import { parentOf } from "../../../src/domain/ids";
import { type Checker, endOf, told } from "../told";

interface Terms {
  readonly doNotRunUntil?: string;
  readonly doNotRunAfter?: string;
  readonly startWindowMs?: number;
  readonly recurrenceMs?: number;
}

/** A work item as it should be; times in milliseconds. */
interface Life {
  phase: string;
  generation: number;
  terms: Terms | undefined;
  /** The occurrence whose turn it is, and the last one that had it. */
  next: number | undefined;
  last: number | undefined;
  jobs: number;
  createdMs: number;
}

type Event = Record<string, unknown> & { readonly type: string; readonly at: string };

const ms = (instant: unknown): number => Date.parse(String(instant));
const iso = (at: number | undefined): string => (at === undefined ? "none" : new Date(at).toISOString());
const within = (terms: Terms | undefined, at: number): number | undefined => (terms?.doNotRunAfter !== undefined && at > ms(terms.doNotRunAfter) ? undefined : at);
const first = (terms: Terms | undefined, at: number): number | undefined => within(terms, terms?.doNotRunUntil === undefined ? at : Math.max(at, ms(terms.doNotRunUntil)));
const following = (terms: Terms | undefined, at: number): number | undefined => (terms?.recurrenceMs === undefined ? undefined : within(terms, at + terms.recurrenceMs));
/** A window as long as the interval bounds nothing: the next occurrence does. */
const windowOf = (terms: Terms | undefined): number | undefined =>
  terms?.startWindowMs === undefined || (terms.recurrenceMs !== undefined && terms.startWindowMs >= terms.recurrenceMs) ? undefined : terms.startWindowMs;

/** Why an occurrence may not start any more; undefined: it may. */
const lateness = (terms: Terms | undefined, due: number, at: number): string | undefined => {
  const after = following(terms, due);
  if (after !== undefined && after <= at) return "the next one is due";
  const window = windowOf(terms);
  if (window !== undefined && at > due + window) return "its window is over";
  return terms?.doNotRunAfter !== undefined && at > ms(terms.doNotRunAfter) ? "the schedule is over" : undefined;
};

const sameTerms = (a: Terms | undefined, b: Terms | undefined): boolean =>
  (a === undefined) === (b === undefined) && (["doNotRunUntil", "doNotRunAfter", "startWindowMs", "recurrenceMs"] as const).every((name) => a?.[name] === b?.[name]);

/** Under new terms: from their own start, or in steps of the new interval from the last occurrence, and never in the past. */
const nextUnder = (life: Life, terms: Terms | undefined, at: number): number | undefined => {
  if (life.jobs === 0 && (life.last === undefined || terms?.recurrenceMs === undefined)) return first(terms, at);
  if (terms?.recurrenceMs === undefined) return undefined;
  if (terms.doNotRunUntil !== undefined && ms(terms.doNotRunUntil) > at) return within(terms, ms(terms.doNotRunUntil));
  const from = life.last ?? life.createdMs;
  return within(terms, from + Math.max(1, Math.ceil((at - from) / terms.recurrenceMs)) * terms.recurrenceMs);
};

/** Clocks of processes differ, and an update is never older than the one before it. */
const CLOCKS_MS = 1_000;
/** What is due is begun within this, unless something is in its way. */
const LATE_MS = 60_000;

const created = (life: Life, event: Event, spec: { schedule?: Terms }): void => {
  const at = ms(event.at);
  Object.assign(life, { phase: "active", generation: life.generation + 1, terms: spec.schedule, next: first(spec.schedule, at), last: undefined, jobs: 0, createdMs: at });
};

const skipped = (life: Life, event: Event, replaced: boolean): string[] => {
  const { terms, next } = life;
  const [from, to, at] = [ms(event["from"]), ms(event["to"]), ms(event.at)];
  const count = terms?.recurrenceMs === undefined ? 1 : (to - from) / terms.recurrenceMs + 1;
  life.last = to;
  life.next = following(terms, to);
  return [
    ...(from === next ? [] : [`skipped ${iso(from)}, and the next one was ${iso(next)}`]),
    ...(event["count"] === count ? [] : [`counted ${String(event["count"])} occurrences from ${iso(from)} to ${iso(to)}`]),
    ...(within(terms, to) === undefined || to > at ? [`skipped ${iso(to)} at ${event.at}, when it was not due`] : []),
    ...(replaced || lateness(terms, to, at) !== undefined ? [] : [`skipped ${iso(to)} at ${event.at} for no reason`]),
  ];
};

const spawned = (life: Life, event: Event, withCreation: boolean): string[] => {
  const { terms, next, phase } = life;
  const at = ms(event.at);
  life.jobs++;
  const name = `job-${String(life.jobs).padStart(10, "0")}`;
  const misnamed = event["job"] === name ? [] : [`made ${String(event["job"])} and not ${name}`];
  if (phase !== "active") return [...misnamed, `made ${name} while it was ${phase}`];
  if (event["occurrence"] === undefined) {
    life.next = undefined;
    return [...misnamed, ...(withCreation && terms === undefined ? [] : [`made ${name} for no occurrence`])];
  }
  const due = ms(event["occurrence"]);
  const late = lateness(terms, due, at);
  life.last = due;
  life.next = following(terms, due);
  return [...misnamed, ...(due === next ? [] : [`made ${name} for ${iso(due)}, and the next one was ${iso(next)}`]), ...(due > at ? [`made ${name} for ${iso(due)} at ${event.at}`] : []), ...(late === undefined ? [] : [`made ${name} for ${iso(due)} at ${event.at}, when ${late}`])];
};

const updated = (life: Life, event: Event, terms: Terms | undefined): string[] => {
  if (sameTerms(terms, life.terms)) return [];
  const at = ms(event.at);
  const left = life.next !== undefined && life.next < at - CLOCKS_MS ? [`changed its schedule at ${event.at} and forgot what was due at ${iso(life.next)}`] : [];
  life.next = nextUnder(life, terms, at);
  life.terms = terms;
  return left;
};

const ended = (life: Life, event: Event): string[] => {
  const { phase, next, terms } = life;
  life.phase = "completed";
  const over = next === undefined && (terms?.recurrenceMs === undefined || terms.doNotRunAfter === undefined || ms(event.at) > ms(terms.doNotRunAfter));
  return phase === "active" && !over ? [`was completed while ${iso(next)} was to come`] : [];
};

const PHASES: Readonly<Record<string, string>> = { WorkItemDisabled: "disabled", WorkItemEnabled: "active", WorkItemTerminationStarted: "terminating", WorkItemDeletionStarted: "deleting", WorkItemDeleted: "absent" };

const follow = (life: Life, event: Event, commit: readonly { readonly type: string }[]): string[] => {
  const has = (type: string): boolean => commit.some((one) => one.type === type);
  const spec = event["spec"] as { schedule?: Terms } | undefined;
  if (PHASES[event.type] !== undefined) life.phase = PHASES[event.type] as string;
  switch (event.type) {
    case "WorkItemCreated":
      created(life, event, spec ?? {});
      return [];
    case "WorkItemOccurrencesSkipped":
      return skipped(life, event, has("WorkItemUpdated"));
    case "WorkItemJobSpawned":
      return spawned(life, event, has("WorkItemCreated"));
    case "WorkItemUpdated":
      return updated(life, event, spec?.schedule);
    case "WorkItemCompleted":
      return ended(life, event);
    default:
      return [];
  }
};

const fresh = (): Life => ({ phase: "absent", generation: 0, terms: undefined, next: undefined, last: undefined, jobs: 0, createdMs: 0 });

/** Each occurrence got its job or was skipped for a reason, in its turn; one job is open at a time; and none is overdue at the end. */
export const noOccurrenceIsMissing: Checker = (history) => {
  const lives = new Map<string, Life>();
  const open = new Map<string, string>();
  const wrong = told(history).flatMap(({ stream, key, event, stored }) => {
    if (event.type === "JobCompleted" || event.type === "JobDeletionStarted") open.delete(key);
    if (event.type === "JobCreated") open.set(key, parentOf(key));
    if (!stream.startsWith("workItem-")) return [];
    const life = lives.get(key) ?? fresh();
    lives.set(key, life);
    const said = follow(life, event as never, stored.commit.events as never);
    const before = event.type === "WorkItemJobSpawned" ? [...open].find(([, item]) => item === `${key}.${life.generation}`)?.[0] : undefined;
    return [...said, ...(before === undefined ? [] : [`made ${String(event["job"])} while ${before} was open`])].map((what) => `${stream} ${what}`);
  });
  const end = endOf(history);
  const overdue = [...lives].filter(([key, { phase, next, generation }]) => phase === "active" && next !== undefined && next < end - LATE_MS && ![...open.values()].includes(`${key}.${generation}`));
  return [...wrong, ...overdue.map(([key, { next }]) => `work item ${key} was to run at ${iso(next)} and has not`)];
};
