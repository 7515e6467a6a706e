// A few of the points of `npm run kills`, spread over a service's and an agent's life; all of them take that long (test/README.md).
import { playPoint } from "./killPoints";

/** By number, or by the first whose name has this in it. */
const POINTS = {
  service: ["linkSync keys/local.key", "spawn bin/node", 260, 400],
  // The first of them: the folder was there and belonged to the agent, so that no task of the TVM could ever be started again.
  agent: ["/tasks", "word of helpers/", 100],
} as const;

describe.each(["service", "agent"] as const)("kill -9 of the %s", (role) => {
  test.each(POINTS[role].map((at) => [at]))("at %s: taken up again, nothing acknowledged is lost, each task completes once, and the data are whole", async (at) => {
    const { died } = await playPoint(role, at);
    if (typeof at === "string") expect(died).toContain(at);
  }, 120_000);
});
