// The host's own database when its disk is full, made small by SQLite itself: nothing of a transaction is kept, everybody in it is told
// why, and the next one goes on.
import { type HostStore, isDiskFull, openStore } from "../../src/host/store";
import { durableOrchestrations } from "../../src/adapters/durableOrchestrations";
import type { DurableClient } from "durable-functions";
import { keptLog } from "./support";

let store: HostStore;
beforeEach(() => (store = openStore(undefined, "NORMAL")));
afterEach(() => store.close());

const settled = async (works: readonly Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(works)).map((one) => (one.status === "fulfilled" ? "kept" : isDiskFull(one.reason) ? "full" : String(one.reason)));

test("a full disk undoes the whole transaction and is told as what it is; with room again the same work is kept", async () => {
  const pages = store.get<{ page_count: number }>("PRAGMA page_count")?.page_count as number;
  store.get(`PRAGMA max_page_count = ${pages}`);
  const together = () => [store.together(() => store.write("small", "1")), store.together(() => store.write("large", "x".repeat(100_000))), store.together(() => store.write("other", "2"))];
  expect(await settled(together())).toEqual(["full", "full", "full"]);
  expect(store.read("small")).toBeUndefined();
  store.get("PRAGMA max_page_count = 1000000");
  expect(await settled(together())).toEqual(["kept", "kept", "kept"]);
  expect(store.read("small")).toBe("1");
});

test("work that throws undoes itself and nothing else", async () => {
  const works = [store.together(() => store.write("a", "1")), store.together(() => { store.write("b", "2"); throw new Error("no"); }), store.together(() => store.write("c", "3"))];
  expect(await settled(works)).toEqual(["kept", "Error: no", "kept"]);
  expect(["a", "b", "c"].map(store.read)).toEqual(["1", undefined, "3"]);
});

test("a process that cannot be nudged because the disk is full is nudged again: the caller is told that it is nobody's fault", async () => {
  const full = new Error('The operation failed with an unexpected status code: 503. Details: {"Message":"The disk is full."}');
  const exists = new Error("An Orchestration instance with the status Running already exists.");
  const nudge = (startNew: Error, raiseEvent: Error) =>
    durableOrchestrations({ startNew: () => Promise.reject(startNew), raiseEvent: () => Promise.reject(raiseEvent) } as unknown as DurableClient, keptLog()).nudge("pool", "pool-a.p");
  await expect(nudge(full, full)).rejects.toMatchObject({ noRoom: true, message: "The disk is full." });
  await expect(nudge(exists, full)).rejects.toMatchObject({ noRoom: true });
  await expect(nudge(exists, new Error("it has ended"))).resolves.toBeUndefined();
  await expect(nudge(new Error("status code: 503, throttled"), full)).rejects.toThrow("throttled");
});
