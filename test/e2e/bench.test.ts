// The benchmarks, small: every figure is printed, and the counts that they check are right.
import { execFileSync } from "node:child_process";
import path from "node:path";

test("each figure is one JSON line", () => {
  const output = execFileSync(process.execPath, [path.resolve(__dirname, "..", "..", "dist", "bench", "main.js"), "--smoke"], { encoding: "utf8" });
  const lines = output.trim().split("\n").map((line) => JSON.parse(line) as { figure: string; value: number; unit: string });
  expect(lines.map(({ figure }) => figure)).toEqual([
    "accepted one by one",
    "accepted in collections of 100",
    "accepted as a stream",
    "submission to start, idle pool",
    "no-op tasks end to end",
    "no-op tasks beside 20 queued",
    "no-op tasks beside 100 queued",
    "no-op tasks beside 1000 queued",
    "memory of the service, 100,000 queued",
    "views rebuilt from zero",
    "restart with finished tasks",
  ]);
  for (const { value, unit } of lines) {
    expect(value).toBeGreaterThan(0);
    expect(unit).toMatch(/^(tasks\/s|ms|s|MiB)$/);
  }
});

test("autoscale: pools are evaluated in one pass, and every formula's time is printed", () => {
  const output = execFileSync(process.execPath, [path.resolve(__dirname, "..", "..", "dist", "bench", "main.js"), "autoscale", "--smoke"], { encoding: "utf8" });
  const lines = output.trim().split("\n").map((line) => JSON.parse(line) as { figure: string; value: number; unit: string; pools?: number });
  expect(lines.filter(({ figure }) => figure.startsWith("a formula of ")).map(({ unit }) => unit)).toEqual(["us", "us", "us"]);
  expect(lines.filter(({ figure }) => figure.startsWith("hostile: "))).toHaveLength(8);
  expect(lines.slice(-2)).toMatchObject([{ figure: "one sample of each pool", pools: 200 }, { figure: "pools evaluated in one pass", pools: 200 }]);
  for (const { value } of lines) expect(value).toBeGreaterThan(0);
});
