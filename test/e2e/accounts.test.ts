// Two accounts on one running service: made, used, rotated and removed from the command line, without a restart. Neither sees,
// runs or touches anything of the other.
import { createClient, type Client } from "../../src/cli/client";
import { cli } from "../cli/terminal";
import { testPfx } from "../standins/certificate";
import { JOB, type Running, allCompleted, newData, pool, removeData, start, stop, until, workItem } from "../support/service";

let service: Running;
beforeAll(async () => {
  service = await start(newData());
});
afterAll(async () => {
  await stop(service);
  removeData(service.data);
});

const account = (...args: string[]) => cli(["account", ...args, "--data", service.data]);
const keysOf = async (name: string) => (await account("show", name, "--json")).json<{ primary: string; secondary: string }>();
const clientFor = (name: string, key: string): Client => createClient({ url: service.url, account: name, key });
/** Whether the service takes this key now. */
const takes = async (name: string, key: string): Promise<boolean> => {
  const client = clientFor(name, key);
  try {
    for await (const _ of client.listPools()) break;
    return true;
  } catch (error) {
    expect((error as { code?: string }).code).toBe("AuthenticationFailed");
    return false;
  } finally {
    client.close();
  }
};

test("an account made now works now; each runs its own tasks in its own pool of the same name", async () => {
  expect((await account("add", "contoso")).code).toBe(0);
  expect((await account("add", "contoso")).err).toContain("There is an account contoso already");
  expect((await account("add", "No!")).code).toBe(2);
  const listed = (await account("list", "--json")).json<{ account: string; keys: number }[]>();
  expect(listed.map(({ account: name, keys }) => [name, keys])).toEqual([["contoso", 2], ["local", 2]]);
  const theirs = clientFor("contoso", (await keysOf("contoso")).primary);
  // The other account's pool has no TVM: its task may not run on this one's.
  await pool(service.client, "same", 1, 1);
  await pool(theirs, "same", 0, 1);
  for (const client of [service.client, theirs]) await workItem(client, "w", "same");
  for (const client of [theirs, service.client]) await client.addTask("w", JOB, { name: "who", commandLine: "sh -c 'echo $WATASK_ACCOUNT_NAME'" });
  await allCompleted(service.client, "w", 1);
  expect((await theirs.getTask("w", JOB, "who")).state).toBe("active");
  expect((await cli(["logs", "w/who", "--data", service.data])).out).toBe("local\n");
  await theirs.resizePool("same", { targetDedicated: 1 });
  await allCompleted(theirs, "w", 1);
  expect((await cli(["logs", "w/who", "--data", service.data, "--account", "contoso"])).out).toBe("contoso\n");
  // What was used is each account's own too.
  const used = async (name: string) => (await cli(["stats", "w", "--json", "--data", service.data, "--account", name])).json<{ numSucceededTasks: string; wallClockTime: string }>();
  for (const name of ["local", "contoso"]) expect(await used(name)).toMatchObject({ numSucceededTasks: "1", wallClockTime: expect.stringMatching(/^PT0(\.\d+)?S$/) });
  expect((await cli(["stats", "pools/same", "--data", service.data])).out).toMatch(/dedicatedCoreTime +PT/);
  expect((await cli(["stats", "w/who", "--data", service.data])).out).toMatch(/^wallClockTime +PT/m);
  expect((await cli(["pool", "list", "--json", "--data", service.data, "--account", "contoso"])).json<unknown[]>()).toHaveLength(1);
  theirs.close();
});

test("keys are rotated without downtime, and an old one is dead at once", async () => {
  const { primary, secondary } = await keysOf("contoso");
  expect([await takes("contoso", primary), await takes("contoso", secondary)]).toEqual([true, true]);
  expect((await account("rotate", "contoso")).code).toBe(0);
  const next = await keysOf("contoso");
  expect([await takes("contoso", primary), await takes("contoso", secondary), await takes("contoso", next.secondary)]).toEqual([true, false, true]);
  expect((await account("rotate", "contoso", "--key", "primary")).code).toBe(0);
  expect([await takes("contoso", primary), await takes("contoso", next.secondary)]).toEqual([false, true]);
  expect((await account("rotate", "contoso", "--key", "third")).code).toBe(2);
  expect((await account("rotate", "nobody")).err).toContain("There is no account nobody");
});

test("an account that has something is not removed by mistake; a removed one is unknown at once", async () => {
  const theirs = clientFor("contoso", (await keysOf("contoso")).primary);
  const own = testPfx();
  await theirs.addCertificate({ thumbprint: own.thumbprint, thumbprintAlgorithm: "sha1", data: own.cer.toString("base64"), certificateFormat: "cer" });
  const refused = await account("remove", "contoso");
  expect([refused.code, refused.err]).toEqual([4, expect.stringContaining("still has pools and work items and certificates")]);
  await theirs.deleteWorkItem("w");
  await theirs.deletePool("same");
  await until(async () => {
    const { code, err } = await account("remove", "contoso");
    return code === 4 && err.includes("still has certificates.");
  }, "certificates alone left");
  await theirs.deleteCertificate(own.thumbprint);
  await until(async () => (await account("remove", "contoso")).code === 0, "the empty account removed");
  expect((await account("list", "--json")).json<{ account: string }[]>().map((one) => one.account)).toEqual(["local"]);
  await expect(theirs.getPool("same")).rejects.toMatchObject({ code: "AuthenticationFailed" });
  expect((await account("remove", "contoso")).err).toContain("There is no account contoso");
  theirs.close();
  for await (const one of service.client.listPools()) expect(one.name).toBe("same");
});
