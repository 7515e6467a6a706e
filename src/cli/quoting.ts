// Command lines as the agent splits them (no shell: blanks separate, single quotes are literal): the inverse of that splitting,
// so that a program gets exactly the arguments that were typed here. Pure.

/** One command line from arguments. */
export const commandLine = (args: readonly string[]): string => args.map(quote).join(" ");

/** An argument as it must be written: as it is when nothing in it is special, else in single quotes. */
export function quote(argument: string): string {
  if (/^[A-Za-z0-9_./:=@%+,~^#?*&|;<>()[\]{}!$-]+$/.test(argument)) return argument;
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}

/** The same for text that a shell will read: there more characters are special. */
export function shellQuote(argument: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}

export interface CommandTemplate {
  readonly args: readonly string[];
  /** Run by `sh -c`, with redirections, pipes and variables. */
  readonly shell: boolean;
}

/** The command line of one task: `{}` stands for its value; a line that has no place in the command becomes the last argument. */
export function fillIn(template: CommandTemplate, value: string | undefined, appendIfUnused: boolean): string {
  const { args, shell } = template;
  const used = args.some((argument) => argument.includes("{}"));
  if (shell) {
    const script = args.join(" ");
    if (value === undefined) return commandLine(["sh", "-c", script]);
    // The value is data: quoted, so that nothing in it is taken for shell text.
    const filled = script.replaceAll("{}", () => shellQuote(value));
    return commandLine(["sh", "-c", used || !appendIfUnused ? filled : `${filled} ${shellQuote(value)}`]);
  }
  if (value === undefined) return commandLine(args);
  const filled = args.map((argument) => argument.replaceAll("{}", () => value));
  return commandLine(used || !appendIfUnused ? filled : [...filled, value]);
}
