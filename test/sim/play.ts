// One seed: a phase of chaos, in which clients ask for everything there is while everything fails; then a phase of healing, in
// which nothing fails any more and everything has to finish. Answers the history, which checkers then read.
import { isDue } from "../../src/domain/workItem";
import type { Row, ViewLayout } from "../../src/ports";
import { parked } from "../../src/views/errands";
import { jobs } from "../../src/views/jobs";
import { pools } from "../../src/views/pools";
import { tasks } from "../../src/views/tasks";
import { tvms } from "../../src/views/tvms";
import { workItems } from "../../src/views/workItems";
import { seeded } from "../support/seeded";
import { addCertificate, referenceTo } from "./actions/certificates";
import { SETTLING, scaledBody } from "./actions/scaling";
import { oddWorkItemBody } from "./bodies";
import { CERTIFICATES, type Fixture } from "./certificateFixtures";
import { ACCOUNT, POOLS, type Ask, createClient, poolBody, someAction, workItemBody } from "./clients";
import { CALM, type Profile, profileOf } from "./faults";
import type { History } from "./history";
import { type Client, TASKS } from "./names";
import { type World, type WorldOptions, openWorld } from "./world";

export interface Played {
  readonly history: History;
  readonly hash: string;
  readonly calls: number;
}

export interface PlayOptions extends Partial<WorldOptions> {
  readonly seed: number;
  readonly steps?: number;
}

export const STEPS = 60;
/** Of virtual time. */
const HEALING_MAX_MS = 3_600_000;
/** Out of step with the timers: a look at each full ten seconds would meet what the sweep has just sent, each time. */
const LOOK_MS = 9_700;

export const play = async (options: PlayOptions): Promise<Played> => {
  const random = seeded(options.seed * 31 + 7);
  const profile: Profile = options.profile ?? profileOf(random);
  const world = await openWorld({ processes: 1 + random.below(3), leases: 1 + random.below(3), ...options, profile });
  try {
    await chaos(world, options.seed, options.steps ?? STEPS);
    const open = await healed(world);
    const history = await world.history(open.length === 0, open);
    return { history, hash: world.hash(), calls: world.service.calls() };
  } finally {
    await world.end();
  }
};

/** One request of a scenario, so many milliseconds after the one before. */
export interface ScenarioStep {
  readonly afterMs: number;
  readonly ask: Ask;
}

/** A short scenario in which nothing goes wrong, but that the service process is killed at one call of a port. */
export const playScenario = async (steps: readonly ScenarioStep[], kill?: { readonly at: number; readonly kind: "killBefore" | "killAfter" }): Promise<Played> => {
  const onCall = (number: number) => (number === kill?.at ? kill.kind : undefined);
  const world = await openWorld({ seed: 1, profile: CALM, processes: 2, leases: 1, onCall });
  try {
    for (const { afterMs, ask } of steps) {
      await world.runUntil(world.timeline.now() + afterMs);
      world.ask("scenario", ask);
    }
    await world.runUntil(world.timeline.now() + 5_000);
    const calls = world.service.calls();
    const open = await healed(world);
    return { history: await world.history(open.length === 0, open), hash: world.hash(), calls };
  } finally {
    await world.end();
  }
};

const chaos = async (world: World, seed: number, steps: number): Promise<void> => {
  const client = createClient(seeded(seed * 13 + 5), () => world.timeline.now());
  const { random } = client;
  // Something to begin with, most of the time.
  const certificates = CERTIFICATES.filter(() => random.chance(0.5));
  for (const one of certificates) world.ask("begin", addCertificate(one));
  if (certificates.length > 0) await world.runUntil(world.timeline.now() + 500);
  if (random.chance(0.9)) for (const ask of beginning(client, random.chance(0.5) ? certificates : [])) world.ask("begin", ask);
  for (let step = 0; step < steps; step++) {
    const pause = random.chance(0.5) ? random.below(50) : random.chance(0.9) ? random.below(4_000) : random.below(60_000);
    await world.runUntil(world.timeline.now() + pause);
    const action = someAction(random);
    if (random.chance(0.15)) seen(client, world.machines.alive());
    const ask = action.ask(client);
    client.added.push(...(ask.adds ?? []));
    client.added.splice(0, client.added.length - TASKS);
    world.ask(action.name, ask, (reply) => {
      const pool = /^\/pools\/(\w+)\/tvms$/.exec(ask.target)?.[1];
      const list = (reply?.json as { value?: { name: string }[] } | undefined)?.value;
      if (pool !== undefined && Array.isArray(list)) seen(client, list.map(({ name }) => `${ACCOUNT}.${pool}.${name}`));
    });
    if (world.profile().crash > 0 && random.chance(0.02)) world.machines.kill(random);
  }
  await world.runUntil(world.timeline.now() + 20_000);
};

/** TVMs by their keys; what was seen before is known for a while. */
const seen = (client: Client, keys: readonly string[]): void => {
  client.tvms.push(...keys.map((key) => key.split(".").slice(1).join("/tvms/")));
  client.tvms.splice(0, client.tvms.length - TVMS);
};

const TVMS = 8;

const beginning = ({ random, now }: Client, certificates: readonly Fixture[]): Ask[] => [
  { method: "POST", target: "/pools", body: poolBody("Alpha", random, { targetDedicated: 2, certificateReferences: certificates.map(referenceTo) }), change: { stream: `pool-${ACCOUNT}.alpha`, event: "PoolCreated" } },
  ...(random.chance(0.6) ? [{ method: "POST", target: "/pools", body: poolBody("Beta", random, random.chance(0.4) ? scaledBody(random) : {}), change: { stream: `pool-${ACCOUNT}.beta`, event: "PoolCreated" } } as Ask] : []),
  ...["Render", "Encode"].slice(random.below(2)).map((name): Ask => ({ method: "POST", target: "/workitems", body: random.chance(0.3) ? oddWorkItemBody(name, "Alpha", { random, now }) : workItemBody(name, "Alpha", random), change: { stream: `workItem-${ACCOUNT}.${name.toLowerCase()}`, event: "WorkItemCreated" } })),
];

/** Heals, helps pools to have TVMs, and waits until nothing is left to do; answers what still is when the time is over. */
const healed = async (world: World): Promise<string[]> => {
  if (world.profile() !== CALM) world.heal();
  const until = world.timeline.now() + HEALING_MAX_MS;
  let open: string[] = [];
  let quiet = 0;
  while (world.timeline.now() < until) {
    await world.runUntil(world.timeline.now() + LOOK_MS);
    await helpPools(world);
    await helpJobs(world);
    open = await unsettled(world);
    // Twice in a row: what was between two places at the first look is seen at the second.
    quiet = open.length === 0 ? quiet + 1 : 0;
    if (quiet === 1) await readFiles(world);
    if (quiet === 2) return [];
  }
  return open;
};

const allRows = async <R extends Row>(world: World, view: ViewLayout<R>, index: string): Promise<R[]> =>
  (await world.raw.views.query(view, { index, prefix: "", limit: 10_000 })).map(({ row }) => row);

/** What some tasks have written is read, now that all have ended. */
const readFiles = async (world: World): Promise<void> => {
  const ran = (await allRows(world, tasks, "name")).filter(({ ranOn }) => ranOn !== undefined);
  for (const { workItemName, jobName, name } of ran.slice(-READS)) world.ask("read", { method: "GET", target: `/workitems/${workItemName}/jobs/${jobName}/tasks/${name}/files/stdout.txt` });
};

const READS = 4;

/** Jobs that somebody disabled are enabled, and schedules come to an end. */
const helpJobs = async (world: World): Promise<void> => {
  for (const { workItemName, name, phase } of await allRows(world, jobs, "workItem")) if (phase === "disabled") world.ask("heal", { method: "POST", target: `/workitems/${workItemName}/jobs/${name}?enable` });
  for (const { name, phase, spec } of await allRows(world, workItems, "name"))
    if (phase === "active" && spec.schedule !== undefined && spec.schedule.recurrenceMs !== undefined) world.ask("heal", { method: "PATCH", target: `/workitems/${name}`, body: { schedule: null } });
};

/** Every pool is there and has TVMs that can work. */
const helpPools = async (world: World): Promise<void> => {
  const there = await allRows(world, pools, "name");
  const members = await allRows(world, tvms, "pool");
  // Whoever took the last TVM out of a pool that a job made for itself has to put one back, too.
  for (const name of new Set([...POOLS, ...there.map((one) => one.name)])) {
    const row = there.find((one) => one.name === name);
    if (!row) world.ask("heal", { method: "POST", target: "/pools", body: { name, osFamily: "4", tvmSize: "large", targetDedicated: 1, maxTasksPerTVM: 2 } });
    // One pool's formula is turned off, the other gets one that comes to rest, unless its TVMs are of no use.
    else if (row.phase === "active" && row.autoScale && (name === POOLS[0] || members.some(({ pool, phase }) => pool === name && phase === "startTaskFailed"))) world.ask("heal", { method: "POST", target: `/pools/${name}?disableautoscale` });
    else if (row.phase === "active" && row.autoScale) {
      if (row.autoScale.formula !== SETTLING) world.ask("heal", { method: "POST", target: `/pools/${name}?enableautoscale`, body: { autoScaleFormula: SETTLING, autoScaleMaxDedicated: 2 } });
    }
    else if (row.phase === "active" && row.allocation === "steady") {
      const own = members.filter(({ pool }) => pool === name);
      const resize = (targetDedicated: number): void => void world.ask("heal", { method: "POST", target: `/pools/${name}?resize`, body: { targetDedicated, tvmDeallocationOption: "requeue" } });
      if (row.spec.startTask !== undefined && own.some(({ phase }) => phase === "startTaskFailed")) world.ask("heal", { method: "PATCH", target: `/pools/${name}`, body: { startTask: null } });
      else if (own.length > 0 && own.every(({ phase }) => phase === "startTaskFailed")) resize(0);
      else if (row.tvms.length === 0) resize(2);
    }
  }
};

const unsettled = async (world: World): Promise<string[]> => {
  const open: string[] = [];
  if (!(await world.feedIsRead())) open.push("the feed has not been read to its end");
  if (!world.queuesAreIdle()) open.push("messages wait");
  // Parked while everything failed: the sweep takes them in some minutes later.
  for (const { stream, commit } of await allRows(world, parked, "at")) open.push(`${stream}@${commit} is parked`);
  for (const { name, phase, allocation, tvms: members } of await allRows(world, pools, "name"))
    if (phase !== "active" || allocation !== "steady" || members.length === 0) open.push(`pool ${name} is ${phase} and ${allocation} with ${members.length} TVMs`);
  const now = new Date(world.timeline.now() - 60_000).toISOString();
  const made = await allRows(world, jobs, "workItem");
  for (const item of await allRows(world, workItems, "name")) {
    const recent = made.find((job) => job.workItemName === item.name && job.name === item.recentJob);
    if (item.phase === "active" && item.spec.schedule !== undefined && (recent === undefined || recent.phase === "completed") && isDue(item, now)) open.push(`work item ${item.name} is due`);
  }
  for (const { name, phase } of await allRows(world, workItems, "name")) if (phase === "terminating" || phase === "deleting") open.push(`work item ${name} is ${phase}`);
  for (const { workItem, id, phase } of made) if (phase === "terminating" || phase === "deleting" || phase === "disabling" || phase === "disabled") open.push(`job ${workItem}.${id} is ${phase}`);
  for (const { pool, name, phase } of await allRows(world, tvms, "pool")) if (phase !== "ready" && phase !== "startTaskFailed") open.push(`TVM ${pool}.${name} is ${phase}`);
  const there = new Set(made.map(({ workItem, id }) => `${workItem}.${id}`));
  for (const { job, name, phase, attempt } of await allRows(world, tasks, "name")) {
    if (phase !== "completed") open.push(`task ${job}.${name} is ${phase} (attempt ${attempt})`);
    // Written late: the job's process looks for such rows half a minute after its end, and once more.
    else if (!there.has(job)) open.push(`task ${job}.${name} is shown, and its job is gone`);
  }
  return open;
};
