import type { Socket } from "node:net";

/** As people write it: to a socket of both families, a client of IPv4 is `::ffff:10.0.0.2`. */
export function clientOf({ remoteAddress }: Socket): string | undefined {
  return remoteAddress?.replace(/^::ffff:/, "");
}
