// The table of the security rules: each rule is in it once, with tests that exist or with the words why not.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(__dirname, "..", "..");
/** How many rules each section has. */
const RULES = [5, 7, 5, 8, 6, 4, 7, 6, 6, 2, 4, 3];
const rows = readFileSync(path.join(__dirname, "README.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| rule") && !line.startsWith("| **"))
  .map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()) as [rule: string, kept: string, shown: string, open: string]);

test("every rule of every section is there, in order, and says how it is kept", () => {
  expect(rows.map(([rule]) => rule.split(" ")[0])).toEqual(RULES.flatMap((count, section) => Array.from({ length: count }, (_, index) => `${section + 1}.${index + 1}`)));
  for (const [rule, kept, shown, open] of rows) {
    expect([rule, kept.length > 20]).toEqual([rule, true]);
    // Shown, or nothing that it could be about, or openly not kept.
    expect([rule, shown !== "" || kept.startsWith("does not apply") || (kept.startsWith("not kept") && open !== "")]).toEqual([rule, true]);
  }
});

const texts = new Map<string, string>();
const named = rows.flatMap(([rule, , shown]) => (shown === "" ? [] : shown.split("<br>")).map((one) => [rule, ...(/^`(test\/[\w/.]+)` (.+)$/.exec(one)?.slice(1) ?? [one, ""])] as [string, string, string]));

test.each(named)("%s: %s %s", (rule, file, name) => {
  const whole = path.join(root, file);
  expect({ rule, file, there: existsSync(whole) }).toEqual({ rule, file, there: true });
  if (!texts.has(file)) texts.set(file, readFileSync(whole, "utf8"));
  expect({ rule, name, there: name !== "" && (texts.get(file) as string).includes(name.replaceAll("\\|", "|")) }).toEqual({ rule, name, there: true });
});
