// The agents' own door: join with a code, then exchange. A TVM's credential opens nothing else, and an account's key does
// not open this. What the agent says is parsed by the protocol's schemas; what it may say is for the app.
import { certificatesFor, exchange, join } from "../app/agents";
import { type Rejection, isRejection } from "../domain/decider";
import { certificatesRequest, exchangeRequest, joinRequest } from "../wire";
import { EXCHANGE_MAX } from "./json";
import { type Answer, type Operation, operation } from "./operation";
import { inlineProblem } from "./problems";

/** A TVM that is in no pool any more has to stop: 410 says that it is for good. */
const answered = (outcome: object | Rejection): Answer | Rejection => {
  if (!isRejection(outcome)) return { status: 200, headers: { "Content-Type": "application/json" }, json: outcome };
  return outcome.code === "TVMNotFound" ? { status: 410, json: inlineProblem(outcome) } : outcome;
};

export const agentDoor: readonly Operation[] = [
  operation({
    name: "Join",
    method: "POST",
    path: "/agent/join",
    action: "agent.join",
    version: "none",
    body: "required",
    schema: joinRequest,
    run: async ({ ports, call, body }) => answered(await join(ports, body, call.at)),
  }),
  operation({
    name: "FetchCertificates",
    method: "POST",
    path: "/agent/certificates",
    action: "agent.exchange",
    version: "none",
    body: "required",
    schema: certificatesRequest,
    run: async ({ ports, call, body, credential }) => answered(await certificatesFor(ports, credential as string, body.boot, call.at)),
  }),
  operation({
    name: "Exchange",
    method: "POST",
    path: "/agent/exchange",
    action: "agent.exchange",
    version: "none",
    body: "required",
    bodyMax: EXCHANGE_MAX,
    schema: exchangeRequest,
    slow: true,
    run: async ({ ports, call, body, credential, abort }) => answered(await exchange(ports, credential as string, body, call.at, abort)),
  }),
];
