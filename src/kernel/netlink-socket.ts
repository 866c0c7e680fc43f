import { type Source, sourceOf } from "../wire/codec.ts";
import { EINTR } from "./errno.ts";
import {
  AF_NETLINK,
  bind,
  close,
  getsockname,
  MSG_DONTWAIT,
  MSG_TRUNC,
  recv,
  SOCK_RAW,
  SOL_SOCKET,
  send,
  setIntegerOption,
  socket,
} from "./libc.ts";
import { inNamespace } from "./namespace.ts";

/** Links, addresses, routes, neighbours. */
const NETLINK_ROUTE = 0;
/** Packet filters. */
export const NETLINK_NETFILTER = 12;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** Room for acknowledgements and for notifications that come faster than we read. Bytes. */
const SOCKET_BUFFER = 8 << 20;

/** More than the kernel puts into one datagram of a dump, which is 32 KiB, and than a link with many attributes. */
const RECEIVE_BUFFER = 128 << 10;

/** A raw socket to the kernel's routing tables, or to another part of it, in one network namespace. */
export class NetlinkSocket implements Disposable {
  readonly fd: number;
  /** What the kernel calls this socket: nlmsg_pid of what it causes. */
  readonly port: number;
  /** Where `receive` puts what came. */
  readonly source: Source = sourceOf(new Uint8Array(RECEIVE_BUFFER));
  #closed = false;

  /** @param namespace a path; undefined is where we are. @throws {SystemCallError} */
  constructor(namespace: string | undefined, protocol: number = NETLINK_ROUTE) {
    this.fd = inNamespace(namespace, () => socket(AF_NETLINK, SOCK_RAW, protocol));
    try {
      const address = new Uint8Array(12);
      const view = new DataView(address.buffer);
      view.setUint16(0, AF_NETLINK, true);
      bind(this.fd, address);
      getsockname(this.fd, address);
      this.port = view.getUint32(4, true);
      setIntegerOption(this.fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER);
      setIntegerOption(this.fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER);
      setIntegerOption(this.fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
      setIntegerOption(this.fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
      this.#setIfKnown(NETLINK_GET_STRICT_CHK);
    } catch (error) {
      close(this.fd);
      throw error;
    }
  }

  /** Linux 4.20. Without it dumps are not filtered in the kernel, and we filter again anyway. */
  #setIfKnown(option: number): void {
    try {
      setIntegerOption(this.fd, SOL_NETLINK, option, 1);
    } catch {}
  }

  /** Takes part in a multicast group, RTNLGRP_*. */
  join(group: number): void {
    setIntegerOption(this.fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }

  /** The kernel has answered every request in `bytes` when this returns. */
  send(bytes: Uint8Array): void {
    send(this.fd, bytes, 0);
  }

  /** One datagram into `source`, if there is one. @returns its size, or an errno, negative: EAGAIN if nothing is there */
  receive(): number {
    while (true) {
      const size = recv(this.fd, this.source.bytes, MSG_DONTWAIT | MSG_TRUNC);
      if (size > RECEIVE_BUFFER) throw new Error(`the kernel sent ${size} bytes at once`);
      if (size !== -EINTR) return size;
    }
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.fd);
  }
}
