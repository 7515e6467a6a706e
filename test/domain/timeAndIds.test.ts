// Durations, instants, stream names and partitions: what is stored depends on them, so their values are kept here for ever.
import {
  NAME, TASK_BUCKETS, accountOf, categoryOf, hash32, jobKey, jobStream, keyOf, lastOf, parentOf, partitionOf, poolKey, poolStream, taskBucket, taskBuckets, taskKey, taskStream,
  tvmKey, tvmStream, workItemKey, workItemStream,
} from "../../src/domain/ids";
import { TVM_SIZES, coresOf, maxTasksPerTvmOf, presentSizes } from "../../src/domain/sizes";
import { UNLIMITED, UNLIMITED_MS, addMs, formatDuration, laterThan, msBetween, parseDuration } from "../../src/domain/time";
import { forSeeds } from "../support/seeded";

describe("durations", () => {
  test.each([
    ["PT1M", 60_000], ["P1D", 86_400_000], ["P1DT2H3M4S", 93_784_000], ["PT0S", 0], ["PT90M", 5_400_000], ["PT4M59S", 299_000], ["PT1.5S", 1500], ["PT0.001S", 1],
    ["PT0.0019S", 1], ["PT0.123456789S", 123], ["-PT1M", -60_000], [UNLIMITED, UNLIMITED_MS],
  ])("%s is %d ms", (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds));

  test.each(["", "P", "PT", "-P", "P1DT", "1M", "PT1", "P1M", "P1Y", "P1W", "pt1m", "PT1M ", "PT1.S", "PT1,5S", "PT-1M", "PT1S1M", "P1.5D", "PT1e3S", "PT99999999999S"])(
    "%j is none", (text) => expect(parseDuration(text)).toBeUndefined());

  test.each([[0, "PT0S"], [1, "PT0.001S"], [60_000, "PT1M"], [61_500, "PT1M1.5S"], [86_400_000, "P1D"], [93_784_000, "P1DT2H3M4S"], [UNLIMITED_MS, UNLIMITED], [2 ** 53, UNLIMITED]])(
    "%d ms is written %s", (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text));

  test("written and read again, no millisecond is lost", () => {
    for (let milliseconds = 0; milliseconds < 1000; milliseconds++) expect(parseDuration(formatDuration(milliseconds))).toBe(milliseconds);
    forSeeds(300, (random) => {
      const milliseconds = random.below(10 ** random.below(14));
      expect(parseDuration(formatDuration(milliseconds))).toBe(milliseconds);
    });
  });
});

describe("instants", () => {
  test("are added to, across days, and end where they would stop comparing as text", () => {
    expect(addMs("2015-02-28T23:59:59.999Z", 1)).toBe("2015-03-01T00:00:00.000Z");
    expect(addMs("2015-03-01T00:00:00.000Z", -1)).toBe("2015-02-28T23:59:59.999Z");
    expect(addMs("2015-03-01T00:00:00.000Z", UNLIMITED_MS)).toBe("9999-12-31T23:59:59.999Z");
    expect(msBetween("2015-03-01T00:00:00.000Z", "2015-03-01T00:00:01.500Z")).toBe(1500);
  });

  test("a later one than the last, always", () => {
    expect(laterThan("2015-03-01T00:00:00.000Z", undefined)).toBe("2015-03-01T00:00:00.000Z");
    expect(laterThan("2015-03-01T00:00:00.001Z", "2015-03-01T00:00:00.000Z")).toBe("2015-03-01T00:00:00.001Z");
    expect(laterThan("2015-03-01T00:00:00.000Z", "2015-03-01T00:00:00.000Z")).toBe("2015-03-01T00:00:00.001Z");
    expect(laterThan("2014-03-01T00:00:00.000Z", "2015-03-01T00:00:00.999Z")).toBe("2015-03-01T00:00:01.000Z");
    expect(laterThan("2015-03-01T00:00:00.000Z", "")).toBe("2015-03-01T00:00:00.000Z");
  });
});

describe("names and streams", () => {
  const job = jobKey("local", "Render", 3, "job-0000000001");

  test("streams are these, in lower case, for ever", () => {
    expect(poolStream(poolKey("local", "Pool-A"))).toBe("pool-local.pool-a");
    expect(tvmStream(tvmKey("local", "Pool-A", "tvm-1_1-20150401t120000z"))).toBe("tvm-local.pool-a.tvm-1_1-20150401t120000z");
    expect(workItemStream(workItemKey("local", "Render"))).toBe("workItem-local.render");
    expect(jobStream(job)).toBe("job-local.render.3.job-0000000001");
    expect(taskStream(taskKey(job, "Frame_1"))).toBe("task-local.render.3.job-0000000001.frame_1");
  });

  test("and are taken apart again, whatever dashes are in the names", () => {
    for (const stream of [poolStream(poolKey("local", "-a-b-")), tvmStream(tvmKey("local", "-", "t-1")), workItemStream(workItemKey("local", "w-w")), jobStream(job), taskStream(taskKey(job, "-"))]) {
      expect(`${categoryOf(stream)}-${keyOf(stream)}`).toBe(stream);
      expect(["pool", "tvm", "workItem", "job", "task"]).toContain(categoryOf(stream));
      expect(accountOf(keyOf(stream))).toBe("local");
      expect(`${parentOf(keyOf(stream))}.${lastOf(keyOf(stream))}`).toBe(keyOf(stream));
    }
  });

  test("the hash is FNV-1a and never changes: partitions of stored tasks are made of it", () => {
    expect(hash32("")).toBe(0x811c9dc5);
    expect(hash32("a")).toBe(0xe40c292c);
    expect(hash32("foobar")).toBe(0xbf9cf968);
    expect(Array.from({ length: 8 }, (_, index) => taskBucket("j", `task${index}`))).toEqual(["j/0", "j/3", "j/2", "j/1", "j/0", "j/3", "j/2", "j/1"]);
  });

  test("what is in one partition may be written together; tasks of a job spread evenly over all of its partitions", () => {
    expect(partitionOf("pool-local.pool-a")).toBe("pool-local.pool-a");
    expect(partitionOf("tvm-local.pool-a.t1")).toBe("tvm-local.pool-a");
    expect(partitionOf("job-local.render.3.j")).toBe("job-local.render.3.j");
    expect(partitionOf("workItem-local.render")).toBe("workItem-local.render");
    expect(partitionOf(taskStream(taskKey(job, "Frame_1")))).toBe(`task-${taskBucket(job, "FRAME_1")}`);
    const counts = new Map<string, number>();
    for (let index = 0; index < 16_000; index++) counts.set(taskBucket(job, `frame-${index}`), (counts.get(taskBucket(job, `frame-${index}`)) ?? 0) + 1);
    expect([...counts.keys()].sort()).toEqual(taskBuckets(job).sort());
    expect(counts.size).toBe(TASK_BUCKETS);
    for (const count of counts.values()) expect(Math.abs(count - 4000)).toBeLessThan(300);
  });

  test.each(["a", "A-b_9", "x".repeat(64)])("%s is a name", (name) => expect(NAME.test(name)).toBe(true));
  test.each(["", "a b", "a.b", "a/b", "ä", "x".repeat(65), "a\n"])("%j is none", (name) => expect(NAME.test(name)).toBe(false));
});

test("sizes are compared without case; four tasks a core", () => {
  expect(coresOf("Small")).toBe(1);
  expect(coresOf("STANDARD_D14")).toBe(16);
  expect(maxTasksPerTvmOf("A7")).toBe(32);
  for (const { name, cores, memoryMb, diskGb } of TVM_SIZES) {
    expect([name, coresOf(name.toUpperCase()), Number.isInteger(memoryMb), diskGb >= 50]).toEqual([name, cores, true, true]);
    expect(presentSizes()[name.toLowerCase()]).toMatch(/^Standard_[DE]S?\d+(as)?_v\d$/);
  }
  for (const none of ["ExtraSmall", "a0", "", "toString", "__proto__"]) expect(coresOf(none)).toBeUndefined();
});
