// Where the TVMs of this machine are: the folder, address and user of each, which it keeps, and programs that its tasks can reach.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Log, MachineOrder } from "../ports";
import { type ProcessName, isAlive } from "./osProcesses";
import { readJson, readText } from "./smallFiles";

const FIRST_USER_ID = 1_000_000;
const USERS_MAX = 60_000;
/** Blocks of users: services that run side by side as root must not meet in one, or they would end each other's tasks. */
const USER_BLOCKS = 30_000;

export interface HostedTvm {
  readonly account: string;
  readonly pool: string;
  readonly tvm: string;
  readonly boot: number;
  readonly root: string;
  readonly address: string;
  readonly uid?: number;
}

export interface Place {
  readonly roots: string;
  readonly elsewhere: boolean;
  /** Folders on the PATH of tasks after the system's. */
  readonly programFolders: readonly string[];
}

/**
 * Roots lie in the data folder. When the service is root and other users cannot get there, they lie in a folder under
 * /var/tmp instead, which only root can write and everybody can pass through.
 */
export function placeOfRoots(dataDir: string, isRoot: boolean, log: Log): Place {
  const node = path.dirname(process.execPath);
  if (!isRoot) return { roots: path.resolve(dataDir, "tvms"), elsewhere: false, programFolders: [node] };
  let roots = path.resolve(dataDir, "tvms");
  const elsewhere = !passable(path.resolve(dataDir));
  if (elsewhere) {
    clearForgotten();
    roots = path.join(ELSEWHERE, `batchledger-${createHash("sha256").update(path.resolve(dataDir)).digest("hex").slice(0, 16)}`, "tvms");
    ownFolder(path.dirname(roots));
    fs.writeFileSync(path.join(path.dirname(roots), DATA_FOLDER), path.resolve(dataDir), { mode: 0o600 });
    log.info("tasks run as users of their own, who cannot pass through the data folder: TVM folders are elsewhere", { folder: roots });
  }
  ownFolder(roots);
  return { roots, elsewhere, programFolders: [passable(node) ? node : lentProgram(path.dirname(roots))] };
}

const ELSEWHERE = "/var/tmp";
/** In a folder elsewhere: a file with the path of the data folder that it belongs to. */
const DATA_FOLDER = "data-folder";

/** Removes folders elsewhere whose data folder has been deleted, unless an agent still lives in one. */
function clearForgotten(): void {
  for (const name of fs.readdirSync(ELSEWHERE)) {
    const folder = path.join(ELSEWHERE, name);
    const dataDir = name.startsWith("batchledger-") && fs.lstatSync(folder, { throwIfNoEntry: false })?.uid === 0 ? readText(path.join(folder, DATA_FOLDER)) : undefined;
    if (dataDir === undefined || fs.existsSync(dataDir) || claimsBelow(path.join(folder, "tvms")).some(isAlive)) continue;
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** The agents' own notes beside the roots: which process uses each. */
function claimsBelow(roots: string): ProcessName[] {
  const pools = subfolders(roots).flatMap(subfolders);
  const files = pools.flatMap((pool) => fs.readdirSync(pool).filter((name) => name.endsWith(".claim")).map((name) => path.join(pool, name)));
  return files.flatMap((file) => readJson<ProcessName>(file) ?? []);
}

/** Makes a folder that only root may change and everybody may pass through; refuses one that is not root's. */
function ownFolder(folder: string): void {
  fs.mkdirSync(folder, { recursive: true, mode: 0o711 });
  const stat = fs.lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== 0) throw new Error(`the folder ${folder} is not root's own`);
  fs.chmodSync(folder, 0o711);
}

/** Whether users without rights can reach what is in this folder. */
function passable(folder: string): boolean {
  for (let at = folder; ; at = path.dirname(at)) {
    const stat = fs.statSync(at, { throwIfNoEntry: false });
    if (stat && (stat.mode & 0o001) === 0) return false;
    if (at === path.dirname(at)) return true;
  }
}

/** This Node, in a folder that tasks can reach: a link where possible, else a copy. */
function lentProgram(folder: string): string {
  const bin = path.join(folder, "bin");
  ownFolder(bin);
  const lent = path.join(bin, "node");
  const [source, present] = [fs.statSync(process.execPath), fs.statSync(lent, { throwIfNoEntry: false })];
  if (present && present.size === source.size && present.mtimeMs >= source.mtimeMs) return bin;
  const unfinished = `${lent}.${process.pid}`;
  try {
    fs.linkSync(process.execPath, unfinished);
  } catch {
    fs.copyFileSync(process.execPath, unfinished);
    fs.chmodSync(unfinished, 0o755);
  }
  fs.renameSync(unfinished, lent);
  return bin;
}

export function rootOf(place: Place, account: string, pool: string, tvm: string): string {
  const names = [account, pool, tvm].map((name) => name.toLowerCase());
  for (const name of names) if (!/^[a-z0-9_-][a-z0-9._-]{0,99}$/.test(name)) throw new Error(`not a name for a folder: ${name.slice(0, 64)}`);
  return path.join(place.roots, ...names);
}

/** Folder, address and user of a TVM: those that it had before, or new ones that nobody has. */
export function hostedFor(order: MachineOrder, place: Place, others: readonly HostedTvm[], firstUserId: number | undefined): HostedTvm {
  const root = rootOf(place, order.account, order.pool, order.tvm);
  fs.mkdirSync(path.dirname(root), { recursive: true, mode: 0o711 });
  if (firstUserId !== undefined) for (const parent of [path.dirname(root), path.dirname(path.dirname(root))]) fs.chmodSync(parent, 0o711);
  const before = others.find((one) => sameTvm(one, order));
  const { account, pool, tvm, boot } = order;
  const address = before?.address ?? freeAddress(`${account}/${pool}/${tvm}`, new Set(others.map((one) => one.address)));
  const hosted = { account, pool, tvm, boot, root, address };
  if (firstUserId === undefined) return hosted;
  const owner = fs.statSync(root, { throwIfNoEntry: false })?.uid;
  const uid = before?.uid ?? (owner !== undefined && owner >= firstUserId ? owner : freeUser(place.roots, firstUserId));
  // Made at once, so that the next TVM sees the number taken.
  fs.mkdirSync(root, { recursive: true, mode: 0o700 });
  fs.chownSync(root, uid, uid);
  return { ...hosted, uid };
}

/** A block of users of this data folder's own, the same at each start. */
export function firstUserOf(dataDir: string): number {
  const digest = createHash("sha256").update(fs.realpathSync(dataDir)).digest();
  return FIRST_USER_ID + (digest.readUInt32BE(0) % USER_BLOCKS) * USERS_MAX;
}

/** The owners of the roots that exist are the users that are taken. */
function freeUser(roots: string, first: number): number {
  const taken = new Set<number>();
  for (const account of subfolders(roots)) for (const pool of subfolders(account)) for (const root of subfolders(pool)) {
    const stat = fs.statSync(root, { throwIfNoEntry: false });
    if (stat) taken.add(stat.uid);
  }
  for (let uid = first; uid < first + USERS_MAX; uid++) if (!taken.has(uid)) return uid;
  throw new Error("there are no user numbers left for another TVM");
}

/** In 127/8, from the name, so that a TVM keeps it; 127.0 is left to others. */
function freeAddress(name: string, taken: ReadonlySet<string>): string {
  for (let salt = 0; ; salt++) {
    const [a = 0, b = 0, c = 0] = createHash("sha256").update(`${name}/${salt}`).digest();
    const address = `127.${1 + (a % 254)}.${b}.${1 + (c % 254)}`;
    if (!taken.has(address)) return address;
  }
}

export function subfolders(folder: string): string[] {
  try {
    return fs.readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory() && !/\.(cache|certs)$/.test(entry.name)).map((entry) => path.join(folder, entry.name));
  } catch {
    return [];
  }
}

export async function removeEmptyParents(from: string, top: string): Promise<void> {
  for (let folder = from; folder !== top && folder.startsWith(top); folder = path.dirname(folder)) {
    const removed = await fs.promises.rmdir(folder).then(() => true, () => false);
    if (!removed) return;
  }
}

export function same(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

type TvmName = Pick<HostedTvm, "account" | "pool" | "tvm">;
export function sameTvm(a: TvmName, b: TvmName): boolean {
  return same(a.account, b.account) && same(a.pool, b.pool) && same(a.tvm, b.tvm);
}
