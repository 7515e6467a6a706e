// Deletes files that are older than so many days from the TVM's shared folder, and folders that become empty by that.
//   node cleanup.js DAYS [--dry-run]
// Links are never followed. What cannot be deleted is named, and makes the exit code 1.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const DAY_MS = 24 * 60 * 60 * 1000;

/** What was deleted (or would be), relative to the folder, with the bytes in all and what could not be deleted. */
function cleanUp(folder, before, dryRun) {
  const result = { deleted: [], bytes: 0, failed: [] };
  const clean = (at) => {
    let left = 0;
    for (const entry of fs.readdirSync(at, { withFileTypes: true })) {
      const file = path.join(at, entry.name);
      try {
        if (entry.isDirectory()) {
          const emptied = clean(file);
          if (emptied && !dryRun) fs.rmdirSync(file);
          if (!emptied) left++;
          continue;
        }
        const stat = fs.lstatSync(file);
        if (stat.mtimeMs >= before) {
          left++;
          continue;
        }
        if (!dryRun) fs.unlinkSync(file);
        result.deleted.push(path.relative(folder, file));
        result.bytes += stat.size;
      } catch (error) {
        left++;
        result.failed.push(`${path.relative(folder, file)}: ${error.code ?? error.message}`);
      }
    }
    // A folder that was empty before may be somebody's: only one that this run emptied goes.
    return left === 0 && result.deleted.some((name) => name.startsWith(path.relative(folder, at) + path.sep));
  };
  clean(folder);
  return result;
}

module.exports = { cleanUp, DAY_MS };

if (require.main === module) {
  const [days, flag] = process.argv.slice(2);
  const root = process.env.WATASK_TVM_ROOT_DIR;
  if (!/^\d+(\.\d+)?$/.test(days ?? "") || (flag !== undefined && flag !== "--dry-run") || !root) {
    console.error("usage, in a task: node cleanup.js DAYS [--dry-run]");
    process.exit(2);
  }
  const folder = path.join(root, "shared");
  const { deleted, bytes, failed } = cleanUp(folder, Date.now() - Number(days) * DAY_MS, flag === "--dry-run");
  for (const name of deleted) console.log(`${flag ? "would delete" : "deleted"} ${name}`);
  for (const problem of failed) console.error(`kept ${problem}`);
  console.log(`${process.env.WATASK_TVM_NAME}: ${deleted.length} files, ${bytes} bytes`);
  process.exitCode = failed.length > 0 ? 1 : 0;
}
