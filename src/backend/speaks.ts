import type { Lease } from "../lease/lease.ts";
import type { UnreachablePeer } from "./backend.ts";

export interface Speaking {
  readonly speaking: readonly Lease[];
  readonly unreachable: readonly UnreachablePeer[];
}

/** The peers whose leases name this backend; the others cannot be reached by it. Leases of udp, the first backend there was, name none. */
export function speaks(type: string, peers: readonly Lease[]): Speaking {
  const speaking: Lease[] = [];
  const unreachable: UnreachablePeer[] = [];
  for (const peer of peers) {
    const other = peer.attributes.backendType;
    if (other === type || (other === undefined && type === "udp")) speaking.push(peer);
    else
      unreachable.push({
        subnet: peer.subnet,
        reason: `its backend is ${JSON.stringify(other ?? "udp or alloc")}, ours is ${JSON.stringify(type)}`,
      });
  }
  return { speaking, unreachable };
}
