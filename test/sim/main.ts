// Plays seeds by hand: npm run sim -- --seed 42 --verbose, or --seeds 1..2000. With --points every
// scenario is killed at every call. With --stores azure they play on Azure's adapters, with --both on those and on SQLite's, and
// are compared. Prints what went wrong with each seed that shows it, and a line of figures at the end; ends with 1 when something did.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { azureStores } from "./azureStores";
import { check } from "./checkers";
import { playBoth } from "./differential";
import { STEPS, play, playScenario } from "./play";
import { SCENARIOS } from "./scenarios";

const option = (name: string): string | undefined => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : (process.argv[at + 1] ?? "");
};

const [first, last] = (option("seeds") ?? `${option("seed") ?? 1}..${option("seed") ?? 1}`).split("..").map(Number) as [number, number];
const steps = Number(option("steps") ?? STEPS);
const verbose = process.argv.includes("--verbose");
const twice = process.argv.includes("--twice");
const both = process.argv.includes("--both");
const stores = option("stores") === "azure" ? azureStores : undefined;

const main = async (): Promise<void> => {
  const begun = performance.now();
  let calls = 0;
  let wrong = 0;
  for (let seed = first; seed <= last; seed++) {
    const faults = await playOne(seed);
    calls += faults.calls;
    if (faults.lines.length > 0) wrong++;
    for (const line of faults.lines) console.log(`seed ${seed}: ${line}`);
  }
  const seconds = (performance.now() - begun) / 1000;
  const seeds = last - first + 1;
  console.log(JSON.stringify({ seeds, wrong, calls, seconds: Number(seconds.toFixed(1)), perSeedMs: Math.round((seconds * 1000) / seeds) }));
  process.exitCode = wrong > 0 ? 1 : 0;
};

const playOne = async (seed: number): Promise<{ readonly calls: number; readonly lines: readonly string[] }> => {
  try {
    if (both) return await playBoth({ seed, steps });
    const { history, hash, calls } = await play({ seed, steps, ...(stores ? { stores } : {}), ...(verbose ? { verbose: console.log } : {}) });
    const lines = check(history).map(({ checker, what }) => `${checker}: ${what}`);
    if (twice) {
      const again = await play({ seed, steps, ...(stores ? { stores } : {}) });
      if (again.hash !== hash) lines.push(`not the same twice: ${hash} and ${again.hash}`);
    }
    if (first === last) console.log(`seed ${seed} hash ${hash}`);
    return { calls, lines };
  } catch (error) {
    return { calls: 0, lines: [`crashed: ${(error as Error).stack ?? String(error)}`] };
  }
};

/** Kills at every call of every scenario. */
const points = async (): Promise<void> => {
  for (const [name, scenario] of Object.entries(SCENARIOS)) {
    const { calls } = await playScenario(scenario);
    let wrong = 0;
    for (let at = 1; at <= calls; at++)
      for (const kind of ["killBefore", "killAfter"] as const)
        for (const { checker, what } of check((await playScenario(scenario, { at, kind })).history)) {
          wrong++;
          console.log(`${name}, ${kind} call ${at}: ${checker}: ${what}`);
        }
    console.log(JSON.stringify({ scenario: name, points: 2 * calls, wrong }));
    if (wrong > 0) process.exitCode = 1;
  }
};

/** Shares the seeds among as many processes, each of which prints its own lines; this one adds up. */
const together = async (jobs: number): Promise<void> => {
  const begun = performance.now();
  const size = Math.ceil((last - first + 1) / jobs);
  let wrong = 0;
  const parts = Array.from({ length: jobs }, (_, index) => [first + index * size, Math.min(last, first + (index + 1) * size - 1)] as const).filter(([from, to]) => from <= to);
  await Promise.all(parts.map(([from, to]) => new Promise<void>((resolve) => {
    const child = spawn(process.execPath, [...process.execArgv, __filename, "--seeds", `${from}..${to}`, "--steps", String(steps), "--jobs", "1", ...(both ? ["--both"] : []), ...(stores ? ["--stores", "azure"] : [])], { stdio: ["ignore", "pipe", "inherit"] });
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (line.startsWith("{")) wrong += (JSON.parse(line) as { wrong: number }).wrong;
      else console.log(line);
    });
    child.once("close", () => resolve());
  })));
  console.log(JSON.stringify({ seeds: last - first + 1, wrong, seconds: Number(((performance.now() - begun) / 1000).toFixed(1)), processes: parts.length }));
  process.exitCode = wrong > 0 ? 1 : 0;
};

const jobs = Number(option("jobs") ?? (last - first >= 20 ? 2 : 1));
void (process.argv.includes("--points") ? points() : jobs > 1 ? together(jobs) : main());
