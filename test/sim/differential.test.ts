// A few seeds on SQLite's stores and on Azure's, in every run of the tests: the same answer to every call of a store, the same course, the
// same views in the end. And that the comparison sees what differs. More by hand: npm run sim -- --seeds 1..500 --both.
import type { Row, Views } from "../../src/ports";
import { azureStores } from "./azureStores";
import { check } from "./checkers";
import { playBoth } from "./differential";
import { play } from "./play";
import { sqliteStores } from "./world";

const STEPS = 20;
const SEEDS: readonly number[] = process.env["SEED"] === undefined ? [10, 32] : [Number(process.env["SEED"])];

test(`${SEEDS.length} seeds take the same course on SQLite and on Azure's parts, and end in the same views`, async () => {
  for (const seed of SEEDS) {
    const { lines, answers } = await playBoth({ seed, steps: STEPS });
    expect({ seed, lines }).toEqual({ seed, lines: [] });
    expect(answers).toBeGreaterThan(200);
  }
});

test("with the feed in Cosmos DB's own order, partition by partition, every checker is content", async () => {
  const { history, calls } = await play({ seed: 10, steps: STEPS, stores: azureStores });
  expect(check(history)).toEqual([]);
  expect(calls).toBeGreaterThan(100);
});

test("a store that answers otherwise once is noticed at that call", async () => {
  const forgetful = (views: Views): Views => {
    let left = 40;
    const write: Views["write"] = async (writes) => {
      if (left-- !== 0) return views.write(writes);
      // The right version, and a field of long ago.
      return views.write(writes.map((one) => ({ ...one, rows: one.rows.map(({ from, row }) => ({ from, row: { ...row, modifiedAt: "2015-01-01T00:00:00.000Z" } as Row })) })));
    };
    return { ...views, write };
  };
  const { lines } = await playBoth({ seed: 10, steps: STEPS }, async (clock) => {
    const stores = sqliteStores(clock);
    return { ...stores, views: forgetful(stores.views) };
  });
  expect(lines.join("\n")).toMatch(/^call \d+ of the stores, views\./);
});
