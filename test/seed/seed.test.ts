// The table of the seed's statements names tests that exist: a test that is renamed or goes is missed here.
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";

const root = path.resolve(__dirname, "..", "..");
const rows = readFileSync(path.join(__dirname, "README.md"), "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| ") && !line.startsWith("| statement"))
  .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()) as [string, string]);
const statements = rows.filter(([, shown]) => shown !== "");
const named = statements.flatMap(([statement, shown]) =>
  shown.split("<br>").map((one) => {
    const match = /^`(test\/[\w/.]+)` (.+)$/.exec(one);
    return { statement, file: match?.[1] ?? one, name: match?.[2] ?? "" };
  }),
);

test("every section of the seed has statements, and every statement a test", () => {
  const sections = rows.filter(([statement]) => statement.startsWith("**"));
  expect(sections.length).toBeGreaterThan(14);
  expect(statements.length).toBeGreaterThan(55);
  expect(rows.filter(([statement, shown]) => shown === "" && !statement.startsWith("**"))).toEqual([]);
});

const texts = new Map<string, string>();

test.each(named.map((one) => [`${one.file}: ${one.name}`, one] as const))("%s", (_title, { statement, file, name }) => {
  const whole = path.join(root, file);
  expect({ statement, file, there: existsSync(whole) }).toEqual({ statement, file, there: true });
  if (!texts.has(file)) texts.set(file, readFileSync(whole, "utf8"));
  expect({ statement, name, there: name !== "" && (texts.get(file) as string).includes(name) }).toEqual({ statement, name, there: true });
});
