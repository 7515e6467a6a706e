import { Failure } from "../../src/cli/failures";
import { arrayRange, duration, settings, wholeNumber, workReference } from "../../src/cli/options";

test.each([
  ["1-1000", { from: 1, to: 1000, step: 1, count: 1000 }],
  ["0-90:10", { from: 0, to: 90, step: 10, count: 10 }],
  ["0-99:10", { from: 0, to: 99, step: 10, count: 10 }],
  ["5", { from: 5, to: 5, step: 1, count: 1 }],
])("--array %s", (text, range) => expect(arrayRange(text)).toEqual(range));

test.each(["", "a", "10-1", "1-", "1-5:0", "-5", "1-5:", "1-99999999", "1,2"])("--array %s is refused", (text) => {
  expect(() => arrayRange(text)).toThrow(Failure);
});

test.each([["90s", "PT90S"], ["15m", "PT15M"], ["1h30m", "PT1H30M"], ["2d", "P2D"], ["1d12h", "P1DT12H"], ["PT15M", "PT15M"], ["P1D", "P1D"], ["PT0.5S", "PT0.5S"]])(
  "duration %s", (text, iso) => expect(duration("--x", text)).toBe(iso));

test.each(["", "10", "P", "PT", "1x", "-5s", "1m1h", "P1DT"])("duration %s is refused", (text) => {
  expect(() => duration("--x", text)).toThrow("--x");
});

test("whole numbers are checked", () => {
  expect(wholeNumber("--n", "-1", -1, 5)).toBe(-1);
  for (const text of ["6", "1.5", "1e1", "", "x", " 1"]) expect(() => wholeNumber("--n", text, -1, 5)).toThrow("--n");
});

test("settings keep everything after the first equals sign", () => {
  expect(settings("--env", ["A=1", "B=x=y", "C="])).toEqual([{ name: "A", value: "1" }, { name: "B", value: "x=y" }, { name: "C", value: "" }]);
  expect(() => settings("--env", ["=1"])).toThrow("NAME=VALUE");
  expect(() => settings("--env", ["A"])).toThrow("NAME=VALUE");
});

test("work references", () => {
  expect(workReference("w")).toEqual({ workItem: "w" });
  expect(workReference("w/t")).toEqual({ workItem: "w", task: "t" });
  for (const text of ["", "a/b/c", "a b", "../x", "a/", `${"x".repeat(65)}`]) expect(() => workReference(text)).toThrow(Failure);
});
