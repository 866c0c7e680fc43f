import type { Lease } from "../lease/lease.ts";

/**
 * A row made from a lease, made once as long as the lease is the same object, so that thousands of unchanged peers
 * cost nothing when one changes.
 */
export function perPeer<Row>(make: (peer: Lease) => Row): (peer: Lease) => Row {
  const made = new WeakMap<Lease, Row>();
  return (peer) => {
    const known = made.get(peer);
    if (known !== undefined) return known;
    const row = make(peer);
    made.set(peer, row);
    return row;
  };
}
