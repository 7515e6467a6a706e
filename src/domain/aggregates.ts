// Every aggregate by its category: for loading, rebuilding and the golden tests.
import { type Certificate, type CertificateCommand, type CertificateEvent, certificate } from "./certificate";
import type { Decider, DomainEvent } from "./decider";
import { type Category, categoryOf } from "./ids";
import { type Job, type JobCommand, type JobEvent, job } from "./job";
import { type Pool, type PoolCommand, type PoolEvent, pool } from "./pool";
import { type Task, type TaskCommand, type TaskEvent, task } from "./task";
import { type Tvm, type TvmCommand, type TvmEvent, tvm } from "./tvm";
import { type WorkItem, type WorkItemCommand, type WorkItemEvent, workItem } from "./workItem";

export interface Aggregates {
  pool: { state: Pool; command: PoolCommand; event: PoolEvent };
  tvm: { state: Tvm; command: TvmCommand; event: TvmEvent };
  workItem: { state: WorkItem; command: WorkItemCommand; event: WorkItemEvent };
  job: { state: Job; command: JobCommand; event: JobEvent };
  task: { state: Task; command: TaskCommand; event: TaskEvent };
  certificate: { state: Certificate; command: CertificateCommand; event: CertificateEvent };
}

export type AnyEvent = Aggregates[Category]["event"];

export const aggregates: {
  readonly [C in Category]: Decider<Aggregates[C]["state"], Aggregates[C]["command"], Aggregates[C]["event"]>;
} = { pool, tvm, workItem, job, task, certificate };

/** The decider of a stream, with its types erased: for code that treats all categories alike. */
export const deciderOf = (stream: string): Decider<unknown, never, DomainEvent> =>
  aggregates[categoryOf(stream)] as unknown as Decider<unknown, never, DomainEvent>;
