// The documented rules for splitting a command line.
import { splitCommandLine } from "../../src/agent/commandLine";

test.each<[string, string[]]>([
  ["mypoolsetup.exe", ["mypoolsetup.exe"]],
  ["  a\tb \n c  ", ["a", "b", "c"]],
  [`sh -c "echo 'hi there' && exit 1"`, ["sh", "-c", "echo 'hi there' && exit 1"]],
  [`'single "quotes" \\ stay' "a \\"quoted\\" \\\\ word"`, ['single "quotes" \\ stay', 'a "quoted" \\ word']],
  [`"C:\\data\\new" C:\\\\data a\\ b`, ["C:\\data\\new", "C:\\data", "a b"]],
  [`a"b c"'d'e ""`, ["ab cde", ""]],
  ["$HOME %WATASK_TASK_NAME% *.txt a|b > c; d & `e`", ["$HOME", "%WATASK_TASK_NAME%", "*.txt", "a|b", ">", "c;", "d", "&", "`e`"]],
  ["ünï \u{1f600}x", ["ünï", "\u{1f600}x"]],
])("%j", (text, argv) => {
  expect(splitCommandLine(text)).toEqual({ argv });
});

test.each(["", "   ", '""', '"" x', 'a "b', "a 'b", "a \\", "a\0b"])("refuses %j", (text) => {
  expect(splitCommandLine(text)).toEqual({ problem: expect.stringMatching(/^[A-Z].*\.$/) });
});
