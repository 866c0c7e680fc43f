import type { Lease } from "../../lease/lease.ts";
import type { Backend, ExternalInterface } from "../backend.ts";

/** alloc, whole: a subnet and nothing else; somebody else carries the packets. */
export function allocation(lease: Lease, external: ExternalInterface): Backend {
  return {
    lease,
    mtu: external.link.mtu,
    links: [],
    desired: () => ({ layers: [], unreachable: [] }),
    async [Symbol.asyncDispose]() {},
  };
}
