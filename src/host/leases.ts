// Who does what when several hosts share one task hub, as the platform's instances do: orchestrations, activities that nobody runs yet
// and the ranges of a feed are shares with a lease each. A host that is killed loses its leases by time, and the others take over.
// A host that is alone holds everything and writes nothing.

import type { HostClock } from "./clock";
import { log } from "./functionsCore";
import { messageOf } from "./retry";
import type { HostStore } from "./store";

export interface Leases {
  /** This host's name among those that share the hub. */
  readonly owner: string;
  /** By what was known at the last look: good enough to begin something. */
  holds(share: string): boolean;
  /** Certain inside a transaction: what is decided by a host that was too slow must not be kept. */
  stillHolds(share: string): boolean;
  /** Shares to be had, all of one group; groups are evened out among the hosts, each by itself. */
  offer(group: string, shares: readonly string[]): void;
  /** Called when others have done something, and after each renewal; `gained`: this host got shares. */
  onLook(listener: (gained: boolean) => void): void;
  /** Called inside the transaction of each renewal: what else this host has is its own until then. */
  onRenewal(listener: (until: number) => void): void;
  start(): void;
  /** Lets the others have everything at once. */
  stop(): void;
}

/** A lease that is not renewed for so long is over. */
export const leaseMs = 4_000;
const renewMs = 1_000;
/** How often the others' work is looked for: the platform polls its queues, too. */
const lookMs = 50;

export function createLeases(store: HostStore, clock: HostClock): Leases {
  return store.shared ? sharedLeases(store, clock) : { owner: "", holds: () => true, stillHolds: () => true, offer() {}, onLook() {}, onRenewal() {}, start() {}, stop() {} };
}

function sharedLeases(store: HostStore, clock: HostClock): Leases {
  store.run("CREATE TABLE IF NOT EXISTS leases(share TEXT PRIMARY KEY, owner TEXT, until INTEGER NOT NULL) WITHOUT ROWID");
  store.run("CREATE TABLE IF NOT EXISTS hosts(owner TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID");
  const owner = clock.uuid();
  const groups = new Map<string, readonly string[]>();
  const listeners: ((gained: boolean) => void)[] = [];
  const renewals: ((until: number) => void)[] = [];
  let held = new Set<string>();
  let heldUntil = 0;
  let stopped = true;
  let cancel = (): void => {};
  let version: number | undefined;

  const ownerOf = (share: string, now: number): string | undefined =>
    store.get<{ owner: string | null }>("SELECT owner FROM leases WHERE share=? AND until>?", share, now)?.owner ?? undefined;

  /** Renews, takes what is free up to an even part, and lets go of what is more than that. */
  function shareOut(now: number): Set<string> {
    store.run("INSERT INTO hosts(owner,until) VALUES(?,?) ON CONFLICT(owner) DO UPDATE SET until=excluded.until", owner, now + leaseMs);
    store.run("DELETE FROM hosts WHERE until<=?", now);
    const hosts = store.get<{ count: number }>("SELECT count(*) AS count FROM hosts")?.count ?? 1;
    const mine = new Set<string>();
    for (const shares of groups.values()) {
      const part = Math.ceil(shares.length / hosts);
      const owners = shares.map((one) => ownerOf(one, now));
      const kept = shares.filter((_, index) => owners[index] === owner);
      for (const one of kept.slice(part)) store.run("UPDATE leases SET owner=NULL WHERE share=?", one);
      const free = shares.filter((_, index) => owners[index] === undefined).slice(0, Math.max(0, part - kept.length));
      for (const one of [...kept.slice(0, part), ...free]) {
        store.run("INSERT INTO leases(share,owner,until) VALUES(?,?,?) ON CONFLICT(share) DO UPDATE SET owner=excluded.owner, until=excluded.until", one, owner, now + leaseMs);
        mine.add(one);
      }
    }
    return mine;
  }

  async function renew(): Promise<void> {
    const now = clock.now();
    const mine = await store.together(() => {
      for (const listener of renewals) listener(now + leaseMs);
      return shareOut(now);
    });
    const gained = [...mine].some((one) => !held.has(one));
    held = mine;
    heldUntil = now + leaseMs;
    if (!stopped) for (const listener of listeners) listener(gained);
  }

  let renewing = false;
  let renewAt = 0;
  function look(): void {
    if (stopped) return;
    cancel = clock.after(lookMs, look);
    if (clock.now() >= renewAt && !renewing) {
      renewing = true;
      renewAt = clock.now() + renewMs;
      void renew().catch((error: unknown) => log("error", "system", `Renewing leases: ${messageOf(error)}`)).finally(() => (renewing = false));
    }
    const { data_version: now } = store.get<{ data_version: number }>("PRAGMA data_version") as { data_version: number };
    if (now === version) return;
    version = now;
    for (const listener of listeners) listener(false);
  }

  return {
    owner,
    holds: (one) => !stopped && held.has(one) && clock.now() < heldUntil,
    stillHolds: (one) => ownerOf(one, clock.now()) === owner,
    offer: (group, shares) => void groups.set(group, shares),
    onLook: (listener) => void listeners.push(listener),
    onRenewal: (listener) => void renewals.push(listener),
    start() {
      stopped = false;
      look();
    },
    stop() {
      stopped = true;
      cancel();
      store.run("UPDATE leases SET owner=NULL WHERE owner=?", owner);
      store.run("DELETE FROM hosts WHERE owner=?", owner);
    },
  };
}
