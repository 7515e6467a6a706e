// Files of tasks and of TVMs: listed, read whole and in part, removed. What simulated TVMs have is in machines.ts.
import { type Action, type Client, JOB, knownTask, someTvm, taskPath } from "../names";

const TASK_FILES = ["stdout.txt", "stdout.txt", "stdout.txt", "wd/result.txt", "nothing.txt"] as const;

const taskFiles = (client: Client): string => `${taskPath(client)}/files`;
const tvmFiles = (client: Client): string => `/pools/${someTvm(client)}/files`;
const taskFile = (client: Client): string => `${taskFiles(client)}/${client.random.oneOf(TASK_FILES)}`;
const tvmFile = (client: Client): string => {
  const { workItem, task } = knownTask(client);
  const inTask = `tasks/${workItem}/${JOB}/${task}/stdout.txt`;
  return `${tvmFiles(client)}/${client.random.oneOf(["start/stdout.txt", "shared/note.txt", "shared/note.txt", inTask])}`;
};

const range = ({ random }: Client): { headers?: Record<string, string> } =>
  random.chance(0.3) ? { headers: { [random.oneOf(["range", "ocp-range"])]: random.oneOf(["bytes=0-9", "bytes=4-", "bytes=-5", "bytes=900-"]) } } : {};

export const fileActions: readonly Action[] = [
  { name: "listTaskFiles", weight: 1, ask: (client) => ({ method: "GET", target: `${taskFiles(client)}?recursive=${client.random.chance(0.5)}` }) },
  { name: "getTaskFile", weight: 6, ask: (client) => ({ method: "GET", target: taskFile(client), ...range(client) }) },
  { name: "headTaskFile", weight: 0.5, ask: (client) => ({ method: "HEAD", target: taskFile(client) }) },
  { name: "deleteTaskFile", weight: 1, ask: (client) => ({ method: "DELETE", target: taskFile(client) }) },
  { name: "listTvmFiles", weight: 1, ask: (client) => ({ method: "GET", target: `${tvmFiles(client)}?recursive=${client.random.chance(0.5)}` }) },
  { name: "getTvmFile", weight: 3, ask: (client) => ({ method: "GET", target: tvmFile(client), ...range(client) }) },
  { name: "headTvmFile", weight: 0.5, ask: (client) => ({ method: "HEAD", target: tvmFile(client) }) },
  { name: "deleteTvmFile", weight: 1, ask: (client) => ({ method: "DELETE", target: tvmFile(client) }) },
];
