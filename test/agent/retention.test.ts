// Retention times outlive the agent: what is due is found again in the journal, whatever state it was left in.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRetention } from "../../src/agent/retention";
import { eventually } from "./eventually";

let folder: string;
const open: { close(): void }[] = [];
beforeEach(() => void (folder = fs.mkdtempSync(path.join(os.tmpdir(), "retention-"))));
afterEach(() => {
  for (const one of open.splice(0)) one.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

const journal = (): string => path.join(folder, "tvm-1.retention");
const opened = () => {
  const removed: string[] = [];
  const said: string[] = [];
  const retention = createRetention(journal(), (name) => void removed.push(name), (message) => void said.push(message));
  open.push(retention);
  return { ...retention, removed, said };
};

test("what was due when the agent was killed goes after the next one's start; what is in use again, or not due, stays", async () => {
  const first = opened();
  first.expire("w/j/short", 30);
  first.expire("w/j/again", 30);
  first.expire("w/j/long", 3_600_000);
  first.keep("w/j/again");
  first.close();
  expect(first.removed).toEqual([]);
  const second = opened();
  await eventually(() => second.removed.length > 0);
  expect(second.removed).toEqual(["w/j/short"]);
  // Done once: a third finds the long one alone.
  second.close();
  expect(fs.readFileSync(journal(), "utf8")).toContain("w/j/long");
  const third = opened();
  third.expire("w/j/last", 1);
  await eventually(() => third.removed.length > 0);
  expect([third.removed, third.said]).toEqual([["w/j/last"], []]);
});

test("a journal that was cut off, or holds what is no line of it, says what it still can", async () => {
  fs.writeFileSync(journal(), '\n{"folder":"w/j/a","at":1}\nnull\n{"folder":7,"at":1}\n{"folder":"w/j/b","at":"x"}\n{"folder":"w/j/c","at":1');
  const found = opened();
  await eventually(() => found.removed.length > 0);
  expect([found.removed, found.said]).toEqual([["w/j/a"], []]);
});

test("where it cannot be written the times are kept in memory, which is said once", async () => {
  fs.mkdirSync(journal());
  const found = opened();
  found.expire("w/j/a", 1);
  found.expire("w/j/b", 1);
  await eventually(() => found.removed.length === 2);
  expect(found.said).toEqual([expect.stringContaining("EISDIR")]);
});

test("the journal does not grow with the tasks that come and go", () => {
  const found = opened();
  for (let turn = 0; turn < 3_000; turn++) {
    found.expire("w/j/t", 3_600_000);
    found.keep("w/j/t");
  }
  found.expire("w/j/last", 3_600_000);
  expect(fs.readFileSync(journal(), "utf8").split("\n").length).toBeLessThan(2_100);
  found.close();
  opened().close();
  expect(fs.readFileSync(journal(), "utf8")).toMatch(/^\{"folder":"w\/j\/last","at":\d+\}\n$/);
});
