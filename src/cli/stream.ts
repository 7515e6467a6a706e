// Tasks in bulk: one line a task over one long request, the answers read while it is written. Nothing is kept but the lines
// that have no answer yet; after a broken connection they are sent again, which is safe because the service counts a task that
// it already has, with the same content, as `existing`.
import type http from "node:http";
import { once } from "node:events";
import { ServiceError, UnreachableError } from "./failures";
import type { NewTask } from "./resources";
import { type Transport, type TransportOptions, backoff, brokenOff, pause, settle } from "./transport";

/** Bounds of one request: what is unanswered must fit into memory. A longer stream takes several requests. */
const REQUEST_LINES_MAX = 20_000;
const REQUEST_BYTES_MAX = 32 * 1024 * 1024;
const RESENDS_IN_A_ROW_MAX = 8;
/** Failures kept for the caller; all are counted. */
const FAILURES_KEPT_MAX = 1000;

export interface TaskFailure {
  /** Number of the task in the stream, from 1. */
  readonly line: number;
  readonly name?: string;
  readonly code: string;
  readonly message: string;
}

export interface BulkProgress {
  /** Tasks that the service has answered for. */
  readonly answered: number;
}

export interface BulkResult {
  readonly added: number;
  readonly existing: number;
  readonly failed: number;
  readonly failures: readonly TaskFailure[];
  /** How often the connection broke and lines were sent again. */
  readonly resends: number;
}

interface Options extends TransportOptions {
  readonly onProgress?: (progress: BulkProgress) => void;
}

interface AnswerLine {
  readonly lines?: readonly [number, number];
  readonly added?: number;
  readonly existing?: number;
  readonly failed?: readonly TaskFailure[] | number;
  readonly error?: { readonly code?: string; readonly message?: string | { value?: string } };
  readonly code?: string;
  readonly message?: string | { readonly value?: string };
}

/** Adds every task of the source. Throws ServiceError when the service refuses the job or the stream, never for one task. */
export async function streamTasks(transport: Transport, path: readonly string[], tasks: Iterable<NewTask> | AsyncIterable<NewTask>, options: Options = {}): Promise<BulkResult> {
  const source = lineSource(tasks);
  const total = { added: 0, existing: 0, failed: 0, failures: [] as TaskFailure[], resends: 0 };
  let answered = 0;
  let waiting: string[] = [];
  let inARow = 0;
  for (;;) {
    // The lines of one request: what is left from a broken one first, then new ones as they are written.
    const session = { lines: waiting, answered: 0 };
    const before = answered;
    const onAnswer = (line: AnswerLine) => {
      const [, to] = line.lines as [number, number];
      const base = before;
      total.added += line.added ?? 0;
      total.existing += line.existing ?? 0;
      for (const failure of Array.isArray(line.failed) ? (line.failed as TaskFailure[]) : []) {
        total.failed++;
        if (total.failures.length < FAILURES_KEPT_MAX) total.failures.push({ ...failure, line: failure.line + base });
      }
      session.answered = Math.max(session.answered, to);
      answered = before + session.answered;
      options.onProgress?.({ answered });
    };
    try {
      await oneRequest(transport, path, session.lines, source, onAnswer, options.signal);
      // An answer that ends well but does not speak of every line broke off between two chunks.
      if (session.answered < session.lines.length) throw Object.assign(new Error("the answer ended early"), { code: "ECONNRESET" });
      waiting = [];
      inARow = 0;
      if (source.done()) return total;
    } catch (error) {
      if (options.signal?.aborted || source.broken() || !mendable(error)) throw error;
      if (session.answered > 0) inARow = 0;
      // A service that answers, and goes on saying that it cannot, is not unreachable.
      if (++inARow > RESENDS_IN_A_ROW_MAX) throw error instanceof ServiceError ? error : brokenOff(transport.url(), error as NodeJS.ErrnoException);
      waiting = session.lines.slice(session.answered);
      total.resends++;
      await pause(backoff(inARow), options.signal);
    }
  }
}

const mendable = (error: unknown): boolean =>
  error instanceof ServiceError ? error.status === 503 || error.status === 500 : error instanceof UnreachableError || (error as NodeJS.ErrnoException).code !== undefined;

interface LineSource {
  next(): Promise<string | undefined>;
  done(): boolean;
  /** The source itself failed: no connection's fault, and nothing more will come. */
  broken(): boolean;
}

function lineSource(tasks: Iterable<NewTask> | AsyncIterable<NewTask>): LineSource {
  const iterator = Symbol.asyncIterator in tasks ? tasks[Symbol.asyncIterator]() : tasks[Symbol.iterator]();
  let ended = false;
  let broken = false;
  return {
    async next() {
      if (ended) return undefined;
      try {
        const step = await iterator.next();
        ended = step.done === true;
        return step.done ? undefined : `${JSON.stringify(step.value)}\n`;
      } catch (error) {
        broken = true;
        throw error;
      }
    },
    done: () => ended,
    broken: () => broken,
  };
}

/** Writes `lines`, then new ones from the source (adding them to `lines`) up to the bounds, and reads the answers meanwhile. */
async function oneRequest(transport: Transport, path: readonly string[], lines: string[], source: LineSource, onAnswer: (line: AnswerLine) => void, signal: AbortSignal | undefined): Promise<void> {
  const request = transport.open({
    method: "POST", path, query: { addtaskcollection: "" },
    headers: { "content-type": "application/x-ndjson", "transfer-encoding": "chunked" },
  });
  let broken = false;
  const answer = readAnswer(request, onAnswer).finally(() => {
    broken = true;
  });
  // Whichever side fails first tells; the other must not become an unhandled rejection.
  answer.catch(() => undefined);
  const write = async (line: string): Promise<void> => {
    if (!request.write(line)) await Promise.race([once(request, "drain", signal ? { signal } : {}), answer]);
  };
  let bytes = 0;
  for (const line of lines) {
    if (broken) break;
    bytes += line.length;
    await write(line);
  }
  while (!broken && lines.length < REQUEST_LINES_MAX && bytes < REQUEST_BYTES_MAX) {
    const line = await source.next().catch((error: unknown) => {
      request.destroy();
      throw error;
    });
    if (line === undefined) break;
    lines.push(line);
    bytes += line.length;
    await write(line);
  }
  request.end();
  await answer;
}

function readAnswer(request: http.ClientRequest, onAnswer: (line: AnswerLine) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    request.on("error", reject);
    request.on("response", (response) => {
      const refused = (response.statusCode ?? 0) >= 400;
      let rest = "";
      response.setEncoding("utf8");
      response.on("error", reject);
      response.on("data", (part: string) => {
        rest += part;
        if (refused) return;
        const complete = rest.split("\n");
        rest = complete.pop() as string;
        try {
          for (const text of complete) if (text.trim() !== "") take(JSON.parse(text) as AnswerLine, onAnswer);
        } catch (error) {
          request.destroy();
          reject(error as Error);
        }
      });
      response.on("end", () => {
        try {
          settle({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.from(rest) });
          resolve();
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  });
}

function take(line: AnswerLine, onAnswer: (line: AnswerLine) => void): void {
  if (Array.isArray(line.lines)) return onAnswer(line);
  const problem = line.error ?? (line.code ? line : undefined);
  if (!problem) return; // the summary: the sums are known already
  const said = typeof problem.message === "string" ? problem.message : problem.message?.value;
  throw new ServiceError(400, problem.code ?? "InvalidRequestBody", said ?? "The service ended the stream.");
}
