// When a timer function is due: NCRONTAB expressions (UTC) and time spans. Pure.

import { parseTimeSpan } from "./hostJson";

export interface Schedule {
  /** The first due instant after this one; milliseconds. Throws when there is none. */
  next(afterMs: number): number;
}

/**
 * Reads `{second} {minute} {hour} {day} {month} {day-of-week}` (five fields: second 0) or `hh:mm:ss`. Day and day-of-week
 * must both match. Throws on anything else.
 */
export function parseSchedule(expression: string): Schedule {
  const everyMs = parseTimeSpan(expression.trim());
  if (everyMs !== undefined) {
    if (everyMs === 0) throw new Error(`The schedule "${expression}" is empty.`);
    return { next: (afterMs) => afterMs + everyMs };
  }
  const fields = expression.trim().split(/\s+/);
  if (fields.length === 5) fields.unshift("0");
  const [second, minute, hour, day, month, weekday, ...rest] = fields;
  if (weekday === undefined || rest.length > 0) throw new Error(`"${expression}" is not an NCRONTAB expression.`);
  return crontab(expression, {
    seconds: parseField(second as string, 0, 59),
    minutes: parseField(minute as string, 0, 59),
    hours: parseField(hour as string, 0, 23),
    days: parseField(day as string, 1, 31),
    months: parseField(month as string, 1, 12),
    weekdays: parseField(weekday, 0, 7),
  });
}

interface Fields {
  readonly seconds: ReadonlySet<number>;
  readonly minutes: ReadonlySet<number>;
  readonly hours: ReadonlySet<number>;
  readonly days: ReadonlySet<number>;
  readonly months: ReadonlySet<number>;
  readonly weekdays: ReadonlySet<number>;
}

// A day that exists at all comes within eight years (29 February); each step is at least a second and skips what cannot match.
const stepsMax = 12 * 9 + 366 * 9 + 24 + 60 + 60;

function crontab(expression: string, fields: Fields): Schedule {
  return {
    next(afterMs) {
      const at = new Date(Math.floor(afterMs / 1000) * 1000 + 1000);
      for (let step = 0; step < stepsMax; step++) if (!advance(at, fields)) return at.getTime();
      throw new Error(`The schedule "${expression}" never fires.`);
    },
  };
}

/** Moves to the next instant that may match; false when this one does. */
function advance(at: Date, fields: Fields): boolean {
  if (!fields.months.has(at.getUTCMonth() + 1)) {
    at.setUTCMonth(at.getUTCMonth() + 1, 1);
    at.setUTCHours(0, 0, 0);
  } else if (!fields.days.has(at.getUTCDate()) || !fields.weekdays.has(at.getUTCDay())) {
    at.setUTCDate(at.getUTCDate() + 1);
    at.setUTCHours(0, 0, 0);
  } else if (!fields.hours.has(at.getUTCHours())) at.setUTCHours(at.getUTCHours() + 1, 0, 0);
  else if (!fields.minutes.has(at.getUTCMinutes())) at.setUTCMinutes(at.getUTCMinutes() + 1, 0);
  else if (!fields.seconds.has(at.getUTCSeconds())) at.setUTCSeconds(at.getUTCSeconds() + 1);
  else return false;
  return true;
}

const dayNames = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const monthNames = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

function parseField(text: string, low: number, high: number): ReadonlySet<number> {
  const values = new Set<number>();
  for (const part of text.split(",")) {
    const [range = "", stepText] = part.split("/");
    const step = stepText === undefined ? 1 : Number(stepText);
    const [first, last] = parseRange(range, low, high, stepText !== undefined);
    const isGood = Number.isInteger(step) && step >= 1 && low <= first && first <= last && last <= high;
    if (!isGood) throw new Error(`"${text}" is not an NCRONTAB field from ${low} to ${high}.`);
    for (let value = first; value <= last; value += step) values.add(high === 7 && value === 7 ? 0 : value);
  }
  return values;
}

function parseRange(range: string, low: number, high: number, stepped: boolean): [number, number] {
  if (range === "*") return [low, high === 7 ? 6 : high];
  const [from = "", to] = range.split("-");
  const first = parseValue(from, high);
  if (to !== undefined) return [first, parseValue(to, high)];
  return [first, stepped ? (high === 7 ? 6 : high) : first];
}

function parseValue(text: string, high: number): number {
  if (/^\d+$/.test(text)) return Number(text);
  const short = text.slice(0, 3).toUpperCase();
  if (high === 7 && dayNames.includes(short)) return dayNames.indexOf(short);
  if (high === 12 && monthNames.includes(short)) return monthNames.indexOf(short) + 1;
  throw new Error(`"${text}" is not an NCRONTAB value.`);
}
