// Dates as the REST dialects write them: HTTP dates in headers, ISO 8601 in bodies and filters, .NET ticks in ETags.
// Pure: never reads a clock.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const RFC1123 = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d{2}) ([A-Z][a-z]{2}) (\d{4}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const RFC850 = /^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\d{2})-([A-Z][a-z]{2})-(\d{2}) (\d{2}):(\d{2}):(\d{2}) GMT$/;
const ISO = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?(Z|[+-]\d{2}:\d{2})$/;
const TICKS_AT_EPOCH = 621_355_968_000_000_000n;

/** Milliseconds since 1970 of an HTTP date (RFC 1123 or RFC 850); undefined when the text is neither. */
export const parseHttpDate = (text: string): number | undefined => {
  const match = RFC1123.exec(text) ?? RFC850.exec(text);
  if (!match) return undefined;
  const [, day, month, yearText, hour, minute, second] = match as unknown as string[];
  const short = Number(yearText);
  // Two digits: the century that puts 70 to 99 into the last one (RFC 7231 7.1.1.1, without reading a clock).
  const year = yearText?.length === 2 ? (short < 70 ? 2000 : 1900) + short : short;
  return valid(year, MONTHS.indexOf(month ?? "") + 1, Number(day), Number(hour), Number(minute), Number(second));
};

/** Milliseconds since 1970, with a fraction for what is finer, of an ISO 8601 instant with `Z` or an offset; else undefined. */
export const parseInstant = (text: string): number | undefined => {
  const match = ISO.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction, zone] = match;
  const whole = valid(Number(year), Number(month), Number(day), Number(hour), Number(minute), Number(second ?? 0));
  if (whole === undefined) return undefined;
  const offset = zone === undefined || zone === "Z" ? 0 : offsetMs(zone);
  return offset === undefined ? undefined : whole + Number(`0.${fraction ?? 0}`) * 1000 - offset;
};

const valid = (year: number, month: number, day: number, hour: number, minute: number, second: number): number | undefined => {
  if (month < 1 || day < 1 || hour > 23 || minute > 59 || second > 59) return undefined;
  const at = Date.UTC(year, month - 1, day, hour, minute, second);
  // 31 February rolls over: what comes back must be what went in.
  return new Date(at).getUTCDate() === day && new Date(at).getUTCMonth() === month - 1 ? at : undefined;
};

const offsetMs = (zone: string): number | undefined => {
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(4, 6));
  if (hours > 14 || minutes > 59) return undefined;
  return (zone.startsWith("-") ? -1 : 1) * (hours * 60 + minutes) * 60_000;
};

/** An instant for bodies: trailing zeros of the fraction dropped, as the service writes it. */
export const wireDate = (at: string): string => {
  if (at.charCodeAt(at.length - 2) !== 48 || !at.includes(".")) return at;
  let end = at.length - 1;
  while (at.charCodeAt(end - 1) === 48) end--;
  if (at[end - 1] === ".") end--;
  return `${at.slice(0, end)}Z`;
};

/** An instant for headers, in whole seconds. */
export const httpDate = (at: string): string => new Date(at).toUTCString();

/** 100 ns steps since year 1 of an instant in UTC with up to seven digits of fraction. More than a double can hold exactly. */
export const ticksOf = (at: string): bigint => {
  const seconds = BigInt(Date.parse(`${at.slice(0, 19)}Z`));
  const fraction = at.slice(20, -1).padEnd(7, "0").slice(0, 7);
  return seconds * 10_000n + BigInt(fraction) + TICKS_AT_EPOCH;
};

/** `0x` and the upper-case hexadecimal ticks of the last change of definition (reference 1.1). */
export const eTagOf = (modifiedAt: string): string => `0x${ticksOf(modifiedAt).toString(16).toUpperCase()}`;
