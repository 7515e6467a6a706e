// Shows that the tests hold the guards: takes one guard out at a time, in a copy of the source, and runs the quick test that has
// to notice. Ends with 1 when a guard can go unnoticed, or is not where this list says. It changes nothing in this folder.
//   npm run mutants            all of them
//   npm run mutants -- fence   those whose name has "fence" in it
//   npm run mutants -- --find  only looks whether each guard still stands where this list says
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "..");

/** name, file, what is there, what is there instead, the test that notices. */
const MUTANTS = [
  ["fence: a report of another attempt", "src/domain/task.ts", "  attempt === state.attempt && (state.phase", "  attempt > 0 && (state.phase", "test/domain/task.test.ts"],
  ["fence: a report of another TVM", "src/domain/task.ts", "owns(state, command.attempt) && command.tvm === tvmKey(accountOf(state.job), state.pool ?? \"\", state.tvm ?? \"\")", "owns(state, command.attempt)", "test/domain/task.test.ts"],
  ["fence: placement of what waits no longer", "src/domain/task.ts", "        if (state.phase !== \"active\") return [];\n        return [{ type: \"TaskAssigned\"", "        return [{ type: \"TaskAssigned\"", "test/domain/task.test.ts"],
  ["drain: a TVM goes on its agent's word alone", "src/process/poolStep.ts", "    if (!isDrained(tvm)) return false;\n", "", "test/app/resize.test.ts"],
  ["drain: what was given too late waits again", "src/process/poolStep.ts", "    await returnFrom(ports, key, at);\n", "", "test/app/resize.test.ts"],
  ["drain: a TVM that is gone has nothing to say", "src/process/poolStep.ts", "if (drains(tvm) && tvm.joined && !tvm.silent) {", "if (waits(option) && tvm.joined && !tvm.silent) {", "test/app/resize.test.ts"],
  ["drain: what a TVM may have begun is left with it", "src/app/assign.ts", " && !drains(row));", ");", "test/app/resize.test.ts"],
  ["drain: a TVM that stays is told", "src/app/agents.ts", "state.stateAt === request.drained ? {} : { resume: request.drained };", "state.stateAt === request.drained ? {} : {};", "test/app/restart.test.ts"],
  ["drain: word of an earlier wish to go", "src/domain/tvm.ts", "command.since !== state.stateAt || ", "", "test/domain/tvm.test.ts"],
  ["drain: an answer from before a task was taken in", "src/agent/agent.ts", "asked.taken !== taken || ", "", "test/agent/agent.test.ts"],
  ["drain: nothing is begun any more", "src/agent/agent.ts", "    if (drained !== undefined && !remembered.has(id)) return;\n", "", "test/agent/agent.test.ts"],
  ["agents: who is refused certificates", "src/app/agents.ts", "  const refusal = await refusalNow(ports, known, row);\n  if (refusal || !row) return refused(ports, known, refusal);\n  // From here on", "  const refusal = refusalFor(row, known.boot);\n  if (refusal || !row) return refused(ports, known, refusal);\n  // From here on", "test/app/certificates.test.ts"],
  ["place: a TVM is of no use by its stream", "src/app/react.ts", "return row && !row.gone && usable(row) ? row : ", "return row && !row.gone ? row : ", "test/app/place.test.ts"],
  ["fence: an old boot in an exchange", "src/app/agents.ts", "  return !row.joined || row.boot !== boot ? notYours : undefined;", "  return undefined;", "test/app/lives.test.ts"],
  ["fence: a join code used again", "src/domain/tvm.ts", "if (state.phase !== \"starting\" || state.joined || command.boot !== state.boot) return [];", "if (command.boot !== state.boot) return [];", "test/domain/tvm.test.ts"],
  ["heartbeats: late words of an earlier boot", "src/app/heartbeats.ts", "  if (before.boot > now.boot) return undefined;\n", "", "test/app/heartbeats.test.ts"],
  ["heartbeats: an earlier time", "src/app/heartbeats.ts", "at: isLater ? now.at : before.at,", "at: now.at,", "test/app/heartbeats.test.ts"],
  ["heartbeats: use of a join code is not forgotten", "src/app/heartbeats.ts", "exchanged: now.exchanged || before.exchanged === true,", "exchanged: now.exchanged,", "test/app/heartbeats.test.ts"],
  ["agents: who is sent away", "src/app/agents.ts", "  if (!really) throw new Busy(`The row of ${tvm} is behind.`);\n  return really;", "  return refusal;", "test/app/heartbeats.test.ts"],
  ["heartbeats: of who joins before its row is there", "src/app/agents.ts", "if (!row || row.boot < known.boot || ", "if (row && row.boot < known.boot || row && ", "test/app/heartbeats.test.ts"],
  ["heartbeats: of who joins while its row is of the boot before", "src/app/agents.ts", "if (!row || row.boot < known.boot || ", "if (!row || ", "test/app/heartbeats.test.ts"],
  ["heartbeats: the feed sees that there is one", "src/domain/reactions.ts", "[{ kind: \"listen\", tvm, boot: event.boot, at: event.at }, wake, look]", "[wake, look]", "test/app/heartbeats.test.ts"],
  ["fence: what the agent ended once", "src/agent/agent.ts", "    if (remembered.has(id)) {", "    if (false) {", "test/agent/agent.test.ts"],
  ["retries: the limit", "src/domain/task.ts", "state.retryCount < state.spec.maxTaskRetryCount;", "state.retryCount <= state.spec.maxTaskRetryCount;", "test/domain/task.test.ts"],
  ["retries: scheduling errors are not retried", "src/domain/task.ts", "const retry = error === undefined && ", "const retry = ", "test/domain/task.test.ts"],
  ["existence: a task added twice", "src/domain/task.ts", "if (state.phase !== \"absent\") return rejection(\"TaskExists\"", "if (state.phase === \"completed\") return rejection(\"TaskExists\"", "test/domain/task.test.ts"],
  ["target: not more TVMs than wanted", "src/domain/pool.ts", "const count = Math.min(command.count, room, ALLOCATE_MAX);", "const count = Math.min(command.count, ALLOCATE_MAX);", "test/domain/pool.test.ts"],
  ["resize: one at a time", "src/domain/pool.ts", "        if (state.phase === \"active\" && state.allocation !== \"steady\")\n          return rejection(\"PoolBeingResized\"", "        if (state.phase === \"absent\" && state.allocation !== \"steady\")\n          return rejection(\"PoolBeingResized\"", "test/domain/pool.test.ts"],
  ["priority: higher first", "src/domain/placement.ts", ".sort((a, b) => b.priority - a.priority)", "", "test/domain/placement.test.ts"],
  ["idempotency: rows skip what they have seen", "src/app/project.ts", "const fresh = commits.filter(({ version }) => version > seen);", "const fresh = [...commits];", "test/app/convergence.test.ts"],
  ["idempotency: an append of its own commit", "src/adapters/sqliteEventStore.ts", "if (stored?.[\"id\"] === commit.id) return \"ok\";", "", "test/contract/adapters.test.ts"],
  ["versions: the next one only", "src/adapters/sqliteEventStore.ts", "const { changes } = version === 1", "const { changes } = version >= 1", "test/contract/adapters.test.ts"],
  ["versions: a stale row is not written", "src/adapters/sqliteViews.ts", "if ((found?.[1] ?? 0) !== from) return \"stale\";", "", "test/contract/adapters.test.ts"],
  ["counters: the difference alone", "src/views/view.ts", "for (const name of Object.keys(before)) moved[name] = -(before[name] ?? 0);", "", "test/views/views.test.ts"],
  ["memory: what is remembered is not believed", "src/app/execute.ts", "if (guessed && (isRejection(answer) || answer.length === 0)) {", "if (false) {", "test/app/convergence.test.ts"],
  ["conditions: checked on the state that is changed", "src/app/execute.ts", "order.condition?.(from) ?? deciderFor", "deciderFor", "test/app/convergence.test.ts"],
  ["conditions: nothing meets none", "src/api/conditions.ts", "loaded.state.modifiedAt === \"\" || holds(", "holds(", "test/api/classic.test.ts"],
  ["lease: a TVM is lost after its time, not before", "src/app/sweep.ts", "    if (row.at > deadline) break;", "", "test/app/lives.test.ts"],
  ["sweep: a restart that nobody heard of", "src/app/sweep.ts", "  for (const pool of waiting) await ports.orchestrations.nudge(\"pool\", poolStream(pool));", "", "test/app/lives.test.ts"],
  ["sweep: a TVM that is back keeps its tasks", "src/app/react.ts", "if (held.length === 0 || !(await still())) return;", "if (held.length === 0) return;", "test/app/lives.test.ts"],
  ["placement: without a TVM that is lost, all is chosen anew", "src/app/place.ts", "    if (lost.length === 0) return { placed, looked };\n", "    return { placed, looked };\n", "test/app/place.test.ts"],
  ["sweep: what a TVM that is gone was given", "src/app/sweep.ts", "  await freeOrphans(ports, at);\n", "", "test/app/place.test.ts"],
  ["sweep: a TVM whose row is behind is there", "src/app/sweep.ts", "if ([\"absent\", \"gone\"].includes(states[index]?.state.phase ?? \"gone\")) await", "await", "test/app/place.test.ts"],
  ["placement: a manager's TVM that has left", "src/app/makeRoom.ts", "await assign(ports, pool, [{ job: parentOf(key), task: lastOf(key), tvm: chosen.tvm }], await rowsOf(ports, [chosen.tvm]), at);", "await executeAll(ports, \"task\", \"service\", [{ stream: taskStream(key), command: { type: \"AssignTask\", at, pool: lastOf(pool), tvm: lastOf(chosen.tvm) } }]);", "test/app/managers.test.ts"],
  ["placement: a TVM that leaves after its tasks", "src/app/assign.ts", "await takeStill(ports, { tvm, reason: \"tvmLost\", option: \"requeue\" }, at)", "await takeFrom(ports, tvm, \"tvmLost\", \"requeue\", at)", "test/app/lives.test.ts", ["import { takeStill } from \"./react\";", "import { takeFrom } from \"./react\";"]],
  ["deletion: rows of tasks that are forgotten", "src/process/jobStep.ts", "    if (there === 0) return true;", "", "test/app/lives.test.ts"],
  ["deletion: what the feed brings late", "src/process/jobStep.ts", "  if (at < due) return wakeAt(due);\n  await forgetTasks(ports, keyOf(stream));", "  if (at < due) return wakeAt(due);", "test/app/lives.test.ts"],
  ["room: a message is settled when there is some", "src/host/queuePump.ts", "        if (!isNoRoom(error) || stopped) throw error;", "        throw error;", "test/host/pumps.test.ts"],
  ["room: what could not be handed out can be", "src/adapters/sqliteBus.ts", "      for (const { sequence } of messages) inbox.held.delete(sequence);\n      release(db, queue, inbox, messages, () => true);\n", "", "test/contract/adapters.test.ts"],
  ["room: a full disk undoes a whole transaction", "src/host/store.ts", "      if (!inTransaction()) throw error;\n", "", "test/host/store.test.ts"],
  ["room: no silence is counted that could not be written down", "src/app/sweep.ts", " || heartbeatsKeptMs(ports) < LOST_AFTER_MS) return;", ") return;", "test/app/heartbeats.test.ts"],
  ["room: the use of a join code is written down", "src/app/agents.ts", "if (last?.boot === boot && last.exchanged) {", "if (exchanged) {", "test/app/heartbeats.test.ts"],
  ["room: who has nothing to report is answered", "src/app/heartbeats.ts", "if (!isNoRoom(error)) throw error;", "throw error;", "test/app/heartbeats.test.ts"],
  ["certificates: of the pool as it is", "src/app/agents.ts", "present.some((other) => sameCertificate(one, other))", "present.length >= 0 && one !== undefined", "test/app/certificates.test.ts"],
  ["deletion: a task that is told of after its job was ended", "src/process/jobStep.ts", "      return endStragglers(ports, stream, state, at);", "      return DONE;", "test/app/convergence.test.ts"],
  ["sync: files are on the disk before they have their name", "src/adapters/folderFiles.ts", "await handle.sync();", "", "test/contract/folderFiles.test.ts"],
  ["signature: compared at all", "src/api/auth.ts", "if (timingSafeEqual(createHmac(\"sha256\", secret).update(text, \"utf8\").digest(), given)) return true;", "return true;", "test/api/auth.test.ts"],
  ["security: deny by default", "src/api/auth.ts", "return own && ALLOWED[principal.kind].has(action) ? undefined", "return own && action !== \"\" ? undefined", "test/security/authority.test.ts"],
  ["security: a manager's own job alone", "src/api/serve.ts", "?? (manager && withinJob(names, manager))", "", "test/security/authority.test.ts"],
  ["security: a TVM's credential before anything of its request", "src/api/serve.ts", "if (principal.kind === \"tvm\" && !isCredential(ports, principal.credential)) return", "if (false) return", "test/api/agentDoor.test.ts"],
  ["security: an overheard change", "src/api/replays.ts", "return Math.abs(now - first) > TWICE_WITHIN_MS;", "return false;", "test/security/authority.test.ts"],
  ["security: an overheard change, as long as its date is good", "src/api/replays.ts", "young.get(signature) ?? old.get(signature)", "young.get(signature)", "test/security/authority.test.ts"],
  ["security: replays in bounded memory", "src/api/replays.ts", "young.size >= REMEMBERED_MAX / 2 || ", "", "test/security/authority.test.ts"],
  ["security: changes are on record", "src/api/audit.ts", "  else log.info(\"audit\", details);", "", "test/security/authority.test.ts"],
  ["security: who asks for what is not theirs is on record", "src/api/serve.ts", "if (forbidden) return auditRefused(exchange, by, found, forbidden);", "if (forbidden) return forbidden;", "test/security/authority.test.ts"],
  ["security: strangers do not fill the log", "src/api/attempts.ts", "if (untold === 0 || Math.abs(now - toldAt) < TELL_EVERY_MS) return 0;", "if (untold === 0) return 0;", "test/security/authority.test.ts"],
  ["security: an old boot's credential is on record", "src/app/agents.ts", "  ports.log.warn(\"audit\", { who: tvm, action: \"agent.exchange\"", "  ports.log.debug(\"audit\", { who: tvm, action: \"agent.exchange\"", "test/security/authority.test.ts"],
  ["security: this machine by a name of the outside", "src/agent/download.ts", "[\"127.0.0.0\", 8, \"ipv4\"], ", "", "test/agent/download.test.ts"],
  ["security: the addresses that a name leads to", "src/agent/download.ts", "!addresses.every((one) => addressAllowed(one.address, protocol, listed))", "!addresses.some((one) => addressAllowed(one.address, protocol, listed))", "test/agent/download.test.ts"],
  ["security: ports below", "src/agent/download.ts", "if (!hostListed(url, allowHosts) && !portAllowed(url.port)) throw notAllowed();", "", "test/agent/download.test.ts"],
  ["security: status of the host", "src/host/admin.ts", "if (key === undefined || !sameSecret(key, keys.master)) return endWith(response, 401);", "", "test/host/http.test.ts"],
  ["security: names that reach prototypes", "src/api/json.ts", "if (name === \"__proto__\" || name === \"constructor\" || name === \"prototype\") return -1;", "", "test/api/values.test.ts"],
  ["security: a name twice", "src/api/json.ts", "if (kept !== names) return", "if (false) return", "test/api/values.test.ts"],
  ["security: a continuation of another list", "src/api/lists.ts", "call.account, path.toLowerCase(), query.get(\"$filter\") ?? \"\", after", "after", "test/api/classic.test.ts"],
  ["security: a slow expression", "src/host/blobs.ts", "=\\s{0,9}(\\d{0,16})\\s{0,9}-", "=\\s*(\\d*)\\s*-", "test/security/source.test.ts"],
];

/** Whether the source has the guard where the list says. */
const stands = (folder, [, file, from, , test, also]) => {
  const text = readFileSync(path.join(folder, file), "utf8");
  return text.includes(from) && (!also || text.includes(also[0])) && existsSync(path.join(root, test));
};

if (process.argv.includes("--find")) {
  const moved = MUTANTS.filter((mutant) => !stands(root, mutant));
  for (const [name, file] of moved) console.log(`not found: ${name} (${file})`);
  console.log(JSON.stringify({ mutants: MUTANTS.length, found: MUTANTS.length - moved.length }));
  process.exit(moved.length > 0 ? 1 : 0);
}

const wanted = process.argv.slice(2).filter((one) => !one.startsWith("-"));
const copy = mkdtempSync(path.join(tmpdir(), "mutants-"));
const COPIED = ["src", "functions", "test", "bench", "package.json", "package-lock.json", "jest.config.js", "tsconfig.json", "host.json", "README.md", "bin"];
for (const name of COPIED) cpSync(path.join(root, name), path.join(copy, name), { recursive: true });
symlinkSync(path.join(root, "node_modules"), path.join(copy, "node_modules"));

/** Whether the test passes in the copy. */
const passes = (test) => {
  const jest = path.join(root, "node_modules", "jest", "bin", "jest.js");
  const { status } = spawnSync(process.execPath, [jest, test, "--bail", "--silent", "--coverage=false"], { cwd: copy, encoding: "utf8", timeout: 300_000 });
  return status === 0;
};

const lines = [];
const sound = new Map();
for (const mutant of MUTANTS) {
  const [name, file, from, to, test, also] = mutant;
  if (wanted.length > 0 && !wanted.some((word) => name.includes(word))) continue;
  const target = path.join(copy, file);
  const text = readFileSync(target, "utf8");
  if (!stands(copy, mutant)) {
    lines.push({ name, outcome: "not found", file });
    continue;
  }
  if (!sound.has(test)) sound.set(test, passes(test));
  if (!sound.get(test)) {
    lines.push({ name, outcome: "its test fails without it", test });
    continue;
  }
  const mutated = text.replaceAll(from, to);
  writeFileSync(target, also ? mutated.replace(also[0], also[1]) : mutated);
  lines.push({ name, outcome: passes(test) ? "SURVIVED" : "caught", test });
  writeFileSync(target, text);
  console.log(`${lines.at(-1).outcome.padEnd(10)} ${name} (${test})`);
}
rmSync(copy, { recursive: true, force: true });
const bad = lines.filter(({ outcome }) => outcome !== "caught");
for (const one of bad) console.log(`${one.outcome}: ${one.name}`);
console.log(JSON.stringify({ mutants: lines.length, caught: lines.length - bad.length }));
process.exitCode = bad.length > 0 ? 1 : 0;
