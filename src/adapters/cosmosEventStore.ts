// The event store on Cosmos DB: one document a commit, whose id is stream and version, so that a taken version is a conflict of
// ids. It never changes a stored commit and never leaves a gap in a stream; only `forget` removes, and then a whole partition.

import { ChangeFeedStartFrom, type Container, type JSONObject, type OperationInput } from "@azure/cosmos";
import type { AppendOutcome, Commit, EventStore, StoredEvent } from "../ports";
import { batchBytesMax, batchOperationsMax, type Cosmos } from "./cosmosClient";
import { listed, pieces, plainId } from "./cosmosIds";

/**
 * { id: "task-local.render.1.job-1.frame42@00000003", p: partition, s: stream, v: 3, c: commit id, b: by, e: events, n: snapshot? }
 * `@` is not a plain character: no stream's ids lie among those of another.
 */
interface CommitDocument {
  readonly id: string;
  readonly p: string;
  readonly s: string;
  readonly v: number;
  readonly c: string;
  readonly b: string;
  readonly e: readonly StoredEvent[];
  readonly n?: unknown;
}

const versionDigits = 8;
/** Partitions written or read at the same time by one call. */
const partitionsAtOnceMax = 16;
/** Streams of one partition that are read by one query. */
const streamsPerQuery = 40;
/** Commits that a stream is expected to have at most when several are read at once. */
const commitsExpected = 8;
/** A page of a stream's newest commits: with a snapshot every 64 commits it nearly always holds one. */
const newestPage = 70;
/** Batches of one piece of work that may fail without telling anything new. */
const fruitlessMax = 20;

/** `partitionOf` is where a stream's commits live; it must agree with every commit that is appended. */
export function cosmosEventStore(cosmos: Cosmos, partitionOf: (stream: string) => string): EventStore {
  const store: Store = { cosmos, container: cosmos.events, partitionOf };
  return {
    async append(commits) {
      const outcomes: AppendOutcome[] = commits.map(() => "conflict");
      const partitions = Map.groupBy(commits.map((commit, index): Entry => ({ commit, index })), ({ commit }) => commit.partition);
      for (const { stream, partition } of commits) {
        if (partitionOf(stream) !== partition) throw new Error(`Stream ${stream} does not belong to partition ${partition}.`);
      }
      await eachOf([...partitions.values()], (entries) => appendPartition(store, entries, outcomes));
      return outcomes;
    },

    async load(streams) {
      const found = new Map<string, Commit[]>();
      const groups = [...Map.groupBy(new Set(streams), partitionOf)].flatMap(([partition, some]) => pieces(some, streamsPerQuery).map((piece) => ({ partition, piece })));
      await eachOf(groups, async ({ partition, piece }) => {
        const read = await loadSome(store, partition, piece);
        for (const [stream, commits] of read) found.set(stream, commits);
      });
      return streams.map((stream) => found.get(stream) ?? []);
    },

    async history(stream) {
      const { text, parameters } = rangeOf([stream]);
      const spec = { query: `SELECT * FROM c WHERE ${text} ORDER BY c.id ASC`, parameters };
      const { found } = await cosmos.query<CommitDocument>({ operation: "events.history", container: store.container, spec, partition: partitionOf(stream) });
      return found.map(commitOf);
    },

    readFeed: (position, limit) => readFeed(store, position, limit),

    async forget(partition) {
      for (let fruitless = 0; ; ) {
        const ids = await someIds(store, partition);
        if (ids.length === 0) return;
        const operations = ids.map((id): OperationInput => ({ operationType: "Delete", id }));
        const { failure } = await cosmos.batch("events.forget", store.container, partition, operations);
        // Another one may be forgetting the same partition.
        fruitless = failure === undefined ? 0 : fruitless + 1;
        if (fruitless > fruitlessMax) throw new Error(`The commits of partition ${partition} cannot be removed (${failure?.status}).`);
      }
    },
  };
}

/** The commit that a document of the container `events` (or of its feed) holds; undefined for anything else. */
export function commitOfDocument(document: unknown): Commit | undefined {
  const { s, v, e } = document as Partial<CommitDocument>;
  return typeof s === "string" && typeof v === "number" && Array.isArray(e) ? commitOf(document as CommitDocument) : undefined;
}

interface Store {
  readonly cosmos: Cosmos;
  readonly container: Container;
  readonly partitionOf: (stream: string) => string;
}

interface Entry {
  readonly commit: Commit;
  readonly index: number;
}

const idOf = (stream: string, version: number): string => `${plainId(stream)}@${String(version).padStart(versionDigits, "0")}`;

function documentOf({ stream, partition, version, id, by, events, snapshot }: Commit): CommitDocument {
  return { id: idOf(stream, version), p: partition, s: stream, v: version, c: id, b: by, e: events, ...(snapshot === undefined ? {} : { n: snapshot }) };
}

function commitOf({ s, p, v, c, b, e, n }: CommitDocument): Commit {
  return { stream: s, partition: p, version: v, id: c, events: e, by: b, ...(n === undefined ? {} : { snapshot: n }) };
}

/** Does the work for each, several at a time. */
async function eachOf<T>(list: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const rest = list.values();
  await Promise.all(Array.from({ length: Math.min(partitionsAtOnceMax, list.length) }, async () => {
    for (const one of rest) await work(one);
  }));
}

// ---------------------------------------------------------------- appending

/** What is known about one partition's part of an append. */
interface Progress {
  /** Ids that are certainly stored. */
  readonly stored: Set<string>;
  /** Where in the append each stream lost its first commit: what follows it was decided on a state that never was. */
  readonly lost: Map<string, number>;
  readonly outcomes: AppendOutcome[];
}

/** Batch after batch; one conflict fails a batch whole, then what is there already is looked up and the others go again. */
async function appendPartition(store: Store, entries: readonly Entry[], outcomes: AppendOutcome[]): Promise<void> {
  const progress: Progress = { stored: new Set(), lost: new Map(), outcomes };
  let open = entries;
  for (let fruitless = 0; open.length > 0; ) {
    const { operations, count } = nextBatch(open, progress.stored);
    const batch = open.slice(0, count);
    const { failure } = await store.cosmos.batch("events.append", store.container, batch[0]!.commit.partition, operations);
    if (failure === undefined) {
      for (const entry of batch) settle(entry, "ok", progress);
      open = open.slice(count);
      continue;
    }
    const still = await lookUp(store, batch, progress);
    // Also in later batches: alone, it could be stored on top of what another wrote.
    const rest = open.slice(count).filter((entry) => !isLost(entry, progress) || settle(entry, "conflict", progress));
    if (still.length === batch.length && ++fruitless > fruitlessMax) throw new Error(`Commits of ${batch[0]!.commit.stream} cannot be written (${failure.status}).`);
    open = [...still, ...rest];
  }
}

/** Answers false: there is nothing left to do for it. */
function settle({ commit, index }: Entry, outcome: AppendOutcome, { stored, lost, outcomes }: Progress): false {
  outcomes[index] = outcome;
  if (outcome === "ok") stored.add(idOf(commit.stream, commit.version));
  else lost.set(commit.stream, Math.min(index, lost.get(commit.stream) ?? index));
  return false;
}

const isLost = ({ commit, index }: Entry, { lost }: Progress): boolean => (lost.get(commit.stream) ?? index) < index;

/** As many as fit. A commit whose predecessor is not known to be there is preceded by reading it: missing, it fails the batch. */
function nextBatch(open: readonly Entry[], stored: ReadonlySet<string>): { operations: OperationInput[]; count: number } {
  const operations: OperationInput[] = [];
  const created = new Set<string>();
  let bytes = 0;
  let count = 0;
  for (const { commit } of open) {
    const before = idOf(commit.stream, commit.version - 1);
    const checked = commit.version > 1 && !stored.has(before) && !created.has(before);
    const document = documentOf(commit);
    bytes += Buffer.byteLength(JSON.stringify(document));
    if (count > 0 && (operations.length + (checked ? 2 : 1) > batchOperationsMax || bytes > batchBytesMax || created.has(document.id))) break;
    if (checked) operations.push({ operationType: "Read", id: before });
    operations.push({ operationType: "Create", resourceBody: document as unknown as JSONObject });
    created.add(document.id);
    count++;
  }
  return { operations, count };
}

/** Settles what is certain about a batch that failed; answers what may be tried again. */
async function lookUp(store: Store, batch: readonly Entry[], progress: Progress): Promise<Entry[]> {
  const ids = new Set<string>();
  for (const { commit } of batch) {
    ids.add(idOf(commit.stream, commit.version));
    if (commit.version > 1) ids.add(idOf(commit.stream, commit.version - 1));
  }
  const there = await commitIds(store, batch[0]!.commit.partition, [...ids]);
  const pending = new Set<string>();
  return batch.filter((entry) => {
    const { stream, version, id } = entry.commit;
    const found = there.get(idOf(stream, version));
    const before = idOf(stream, version - 1);
    const follows = version === 1 || progress.stored.has(before) || there.has(before) || pending.has(before);
    if (isLost(entry, progress)) settle(entry, "conflict", progress);
    else if (found !== undefined) settle(entry, found === id ? "ok" : "conflict", progress);
    else if (!follows) settle(entry, "conflict", progress);
    else return pending.add(idOf(stream, version));
    return false;
  });
}

/** The commit id of each of these documents that is there. */
async function commitIds({ cosmos, container }: Store, partition: string, ids: readonly string[]): Promise<Map<string, string>> {
  const { names, parameters } = listed(ids);
  const spec = { query: `SELECT c.id, c.c FROM c WHERE c.id IN (${names})`, parameters };
  const { found } = await cosmos.query<{ id: string; c: string }>({ operation: "events.lookUp", container, spec, partition });
  return new Map(found.map(({ id, c }) => [id, c]));
}

// ---------------------------------------------------------------- reading streams

/** The ids of these streams' commits, as a condition: `id` is what the service indexes by itself. */
function rangeOf(streams: readonly string[]): { text: string; parameters: { name: string; value: string }[] } {
  const parameters = streams.flatMap((stream, index) => [{ name: `@a${index}`, value: idOf(stream, 1) }, { name: `@z${index}`, value: `${plainId(stream)}@${"9".repeat(versionDigits)}` }]);
  return { text: streams.map((_, index) => `(c.id BETWEEN @a${index} AND @z${index})`).join(" OR "), parameters };
}

/** Several streams by one query while they are short; long ones each from their newest commits back to a snapshot. */
async function loadSome(store: Store, partition: string, streams: readonly string[]): Promise<Map<string, Commit[]>> {
  if (streams.length > 1) {
    const { text, parameters } = rangeOf(streams);
    const spec = { query: `SELECT * FROM c WHERE ${text}`, parameters };
    const { found, complete } = await store.cosmos.query<CommitDocument>({
      operation: "events.load", container: store.container, spec, partition, pageSize: newestPage + streams.length * commitsExpected, enough: () => true,
    });
    if (complete) return new Map([...Map.groupBy(found, ({ s }) => s)].map(([stream, documents]) => [stream, fromSnapshot(documents)]));
  }
  const each = new Map<string, Commit[]>();
  await eachOf(streams, async (stream) => void each.set(stream, await loadOne(store, partition, stream)));
  return each;
}

async function loadOne(store: Store, partition: string, stream: string): Promise<Commit[]> {
  const { text, parameters } = rangeOf([stream]);
  const spec = { query: `SELECT * FROM c WHERE ${text} ORDER BY c.id DESC`, parameters };
  const { found } = await store.cosmos.query<CommitDocument>({
    operation: "events.load", container: store.container, spec, partition, pageSize: newestPage,
    enough: (some) => some.some((document) => (document as CommitDocument).n !== undefined),
  });
  return fromSnapshot(found);
}

function fromSnapshot(documents: readonly CommitDocument[]): Commit[] {
  const ascending = documents.toSorted((a, b) => a.v - b.v);
  return ascending.slice(Math.max(0, ascending.findLastIndex(({ n }) => n !== undefined))).map(commitOf);
}

async function someIds({ cosmos, container }: Store, partition: string): Promise<string[]> {
  // Newest first: what an interruption leaves of a stream has no gap.
  const spec = { query: "SELECT VALUE c.id FROM c WHERE c.p = @p ORDER BY c.id DESC", parameters: [{ name: "@p", value: partition }] };
  const { found } = await cosmos.query<string>({ operation: "events.forget", container, spec, partition, pageSize: batchOperationsMax, enough: () => true });
  return found;
}

// ---------------------------------------------------------------- the feed

/** The service's own token, and the last commit handed out of the page that follows it when that page held more than was asked for. */
interface Position {
  readonly token?: string;
  readonly last?: string;
}

async function readFeed(store: Store, position: string | undefined, limit: number): Promise<{ commits: Commit[]; position: string }> {
  const from = parsePosition(position);
  const page = await store.cosmos.call("events.feed", () =>
    store.container.items.getChangeFeedIterator<CommitDocument>({
      maxItemCount: limit,
      changeFeedStartFrom: from.token === undefined ? ChangeFeedStartFrom.Beginning() : ChangeFeedStartFrom.Continuation(from.token),
    }).readNext());
  const documents = inOrder((page.result ?? []) as (CommitDocument & { _lsn?: number })[]);
  // Commits of one batch come in one page, however many they are; one that was forgotten meanwhile only makes the rest come again.
  const rest = documents.slice(documents.findIndex(({ id }) => id === from.last) + 1);
  const given = rest.slice(0, limit);
  const next: Position = given.length < rest.length ? { ...from, last: given.at(-1)!.id } : { token: page.continuationToken };
  if (given.length === 0 && documents.length > 0) return readFeed(store, positionOf(next), limit);
  return { commits: given.map(commitOf), position: positionOf(next) };
}

/** What was written together is told by version. */
function inOrder<T extends CommitDocument & { _lsn?: number }>(documents: readonly T[]): T[] {
  return documents.toSorted((a, b) => (a._lsn ?? 0) - (b._lsn ?? 0) || a.v - b.v);
}

const positionOf = (position: Position): string => JSON.stringify(position);

function parsePosition(position: string | undefined): Position {
  if (position === undefined) return {};
  try {
    return JSON.parse(position) as Position;
  } catch {
    throw new Error("Unknown feed position.");
  }
}
