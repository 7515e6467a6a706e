// Pools that the service makes for jobs (seed: "a pool for each job, or for all jobs of a work item"; reference 5.7): made by the
// job's process, and deleted with the job or its work item unless they are to be kept.
import { type Rejection, isRejection } from "../domain/decider";
import type { SchedulingError } from "../domain/errors";
import { poolKey, poolStream } from "../domain/ids";
import type { Job } from "../domain/job";
import type { Ports } from "../ports";
import { ownCall } from "./call";
import { load } from "./execute";
import { deletePool, makePool } from "./pools";

/** Makes the job's auto pool, once: one that a user has deleted is not made again. A rejection: it can never be made. */
export const ensureAutoPool = async (ports: Ports, job: Job, at: string): Promise<Rejection | undefined> => {
  if (!job.autoPool) return undefined;
  const { state } = await load(ports, "pool", poolStream(poolKey(job.account, job.pool)));
  if (state.generation > 0) return undefined;
  const outcome = await makePool(ports, ownCall(job.account, at), job.pool, job.autoPool.spec);
  // Somebody else, a step that was repeated, has made it meanwhile.
  return isRejection(outcome) && outcome.code !== "PoolExists" ? outcome : undefined;
};

/** The pool of a job that is over. A pool that all jobs share goes with the work item. */
export const dropAutoPool = async (ports: Ports, job: Job, at: string): Promise<void> => {
  if (job.autoPool?.lifetime !== "job" || job.autoPool.keepAlive) return;
  await deletePool(ports, ownCall(job.account, at), job.pool);
};

/** The job's error when its pool is refused with this (reference section 3, errors inside resources). */
export const autoPoolError = (refused: Rejection): SchedulingError => {
  const { code, message, values = {} } = refused;
  const error = jobErrorOf(code, values["PropertyName"] ?? "");
  const details = error === "InvalidCertificatesInAutoPool" ? certificateDetails(refused) : Object.entries(values).map(([name, value]) => ({ name, value }));
  return {
    category: "UserError",
    code: error,
    message: message ?? `The pool could not be made: ${code}.`,
    ...(details.length === 0 ? {} : { details }),
  };
};

/** Named as the service names them (reference section 7, 16). */
const certificateDetails = ({ code, message, values = {} }: Rejection): { name: string; value: string }[] =>
  values["PropertyValue"] === undefined ? [] : [{ name: `sha1-${values["PropertyValue"]}`, value: message ?? code }];

const jobErrorOf = (code: string, property: string): string => {
  if (code.endsWith("QuotaReached")) return "AutoPoolCreationFailedWithQuotaReached";
  if (code.startsWith("Certificate") || property.startsWith("certificateReferences")) return "InvalidCertificatesInAutoPool";
  if (code.startsWith("AutoScaling") || code === "InvalidAutoScalingSettings" || property.startsWith("autoScale")) return "InvalidAutoScaleFormulaInAutoPool";
  return "InvalidAutoPoolSettings";
};
