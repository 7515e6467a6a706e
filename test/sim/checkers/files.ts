// Files read through the service, against what simulated TVMs had at that time; and that every question has an end.
import type { Task } from "../../../src/domain/task";
import type { Asked, DiskChange, History } from "../history";
import { type Checker, statesDuring, succeeded, told } from "../told";

const TASK = /^\/workitems\/(\w+)\/jobs\/([\w-]+)\/tasks\/(\w+)\/files(?:\/([^?]+))?(?:\?|$)/i;
const TVM = /^\/pools\/([\w-]+)\/tvms\/([\w-]+)\/files(?:\/([^?]+))?(?:\?|$)/i;

/** Where an asked file was to be looked for; `task`: whose it has to be. */
interface Place {
  readonly tvm: string;
  readonly path: string;
  readonly task?: { readonly key: string; readonly sinceMs: number };
}

type OfStreams = ReadonlyMap<string, ReturnType<typeof told>>;

const streamsOf = (history: History): OfStreams => Map.groupBy(told(history), ({ stream }) => stream);

/** Each place that the service may have meant while it was at it; undefined: it is no question about files. */
const placesOf = ({ target, atMs, answeredMs = Infinity }: Asked, streams: OfStreams): Place[] | undefined => {
  const ofTvm = TVM.exec(target);
  if (ofTvm) return [{ tvm: `sim.${ofTvm[1]}.${ofTvm[2]}`.toLowerCase(), path: decodeURIComponent(ofTvm[3] ?? "") }];
  const [, workItem = "", job = "", task = "", file = ""] = TASK.exec(target) ?? [];
  if (workItem === "") return undefined;
  const items = statesDuring<{ generation: number }>(streams.get(`workItem-sim.${workItem.toLowerCase()}`) ?? [], atMs, answeredMs);
  return [...new Set(items.map(({ generation }) => generation))].flatMap((generation) => {
    const key = `sim.${workItem}.${generation}.${job}.${task}`.toLowerCase();
    const list = streams.get(`task-${key}`) ?? [];
    const lives = list.filter(({ event, stored }) => event.type === "TaskQueued" && stored.atMs <= answeredMs).map(({ stored }) => stored.atMs);
    const sinceMs = lives.findLast((one) => one <= atMs) ?? lives[0] ?? 0;
    const ran = statesDuring<Task>(list, atMs, answeredMs).flatMap(({ ranOn }) => (ranOn ? [`sim.${ranOn.pool}.${ranOn.tvm}`.toLowerCase()] : []));
    return [...new Set(ran)].map((tvm): Place => ({ tvm, path: `tasks/${workItem}/${job}/${task}/${decodeURIComponent(file)}`.replace(/\/$/, ""), task: { key, sinceMs } }));
  });
};

/** What a file was at some moment between these two; undefined: it was not there. */
const versionsDuring = (disk: readonly DiskChange[], { tvm, path }: Pick<Place, "tvm" | "path">, fromMs: number, toMs: number): (string | undefined)[] => {
  let versions: (string | undefined)[] = [undefined];
  for (const change of disk) {
    if (change.atMs > toMs) break;
    if (change.tvm !== tvm || change.path.toLowerCase() !== path.toLowerCase()) continue;
    versions = change.atMs < fromMs ? [change.content] : [...versions, change.content];
  }
  return versions;
};

const isOf = (content: string, { task }: Place): boolean => {
  if (!task) return true;
  const [, key, since] = /(\S+)@\d+ since (\d+)/.exec(content) ?? [];
  return key === task.key && Number(since) >= task.sinceMs;
};

/** A file's content is what that file was, of the right task on the right TVM; names of a list are of files that were there. */
export const filesAreWhatTvmsHad: Checker = (history) => {
  const streams = streamsOf(history);
  return history.asked.flatMap((one) => {
    const places = succeeded(one) && one.method === "GET" ? placesOf(one, streams) : undefined;
    if (!places) return [];
    const { target, atMs, answeredMs = Infinity, part, answer } = one;
    if (!/\/files\//.test(target)) return listed(one, places, history.disk);
    const text = String(answer ?? "");
    const good = places.some((place) => {
      const versions = versionsDuring(history.disk, place, atMs, answeredMs).filter((version) => version !== undefined && isOf(version, place)) as string[];
      return part ? versions.some((version) => version.includes(text)) : versions.some((version) => version.startsWith(text)) && versions.some(({ length }) => length === text.length);
    });
    return good ? [] : [`${target} was answered ${JSON.stringify(text)}, which was not there (${places.map(({ tvm }) => tvm).join() || "on no TVM"})`];
  });
};

interface Entry {
  readonly name: string;
  readonly isDirectory: boolean;
}

const listed = ({ target, atMs, answeredMs = Infinity, answer }: Asked, places: readonly Place[], disk: readonly DiskChange[]): string[] =>
  ((answer as { value?: Entry[] } | undefined)?.value ?? []).filter(({ isDirectory }) => !isDirectory).flatMap(({ name }) => {
    const was = places.some(({ tvm, path }) => versionsDuring(disk, { tvm, path: [path, name.replaceAll("\\", "/")].filter(Boolean).join("/") }, atMs, answeredMs).some((version) => version !== undefined));
    return was ? [] : [`${target} named ${name}, which was not there`];
  });

/** A file that was there all the time is not said to be missing, and one that is said to be removed is. */
export const filesThatAreThereAreFound: Checker = (history) => {
  const streams = streamsOf(history);
  return history.asked.flatMap((one) => {
    const removing = one.method === "DELETE" && succeeded(one);
    if ((!removing && one.code !== "FileNotFound") || !/\/files\//.test(one.target)) return [];
    const places = placesOf(one, streams) ?? [];
    const { target, atMs, answeredMs = Infinity } = one;
    if (removing) {
      const gone = history.disk.some((change) => change.content === undefined && change.atMs >= atMs && change.atMs <= answeredMs && places.some(({ tvm, path }) => change.tvm === tvm && change.path.toLowerCase().startsWith(path.toLowerCase())));
      return gone ? [] : [`${target} was said to be removed, and nothing was`];
    }
    const there = places.length === 1 && places.every((place) => versionsDuring(history.disk, place, atMs, answeredMs).every((version) => version !== undefined));
    return there ? [`${target} was said to be missing, and was there`] : [];
  });
};

/** An operation's own time limit, and what stands around it: finding out who asks, and the last bytes of the answer. */
const OPERATION_MS = 30_000;
const AROUND_CALLS = 6;

/** Whatever becomes of a TVM, and of what it is asked: a question about it ends, with an answer or an error. */
export const questionsHaveAnEnd: Checker = (history) =>
  history.asked
    .filter(({ target, tookMs }) => /\/(?:files|users)(?:[/?]|$)/.test(target) && tookMs > OPERATION_MS + AROUND_CALLS * (1_000 + history.slowMs))
    .map(({ method, target, tookMs }) => `${method} ${target} was under way for ${tookMs} ms`);
