// Some seeds of the simulator in every run of the tests, and that a seed is the same twice. More by hand: npm run sim.
import { check } from "./checkers";
import { play } from "./play";

/** Seeds that have shown a fault once: what they found is in the tests named after it. */
const ONCE_FAILED: readonly number[] = [89, 125, 129, 878, 1565, 1717, 1762, 1948, 701908, 1002117, 1012428, 1100717, 1157560, 1269464];
/** Those that show it in a shorter course only. */
const STEPS_OF: Readonly<Record<number, number>> = { 1002117: 20, 1012428: 20, 1100717: 8, 1157560: 8, 1269464: 20 };
/** What few seeds do: formulas are tried out by request. */
const RARE: readonly number[] = [57, 71];
const SEEDS: readonly number[] = process.env["SEED"] === undefined ? [...ONCE_FAILED, ...RARE, ...Array.from({ length: 30 }, (_, index) => index + 1)] : [Number(process.env["SEED"])];

const FAULT = /\b(refuse|loseAnswer|double|killBefore|killAfter|goes back|crashes|cannot be reached)\b/;
/** Kinds of faults and events that these seeds have shown, and actions that have succeeded. */
const seen = new Set<string>();

test.each(SEEDS)("seed %i: chaos, then healing, and every checker is content", async (seed) => {
  const { history } = await play({ seed, ...(STEPS_OF[seed] ? { steps: STEPS_OF[seed] } : {}), verbose: (line) => void seen.add(FAULT.exec(line)?.[1] ?? "") });
  for (const { commit } of history.stored) for (const { type } of commit.events) seen.add(type);
  for (const { action, status } of history.asked) if (status !== undefined && status < 300) seen.add(action);
  expect(check(history)).toEqual([]);
});

test("the same seed is the same to the last byte, another is not", async () => {
  const [first, again, other] = [await play({ seed: 7 }), await play({ seed: 7 }), await play({ seed: 8 })];
  expect(again.hash).toBe(first.hash);
  expect(again.history.stored.length).toBe(first.history.stored.length);
  expect(other.hash).not.toBe(first.hash);
});

// With a seed of its own only that one runs.
const withAll = process.env["SEED"] === undefined ? test : test.skip;

withAll("much happens in these seeds: all kinds of faults, most kinds of events and of successes", () => {
  const faults = ["refuse", "loseAnswer", "double", "killBefore", "killAfter", "goes back", "crashes", "cannot be reached"];
  const events = ["TaskRequeued", "TaskRetried", "TaskReturned", "TvmLeaving", "TvmDrained", "TvmLost", "JobDeleted", "WorkItemDeleted", "WorkItemOccurrencesSkipped", "CertificateDeleted", "PoolAutoScaleEvaluated", "TvmUserAdded"];
  const actions = ["batch", "sendCommand", "addCertificate", "deleteCertificate", "enableAutoScale", "evaluateAutoScale", "read", "getTvmFile", "updatePoolProperties", "updateWorkItem"];
  expect([...faults, ...events, ...actions].filter((one) => !seen.has(one))).toEqual([]);
});
