// batchledger demo: starts the service on data of its own, renders a picture on two TVMs tile by tile, fetches it, and stops.
// Everything but the start and the stop goes through the API, as any user would do it; with --service on one that runs already.
import { availableParallelism } from "node:os";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type Client, createClient, taskFiles } from "../client";
import type { Command, Invocation } from "../command";
import { findConnection, readKey } from "../connection";
import { EXIT, Failure, ServiceError } from "../failures";
import { clean, json, plural, spell } from "../output";
import * as parse from "../options";
import { type Progress, createProgress } from "../progress";
import { commandLine, shellQuote } from "../quoting";
import type { Counts, NewTask, ResourceFile } from "../resources";
import { startService } from "../serviceDoor";
import { failureOf, freshJob, hasFailed, noteOf, until } from "../waiting";
import { startProblem } from "./service";

const POOL = "demo";
/** The container of the file store that the demo uses. */
const CONTAINER = "demo";
const PROGRAMS = ["render.js", "assemble.js", "scene.js"];
const PICTURE = "picture.png";
const ADDRESSES_AT_ONCE = 8;
const TASK_LIMIT = "PT5M";
// One is used up on purpose; the rest is for a machine that is short of memory.
const RETRIES = 5;
const DEMO_MAX_MS = 10 * 60_000;

export const demoCommand: Command = {
  words: "demo", operands: "", operandsMin: 0, operandsMax: 0, connects: false,
  summary: "Renders a picture on two TVMs of a service of its own: the whole way from an empty folder to a PNG file.",
  options: {
    data: { type: "string", value: "DIR", help: "data folder of the demo's service (default ./.batchledger/demo)" },
    service: { type: "boolean", help: "use the service that runs (of --data, or BATCHLEDGER_URL) instead of one of its own" },
    out: { type: "string", value: "FILE", help: "where the picture goes (default picture.png in the data folder)" },
    tvms: { type: "string", value: "N", help: "TVMs to render on (default 2)" },
    samples: { type: "string", value: "N", help: "light rays for each pixel: fewer are quicker and noisier (default: the scene's)" },
    scene: { type: "string", value: "FILE", help: "another scene file (see examples/render/README.md)" },
  },
  run: demo,
};

interface Scene {
  readonly title?: string;
  readonly width: number;
  readonly height: number;
  readonly samples: number;
  readonly failOnce?: string;
}

interface Plan {
  readonly scene: Scene;
  readonly sceneText: string;
  readonly programs: string;
  readonly tiles: readonly string[];
  readonly workItem: string;
  readonly tvms: number;
}

async function demo(call: Invocation): Promise<number> {
  const started = Date.now();
  const plan = planDemo(call);
  const data = path.resolve(call.io.cwd, call.text("data") ?? path.join(".batchledger", "demo"));
  const picture = path.resolve(call.io.cwd, call.text("out") ?? path.join(data, PICTURE));
  const say = (text: string) => call.io.err(`${text}\n`);
  if (call.flag("service")) return onRunning(call, plan, picture, say, started);
  say(`Starting the service on ${path.relative(call.io.cwd, data) || data} ...`);
  const service = await startService({ data, port: 0, logLevel: "error" }).catch((error: unknown) => {
    throw startProblem(error);
  });
  try {
    const client = createClient({ url: service.url, ...readKey(service.data, service.account) }, { signal: call.io.signal });
    try {
      say(`It answers on ${service.url} after ${spell(Date.now() - started)}.`);
      const counts = await render(call, client, plan, picture, say);
      summarize(call, plan, picture, counts, Date.now() - started);
    } finally {
      client.close();
    }
  } finally {
    await service.stop();
  }
  if (!call.json) say("The service has stopped.");
  return EXIT.ok;
}

/** On a service that others may use: what the demo needed goes in the end, its work item stays to be looked at. */
async function onRunning(call: Invocation, plan: Plan, picture: string, say: (text: string) => void, started: number): Promise<number> {
  const connection = findConnection(call.text("data"), call.io.env);
  const client = createClient(connection, { signal: call.io.signal });
  try {
    say(`Using the service on ${connection.url}.`);
    const counts = await render(call, client, plan, picture, say);
    await client.deletePool(POOL);
    summarize(call, plan, picture, counts, Date.now() - started);
  } finally {
    client.close();
  }
  return EXIT.ok;
}

/** Everything that can be wrong with the command line, before anything is started. */
function planDemo(call: Invocation): Plan {
  const programs = examplesFolder("render");
  const sceneFile = call.text("scene");
  const scene = JSON.parse(readFileSync(sceneFile ? path.resolve(call.io.cwd, sceneFile) : path.join(programs, "scene.json"), "utf8")) as Scene & { columns: number; rows: number };
  const samples = call.text("samples");
  const changed = { ...scene, ...(samples === undefined ? {} : { samples: parse.wholeNumber("--samples", samples, 1, 10_000) }) };
  return {
    scene: changed, sceneText: JSON.stringify(changed), programs,
    tiles: Array.from({ length: scene.columns * scene.rows }, (_, at) => `${at % scene.columns},${Math.floor(at / scene.columns)}`),
    workItem: `render-${Date.now().toString(36)}`,
    tvms: parse.wholeNumber("--tvms", call.text("tvms") ?? "2", 1, 64),
  };
}

/** The examples lie beside the package file, wherever this was compiled to. */
export function examplesFolder(name: string): string {
  for (let folder = __dirname; folder !== path.dirname(folder); folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, "package.json")) && existsSync(path.join(folder, "examples", name))) return path.join(folder, "examples", name);
  }
  throw new Failure(EXIT.usage, `The folder examples/${name} is missing.`, "Run the demo in a full checkout.");
}

async function render(call: Invocation, client: Client, plan: Plan, picture: string, say: (text: string) => void): Promise<Counts> {
  const { workItem, tiles, scene } = plan;
  await ensurePool(client, plan.tvms);
  const inputs = await uploadInputs(client, plan);
  say(`Pool ${POOL}: ${plural(plan.tvms, "TVM")}. Uploaded the renderer and the scene${scene.title ? ` "${clean(scene.title)}"` : ""}: ${scene.width}x${scene.height} pixels in ${tiles.length} tiles.`);
  await client.createWorkItem({ name: workItem, jobExecutionEnvironment: { poolName: POOL } });
  const job = await freshJob(client, workItem, call.io.signal);
  const node = nodeForTasks();
  await addAll(client, workItem, job, tiles.map((tile) => tileTask(node, tile, inputs.files)));
  const progress = createProgress(call.io, "Rendering");
  const total = tiles.length + 1;
  await ended(call, client, plan, job, tiles.length, total, progress);
  // The last task needs what the others made: it gets their tiles as inputs, straight from the file store.
  await addAll(client, workItem, job, [assembleTask(node, inputs)]);
  const counts = await ended(call, client, plan, job, total, total, progress);
  progress.end();
  const { bytes } = await client.readFile(taskFiles(workItem, job, "assemble"), `wd/${PICTURE}`);
  mkdirSync(path.dirname(picture), { recursive: true });
  writeFileSync(picture, bytes);
  await client.terminateJob(workItem, job, "AllTasksCompleted");
  return counts;
}

/** A pool of an earlier demo on the same data may still be there, with another size. */
async function ensurePool(client: Client, tvms: number): Promise<void> {
  try {
    await client.createPool({ name: POOL, osFamily: "4", tvmSize: "small", targetDedicated: tvms, maxTasksPerTVM: 1 });
  } catch (error) {
    if (!(error instanceof ServiceError && error.code === "PoolExists")) throw error;
    if ((await client.getPool(POOL)).targetDedicated !== tvms) await client.resizePool(POOL, { targetDedicated: tvms });
  }
}

interface Inputs {
  /** For each tile task: programs, scene, and the addresses that results go to. */
  readonly files: readonly ResourceFile[];
  /** Where each tile is read from once it is rendered. */
  readonly tiles: ReadonlyMap<string, string>;
}

/**
 * Tiles PUT their result to addresses that are handed over in a file and not in environment variables: whoever may read a
 * task reads its environment, and such an address is a key.
 */
async function uploadInputs(client: Client, plan: Plan): Promise<Inputs> {
  const readUrls = new Map<string, string>();
  const outputs: Record<string, { writeUrl: string; failOnce?: { readUrl: string; writeUrl: string } }> = {};
  const queue = [...plan.tiles];
  await Promise.all(Array.from({ length: ADDRESSES_AT_ONCE }, async () => {
    for (let tile = queue.shift(); tile !== undefined; tile = queue.shift()) {
      const address = await client.fileAddress(CONTAINER, `${plan.workItem}/${tileFile(tile)}`);
      const mark = tile === plan.scene.failOnce ? await client.fileAddress(CONTAINER, `${plan.workItem}/failed-once`) : undefined;
      readUrls.set(tile, address.readUrl);
      outputs[tile] = { writeUrl: address.writeUrl, ...(mark ? { failOnce: mark } : {}) };
    }
  }));
  const files: ResourceFile[] = [];
  const put = async (filePath: string, content: Buffer) => {
    const address = await client.fileAddress(CONTAINER, `${plan.workItem}/${filePath}`);
    await client.upload(address, content, content.length);
    files.push({ blobSource: address.readUrl, filePath });
  };
  for (const program of PROGRAMS) await put(program, readFileSync(path.join(plan.programs, program)));
  await put("scene.json", Buffer.from(plan.sceneText));
  await put("outputs.json", Buffer.from(JSON.stringify(outputs)));
  return { files, tiles: readUrls };
}

const tileFile = (tile: string): string => `tile-${tile.replace(",", "-")}.rgb`;

/** Row before column, so that name order is reading order. */
const taskName = (tile: string): string => `tile-${tile.split(",").reverse().map((part) => part.padStart(2, "0")).join("-")}`;

const tileTask = (node: string, tile: string, files: readonly ResourceFile[]): NewTask => ({
  name: taskName(tile),
  commandLine: commandLine([node, "render.js", "scene.json", tile, "outputs.json"]),
  resourceFiles: files,
  taskConstraints: { maxTaskRetryCount: RETRIES, maxWallClockTime: TASK_LIMIT },
});

const assembleTask = (node: string, { files, tiles }: Inputs): NewTask => ({
  name: "assemble",
  commandLine: commandLine([node, "assemble.js", "scene.json", PICTURE]),
  resourceFiles: [...files.filter(({ filePath }) => filePath !== "outputs.json"), ...[...tiles].map(([tile, blobSource]) => ({ blobSource, filePath: tileFile(tile) }))],
  taskConstraints: { maxTaskRetryCount: RETRIES, maxWallClockTime: TASK_LIMIT },
});

async function addAll(client: Client, workItem: string, job: string, tasks: readonly NewTask[]): Promise<void> {
  const { failed, failures } = await client.addTasks(workItem, job, tasks);
  const [first] = failures;
  if (failed > 0) throw new Failure(EXIT.refused, `The service refused ${plural(failed, "task")}: ${first?.message ?? ""} [${first?.code ?? ""}]`);
}

/** Waits until so many tasks have ended; a failed one ends the demo with what it wrote. */
async function ended(call: Invocation, client: Client, plan: Plan, job: string, wanted: number, total: number, progress: Progress): Promise<Counts> {
  const counts = await until(async () => {
    const now = await client.counts(plan.workItem, job);
    progress.update({ done: now.completed, total, note: noteOf(now) });
    return now.failed > 0 || now.completed >= wanted ? now : undefined;
  }, call.io.signal, DEMO_MAX_MS);
  if (counts && counts.failed === 0) return counts;
  progress.end();
  if (!counts) throw new Failure(EXIT.failed, `The picture is not done after ${spell(DEMO_MAX_MS)}.`);
  for await (const task of client.listTasks(plan.workItem, job, { filter: "state eq 'completed'" })) {
    if (!hasFailed(task)) continue;
    const said = await client.readFile(taskFiles(plan.workItem, job, task.name), "stderr.txt").then(({ bytes }) => clean(bytes.toString("utf8")).slice(0, 500), () => "");
    throw new Failure(EXIT.failed, `Task ${task.name} failed: ${failureOf(task)}. ${said}`);
  }
  throw new Failure(EXIT.failed, "A task failed.");
}

/**
 * The Node that tasks run. Where tasks have a user of their own, that user must be able to reach it: if a folder on the way is
 * closed to others, the one that the TVM finds by itself has to do.
 */
export function nodeForTasks(executable: string = process.execPath): string {
  const root = process.getuid?.() === 0;
  try {
    accessSync(executable, constants.X_OK);
    for (let place = executable; root && place !== path.dirname(place); place = path.dirname(place)) {
      if ((statSync(place).mode & 0o001) === 0) return "node";
    }
    return executable;
  } catch {
    return "node";
  }
}

function summarize(call: Invocation, plan: Plan, picture: string, counts: Counts, wallMs: number): void {
  const cores = availableParallelism();
  if (call.json) {
    json(call.io, { picture, workItem: plan.workItem, tasks: counts.completed, retries: counts.retries, requeues: counts.requeues, wallMs, coreMs: counts.cpuMs, cores });
    return;
  }
  call.io.out([
    "",
    `Picture    ${picture}`,
    `Tasks      ${counts.completed} (${plan.tiles.length} tiles and one that put them together)`,
    `Retries    ${counts.retries}${plan.scene.failOnce ? ` (tile ${plan.scene.failOnce} fails on purpose, once)` : ""}`,
    `Wall time  ${spell(wallMs)}`,
    `Core time  ${spell(counts.cpuMs)} on ${plural(cores, "core")}`,
    "",
    ...(call.flag("service") ? [`Its history: batchledger events ${plan.workItem}`] : [
      `Its history is kept: start the service on it with`,
      `  batchledger start --data ${shellQuote(call.text("data") ?? path.join(".batchledger", "demo"))}`,
    ]),
    "",
  ].join("\n"));
}
