import { type Address, formatAddress } from "../ip/address.ts";
import { EADDRINUSE, EADDRNOTAVAIL, SystemCallError } from "./errno.ts";
import type { UdpSocket } from "./kernel.ts";
import {
  AF_INET,
  bind,
  close,
  getsockname,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  setIntegerOption,
  socket,
} from "./libc.ts";
import { inNamespace } from "./namespace.ts";

const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/** Bytes that wait in the kernel for us to read, and for the network to take. */
const BUFFER = 8 << 20;

/** `struct sockaddr_in` */
const SOCKADDR_IN = 16;

/**
 * @param offload whether to ask for segmentation and merging
 * @throws {SystemCallError} EADDRINUSE, EADDRNOTAVAIL
 */
export function openUdpSocket(
  address: Address,
  port: number,
  offload: boolean,
  namespace: string | undefined,
): UdpSocket {
  const fd = inNamespace(namespace, () => socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
  try {
    bind(fd, socketAddress(address, port));
    return configure(fd, offload);
  } catch (error) {
    close(fd);
    if (!(error instanceof SystemCallError)) throw error;
    const meaning = { [EADDRINUSE]: "another program has this port", [EADDRNOTAVAIL]: "no interface has this address" };
    throw new SystemCallError(
      `bind UDP socket to ${formatAddress(address)}:${port}`,
      error.errno,
      meaning[error.errno],
    );
  }
}

/** A socket whose descriptor an earlier process left. @returns undefined if it is none that is bound so */
export function adoptUdpSocket(fd: number, address: Address, port: number, offload: boolean): UdpSocket | undefined {
  return isBoundTo(fd, address, port) ? configure(fd, offload) : undefined;
}

export function isBoundTo(fd: number, address: Address, port: number): boolean {
  const actual = new Uint8Array(SOCKADDR_IN);
  try {
    getsockname(fd, actual);
  } catch (error) {
    if (error instanceof SystemCallError) return false;
    throw error;
  }
  return Buffer.compare(actual.subarray(0, 8), socketAddress(address, port).subarray(0, 8)) === 0;
}

export function socketAddress(address: Address, port: number): Uint8Array {
  const bytes = new Uint8Array(SOCKADDR_IN);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  view.setUint32(4, Number(address.value));
  return bytes;
}

function configure(fd: number, offload: boolean): UdpSocket {
  // Without CAP_NET_ADMIN over the first namespace the usual limits hold: that is no reason not to work.
  attempt(fd, SOL_SOCKET, SO_RCVBUFFORCE, BUFFER);
  attempt(fd, SOL_SOCKET, SO_SNDBUFFORCE, BUFFER);
  const merges = attempt(fd, SOL_UDP, UDP_GRO, offload ? 1 : 0) && offload;
  return { fd, merges, segments: offload && attempt(fd, SOL_UDP, UDP_SEGMENT, 0) };
}

function attempt(fd: number, level: number, name: number, value: number): boolean {
  try {
    setIntegerOption(fd, level, name, value);
    return true;
  } catch (error) {
    if (error instanceof SystemCallError) return false;
    throw error;
  }
}
