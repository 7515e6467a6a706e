// The small values of the wire: dates, ETags, conditions, JSON, and the table of codes.
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { holds, readCondition, readConditions, writeCondition } from "../../src/api/conditions";
import { eTagOf, httpDate, parseInstant, ticksOf, wireDate } from "../../src/api/dates";
import { DEPTH_MAX, parseJson, parseJsonText, readBytes } from "../../src/api/json";
import { isKnownCode, problemBody } from "../../src/api/problems";
import { isRejection, rejection } from "../../src/domain/decider";

test("an ETag is the ticks of the last change, in upper-case hexadecimal", () => {
  expect(eTagOf("2015-07-09T19:31:21.090795Z")).toBe("0x8D28894F80EA52E");
  expect(ticksOf("0001-01-01T00:00:00.000Z")).toBe(0n);
  // Two changes a millisecond apart never share one: the numbers are beyond what a double keeps apart.
  expect(ticksOf("2024-01-01T00:00:00.001Z") - ticksOf("2024-01-01T00:00:00.000Z")).toBe(10_000n);
  expect(ticksOf("2015-07-09T19:31:21.0000001Z") - ticksOf("2015-07-09T19:31:21.000Z")).toBe(1n);
});

test.each([
  ["2015-07-09T19:31:21.090Z", "2015-07-09T19:31:21.09Z"],
  ["2015-07-09T19:31:20.000Z", "2015-07-09T19:31:20Z"],
  ["2015-07-09T19:31:21.123Z", "2015-07-09T19:31:21.123Z"],
  ["2015-07-09T19:31:20Z", "2015-07-09T19:31:20Z"],
])("%s is written %s", (at, expected) => {
  expect(wireDate(at)).toBe(expected);
  expect(Date.parse(wireDate(at))).toBe(Date.parse(at));
});

test("instants are read with fractions and offsets, and nothing that is none", () => {
  expect(parseInstant("2015-07-09T19:31:21Z")).toBe(Date.UTC(2015, 6, 9, 19, 31, 21));
  expect(parseInstant("2015-07-09T21:31:21.5+02:00")).toBe(Date.UTC(2015, 6, 9, 19, 31, 21, 500));
  expect(parseInstant("2015-07-09T19:31:21.0907950Z")).toBeCloseTo(Date.UTC(2015, 6, 9, 19, 31, 21) + 90.795, 3);
  for (const text of ["2015-07-09", "2015-07-09T19:31:21", "2015-13-09T19:31:21Z", "2015-02-29T00:00:00Z", "2015-07-09T19:31:21+99:00", "x"])
    expect(parseInstant(text)).toBeUndefined();
});

describe("conditions", () => {
  const at = "2015-07-09T19:31:21.090Z";
  const tag = eTagOf(at);
  const conditions = (headers: Record<string, string>) => readConditions(new Headers(headers));
  const met = (headers: Record<string, string>): boolean => {
    const read = conditions(headers);
    if (isRejection(read)) throw new Error(read.code);
    return holds(read, at);
  };
  const earlier = httpDate("2015-07-09T19:31:20.000Z");
  const same = httpDate(at);

  test.each<[Record<string, string>, boolean]>([
    [{}, true],
    [{ "if-match": tag }, true],
    [{ "if-match": `"${tag}"` }, true],
    [{ "if-match": tag.toLowerCase() }, true],
    [{ "if-match": `0x1, "${tag}"` }, true],
    [{ "if-match": "0x1" }, false],
    [{ "if-match": "*" }, true],
    [{ "if-none-match": tag }, false],
    [{ "if-none-match": `W/"${tag}"` }, false],
    [{ "if-none-match": "0x1" }, true],
    [{ "if-none-match": "*" }, false],
    [{ "if-modified-since": earlier }, true],
    [{ "if-modified-since": same }, false],
    [{ "if-unmodified-since": same }, true],
    [{ "if-unmodified-since": earlier }, false],
    // Two of a kind: the tag counts.
    [{ "if-match": tag, "if-unmodified-since": earlier }, true],
    [{ "if-none-match": "0x1", "if-modified-since": same }, true],
  ])("%j holds: %s", (headers, expected) => {
    expect(met(headers)).toBe(expected);
  });

  test("mixes and bad dates are refused", () => {
    for (const mix of [
      { "if-match": tag, "if-none-match": tag },
      { "if-match": tag, "if-modified-since": same },
      { "if-none-match": tag, "if-unmodified-since": same },
      { "if-modified-since": same, "if-unmodified-since": same },
    ])
      expect(conditions(mix)).toMatchObject({ code: "MultipleConditionHeadersNotSupported" });
    expect(conditions({ "if-modified-since": "yesterday" })).toMatchObject({ code: "InvalidHeaderValue" });
  });

  test("reads that fail are 304 or 412 by kind, writes 412", () => {
    const read = (headers: Record<string, string>) => readCondition(conditions(headers) as never, at);
    expect(read({ "if-none-match": tag })).toBe("notModified");
    expect(read({ "if-modified-since": same })).toBe("notModified");
    expect(read({ "if-match": "0x1" })).toMatchObject({ code: "ConditionNotMet" });
    expect(read({ "if-unmodified-since": earlier })).toMatchObject({ code: "ConditionNotMet" });
    const write = writeCondition(conditions({ "if-none-match": tag }) as never);
    expect(write?.({ state: { modifiedAt: at } })).toMatchObject({ code: "ConditionNotMet" });
    expect(write?.({ state: { modifiedAt: "2015-07-09T19:31:21.091Z" } })).toBeUndefined();
    expect(writeCondition(conditions({}) as never)).toBeUndefined();
  });
});

describe("JSON", () => {
  const refusedFor = (text: string): string | undefined => {
    const parsed = parseJsonText(text);
    return isRejection(parsed) ? parsed.message : undefined;
  };

  test("is what it says, without annotations", () => {
    const text = '{"odata.metadata":"x","a":{"b@odata.type":"y","c":[1,{"d":"\\":{[,\\\\"}]}}';
    expect(parseJsonText(text)).toEqual({ value: { a: { c: [1, { d: '":{[,\\' }] } } });
  });

  test.each<[string, RegExp]>([
    ["", /not valid/],
    ["{", /not valid/],
    ['{"a":1,}', /not valid/],
    ["{'a':1}", /not valid/],
    ['{"a":1,"a":2}', /twice/],
    ['{"x":{"a":1,"b":2,"a":1}}', /twice/],
    ['{"a":1,"\\u0061":2}', /twice/],
    ['{"__proto__":{"x":1}}', /not allowed/],
    ['{"a":[{"constructor":1}]}', /not allowed/],
    ['{"prototype":1}', /not allowed/],
    [`${"[".repeat(DEPTH_MAX + 1)}${"]".repeat(DEPTH_MAX + 1)}`, /nested/],
    ["[".repeat(1_000_000), /nested/],
  ])("refused: %.40s", (text, expected) => {
    expect(refusedFor(text)).toMatch(expected);
  });

  test("must be UTF-8", () => {
    expect(parseJson(Buffer.from('{"a":"é"}'))).toEqual({ value: { a: "é" } });
    expect(parseJson(Buffer.from([0x22, 0xff, 0x22]))).toMatchObject({ code: "InvalidRequestBody" });
  });

  test("a body is read up to its limit and no further", async () => {
    let given = 0;
    let cancelled = false;
    const body = {
      getReader: () => ({
        read: async () => ({ done: ++given > 1000, value: new Uint8Array(100) }),
        cancel: async () => {
          cancelled = true;
        },
      }),
    };
    expect(await readBytes(body, 250)).toMatchObject({ code: "RequestBodyTooLarge" });
    expect([given, cancelled]).toEqual([3, true]);
    given = 998;
    expect((await readBytes(body, 250)) as Buffer).toHaveLength(200);
  });
});

describe("problems", () => {
  test("the body has the code, the request and the time, and no value longer than 64 characters", () => {
    const body = problemBody(rejection("InvalidPropertyValue", undefined, { PropertyName: "name", PropertyValue: "x".repeat(100) }), {
      base: "https://acct.batch.core.windows.net",
      requestId: "5f9e2a3e-0000-4000-8000-000000000000",
      at: "2015-07-09T19:12:59.770Z",
    });
    expect(body).toEqual({
      "odata.metadata": "https://acct.batch.core.windows.net/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element",
      code: "InvalidPropertyValue",
      message: {
        lang: "en-US",
        value:
          "The value provided for one of the properties in the request body is invalid.\nRequestId:5f9e2a3e-0000-4000-8000-000000000000\nTime:2015-07-09T19:12:59.77Z",
      },
      values: [
        { key: "PropertyName", value: "name" },
        { key: "PropertyValue", value: "x".repeat(64) },
      ],
    });
  });

  test("every code that the service refuses with is in the table", () => {
    const root = path.join(__dirname, "../../src");
    const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((file) => /^(?:domain|app|api|process)\/.*\.ts$/.test(file));
    const codes = new Set(files.flatMap((file) => [...readFileSync(path.join(root, file), "utf8").matchAll(/rejection\(\s*"(\w+)"/g)].map((match) => match[1] as string)));
    expect(codes.size).toBeGreaterThan(20);
    expect([...codes].filter((code) => !isKnownCode(code))).toEqual([]);
  });
});
