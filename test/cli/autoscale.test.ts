// batchledger autoscale enable, disable, evaluate, explain, backtest, and pools made with a formula: the real commands and client against
// the real API on a real socket, with samples and evaluations by a clock that is moved.
import { readFileSync, writeFileSync } from "node:fs";
import { type IncomingMessage, type Server, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { evaluateDue } from "../../src/app/autoscale";
import { takeSamples } from "../../src/app/samples";
import { serve } from "../../src/api/serve";
import { ACCOUNT, KEYS, POOL, type Service, ask, openService } from "../api/support";
import { cli } from "./terminal";

let service: Service;
let server: Server;
const { targetDedicated: _, ...NO_SIZE } = POOL;
const HOUR = 3_600_000;

const bl = (...args: string[]) => {
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return cli(args, { env: { BATCHLEDGER_URL: url, BATCHLEDGER_ACCOUNT: ACCOUNT, BATCHLEDGER_KEY: (KEYS[ACCOUNT] as readonly string[])[0] as string }, cwd: service.folder });
};
const post = async (target: string, body: unknown) => expect((await ask(service, "POST", target, { body })).status).toBe(201);
const now = () => service.ports.clock.now().toISOString();

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
  const content = parts.length > 0 ? { body: Buffer.concat(parts) } : {};
  const given = new Request(`http://${request.headers.host}${request.url}`, { method: request.method as string, headers, ...content } as RequestInit);
  const { status, headers: answered, body } = await serve(service.ports, given as never);
  response.writeHead(status ?? 200, answered as Record<string, string>);
  response.end(body === undefined ? undefined : Buffer.from(await new Response(body as string).arrayBuffer()));
}

beforeEach(async () => {
  service = await openService();
  server = createServer((request, response) => void answer(request, response).catch((error: unknown) => response.destroy(error as Error)));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  expect(service.errors).toEqual([]);
  await service.close();
});

const FORMULA = `w = $ActiveTasks.GetSamplePercent(TimeInterval_Minute * 10) < 70 ? 1 : avg($ActiveTasks.GetSample(TimeInterval_Minute * 10));
$TargetDedicated = w`;

/** A pool with autoscale for an hour, from a second after a whole half minute: a sample each half minute, an evaluation each quarter of an hour; `tasks` wait from the first half hour on. */
async function anHourOf(tasks: number): Promise<void> {
  service.shift(1000 - (Date.parse(now()) % 30_000) - HOUR);
  await post("/pools", { ...NO_SIZE, name: "p", enableAutoScale: true, autoScaleFormula: FORMULA });
  await post("/workitems", { name: "w", jobExecutionEnvironment: { poolName: "p" } });
  for (let minute = 0; minute < 60; minute++) {
    if (minute === 30) for (let one = 0; one < tasks; one++) await post("/workitems/w/jobs/job-0000000001/tasks", { name: `t${one}`, commandLine: "true" });
    for (let half = 0; half < 2; half++) {
      await takeSamples(service.ports, now());
      service.shift(30_000);
    }
    await evaluateDue(service.ports, now());
  }
}

describe("enabled, tried, disabled", () => {
  test("pool create --autoscale-formula, autoscale evaluate, autoscale disable", async () => {
    expect(await bl("pool", "create", "p", "--autoscale-formula", "$TargetDedicated = 3")).toMatchObject({ code: 0, out: "Pool p: 3 TVMs on the way.\n" });
    const tried = await bl("autoscale", "evaluate", "p", "--formula", "a = vec(1, 2); $TargetDedicated = $TargetDedicated + 1");
    expect(tried).toMatchObject({ code: 0, err: "" });
    expect(tried.out.split("\n").map((line) => line.split(/ +/))).toEqual([["VARIABLE", "VALUE"], ["$TargetDedicated", "4"], ["$NodeDeallocationOption", "requeue"], ["a", "[1,2]"], [""]]);
    expect(await bl("autoscale", "disable", "p")).toMatchObject({ code: 0, out: "Pool p: autoscale is off; target 3 TVMs.\n" });
    expect((await bl("pool", "show", "p", "--json")).json()).toMatchObject({ enableAutoScale: false, targetDedicated: 3 });
  });

  test("autoscale enable from a file, with a maximum and an interval; then again without a formula", async () => {
    await bl("pool", "create", "p", "--autoscale-formula", "$TargetDedicated = 1");
    writeFileSync(path.join(service.folder, "f.txt"), "// many\n$TargetDedicated = 40;\n");
    expect(await bl("autoscale", "enable", "p", "--file", "f.txt", "--max", "4", "--every", "10m")).toMatchObject({ code: 0, out: "Pool p: autoscale is on; target 4 TVMs.\n" });
    expect((await bl("pool", "show", "p", "--json")).json()).toMatchObject({ autoScaleFormula: "// many\n$TargetDedicated = 40;\n", autoScaleMaxDedicated: 4, autoScaleEvaluationInterval: "PT10M" });
    service.shift(31_000);
    const again = await bl("autoscale", "enable", "p", "--max", "7", "--json");
    expect(again.json()).toMatchObject({ targetDedicated: 7, autoScaleFormula: "// many\n$TargetDedicated = 40;\n" });
  });

  test("an evaluation that fails says where, and ends with 1", async () => {
    await bl("pool", "create", "p", "--autoscale-formula", "$TargetDedicated = 1");
    expect(await bl("autoscale", "evaluate", "p", "--formula", "a = 1;\n\u4e2d = 2")).toMatchObject({ code: 4 });
    expect(await bl("autoscale", "evaluate", "p", "--formula", "a = 1;\n  b = nosuch + 1")).toMatchObject({
      code: 1, err: "The evaluation failed [AutoScalingFormulaEvaluationError], and the target stays: Line 2, Col 7: Undefined symbol: nosuch\n      b = nosuch + 1\n          ^\n",
    });
  });

  test.each([
    ["pool create", ["pool", "create", "q", "--autoscale-formula"]],
    ["autoscale enable", ["autoscale", "enable", "p", "--formula"]],
    ["autoscale evaluate", ["autoscale", "evaluate", "p", "--formula"]],
  ])("%s: what cannot be parsed is refused, with line, column and a caret", async (_what, words) => {
    await bl("pool", "create", "p", "--autoscale-formula", "$TargetDedicated = 1");
    const refused = await bl(...words, "a = 1;\n\tb = (2 % 3)");
    expect(refused).toMatchObject({ code: 4, out: "" });
    expect(refused.err).toMatch(/^error: Line 2, Col 9: Unexpected character: % \[AutoScalingFormulaSyntaxError\]\n {5}b = \(2 % 3\)\n {12}\^\n$/);
    expect(JSON.parse((await bl(...words, "a = (", "--json")).err)).toMatchObject({ exitCode: 4, error: { code: "AutoScalingFormulaSyntaxError", message: expect.stringMatching(/^Line 1, Col 6: /) } });
  });

  test("of a long line only the place is shown", async () => {
    await bl("pool", "create", "p", "--autoscale-formula", "$TargetDedicated = 1");
    const { err } = await bl("autoscale", "enable", "p", "--formula", `a = ${"1 + ".repeat(500)} ?`);
    const [, line = "", caret = ""] = err.split("\n");
    expect(line.length).toBeLessThan(140);
    expect(line[caret.indexOf("^")]).toBe("?");
  });

  test.each([
    [["autoscale", "enable", "p"], "There is no formula"],
    [["autoscale", "evaluate", "p"], "There is no formula"],
    [["autoscale", "backtest", "p"], "There is no formula"],
    [["autoscale", "enable", "p", "--formula", "a=1", "--file", "f"], "cannot be used together"],
    [["autoscale", "enable", "p", "--file", "none.txt"], "There is no file"],
    [["autoscale", "enable", "p", "--formula", "a=1", "--max", "x"], "--max must be a whole number"],
    [["autoscale", "backtest", "p", "--formula", "a=1", "--hours", "193"], "--hours must be a whole number from 1 to 192"],
    [["autoscale", "backtest", "p", "--formula", "a = )"], "Line 1, Col 5"],
    [["pool", "create", "p", "--autoscale-formula", "a=1", "--tvms", "2"], "--autoscale-formula and --tvms cannot be used together"],
  ])("%j is a usage error", async (words, message) => {
    const { code, err } = await bl(...words);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});

describe("explained", () => {
  test("each variable, its samples with the percentage present, and the targets", async () => {
    await anHourOf(6);
    const { code, out } = await bl("autoscale", "explain", "p");
    expect(code).toBe(0);
    expect(out).toMatch(/^Pool p \(small\): 6 -> 6 TVMs, option requeue, evaluated /);
    expect(out).toMatch(/^w +6 +\$ActiveTasks GetSamplePercent, 10 min 00 s to now, 19 of 20 samples \(95 %\)$/m);
    expect(out).toMatch(/^- +- +\$ActiveTasks GetSample, 10 min 00 s to now, 19 of 20 samples \(95 %\), 19 values from 6 to 6$/m);
    expect(out).toMatch(/^\$TargetDedicated +6 +-$/m);
    expect(out).toContain("Results: $TargetDedicated=6;$NodeDeallocationOption=requeue;w=6\n");
    expect(out).not.toContain("Note:");
    expect((await bl("autoscale", "explain", "p", "--json")).json()).toMatchObject({ pool: "p", same: true, run: { target: 6, replayed: "same" }, steps: [{ name: "w", value: "6", looks: [{ metric: "$ActiveTasks", presence: { percent: 95 } }, {}] }, { name: "$TargetDedicated" }] });
  }, 30_000);

  test("a run that failed: the looks so far, and the place", async () => {
    await bl("pool", "create", "p", "--autoscale-formula", "a = avg($ActiveTasks.GetSample(TimeInterval_Minute))");
    const { out } = await bl("autoscale", "explain", "p");
    expect(out).toMatch(/\$ActiveTasks GetSample, 1 min 00 s to now, 0 of 2 samples \(0 %\), no values/);
    expect(out).toMatch(/Error: Line 1, Col \d+: Insufficient data from data set: \$ActiveTasks wanted 70%, received 0%\n {4}a = avg.*\n {5,}\^\n/);
  });

  test("a pool that was never evaluated", async () => {
    await bl("pool", "create", "p", "--tvms", "1");
    expect(await bl("autoscale", "explain", "p")).toMatchObject({ code: 1, err: expect.stringContaining("has no evaluation") });
    expect(await bl("autoscale", "explain", "none")).toMatchObject({ code: 4, err: expect.stringContaining("PoolNotFound") });
  });
});

describe("backtested", () => {
  test("suggested beside actual targets, core-hours and waiting tasks, as table, JSON and plot", async () => {
    await anHourOf(6);
    const words = ["autoscale", "backtest", "p", "--formula", "$TargetDedicated = min(2, max(0, $ActiveTasks.GetSample(1)))", "--every", "15m"];
    const backtest = (await bl(...words, "--json", "--svg", "plot.svg")).json<{ points: { suggested: number; waiting: number; target: number }[]; summary: object }>();
    expect(backtest).toMatchObject({ pool: "p", everyMs: 900_000, cores: 1 });
    expect(backtest.points.map(({ waiting, target, suggested }) => [waiting, target, suggested])).toEqual([[0, undefined, 0], [0, 1, 0], [6, 0, 2], [6, 0, 2]]);
    // No TVMs were ever there: the pool had a target alone. Each of two TVMs would have had one of the six.
    expect(backtest.summary).toEqual({ evaluations: 4, failed: 0, coreHours: { actual: 0, suggested: 1 }, waitingTasks: { actual: 3, suggested: 2 } });
    const svg = readFileSync(path.join(service.folder, "plot.svg"), "utf8");
    expect(svg).toMatch(/^<svg xmlns=/);
    expect(svg.match(/<path d="M[\d.]+ [\d.]+(?:H[\d.]+V[\d.]+){3}" fill="none"/g)).toHaveLength(3);
    const { out } = await bl(...words);
    expect(out).toContain("Core-hours: 0 actual, 1 suggested. Tasks waiting, on average: 3 actual, 2 would wait.\n");
  }, 30_000);

  test("the same formula over the same samples suggests what was", async () => {
    await anHourOf(6);
    const { points } = (await bl("autoscale", "backtest", "p", "--formula", FORMULA, "--every", "1m", "--json")).json<{ points: { suggested: number; target: number }[] }>();
    expect(points.length).toBeGreaterThan(2);
    expect(points.at(-1)).toMatchObject({ suggested: 6, target: 6 });
  }, 30_000);

  test("errors are counted and shown with their place; without samples there is nothing to replay", async () => {
    await anHourOf(0);
    const { out } = await bl("autoscale", "backtest", "p", "--formula", "$TargetDedicated = nosuch");
    expect(out).toContain("First error: Line 1, Col 20: Undefined symbol: nosuch\n    $TargetDedicated = nosuch\n                       ^\n");
    await bl("pool", "create", "q", "--autoscale-formula", "a = 1");
    expect(await bl("autoscale", "backtest", "q", "--formula", "a = 1")).toMatchObject({ code: 0, out: expect.stringContaining("No samples of pool q") });
  }, 30_000);
});
