// What can go wrong, as the command line tells it: an exit code, what happened, and what to do about it. Never a stack.

/** Exit codes that scripts can rely on. */
export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3, refused: 4, internal: 70, interrupted: 130 } as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** An error with advice, shown as "error: MESSAGE" and below it the excerpt, which may have several lines, and the hint. */
export class Failure extends Error {
  constructor(
    readonly exitCode: ExitCode,
    message: string,
    readonly hint?: string,
    readonly more: { readonly code?: string; readonly excerpt?: string } = {},
  ) {
    super(message);
    this.name = "Failure";
  }
}

/** The service answered with an error: its status, code and text. */
export class ServiceError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly values: readonly { readonly key: string; readonly value: string }[] = [],
    readonly requestId?: string,
  ) {
    super(message);
    this.name = "ServiceError";
  }
}

/** Nobody answered, or the answer broke off and repeating did not help. */
export class UnreachableError extends Error {
  constructor(readonly url: string, readonly reason: string) {
    super(`No answer from ${url} (${reason}).`);
    this.name = "UnreachableError";
  }
}

export const usage = (message: string, hint?: string): Failure => new Failure(EXIT.usage, message, hint);

const ADVICE: Readonly<Record<string, string>> = {
  AuthenticationFailed: "Check the account and key (`batchledger env`), and that this machine's clock is right.",
  InvalidAuthenticationInfo: "Check the account and key: `batchledger env` prints what this command uses.",
  PoolNotFound: "`batchledger pool list` names the pools.",
  PoolExists: "Choose another name, or use `batchledger pool resize`.",
  PoolBeingResized: "Wait until the pool is steady (`batchledger pool show`), then try again.",
  PoolBeingDeleted: "Wait until it is gone (`batchledger pool list`), or choose another name.",
  CertificateNotFound: "`batchledger certificate list` shows the thumbprints; `batchledger certificate add FILE` adds one.",
  CertificateExists: "It is there already: `batchledger certificate list`.",
  CertificateDeleteFailed: "`batchledger certificate cancel-delete THUMBPRINT` makes it active again.",
  TVMNotFound: "`batchledger tvms POOL` names the TVMs.",
  WorkItemNotFound: "`batchledger ps` names the work items.",
  WorkItemExists: "Choose another --name, or delete the old one: `batchledger delete WORKITEM`.",
  TaskNotFound: "`batchledger tasks WORKITEM` names the tasks.",
  TaskFilesUnavailable: "The task has not run yet, or its TVM is gone: `batchledger why WORKITEM TASK` says which.",
  TaskFilesCleanedup: "The time that the task's files are kept is over.",
  FileNotFound: "`batchledger files WORKITEM/TASK` lists the files; a task's own files are under wd/.",
};

/** How an error is told: exit code, message, advice. */
export function explain(error: unknown): { exitCode: ExitCode; message: string; hint?: string; code?: string; excerpt?: string } {
  if (error instanceof Failure) return { exitCode: error.exitCode, message: error.message, ...(error.hint ? { hint: error.hint } : {}), ...error.more };
  if (error instanceof UnreachableError) {
    return { exitCode: EXIT.unreachable, message: error.message, hint: "Is the service running? Start it with `batchledger start`, or say where it is: --data DIR or BATCHLEDGER_URL." };
  }
  if (error instanceof ServiceError) {
    const reason = error.values.filter(({ key }) => key.startsWith("Property") || key.startsWith("QueryParameter") || key === "Reason");
    const detail = reason.length ? ` (${reason.map(({ key, value }) => `${key}: ${value}`).join(", ")})` : "";
    const hint = ADVICE[error.code];
    return { exitCode: EXIT.refused, message: `${error.message || error.code} [${error.code}]${detail}`, code: error.code, ...(hint ? { hint } : {}) };
  }
  const { code, path, message } = error as NodeJS.ErrnoException;
  if (code === "EISDIR" && !path) return { exitCode: EXIT.usage, message: "A folder was given where a file is wanted." };
  if (code === "ENOENT" && path) return { exitCode: EXIT.usage, message: `There is no file ${path}.` };
  if ((code === "EACCES" || code === "EISDIR" || code === "ENOTDIR") && path) return { exitCode: EXIT.usage, message: `${path} cannot be used (${code}).` };
  return { exitCode: EXIT.internal, message: message || String(error), hint: "This is a defect of batchledger: BATCHLEDGER_TRACE=1 shows where it happened." };
}
