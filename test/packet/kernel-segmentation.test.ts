import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Coalescer } from "../../src/backend/udp/coalesce.ts";
import { Segmenter } from "../../src/backend/udp/segment.ts";
import { Collector, superpacket, type TunPacket } from "../../src/backend/udp/superpackets.ts";
import { Arena } from "../../src/lib/arena.ts";
import { Checksum } from "../../src/wire/packet/checksum.ts";
import { IpPacket, PacketFault } from "../../src/wire/packet/ip-packet.ts";
import { ip4, ip6, payload, type TcpFields, tcp, udp } from "../../src/wire/packet/packets.ts";
import { VirtioHeader } from "../../src/wire/packet/virtio-header.ts";
import { KernelSegmenter } from "./kernel-segmenter.ts";

// Needs root: a network namespace with two TUN devices.

const arena = new Arena(2 << 20);
const checksum = new Checksum(arena);
const region = arena.reserve(500_000);
const packet = new IpPacket(arena);
const segmenter = new Segmenter(arena, checksum);
const collector = new Collector(arena);
const coalescer = new Coalescer(arena, checksum, collector);
coalescer.merges = { tcp4: true, tcp6: true, udp4: true, udp6: true };
let kernel: KernelSegmenter;

beforeAll(() => {
  kernel = new KernelSegmenter(`pk-segment-${process.pid}`);
});
afterAll(() => kernel[Symbol.dispose]());

const hex = (packets: readonly Uint8Array[]) => packets.map((bytes) => Buffer.from(bytes).toString("hex"));

/** What we make of it, with the TTL decremented as the kernel does. */
function segment({ header, packet: bytes }: TunPacket): readonly Uint8Array[] {
  const asked = new VirtioHeader();
  asked.read(new DataView(header.buffer), 0);
  arena.bytes.set(bytes, region);
  expect(packet.parse(region, bytes.length)).toBe(PacketFault.none);
  expect(packet.decrementTtl()).toBe(true);
  segmenter.clear();
  expect(segmenter.segment(packet, asked, collector)).toBe(0);
  const whole = collector.takeBytes();
  return Array.from({ length: segmenter.count }, (_, index) =>
    whole.slice(index * segmenter.segmentSize, (index + 1) * segmenter.segmentSize),
  );
}

const tcpFields = fc.record({
  flags: fc.constantFrom(0x10, 0x18, 0x11, 0x19, 0x50, 0x38),
  sequence: fc.oneof(fc.constantFrom(0xffff_f000, 0x7fff_ff00), fc.nat(0xffff_ffff)),
  options: fc.constantFrom([], [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]),
});
const ip4Fields = fc.record({
  id: fc.oneof(fc.constantFrom(0xffff, 0xfffe), fc.integer({ min: 1, max: 0xffff })),
  tos: fc.constantFrom(0, 2, 0x10),
  fragment: fc.constantFrom(0, 0x4000),
  options: fc.constantFrom([], [1, 1, 1, 0]),
});
const ip6Fields = fc.record({ trafficClass: fc.nat(255), flowLabel: fc.nat(0xf_ffff) });
const size = fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 100, max: 1460 }) }, fc.constantFrom(536, 1380, 8960));

describe("Segmenter", () => {
  const plan = fc.record({
    tcpFields,
    ip4Fields,
    ip6Fields,
    isTcp: fc.boolean(),
    isSix: fc.boolean(),
    size,
    count: fc.integer({ min: 1, max: 30 }), // the kernel drops one of a single segment, which it never makes itself
    rest: fc.nat(1459),
  });

  test("makes the packets that the kernel makes of the same superpacket", async () => {
    await fc.assert(
      fc.asyncProperty(plan, async ({ tcpFields, ip4Fields, ip6Fields, isTcp, isSix, size, count, rest }) => {
        const bytes = payload(Math.min(count * size + (rest % size) + 1, 60_000), rest);
        const transport = isTcp ? tcp(tcpFields, bytes) : udp(bytes);
        const tun = superpacket(isSix ? ip6(transport, ip6Fields) : ip4(transport, ip4Fields), size);
        const ours = segment(tun);
        expect(hex(ours)).toEqual(hex(await kernel.segment(tun, ours.length)));
      }),
      { numRuns: 150 },
    );
  });

  test("treats CWR as the kernel does, which is told of it", async () => {
    const tun = superpacket(ip4(tcp({ flags: 0xd8 }, payload(3000))), 1000, 0x81);
    expect(hex(segment(tun))).toEqual(hex(await kernel.segment(tun, 3)));
  });

  test("completes a single packet's checksum as the kernel does", async () => {
    for (const whole of [ip4(udp(payload(9))), ip4(tcp({}, payload(99))), ip6(udp(payload(64))), ip6(tcp({}))]) {
      const tun = superpacket(whole, 0, 0);
      expect(hex(segment(tun))).toEqual(hex(await kernel.segment(tun, 1)));
    }
  });
});

describe("Coalescer", () => {
  /** Packets of a flow; what comes out of the kernel has one hop less. */
  function flow(
    sizes: readonly number[],
    make: (bytes: Uint8Array, index: number, offset: number, ttl: number) => Uint8Array,
  ) {
    let offset = 0;
    return sizes.map((size, index) => {
      const bytes = payload(size, index + 1);
      const pair = { before: make(bytes, index, offset, 63), after: make(bytes, index, offset, 62) };
      offset += size;
      return pair;
    });
  }

  const plan = fc.record({
    tcpFields,
    ip4Fields,
    ip6Fields,
    isTcp: fc.boolean(),
    isSix: fc.boolean(),
    size,
    count: fc.integer({ min: 1, max: 45 }),
    last: fc.nat(1459),
    ends: fc.constantFrom(0, 0x08, 0x01),
  });

  test("makes superpackets that the kernel makes into the packets they came from", async () => {
    let merged = 0;
    await fc.assert(
      fc.asyncProperty(plan, async ({ tcpFields, ip4Fields, ip6Fields, isTcp, isSix, size, count, last, ends }) => {
        const sizes = [...Array<number>(count).fill(size), (last % size) + 1];
        const packets = flow(sizes, (bytes, index, offset, ttl) => {
          const flags = 0x10 | (index === count ? ends : 0);
          const fields: TcpFields = { ...tcpFields, flags, sequence: (tcpFields.sequence + offset) % 0x1_0000_0000 };
          const transport = isTcp ? tcp(fields, bytes) : udp(bytes);
          if (isSix) return ip6(transport, { ...ip6Fields, hopLimit: ttl });
          return ip4(transport, { ...ip4Fields, id: (ip4Fields.id + index) % 0x1_0000, ttl });
        });
        let at = region;
        for (const { before } of packets) {
          arena.bytes.set(before, at);
          packet.parse(at, before.length);
          coalescer.add(packet);
          at += before.length;
        }
        coalescer.flush();
        const back: Uint8Array[] = [];
        for (const tun of collector.packets.splice(0)) {
          const payloadSize = (tun.header[4] ?? 0) + 256 * (tun.header[5] ?? 0);
          const headerSize = (tun.header[2] ?? 0) + 256 * (tun.header[3] ?? 0);
          const pieces = payloadSize === 0 ? 1 : Math.ceil((tun.packet.length - headerSize) / payloadSize);
          if (pieces > 1) merged++;
          back.push(...(await kernel.segment(tun, pieces)));
        }
        expect(hex(back)).toEqual(hex(packets.map(({ after }) => after)));
      }),
      { numRuns: 100 },
    );
    expect(merged).toBeGreaterThan(50);
  });
});
