// Whatever comes in, each reader of outside text answers in bounded time with a value or a refusal of its own, never with a throw:
// filters, dates, durations, JSON, lines, command lines, paths, signatures. A failure names its seed; SEED=n runs that one.
import { splitCommandLine } from "../../src/agent/commandLine";
import { resolveInside } from "../../src/agent/beneath";
import { readConditions } from "../../src/api/conditions";
import { parseHttpDate, parseInstant } from "../../src/api/dates";
import { lineSplitter } from "../../src/api/classic/lines";
import { parseJson, parseJsonText } from "../../src/api/json";
import { ALL, EQ_NE, parseFilter, parseSelect } from "../../src/api/odata";
import { pathProblem } from "../../src/api/schemas";
import { isRejection } from "../../src/domain/decider";
import { formatDuration, parseDuration } from "../../src/domain/time";
import { type Service, openService, ask } from "../api/support";
import { type Seeded, forSeeds } from "../support/seeded";

const SEEDS = 400;
/** Generous, for machines that are busy: what grows with the square of the text takes minutes. */
const BOUND_MS = 3_000;

const PIECES: readonly string[] = [
  "(", ")", "'", "''", "\"", "\\", ",", " ", "\t", "\n", "\r", "\0", "/", "..", ".", "%2e", "%00", "not", "and", "or", "eq", "ne", "gt", "startswith", "name", "state", "creationTime",
  "datetime'", "2015-04-01T00:00:00Z", "2015-02-30", "P1D", "PT", "P", "T", "99999999999999999999", "-0", "1e309", "NaN", "null", "true", "{", "}", "[", "]", ":", "__proto__", "constructor",
  "é", "𝄞", "\ud800", "\ufeff", "\u202e", "W/", "*", "0x8D28894F80EA52E", "a", "Z", "=", ";", "--", "$(x)", "`x`", "|", "&", "~", "CON", "C:",
];

const textOf = (random: Seeded): string => {
  const length = random.chance(0.1) ? 200 + random.below(2000) : random.below(24);
  const same = random.chance(0.2) ? random.oneOf(PIECES) : undefined;
  return Array.from({ length }, () => same ?? (random.chance(0.8) ? random.oneOf(PIECES) : String.fromCharCode(random.below(0x10000)))).join("");
};

/** The answer, in time: the processor's, as the machine may be busy with other things. */
const quick = <T>(what: string, text: string, read: () => T): T => {
  const from = process.cpuUsage();
  const answer = read();
  const { user, system } = process.cpuUsage(from);
  const took = (user + system) / 1000;
  if (took > BOUND_MS) throw new Error(`${what} took ${Math.round(took)} ms for ${JSON.stringify(text.slice(0, 80))} (${text.length} characters)`);
  return answer;
};

interface Row {
  readonly name: string;
  readonly state: string;
  readonly at: string;
}
const fields = {
  name: { type: "text", operators: [...ALL, "startswith"], of: (row: Row) => row.name },
  state: { type: "state", operators: EQ_NE, values: ["active"], of: (row: Row) => row.state },
  creationTime: { type: "time", operators: ALL, of: (row: Row) => row.at },
} as const;

test("filters and selections", () => {
  let accepted = 0;
  forSeeds(SEEDS, (random) => {
    const text = random.chance(0.3) ? `name eq '${textOf(random).replaceAll("'", "''")}'` : textOf(random);
    const filter = quick("a filter", text, () => parseFilter<Row>(text, fields as never));
    if (isRejection(filter)) expect(filter.code).toBe("InvalidQueryParameterValue");
    else {
      accepted++;
      expect(typeof quick("a row", text, () => filter.test({ name: "a", state: "active", at: "2015-04-01T00:00:00.000Z" }))).toBe("boolean");
    }
    const select = quick("a selection", text, () => parseSelect(text, ["name"]));
    if (isRejection(select)) expect(select.code).toBe("InvalidQueryParameterValue");
  });
  expect(accepted).toBeGreaterThan(SEEDS / 10);
});

test("dates, durations and conditions", () => {
  forSeeds(SEEDS, (random) => {
    const text = textOf(random);
    for (const read of [parseHttpDate, parseInstant]) {
      const found = quick(read.name, text, () => read(text));
      if (found !== undefined) expect(Number.isFinite(found)).toBe(true);
    }
    const duration = quick("a duration", text, () => parseDuration(text));
    if (duration !== undefined) expect(parseDuration(formatDuration(duration))).toBe(duration);
    const header = text.replace(/[^\u0020-\u007e]/g, "");
    const conditions = quick("conditions", header, () => readConditions(new Headers({ [random.oneOf(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"])]: header })));
    if (isRejection(conditions)) expect(conditions.code).toMatch(/^(InvalidHeaderValue|MultipleConditionHeadersNotSupported)$/);
  });
});

test("durations that are written are read back as they were", () => {
  forSeeds(SEEDS, (random) => {
    const milliseconds = random.below(2 ** 31) * (random.chance(0.5) ? 1 : 1000);
    expect(parseDuration(formatDuration(milliseconds))).toBe(milliseconds);
  });
});

test("JSON: what passes is what JSON.parse says, without surprises", () => {
  forSeeds(SEEDS, (random) => {
    const text = random.chance(0.5) ? textOf(random) : JSON.stringify({ [textOf(random)]: [textOf(random), random.below(9), null, { a: textOf(random) }] });
    const found = quick("JSON", text, () => parseJsonText(text));
    if (isRejection(found)) expect(found.code).toBe("InvalidRequestBody");
    else expect(JSON.stringify(found.value)).toBe(JSON.stringify(JSON.parse(text)));
    const bytes = Buffer.from(Array.from({ length: random.below(64) }, () => random.below(256)));
    const raw = quick("bytes", text, () => parseJson(bytes));
    if (isRejection(raw)) expect(raw.code).toBe("InvalidRequestBody");
  });
  for (const bomb of ["[".repeat(1_000_000), "{\"a\":".repeat(300_000), `{${"\"a\":1,".repeat(200_000)}"a":1}`, `"${"\\".repeat(1_000_001)}"`, `[${"\"\\\\\",".repeat(200_000)}1]`])
    quick("a bomb", bomb, () => parseJsonText(bomb));
});

test("lines: however they are cut, the same lines", () => {
  forSeeds(SEEDS, (random) => {
    const bytes = Buffer.from(Array.from({ length: random.below(12) }, () => textOf(random)).join("\n"));
    const take = (pieces: readonly Uint8Array[]): string[] => {
      const lines: string[] = [];
      const splitter = lineSplitter(512, (line) => lines.push("text" in line ? line.text : line.problem.code));
      for (const piece of pieces) splitter.push(piece);
      splitter.end();
      return lines;
    };
    const cuts = Array.from({ length: random.below(6) }, () => random.below(bytes.length + 1)).sort((a, b) => a - b);
    const pieces = [0, ...cuts].map((from, index) => bytes.subarray(from, cuts[index] ?? bytes.length));
    expect(take(pieces)).toEqual(take([bytes]));
  });
});

test("command lines and paths", () => {
  forSeeds(SEEDS, (random) => {
    const text = textOf(random);
    const split = quick("a command line", text, () => splitCommandLine(text));
    if ("argv" in split) expect(split.argv.every((argument) => !argument.includes("\0")) && split.argv.length > 0).toBe(true);
    const segments = quick("a path", text, () => resolveInside(text));
    if (segments !== undefined) expect(segments.filter((one) => one === ".." || one === "." || one === "" || one.includes("/") || one.includes("\0"))).toEqual([]);
    if (quick("a file path", text, () => pathProblem(text)) === undefined) expect([text, (resolveInside(text.replaceAll("\\", "/"))?.length ?? 0) > 0]).toEqual([text, true]);
  });
});

describe("the handler", () => {
  let service: Service;
  beforeAll(async () => {
    service = await openService();
  });
  afterAll(() => service.close());

  /** What headers can hold at all: others never reach a handler. */
  const headerOf = (random: Seeded): string => textOf(random).replace(/[^\u0021-\u007e]/g, "").slice(0, 500);

  test("answers noise with its own codes, and never with 500", async () => {
    const random: Seeded[] = [];
    forSeeds(60, (one) => random.push(one));
    for (const one of random) {
      const paths = ["/pools", "/pools/p", "/workitems/w/jobs/j/tasks", `/pools/${encodeURIComponent(textOf(one).replace(/[\ud800-\udfff]/g, "x"))}`, "/certificates", "/$batch", "/batchledger/files/a/b"];
      const method = one.oneOf(["GET", "POST", "PUT", "PATCH", "DELETE"]);
      const got = await ask(service, method, one.oneOf(paths), {
        query: { [one.oneOf(["$filter", "$select", "$skiptoken", "maxresults", "timeout", "$expand", "odd"])]: textOf(one).replace(/[\ud800-\udfff]/g, "x") },
        ...(method === "GET" ? {} : { raw: one.chance(0.5) ? textOf(one) : JSON.stringify({ name: textOf(one), [textOf(one)]: textOf(one) }) }),
        headers: { [one.oneOf(["if-match", "content-type", "client-request-id", "return-client-request-id", "range"])]: headerOf(one) },
        ...(one.chance(0.2) ? { authorization: headerOf(one) } : {}),
        ...(one.chance(0.1) ? { date: headerOf(one) } : {}),
      });
      expect([got.status < 500 || got.status === 501, got.text.includes("    at ")]).toEqual([true, false]);
    }
    expect(service.errors).toEqual([]);
  });

  test("a request that is sent again by somebody who overheard it does no more than it did", async () => {
    const [add, remove] = [["POST", "/pools"], ["DELETE", "/pools/again"]] as const;
    const date = service.ports.clock.now().toUTCString();
    const body = { name: "again", tvmSize: "small", osFamily: "4", targetDedicated: 0 };
    expect((await ask(service, ...add, { body, date })).status).toBe(201);
    expect((await ask(service, ...add, { body, date })).json.code).toBe("PoolExists");
    expect((await ask(service, ...remove, { date })).status).toBe(202);
    expect((await ask(service, ...remove, { date })).json.code).toBe("PoolBeingDeleted");
    service.shift(16 * 60_000);
    expect((await ask(service, ...add, { body, date })).status).toBe(403);
  });
});
