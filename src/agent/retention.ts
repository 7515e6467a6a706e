// Which task folders go when: each is kept for at least its retention time after its task ended, and a little longer, since
// one timer looks now and then for all that are due. Nothing is remembered beyond the process: the TVM's end removes all.

export interface Retention {
  expire(folder: string, afterMs: number): void;
  /** The folder is in use again. */
  keep(folder: string): void;
  close(): void;
}

/** Looks no more often than this: retention is a least time, so being late is allowed. */
const PAUSE_MS = 1_000;

export function createRetention(remove: (folder: string) => void): Retention {
  const due = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Infinity;

  const look = (): void => {
    timerAt = Infinity;
    const now = performance.now();
    let next = Infinity;
    for (const [folder, at] of due) {
      if (at <= now) {
        due.delete(folder);
        remove(folder);
      } else {
        next = Math.min(next, at);
      }
    }
    if (next < Infinity) arm(Math.max(next, now + PAUSE_MS));
  };
  const arm = (at: number): void => {
    if (at >= timerAt) return;
    clearTimeout(timer);
    timerAt = at;
    timer = setTimeout(look, Math.min(2 ** 31 - 1, Math.max(0, at - performance.now())));
    timer.unref();
  };
  return {
    expire(folder, afterMs) {
      const at = performance.now() + afterMs;
      due.set(folder, at);
      arm(at);
    },
    keep: (folder) => void due.delete(folder),
    close: () => clearTimeout(timer),
  };
}
