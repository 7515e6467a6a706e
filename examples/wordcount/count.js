// Counts the words of one text file and writes them to counts.json.
//   node count.js FILE
"use strict";
const { readFileSync, writeFileSync } = require("node:fs");

/** Words in lower case with how often they occur; a word is letters, with an apostrophe or hyphen inside. */
function countWords(text) {
  const counts = new Map();
  for (const [word] of text.toLowerCase().matchAll(/\p{L}+(?:['’-]\p{L}+)*/gu)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

module.exports = { countWords };

if (require.main === module) {
  const [file] = process.argv.slice(2);
  if (!file) {
    console.error("usage: node count.js FILE");
    process.exit(2);
  }
  const counts = countWords(readFileSync(file, "utf8"));
  writeFileSync("counts.json", JSON.stringify(Object.fromEntries(counts)));
  console.log(`${file}: ${counts.size} different words`);
}
