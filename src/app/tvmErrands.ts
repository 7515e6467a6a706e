// Asking a TVM something: nobody connects to it, so a request is left for its agent, whose next exchange brings the answer. It
// knows neither what is asked nor what an answer means.
import { type Rejection, rejection } from "../domain/decider";
import type { Ports } from "../ports";
import { type ErrandRow, errands } from "../views/errands";
import type { FileAnswer } from "../wire";

/** How long a TVM may take to answer: the service's own time limit of a request (reference section 1). */
export const ANSWER_MS = 25_000;

/** The row of a request is sealed for this TVM. */
export const userContext = (tvm: string): string => `tvm user ${tvm}`;

/** Leaves the request that is made for an id and waits for the agent's answer; OperationTimedOut when there is none. */
export const askTvm = async (ports: Ports, tvm: string, requestFor: (id: string) => Pick<ErrandRow, "request" | "user">): Promise<FileAnswer | Rejection> => {
  const id = ports.random.id(12);
  const row: ErrandRow = { ...requestFor(id), id, version: 1, tvm };
  await ports.views.write([{ view: errands, partition: tvm, rows: [{ from: 0, row }], counters: {} }]);
  ports.signals.notify(tvm);
  const answered = await answerTo(ports, tvm, id);
  // The request goes either way: nobody waits for its answer any more.
  const last = answered ?? row;
  await ports.views.write([{ view: errands, partition: tvm, rows: [{ from: last.version, row: { id, version: last.version + 1, gone: true } }], counters: {} }]);
  if (!answered?.answer) return rejection("OperationTimedOut", "The TVM did not answer in time: it may be starting, busy or lost. Try again, or look at the state of the TVM.");
  return answered.answer;
};

const answerTo = async (ports: Ports, tvm: string, id: string): Promise<ErrandRow | undefined> => {
  const until = ports.clock.steady() + ANSWER_MS;
  for (;;) {
    const [row] = await ports.views.get(errands, [{ partition: tvm, id }]);
    if (row?.answer) return row;
    const left = until - ports.clock.steady();
    if (left <= 0 || ports.signals.closed()) return undefined;
    await ports.signals.wait(`errand-${id}`, Math.min(left, 1000));
  }
};
