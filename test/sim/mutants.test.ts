// The list of guards in scripts/mutants.mjs is run by hand (npm run mutants); here, that no guard of it went missing.
import { spawnSync } from "node:child_process";
import path from "node:path";

test("each guard of the mutants still stands where the list says, with its test", () => {
  const { stdout, status } = spawnSync(process.execPath, [path.resolve(__dirname, "../../scripts/mutants.mjs"), "--find"], { encoding: "utf8" });
  const figures = JSON.parse(stdout.trim().split("\n").at(-1) as string) as { mutants: number; found: number };
  expect({ status, lost: stdout.match(/^not found: .*/gm) ?? [] }).toEqual({ status: 0, lost: [] });
  expect(figures.mutants).toBeGreaterThanOrEqual(20);
});
