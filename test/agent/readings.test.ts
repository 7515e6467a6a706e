// What an agent measures of its machine: from files of a made-up machine, where every number is known, and from this machine's own.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { openMachine, openMeter } from "../../src/agent/readings";
import { tvmsOn } from "../../src/agent/spec";
import { readings as shape } from "../../src/wire";
import { eventually } from "./eventually";
import { openWorld } from "./world";

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "readings-"));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Made {
  readonly cpu: readonly number[];
  readonly availableKb: number;
  /** Reads, sectors read, writes, sectors written. */
  readonly disk: readonly [number, number, number, number];
  readonly network: readonly [number, number];
}

const write = ({ cpu, availableKb, disk: [reads, read, writes, written], network: [received, sent] }: Made): void => {
  fs.mkdirSync(path.join(folder, "net"), { recursive: true });
  fs.writeFileSync(path.join(folder, "stat"), `cpu  ${cpu.join(" ")}\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n`);
  fs.writeFileSync(path.join(folder, "meminfo"), `MemTotal:        4194304 kB\nMemFree:          100 kB\nMemAvailable:    ${availableKb} kB\n`);
  const line = (name: string): string => `   8       0 ${name} ${reads} 9 ${read} 9 ${writes} 9 ${written} 9 0 9 9\n`;
  // Partitions, loops and what is made of other disks are counted once: with their disks.
  fs.writeFileSync(path.join(folder, "diskstats"), ["sda", "sda1", "nvme0n1", "nvme0n1p2", "loop0", "dm-0", "md127", "zram0"].map(line).join(""));
  const face = (name: string): string => `${name.padStart(6)}: ${received} 1 0 0 0 0 0 0 ${sent} 1 0 0 0 0 0 0\n`;
  fs.writeFileSync(path.join(folder, "net", "dev"), `Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n${["lo", "eth0", "docker0", "veth12"].map(face).join("")}`);
};

const START: Made = { cpu: [100, 0, 100, 800, 0, 0, 0, 0, 0, 0], availableKb: 2_097_152, disk: [10, 100, 20, 200], network: [1000, 500] };
// 100 units have gone by: 50 worked, 40 idle, 10 waiting for disks.
const LATER: Made = { cpu: [130, 5, 110, 840, 10, 2, 2, 1, 77, 77], availableKb: 1_048_576, disk: [14, 104, 30, 220], network: [5000, 1500] };

const meterOn = (proc: string | undefined, tvms: number) => {
  let nowMs = 1_000_000;
  const clock = () => nowMs;
  const meter = openMeter(openMachine({ proc, nowMs: clock }), { root: folder, everyMs: 10_000, nowMs: clock, tvms: () => tvms });
  return { meter, advance: (milliseconds: number) => (nowMs += milliseconds) };
};

test("from /proc: the share of processors in use, and everything else by the number of TVMs", () => {
  write(START);
  const { meter, advance } = meterOn(folder, 2);
  write(LATER);
  advance(20_000);
  const { diskGb, ...readings } = shape.parse(meter.take()?.readings);
  expect(readings).toEqual({
    at: new Date(1_020_000).toISOString(), overMs: 20_000, cpu: 0.5, memoryMb: 1536, tvms: 2,
    diskReadOps: 4, diskReadBytes: 4 * 512, diskWriteOps: 10, diskWriteBytes: 20 * 512, networkInBytes: 2000, networkOutBytes: 500,
  });
  expect(diskGb).toBeGreaterThan(0);
});

test("nothing before the time that the service asks for; what was not taken in is part of the next readings", () => {
  write(START);
  const { meter, advance } = meterOn(folder, 1);
  expect(meter.take()).toBeUndefined();
  advance(9_999);
  expect(meter.take()).toBeUndefined();
  advance(1);
  write({ ...LATER, network: [2000, 600] });
  // Its exchange failed.
  expect(meter.take()?.readings.networkInBytes).toBe(1000);
  expect(meter.take()).toBeUndefined();
  write({ ...LATER, network: [3000, 700] });
  advance(10_000);
  const second = meter.take();
  expect(second?.readings).toMatchObject({ overMs: 20_000, networkInBytes: 2000 });
  second?.accepted();
  advance(10_000);
  expect(meter.take()?.readings).toMatchObject({ overMs: 10_000, networkInBytes: 0, diskReadOps: 0 });
});

test("counters that begin anew count as nothing; what the machine does not tell is absent", () => {
  write(LATER);
  const { meter, advance } = meterOn(folder, 1);
  write(START);
  fs.rmSync(path.join(folder, "diskstats"));
  advance(10_000);
  const { readings } = meter.take() ?? {};
  expect(shape.parse(readings)).toMatchObject({ cpu: 0, networkInBytes: 0, networkOutBytes: 0 });
  expect(readings).not.toHaveProperty("diskReadBytes");
});

test.each([["where there is a /proc", "/proc"], ["where there is none", "/nowhere"]])("on this machine, %s: processors and memory of now", async (_, proc) => {
  let waited = 0;
  const start = performance.now();
  const nowMs = () => 1_000_000 + performance.now() - start + waited;
  const meter = openMeter(openMachine({ proc, nowMs }), { root: folder, everyMs: 1000, nowMs, tvms: () => 1 });
  // Work that shows: longer than the units that processors are counted in.
  for (const until = performance.now() + 300; performance.now() < until; ) Math.sqrt(until);
  waited = 1000;
  const readings = shape.parse(meter.take()?.readings);
  expect(readings.cpu).toBeGreaterThan(0);
  expect(readings.memoryMb).toBeGreaterThan(10);
  expect(readings.memoryMb).toBeLessThan(os.totalmem() / 2 ** 20);
  if (fs.existsSync(path.join(proc, "net/dev"))) expect(readings.networkInBytes).toBeGreaterThanOrEqual(0);
  else expect(readings).not.toHaveProperty("networkInBytes");
});

test("a look costs next to nothing, as often as once in two seconds", () => {
  let nowMs = 0;
  const machine = openMachine({ nowMs: () => (nowMs += 1000) });
  const cpu = process.cpuUsage();
  for (let look = 0; look < 100; look++) expect(machine.counters()).toBeDefined();
  const { user, system } = process.cpuUsage(cpu);
  expect((user + system) / 1000 / 100).toBeLessThan(20);
});

test("how many TVMs share the machine: what the file says, else those of the process", () => {
  const tvms = [{}, {}] as never;
  const machineFile = path.join(folder, "machine.json");
  expect([tvmsOn({ tvms }), tvmsOn({ tvms, machineFile })]).toEqual([2, 2]);
  fs.writeFileSync(machineFile, '{"tvms":7}');
  expect(tvmsOn({ tvms, machineFile })).toBe(7);
  fs.writeFileSync(machineFile, '{"tvms":0}');
  expect(tvmsOn({ tvms, machineFile })).toBe(2);
});

test.each([["asks for them", 50, true], ["does not ask", undefined, false]])("an agent sends readings when the service %s", async (_, readingsMs, sends) => {
  const world = await openWorld({ heartbeatMs: 200, ...(readingsMs === undefined ? {} : { readingsMs }) });
  try {
    await world.startAgent(["tvm-1", "tvm-2"]);
    const exchanges = world.service.tvm("tvm-1").exchanges;
    await eventually(() => (sends ? exchanges.filter(({ readings }) => readings).length >= 3 : exchanges.length >= 6), () => JSON.stringify(exchanges));
    const told = exchanges.flatMap(({ readings }) => (readings ? [readings] : []));
    if (!sends) expect(told).toEqual([]);
    for (const readings of told) expect(readings).toMatchObject({ tvms: 2, cpu: expect.any(Number), memoryMb: expect.any(Number) });
  } finally {
    await world.close();
  }
});
