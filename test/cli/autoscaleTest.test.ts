// batchledger autoscale test --batch: JSON lines in and out, without a service.
import { cli } from "./terminal";

const line = (fields: object): string => `${JSON.stringify({ id: "a", formula: "$TargetDedicated=2", now: "2015-07-20T12:00:00Z", target: 10, currentDedicated: 10, metrics: {}, sampleSeconds: 30, ...fields })}\n`;
const run = async (...lines: string[]): Promise<{ code: number; answers: unknown[] }> => {
  const { code, out } = await cli(["autoscale", "test", "--batch"], { stdin: lines.join("") });
  return { code, answers: out.trim().split("\n").filter(Boolean).map((text) => JSON.parse(text) as unknown) };
};

test("each line has its answer, in order, with results or the failure's place", async () => {
  const { code, answers } = await run(
    line({ id: "one" }),
    line({ id: 2, formula: "a = $ActiveTasks.GetSample(2)", metrics: { $ActiveTasks: [["2015-07-20T11:59:30Z", 8], ["2015-07-20T11:59:00Z", 4]] } }),
    line({ id: "few", formula: "a = $ActiveTasks.GetSample(TimeInterval_Minute)", metrics: { $ActiveTasks: [] } }),
    line({ id: "eval", formula: "$TargetDedicated = 1;\n x = nosuch" }),
    line({ id: "syntax", formula: "a = 5 5" }),
    line({ id: "long", formula: "a".repeat(8193) }),
  );
  const kept = "$TargetDedicated=10;$NodeDeallocationOption=requeue";
  expect(answers).toEqual([
    { id: "one", results: "$TargetDedicated=2;$NodeDeallocationOption=requeue" },
    { id: 2, results: `${kept};a=[4,8]` },
    { id: "few", results: kept, error: { code: "InsufficientSampleData", line: 1, column: 27, message: "Line 1, Col 27: Insufficient data from data set: $ActiveTasks wanted 70%, received 0%" } },
    { id: "eval", results: kept, error: { code: "AutoScalingFormulaEvaluationError", line: 2, column: 6, message: "Line 2, Col 6: Undefined symbol: nosuch" } },
    { id: "syntax", results: kept, error: { code: "AutoScalingFormulaSyntaxError", line: 1, column: 7, message: "Line 1, Col 7: Unexpected token: 5" } },
    { id: "long", results: kept, error: { code: "AutoScalingFormulaTooLong", line: 1, column: 8193, message: "Line 1, Col 8193: The formula has 8193 characters, and may have 8192" } },
  ]);
  expect(code).toBe(0);
});

test.each([
  ["{", /JSON/], ["[]\n", /object/], [line({ formula: 5 }), /formula must be text/], [line({ now: "soon" }), /now must be/], [line({ target: -1 }), /target must be/], [line({ sampleSeconds: 0 }), /sampleSeconds/],
  [line({ metrics: { $Nosuch: [] } }), /\$Nosuch is no metric/], [line({ metrics: { $ActiveTasks: [["x"]] } }), /list of/], [line({ metrics: [] }), /metrics/], [line({ seed: 0.5 }), /seed/],
])("a line that cannot be understood is told, and the others are answered: %j", async (wrong, reason) => {
  const { code, answers } = await run(`${wrong.trim()}\n`, "\n", line({ id: "next" }));
  expect(code).toBe(2);
  expect(answers).toHaveLength(2);
  expect((answers[0] as { error: { code: string; message: string } }).error).toEqual({ code: "InvalidInput", message: expect.stringMatching(reason) });
  expect(answers[1]).toMatchObject({ id: "next" });
});

test("without --batch it says what it wants", async () => expect(await cli(["autoscale", "test"])).toMatchObject({ code: 2, err: expect.stringContaining("--batch") }));
