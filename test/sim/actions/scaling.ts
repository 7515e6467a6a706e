// Autoscale: formulas that settle, that follow the tasks, that are wrong or hostile; turned on, changed, tried and turned off.
import type { Seeded } from "../../support/seeded";
import { type Action, type Client, perhaps, poolOf, somePool } from "../names";

/** A pool with this one comes to rest. */
export const SETTLING = "$TargetDedicated = 1;";

export const FORMULAS: readonly string[] = [
  SETTLING,
  "$TargetDedicated = 2; $TVMDeallocationOption = taskcompletion;",
  "$TargetDedicated = max(0, min(3, $PendingTasks.GetSample(1)));",
  "share = $ActiveTasks.GetSamplePercent(TimeInterval_Minute); $TargetDedicated = share < 70 ? 1 : min(3, avg($ActiveTasks.GetSample(TimeInterval_Minute)));",
  "$TargetDedicated = $CurrentDedicated + ($RunningTasks.GetSample(1) > 0 ? 1 : -1);",
  "$TargetDedicated = avg($CPUPercent.GetSample(3)) > 0.5 ? 3 : 1; $TVMDeallocationOption = terminate;",
  "$TargetDedicated = len($SampleTVMCount.GetSample(20)) * rand() * 4;",
  // Wrong when they are evaluated, at once or now and then.
  "$TargetDedicated = 1 / 0;",
  "$TargetDedicated = $PendingTasks.GetSample(1) > 2 ? 1 / 0 : 2;",
  "$TargetDedicated = avg($ActiveTasks.GetSample(TimeInterval_Hour, 100));",
  // Odd results: negative, huge, not whole, none.
  "$TargetDedicated = -5;",
  "$TargetDedicated = 10 ** 12;",
  "$TargetDedicated = 2.9;",
  "x = 1;",
  `v = vec(1,2,3); ${"v = vec(v,v,v,v); ".repeat(12)} $TargetDedicated = sum(v);`,
  // Not formulas at all.
  "$TargetDedicated = (1;",
  "$TargetDedicated = $NoSuchThing.GetSample(1);",
  "",
];

const formula = (random: Seeded): string => (random.chance(0.7) ? random.oneOf(FORMULAS.slice(0, 7)) : random.oneOf(FORMULAS));

/** How a pool is sized by a formula. Without a maximum it is the service's own that holds. */
const terms = (random: Seeded): object => ({
  autoScaleFormula: formula(random),
  ...(random.chance(0.5) ? { autoScaleEvaluationInterval: random.oneOf(["PT15S", "PT30S", "PT1S"]) } : {}),
  ...(random.chance(0.7) ? { autoScaleMaxDedicated: 1 + random.below(3) } : {}),
});

/** Takes the place of `targetDedicated`. */
export const scaledBody = (random: Seeded): object => ({ targetDedicated: undefined, enableAutoScale: true, ...terms(random) });

const onPool = (client: Client, verb: string): { target: string; pool: string } => {
  const pool = somePool(client);
  return { pool, target: `/pools/${pool}?${verb}` };
};

export const scalingActions: readonly Action[] = [
  { name: "enableAutoScale", weight: 5, ask: (client) => {
    const { pool, target } = onPool(client, "enableautoscale");
    return { method: "POST", target, body: terms(client.random), ...perhaps(client, `/pools/${pool}`), change: { stream: poolOf(pool), event: "PoolAutoScaleEnabled" } };
  } },
  { name: "disableAutoScale", weight: 2, ask: (client) => {
    const { pool, target } = onPool(client, "disableautoscale");
    return { method: "POST", target, ...perhaps(client, `/pools/${pool}`), change: { stream: poolOf(pool), event: "PoolAutoScaleDisabled" } };
  } },
  { name: "evaluateAutoScale", weight: 1, ask: (client) => ({ method: "POST", target: onPool(client, "evaluateautoscale").target, body: { autoScaleFormula: formula(client.random) } }) },
];
