// What the machine does, for the formulas of autoscale: processors, memory, disks and network, read from /proc (on other platforms,
// processors and memory alone). It reads only when asked, and knows nothing of tasks or of the service.
//
// Several TVMs may live on one machine, and nothing tells their work apart: amounts and memory are the machine's divided by their
// number. Processors in use, and space in use on the disk of the TVM's root, are the machine's.
import fs from "node:fs";
import os from "node:os";
import type { Readings } from "../wire";

/** Counters of a machine at one moment, since it started. Absent: this machine does not say. */
export interface Counters {
  readonly atMs: number;
  /** Times of all processors together, in units of their own. */
  readonly busy: number;
  readonly total: number;
  readonly memoryBytes: number;
  readonly disk?: { readonly readBytes: number; readonly writeBytes: number; readonly readOps: number; readonly writeOps: number } | undefined;
  readonly network?: { readonly inBytes: number; readonly outBytes: number } | undefined;
}

export interface MachineOptions {
  /** Absent: /proc, on Linux. */
  readonly proc?: string | undefined;
  readonly nowMs: () => number;
}

export interface Machine {
  /** One look for all TVMs that ask within a moment. */
  counters(): Counters | undefined;
}

const MOMENT_MS = 200;

export function openMachine({ proc = process.platform === "linux" ? "/proc" : undefined, nowMs }: MachineOptions): Machine {
  let latest: Counters | undefined;
  return {
    counters() {
      const atMs = nowMs();
      if (latest && atMs - latest.atMs < MOMENT_MS) return latest;
      return (latest = proc === undefined ? portableCounters(atMs) : (procCounters(proc, atMs) ?? portableCounters(atMs)));
    },
  };
}

export interface Meter {
  /** Readings of the time since the last accepted ones, when as long as the service asks for has gone by; undefined: not yet. */
  take(): { readonly readings: Readings; accepted(): void } | undefined;
}

/** Readings of one TVM, every `everyMs`. What a failed exchange carried is part of the next readings. */
export function openMeter(machine: Machine, options: { readonly root: string; readonly everyMs: number; readonly nowMs: () => number; readonly tvms: () => number }): Meter {
  let since = machine.counters();
  let triedAtMs = options.nowMs();
  return {
    take() {
      const now = options.nowMs();
      if (now - triedAtMs < options.everyMs) return undefined;
      triedAtMs = now;
      const counters = machine.counters();
      const readings = since && counters && readingsOf(since, counters, options.tvms(), diskInUse(options.root));
      if (!readings || !counters) return undefined;
      return {
        readings,
        accepted() {
          if (!since || counters.atMs > since.atMs) since = counters;
        },
      };
    },
  };
}

/** What went on between two looks; undefined when no time has gone by. Counters that ran over count as nothing. */
export function readingsOf(before: Counters, after: Counters, tvms: number, diskBytes: number | undefined): Readings | undefined {
  const overMs = after.atMs - before.atMs;
  if (overMs < 1) return undefined;
  const share = (now: number, then: number): number => Math.max(0, Math.round((now - then) / tvms));
  const total = after.total - before.total;
  return {
    at: new Date(after.atMs).toISOString(),
    overMs: Math.round(overMs),
    cpu: total > 0 ? Number(Math.min(1, Math.max(0, (after.busy - before.busy) / total)).toFixed(4)) : 0,
    memoryMb: Math.round(after.memoryBytes / tvms / MB),
    ...(diskBytes === undefined ? {} : { diskGb: Number((diskBytes / GB).toFixed(3)) }),
    ...(before.disk && after.disk
      ? {
          diskReadBytes: share(after.disk.readBytes, before.disk.readBytes),
          diskWriteBytes: share(after.disk.writeBytes, before.disk.writeBytes),
          diskReadOps: share(after.disk.readOps, before.disk.readOps),
          diskWriteOps: share(after.disk.writeOps, before.disk.writeOps),
        }
      : {}),
    ...(before.network && after.network
      ? { networkInBytes: share(after.network.inBytes, before.network.inBytes), networkOutBytes: share(after.network.outBytes, before.network.outBytes) }
      : {}),
    tvms,
  };
}

const MB = 2 ** 20;
const GB = 2 ** 30;
/** Always of 512 bytes, whatever the disk's own are. */
const SECTOR = 512;

// ---------------------------------------------------------------- /proc

function procCounters(proc: string, atMs: number): Counters | undefined {
  const processors = /^cpu +(.*)$/m.exec(textOf(proc, "stat"))?.[1]?.split(/ +/).map(Number);
  const memory = memoryOf(textOf(proc, "meminfo"));
  if (!processors || processors.length < 4 || memory === undefined) return undefined;
  // user, nice, system, idle, waiting for disks, interrupts twice, stolen; guests are within user already.
  const times = processors.slice(0, 8);
  const total = times.reduce((sum, time) => sum + time, 0);
  return { atMs, total, busy: total - (times[3] ?? 0) - (times[4] ?? 0), memoryBytes: memory, disk: disksOf(textOf(proc, "diskstats")), network: networkOf(textOf(proc, "net/dev")) };
}

function textOf(proc: string, name: string): string {
  try {
    return fs.readFileSync(`${proc}/${name}`, "latin1");
  } catch {
    return "";
  }
}

function memoryOf(text: string): number | undefined {
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text)?.[1] ?? NaN);
  const used = (kilobytes("MemTotal") - kilobytes("MemAvailable")) * 1024;
  return Number.isFinite(used) ? Math.max(0, used) : undefined;
}

/** Made of other disks, or of memory: their work is counted where it is done. */
const VIRTUAL_DISK = /^(loop|ram|zram|dm-|md|sr|fd|nbd)\d/;

function disksOf(text: string): Counters["disk"] {
  const disks = new Map(text.split("\n").flatMap((line): [string, number[]][] => {
    const [, , name, ...numbers] = line.trim().split(/ +/);
    return name === undefined || VIRTUAL_DISK.test(name) ? [] : [[name, numbers.map(Number)]];
  }));
  // A partition's work is its disk's too.
  const whole = [...disks].filter(([name]) => !disks.has(name.replace(/p?\d+$/, "")) || !/\d$/.test(name));
  if (whole.length === 0) return undefined;
  const sum = (column: number): number => whole.reduce((total, [, numbers]) => total + (numbers[column] ?? 0), 0);
  return { readOps: sum(0), readBytes: sum(2) * SECTOR, writeOps: sum(4), writeBytes: sum(6) * SECTOR };
}

/** What stays on the machine, or passes a real interface as well. */
const VIRTUAL_INTERFACE = /^(lo|ifb|veth|docker|br-|virbr|dummy|tun|tap|wg)/;

function networkOf(text: string): Counters["network"] {
  const interfaces = text.split("\n").flatMap((line) => {
    const [name, numbers] = line.split(":");
    return name === undefined || numbers === undefined || VIRTUAL_INTERFACE.test(name.trim()) ? [] : [numbers.trim().split(/ +/).map(Number)];
  });
  if (text === "") return undefined;
  const sum = (column: number): number => interfaces.reduce((total, numbers) => total + (numbers[column] ?? 0), 0);
  return { inBytes: sum(0), outBytes: sum(8) };
}

// ---------------------------------------------------------------- elsewhere

function portableCounters(atMs: number): Counters {
  let busy = 0;
  let total = 0;
  for (const { times } of os.cpus()) {
    const all = times.user + times.nice + times.sys + times.idle + times.irq;
    total += all;
    busy += all - times.idle;
  }
  return { atMs, busy, total, memoryBytes: os.totalmem() - os.freemem() };
}

function diskInUse(root: string): number | undefined {
  try {
    const { bsize, blocks, bfree } = fs.statfsSync(root);
    return (blocks - bfree) * bsize;
  } catch {
    return undefined;
  }
}
