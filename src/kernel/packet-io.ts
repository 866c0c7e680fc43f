import type { Arena } from "../lib/arena.ts";
import { ENOENT, SystemCallError } from "./errno.ts";
import { AF_INET, attachFilter, detachFilter, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, socket } from "./libc.ts";
import { addressOf, getsockopt, read, recvmmsg, sendmmsg, sendto, writev } from "./packet-calls.ts";
import type { RawPort, SocketPort, TunPort } from "./packet-ports.ts";
import { sourceFilter } from "./source-filter.ts";

const IPPROTO_RAW = 255;

export function tunPort(arena: Arena, fd: number): TunPort {
  const base = addressOf(arena);
  return {
    read: (at, length) => read(fd, base + at, length),
    write: (pieces) => writev(fd, base + pieces.at, pieces.count),
  };
}

/** Numbers about a socket's memory, u32 each; the last one tells how many messages were dropped. include/uapi/linux/sock_diag.h */
const SO_MEMINFO = 55;
const MEMINFO = 9 * 4;
const MEMINFO_DROPS = 8 * 4;

export function socketPort(arena: Arena, fd: number): SocketPort {
  const base = addressOf(arena);
  const memory = arena.reserve(MEMINFO + 4);
  return {
    receive: (batch) => recvmmsg(fd, base + batch.at, batch.capacity),
    send: (batch, from) => sendmmsg(fd, base + batch.offsetOf(from), batch.count - from),
    dropped() {
      arena.view.setUint32(memory + MEMINFO, MEMINFO, true);
      const result = getsockopt(fd, SOL_SOCKET, SO_MEMINFO, base + memory, base + memory + MEMINFO);
      return result < 0 ? 0 : arena.view.getUint32(memory + MEMINFO_DROPS, true);
    },
    limitSources: (ranges) => limitSources(fd, ranges),
  };
}

function limitSources(fd: number, ranges: Uint32Array | undefined): number {
  try {
    if (ranges === undefined) detachFilter(fd);
    else attachFilter(fd, sourceFilter(ranges));
    return 0;
  } catch (error) {
    if (!(error instanceof SystemCallError)) throw error;
    return ranges === undefined && error.errno === ENOENT ? 0 : -error.errno;
  }
}

/** A socket that is given IPv4 packets with their headers; undefined without CAP_NET_RAW. */
export function openRawSocket(): number | undefined {
  try {
    return socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, IPPROTO_RAW);
  } catch (error) {
    if (error instanceof SystemCallError) return undefined;
    throw error;
  }
}

/** @param fd of {@link openRawSocket} */
export function rawPort(arena: Arena, fd: number): RawPort {
  const base = addressOf(arena);
  const name = arena.reserve(16);
  const DESTINATION = 16; // in an IPv4 header
  arena.view.setUint16(name, AF_INET, true);
  return {
    send(at, length) {
      arena.view.setUint32(name + 4, arena.view.getUint32(at + DESTINATION));
      return sendto(fd, base + at, length, base + name, 16);
    },
  };
}
