// $batch: many requests in one, as tasks were added in bulk before there was a call for it (reference section 4). Each is answered
// for itself, in order; a batch that cannot be read is refused whole, before any of it is done.
import { type Rejection, isRejection, rejection } from "../../domain/decider";
import { COLLECTION_MAX, readBytes } from "../json";
import { type Answer, type Input, type Operation, type PartAnswer, operation } from "../operation";
import { type BatchRequest, parseBatch, renderBatch } from "./multipart";

const run = async (input: Input): Promise<Answer | Rejection> => {
  const { inside, ports, stream, headers } = input;
  if (!inside) return rejection("InvalidInput", "A batch cannot be part of another request.");
  const type = headers.get("content-type");
  if (Number(headers.get("content-length") ?? 0) > COLLECTION_MAX) return rejection("RequestBodyTooLarge", undefined, { MaxLimit: String(COLLECTION_MAX) });
  const bytes = await readBytes(stream ?? null, COLLECTION_MAX);
  if (isRejection(bytes)) return bytes;
  const requests = parseBatch(type, bytes, new URL(input.base).host);
  if (isRejection(requests)) return requests;
  const answers: { request: BatchRequest; answer: PartAnswer }[] = [];
  // In order, one after the other: a later request may rely on an earlier one.
  for (const request of requests) answers.push({ request, answer: await inside(inVersion(request, input.query.get("api-version") as string)) });
  const boundary = `batchresponse_${ports.random.uuid()}`;
  const text = renderBatch(boundary, answers);
  return { status: 202, headers: { "Content-Type": `multipart/mixed; boundary=${boundary}` }, bytes: whole(Buffer.from(text)) };
};

/** A part that names no version is of the batch's own. */
const inVersion = (request: BatchRequest, version: string): BatchRequest => {
  const [path = "", query = ""] = request.target.split("?", 2);
  if (new URLSearchParams(query).has("api-version")) return request;
  return { ...request, target: `${path}?${query === "" ? "" : `${query}&`}api-version=${encodeURIComponent(version)}` };
};

async function* whole(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

export const batch: readonly Operation[] = [
  operation({
    name: "Batch",
    method: "POST",
    path: "/$batch",
    action: "batch.run",
    version: "classic",
    // Whatever the type: it is read by the operation, which says what is wrong with it.
    streamed: /^/,
    slow: true,
    run: (input) => run(input as Input),
  }),
];
