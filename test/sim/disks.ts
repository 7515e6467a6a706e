// Files of simulated TVMs: below each TVM's root, kept over its boots unless it is to begin clean. Answers what agents are asked
// about files, by the same rules, and writes down each change of a file, so that checkers know what was where at any time.
import type { FileAnswer, FileEntry, FileRequest } from "../../src/wire";
import type { DiskChange } from "./history";

interface File {
  readonly content: string;
  readonly createdMs: number;
  readonly modifiedMs: number;
}

type Disk = Map<string, File>;

export type Disks = ReturnType<typeof createDisks>;

export const createDisks = (now: () => number) => {
  const disks = new Map<string, Disk>();
  const changes: DiskChange[] = [];
  const diskOf = (tvm: string): Disk => {
    const disk = disks.get(tvm) ?? new Map<string, File>();
    disks.set(tvm, disk);
    return disk;
  };
  const write = (tvm: string, path: string, content: string): void => {
    const disk = diskOf(tvm);
    disk.set(path, { content, createdMs: disk.get(path)?.createdMs ?? now(), modifiedMs: now() });
    changes.push({ tvm, path, content, atMs: now() });
  };
  /** A file, or a folder with all that is in it, whatever the case of its letters; whether there was anything. */
  const remove = (tvm: string, path: string): boolean => {
    const disk = diskOf(tvm);
    const gone = [...disk.keys()].filter((one) => isWithin(one.toLowerCase(), path.toLowerCase()));
    for (const one of gone) {
      disk.delete(one);
      changes.push({ tvm, path: one, atMs: now() });
    }
    return gone.length > 0;
  };
  const entry = (disk: Disk, path: string): FileEntry | undefined => {
    const file = disk.get(path);
    const inside = [...disk].filter(([one]) => one !== path && isWithin(one, path)).map(([, { modifiedMs }]) => modifiedMs);
    if (!file && inside.length === 0) return undefined;
    const [created, modified] = file ? [file.createdMs, file.modifiedMs] : [Math.min(...inside), Math.max(...inside)];
    return { path, isDirectory: !file, length: file ? Buffer.byteLength(file.content) : 0, createdAt: new Date(created).toISOString(), modifiedAt: new Date(modified).toISOString() };
  };
  const list = (disk: Disk, path: string, recursive: boolean): FileEntry[] => {
    const names = new Set<string>();
    for (const one of disk.keys()) {
      if (!isWithin(one, path) || one === path) continue;
      const parts = one.slice(path === "" ? 0 : path.length + 1).split("/");
      for (let depth = 1; depth <= (recursive ? parts.length : 1); depth++) names.add([...(path === "" ? [] : [path]), ...parts.slice(0, depth)].join("/"));
    }
    return [...names].sort().map((one) => entry(disk, one) as FileEntry);
  };
  return {
    changes,
    write,
    /** To a file that somebody removed meanwhile, whoever has it open writes in vain. */
    append(tvm: string, path: string, more: string): void {
      const there = diskOf(tvm).get(path);
      if (there) write(tvm, path, there.content + more);
    },
    remove,
    clear: (tvm: string): void => void remove(tvm, ""),
    /** What an agent answers, and the bytes that it has to send first. */
    answer(tvm: string, { id, kind, path, recursive, offset = 0, length }: FileRequest): { answer: FileAnswer; bytes?: Buffer } {
      const disk = diskOf(tvm);
      const found = entry(disk, path);
      const notFound = { answer: { id, problem: { code: "notFound" as const, message: "There is no such file." } } };
      if (kind === "remove" && path.split("/").length < 2) return { answer: { id, problem: { code: "forbidden", message: "The folders of the TVM itself cannot be removed." } } };
      if (!found) return notFound;
      if (kind === "list") return { answer: { id, entries: list(disk, path, recursive === true) } };
      if (kind === "remove") {
        remove(tvm, path);
        return { answer: { id, entries: [] } };
      }
      if (kind === "read" && found.isDirectory) return { answer: { id, problem: { code: "forbidden", message: "This is not a plain file of the TVM." } } };
      const bytes = kind === "read" ? Buffer.from(disk.get(path)?.content ?? "").subarray(offset, length === undefined ? undefined : offset + length) : undefined;
      return { answer: { id, entries: [found] }, ...(bytes ? { bytes } : {}) };
    },
  };
};

/** The root is "": everything is within it. */
const isWithin = (path: string, folder: string): boolean => folder === "" || path === folder || path.startsWith(`${folder}/`);
