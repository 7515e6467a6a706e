// Fault switches of real processes: modules that Node loads before the program, so that nothing of them is in the program. A service hands
// its flags on to the agents that it starts, and each switch looks at which of the two it is in.
import { writeFileSync } from "node:fs";
import path from "node:path";

export interface KillAt {
  readonly role: "service" | "agent";
  /** Which point, or the first whose name has this in it. 0: nobody dies, points are counted. */
  readonly at: number | string;
  /** File that whoever dies leaves behind. */
  readonly marker: string;
  /** File to which a process that ends by itself appends the names of its points. */
  readonly names: string;
}

export interface Switches {
  readonly killAt: KillAt;
  readonly shortTimes: { readonly heartbeatMs: number; readonly selfStopMs: number; readonly lostAfterMs: number };
  /** Files with a number of milliseconds, looked at now and then, by which the clock of each is wrong. */
  readonly wrongClock: { readonly service: string; readonly agent: string };
}

/** Flags of Node that set these switches. Writes one small file for each to the folder. */
export const switches = (folder: string, wanted: Partial<Switches>): string[] =>
  Object.entries(wanted).flatMap(([name, options]) => {
    const file = path.join(folder, `${name}.js`);
    writeFileSync(file, `require(${JSON.stringify(path.join(__dirname, `${name}.js`))})(${JSON.stringify(options)});\n`);
    return ["--require", file];
  });
