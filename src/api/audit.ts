// The audit trail of requests (security 1.5): who asked for which change of what, what came of it, and under which request id. What
// came to be is in the events, with who asked; this says so of what was refused too, and joins both to the request. One line of the
// log each; changes of single tasks and files, of which there are thousands a second, only at the level debug: their events tell the
// same. It never says what was in a request.
import { type Rejection, isRejection } from "../domain/decider";
import type { Log } from "../ports";
import type { Action } from "./auth";
import { type Answer, type Operation, changes } from "./operation";
import { statusOf } from "./problems";

export interface Asked {
  readonly ports: { readonly log: Log };
  readonly url: URL;
  readonly requestId: string;
}

/** So many that a line each would bury the others. `agent.exchange`: each TVM, all the time. */
const MANY: ReadonlySet<Action> = new Set<Action>(["task.add", "task.update", "task.terminate", "task.delete", "file.delete", "agent.exchange"]);

/** Hands the answer on. */
export const audit = (asked: Asked, who: string, one: Operation, answer: Answer | Rejection): Answer | Rejection => {
  if (!changes(one)) return answer;
  const { log } = asked.ports;
  const refused = isRejection(answer);
  const details = { who, action: one.action, operation: one.name, resource: asked.url.pathname, status: refused ? statusOf(answer.code) : answer.status, ...(refused ? { code: answer.code } : {}), request: asked.requestId };
  if (MANY.has(one.action)) log.debug("audit", details);
  else log.info("audit", details);
  return answer;
};

/** Somebody who was proven asked for what is not theirs, whether it changes anything or not. */
export const auditRefused = ({ ports, url, requestId }: Asked, who: string, one: Operation, refused: Rejection): Rejection => {
  ports.log.warn("audit", { who, action: one.action, operation: one.name, resource: url.pathname, status: statusOf(refused.code), code: refused.code, request: requestId });
  return refused;
};
