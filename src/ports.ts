// The only ways to touch the world. Everything inside (domain, views, app, process, api) sees these types and nothing else;
// each has an adapter for the embedded default (node:sqlite, folders, processes) and one for Azure, and one contract suite
// in test/contract that every adapter passes. No port exposes a technology: positions are opaque, order is per stream only.

/** What JSON can hold. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

// ---------------------------------------------------------------- events

/** A stored event: past-tense `type`, the instant it happened, and its own fields. See src/domain for the unions. */
export interface StoredEvent {
  readonly type: string;
  readonly at: string;
  readonly [field: string]: unknown;
}

/**
 * One atomic step of one aggregate. `version` counts the stream's commits from 1 and is the concurrency check.
 * `id` is the writer's own random id: an append that meets its own commit (a lost answer, a repeated try) is "ok".
 */
export interface Commit {
  readonly stream: string;
  /** Streams that share a partition may be written in one request; ids.ts derives it from the stream. */
  readonly partition: string;
  readonly version: number;
  readonly id: string;
  readonly events: readonly StoredEvent[];
  /** Folded state after this commit, every 64th commit of a long stream: loading may start here. */
  readonly snapshot?: unknown;
  /** Who asked: an account, a TVM, or the service itself; never a secret. */
  readonly by: string;
}

export type AppendOutcome = "ok" | "conflict";

export interface EventStore {
  /** Writes each commit or reports that its version is taken; answers in the order given. Durable when it resolves. */
  append(commits: readonly Commit[]): Promise<AppendOutcome[]>;
  /** The commits of each stream in version order, from its latest snapshot on; an unknown stream is an empty list. */
  load(streams: readonly string[]): Promise<Commit[][]>;
  /** Every commit of one stream from version 1: the history of a thing, for people. */
  history(stream: string): Promise<Commit[]>;
  /** Commits after an opaque position (undefined: from the start), at most `limit`; the feed for rebuilding views. */
  readFeed(position: string | undefined, limit: number): Promise<{ commits: Commit[]; position: string }>;
  /** Forgets whole streams of a partition for good (retired jobs). Idempotent. */
  forget(partition: string): Promise<void>;
}

// ---------------------------------------------------------------- views

/** A query row. `version` is the version of the stream it was folded from; a removed thing leaves a tombstone (`gone`). */
export interface Row {
  readonly id: string;
  readonly version: number;
  readonly gone?: boolean;
  readonly [field: string]: unknown;
}

/** How a view is laid out. Index values are strings compared byte by byte; a row without a value is not in that index. */
export interface ViewLayout<R extends Row = Row> {
  readonly name: string;
  readonly indexes: Readonly<Record<string, (row: R) => string | undefined>>;
}

/** One atomic write of rows and counters that share a partition. `from` is the version the row had when it was read (0: none). */
export interface ViewWrite {
  readonly view: ViewLayout<never> | ViewLayout;
  readonly partition: string;
  readonly rows: readonly { readonly from: number; readonly row: Row }[];
  /** Added to the partition's counters in the same atomic write. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface ViewQuery {
  readonly index: string;
  /** Only index values that begin with this. */
  readonly prefix: string;
  /** Only index values greater than this one (less, with `reverse`). */
  readonly after?: string;
  readonly reverse?: boolean;
  readonly limit: number;
}

export interface Views {
  get<R extends Row>(view: ViewLayout<R>, keys: readonly { partition: string; id: string }[]): Promise<(R | undefined)[]>;
  /** Each write happens whole or not at all; "stale" means that a row's version was not `from` and nothing of that write was done. */
  write(writes: readonly ViewWrite[]): Promise<("ok" | "stale")[]>;
  /** Rows in index order, with the index value each was found by: hand the last one back as `after`. */
  query<R extends Row>(view: ViewLayout<R>, query: ViewQuery): Promise<{ key: string; row: R }[]>;
  /** Index values alone, without reading rows: for counting and for comparing sets. */
  keys(view: ViewLayout<never> | ViewLayout, query: ViewQuery): Promise<string[]>;
  /** Sums of the counters over all partitions that begin with the prefix. */
  counters(view: ViewLayout<never> | ViewLayout, partitionPrefix: string): Promise<Record<string, number>>;
  /** Removes rows, tombstones and counters of one partition for good (retired jobs). Idempotent. */
  forget(view: ViewLayout<never> | ViewLayout, partition: string): Promise<void>;
  /** Empties all views, before a rebuild from the feed. */
  clear(): Promise<void>;
}

/** For looking over a store as a whole: what the other ports cannot ask, for they refuse damaged data one piece at a time. */
export interface Integrity {
  /** What is wrong with the store's own structure, in its own words; empty: it is sound. */
  pages(): Promise<string[]>;
  /** Looks at every stored commit: tells what is wrong with which stream, and answers how many commits there are. */
  commits(problem: (stream: string, text: string) => void, progress: (commits: number) => void): Promise<number>;
  /** Streams in name order after the one given. */
  streams(after: string, limit: number): Promise<string[]>;
  /** How many rows the view has, tombstones included. */
  rows(view: ViewLayout<never> | ViewLayout): Promise<number>;
}

// ---------------------------------------------------------------- messages

export type QueueName = "commands" | "reports" | "wakes";

export interface Message {
  /** Session: messages of one lane are handled one batch at a time, in order. Used by the queue `wakes` (lane = pool). */
  readonly lane?: string;
  readonly body: Json;
  readonly correlationId?: string;
  readonly replyTo?: string;
}

export interface Bus {
  /** Durable when it resolves. Delivery is at least once; a message that fails too often goes to the dead-letter queue. */
  send(queue: QueueName | (string & {}), messages: readonly Message[]): Promise<void>;
  /** Messages that could not be handled, oldest first, with the reason. */
  deadLetters(queue: QueueName | (string & {}), limit: number): Promise<{ message: ReceivedMessage; reason: string }[]>;
  /** Domain events for others to subscribe to (topic `events`); a bus without subscribers may drop them. */
  publish(events: readonly { stream: string; version: number; event: StoredEvent }[]): Promise<void>;
}

/** A message on its way to a handler, locked until it is settled. */
export interface ReceivedMessage extends Message {
  readonly messageId: string;
  readonly sequence: number;
  /** How often it was handed out, this time included. */
  readonly deliveryCount: number;
  readonly enqueuedAt: string;
}

/** The receiving side of the embedded bus, for the local host's pumps alone: on Azure the Functions runtime receives. */
export interface QueueSource {
  /** Locks up to `max` waiting messages, oldest first; with `byLane` all of one lane, which stays locked until they are settled. */
  receive(queue: string, options: { readonly max: number; readonly byLane: boolean }): Promise<ReceivedMessage[]>;
  complete(queue: string, messages: readonly ReceivedMessage[]): Promise<void>;
  /** Back to the queue; past the queue's delivery limit (10) to its dead letters with this reason. */
  abandon(queue: string, messages: readonly ReceivedMessage[], reason: string): Promise<void>;
  deadLetter(queue: string, messages: readonly ReceivedMessage[], reason: string): Promise<void>;
  deadLetters(queue: string, limit: number): Promise<{ message: ReceivedMessage; reason: string }[]>;
  /** Called when messages may be waiting; returns the way to stop. */
  onArrival(queue: string, listener: () => void): () => void;
}

/** The embedded event store also says when there is something new to read. */
export interface FeedSource {
  onAppend(listener: () => void): () => void;
}

// ---------------------------------------------------------------- files

export interface FileStat {
  readonly path: string;
  readonly length: number;
  readonly createdAt: string;
  readonly modifiedAt: string;
  readonly contentType: string;
}

export interface ByteRange {
  readonly offset: number;
  /** Bytes; absent: to the end. */
  readonly length?: number;
}

/** The blob store that the service owns: uploaded inputs, and ranges of a live TVM's files on their way to a reader. */
export interface Files {
  /** Written whole under its final name or not at all. Paths are `container/name...`, `/` separated. */
  put(path: string, content: AsyncIterable<Uint8Array> | Uint8Array, contentType?: string): Promise<FileStat>;
  stat(path: string): Promise<FileStat | undefined>;
  read(path: string, range?: ByteRange): Promise<{ stat: FileStat; content: AsyncIterable<Uint8Array> } | undefined>;
  /** In name order after the name given; names below a prefix. */
  list(prefix: string, after?: string, limit?: number): Promise<FileStat[]>;
  remove(path: string): Promise<void>;
  /** The longest that a signed address can be good for, in milliseconds; absent: as long as wanted. */
  readonly grantMaxMs?: number;
  /** An address that whoever holds it may read from or PUT to until `expiresAt`, without other credentials. */
  signedUrl(path: string, access: "read" | "write", expiresAt: Date): Promise<string>;
}

// ---------------------------------------------------------------- machines

/** One TVM that should have a machine, at its present boot. */
export interface MachineOrder {
  readonly account: string;
  readonly pool: string;
  readonly tvm: string;
  readonly boot: number;
  /** Good once, for this boot of this TVM. Never stored. */
  readonly joinCode: string;
  readonly slots: number;
  readonly size: string;
  /** TVMs of the pool may connect to each other. */
  readonly communication?: boolean;
  /** Nothing of an earlier boot may be left on the machine: its files go before the agent joins. */
  readonly clean?: boolean;
}

export interface MachineStatus {
  readonly tvm: string;
  readonly boot: number;
}

export interface Machines {
  /** Level-triggered: afterwards each ordered TVM has a machine of that boot starting or running. Idempotent. */
  ensure(orders: readonly MachineOrder[]): Promise<{ tvm: string; error?: string }[]>;
  /** Machines that exist now for the pool, whatever their health. */
  list(account: string, pool: string): Promise<MachineStatus[]>;
  /** Ends machines and their files. Unknown names are fine. */
  remove(account: string, pool: string, tvms: readonly string[]): Promise<void>;
}

// ---------------------------------------------------------------- the rest

export type ProcessKind = "pool" | "workItem" | "job";

export interface Orchestrations {
  /** Starts the process of this aggregate if it is not running, else makes it look again. Idempotent. */
  nudge(kind: ProcessKind, stream: string): Promise<void>;
}

/** Keeps short secrets (SAS signatures) unreadable at rest: AES-256-GCM under a key that is not in the data it protects. */
export interface Sealer {
  /** `context` is bound to the value: opening with another one fails. */
  seal(plain: string, context: string): string;
  open(sealed: string, context: string): string;
  /** Keyed digest, url-safe: join codes and TVM credentials, which are never stored. */
  sign(text: string): string;
}

/** Hints between requests of one process; another process falls back to looking again after a while. */
export interface Signals {
  notify(topic: string): void;
  /**
   * Resolves true when notified from now on, false after the time. A notification that found nobody waiting answers the
   * topic's next wait, so that looking first and waiting then misses nothing where one waits for a topic.
   */
  wait(topic: string, milliseconds: number, abort?: AbortSignal): Promise<boolean>;
  /** The process is about to stop: whoever waits should answer with what there is. */
  closed(): boolean;
}

/**
 * What a port throws whose disk is full: nothing of the call was kept, and the same call will do once there is room. Nobody's fault, so it
 * is no reason to give a message or a commit up.
 */
export interface NoRoom extends Error {
  readonly noRoom: true;
}

export interface Clock {
  now(): Date;
  /** Milliseconds that never jump, whatever the machine's clock is set to: only the difference of two means something. */
  steady(): number;
  /** Resolves after the time, or at once when aborted. */
  sleep(milliseconds: number, abort?: AbortSignal): Promise<void>;
}

export interface Random {
  /** Url-safe text from `bytes` random bytes. */
  id(bytes?: number): string;
  uuid(): string;
  /** 0 <= x < 1 */
  fraction(): number;
}

export interface Log {
  debug(message: string, details?: Record<string, unknown>): void;
  info(message: string, details?: Record<string, unknown>): void;
  warn(message: string, details?: Record<string, unknown>): void;
  error(message: string, details?: Record<string, unknown>): void;
}

/** Account keys: never in events, compared in constant time by the caller. */
export interface Accounts {
  /** The base64 keys (at most two) of an account, or undefined when there is no such account. */
  keys(account: string): Promise<readonly string[] | undefined>;
}

/** Which secret of an account is meant. */
export interface CertificatePlace {
  readonly account: string;
  /** 40 of 0-9 and a-f. */
  readonly thumbprint: string;
  /** Of one adding, a-z and 0-9, at most 32: a vault keeps names for months after what had them is gone. */
  readonly edition: string;
}

/** A PKCS#12 file and the password that opens it; without one it is "". */
export interface Pkcs12 {
  readonly data: Uint8Array;
  readonly password: string;
}

/** Private parts of certificates: unreadable at rest, never in events, logs or errors. Certificates without a key need none of this. */
export interface Certificates {
  /** Durable when it resolves. A text says why the store cannot keep this file; it is kept nowhere then. */
  put(place: CertificatePlace, secret: Pkcs12): Promise<string | undefined>;
  /** The same key and certificate; file and password may be other ones than were put. Undefined: there is none. */
  get(place: CertificatePlace): Promise<Pkcs12 | undefined>;
  /** Idempotent. */
  remove(place: CertificatePlace): Promise<void>;
}

/** What the operator of the service allows; from settings, the same for every request. */
export interface Policy {
  /** Tasks may ask to run as the agent's own user (`runElevated`). */
  readonly allowElevated: boolean;
  /** Most TVMs of one pool. */
  readonly poolTvmsMax: number;
  /** Most pools of one account; absent: no limit. */
  readonly poolsMax?: number;
  /** Most cores of all TVMs of one account; absent: no limit. */
  readonly coresMax?: number;
  /** Times of autoscale that differ from the API's own (app/scaling.ts says what they are). */
  readonly scaling?: Partial<{
    readonly intervalMs: number;
    readonly intervalLeastMs: number;
    readonly enableEveryMs: number;
    readonly samplePeriodMs: number;
    readonly wantedPercent: number;
  }>;
  /** Users may be made on TVMs: each is a user of the machine's operating system. */
  readonly allowTvmUsers?: boolean;
  /** Most active work items of one account, and so of its open jobs, of which each has one at most; absent: no limit. */
  readonly workItemsMax?: number;
  /** Least interval and start window of a schedule, in milliseconds; absent: a minute. */
  readonly scheduleLeastMs?: number;
}

export interface Ports {
  readonly eventStore: EventStore;
  readonly views: Views;
  readonly bus: Bus;
  readonly files: Files;
  readonly machines: Machines;
  readonly orchestrations: Orchestrations;
  readonly accounts: Accounts;
  readonly certificates: Certificates;
  readonly sealer: Sealer;
  readonly policy: Policy;
  readonly signals: Signals;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}
