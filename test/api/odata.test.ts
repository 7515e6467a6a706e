import { isRejection } from "../../src/domain/decider";
import { ALL, EQ_NE, type Fields, parseFilter, parseSelect } from "../../src/api/odata";

interface Thing {
  name: string;
  state: string;
  at?: string;
  exitCode?: number;
  big: boolean;
}

const fields: Fields<Thing> = {
  name: { type: "text", operators: [...ALL, "startswith"], of: (row) => row.name },
  state: { type: "state", operators: EQ_NE, values: ["active", "completed"], of: (row) => row.state },
  creationTime: { type: "time", operators: ALL, of: (row) => row.at },
  "executionInfo/exitCode": { type: "number", operators: ALL, of: (row) => row.exitCode },
  big: { type: "boolean", operators: EQ_NE, of: (row) => row.big },
};

const things: Thing[] = [
  { name: "Alpha", state: "active", at: "2015-07-09T10:00:00.000Z", big: true },
  { name: "beta", state: "completed", at: "2015-07-09T11:00:00.500Z", exitCode: 0, big: false },
  { name: "gamma", state: "completed", at: "2015-07-09T12:00:00.000Z", exitCode: -1, big: false },
  { name: "o'neil", state: "active", big: true },
];

const names = (text: string): string[] => {
  const filter = parseFilter(text, fields);
  if (isRejection(filter)) throw new Error(filter.values?.["Reason"]);
  return things.filter((one) => filter.test(one)).map((one) => one.name);
};

const reason = (text: string): string | undefined => {
  const filter = parseFilter(text, fields);
  return isRejection(filter) ? filter.values?.["Reason"] : undefined;
};

test.each<[string, string[]]>([
  ["name eq 'alpha'", ["Alpha"]],
  ["name ne 'Alpha'", ["beta", "gamma", "o'neil"]],
  ["name gt 'b' and name lt 'h'", ["beta", "gamma"]],
  ["name ge 'beta' and name le 'gamma'", ["beta", "gamma"]],
  ["startswith(name,'AL')", ["Alpha"]],
  ["startswith(name, 'al') eq false", ["beta", "gamma", "o'neil"]],
  ["name eq 'o''neil'", ["o'neil"]],
  ["state eq 'completed'", ["beta", "gamma"]],
  ["executionInfo/exitCode eq 0", ["beta"]],
  ["executionInfo/exitCode lt 0", ["gamma"]],
  // What a row does not have equals nothing and is not less or more than anything.
  ["executionInfo/exitCode ne 0", ["Alpha", "gamma", "o'neil"]],
  ["creationTime lt datetime'2016-01-01T00:00:00Z'", ["Alpha", "beta", "gamma"]],
  ["creationTime ge DateTime'2015-07-09T13:00:00.5+02:00'", ["beta", "gamma"]],
  ["creationTime eq 2015-07-09T11:00:00.5Z", ["beta"]],
  ["big eq true", ["Alpha", "o'neil"]],
  // `and` binds more tightly than `or`.
  ["name eq 'beta' or state eq 'active' and big eq true", ["Alpha", "beta", "o'neil"]],
  ["state eq 'active' and big eq true or name eq 'beta'", ["Alpha", "beta", "o'neil"]],
  ["(name eq 'beta' or state eq 'active') and big eq false", ["beta"]],
  ["((((name eq 'beta'))))", ["beta"]],
])("%s", (text, expected) => {
  expect(names(text)).toEqual(expected);
});

test.each<[string, RegExp]>([
  ["", /too early/],
  ["name", /too early/],
  ["name eq", /too early/],
  ["name eq 'x' and", /too early/],
  ["name eq 'x", /not closed/],
  ["name eq x", /text in single quotes/],
  ["name is 'x'", /cannot be compared with 'is'/],
  ["colour eq 'x'", /cannot be filtered by 'colour'/],
  ["__proto__ eq 'x'", /cannot be filtered by '__proto__'/],
  ["constructor eq 'x'", /cannot be filtered by/],
  ["state gt 'active'", /cannot be compared with 'gt'/],
  ["startswith(state,'a')", /cannot be compared with 'startswith'/],
  ["state eq 'sleeping'", /invalid state/],
  ["executionInfo/exitCode eq '0'", /whole number/],
  ["executionInfo/exitCode eq 0.5", /whole number/],
  ["creationTime gt '2015-07-09'", /an instant/],
  ["creationTime gt datetime'2015-02-30T00:00:00Z'", /an instant/],
  ["big eq 'true'", /true or false/],
  ["(name eq 'x'", /too early/],
  ["name eq 'x')", /not expected/],
  ["name eq 'x' name eq 'y'", /not expected/],
  ["not name eq 'x'", /cannot be filtered by 'not'|cannot be compared/],
  ["name eq 'x' ; drop", /a character that no filter has/],
  ["guid'x' eq name", /stands against a quote/],
  ["startswith(name,'a') eq 1", /true or false/],
])("refused: %s", (text, expected) => {
  expect(reason(text)).toMatch(expected);
});

test("bounds: length, depth, terms", () => {
  expect(reason(`name eq '${"x".repeat(5000)}'`)).toMatch(/longer than/);
  expect(reason(`${"(".repeat(40)}name eq 'x'${")".repeat(40)}`)).toMatch(/deep/);
  expect(reason(Array.from({ length: 120 }, () => "big eq true").join(" and "))).toMatch(/terms/);
  expect(reason(Array.from({ length: 90 }, () => "big eq true").join(" or "))).toBeUndefined();
});

test("what every row that passes has in common is known where it is certain", () => {
  const equal = (text: string) => (parseFilter(text, fields) as { equal: unknown }).equal;
  expect(equal("state eq 'active'")).toEqual({ state: "active" });
  expect(equal("big eq true and (state eq 'active' and name gt 'a')")).toEqual({ state: "active" });
  expect(equal("state eq 'active' or big eq true")).toEqual({});
  expect(equal("state ne 'active'")).toEqual({});
});

test("$select lists properties that there are", () => {
  expect(parseSelect("name, state", ["name", "state", "url"])).toEqual(new Set(["name", "state"]));
  for (const text of ["", "name,", "name,colour", "toString"]) expect(isRejection(parseSelect(text, ["name", "state"]))).toBe(true);
});
