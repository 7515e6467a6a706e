// Texts of instants that formulas may name, and what an instant shows of itself (reference autoscale-formula, sections 3 and 5.2).
import { type Instant, TICKS_PER_MS, msOf } from "./values";

const W3C = /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,7}))?)?(Z|[+-]\d{2}:\d{2}))?$/;
const RFC1123 = /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The instant of a W3C date or date-time, or of an RFC 1123 one; undefined when the text is neither, or no such day exists. */
export const parseTime = (text: string): Instant | undefined => fromW3c(text) ?? fromRfc1123(text);

const fromW3c = (text: string): Instant | undefined => {
  const match = W3C.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = "", zone = "Z"] = match;
  const ms = utc([year, month, day, hour, minute, second].map(Number));
  const [offsetHours, offsetMinutes] = zone === "Z" ? [0, 0] : [Number(zone.slice(1, 3)), Number(zone.slice(4))];
  if (ms === undefined || offsetHours > 14 || offsetMinutes > 59) return undefined;
  const offsetMs = (offsetHours * 60 + offsetMinutes) * 60_000 * (zone.startsWith("-") ? -1 : 1);
  return { kind: "timestamp", ticks: BigInt(ms - offsetMs) * TICKS_PER_MS + BigInt(fraction.padEnd(7, "0")) };
};

const fromRfc1123 = (text: string): Instant | undefined => {
  const match = RFC1123.exec(text);
  if (!match) return undefined;
  const [, weekday, day, month, year, hour, minute, second] = match;
  const ms = utc([Number(year), MONTHS.indexOf(month as string) + 1, Number(day), Number(hour), Number(minute), Number(second)]);
  if (ms === undefined || DAYS[new Date(ms).getUTCDay()] !== weekday) return undefined;
  return { kind: "timestamp", ticks: BigInt(ms) * TICKS_PER_MS };
};

/** Milliseconds since 1970; undefined when a part is out of its range. */
const utc = ([year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0]: readonly number[]): number | undefined => {
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const same = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && date.getUTCHours() === hour && date.getUTCMinutes() === minute;
  return year >= 1 && same && date.getUTCSeconds() === second ? date.getTime() : undefined;
};

/** `year`, `month` ... of an instant, in UTC; undefined when there is no such member. Monday is day 1 of a week, Sunday 7. */
export const memberOf = (instant: Instant, name: string): number | undefined => {
  const date = new Date(Math.floor(msOf(instant)));
  switch (name) {
    case "year":
      return date.getUTCFullYear();
    case "month":
      return date.getUTCMonth() + 1;
    case "day":
      return date.getUTCDate();
    case "weekday":
      return date.getUTCDay() || 7;
    case "hour":
      return date.getUTCHours();
    case "minute":
      return date.getUTCMinutes();
    case "second":
      return date.getUTCSeconds();
    default:
      return undefined;
  }
};
