// Which waiting task goes to which TVM. Jobs by priority, higher first; among equal ones in fair turn: whoever has least
// running goes next. Running tasks are never moved. TVMs first fill their slots, spread or packed; only then do they get
// more to hold in advance, as much as they say they can start within moments.

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
  /** The first of its waiting tasks in queue order; `affinity` names a TVM that the task would like. */
  readonly waiting: readonly { readonly task: string; readonly affinity?: string }[];
}

export interface Placed {
  readonly job: string;
  readonly task: string;
  readonly tvm: string;
}

export const place = (rooms: readonly TvmRoom[], jobs: readonly WaitingJob[], fill: "Spread" | "Pack"): Placed[] => {
  const queue = taskQueue(jobs);
  const tvms = rooms.map((room) => ({ ...room }));
  return [...fillUp(tvms, queue, fill, ({ slots }) => slots), ...fillUp(tvms, queue, "Spread", ({ capacity }) => capacity)];
};

type Open = { -readonly [K in keyof TvmRoom]: TvmRoom[K] };
type Next = { job: string; task: string; affinity?: string };

const fillUp = (tvms: readonly Open[], queue: TaskQueue, fill: "Spread" | "Pack", limit: (tvm: Open) => number): Placed[] => {
  const placed: Placed[] = [];
  const open = new FreeTvms(tvms.filter((tvm) => tvm.held < limit(tvm)), fill, limit);
  while (!open.empty()) {
    const next = queue.next();
    if (!next) break;
    placed.push({ job: next.job, task: next.task, tvm: open.take(next.affinity) });
  }
  return placed;
};

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
  };
};
