import { spawnSync } from "node:child_process";
import { splitCommandLine } from "../../src/agent/commandLine";
import { commandLine, fillIn, quote } from "../../src/cli/quoting";

const argvOf = (text: string): readonly string[] => {
  const split = splitCommandLine(text);
  if ("problem" in split) throw new Error(split.problem);
  return split.argv;
};

const HARD = [
  ["echo", "hello world"], ["p", ""], ["p", "it's"], ["p", '"quoted"', "'single'"], ["p", "a\\b", "\\", "\\\\"], ["p", "tab\there", "line\nend", "cr\r"],
  ["p", "$HOME", "`id`", "$(id)", "*", "a;b", "a|b", "a&b", ">x"], ["p", "\u00a0", "한국어 텍스트", "😀 x"], ["C:\\Program Files\\x.exe", "/c", "dir"], ["p", "'", "''", "'\\''"],
];

test.each(HARD.map((argv) => [argv]))("%j reaches the program as it is", (argv) => {
  expect(argvOf(commandLine(argv))).toEqual(argv);
});

test("any arguments survive: quoting, then the agent's splitting", () => {
  const alphabet = ["a", "B", "0", " ", "'", '"', "\\", "$", "\n", "\t", "{", "}", "é", "\u2003", "-", "/", "#", "~", "\0".replace("\0", "`")];
  let seed = 1;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return seed % below;
  };
  for (let round = 0; round < 2000; round++) {
    const argv = ["p", ...Array.from({ length: random(4) }, () => Array.from({ length: random(8) }, () => alphabet[random(alphabet.length)]).join(""))];
    expect(argvOf(commandLine(argv))).toEqual(argv);
  }
});

test("plain arguments stay readable", () => {
  expect(commandLine(["node", "work.js", "--size=10", "a/b.txt"])).toBe("node work.js --size=10 a/b.txt");
  expect(quote("two words")).toBe("'two words'");
});

test("{} is replaced everywhere in the command", () => {
  expect(fillIn({ args: ["convert", "{}.png", "out-{}.jpg"], shell: false }, "a b", true)).toBe("convert 'a b.png' 'out-a b.jpg'");
  expect(fillIn({ args: ["wc", "-w"], shell: false }, "file one", true)).toBe("wc -w 'file one'");
  expect(fillIn({ args: ["work"], shell: false }, "7", false)).toBe("work");
  // A value with patterns of replaceAll is only text.
  expect(fillIn({ args: ["p", "{}"], shell: false }, "$&$1", true)).toBe("p '$&$1'".replace("'$&$1'", () => quote("$&$1")));
});

test("in a shell a line is data, whatever it contains", () => {
  for (const value of ["a; echo broken", "$(echo broken)", "it's", "`echo broken`", "a\\"]) {
    const [program, ...args] = argvOf(fillIn({ args: ["printf %s {}"], shell: true }, value, true));
    expect([program, args[0]]).toEqual(["sh", "-c"]);
    expect(spawnSync(program as string, args, { encoding: "utf8" }).stdout).toBe(value);
  }
});
