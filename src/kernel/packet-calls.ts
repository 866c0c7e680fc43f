import koffi from "koffi";
import type { Arena } from "../lib/arena.ts";

/**
 * The system calls of the packet path: plain numbers in and out, nothing allocated, nothing thrown. Memory is named by its address, a
 * number, in an arena. A failure is a negative errno.
 */
const libc = koffi.load(null);

const cRead = libc.func("int read(int fd, uintptr_t data, uint32_t length)");
const cWritev = libc.func("int writev(int fd, uintptr_t pieces, int count)");
const cRecvmmsg = libc.func("int recvmmsg(int fd, uintptr_t messages, uint32_t count, int flags, uintptr_t timeout)");
const cSendmmsg = libc.func("int sendmmsg(int fd, uintptr_t messages, uint32_t count, int flags)");
const cSendto = libc.func(
  "int sendto(int fd, uintptr_t data, uint32_t length, int flags, uintptr_t address, uint32_t size)",
);
const cGetsockopt = libc.func("int getsockopt(int fd, int level, int name, uintptr_t value, uintptr_t length)");
const cPoll = libc.func("int poll(uintptr_t descriptors, uint64_t count, int timeout)");

const MSG_DONTWAIT = 0x40;

/** Where the arena lies; it never moves. */
export function addressOf(arena: Arena): number {
  return Number(koffi.address(arena.bytes));
}

export function read(fd: number, address: number, length: number): number {
  const result: number = cRead(fd, address, length);
  return result < 0 ? -koffi.errno() : result;
}

/** @param pieces `struct iovec[]` */
export function writev(fd: number, pieces: number, count: number): number {
  const result: number = cWritev(fd, pieces, count);
  return result < 0 ? -koffi.errno() : result;
}

/** @param messages `struct mmsghdr[]` */
export function recvmmsg(fd: number, messages: number, count: number): number {
  const result: number = cRecvmmsg(fd, messages, count, MSG_DONTWAIT, 0);
  return result < 0 ? -koffi.errno() : result;
}

/** @returns how many of the messages were sent, at least one */
export function sendmmsg(fd: number, messages: number, count: number): number {
  const result: number = cSendmmsg(fd, messages, count, MSG_DONTWAIT);
  return result < 0 ? -koffi.errno() : result;
}

/** @param name `struct sockaddr` */
export function sendto(fd: number, address: number, length: number, name: number, nameLength: number): number {
  const result: number = cSendto(fd, address, length, MSG_DONTWAIT, name, nameLength);
  return result < 0 ? -koffi.errno() : result;
}

/** @param length where the room for the value is told, and then its length */
export function getsockopt(fd: number, level: number, name: number, value: number, length: number): number {
  const result: number = cGetsockopt(fd, level, name, value, length);
  return result < 0 ? -koffi.errno() : result;
}

/** @param descriptors `struct pollfd[]` @param timeout in milliseconds, -1 for ever */
export function poll(descriptors: number, count: number, timeout: number): number {
  const result: number = cPoll(descriptors, count, timeout);
  return result < 0 ? -koffi.errno() : result;
}
