// Cleans the shared folders of a pool's TVMs: one task for each TVM, written with the client library.
//   node run.js POOL DAYS [--dry-run]
// Needs a running service: found by ./.batchledger, or by the variables that `batchledger env` prints.
"use strict";
const { readFileSync } = require("node:fs");
const path = require("node:path");
const { createClient, taskFiles } = require("../../dist/src/cli/client");
const { findConnection } = require("../../dist/src/cli/connection");
const { freshJob, waitForTasks } = require("../../dist/src/cli/waiting");

async function main([pool, days, flag]) {
  if (!pool || !/^\d+(\.\d+)?$/.test(days ?? "")) throw new Error("usage: node run.js POOL DAYS [--dry-run]");
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort(new Error("interrupted")));
  const client = createClient(findConnection(undefined, process.env), { signal: stop.signal });
  try {
    const tvms = [];
    for await (const { name } of client.listTvms(pool)) tvms.push(name);
    const workItem = `cleanup-${Date.now().toString(36)}`;
    const program = readFileSync(path.join(__dirname, "cleanup.js"));
    const address = await client.fileAddress("cleanup", `${workItem}/cleanup.js`);
    await client.upload(address, program, program.length);

    await client.createWorkItem({ name: workItem, jobExecutionEnvironment: { poolName: pool } });
    const job = await freshJob(client, workItem, stop.signal);
    // The affinity asks for one TVM each. It is a wish: a TVM that is busy may lose its task to another.
    const tasks = tvms.map((tvm, at) => ({
      name: `tvm-${at}`,
      commandLine: `node cleanup.js ${days}${flag === "--dry-run" ? " --dry-run" : ""}`,
      resourceFiles: [{ blobSource: address.readUrl, filePath: "cleanup.js" }],
      affinityInfo: { affinityId: `TVM:${tvm}` },
      taskConstraints: { maxTaskRetryCount: 1, maxWallClockTime: "PT10M" },
    }));
    await client.addTasks(workItem, job, tasks);
    const counts = await waitForTasks(client, workItem, job, { signal: stop.signal, expected: tasks.length });
    for (const { name } of tasks) {
      const { bytes } = await client.readFile(taskFiles(workItem, job, name), "stdout.txt");
      process.stdout.write(bytes);
    }
    await client.terminateJob(workItem, job, "AllTasksCompleted");
    return counts.failed > 0 ? 1 : 0;
  } finally {
    client.close();
  }
}

main(process.argv.slice(2)).then(
  (code) => { process.exitCode = code; },
  (error) => { console.error(`cleanup: ${error.message}`); process.exitCode = 1; },
);
