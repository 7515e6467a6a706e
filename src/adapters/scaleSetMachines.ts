// Machines on Azure: one virtual machine scale set a pool, in flexible orchestration, and in it one virtual machine a TVM.
// It answers as soon as Azure has taken an order and nothing went wrong at once: the pool's process looks again. It never talks
// to an agent, gives a machine no identity of its own, and lets join codes be nowhere but in the custom data of their machine.
//
// How a TVM is bound to its machine: machines of a uniform scale set share one model, so a code in it would be every machine's,
// and whichever took it first would be the TVM. Here each machine is made by itself with `virtualMachineScaleSet` naming its
// set, under a name that follows from the TVM's, with custom data of its own: the code names one boot of one TVM and is good
// once. Azure keeps custom data from being read again, and cloud-init from everybody but root. A further boot is a reimage, which
// takes new custom data: the machine and its place stay, its disk does not, so no task of the former boot can have read the code.

import { ComputeManagementClient } from "@azure/arm-compute";
import type { ComputeManagementClientOptionalParams, ImageReference, VirtualMachine } from "@azure/arm-compute";
import type { TokenCredential } from "@azure/identity";
import { createHash, generateKeyPairSync } from "node:crypto";
import type { Clock, Log, MachineOrder, Machines, MachineStatus } from "../ports";
import { azureProblem, boundedOperations, type AzureProblem, type Operations } from "./azureOperations";

export interface ScaleSetMachinesOptions {
  readonly subscription: string;
  readonly resourceGroup: string;
  readonly location: string;
  readonly credential: TokenCredential;
  /** Resource ids of the subnets that TVMs are in, by whether their pool lets them connect to each other. Each needs a way out. */
  readonly subnets: { readonly isolated: string; readonly communicating: string };
  /** Where agents find the service. */
  readonly endpoint: () => string;
  /**
   * The text of the cloud-init template. Filled in: `{{order}}`, the base64 of `{"url", "tvm", "boot", "joinCode"}`; the same one by one as
   * `{{endpoint}}`, `{{tvm}}`, `{{boot}}`, `{{joinCode}}`; `{{account}}`, `{{pool}}`, `{{slots}}`; and the names of `values`.
   */
  readonly cloudInit: string;
  readonly values?: Readonly<Record<string, string>>;
  /** Pool sizes, in lower case, to sizes of Azure; a size that begins with `Standard_` needs no entry. */
  readonly sizes?: Readonly<Record<string, string>>;
  readonly image?: ImageReference;
  /** Cheaper machines that Azure may take away at any moment. */
  readonly spot?: boolean;
  readonly clock: Clock;
  readonly log: Log;
  /** How often the progress of an operation is asked for, and how long `ensure` waits for a failure that comes at once. */
  readonly pollMs?: number;
  readonly settleMs?: number;
  /** A machine that has not joined this long after it was ordered is set up anew. */
  readonly startupMaxMs?: number;
  /** Further options of the client, such as the endpoint of a stand-in. */
  readonly client?: ComputeManagementClientOptionalParams;
}

const settleMs = 10_000;
const pollMs = 2_000;
const startupMaxMs = 15 * 60_000;
const deleteMaxMs = 4 * 60_000;
const machinesAtOnce = 16;
const ubuntu: ImageReference = { publisher: "Canonical", offer: "ubuntu-24_04-lts", sku: "server", version: "latest" };
const customDataBytesMax = 64 * 1024;

/** Throws a sentence when the template asks for what nobody gives or has no place for the join code. */
export function scaleSetMachines(options: ScaleSetMachinesOptions): Machines {
  checkTemplate(options);
  const azure: Azure = {
    options,
    client: new ComputeManagementClient(options.credential, options.subscription, options.client ?? {}),
    operations: boundedOperations(options.clock, options.pollMs ?? pollMs),
    adminKey: lazily(throwAwayKey),
  };
  return {
    async ensure(orders) {
      const pools = Map.groupBy(orders, ({ account, pool }) => scaleSetName(account, pool));
      const answers = await Promise.all([...pools.values()].map((some) => ensurePool(azure, some)));
      const errors = new Map(answers.flat());
      return orders.map((order) => {
        const error = errors.get(order);
        return { tvm: order.tvm, ...(error === undefined ? {} : { error }) };
      });
    },

    async list(account, pool) {
      const found = await read(azure, () => machinesOf(azure, account, pool));
      return found.filter(({ state }) => state !== "Deleting").map(({ tvm, boot }): MachineStatus => ({ tvm, boot }));
    },

    /** Throws a sentence when a machine could not be removed in four minutes: asked again, it goes on. */
    async remove(account, pool, tvms) {
      const wanted = new Set(tvms.map(lower));
      const all = await read(azure, () => machinesOf(azure, account, pool));
      const going = all.filter(({ tvm }) => wanted.has(lower(tvm)));
      const problems = await inParallel(going, async (machine) => {
        try {
          return (await removeMachine(azure, machine, deleteMaxMs)) === "done" ? [] : ["Azure is still deleting machines."];
        } catch (error) {
          return [report(azure, machine.tvm, azureProblem(error), [])];
        }
      });
      const [problem] = problems.flat();
      if (problem !== undefined) throw new Error(`${going.length} machines were to be removed, and some are left. ${problem}`);
      if (going.length === all.length) await removeScaleSet(azure, account, pool);
    },
  };
}

interface Azure {
  readonly options: ScaleSetMachinesOptions;
  readonly client: ComputeManagementClient;
  readonly operations: Operations;
  readonly adminKey: () => string;
}

type FullOrder = MachineOrder & { readonly customData: string };

/** What Azure knows of a TVM's machine. */
interface Machine {
  readonly name: string;
  readonly tvm: string;
  readonly boot: number;
  readonly orderedAt: string;
  /** Creating, Updating, Succeeded, Failed, Canceled, Deleting. */
  readonly state: string;
  readonly tags: Readonly<Record<string, string>>;
}

// ---------------------------------------------------------------- one pool

async function ensurePool(azure: Azure, orders: readonly MachineOrder[]): Promise<[MachineOrder, string][]> {
  const { account, pool } = orders[0] as MachineOrder;
  let machines: ReadonlyMap<string, Machine>;
  try {
    const found = await machinesOf(azure, account, pool);
    machines = new Map(found.map((one) => [lower(one.tvm), one]));
    if (found.length === 0) await ensureScaleSet(azure, account, pool);
  } catch (error) {
    const problem = report(azure, orders[0]?.tvm ?? "", azureProblem(error), []);
    return orders.map((order) => [order, problem]);
  }
  const answers = await inParallel(orders, async (order): Promise<[MachineOrder, string][]> => {
    const customData = customDataFor(azure.options, order);
    if ("problem" in customData) return [[order, customData.problem]];
    const full = { ...order, customData: customData.text };
    try {
      const error = await ensureMachine(azure, full, machines.get(lower(order.tvm)));
      return error === undefined ? [] : [[order, error]];
    } catch (error) {
      return [[order, report(azure, order.tvm, azureProblem(error), secretsOf(full))]];
    }
  });
  return answers.flat();
}

/** Its state is read first: creating a set that is there would only cost a write. */
async function ensureScaleSet(azure: Azure, account: string, pool: string): Promise<void> {
  const { client, operations, options } = azure;
  const name = scaleSetName(account, pool);
  const present = await operations.bounded((abortSignal) => client.virtualMachineScaleSets.get(options.resourceGroup, name, { abortSignal })).catch((error: unknown) => {
    if (azureProblem(error).status === 404) return undefined;
    throw error;
  });
  if (present?.provisioningState === "Succeeded") return;
  const set = {
    location: options.location, orchestrationMode: "Flexible", platformFaultDomainCount: 1, singlePlacementGroup: false,
    tags: { [tag.account]: account, [tag.pool]: pool },
  };
  await operations.carryOut((how) => client.virtualMachineScaleSets.createOrUpdate(options.resourceGroup, name, set, how), deleteMaxMs);
}

/** The last machine has gone: so does the set. An empty one that stays costs nothing and is used again. */
async function removeScaleSet(azure: Azure, account: string, pool: string): Promise<void> {
  const { client, operations, options } = azure;
  try {
    if ((await machinesOf(azure, account, pool)).length > 0) return;
    await operations.carryOut((how) => client.virtualMachineScaleSets.delete(options.resourceGroup, scaleSetName(account, pool), how), deleteMaxMs);
  } catch (error) {
    const { status, code } = azureProblem(error);
    if (status !== 404) options.log.warn("an empty scale set was left", { pool, status, code });
  }
}

// ---------------------------------------------------------------- one machine

/** Undefined when a machine of this boot runs or is on its way, else why not, as a sentence. */
async function ensureMachine(azure: Azure, order: FullOrder, machine: Machine | undefined): Promise<string | undefined> {
  switch (nextFor(order, machine, azure.options)) {
    case "nothing":
      return undefined;
    case "wait":
      return "The TVM's machine is still being changed by Azure.";
    case "create":
      return createMachine(azure, order);
    case "reimage":
      return reimageMachine(azure, order, machine as Machine);
    case "replace":
      return replaceMachine(azure, machine as Machine);
  }
}

function nextFor(order: MachineOrder, machine: Machine | undefined, { clock, startupMaxMs: limit = startupMaxMs }: ScaleSetMachinesOptions): "nothing" | "wait" | "create" | "reimage" | "replace" {
  if (machine === undefined) return "create";
  if (machine.boot > order.boot) return "nothing";
  if (machine.state === "Deleting") return "wait";
  if (machine.state === "Failed" || machine.state === "Canceled") return "replace";
  // Who is ordered has not joined. Long after the order it never will: the setup failed, or was never begun.
  const late = clock.now().getTime() - Date.parse(machine.orderedAt) > limit;
  if (machine.state !== "Succeeded") return late ? "replace" : machine.boot === order.boot ? "nothing" : "wait";
  return machine.boot < order.boot || late ? "reimage" : "nothing";
}

async function createMachine(azure: Azure, order: FullOrder): Promise<string | undefined> {
  const { client, operations, options } = azure;
  const size = options.sizes?.[lower(order.size)] ?? (order.size.startsWith("Standard_") ? order.size : undefined);
  if (size === undefined) return `No size of Azure's machines is set for the TVM size ${order.size.slice(0, 64)}.`;
  const wanted = virtualMachine(azure, order, size);
  try {
    await operations.carryOut((how) => client.virtualMachines.createOrUpdate(options.resourceGroup, wanted.name, wanted.model, { ...how, ifNoneMatch: "*" }), options.settleMs ?? settleMs);
  } catch (error) {
    // It is there: another process was faster, the list was old, or an answer was lost. The next look sees what it is.
    if (azureProblem(error).status !== 412) throw error;
  }
  return undefined;
}

/**
 * The machine is said to be of the new boot first: should this end in between, it is late after a while and set up anew. One
 * that cannot be reimaged (stopped by hand, for example) is replaced.
 */
async function reimageMachine(azure: Azure, order: FullOrder, machine: Machine): Promise<string | undefined> {
  const { client, operations, options } = azure;
  const { customData } = order;
  const tags = { ...machine.tags, ...tagsFor(order, options.clock) };
  await operations.carryOut((how) => client.virtualMachines.update(options.resourceGroup, machine.name, { tags }, how), options.settleMs ?? settleMs);
  try {
    await operations.carryOut((how) => client.virtualMachines.reimage(options.resourceGroup, machine.name, { ...how, parameters: { tempDisk: true, osProfile: { customData } } }), options.settleMs ?? settleMs);
  } catch (error) {
    const problem = azureProblem(error);
    if (problem.status === 429 || problem.status === undefined) throw error;
    report(azure, order.tvm, problem, secretsOf(order));
    return replaceMachine(azure, machine);
  }
  return undefined;
}

/** Away with it: the next look finds none and makes one. */
async function replaceMachine(azure: Azure, machine: Machine): Promise<string> {
  const why = await whyFailed(azure, machine);
  await removeMachine(azure, machine, azure.options.settleMs ?? settleMs);
  return why;
}

async function whyFailed({ client, options, operations }: Azure, machine: Machine): Promise<string> {
  const view = await operations.bounded((abortSignal) => client.virtualMachines.instanceView(options.resourceGroup, machine.name, { abortSignal })).catch(() => undefined);
  const code = view?.statuses?.map((one) => /^ProvisioningState\/failed\/(\w{1,80})$/i.exec(one.code ?? "")?.[1]).find((found) => found !== undefined);
  return code === undefined ? "The TVM's machine did not come up and is replaced." : sentenceFor({ status: undefined, code, message: "" });
}

/** `force` does not wait for the machine to shut down: its files go in any case. */
async function removeMachine({ client, options, operations }: Azure, machine: Machine, waitMs: number): Promise<"done" | "underWay"> {
  try {
    return await operations.carryOut((how) => client.virtualMachines.delete(options.resourceGroup, machine.name, { ...how, forceDeletion: true }), waitMs);
  } catch (error) {
    if (azureProblem(error).status === 404) return "done";
    throw error;
  }
}

// ---------------------------------------------------------------- what Azure is told, and what it tells

const tag = { account: "batchledger-account", pool: "batchledger-pool", tvm: "batchledger-tvm", boot: "batchledger-boot", orderedAt: "batchledger-ordered-at" } as const;

function tagsFor(order: MachineOrder, clock: Clock): Record<string, string> {
  return { [tag.account]: order.account, [tag.pool]: order.pool, [tag.tvm]: order.tvm, [tag.boot]: String(order.boot), [tag.orderedAt]: clock.now().toISOString() };
}

function virtualMachine(azure: Azure, order: FullOrder, vmSize: string): { name: string; model: VirtualMachine } {
  const { options, adminKey } = azure;
  const name = machineName(order);
  const user = "operator";
  const spot = { priority: "Spot", evictionPolicy: "Delete", billingProfile: { maxPrice: -1 } } as const;
  return {
    name,
    model: {
      location: options.location,
      tags: tagsFor(order, options.clock),
      virtualMachineScaleSet: { id: scaleSetId(options, order.account, order.pool) },
      hardwareProfile: { vmSize },
      ...(options.spot === true ? spot : {}),
      storageProfile: {
        imageReference: options.image ?? ubuntu,
        // Not ephemeral: only a managed disk can be reimaged with new custom data.
        osDisk: { createOption: "FromImage", deleteOption: "Delete", managedDisk: { storageAccountType: "StandardSSD_LRS" } },
      },
      osProfile: {
        computerName: name, adminUsername: user, customData: order.customData,
        linuxConfiguration: { disablePasswordAuthentication: true, ssh: { publicKeys: [{ path: ["", "home", user, ".ssh", "authorized_keys"].join("/"), keyData: adminKey() }] } },
      },
      networkProfile: {
        networkApiVersion: "2022-11-01",
        networkInterfaceConfigurations: [{ name: "nic", primary: true, deleteOption: "Delete", ipConfigurations: [{ name: "ip", primary: true, subnet: { id: order.communication === true ? options.subnets.communicating : options.subnets.isolated } }] }],
      },
      securityProfile: { securityType: "TrustedLaunch", uefiSettings: { secureBootEnabled: true, vTpmEnabled: true } },
    },
  };
}

/** All machines of the pool's set that carry a TVM's name; none when there is no set. */
async function machinesOf({ client, options, operations }: Azure, account: string, pool: string): Promise<Machine[]> {
  const id = scaleSetId(options, account, pool);
  return operations.bounded(async (abortSignal) => {
    const found: Machine[] = [];
    try {
      for await (const vm of client.virtualMachines.list(options.resourceGroup, { filter: `'virtualMachineScaleSet/id' eq '${id}'`, abortSignal })) {
        const { [tag.tvm]: tvm, [tag.boot]: boot, [tag.orderedAt]: orderedAt } = vm.tags ?? {};
        if (lower(vm.virtualMachineScaleSet?.id ?? "") !== lower(id) || tvm === undefined || vm.name === undefined) continue;
        found.push({ name: vm.name, tvm, boot: Number(boot) || 0, orderedAt: orderedAt ?? "", state: vm.provisioningState ?? "Creating", tags: vm.tags ?? {} });
      }
    } catch (error) {
      if (azureProblem(error).status !== 404) throw error;
    }
    return found;
  });
}

/** Its error has no cause: that carries the request and its token. */
function read<T>(azure: Azure, act: () => Promise<T>): Promise<T> {
  return act().catch((error: unknown) => Promise.reject(new Error(report(azure, "", azureProblem(error), []))));
}

// ---------------------------------------------------------------- names

const lower = (name: string): string => name.toLowerCase();

/** Letters and digits for people, a digest so that no two are the same; at most 64 characters. */
function azureName(names: readonly string[], shown: string): string {
  const digest = createHash("sha256").update(names.map(lower).join("/")).digest("hex").slice(0, 16);
  const readable = lower(shown).replace(/[^a-z0-9]+/g, "-").slice(0, 40).replace(/^-|-$/g, "");
  return `bl-${readable}-${digest}`;
}

function scaleSetName(account: string, pool: string): string {
  return azureName([account, pool], pool);
}

function machineName({ account, pool, tvm }: MachineOrder): string {
  return azureName([account, pool, tvm], tvm);
}

function scaleSetId({ subscription, resourceGroup }: ScaleSetMachinesOptions, account: string, pool: string): string {
  return `/subscriptions/${subscription}/resourceGroups/${resourceGroup}/providers/Microsoft.Compute/virtualMachineScaleSets/${scaleSetName(account, pool)}`;
}

// ---------------------------------------------------------------- custom data

const place = /\{\{(\w+)\}\}/g;

function checkTemplate(options: ScaleSetMachinesOptions): void {
  const given = valuesFor(options, { account: "a", pool: "p", tvm: "t", boot: 1, joinCode: "c", slots: 1, size: "s" }, "");
  const asked = [...options.cloudInit.matchAll(place)].map(([, name = ""]) => name);
  const unknown = asked.find((name) => !Object.hasOwn(given, name));
  if (unknown !== undefined) throw new Error(`The cloud-init template asks for {{${unknown}}}, which nobody gives.`);
  if (!asked.includes("order") && !asked.includes("joinCode")) throw new Error("The cloud-init template has no place for {{order}} or {{joinCode}}: no machine could join.");
}

function valuesFor({ values }: ScaleSetMachinesOptions, order: MachineOrder, endpoint: string): Record<string, string> {
  const { account, pool, tvm, joinCode, boot, slots } = order;
  const whole = Buffer.from(JSON.stringify({ url: endpoint, tvm, boot, joinCode })).toString("base64");
  return { ...values, account, pool, tvm, joinCode, boot: String(boot), slots: String(slots), endpoint, order: whole };
}

/** Values stand in YAML, JSON and shell: one that could mean something there is refused. */
function customDataFor(options: ScaleSetMachinesOptions, order: MachineOrder): { readonly text: string } | { readonly problem: string } {
  const values = valuesFor(options, order, options.endpoint());
  const wrong = Object.keys(values).find((name) => !/^[\w.~:/@%+=,?&-]*$/.test(values[name] ?? ""));
  if (wrong !== undefined) return { problem: `The value of {{${wrong}}} cannot stand in a cloud-init template.` };
  const text = options.cloudInit.replace(place, (_, name: string) => values[name] ?? "");
  if (Buffer.byteLength(text) > customDataBytesMax) return { problem: `The cloud-init template is longer than ${customDataBytesMax} bytes.` };
  return { text: Buffer.from(text).toString("base64") };
}

/** Nobody logs in: Azure asks for a key, and gets one whose private half is forgotten at once. */
function throwAwayKey(): string {
  const { n = "", e = "" } = generateKeyPairSync("rsa", { modulusLength: 3072 }).publicKey.export({ format: "jwk" });
  const field = (bytes: Buffer): Buffer => Buffer.concat([Buffer.from(Uint32Array.of(bytes.length).buffer).swap32(), bytes]);
  const positive = (number: string): Buffer => Buffer.concat([Buffer.of(0), Buffer.from(number, "base64url")]);
  return `ssh-rsa ${Buffer.concat([field(Buffer.from("ssh-rsa")), field(Buffer.from(e, "base64url")), field(positive(n))]).toString("base64")}`;
}

// ---------------------------------------------------------------- what goes wrong

const noCapacity = ["AllocationFailed", "ZonalAllocationFailed", "OverconstrainedAllocationRequest", "OverconstrainedZonalAllocationRequest", "SkuNotAvailable", "SpotVMAllocationFailed"];

/** For the pool's user: what it means, and Azure's own code. Azure's text may name what is not the user's and goes to the log alone. */
function sentenceFor({ status, code, message }: AzureProblem): string {
  const named = code === undefined ? "" : ` (${code})`;
  if (status === 429) return `Azure asks to wait before more machines are ordered${named}.`;
  if (code === "QuotaExceeded" || (code === "OperationNotAllowed" && /quota/i.test(message))) return `The subscription's quota of cores is used up${named}.`;
  if (code !== undefined && noCapacity.includes(code)) return `Azure has no room for machines of this size now${named}.`;
  if (status === undefined && code === undefined) return "Azure could not be asked, or did not answer in time.";
  return status === undefined ? `Azure could not carry out the order of a machine${named}.` : `Azure refused the order of a machine: ${status}${named}.`;
}

function report({ options }: Azure, tvm: string, problem: AzureProblem, secrets: readonly string[]): string {
  const told = secrets.reduce((text, secret) => text.replaceAll(secret, "..."), problem.message).slice(0, 500);
  options.log.warn("Azure did not do what was asked of a machine", { tvm, status: problem.status, code: problem.code, told });
  return sentenceFor({ ...problem, message: told });
}

function secretsOf({ joinCode, customData }: FullOrder): string[] {
  return [customData, joinCode];
}

// ---------------------------------------------------------------- small things

function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

/** In the order of the items, so many at once. */
async function inParallel<T, R>(items: readonly T[], act: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) results[index] = await act(items[index] as T);
  };
  await Promise.all(Array.from({ length: Math.min(machinesAtOnce, items.length) }, worker));
  return results;
}
