// The agent protocol, imported by both sides. Agents speak HTTP outward only, to one endpoint:
//   POST /agent/join      {code, ...}            -> a credential for one boot of one TVM, and what the TVM is
//   POST /agent/certificates Authorization: TVM ... -> the certificates to install before anything runs
//   POST /agent/exchange  Authorization: TVM ... -> reports up; answer: what to run, what to stop, files asked for
// Level-triggered: an exchange names every attempt the agent holds (waiting, running, or ended but not yet confirmed), the
// answer names those it should hold and does not, and those it holds and should not. Anything may be repeated or lost.
import { z } from "zod";

export const PROTOCOL_VERSION = 1;

/** `workItem/job/task` are the names as the user wrote them; `key` identifies the task and is opaque to the agent. */
export const attemptRef = z.strictObject({ key: z.string().min(1).max(400), attempt: z.int().min(1) });
export type AttemptRef = z.infer<typeof attemptRef>;

export const resourceFile = z.strictObject({ blobSource: z.string(), filePath: z.string() });
export type ResourceFile = z.infer<typeof resourceFile>;

/** Everything the agent needs to run one attempt. */
export const assignment = z.strictObject({
  key: z.string(),
  attempt: z.int().min(1),
  workItem: z.string(),
  job: z.string(),
  task: z.string(),
  commandLine: z.string(),
  resourceFiles: z.array(resourceFile),
  environment: z.record(z.string(), z.string()),
  runElevated: z.boolean(),
  /** Milliseconds from the start of the process; absent: no limit. */
  maxWallClockMs: z.number().optional(),
  /** Milliseconds the folder stays after the end of the task; absent: while the TVM lives. */
  retentionMs: z.number().optional(),
  /** A job manager: before all that waits for a slot. It may speak to the service about its job with this token. */
  manager: z.strictObject({ token: z.string() }).optional(),
  /** Nothing else runs on the TVM meanwhile. */
  exclusive: z.boolean().optional(),
});
export type Assignment = z.infer<typeof assignment>;

export const startTaskOrder = z.strictObject({
  run: z.int().min(1),
  commandLine: z.string(),
  resourceFiles: z.array(resourceFile),
  environment: z.record(z.string(), z.string()),
  runElevated: z.boolean(),
});
export type StartTaskOrder = z.infer<typeof startTaskOrder>;

/** Why a process could not be started or was ended: the codes of the reference, section 3. */
export const schedulingError = z.strictObject({
  category: z.enum(["UserError", "ServerError"]),
  code: z.string().max(100),
  message: z.string().max(1000).optional(),
  details: z.array(z.strictObject({ name: z.string().max(200), value: z.string().max(1000) })).max(10).optional(),
});
export type SchedulingError = z.infer<typeof schedulingError>;

const instant = z.iso.datetime({ precision: 3 });

/** CPU of the whole process tree in milliseconds, peak memory of its largest process in KiB. */
export const usage = z.strictObject({ userMs: z.number().min(0), kernelMs: z.number().min(0), maxRssKib: z.number().min(0) });
export type Usage = z.infer<typeof usage>;

export const report = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("taskStarted"), ...attemptRef.shape, at: instant }),
  z.strictObject({
    kind: z.literal("taskEnded"),
    ...attemptRef.shape,
    /** Absent when the process never started (then `error` says why and exitCode is absent). */
    startedAt: instant.optional(),
    at: instant,
    /** As a signed 32-bit number; a signal is 128 + its number. Absent when nothing ran. */
    exitCode: z.int().optional(),
    /** A scheduling error (files, launch) or the end by the wall clock (ServerError TaskEnded). */
    error: schedulingError.optional(),
    usage: usage.optional(),
  }),
  /** Held but never started, and not soon to be: give it to somebody else. */
  z.strictObject({ kind: z.literal("taskReturned"), ...attemptRef.shape, at: instant }),
  z.strictObject({ kind: z.literal("startTaskStarted"), run: z.int().min(1), at: instant }),
  z.strictObject({
    kind: z.literal("startTaskEnded"),
    run: z.int().min(1),
    startedAt: instant.optional(),
    at: instant,
    exitCode: z.int().optional(),
    error: schedulingError.optional(),
  }),
]);
export type Report = z.infer<typeof report>;

export const joinRequest = z.strictObject({
  protocol: z.int(),
  code: z.string().min(10).max(500),
  /** Of the machine, for people: not trusted. */
  machine: z.strictObject({
    address: z.string().max(64),
    cores: z.int().min(1),
    platform: z.string().max(100),
    /** True when each TVM's tasks run as a user of their own. */
    separateUser: z.boolean(),
    /** Which helper starts processes: c, perl or node. */
    helper: z.string().max(20),
  }),
});
export type JoinRequest = z.infer<typeof joinRequest>;

export const joinAnswer = z.strictObject({
  credential: z.string(),
  account: z.string(),
  pool: z.string(),
  tvm: z.string(),
  boot: z.int(),
  slots: z.int().min(1),
  /** Most attempts the agent may hold at once, running ones included. */
  holdMax: z.int().min(1),
  /** The agent must exchange at least this often. */
  heartbeatMs: z.int(),
  /** Without an accepted exchange for this long the agent ends its own tasks: the service has given them to others by then. */
  selfStopMs: z.int(),
  /** Ports for communication between TVMs, when the pool allows it. */
  portRange: z.strictObject({ low: z.int(), high: z.int() }).optional(),
  runElevatedAllowed: z.boolean(),
  /** There are certificates to fetch and install before anything runs. */
  certificates: z.literal(true).optional(),
  /** How often the service would like to have readings; absent: never. */
  readingsMs: z.int().min(1).optional(),
});
export type JoinAnswer = z.infer<typeof joinAnswer>;

export const certificatesRequest = z.strictObject({ boot: z.int() });
export type CertificatesRequest = z.infer<typeof certificatesRequest>;

/** A certificate to install: a secret, never logged. */
export const certificateFile = z.strictObject({
  thumbprint: z.string().regex(/^[0-9a-f]{40}$/),
  thumbprintAlgorithm: z.string().regex(/^[a-z0-9]{1,20}$/),
  format: z.enum(["pfx", "cer"]),
  /** Base64 of PKCS#12, or of the certificate's DER. */
  data: z.string(),
  /** Opens a pfx; "": it has none. */
  password: z.string(),
  visibility: z.array(z.enum(["starttask", "task", "rdp"])),
});
export type CertificateFile = z.infer<typeof certificateFile>;

export const certificatesAnswer = z.strictObject({ certificates: z.array(certificateFile) });
export type CertificatesAnswer = z.infer<typeof certificatesAnswer>;

/** Somebody wants to read a file of this TVM; `id` names the request. Paths are relative to the TVM's root. */
export const fileRequest = z.strictObject({
  id: z.string(),
  kind: z.enum(["list", "stat", "read", "remove"]),
  path: z.string(),
  recursive: z.boolean().optional(),
  /** For `read`: the range, and the address to PUT the bytes to. */
  offset: z.int().min(0).optional(),
  length: z.int().min(0).optional(),
  uploadUrl: z.string().optional(),
});
export type FileRequest = z.infer<typeof fileRequest>;

/** Somebody wants to log in to this TVM, or no longer may: `id` names the request, which is answered like one for a file. */
export const userRequest = z.strictObject({
  id: z.string(),
  kind: z.enum(["add", "update", "remove"]),
  name: z.string(),
  /** Absent in `update`: nobody can log in by a password any more. */
  password: z.string().optional(),
  isAdmin: z.boolean().optional(),
  expiresAt: z.string().optional(),
});
export type UserRequest = z.infer<typeof userRequest>;

export const fileEntry = z.strictObject({
  path: z.string(),
  isDirectory: z.boolean(),
  length: z.number(),
  createdAt: instant,
  modifiedAt: instant,
});
export type FileEntry = z.infer<typeof fileEntry>;

export const fileAnswer = z.strictObject({
  id: z.string(),
  /** notFound, or why the file may not be read (a link, a device, outside the root). */
  problem: z.strictObject({ code: z.enum(["notFound", "forbidden", "failed", "unsupported"]), message: z.string().max(300) }).optional(),
  /** `list`: entries in name order; `stat` and `read`: exactly one. */
  entries: z.array(fileEntry).max(10_000).optional(),
  /** Of a user that was added: what the operating system calls it. */
  account: z.string().max(64).optional(),
});
export type FileAnswer = z.infer<typeof fileAnswer>;

const amount = z.number().min(0).max(Number.MAX_SAFE_INTEGER);

/**
 * What the TVM's machine did since its last readings, measured, not estimated. Where several TVMs live on one machine, amounts
 * are the machine's divided by their number (`tvms`), and so is memory; the shares of processors and disk in use are the machine's.
 * Absent: the machine does not tell.
 */
export const readings = z.strictObject({
  at: instant,
  /** Time that the amounts are of, in milliseconds. */
  overMs: amount.min(1),
  /** 0 to 1 of all processors. */
  cpu: amount.max(1),
  memoryMb: amount,
  /** In use on the disk of the TVM's root. */
  diskGb: amount.optional(),
  diskReadBytes: amount.optional(),
  diskWriteBytes: amount.optional(),
  diskReadOps: amount.optional(),
  diskWriteOps: amount.optional(),
  networkInBytes: amount.optional(),
  networkOutBytes: amount.optional(),
  /** TVMs that share the machine, this one included. */
  tvms: z.int().min(1),
});
export type Readings = z.infer<typeof readings>;

export const exchangeRequest = z.strictObject({
  boot: z.int(),
  reports: z.array(report).max(5000),
  holding: z.array(attemptRef).max(5000),
  /** How many attempts the agent would like to hold in all: its slots, and as many more as end in some tens of milliseconds. */
  capacity: z.int().min(0),
  fileAnswers: z.array(fileAnswer).max(100),
  /** Folders of `removeFolders` that are gone now: the service stops asking. */
  removedFolders: z.array(z.string()).max(1000),
  /** Attempts that this agent has taken in since its boot: an answer that asks it to drain says which state of it that is about. */
  taken: z.int().min(0).optional(),
  /** The `drain.since` that it keeps to: it holds nothing, and begins nothing until it is told to resume. */
  drained: z.string().max(64).optional(),
  /** Tasks whose process this agent has started since its boot. */
  ran: z.int().min(0).optional(),
  /** How long the answer may wait for news; 0: at once. */
  waitMs: z.int().min(0).max(60_000),
  /** Now and then, every `readingsMs` of the join's answer. */
  readings: readings.optional(),
});
export type ExchangeRequest = z.infer<typeof exchangeRequest>;

export const exchangeAnswer = z.strictObject({
  run: z.array(assignment),
  /** Not (or no longer) this TVM's: end it if it runs, forget it in any case. */
  stop: z.array(attemptRef),
  /** Task folders to remove, as `workItem/job/task` or `workItem/job` or `workItem`. */
  removeFolders: z.array(z.string()),
  startTask: startTaskOrder.optional(),
  files: z.array(fileRequest),
  users: z.array(userRequest).optional(),
  /**
   * The TVM is to go after its tasks (since then), and the service knows of none. An agent that has taken in nothing since it sent the
   * request, and holds nothing, begins nothing any more and says `drained`; any other goes on and is asked again.
   */
  drain: z.strictObject({ since: z.string(), taken: z.int().min(0) }).optional(),
  /** The TVM is not to go any more as it was to since then: tasks are begun again, those of this answer included. */
  resume: z.string().optional(),
  /** The TVM leaves its pool: end everything, remove its files, stop exchanging. */
  leave: z.boolean().optional(),
});
export type ExchangeAnswer = z.infer<typeof exchangeAnswer>;
