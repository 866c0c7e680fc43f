import { LEASE_TTL, type Lease } from "../../lease/lease.ts";
import type { Clock, Instant, Milliseconds } from "../../lib/clock.ts";
import type { EntryReader } from "../entry-reader.ts";
import type { KeyNode } from "./keys-api.ts";

/** The moment when nodes came, so that their ends can be told by our own clocks; asked once for many nodes, since that is a system call. */
export interface NodeTime {
  readonly now: Instant;
  /** Milliseconds since 1970; absent where nobody is shown when leases end. */
  readonly wallClock?: number | undefined;
  /** The server's `Date` when it sent the node, if the TTL may be older than that: an event from its history. */
  readonly serverTime?: number;
}

export function arrivalTime(clock: Clock): NodeTime {
  return { now: clock.now(), wallClock: clock.wallClock().getTime() };
}

/** The lease that a node of `…/subnets` holds; undefined if it makes no sense, which the reader logs. */
export function leaseOfNode(node: KeyNode, reader: EntryReader, time: NodeTime): Lease | undefined {
  const entry = reader.read(lastSegment(node.key), node.dir === true ? "" : (node.value ?? ""), node.key);
  if (entry === undefined) return undefined;
  const { subnet, ipv6Subnet, attributes } = entry;
  const revision = BigInt(node.modifiedIndex);
  const left = timeLeft(node, time);
  const lease: Lease =
    left === undefined
      ? { subnet, attributes, isReservation: true, revision }
      : { subnet, attributes, isReservation: false, revision, expiresAt: time.now + left };
  const { wallClock } = time;
  const expiration = left === undefined || wallClock === undefined ? undefined : new Date(wallClock + left);
  if (ipv6Subnet === undefined && expiration === undefined) return lease; // as nearly all of thousands
  return { ...lease, ...(ipv6Subnet !== undefined && { ipv6Subnet }), ...(expiration !== undefined && { expiration }) };
}

export function lastSegment(key: string): string {
  return key.slice(key.lastIndexOf("/") + 1);
}

/** Seconds, as etcd takes them. */
export const LEASE_TTL_SECONDS = LEASE_TTL / 1000;

function timeLeft({ ttl, expiration }: KeyNode, { serverTime }: NodeTime): Milliseconds | undefined {
  if (ttl === undefined && expiration === undefined) return undefined;
  const granted = ttl === undefined ? Number.POSITIVE_INFINITY : ttl * 1000;
  const remaining = serverTime === undefined ? Number.NaN : Date.parse(expiration ?? "") - serverTime;
  return Number.isNaN(remaining) ? (Number.isFinite(granted) ? granted : 0) : Math.max(0, Math.min(granted, remaining));
}
