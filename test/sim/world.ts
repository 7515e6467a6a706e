// A whole world on virtual time: shared stores on the shipped SQLite adapters, service processes, the platform that calls their
// functions (HTTP, feed, queues, timers, orchestrations), and simulated TVMs. It plays a seed and writes down what happened;
// whether that was right is for the checkers to say.
import { createHash } from "node:crypto";
import type { CertificatePlace, QueueSource, FeedSource, Commit, EventStore, Files, FileStat, Ports, Row, Sealer, Views, Bus, ViewLayout } from "../../src/ports";
import { sqliteBus } from "../../src/adapters/sqliteBus";
import { sqliteEventStore } from "../../src/adapters/sqliteEventStore";
import { sqliteViews } from "../../src/adapters/sqliteViews";
import { signString, stringsToSign } from "../../src/api/auth";
import type { RegisteredFunction } from "../../src/host/functionsCore";
import { parseSchedule } from "../../src/host/schedule";
import { rebuild } from "../../src/app/rebuild";
import { hash32, keyOf } from "../../src/domain/ids";
import { viewOf } from "../../src/views/all";
import { parseQueued } from "../../src/views/tasks";
import { parked } from "../../src/views/errands";
import { type Seeded, seeded } from "../support/seeded";
import { ACCOUNT, type Ask } from "./clients";
import { memorySqlite } from "./database";
import { CALM, type Profile } from "./faults";
import { functionNamed, functionsFor, loadFunctions } from "./functions";
import type { Asked, Final, History, Shown, Sight, Stored } from "./history";
import { createHub } from "./hub";
import { type Reply, createMachines } from "./machines";
import { type Ended, type Invocation, createService } from "./service";
import { clockOn, createTimeline } from "./timeline";

export const POOL_TVMS_MAX = 6;
/** Times of schedules and autoscale are short, so that a seed has several of each. */
const POLICY: Ports["policy"] = {
  allowElevated: false, poolTvmsMax: POOL_TVMS_MAX, allowTvmUsers: true, scheduleLeastMs: 10_000,
  scaling: { intervalMs: 60_000, intervalLeastMs: 15_000, enableEveryMs: 5_000, samplePeriodMs: 10_000 },
};
const VERSION = "2014-10-01.1.0";
const BASE = "http://service.example";
const KEY = Buffer.from("a key of the simulation's account, long enough to be one").toString("base64");

/** The stores of a world; `end` gives them up. */
export interface WorldStores {
  readonly eventStore: EventStore & Partial<FeedSource>;
  readonly views: Views;
  readonly bus: Bus & QueueSource;
  end(): Promise<void>;
}

export interface WorldOptions {
  readonly seed: number;
  readonly profile: Profile;
  readonly processes?: number;
  readonly leases?: number;
  readonly verbose?: ((line: string) => void) | undefined;
  readonly onCall?: (number: number) => "killBefore" | "killAfter" | undefined;
  /** Other stores than SQLite's in memory. */
  readonly stores?: (clock: Ports["clock"]) => Promise<WorldStores>;
}

export type World = Awaited<ReturnType<typeof openWorld>>;

export const sqliteStores = (clock: Ports["clock"]): WorldStores => {
  const database = memorySqlite();
  return { eventStore: sqliteEventStore(database), views: sqliteViews(database), bus: sqliteBus(database, clock), end: () => database.close() };
};

export const openWorld = async (options: WorldOptions) => {
  loadFunctions(POLICY);
  const timeline = createTimeline();
  const random = seeded(options.seed);
  let profile = options.profile;
  /** When things ceased to fail; until then nobody knows. */
  let healedAt = options.profile === CALM ? "" : "~";
  const hash = createHash("sha256");
  const trace = (line: string): void => {
    hash.update(`${timeline.now()} ${line}\n`);
    options.verbose?.(`${new Date(timeline.now()).toISOString().slice(11, 23)} ${line}`);
  };
  const clock = clockOn(timeline, 0, () => true);
  const raw = options.stores ? await options.stores(clock) : sqliteStores(clock);
  const stored: Stored[] = [];
  const known = new Set<string>();
  const asked: Asked[] = [];
  const files = memoryFiles(clock);
  const certificates = memoryCertificates();

  const machines = createMachines({
    timeline, random: seeded(options.seed * 7 + 1), profile: () => profile, trace,
    http: (from, method, path, headers, body, answered) => http({ from, method, path, headers, content: body === undefined ? undefined : JSON.stringify(body) }, answered),
    upload(url, bytes, sent) {
      const lost = random.chance(profile.loseRequest);
      timeline.after(1 + random.below(20), async () => {
        if (!lost) await files.put(new URL(url).pathname.slice(1), bytes);
        sent(!lost && !random.chance(profile.loseReply));
      });
    },
    watchSays(tvm, boot) {
      const process = service.pick();
      if (process) void service.within("watch", () => process.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm, boot } }])).catch(() => undefined);
    },
  });
  const hub = createHub({ timeline, random: seeded(options.seed * 7 + 2), service: () => service, profile: () => profile, trace });
  const service = createService({
    timeline, random: seeded(options.seed * 7 + 3), client: hub.client, processes: options.processes ?? 2, profile: () => profile, trace,
    ...(options.onCall ? { onCall: options.onCall } : {}),
    stores: {
      eventStore: { ...raw.eventStore, append: (commits) => append(commits) },
      views: raw.views, bus: raw.bus, files, certificates: certificates.port, machines: machines.port,
      accounts: { keys: async (account) => (account === ACCOUNT ? [KEY] : undefined) },
      sealer: plainSealer, policy: POLICY, random: seededIds(seeded(options.seed * 7 + 4)),
    },
    observe: (invocation, port, method, args, answer) => observe(invocation, port, method, args, answer),
  });

  // ---------------------------------------------------------------- what is written down

  const append = async (commits: readonly Commit[]) => {
    const appending = service.performing();
    const outcomes = await raw.eventStore.append(commits);
    commits.forEach((commit, index) => {
      if (outcomes[index] !== "ok" || known.has(commit.id)) return;
      known.add(commit.id);
      const copy = structuredClone(commit);
      hash.update(JSON.stringify(copy).replace(/"order":"([0-9a-z]{9})[0-9a-z]{5}"/g, '"order":"$1"'));
      options.verbose?.(`    ${copy.stream}@${copy.version} ${copy.events.map((event) => JSON.stringify(event)).join(" ")}`);
      const lost = copy.events.some(({ type }) => type === "TvmLost");
      stored.push({
        atMs: timeline.now(), commit: copy, during: appending?.name ?? "", ...(lost ? { running: machines.runningOn(keyOf(copy.stream)) } : {}),
        ...(appending && copy.events.some(({ type }) => type === "TaskAssigned") ? { sight: sightOf(appending) } : {}),
      });
    });
    for (const lease of leases) kick(lease);
    return outcomes;
  };

  const observe = (invocation: Invocation | undefined, port: string, method: string, args: readonly unknown[], answer: unknown): void => {
    if (!invocation?.name.startsWith("schedulePool") || port !== "views") return;
    const view = (args[0] as ViewLayout).name;
    if (view === "tvms" && method === "get")
      for (const row of answer as (Row | undefined)[]) {
        if (!row) continue;
        const key = `${String(row["account"])}.${String(row["pool"])}.${String(row["name"])}`.toLowerCase();
        invocation.tvms.set(key, String(row["phase"]));
      }
    if (view === "jobs" && method === "query")
      for (const { row } of answer as { row: Row & { workItem: string; spec: { priority: number } } }[]) invocation.jobs.set(`${row.workItem}.${row.id}`, row.spec.priority);
    if (view === "tasks" && method === "keys" && (args[1] as { index: string }).index === "queue")
      invocation.waiting.set((args[1] as { prefix: string }).prefix.slice(0, -1), headOf(answer as string[]));
  };

  /** What waits for a TVM to itself, and a job manager, hold up those behind them; who would like a certain TVM says nothing of the order. */
  const headOf = (keys: readonly string[]) => {
    const waiting = keys.map(parseQueued).filter(({ affinity }) => affinity === undefined);
    return { tasks: waiting.map(({ task }) => task), blocking: waiting.filter(({ exclusive, manager }) => exclusive || manager).map(({ task }) => task) };
  };

  const sightOf = ({ tvms, jobs, waiting }: Invocation): Sight => ({
    tvms: Object.fromEntries(tvms),
    jobs: [...jobs].map(([job, priority]) => ({ job, priority, waiting: waiting.get(job)?.tasks ?? [], blocking: waiting.get(job)?.blocking ?? [] })),
  });

  // ---------------------------------------------------------------- HTTP

  interface Request {
    readonly from: string;
    readonly method: string;
    readonly path: string;
    readonly headers: Record<string, string>;
    readonly content?: string | undefined;
    /** It has come to a process; answers what is to be called when that is through with it. */
    readonly arrived?: () => () => void;
  }

  const batch = functionNamed("batch");
  const answering: RegisteredFunction = { ...batch, callback: async (request, context) => drained(await batch.callback(request, context) as never) };

  const http = (request: Request, answered: (reply: Reply | undefined) => void): void => {
    if (random.chance(profile.loseRequest)) return;
    const deliver = (): void => {
      const process = service.pick();
      if (!process) return void timeline.after(20, () => answered(undefined));
      const through = request.arrived?.();
      const lost = random.chance(profile.loseReply);
      service.run(process, answering, incoming(request), {}, (how) => {
        through?.();
        if (how.kind === "killed" || (how.kind === "done" && (how.value as Reply).status === BROKEN_OFF)) return void timeline.after(5, () => answered(undefined));
        if (lost) return;
        timeline.after(1 + random.below(3), () => answered(how.kind === "done" ? (how.value as Reply) : { status: 500, json: undefined }));
      });
    };
    timeline.after(1 + random.below(3), deliver);
    if (random.chance(profile.repeatRequest)) timeline.after(2 + random.below(3_000), deliver);
  };

  const underWay = new Map<Asked, number[]>();
  const arrived = (one: Asked, { later }: Ask): (() => void) => {
    one.arrivals = later ? Infinity : one.arrivals + 1;
    const since = timeline.now();
    underWay.set(one, [...(underWay.get(one) ?? []), since]);
    return () => {
      one.tookMs = Math.max(one.tookMs, timeline.now() - since);
      underWay.get(one)?.splice(underWay.get(one)?.indexOf(since) ?? 0, 1);
    };
  };

  const tags = new Map<string, string>();
  /** A client's request: signed, sent, and written down with what became of it. */
  const ask = (action: string, what: Ask, answered: (reply: Reply | undefined) => void = () => {}): Asked => {
    const adds = what.adds?.map(({ workItem, task }) => `task-${ACCOUNT}.${workItem}.*.job-0000000001.${task}`.toLowerCase());
    const one: Asked = { action, atMs: timeline.now(), method: what.method, target: what.target, arrivals: 0, tookMs: 0, ...(what.headers ? { part: true as const } : {}), ...(what.change ? { change: what.change } : {}), ...(adds ? { adds } : {}) };
    asked.push(one);
    trace(`client ${action} ${what.method} ${what.target}`);
    if (what.command) {
      one.arrivals = Infinity;
      // An event of its own: within whatever runs next, it would depend on how many turns the stores take.
      timeline.after(0, () => raw.bus.send("commands", [{ body: what.command as never }]));
      answered(undefined);
      return one;
    }
    const url = new URL(BASE + what.target);
    url.search = [url.search.slice(1), `api-version=${VERSION}`].filter(Boolean).join("&");
    const content = what.raw?.text ?? (what.body === undefined ? undefined : JSON.stringify(what.body));
    const tag = what.conditional === undefined ? undefined : tags.get(what.conditional);
    const headers: Record<string, string> = {
      "ocp-date": new Date(timeline.now()).toUTCString(),
      ...(content === undefined ? { "content-length": "0" } : { "content-type": what.raw?.type ?? "application/json", "content-length": String(Buffer.byteLength(content)) }),
      ...(tag === undefined ? {} : { "if-match": tag }),
      ...what.headers,
    };
    const [text] = stringsToSign({ method: what.method, url, headers: new Headers(headers) as never }, ACCOUNT);
    headers["authorization"] = `SharedKey ${ACCOUNT}:${signString(text as string, KEY)}`;
    http({ from: "client", method: what.method, path: url.pathname + url.search, headers, content, arrived: () => arrived(one, what) }, (reply) => {
      if (!reply || one.answeredMs !== undefined) return answered(reply);
      one.answeredMs = timeline.now();
      if (reply.status < 500) one.status = reply.status;
      const { code, tag: eTag } = reply as Reply & { code?: string; tag?: string };
      if (code !== undefined) one.code = code;
      if (eTag !== undefined) tags.set(what.target.replace(/\?.*/, ""), eTag);
      if (adds) one.added = addedBy(reply, adds);
      if (/\/files/.test(what.target)) one.answer = reply.json;
      trace(`client hears ${action} ${reply.status} ${code ?? ""}`);
      answered(reply);
    });
    return one;
  };

  // ---------------------------------------------------------------- the feed

  interface Lease {
    readonly number: number;
    position: string | undefined;
    readonly positions: (string | undefined)[];
    failures: number;
    busy: boolean;
    again: boolean;
  }
  const leases: Lease[] = Array.from({ length: options.leases ?? 1 }, (_, number) => ({ number, position: undefined, positions: [undefined], failures: 0, busy: false, again: false }));
  const onCommits = functionNamed("onCommits");

  const kick = (lease: Lease): void => {
    lease.again = true;
    if (lease.busy) return;
    lease.busy = true;
    timeline.after(1 + (random.chance(profile.late) ? random.below(profile.lateMs) : random.below(5)), () => readLease(lease));
  };
  const isOn = (lease: Lease, { partition }: Commit): boolean => hash32(partition) % leases.length === lease.number;
  const readLease = async (lease: Lease): Promise<void> => {
    lease.again = false;
    const { commits, position } = await raw.eventStore.readFeed(lease.position, 1 + random.below(30));
    if (commits.length === 0) {
      lease.busy = false;
      if (lease.again) kick(lease);
      return;
    }
    const own = commits.filter((commit) => isOn(lease, commit));
    const next = (): void => {
      lease.position = position;
      lease.positions.push(position);
      lease.failures = 0;
      if (random.chance(profile.replay)) {
        lease.position = lease.positions[Math.max(0, lease.positions.length - 1 - random.below(12))];
        trace(`lease ${lease.number} goes back`);
      }
      lease.busy = false;
      kick(lease);
    };
    if (own.length === 0) return next();
    const process = service.pick();
    const retry = (delayMs: number): void => void timeline.after(delayMs, () => readLease(lease));
    if (!process) return retry(500);
    const more = lease.failures === 0 ? {} : { retryContext: { retryCount: lease.failures } };
    if (random.chance(profile.again)) double(onCommits, own);
    service.run(process, onCommits, own, more, (how) => {
      if (how.kind === "done") return next();
      if (how.kind === "failed") lease.failures++;
      retry(how.kind === "killed" ? 2_000 : Math.min(30_000, 100 * 2 ** lease.failures));
    });
  };
  /** The same again in another process, whose end nobody waits for. */
  const double = (fn: RegisteredFunction, trigger: unknown): void =>
    void timeline.after(random.below(2_000), () => {
      const other = service.pick();
      if (other) service.run(other, fn, trigger, {}, () => {});
    });

  // ---------------------------------------------------------------- queues

  const QUIET_AFTER = 5;
  const idle = new Map<string, () => boolean>();
  const receiver = (fn: RegisteredFunction): void => {
    const { queueName, isSessionsEnabled, cardinality } = fn.trigger as { queueName?: string; isSessionsEnabled?: boolean; cardinality?: string };
    const queue = queueName as string;
    const byLane = isSessionsEnabled === true;
    const many = cardinality === "many";
    let busy = 0;
    let planned = false;
    const plan = (): void => {
      if (planned) return;
      planned = true;
      timeline.after(1 + random.below(5), receive);
    };
    const receive = async (): Promise<void> => {
      planned = false;
      while (busy < 3) {
        const messages = await raw.bus.receive(queue, { max: many ? 1 + random.below(10) : 1, byLane });
        if (messages.length === 0) return;
        busy++;
        const tired = messages.some(({ deliveryCount }) => deliveryCount > QUIET_AFTER);
        timeline.after(!tired && random.chance(profile.late) ? random.below(profile.lateMs) : 0, () => handle(messages, tired));
      }
    };
    const handle = (messages: Awaited<ReturnType<QueueSource["receive"]>>, tired: boolean): void => {
      const settle = async (how: Ended): Promise<void> => {
        if (how.kind === "done") await raw.bus.complete(queue, messages);
        else if (how.kind === "failed" && (how.error as { hopeless?: boolean }).hopeless) await raw.bus.deadLetter(queue, messages, how.error.message);
        else await raw.bus.abandon(queue, messages, how.kind);
        busy--;
        plan();
      };
      const process = service.pick();
      if (!process) return void timeline.after(1_000, () => handle(messages, tired));
      const trigger = many ? messages.map(({ body }) => body) : messages[0]?.body;
      const { messageId, correlationId, replyTo } = messages[0] as (typeof messages)[number];
      if (!tired && random.chance(profile.again)) double(fn, trigger);
      service.run(process, fn, trigger, { triggerMetadata: many ? {} : { messageId, correlationId, replyTo } }, (how) =>
        void timeline.after(how.kind === "done" ? 0 : how.kind === "killed" ? 10_000 : 200 * 2 ** Math.min(6, messages[0]?.deliveryCount ?? 1), () => settle(how)));
    };
    idle.set(queue, () => busy === 0 && !planned);
    raw.bus.onArrival(queue, plan);
    plan();
  };
  for (const fn of functionsFor("servicebustrigger")) receiver(fn);

  // ---------------------------------------------------------------- timers

  const ticker = (fn: RegisteredFunction): void => {
    const schedule = parseSchedule((fn.trigger as unknown as { schedule: string }).schedule);
    const tick = (): void => {
      timeline.after(schedule.next(timeline.now()) - timeline.now(), tick);
      const process = service.pick();
      if (!process || (profile !== CALM && random.chance(profile.loseRequest))) return;
      if (random.chance(profile.again)) double(fn, {});
      service.run(process, fn, {}, {}, () => {});
    };
    timeline.after(schedule.next(timeline.now()) - timeline.now(), tick);
  };
  for (const fn of functionsFor("timertrigger")) ticker(fn);

  // ---------------------------------------------------------------- looking in from outside

  const feedIsRead = async (): Promise<boolean> => {
    for (const lease of leases) if (lease.busy || (await raw.eventStore.readFeed(lease.position, 1)).commits.length > 0) return false;
    return true;
  };

  return {
    timeline, random, service, machines, hub, raw, stored, asked, ask, trace,
    hash: () => hash.copy().digest("hex").slice(0, 16),
    profile: () => profile,
    /** From now on nothing goes wrong any more. */
    heal(): void {
      profile = CALM;
      healedAt = new Date(timeline.now()).toISOString();
      machines.heal();
      trace("healing begins");
    },
    async runUntil(atMs: number): Promise<void> {
      let over = false;
      timeline.after(atMs - timeline.now(), () => void (over = true));
      while (!over && (await timeline.step()));
    },
    feedIsRead,
    queuesAreIdle: () => [...idle.values()].every((one) => one()),
    async history(settled: boolean, open: readonly string[]): Promise<History> {
      const shown = await shownIn(raw);
      const kept = await wholeFeed(raw.eventStore);
      const queues: Record<string, number> = {};
      const deadLetters: string[] = [];
      for (const queue of ["commands", "reports", "wakes"]) {
        deadLetters.push(...(await raw.bus.deadLetters(queue, 100)).map(({ message, reason }) => `${queue}${message.enqueuedAt >= healedAt ? " (nothing failed any more)" : ""}: ${reason} ${JSON.stringify(message.body)}`));
        queues[queue] = idle.get(queue)?.() === false ? 1 : 0;
      }
      const parkedRows = (await raw.views.query(parked, { index: "at", prefix: "", limit: 100 })).length;
      const plain = { ...raw, log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} } } as unknown as Ports;
      await rebuild({ ...plain, eventStore: { ...raw.eventStore }, views: { ...raw.views } }, new Date(timeline.now()).toISOString());
      for (const [one, since] of underWay) one.tookMs = Math.max(one.tookMs, ...since.map((at) => timeline.now() - at));
      const final: Final = { settled, open, shown, rebuilt: await shownIn(raw), kept, queues, deadLetters, parked: parkedRows, secrets: certificates.places() };
      return {
        poolTvmsMax: POOL_TVMS_MAX, slowMs: options.profile.slow > 0 ? options.profile.slowMs : 0, stored, runs: machines.runs, disk: machines.disk, installed: machines.installed, asked, generations: hub.generations, broken: service.errors, unfinished: service.unfinished, final,
      };
    },
    end: () => raw.end(),
  };

  function incoming(request: Request): unknown {
    const bytes = request.content === undefined ? undefined : Buffer.from(request.content);
    let read = false;
    const reader = {
      async read() {
        if (read) return { done: true };
        read = true;
        return { done: false, value: bytes };
      },
      async cancel() {},
    };
    const headers = new Headers(request.headers);
    if (bytes) {
      headers.set("content-type", request.headers["content-type"] ?? "application/json");
      headers.set("content-length", String(bytes.length));
    }
    return { method: request.method, url: BASE + request.path, headers, body: bytes ? { getReader: () => reader } : null };
  }
};

/** A page may hold less than was asked for: only an empty one is the end. */
const wholeFeed = async (store: EventStore): Promise<Commit[]> => {
  const kept: Commit[] = [];
  for (let page = await store.readFeed(undefined, 1_000_000); page.commits.length > 0; page = await store.readFeed(page.position, 1_000_000)) kept.push(...page.commits);
  return kept;
};

/** No answer at all, though it had begun. */
const BROKEN_OFF = -1;

const readAs = (type: string, text: string): unknown => {
  if (/ndjson/.test(type)) return text.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line) as unknown);
  if (/multipart/.test(type)) return [...text.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status]) => ({ part: Number(status) }));
  return /json/.test(type) && text !== "" ? JSON.parse(text) : text === "" ? undefined : text;
};

const drained = async (answer: { status?: number; headers?: Record<string, string>; body?: string | AsyncIterable<Uint8Array> }): Promise<Reply & { code?: string; tag?: string }> => {
  const parts: Uint8Array[] = [];
  try {
    if (typeof answer.body === "string") parts.push(Buffer.from(answer.body));
    else if (answer.body) for await (const part of answer.body) parts.push(part);
  } catch (error) {
    // What was promised of a file cannot be sent any more: the connection breaks.
    if (/became shorter|become shorter|rest of the file/.test((error as Error).message)) return { status: BROKEN_OFF, json: undefined };
    throw error;
  }
  const json = readAs(answer.headers?.["Content-Type"] ?? "", Buffer.concat(parts).toString("utf8"));
  const code = (json as { code?: string } | undefined)?.code;
  const tag = answer.headers?.["ETag"];
  return { status: answer.status ?? 200, json, ...(code === undefined ? {} : { code }), ...(tag === undefined ? {} : { tag }) };
};

/** Which of the tasks asked for the answer says to be added by it. */
const addedBy = ({ status, json }: Reply, adds: readonly string[]): string[] => {
  if (status === 201) return [...adds];
  // A batch: parts are answered in their order, additions first.
  if (status === 202 && Array.isArray(json)) return adds.filter((_, index) => (json as { part: number }[])[index]?.part === 201);
  if (status !== 200) return [];
  if (Array.isArray(json)) {
    // Lines: whole chunks are told of; what was there or failed is not among the added ones.
    const [chunk] = json as { added?: number }[];
    return chunk?.added === adds.length ? [...adds] : [];
  }
  const results = (json as { value?: { status: string; taskName: string }[] }).value ?? [];
  return results.flatMap(({ status: outcome, taskName }) => (outcome === "Success" ? adds.filter((stream) => stream.endsWith(`.${taskName.toLowerCase()}`)) : []));
};

/** Every row and counter of the views that are folded from events, by way of their own indexes and tombstones' absence. */
export const shownIn = async ({ views }: Pick<WorldStores, "views">): Promise<Shown> => {
  const rows: Shown["rows"][number][] = [];
  const counters: Shown["counters"][number][] = [];
  const whole: Record<string, string> = { pool: "name", tvm: "pool", workItem: "name", job: "workItem", task: "name", certificate: "name" };
  for (const [category, view] of Object.entries(viewOf)) {
    const layout = view as unknown as ViewLayout<Row>;
    const partitions = new Set<string>();
    let after: string | undefined;
    for (;;) {
      const page = await views.query(layout, { index: whole[category] as string, prefix: "", limit: 500, ...(after === undefined ? {} : { after }) });
      for (const { row } of page) {
        const partition = placeOf(category, row);
        partitions.add(partition);
        rows.push({ name: view.name, partition, id: row.id, version: row.version, json: row });
      }
      if (page.length < 500) break;
      after = page.at(-1)?.key;
    }
    for (const [name, value] of Object.entries(await views.counters(layout, "")).sort()) if (value !== 0) counters.push({ view: view.name, partition: "", name, value });
    for (const partition of [...partitions].sort())
      for (const [name, value] of Object.entries(await views.counters(layout, partition)).sort()) if (value !== 0) counters.push({ view: view.name, partition, name, value });
  }
  return { rows, counters };
};

const placeOf = (category: string, row: Row): string => {
  const { account, pool, workItem, job } = row as unknown as Record<string, string>;
  const key = { pool: `${account}.x`, workItem: `${account}.x`, certificate: `${account}.x`, tvm: `${account}.${pool}.x`, job: `${workItem}.x`, task: `${job}.${row.id}` }[category] as string;
  const view = viewOf[category as keyof typeof viewOf] as { locate(key: string): { partition: string } };
  return view.locate(key.toLowerCase()).partition;
};

const seededIds = (random: Seeded): Ports["random"] => {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const id = (bytes = 16): string => Array.from({ length: Math.ceil((bytes * 4) / 3) }, () => letters[random.below(64)]).join("");
  const hex = (digits: number): string => Array.from({ length: digits }, () => "0123456789abcdef"[random.below(16)]).join("");
  return { id, uuid: () => `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`, fraction: () => random.below(2 ** 30) / 2 ** 30 };
};

/** Nothing is secret in a simulation, but what is signed is told apart. */
const plainSealer: Sealer = {
  seal: (plain, context) => Buffer.from(JSON.stringify([context, plain])).toString("base64url"),
  open(sealed, context) {
    const [bound, plain] = JSON.parse(Buffer.from(sealed, "base64url").toString("utf8")) as [string, string];
    if (bound !== context) throw new Error("Sealed for another context.");
    return plain;
  },
  sign: (text) => createHash("sha256").update(`sim ${text}`).digest("base64url"),
};

const memoryFiles = (clock: Ports["clock"]): Files => {
  const all = new Map<string, { stat: FileStat; bytes: Uint8Array }>();
  return {
    async put(path, content, contentType = "application/octet-stream") {
      const parts: Uint8Array[] = [];
      if (content instanceof Uint8Array) parts.push(content);
      else for await (const part of content) parts.push(part);
      const bytes = Buffer.concat(parts);
      const at = clock.now().toISOString();
      const stat = { path, length: bytes.length, createdAt: at, modifiedAt: at, contentType };
      all.set(path, { stat, bytes });
      return stat;
    },
    stat: async (path) => all.get(path)?.stat,
    async read(path, range) {
      const found = all.get(path);
      if (!found) return undefined;
      const from = range?.offset ?? 0;
      const bytes = found.bytes.subarray(from, range?.length === undefined ? undefined : from + range.length);
      return { stat: found.stat, content: (async function* () { yield bytes; })() };
    },
    list: async (prefix, after = "", limit = 1_000) => [...all.keys()].filter((path) => path.startsWith(prefix) && path > after).sort().slice(0, limit).map((path) => (all.get(path) as { stat: FileStat }).stat),
    remove: async (path) => void all.delete(path),
    signedUrl: async (path, access) => `https://files.example/${path}?${access}`,
  };
};

const memoryCertificates = (): { readonly port: Ports["certificates"]; places(): CertificatePlace[] } => {
  const all = new Map<string, Parameters<Ports["certificates"]["put"]>[1]>();
  const keyOfPlace = (place: object): string => JSON.stringify(place);
  const port: Ports["certificates"] = {
    async put(place, secret) {
      all.set(keyOfPlace(place), secret);
      return undefined;
    },
    get: async (place) => all.get(keyOfPlace(place)),
    remove: async (place) => void all.delete(keyOfPlace(place)),
  };
  return { port, places: () => [...all.keys()].map((place) => JSON.parse(place) as CertificatePlace) };
};

