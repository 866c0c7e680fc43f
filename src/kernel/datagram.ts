import { AF_UNIX, close, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_DGRAM, sendto, socket } from "./libc.ts";
import { sendRights } from "./rights.ts";

/** `struct sockaddr_un` has room for so many bytes of path. */
const LONGEST_PATH = 108;

/**
 * Sends one datagram to a Unix socket and waits for nothing: what sd_notify(3) does.
 * @param path a leading `@` stands for the NUL of an abstract address
 * @param descriptors go along; the receiver gets its own
 * @throws {SystemCallError} if nobody listens there or its queue is full
 */
export function sendDatagram(path: string, bytes: Uint8Array, descriptors: readonly number[] = []): void {
  const address = unixAddress(path);
  const fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  try {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    if (descriptors.length === 0) sendto(fd, bytes, flags, address);
    else sendRights(fd, bytes, descriptors, flags, address);
  } finally {
    close(fd);
  }
}

function unixAddress(path: string): Uint8Array {
  const name = new TextEncoder().encode(path.startsWith("@") ? `\0${path.slice(1)}` : path);
  if (name.length === 0 || name.length > LONGEST_PATH)
    throw new RangeError(`not the address of a Unix socket: ${path}`);
  const address = new Uint8Array(2 + name.length);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  return address;
}
