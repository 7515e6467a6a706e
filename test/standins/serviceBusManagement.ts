// The `$management` operations of the Service Bus stand-in that the SDK uses. Pure requests and answers: links and connections
// are none of its business.

import type { Entities } from "./serviceBusEntities";
import { type Reply, codec, encode, longCode, numberOf, timestampCode, types } from "./serviceBusProtocol";
import { type Content, type Outcome, type Queue, type Stored, fault } from "./serviceBusQueue";

const prefix = "com.microsoft:";

/** Carries out one request that came for this address. */
export function manage(entities: Entities, address: string, request: Content): Reply {
  const entity = address.replace(/\/?\$management$/, "");
  const operation = String((request["application_properties"] as Content | undefined)?.["operation"]).replace(prefix, "");
  const body = (request["body"] ?? {}) as Content;
  if (operation === "schedule-message") return entities.takes(entity) ? schedule(entities, entity, body) : unknownEntity(entity);
  const queue = entities.find(entity);
  if (queue === undefined) return unknownEntity(entity);
  const run = operations[operation];
  return run === undefined ? { code: 501, description: `operation ${operation} is not emulated`, condition: "amqp:not-implemented" } : run(queue, body);
}

const ok = (body?: unknown): Reply => ({ code: 200, description: "OK", body });
const none = (body?: unknown): Reply => ({ code: 204, description: "No Content", body });
const gone = ({ condition, message }: { condition: string; message: string }): Reply => ({ code: 410, description: message, condition });
const missing = (description: string): Reply => ({ code: 404, description, condition: `${prefix}message-not-found` });
const unknownEntity = (entity: string): Reply => ({ code: 404, description: `The messaging entity '${entity}' could not be found.`, condition: "amqp:not-found" });

const tokensOf = (body: Content): Buffer[] => ((body["lock-tokens"] ?? []) as Uint8Array[]).map((token) => Buffer.from(token));
const sequencesOf = (body: Content): number[] => (body["sequence-numbers"] as unknown[]).map(numberOf);

const operations: Readonly<Record<string, (queue: Queue, body: Content) => Reply>> = {
  "renew-lock"(queue, body) {
    const tokens = tokensOf(body);
    const until = queue.renew(tokens);
    return typeof until === "number" ? ok({ expirations: types.wrap_array(tokens.map(() => until), timestampCode) }) : gone(until);
  },

  "renew-session-lock"(queue, body) {
    const until = queue.renewSession(body["session-id"] as string);
    return typeof until === "number" ? ok({ expiration: types.wrap_timestamp(until) }) : gone(until);
  },

  "cancel-scheduled-message"(queue, body) {
    return sequencesOf(body).every((sequence) => queue.cancel(sequence)) ? ok() : missing("Failed to find the scheduled message.");
  },

  "peek-message"(queue, body) {
    const from = numberOf(body["from-sequence-number"]);
    const session = body["session-id"] as string | null | undefined;
    const wanted = (stored: Stored): boolean => stored.sequence >= from && (session === undefined || session === null || stored.session === session);
    const found = [...queue.all.values()].filter(wanted).slice(0, body["message-count"] as number);
    const messages = found.map((stored) => ({ message: encode(stored, { peeked: true }) }));
    return messages.length > 0 ? ok({ messages }) : none({ messages });
  },

  "receive-by-sequence-number"(queue, body) {
    const found = sequencesOf(body).map((sequence) => queue.all.get(sequence));
    if (found.some((stored) => stored?.state !== "deferred")) return missing("Failed to lock one or more specified messages.");
    const messages = (found as Stored[]).map((stored) => {
      if (body["receiver-settle-mode"] === 0) {
        queue.remove(stored);
        return { message: encode(stored), "lock-token": types.wrap_uuid(Buffer.alloc(16)) };
      }
      const lock = queue.lock(stored, undefined, undefined);
      return { message: encode(stored, { lockedUntil: lock.until }), "lock-token": types.wrap_uuid(lock.token) };
    });
    return ok({ messages });
  },

  "update-disposition"(queue, body) {
    for (const token of tokensOf(body)) {
      const lock = queue.locks.get(token.toString("hex"));
      const problem = lock === undefined ? fault(`${prefix}message-lock-lost`, "The lock supplied is invalid.") : queue.settle(lock, outcomeOf(body));
      if (problem !== undefined) return gone(problem);
    }
    return ok();
  },

  "set-session-state"(queue, body) {
    queue.sessionOf(body["session-id"] as string).state = body["session-state"] ?? null;
    return ok();
  },

  "get-session-state": (queue, body) => ok({ "session-state": queue.sessionOf(body["session-id"] as string).state }),

  "get-message-sessions"(queue, body) {
    const skip = body["skip"] as number;
    const waiting = [...queue.sessions.values()].filter(({ ready, state }) => ready.size() > 0 || state !== null);
    const ids = waiting.slice(skip, skip + (body["top"] as number)).map(({ id }) => id);
    return ids.length > 0 ? ok({ skip: skip + ids.length, "sessions-ids": ids }) : none();
  },
};

function schedule(entities: Entities, entity: string, body: Content): Reply {
  const sequences = (body["messages"] as { message: Buffer }[]).map(({ message }) => entities.publish(entity, codec.decode(message)) ?? 0);
  return ok({ "sequence-numbers": types.wrap_array(sequences, longCode) });
}

function outcomeOf(body: Content): Outcome {
  const properties = body["properties-to-modify"] as Content | undefined;
  switch (body["disposition-status"]) {
    case "completed":
      return { kind: "complete" };
    case "suspended":
      return { kind: "deadLetter", properties: { ...properties, DeadLetterReason: body["deadletter-reason"], DeadLetterErrorDescription: body["deadletter-description"] } };
    default:
      return { kind: body["disposition-status"] === "defered" ? "defer" : "abandon", properties };
  }
}
