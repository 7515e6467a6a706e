// The one table from the service's codes to HTTP status and default sentence, and the error body. It never says more of a
// value than 64 characters, and nothing of stacks, hosts or queries.
import type { Rejection } from "../domain/decider";
import { wireDate } from "./dates";

/** Code -> status and what is said when the rejection does not say it better. */
const PROBLEMS: Readonly<Record<string, readonly [number, string]>> = {
  MissingRequiredHeader: [400, "A required HTTP header was not specified."],
  UnsupportedHeader: [400, "One of the HTTP headers specified in the request is not supported."],
  InvalidHeaderValue: [400, "The value for one of the HTTP headers is not in the correct format."],
  MissingRequiredProperty: [400, "A required property was not specified in the request body."],
  UnsupportedProperty: [400, "One of the properties specified in the request body is not supported."],
  InvalidPropertyValue: [400, "The value provided for one of the properties in the request body is invalid."],
  MissingRequiredQueryParameter: [400, "A required query parameter was not specified for this request."],
  UnsupportedQueryParameter: [400, "One of the query parameters specified in the request URI is not supported."],
  InvalidQueryParameterValue: [400, "The value for one of the query parameters specified in the request URI is invalid."],
  OutOfRangeQueryParameterValue: [400, "A query parameter specified in the request URI is outside the permissible range."],
  InvalidUri: [400, "The requested URI does not represent any resource on the server."],
  InvalidRequestBody: [400, "The specified request body is not syntactically valid."],
  InvalidAuthenticationInfo: [400, "The authentication information was not provided in the correct format."],
  MultipleConditionHeadersNotSupported: [400, "Multiple condition headers are not supported."],
  UnsupportedRequestVersion: [400, "The specified API version is not supported."],
  OSVersionNotFound: [400, "The specified operating system version does not exist for the pool's family."],
  PoolVersionEqualsUpgradeVersion: [400, "The pool already has the specified operating system version."],
  InvalidAutoScalingSettings: [400, "The specified autoscaling settings are invalid."],
  AutoScalingFormulaSyntaxError: [400, "The specified auto-scaling formula has syntax error."],
  AutoScalingFormulaTooLong: [400, "The specified auto-scaling formula is too long."],
  InvalidInput: [400, "One of the request inputs is not valid."],
  AuthenticationFailed: [
    403,
    "Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.",
  ],
  InsufficientAccountPermissions: [403, "The account being accessed does not have sufficient permissions to execute this operation."],
  AccountIsDisabled: [403, "The specified account is disabled."],
  IOError: [403, "The file cannot be read."],
  ResourceNotFound: [404, "The specified resource does not exist."],
  PoolNotFound: [404, "The specified pool does not exist."],
  TVMNotFound: [404, "The specified TVM does not exist."],
  WorkItemNotFound: [404, "The specified work item does not exist."],
  JobNotFound: [404, "The specified job does not exist."],
  TaskNotFound: [404, "The specified task does not exist."],
  FileNotFound: [404, "The specified file does not exist."],
  TVMUserNotFound: [404, "The specified user does not exist."],
  CertificateNotFound: [404, "The specified certificate does not exist."],
  UnsupportedHttpVerb: [405, "The resource does not support the specified HTTP verb."],
  PoolExists: [409, "The specified pool already exists."],
  WorkItemExists: [409, "The specified work item already exists."],
  JobExists: [409, "The specified job already exists."],
  TVMUserExists: [409, "The specified user already exists."],
  TaskExists: [409, "The specified task already exists."],
  CertificateExists: [409, "The specified certificate already exists."],
  CertificateBeingDeleted: [409, "The specified certificate is being deleted."],
  CertificateDeleteFailed: [409, "The deletion of the specified certificate failed."],
  CertificateStateActive: [409, "The specified certificate is active."],
  OperationInvalidForCurrentState: [409, "The operation is not valid in the resource's present state."],
  PoolBeingCreated: [409, "The specified pool is being created."],
  PoolBeingResized: [409, "The specified pool is being resized."],
  PoolBeingDeleted: [409, "The specified pool is being deleted."],
  UpgradePoolVersionConflict: [409, "The specified pool is being upgraded."],
  TVMBeingCreated: [409, "The specified TVM is being created."],
  TVMBeingStarted: [409, "The specified TVM is being started."],
  TVMBeingRebooted: [409, "The specified TVM is being rebooted."],
  TVMBeingReimaged: [409, "The specified TVM is being reimaged."],
  TVMStateUnusable: [409, "The specified TVM is unusable."],
  WorkItemDisabled: [409, "The specified work item is disabled."],
  WorkItemCompleted: [409, "The specified work item has completed."],
  WorkItemBeingTerminated: [409, "The specified work item is being terminated."],
  WorkItemBeingDeleted: [409, "The specified work item is being deleted."],
  JobDisabled: [409, "The specified job is disabled."],
  JobCompleted: [409, "The specified job has completed."],
  JobNotActive: [409, "The specified job is not active."],
  JobBeingTerminated: [409, "The specified job is being terminated."],
  JobBeingDeleted: [409, "The specified job is being deleted."],
  TaskCompleted: [409, "The specified task has completed."],
  TaskFilesUnavailable: [409, "The files of the specified task are not available: its TVM is gone, or it never ran."],
  TaskFilesCleanedup: [409, "The files of the specified task were removed when its retention time was over."],
  PoolQuotaReached: [409, "The account has as many pools as it may have."],
  ActiveJobAndScheduleQuotaReached: [409, "The account has as many active jobs and work items as it may have."],
  ConditionNotMet: [412, "The condition specified in the conditional header(s) was not met."],
  RequestBodyTooLarge: [413, "The size of the request body exceeds the maximum size permitted."],
  InvalidRange: [416, "The range specified is invalid for the current size of the resource."],
  InternalError: [500, "The server encountered an internal error. Please retry the request."],
  OperationTimedOut: [500, "The operation could not be completed within the permitted time."],
  NotImplemented: [501, "This operation is not part of this service yet."],
  TooManyEnableAutoScaleRequests: [503, "Autoscale of this pool was enabled a moment ago. Please retry your request later."],
  ServerBusy: [503, "The server is currently unable to receive requests. Please retry your request."],
};

/** Most characters of a value that an error repeats. */
export const ECHO_MAX = 64;
/** Most characters of where a property is: those of an automatic pool lie deep. */
const PLACE_MAX = 160;

export const isKnownCode = (code: string): boolean => Object.hasOwn(PROBLEMS, code);

/** Status of a code; a code that the table does not have is a fault of ours. */
export const statusOf = (code: string): number => PROBLEMS[code]?.[0] ?? 500;

export const messageOf = (refused: Rejection): string => refused.message ?? PROBLEMS[refused.code]?.[1] ?? refused.code;

/** `values` of an error: what it is about, cut short. */
export const valuesOf = (refused: Rejection): { key: string; value: string }[] | undefined =>
  refused.values && Object.entries(refused.values).map(([key, value]) => ({ key, value: cut(value, key === "PropertyName" ? PLACE_MAX : ECHO_MAX) }));

export const cut = (value: string, most = ECHO_MAX): string => (value.length <= most ? value : value.slice(0, most));

/** The error body of reference section 3. */
export const problemBody = (refused: Rejection, where: { base: string; requestId: string; at: string }): object => {
  const values = valuesOf(refused);
  return {
    "odata.metadata": `${where.base}/$metadata#Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element`,
    code: refused.code,
    message: {
      lang: "en-US",
      value: `${messageOf(refused)}\nRequestId:${where.requestId}\nTime:${wireDate(where.at)}`,
    },
    ...(values ? { values } : {}),
  };
};

/** A refusal inside an answer that as a whole succeeded: of one task of many. */
export const inlineProblem = (refused: Rejection): object => ({
  code: refused.code,
  message: { lang: "en-US", value: messageOf(refused) },
  ...(refused.values ? { values: valuesOf(refused) } : {}),
});
