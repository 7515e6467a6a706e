// The client library: the service's operations as functions, over one signed transport. Sends what it is given; decides nothing.
//
//   const client = createClient({ url, account, key });
//   await client.createWorkItem({ name: "count", jobExecutionEnvironment: { poolName: "default" } });
//   await client.addTasks("count", "job-0000000001", [{ name: "t1", commandLine: "echo hello" }]);
//
// Every function throws ServiceError when the service refuses and UnreachableError when there is no service.
import http from "node:http";
import https from "node:https";
import type { Connection } from "./connection";
import { ServiceError, UnreachableError } from "./failures";
import { type BulkProgress, type BulkResult, streamTasks } from "./stream";
import { type Call, type Transport, type TransportOptions, createTransport, settle } from "./transport";
import type {
  AutoScaleRecordResource, AutoScaleRunResource, CertificateResource, Constraints, Counts, EnableAutoScale, FileEntry, FileRange, FileSlice, HistoryCommit, JobChange, JobResource, NewCertificate, NewPool, NewTask,
  NewTvmUser, NewWorkItem, PoolResource, RemoveTvms, ResizePool, Setting, SizeResource, SshAccess, StoredFile, TaskResource, TvmResource,
  UploadAddress, WhyAnswer, WorkItemChange, WorkItemResource,
} from "./resources";

export type Client = ReturnType<typeof createClient>;

/** Query options of a list: `filter` and `select` as the service's `$filter` and `$select`. */
export interface ListOptions {
  readonly filter?: string;
  readonly select?: string;
  /** Most entries a page, 1 to 1000. */
  readonly pageSize?: number;
}

export function createClient(where: Connection | (() => Connection), options: TransportOptions = {}) {
  const transport = createTransport(where, options);
  const call = (method: Call["method"], path: readonly string[], more: Omit<Call, "method" | "path"> = {}) =>
    transport.call({ method, path, ...more });
  const get = async <T>(path: readonly string[], more: Omit<Call, "method" | "path"> = {}): Promise<T> =>
    parse<T>((await call("GET", path, more)).body);
  const act = (path: readonly string[], action: string, body?: unknown) =>
    call("POST", path, { query: { [action]: "" }, ...(body === undefined ? {} : { body }) });
  const list = <T>(path: readonly string[], query: ListOptions & { recursive?: boolean } = {}) => pages<T>(transport, path, query);
  const extra = <T>(...path: string[]) => get<T>(["batchledger", ...path], { versioned: false });

  return {
    url: transport.url,
    /** Frees the connections. */
    close: transport.close,
    health: () => extra<Record<string, unknown>>("health"),
    /** Statistics of a pool, work item, job or task, by the parts of its path. */
    stats: async (...path: string[]) => (await get<{ stats: Record<string, unknown> }>(path, { query: { $select: "stats", $expand: "stats" } })).stats,

    addCertificate: (certificate: NewCertificate) => call("POST", ["certificates"], { body: certificate }),
    /** By its SHA-1 thumbprint. */
    getCertificate: (thumbprint: string) => get<CertificateResource>([certificateOf(thumbprint)]),
    listCertificates: (query?: ListOptions) => list<CertificateResource>(["certificates"], query),
    deleteCertificate: (thumbprint: string) => call("DELETE", [certificateOf(thumbprint)]),
    cancelCertificateDeletion: (thumbprint: string) => act([certificateOf(thumbprint)], "canceldelete"),

    createPool: (pool: NewPool) => call("POST", ["pools"], { body: pool }),
    getPool: (pool: string) => get<PoolResource>(["pools", pool]),
    listPools: (query?: ListOptions) => list<PoolResource>(["pools"], query),
    resizePool: (pool: string, body: ResizePool) => act(["pools", pool], "resize", body),
    removeTvms: (pool: string, body: RemoveTvms) => act(["pools", pool], "removetvms", body),
    upgradePoolOs: (pool: string, targetOSVersion: string) => act(["pools", pool], "upgradeos", { targetOSVersion }),
    /** The formula is evaluated within this request: `autoScaleRun` of the pool has the outcome. */
    enableAutoScale: (pool: string, body: EnableAutoScale) => act(["pools", pool], "enableautoscale", body),
    disableAutoScale: (pool: string) => act(["pools", pool], "disableautoscale"),
    /** What a formula would say now; changes nothing. Autoscale of the pool must be on. */
    evaluateAutoScale: async (pool: string, autoScaleFormula: string) => parse<AutoScaleRunResource>((await act(["pools", pool], "evaluateautoscale", { autoScaleFormula })).body),
    /** Samples and evaluations of the last 1 to 192 hours. */
    autoScaleRecord: (pool: string, hours = 24) => get<AutoScaleRecordResource>(["batchledger", "autoscale", pool], { query: { hours: String(hours) }, versioned: false }),
    stopResize: (pool: string) => act(["pools", pool], "stopresize"),
    deletePool: (pool: string) => call("DELETE", ["pools", pool]),
    listTvms: (pool: string, query?: ListOptions) => list<TvmResource>(["pools", pool, "tvms"], query),
    getTvm: (pool: string, tvm: string) => get<TvmResource>(["pools", pool, "tvms", tvm]),
    /** `option`: what becomes of its tasks (requeue, terminate, taskcompletion, retaineddata). */
    rebootTvm: (pool: string, tvm: string, option?: string) => act(["pools", pool, "tvms", tvm], "reboot", option === undefined ? {} : { rebootOption: option }),
    reimageTvm: (pool: string, tvm: string, option?: string) => act(["pools", pool, "tvms", tvm], "reimage", option === undefined ? {} : { reimageOption: option }),
    addTvmUser: (pool: string, tvm: string, user: NewTvmUser) => call("POST", ["pools", pool, "tvms", tvm, "users"], { body: user }),
    /** Replaces all: what is left out falls back to its default, and without a password nobody logs in with one. */
    updateTvmUser: (pool: string, tvm: string, { name, ...terms }: Partial<NewTvmUser> & { readonly name: string }) =>
      call("PUT", ["pools", pool, "tvms", tvm, "users", name], { body: terms }),
    deleteTvmUser: (pool: string, tvm: string, user: string) => call("DELETE", ["pools", pool, "tvms", tvm, "users", user]),
    /** A file for a remote desktop client. */
    rdpFile: async (pool: string, tvm: string) => (await call("GET", ["pools", pool, "tvms", tvm, "rdp"])).body.toString("utf8"),
    sshAccess: (pool: string, tvm: string) => get<SshAccess>(["pools", pool, "tvms", tvm, "ssh"]),
    sizes: async () => (await extra<{ value: SizeResource[] }>("sizes")).value,

    createWorkItem: (workItem: NewWorkItem) => call("POST", ["workitems"], { body: workItem }),
    getWorkItem: (workItem: string) => get<WorkItemResource>(["workitems", workItem]),
    listWorkItems: (query?: ListOptions) => list<WorkItemResource>(["workitems"], query),
    updateWorkItem: (workItem: string, change: WorkItemChange) => call("PATCH", ["workitems", workItem], { body: change }),
    enableWorkItem: (workItem: string) => act(["workitems", workItem], "enable"),
    disableWorkItem: (workItem: string) => act(["workitems", workItem], "disable"),
    terminateWorkItem: (workItem: string) => act(["workitems", workItem], "terminate"),
    deleteWorkItem: (workItem: string) => call("DELETE", ["workitems", workItem]),

    listJobs: (workItem: string, query?: ListOptions) => list<JobResource>(["workitems", workItem, "jobs"], query),
    getJob: (workItem: string, job: string) => get<JobResource>(["workitems", workItem, "jobs", job]),
    disableJob: (workItem: string, job: string, disableTasks: string) => act(["workitems", workItem, "jobs", job], "disable", { disableTasks }),
    enableJob: (workItem: string, job: string) => act(["workitems", workItem, "jobs", job], "enable"),
    /** What is given is replaced, `jobConstraints` as a whole. */
    updateJob: (workItem: string, job: string, body: JobChange) => call("PATCH", ["workitems", workItem, "jobs", job], { body }),
    terminateJob: (workItem: string, job: string, terminateReason?: string) =>
      act(["workitems", workItem, "jobs", job], "terminate", terminateReason === undefined ? undefined : { terminateReason }),
    deleteJob: (workItem: string, job: string) => call("DELETE", ["workitems", workItem, "jobs", job]),

    addTask: (workItem: string, job: string, task: NewTask) => call("POST", tasksOf(workItem, job), { body: task }),
    /** At most 100 tasks in one request; the answer has an entry a task. */
    addCollection: async (workItem: string, job: string, tasks: readonly NewTask[]) =>
      parse<{ value: { status: string; taskName: string; error?: { code: string } }[] }>((await act(tasksOf(workItem, job), "addtaskcollection", { value: tasks })).body).value,
    /** Any number of tasks as a stream; a broken connection is mended by sending the unanswered ones again. */
    addTasks: (workItem: string, job: string, tasks: Iterable<NewTask> | AsyncIterable<NewTask>, onProgress?: (progress: BulkProgress) => void): Promise<BulkResult> =>
      streamTasks(transport, tasksOf(workItem, job), tasks, { ...options, ...(onProgress ? { onProgress } : {}) }),
    getTask: (workItem: string, job: string, task: string) => get<TaskResource>([...tasksOf(workItem, job), task]),
    listTasks: (workItem: string, job: string, query?: ListOptions) => list<TaskResource>(tasksOf(workItem, job), query),
    /** All constraints are replaced; the environment where it is given. */
    updateTask: (workItem: string, job: string, task: string, body: { taskConstraints?: Constraints; environmentSettings?: readonly Setting[] }) =>
      call("PUT", [...tasksOf(workItem, job), task], { body }),
    terminateTask: (workItem: string, job: string, task: string) => act([...tasksOf(workItem, job), task], "terminate"),
    deleteTask: (workItem: string, job: string, task: string) => call("DELETE", [...tasksOf(workItem, job), task]),

    /** `base` is `taskFiles(...)` or `tvmFiles(...)`; names may use `/` or `\`. */
    listFiles: (base: readonly string[], recursive = false) => list<FileEntry>(base, { recursive }),
    readFile: (base: readonly string[], file: string, range?: FileRange) => readFile(transport, base, file, range),
    /** Bytes that the file has now. */
    fileLength: async (base: readonly string[], file: string): Promise<number> =>
      Number((await call("HEAD", filePath(base, file))).headers["content-length"] ?? 0),

    counts: (workItem: string, job: string) => extra<Counts>("counts", "workitems", workItem, "jobs", job),
    why: (workItem: string, job: string, task: string) => extra<WhyAnswer>("why", "workitems", workItem, "jobs", job, "tasks", task),
    /** `path` as the thing's own address: ["pools", p], ["workitems", w, "jobs", j] and so on. */
    history: async (path: readonly string[]) => (await extra<{ value: HistoryCommit[] }>("history", ...path)).value,

    /** Puts a submission on the queue `commands`; it is done, or refused, a moment later. */
    sendCommand: (command: { operation: string; [field: string]: unknown }) => call("POST", ["batchledger", "commands"], { body: command, versioned: false }),
    /** Submissions by message that could not be done, with the reason. */
    refusedCommands: async () => (await extra<{ value: { body: unknown; reason: string; enqueuedAt: string; deliveries: number }[] }>("refusedcommands")).value,

    /** Addresses for one file of the service's own file store, good for a while without other credentials. */
    fileAddress: async (container: string, file: string): Promise<UploadAddress> =>
      parse<UploadAddress>((await call("POST", ["batchledger", "files", container, ...file.split("/")], { versioned: false, repeatable: true })).body),
    listStored: async (prefix: string) => (await extra<{ value: StoredFile[] }>("files", ...prefix.split("/"))).value,
    upload: (address: UploadAddress, content: Uint8Array | NodeJS.ReadableStream, length: number) => putBlob(address.writeUrl, content, length),
  };
}

export const taskFiles = (workItem: string, job: string, task: string): string[] => [...tasksOf(workItem, job), task, "files"];
export const tvmFiles = (pool: string, tvm: string): string[] => ["pools", pool, "tvms", tvm, "files"];
export const certificateOf = (thumbprint: string): string => `certificates(thumbprintAlgorithm=sha1,thumbprint=${thumbprint})`;
const tasksOf = (workItem: string, job: string): string[] => ["workitems", workItem, "jobs", job, "tasks"];

const filePath = (base: readonly string[], file: string): string[] => [...base, ...file.split(/[\\/]/)];

const parse = <T>(body: Buffer): T => JSON.parse(body.toString("utf8")) as T;

/** All entries of a list, page after page as they are asked for. */
async function* pages<T>(transport: Transport, path: readonly string[], query: ListOptions & { recursive?: boolean }): AsyncGenerator<T> {
  let parameters: Record<string, string | undefined> = {
    $filter: query.filter,
    $select: query.select,
    maxresults: query.pageSize === undefined ? undefined : String(query.pageSize),
    recursive: query.recursive === undefined ? undefined : String(query.recursive),
  };
  for (;;) {
    const answer = await transport.call({ method: "GET", path, query: parameters });
    const page = parse<{ value: T[]; "odata.nextLink"?: string }>(answer.body);
    yield* page.value;
    const next = page["odata.nextLink"];
    if (!next) return;
    // The address is the service's own view of itself: only its parameters count, the request goes where this client points.
    const { "api-version": _, ...rest } = Object.fromEntries(new URL(next, transport.url()).searchParams);
    parameters = rest;
  }
}

/** Part of a file. Past its end there is an empty slice, with the length that the file has now when the service says so. */
async function readFile(transport: Transport, base: readonly string[], file: string, range: FileRange = { offset: 0 }): Promise<FileSlice> {
  const path = filePath(base, file);
  const whole = range.offset === 0 && range.length === undefined;
  const last = range.length === undefined ? "" : String(range.offset + range.length - 1);
  try {
    const answer = await transport.call({ method: "GET", path, ...(whole ? {} : { headers: { "ocp-range": `bytes=${range.offset}-${last}` } }) });
    return { bytes: answer.body };
  } catch (error) {
    if (error instanceof ServiceError && error.status === 416) return { bytes: Buffer.alloc(0) };
    throw error;
  }
}

/** PUTs bytes to a signed address; the address is all the credential there is. */
async function putBlob(address: string, content: Uint8Array | NodeJS.ReadableStream, length: number): Promise<void> {
  const url = new URL(address);
  await new Promise<void>((resolve, reject) => {
    const headers = { "content-length": String(length), "content-type": "application/octet-stream", "x-ms-blob-type": "BlockBlob" };
    const request = (url.protocol === "https:" ? https : http).request(url, { method: "PUT", headers });
    request.on("error", (error: NodeJS.ErrnoException) => reject(new UnreachableError(url.origin, error.code ?? error.message)));
    request.on("response", (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        try {
          settle({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) });
          resolve();
        } catch (error) {
          reject(error as Error);
        }
      });
    });
    if (content instanceof Uint8Array) request.end(content);
    else content.on("error", (error) => request.destroy(error as Error)).pipe(request);
  });
}
