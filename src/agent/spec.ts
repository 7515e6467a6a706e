// What an agent process is told at its start: one JSON document on standard input, which is then closed. Join codes are
// secrets, so nothing of it is ever in arguments or the environment.
import fs from "node:fs";
import path from "node:path";

export interface TvmSpec {
  readonly name: string;
  readonly joinCode: string;
  readonly boot: number;
  /** An absolute folder; its parent exists. */
  readonly root: string;
  /** The user of this TVM's tasks; only when the agent is root. */
  readonly uid?: number;
  readonly gid?: number;
  /** What an earlier boot left in the root goes before this one joins. */
  readonly clean?: boolean;
  /** Of this TVM alone: an address in 127/8 on one machine, or the machine's own. */
  readonly address: string;
}

export interface AgentSpec {
  /** A file with {"url": ...}: where the service is now. */
  readonly endpointFile: string;
  readonly tvms: readonly TvmSpec[];
  /** A file with {"tvms": N}: how many TVMs live on this machine now, in whichever process. Absent: those of this process. */
  readonly machineFile?: string;
  /** A folder for the compiled start helper. */
  readonly helperCache: string;
  /** Hosts that resource files may come from besides public https addresses and the service itself. */
  readonly allowHosts?: readonly string[];
  /** Folders put at the end of PATH; absent: that of this Node. */
  readonly programFolders?: readonly string[];
  readonly limits?: { readonly openFiles?: number; readonly processes?: number; readonly fileBytes?: number; readonly memoryBytes?: number };
  /** Only these start helpers (c, perl, node). */
  readonly helpers?: readonly ("c" | "perl" | "node")[];
  /** Between SIGTERM and SIGKILL. */
  readonly graceMs?: number;
  /** With the endpoint file gone and nothing heard for this long, the agent ends. */
  readonly goneMs?: number;
  /** Users of this machine may be made for people who log in to its TVMs; only when the agent is root, on Linux. */
  readonly allowUsers?: boolean;
  /** Lets tasks run as root when the agent is root and a TVM has no user of its own. */
  readonly allowSameUser?: boolean;
}

/** Throws a sentence for the log when the document is not usable. */
export function parseSpec(text: string, agentUid: number | undefined): AgentSpec {
  const spec = JSON.parse(text) as AgentSpec;
  need(typeof spec === "object" && spec !== null, "not an object");
  need(isPath(spec.endpointFile), "endpointFile is not an absolute path");
  need(isPath(spec.helperCache), "helperCache is not an absolute path");
  need(spec.machineFile === undefined || isPath(spec.machineFile), "machineFile is not an absolute path");
  need(Array.isArray(spec.tvms) && spec.tvms.length > 0, "no TVMs");
  for (const tvm of spec.tvms) {
    need(typeof tvm.name === "string" && typeof tvm.joinCode === "string" && typeof tvm.address === "string", "a TVM lacks name, joinCode or address");
    need(Number.isSafeInteger(tvm.boot), "a boot is not a number");
    need(isPath(tvm.root) && tvm.root !== "/", "a root is not an absolute path");
    need(tvm.uid === undefined || (isId(tvm.uid) && isId(tvm.gid) && agentUid === 0), "uid and gid need an agent that is root, and are above 0");
    need(tvm.uid !== undefined || agentUid !== 0 || spec.allowSameUser === true, "tasks would run as root: give each TVM a user, or say allowSameUser");
  }
  return spec;
}

/** How many TVMs share the machine of this agent at present. */
export function tvmsOn({ machineFile, tvms }: Pick<AgentSpec, "machineFile" | "tvms">): number {
  if (machineFile === undefined) return tvms.length;
  try {
    const said = (JSON.parse(fs.readFileSync(machineFile, "utf8")) as { tvms?: unknown }).tvms;
    return typeof said === "number" && Number.isSafeInteger(said) && said > 0 ? said : tvms.length;
  } catch {
    return tvms.length;
  }
}

function need(condition: boolean, problem: string): void {
  if (!condition) throw new Error(`the agent's specification is wrong: ${problem}`);
}

function isPath(value: unknown): boolean {
  return typeof value === "string" && path.isAbsolute(value) && path.normalize(value) === value && !value.includes("\0");
}

function isId(value: unknown): boolean {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}
