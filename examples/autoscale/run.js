// Shows a pool that follows its work: starts a service of its own that evaluates formulas every two seconds, adds many short tasks
// to a pool without TVMs, and draws the queue and the TVMs until there are none again.
//   node run.js [--tasks N] [--seconds N] [--interval SECONDS] [--json]
"use strict";
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const { mkdtempSync, readFileSync, rmSync } = require("node:fs");
const { tmpdir } = require("node:os");
const path = require("node:path");
const { parseArgs } = require("node:util");
const { createClient } = require("../../dist/src/cli/client");
const { readKey } = require("../../dist/src/cli/connection");
const { freshJob } = require("../../dist/src/cli/waiting");

const BATCHLEDGER = path.join(__dirname, "..", "..", "bin", "batchledger.js");
const POOL = "tide";
const WORK_ITEM = "waves";
const LOOK_MS = 1000;
const LIMIT_MS = 10 * 60_000;
const QUEUE_WIDTH = 40;

async function main() {
  const { values } = parseArgs({
    options: { tasks: { type: "string", default: "500" }, seconds: { type: "string", default: "0.2" }, interval: { type: "string", default: "2" }, json: { type: "boolean", default: false } },
  });
  const [tasks, seconds, interval] = [Number(values.tasks), Number(values.seconds), Number(values.interval)];
  if (!(Number.isInteger(tasks) && tasks > 0 && seconds >= 0 && interval >= 1)) throw new Error("usage: node run.js [--tasks N] [--seconds N] [--interval SECONDS] [--json]");
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort(new Error("interrupted")));
  const data = mkdtempSync(path.join(tmpdir(), "batchledger-autoscale-"));
  const service = spawn(process.execPath, [BATCHLEDGER, "start", "--json", "--data", data, "--port", "0", "--log-level", "error", "--autoscale-interval", `${interval}s`], {
    stdio: ["ignore", "pipe", "inherit"],
    // Ctrl-C is for this program, which then ends the service.
    detached: true,
  });
  const exit = once(service, "exit");
  let client;
  try {
    client = createClient(await readyOn(service, data), { signal: stop.signal });
    const formula = readFileSync(path.join(__dirname, "formula.txt"), "utf8");
    await client.createPool({ name: POOL, osFamily: "4", tvmSize: "small", maxTasksPerTVM: 1, enableAutoScale: true, autoScaleFormula: formula });
    await client.createWorkItem({ name: WORK_ITEM, jobExecutionEnvironment: { poolName: POOL } });
    const job = await freshJob(client, WORK_ITEM, stop.signal);
    const before = await look(client, job, Date.now());
    if (!values.json) process.stdout.write(`${formula}\n${plain(tasks, seconds)}\n\n  time   queue                                           TVMs\n${line(before, tasks)}`);
    const started = Date.now();
    const { added } = await client.addTasks(WORK_ITEM, job, Array.from({ length: tasks }, (_, at) => ({ name: `wave-${String(at).padStart(5, "0")}`, commandLine: `sleep ${seconds}` })));
    const curve = await follow(client, job, started, tasks, stop.signal, (moment) => values.json || process.stdout.write(line(moment, tasks)));
    const summary = summarize([before, ...curve], added);
    process.stdout.write(values.json ? `${JSON.stringify(summary)}\n` : tell(summary));
    return summary.completed === tasks && summary.failed === 0 ? 0 : 1;
  } finally {
    client?.close();
    service.kill("SIGTERM");
    await exit;
    rmSync(data, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** The first line that the service says: where it is. */
async function readyOn(service, data) {
  let text = "";
  for await (const chunk of service.stdout) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  if (!text.includes("\n")) throw new Error("the service did not start");
  const { api, account } = JSON.parse(text);
  return { url: api, ...readKey(data, account) };
}

const plain = (tasks, seconds) => `${tasks} tasks of ${seconds} s on a pool without TVMs:`;

/** Queue, target and TVMs of one moment. */
async function look(client, job, started) {
  const [counts, pool] = await Promise.all([client.counts(WORK_ITEM, job), client.getPool(POOL)]);
  return {
    seconds: (Date.now() - started) / 1000,
    queue: counts.active + counts.assigned + counts.running,
    completed: counts.completed, failed: counts.failed, requeues: counts.requeues,
    target: pool.targetDedicated, tvms: pool.currentDedicated,
  };
}

/** Looks on until all tasks have ended and all TVMs have gone; every change is a moment of the curve. */
async function follow(client, job, started, tasks, signal, show) {
  const curve = [];
  for (;;) {
    signal.throwIfAborted();
    const now = await look(client, job, started);
    const last = curve.at(-1);
    if (!last || last.queue !== now.queue || last.target !== now.target || last.tvms !== now.tvms) {
      curve.push(now);
      show(now);
    }
    if (now.completed === tasks && now.target === 0 && now.tvms === 0) return curve;
    if (Date.now() - started > LIMIT_MS) throw new Error(`not over after ${LIMIT_MS / 60_000} minutes`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** `#` is a TVM that is there, `+` one that the target wants, `-` one that is to go. */
function line({ seconds, queue, target, tvms }, tasks) {
  const bar = "=".repeat(Math.ceil((queue / tasks) * QUEUE_WIDTH));
  const marks = "#".repeat(Math.min(tvms, target)) + "+".repeat(Math.max(0, target - tvms)) + "-".repeat(Math.max(0, tvms - target));
  return `${seconds.toFixed(1).padStart(5)}s  ${String(queue).padStart(6)} ${bar.padEnd(QUEUE_WIDTH)} ${marks}\n`;
}

function summarize(curve, added) {
  const last = curve[curve.length - 1];
  return {
    added, completed: last.completed, failed: last.failed, requeues: last.requeues,
    tvmsAtStart: curve[0].tvms, mostTvms: Math.max(...curve.map(({ tvms }) => tvms)), tvmsAtEnd: last.tvms,
    workSeconds: Number((curve.find(({ completed }) => completed === last.completed).seconds).toFixed(1)), seconds: Number(last.seconds.toFixed(1)), curve,
  };
}

const tell = ({ completed, failed, mostTvms, workSeconds, seconds }) =>
  `\n${completed} tasks ended, ${failed} badly, after ${workSeconds} s on up to ${mostTvms} TVMs; none was left after ${seconds} s.\n`;

main().then(
  (code) => { process.exitCode = code; },
  (error) => { console.error(`autoscale: ${error.message}`); process.exitCode = 1; },
);
