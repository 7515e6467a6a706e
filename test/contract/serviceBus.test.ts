// The contract of the bus on Service Bus, and what is its own: processes that share queues, locks that are lost, connections
// that break, batches and their limits, and the topic of events. The real SDK against a broker in this process.

import { ServiceBusClient, ServiceBusError, type ServiceBusErrorCode } from "@azure/service-bus";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { serviceBus } from "../../src/adapters/serviceBus";
import { isTransient } from "../../src/adapters/serviceBusClient";
import { serviceBusSource } from "../../src/adapters/serviceBusSource";
import { systemClock, systemRandom } from "../../src/adapters/system";
import type { Bus, Json, Log, QueueSource, ReceivedMessage } from "../../src/ports";
import { eventually } from "../agent/eventually";
import { type BrokerOptions, type ServiceBusBroker, startServiceBusBroker } from "../standins/serviceBusBroker";
import { describeBus } from "./bus.contract";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

type Source = QueueSource & { close(): Promise<void> };
type Sender = Bus & { close(): Promise<void> };

/** `patienceMs`: how long it waits for a connection that does not answer. */
const open = (broker: ServiceBusBroker, patienceMs = 2_000): { sender: Sender; source: Source } => {
  const address = { connection: broker.connectionString };
  const shared = { clock: systemClock, log: silent };
  return {
    sender: serviceBus(address, { ...shared, random: systemRandom, answerMs: patienceMs }),
    source: serviceBusSource(address, { ...shared, settleMs: patienceMs, stallMs: patienceMs }),
  };
};

/** Queues named `laned...` have sessions, all others have none; both notice duplicates. */
const options: BrokerOptions = {
  topics: { events: {} },
  template: (name) => ({ sessions: name.startsWith("laned"), duplicateWindowMs: 60_000 }),
};

describeBus("service bus", async () => {
  const broker = await startServiceBusBroker(options);
  const parts = open(broker);
  let source = parts.source;
  const port = (): Bus & QueueSource => ({ ...parts.sender, ...source });
  return {
    port: port(),
    reopen: async () => {
      await source.close();
      broker.expireLocks();
      source = open(broker).source;
      return port();
    },
    close: async () => {
      await Promise.all([source.close(), parts.sender.close()]);
      await broker.close();
    },
    unclaimed: () => broker.counts("events").active,
  };
});

describe("service bus, what is its own", () => {
  const opened: { close(): Promise<unknown> }[] = [];
  const children = new Set<ChildProcess>();
  afterEach(async () => {
    for (const child of children) child.kill("SIGKILL");
    children.clear();
    for (const one of opened.splice(0).toReversed()) await one.close();
  });

  const begin = async (more: BrokerOptions = {}): Promise<ServiceBusBroker> => {
    const broker = await startServiceBusBroker({ ...options, ...more });
    opened.push(broker);
    return broker;
  };
  const connect = (broker: ServiceBusBroker, patienceMs?: number): { sender: Sender; source: Source } => {
    const parts = open(broker, patienceMs);
    opened.push(parts.sender, parts.source);
    return parts;
  };
  const bodies = (count: number): { body: Json }[] => Array.from({ length: count }, (_, body) => ({ body }));
  const numbers = (count: number): number[] => Array.from({ length: count }, (_, index) => index);

  /** Handles all that comes, a batch at a time, as the local host's pump does. Ends with the source. */
  function handleAll(source: Source, queue: string, byLane: boolean, handle: (batch: readonly ReceivedMessage[]) => Promise<void> | void): void {
    let again = false;
    let busy = false;
    const kick = async (): Promise<void> => {
      again = true;
      if (busy) return;
      busy = true;
      while (again) {
        again = false;
        for (let batch = await source.receive(queue, { max: 7, byLane }); batch.length > 0; batch = await source.receive(queue, { max: 7, byLane })) {
          await handle(batch);
          await source.complete(queue, batch);
        }
      }
      busy = false;
    };
    source.onArrival(queue, () => void kick());
  }

  /** Asks until something came. */
  const receive = (source: Source, queue: string, byLane = false, max = 10): Promise<ReceivedMessage[]> =>
    eventually(async () => {
      const messages = await source.receive(queue, { max, byLane });
      return messages.length > 0 && messages;
    }, () => `a message of ${queue}`);

  test("sources that compete handle no message and no lane twice at once, and each has its share", async () => {
    const broker = await begin();
    const { sender } = connect(broker);
    const atWork = new Set<string>();
    const done: string[] = [];
    const shares = [0, 0];
    for (const worker of shares.keys()) {
      const { source } = connect(broker);
      for (const queue of ["plain", "laned"])
        handleAll(source, queue, queue === "laned", async (batch) => {
          const keys = queue === "laned" ? [`lane ${batch[0]!.lane}`] : batch.map(({ body }) => `message ${body}`);
          for (const key of keys) if (atWork.has(key)) throw new Error(`${key} is handled twice at once`);
          for (const key of keys) atWork.add(key);
          await new Promise(setImmediate);
          for (const key of keys) atWork.delete(key);
          done.push(...batch.map(({ lane = queue, body }) => `${lane} ${body}`));
          shares[worker]! += batch.length;
        });
    }
    await sender.send("plain", bodies(200));
    await sender.send("laned", numbers(10).flatMap((lane) => bodies(20).map(({ body }) => ({ lane: `lane-${lane}`, body }))));
    await eventually(() => done.length >= 400, () => `400 messages, ${done.length} so far`);
    expect(new Set(done).size).toBe(400);
    expect(done).toHaveLength(400);
    for (const lane of numbers(10)) expect(done.filter((one) => one.startsWith(`lane-${lane} `))).toEqual(numbers(20).map((body) => `lane-${lane} ${body}`));
    expect(Math.min(...shares)).toBeGreaterThan(20);
  });

  test("a lane whose lock is lost goes to another; settling it late changes nothing and throws nothing", async () => {
    const broker = await begin();
    const { sender, source: slow } = connect(broker);
    const { source: quick } = connect(broker);
    await sender.send("laned", [{ lane: "a", body: 1 }, { lane: "a", body: 2 }]);
    const late = await receive(slow, "laned", true);
    broker.expireLocks();
    const again = await receive(quick, "laned", true);
    expect(again.map(({ body, deliveryCount }) => [body, deliveryCount])).toEqual([[1, 2], [2, 2]]);
    await slow.complete("laned", late);
    expect(broker.counts("laned")).toEqual({ active: 0, locked: 2, dead: 0 });
    await quick.complete("laned", again);
    expect(broker.counts("laned")).toEqual({ active: 0, locked: 0, dead: 0 });
  });

  test("a message whose lock is lost comes again, and settling it late changes nothing", async () => {
    const broker = await begin();
    const { sender, source } = connect(broker);
    await sender.send("plain", [{ body: "slow" }]);
    const late = await receive(source, "plain");
    broker.expireLocks();
    const [again] = await receive(source, "plain");
    expect(again).toMatchObject({ body: "slow", deliveryCount: 2 });
    await source.complete("plain", late);
    expect(broker.counts("plain").locked).toBe(1);
    await source.abandon("plain", [again!], "not yet");
    expect(await receive(source, "plain")).toMatchObject([{ deliveryCount: 3 }]);
  });

  test("locks are renewed while a handler runs", async () => {
    const broker = await begin({ template: (name) => ({ sessions: name === "laned", lockMs: 1_100 }) });
    const { sender, source } = connect(broker);
    await sender.send("plain", [{ body: 1 }]);
    await sender.send("laned", [{ lane: "a", body: 1 }]);
    const held = { plain: await receive(source, "plain"), laned: await receive(source, "laned", true) };
    // Two for each: longer than a lock holds by itself.
    await eventually(() => broker.totals().renewals >= 5);
    await Promise.all([source.complete("plain", held.plain), source.complete("laned", held.laned)]);
    for (const queue of ["plain", "laned"]) expect(broker.counts(queue)).toEqual({ active: 0, locked: 0, dead: 0 });
    expect(broker.totals().deliveries).toBe(2);
  });

  test("a socket that broke is worth another try, a queue that is not there is none", () => {
    // As the SDK hands them over: it says of none of these that another try may help.
    const error = (message: string, code: ServiceBusErrorCode) => Object.assign(new ServiceBusError(message, code), { retryable: false });
    expect(isTransient(error("EPIPE: write EPIPE", "GeneralError"))).toBe(true);
    expect(isTransient(new AggregateError([error("read ECONNRESET", "GeneralError")]))).toBe(true);
    expect(isTransient(error("no such queue", "MessagingEntityNotFound"))).toBe(false);
    expect(isTransient(new TypeError("EPIPE"))).toBe(false);
  });

  test("connections that break in the middle lose nothing and send nothing twice", async () => {
    const broker = await begin();
    const { sender, source } = connect(broker, 500);
    const handled = new Set<string>();
    const ids = new Set<string>();
    for (const queue of ["plain", "laned"])
      handleAll(source, queue, queue === "laned", (batch) => {
        for (const { body, messageId } of batch) {
          ids.add(messageId);
          handled.add(`${queue} ${body}`);
        }
      });
    for (const round of numbers(4)) {
      const sends = numbers(20).map((index) => round * 20 + index)
        .flatMap((body) => [sender.send("plain", [{ body }]), sender.send("laned", [{ lane: `l${body % 3}`, body }])]);
      // At some moment of the work, another one each time.
      await eventually(() => broker.totals().deliveries > round * 42 + 3);
      broker.dropConnections();
      await Promise.all(sends);
      await eventually(() => {
        broker.expireLocks("gone");
        return handled.size === (round + 1) * 40;
      }, () => `round ${round} of messages, ${handled.size} so far`);
    }
    expect(ids.size).toBe(160);
    expect(broker.totals().messages).toBeGreaterThanOrEqual(160);
    for (const queue of ["plain", "laned"]) expect(broker.counts(queue).dead).toBe(0);
  });

  test("with busy answers, lost answers and messages delivered twice, all of it is handled", async () => {
    const broker = await begin({ faults: { seed: 7, busy: 0.1, drop: 0.03, repeat: 0.1 } });
    const { sender, source } = connect(broker, 500);
    const handled: Json[] = [];
    handleAll(source, "plain", false, (batch) => void handled.push(...batch.map(({ body }) => body)));
    for (let from = 0; from < 150; from += 15) await Promise.all(numbers(15).map((body) => sender.send("plain", [{ body: from + body }])));
    await eventually(() => {
      broker.expireLocks("gone");
      return new Set(handled).size === 150;
    }, () => `150 messages, ${new Set(handled).size} so far`);
    broker.setFaults(undefined);
    await eventually(() => {
      broker.expireLocks("gone");
      const { active, locked } = broker.counts("plain");
      return active + locked === 0;
    }, () => `an empty queue, not ${JSON.stringify(broker.counts("plain"))}`);
    expect(broker.totals().faults).toBeGreaterThan(20);
    expect(handled.length).toBeGreaterThan(150);
    expect(broker.counts("plain").dead).toBe(0);
  });

  test("two processes split the work; what a killed one held comes to the other", async () => {
    const broker = await begin();
    const { sender } = connect(broker);
    const start = (mode: string): { child: ChildProcess; lines: { what: string; queue: string; bodies: number[] }[] } => {
      const root = path.resolve(__dirname, "../..");
      const child = spawn(process.execPath, ["--require", path.join(root, "test/agent/register.js"), path.join(root, "test/standins/serviceBusWorker.ts"), broker.connectionString, "plain", "laned", mode],
        { stdio: ["pipe", "pipe", "ignore"] });
      children.add(child);
      const lines: { what: string; queue: string; bodies: number[] }[] = [];
      createInterface({ input: child.stdout }).on("line", (line) => lines.push(JSON.parse(line)));
      return { child, lines };
    };
    await sender.send("plain", bodies(30));
    await sender.send("laned", bodies(30).map(({ body }) => ({ lane: `l${Number(body) % 3}`, body })));
    const killed = start("hold");
    await eventually(() => killed.lines.some(({ queue }) => queue === "plain") && killed.lines.some(({ queue }) => queue === "laned"));
    const other = start("go on");
    const doneBy = (lines: typeof other.lines): number => lines.filter(({ what }) => what === "done").reduce((sum, line) => sum + line.bodies.length, 0);
    // All but what the first holds: a batch of each queue, and at most one message that it found and did not ask for yet.
    await eventually(() => doneBy(other.lines) >= 60 - 5 - 10 - 1, () => `the other's share, ${doneBy(other.lines)} so far`);
    expect(broker.counts("plain").locked + broker.counts("laned").locked).toBeGreaterThanOrEqual(10);
    killed.child.kill("SIGKILL");
    await once(killed.child, "exit");
    broker.expireLocks();
    await eventually(() => doneBy(other.lines) === 60, () => `all of it, ${doneBy(other.lines)} so far`);
    for (const queue of ["plain", "laned"])
      expect(other.lines.filter((line) => line.what === "done" && line.queue === queue).flatMap((line) => line.bodies).sort((a, b) => a - b)).toEqual(numbers(30));
  });

  test("a process that stops gives back at once what it found and nobody asked for", async () => {
    const broker = await begin();
    const { sender, source } = connect(broker);
    source.onArrival("plain", () => {});
    source.onArrival("laned", () => {});
    expect(await source.receive("plain", { max: 1, byLane: false })).toEqual([]);
    expect(await source.receive("laned", { max: 1, byLane: true })).toEqual([]);
    await sender.send("plain", [{ body: 1 }]);
    await sender.send("laned", [{ lane: "a", body: 1 }]);
    await eventually(() => broker.counts("plain").locked === 1);
    await source.close();
    const { source: next } = connect(broker);
    expect(await receive(next, "plain")).toMatchObject([{ body: 1 }]);
    expect(await receive(next, "laned", true)).toMatchObject([{ body: 1, deliveryCount: 1 }]);
  });

  test("many messages go in batches below the limit, a lane's in order", async () => {
    const broker = await begin();
    const { sender, source } = connect(broker);
    const text = "x".repeat(1_000);
    await sender.send("laned", numbers(600).map((index) => ({ lane: `l${index % 2}`, body: { index, text } })));
    expect(broker.totals()).toMatchObject({ sends: 4, messages: 600 });
    const first = await receive(source, "laned", true, 300);
    expect(first.map(({ body }) => (body as { index: number }).index)).toEqual(numbers(300).map((index) => index * 2 + (first[0]!.lane === "l0" ? 0 : 1)));
  });

  test("a message above the limit is refused with its queue and size, and nothing of its call is sent", async () => {
    const broker = await begin();
    const { sender } = connect(broker);
    const large = "x".repeat(300_000);
    await expect(sender.send("reports", [{ body: "small" }, { body: large }])).rejects.toThrow('A message of 300002 bytes is too large for "reports": it takes 262144 bytes at most');
    await expect(sender.send("laned", [{ lane: "l".repeat(129), body: 1 }])).rejects.toThrow("is too long: 128 characters at most");
    expect(broker.totals().messages).toBe(0);
  });

  test("a queue that does not exist is named, when sending and when receiving", async () => {
    const broker = await begin({ template: () => undefined });
    const { sender, source } = connect(broker);
    await expect(sender.send("answers", [{ body: 1 }])).rejects.toThrow('Sending to "answers" failed: there is no such queue or topic');
    await expect(source.receive("answers", { max: 1, byLane: false })).rejects.toThrow("The messaging entity 'answers' could not be found");
    await expect(receive(source, "lanes", true)).rejects.toThrow("The messaging entity 'lanes' could not be found");
  });

  test("a dead letter that the service made tells what the handler said last", async () => {
    const broker = await begin({ template: () => ({ deliveriesMax: 2 }) });
    const { sender, source } = connect(broker);
    await sender.send("plain", [{ body: 1 }]);
    await source.abandon("plain", await receive(source, "plain"), "the pool is gone");
    await receive(source, "plain");
    broker.expireLocks();
    const dead = await eventually(async () => {
      const letters = await sender.deadLetters("plain", 10);
      return letters.length > 0 && letters;
    });
    expect(dead).toMatchObject([{ message: { body: 1, deliveryCount: 2 }, reason: "the pool is gone" }]);
  });

  test("every event is a message with its stream, version and type, each once, without what is sealed", async () => {
    const broker = await begin({ topics: { events: { first: { duplicateWindowMs: 60_000 }, second: {} } } });
    const { sender } = connect(broker);
    const at = "2026-01-01T00:00:00.000Z";
    const events = [
      { stream: "task-a.1.b", version: 1, event: { type: "TaskQueued", at, files: [{ filePath: "a", sealed: "secret" }] } },
      { stream: "task-a.1.b", version: 1, event: { type: "TaskNoted", at } },
      { stream: "task-a.1.b", version: 1, event: { type: "TaskNoted", at } },
      { stream: "task-a.1.c", version: 2, event: { type: "TaskCompleted", at, text: "x".repeat(300_000) } },
    ];
    await sender.publish(events);
    await sender.publish(events.slice(0, 3));
    expect(broker.counts("events/Subscriptions/first").active).toBe(4);
    expect(broker.counts("events/Subscriptions/second").active).toBe(7);
    const client = new ServiceBusClient(broker.connectionString);
    opened.push(client);
    const messages = await client.createReceiver("events", "first").peekMessages(10);
    expect(messages.map(({ body, subject, applicationProperties }) => ({ body, subject, applicationProperties }))).toEqual([
      { body: { type: "TaskQueued", at, files: [{ filePath: "a" }] }, subject: "TaskQueued", applicationProperties: { stream: "task-a.1.b", version: 1, type: "TaskQueued" } },
      ...[1, 2].map(() => ({ body: { type: "TaskNoted", at }, subject: "TaskNoted", applicationProperties: { stream: "task-a.1.b", version: 1, type: "TaskNoted" } })),
      { body: { type: "TaskCompleted", at, shortened: true }, subject: "TaskCompleted", applicationProperties: { stream: "task-a.1.c", version: 2, type: "TaskCompleted" } },
    ]);
  });

  test("what others send is received too: text, bytes, JSON of another client, and with a delay", async () => {
    const broker = await begin();
    const { source } = connect(broker);
    const client = new ServiceBusClient(broker.connectionString);
    opened.push(client);
    const other = client.createSender("plain");
    const [cancelled] = await other.scheduleMessages([{ body: "cancelled" }], new Date(Date.now() + 3_600_000));
    await other.scheduleMessages([{ body: "scheduled" }], new Date(Date.now() + 100));
    await other.cancelScheduledMessages(cancelled!);
    await other.sendMessages([{ body: "text", messageId: 5 as never }, { body: Buffer.from("bytes") }, { body: { n: 1 } }, { body: { n: 1 }, messageId: 5 as never }]);
    const got: Json[] = [];
    while (got.length < 4) got.push(...(await receive(source, "plain")).map(({ body }) => body));
    expect(got).toEqual(expect.arrayContaining(["text", "bytes", { n: 1 }, "scheduled"]));
    expect(broker.counts("plain").active).toBe(0);
    expect(broker.totals().messages).toBe(4);
  });
});
