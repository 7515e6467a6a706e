// Repeats what matters, now and then: hints may be lost, so nothing may depend on one. Also the only place where silence
// means something: a TVM that was not heard of for too long is lost, and its tasks go to others.
import { addMs } from "../domain/time";
import { jobStream, parentOf, poolStream, tvmStream, workItemStream } from "../domain/ids";
import type { Ports, Row, ViewLayout } from "../ports";
import { heartbeats, rooms } from "../views/errands";
import { jobs } from "../views/jobs";
import { pools } from "../views/pools";
import { tvms } from "../views/tvms";
import { workItems } from "../views/workItems";
import { LOST_AFTER_MS } from "./agents";
import { execute } from "./execute";
import { takeFrom } from "./react";
import { wake } from "./wakes";

const SWEEP_MAX = 500;

export const sweep = async (ports: Ports, at: string): Promise<void> => {
  await loseSilentTvms(ports, at);
  await freeUnfitTvms(ports, at);
  await repeatNudges(ports);
  await repeatWakes(ports);
};

const loseSilentTvms = async (ports: Ports, at: string): Promise<void> => {
  const deadline = addMs(at, -LOST_AFTER_MS);
  const oldest = await ports.views.query(heartbeats, { index: "at", prefix: "", limit: SWEEP_MAX });
  for (const { row } of oldest) {
    if (row.at > deadline) break;
    ports.log.warn("a TVM was not heard of for too long: its tasks go to others", { tvm: row.tvm, lastHeard: row.at });
    await execute(ports, "tvm", "service", { stream: tvmStream(row.tvm), command: { type: "LoseTvm", at, boot: row.boot } });
    await ports.views.write([
      { view: heartbeats, partition: parentOf(row.tvm), rows: [{ from: row.version, row: { ...row, version: row.version + 1, gone: true } }], counters: {} },
    ]);
  }
};

/** A TVM that is lost or between two boots must hold nothing; `leaving` has its own rules (the pool's process). */
const freeUnfitTvms = async (ports: Ports, at: string): Promise<void> => {
  const unfit = await ports.views.query(tvms, { index: "unfit", prefix: "", limit: SWEEP_MAX });
  for (const { key, row } of unfit) {
    if (row.phase === "unknown") await takeFrom(ports, key, "tvmLost", "requeue", at);
    if (row.phase === "starting") await takeFrom(ports, key, "tvmRestarted", "requeue", at);
  }
};

const unsettled = async (ports: Ports, view: ViewLayout<never> | ViewLayout): Promise<string[]> =>
  ports.views.keys(view, { index: "unsettled", prefix: "", limit: SWEEP_MAX });

const repeatNudges = async (ports: Ports): Promise<void> => {
  for (const key of await unsettled(ports, pools as unknown as ViewLayout<Row>)) await ports.orchestrations.nudge("pool", poolStream(key));
  for (const key of await unsettled(ports, workItems as unknown as ViewLayout<Row>)) await ports.orchestrations.nudge("workItem", workItemStream(key));
  for (const key of await unsettled(ports, jobs as unknown as ViewLayout<Row>)) await ports.orchestrations.nudge("job", jobStream(key));
};

/** Pools in which a TVM has room: whatever waits there is placed, should its wake have been lost. */
const repeatWakes = async (ports: Ports): Promise<void> => {
  const open = await ports.views.query(rooms, { index: "spread", prefix: "", limit: SWEEP_MAX });
  const names = new Set(open.map(({ row }) => row.pool));
  await wake(ports, [...names].map((pool) => ({ pool, tvms: [] })));
};
