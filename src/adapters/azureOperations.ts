// Carries out Azure's long operations within bounds: what is busy is tried again a few times, what takes long is left to go on
// by itself, and whatever goes wrong becomes a status, a code and a text. It keeps nothing of a request, whose headers and body
// hold credentials.

import type { Clock } from "../ports";

export interface AzureProblem {
  /** Absent: the operation was taken and failed later, or nobody answered. */
  readonly status: number | undefined;
  readonly code: string | undefined;
  /** Azure's own words. */
  readonly message: string;
}

/** Of an SDK's poller what is used here. */
interface Operation {
  submitted(): Promise<void>;
  pollUntilDone(options: { abortSignal: AbortSignal }): Promise<unknown>;
}

interface How {
  readonly abortSignal: AbortSignal;
  readonly updateIntervalInMs: number;
}

export interface Operations {
  /** Starts it, and waits for its end no longer than this: "underWay" goes on by itself. Throws what Azure says against it. */
  carryOut(start: (how: How) => Operation, waitMs: number): Promise<"done" | "underWay">;
  /** One call with a bound; its aborted error when there was no answer in time. */
  bounded<T>(act: (abortSignal: AbortSignal) => Promise<T>): Promise<T>;
}

/** For taking an order, the SDK's own tries and the pauses that Azure asks for included. */
const answerMs = 60_000;
const triesMax = 4;
const firstPauseMs = 500;
const busy = ["Conflict", "AnotherOperationInProgress", "RetryableError", "OperationPreempted"];

export function boundedOperations(clock: Clock, pollMs: number): Operations {
  async function within<T>(milliseconds: number, act: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    const [limit, over] = [new AbortController(), new AbortController()];
    void clock.sleep(milliseconds, over.signal).then(() => {
      if (!over.signal.aborted) limit.abort();
    });
    try {
      return await act(limit.signal);
    } finally {
      over.abort();
    }
  }

  async function submit(start: (how: How) => Operation): Promise<{ operation: Operation }> {
    for (let tries = 1; ; tries++) {
      try {
        return await within(answerMs, async (abortSignal) => {
          const operation = start({ abortSignal, updateIntervalInMs: pollMs });
          await operation.submitted();
          // A poller is a promise of its end: it is wrapped, or returning it would wait for that.
          return { operation };
        });
      } catch (error) {
        const { status, code = "" } = azureProblem(error);
        if (tries >= triesMax || status !== 409 || !busy.includes(code)) throw error;
        await clock.sleep(firstPauseMs * 2 ** (tries - 1));
      }
    }
  }

  return {
    async carryOut(start, waitMs) {
      const { operation } = await submit(start);
      let late = false;
      try {
        await within(waitMs, (abortSignal) => {
          abortSignal.addEventListener("abort", () => (late = true));
          return operation.pollUntilDone({ abortSignal });
        });
        return "done";
      } catch (error) {
        if (late) return "underWay";
        throw error;
      }
    },
    bounded: (act) => within(answerMs, act),
  };
}

/** What an SDK's error says, without what it carries. */
export function azureProblem(error: unknown): AzureProblem {
  const { statusCode, code, name, message, details } = error as { statusCode?: unknown; code?: unknown; name?: unknown; message?: unknown; details?: { error?: { code?: unknown; message?: unknown } } };
  const status = typeof statusCode === "number" ? statusCode : undefined;
  if (name === "AbortError") return { status, code: undefined, message: "Azure did not answer in time." };
  const text = typeof details?.error?.message === "string" ? details.error.message : typeof message === "string" ? message : "";
  // How the SDK words the end of an operation that was taken and failed.
  const ended = /^The long-running operation has failed\. (\w{1,80})\. ([\s\S]*)$/.exec(text);
  if (ended) return { status, code: ended[1], message: ended[2] ?? "" };
  const named = [details?.error?.code, code].find((one): one is string => typeof one === "string" && /^\w{1,80}$/.test(one) && !/^\d+$/.test(one));
  return { status, code: named, message: text };
}
