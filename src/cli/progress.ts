// Progress on standard error: a bar that redraws itself on a terminal, elsewhere a plain line at most every second and only
// when something changed. Never writes to standard output.
import { type Io, spell } from "./output";

export interface Progress {
  update(state: { readonly done: number; readonly total: number; readonly note?: string }): void;
  /** Draws the last state and ends the line. */
  end(): void;
}

const REDRAW_MS = 80;
const LINE_MS = 1000;

/** `now` in milliseconds is read at every update. */
export function createProgress(io: Io, label: string, now: () => number = Date.now): Progress {
  const started = now();
  let drawnAt = -Infinity;
  let last = "";
  let latest = { done: 0, total: 0, note: "" };
  let any = false;
  const draw = (final: boolean) => {
    const elapsed = now() - started;
    if (io.errIsTerminal) {
      io.err(`\r${bar(label, latest, elapsed, io.columns)}\u001b[K${final ? "\n" : ""}`);
      return;
    }
    const text = `${label}: ${latest.done}/${latest.total}${latest.note ? `, ${latest.note}` : ""}`;
    if (text === last) return;
    last = text;
    io.err(`${text} (${spell(elapsed)})\n`);
  };
  return {
    update(state) {
      latest = { note: "", ...state };
      any = true;
      const wait = io.errIsTerminal ? REDRAW_MS : LINE_MS;
      if (now() - drawnAt < wait) return;
      drawnAt = now();
      draw(false);
    },
    end() {
      if (any) draw(true);
    },
  };
}

/** `Tiles  [#########.......]  61%  29/48  2 running, 1 retry  12.3 s`, cut to the terminal. */
export function bar(label: string, state: { done: number; total: number; note: string }, elapsedMs: number, columns: number): string {
  const share = state.total > 0 ? Math.min(1, state.done / state.total) : 0;
  const head = `${label}  `;
  const tail = `  ${String(Math.floor(share * 100)).padStart(3)}%  ${state.done}/${state.total}${state.note ? `  ${state.note}` : ""}  ${spell(elapsedMs)}`;
  const room = Math.min(40, columns - 1 - head.length - tail.length - 2);
  if (room < 5) return `${head.trimEnd()}${tail}`.slice(0, Math.max(10, columns - 1));
  const full = Math.round(room * share);
  return `${head}[${"#".repeat(full)}${".".repeat(room - full)}]${tail}`;
}
