// What an aggregate is: rules as pure functions over its own events. Nothing here (or in any file of this folder) does I/O,
// reads a clock, draws a random number or imports a package.

/** Refusals are values: the Batch service's own error code, a sentence for people, and what it is about. */
export interface Rejection {
  readonly rejected: true;
  readonly code: string;
  readonly message?: string;
  readonly values?: Readonly<Record<string, string>>;
}

export interface DomainEvent {
  readonly type: string;
  readonly at: string;
}

export interface Decider<State, Command, Event extends DomainEvent> {
  readonly initial: State;
  /** What happens now, or why nothing may. No events: nothing to do, which is not an error. */
  decide(command: Command, state: State): readonly Event[] | Rejection;
  /** Never refuses, never reads a clock. */
  evolve(state: State, event: Event): State;
}

export const rejection = (code: string, message?: string, values?: Readonly<Record<string, string>>): Rejection => ({
  rejected: true,
  code,
  ...(message === undefined ? {} : { message }),
  ...(values === undefined ? {} : { values }),
});

export const isRejection = (value: unknown): value is Rejection =>
  typeof value === "object" && value !== null && (value as Rejection).rejected === true;

export const fold = <State, Event extends DomainEvent>(
  decider: Decider<State, never, Event>,
  events: Iterable<Event>,
  from: State = decider.initial,
): State => {
  let state = from;
  for (const event of events) state = decider.evolve(state, event);
  return state;
};

/** Fields that are present, for objects built under exactOptionalPropertyTypes. */
export const present = <T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>;
  };
