// A function's own retry policy: the host invokes again in place and says so in the retry context.

import { log } from "./functionsCore";
import type { InvocationResponse, RegisteredFunction, RetryOptions } from "./functionsCore";
import type { HostClock } from "./clock";
import type { Call, Invoker, RetryContext } from "./invoke";

/** Invokes as often as the policy allows; throws the last error. Gives up early when `stopped`. */
export async function invokeWithRetry(
  invoker: Invoker,
  clock: HostClock,
  fn: RegisteredFunction,
  call: () => Call,
  stopped: () => boolean,
): Promise<InvocationResponse> {
  const policy = fn.metadata.retryOptions;
  const retriesMax = policy?.maxRetryCount ?? 0;
  let retryContext: RetryContext | undefined;
  for (let retry = 0; ; retry++) {
    try {
      return await invoker.invoke(fn, retryContext ? { ...call(), retryContext } : call());
    } catch (error) {
      if (!policy || (retriesMax >= 0 && retry >= retriesMax) || stopped()) throw error;
      const delayMs = retryDelayMs(policy, retry);
      log("warning", "system", `${messageOf(error)}; retry ${retry + 1}${retriesMax < 0 ? "" : ` of ${retriesMax}`} in ${delayMs} ms`, fn.name);
      await new Promise<void>((resolve) => clock.after(delayMs, resolve));
      if (stopped()) throw error;
      retryContext = retryContextOf(error, retry + 1, retriesMax);
    }
  }
}

export function retryContextOf(error: unknown, retryCount: number, maxRetryCount: number): RetryContext {
  const stackTrace = error instanceof Error ? (error.stack ?? "") : "";
  return { retryCount, maxRetryCount, exception: { message: messageOf(error), source: "", stackTrace } };
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function retryDelayMs(policy: RetryOptions, retry: number): number {
  const milliseconds = (span: { readonly seconds?: number } | undefined): number => (span?.seconds ?? 0) * 1000;
  if (policy.retryStrategy !== "exponentialBackoff") return milliseconds(policy.delayInterval);
  return Math.min(milliseconds(policy.maximumInterval), milliseconds(policy.minimumInterval) * 2 ** retry);
}
