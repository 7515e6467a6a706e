// Instants and durations as the domain keeps them: ISO 8601 text in UTC with milliseconds, and whole milliseconds.

/** The largest .NET TimeSpan, the service's way of writing "no limit" (reference, section 1). */
export const UNLIMITED = "P10675199DT2H48M5.4775807S";
export const UNLIMITED_MS = 922337203685477;

const DURATION = /^(-)?P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})(?:\.(\d{1,9}))?S)?)?$/;

/** Milliseconds of an ISO 8601 duration of days, hours, minutes and seconds; undefined when the text is not one. Years and months have no fixed length and are refused. */
export const parseDuration = (text: string): number | undefined => {
  const match = DURATION.exec(text);
  if (!match || text.endsWith("T") || /^-?P$/.test(text)) return undefined;
  const [, sign, days, hours, minutes, seconds, fraction] = match;
  const whole = ((Number(days ?? 0) * 24 + Number(hours ?? 0)) * 60 + Number(minutes ?? 0)) * 60 + Number(seconds ?? 0);
  const milliseconds = whole * 1000 + Math.floor(Number(`0.${fraction ?? 0}`) * 1000);
  return sign ? -milliseconds : milliseconds;
};

export const formatDuration = (milliseconds: number): string => {
  if (milliseconds >= UNLIMITED_MS) return UNLIMITED;
  const days = Math.floor(milliseconds / 86_400_000);
  const hours = Math.floor(milliseconds / 3_600_000) % 24;
  const minutes = Math.floor(milliseconds / 60_000) % 60;
  const seconds = (milliseconds % 60_000) / 1000;
  const time = `${hours ? `${hours}H` : ""}${minutes ? `${minutes}M` : ""}${seconds ? `${seconds}S` : ""}`;
  if (!days && !time) return "PT0S";
  return `P${days ? `${days}D` : ""}${time ? `T${time}` : ""}`;
};

/** Beyond this year instants get longer and no longer compare as text; nothing here waits for so long. */
const LAST_MS = Date.parse("9999-12-31T23:59:59.999Z");

/** The instant so many milliseconds later, or the last one that can be written (a limit of thousands of years is no limit). */
export const addMs = (at: string, milliseconds: number): string => new Date(Math.min(Date.parse(at) + milliseconds, LAST_MS)).toISOString();

export const msBetween = (from: string, to: string): number => Date.parse(to) - Date.parse(from);

/**
 * The time of a change of definition. ETags are made of it, so it never repeats for one resource: a second change within
 * the same millisecond gets the next one.
 */
export const laterThan = (at: string, previous: string | undefined): string =>
  previous !== undefined && at <= previous ? addMs(previous, 1) : at;
