// What clients send: tasks, pools and work items, from simple to odd. Every choice is the seed's.
import type { Seeded } from "../support/seeded";
import type { Client } from "./names";

/** `run {milliseconds} {exit code}`: what the simulated machine makes of it. */
export const commandLine = ({ random }: Client): string => `run ${random.oneOf([20, 200, 3_000, 20_000, 60_000])} ${random.chance(0.25) ? 1 + random.below(3) : 0}`;

export const taskBody = (client: Client, name: string): object => {
  const { random } = client;
  return {
    name,
    commandLine: commandLine(client),
    ...(random.chance(0.4) ? { taskConstraints: { maxTaskRetryCount: random.oneOf([-1, 0, 1, 2]), ...(random.chance(0.3) ? { maxWallClockTime: "PT5S" } : {}) } } : {}),
    ...(random.chance(0.1) && client.tvms.length > 0 ? { affinityInfo: { affinityId: `TVM:${random.oneOf(client.tvms).replace(/.*\//, "")}` } } : {}),
    ...(random.chance(0.2) ? { resourceFiles: [{ blobSource: "https://blobs.example/in/a?sig=secret", filePath: "a" }] } : {}),
  };
};

export const startTask = ({ random }: Client): object => ({ commandLine: "prepare", maxTaskRetryCount: random.below(3), waitForSuccess: random.chance(0.7) });

export const poolBody = (name: string, random: Seeded, more: object = {}): object => ({
  name, osFamily: "4", tvmSize: "large", targetDedicated: random.below(4), maxTasksPerTVM: 1 + random.below(3),
  schedulingPolicy: { tvmFillType: random.oneOf(["Spread", "Pack"]) }, ...more,
});

const manager = (random: Seeded): object => ({ name: "manager", commandLine: `run ${random.oneOf([500, 9_000])} ${random.below(2)}`, runExclusive: random.chance(0.5), killJobOnCompletion: random.chance(0.5), taskConstraints: { maxTaskRetryCount: 2 } });

const autoPool = (random: Seeded): object => ({
  autoPoolNamePrefix: "auto", poolLifeTimeOption: random.oneOf(["job", "workitem"]), pool: { osFamily: "4", tvmSize: "large", targetDedicated: 1 + random.below(2), maxTasksPerTVM: 2 },
});

/** Intervals are short enough for some occurrences within the seed, windows for some that miss theirs. */
export const scheduleBody = ({ random, now }: Pick<Client, "random" | "now">): object => ({
  ...(random.chance(0.8) ? { recurrenceInterval: random.oneOf(["PT10S", "PT25S", "PT1M", "PT2M"]) } : {}),
  ...(random.chance(0.5) ? { startWindow: random.oneOf(["PT10S", "PT20S", "PT1M"]) } : {}),
  ...(random.chance(0.2) ? { doNotRunUntil: new Date(now() + random.below(60_000)).toISOString() } : {}),
  ...(random.chance(0.3) ? { doNotRunAfter: new Date(now() + 60_000 + random.below(120_000)).toISOString() } : {}),
});

/** From simple to odd: a schedule, a job manager, a pool of its own. */
export const oddWorkItemBody = (name: string, pool: string, client: Pick<Client, "random" | "now">): object => oddBody(name, pool, client.random, client);

const oddBody = (name: string, pool: string, random: Seeded, client: Pick<Client, "random" | "now">): object => ({
  name,
  jobExecutionEnvironment: random.chance(0.3) ? { autoPoolSpecification: autoPool(random) } : { poolName: pool },
  ...(random.chance(0.6) ? { schedule: scheduleBody(client) } : {}),
  // Jobs that end by themselves, so that others follow.
  ...(random.chance(0.8) ? { jobSpecification: { priority: 3, ...(random.chance(0.7) ? { jobConstraints: { maxWallClockTime: random.oneOf(["PT4S", "PT12S", "PT40S"]) } } : {}), ...(random.chance(0.5) ? { jobManager: manager(random) } : {}) } } : {}),
});

export const workItemBody = (name: string, pool: string, random: Seeded): object => ({
  name, jobExecutionEnvironment: { poolName: pool },
  ...(random.chance(0.6) ? { jobSpecification: { priority: random.oneOf([-5, 0, 5]), jobConstraints: { maxTaskRetryCount: random.below(3), ...(random.chance(0.1) ? { maxWallClockTime: "PT2M" } : {}) } } } : {}),
});
