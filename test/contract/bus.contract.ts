// What every message bus promises: durable sending, delivery at least once, locks, lanes handled one batch at a time, and dead
// letters. A message may come twice, so the tests look at bodies; receiving may take a while, so they ask again, with a bound.

import { randomUUID } from "node:crypto";
import type { Bus, Json, QueueSource, ReceivedMessage } from "../../src/ports";

export interface OpenBus {
  readonly port: Bus & QueueSource;
  /** The same bus after the process that held its locks ended and another began; absent where that makes no sense. */
  readonly reopen?: () => Promise<Bus & QueueSource>;
  readonly close: () => Promise<void>;
  /** A queue that is empty and received plainly, and one received by lane. By default queues of new names. */
  readonly queues?: () => Promise<{ plain: string; laned: string }>;
  /** Where topics are no queues: how many messages the topic `events` keeps for those who have not subscribed. */
  readonly unclaimed?: () => number;
}

const asksMax = 200;

/** Runs the suite against buses that `open` makes. */
export function describeBus(name: string, open: () => Promise<OpenBus>): void {
  describe(`bus: ${name}`, () => {
    let opened: OpenBus;
    let bus: Bus & QueueSource;
    let queue: string;
    let laned: string;
    beforeEach(async () => {
      opened = await open();
      bus = opened.port;
      const names = (await opened.queues?.()) ?? { plain: `plain-${randomUUID()}`, laned: `laned-${randomUUID()}` };
      queue = names.plain;
      laned = names.laned;
    });
    afterEach(() => opened.close());

    const receive = (max = 10) => bus.receive(queue, { max, byLane: false });
    const receiveLane = (max = 10) => bus.receive(laned, { max, byLane: true });
    const send = (...bodies: Json[]) => bus.send(queue, bodies.map((body) => ({ body })));
    const sendTo = (lane: string, ...bodies: Json[]) => bus.send(laned, bodies.map((body) => ({ lane, body })));

    test("hands out what was sent, oldest first, with its fields", async () => {
      await bus.send(queue, [{ body: { n: 1, text: "𝄞 \u0000" }, correlationId: "c1", replyTo: "answers" }, { body: [2, null] }]);
      const messages = await gather(receive, 2);
      expect(bodiesOf(messages)).toEqual([{ n: 1, text: "𝄞 \u0000" }, [2, null]]);
      expect(messages[0]).toMatchObject({ correlationId: "c1", replyTo: "answers", deliveryCount: 1 });
      expect(new Date(messages[0]!.enqueuedAt).getTime()).not.toBeNaN();
      expect(new Set(messages.map(({ messageId }) => messageId)).size).toBe(2);
      expect(messages[1]!.sequence).toBeGreaterThan(messages[0]!.sequence);
    });

    test("a locked message is handed out to nobody else, a completed one never again", async () => {
      await send(1, 2, 3);
      const first = await gather(() => receive(2), 2);
      const rest = await gather(receive, 1);
      expect(bodiesOf([...first, ...rest])).toEqual([1, 2, 3]);
      expect(await receive()).toEqual([]);
      await bus.complete(queue, [...first, ...rest]);
      expect(await receive()).toEqual([]);
    });

    test("receivers at the same time share the messages out", async () => {
      await send(...Array.from({ length: 40 }, (_, index) => index));
      const batches = await Promise.all(Array.from({ length: 8 }, () => gather(() => receive(5), 5)));
      const numbers = bodiesOf(batches.flat()) as number[];
      expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, index) => index));
    });

    test("an abandoned message comes again, counted, before younger ones", async () => {
      await send("old");
      const [first] = await gather(receive, 1);
      await send("young");
      await bus.abandon(queue, [first!], "not now");
      const again = await gather(receive, 2);
      expect(again.map(({ body, deliveryCount }) => [body, deliveryCount])).toEqual([["old", 2], ["young", 1]]);
      expect(again[0]!.messageId).toBe(first!.messageId);
    });

    test("messages that come back in another order are handed out oldest first", async () => {
      await send(1, 2, 3);
      const [one, two, three] = await gather(receive, 3);
      for (const message of [three!, one!, two!]) await bus.abandon(queue, [message], "later");
      expect(bodiesOf(await gather(receive, 3))).toEqual([1, 2, 3]);
    });

    test("after ten deliveries a message is a dead letter with the last reason, and the queue goes on", async () => {
      await send("bad", "good");
      for (let delivery = 1; delivery <= 10; delivery++) {
        const [message] = await gather(() => receive(1), 1);
        expect(message).toMatchObject({ body: "bad", deliveryCount: delivery });
        await bus.abandon(queue, [message!], `failure ${delivery}`);
      }
      expect(bodiesOf(await gather(receive, 1))).toEqual(["good"]);
      const dead = await gatherDead(bus, queue, 1);
      expect(dead).toMatchObject([{ message: { body: "bad", deliveryCount: 10 }, reason: "failure 10" }]);
    });

    test("a message can be made a dead letter at once", async () => {
      await bus.send(queue, [{ body: "malformed", correlationId: "c" }]);
      await bus.deadLetter(queue, await gather(receive, 1), "it has no kind");
      expect(await receive()).toEqual([]);
      expect(await gatherDead(bus, queue, 1)).toMatchObject([{ message: { body: "malformed", correlationId: "c" }, reason: "it has no kind" }]);
    });

    test("of a batch each message may end differently", async () => {
      await send("done", "again", "dead");
      const [done, again, dead] = await gather(receive, 3);
      await Promise.all([bus.complete(queue, [done!]), bus.abandon(queue, [again!], "later"), bus.deadLetter(queue, [dead!], "no")]);
      expect(bodiesOf(await gather(receive, 1))).toEqual(["again"]);
      expect(await receive()).toEqual([]);
    });

    test("messages that end differently at the same time keep each its own end and reason", async () => {
      const bodies = Array.from({ length: 12 }, (_, index) => index);
      await send(...bodies);
      const messages = await gather(receive, 12);
      await Promise.all(messages.map((message, index) =>
        index % 3 === 0 ? bus.complete(queue, [message]) : index % 3 === 1 ? bus.abandon(queue, [message], `later ${index}`) : bus.deadLetter(queue, [message], `no ${index}`)));
      expect(bodiesOf(await gather(receive, 4))).toEqual([1, 4, 7, 10]);
      expect(await receive()).toEqual([]);
      const dead = await gatherDead(bus, queue, 4);
      expect(dead.map(({ message, reason }) => `${message.body} ${reason}`).toSorted()).toEqual(["11 no 11", "2 no 2", "5 no 5", "8 no 8"]);
    });

    test("queues do not mix", async () => {
      const other = `other-${randomUUID()}`;
      if (opened.queues !== undefined) return;
      await bus.send(other, [{ body: "theirs" }]);
      await send("ours");
      expect(bodiesOf(await gather(receive, 1))).toEqual(["ours"]);
      expect(await receive()).toEqual([]);
    });

    test("a lane is handed out whole, in order, to one receiver at a time", async () => {
      await sendTo("a", 1, 2, 3);
      const batch = await gather(receiveLane, 3);
      expect(batch.map(({ lane, body }) => [lane, body])).toEqual([["a", 1], ["a", 2], ["a", 3]]);
      await sendTo("a", 4);
      expect(await receiveLane()).toEqual([]);
      await bus.complete(laned, batch);
      expect(bodiesOf(await gather(receiveLane, 1))).toEqual([4]);
    });

    test("a lane stays locked until the last message of its batch is settled", async () => {
      await sendTo("a", 1, 2);
      const [one, two] = await gather(receiveLane, 2);
      await bus.complete(laned, [one!]);
      expect(await receiveLane()).toEqual([]);
      await bus.abandon(laned, [two!], "again");
      expect(bodiesOf(await gather(receiveLane, 1))).toEqual([2]);
    });

    test("a batch is of one lane, and other lanes do not wait for a locked one", async () => {
      await sendTo("a", "a1");
      await sendTo("b", "b1");
      await sendTo("a", "a2");
      const first = await gather(receiveLane, 1);
      const second = await gather(receiveLane, 1);
      expect(new Set([...first, ...second].map(({ lane }) => lane)).size).toBe(2);
      for (const batch of [first, second]) expect(new Set(batch.map(({ lane }) => lane)).size).toBe(1);
    });

    test("a lane with more than a batch goes on in order, and lets others have their turn", async () => {
      await sendTo("busy", ...Array.from({ length: 9 }, (_, index) => index));
      await sendTo("quiet", "hello");
      const order: string[] = [];
      const numbers: Json[] = [];
      while (numbers.length < 9 || !order.includes("quiet")) {
        const batch = await gather(() => receiveLane(3), 1);
        order.push(batch[0]!.lane!);
        if (batch[0]!.lane === "busy") numbers.push(...bodiesOf(batch));
        await bus.complete(laned, batch);
      }
      expect(numbers).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    });

    test("an abandoned batch keeps its place in its lane", async () => {
      await sendTo("a", 1, 2);
      const batch = await gather(receiveLane, 2);
      await sendTo("a", 3);
      await bus.abandon(laned, batch, "conflict");
      const again = await gather(receiveLane, 3);
      expect(again.map(({ body, deliveryCount }) => [body, deliveryCount])).toEqual([[1, 2], [2, 2], [3, 1]]);
    });

    test("arrival is announced for what waited before, for what is sent, and for what comes back, until stopped", async () => {
      await send("before");
      let calls = 0;
      let next = deferred();
      const stop = bus.onArrival(queue, () => {
        calls++;
        next.resolve();
      });
      const announced = async () => {
        await next.promise;
        next = deferred();
      };
      await announced();
      const first = await gather(receive, 1);
      await send("sent");
      await announced();
      await bus.abandon(queue, first, "again");
      await announced();
      stop();
      const before = calls;
      await send("unheard");
      await gather(receive, 3);
      expect(calls).toBe(before);
    });

    test("arrival is announced when a lane that has more waiting is unlocked", async () => {
      await sendTo("a", 1);
      const batch = await gather(receiveLane, 1);
      await sendTo("a", 2);
      const heard: string[] = [];
      let next = deferred();
      const stop = bus.onArrival(laned, () => next.resolve());
      await next.promise;
      next = deferred();
      void next.promise.then(() => heard.push("unlocked"));
      await bus.complete(laned, batch);
      await next.promise;
      stop();
      expect(bodiesOf(await gather(receiveLane, 1))).toEqual([2]);
    });

    test("publishing without subscribers keeps nothing and fails nothing", async () => {
      await bus.publish([{ stream: "task-1", version: 1, event: { type: "TaskQueued", at: "2026-01-01T00:00:00.000Z" } }]);
      if (opened.unclaimed === undefined) expect(await bus.receive("events", { max: 10, byLane: false })).toEqual([]);
      else expect(opened.unclaimed()).toBe(0);
    });

    test("after a restart what was not settled comes again, counted; what was completed does not", async () => {
      if (opened.reopen === undefined) return;
      await send("done", "held", "waiting");
      await bus.complete(queue, await gather(() => receive(1), 1));
      await gather(() => receive(1), 1);
      await sendTo("a", "in lane");
      await gather(receiveLane, 1);
      bus = await opened.reopen();
      const again = await gather(receive, 2);
      expect(again.map(({ body, deliveryCount }) => [body, deliveryCount])).toEqual([["held", 2], ["waiting", 1]]);
      expect(bodiesOf(await gather(receiveLane, 1))).toEqual(["in lane"]);
    });

    test("a restart does not begin to count anew: later messages are later, and no id comes twice", async () => {
      if (opened.reopen === undefined) return;
      await send("done");
      const [done] = await gather(receive, 1);
      await bus.complete(queue, [done!]);
      bus = await opened.reopen();
      await send("later");
      const [later] = await gather(receive, 1);
      expect(later!.sequence).toBeGreaterThan(done!.sequence);
      expect(later!.messageId).not.toBe(done!.messageId);
    });

    test("a message whose every delivery ends its process becomes a dead letter", async () => {
      if (opened.reopen === undefined) return;
      await send("lethal");
      for (let delivery = 1; delivery <= 10; delivery++) {
        expect((await gather(receive, 1))[0]).toMatchObject({ deliveryCount: delivery });
        bus = await opened.reopen();
      }
      await send("harmless");
      expect(await gather(() => receive(1), 1)).toMatchObject([{ body: "harmless" }]);
      expect(await gatherDead(bus, queue, 1)).toMatchObject([{ message: { body: "lethal" } }]);
    });
  });
}

/** Asks until so many messages came. */
async function gather(receive: () => Promise<ReceivedMessage[]>, count: number): Promise<ReceivedMessage[]> {
  const messages: ReceivedMessage[] = [];
  for (let asks = 0; messages.length < count; asks++) {
    if (asks === asksMax) throw new Error(`Only ${messages.length} of ${count} messages came.`);
    messages.push(...(await receive()));
  }
  return messages;
}

async function gatherDead(bus: QueueSource, queue: string, count: number): Promise<{ message: ReceivedMessage; reason: string }[]> {
  for (let asks = 0; asks < asksMax; asks++) {
    const dead = await bus.deadLetters(queue, 10);
    if (dead.length >= count) return dead;
  }
  throw new Error("The dead letters did not come.");
}

function bodiesOf(messages: readonly ReceivedMessage[]): Json[] {
  return messages.map(({ body }) => body);
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}
