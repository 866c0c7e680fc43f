import { expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { AF_INET, bind, close, recv, SOCK_DGRAM, SOCK_NONBLOCK, sendto, socket } from "../../src/kernel/libc.ts";
import { inNamespace } from "../../src/kernel/namespace.ts";
import { socketPort } from "../../src/kernel/packet-io.ts";
import { MOST_SOURCES } from "../../src/kernel/packet-ports.ts";
import { openUdpSocket } from "../../src/kernel/udp-socket.ts";
import { Arena } from "../../src/lib/arena.ts";
import { TunNamespace } from "./tun-namespace.ts";

// Needs root: a namespace, whose loopback device has all of 127.0.0.0/8.

const PORT = 8285;
const NETWORK = 0x7f00_0000;

function socketAddress(address: number, port: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_INET, true);
  view.setUint16(2, port);
  view.setUint32(4, address);
  return bytes;
}

test("limitSources() has the kernel hand over what comes from a thousand ranges, one in 256 of the rest, and all when it is taken off", () => {
  using namespace = new TunNamespace("pk-filter");
  namespace.ip("link set lo up");
  const { fd } = openUdpSocket(parseAddress("127.0.0.1"), PORT, true, namespace.path);
  const port = socketPort(new Arena(1), fd);
  /** Sends one datagram from each address. @returns how many of them came */
  const comeFrom = (addresses: readonly number[]) => {
    let count = 0;
    const data = new Uint8Array(1);
    const droppedBefore = port.dropped();
    const receive = () => {
      while (recv(fd, data, 0) > 0) count++;
    };
    for (const address of addresses) {
      const from = inNamespace(namespace.path, () => socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
      bind(from, socketAddress(address, 0));
      sendto(from, data, 0, socketAddress(0x7f00_0001, PORT));
      close(from);
      receive();
    }
    // Where the processor is busy, the kernel delivers the last ones when it comes to it.
    const end = performance.now() + 10_000;
    while (count + port.dropped() - droppedBefore < addresses.length && performance.now() < end) receive();
    return count;
  };
  const first = (index: number) => NETWORK + 1000 + 100 * index;
  const ranges = Uint32Array.from({ length: 2 * MOST_SOURCES }, (_, index) => first(index >> 1) + (index & 1));
  const inside = [...ranges];
  const beside = Array.from({ length: MOST_SOURCES }, (_, index) => [first(index) - 1, first(index) + 2]).flat();
  try {
    expect(port.limitSources(ranges)).toBe(0);
    expect(comeFrom(inside)).toBe(inside.length);
    expect(port.dropped()).toBe(0);
    const sampled = comeFrom(beside);
    expect(sampled).toBeLessThan(60); // of 2000, 8 are expected
    expect(port.dropped()).toBe(beside.length - sampled);
    expect(port.limitSources(ranges.subarray(2))).toBe(0); // replaced
    expect(comeFrom(inside.slice(2, 100))).toBe(98);
    expect(port.limitSources(undefined)).toBe(0);
    expect(port.limitSources(undefined)).toBe(0);
    expect(comeFrom(beside.slice(0, 100))).toBe(100);
  } finally {
    close(fd);
  }
});
