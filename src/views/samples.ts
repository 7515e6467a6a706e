// What was measured of pools whose autoscale is on: rows with a time to live, not events. A row holds five minutes of one pool,
// sample by sample at first, and after a day as one average of them. Rows of one pool and day share a partition, so that they
// can be forgotten together.
import type { Row, ViewLayout } from "../ports";

export interface SampleRow extends Row {
  readonly pool: string;
  /** The five minutes begin here. */
  readonly start: string;
  readonly periodMs: number;
  /** Milliseconds since 1970, oldest first. */
  readonly times: readonly number[];
  /** By metric, one for each time; null where there was nothing to measure. */
  readonly values: Readonly<Record<string, readonly (number | null)[]>>;
  /** One average stands for the samples. */
  readonly aggregated?: boolean;
}

export const samples: ViewLayout<SampleRow> = {
  name: "samples",
  indexes: {
    /** One pool's rows, oldest first. */
    pool: (row) => `${row.pool}/${row.start}`,
    /** What is still sample by sample, oldest first: to be averaged when it is a day old. */
    fine: (row) => (row.aggregated ? undefined : `${row.start}/${row.pool}`),
    /** What is averaged, oldest first: to be forgotten in the end. */
    coarse: (row) => (row.aggregated ? `${row.start}/${row.pool}` : undefined),
  },
};

export const samplePlace = (pool: string, start: string): { partition: string; id: string } => ({ partition: `${pool}/${start.slice(0, 10)}`, id: start });

/** How many tasks of a pool's jobs have ended well and badly since its autoscale is on, though jobs come and go. */
export interface MeterRow extends Row {
  readonly pool: string;
  /** Of jobs that are no longer active. */
  readonly ended: readonly [succeeded: number, failed: number];
  /** Of active jobs, as last seen. */
  readonly jobs: Readonly<Record<string, readonly [succeeded: number, failed: number]>>;
}

export const meters: ViewLayout<MeterRow> = { name: "meters", indexes: {} };
