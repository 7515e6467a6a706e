// What the Service Bus stand-in needs of AMQP beyond rhea's public types: annotations, lock tokens, ticks, and the inner side of
// links and sessions, named. It keeps no state.

import type { Server, Socket } from "node:net";
import rhea from "rhea";
import type { Content, Fault, Lock, Queue, Session, Stored } from "./serviceBusQueue";
import { fault } from "./serviceBusQueue";

/** rhea's connection on the server's side, with what the broker remembers of it. */
export interface AmqpConnection {
  readonly socket: Socket;
  _register(): void;
  _disconnected(): void;
  /** Where answers to requests go, by the name that requests give. */
  replyLinks?: Map<string, Link>;
  /** Links that receive or wait to. */
  receiving?: Set<Link>;
}

export interface AmqpSession {
  readonly outgoing: { available(): number };
  readonly links: Readonly<Record<string, Link>>;
  create_sender(name: string): Link;
  on_attach(frame: { performative: { role: boolean; name: string } }): unknown;
}

interface Attach {
  source?: { address?: string; filter?: Readonly<Record<string, unknown>> | null };
  target?: { address?: string };
  properties?: Readonly<Record<string, unknown>>;
  snd_settle_mode?: number;
  rcv_settle_mode?: number;
  max_message_size?: number;
}

export interface Link {
  readonly name: string;
  readonly connection: AmqpConnection;
  readonly session: AmqpSession;
  readonly credit: number;
  readonly remote: { readonly attach: Readonly<Attach> };
  readonly local: { readonly attach: Attach };
  open(): void;
  close(error?: WireError): void;
  send(content: unknown, tag?: Buffer, format?: number): { lock?: Lock };
  set_drained(drained: boolean): void;
  set_source(source: object): void;
  set_target(target: object): void;
  /** Of a link that sends to the broker. */
  address: string;
  /** Of a link that receives from a queue. */
  standing?: Standing;
}

export interface Standing {
  readonly queue: Queue;
  /** Receive and delete: nothing is locked. */
  readonly settled: boolean;
  session: Session | undefined;
  draining: boolean;
  /** The link is closed or broken. */
  gone: boolean;
  /** rhea counts credit down only when it writes. */
  sentThisTurn: number;
}

export interface OutgoingDelivery {
  readonly link: Link;
  readonly settled: boolean;
  readonly remote_state: { undeliverable_here?: boolean; message_annotations?: Content; error?: { info?: Content } };
  remote_settled: boolean;
  lock?: Lock;
  update(settled: boolean, state: unknown): void;
}

export interface Incoming {
  /** rhea leaves a format that is not its own undecoded. */
  readonly message: Content | Buffer;
  readonly delivery: { accept(): void; reject(error: WireError): void };
  readonly receiver: Link;
  readonly format: number;
  readonly connection: AmqpConnection;
}

export interface WireError {
  readonly condition: string;
  readonly description: string;
}

export const codec = rhea.message as unknown as {
  encode(content: Content): Buffer;
  decode(bytes: Buffer): Content;
  accepted(): { described(): unknown };
  rejected(fields: { error: WireError }): { described(): unknown };
};

export const types = rhea.types as unknown as {
  wrap_long(value: number | Buffer): unknown;
  wrap_int(value: number): unknown;
  wrap_timestamp(value: number): unknown;
  wrap_symbol(value: string): unknown;
  wrap_uuid(value: Buffer): unknown;
  wrap_array(values: readonly unknown[], code: number): unknown;
};

export const timestampCode = 0x83;
export const longCode = 0x81;
export const batchFormat = 0x80013700;

export const wire = ({ condition, message }: Fault): WireError => ({ condition, description: message });

export const notFound = (address: string): Fault => fault("amqp:not-found", `The messaging entity '${address}' could not be found.`);

/** A lock token as delivery tag: the first three groups of a GUID are little-endian there. */
export const tagOf = (token: Buffer): Buffer =>
  Buffer.from([token[3]!, token[2]!, token[1]!, token[0]!, token[5]!, token[4]!, token[7]!, token[6]!, ...token.subarray(8)]);

/** .NET ticks: 100 ns since the year 1. */
export function ticks(milliseconds: number): unknown {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64BE(BigInt(milliseconds) * 10_000n + 621_355_968_000_000_000n);
  return types.wrap_long(bytes);
}

export const numberOf = (value: unknown): number => (Buffer.isBuffer(value) ? Number(value.readBigInt64BE()) : Number(value));

/** A filter's value, described or plain; null is "any". */
export const filterValue = (value: unknown): string | undefined =>
  ((typeof value === "object" && value !== null && "value" in value ? value.value : value) as string | null) ?? undefined;

const stateCodes: Readonly<Record<string, number>> = { deferred: 1, scheduled: 2 };

/** A message as it is delivered (`lockedUntil`) or shown (`peeked`). */
export function encode(stored: Stored, how: { readonly lockedUntil?: number; readonly peeked?: boolean } = {}): Buffer {
  const { content, sequence, enqueuedAt, deliveries, state, deadLetterSource, scheduledFor } = stored;
  return codec.encode({
    ...content,
    delivery_count: deliveries,
    message_annotations: {
      ...(content["message_annotations"] as Content | undefined),
      "x-opt-sequence-number": types.wrap_long(sequence),
      "x-opt-enqueue-sequence-number": types.wrap_long(sequence),
      "x-opt-enqueued-time": types.wrap_timestamp(enqueuedAt),
      ...(how.lockedUntil === undefined ? {} : { "x-opt-locked-until": types.wrap_timestamp(how.lockedUntil) }),
      ...(how.peeked ? { "x-opt-message-state": types.wrap_int(stateCodes[state] ?? 0) } : {}),
      ...(deadLetterSource === undefined ? {} : { "x-opt-deadletter-source": deadLetterSource }),
      ...(scheduledFor === undefined ? {} : { "x-opt-scheduled-enqueue-time": types.wrap_timestamp(scheduledFor) }),
    },
  });
}

/** The messages of a batch, each an encoded message in a data section of its own. */
export function unpack(batch: Buffer): Content[] {
  const { multiple, content } = codec.decode(batch)["body"] as { multiple?: boolean; content: Buffer | Buffer[] };
  return (multiple ? (content as Buffer[]) : [content as Buffer]).map((part) => codec.decode(part));
}

export interface Reply {
  readonly code: number;
  readonly description: string;
  readonly body?: unknown;
  readonly condition?: string;
}

/** The answer to a request of `$cbs` or `$management`. */
export function replyTo(request: Content, { code, description, body, condition }: Reply): Content {
  const error = condition === undefined ? undefined : types.wrap_symbol(condition);
  return {
    correlation_id: request["message_id"],
    application_properties: {
      "status-code": types.wrap_int(code), "status-description": description, statusCode: types.wrap_int(code), statusDescription: description,
      ...(error === undefined ? {} : { "error-condition": error, errorCondition: error }),
    },
    body: body ?? {},
  };
}

/** rhea answers an attach at once; a session's is answered when it is granted. Applies to links that receive from the broker. */
export function answerAttachesLater(session: AmqpSession): void {
  const attach = session.on_attach;
  session.on_attach = (frame) => {
    const { role, name } = frame.performative;
    if (role && session.links[name] === undefined) session.create_sender(name).open = () => {};
    return attach.call(session, frame);
  };
}

/** Answers an attach that waited. */
export function accept(link: Link, address: string, more: object = {}): void {
  answerDrains(link);
  link.set_source({ address, ...more });
  const { target, snd_settle_mode, rcv_settle_mode } = link.remote.attach;
  Object.assign(link.local.attach, { target, snd_settle_mode, rcv_settle_mode });
  open(link);
}

/** rhea does not answer when the last credit was used while the wish to drain was on its way: the SDK waits, and then gives the link up. */
function answerDrains(link: Link): void {
  const inner = link as unknown as { _draining: boolean; _drained: boolean; _get_drain(): boolean };
  const useUp = inner._get_drain.bind(inner);
  inner._get_drain = () => useUp() || (inner._draining && inner._drained);
}

/** Answers an attach with an error: AMQP opens the link first. */
export function refuse(link: Link, error: Fault): void {
  open(link);
  link.close(wire(error));
}

/** What was put in the way of opening goes. */
function open(link: Link): void {
  Reflect.deleteProperty(link, "open");
  link.open();
}

/** A container that speaks as the service does to the SDK. */
export function createContainer(): { on(event: string, listener: (context: never) => unknown): void; listen(options: object): Server } {
  const container = rhea.create_container({ id: "service-bus-stand-in" });
  const mechanisms = container.sasl_server_mechanisms;
  mechanisms.enable_anonymous();
  mechanisms.enable_plain(() => true);
  mechanisms.MSSBCBS = mechanisms.ANONYMOUS;
  for (const event of ["connection_error", "session_error", "sender_error", "receiver_error"]) container.on(event, () => {});
  // A fault of the broker itself must not look like a slow service.
  container.on("error", (error: unknown) => queueMicrotask(() => { throw error; }));
  return container as never;
}
