#!/bin/sh
# Counts the words of text files: one task a file, then one that adds up. Needs a running service (batchledger start).
#   sh run.sh [FOLDER OF TEXTS] [RESULT FILE]
# BATCHLEDGER says how to call the command line; by default this checkout's own.
set -eu
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
texts=${1:-$here/texts}
result=${2:-words.txt}
: "${BATCHLEDGER:=$here/../../bin/batchledger.js}"

name=wordcount-$(date +%s)-$$
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT

# Every task finds all texts in its working directory, and counts the one that its line names.
ls "$texts" | "$BATCHLEDGER" submit --name "$name" --each-line - --task-name count --input "$here/count.js" "$texts"/* \
  --wait --progress --keep-open -- node count.js {}

# What the tasks wrote comes here, and goes out again as the input of the last task.
number=0
for text in "$texts"/*; do
  number=$((number + 1))
  "$BATCHLEDGER" cp "$name/count-$(printf %06d $number):counts.json" "$parts/$number.json"
done
# shellcheck disable=SC2046 # the parts are called 1.json, 2.json and so on
"$BATCHLEDGER" submit --to "$name" --task-name merge --input "$here/merge.js" "$parts"/*.json --wait -- \
  node merge.js $(cd "$parts" && echo *.json)
"$BATCHLEDGER" cp "$name/merge:words.txt" "$result"
head -5 "$result"
