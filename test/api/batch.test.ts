// $batch as clients of the era added tasks with it: parts in, an answer each, and nothing done of what cannot be read.
import { ACCOUNT, BASE, JOB, type Service, TASK, VERSION, ask, openService, refusal, valueOf, withJob } from "./support";

let service: Service;
beforeEach(async () => {
  service = await openService();
  await withJob(service);
});
afterEach(async () => {
  expect(service.errors).toEqual([]);
  await service.close();
});

const EOL = "\r\n";
const http = (method: string, target: string, body?: unknown, headers: Record<string, string> = {}): string => {
  const text = body === undefined ? "" : JSON.stringify(body);
  const all = { ...(body === undefined ? {} : { "Content-Type": "application/json;odata=minimalmetadata", "Content-Length": String(Buffer.byteLength(text)) }), ...headers };
  return [`${method} ${target} HTTP/1.1`, ...Object.entries(all).map(([name, value]) => `${name}: ${value}`), "", text].join(EOL);
};
const part = (request: string, more: readonly string[] = []): string => ["Content-Type: application/http", "Content-Transfer-Encoding: binary", ...more, "", request].join(EOL);
const changeSet = (name: string, ...requests: string[]): string =>
  [`Content-Type: multipart/mixed; boundary=${name}`, "", ...requests.map((request) => `--${name}${EOL}${request}`), `--${name}--`, ""].join(EOL);
const whole = (...parts: string[]): string => `${parts.map((one) => `--batch_1${EOL}${one}${EOL}`).join("")}--batch_1--${EOL}`;
const send = (raw: string | Uint8Array, headers: Record<string, string> = {}, account = ACCOUNT) =>
  ask(service, "POST", "/$batch", { raw, account, headers: { "content-type": "multipart/mixed; boundary=batch_1", ...headers } });

const adding = (name: string, target = `${BASE}${JOB}/tasks?api-version=${VERSION}`): string => changeSet(`cs_${name}`, part(http("POST", target, { ...TASK, name }), [`Content-ID: ${name}`]));
const taskNames = async (): Promise<string[]> => (await ask(service, "GET", `${JOB}/tasks`)).json.value.map((one: { name: string }) => one.name);

interface Answered {
  readonly status: number;
  readonly changeSet: boolean;
  readonly contentId?: string;
  readonly headers: Record<string, string>;
  readonly json?: any;
}

/** Takes an answer apart as a client does: by its boundaries and lengths. */
const answersIn = (got: { headers: Headers; text: string }): Answered[] => {
  const boundary = /^multipart\/mixed; boundary=(\S+)$/.exec(got.headers.get("content-type") as string)?.[1] as string;
  expect(got.text.endsWith(`--${boundary}--${EOL}`)).toBe(true);
  return got.text.split(`--${boundary}`).slice(1, -1).map((text) => answered(text.replace(/^\r\n/, "").replace(/\r\n$/, "")));
};
const answered = (text: string): Answered => {
  const inner = /^Content-Type: multipart\/mixed; boundary=(\S+)\r\n\r\n/.exec(text);
  if (inner) return { ...answered((text.split(`--${inner[1]}`)[1] as string).replace(/^\r\n/, "").replace(/\r\n$/, "")), changeSet: true };
  const [mime = "", head = "", ...rest] = text.split(EOL + EOL);
  const [line, ...headers] = head.split(EOL);
  const named = Object.fromEntries(headers.map((one) => [one.slice(0, one.indexOf(":")).toLowerCase(), one.slice(one.indexOf(":") + 2)]));
  const body = rest.join(EOL + EOL);
  expect(mime).toContain("Content-Type: application/http");
  expect(Number(named["content-length"])).toBe(Buffer.byteLength(body));
  const contentId = /Content-ID: (\S+)/.exec(mime)?.[1];
  return { status: Number(/^HTTP\/1\.1 (\d{3}) \S/.exec(line as string)?.[1]), changeSet: false, headers: named, ...(contentId === undefined ? {} : { contentId }), ...(body === "" ? {} : { json: JSON.parse(body) }) };
};

test("adds tasks, each answered as if it had come alone, in order; one that is refused stops no other", async () => {
  const got = await send(whole(adding("a"), adding("b", `${JOB}/tasks`), changeSet("bad", part(http("POST", `${JOB}/tasks`, { name: "c" }))), adding("A"), part(http("GET", `${JOB}/tasks/b?$select=name,state`)), adding("d", `${JOB.slice(1)}/tasks`)));
  expect(got.status).toBe(202);
  const answers = answersIn(got);
  expect(answers.map(({ status, changeSet: inSet, contentId, json }) => [status, inSet, contentId, json?.code ?? json?.name])).toEqual([
    [201, true, "a", undefined],
    [201, true, "b", undefined],
    [400, false, undefined, "MissingRequiredProperty"],
    [409, false, "A", "TaskExists"],
    [200, false, undefined, "b"],
    [201, true, "d", undefined],
  ]);
  const [first] = answers as [Answered];
  const task = await ask(service, "GET", `${JOB}/tasks/a`);
  expect(first.headers["location"]).toBe(`${BASE}${JOB}/tasks/a`);
  expect(first.headers["etag"]).toBe(task.headers.get("etag"));
  expect(new Set(answers.map((one) => one.headers["request-id"])).size).toBe(answers.length);
  expect(await taskNames()).toEqual(["a", "b", "d"]);
});

test("line ends of Unix, text before and after, no lengths, conditions, other changes than adding", async () => {
  const plain = `before\n${whole(changeSet("x", part(`POST ${JOB}/tasks HTTP/1.1\nContent-Type: application/json\n\n${JSON.stringify({ ...TASK, name: "lf" })}\n`)))}after`.replaceAll(EOL, "\n");
  expect(answersIn(await send(plain, { "content-type": 'multipart/mixed; boundary="batch_1"' })).map(({ status }) => status)).toEqual([201]);
  const answers = answersIn(await send(whole(
    changeSet("x", part(http("PATCH", JOB, { priority: 5 }, { "If-Match": "0x1" }))),
    changeSet("y", part(http("POST", `${JOB}/tasks/lf?terminate`))),
    changeSet("z", part(http("DELETE", `${JOB}/tasks/lf`))),
  )));
  expect(answers.map(({ status }) => status)).toEqual([412, 204, 200]);
});

test("what the caller may not do or what does not fit is refused for that part alone", async () => {
  const answers = answersIn(await send(whole(
    part(http("GET", "/nothing")),
    part(http("GET", "/pools?api-version=2099-01-01.0.0")),
    part(http("GET", "/pools?colour=red")),
    part(http("GET", `${JOB}/tasks/t1/files/stdout.txt`)),
    changeSet("a", part(http("POST", "/$batch", {}))),
    changeSet("b", part(http("POST", "/agent/exchange", {}))),
    changeSet("c", part(http("POST", `${JOB}/tasks?addtaskcollection`, { value: [{ ...TASK, name: "x" }] }, { "Content-Type": "application/x-ndjson" }))),
    part(http("GET", "/batchledger/health")),
  )));
  expect(answers.map(({ status, json }) => `${status} ${json?.code}`)).toEqual([
    "404 ResourceNotFound", "400 UnsupportedRequestVersion", "400 UnsupportedQueryParameter", "400 InvalidInput", "400 InvalidInput", "403 InsufficientAccountPermissions", "400 InvalidHeaderValue", "400 InvalidInput",
  ]);
});

test("the whole is signed, its parts are the signer's: a name in them changes nothing", async () => {
  expect(refusal(await ask(service, "POST", "/$batch", { raw: whole(adding("a")), authorization: null, headers: { "content-type": "multipart/mixed; boundary=batch_1" } }))).toBe("403 AuthenticationFailed");
  const forged = changeSet("x", part(http("POST", `${JOB}/tasks`, { ...TASK, name: "forged" }, { Authorization: `SharedKey ${ACCOUNT}:AAAA` })));
  expect(answersIn(await send(whole(forged), {}, "other")).map(({ status, json }) => [status, json.code])).toEqual([[404, "WorkItemNotFound"]]);
  expect(await taskNames()).toEqual([]);
});

test.each<[string, string, string]>([
  ["nothing", "", "its boundary is not in it"],
  ["another boundary", whole(adding("a")).replaceAll("batch_1", "batch_2"), "its boundary is not in it"],
  ["no parts", "--batch_1--\r\n", "it has no parts"],
  ["cut off", whole(adding("a"), adding("b")).slice(0, -20), "it ends before its last boundary"],
  ["cut off within a change set", whole(adding("a"), changeSet("x", part(http("POST", `${JOB}/tasks`, TASK))).replace("--x--", "")), "part 2: it ends before its last boundary"],
  ["a part of another type", whole(adding("a"), `Content-Type: text/plain${EOL}${EOL}hello`), "part 2: its Content-Type is neither application/http nor multipart/mixed"],
  ["a part without a type", whole(adding("a"), `${EOL}hello`), "part 2: its Content-Type is neither"],
  ["two requests in a change set", whole(adding("a"), changeSet("x", part(http("POST", `${JOB}/tasks`, TASK)), part(http("POST", `${JOB}/tasks`, { ...TASK, name: "t2" })))), "part 2: a change set holds exactly one request, and this one has 2"],
  ["an empty change set", whole(adding("a"), changeSet("x")), "part 2: a change set holds exactly one request, and this one has 0"],
  ["a change outside of a change set", whole(adding("a"), part(http("POST", `${JOB}/tasks`, TASK))), "part 2: what changes something stands in a change set of its own"],
  ["a read in a change set", whole(adding("a"), changeSet("x", part(http("GET", "/pools")))), "part 2: what only reads does not stand in a change set"],
  ["no request line", whole(adding("a"), part("hello")), "part 2: its first line is not METHOD ADDRESS HTTP/1.1"],
  ["an unknown verb", whole(adding("a"), part("BREW /pools HTTP/1.1\r\n\r\n")), "part 2: its first line is not METHOD"],
  ["an address of another service", whole(adding("a"), part(http("GET", "https://elsewhere.example/pools"))), "part 2: its address is of another service"],
  ["no address", whole(adding("a"), part(http("GET", "http://[/pools"))), "part 2: its address is none"],
  ["a header that is none", whole(adding("a"), part("GET /pools HTTP/1.1\r\nno colon\r\n\r\n")), "part 2: a line of its headers is none"],
  ["a header twice", whole(adding("a"), part("GET /pools HTTP/1.1\r\nIf-Match: 1\r\nif-match: 2\r\n\r\n")), "part 2: its header if-match is there twice"],
  ["too many headers", whole(adding("a"), part(`GET /pools HTTP/1.1\r\n${Array.from({ length: 60 }, (_, index) => `x-${index}: 1\r\n`).join("")}\r\n`)), "part 2: its headers are too long"],
  ["a length that lies", whole(adding("a"), changeSet("x", part(http("POST", `${JOB}/tasks`, TASK, { "Content-Length": "9999" })))), "part 2: it has fewer bytes than its Content-Length says"],
  ["a length that is none", whole(adding("a"), changeSet("x", part(http("POST", `${JOB}/tasks`, TASK, { "Content-Length": "-1" })))), "part 2: its Content-Length is no number"],
  ["another encoding", whole(adding("a"), part(http("GET", "/pools")).replace("binary", "base64")), "part 2: its Content-Transfer-Encoding is not binary"],
  ["too many parts", whole(...Array.from({ length: 101 }, (_, index) => adding(`n${index}`))), "it has more than 100 parts"],
])("malformed, and so nothing of it done: %s", async (_what, raw, reason) => {
  const got = await send(raw);
  expect(refusal(got)).toBe("400 InvalidRequestBody");
  expect(got.json.message.value).toContain(reason);
  expect(valueOf(got, "Reason")!.slice(0, 25)).toBe(reason.slice(0, 25));
  expect(await taskNames()).toEqual([]);
});

test("a hundred parts are taken, and bounds of size and type are kept", async () => {
  const names = Array.from({ length: 100 }, (_, index) => `n${String(index).padStart(3, "0")}`);
  expect(answersIn(await send(whole(...names.map((name) => adding(name))))).every(({ status }) => status === 201)).toBe(true);
  expect(await taskNames()).toEqual(names);
  for (const type of ["application/json", "multipart/mixed", "multipart/form-data; boundary=batch_1", `multipart/mixed; boundary=${"b".repeat(71)}`])
    expect(refusal(await send(whole(adding("a")), { "content-type": type }))).toBe("400 InvalidHeaderValue Content-Type");
  expect(refusal(await send(new Uint8Array(4 * 1024 * 1024 + 1)))).toBe("413 RequestBodyTooLarge");
  const stream = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(new Uint8Array(256 * 1024)) });
  expect(refusal(await ask(service, "POST", "/$batch", { raw: stream, headers: { "content-type": "multipart/mixed; boundary=batch_1" } }))).toBe("413 RequestBodyTooLarge");
});
