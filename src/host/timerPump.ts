// Fires timer functions when they are due, one run of each at a time. Remembers when each ran last, so that one missed
// while the host was down fires once at the next start, marked past due.

import { functionsOf, log, resolveSettings } from "./functionsCore";
import type { RegisteredFunction } from "./functionsCore";
import type { HostClock } from "./clock";
import type { Invoker } from "./invoke";
import { invokeWithRetry, messageOf } from "./retry";
import { parseSchedule } from "./schedule";
import type { Schedule } from "./schedule";
import type { HostStore } from "./store";

export interface Pump {
  start(): void;
  /** Starts nothing from now on; resolves when what runs has ended and is settled. */
  stop(): Promise<void>;
}

/** Makes the pump for all timer functions. Throws on a schedule that cannot be read. */
export function createTimerPump(invoker: Invoker, clock: HostClock, store: HostStore): Pump {
  const timers = functionsOf("timertrigger").map((fn) => timer(fn, invoker, clock, store));
  return {
    start: () => timers.forEach((each) => each.start()),
    stop: () => stopAll(timers),
  };
}

/** Stops several pumps together. */
export async function stopAll(pumps: readonly Pump[]): Promise<void> {
  await Promise.all(pumps.map((pump) => pump.stop()));
}

/** The trigger value of a run, as the library reads it; also for a run started by hand. */
export function timerData(last: string | undefined, next: number, isPastDue: boolean): { json: string } {
  const lastText = last ?? "0001-01-01T00:00:00+00:00";
  const status = { Last: lastText, Next: new Date(next).toISOString(), LastUpdated: lastText };
  return { json: JSON.stringify({ Schedule: { AdjustForDST: true }, ScheduleStatus: status, IsPastDue: isPastDue }) };
}

interface TimerStatus {
  readonly last: string;
  readonly next: string;
}

function timer(fn: RegisteredFunction, invoker: Invoker, clock: HostClock, store: HostStore): Pump {
  const options = fn.trigger as { schedule?: string; runOnStartup?: boolean; useMonitor?: boolean };
  const schedule: Schedule = parseSchedule(resolveSettings(options.schedule ?? ""));
  const monitored = options.useMonitor !== false;
  const key = `timer:${fn.name}`;
  let cancel: (() => void) | undefined;
  let stopped = false;
  let status: TimerStatus | undefined;
  let running = Promise.resolve();

  function arm(): void {
    if (stopped) return;
    const due = schedule.next(clock.now());
    cancel = clock.after(due - clock.now(), () => {
      // Timers of the operating system may come a moment early.
      if (clock.now() < due) arm();
      else fire(false);
    });
  }

  function fire(isPastDue: boolean): void {
    running = runOnce(isPastDue);
  }

  async function runOnce(isPastDue: boolean): Promise<void> {
    const started = clock.now();
    try {
      await invokeWithRetry(invoker, clock, fn, () => ({ data: timerData(status?.last, schedule.next(started), isPastDue) }), () => stopped);
    } catch (error) {
      log("error", "user", error instanceof Error ? (error.stack ?? error.message) : String(error), fn.name);
    }
    if (stopped) return;
    try {
      remember(started);
    } catch (error) {
      log("error", "system", `When it ran was not kept: ${messageOf(error)}`, fn.name);
    }
    arm();
  }

  function remember(lastMs: number): void {
    status = { last: new Date(lastMs).toISOString(), next: new Date(schedule.next(clock.now())).toISOString() };
    if (monitored) store.write(key, JSON.stringify(status));
  }

  return {
    start() {
      const saved = monitored ? store.read(key) : undefined;
      status = saved === undefined ? undefined : (JSON.parse(saved) as TimerStatus);
      const missed = status !== undefined && Date.parse(status.next) < clock.now();
      if (missed || options.runOnStartup) fire(missed);
      else {
        if (!status) remember(clock.now());
        arm();
      }
    },
    stop() {
      stopped = true;
      cancel?.();
      return running;
    },
  };
}
