// Errors that live inside resources (reference section 3): why a task or a resize did not do what was asked.

export interface SchedulingError {
  readonly category: "UserError" | "ServerError";
  readonly code: string;
  readonly message?: string;
  readonly details?: readonly { readonly name: string; readonly value: string }[];
}

export interface ResizeError {
  readonly code: "AllocationFailed" | "AllocationTimedout" | "RemoveTVMsFailed" | "ResizeStopped" | "AccountCoreQuotaReached" | "Unknown";
  readonly message: string;
}

/** Exit code of a task that was killed for its time limit: 0xC000013A as a signed 32-bit number (seed, error handling). */
export const TIME_LIMIT_EXIT_CODE = -1073741510;

export const taskEnded = (category: "UserError" | "ServerError", message: string): SchedulingError => ({
  category,
  code: "TaskEnded",
  message,
});
