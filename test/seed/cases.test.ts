// The 55 behaviour cases of the reference (batch-2015, section 9): each is shown by a test whose name says `case N`, so that
// whoever asks what becomes of a case finds it by that name. What the test shows is the test's own affair.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";

const CASES = 55;
const tests = path.resolve(__dirname, "..");

/** Names of tests and of groups of tests: the text before the function that is the test. */
const namesIn = (source: string): string[] =>
  [...source.matchAll(/\(\s*(["`])((?:(?!\1).)+)\1,\s*(?:async\b|function\b|\(|\w+ =>)/g)].map(([, , name]) => name as string);

const casesIn = (name: string): number[] => [...name.matchAll(/\bcase (\d+)\b/g)].map(([, number]) => Number(number));

test("every numbered case is named by a test", () => {
  const files = readdirSync(tests, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".test.ts") || name.endsWith(".scenarios.ts"));
  const named = new Set(files.flatMap((file) => namesIn(readFileSync(path.join(tests, file), "utf8"))).flatMap(casesIn));
  expect(Array.from({ length: CASES }, (_, index) => index + 1).filter((number) => !named.has(number))).toEqual([]);
});

test("only names count: not comments, nor other numbers", () => {
  expect(namesIn('// case 1\ntest("shows case 2 and case 3", async () => {});\ntest.each([["a", "case 4"]])(`%s, case 5`, (x) => {});\nexpect(f("case 6"));').flatMap(casesIn)).toEqual([2, 3, 5]);
});
