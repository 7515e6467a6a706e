// Bytes to lines of text, with a bound on the length of a line: what is longer is dropped while it comes, and told. Strict
// UTF-8, line by line, so that one bad line is one bad line.
import { type Rejection, rejection } from "../../domain/decider";

export type Line = { readonly text: string } | { readonly problem: Rejection };

export interface LineSplitter {
  push(bytes: Uint8Array): void;
  /** The last line may lack its line feed. */
  end(): void;
}

const LF = 10;
const CR = 13;

export const lineSplitter = (most: number, take: (line: Line) => void): LineSplitter => {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  let parts: Uint8Array[] = [];
  let size = 0;

  const keep = (bytes: Uint8Array): void => {
    size += bytes.length;
    if (size > most) parts = [];
    else if (bytes.length > 0) parts.push(bytes);
  };

  const finish = (): void => {
    if (size > most) take({ problem: rejection("RequestBodyTooLarge", `The line is longer than ${most} bytes.`) });
    else take(textOf(parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts, size)));
    parts = [];
    size = 0;
  };

  const textOf = (bytes: Uint8Array): Line => {
    const end = bytes.at(-1) === CR ? bytes.length - 1 : bytes.length;
    try {
      return { text: utf8.decode(end === bytes.length ? bytes : bytes.subarray(0, end)) };
    } catch {
      return { problem: rejection("InvalidRequestBody", "The line is not UTF-8.") };
    }
  };

  return {
    push(bytes) {
      let start = 0;
      for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, start)) {
        keep(bytes.subarray(start, end));
        finish();
        start = end + 1;
      }
      if (start < bytes.length) keep(bytes.subarray(start));
    },
    end() {
      if (size > 0) finish();
    },
  };
};
