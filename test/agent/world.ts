// A stand-in service and real agent processes around a folder of their own; everything ends with the test.
import { spawn, type ChildProcess } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { AgentSpec } from "../../src/agent/spec";
import { processes, variableOf } from "../../src/agent/processTree";
import type { Assignment, JoinAnswer, Report } from "../../src/wire";
import { eventually } from "./eventually";
import { startFakeService, type FakeService, type FakeTvm } from "./fakeService";

const sources = path.join(__dirname, "..", "..", "src", "agent");

export interface TestAgent {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  output(): string;
}

export interface World {
  readonly folder: string;
  readonly service: FakeService;
  root(tvm: string): string;
  startAgent(tvms?: readonly string[], spec?: Partial<AgentSpec>, boot?: number): Promise<TestAgent>;
  /** Reports about one task, by key. */
  reportsOf(tvm: string, key: string): Report[];
  ended(tvm: string, key: string, attempt?: number): Promise<Report & { kind: "taskEnded" }>;
  started(tvm: string, key: string): Promise<Report>;
  read(tvm: string, ...names: string[]): string;
  /** Whether this file is there yet: a task that was told as started may not have come that far. */
  has(tvm: string, ...names: string[]): boolean;
  /** Processes of tasks of this TVM, however they left their group. */
  taskProcesses(tvm: string): number[];
  close(): Promise<void>;
}

export async function openWorld(answer: Partial<JoinAnswer> = {}): Promise<World> {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "agent-")));
  const service = await startFakeService({ endpointFile: path.join(folder, "service.json"), answer });
  const agents: TestAgent[] = [];
  const root = (tvm: string): string => path.join(folder, "tvms", tvm);
  const of = (tvm: string): FakeTvm => service.tvm(tvm);
  return {
    folder, service, root,
    async startAgent(tvms = ["tvm-1"], changes = {}, boot = 1) {
      fs.mkdirSync(path.join(folder, "tvms"), { recursive: true });
      const spec: AgentSpec = {
        endpointFile: path.join(folder, "service.json"), helperCache: path.join(os.tmpdir(), `helper-cache-${process.getuid?.()}`), allowSameUser: true, graceMs: 300,
        tvms: tvms.map((name) => ({ name, joinCode: `joincode~${name}~${boot}`, boot, root: root(name), address: "127.0.0.2" })), ...changes,
      };
      const agent = launch(spec);
      agents.push(agent);
      await eventually(() => agent.child.exitCode !== null || tvms.every((name) => of(name).exchanges.some((one) => one.boot === boot)), () => `agent to exchange: ${agent.output()}`);
      return agent;
    },
    reportsOf: (tvm, key) => of(tvm).reports.filter((report) => "key" in report && report.key === key),
    ended: (tvm, key, attempt = 1) =>
      eventually(() => of(tvm).reports.find((report): report is Report & { kind: "taskEnded" } => report.kind === "taskEnded" && report.key === key && report.attempt === attempt), () => `end of ${key}; ${JSON.stringify(of(tvm).reports)}`),
    started: (tvm, key) => eventually(() => of(tvm).reports.find((report) => report.kind === "taskStarted" && report.key === key), () => `start of ${key}`),
    has: (tvm, ...names) => fs.existsSync(path.join(root(tvm), ...names)),
    read: (tvm, ...names) => fs.readFileSync(path.join(root(tvm), ...names), "utf8"),
    taskProcesses: (tvm) => processes().filter((one) => variableOf(one.pid, "WATASK_TVM_ROOT_DIR") === root(tvm)).map((one) => one.pid),
    async close() {
      for (const agent of agents) if (agent.child.exitCode === null) agent.child.kill("SIGTERM");
      await Promise.all(agents.map((agent) => agent.exited));
      await service.stop();
      fs.rmSync(folder, { recursive: true, force: true });
      if (service.problems.length > 0) throw new Error(`the stand-in service got bad requests: ${service.problems.join("; ")}`);
    },
  };
}

/** An agent process from the TypeScript sources. */
function launch(spec: AgentSpec): TestAgent {
  const child = spawn(process.execPath, ["--require", path.join(__dirname, "register.js"), path.join(sources, "main.ts")], { stdio: ["pipe", "pipe", "pipe"], env: { PATH: process.env["PATH"] } });
  let output = "";
  child.stdout.on("data", (text: Buffer) => (output += text.toString()));
  child.stderr.on("data", (text: Buffer) => (output += text.toString()));
  child.stdin.end(JSON.stringify(spec));
  const exited = new Promise<number | null>((resolve) => child.once("close", resolve));
  return { child, exited, output: () => output };
}

let serial = 0;
/** An assignment of a task that runs a shell script, or a command line as it is. */
export function assignment(command: string | { readonly line: string }, changes: Partial<Assignment> = {}): Assignment {
  const task = changes.task ?? `t${++serial}`;
  const commandLine = typeof command === "string" ? `sh -c '${command.replaceAll("'", `'\\''`)}'` : command.line;
  return { key: `acme.w.j.${task}`, attempt: 1, workItem: "w", job: "j", task, commandLine, resourceFiles: [], environment: {}, runElevated: false, ...changes };
}
