// A TVM's agent as far as the service can tell: it joins, exchanges, and answers requests for files from a list of its own.
// It runs nothing.
import { joinCodeFor } from "../../src/app/agents";
import { execute } from "../../src/app/execute";
import { isRejection } from "../../src/domain/decider";
import { poolKey, poolStream, tvmKey, tvmStream } from "../../src/domain/ids";
import type { AttemptRef, ExchangeAnswer, FileAnswer, FileRequest, UserRequest } from "../../src/wire";
import { ACCOUNT, type Service, ask } from "./support";

const now = (service: Service): string => service.ports.clock.now().toISOString();

export const done = async (outcome: Promise<unknown>): Promise<any> => {
  const settled = await outcome;
  if (isRejection(settled)) throw new Error(settled.code);
  return settled;
};

/** A TVM that its pool has, waiting to be joined. */
export const allocateTvm = async (service: Service): Promise<string> => {
  await ask(service, "PATCH", "/pools/p1", { body: { metadata: [] } });
  const pool = poolStream(poolKey(ACCOUNT, "p1"));
  await done(execute(service.ports, "pool", "test", { stream: pool, command: { type: "EndPoolResize", at: now(service) } }));
  await done(execute(service.ports, "pool", "test", { stream: pool, command: { type: "ResizePool", at: now(service), target: 1, timeoutMs: 300_000, option: "requeue" } }));
  const { events } = await done(execute(service.ports, "pool", "test", { stream: pool, command: { type: "AllocateTvms", at: now(service), count: 1 } }));
  const name = events[0].tvms[0] as string;
  const stream = tvmStream(tvmKey(ACCOUNT, "p1", name));
  await done(execute(service.ports, "tvm", "test", { stream, command: { type: "AllocateTvm", at: now(service), account: ACCOUNT, pool: "p1", name, size: "small", slots: 1 } }));
  return name;
};

export const agentPost = (service: Service, target: string, body: unknown, authorization: string | null) => ask(service, "POST", target, { body, authorization });

const MACHINE = { address: "127.0.0.9", cores: 2, platform: "linux", separateUser: false, helper: "node" };
export const joinBody = (service: Service, tvm: string) => ({ protocol: 1, code: joinCodeFor(service.ports, tvmKey(ACCOUNT, "p1", tvm), 1), machine: MACHINE });
export const exchangeBody = (changes: object = {}) => ({ boot: 1, reports: [], holding: [], capacity: 0, fileAnswers: [], removedFolders: [], waitMs: 0, ...changes });

// ---------------------------------------------------------------- files

export const FILES: Record<string, string> = {
  "tasks/w1/job-0000000001/t1/stdout.txt": "0123456789",
  "tasks/w1/job-0000000001/t1/empty.txt": "",
  "tasks/w1/job-0000000001/t1/wd/a b.txt": "in a folder",
  "shared/model.bin": "m",
};
/** What this agent was asked about users. */
export const USERS: UserRequest[] = [];
const MODIFIED = "2015-07-09T19:31:21.090Z";

/** Answers the service's requests for files from FILES, until it is stopped. */
export const startAgent = async (service: Service, tvm: string): Promise<() => Promise<void>> => {
  const { credential } = (await agentPost(service, "/agent/join", joinBody(service, tvm), null)).json;
  let stopped = false;
  const loop = async (): Promise<void> => {
    let fileAnswers: FileAnswer[] = [];
    const holding: AttemptRef[] = [];
    while (!stopped) {
      const got = await agentPost(service, "/agent/exchange", exchangeBody({ fileAnswers, holding, waitMs: 50 }), `TVM ${credential}`);
      const { run, files, users = [] } = got.json as ExchangeAnswer;
      holding.push(...run.map(({ key, attempt }) => ({ key, attempt })));
      fileAnswers = await Promise.all(files.map((request) => answerFor(service, request)));
      for (const request of users) {
        USERS.push(request);
        fileAnswers.push({ id: request.id, ...(request.kind === "add" ? { account: `os-${request.name}` } : {}) });
      }
    }
  };
  const running = loop();
  return async () => {
    stopped = true;
    await running;
  };
};

const entry = (path: string) => ({ path, isDirectory: FILES[path] === undefined, length: FILES[path]?.length ?? 0, createdAt: MODIFIED, modifiedAt: MODIFIED });

const answerFor = async (service: Service, request: FileRequest): Promise<FileAnswer> => {
  const { id, kind, path } = request;
  const below = Object.keys(FILES).filter((file) => file.startsWith(path === "" ? "" : `${path}/`));
  const notFound = { id, problem: { code: "notFound" as const, message: "no" } };
  if (kind === "list") {
    const start = path === "" ? 0 : path.length + 1;
    const names = new Set(below.flatMap((file) => {
      const parts = file.slice(start).split("/");
      return request.recursive ? parts.map((_, index) => parts.slice(0, index + 1).join("/")) : [parts[0] as string];
    }));
    return { id, entries: [...names].sort().map((name) => entry(path === "" ? name : `${path}/${name}`)) };
  }
  const content = FILES[path];
  if (content === undefined) return below.length > 0 && kind === "stat" ? { id, entries: [entry(path)] } : notFound;
  if (kind === "remove") {
    delete FILES[path];
    return { id, entries: [] };
  }
  if (kind === "read") {
    const target = service.files.parseSigned(request.uploadUrl as string);
    if (!("path" in target)) throw new Error(target.problem);
    const offset = request.offset ?? 0;
    await service.ports.files.put(target.path, Buffer.from(content.slice(offset, offset + (request.length ?? content.length))));
  }
  return { id, entries: [entry(path)] };
};
