// Machines of the embedded default and of Azure, by the same contract; then what is Azure's own: what it is told and what it must
// never tell, refusals, throttling, failures that come later, machines that are taken away. Behind the stand-in of Azure's Resource
// Manager real agents run.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { processMachines } from "../../src/adapters/processMachines";
import { scaleSetMachines, type ScaleSetMachinesOptions } from "../../src/adapters/scaleSetMachines";
import { systemClock } from "../../src/adapters/system";
import type { Log, MachineOrder, Machines } from "../../src/ports";
import { eventually } from "../agent/eventually";
import { startFakeService, type FakeService } from "../agent/fakeService";
import { testCertificate } from "../standins/certificate";
import { standInTemplate, startResourceManager, type ResourceManager } from "../standins/resourceManager";
import { describeMachines } from "./machines.contract";

const register = ["--require", path.join(__dirname, "../agent/register.js")];
const agentMain = path.join(__dirname, "../../src/agent/main.ts");
const agentSpec = { graceMs: 200, helperCache: path.join(os.tmpdir(), `helper-cache-${process.getuid?.()}`) };
/** Users of this test process alone. */
const firstUserId = 1_900_000_000 + process.pid * 100;
const tls = testCertificate();
const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

// The embedded machines start their agents with this process's own flags.
process.execArgv.push(...register);
afterAll(() => void process.execArgv.splice(process.execArgv.indexOf("--require"), 2));

const temporaryFolder = (): string => {
  const folder = fs.realpathSync(fs.mkdtempSync(path.join(os.tmpdir(), "batchledger-test-")));
  fs.chmodSync(folder, 0o755);
  return folder;
};

describeMachines("processes", async () => {
  const folder = temporaryFolder();
  const endpointFile = path.join(folder, "service.json");
  const service = await startFakeService({ endpointFile });
  const start = () => processMachines({ dataDir: path.join(folder, "data"), endpointFile, log: silent, onMachineLost: () => undefined, firstUserId, agentSpec });
  let machines = start();
  return {
    port: machines, service,
    reopen: async () => {
      machines.detach();
      machines = start();
      return machines;
    },
    impossible: (order) => ({ ...order, tvm: "not/a name" }),
    close: async () => {
      await machines.stopAll();
      await service.stop();
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
});

interface OnAzure {
  readonly folder: string;
  readonly service: FakeService;
  readonly azure: ResourceManager;
  readonly open: (changes?: Partial<ScaleSetMachinesOptions>) => Machines;
  readonly close: () => Promise<void>;
}

async function onAzure(): Promise<OnAzure> {
  const folder = temporaryFolder();
  const endpointFile = path.join(folder, "service.json");
  const service = await startFakeService({ endpointFile });
  const azure = await startResourceManager({ tls, folder: path.join(folder, "machines"), agent: [...register, agentMain], agentSpec, firstUserId });
  const open = (changes: Partial<ScaleSetMachinesOptions> = {}) => scaleSetMachines({
    subscription: "00000000-0000-0000-0000-0000000000aa", resourceGroup: "batch", location: "koreacentral", subnets: { isolated: "/subscriptions/s/subnets/isolated", communicating: "/subscriptions/s/subnets/communicating" },
    credential: { getToken: async () => ({ token: "a token", expiresOnTimestamp: Date.now() + 3_600_000 }) },
    endpoint: () => (JSON.parse(fs.readFileSync(endpointFile, "utf8")) as { url: string }).url,
    cloudInit: standInTemplate, sizes: { small: "Standard_D2as_v5" }, clock: systemClock, log: silent, pollMs: 10,
    client: { endpoint: azure.url, tlsOptions: { ca: tls.cert }, retryOptions: { maxRetries: 2, retryDelayInMs: 10 } }, ...changes,
  });
  const close = async () => {
    await azure.stop();
    await service.stop();
    fs.rmSync(folder, { recursive: true, force: true });
  };
  return { folder, service, azure, open, close };
}

describeMachines("scale sets", async () => {
  const { service, open, close } = await onAzure();
  return { port: open(), service, reopen: async () => open(), impossible: (order) => ({ ...order, size: "enormous" }), close };
});

describe("scale sets", () => {
  let on: OnAzure;
  let azure: ResourceManager;
  beforeEach(async () => {
    on = await onAzure();
    azure = on.azure;
  });
  afterEach(() => on.close());

  const code = "joincode~tvm-1~";
  const order = (tvm: string, boot = 1, more: Partial<MachineOrder> = {}): MachineOrder =>
    ({ account: "acme", pool: "pool-a", tvm, boot, joinCode: `joincode~${tvm}~${boot}`, slots: 2, size: "small", ...more });
  const joined = (tvm: string, boot = 1) => eventually(() => on.service.tvm(tvm).exchanges.some((one) => one.boot === boot), () => `${tvm} to exchange at boot ${boot}`);
  const succeeded = () => eventually(() => azure.machines().every(({ state }) => state === "Succeeded"), () => JSON.stringify(azure.machines().map(({ state }) => state)));
  const writes = () => azure.asked.filter(({ method }) => method !== "GET").map(({ method, path: where }) => `${method} ${where.split("/").slice(7).map((part) => part.replace(/[0-9a-f]{16}$/, "#")).join("/")}`);

  test("one flexible set a pool, one machine a TVM in it, made with as few writes as can be", async () => {
    const machines = on.open();
    await machines.ensure([order("tvm-1_1-20150101t000000z"), order("tvm-2"), order("tvm-2", 1, { pool: "Pool_B", joinCode: "joincode~other~1" })]);
    expect(writes().toSorted()).toEqual([
      "PUT virtualMachineScaleSets/bl-pool-a-#", "PUT virtualMachineScaleSets/bl-pool-b-#",
      "PUT virtualMachines/bl-tvm-1-1-20150101t000000z-#", "PUT virtualMachines/bl-tvm-2-#", "PUT virtualMachines/bl-tvm-2-#",
    ]);
    await machines.ensure([order("tvm-2")]);
    expect(writes()).toHaveLength(5);
    for (const { name } of azure.machines()) expect(name).toMatch(/^[a-z0-9-]{1,64}$/);
  });

  test("a machine has no identity, no password, no public address, and takes its disk and its network card with it", async () => {
    await on.open({ spot: true }).ensure([order("tvm-1")]);
    const put = azure.asked.find(({ method, path: where }) => method === "PUT" && where.includes("/virtualMachines/"))!;
    const { properties, identity } = JSON.parse(put.body) as { properties: Record<string, unknown>; identity?: unknown };
    expect(identity).toBeUndefined();
    expect(properties).toMatchObject({
      priority: "Spot", evictionPolicy: "Delete", billingProfile: { maxPrice: -1 }, hardwareProfile: { vmSize: "Standard_D2as_v5" },
      storageProfile: { osDisk: { deleteOption: "Delete" } },
      osProfile: { linuxConfiguration: { disablePasswordAuthentication: true, ssh: { publicKeys: [{ keyData: expect.stringMatching(/^ssh-rsa AAAAB3NzaC1yc2E[A-Za-z0-9+/]{480,}=*$/) }] } } },
      networkProfile: { networkInterfaceConfigurations: [{ properties: { deleteOption: "Delete", ipConfigurations: [{ properties: { subnet: { id: "/subscriptions/s/subnets/isolated" } } }] } }] },
    });
    expect(put.body).not.toMatch(/publicIPAddress|adminPassword|communicating/);
    await on.open().ensure([order("tvm-2", 1, { communication: true })]);
    expect(azure.asked.findLast(({ method }) => method === "PUT")!.body).toContain("/subnets/communicating");
  });

  test("two services that look at the same time make one machine", async () => {
    const answers = await Promise.all([on.open(), on.open()].map((machines) => machines.ensure([order("tvm-1")])));
    expect(answers).toEqual([[{ tvm: "tvm-1" }], [{ tvm: "tvm-1" }]]);
    await joined("tvm-1");
    expect(azure.machines()).toHaveLength(1);
    expect(writes().filter((what) => what.startsWith("PUT virtualMachines/"))).toHaveLength(2);
  });

  test("a join code is in the custom data of its machine and nowhere else", async () => {
    const said: string[] = [];
    const keep = (message: string, details?: Record<string, unknown>) => void said.push(message, JSON.stringify(details));
    const machines = on.open({ log: { debug: keep, info: keep, warn: keep, error: keep } });
    azure.fault({ match: /^PUT .*\/virtualMachines\/bl-tvm-1-/, times: 1, status: 400, code: "InvalidParameter", message: `Bad: ${code}1 ${Buffer.from("x").toString("base64")}` });
    const [refused] = await machines.ensure([order("tvm-1")]);
    expect(refused?.error).toMatch(/^Azure refused the order of a machine: 400 \(InvalidParameter\)\.$/);
    await machines.ensure([order("tvm-1")]);
    await joined("tvm-1");
    await succeeded();
    await machines.ensure([order("tvm-1", 2)]);
    await joined("tvm-1", 2);
    expect(said.join()).toContain("Bad: ...");
    // In plain, as base64, and as base64 in base64: what is decoded is looked through again.
    const traces = (text: string): boolean => text.includes(code) || [...text.matchAll(/[A-Za-z0-9+/]{40,}={0,2}/g)].some(([part]) => traces(Buffer.from(part, "base64").toString("latin1")));
    expect(said.filter(traces)).toEqual([]);
    azure.asked.splice(0, azure.asked.findLastIndex(({ status }) => status === 400) + 1);
    expect(azure.asked.filter(({ path: where, query, answer }) => traces(where + query + answer))).toEqual([]);
    const withCode = azure.asked.filter(({ body }) => traces(body));
    expect(withCode.map(({ method, path: where }) => `${method} ${where.split("/").at(-1)?.replace(/^bl-tvm-1-.*/, "machine")}`)).toEqual(["PUT machine", "POST reimage"]);
    for (const { body } of withCode) {
      const sent = JSON.parse(body) as { tags?: unknown; properties?: { osProfile: { customData?: string } }; osProfile?: { customData?: string } };
      expect(delete (sent.properties?.osProfile ?? sent.osProfile)?.customData).toBe(true);
      expect(traces(JSON.stringify(sent))).toBe(false);
    }
    expect(JSON.stringify(azure.machines().map(({ tags }) => tags))).not.toContain("joincode");
  });

  test("a template that asks for what nobody gives, or forgets the code, is refused at once", () => {
    expect(() => on.open({ cloudInit: "#cloud-config {{joinCode}} {{planet}}" })).toThrow("{{planet}}");
    expect(() => on.open({ cloudInit: "#cloud-config {{tvm}}" })).toThrow("{{order}} or {{joinCode}}");
  });

  test("the template that is deployed gets all that it asks for", async () => {
    const cloudInit = fs.readFileSync(path.join(__dirname, "../../infra/cloud-init.yaml"), "utf8");
    const values = { nodeUrl: "https://nodejs.org/dist/v24.0.0/node.tar.gz", nodeSha256: "ab12", agentUrl: "https://store.blob.core.windows.net/agent/1.tar.gz", agentSha256: "cd34" };
    await on.open({ cloudInit, values }).ensure([order("tvm-1")]);
    await joined("tvm-1");
    const put = JSON.parse(azure.asked.findLast(({ method }) => method === "PUT")!.body) as { properties: { osProfile: { customData: string } } };
    const told = Buffer.from(put.properties.osProfile.customData, "base64").toString("utf8");
    expect(told).toMatch(/^#cloud-config\n/);
    expect(told).toContain(values.nodeUrl);
    expect(told).not.toContain("{{");
  });

  test("values that could mean something in YAML or shell start no machine", async () => {
    const [answer] = await on.open().ensure([order("tvm-1", 1, { joinCode: "joincode~tvm-1~1\"; rm" })]);
    expect(answer?.error).toBe("The value of {{joinCode}} cannot stand in a cloud-init template.");
    expect(azure.machines()).toEqual([]);
  });

  test("a throttled order is tried again when Azure says so; when that does not end, it is a sentence", async () => {
    const machines = on.open();
    azure.fault({ match: /^PUT /, times: 2, status: 429, code: "TooManyRequests", retryAfterSeconds: 0 });
    expect(await machines.ensure([order("tvm-1")])).toEqual([{ tvm: "tvm-1" }]);
    azure.fault({ match: /^PUT .*\/virtualMachines\/bl-tvm-2/, times: 10, status: 429, code: "TooManyRequests", retryAfterSeconds: 0 });
    expect(await machines.ensure([order("tvm-1"), order("tvm-2")])).toEqual([{ tvm: "tvm-1" }, { tvm: "tvm-2", error: "Azure asks to wait before more machines are ordered (TooManyRequests)." }]);
    azure.noMoreFaults();
    expect(await machines.ensure([order("tvm-2")])).toEqual([{ tvm: "tvm-2" }]);
  });

  test("what is busy is tried again, what is refused is not", async () => {
    const machines = on.open();
    azure.fault({ match: /^PUT .*\/virtualMachines\//, times: 1, status: 409, code: "AnotherOperationInProgress" });
    expect(await machines.ensure([order("tvm-1")])).toEqual([{ tvm: "tvm-1" }]);
    azure.fault({ match: /^PUT .*\/virtualMachines\//, times: 1, status: 409, code: "OperationNotAllowed", message: "Operation could not be completed as it results in exceeding approved Total Regional Cores quota." });
    expect(await machines.ensure([order("tvm-2")])).toEqual([{ tvm: "tvm-2", error: "The subscription's quota of cores is used up (OperationNotAllowed)." }]);
  });

  test("a machine that fails at once is that TVM's error, and is replaced", async () => {
    const machines = on.open();
    azure.fault({ match: /^PUT .*\/virtualMachines\/bl-tvm-2/, times: 1, code: "AllocationFailed", message: "We do not have sufficient capacity." });
    const room = "Azure has no room for machines of this size now (AllocationFailed).";
    expect(await machines.ensure([order("tvm-1"), order("tvm-2")])).toEqual([{ tvm: "tvm-1" }, { tvm: "tvm-2", error: room }]);
    expect(await machines.ensure([order("tvm-2")])).toEqual([{ tvm: "tvm-2", error: room }]);
    expect(await machines.ensure([order("tvm-2")])).toEqual([{ tvm: "tvm-2" }]);
    await joined("tvm-2");
  });

  test("a slow machine is not waited for, and not made twice; when it fails later, the next look says so", async () => {
    const machines = on.open({ settleMs: 30 });
    await machines.ensure([order("tvm-0")]);
    azure.fault({ match: /^PUT .*\/virtualMachines\/bl-tvm-1/, times: 1, code: "OSProvisioningTimedOut" });
    const release = azure.hold();
    expect(await machines.ensure([order("tvm-1"), order("tvm-2")])).toEqual([{ tvm: "tvm-1" }, { tvm: "tvm-2" }]);
    expect(await machines.ensure([order("tvm-1"), order("tvm-2")])).toEqual([{ tvm: "tvm-1" }, { tvm: "tvm-2" }]);
    expect(writes().filter((what) => what.startsWith("PUT virtualMachines"))).toHaveLength(3);
    release();
    await joined("tvm-2");
    await eventually(() => azure.machines().some(({ state }) => state === "Failed"));
    expect(await machines.ensure([order("tvm-1"), order("tvm-2")])).toEqual([{ tvm: "tvm-1", error: "Azure could not carry out the order of a machine (OSProvisioningTimedOut)." }, { tvm: "tvm-2" }]);
    await eventually(() => azure.machines().length === 2);
    expect(await machines.ensure([order("tvm-1")])).toEqual([{ tvm: "tvm-1" }]);
    await joined("tvm-1");
  });

  test("a further boot reimages the machine in its place; one that cannot be is replaced", async () => {
    const machines = on.open();
    await machines.ensure([order("tvm-1")]);
    await joined("tvm-1");
    const [before] = azure.machines();
    await machines.ensure([order("tvm-1", 2)]);
    await joined("tvm-1", 2);
    expect(azure.machines()).toMatchObject([{ name: before!.name, tags: { "batchledger-boot": "2" } }]);
    await succeeded();
    // That its agent has died is no hindrance.
    await azure.crash(before!.name);
    azure.fault({ match: /^POST .*\/reimage$/, times: 1, status: 409, code: "OperationNotAllowed", message: "The machine is stopped." });
    expect(await machines.ensure([order("tvm-1", 3)])).toEqual([{ tvm: "tvm-1", error: "The TVM's machine did not come up and is replaced." }]);
    expect(await machines.ensure([order("tvm-1", 3)])).toEqual([{ tvm: "tvm-1" }]);
    await joined("tvm-1", 3);
    expect(writes().map((what) => what.replace(/bl-.*#/, "x"))).toEqual(["PUT virtualMachineScaleSets/x", "PUT virtualMachines/x", "PATCH virtualMachines/x", "POST virtualMachines/x/reimage",
      "PATCH virtualMachines/x", "POST virtualMachines/x/reimage", "DELETE virtualMachines/x", "PUT virtualMachines/x"]);
  });

  test("a machine that has not joined long after its order is set up anew", async () => {
    let now = Date.now();
    const machines = on.open({ clock: { ...systemClock, now: () => new Date(now) } });
    await machines.ensure([order("tvm-1")]);
    await joined("tvm-1");
    await succeeded();
    now += 16 * 60_000;
    await machines.ensure([order("tvm-1")]);
    await eventually(() => on.service.tvm("tvm-1").joins === 2);
    await machines.ensure([order("tvm-1")]);
    expect(writes().filter((what) => what.endsWith("reimage"))).toHaveLength(1);
  });

  test("a machine that Azure took away is missing, and its next boot gets another", async () => {
    const machines = on.open();
    await machines.ensure([order("tvm-1")]);
    await joined("tvm-1");
    await azure.evict(azure.machines()[0]!.name);
    expect(await machines.list("acme", "pool-a")).toEqual([]);
    expect(await machines.ensure([order("tvm-1", 2)])).toEqual([{ tvm: "tvm-1" }]);
    await joined("tvm-1", 2);
  });

  test("with its last machine the set goes, and a later order makes it again", async () => {
    const machines = on.open();
    await machines.ensure([order("tvm-1"), order("tvm-2")]);
    const pids = azure.machines().map(({ pid }) => pid as number);
    await machines.remove("acme", "pool-a", ["tvm-1"]);
    expect(azure.scaleSets()).toHaveLength(1);
    await machines.remove("acme", "pool-a", ["tvm-2"]);
    expect(azure.scaleSets()).toEqual([]);
    for (const pid of pids) expect(() => process.kill(pid, 0)).toThrow("ESRCH");
    expect(await machines.ensure([order("tvm-3")])).toEqual([{ tvm: "tvm-3" }]);
    expect(azure.scaleSets()).toHaveLength(1);
  });

  test("what cannot be removed is said, and the rest goes", async () => {
    const machines = on.open();
    await machines.ensure([order("tvm-1"), order("tvm-2")]);
    azure.fault({ match: /^DELETE .*\/bl-tvm-1-/, times: 1, status: 409, code: "ScopeLocked" });
    await expect(machines.remove("acme", "pool-a", ["tvm-1", "tvm-2"])).rejects.toThrow("2 machines were to be removed, and some are left. Azure refused the order of a machine: 409 (ScopeLocked).");
    expect((await machines.list("acme", "pool-a")).map(({ tvm }) => tvm)).toEqual(["tvm-1"]);
    await machines.remove("acme", "pool-a", ["tvm-1", "tvm-2"]);
    expect(azure.scaleSets()).toEqual([]);
  });

  test("without Azure, orders are errors and lists are thrown", async () => {
    const machines = on.open({ client: { endpoint: "https://127.0.0.1:9", retryOptions: { maxRetries: 0 } } });
    expect(await machines.ensure([order("tvm-1")])).toEqual([{ tvm: "tvm-1", error: "Azure could not carry out the order of a machine (ECONNREFUSED)." }]);
    await expect(machines.list("acme", "pool-a")).rejects.toThrow("ECONNREFUSED");
  });
});
