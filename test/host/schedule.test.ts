import { parseSchedule } from "../../src/host/schedule";

const next = (expression: string, after: string): string => new Date(parseSchedule(expression).next(Date.parse(after))).toISOString();

test.each([
  ["*/15 * * * * *", "2026-03-01T00:00:14.900Z", "2026-03-01T00:00:15.000Z"],
  ["*/15 * * * * *", "2026-03-01T00:00:15.000Z", "2026-03-01T00:00:30.000Z"],
  ["0 */5 * * * *", "2026-12-31T23:56:00.000Z", "2027-01-01T00:00:00.000Z"],
  ["*/5 * * * *", "2026-12-31T23:56:00.000Z", "2027-01-01T00:00:00.000Z"],
  ["30 15 9-17/4 * * MON-FRI", "2026-03-06T17:15:30.000Z", "2026-03-09T09:15:30.000Z"],
  ["0 0 0 29 FEB *", "2026-03-01T00:00:00.000Z", "2028-02-29T00:00:00.000Z"],
  ["0 0 0 13 * FRI", "2026-03-14T00:00:00.000Z", "2026-11-13T00:00:00.000Z"],
  ["0 0 0 * * 7", "2026-03-06T00:00:00.000Z", "2026-03-08T00:00:00.000Z"],
  ["0 0 0 1,15 * *", "2026-03-01T00:00:00.000Z", "2026-03-15T00:00:00.000Z"],
  ["00:00:10", "2026-03-01T00:00:01.500Z", "2026-03-01T00:00:11.500Z"],
  ["1.00:00:00", "2026-03-01T00:00:00.000Z", "2026-03-02T00:00:00.000Z"],
])("%s after %s is %s", (expression, after, expected) => {
  expect(next(expression, after)).toBe(expected);
});

test.each(["", "* * * *", "60 * * * * *", "*/0 * * * * *", "5-1 * * * * *", "0 0 0 0 * *", "x * * * * *", "00:00:00", "0 0 0 * * * *"])("%p is refused", (expression) => {
  expect(() => parseSchedule(expression)).toThrow();
});

test("a day that never comes is said so", () => {
  expect(() => next("0 0 0 30 FEB *", "2026-01-01T00:00:00Z")).toThrow("never fires");
});
