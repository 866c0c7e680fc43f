import type { TLSSocket } from "node:tls";

/** Who is at the other end of a connection, by its certificate. */
export interface Peer {
  /** The common name. */
  readonly name: string | undefined;
  /** Why it is not served. */
  readonly refusal?: string;
  /** When the certificate ends, ms since 1970. */
  readonly validUntil?: number;
}

export function describePeer(socket: TLSSocket): Peer {
  const certificate = socket.getPeerCertificate();
  if (Object.keys(certificate).length === 0)
    return { name: undefined, refusal: "a client certificate is needed: see --remote-certfile and --remote-keyfile" };
  const name = [certificate.subject?.CN].flat().filter(Boolean).join(", ") || undefined;
  const validUntil = Date.parse(certificate.valid_to);
  if (socket.authorized) return { name, validUntil };
  const reason = String(socket.authorizationError);
  return { name, validUntil, refusal: `the client certificate of ${JSON.stringify(name ?? "")} is refused: ${reason}` };
}

/** A connection may last longer than its certificate. */
export function isExpired({ validUntil }: Peer): boolean {
  return validUntil !== undefined && validUntil < Date.now();
}
