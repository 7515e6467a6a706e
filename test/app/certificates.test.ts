// The life of a certificate beside that of pools: what reactions and the sweep finish, what happens when the store of secrets is
// away, and pools that get a reference while a deletion is under way.
import { readdirSync } from "node:fs";
import path from "node:path";
import { certificatesFor } from "../../src/app/agents";
import { addCertificate, cancelCertificateDeletion, deleteCertificate, endCertificate, getCertificate } from "../../src/app/certificates";
import { Busy } from "../../src/app/execute";
import { getJob } from "../../src/app/jobs";
import { addPool, deletePool, getPool, listPools, updatePool } from "../../src/app/pools";
import { addWorkItem } from "../../src/app/workItems";
import { isRejection } from "../../src/domain/decider";
import { certificateKey, certificateStream } from "../../src/domain/ids";
import type { MachineOrder, Ports } from "../../src/ports";
import { tvms } from "../../src/views/tvms";
import { type Agent, JOB, type World, accepted, agentFor, bootAll, makePool, openWorld, poolSpec } from "../support/world";

const THUMBPRINT = "0123456789abcdef0123456789abcdef01234567";
const name = { thumbprint: THUMBPRINT, thumbprintAlgorithm: "sha1" };
const references = [{ ...name, visibility: "task" }];
const fresh = { ...name, publicData: "AAAA", secret: { data: Buffer.from("a sealed file"), password: "secret" } };

let world: World;
beforeEach(async () => {
  world = await openWorld();
});
afterEach(() => world.close());

const add = async (): Promise<void> => void accepted(await addCertificate(world.ports, world.call(), fresh));
const remove = async (): Promise<void> => void accepted(await deleteCertificate(world.ports, world.call(), name));
const phase = async (): Promise<string> => {
  const found = await getCertificate(world.ports, world.call(), name);
  return isRejection(found) ? found.code : found.state.phase;
};
const secrets = (): string[] => readdirSync(path.join(world.folder, "certificates"));
const key = certificateKey("local", "sha1", THUMBPRINT);

test("a deletion goes on by itself: it fails while a pool refers to the certificate, and its secret goes with it once none does", async () => {
  await add();
  await makePool(world, "Pool-A", { certificateReferences: references, targetDedicated: 0 });
  await remove();
  await world.pump.untilQuiet();
  expect([await phase(), secrets().length]).toEqual(["deletefailed", 1]);
  accepted(await cancelCertificateDeletion(world.ports, world.call(), name));
  expect(await phase()).toBe("active");
  accepted(await deletePool(world.ports, world.call(), "Pool-A"));
  await world.pump.untilQuiet();
  await remove();
  await world.pump.untilQuiet();
  expect([await phase(), secrets()]).toEqual(["CertificateNotFound", []]);
});

test("all of an account's pools are looked at, however many there are, and no other account's", async () => {
  await add();
  for (let index = 0; index < 25; index++) accepted(await addPool(world.ports, world.call(), `pool-${index}`, poolSpec({ targetDedicated: 0, ...(index % 2 ? { certificateReferences: references } : {}) })));
  accepted(await addCertificate(world.ports, world.call("other"), fresh));
  accepted(await deleteCertificate(world.ports, world.call("other"), name));
  await remove();
  await world.pump.untilQuiet();
  const found = accepted(await getCertificate(world.ports, world.call(), name));
  expect(found.state.deleteError?.message).toContain("12 pools refer");
  expect(isRejection(await getCertificate(world.ports, world.call("other"), name))).toBe(true);
});

test("with the store of secrets away a deletion waits, nothing else does, and the sweep ends it", async () => {
  await add();
  const { remove: really } = world.ports.certificates;
  world.ports.certificates.remove = () => Promise.reject(new Error("the vault is away"));
  await remove();
  await world.pump.untilQuiet();
  expect([await phase(), [...new Set(world.warnings)]]).toEqual(["retired", ["the deletion of a certificate is not over yet"]]);
  const late = await addPool(world.ports, world.call(), "late", poolSpec({ certificateReferences: references }));
  expect(late).toMatchObject({ code: "CertificateBeingDeleted" });
  await world.sweep();
  expect(await phase()).toBe("retired");
  world.ports.certificates.remove = really;
  await world.sweep();
  expect([await phase(), secrets()]).toEqual(["CertificateNotFound", []]);
});

test("a store that cannot keep the file refuses the certificate; one that is away leaves none behind", async () => {
  const refusing: Ports = { ...world.ports, certificates: { ...world.ports.certificates, put: async () => "no such keys here" } };
  expect(await addCertificate(refusing, world.call(), fresh)).toMatchObject({ code: "InvalidPropertyValue", values: { PropertyName: "data", Reason: "no such keys here" } });
  const away: Ports = { ...world.ports, certificates: { ...world.ports.certificates, put: () => Promise.reject(new Error("away")) } };
  await expect(addCertificate(away, world.call(), fresh)).rejects.toThrow("away");
  expect(await phase()).toBe("CertificateNotFound");
});

test("two that add the same at once: one certificate, one secret", async () => {
  const outcomes = await Promise.all([1, 2, 3].map(() => addCertificate(world.ports, world.call(), fresh)));
  expect(outcomes.map((outcome) => (isRejection(outcome) ? outcome.code : "added")).sort()).toEqual(["CertificateExists", "CertificateExists", "added"]);
  const { state } = accepted(await getCertificate(world.ports, world.call(), name));
  expect(secrets()).toEqual([`local.${THUMBPRINT}.${state.edition}`]);
});

/** The ports of a request in which something happens between its first look at certificates and what it then writes. */
const meanwhile = (happens: () => Promise<void>): Ports => {
  let done = false;
  return {
    ...world.ports,
    eventStore: {
      ...world.ports.eventStore,
      async load(streams) {
        const loaded = await world.ports.eventStore.load(streams);
        if (!done && streams.includes(certificateStream(key))) {
          done = true;
          await happens();
        }
        return loaded;
      },
    },
  };
};

test("a pool made while the certificate was deleted is refused and goes; a reference got so is taken away", async () => {
  await add();
  const deleted = async (): Promise<void> => {
    await remove();
    await endCertificate(world.ports, key, world.now());
  };
  const outcome = await addPool(meanwhile(deleted), world.call(), "Pool-A", poolSpec({ certificateReferences: references }));
  expect(outcome).toMatchObject({ code: "CertificateNotFound" });
  await world.pump.untilQuiet();
  expect(await getPool(world.ports, world.call(), "Pool-A")).toMatchObject({ code: "PoolNotFound" });

  await add();
  await makePool(world, "Pool-B", { targetDedicated: 0 });
  expect(await updatePool(meanwhile(deleted), world.call(), "Pool-B", { certificateReferences: references })).toMatchObject({ code: "CertificateNotFound" });
  expect(accepted(await getPool(world.ports, world.call(), "Pool-B")).state.spec.certificateReferences).toEqual([]);
});

test("a pool made while a deletion had only begun keeps the certificate", async () => {
  await add();
  accepted(await addPool(meanwhile(remove), world.call(), "Pool-A", poolSpec({ certificateReferences: references, targetDedicated: 0 })));
  expect(await phase()).toBe("deletefailed");
  await world.pump.untilQuiet();
  expect(await phase()).toBe("deletefailed");
});

test("references reach a TVM at its next start", async () => {
  await add();
  await makePool(world, "Pool-A", { targetDedicated: 1 });
  const agents = await bootAll(world);
  const shown = async () => {
    const [row] = await world.ports.views.get(tvms, [{ partition: "local.pool-a", id: [...agents.keys()][0]?.split(".")[2] as string }]);
    return row?.certificateReferences;
  };
  expect(await shown()).toBeUndefined();
  accepted(await updatePool(world.ports, world.call(), "Pool-A", { certificateReferences: references }));
  await world.pump.untilQuiet();
  expect(await shown()).toBeUndefined();
  const [tvm] = [...agents.values()];
  await world.ports.bus.send("reports", [{ body: { kind: "machineExited", tvm: tvm?.key ?? "", boot: 1 } }]);
  await world.pump.untilQuiet();
  const joined = await agentFor(world, [...world.machines.orders.values()][0] as never).join();
  expect(joined.certificates).toBe(true);
  expect(await shown()).toEqual(references);
});

test("a certificate that the pool has dropped is handed to nobody any more, also while the pool's row is behind (seed 1002117)", async () => {
  await add();
  await makePool(world, "Pool-A", { targetDedicated: 2, certificateReferences: references });
  const [first, second] = [...world.machines.orders.values()].map((order) => agentFor(world, order));
  const { credential, certificates } = await (first as Agent).join();
  const handed = async () => accepted(await certificatesFor(world.ports, credential, 1, world.now()) as { certificates: { thumbprint: string }[] }).certificates.map(({ thumbprint }) => thumbprint);
  expect([certificates, await handed()]).toEqual([true, [THUMBPRINT]]);
  // Its process ends before the row is written; the feed is late.
  const views = { ...world.ports.views, write: () => Promise.reject(new Error("the process ended")) };
  await expect(updatePool({ ...world.ports, views }, world.call(), "Pool-A", { certificateReferences: [] })).rejects.toThrow("ended");
  expect(await handed()).toEqual([]);
  expect((await (second as Agent).join()).certificates).toBeUndefined();
});

test("a TVM whose row is behind its join is told to ask for its certificates again, not sent away (seed 1269464)", async () => {
  await add();
  await makePool(world, "Pool-A", { certificateReferences: references });
  const agent = agentFor(world, [...world.machines.orders.values()][0] as MachineOrder);
  const { write } = world.ports.views;
  world.ports.views.write = async (writes) => (writes.some(({ view }) => view.name === "tvms") ? writes.map(() => "stale") : write(writes));
  const { credential } = await agent.join();
  world.ports.views.write = write;
  await expect(certificatesFor(world.ports, credential, 1, world.now())).rejects.toThrow(Busy);
  await world.pump.untilQuiet();
  expect(await certificatesFor(world.ports, credential, 1, world.now())).toMatchObject({ certificates: [{ thumbprint: THUMBPRINT }] });
});

test.each(["made", "updated"])("a pool that was %s with a certificate that was deleted meanwhile, by a process that ended then, does not refer to it for ever (seed 1012428)", async (how) => {
  await add();
  if (how === "updated") await makePool(world, "Pool-A", { targetDedicated: 1 });
  // The process is slow: the certificate is gone before the pool is written, and it ends when it has been.
  const { eventStore } = world.ports;
  const append: Ports["eventStore"]["append"] = async (commits) => {
    await remove();
    await world.pump.untilQuiet();
    await eventStore.append(commits);
    throw new Error("the process ended");
  };
  const dying = { ...world.ports, eventStore: { ...eventStore, append } };
  const asked = how === "made" ? addPool(dying, world.call(), "Pool-A", poolSpec({ certificateReferences: references, targetDedicated: 1 })) : updatePool(dying, world.call(), "Pool-A", { certificateReferences: references });
  await expect(asked).rejects.toThrow("ended");
  expect(await phase()).toBe("CertificateNotFound");
  await world.pump.untilQuiet();
  expect(accepted(await getPool(world.ports, world.call(), "Pool-A")).state.spec.certificateReferences).toEqual([]);
  await bootAll(world);
  expect(world.warnings).toContain("a pool referred to certificates that were deleted: it does not any more");
});

test("an auto pool that refers to an unknown certificate ends its job with an error that names it, and is not made", async () => {
  const spec = { pool: "", job: { priority: 0, constraints: { maxTaskRetryCount: 0 }, specified: true }, autoPool: { lifetime: "job" as const, keepAlive: false, spec: poolSpec({ certificateReferences: references }) } };
  accepted(await addWorkItem(world.ports, world.call(), "Render", spec));
  await world.pump.untilQuiet();
  const { state } = accepted(await getJob(world.ports, world.call(), "Render", JOB));
  expect(state.phase).toBe("completed");
  expect(state.error).toMatchObject({ category: "UserError", code: "InvalidCertificatesInAutoPool", details: [{ name: `sha1-${THUMBPRINT}` }] });
  expect((await listPools(world.ports, world.call(), { limit: 10 })).rows).toEqual([]);
});
