// A stand-in for the service that speaks the contract as the client uses it: enough of pools, work items, tasks, files and the
// extras, in memory. A task ends the moment it is added: with 1 when its command line begins with "false", else with 0, and
// what it would have printed is its command line. Faults (a broken stream, a busy answer) are ordered by the test.
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { authorization } from "../../src/cli/signing";

export const FAKE_KEY = Buffer.from("a key for tests only, 32 bytes!!").toString("base64");
export const FAKE_ACCOUNT = "testing";

interface Task {
  name: string;
  commandLine: string;
  resourceFiles?: { blobSource: string; filePath: string }[];
  environmentSettings?: { name: string; value: string }[];
  taskConstraints?: object;
}

export interface FakeApi {
  readonly url: string;
  readonly pools: Map<string, Record<string, unknown>>;
  readonly workItems: Map<string, { body: Record<string, unknown>; tasks: Map<string, Task>; ended: boolean }>;
  readonly stored: Map<string, Buffer>;
  /** Method and path of every request with a good signature. */
  readonly requests: string[];
  /** Answers so many requests with 503 before it behaves. */
  busy: number;
  /** Cuts the connection of so many streams after their first answered chunk. */
  breakStreams: number;
  /** Tasks stay active until this is set back. */
  hold: boolean;
  stop(): Promise<void>;
}

const CHUNK_LINES = 3;

export async function startFakeApi(): Promise<FakeApi> {
  const server = createServer((request, response) => void handle(request, response).catch((error: unknown) => {
    if (!response.headersSent) problem(response, 500, "InternalError", String(error));
  }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const api: FakeApi = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pools: new Map(), workItems: new Map(), stored: new Map(), requests: [], busy: 0, breakStreams: 0, hold: false,
    stop: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  };

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url as string, api.url);
    if (url.pathname.startsWith("/signed/")) return blob(api, request, response, url);
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, String(value)]));
    const expected = authorization(FAKE_ACCOUNT, FAKE_KEY, { method: request.method as string, path: url.pathname, query: [...url.searchParams], headers });
    if (request.headers.authorization !== expected) return problem(response, 403, "AuthenticationFailed", "The signature is wrong.");
    api.requests.push(`${request.method} ${decodeURIComponent(url.pathname)}${url.search.includes("addtaskcollection") ? "?addtaskcollection" : ""}`);
    if (api.busy > 0) {
      api.busy--;
      return problem(response, 503, "ServerBusy", "Busy.");
    }
    const extra = url.pathname.startsWith("/batchledger/");
    if (!extra && url.searchParams.get("api-version") !== "2014-10-01.1.0") return problem(response, 400, "MissingRequiredQueryParameter", "api-version");
    if (url.searchParams.has("addtaskcollection")) return stream(api, request, response, url);
    const text = await readAll(request);
    const body = text.length ? (JSON.parse(text.toString("utf8")) as Record<string, unknown>) : {};
    return (extra ? extras : route)(api, request, response, url, body);
  }
  return api;
}

async function route(api: FakeApi, request: IncomingMessage, response: ServerResponse, url: URL, body: Record<string, unknown>): Promise<void> {
  const [kind, name, jobs, job, tasks, task, files, ...file] = url.pathname.slice(1).split("/").map(decodeURIComponent);
  const { method } = request;
  if (kind === "pools") {
    if (method === "POST" && !name) {
      if (api.pools.has(body["name"] as string)) return problem(response, 409, "PoolExists", "The pool exists.");
      api.pools.set(body["name"] as string, body);
      return empty(response, 201);
    }
    if (!name) return json(response, { value: [...api.pools.values()].map(pool) });
    const found = api.pools.get(name);
    if (!found) return problem(response, 404, "PoolNotFound", "The specified pool does not exist.");
    if (jobs === "tvms" && job) {
      if (method === "GET" && tasks === "ssh") return json(response, { host: "127.9.8.7", port: 22, reachableFrom: "here", users: [{ name: "ann", account: "bl1-ann", isAdmin: true, expiryTime: NOW }] });
      if (method === "GET") return json(response, { name: job, state: "idle", stateTransitionTime: NOW, totalTasksRun: 3 });
      Object.assign(found, { asked: `${method} ${[job, tasks, task].filter(Boolean).join("/")} ${[...url.searchParams.keys()].find((one) => one !== "api-version") ?? ""} ${JSON.stringify(body)}` });
      return empty(response, 202);
    }
    if (jobs === "tvms") return json(response, { value: Array.from({ length: Number(found["targetDedicated"]) }, (_, at) => ({ name: `tvm-${at}`, state: "idle", stateTransitionTime: NOW })) });
    if (method === "GET") return json(response, pool(found));
    if (method === "DELETE") api.pools.delete(name);
    else Object.assign(found, body);
    return empty(response, 202);
  }
  if (method === "POST" && !name) {
    if (api.workItems.has(body["name"] as string)) return problem(response, 409, "WorkItemExists", "The work item exists.");
    api.workItems.set(body["name"] as string, { body, tasks: new Map(), ended: false });
    return empty(response, 201);
  }
  if (!name) return json(response, { value: [...api.workItems].map(([item, { ended }]) => workItem(item, ended)) });
  const found = api.workItems.get(name);
  if (!found) return problem(response, 404, "WorkItemNotFound", "The specified work item does not exist.");
  if (!jobs) {
    if (method === "GET") return json(response, { ...workItem(name, found.ended), ...found.body });
    if (method === "PATCH") Object.assign(found.body, body);
    for (const [action, state] of [["enable", "active"], ["disable", "disabled"]] as const) if (url.searchParams.has(action)) found.body["state"] = state;
    if (method === "DELETE") api.workItems.delete(name);
    return empty(response, 202);
  }
  if (!job) return json(response, { value: [{ name: "job-0000000001", state: "active", creationTime: NOW, poolName: "p" }] });
  if (!tasks) {
    if (method === "GET") return json(response, { name: job, state: found.ended ? "completed" : "active", creationTime: NOW });
    found.ended = true;
    return empty(response, 202);
  }
  if (!task) {
    const skip = Number(url.searchParams.get("$skiptoken") ?? 0);
    const state = /state eq '(\w+)'/.exec(url.searchParams.get("$filter") ?? "")?.[1];
    const all = [...found.tasks.values()].map((one) => taskOf(api, one)).filter((one) => !state || one.state === state);
    const size = Number(url.searchParams.get("maxresults") ?? 2);
    const next = skip + size < all.length ? { "odata.nextLink": `http://elsewhere.example/workitems?$skiptoken=${skip + size}&maxresults=${size}` } : {};
    return json(response, { value: all.slice(skip, skip + size), ...next });
  }
  const one = found.tasks.get(task);
  if (!one) return problem(response, 404, "TaskNotFound", "The specified task does not exist.");
  if (!files) return method === "GET" ? json(response, taskOf(api, one)) : empty(response, 200);
  return taskFile(api, request, response, one, file.join("/"));
}

function taskFile(api: FakeApi, request: IncomingMessage, response: ServerResponse, task: Task, name: string): void {
  if (api.hold) return problem(response, 409, "TaskFilesUnavailable", "The task has not run.");
  const files: Record<string, Buffer> = { "stdout.txt": Buffer.from(`${task.commandLine}\n`), "stderr.txt": Buffer.from(""), "wd/out/deep.bin": Buffer.from([1, 2, 3, 0, 255]) };
  if (name === "") return json(response, { value: [{ name: "wd", isDirectory: true }, ...Object.entries(files).map(([key, value]) => ({ name: key.replaceAll("/", "\\"), isDirectory: false, properties: { contentLength: String(value.length), lastModified: NOW } }))] });
  const content = files[name];
  if (!content) return problem(response, 404, "FileNotFound", "The specified file does not exist.");
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(String(request.headers["ocp-range"] ?? "bytes=0-")) as RegExpExecArray;
  if (Number(from) >= content.length && request.method === "GET" && request.headers["ocp-range"]) return problem(response, 416, "InvalidRange", "The range is past the end.");
  const part = content.subarray(Number(from), to ? Number(to) + 1 : undefined);
  response.writeHead(200, { "content-length": part.length });
  response.end(request.method === "HEAD" ? undefined : part);
}

function extras(api: FakeApi, _: IncomingMessage, response: ServerResponse, url: URL): void {
  const [, kind, ...rest] = url.pathname.slice(1).split("/").map(decodeURIComponent);
  if (kind === "files") {
    const key = rest.join("/");
    return json(response, { readUrl: `${api.url}/signed/${encodeURIComponent(key)}?sig=r`, writeUrl: `${api.url}/signed/${encodeURIComponent(key)}?sig=w` });
  }
  const found = api.workItems.get(rest[1] as string);
  if (kind === "history") return json(response, { value: [{ version: 1, by: "testing", events: [{ type: "WorkItemCreated", at: NOW, name: rest[1], note: "\u001b[31mred" }] }] });
  if (!found) return problem(response, 404, "WorkItemNotFound", "The specified work item does not exist.");
  if (kind === "why") return json(response, { state: "active", reasons: ["Every TVM of the pool is busy."] });
  const tasks = [...found.tasks.values()].map((one) => taskOf(api, one));
  const completed = tasks.filter(({ state }) => state === "completed");
  return json(response, {
    active: tasks.length - completed.length, assigned: 0, running: 0, completed: completed.length,
    failed: completed.filter(({ executionInfo }) => executionInfo.exitCode !== 0).length, retries: 0, requeues: 0, cpuMs: 10 * completed.length,
  });
}

async function stream(api: FakeApi, request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const [, name] = url.pathname.slice(1).split("/").map(decodeURIComponent);
  const found = api.workItems.get(name as string);
  if (!found) return problem(response, 404, "WorkItemNotFound", "The specified work item does not exist.");
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  let rest = "";
  let number = 0;
  const sums = { added: 0, existing: 0, failed: 0 };
  let chunk: string[] = [];
  const breaks = api.breakStreams > 0;
  const flush = (): void => {
    if (chunk.length === 0) return;
    const answer = { lines: [number - chunk.length + 1, number], added: 0, existing: 0, failed: [] as object[] };
    for (const [at, line] of chunk.entries()) {
      const task = JSON.parse(line) as Task;
      const same = found.tasks.get(task.name);
      if (same && JSON.stringify(same) === line) answer.existing++;
      else if (same) answer.failed.push({ line: number - chunk.length + 1 + at, name: task.name, code: "TaskExists", message: "The task exists." });
      else {
        found.tasks.set(task.name, task);
        answer.added++;
      }
    }
    chunk = [];
    sums.added += answer.added;
    sums.existing += answer.existing;
    sums.failed += answer.failed.length;
    response.write(`${JSON.stringify(answer)}\n`);
  };
  for await (const part of request.setEncoding("utf8")) {
    rest += part as string;
    const lines = rest.split("\n");
    rest = lines.pop() as string;
    for (const line of lines) {
      chunk.push(line);
      number++;
      if (chunk.length < CHUNK_LINES) continue;
      flush();
      if (!breaks || number <= CHUNK_LINES) continue;
      // The second chunk was taken, but its answer never arrives whole.
      api.breakStreams--;
      request.destroy();
      return;
    }
  }
  flush();
  response.end(`${JSON.stringify(sums)}\n`);
}

async function blob(api: FakeApi, request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
  const key = decodeURIComponent(url.pathname.slice("/signed/".length));
  const body = await readAll(request);
  const write = request.method === "PUT";
  if (url.searchParams.get("sig") !== (write ? "w" : "r")) return problem(response, 403, "AuthenticationFailed", "The address is not signed for this.");
  if (write) api.stored.set(key, body);
  const content = api.stored.get(key);
  if (!content) return problem(response, 404, "ResourceNotFound", "There is no such file.");
  response.writeHead(write ? 201 : 200);
  response.end(write ? undefined : content);
}

const NOW = "2015-07-09T19:31:21.09Z";
const pool = (body: Record<string, unknown>) => ({ state: "active", allocationState: "steady", currentDedicated: body["targetDedicated"], maxTasksPerTVM: 1, creationTime: NOW, ...body });
const workItem = (name: string, ended: boolean) => ({ name, state: ended ? "completed" : "active", creationTime: NOW, jobExecutionEnvironment: { poolName: "p" }, executionInfo: { recentJob: { name: "job-0000000001" } } });
const taskOf = (api: FakeApi, task: Task) => ({
  ...task, creationTime: NOW, stateTransitionTime: NOW,
  state: api.hold ? "active" : "completed",
  executionInfo: { retryCount: 0, requeueCount: 0, ...(api.hold ? {} : { exitCode: task.commandLine.startsWith("false") ? 1 : 0, startTime: NOW, endTime: NOW }) },
});

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}

function empty(response: ServerResponse, status: number): void {
  response.writeHead(status);
  response.end();
}

function problem(response: ServerResponse, status: number, code: string, message: string): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify({ code, message: { lang: "en-US", value: `${message}\nRequestId:x\nTime:${NOW}` } }));
}
