// Users of a TVM as users of the machine: which programs are run with what, and what is refused. The programs are noted down, not
// run: a test makes no users on anybody's machine.
import { tvmUsers, type System, type UsersOptions } from "../../src/agent/users";

const noted = (changes: Partial<System> = {}) => {
  const ran: string[] = [];
  const passwd = new Set<string>(["root", "daemon"]);
  const groups = new Set<string>();
  let fail: string | undefined;
  const system: System = {
    platform: "linux", isRoot: true,
    read: (file) => (file === "/etc/group" ? `root:x:0:\nsudo:x:27:\n${[...groups].map((name) => `${name}:x:1234:\n`).join("")}` : [...passwd].map((name) => `${name}:x:1:1::/:/bin/sh`).join("\n")),
    async run(file, args, input) {
      ran.push([file, ...args, ...(input === undefined ? [] : [`< ${input}`])].join(" "));
      const name = args.at(-1) as string;
      if (file === fail) return { code: 9, said: `${file}: no room` };
      if (file === "useradd") passwd.add(name);
      if (file === "userdel") passwd.delete(name);
      if (file === "groupadd") groups.add(name);
      if (file === "groupdel") groups.delete(name);
      return { code: 0, said: "" };
    },
    ...changes,
  };
  const users = (more: Partial<UsersOptions> = {}) => tvmUsers({ root: "/data/tvms/a", uid: 20_001, gid: 20_001, allowed: true, log: () => undefined, system, ...more });
  return { ran, passwd, groups, users, failing: (file: string | undefined) => void (fail = file) };
};
const later = "2099-06-01T10:00:00.000Z";

test("a user gets the TVM's own number, its root as home, an end, and the password by standard input alone", async () => {
  const { ran, users, passwd } = noted();
  const answer = await users().change({ id: "1", kind: "add", name: "Ann", password: "p:w $(x)", isAdmin: true, expiresAt: later });
  const account = answer.account as string;
  expect(account).toMatch(/^bl[0-9a-f]{8}-ann$/);
  expect(answer).toEqual({ id: "1", account });
  expect(ran).toEqual([
    `groupadd -o -g 20001 ${account}`, `useradd -M -d /data/tvms/a -s /bin/bash -o -u 20001 -g ${account} ${account}`, `usermod -e 2099-06-02 ${account}`, `usermod -G sudo ${account}`,
    `chpasswd < ${account}:p:w $(x)\n`,
  ]);
  expect(passwd.has(account)).toBe(true);
});

test("names are the TVM's own: two TVMs on a machine may each have an ann, and each removes only its own", async () => {
  const { users, passwd } = noted();
  const [one, other] = [users(), users({ root: "/data/tvms/b" })];
  const accounts = [await one.change({ id: "1", kind: "add", name: "ann", password: "x" }), await other.change({ id: "2", kind: "add", name: "ann", password: "x" })].map(({ account }) => account as string);
  expect(new Set(accounts).size).toBe(2);
  await one.removeAll();
  expect([...passwd]).toEqual(["root", "daemon", accounts[1]]);
});

test("changed without a password it is locked; unknown it is told; removed it is gone, and removing again is fine", async () => {
  const { ran, users, passwd } = noted();
  const mine = users();
  expect(await mine.change({ id: "0", kind: "update", name: "ann", isAdmin: false })).toMatchObject({ problem: { code: "failed" } });
  const { account = "" } = await mine.change({ id: "1", kind: "add", name: "ann", password: "x" });
  ran.length = 0;
  expect(await mine.change({ id: "2", kind: "update", name: "ANN", isAdmin: false, expiresAt: later })).toEqual({ id: "2" });
  expect(ran).toEqual([`usermod -e 2099-06-02 ${account}`, `usermod -G  ${account}`, `usermod -L ${account}`]);
  expect(await mine.change({ id: "3", kind: "remove", name: "ann" })).toEqual({ id: "3" });
  expect(passwd.has(account)).toBe(false);
  expect(await mine.change({ id: "4", kind: "remove", name: "ann" })).toEqual({ id: "4" });
});

test("half a user is none: what was begun is taken back, and the reason is told without the password", async () => {
  const { users, passwd, failing } = noted();
  failing("chpasswd");
  expect(await users().change({ id: "1", kind: "add", name: "ann", password: "Secret" })).toEqual({ id: "1", problem: { code: "failed", message: "chpasswd ended with 9: chpasswd: no room" } });
  expect([...passwd]).toEqual(["root", "daemon"]);
});

test("a group of the users' own is lent what is for them and not for tasks; it goes with the last of them", async () => {
  const { ran, users, groups } = noted();
  const lent: number[] = [];
  const mine = users({ lend: (gid) => void lent.push(gid) });
  const [ann, bob] = [await mine.change({ id: "1", kind: "add", name: "ann", password: "x" }), await mine.change({ id: "2", kind: "add", name: "bob", password: "x", isAdmin: true })].map(({ account }) => account as string);
  const shared = ann!.replace("-ann", "_users");
  expect(lent).toEqual([1234, 1234]);
  expect(ran.filter((line) => line.includes("-G") || line.includes("-f"))).toEqual([`groupadd -f ${shared}`, `usermod -G ${shared} ${ann}`, `groupadd -f ${shared}`, `usermod -G sudo,${shared} ${bob}`]);
  await mine.change({ id: "3", kind: "remove", name: "ann" });
  expect(groups.has(shared)).toBe(true);
  await mine.removeAll();
  expect(groups.size).toBe(0);
});

test("names are noted before anything is made, and taken off the note when they are gone", async () => {
  const { ran, users } = noted();
  const notes: string[] = [];
  const mine = users({ note: (names) => void notes.push(`${ran.length} ${names.map((name) => name.slice(10)).join(",")}`), lend: () => undefined });
  await mine.change({ id: "1", kind: "add", name: "ann", password: "x" });
  await mine.change({ id: "2", kind: "add", name: "bob", password: "x" });
  expect(notes).toEqual(["0 -ann,_users", "5 -ann,-bob,_users"]);
  await mine.removeAll();
  expect(notes.at(-1)).toMatch(/^\d+ $/);
});

test("one whose time is over is removed", async () => {
  const { users, passwd } = noted();
  await users().change({ id: "1", kind: "add", name: "ann", password: "x", expiresAt: new Date(Date.now() + 30).toISOString() });
  const until = Date.now() + 5_000;
  while (passwd.size > 2 && Date.now() < until) await new Promise((resolve) => setImmediate(resolve));
  expect(passwd.size).toBe(2);
});

test.each<[string, Parameters<ReturnType<typeof noted>["users"]>[0], Partial<System>, string]>([
  ["not allowed", { allowed: false }, {}, "may not make users"],
  ["not root", {}, { isRoot: false }, "not root"],
  ["not Linux", {}, { platform: "darwin" }, "not Linux"],
])("%s: nothing is run, and the answer says why", async (_, options, system, why) => {
  const { users, ran } = noted(system);
  expect(await users(options).change({ id: "1", kind: "add", name: "ann", password: "x" })).toEqual({ id: "1", problem: { code: "unsupported", message: expect.stringContaining(why) } });
  await users(options).removeAll();
  expect(ran).toEqual([]);
});

test("names and passwords that could mean something else are refused", async () => {
  const { users, ran } = noted();
  for (const request of [{ name: "-ann/../x", password: "x" }, { name: "a b", password: "x" }, { name: "ann", password: "x\nroot:y" }])
    expect(await users().change({ id: "1", kind: "add", ...request })).toMatchObject({ problem: { code: "failed" } });
  expect(ran).toEqual([]);
});
