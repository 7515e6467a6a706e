// The values of formulas, and how they are written in results (reference autoscale-formula, sections 3 and 9).
import type { DeallocationOption } from "../pool";

/** Numbers and vectors are plain; the rest says what it is. Instants and spans count ticks of 100 ns, instants from 1970. */
export type Value = number | readonly number[] | Text | Instant | Span | Option | Metric;
export interface Text {
  readonly kind: "string";
  readonly text: string;
}
export interface Instant {
  readonly kind: "timestamp";
  readonly ticks: bigint;
}
export interface Span {
  readonly kind: "timeinterval";
  readonly ticks: bigint;
}
export interface Option {
  readonly kind: "option";
  readonly option: DeallocationOption;
}
/** A service variable that has samples: stands for its present value where a number is needed. */
export interface Metric {
  readonly kind: "metric";
  readonly name: string;
  readonly offset: number;
}

export type ValueKind = "double" | "doubleVec" | "string" | "timestamp" | "timeinterval" | "option" | "metric";

export const kindOf = (value: Value): ValueKind => (typeof value === "number" ? "double" : isVector(value) ? "doubleVec" : value.kind);

export const isVector = (value: Value): value is readonly number[] => Array.isArray(value);

export const TICKS_PER_MS = 10_000n;
const TICKS_PER_SECOND = 10_000_000n;

export const instantOfMs = (ms: number): Instant => ({ kind: "timestamp", ticks: BigInt(Math.round(ms)) * TICKS_PER_MS });
export const span = (ticks: bigint): Span => ({ kind: "timeinterval", ticks });
/** Milliseconds with their fraction: exact for whole ones. */
export const msOf = ({ ticks }: Instant | Span): number => Number(ticks) / 10_000;

/** As C's printf("%g"): six significant digits. */
export const formatNumber = (value: number): string => {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  if (value === 0) return "0";
  const [digits, exponent] = value.toExponential(5).split("e") as [string, string];
  const power = Number(exponent);
  if (power >= -4 && power < 6) return withoutZeros(value.toFixed(Math.max(0, 5 - power)));
  return `${withoutZeros(digits)}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
};

const withoutZeros = (text: string): string => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

/** ISO 8601 with milliseconds; what is beyond is cut. */
export const formatInstant = ({ ticks }: Instant): string => new Date(Number(floorDivide(ticks, TICKS_PER_MS))).toISOString();

const floorDivide = (a: bigint, b: bigint): bigint => (a - (((a % b) + b) % b)) / b;

/** ISO 8601 of days, hours, minutes and seconds with up to seven digits of a fraction. */
export const formatSpan = ({ ticks }: Span): string => {
  const size = ticks < 0n ? -ticks : ticks;
  const seconds = size / TICKS_PER_SECOND;
  const [days, hours, minutes, rest] = [seconds / 86_400n, (seconds / 3600n) % 24n, (seconds / 60n) % 60n, seconds % 60n];
  const fraction = (size % TICKS_PER_SECOND).toString().padStart(7, "0").replace(/0+$/, "");
  const time = `${hours ? `${hours}H` : ""}${minutes ? `${minutes}M` : ""}${rest || fraction ? `${rest}${fraction ? `.${fraction}` : ""}S` : ""}`;
  if (!days && !time) return "PT0S";
  return `${ticks < 0n ? "-" : ""}P${days ? `${days}D` : ""}${time ? `T${time}` : ""}`;
};

/** Elements of one vector, and of all vectors of one results text, that are written; of the others there is `...`. */
export const PRINTED_MAX = 1000;

/** As in results: numbers short, vectors in brackets, the rest as its own word. `room`: how many elements may still be written. */
export const formatValue = (value: Exclude<Value, Metric>, room = PRINTED_MAX): string => {
  if (typeof value === "number") return formatNumber(value);
  if (isVector(value)) {
    const shown = value.slice(0, Math.max(0, room)).map(formatNumber);
    return `[${(shown.length < value.length ? [...shown, "..."] : shown).join(",")}]`;
  }
  const tagged = value as Text | Instant | Span | Option;
  switch (tagged.kind) {
    case "string":
      return tagged.text;
    case "timestamp":
      return formatInstant(tagged);
    case "timeinterval":
      return formatSpan(tagged);
    case "option":
      return tagged.option;
  }
};
