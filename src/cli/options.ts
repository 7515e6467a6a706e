// Values that options carry: whole numbers, ranges, durations, KEY=VALUE. Each parser throws a usage failure that names the option.
import { usage } from "./failures";

export function wholeNumber(option: string, text: string, from: number, to: number): number {
  const value = /^-?\d{1,15}$/.test(text) ? Number(text) : NaN;
  if (!(value >= from && value <= to)) throw usage(`${option} must be a whole number from ${from} to ${to}, not "${text}".`);
  return value;
}

export interface ArrayRange {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  readonly count: number;
}

export const ARRAY_TASKS_MAX = 1_000_000;

/** `1-1000`, `0-90:10` or `5`: indexes from, to (inclusive), step. */
export function arrayRange(text: string): ArrayRange {
  const match = /^(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?$/.exec(text);
  if (!match) throw usage(`--array must be FROM-TO or FROM-TO:STEP, such as 1-1000, not "${text}".`);
  const from = Number(match[1]);
  const to = Number(match[2] ?? match[1]);
  const step = Number(match[3] ?? 1);
  if (step < 1) throw usage("--array: the step must be at least 1.");
  if (to < from) throw usage(`--array: ${to} comes before ${from}.`);
  const count = Math.floor((to - from) / step) + 1;
  if (count > ARRAY_TASKS_MAX) throw usage(`--array: ${count} tasks are more than ${ARRAY_TASKS_MAX}.`, "Submit several work items.");
  return { from, to, step, count };
}

/** ISO 8601 from `90s`, `15m`, `2h`, `1d`, `1h30m`, or ISO 8601 as it is. */
export function duration(option: string, text: string): string {
  if (/^P(?!$)(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$/.test(text)) return text;
  const match = /^(?:(\d{1,6})d)?(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?$/.exec(text);
  if (!match || text === "") throw usage(`${option} must be a duration such as 90s, 15m, 1h30m or PT15M, not "${text}".`);
  const [, days, hours, minutes, seconds] = match;
  const time = `${hours ? `${hours}H` : ""}${minutes ? `${minutes}M` : ""}${seconds ? `${seconds}S` : ""}`;
  return `P${days ? `${days}D` : ""}${time ? `T${time}` : ""}`;
}

/** Milliseconds of a duration as `duration` takes it. */
export function milliseconds(option: string, text: string): number {
  const [, days, hours, minutes, seconds] = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$/.exec(duration(option, text)) ?? [];
  return (((Number(days ?? 0) * 24 + Number(hours ?? 0)) * 60 + Number(minutes ?? 0)) * 60 + Number(seconds ?? 0)) * 1000;
}

/** ISO 8601 from `+2h` (that long from now), or ISO 8601 with an offset as it is. */
export function instant(option: string, text: string, now = Date.now()): string {
  if (text.startsWith("+")) {
    return new Date(now + milliseconds(option, text.slice(1))).toISOString();
  }
  if (!/^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)$/i.test(text) || Number.isNaN(Date.parse(text))) {
    throw usage(`${option} must be a time such as 2030-01-01T03:00:00+01:00, or +2h for two hours from now, not "${text}".`);
  }
  return text;
}

/** `1d`, `1h30m` for an ISO 8601 duration; what is none stays as it is. */
export function shortDuration(iso: string): string {
  const match = /^P(\d+D)?(?:T(\d+H)?(\d+M)?([\d.]+S)?)?$/.exec(iso);
  return match ? match.slice(1).join("").toLowerCase() : iso;
}

export function settings(option: string, values: readonly string[]): { name: string; value: string }[] {
  return values.map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw usage(`${option} must be NAME=VALUE, not "${text}".`);
    return { name: text.slice(0, at), value: text.slice(at + 1) };
  });
}

/** 40 hexadecimal digits, with or without the colons and blanks that other programs put between them; in lower case. */
export function thumbprint(what: string, text: string): string {
  const digits = text.replaceAll(/[:\s]/g, "").toLowerCase();
  if (!/^[0-9a-f]{40}$/.test(digits)) throw usage(`${what} must have 40 hexadecimal digits, not "${text}".`, "`batchledger certificate list` shows the thumbprints.");
  return digits;
}

/** `THUMBPRINT` or `THUMBPRINT=starttask,task,rdp`. */
export function certificateReference(option: string, text: string): { thumbprint: string; thumbprintAlgorithm: string; visibility?: string } {
  const [digits = "", visibility] = text.split("=", 2);
  return { thumbprint: thumbprint(option, digits), thumbprintAlgorithm: "sha1", ...(visibility === undefined ? {} : { visibility }) };
}

export interface WorkReference {
  readonly workItem: string;
  readonly task?: string;
}

const NAME = /^[A-Za-z0-9_-]{1,64}$/;

/** `WORKITEM` or `WORKITEM/TASK`. */
export function workReference(text: string): WorkReference {
  const [workItem, task, ...more] = text.split("/") as [string, ...string[]];
  if (more.length > 0 || !NAME.test(workItem) || (task !== undefined && !NAME.test(task))) {
    throw usage(`"${text}" is not WORKITEM or WORKITEM/TASK.`, "Names have 1 to 64 letters, digits, - or _.");
  }
  return { workItem, ...(task === undefined ? {} : { task }) };
}

export function name(what: string, text: string | undefined): string {
  if (text === undefined || !NAME.test(text)) throw usage(`${what} must have 1 to 64 letters, digits, - or _${text === undefined ? "" : `, not "${text}"`}.`);
  return text;
}
