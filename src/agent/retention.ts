// Which task folders go when: each is kept for at least its retention time after its task ended, and a little longer, since
// one timer looks now and then for all that are due. A journal beside the TVM's root says the same, so that whoever follows in
// the root goes on: a line a change, short again at each opening. It is a convenience: where it cannot be written, or was lost,
// the folders stay until the TVM's end, which removes all.
import fs from "node:fs";

export interface Retention {
  expire(folder: string, afterMs: number): void;
  /** The folder is in use again. */
  keep(folder: string): void;
  close(): void;
}

interface Line {
  readonly folder: string;
  /** Milliseconds since 1970; absent: it stays. */
  readonly at?: number;
}

/** Looks no more often than this: retention is a least time, so being late is allowed. */
const PAUSE_MS = 1_000;
/** Lines that say nothing any more, before the journal is written anew. */
const STALE_MAX = 2_000;

/** `journal`: a file that tasks cannot write. */
export function createRetention(journal: string, remove: (folder: string) => void, log: (message: string) => void): Retention {
  const due = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Infinity;
  let lines = 0;
  let told = false;

  const trying = (act: () => void): void => {
    try {
      act();
    } catch (error) {
      if (!told) log(`retention times are not noted down: ${(error as NodeJS.ErrnoException).code}`);
      told = true;
    }
  };
  const compact = (): void => {
    const text = [...due].map(([folder, at]) => textOf({ folder, at: Math.round(Date.now() + at - performance.now()) })).join("");
    fs.writeFileSync(`${journal}.new`, text, { mode: 0o600 });
    fs.renameSync(`${journal}.new`, journal);
    lines = due.size;
  };
  const note = (line: Line): void => trying(() => {
    if (lines > due.size + STALE_MAX) return compact();
    fs.appendFileSync(journal, textOf(line), { mode: 0o600 });
    lines++;
  });

  const look = (): void => {
    timerAt = Infinity;
    const now = performance.now();
    let next = Infinity;
    for (const [folder, at] of due) {
      if (at <= now) {
        due.delete(folder);
        remove(folder);
        note({ folder });
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

  trying(() => {
    if (!fs.existsSync(journal)) return;
    for (const [folder, at] of read(journal)) {
      const steady = performance.now() + Math.max(0, at - Date.now());
      due.set(folder, steady);
      arm(steady);
    }
    compact();
  });
  return {
    expire(folder, afterMs) {
      const at = performance.now() + afterMs;
      due.set(folder, at);
      arm(at);
      note({ folder, at: Math.round(Date.now() + afterMs) });
    },
    keep(folder) {
      if (due.delete(folder)) note({ folder });
    },
    close: () => clearTimeout(timer),
  };
}

const textOf = (line: Line): string => `${JSON.stringify(line)}\n`;

/** The last word on each folder; a line that was cut off, or is not one, says nothing. */
function read(journal: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const text of fs.readFileSync(journal, "utf8").split("\n")) {
    const line = lineOf(text);
    if (!line) continue;
    if (line.at === undefined) found.delete(line.folder);
    else found.set(line.folder, line.at);
  }
  return found;
}

function lineOf(text: string): Line | undefined {
  try {
    const { folder, at } = JSON.parse(text) as Partial<Line>;
    if (typeof folder !== "string" || (at !== undefined && !Number.isFinite(at))) return undefined;
    return at === undefined ? { folder } : { folder, at };
  } catch {
    return undefined;
  }
}
