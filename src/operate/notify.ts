/** Sends one datagram, perhaps with descriptors, to a Unix socket; the kernel room's. */
export type SendDatagram = (path: string, bytes: Uint8Array, descriptors?: readonly number[]) => void;

/**
 * Tells the service manager, if there is one. sd_notify(3).
 * @param socket `$NOTIFY_SOCKET`
 * @throws what `send` throws
 */
export function notifyReady(socket: string | undefined, send: SendDatagram): void {
  if (socket === undefined || socket === "") return;
  send(socket, new TextEncoder().encode("READY=1"));
}
