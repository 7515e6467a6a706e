// A small Azure Resource Manager over https: flexible scale sets and virtual machines as `@azure/arm-compute` asks for them, with
// long operations that are polled. Its machines are node agents on this computer, started with what their custom data says, so
// that real TVMs join a real service. It can refuse, throttle, fail late and hold back, and keeps what it was asked.

import { spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import fs from "node:fs";
import https from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import type { TestCertificate } from "./certificate";

/** As much of a cloud-init template as these machines need; any other with `{{order}}` in it will do as well. */
export const standInTemplate = `#cloud-config
write_files:
  - path: /etc/batchledger/order.json
    permissions: "0600"
    encoding: b64
    content: "{{order}}"
`;

export interface ResourceManagerOptions {
  readonly tls: TestCertificate;
  /** Where machines have their disks. Made when missing; removed with the last of them. */
  readonly folder: string;
  /** How a node agent is started: arguments of this Node. */
  readonly agent: readonly string[];
  /** Further members of the agents' specification. */
  readonly agentSpec?: Readonly<Record<string, unknown>>;
  /** When this process is root, each machine's tasks get a user of their own: this number and those after it. */
  readonly firstUserId?: number;
}

export interface Fault {
  /** Of `METHOD path`, without the query. */
  readonly match: RegExp;
  readonly times: number;
  /** Refuse at once with this status ... */
  readonly status?: number;
  /** ... or, without one, take the order and fail later. */
  readonly code: string;
  readonly message?: string;
  readonly retryAfterSeconds?: number;
}

export interface AskedFor {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly query: string;
  readonly body: string;
  readonly status: number;
  /** What was answered. */
  readonly answer: string;
}

export type ResourceManager = Awaited<ReturnType<typeof startResourceManager>>;

interface Resource {
  readonly id: string;
  readonly name: string;
  body: { location?: string; tags?: Record<string, string>; properties: Record<string, unknown> & { provisioningState: string } };
  /** The code of a failed provisioning. */
  failure?: string;
}

interface Vm extends Resource {
  customData: string;
  /** What the machine was made with, which a further PUT cannot change. */
  readonly osProfile: string;
  readonly userId: number | undefined;
  agent?: ChildProcess;
}

interface LongOperation {
  status: "InProgress" | "Succeeded" | "Failed";
  error?: { code: string; message: string };
}

interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

const base = /^\/subscriptions\/([^/]+)\/resourceGroups\/([^/]+)\/providers\/Microsoft\.Compute\/(virtualMachineScaleSets|virtualMachines)(?:\/([^/]+))?(?:\/(\w+))?$/i;
const stopWithinMs = 8_000;

export async function startResourceManager(options: ResourceManagerOptions) {
  const scaleSets = new Map<string, Resource>();
  const machines = new Map<string, Vm>();
  const operations = new Map<string, LongOperation>();
  const asked: AskedFor[] = [];
  const faults: { fault: Fault; left: number }[] = [];
  let held: Promise<void> | undefined;
  let users = 0;
  let url = "";
  fs.mkdirSync(options.folder, { recursive: true, mode: 0o711 });

  const faultFor = (what: string, late: boolean): Fault | undefined => {
    const found = faults.find(({ fault, left }) => left > 0 && fault.match.test(what) && (fault.status === undefined) === late);
    if (found) found.left--;
    return found?.fault;
  };

  /** Answers at once; the work goes on, and its end is asked for at an address of its own. */
  const longOperation = (what: string, resource: Resource, status: number, work: () => Promise<void>): Answer => {
    const id = randomUUID();
    const operation: LongOperation = { status: "InProgress" };
    operations.set(id, operation);
    const fault = faultFor(what, true);
    void (async () => {
      await held;
      if (fault) {
        resource.body.properties.provisioningState = "Failed";
        resource.failure = fault.code;
        Object.assign(operation, { status: "Failed", error: { code: fault.code, message: fault.message ?? "It did not work." } });
        return;
      }
      await work().then(
        () => (operation.status = "Succeeded"),
        (error: Error) => Object.assign(operation, { status: "Failed", error: { code: "InternalExecutionError", message: error.message } }),
      );
    })();
    const headers = { "azure-asyncoperation": `${url}/subscriptions/s/providers/Microsoft.Compute/locations/here/operations/${id}?api-version=2026-04-01`, "retry-after": "0" };
    return { status, headers, ...(status === 202 ? {} : { body: shown(resource) }) };
  };

  const scaleSet = (method: string, what: string, id: string, name: string, body: Resource["body"]): Answer => {
    const known = scaleSets.get(id.toLowerCase());
    if (method === "GET") return known ? { status: 200, body: shown(known) } : notFound(name);
    if (method === "DELETE") {
      if (!known) return { status: 204 };
      known.body.properties.provisioningState = "Deleting";
      return longOperation(what, known, 202, async () => {
        await Promise.all([...machines.values()].filter((vm) => setOf(vm) === id.toLowerCase()).map(removeVm));
        scaleSets.delete(id.toLowerCase());
      });
    }
    if (body.properties["orchestrationMode"] !== "Flexible") return problem(400, "InvalidParameter", "Only flexible orchestration is known here.");
    const made: Resource = known ?? { id, name, body };
    made.body = { ...body, properties: { ...body.properties, provisioningState: "Creating" } };
    scaleSets.set(id.toLowerCase(), made);
    return longOperation(what, made, known ? 200 : 201, async () => void (made.body.properties.provisioningState = "Succeeded"));
  };

  const putVm = (what: string, id: string, name: string, body: Resource["body"], ifNoneMatch: string | undefined): Answer => {
    const profile = body.properties["osProfile"] as { customData?: string };
    const set = (body.properties["virtualMachineScaleSet"] as { id?: string } | undefined)?.id?.toLowerCase() ?? "";
    if (!scaleSets.has(set)) return problem(400, "InvalidParameter", "The scale set does not exist.");
    const known = machines.get(id.toLowerCase());
    if (known && ifNoneMatch === "*") return problem(412, "PreconditionFailed", "The resource exists.");
    if (known && known.osProfile !== JSON.stringify(profile)) return problem(409, "PropertyChangeNotAllowed", "Changing property 'osProfile' is not allowed.");
    if (known) return { status: 200, body: shown(known) };
    const userId = options.firstUserId === undefined || process.getuid?.() !== 0 ? undefined : options.firstUserId + users++;
    const vm: Vm = { id, name, userId, customData: profile.customData ?? "", osProfile: JSON.stringify(profile), body: { ...body, properties: { ...body.properties, osProfile: { ...profile, customData: undefined }, provisioningState: "Creating" } } };
    machines.set(id.toLowerCase(), vm);
    return longOperation(what, vm, 201, async () => {
      startAgent(vm);
      vm.body.properties.provisioningState = "Succeeded";
    });
  };

  const virtualMachine = (method: string, what: string, id: string, name: string, action: string, body: unknown, ifNoneMatch: string | undefined): Answer => {
    if (method === "PUT") return putVm(what, id, name, body as Resource["body"], ifNoneMatch);
    const vm = machines.get(id.toLowerCase());
    if (!vm) return method === "DELETE" ? { status: 204 } : notFound(name);
    if (method === "GET" && action === "instanceView") return { status: 200, body: { statuses: [{ code: vm.failure ? `ProvisioningState/failed/${vm.failure}` : "ProvisioningState/succeeded" }] } };
    if (method === "GET") return { status: 200, body: shown(vm) };
    const changing = (state: string, status: number, work: () => Promise<void>): Answer => {
      vm.body.properties.provisioningState = state;
      return longOperation(what, vm, status, async () => {
        await work();
        vm.body.properties.provisioningState = "Succeeded";
      });
    };
    if (method === "DELETE") return changing("Deleting", 202, () => removeVm(vm));
    if (method === "PATCH") {
      vm.body.tags = (body as { tags?: Record<string, string> }).tags ?? {};
      return changing("Updating", 200, async () => undefined);
    }
    if (action === "reimage") return changing("Updating", 202, () => reimage(vm, (body as { osProfile?: { customData?: string } } | undefined)?.osProfile?.customData));
    return problem(404, "NotFound", `${method} ${action} is not known here.`);
  };

  // ---------------------------------------------------------------- machines

  const rootOf = (vm: Vm): string => path.join(options.folder, vm.name);

  const startAgent = (vm: Vm): void => {
    const { url: endpoint, tvm, boot, joinCode } = toldIn(vm.customData);
    const disk = rootOf(vm);
    fs.mkdirSync(disk, { recursive: true, mode: 0o711 });
    fs.writeFileSync(path.join(disk, "service.json"), JSON.stringify({ url: endpoint }));
    const user = vm.userId === undefined ? { } : { uid: vm.userId, gid: vm.userId };
    const log = fs.openSync(path.join(disk, "agent.log"), "a", 0o600);
    const child = spawn(process.execPath, options.agent, { stdio: ["pipe", log, log], cwd: "/", env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin" } });
    fs.closeSync(log);
    vm.agent = child;
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(JSON.stringify({
      endpointFile: path.join(disk, "service.json"), helperCache: path.join(os.tmpdir(), `helper-cache-${process.getuid?.()}`),
      ...(vm.userId === undefined && process.getuid?.() === 0 ? { allowSameUser: true } : {}), ...options.agentSpec,
      // The stores of these stand-ins listen here.
      allowHosts: ["127.0.0.1", "localhost"],
      tvms: [{ name: tvm, joinCode, boot, root: path.join(disk, "tvm"), address: "127.0.0.1", ...user }],
    }));
  };

  const stopAgent = async (vm: Vm, signal: NodeJS.Signals = "SIGTERM"): Promise<void> => {
    const child = vm.agent;
    delete vm.agent;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, "exit");
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), stopWithinMs);
    await exited;
    clearTimeout(timer);
  };

  const removeVm = async (vm: Vm): Promise<void> => {
    await stopAgent(vm);
    await fs.promises.rm(rootOf(vm), { recursive: true, force: true, maxRetries: 3 });
    machines.delete(vm.id.toLowerCase());
  };

  /** The disk is new, and so is what the machine is told. */
  const reimage = async (vm: Vm, customData: string | undefined): Promise<void> => {
    await stopAgent(vm);
    await fs.promises.rm(rootOf(vm), { recursive: true, force: true, maxRetries: 3 });
    vm.customData = customData ?? vm.customData;
    startAgent(vm);
  };

  // ---------------------------------------------------------------- requests

  const list = (filter: string): Answer => {
    const set = /^'virtualMachineScaleSet\/id' eq '([^']+)'$/.exec(filter)?.[1]?.toLowerCase();
    if (set === undefined) return problem(400, "InvalidParameter", "The filter is not one that is known here.");
    return { status: 200, body: { value: [...machines.values()].filter((vm) => setOf(vm) === set).map(shown) } };
  };

  const route = (method: string, address: URL, body: unknown, ifNoneMatch: string | undefined): Answer => {
    const poll = /\/operations\/([\w-]+)$/.exec(address.pathname)?.[1];
    if (poll !== undefined) return operations.has(poll) ? { status: 200, body: operations.get(poll), headers: { "retry-after": "0" } } : notFound(poll);
    const [, subscription = "", group = "", kind = "", name, action = ""] = base.exec(address.pathname) ?? [];
    if (kind === "") return notFound(address.pathname);
    if (!address.searchParams.has("api-version")) return problem(400, "MissingApiVersionParameter", "The api-version is missing.");
    const what = `${method} ${address.pathname}`;
    const refused = faultFor(what, false);
    if (refused?.status !== undefined) {
      const wait = refused.retryAfterSeconds === undefined ? {} : { "retry-after": String(refused.retryAfterSeconds) };
      return { ...problem(refused.status, refused.code, refused.message ?? "It was refused."), headers: wait };
    }
    if (name === undefined) return list(address.searchParams.get("$filter") ?? "");
    const id = `/subscriptions/${subscription}/resourceGroups/${group}/providers/Microsoft.Compute/${kind}/${name}`;
    return kind.toLowerCase() === "virtualmachines" ? virtualMachine(method, what, id, name, action, body, ifNoneMatch) : scaleSet(method, what, id, name, body as Resource["body"]);
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const pieces: Buffer[] = [];
    for await (const piece of request as AsyncIterable<Buffer>) pieces.push(piece);
    const body = Buffer.concat(pieces).toString("utf8");
    const address = new URL(request.url ?? "/", url);
    const authorized = /^Bearer .+/.test(request.headers.authorization ?? "");
    const answer = authorized ? route(request.method ?? "", address, body === "" ? undefined : JSON.parse(body), request.headers["if-none-match"]) : problem(401, "AuthenticationFailed", "There is no token.");
    const text = answer.body === undefined ? "" : JSON.stringify(answer.body);
    asked.push({ method: request.method ?? "", path: address.pathname, query: address.search, body, status: answer.status, answer: text });
    response.writeHead(answer.status, { ...answer.headers, ...(text === "" ? {} : { "content-type": "application/json" }) });
    response.end(text);
  };

  const server = https.createServer({ cert: options.tls.cert, key: options.tls.key }, (request, response) => {
    handle(request, response).catch((error: Error) => response.writeHead(500).end(error.message));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    url,
    asked,
    fault: (fault: Fault): void => void faults.push({ fault, left: fault.times }),
    noMoreFaults: (): void => void faults.splice(0),
    /** Operations that begin from now on do not end before the returned function is called. */
    hold(): () => void {
      let release: () => void = () => undefined;
      held = new Promise((resolve) => {
        release = () => {
          held = undefined;
          resolve();
        };
      });
      return release;
    },
    scaleSets: (): string[] => [...scaleSets.values()].map(({ name }) => name),
    machines: () => [...machines.values()].map((vm) => ({ name: vm.name, state: vm.body.properties.provisioningState, tags: { ...vm.body.tags }, pid: vm.agent?.pid, properties: vm.body.properties })),
    /** The agent dies and is not started again; the machine stays. */
    async crash(name: string): Promise<void> {
      const vm = [...machines.values()].find((one) => one.name === name);
      if (vm) await stopAgent(vm, "SIGKILL");
    },
    /** As when Azure takes a machine away: nobody is asked. */
    async evict(name: string): Promise<void> {
      const vm = [...machines.values()].find((one) => one.name === name);
      if (!vm) return;
      await stopAgent(vm, "SIGKILL");
      await removeVm(vm);
    },
    async stop(): Promise<void> {
      server.closeAllConnections();
      server.close();
      await Promise.all([...machines.values()].map(removeVm));
      await fs.promises.rm(options.folder, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

function setOf(vm: Vm): string {
  return (vm.body.properties["virtualMachineScaleSet"] as { id: string }).id.toLowerCase();
}

interface Order {
  readonly url: string;
  readonly tvm: string;
  readonly boot: number;
  readonly joinCode: string;
}

/** The order is somewhere in the text, as base64. */
function toldIn(customData: string): Order {
  const text = Buffer.from(customData, "base64").toString("utf8");
  for (const [encoded] of text.matchAll(/[A-Za-z0-9+/]{40,}={0,2}/g)) {
    const decoded = Buffer.from(encoded, "base64").toString("utf8");
    if (decoded.startsWith("{") && decoded.includes('"joinCode"')) return JSON.parse(decoded) as Order;
  }
  throw new Error("The custom data has no order for the agent.");
}

/** A copy without custom data, which Azure never gives back. */
function shown({ id, name, body }: Resource): unknown {
  return { id, name, type: "Microsoft.Compute", ...body };
}

function problem(status: number, code: string, message: string): Answer {
  return { status, body: { error: { code, message } } };
}

function notFound(name: string): Answer {
  return problem(404, "ResourceNotFound", `The resource ${name} was not found.`);
}
