// Every fault point once: the service is killed at the Nth call of a port, for each N of a short scenario, then heals, and every
// checker is content. Here a part of the points, another one each day of a month would do; all of them: npm run sim -- --points.
import { check } from "./checkers";
import { playScenario } from "./play";
import { SCENARIOS } from "./scenarios";

const EVERY = process.env["POINTS"] === "all" ? 1 : 40;

test.each(Object.entries(SCENARIOS))("%s: killed at some calls, before and after the port has done its work", async (_name, steps) => {
  const { calls, history } = await playScenario(steps);
  expect(check(history)).toEqual([]);
  expect(calls).toBeGreaterThan(80);
  const found: string[] = [];
  for (let at = 1 + (calls % EVERY); at <= calls; at += EVERY) {
    const kind = at % 2 === 0 ? "killBefore" : "killAfter";
    for (const { checker, what } of check((await playScenario(steps, { at, kind })).history)) found.push(`${kind} call ${at}: ${checker}: ${what}`);
  }
  expect(found).toEqual([]);
});
