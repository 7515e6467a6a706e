// A Service Bus namespace for tests: an AMQP 1.0 broker in this process that the unmodified SDK talks to over plain TCP, with
// faults that a seed decides. In memory; without transactions, filters, forwarding, partitions and the administration API.

import type { AddressInfo, Server, Socket } from "node:net";
import { createDelivery, sessionFilter } from "./serviceBusDelivery";
import { type EntityOptions, type Faults, createEntities, createFaults } from "./serviceBusEntities";
import { manage } from "./serviceBusManagement";
import {
  type AmqpConnection, type AmqpSession, type Incoming, type Link, type OutgoingDelivery,
  accept, answerAttachesLater, batchFormat, codec, createContainer, filterValue, notFound, refuse, replyTo, unpack, wire,
} from "./serviceBusProtocol";
import { type Content, type Fault, type Outcome, type Queue, fault } from "./serviceBusQueue";

export interface BrokerOptions extends EntityOptions {
  /** 0 or absent: any free port. */
  readonly port?: number;
  /** Largest message and batch in bytes: 256 KB, as the Standard tier has it. */
  readonly messageBytesMax?: number;
  readonly faults?: Faults;
}

export interface ServiceBusBroker {
  readonly port: number;
  /** For the SDK's client. */
  readonly connectionString: string;
  /** Messages of a queue, or of a subscription as `topic/Subscriptions/name`. */
  counts(queue: string): { readonly active: number; readonly locked: number; readonly dead: number };
  /** What went through since the start; `sends` counts batches, `messages` what they held, by queue or topic in `sent`. */
  totals(): Totals;
  /** Breaks all connections, as a network does; what their receivers held stays locked until it expires. */
  dropConnections(): void;
  /** All locks of messages and sessions are over as if their time had passed, or those of receivers that are gone. */
  expireLocks(of?: "all" | "gone"): void;
  /** From now on; undefined: none. */
  setFaults(faults: Faults | undefined): void;
  close(): Promise<void>;
}

export interface Totals {
  readonly connections: number;
  readonly sends: number;
  readonly messages: number;
  readonly sent: Readonly<Record<string, number>>;
  readonly deliveries: number;
  readonly settled: number;
  readonly renewals: number;
  readonly faults: number;
}

const messageBytesMax = 262_144;
const tickMs = 25;

/** Resolves when it listens, on the loopback address. */
export async function startServiceBusBroker(options: BrokerOptions = {}): Promise<ServiceBusBroker> {
  const faults = createFaults(options.faults);
  const delivery = createDelivery();
  const entities = createEntities(options, () => faults.strikes("repeat"), delivery.soon);
  const totals = { connections: 0, sends: 0, messages: 0, settled: 0, renewals: 0 };
  const sent: Record<string, number> = {};

  function onConsumer(link: Link): void {
    const { source, properties, snd_settle_mode } = link.remote.attach;
    const address = source?.address ?? "";
    if (isRequests(address)) {
      (link.connection.replyLinks ??= new Map()).set(link.name, link);
      return accept(link, address);
    }
    const queue = entities.find(address);
    if (queue === undefined) return refuse(link, notFound(address));
    (link.connection.receiving ??= new Set()).add(link);
    link.standing = { queue, settled: snd_settle_mode === 1, session: undefined, draining: false, gone: false, sentThisTurn: 0 };
    const asksForSession = Object.hasOwn(source?.filter ?? {}, sessionFilter);
    if (queue.options.sessions !== asksForSession) return refuse(link, wrongKind(queue));
    if (asksForSession) return delivery.ask(queue, link, filterValue(source?.filter?.[sessionFilter]), Number(properties?.["com.microsoft:timeout"] ?? 60_000));
    accept(link, address);
    delivery.add(queue, link);
  }

  function onProducer(link: Link): void {
    const address = link.remote.attach.target?.address ?? "";
    link.address = address;
    link.set_target({ address });
    Object.assign(link.local.attach, { source: link.remote.attach.source, max_message_size: options.messageBytesMax ?? messageBytesMax });
    if (!isRequests(address) && !entities.takes(address)) link.close(wire(notFound(address)));
  }

  function onMessage({ message, delivery: incoming, receiver: { address }, format, connection }: Incoming): void {
    const messages = format === batchFormat ? unpack(message as Buffer) : [message as Content];
    if (isRequests(address)) {
      incoming.accept();
      const request = messages[0]!;
      if (/renew-(session-)?lock$/.test(String((request["application_properties"] as Content)["operation"]))) totals.renewals++;
      const reply = address === "$cbs" ? { code: 202, description: "Accepted" } : manage(entities, address, request);
      connection.replyLinks?.get(request["reply_to"] as string)?.send(replyTo(request, reply));
      return;
    }
    if (faults.strikes("busy")) return alone(() => incoming.reject(wire(serverBusy)));
    totals.sends++;
    try {
      for (const one of messages) {
        entities.publish(address, one);
        totals.messages++;
        sent[address] = (sent[address] ?? 0) + 1;
      }
    } catch (error) {
      if ((error as Partial<Fault>).condition === undefined) throw error;
      return alone(() => incoming.reject(wire(error as Fault)));
    }
    if (faults.strikes("drop")) return void connection.socket.destroy();
    incoming.accept();
  }

  function onOutcome(settled: OutgoingDelivery, outcome: Outcome): void {
    const { lock, link } = settled;
    if (lock === undefined || settled.settled) return;
    const problem = link.standing!.queue.settle(lock, outcome);
    totals.settled++;
    if (faults.strikes("drop")) return void link.connection.socket.destroy();
    // With settle mode "second" the peer never says that it is settled: the session's buffer would fill up.
    const answer = (state: unknown): void => {
      settled.update(true, state);
      settled.remote_settled = true;
    };
    if (problem === undefined) answer(codec.accepted().described());
    else alone(() => answer(codec.rejected({ error: wire(problem) }).described()));
  }

  function onDraining(link: Link): void {
    if (link.standing === undefined) return link.set_drained(true);
    link.standing.draining = true;
    delivery.soon(link.standing.queue);
  }

  function gone(link: Link, inOrder: boolean): void {
    link.connection.replyLinks?.delete(link.name);
    link.connection.receiving?.delete(link);
    delivery.gone(link, inOrder);
  }

  const goneAll = (connection: AmqpConnection, inOrder: boolean, which: (link: Link) => boolean = () => true): void => {
    for (const link of connection.receiving ?? []) if (which(link)) gone(link, inOrder);
  };

  const container = createContainer();
  // rhea hears of an end from the other side and of errors, not of a socket that is closed here.
  container.on("connection_open", ({ connection }: { connection: AmqpConnection }) => {
    connection.socket.once("close", () => connection._disconnected());
    answerAtOnce(connection.socket);
  });
  container.on("session_open", ({ session }: { session: AmqpSession }) => answerAttachesLater(session));
  container.on("sender_open", ({ sender }: { sender: Link }) => onConsumer(sender));
  container.on("receiver_open", ({ receiver }: { receiver: Link }) => onProducer(receiver));
  container.on("message", onMessage);
  container.on("sender_flow", ({ sender: { standing } }: { sender: Link }) => standing && delivery.soon(standing.queue));
  container.on("sender_draining", ({ sender }: { sender: Link }) => onDraining(sender));
  container.on("sender_close", ({ sender }: { sender: Link }) => gone(sender, true));
  container.on("session_close", ({ session, connection }: { session: AmqpSession; connection: AmqpConnection }) => goneAll(connection, true, (link) => link.session === session));
  container.on("connection_close", ({ connection }: { connection: AmqpConnection }) => goneAll(connection, true));
  container.on("disconnected", ({ connection }: { connection: AmqpConnection }) => goneAll(connection, false));
  container.on("accepted", ({ delivery: settled }: Settled) => onOutcome(settled, { kind: "complete" }));
  container.on("released", ({ delivery: settled }: Settled) => onOutcome(settled, { kind: "abandon" }));
  container.on("modified", ({ delivery: settled }: Settled) => {
    const { undeliverable_here, message_annotations } = settled.remote_state;
    onOutcome(settled, { kind: undeliverable_here ? "defer" : "abandon", properties: message_annotations });
  });
  container.on("rejected", ({ delivery: settled }: Settled) => onOutcome(settled, { kind: "deadLetter", properties: settled.remote_state.error?.info }));

  // Given to the container these options have no effect.
  const server = container.listen({
    host: "127.0.0.1", port: options.port ?? 0, treat_modified_as_released: false, autoaccept: false, credit_window: 1_000,
    session_buffer_size: { outgoing: 65_536, incoming: 4_096 }, max_frame_size: 65_536,
  });
  const sockets = trackSockets(server, () => totals.connections++);
  await new Promise<void>((resolve, reject) => server.once("listening", resolve).once("error", reject));
  const ticking = setInterval(() => delivery.expire(entities.all()), tickMs);
  const { port } = server.address() as AddressInfo;
  const dropConnections = (): void => sockets.forEach((socket) => void socket.destroy());

  return {
    port,
    connectionString: `Endpoint=sb://127.0.0.1:${port};SharedAccessKeyName=local;SharedAccessKey=bG9jYWw=;UseDevelopmentEmulator=true;`,
    counts: (name) => countsOf(entities.find(name)),
    totals: () => ({ ...totals, sent: { ...sent }, deliveries: delivery.count(), faults: faults.count() }),
    dropConnections,
    expireLocks: (of = "all") => delivery.expire(entities.all(), of),
    setFaults: faults.set,
    async close() {
      clearInterval(ticking);
      const closed = new Promise((resolve) => server.close(resolve));
      dropConnections();
      await closed;
    },
  };
}

/** rhea writes two outcomes of one turn as one, whatever they are: what is not "accepted" has a turn of its own. */
const alone = (answer: () => void): void => void setImmediate(answer);

const serverBusy = fault("com.microsoft:server-busy", "The service was unable to process the request; please retry the operation.");

type Settled = { delivery: OutgoingDelivery };

const isRequests = (address: string): boolean => address === "$cbs" || address.endsWith("$management");

const wrongKind = ({ options }: Queue): Fault =>
  fault("amqp:not-allowed", options.sessions
    ? "It is not possible for an entity that requires sessions to create a non-sessionful message receiver."
    : "A sessionful message receiver cannot be created on an entity that does not require sessions.");

/** An AMQP frame that says nothing. */
const emptyFrame = Buffer.from([0, 0, 0, 8, 2, 0, 0, 0]);

/**
 * The SDK's sockets hold small writes back until what they sent before is acknowledged, and a kernel that has nothing to send
 * takes 40 ms for that: every step of a client would take as long.
 */
function answerAtOnce(socket: Socket): void {
  socket.on("data", () => {
    const before = socket.bytesWritten;
    setImmediate(() => {
      if (socket.bytesWritten === before && socket.writable) socket.write(emptyFrame);
    });
  });
}

function trackSockets(server: Server, onOne: () => void): Set<Socket> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    onOne();
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  return sockets;
}

function countsOf(queue: Queue | undefined): { active: number; locked: number; dead: number } {
  const stored = [...(queue?.all.values() ?? [])];
  const inState = (state: string): number => stored.filter((one) => one.state === state).length;
  return { active: inState("active"), locked: inState("locked"), dead: queue?.deadLetters?.all.size ?? 0 };
}
