// Which list may be filtered by what, and how: the table of the reference, section 1, over HTTP. Whatever is not in it is refused.
import { POOL, type Service, ask, openService, refusal, withJob, JOB } from "./support";

const ALL = ["eq", "ne", "gt", "ge", "lt", "le"];
const TEXT = [...ALL, "startswith"];
const EQ_NE = ["eq", "ne"];

type Row = readonly [operators: readonly string[], literal: string];
const text = (operators = TEXT): Row => [operators, "'x'"];
const state = (value: string, operators = EQ_NE): Row => [operators, `'${value}'`];
const TIME: Row = [ALL, "datetime'2015-07-09T19:31:21Z'"];
const NUMBER: Row = [ALL, "0"];
const FLAG: Row = [EQ_NE, "true"];
const common = { creationTime: TIME, lastModified: TIME, stateTransitionTime: TIME };

const LISTS: Readonly<Record<string, Readonly<Record<string, Row>>>> = {
  "/pools": { name: text(), state: state("active"), tvmSize: text(EQ_NE), enableAutoScale: FLAG, communication: FLAG, allocationState: state("steady", ["eq"]), ...common, allocationStateTransitionTime: TIME },
  "/pools/p1/tvms": {
    state: state("idle"), stateTransitionTime: TIME, lastBootTime: TIME, tvmAllocationTime: TIME, "startTaskInfo/startTime": TIME, "startTaskInfo/endTime": TIME,
    "startTaskInfo/state": state("running", ["eq"]), "startTaskInfo/exitCode": NUMBER,
  },
  "/workitems": { name: text(), state: state("active"), ...common, "executionInfo/endTime": TIME, "schedule/doNotRunUntil": TIME, "schedule/doNotRunAfter": TIME },
  "/workitems/w1/jobs": { name: text(), "executionInfo/poolName": text(), state: state("active"), ...common, "executionInfo/startTime": TIME, "executionInfo/endTime": TIME },
  [`${JOB}/tasks`]: { name: text(), state: state("running"), ...common, "executionInfo/startTime": TIME, "executionInfo/endTime": TIME, "executionInfo/exitCode": NUMBER },
  "/certificates": { state: state("active"), stateTransitionTime: TIME },
};
const PROPERTIES = [...new Set(Object.values(LISTS).flatMap((list) => Object.keys(list)))];

let service: Service;
beforeAll(async () => {
  service = await openService();
  await withJob(service);
});
afterAll(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const filtered = (target: string, filter: string) => ask(service, "GET", target, { query: { $filter: filter } });
const written = (name: string, operator: string, literal: string): string => (operator === "startswith" ? `startswith(${name},'x')` : `${name} ${operator} ${literal}`);

describe.each(Object.entries(LISTS))("%s", (target, list) => {
  test("takes what the reference lists, and nothing else", async () => {
    for (const name of PROPERTIES) {
      const literal = list[name]?.[1] ?? Object.values(LISTS).find((other) => other[name])?.[name]?.[1] ?? "'x'";
      for (const operator of TEXT) {
        const got = await filtered(target, written(name, operator, literal));
        const expected = list[name]?.[0].includes(operator) ? "200" : "400 InvalidQueryParameterValue $filter";
        expect([name, operator, refusal(got)]).toEqual([name, operator, expected]);
      }
    }
  });

  test("combines by and, or and brackets, and refuses what is no value of its type", async () => {
    const [name, [, literal]] = Object.entries(list)[0] as [string, Row];
    expect((await filtered(target, `(${name} eq ${literal} or ${name} eq ${literal}) and ${name} eq ${literal}`)).status).toBe(200);
    for (const bad of ["", `${name} eq`, `${name} eq 7e`, `${name} eq ${literal} and`, `(${name} eq ${literal}`, `${name} like ${literal}`, `not ${name} eq ${literal}`, `colour eq 'red'`])
      expect([bad, refusal(await filtered(target, bad))]).toEqual([bad, "400 InvalidQueryParameterValue $filter"]);
  });

  test("is selected from by its own properties", async () => {
    expect((await ask(service, "GET", target, { query: { $select: "url,state" } })).status).toBe(200);
    for (const bad of ["colour", "url,", "Url", "eTag eq 1"]) expect([bad, refusal(await ask(service, "GET", target, { query: { $select: bad } }))]).toEqual([bad, "400 InvalidQueryParameterValue $select"]);
  });
});

test("a filter looks at what a row says of itself", async () => {
  for (const name of ["Alpha", "beta"]) expect((await ask(service, "POST", "/pools", { body: { ...POOL, name, tvmSize: name === "beta" ? "large" : "small", communication: name === "beta" } })).status).toBe(201);
  const names = async (filter: string): Promise<string[]> => (await filtered("/pools", filter)).json.value.map((one: { name: string }) => one.name);
  expect(await names("name eq 'ALPHA'")).toEqual(["Alpha"]);
  expect(await names("tvmSize eq 'LARGE'")).toEqual(["beta"]);
  expect(await names("communication eq true")).toEqual(["beta"]);
  expect(await names("communication ne true and startswith(name,'a')")).toEqual(["Alpha"]);
  expect(await names("allocationState eq 'steady'")).toEqual([]);
  expect(await names("creationTime gt datetime'2015-01-01T00:00:00Z' and state eq 'active'")).toEqual(["Alpha", "beta", "p1"]);
});
