// Who asks, and when: read once at the door (HTTP, message, timer, step) and handed on.

export interface Call {
  readonly account: string;
  /** The instant of the request, ISO 8601 with milliseconds. */
  readonly at: string;
  /** For the history of things: an account, a TVM or the service. Never a secret. */
  readonly by: string;
}

/** What the service does of its own accord. */
export const ownCall = (account: string, at: string): Call => ({ account, at, by: "service" });
