// Which waiting task goes to which TVM. Jobs by priority, higher first; among equal ones in fair turn: whoever has least
// running goes next. Running tasks are never moved. TVMs first fill their slots, spread or packed; only then do they get
// more to hold in advance, as much as they say they can start within moments. A task that wants a TVM to itself gets one that
// is empty; while there is none, the one with least to finish gets nothing more, and the job's other tasks wait behind it.

export interface TvmRoom {
  readonly tvm: string;
  readonly slots: number;
  /** Attempts it holds now, waiting or running. */
  readonly held: number;
  /** Most attempts it wants to hold; at least its slots. */
  readonly capacity: number;
}

export interface WaitingJob {
  readonly job: string;
  readonly priority: number;
  /** Tasks of the job that are assigned or running now: its share so far. */
  readonly running: number;
  /** The first of its waiting tasks in queue order. */
  readonly waiting: readonly WaitingTask[];
}

export interface WaitingTask {
  readonly task: string;
  /** A TVM that it would like, and does not wait for. */
  readonly affinity?: string;
  /** It wants a TVM to itself. */
  readonly exclusive?: boolean;
  /** A job manager: never held in advance, others of its job wait behind it. */
  readonly manager?: boolean;
}

export interface Placed {
  readonly job: string;
  readonly task: string;
  readonly tvm: string;
  readonly exclusive?: boolean;
}

export const place = (rooms: readonly TvmRoom[], jobs: readonly WaitingJob[], fill: "Spread" | "Pack"): Placed[] => {
  const queue = taskQueue(jobs);
  const tvms = rooms.map((room) => ({ ...room }));
  return [...fillUp(tvms, queue, fill, ({ slots }) => slots), ...fillUp(tvms, queue, "Spread", ({ capacity }) => capacity, true)];
};

type Open = { -readonly [K in keyof TvmRoom]: TvmRoom[K] };
type Next = WaitingTask & { readonly job: string };

const fillUp = (tvms: readonly Open[], queue: TaskQueue, fill: "Spread" | "Pack", limit: (tvm: Open) => number, inAdvance = false): Placed[] => {
  const placed: Placed[] = [];
  const open = new FreeTvms(tvms.filter((tvm) => tvm.held < limit(tvm)), fill, limit);
  while (!open.empty()) {
    const next = queue.next();
    if (!next) break;
    if (inAdvance && (next.exclusive || next.manager)) queue.block(next.job);
    else if (next.exclusive) {
      const tvm = open.takeWhole(next.affinity);
      if (tvm === undefined) queue.block(next.job);
      else placed.push({ job: next.job, task: next.task, tvm, exclusive: true });
    } else placed.push({ job: next.job, task: next.task, tvm: open.take(next.affinity) });
  }
  return placed;
};

/** Holds more than any TVM may: nothing more goes there in this run. */
const FULL = Number.MAX_SAFE_INTEGER;

/** TVMs with room by how much they have, so that taking one costs the same however many there are. */
class FreeTvms {
  private readonly byFree = new Map<number, Open[]>();
  private readonly byName = new Map<string, Open>();
  private most = 0;
  private count = 0;

  constructor(
    tvms: readonly Open[],
    private readonly fill: "Spread" | "Pack",
    private readonly limit: (tvm: Open) => number,
  ) {
    for (const tvm of tvms) {
      this.byName.set(tvm.tvm, tvm);
      this.add(tvm);
    }
  }

  empty(): boolean {
    return this.count === 0;
  }

  take(affinity: string | undefined): string {
    const wished = affinity === undefined ? undefined : this.byName.get(affinity);
    const free = wished && this.free(wished) > 0 ? this.free(wished) : this.pick();
    const list = this.byFree.get(free) as Open[];
    const tvm = wished && this.free(wished) > 0 ? wished : (list[0] as Open);
    list.splice(list.indexOf(tvm), 1);
    this.count--;
    tvm.held++;
    if (this.free(tvm) > 0) this.add(tvm);
    return tvm.tvm;
  }

  /** An empty TVM, which is full then; undefined when there is none: the emptiest is kept free until it is. */
  takeWhole(affinity: string | undefined): string | undefined {
    const open = [...this.byFree.values()].flat();
    const empty = open.filter(({ held }) => held === 0);
    const tvm = empty.find((one) => one.tvm === affinity) ?? empty[0];
    if (tvm) this.close(tvm);
    else this.close(open.reduce((least, one) => (one.held < least.held || (one.held === least.held && one.tvm < least.tvm) ? one : least)));
    return tvm?.tvm;
  }

  private close(tvm: Open): void {
    const list = this.byFree.get(this.free(tvm)) as Open[];
    list.splice(list.indexOf(tvm), 1);
    this.count--;
    tvm.held = FULL;
  }

  private free(tvm: Open): number {
    return this.limit(tvm) - tvm.held;
  }

  private add(tvm: Open): void {
    const free = this.free(tvm);
    const list = this.byFree.get(free);
    if (list) list.push(tvm);
    else this.byFree.set(free, [tvm]);
    this.most = Math.max(this.most, free);
    this.count++;
  }

  /** Spread takes the TVM with most room, Pack the one with least. */
  private pick(): number {
    const has = (free: number): boolean => (this.byFree.get(free)?.length ?? 0) > 0;
    if (this.fill === "Spread") {
      while (!has(this.most)) this.most--;
      return this.most;
    }
    let free = 1;
    while (!has(free)) free++;
    return free;
  }
}

interface TaskQueue {
  next(): Next | undefined;
  /** Nothing more of this job in this run. */
  block(job: string): void;
}

const taskQueue = (jobs: readonly WaitingJob[]): TaskQueue => {
  const open = jobs
    .filter(({ waiting }) => waiting.length > 0)
    .map((job) => ({ ...job, taken: 0 }))
    .sort((a, b) => b.priority - a.priority);
  const share = (job: (typeof open)[number]): number => job.running + job.taken;
  return {
    next() {
      const top = open[0];
      if (!top) return undefined;
      let best = top;
      for (const job of open) {
        if (job.priority !== top.priority) break;
        if (share(job) < share(best)) best = job;
      }
      const task = best.waiting[best.taken] as WaitingJob["waiting"][number];
      best.taken++;
      if (best.taken === best.waiting.length) open.splice(open.indexOf(best), 1);
      return { job: best.job, ...task };
    },
    block(job) {
      const index = open.findIndex((one) => one.job === job);
      if (index >= 0) open.splice(index, 1);
    },
  };
};
