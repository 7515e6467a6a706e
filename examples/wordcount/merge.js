// Adds up word counts and writes them to words.txt, most frequent first.
//   node merge.js COUNTS.json...
"use strict";
const { readFileSync, writeFileSync } = require("node:fs");

/** Sums of several counts, as pairs: by number, then by alphabet. */
function mergeCounts(all) {
  const total = new Map();
  for (const counts of all) for (const [word, count] of Object.entries(counts)) total.set(word, (total.get(word) ?? 0) + count);
  return [...total].sort(([a, many], [b, few]) => few - many || (a < b ? -1 : 1));
}

module.exports = { mergeCounts };

if (require.main === module) {
  const files = process.argv.slice(2);
  const words = mergeCounts(files.map((file) => JSON.parse(readFileSync(file, "utf8"))));
  writeFileSync("words.txt", words.map(([word, count]) => `${count}\t${word}\n`).join(""));
  console.log(`${files.length} files, ${words.length} different words`);
}
