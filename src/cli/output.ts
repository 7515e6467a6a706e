// What people see: tables, times, sizes, bars. Text that users or tasks wrote is stripped of control characters before it
// reaches a terminal. Writes through the Io it is given; never reads.

/** The world of one command: where it writes, what it may know. Tests give their own. */
export interface Io {
  out(text: string | Uint8Array): void;
  err(text: string): void;
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  readonly columns: number;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly stdin: NodeJS.ReadableStream;
  /** Aborted by SIGINT and SIGTERM. */
  readonly signal: AbortSignal;
}

// oxlint-disable no-control-regex: control characters are what these look for.
// C0 and C1 controls, DEL, line separators, and the marks that turn the direction of text around.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const CONTROLS_BUT_LAYOUT = /\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const ESCAPES = /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[PX^_][^\u001b]*(?:\u001b\\)?|[ -/]*[0-~])/g;

/** One line of safe text: escape sequences and control characters are dropped, line ends become blanks. */
export const clean = (text: string): string => text.replace(ESCAPES, "").replace(/[\r\n\t]+/g, " ").replace(CONTROLS, "");

/** Many lines of safe text: line ends and tabs stay. */
export const cleanLines = (text: string): string => text.replace(ESCAPES, "").replace(CONTROLS_BUT_LAYOUT, "");

export interface Column<R> {
  readonly title: string;
  readonly right?: boolean;
  readonly value: (row: R) => string | number | undefined;
}

/** Columns two blanks apart, as wide as their widest value; `-` where there is none. */
export function table<R>(rows: readonly R[], columns: readonly Column<R>[]): string {
  const cells = rows.map((row) => columns.map((column) => shown(column.value(row))));
  const widths = columns.map((column, at) => Math.max(column.title.length, ...cells.map((row) => width(row[at] as string))));
  const line = (values: readonly string[]) =>
    values.map((value, at) => {
      const gap = " ".repeat(Math.max(0, (widths[at] as number) - width(value)));
      return (columns[at] as Column<R>).right ? gap + value : value + gap;
    }).join("  ").trimEnd();
  return `${[columns.map(({ title }) => title), ...cells].map(line).join("\n")}\n`;
}

const shown = (value: string | number | undefined): string => {
  const text = value === undefined ? "" : clean(String(value));
  return text === "" ? "-" : text;
};

/** Characters as a terminal counts them: East Asian wide ones twice, combining ones not. */
export const width = (text: string): number => {
  let columns = 0;
  for (const character of text.normalize("NFC")) {
    if (/\p{Mark}/u.test(character)) continue;
    columns += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u.test(character) ? 2 : 1;
  }
  return columns;
};

/** `850 ms`, `12.3 s`, `4 min 05 s`, `3 h 20 min`, `2 d 4 h`. */
export function spell(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.max(0, Math.round(milliseconds))} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.floor(minutes / 60) % 24} h`;
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = count / 1024;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

/** Local date and time to the second. */
export function when(instant: string | undefined): string | undefined {
  if (!instant) return undefined;
  const date = new Date(instant);
  if (Number.isNaN(date.getTime())) return undefined;
  const two = (value: number) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

export const json = (io: Io, value: unknown): void => io.out(`${JSON.stringify(value, null, io.outIsTerminal ? 2 : undefined)}\n`);
