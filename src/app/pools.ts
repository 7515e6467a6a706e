// Use cases on pools and their TVMs.
import { type Rejection, isRejection, rejection } from "../domain/decider";
import { poolKey, poolStream, tvmKey } from "../domain/ids";
import type { CertificateReference, DeallocationOption, Pool, PoolCommand, PoolSpec, StartTask } from "../domain/pool";
import type { Ports } from "../ports";
import { type PoolRow, pools } from "../views/pools";
import { type TaskRow, parseHeld, tasks } from "../views/tasks";
import { type TvmRow, tvms } from "../views/tvms";
import type { Call } from "./call";
import { checkReferences, lostReferences } from "./certificates";
import { type Loaded, type Outcome, execute, load } from "./execute";
import { HOLD_MAX } from "./holding";
import { type Page, type Rows, scan } from "./rows";
import { evaluatingAnew } from "./samples";
import { sealFiles } from "./secrets";
import { lastTasksOf, totalRunOn } from "./tvmTasks";

export type Condition<State> = (loaded: Loaded<State>) => Rejection | undefined;

const onPool = (ports: Ports, call: Call, name: string, command: PoolCommand, condition?: Condition<Pool>): Promise<Outcome<"pool">> =>
  execute(ports, "pool", call.by, { stream: poolStream(poolKey(call.account, name)), command, condition });

export const addPool = (ports: Ports, call: Call, name: string, spec: PoolSpec): Promise<Outcome<"pool">> =>
  makePool(ports, call, name, sealedSpec(ports, call, spec));

/** A pool from a specification that is sealed already: a user's, or a work item's auto pool. All that a new pool must fulfil is checked here. */
export const makePool = async (ports: Ports, call: Call, name: string, spec: PoolSpec): Promise<Outcome<"pool">> => {
  const refusal = (await poolQuota(ports, call, name)) ?? (await checkReferences(ports, call.account, spec.certificateReferences));
  if (refusal) return refusal;
  const outcome = await onPool(ports, call, name, { type: "CreatePool", at: call.at, account: call.account, name, spec, ...(spec.autoScale ? { evaluating: evaluatingAnew(ports) } : {}) });
  return confirmed(ports, call, outcome, spec.certificateReferences, () => deletePool(ports, call, name));
};

/** Addresses of the start task's files may carry their signatures: they are sealed before anything is stored. */
export const sealedSpec = (ports: Ports, call: Call, spec: PoolSpec): PoolSpec =>
  spec.startTask ? { ...spec, startTask: sealed(ports, call, spec.startTask) } : spec;

/** A certificate was deleted while the pool got its reference to it: what was done is undone, and refused as it would have been. */
const confirmed = async (
  ports: Ports,
  call: Call,
  outcome: Outcome<"pool">,
  references: readonly CertificateReference[] | undefined,
  undo: (lost: readonly CertificateReference[]) => Promise<unknown>,
): Promise<Outcome<"pool">> => {
  if (isRejection(outcome)) return outcome;
  const lost = await lostReferences(ports, call.account, references, call.at);
  if (lost.length === 0) return outcome;
  await undo(lost);
  return rejection("CertificateNotFound", "A certificate was deleted while the pool was to refer to it.", { PropertyName: "certificateReferences", PropertyValue: lost[0]?.thumbprint ?? "" });
};

/** The account has as many pools as it may have; one that exists is refused for that. */
const poolQuota = async (ports: Ports, call: Call, name: string): Promise<Rejection | undefined> => {
  const { poolsMax } = ports.policy;
  if (poolsMax === undefined) return undefined;
  const there = await ports.views.keys(pools, { index: "name", prefix: `${call.account}/`, limit: poolsMax });
  if (there.length < poolsMax) return undefined;
  const [row] = await ports.views.get(pools, [pools.locate(poolKey(call.account, name))]);
  if (row && !row.gone) return undefined;
  return rejection("PoolQuotaReached", `The account may have ${poolsMax} pools, and has them: delete one first.`);
};

const sealed = (ports: Ports, call: Call, task: StartTask): StartTask =>
  task.resourceFiles ? { ...task, resourceFiles: sealFiles(ports, call.account, task.resourceFiles) } : task;

export const getPool = async (ports: Ports, call: Call, name: string): Promise<Loaded<Pool> | Rejection> => {
  const loaded = await load(ports, "pool", poolStream(poolKey(call.account, name)));
  return loaded.state.phase === "absent" ? rejection("PoolNotFound", "The account has no pool of that name.") : loaded;
};

export const listPools = (ports: Ports, call: Call, page: Page<PoolRow>): Promise<Rows<PoolRow>> =>
  scan(ports.views, pools, "name", `${call.account}/`, page);

export const updatePool = async (
  ports: Ports,
  call: Call,
  name: string,
  change: Pick<Extract<PoolCommand, { type: "UpdatePool" }>, "startTask" | "certificateReferences" | "metadata">,
  condition?: Condition<Pool>,
): Promise<Outcome<"pool">> => {
  const { certificateReferences: references } = change;
  const refusal = await checkReferences(ports, call.account, references);
  if (refusal) return refusal;
  const startTask = change.startTask ? { startTask: sealed(ports, call, change.startTask) } : {};
  const outcome = await onPool(ports, call, name, { ...change, ...startTask, type: "UpdatePool", at: call.at }, condition);
  return confirmed(ports, call, outcome, references, (lost) => onPool(ports, call, name, { type: "DropCertificates", at: call.at, certificates: lost }));
};

export const resizePool = (
  ports: Ports,
  call: Call,
  name: string,
  resize: { target: number; timeoutMs: number; option: DeallocationOption },
  condition?: Condition<Pool>,
): Promise<Outcome<"pool">> => onPool(ports, call, name, { ...resize, type: "ResizePool", at: call.at }, condition);

/** TVMs go by name, and the target with them (reference section 7, 6). */
export const removePoolTvms = (
  ports: Ports,
  call: Call,
  name: string,
  removal: { tvms: readonly string[]; timeoutMs: number; option: DeallocationOption },
  condition?: Condition<Pool>,
): Promise<Outcome<"pool">> => onPool(ports, call, name, { ...removal, type: "RemoveTvms", at: call.at }, condition);

/** Each TVM is started anew with the version; running tasks go back to the queue (seed, section on pools). */
export const upgradePoolOs = (ports: Ports, call: Call, name: string, version: string, condition?: Condition<Pool>): Promise<Outcome<"pool">> =>
  onPool(ports, call, name, { type: "UpgradePoolOs", at: call.at, version }, condition);

export const stopPoolResize = (ports: Ports, call: Call, name: string, condition?: Condition<Pool>): Promise<Outcome<"pool">> =>
  onPool(ports, call, name, { type: "StopPoolResize", at: call.at }, condition);

export const deletePool = (ports: Ports, call: Call, name: string, condition?: Condition<Pool>): Promise<Outcome<"pool">> =>
  onPool(ports, call, name, { type: "DeletePool", at: call.at }, condition);

/** A TVM with what it runs now, what it ran last, and how much it ever ran. */
export interface TvmInfo {
  readonly tvm: TvmRow;
  readonly running: number;
  readonly tasks: readonly TaskRow[];
  readonly recent: readonly TaskRow[];
  readonly totalRun: number;
}

/** Tasks of which a TVM says when it began to be busy. */
const TASKS_SHOWN = 20;
/** The last tasks that are shown with a TVM. */
const RECENT_SHOWN = 10;

const infoOf = async (ports: Ports, row: TvmRow): Promise<TvmInfo> => {
  const key = tvmKey(row.account, row.pool, row.name);
  const held = await ports.views.keys(tasks, { index: "tvm", prefix: `${key}/`, limit: HOLD_MAX });
  const places = held.map((entry) => tasks.locate(parseHeld(entry).task));
  const rows = (await ports.views.get(tasks, places)).filter((task): task is TaskRow => task?.phase === "running");
  const [recent, totalRun] = await Promise.all([lastTasksOf(ports, row, RECENT_SHOWN), totalRunOn(ports, row)]);
  return { tvm: row, running: rows.length, tasks: rows.slice(0, TASKS_SHOWN), recent, totalRun };
};

export const getTvm = async (ports: Ports, call: Call, pool: string, name: string): Promise<TvmInfo | Rejection> => {
  const [row] = await ports.views.get(tvms, [tvms.locate(tvmKey(call.account, pool, name))]);
  if (row && !row.gone) return infoOf(ports, row);
  const found = await getPool(ports, call, pool);
  return isRejection(found) ? found : rejection("TVMNotFound", "The pool has no TVM of that name.");
};

export const listTvms = async (ports: Ports, call: Call, pool: string, page: Page<TvmInfo>): Promise<Rows<TvmInfo> | Rejection> => {
  const found = await getPool(ports, call, pool);
  if (isRejection(found)) return found;
  const rows: { key: string; row: TvmInfo }[] = [];
  let after = page.after;
  for (;;) {
    const chunk = await scan(ports.views, tvms, "pool", `${poolKey(call.account, pool)}/`, { limit: 100, after });
    for (const { key, row } of chunk.rows) {
      const info = await infoOf(ports, row);
      if (page.filter && !page.filter(info)) continue;
      if (rows.length === page.limit) return { rows, next: (rows[rows.length - 1] as { key: string }).key };
      rows.push({ key, row: info });
    }
    if (chunk.next === undefined) return { rows };
    after = chunk.next;
  }
};
