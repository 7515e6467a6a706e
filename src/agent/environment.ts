// The environment of a task, built from nothing: the documented WATASK variables, a minimal set that programs expect, and the
// user's own entries. Nothing of the agent's environment is passed on, and no user entry replaces a WATASK variable.
import path from "node:path";

export interface TvmFacts {
  readonly account: string;
  readonly pool: string;
  readonly tvm: string;
  readonly root: string;
  readonly portRange?: { readonly low: number; readonly high: number } | undefined;
  /** Where the start task and tasks find the certificates that they may see. */
  readonly certificates?: { readonly starttask?: string; readonly task?: string } | undefined;
  /** Folders after the system's on PATH. */
  readonly programFolders: readonly string[];
}

/** Marks the processes of one run, so that one that left its process group can be found. For the agent's own use. */
export const MARK = "WATASK_ATTEMPT_MARK";
export const ROOT = "WATASK_TVM_ROOT_DIR";

const SYSTEM_PATH = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const ENTRIES_MAX = 1000;

/** Where a job manager finds the service, and the token that lets it speak of its job; no other task has them. */
const SERVICE_URL = "WATASK_SERVICE_URL";
const TOKEN = "WATASK_AUTHENTICATION_TOKEN";

export interface RunNames {
  readonly workItem?: string;
  readonly job?: string;
  readonly task?: string;
  readonly service?: { readonly url: string | undefined; readonly token: string } | undefined;
}

/** `mark` names the run; `cwd` is its working directory. */
export function taskEnvironment(facts: TvmFacts, names: RunNames, user: Readonly<Record<string, string>>, cwd: string, mark: string): Record<string, string> {
  const env: Record<string, string> = Object.create(null);
  env["PATH"] = [...SYSTEM_PATH, ...facts.programFolders].join(path.delimiter);
  env["HOME"] = cwd;
  env["TMPDIR"] = cwd;
  env["LANG"] = "C.UTF-8";
  let count = 0;
  for (const [name, value] of Object.entries(user)) {
    if (wellFormed(name, value) && count++ < ENTRIES_MAX) env[name] = value;
  }
  for (const [name, value] of Object.entries(systemVariables(facts, names, mark))) {
    delete env[name];
    if (value !== undefined) env[name] = value;
  }
  return env;
}

function systemVariables(facts: TvmFacts, names: RunNames, mark: string): Record<string, string | undefined> {
  return {
    WATASK_ACCOUNT_NAME: facts.account,
    WATASK_WORKITEM_NAME: names.workItem,
    WATASK_JOB_NAME: names.job,
    WATASK_TASK_NAME: names.task,
    WATASK_POOL_NAME: facts.pool,
    WATASK_TVM_NAME: facts.tvm,
    [ROOT]: facts.root,
    WATASK_CERTIFICATES_DIR: names.task === undefined ? facts.certificates?.starttask : facts.certificates?.task,
    WATASK_PORTRANGE_LOW: facts.portRange?.low.toString(),
    WATASK_PORTRANGE_HIGH: facts.portRange?.high.toString(),
    [SERVICE_URL]: names.service?.url,
    [TOKEN]: names.service?.token,
    [MARK]: mark,
  };
}

function wellFormed(name: string, value: string): boolean {
  return name !== "" && !/[=\0]/.test(name) && !value.includes("\0");
}
