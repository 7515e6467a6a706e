// Given these events, when this command, then these events (or this refusal): how an aggregate's rules are tested. Never
// touches anything but the decider.
import { type Decider, type DomainEvent, type Rejection, fold, isRejection } from "../../src/domain/decider";

export interface Outcome<State, Event> {
  /** Exactly these events; none: nothing to do, which is no refusal. */
  then(...events: Event[]): State;
  refused(code: string): void;
}

export interface Given<State, Command, Event> {
  /** What the events so far amount to. */
  readonly state: State;
  when(command: Command): Outcome<State, Event>;
  /** The same history, some events later. */
  and(...events: Event[]): Given<State, Command, Event>;
}

export const spec = <State, Command, Event extends DomainEvent>(decider: Decider<State, Command, Event>) => {
  const given = (...events: Event[]): Given<State, Command, Event> => {
    const state = fold(decider as Decider<State, never, Event>, events);
    return {
      state,
      when: (command) => outcome(decider, state, decider.decide(command, state)),
      and: (...more) => given(...events, ...more),
    };
  };
  return { given };
};

const outcome = <State, Command, Event extends DomainEvent>(
  decider: Decider<State, Command, Event>,
  state: State,
  answer: readonly Event[] | Rejection,
): Outcome<State, Event> => ({
  // oxlint-disable-next-line unicorn/no-thenable -- given, when, then; nobody awaits it
  then(...events) {
    expect(answer).toEqual(events);
    return fold(decider as Decider<State, never, Event>, events, state);
  },
  refused(code) {
    expect(isRejection(answer) ? answer.code : answer).toBe(code);
  },
});

/** An instant of the day that all tests live in: `at(90)` is a minute and a half past noon. */
export const at = (seconds: number): string => new Date(Date.UTC(2015, 3, 1, 12) + seconds * 1000).toISOString();
