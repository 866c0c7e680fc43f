import type { Socket } from "node:net";
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

/** Who is at the other end of each connection, looked at once, but for the dates: a connection may last longer than its certificate. */
export class ConnectedPeers {
  readonly #peers = new WeakMap<Socket, Peer>();

  /** @param socket of a server that asks for certificates */
  of(socket: Socket): Peer {
    let peer = this.#peers.get(socket);
    if (peer === undefined) this.#peers.set(socket, (peer = describePeer(socket as TLSSocket)));
    if (peer.refusal === undefined && isExpired(peer)) {
      peer = { ...peer, refusal: `the client certificate of ${JSON.stringify(peer.name ?? "")} has expired` };
      this.#peers.set(socket, peer);
    }
    return peer;
  }
}

function describePeer(socket: TLSSocket): Peer {
  const certificate = socket.getPeerCertificate();
  if (Object.keys(certificate).length === 0)
    return { name: undefined, refusal: "a client certificate is needed: see --remote-certfile and --remote-keyfile" };
  const name = [certificate.subject?.CN].flat().filter(Boolean).join(", ") || undefined;
  const validUntil = Date.parse(certificate.valid_to);
  if (socket.authorized) return { name, validUntil };
  const reason = String(socket.authorizationError);
  return { name, validUntil, refusal: `the client certificate of ${JSON.stringify(name ?? "")} is refused: ${reason}` };
}

function isExpired({ validUntil }: Peer): boolean {
  return validUntil !== undefined && validUntil < Date.now();
}
