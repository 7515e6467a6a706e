// Hands messages of the Service Bus stand-in's queues to the links that receive: by credit, oldest first, a session to one link
// at a time. Notices links that went and locks that expired.

import { randomBytes } from "node:crypto";
import { type Link, accept, encode, refuse, tagOf, ticks } from "./serviceBusProtocol";
import { type Queue, type Stored, fault } from "./serviceBusQueue";

export const sessionFilter = "com.microsoft:session-filter";

/** A link that waits for a session: one of that id, or any. */
interface SessionAsk {
  readonly link: Link;
  readonly wanted: string | undefined;
  readonly until: number;
}

export interface Delivery {
  /** Messages of the queue may be handed out, or sessions granted. */
  soon(queue: Queue): void;
  /** The link receives from now on. */
  add(queue: Queue, link: Link): void;
  /** The link waits for a session, this long at most. */
  ask(queue: Queue, link: Link, wanted: string | undefined, timeoutMs: number): void;
  /** The link is closed in order, or went with its connection: then a session stays locked until it expires. */
  gone(link: Link, inOrder: boolean): void;
  /** Ends what is over, and all locks of these holders. */
  expire(queues: Iterable<Queue>, locksOf?: "all" | "gone"): void;
  count(): number;
}

export function createDelivery(): Delivery {
  const receiving = new Map<Queue, Set<Link>>();
  const asking = new Map<Queue, SessionAsk[]>();
  const planned = new Set<Queue>();
  let deliveries = 0;

  function soon(queue: Queue): void {
    if (planned.has(queue)) return;
    planned.add(queue);
    setImmediate(() => {
      planned.delete(queue);
      grant(queue);
      const links = receiving.get(queue) ?? [];
      while (round(queue, links));
      for (const link of links) drained(link);
    });
  }

  /** One message for each link that has credit; false when there was none. */
  function round(queue: Queue, links: Iterable<Link>): boolean {
    let progress = false;
    for (const link of links) {
      const { sentThisTurn, session } = link.standing!;
      if (sentThisTurn >= link.credit || !link.session.outgoing.available()) continue;
      const stored = queue.take(session);
      if (stored === undefined) continue;
      hand(queue, link, stored);
      progress = true;
    }
    return progress;
  }

  function hand(queue: Queue, link: Link, stored: Stored): void {
    const standing = link.standing!;
    standing.sentThisTurn++;
    deliveries++;
    if (standing.settled) {
      queue.remove(stored);
      link.send(encode(stored), randomBytes(16), 0);
      return;
    }
    const lock = queue.lock(stored, link, standing.session);
    link.send(encode(stored, { lockedUntil: standing.session?.until ?? lock.until }), tagOf(lock.token), 0).lock = lock;
  }

  function drained(link: Link): void {
    const standing = link.standing!;
    standing.sentThisTurn = 0;
    if (!standing.draining) return;
    standing.draining = false;
    link.set_drained(true);
    link.connection._register();
  }

  function grant(queue: Queue): void {
    const asks = asking.get(queue);
    if (asks === undefined) return;
    asking.set(queue, asks.filter(({ link, wanted }) => {
      const session = queue.grant(wanted, link);
      if (session === undefined) return true;
      link.standing!.session = session;
      link.local.attach.properties = { "com.microsoft:locked-until-utc": ticks(session.until) };
      accept(link, queue.name, { filter: { [sessionFilter]: session.id } });
      add(queue, link);
      return false;
    }));
  }

  function add(queue: Queue, link: Link): void {
    const links = receiving.get(queue);
    if (links === undefined) receiving.set(queue, new Set([link]));
    else links.add(link);
    soon(queue);
  }

  function forget(queue: Queue, link: Link): void {
    receiving.get(queue)?.delete(link);
    asking.set(queue, (asking.get(queue) ?? []).filter((ask) => ask.link !== link));
  }

  return {
    soon,
    add,
    ask(queue, link, wanted, timeoutMs) {
      if (wanted !== undefined && queue.sessionOf(wanted).holder !== undefined)
        return refuse(link, fault("com.microsoft:session-cannot-be-locked", `The requested session '${wanted}' cannot be accepted. It may be locked by another receiver.`));
      // A little earlier than the client gives up by itself.
      asking.set(queue, [...(asking.get(queue) ?? []), { link, wanted, until: Date.now() + Math.max(100, timeoutMs - 100) }]);
      soon(queue);
    },
    gone(link, inOrder) {
      const { queue, session } = link.standing ?? {};
      if (queue === undefined) return;
      forget(queue, link);
      link.standing!.gone = true;
      if (inOrder && session?.holder === link) queue.leaveSession(session, false);
    },
    expire(queues, locksOf) {
      const now = Date.now();
      const isOver = (holder: object | undefined): boolean => locksOf === "all" || (locksOf === "gone" && (holder as Link | undefined)?.standing?.gone === true);
      for (const queue of queues) {
        for (const { holder, session } of queue.expire(now, isOver)) {
          forget(queue, holder as Link);
          (holder as Link).close({ condition: "com.microsoft:session-lock-lost", description: `The session lock has expired on the session '${session}'.` });
        }
        for (const { link, until } of asking.get(queue) ?? []) {
          if (until > now) continue;
          forget(queue, link);
          refuse(link, fault("com.microsoft:timeout", "The operation did not complete within the allocated time."));
        }
      }
    },
    count: () => deliveries,
  };
}
