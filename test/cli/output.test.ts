import { bytes, clean, cleanLines, spell, table, when } from "../../src/cli/output";
import { bar, createProgress } from "../../src/cli/progress";
import { resolveInside } from "../../src/cli/commands/files";

test("a table is as wide as its values, numbers to the right", () => {
  const rows = [{ name: "a", n: 5 }, { name: "longer", n: 1234 }, { name: "", n: undefined }];
  expect(table(rows, [{ title: "NAME", value: (row) => row.name }, { title: "N", right: true, value: (row) => row.n }])).toBe(
    "NAME       N\na          5\nlonger  1234\n-          -\n");
});

test("wide characters take two columns", () => {
  expect(table([{ v: "작업" }, { v: "abcd" }], [{ title: "V", value: ({ v }) => v }, { title: "X", value: () => "|" }])).toBe("V     X\n작업  |\nabcd  |\n");
});

test("nothing that users write can take over the terminal", () => {
  expect(clean("a\u001b[2Jb\u001b]0;title\u0007c\rd\u009b31me\u202ef\u0000")).toBe("abc d31mef");
  expect(cleanLines("one\r\ntwo\tx\n\u001b[31mred\u001b[0m\rover\n")).toBe("one\r\ntwo\tx\nredover\n");
  expect(table([{ v: "x\ny\u001b[A" }], [{ title: "V", value: ({ v }) => v }])).toBe("V\nx y\n");
});

test("times and sizes in words", () => {
  expect([0, 850, 12_340, 59_960, 245_000, 12_000_000, 190_000_000].map(spell)).toEqual(["0 ms", "850 ms", "12.3 s", "1 min 00 s", "4 min 05 s", "3 h 20 min", "2 d 4 h"]);
  expect([0, 1023, 1024, 5_000_000, 1024 ** 3 * 2].map(bytes)).toEqual(["0 B", "1023 B", "1.0 KiB", "4.8 MiB", "2.0 GiB"]);
  expect(when("no date")).toBeUndefined();
});

test("a bar fits the terminal", () => {
  const full = bar("Tiles", { done: 24, total: 48, note: "2 running" }, 12_300, 100);
  expect(full).toBe("Tiles  [####################....................]   50%  24/48  2 running  12.3 s");
  for (const columns of [20, 40, 60]) expect(bar("Tiles", { done: 24, total: 48, note: "2 running" }, 12_300, columns).length).toBeLessThan(columns);
});

test("without a terminal: plain lines, at most one a second, none twice", () => {
  let now = 0;
  let written = "";
  const io = { errIsTerminal: false, err: (text: string) => { written += text; } } as never;
  const progress = createProgress(io, "w", () => now);
  for (let step = 0; step <= 30; step++) {
    now = step * 100;
    progress.update({ done: Math.min(2, Math.floor(step / 10)), total: 4 });
  }
  progress.end();
  expect(written).toBe("w: 0/4 (0 ms)\nw: 1/4 (1.0 s)\nw: 2/4 (2.0 s)\n");
});

test("names from a TVM stay below the folder", () => {
  expect(resolveInside("/dest", "a/b.txt")).toBe("/dest/a/b.txt");
  for (const name of ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a\0b", "c:\\x"]) expect(() => resolveInside("/dest", name)).toThrow("cannot be used");
});
