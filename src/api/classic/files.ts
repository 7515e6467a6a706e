// Files of a task and of a TVM, read and removed through the TVM's agent. Paths are taken apart and put together here; that
// they stay inside is checked here by their text and by the agent on the opened file.
import { type FilesOf, type TvmFile, listFiles, readFile, removeFile, statFile } from "../../app/tvmFiles";
import { type Rejection, isRejection, rejection } from "../../domain/decider";
import type { ByteRange } from "../../ports";
import { readCondition } from "../conditions";
import { LIST_QUERY, listAnswer, pageOf, readList } from "../lists";
import type { Fields } from "../odata";
import { type Answer, type Input, type Operation, operation } from "../operation";
import { pathProblem } from "../schemas";
import { FILE_PROPERTIES, fileHeaders, renderFile, taskPath, tvmPath } from "./render";

const PATH_MAX = 1024;

const fields: Fields<TvmFile> = { name: { type: "text", operators: ["startswith"], of: (file) => file.path.replaceAll("/", "\\") } };

interface Place {
  readonly where: FilesOf;
  /** The path of what has the files. */
  readonly owner: string;
}

const taskPlace = ({ names }: Pick<Input, "names">): Place => {
  const { workItem, job, task } = names as { workItem: string; job: string; task: string };
  return { where: { workItem, job, task }, owner: taskPath(workItem, job, task) };
};

const tvmPlace = ({ names }: Pick<Input, "names">): Place => {
  const { pool, tvm } = names as { pool: string; tvm: string };
  return { where: { pool, tvm }, owner: tvmPath(pool, tvm) };
};

const pathOf = ({ names }: Pick<Input, "names">): string | Rejection => {
  const path = names.path as string;
  const problem = path.length > PATH_MAX ? `longer than ${PATH_MAX} characters` : pathProblem(path);
  return problem === undefined ? path.replaceAll("\\", "/") : rejection("InvalidUri", undefined, { Reason: problem });
};

const list = async (input: Input<undefined>, { where, owner }: Place): Promise<Answer | Rejection> => {
  const asked = readList(input, fields, FILE_PROPERTIES);
  if (isRejection(asked)) return asked;
  const recursive = input.query.get("recursive")?.toLowerCase() ?? "false";
  if (recursive !== "true" && recursive !== "false")
    return rejection("InvalidQueryParameterValue", undefined, { QueryParameterName: "recursive", QueryParameterValue: recursive, Reason: "expected true or false" });
  const files = await listFiles(input.ports, input.call, where, "", recursive === "true");
  if (isRejection(files)) return files;
  const byName = files.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  return listAnswer(input, "files", asked, pageOf(byName, (file) => file.path, asked.page), (file) => renderFile(file, owner, input.base));
};

const head = async (input: Input<undefined>, { where, owner }: Place): Promise<Answer | Rejection> => {
  const path = pathOf(input);
  if (isRejection(path)) return path;
  const file = await statFile(input.ports, input.call, where, path);
  if (isRejection(file)) return file;
  return unread(input, file, owner) ?? { status: 200, headers: { ...fileHeaders(file, owner, input.base), "Content-Length": String(file.length) } };
};

/** 304 or 412, when the conditions say so. Files have dates but no ETags. */
const unread = (input: Input<undefined>, file: TvmFile, owner: string): Answer | Rejection | undefined => {
  if (input.conditions.kind === "match" || input.conditions.kind === "noneMatch") return undefined;
  const verdict = readCondition(input.conditions, file.modifiedAt);
  return verdict === "notModified" ? { status: 304, headers: fileHeaders(file, owner, input.base) } : verdict;
};

const get = async (input: Input<undefined>, { where, owner }: Place): Promise<Answer | Rejection> => {
  const path = pathOf(input);
  if (isRejection(path)) return path;
  const asked = askedRange(input);
  if (isRejection(asked)) return asked;
  // Without a range or a condition one request to the agent tells all; with one the length comes first.
  const known = asked || input.conditions.kind !== "none" ? await statFile(input.ports, input.call, where, path) : undefined;
  if (isRejection(known)) return known;
  const early = known && unread(input, known, owner);
  if (early) return early;
  const range = asked && known ? rangeIn(asked, known.length) : undefined;
  if (isRejection(range)) return range;
  const read = await readFile(input.ports, input.call, where, path, range);
  if (isRejection(read)) return read;
  const headers = { ...fileHeaders(read.file, owner, input.base), "Content-Length": String(range?.length ?? read.file.length) };
  // The era's clients take any status but 200 for an error when they asked by ocp-range (reference 5.11).
  if (!range || asked?.header === "ocp-range") return { status: 200, headers, bytes: read.content };
  const { offset, length = 0 } = range;
  return { status: 206, headers: { ...headers, "Content-Range": `bytes ${offset}-${offset + length - 1}/${read.file.length}` }, bytes: read.content };
};

interface AskedRange {
  readonly header: "ocp-range" | "range";
  readonly first?: number | undefined;
  readonly last?: number | undefined;
}

const RANGE = /^bytes=(\d{0,15})-(\d{0,15})$/;

const askedRange = ({ headers }: Pick<Input, "headers">): AskedRange | undefined | Rejection => {
  const header = headers.get("ocp-range") === null ? "range" : "ocp-range";
  const text = headers.get(header);
  if (text === null) return undefined;
  const match = RANGE.exec(text.trim());
  const [first, last] = [numberOf(match?.[1]), numberOf(match?.[2])];
  const good = match && (first !== undefined || last !== undefined) && !(first !== undefined && last !== undefined && last < first);
  return good ? { header, first, last } : rejection("InvalidRange", undefined, { HeaderName: header, HeaderValue: text, Reason: "expected bytes=a-b" });
};

const numberOf = (text: string | undefined): number | undefined => (text === undefined || text === "" ? undefined : Number(text));

/** The part of a file of this length, or that there is none. `bytes=-n` are the last n. */
const rangeIn = ({ first, last }: AskedRange, length: number): Required<ByteRange> | Rejection => {
  const offset = first ?? Math.max(0, length - (last ?? 0));
  const end = first === undefined ? length : Math.min(last ?? length - 1, length - 1) + 1;
  return offset < length && end > offset ? { offset, length: end - offset } : rejection("InvalidRange", `The file has ${length} bytes.`);
};

const remove = async (input: Input<undefined>, { where }: Place): Promise<Answer | Rejection> => {
  const path = pathOf(input);
  if (isRejection(path)) return path;
  const outcome = await removeFile(input.ports, input.call, where, path);
  return isRejection(outcome) ? outcome : { status: 200 };
};

const operationsOf = (kind: string, owner: string, place: (input: Pick<Input, "names">) => Place): Operation[] => [
  operation({
    name: `List${kind}Files`,
    method: "GET",
    path: `${owner}/files`,
    action: "file.read",
    version: "classic",
    query: [...LIST_QUERY, "recursive"],
    run: (input) => list(input, place(input)),
  }),
  operation({ name: `Get${kind}File`, method: "GET", path: `${owner}/files/{path}`, action: "file.read", version: "classic", run: (input) => get(input, place(input)) }),
  operation({ name: `Head${kind}File`, method: "HEAD", path: `${owner}/files/{path}`, action: "file.read", version: "classic", run: (input) => head(input, place(input)) }),
  operation({
    name: `Delete${kind}File`,
    method: "DELETE",
    path: `${owner}/files/{path}`,
    action: "file.delete",
    version: "classic",
    query: ["recursive"],
    run: (input) => remove(input, place(input)),
  }),
];

export const files: readonly Operation[] = [
  ...operationsOf("Task", "/workitems/{workItem}/jobs/{job}/tasks/{task}", taskPlace),
  ...operationsOf("TVM", "/pools/{pool}/tvms/{tvm}", tvmPlace),
];
