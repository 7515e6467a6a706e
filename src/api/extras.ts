// What this service has beyond the era's: history, reasons, counts, addresses for uploads, and submissions by message. Same keys, no api-version.
// Everything is looked up under the caller's account; nothing here changes anything but by the address it hands out.
import { z } from "zod";
import { parkedCommits } from "../app/feed";
import { type JobCounts, getJob, jobCounts, keyOfJob } from "../app/jobs";
import { history, why } from "../app/history";
import { autoScaleRecord } from "../app/replay";
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { certificateKey, certificateStream, poolKey, poolStream, taskKey, taskStream, tvmKey, tvmStream, workItemKey, workItemStream } from "../domain/ids";
import { TVM_SIZES, maxTasksPerTvmOf } from "../domain/sizes";
import type { Commit, FileStat, Json } from "../ports";
import { wireDate } from "./dates";
import { type Answer, type Input, type Operation, operation } from "./operation";
import { certificateName } from "./classic/certificates";
import { pathProblem } from "./schemas";

const JSON_TYPE = { "Content-Type": "application/json" };

const answer = (json: object): Answer => ({ status: 200, headers: JSON_TYPE, json });

// ---------------------------------------------------------------- history, reasons, counts

type Some = Pick<Input, "ports" | "call" | "names">;

/** Of a thing that is gone too: its events are still there. A stream that never was is not found. */
const historyOf = async ({ ports, call }: Some, stream: string | Rejection, missing: string): Promise<Answer | Rejection> => {
  if (isRejection(stream)) return stream;
  const commits = await history(ports, call, stream);
  return commits.length === 0 ? rejection(missing) : answer({ value: commits.map(renderCommit) });
};

/** Sealed signatures are of no use to anybody but the service: they are left out. */
const renderCommit = ({ version, by, events }: Commit): object => ({
  version,
  by,
  events: JSON.parse(JSON.stringify(events, (name, value: unknown) => (name === "sealed" ? undefined : value))) as object,
});

const jobStreamOf = async ({ ports, call, names }: Some): Promise<string | Rejection> => {
  const job = await getJob(ports, call, names.workItem as string, names.job as string);
  return isRejection(job) ? job : job.stream;
};

const taskStreamOf = async ({ ports, call, names }: Some): Promise<string | Rejection> => {
  const job = await getJob(ports, call, names.workItem as string, names.job as string);
  return isRejection(job) ? job : taskStream(taskKey(keyOfJob(job), names.task as string));
};

const certificateStreamOf = (input: Some): string | Rejection => {
  const name = certificateName(input);
  return isRejection(name) ? name : certificateStream(certificateKey(input.call.account, name.thumbprintAlgorithm, name.thumbprint));
};

const account = ({ call }: Some): string => call.account;
const poolOf = ({ names }: Some): string => names.pool as string;

const HISTORIES: readonly (readonly [path: string, missing: string, stream: (input: Some) => string | Rejection | Promise<string | Rejection>])[] = [
  ["/pools/{pool}", "PoolNotFound", (input) => poolStream(poolKey(account(input), poolOf(input)))],
  ["/pools/{pool}/tvms/{tvm}", "TVMNotFound", (input) => tvmStream(tvmKey(account(input), poolOf(input), input.names.tvm as string))],
  ["/certificates(...)", "CertificateNotFound", certificateStreamOf],
  ["/workitems/{workItem}", "WorkItemNotFound", (input) => workItemStream(workItemKey(account(input), input.names.workItem as string))],
  ["/workitems/{workItem}/jobs/{job}", "JobNotFound", jobStreamOf],
  ["/workitems/{workItem}/jobs/{job}/tasks/{task}", "TaskNotFound", taskStreamOf],
];

const histories: readonly Operation[] = HISTORIES.map(([path, missing, stream]) =>
  operation({
    name: `History ${path}`,
    method: "GET",
    path: `/batchledger/history${path}`,
    action: "history.read",
    version: "none",
    run: async (input) => historyOf(input, await stream(input), missing),
  }),
);

const whyTask = async ({ ports, call, names }: Some): Promise<Answer | Rejection> => {
  const found = await why(ports, call, names.workItem as string, names.job as string, names.task as string);
  return isRejection(found) ? found : answer(found);
};

const countsOf = async ({ ports, call, names }: Some): Promise<Answer | Rejection> => {
  const job = await getJob(ports, call, names.workItem as string, names.job as string);
  if (isRejection(job)) return job;
  const counts: JobCounts = await jobCounts(ports, keyOfJob(job));
  return answer(counts);
};

// ---------------------------------------------------------------- autoscale

const HOURS_MAX = 24 * 8;

/** Samples and evaluations of a pool; each evaluation says whether it gives the same when it is made again. */
const autoScaleOf = async ({ ports, call, names, query }: Some & Pick<Input, "query">): Promise<Answer | Rejection> => {
  const given = query.get("hours") ?? "24";
  const hours = /^\d{1,3}$/.test(given) ? Number(given) : 0;
  if (hours < 1 || hours > HOURS_MAX)
    return rejection("OutOfRangeQueryParameterValue", undefined, { QueryParameterName: "hours", QueryParameterValue: given, MinimumAllowed: "1", MaximumAllowed: String(HOURS_MAX) });
  const found = await autoScaleRecord(ports, call, names.pool as string, hours);
  if (isRejection(found)) return found;
  const { pool, scaling, samples, runs } = found;
  return answer({
    at: call.at,
    pool: pool.name,
    target: pool.spec.targetDedicated,
    currentDedicated: pool.tvms.length,
    taskSlots: pool.spec.maxTasksPerTvm,
    tvmSize: pool.spec.tvmSize,
    autoScale: pool.autoScale,
    samplePeriodMs: scaling.samplePeriodMs,
    wantedPercent: scaling.wantedPercent,
    samples: samples.map(({ start, times, values, aggregated }) => ({ start, times, values, aggregated: aggregated === true })),
    runs: runs.map(({ at, formula, run: { inputs: { answers: _, ...inputs }, ...run }, again }) => ({
      at,
      formula,
      ...run,
      inputs,
      replayed: again === undefined ? "unknown" : again.results === run.results && again.target === run.target && again.option === run.option ? "same" : "different",
    })),
  });
};

// ---------------------------------------------------------------- uploads

/** How long an address is good: to write a file now, and to read it while tasks run that need it. */
const WRITE_MS = 60 * 60_000;
const READ_MS = 30 * 24 * 60 * 60_000;
const STORED_MAX = 1000;
const CONTAINER = /^(?=.{3,63}$)[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** Where an account's files are: in a container of its own, so that no path can name another account's. */
const containerOf = (name: string): string => `files-${name}`;

const storedPath = (input: Some): string | Rejection => {
  const path = input.names.path as string;
  const [container = "", ...rest] = path.split("/");
  const problem = !CONTAINER.test(container)
    ? "expected a container of 3 to 63 of a-z, 0-9 and single dashes"
    : rest.length === 0
      ? "expected a file's name after the container's"
      : path.includes("\\") || path.length > 900
        ? "expected at most 900 characters without back slashes"
        : pathProblem(path);
  return problem === undefined ? `${containerOf(account(input))}/${path}` : rejection("InvalidUri", undefined, { Reason: problem });
};

const grant = async (input: Some & Pick<Input, "ports">): Promise<Answer | Rejection> => {
  const path = storedPath(input);
  if (isRejection(path)) return path;
  const now = Date.parse(input.call.at);
  const { files } = input.ports;
  const [readUntil, writeUntil] = [new Date(now + Math.min(READ_MS, files.grantMaxMs ?? READ_MS)), new Date(now + WRITE_MS)];
  return answer({
    path: input.names.path,
    readUrl: await files.signedUrl(path, "read", readUntil),
    readUntil: readUntil.toISOString(),
    writeUrl: await files.signedUrl(path, "write", writeUntil),
    writeUntil: writeUntil.toISOString(),
  });
};

const listStored = async (input: Some & Pick<Input, "query">): Promise<Answer | Rejection> => {
  const prefix = input.names.path ?? "";
  const own = `${containerOf(account(input))}/`;
  if (prefix !== "" && pathProblem(prefix.replace(/\/$/, "")) !== undefined) return rejection("InvalidUri");
  const after = input.query.get("after");
  const found = await input.ports.files.list(own + prefix, after === undefined ? undefined : own + after, STORED_MAX);
  return answer({ value: found.map((stat) => renderStored(stat, own)) });
};

const renderStored = ({ path, length, modifiedAt }: FileStat, own: string): object => ({ path: path.slice(own.length), length, modifiedAt: wireDate(modifiedAt) });

// ---------------------------------------------------------------- messages

/** A submission for the queue `commands`; whatever it says, it speaks for the account that signed the request. */
const submission = z.looseObject({ operation: z.string(), account: z.string().optional() });

const send = async ({ ports, call, body }: Input<z.output<typeof submission>>): Promise<Answer | Rejection> => {
  if (body.account !== undefined && body.account.toLowerCase() !== call.account)
    return rejection("InsufficientAccountPermissions", "A message speaks for the account that sends it.", { PropertyName: "account" });
  await ports.bus.send("commands", [{ body: { ...body, account: call.account } as unknown as Json }]);
  return { status: 202 };
};

const LETTERS_MAX = 1000;

/** The account's own messages that could not be handled, with the reason. */
const refusedMessages = async ({ ports, call }: Some): Promise<Answer> => {
  const letters = await ports.bus.deadLetters("commands", LETTERS_MAX);
  const own = letters.filter(({ message }) => (message.body as { account?: unknown } | null)?.account === call.account);
  return answer({ value: own.map(({ message, reason }) => ({ body: message.body, reason, enqueuedAt: wireDate(message.enqueuedAt), deliveries: message.deliveryCount })) });
};

/** The account's commits that could not be shown or reacted to: for operators, with the reason. */
const parked = async ({ ports, call }: Some): Promise<Answer> => {
  const rows = await parkedCommits(ports, call.account);
  return answer({ value: rows.map((row) => ({ stream: row.stream, version: row.commit, reason: row.reason, parkedAt: wireDate(row.since), triedAt: wireDate(row.at) })) });
};

const sizes = async (): Promise<Answer> =>
  answer({ value: TVM_SIZES.map((one) => ({ name: one.name, cores: one.cores, memoryMB: one.memoryMb, diskGB: one.diskGb, maxTasksPerTVM: maxTasksPerTvmOf(one.name) })) });

export const extras: readonly Operation[] = [
  ...histories,
  operation({ name: "ListSizes", method: "GET", path: "/batchledger/sizes", action: "pool.read", version: "none", run: sizes }),
  operation({ name: "Why", method: "GET", path: "/batchledger/why/workitems/{workItem}/jobs/{job}/tasks/{task}", action: "history.read", version: "none", run: whyTask }),
  operation({ name: "Counts", method: "GET", path: "/batchledger/counts/workitems/{workItem}/jobs/{job}", action: "job.read", version: "none", run: countsOf }),
  operation({ name: "AutoScaleRecord", method: "GET", path: "/batchledger/autoscale/{pool}", action: "pool.read", version: "none", query: ["hours"], run: autoScaleOf }),
  operation({ name: "GrantUpload", method: "POST", path: "/batchledger/files/{path}", action: "upload.grant", version: "none", run: grant }),
  operation({ name: "ListUploads", method: "GET", path: "/batchledger/files/{path}", action: "upload.read", version: "none", query: ["after"], run: listStored }),
  operation({ name: "ListAllUploads", method: "GET", path: "/batchledger/files", action: "upload.read", version: "none", query: ["after"], run: listStored }),
  operation({ name: "SendCommand", method: "POST", path: "/batchledger/commands", action: "message.send", version: "none", body: "required", schema: submission, run: send }),
  operation({ name: "ListRefusedCommands", method: "GET", path: "/batchledger/refusedcommands", action: "message.read", version: "none", run: refusedMessages }),
  operation({ name: "ListParkedCommits", method: "GET", path: "/batchledger/parkedcommits", action: "history.read", version: "none", run: parked }),
  operation({ name: "Health", method: "GET", path: "/batchledger/health", action: "health.read", version: "none", run: async () => answer({ status: "ok" }) }),
  operation({ name: "HeadHealth", method: "HEAD", path: "/batchledger/health", action: "health.read", version: "none", run: async () => ({ status: 200 }) }),
];

