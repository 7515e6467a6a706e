// What a look at a process answers. A process is a durable loop: look, then wait for a nudge or a time, then look again;
// it holds nothing between two looks, so that it may be killed anywhere.

export interface Next {
  /** Nothing more will happen by itself: the process ends, and a nudge starts it anew. */
  readonly done?: boolean;
  /** Look again at this instant, nudged or not. */
  readonly wakeAt?: string;
}

export const DONE: Next = { done: true };
export const WAIT: Next = {};

/** The earlier of two instants that may be missing. */
export const earlier = (a: string | undefined, b: string | undefined): string | undefined =>
  a === undefined ? b : b === undefined || a < b ? a : b;

export const wakeAt = (instant: string | undefined): Next => (instant === undefined ? WAIT : { wakeAt: instant });
