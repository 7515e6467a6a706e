// Folders below a root, opened step by step without following links, so that a task which swaps a folder for a link cannot
// lead the agent (which may be root) out of the TVM's root. On Linux each step goes through the descriptor of the one above
// (/proc/self/fd/N/name); elsewhere each step is only looked at first, which is weaker and good for a machine of one user.
// It never decides what a user may see: names are checked by resolveInside, and callers choose the root.
import fs from "node:fs";
import path from "node:path";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** An open folder: `at(name)` is a path for one entry of this very folder, whatever happens to the names above it. */
export interface Folder {
  at(name: string): string;
  close(): void;
}

export interface FolderOptions {
  /**
   * Make what is missing, for this owner (undefined: the agent's own user). What is there and is the agent's own is given to the owner
   * too: an agent that was killed had made it, and could not give it away.
   */
  readonly make?: boolean;
  readonly owner?: Owner | undefined;
}

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = fs.constants;
const byDescriptor = process.platform === "linux";

/** Opens `root/segments...`; throws the system's error (ENOENT, ENOTDIR or ELOOP for a link on the way, ...). Close it. */
export function openFolder(root: string, segments: readonly string[], options: FolderOptions = {}): Folder {
  return byDescriptor ? openByDescriptor(root, segments, options) : openByName(root, segments, options);
}

/** Names as the user sent them -> segments below the root, or undefined if the name plays tricks. The root itself is []. */
export function resolveInside(name: string): string[] | undefined {
  if (name === "" || name === ".") return [];
  if (name.length > 1024 || name.startsWith("/") || /^[A-Za-z]:/.test(name)) return undefined;
  const segments = name.replace(/\/$/, "").split("/");
  return segments.every(harmless) ? segments : undefined;
}

/** Moves `root/segments` into `root/trash/name` in one step. False when there is nothing. */
export function moveToTrash(root: string, segments: readonly string[], trash: string, name: string): boolean {
  const last = segments.at(-1);
  if (last === undefined) return false;
  let from: Folder | undefined;
  let to: Folder | undefined;
  try {
    from = openFolder(root, segments.slice(0, -1));
    to = openFolder(root, [trash]);
    fs.renameSync(from.at(last), to.at(name));
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  } finally {
    from?.close();
    to?.close();
  }
}

export function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP";
}

function harmless(segment: string): boolean {
  // eslint-disable-next-line no-control-regex
  return segment !== "" && segment !== "." && segment !== ".." && segment.length <= 255 && !/[\\\u0000-\u001f\u007f]/.test(segment);
}

function openByDescriptor(root: string, segments: readonly string[], options: FolderOptions): Folder {
  let handle = fs.openSync(root, O_RDONLY | O_DIRECTORY);
  try {
    for (const segment of segments) {
      const entry = `/proc/self/fd/${handle}/${segment}`;
      const made = options.make === true && makeOne(entry);
      const next = fs.openSync(entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
      fs.closeSync(handle);
      handle = next;
      if (options.make && options.owner && (made || isOwn(fs.fstatSync(handle)))) fs.fchownSync(handle, options.owner.uid, options.owner.gid);
    }
  } catch (error) {
    fs.closeSync(handle);
    throw error;
  }
  return { at: (name) => `/proc/self/fd/${handle}/${name}`, close: () => fs.closeSync(handle) };
}

function openByName(root: string, segments: readonly string[], options: FolderOptions): Folder {
  let folder = fs.realpathSync(root);
  for (const segment of segments) {
    folder = path.join(folder, segment);
    const made = options.make === true && makeOne(folder);
    const stat = fs.lstatSync(folder);
    if (!stat.isDirectory()) throw Object.assign(new Error("not a folder"), { code: "ENOTDIR" });
    if (options.make && options.owner && (made || isOwn(stat))) fs.lchownSync(folder, options.owner.uid, options.owner.gid);
  }
  return { at: (name) => path.join(folder, name), close: () => undefined };
}

function isOwn(stat: fs.Stats): boolean {
  return stat.uid === process.getuid?.();
}

function makeOne(entry: string): boolean {
  try {
    fs.mkdirSync(entry, 0o700);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}
