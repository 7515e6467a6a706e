// Query rows on Cosmos DB: a document a row, with its index values, and one document of counters a partition, both in the same
// transactional batch. It folds nothing and knows no view: layouts come with each call. It never reads a row to write it.
//
// What a call costs in request units, by the service's published table (rows up to 1 KB):
//   write   per row 5 when new, 10 when changed, 0.2 per index value that comes or goes; 10 for the counters of each batch.
//           What waits for one partition goes in one batch, and shares that 10.
//   get     1 a row, or 3 for many of one partition.
//   query   3 within a partition (see cosmosPartitionedIndexes), else 3 for each physical partition (10,000 RU/s or 50 GB each).

import type { JSONObject, OperationInput, PatchOperation } from "@azure/cosmos";
import type { Row, ViewLayout, ViewQuery, Views, ViewWrite } from "../ports";
import { compareBytes, endOfPrefix } from "./byteOrder";
import { batchBytesMax, batchOperationsMax, type Cosmos } from "./cosmosClient";
import { cosmosPartitionedIndexes } from "./cosmosContainers";
import { listed, pieces, plainId } from "./cosmosIds";

type AnyLayout = ViewLayout<never> | ViewLayout;

/**
 * Row      { id: "frame42", p: "tasks:local.render.1.job-1/7", v: 3, w: last batch, r: { ...row }, x: { tasks_name: "...", ... } }
 * Counters { id: "~", p: "tasks:local.render.1.job-1/7", n: { running: 12 }, w: { k5: a recent batch }, x: { counters: "tasks:local.render.1.job-1/7" } }
 */
interface RowDocument {
  readonly id: string;
  readonly p: string;
  readonly v: number;
  readonly w: string;
  readonly r: Row;
  readonly x: Readonly<Record<string, string>>;
}

/** No row's id: a plain id has four digits after each `~`. */
const countersId = "~";
/** Rows of one write: its counters may need two operations, which share the batch. */
const rowsMax = batchOperationsMax - 2;
const patchesMax = 10;
/** Recent batches that a counters document remembers, each in the place that its id chooses. */
const remembered = 16;
/** Up to so many rows of one partition are read one by one: beyond, one query is cheaper. */
const pointReadsMax = 2;
const idsPerQuery = 100;
const fruitlessMax = 20;
const partitionsKnownMax = 50_000;
const plainName = /^[a-zA-Z][a-zA-Z0-9]{0,40}$/;

/** `partitioned`: indexes whose values begin with the row's partition and "/", by view. */
export function cosmosViews(cosmos: Cosmos, partitioned = cosmosPartitionedIndexes): Views {
  const container = cosmos.views;
  const lanes = lanesOf(cosmos);

  async function find<T>(view: AnyLayout, query: ViewQuery, wanted: string): Promise<T[]> {
    const bounds = boundsOf(query);
    if (bounds === undefined || query.limit <= 0) return [];
    const path = `c.x.${fieldOf(view, query.index)}`;
    const { found } = await cosmos.query<T>({
      operation: `views.query ${view.name}.${query.index}`,
      container,
      spec: {
        query: `SELECT TOP @limit ${wanted.replaceAll("$key", path)} FROM c WHERE ${bounds.map(({ operator, name }) => `${path} ${operator} ${name}`).join(" AND ")} ORDER BY ${path} ${query.reverse ? "DESC" : "ASC"}`,
        parameters: [{ name: "@limit", value: query.limit }, ...bounds.map(({ name, value }) => ({ name, value }))],
      },
      pageSize: query.limit,
      ...partitionNamed(view, query, partitioned),
    });
    return found;
  }

  return {
    async get<R extends Row>(view: ViewLayout<R>, keys: readonly { partition: string; id: string }[]) {
      const found = new Map<string, Row>();
      const byPartition = Map.groupBy(keys, ({ partition }) => partitionOf(view, partition));
      await Promise.all([...byPartition].map(([partition, some]) => readRows(cosmos, view, partition, [...new Set(some.map(({ id }) => plainId(id)))], found)));
      return keys.map(({ partition, id }) => found.get(`${partitionOf(view, partition)} ${plainId(id)}`) as R | undefined);
    },

    async write(writes) {
      const groups = writes.map((write) => groupOf(write, partitioned));
      return Promise.all(groups.map(lanes.push));
    },

    async query<R extends Row>(view: ViewLayout<R>, query: ViewQuery) {
      return find<{ key: string; row: R }>(view, query, "$key AS key, c.r AS row");
    },

    keys: (view, query) => find<string>(view, query, "VALUE $key"),

    async counters(view, partitionPrefix) {
      const from = partitionOf(view, partitionPrefix);
      const to = endOfPrefix(from)!;
      const spec = {
        query: "SELECT VALUE c.n FROM c WHERE c.x.counters >= @from AND c.x.counters < @to",
        parameters: [{ name: "@from", value: from }, { name: "@to", value: to }],
      };
      const { found } = await cosmos.query<Record<string, number>>({ operation: `views.counters ${view.name}`, container, spec });
      return summed(found);
    },

    async forget(view, partition) {
      await removeAll(cosmos, partitionOf(view, partition));
    },

    async clear() {
      for (;;) {
        const spec = { query: "SELECT VALUE c.p FROM c", parameters: [] };
        const { found } = await cosmos.query<string>({ operation: "views.clear", container, spec, enough: () => true });
        if (found.length === 0) return;
        await Promise.all([...new Set(found)].map((partition) => removeAll(cosmos, partition)));
      }
    },
  };
}

const partitionOf = (view: AnyLayout, partition: string): string => `${view.name}:${partition}`;

function fieldOf(view: AnyLayout, index: string): string {
  if (!plainName.test(view.name) || !plainName.test(index)) throw new Error(`A view or index cannot be named ${JSON.stringify(`${view.name}.${index}`)}.`);
  if (!(index in view.indexes)) throw new Error(`View ${view.name} has no index ${index}.`);
  return `${view.name}_${index}`;
}

// ---------------------------------------------------------------- reading

interface Bound {
  readonly name: string;
  readonly operator: string;
  readonly value: string;
}

/** The narrower of prefix and `after` on each side; undefined when nothing can lie between them. */
function boundsOf({ prefix, after, reverse }: ViewQuery): Bound[] | undefined {
  const end = endOfPrefix(prefix);
  const lower: Bound = after !== undefined && !reverse && compareBytes(after, prefix) >= 0
    ? { name: "@from", operator: ">", value: after } : { name: "@from", operator: ">=", value: prefix };
  const to = after !== undefined && reverse && (end === undefined || compareBytes(after, end) < 0) ? after : end;
  if (to === undefined) return [lower];
  return compareBytes(lower.value, to) < 0 ? [lower, { name: "@to", operator: "<", value: to }] : undefined;
}

function partitionNamed(view: AnyLayout, { index, prefix }: ViewQuery, partitioned: typeof cosmosPartitionedIndexes): { partition?: string } {
  const end = prefix.indexOf("/");
  return end > 0 && partitioned[view.name]?.includes(index) ? { partition: partitionOf(view, prefix.slice(0, end)) } : {};
}

async function readRows(cosmos: Cosmos, view: AnyLayout, partition: string, ids: readonly string[], found: Map<string, Row>): Promise<void> {
  const keep = ({ id, r }: Pick<RowDocument, "id" | "r">): void => void found.set(`${partition} ${id}`, r);
  if (ids.length <= pointReadsMax) {
    await Promise.all(ids.map(async (id) => {
      const document = await readDocument<RowDocument>(cosmos, `views.get ${view.name}`, partition, id);
      if (document !== undefined) keep(document);
    }));
    return;
  }
  for (const piece of pieces(ids, idsPerQuery)) {
    const { names, parameters } = listed(piece);
    const spec = { query: `SELECT c.id, c.r FROM c WHERE c.id IN (${names})`, parameters };
    const { found: some } = await cosmos.query<RowDocument>({ operation: `views.get ${view.name}`, container: cosmos.views, spec, partition });
    for (const document of some) keep(document);
  }
}

async function readDocument<D>(cosmos: Cosmos, operation: string, partition: string, id: string): Promise<D | undefined> {
  const { resource } = await cosmos.call(operation, () => cosmos.views.item(id, partition).read());
  return resource as D | undefined;
}

function summed(counters: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sum: Record<string, number> = {};
  for (const one of counters) for (const [name, value] of Object.entries(one)) sum[name] = (sum[name] ?? 0) + value;
  return sum;
}

/** Rows, tombstones and counters of one partition of the container. */
async function removeAll(cosmos: Cosmos, partition: string): Promise<void> {
  const spec = { query: "SELECT VALUE c.id FROM c WHERE c.p = @p", parameters: [{ name: "@p", value: partition }] };
  for (let fruitless = 0; ; ) {
    const { found } = await cosmos.query<string>({ operation: "views.forget", container: cosmos.views, spec, partition, pageSize: batchOperationsMax, enough: () => true });
    if (found.length === 0) return;
    const { failure } = await cosmos.batch("views.forget", cosmos.views, partition, found.map((id): OperationInput => ({ operationType: "Delete", id })));
    // Another one may be forgetting the same partition, or writing there.
    fruitless = failure === undefined ? 0 : fruitless + 1;
    if (fruitless > fruitlessMax) throw new Error(`The rows of partition ${partition} cannot be removed (${failure?.status}).`);
  }
}

// ---------------------------------------------------------------- writing

/** One write of the caller on its way into a batch. */
interface Group {
  readonly operation: string;
  readonly partition: string;
  readonly rows: readonly { readonly from: number; readonly document: Omit<RowDocument, "w"> }[];
  readonly counters: Readonly<Record<string, number>>;
  readonly bytes: number;
}

interface Waiting {
  readonly group: Group;
  readonly resolve: (outcome: "ok" | "stale") => void;
  readonly reject: (error: unknown) => void;
}

function groupOf({ view, partition, rows, counters }: ViewWrite, partitioned: typeof cosmosPartitionedIndexes): Group {
  if (rows.length > rowsMax) throw new Error(`A write to ${view.name} has ${rows.length} rows; ${rowsMax} fit into one transaction.`);
  const p = partitionOf(view, partition);
  const documents = rows.map(({ from, row }) => ({ from, document: { id: plainId(row.id), p, v: row.version, r: row, x: indexValues(view, partition, row, partitioned) } }));
  if (new Set(rows.map(({ row }) => row.id)).size < rows.length) throw new Error(`A write to ${view.name} has a row twice.`);
  return {
    operation: `views.write ${view.name}`,
    partition: p,
    rows: documents,
    counters: Object.fromEntries(Object.entries(counters).filter(([, difference]) => difference !== 0)),
    bytes: documents.reduce((sum, { document }) => sum + Buffer.byteLength(JSON.stringify(document)), 0),
  };
}

function indexValues(view: AnyLayout, partition: string, row: Row, partitioned: typeof cosmosPartitionedIndexes): Record<string, string> {
  const values: Record<string, string> = {};
  if (row.gone === true) return values;
  for (const [index, valueOf] of Object.entries(view.indexes) as [string, (one: Row) => string | undefined][]) {
    const value = valueOf(row);
    if (value === undefined) continue;
    if (partitioned[view.name]?.includes(index) && !value.startsWith(`${partition}/`)) throw new Error(`A value of ${view.name}.${index} does not begin with its partition ${partition}.`);
    values[fieldOf(view, index)] = value;
  }
  return values;
}

/** One batch at a time for each partition: writers there would only fail each other on its counters. */
function lanesOf(cosmos: Cosmos) {
  const lanes = new Map<string, Waiting[]>();
  // Partitions that have their counters document, as far as is known: a wrong guess costs one failed batch.
  const counted = new Set<string>();

  async function drain(partition: string, lane: Waiting[]): Promise<void> {
    while (lane.length > 0) {
      const batch = takeBatch(lane);
      try {
        await writeBatch(cosmos, partition, batch, counted);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    lanes.delete(partition);
  }

  return {
    push: (group: Group): Promise<"ok" | "stale"> =>
      new Promise((resolve, reject) => {
        const waiting: Waiting = { group, resolve, reject };
        const lane = lanes.get(group.partition);
        if (lane !== undefined) return void lane.push(waiting);
        const fresh = [waiting];
        lanes.set(group.partition, fresh);
        // Whatever is written to the partition in this turn goes together.
        queueMicrotask(() => void drain(group.partition, fresh));
      }),
  };
}

/** The groups that fit into one batch. Two groups that write the same row never share one: the second must see what became of the first. */
function takeBatch(lane: Waiting[]): Waiting[] {
  const ids = new Set<string>();
  let rows = 0;
  let bytes = 0;
  let count = 0;
  for (const { group } of lane) {
    rows += group.rows.length;
    bytes += group.bytes;
    if (count > 0 && (rows > rowsMax || bytes > batchBytesMax || group.rows.some(({ document }) => ids.has(document.id)))) break;
    for (const { document } of group.rows) ids.add(document.id);
    count++;
  }
  return lane.splice(0, count);
}

/** Repeats without the groups that turn out to be stale, until the rest is written. */
async function writeBatch(cosmos: Cosmos, partition: string, batch: readonly Waiting[], counted: Set<string>): Promise<void> {
  let open = batch;
  let create = !counted.has(partition) && batch.some(({ group }) => group.rows.length > 0) && batch.every(({ group }) => group.rows.every(({ from }) => from === 0));
  for (let fruitless = 0; open.length > 0; ) {
    const id = cosmos.random.id(9);
    const rows = open.flatMap((waiting) => waiting.group.rows.map((row) => ({ waiting, ...row })));
    const counters = countersOperations(partition, open.map(({ group }) => group.counters), id, create, rows.length === 0);
    const operations = [...counters, ...rows.map(({ from, document }) => rowOperation(from, { ...document, w: id }))];
    const { failure, repeated } = operations.length === 0 ? { repeated: false } : await cosmos.batch(open[0]!.group.operation, cosmos.views, partition, operations);
    const failed = failure === undefined ? undefined : rows[failure.index - counters.length];
    if (failure === undefined || (repeated && (await wasDone(cosmos, partition, id, failed?.document.id)))) {
      if (counters.length > 0) remember(counted, partition);
      for (const { resolve } of open) resolve("ok");
      return;
    }
    if (failed !== undefined && refusals.has(failure.status)) {
      failed.waiting.resolve("stale");
      open = open.filter((one) => one !== failed.waiting);
    } else if (failed === undefined && refusals.has(failure.status) && ++fruitless <= fruitlessMax) create = failure.status === 404;
    else throw new Error(`Rows of ${partition} cannot be written (${failure.status}).`);
  }
}

/** Exists already, is missing, or is not at the version that it was read at. */
const refusals: ReadonlySet<number> = new Set([404, 409, 412]);

/** A batch whose answer was lost fails when it is sent again; then what it left behind shows that it was carried out. */
async function wasDone(cosmos: Cosmos, partition: string, batch: string, row: string | undefined): Promise<boolean> {
  if (row !== undefined && (await readDocument<RowDocument>(cosmos, "views.lookUp", partition, row))?.w === batch) return true;
  const counters = await readDocument<{ w: Record<string, string> }>(cosmos, "views.lookUp", partition, countersId);
  return counters?.w[placeOf(batch)] === batch;
}

function remember(counted: Set<string>, partition: string): void {
  if (counted.size >= partitionsKnownMax) counted.clear();
  counted.add(partition);
}

function rowOperation(from: number, document: RowDocument): OperationInput {
  if (from === 0) return { operationType: "Create", resourceBody: document as unknown as JSONObject };
  const operations = (["v", "w", "r", "x"] as const).map((field): PatchOperation => ({ op: "set", path: `/${field}`, value: document[field] }));
  return { operationType: "Patch", id: document.id, resourceBody: { condition: `FROM c WHERE c.v = ${from}`, operations } };
}

const placeOf = (batch: string): string => `k${Array.from(batch).reduce((sum, character) => sum + character.charCodeAt(0), 0) % remembered}`;

/** Rows guard their batch against being done twice by their versions; counters alone by the batch that they remember. */
function countersOperations(partition: string, differences: readonly Group["counters"][], batch: string, create: boolean, alone: boolean): OperationInput[] {
  const moved = Object.entries(summed(differences)).filter(([, difference]) => difference !== 0);
  if (moved.length === 0) return [];
  const place = placeOf(batch);
  if (create) return [{ operationType: "Create", resourceBody: { id: countersId, p: partition, n: Object.fromEntries(moved), w: { [place]: batch }, x: { counters: partition } } }];
  const operations: PatchOperation[] = [
    { op: "set", path: `/w/${place}`, value: batch },
    ...moved.map(([name, difference]): PatchOperation => ({ op: "incr", path: `/n/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`, value: difference })),
  ];
  const guard = `FROM c WHERE NOT IS_DEFINED(c.w.${place}) OR c.w.${place} != "${batch}"`;
  return pieces(operations, patchesMax).map((some, index): OperationInput => ({
    operationType: "Patch", id: countersId, resourceBody: alone && index === 0 ? { condition: guard, operations: some } : { operations: some },
  }));
}
