// A world for one command line in a test: what was written, and what the command may see.
import { Readable } from "node:stream";
import { run } from "../../src/cli/main";
import type { Io } from "../../src/cli/output";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Standard output as JSON. */
  json<T>(): T;
}

export interface World {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly stdin?: string;
  readonly terminal?: boolean;
  readonly signal?: AbortSignal;
  /** Told each piece of standard error as it is written. */
  readonly onErr?: (text: string) => void;
}

export async function cli(args: readonly string[], world: World = {}): Promise<Ran> {
  let out = "";
  let err = "";
  const decoder = new TextDecoder();
  const io: Io = {
    out: (text) => { out += typeof text === "string" ? text : decoder.decode(text, { stream: true }); },
    err: (text) => {
      err += text;
      world.onErr?.(text);
    },
    outIsTerminal: world.terminal === true, errIsTerminal: world.terminal === true, columns: 100,
    env: world.env ?? {}, cwd: world.cwd ?? process.cwd(), stdin: Readable.from(world.stdin ?? ""),
    signal: world.signal ?? new AbortController().signal,
  };
  const code = await run(args, io);
  return { code, out, err, json: <T>() => JSON.parse(out) as T };
}
