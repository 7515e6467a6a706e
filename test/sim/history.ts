// What a simulation writes down for the checkers: everything that was ever stored, asked, run and answered, in order. Checkers
// see nothing else. It decides nothing.
import type { CertificatePlace, Commit, ProcessKind } from "../../src/ports";

/** What placement had in front of it when it assigned: read by itself, in the same run. */
export interface Sight {
  /** Phases of TVMs by key, as it last read them. */
  readonly tvms: Readonly<Record<string, string>>;
  /** Its pool's active jobs and the heads of their queues, as it read them; `blocking`: those of them behind which others of their job wait. */
  readonly jobs: readonly { readonly job: string; readonly priority: number; readonly waiting: readonly string[]; readonly blocking?: readonly string[] }[];
}

/** A commit, when it was stored, and by which run of which function. */
export interface Stored {
  readonly atMs: number;
  readonly commit: Commit;
  readonly during: string;
  readonly sight?: Sight;
  /** For TvmLost: the attempts whose programs ran on it at that moment. */
  readonly running?: readonly string[];
}

/** A program of an attempt on a simulated TVM. */
export interface Run {
  readonly task: string;
  readonly attempt: number;
  readonly tvm: string;
  readonly boot: number;
  readonly slots: number;
  readonly startMs: number;
  endMs: number;
  /** The service took its machine from under it. */
  cut?: "removed" | "restarted";
}

/** A file of a simulated TVM was written, or (without content) removed. */
export interface DiskChange {
  readonly tvm: string;
  readonly path: string;
  readonly content?: string;
  readonly atMs: number;
}

/** Certificates that a simulated TVM was handed, and when it asked for them. */
export interface Installed {
  readonly tvm: string;
  readonly boot: number;
  readonly askedMs: number;
  readonly atMs: number;
  readonly thumbprints: readonly string[];
}

/** What a client asked for, how often that reached the service, and what it heard. */
export interface Asked {
  readonly action: string;
  readonly atMs: number;
  readonly method: string;
  readonly target: string;
  /** The stream that it changes (its generation left out: `*`) and the event that a success leaves there. */
  readonly change?: { readonly stream: string; readonly event: string };
  /** Tasks that it adds, as `{account}.{work item}.*.{job}.{task}`. */
  readonly adds?: readonly string[];
  arrivals: number;
  /** undefined: nobody knows; the answer was lost, or said that the service itself had failed. */
  status?: number;
  code?: string;
  answeredMs?: number;
  /** Only a part of a file was asked for. */
  readonly part?: true;
  /** How long the service was at it at most, in milliseconds. */
  tookMs: number;
  /** The answer's body, where a checker looks at it: of files. */
  answer?: unknown;
  /** Of the tasks that it adds, those that were said to be added now. */
  added?: readonly string[];
}

/** One generation of an orchestration: what came in, and what its function waited for each time. */
export interface Generation {
  readonly instance: string;
  readonly input: { readonly kind: ProcessKind; readonly stream: string };
  readonly startMs: number;
  readonly came: readonly { readonly kind: "result" | "failed" | "nudge" | "timer"; readonly value?: unknown; readonly atMs: number }[];
  readonly waits: readonly string[];
}

export interface Shown {
  readonly rows: readonly { readonly name: string; readonly partition: string; readonly id: string; readonly version: number; readonly json: Record<string, unknown> }[];
  readonly counters: readonly { readonly view: string; readonly partition: string; readonly name: string; readonly value: number }[];
}

/** How things are at the end of the healing. */
export interface Final {
  /** Settled within the time that healing may take. */
  readonly settled: boolean;
  /** What was not, in words. */
  readonly open: readonly string[];
  readonly shown: Shown;
  readonly rebuilt: Shown;
  /** Everything that the store still has, in the order of its feed. */
  readonly kept: readonly Commit[];
  readonly queues: Readonly<Record<string, number>>;
  readonly deadLetters: readonly string[];
  readonly parked: number;
  /** Which private parts of certificates are kept. */
  readonly secrets: readonly CertificatePlace[];
}

export interface History {
  readonly poolTvmsMax: number;
  /** Longest that one call of a port may take. */
  readonly slowMs: number;
  readonly stored: readonly Stored[];
  readonly runs: readonly Run[];
  readonly disk: readonly DiskChange[];
  readonly installed: readonly Installed[];
  readonly asked: readonly Asked[];
  readonly generations: readonly Generation[];
  /** Failures inside the service that were not injected. */
  readonly broken: readonly string[];
  /** Runs of functions that failed, or ended with their process: what they were about to do is done by another. */
  readonly unfinished: readonly string[];
  readonly final: Final;
}
