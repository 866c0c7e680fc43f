import koffi from "koffi";
import { SystemCallError } from "./errno.ts";

/**
 * System calls by their C names, as they are. Descriptors are numbers; a failure is a SystemCallError. The program itself is searched
 * for the symbols, so that any libc serves. koffi knows no ssize_t: int64_t is the same here.
 */
const libc = koffi.load(null);

const cSocket = libc.func("int socket(int domain, int type, int protocol)");
const cBind = libc.func("int bind(int fd, const void *address, uint32_t length)");
const cGetsockname = libc.func("int getsockname(int fd, void *address, void *length)");
const cSetsockopt = libc.func("int setsockopt(int fd, int level, int name, const void *value, uint32_t length)");
const cGetsockopt = libc.func("int getsockopt(int fd, int level, int name, void *value, void *length)");
const cSend = libc.func("int64_t send(int fd, const void *data, uint64_t length, int flags)");
const cSendto = libc.func(
  "int64_t sendto(int fd, const void *data, uint64_t length, int flags, const void *address, uint32_t size)",
);
const cRecv = libc.func("int64_t recv(int fd, void *data, uint64_t length, int flags)");
const cSetns = libc.func("int setns(int fd, int kind)");
const cClose = libc.func("int close(int fd)");
const cIoctl = libc.func("int ioctl(int fd, uint64_t request, void *argument)");
const cIoctlNumber = libc.func("ioctl", "int", ["int", "uint64_t", "uint64_t"]);
const cMemfdCreate = libc.func("int memfd_create(const char *name, uint32_t flags)");
const cEventfd = libc.func("int eventfd(uint32_t value, int flags)");

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const MSG_DONTWAIT = 0x40;
export const MSG_TRUNC = 0x20;
export const MSG_NOSIGNAL = 0x4000;
export const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;
export const CLONE_NEWNET = 0x40000000;

export function socket(domain: number, type: number, protocol: number): number {
  return checked("socket", cSocket(domain, type | SOCK_CLOEXEC, protocol));
}

export function bind(fd: number, address: Uint8Array): void {
  checked("bind", cBind(fd, address, address.length));
}

/** Fills `address` with where the socket is bound. */
export function getsockname(fd: number, address: Uint8Array): void {
  checked("getsockname", cGetsockname(fd, address, new Uint32Array([address.length])));
}

export function setsockopt(fd: number, level: number, name: number, value: Uint8Array): void {
  checked("setsockopt", cSetsockopt(fd, level, name, value, value.length));
}

/** Hands `value` to the kernel, which fills it. */
export function getsockopt(fd: number, level: number, name: number, value: Uint8Array): void {
  checked("getsockopt", cGetsockopt(fd, level, name, value, new Uint32Array([value.length])));
}

export function setIntegerOption(fd: number, level: number, name: number, value: number): void {
  setsockopt(fd, level, name, new Uint8Array(new Int32Array([value]).buffer));
}

/** Hands `argument` to the driver behind the descriptor, which may change it. */
export function ioctl(fd: number, request: number, argument: Uint8Array): void {
  checked("ioctl", cIoctl(fd, request, argument));
}

/** The same for a request whose argument is a number. */
export function ioctlNumber(fd: number, request: number, argument: number): void {
  checked("ioctl", cIoctlNumber(fd, request, argument));
}

/** A descriptor that becomes readable when a number is written to it: eventfd(2). */
export function eventfd(): number {
  return checked("eventfd", cEventfd(0, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

const MFD_CLOEXEC = 1;

/** A file in memory that no directory names: memfd_create(2). */
export function memoryFile(name: string): number {
  return checked("memfd_create", cMemfdCreate(name, MFD_CLOEXEC));
}

export function send(fd: number, data: Uint8Array, flags: number): number {
  return checked("send", cSend(fd, data, data.length, flags));
}

export function sendto(fd: number, data: Uint8Array, flags: number, address: Uint8Array): number {
  return checked("sendto", cSendto(fd, data, data.length, flags, address, address.length));
}

/** @returns how many bytes came, or an errno, negative: called too often for exceptions */
export function recv(fd: number, data: Uint8Array, flags: number): number {
  const size: number = cRecv(fd, data, data.length, flags);
  return size < 0 ? -koffi.errno() : size;
}

/** Moves this thread, and no other, to another namespace. */
export function setns(fd: number, kind: number): void {
  checked("setns", cSetns(fd, kind));
}

export function close(fd: number): void {
  cClose(fd);
}

const Program = koffi.struct({ length: "uint16_t", instructions: "const void *" });
const cSetFilter = libc.func("setsockopt", "int", ["int", "int", "int", koffi.pointer(Program), "uint32_t"]);

/** Has the kernel look at every datagram before this socket gets it: SO_ATTACH_FILTER. @param instructions `struct sock_filter`, 8 bytes each */
export function attachFilter(fd: number, instructions: Uint8Array): void {
  const program = { length: instructions.length / 8, instructions };
  checked("setsockopt", cSetFilter(fd, SOL_SOCKET, SO_ATTACH_FILTER, program, koffi.sizeof(Program)));
}

/** @throws {SystemCallError} ENOENT if there is no filter */
export function detachFilter(fd: number): void {
  setIntegerOption(fd, SOL_SOCKET, SO_DETACH_FILTER, 0);
}

/** What {@link onReadable} returns. */
export interface Readiness extends Disposable {}

/**
 * Calls back from the event loop whenever the descriptor has something to read, until disposed. Node's own sockets refuse netlink
 * and TUN descriptors. The one place that knows koffi's poll, whose interface may change. Dispose before closing the descriptor.
 */
export function onReadable(fd: number, callback: () => void): Readiness {
  let isDisposed = false;
  const notify = () => {
    if (!isDisposed) callback();
  };
  // Not in koffi's callback itself: promises settled there are not looked at until something else wakes the event loop.
  const handle = koffi.node.poll(fd, { readable: true }, () => setImmediate(notify));
  return {
    [Symbol.dispose]() {
      isDisposed = true;
      handle.stop();
      handle.close();
    },
  };
}

function checked(call: string, result: number): number {
  if (result < 0) throw new SystemCallError(call, koffi.errno());
  return result;
}
