/** Why a packet goes no further, as status, metrics and log call it. */
export const DROP_REASONS = [
  "no route", // no lease of another host holds the destination
  "ttl exceeded",
  "bad packet", // not an IP packet, or one whose lengths contradict each other
  "too big", // for the path to the peer
  "stranger", // the outer source is no peer's and not in AcceptFrom
  "foreign source", // the inner source lies in the Network, but is not the sender's
  "own source", // the inner source is ours
  "impossible source", // no single host's address: loopback, multicast, broadcast, unspecified
  "loopback destination",
  "family not in use", // IPv6 where the overlay has none
  "send failed",
  "queue full", // the socket's: they came faster than they were taken
  "device refused",
] as const;
export type DropReason = (typeof DROP_REASONS)[number];
