// How autoscale of this service is set up: times that the operator may change, with the API's own as defaults.
import type { Ports } from "../ports";

export interface Scaling {
  /** Between two evaluations of a pool that does not say: 15 minutes in 2015 (reference autoscale-formula, 1.1). */
  readonly intervalMs: number;
  readonly intervalLeastMs: number;
  readonly intervalMostMs: number;
  /** Between two requests that enable autoscale of one pool. */
  readonly enableEveryMs: number;
  readonly samplePeriodMs: number;
  /** Of the samples in a window, where a formula names no share (reference autoscale-formula 7, rule 4). */
  readonly wantedPercent: number;
}

const DEFAULTS: Scaling = {
  intervalMs: 900_000,
  intervalLeastMs: 300_000,
  intervalMostMs: 168 * 3_600_000,
  enableEveryMs: 30_000,
  samplePeriodMs: 30_000,
  wantedPercent: 70,
};

export const scalingOf = ({ policy }: Pick<Ports, "policy">): Scaling => ({ ...DEFAULTS, ...policy.scaling });
