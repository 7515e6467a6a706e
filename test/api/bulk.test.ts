import { LINE_MAX } from "../../src/api/classic/bulk";
import { type Line, lineSplitter } from "../../src/api/classic/lines";
import { serve } from "../../src/api/serve";
import { BASE, JOB, type Service, TASK, ask, buildRequest, openService, refusal, withJob } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
  await withJob(service);
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const TARGET = `${JOB}/tasks?addtaskcollection`;
const names = async (): Promise<string[]> => (await ask(service, "GET", `${JOB}/tasks`)).json.value.map((one: { name: string }) => one.name);

describe("a collection", () => {
  const add = (value: unknown[]) => ask(service, "POST", TARGET, { body: { value } });

  test("is answered task by task, in order", async () => {
    await ask(service, "POST", `${JOB}/tasks`, { body: { ...TASK, name: "old" } });
    const got = await add([{ ...TASK, name: "a" }, { name: "b" }, { ...TASK, name: "OLD" }, 7, { ...TASK, name: "a" }, { ...TASK, name: "c", runElevated: true }]);
    expect(got.status).toBe(200);
    const [a, b, old, seven, twice, elevated] = got.json.value;
    expect(a).toMatchObject({ status: "Success", taskName: "a", location: `${BASE}${JOB}/tasks/a` });
    expect((await ask(service, "GET", `${JOB}/tasks/a`)).json).toMatchObject({ eTag: a.eTag, lastModified: a.lastModified });
    expect(b).toMatchObject({ status: "ClientError", taskName: "b", error: { code: "MissingRequiredProperty", values: [{ key: "PropertyName", value: "commandLine" }] } });
    expect(old).toMatchObject({ status: "ClientError", taskName: "OLD", error: { code: "TaskExists" } });
    expect(seven).toMatchObject({ status: "ClientError", error: { code: "InvalidRequestBody" } });
    expect(twice).toMatchObject({ status: "ClientError", error: { code: "TaskExists" } });
    expect(elevated).toMatchObject({ status: "ClientError", taskName: "c", error: { code: "InsufficientAccountPermissions" } });
    expect(await names()).toEqual(["a", "old"]);
  });

  test("has one task at least and a hundred at most", async () => {
    expect(refusal(await add([]))).toBe("400 InvalidPropertyValue value");
    expect(refusal(await add(Array.from({ length: 101 }, (_, index) => ({ ...TASK, name: `t${index}` }))))).toBe("400 InvalidPropertyValue value");
    expect((await add(Array.from({ length: 100 }, (_, index) => ({ ...TASK, name: `t${index}` })))).status).toBe(200);
  });

  test("a job that takes no tasks takes none of them", async () => {
    await ask(service, "POST", `${JOB}?terminate`);
    expect(refusal(await add([TASK]))).toBe("409 JobBeingTerminated");
    expect(refusal(await ask(service, "POST", "/workitems/w1/jobs/job-0000000009/tasks?addtaskcollection", { body: { value: [TASK] } }))).toBe("404 JobNotFound");
  });
});

describe("a stream", () => {
  const headers = { "content-type": "application/x-ndjson" };
  const line = (task: object): string => `${JSON.stringify(task)}\n`;
  const send = async (raw: string | Uint8Array | ReadableStream<Uint8Array>) => {
    const got = await ask(service, "POST", TARGET, { raw, headers });
    return { got, lines: got.text.split("\n").filter(Boolean).map((text) => JSON.parse(text)) };
  };

  test("any number of tasks, answered in chunks and summed up", async () => {
    const { got, lines } = await send(Array.from({ length: 1234 }, (_, index) => line({ ...TASK, name: `t${index}` })).join(""));
    expect([got.status, got.headers.get("content-type")]).toEqual([200, "application/x-ndjson"]);
    const summary = lines.pop();
    expect(summary).toEqual({ done: true, lines: 1234, added: 1234, existing: 0, failed: 0 });
    expect(lines.map((one) => one.lines)).toEqual([[1, 500], [501, 1000], [1001, 1234]]);
    expect((await ask(service, "GET", "/batchledger/counts/workitems/w1/jobs/job-0000000001")).json.active).toBe(1234);
  });

  test("sent again, with the same definitions, changes nothing; with another one it fails", async () => {
    const file = { blobSource: "https://s.example/c/x?sig=abc", filePath: "x" };
    const tasks = [TASK, { ...TASK, name: "t2", resourceFiles: [file], environmentSettings: [{ name: "A", value: "1" }], taskConstraints: { maxTaskRetryCount: 2 } }];
    const body = tasks.map(line).join("");
    expect((await send(body)).lines[0]).toMatchObject({ added: 2, existing: 0, failed: [] });
    expect((await send(body)).lines[0]).toEqual({ lines: [1, 2], added: 0, existing: 2, failed: [] });
    const { lines } = await send(line({ ...TASK, commandLine: "other" }) + line({ ...tasks[1], resourceFiles: [{ ...file, blobSource: "https://s.example/c/x?sig=xyz" }] }) + line(tasks[1] as object));
    expect(lines[0]).toMatchObject({ lines: [1, 3], added: 0, existing: 1, failed: [{ line: 1, name: "t1", code: "TaskExists" }, { line: 2, name: "t2", code: "TaskExists" }] });
  });

  test("the same line twice in one stream counts once as added and once as existing", async () => {
    expect((await send(line(TASK) + line(TASK))).lines[0]).toEqual({ lines: [1, 2], added: 1, existing: 1, failed: [] });
  });

  test("what is wrong with a line is told with its number, and the rest goes on", async () => {
    const long = line({ ...TASK, name: "long", environmentSettings: [{ name: "X", value: "y".repeat(LINE_MAX) }] });
    const bad = Buffer.concat([
      Buffer.from(`${line({ ...TASK, name: "a" })}not json\n\r\n{"name":"x","name":"y"}\n[]\n${long}`),
      Buffer.from([0x22, 0xff, 0x22, 0x0a]),
      Buffer.from(line({ ...TASK, name: "b!" }) + line({ ...TASK, name: "e", colour: 1 }) + JSON.stringify({ ...TASK, name: "z" })),
    ]);
    const { lines } = await send(bad);
    const [answer, summary] = lines;
    expect(answer).toMatchObject({ lines: [1, 10], added: 2, existing: 0 });
    expect(answer.failed.map((one: any) => [one.line, one.name, one.code])).toEqual([
      [2, undefined, "InvalidRequestBody"],
      [4, undefined, "InvalidRequestBody"],
      [5, undefined, "InvalidRequestBody"],
      [6, undefined, "RequestBodyTooLarge"],
      [7, undefined, "InvalidRequestBody"],
      [8, "b!", "InvalidPropertyValue"],
      [9, "e", "UnsupportedProperty"],
    ]);
    expect(answer.failed[5].message).toContain("name: expected 1 to 64 of");
    expect(summary).toEqual({ done: true, lines: 10, added: 2, existing: 0, failed: 7 });
    expect(await names()).toEqual(["a", "z"]);
  });

  test("nothing sent is nothing added", async () => {
    expect((await send("")).lines).toEqual([{ done: true, lines: 0, added: 0, existing: 0, failed: 0 }]);
  });

  /** A request whose body the test writes, and the answer's lines as they come. */
  const open = async () => {
    let writer!: ReadableStreamDefaultController<Uint8Array>;
    let pulls = 0;
    const raw = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          writer = controller;
        },
        pull: () => void pulls++,
      },
      { highWaterMark: 0 },
    );
    const answer = await serve(service.ports, buildRequest(service, "POST", TARGET, { raw, headers }) as never);
    const lines = (answer.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    const next = async (): Promise<any> => {
      const { done, value } = await lines.next();
      return done ? undefined : JSON.parse(Buffer.from(value as Uint8Array).toString());
    };
    return { write: (text: string) => writer.enqueue(Buffer.from(text)), end: () => writer.close(), fail: () => writer.error(new Error("connection reset")), next, pulls: () => pulls, lines };
  };

  test("is answered while it is being sent, cut where the bytes are cut", async () => {
    const stream = await open();
    const [text] = [line({ ...TASK, name: "first" })];
    stream.write(text.slice(0, 10));
    stream.write(text.slice(10));
    expect(await stream.next()).toEqual({ lines: [1, 1], added: 1, existing: 0, failed: [] });
    expect(await names()).toEqual(["first"]);
    stream.write(line({ ...TASK, name: "second" }));
    expect(await stream.next()).toEqual({ lines: [2, 2], added: 1, existing: 0, failed: [] });
    stream.end();
    expect(await stream.next()).toEqual({ done: true, lines: 2, added: 2, existing: 0, failed: 0 });
    expect(await stream.next()).toBeUndefined();
  });

  test("a connection that breaks keeps what was answered, and ends without a summary", async () => {
    const stream = await open();
    stream.write(line({ ...TASK, name: "kept" }));
    expect(await stream.next()).toMatchObject({ added: 1 });
    stream.write('{"name":"half"');
    stream.fail();
    expect(await stream.next()).toBeUndefined();
    expect(await names()).toEqual(["kept"]);
  });

  test("a job that closes meanwhile ends the stream with its reason", async () => {
    const stream = await open();
    stream.write(line({ ...TASK, name: "before" }));
    expect(await stream.next()).toMatchObject({ added: 1 });
    await ask(service, "POST", `${JOB}?terminate`);
    stream.write(line({ ...TASK, name: "after" }));
    expect(await stream.next()).toEqual({ error: { code: "JobBeingTerminated", message: "The job is being terminated." }, lines: 1, added: 1, existing: 0, failed: 0 });
    expect(await stream.next()).toBeUndefined();
  });

  test("a job that is closed already is refused before anything is read", async () => {
    await ask(service, "POST", `${JOB}?terminate`);
    expect(refusal((await send(line(TASK))).got)).toBe("409 JobBeingTerminated");
  });

  test("while one chunk is being added, one more is gathered and then nothing is read", async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let appends = 0;
    const { eventStore } = service.ports;
    const slow: Service["ports"] = { ...service.ports, eventStore: { ...eventStore, append: async (commits) => (appends++, await held, eventStore.append(commits)) } };
    let given = 0;
    const chunk = Buffer.from(Array.from({ length: 500 }, (_, index) => line({ ...TASK, name: `t${index}` })).join(""));
    const raw = new ReadableStream<Uint8Array>(
      {
        pull: (controller) => {
          if (++given > 20) controller.close();
          else controller.enqueue(Buffer.from(chunk.toString().replaceAll('"t', `"x${given}-`)));
        },
      },
      { highWaterMark: 0 },
    );
    const answer = await serve(slow, buildRequest(service, "POST", TARGET, { raw, headers }) as never);
    const lines = (answer.body as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
    const first = lines.next();
    for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(appends).toBe(1);
    expect(given).toBeLessThanOrEqual(3);
    release();
    const all = [(await first).value];
    for await (const one of { [Symbol.asyncIterator]: () => lines }) all.push(one);
    expect(JSON.parse(Buffer.from(all.at(-1) as Uint8Array).toString())).toEqual({ done: true, lines: 10_000, added: 10_000, existing: 0, failed: 0 });
  });
});

test("lines are the same however the bytes are cut", () => {
  const bytes = Buffer.from('{"a":"é"}\r\n\nlast line that is long\nend');
  const whole = cut([bytes]);
  expect(whole).toEqual(['{"a":"é"}', "", "RequestBodyTooLarge", "end"]);
  for (let at = 0; at <= bytes.length; at++) {
    expect(cut([bytes.subarray(0, at), bytes.subarray(at)])).toEqual(whole);
    expect(cut([...bytes.subarray(0, at)].map((byte) => Uint8Array.of(byte)).concat(bytes.subarray(at)))).toEqual(whole);
  }

  function cut(parts: Uint8Array[]): string[] {
    const lines: Line[] = [];
    const split = lineSplitter(12, (one) => lines.push(one));
    for (const part of parts) split.push(part);
    split.end();
    return lines.map((one) => ("text" in one ? one.text : one.problem.code));
  }
});
