import type { Lease } from "../lease/lease.ts";
import type { UnreachablePeer } from "./backend.ts";

export interface Speaking {
  readonly speaking: readonly Lease[];
  readonly unreachable: readonly UnreachablePeer[];
}

/** Backends whose leases name none: udp, the first there was, and the clouds', whose routes lead to a host whatever it runs. */
const NAMELESS: ReadonlySet<string> = new Set(["udp", "aws-vpc", "gce"]);

/** The peers whose leases name this backend; the others cannot be reached by it. */
export function speaks(type: string, peers: readonly Lease[]): Speaking {
  const speaking: Lease[] = [];
  const unreachable: UnreachablePeer[] = [];
  for (const peer of peers) {
    const other = peer.attributes.backendType;
    if (other === type || (other === undefined && NAMELESS.has(type))) speaking.push(peer);
    else
      unreachable.push({
        subnet: peer.subnet,
        reason: `its backend is ${JSON.stringify(other ?? "udp or alloc")}, ours is ${JSON.stringify(type)}`,
      });
  }
  return { speaking, unreachable };
}
