// When to exchange with the service. Two requests may be under way: one waits for news and carries nothing, so that it never
// holds anything back; one goes at once and carries what there is to report. Reports go out at once while they are few and
// are gathered for some milliseconds while they are many. Each backs off by itself: a service whose disk is full cannot keep reports and
// is there all the same. It never looks into requests or answers; tvm.ts does.
import type { ExchangeAnswer, ExchangeRequest } from "../wire";
import { exchangeAnswer } from "../wire";
import type { Service } from "./service";

export interface Outgoing {
  readonly body: ExchangeRequest;
  /** What the request carried has arrived for good. */
  accepted(): void;
}

export interface ExchangeOptions {
  readonly service: Service;
  readonly credential: string;
  readonly heartbeatMs: number;
  readonly selfStopMs: number;
  /** A request of this moment; `carry`: with reports and answers. */
  build(waitMs: number, carry: boolean): Outgoing;
  hasPayload(): boolean;
  /** Free slots and nothing to put there: news are wanted at once. */
  hungry(): boolean;
  /** True if the answer said anything new. */
  onAnswer(answer: ExchangeAnswer): boolean;
  /** The service does not know this credential (any more): 401, 403 or 410. The loop has stopped. */
  onRefused(status: number): void;
  /** No accepted exchange for selfStopMs; told once per silence. */
  onSilence(): void;
  readonly log: (message: string) => void;
}

export interface Exchange {
  /** There is something to report. */
  payloadReady(): void;
  stop(): void;
}

const WAIT_MS = 20_000;
const ANSWER_MS = 10_000;
/** While reports are many: an exchange costs the service more than what it carries, so it should carry much. */
const GATHER_MS = 40;
/** More reports than this within RATE_MS count as many: one short task's start and end are few. */
const FEW = 3;
const RATE_MS = 20;
const QUIET_MS = 80;
/** After a waiting request that was answered early and said nothing new: no reason to hurry. */
const PAUSE_MS = 100;
const BACKOFF_FIRST_MS = 50;
const BACKOFF_MAX_MS = 2_000;

export function startExchange(options: ExchangeOptions): Exchange {
  const waitMs = Math.min(WAIT_MS, Math.floor(options.heartbeatMs / 2));
  const abort = new AbortController();
  const rate = reportRate();
  const [carrying, waiting] = [idleLane(), idleLane()];
  let stopped = false;
  let lastCarriedAt = -Infinity;
  let lastAcceptedAt = performance.now();
  let silent = false;
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Infinity;

  /** Looks again then; the nearest time wins. */
  const wakeIn = (delayMs: number): void => {
    const at = performance.now() + delayMs;
    if (stopped || at >= timerAt) return;
    clearTimeout(timer);
    timerAt = at;
    timer = setTimeout(() => {
      timerAt = Infinity;
      look();
    }, delayMs);
  };

  let waitAgainAt = 0;
  const look = (): void => {
    if (stopped) return;
    const now = performance.now();
    if (options.hasPayload() && !carrying.busy) {
      const gather = rate.many(now) ? lastCarriedAt + GATHER_MS : 0;
      const left = Math.max(gather, carrying.retryAt) - now;
      if (left > 0.5) wakeIn(Math.ceil(left));
      else void sendPayload();
    }
    if (waiting.busy) return;
    if (now < waiting.retryAt) return wakeIn(waiting.retryAt - now);
    const quietFor = now - lastCarriedAt;
    if (carrying.busy || (quietFor < QUIET_MS && !options.hungry())) return wakeIn(QUIET_MS);
    if (now < waitAgainAt) return wakeIn(waitAgainAt - now);
    void waitForNews();
  };

  const sendPayload = async (): Promise<void> => {
    lastCarriedAt = performance.now();
    await once(carrying, 0);
    look();
  };
  const waitForNews = async (): Promise<void> => {
    // After a failure the first request asks for an answer at once: it finds out whether the service is back.
    await once(waiting, waiting.failures > 0 ? 0 : waitMs);
    look();
  };

  const once = async (lane: Lane, wait: number): Promise<void> => {
    lane.busy = true;
    const sentAt = performance.now();
    const outgoing = options.build(wait, lane === carrying);
    try {
      const answer = await options.service.post("/agent/exchange", outgoing.body, { authorization: `TVM ${options.credential}`, timeoutMs: wait + ANSWER_MS, signal: abort.signal });
      if (stopped) return;
      if (answer.status === 401 || answer.status === 403 || answer.status === 410) return refused(answer.status);
      if (answer.status < 200 || answer.status > 299) throw new Error(`status ${answer.status}`);
      const news = exchangeAnswer.parse(answer.body);
      lane.failures = 0;
      lastAcceptedAt = Math.max(lastAcceptedAt, sentAt);
      silent = false;
      outgoing.accepted();
      const told = options.onAnswer(news);
      if (wait > PAUSE_MS && !told && performance.now() - sentAt < PAUSE_MS) waitAgainAt = performance.now() + PAUSE_MS;
    } catch (error) {
      if (!stopped) failed(lane, error as Error);
    } finally {
      lane.busy = false;
    }
  };

  const failed = (lane: Lane, error: Error): void => {
    // A single failure is a kept connection that the other side just closed.
    if (++lane.failures === 2) options.log(`${lane === carrying ? "the service takes no reports" : "the service cannot be reached"}: ${error.message}`);
    const cap = Math.min(BACKOFF_MAX_MS, options.heartbeatMs / 3);
    const backoff = Math.min(cap, BACKOFF_FIRST_MS * 2 ** Math.min(lane.failures, 10));
    lane.retryAt = performance.now() + backoff * (0.5 + Math.random() / 2);
  };
  const refused = (status: number): void => {
    stop();
    options.onRefused(status);
  };
  const watch = setInterval(() => {
    if (silent || performance.now() - lastAcceptedAt < options.selfStopMs) return;
    silent = true;
    options.onSilence();
  }, Math.max(20, Math.min(1_000, options.selfStopMs / 10)));
  const stop = (): void => {
    stopped = true;
    clearTimeout(timer);
    clearInterval(watch);
    abort.abort();
  };

  setImmediate(look);
  let planned = false;
  return {
    payloadReady() {
      rate.count(performance.now());
      if (planned) return;
      planned = true;
      // What is reported in one turn goes out in one request.
      setImmediate(() => {
        planned = false;
        look();
      });
    },
    stop,
  };
}

/** One of the two requests that may be under way. */
interface Lane {
  busy: boolean;
  failures: number;
  /** Not before then. */
  retryAt: number;
}
const idleLane = (): Lane => ({ busy: false, failures: 0, retryAt: 0 });

/** Whether reports come fast at present: two windows of RATE_MS, the running one and the one before. */
function reportRate(): { count(now: number): void; many(now: number): boolean } {
  let start = -Infinity;
  let current = 0;
  let before = 0;
  const roll = (now: number): void => {
    if (now - start < RATE_MS) return;
    before = now - start < 2 * RATE_MS ? current : 0;
    current = 0;
    start = now;
  };
  return {
    count(now) {
      roll(now);
      current++;
    },
    many(now) {
      roll(now);
      return Math.max(current, before) > FEW;
    },
  };
}
