// Stands in for the service: speaks the agent protocol from its side, checks every request against the protocol's schemas,
// and serves blobs. It assigns what a test adds, confirms what has ended, and can misbehave on demand.
import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import {
  certificatesAnswer, certificatesRequest, exchangeAnswer, exchangeRequest, joinAnswer, joinRequest,
  type Assignment, type AttemptRef, type CertificateFile, type ExchangeRequest, type FileAnswer, type FileRequest, type JoinAnswer, type JoinRequest, type Report, type StartTaskOrder,
} from "../../src/wire";

export interface FakeTvm {
  readonly name: string;
  joined: JoinRequest | undefined;
  joins: number;
  /** Assigned and not known to have ended. */
  readonly assigned: Map<string, Assignment>;
  /** Every report that was taken in, in order; a repeated one is there again. */
  readonly reports: Report[];
  readonly exchanges: ExchangeRequest[];
  readonly removeFolders: Set<string>;
  readonly removedFolders: string[];
  readonly files: Map<string, FileRequest>;
  readonly fileAnswers: Map<string, FileAnswer>;
  startTask: StartTaskOrder | undefined;
  readonly certificates: CertificateFile[];
  /** Statuses that the next questions for certificates are answered with instead. */
  readonly certificateFaults: number[];
  leave: boolean;
  /** It is to go after its tasks, since then. */
  drain: string | undefined;
  /** Answer exchanges and joins with this status instead. */
  refuse: number | undefined;
  /** Answer exchanges that carry reports with this status instead: there is no room to keep them. */
  refuseReports: number | undefined;
}

export interface Blob {
  content: Buffer;
  etag?: string;
  status?: number;
}

export interface FakeOptions {
  readonly endpointFile: string;
  readonly answer?: Partial<JoinAnswer>;
}

export type FakeService = Awaited<ReturnType<typeof startFakeService>>;

export async function startFakeService(options: FakeOptions) {
  const tvms = new Map<string, FakeTvm>();
  const blobs = new Map<string, Blob>();
  const blobRequests: { method: string; path: string; status: number }[] = [];
  const problems: string[] = [];
  const waiters = new Set<() => void>();
  let server = http.createServer();
  let port = 0;
  let dropAnswers = 0;
  let generous = false;

  const tvm = (name: string): FakeTvm => {
    let known = tvms.get(name);
    if (!known) {
      known = {
        name, joined: undefined, joins: 0, assigned: new Map(), reports: [], exchanges: [], removeFolders: new Set(), removedFolders: [], files: new Map(),
        fileAnswers: new Map(), startTask: undefined, certificates: [], certificateFaults: [], leave: false, drain: undefined, refuse: undefined, refuseReports: undefined,
      };
      tvms.set(name, known);
    }
    return known;
  };
  const news = (): void => {
    for (const wake of waiters) wake();
    waiters.clear();
  };

  const join = (body: unknown): { status: number; body?: unknown } => {
    const request = joinRequest.parse(body);
    const [name = "", boot = ""] = request.code.split("~").slice(1);
    const one = tvm(name);
    if (one.refuse !== undefined) return { status: one.refuse };
    one.joined = request;
    one.joins++;
    const answer: JoinAnswer = {
      credential: `secret~${name}~${boot}`, account: "acme", pool: "pool-a", tvm: name, boot: Number(boot), slots: 4, holdMax: 200, heartbeatMs: 2_000, selfStopMs: 20_000,
      runElevatedAllowed: false, ...options.answer,
    };
    return { status: 200, body: joinAnswer.parse(answer) };
  };

  const takeIn = (one: FakeTvm, request: ExchangeRequest): void => {
    one.exchanges.push(request);
    for (const report of request.reports) {
      one.reports.push(report);
      if (report.kind === "taskEnded" || report.kind === "taskReturned") one.assigned.delete(idOf(report));
      if (report.kind === "startTaskEnded" && one.startTask?.run === report.run) one.startTask = undefined;
    }
    for (const answer of request.fileAnswers) {
      one.fileAnswers.set(answer.id, answer);
      one.files.delete(answer.id);
    }
    for (const folder of request.removedFolders) {
      one.removedFolders.push(folder);
      one.removeFolders.delete(folder);
    }
  };

  const answerNow = (one: FakeTvm, request: ExchangeRequest) => {
    const holding = new Set(request.holding.map(idOf));
    const asked = one.drain !== undefined && one.assigned.size === 0 && request.drained !== one.drain;
    const assigned = [...one.assigned.values()].slice(0, generous ? Infinity : request.capacity);
    return {
      run: assigned.filter((assignment) => !holding.has(idOf(assignment))), stop: request.holding.filter((ref) => !one.assigned.has(idOf(ref))),
      removeFolders: [...one.removeFolders], files: [...one.files.values()], ...(one.startTask ? { startTask: one.startTask } : {}), ...(one.leave ? { leave: true } : {}),
      ...(asked ? { drain: { since: one.drain as string, taken: request.taken ?? 0 } } : {}),
      ...(request.drained !== undefined && request.drained !== one.drain ? { resume: request.drained } : {}),
    };
  };

  const giveCertificates = (authorization: string, body: unknown): { status: number; body?: unknown } => {
    const [, name = "", boot] = authorization.split("~");
    const one = tvm(name);
    if (authorization !== `TVM secret~${name}~${boot}` || certificatesRequest.parse(body).boot !== Number(boot)) throw new Error(`authorization ${authorization}`);
    const fault = one.certificateFaults.shift();
    return fault === undefined ? { status: 200, body: certificatesAnswer.parse({ certificates: one.certificates }) } : { status: fault };
  };

  const exchange = async (authorization: string, body: unknown, gone: Promise<void>): Promise<{ status: number; body?: unknown }> => {
    const request = exchangeRequest.parse(body);
    const [, name = "", boot] = authorization.split("~");
    const one = tvm(name);
    if (one.refuse !== undefined) return { status: one.refuse };
    if (authorization !== `TVM secret~${name}~${boot}` || request.boot !== Number(boot)) throw new Error(`authorization ${authorization}`);
    if (one.refuseReports !== undefined && request.reports.length > 0) return { status: one.refuseReports };
    takeIn(one, request);
    const until = Date.now() + request.waitMs;
    const seen = new Set([...one.removeFolders, ...one.files.keys()]);
    for (;;) {
      const answer = answerNow(one, request);
      const errands = [...answer.removeFolders, ...answer.files.map((file) => file.id)].some((errand) => !seen.has(errand));
      const left = until - Date.now();
      if (answer.run.length || answer.stop.length || errands || (answer.startTask && request.waitMs === 0) || answer.leave || answer.drain || answer.resume !== undefined || left <= 0) return { status: 200, body: exchangeAnswer.parse(answer) };
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([gone, new Promise<void>((resolve) => { waiters.add(resolve); timer = setTimeout(resolve, left); })]);
      clearTimeout(timer);
      if (one.refuse !== undefined) return { status: one.refuse };
    }
  };

  const serveBlob = (method: string, name: string, headers: http.IncomingHttpHeaders, body: Buffer): { status: number; content?: Buffer; etag?: string } => {
    if (method === "PUT") {
      blobs.set(name, { content: body });
      return { status: 201 };
    }
    const blob = blobs.get(name);
    if (!blob) return { status: 404 };
    if (blob.status !== undefined) return { status: blob.status };
    if (blob.etag !== undefined && headers["if-none-match"] === blob.etag) return { status: 304, etag: blob.etag };
    return { status: 200, content: blob.content, ...(blob.etag === undefined ? {} : { etag: blob.etag }) };
  };

  const handle = async (request: http.IncomingMessage, response: http.ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    const body = Buffer.concat(pieces);
    const url = new URL(request.url ?? "/", "http://x");
    if (url.pathname.startsWith("/blobs/")) {
      const served = serveBlob(request.method ?? "", url.pathname.slice(7), request.headers, body);
      blobRequests.push({ method: request.method ?? "", path: url.pathname.slice(7), status: served.status });
      response.writeHead(served.status, { ...(served.etag ? { etag: served.etag } : {}), "content-length": served.content?.length ?? 0 });
      return void response.end(served.content);
    }
    const gone = new Promise<void>((resolve) => response.once("close", resolve));
    const parsed: unknown = JSON.parse(body.toString("utf8"));
    const answer = url.pathname === "/agent/join" ? join(parsed) : url.pathname === "/agent/certificates" ? giveCertificates(request.headers.authorization ?? "", parsed) : url.pathname === "/agent/exchange" ? await exchange(request.headers.authorization ?? "", parsed, gone) : { status: 404 };
    if (dropAnswers > 0 && (parsed as Partial<ExchangeRequest>).reports?.length) {
      dropAnswers--;
      return void response.destroy();
    }
    const text = JSON.stringify("body" in answer ? answer.body : {});
    response.writeHead(answer.status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
    response.end(text);
  };

  const start = async (): Promise<void> => {
    server = http.createServer((request, response) => {
      handle(request, response).catch((error: Error) => {
        problems.push(error.message);
        response.writeHead(400).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    port = (server.address() as AddressInfo).port;
    fs.mkdirSync(path.dirname(options.endpointFile), { recursive: true });
    fs.writeFileSync(options.endpointFile, JSON.stringify({ url: `http://127.0.0.1:${port}` }));
  };
  await start();

  return {
    tvm, blobs, blobRequests, problems, news,
    blobUrl: (name: string): string => `http://127.0.0.1:${port}/blobs/${name}?sig=verysecret`,
    /** The next answers to exchanges with reports are lost after the request was taken in. */
    loseAnswers: (count: number): void => void (dropAnswers = count),
    /** From now on it hands out more than a TVM asks for. */
    overfill: (): void => void (generous = true),
    assign(name: string, ...assignments: Assignment[]): void {
      for (const assignment of assignments) tvm(name).assigned.set(idOf(assignment), assignment);
      news();
    },
    unassign(name: string, ref: AttemptRef): void {
      tvm(name).assigned.delete(idOf(ref));
      news();
    },
    ask(name: string, request: FileRequest): void {
      tvm(name).files.set(request.id, request);
      news();
    },
    /** As if the service's process were killed: what it knows stays, connections break, the port is free. */
    async stop(): Promise<void> {
      const stopped = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      news();
      await stopped;
    },
    start,
  };
}

function idOf(ref: AttemptRef): string {
  return `${ref.attempt} ${ref.key}`;
}
