// The small adapters of the embedded default: sealing, account keys, signals, randomness and the log.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync, chmodSync, existsSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { aesSealer } from "../../src/adapters/aesSealer";
import { accountFiles, fileAccounts } from "../../src/adapters/fileAccounts";
import { localSignals } from "../../src/adapters/localSignals";
import { systemClock, systemRandom } from "../../src/adapters/system";
import type { Clock } from "../../src/ports";

let folder: string;
beforeEach(() => (folder = mkdtempSync(path.join(tmpdir(), "batchledger-test-"))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("sealer", () => {
  const keyFile = () => path.join(folder, "keys", "seal");

  test("opens what it sealed, after a restart too, and nothing shows through", () => {
    const sealed = aesSealer(keyFile()).seal("?sig=secret ü", "task-1");
    expect(sealed).not.toContain("secret");
    expect(aesSealer(keyFile()).open(sealed, "task-1")).toBe("?sig=secret ü");
    expect(aesSealer(keyFile()).seal("?sig=secret ü", "task-1")).not.toBe(sealed);
  });

  test("refuses another context, another key, and any change", () => {
    const sealer = aesSealer(keyFile());
    const sealed = sealer.seal("secret", "task-1");
    expect(() => sealer.open(sealed, "task-2")).toThrow("cannot be opened");
    expect(() => aesSealer(path.join(folder, "other")).open(sealed, "task-1")).toThrow("cannot be opened");
    for (let at = 3; at < sealed.length - 1; at += 5) {
      const changed = sealed.slice(0, at) + (sealed[at] === "A" ? "B" : "A") + sealed.slice(at + 1);
      expect(() => sealer.open(changed, "task-1")).toThrow();
    }
    for (const nonsense of ["", "v1.", "secret", sealed.slice(0, 20)]) expect(() => sealer.open(nonsense, "task-1")).toThrow("not a sealed");
  });

  test("signs the same text alike under one key and differently under another, url-safe", () => {
    const sign = aesSealer(keyFile()).sign("text");
    expect(sign).toMatch(/^[A-Za-z0-9_-]{43}$/);
    expect(aesSealer(keyFile()).sign("text")).toBe(sign);
    expect(aesSealer(keyFile()).sign("text2")).not.toBe(sign);
    expect(aesSealer(path.join(folder, "other")).sign("text")).not.toBe(sign);
  });

  test("keeps its key to its owner, and refuses a file that others may read or that is not a key", () => {
    aesSealer(keyFile());
    expect(statSync(keyFile()).mode & 0o777).toBe(0o600);
    expect(statSync(keyFile()).size).toBe(32);
    chmodSync(keyFile(), 0o644);
    expect(() => aesSealer(keyFile())).toThrow("chmod 600");
    const short = path.join(folder, "short");
    writeFileSync(short, "x", { mode: 0o600 });
    expect(() => aesSealer(short)).toThrow("must hold 32 bytes");
  });
});

describe("accounts", () => {
  test("the first start makes two random keys of 64 bytes for `local`, the next keeps them", async () => {
    const keys = await fileAccounts(folder).keys("local");
    expect(new Set(keys).size).toBe(2);
    for (const key of keys!) expect(Buffer.from(key, "base64")).toHaveLength(64);
    expect(statSync(path.join(folder, "local.key")).mode & 0o777).toBe(0o600);
    expect(await fileAccounts(folder).keys("local")).toEqual(keys);
    expect(await fileAccounts(path.join(folder, "b")).keys("local")).not.toEqual(keys);
  });

  test("rotation needs no restart: two keys, then the new one alone; a removed file ends the account", async () => {
    const accounts = fileAccounts(folder, ["contoso"]);
    const file = path.join(folder, "contoso.key");
    const [old] = (await accounts.keys("contoso"))!;
    const fresh = Buffer.alloc(64, 7).toString("base64");
    writeFileSync(file, `${old}\r\n${fresh}\n\n`);
    expect(await accounts.keys("contoso")).toEqual([old, fresh]);
    writeFileSync(file, fresh);
    expect(await accounts.keys("contoso")).toEqual([fresh]);
    rmSync(file);
    expect(await accounts.keys("contoso")).toBeUndefined();
    expect(existsSync(path.join(folder, "local.key"))).toBe(false);
  });

  test("whoever may write to the folder adds, lists, rotates and removes accounts, and the service goes by it at once", async () => {
    const accounts = fileAccounts(folder);
    const files = accountFiles(folder, () => new Date("2015-07-09T19:31:21Z"));
    expect(await accounts.keys("contoso")).toBeUndefined();
    expect([files.add("contoso"), files.add("contoso")]).toEqual([true, false]);
    expect(files.names()).toEqual(["contoso", "local"]);
    const [primary, secondary] = (await accounts.keys("contoso"))!;
    expect(statSync(files.file("contoso")).mode & 0o777).toBe(0o600);
    // The other key stays good while one is replaced: nobody is ever without.
    expect(files.rotate("contoso", "secondary")).toBe(true);
    const [first, fresh] = (await accounts.keys("contoso"))!;
    expect(first).toBe(primary);
    expect(fresh).not.toBe(secondary);
    expect(files.rotate("contoso", "primary")).toBe(true);
    const [newest, kept] = (await accounts.keys("contoso"))!;
    expect(kept).toBe(fresh);
    expect([primary, secondary, fresh]).not.toContain(newest);
    expect([files.remove("contoso"), files.remove("contoso"), files.rotate("contoso", "primary")]).toEqual([true, false, false]);
    expect(await accounts.keys("contoso")).toBeUndefined();
    expect(files.keys("contoso")).toBeUndefined();
    for (const name of ["../x", "A", "ab", ""]) expect(() => files.add(name)).toThrow("is not an account name");
    // What was done is kept, and never a key.
    const log = readFileSync(path.join(folder, "accounts.log"), "utf8");
    expect(log.trim().split("\n").map((line) => (JSON.parse(line) as { action: string }).action)).toEqual(["add", "rotate secondary", "rotate primary", "remove"]);
    for (const key of [primary, secondary, fresh, newest]) expect(log).not.toContain(key);
    expect(statSync(path.join(folder, "accounts.log")).mode & 0o777).toBe(0o600);
  });

  test("an account of one key, as earlier releases made them, gains a second one", async () => {
    const one = Buffer.alloc(64, 7).toString("base64");
    writeFileSync(path.join(folder, "old.key"), `${one}\n`, { mode: 0o600 });
    const files = accountFiles(folder, () => new Date(0));
    expect(files.keys("old")).toEqual([one]);
    files.rotate("old", "secondary");
    expect(files.keys("old")).toEqual([one, expect.stringMatching(/^.{88}$/)]);
  });

  test("names that are no accounts are unknown, and never become paths", async () => {
    const accounts = fileAccounts(path.join(folder, "keys"));
    writeFileSync(path.join(folder, "outside.key"), readFileSync(path.join(folder, "keys", "local.key")), { mode: 0o600 });
    for (const name of ["nobody", "../outside", "LOCAL", "", "local.key", "a/b", "__proto__"]) expect(await accounts.keys(name)).toBeUndefined();
    expect(() => fileAccounts(folder, ["../x"])).toThrow("not an account name");
  });

  test("a file that is not one or two keys is refused, and the message does not show it", async () => {
    const accounts = fileAccounts(folder);
    const key = Buffer.alloc(64, 1).toString("base64");
    for (const content of ["", "short", `${key}\n${key}\n${key}`, `${key} ${key}`]) {
      writeFileSync(path.join(folder, "local.key"), content, { mode: 0o600 });
      const failure = await accounts.keys("local").catch((error: Error) => error.message);
      expect(failure).toContain("local.key must hold one or two lines");
      expect(failure).not.toContain(key);
    }
  });
});

describe("signals", () => {
  /** A clock that moves when told, and counts the sleeps that are under way. */
  function handClock() {
    let now = 0;
    const sleepers = new Set<{ until: number; wake: () => void }>();
    const clock: Clock = {
      now: () => new Date(now),
      steady: () => now,
      sleep: (milliseconds) => new Promise((resolve) => void sleepers.add({ until: now + milliseconds, wake: resolve })),
    };
    return {
      clock,
      sleeping: () => sleepers.size,
      async advance(milliseconds: number) {
        now += milliseconds;
        for (const sleeper of sleepers) {
          if (sleeper.until > now) continue;
          sleepers.delete(sleeper);
          sleeper.wake();
        }
        await new Promise(setImmediate);
      },
    };
  }

  test("a notification wakes everybody who waits for its topic, and nobody else", async () => {
    const { clock, advance } = handClock();
    const signals = localSignals(clock);
    const waits = [signals.wait("a", 100), signals.wait("a", 100), signals.wait("b", 100)];
    signals.notify("a");
    expect(await Promise.all(waits.slice(0, 2))).toEqual([true, true]);
    await advance(100);
    expect(await waits[2]).toBe(false);
  });

  test("a notification after the wait began and before it is awaited is not lost", async () => {
    const signals = localSignals(handClock().clock);
    const waits = [signals.wait("a", 100), signals.wait("a", 100)];
    signals.notify("a");
    await new Promise(setImmediate);
    expect(await Promise.all(waits)).toEqual([true, true]);
  });

  test("a notification that found nobody answers the next wait at once, and one only", async () => {
    const { clock, advance } = handClock();
    const signals = localSignals(clock);
    signals.notify("a");
    signals.notify("a");
    expect(await signals.wait("a", 100)).toBe(true);
    const second = signals.wait("a", 100);
    await advance(100);
    expect(await second).toBe(false);
  });

  test("each wait ends at its own time, with one sleep for all that end together", async () => {
    const { clock, advance, sleeping } = handClock();
    const signals = localSignals(clock);
    const ended: string[] = [];
    const wait = (name: string, milliseconds: number) => void signals.wait(name, milliseconds).then((woken) => ended.push(`${name} ${woken}`));
    for (let index = 0; index < 50; index++) wait("long", 1_000);
    expect(sleeping()).toBe(1);
    wait("short", 10);
    await advance(10);
    expect(ended).toEqual(["short false"]);
    await advance(989);
    expect(ended).toHaveLength(1);
    await advance(1);
    expect(ended).toHaveLength(51);
    expect(sleeping()).toBe(0);
  });

  test("many waits that are woken one after the other leave no sleeps behind", async () => {
    const { clock, sleeping } = handClock();
    const signals = localSignals(clock);
    for (let index = 0; index < 1_000; index++) {
      const wait = signals.wait("a", 60_000 + index);
      signals.notify("a");
      expect(await wait).toBe(true);
    }
    expect(sleeping()).toBe(1);
  });

  test("an abort ends the wait with false, before or while it lasts", async () => {
    const signals = localSignals(handClock().clock);
    const abort = new AbortController();
    const wait = signals.wait("a", 100, abort.signal);
    abort.abort();
    expect(await wait).toBe(false);
    expect(await signals.wait("a", 100, abort.signal)).toBe(false);
    signals.notify("a");
    expect(await signals.wait("a", 100)).toBe(true);
  });

  test("of topics nobody waits for, so many are remembered: the oldest are forgotten", async () => {
    const { clock, advance } = handClock();
    const signals = localSignals(clock);
    for (let index = 0; index <= 10_000; index++) signals.notify(`topic ${index}`);
    const oldest = signals.wait("topic 0", 10);
    expect(await signals.wait("topic 1", 10)).toBe(true);
    await advance(10);
    expect(await oldest).toBe(false);
  });
});

describe("clock and randomness", () => {
  test("ids are url-safe, of the length asked for, and do not repeat; fractions lie below one", () => {
    const ids = Array.from({ length: 5_000 }, () => systemRandom.id());
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.every((id) => /^[A-Za-z0-9_-]{22}$/.test(id))).toBe(true);
    expect(systemRandom.id(64)).toMatch(/^[A-Za-z0-9_-]{86}$/);
    expect(Buffer.from(systemRandom.id(10_000), "base64url")).toHaveLength(10_000);
    expect(systemRandom.uuid()).toMatch(/^[0-9a-f-]{36}$/);
    const fractions = Array.from({ length: 2_000 }, () => systemRandom.fraction());
    expect(Math.min(...fractions)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...fractions)).toBeLessThan(1);
    expect(fractions.reduce((sum, one) => sum + one) / fractions.length).toBeCloseTo(0.5, 1);
  });

  test("the clock tells the time and sleeps", async () => {
    const before = systemClock.now().getTime();
    await systemClock.sleep(5);
    expect(systemClock.now().getTime()).toBeGreaterThanOrEqual(before + 4);
  });
});

describe("log", () => {
  /** What a process of its own writes to standard error when it logs this. */
  function logged(level: string, script: string): string[] {
    const register = path.resolve(__dirname, "../agent/register.js");
    const module = path.resolve(__dirname, "../../src/adapters/system.ts");
    const { stderr, stdout } = spawnSync(process.execPath, ["--require", register, "-e",
      `const log = require(${JSON.stringify(module)}).consoleLog(${JSON.stringify(level)}); ${script}`], { encoding: "utf8" });
    expect(stdout).toBe("");
    return stderr.split("\n").slice(0, -1);
  }

  test("writes one line an entry, from its level up, and no name can forge one", () => {
    const lines = logged("info", `log.debug("no"); log.info("task\\n2026 error forged", { id: "a\\nb" }); log.warn("careful"); log.error("bad", { error: new Error("why", { cause: new Error("deep") }) })`);
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z info task 2026 error forged \{"id":"a\\nb"\}$/);
    expect(lines[1]).toMatch(/ warn careful$/);
    expect(lines[2]).toMatch(/"message":"why".*"message":"deep"/);
  });

  test("says nothing when silent, and survives details that cannot be shown", () => {
    expect(logged("silent", `log.error("bad")`)).toEqual([]);
    expect(logged("debug", `const loop = {}; loop.loop = loop; log.debug("odd", { loop }); log.debug("big", { n: 10n })`))
      .toEqual([expect.stringContaining("cannot be shown"), expect.stringContaining(`{"n":"10"}`)]);
  });

  test("shows no secret that it can recognise, in messages, details and errors", () => {
    const text = logged("debug", `
      log.info("GET http://h/files/a?sp=r&sig=SECRET1&se=2026 sig=SECRET2; AccountKey=SECRET3;");
      log.info("x", { authorization: "SharedKey local:SECRET4", header: "Bearer SECRET5.x.y", accountKey: "SECRET6", joinCode: "SECRET7", nested: { url: "https://h/p?token=SECRET8" } });
      log.error("x", { error: new Error("cannot fetch https://h/p?sig=SECRET9", { cause: new Error("SharedKey a:SECRET0") }) });
    `).join("\n");
    expect(text).not.toContain("SECRET");
    expect(text).toContain("sp=r&sig=REDACTED&se=2026");
    expect(text).toContain("Bearer REDACTED");
  });
});
