// Splits a task's command line into a program and its arguments; there is no shell, so nothing is expanded, piped or joined.
// For shell features write `sh -c "..."`.
//
// - Blanks (space, tab, line ends) separate arguments.
// - '...' is literal to the next single quote.
// - "..." is one piece; in it \" is a quote and \\ a backslash, every other backslash stands for itself.
// - Elsewhere a backslash makes the next character literal.
// - Quoted and unquoted pieces that touch are one argument: a"b c"'d' is `ab cd`; "" alone is an empty argument.
// These are the rules of Linux shells without expansion. They hold on every machine, Windows included, so that a command line
// means the same everywhere: there, write backslashes of paths in quotes or use slashes.

export type SplitCommand = { readonly argv: readonly string[] } | { readonly problem: string };

/** The program is `argv[0]`; a problem is a sentence for the user. */
export function splitCommandLine(text: string): SplitCommand {
  if (text.includes("\0")) return { problem: "The command line contains a NUL character." };
  const argv: string[] = [];
  let current: string | undefined;
  let at = 0;
  while (at < text.length) {
    const c = text.charAt(at);
    if (/\s/.test(c)) {
      if (current !== undefined) argv.push(current);
      current = undefined;
      at++;
      continue;
    }
    const piece = c === "'" ? singleQuoted(text, at) : c === '"' ? doubleQuoted(text, at) : plain(text, at);
    if (!piece) return { problem: c === "\\" ? "The command line ends with a backslash." : "A quote in the command line is not closed." };
    current = (current ?? "") + piece.value;
    at = piece.end;
  }
  if (current !== undefined) argv.push(current);
  return argv.length === 0 || argv[0] === "" ? { problem: "The command line names no program." } : { argv };
}

interface Piece {
  readonly value: string;
  readonly end: number;
}

function singleQuoted(text: string, start: number): Piece | undefined {
  const end = text.indexOf("'", start + 1);
  return end < 0 ? undefined : { value: text.slice(start + 1, end), end: end + 1 };
}

function doubleQuoted(text: string, start: number): Piece | undefined {
  let value = "";
  for (let at = start + 1; at < text.length; at++) {
    const c = text.charAt(at);
    if (c === '"') return { value, end: at + 1 };
    const next = text.charAt(at + 1);
    if (c === "\\" && (next === '"' || next === "\\")) {
      value += next;
      at++;
    } else {
      value += c;
    }
  }
  return undefined;
}

function plain(text: string, start: number): Piece | undefined {
  const c = text.charAt(start);
  if (c !== "\\") return { value: c, end: start + 1 };
  return start + 1 < text.length ? { value: text.charAt(start + 1), end: start + 2 } : undefined;
}
