// Names, stream names and partitions. A stream is `category-account.name...`; names are compared without case, so streams
// are lower-case; a child of a work item carries the generation of its work item, so that deleting one and making it again
// never meets the events of the one before.

/** Names of pools, work items, tasks: reference section 8. */
export const NAME = /^[A-Za-z0-9_-]{1,64}$/;
export const ACCOUNT_NAME = /^[a-z0-9]{3,24}$/;

const lower = (...parts: readonly (string | number)[]): string => parts.join(".").toLowerCase();

export const poolKey = (account: string, pool: string): string => lower(account, pool);
export const tvmKey = (account: string, pool: string, tvm: string): string => lower(account, pool, tvm);
export const workItemKey = (account: string, workItem: string): string => lower(account, workItem);
export const jobKey = (account: string, workItem: string, generation: number, job: string): string =>
  lower(account, workItem, generation, job);
export const taskKey = (job: string, task: string): string => lower(job, task);

/** `{account}.sha1-{thumbprint}` */
export const certificateKey = (account: string, algorithm: string, thumbprint: string): string => lower(account, `${algorithm}-${thumbprint}`);

export const poolStream = (key: string): string => `pool-${key}`;
export const tvmStream = (key: string): string => `tvm-${key}`;
export const workItemStream = (key: string): string => `workItem-${key}`;
export const jobStream = (key: string): string => `job-${key}`;
export const taskStream = (key: string): string => `task-${key}`;
export const certificateStream = (key: string): string => `certificate-${key}`;

export type Category = "pool" | "tvm" | "workItem" | "job" | "task" | "certificate";

export const categoryOf = (stream: string): Category => stream.slice(0, stream.indexOf("-")) as Category;
export const keyOf = (stream: string): string => stream.slice(stream.indexOf("-") + 1);

/** Everything before the last part: the job of a task, the pool of a TVM, the work item (with generation) of a job. */
export const parentOf = (key: string): string => key.slice(0, key.lastIndexOf("."));
export const lastOf = (key: string): string => key.slice(key.lastIndexOf(".") + 1);
export const accountOf = (key: string): string => key.slice(0, key.indexOf("."));

/** Task streams and rows of a job spread over this many partitions: one logical partition of Cosmos DB has a ceiling. */
export const TASK_BUCKETS = 4;

/** FNV-1a, 32 bits: cheap, stable for ever, spreads short names well. Not for secrets. */
export const hash32 = (text: string): number => {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) {
    hash ^= text.charCodeAt(index);
    hash = Math.imul(hash, 0x01000193);
  }
  return hash >>> 0;
};

export const taskBucket = (job: string, task: string): string => `${job}/${hash32(task.toLowerCase()) % TASK_BUCKETS}`;

/** All partitions that hold tasks of a job. */
export const taskBuckets = (job: string): string[] =>
  Array.from({ length: TASK_BUCKETS }, (_, bucket) => `${job}/${bucket}`);

/** Where a stream's commits live: writes within one partition may share a request. */
export const partitionOf = (stream: string): string => {
  const key = keyOf(stream);
  switch (categoryOf(stream)) {
    case "task":
      return `task-${taskBucket(parentOf(key), lastOf(key))}`;
    case "tvm":
      return `tvm-${parentOf(key)}`;
    default:
      return stream;
  }
};
