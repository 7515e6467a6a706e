// Users of a TVM are users of the machine's operating system, so that people can log in and look around. Each has the number of
// the TVM's own user where there is one, and so sees what its tasks see. Names are made unique for the TVM's root, since several
// TVMs may share a machine. It does nothing unless it was allowed to, on Linux, as root; passwords go by standard input alone.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import type { FileAnswer, UserRequest } from "../wire";

export interface UsersOptions {
  /** The folder of the TVM: the home of its users. */
  readonly root: string;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly allowed: boolean;
  readonly log: (message: string) => void;
  /** Lets a group read what is for users of the TVM and not for its tasks; absent: there is nothing of that. */
  readonly lend?: ((gid: number) => void) | undefined;
  /** Takes down the names that are made, before they are, so that whoever removes the TVM can remove them when this process cannot. */
  readonly note?: ((names: readonly string[]) => void) | undefined;
  /** For tests: the system's own otherwise. */
  readonly system?: System;
}

export interface System {
  readonly platform: string;
  readonly isRoot: boolean;
  /** Runs a program with these arguments; resolves to its exit code and what it said. */
  run(file: string, args: readonly string[], input?: string): Promise<{ code: number; said: string }>;
  /** The files of users and groups, as text. */
  read(file: "/etc/passwd" | "/etc/group"): string;
}

export interface Users {
  /** Makes, changes or removes a user; requests are done one after the other. */
  change(request: UserRequest): Promise<FileAnswer>;
  /** No user of this TVM is left, of an earlier boot either. */
  removeAll(): Promise<void>;
}

const ADMIN_GROUPS = ["sudo", "wheel"];
const NAME = /^[A-Za-z0-9_-]{1,20}$/;
const TIMER_MAX_MS = 2 ** 31 - 1;

export function tvmUsers(options: UsersOptions): Users {
  const system = options.system ?? thisSystem;
  const prefix = `bl${createHash("sha256").update(options.root).digest("hex").slice(0, 8)}-`;
  const accountOf = (name: string): string => prefix + name.toLowerCase();
  /** Tasks have the users' number; what tells them apart is this group, which no task is in. */
  const shared = options.lend && prefix.replace("-", "_users");
  const timers = new Map<string, NodeJS.Timeout>();
  const able = system.platform === "linux" && system.isRoot && options.allowed;
  let turn: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(act: () => Promise<T>): Promise<T> => {
    const mine = turn.then(act, act);
    turn = mine.catch(() => undefined);
    return mine;
  };

  const accounts = (): string[] => system.read("/etc/passwd").split("\n").map((line) => line.split(":", 1)[0] as string).filter((name) => name.startsWith(prefix));
  const must = async (file: string, args: readonly string[], input?: string): Promise<void> => {
    const { code, said } = await system.run(file, args, input);
    if (code !== 0) throw new Error(`${file} ended with ${code}: ${said.trim().split("\n").at(-1)?.slice(0, 200)}`);
  };

  const remove = async (account: string): Promise<void> => {
    clearTimeout(timers.get(account));
    timers.delete(account);
    if (!accounts().includes(account)) return;
    // Forced: tasks of the TVM run under the same number, which is no reason to keep the name. Without -r the files stay.
    await must("userdel", ["-f", account]);
    await system.run("groupdel", [account]);
    note(accounts());
  };
  const note = (left: readonly string[]): void => options.note?.(shared === undefined || left.length === 0 ? left : [...left, shared]);
  const lend = async (): Promise<void> => {
    if (shared === undefined) return;
    await must("groupadd", ["-f", shared]);
    options.lend?.(groupNumber(system, shared));
  };
  const add = async (account: string, request: UserRequest): Promise<void> => {
    await remove(account);
    const { uid, gid, root } = options;
    note([...accounts(), account]);
    await lend();
    const own = uid === undefined ? ["-U"] : ["-o", "-u", String(uid), "-g", account];
    if (uid !== undefined) await must("groupadd", ["-o", "-g", String(gid ?? uid), account]);
    await must("useradd", ["-M", "-d", root, "-s", "/bin/bash", ...own, account]);
    await settle(account, request);
  };
  const settle = async (account: string, { password, isAdmin, expiresAt }: UserRequest): Promise<void> => {
    // The system knows days alone: the last one is the day after, and a timer does the rest.
    if (expiresAt !== undefined) await must("usermod", ["-e", dayAfter(expiresAt), account]);
    await must("usermod", ["-G", [...(isAdmin ? [adminGroup(system)] : []), ...(shared === undefined ? [] : [shared])].join(","), account]);
    if (password === undefined) await must("usermod", ["-L", account]);
    else await must("chpasswd", [], `${account}:${password}\n`);
    if (expiresAt !== undefined) removeAt(account, Date.parse(expiresAt));
  };
  const removeAt = (account: string, atMs: number): void => {
    clearTimeout(timers.get(account));
    const wait = atMs - Date.now();
    const due = (): void => {
      if (wait > TIMER_MAX_MS) return removeAt(account, atMs);
      void inTurn(() => remove(account)).catch((error: Error) => options.log(`a user whose time is over could not be removed: ${error.message}`));
    };
    timers.set(account, setTimeout(due, Math.min(TIMER_MAX_MS, Math.max(0, wait))).unref());
  };

  const carryOut = async (request: UserRequest): Promise<FileAnswer> => {
    const { id, kind, name } = request;
    if (!able) return { id, problem: { code: "unsupported", message: whyNot(system, options.allowed) } };
    if (!NAME.test(name) || /[\n\0]/.test(request.password ?? "")) return { id, problem: { code: "failed", message: "the name or the password cannot be used" } };
    const account = accountOf(name);
    try {
      if (kind === "add") await add(account, request);
      else if (kind === "remove") await remove(account);
      else if (accounts().includes(account)) await settle(account, request);
      else return { id, problem: { code: "failed", message: "the machine does not know the user (any more)" } };
      return kind === "add" ? { id, account } : { id };
    } catch (error) {
      // Half a user is none.
      if (kind === "add") await remove(account).catch(() => undefined);
      return { id, problem: { code: "failed", message: (error as Error).message.slice(0, 300) } };
    }
  };

  return {
    change: (request) => inTurn(() => carryOut(request)),
    removeAll: () => inTurn(async () => {
      if (!able) return;
      const there = accounts();
      for (const account of there) await remove(account).catch((error: Error) => options.log(`a user of the TVM could not be removed: ${error.message}`));
      if (shared !== undefined && there.length > 0 && accounts().length === 0) await system.run("groupdel", [shared]);
      note(accounts());
    }),
  };
}

function whyNot({ platform, isRoot }: System, allowed: boolean): string {
  if (platform !== "linux") return "this is not Linux";
  if (!isRoot) return "its agent is not root";
  return allowed ? "" : "its agent may not make users";
}

function adminGroup(system: System): string {
  const groups = new Set(system.read("/etc/group").split("\n").map((line) => line.split(":", 1)[0]));
  const found = ADMIN_GROUPS.find((group) => groups.has(group));
  if (found === undefined) throw new Error(`the machine has no group of administrators (${ADMIN_GROUPS.join(" or ")})`);
  return found;
}

function groupNumber(system: System, name: string): number {
  const line = system.read("/etc/group").split("\n").find((one) => one.startsWith(`${name}:`));
  const number = Number(line?.split(":")[2] || NaN);
  if (!Number.isSafeInteger(number) || number <= 0) throw new Error("the group of the TVM's users has no number");
  return number;
}

function dayAfter(at: string): string {
  return new Date(Date.parse(at) + 86_400_000).toISOString().slice(0, 10);
}

const thisSystem: System = {
  platform: process.platform,
  isRoot: process.getuid?.() === 0,
  read: (file) => fs.readFileSync(file, "utf8"),
  run: (file, args, input = "") => new Promise((resolve) => {
    const child = spawn(file, args, { shell: false, stdio: ["pipe", "ignore", "pipe"], env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C" }, timeout: 20_000 });
    let said = "";
    child.stderr.on("data", (bytes: Buffer) => void (said = (said + bytes.toString()).slice(-2_000)));
    child.on("error", (error) => resolve({ code: 127, said: error.message }));
    child.on("close", (code) => resolve({ code: code ?? 1, said }));
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
  }),
};
