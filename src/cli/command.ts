// What a command is: its words, options, help, and what it does. Parsing and help are the same for all.
import { parseArgs } from "node:util";
import { type Client, createClient } from "./client";
import { DEFAULT_DATA, findConnection } from "./connection";
import { usage } from "./failures";
import type { Io } from "./output";

export interface OptionSpec {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly multiple?: boolean;
  /** What stands for the value in the help. */
  readonly value?: string;
  readonly help: string;
}

export interface Command {
  /** One or two words. */
  readonly words: string;
  readonly summary: string;
  /** After the words, in the usage line. */
  readonly operands: string;
  /** How many operands it takes. */
  readonly operandsMin: number;
  readonly operandsMax: number;
  readonly options: Readonly<Record<string, OptionSpec>>;
  /** Further paragraphs and examples. */
  readonly more?: string;
  /** Options that take the words after them up to the next option, such as `--input a b c`. */
  readonly greedy?: readonly string[];
  /** Speaks to a service: gets --data. */
  readonly connects: boolean;
  /** Resolves to the exit code. */
  readonly run: (invocation: Invocation) => Promise<number>;
}

export interface Invocation {
  readonly io: Io;
  readonly operands: readonly string[];
  /** What follows `--`, when there is a `--`. */
  readonly rest: readonly string[] | undefined;
  readonly json: boolean;
  text(option: string): string | undefined;
  texts(option: string): readonly string[];
  flag(option: string): boolean;
  /** A client of the service, made when first asked for and closed after the command. `patienceMs`: see TransportOptions. */
  client(patienceMs?: number): Client;
}

const COMMON: Readonly<Record<string, OptionSpec>> = {
  json: { type: "boolean", help: "print JSON instead of tables" },
  help: { type: "boolean", short: "h", help: "show this help" },
};
const CONNECTION: Readonly<Record<string, OptionSpec>> = {
  data: { type: "string", value: "DIR", help: `data folder of the service (default ./${DEFAULT_DATA}, or BATCHLEDGER_URL)` },
  account: { type: "string", value: "NAME", help: "which account to speak for (default: the service's own, or BATCHLEDGER_ACCOUNT)" },
};

export const optionsOf = (command: Command): Record<string, OptionSpec> => ({ ...command.options, ...(command.connects ? CONNECTION : {}), ...COMMON });

/** Parses and runs; `false` when help is asked for. Throws usage failures. */
export async function runCommand(command: Command, args: readonly string[], io: Io): Promise<number | "help"> {
  const cut = args.indexOf("--");
  const own = spread(command, cut < 0 ? args : args.slice(0, cut));
  const { values, positionals } = parse(command, own);
  if (values["help"] === true) return "help";
  const { operandsMin, operandsMax } = command;
  if (positionals.length < operandsMin || positionals.length > operandsMax) {
    const found = positionals.length < operandsMin ? "Something is missing" : `"${positionals[operandsMax]}" is one word too many`;
    throw usage(`${found}: batchledger ${command.words} ${command.operands}`.trimEnd(), `See \`batchledger ${command.words} --help\`.`);
  }
  let client: Client | undefined;
  const text = (option: string) => values[option] as string | undefined;
  const invocation: Invocation = {
    io, operands: positionals, rest: cut < 0 ? undefined : args.slice(cut + 1), json: values["json"] === true, text,
    texts: (option) => (values[option] as string[] | undefined) ?? [],
    flag: (option) => values[option] === true,
    client: (patienceMs) => (client ??= createClient(() => findConnection(text("data"), io.env, text("account")), { signal: io.signal, ...(patienceMs === undefined ? {} : { patienceMs }) })),
  };
  try {
    return await command.run(invocation);
  } finally {
    client?.close();
  }
}

function parse(command: Command, args: readonly string[]) {
  const options = Object.fromEntries(Object.entries(optionsOf(command)).map(([name, { type, short, multiple }]) =>
    [name, { type, ...(short ? { short } : {}), ...(multiple ? { multiple } : {}) }]));
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true, strict: true }) as { values: Record<string, unknown>; positionals: string[] };
  } catch (error) {
    const message = (error as Error).message.split(/\.(?: To specify|$)/)[0] as string;
    throw usage(`${message}.`, `See \`batchledger ${command.words} --help\`.`);
  }
}

/** `--input a b c` as `--input=a --input=b --input=c`. */
function spread(command: Command, args: readonly string[]): string[] {
  const out: string[] = [];
  let within: string | undefined;
  for (const argument of args) {
    const option = command.greedy?.find((name) => argument === `--${name}`);
    if (option) within = option;
    else if (within && !argument.startsWith("-")) out.push(`--${within}=${argument}`);
    else {
      within = undefined;
      out.push(argument);
    }
  }
  return out;
}

export function helpOf(command: Command): string {
  const options = Object.entries(optionsOf(command)).map(([name, { short, value, type, help }]) =>
    [`${short ? `-${short}, ` : "    "}--${name}${type === "string" ? ` ${value ?? "TEXT"}` : ""}`, help] as const);
  const wide = Math.max(...options.map(([left]) => left.length));
  return [
    `Usage: batchledger ${command.words} ${command.operands}`.trimEnd(), "", command.summary, "",
    "Options:", ...options.map(([left, right]) => `  ${left.padEnd(wide)}  ${right}`),
    ...(command.more ? ["", command.more.trim()] : []), "",
  ].join("\n");
}
