import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { Arena } from "../../lib/arena.ts";
import { Checksum } from "../../wire/packet/checksum.ts";
import { IpPacket, PacketFault } from "../../wire/packet/ip-packet.ts";
import { ip4, ip6, payload, type TcpFields, tcp, udp } from "../../wire/packet/packets.ts";
import { VirtioHeader } from "../../wire/packet/virtio-header.ts";
import { Coalescer } from "./coalesce.ts";
import { Segmenter } from "./segment.ts";
import { Collector, expand, readCaptured, type TunPacket } from "./superpackets.ts";

const ROOM = 400_000;
const CANARY = 0xc5;
const GAP = 16;
const ALL = { tcp4: true, tcp6: true, udp4: true, udp6: true };
const arena = new Arena(2 << 20);
const checksum = new Checksum(arena);
const region = arena.reserve(ROOM) + GAP;
const packet = new IpPacket(arena);
const collector = new Collector(arena);
const coalescer = new Coalescer(arena, checksum, collector);
const segmenter = new Segmenter(arena, checksum);

beforeEach(() => {
  coalescer.merges = ALL;
});

/** Passes them all through in one batch. @returns what the device was given */
function coalesce(packets: readonly Uint8Array[]): readonly TunPacket[] {
  let at = region;
  arena.bytes.fill(CANARY, region - GAP, region);
  for (const bytes of packets) {
    arena.bytes.set(bytes, at);
    arena.bytes.fill(CANARY, at + bytes.length, at + bytes.length + GAP);
    if (packet.parse(at, bytes.length) === PacketFault.none) coalescer.add(packet);
    at += bytes.length + GAP;
  }
  coalescer.flush();
  return collector.packets.splice(0);
}

/** What our own segmenter makes of it on the other side. */
function segmentAgain({ header, packet: bytes }: TunPacket): readonly Uint8Array[] {
  const asked = new VirtioHeader();
  asked.read(new DataView(header.buffer), 0);
  arena.bytes.set(bytes, region);
  expect(packet.parse(region, bytes.length)).toBe(PacketFault.none);
  segmenter.clear();
  const pieces = new Collector(arena);
  expect(segmenter.segment(packet, asked, pieces)).toBe(0);
  const whole = pieces.takeBytes();
  return Array.from({ length: segmenter.count }, (_, index) =>
    whole.slice(index * segmenter.segmentSize, (index + 1) * segmenter.segmentSize),
  );
}

const hex = (packets: readonly Uint8Array[]) => packets.map((bytes) => Buffer.from(bytes).toString("hex"));
const MERGED = new Set([1, 4, 5]);
const isMerged = ({ header }: TunPacket) => MERGED.has(header[1] ?? 0);

/** Packets of one TCP stream, `size` bytes each. */
function stream(sizes: readonly number[], fields: TcpFields & { id?: number; isSix?: boolean } = {}) {
  let sequence = fields.sequence ?? 1000;
  return sizes.map((size, index) => {
    const transport = tcp({ ...fields, sequence }, payload(size, index + 1));
    sequence = (sequence + size) % 0x1_0000_0000;
    return fields.isSix === true ? ip6(transport) : ip4(transport, { id: ((fields.id ?? 7) + index) % 0x1_0000 });
  });
}

const times = (count: number, size: number) => Array<number>(count).fill(size);

describe("merging", () => {
  test("Coalescer makes of the kernel's segments the very superpacket that the kernel had made them of", () => {
    for (const { name, header, packet: original, segments } of readCaptured()) {
      arena.bytes.set(original, region);
      packet.parse(region, original.length);
      packet.decrementTtl(); // as the kernel did
      const expected = arena.bytes.slice(region, packet.end);
      const [merged, ...more] = coalesce(segments);
      expect(more, name).toEqual([]);
      if (segments.length === 1) expect(merged?.packet, name).toEqual(segments[0]);
      else expect(merged, name).toEqual({ header, packet: expected });
    }
  });

  test.each([
    ["TCP over IPv4", stream(times(5, 100)), 1],
    ["TCP over IPv6", stream(times(5, 100), { isSix: true }), 4],
    ["TCP with options", stream(times(5, 100), { options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] }), 1],
    ["TCP with an odd size", stream(times(5, 101)), 1],
    ["a shorter last segment", stream([100, 100, 1]), 1],
    ["a sequence number that wraps", stream(times(3, 100), { sequence: 0xffff_ff38 }), 1],
    ["an IPv4 id that wraps", stream(times(3, 100), { id: 0xffff }), 1],
    ["UDP over IPv4", [1, 2, 3].map((seed) => ip4(udp(payload(64, seed)), { id: 40 + seed })), 5],
    ["UDP over IPv6", [1, 2, 3].map((seed) => ip6(udp(payload(64, seed)))), 5],
    ["ids that are all 0 with DF", [1, 2, 3].map((seed) => ip4(udp(payload(64, seed)), { id: 0 })), 5],
  ])("Coalescer makes %s one packet, which segmentation undoes", (_, packets, gsoType) => {
    const [merged, ...more] = coalesce(packets);
    expect(more).toEqual([]);
    if (merged === undefined) throw new Error("nothing came out");
    expect(merged.header[1]).toBe(gsoType);
    expect(hex(expand(merged))).toEqual(hex(packets));
    expect(hex(segmentAgain(merged))).toEqual(hex(packets));
  });

  test("Coalescer leaves a header that says how to undo it", () => {
    const packets = stream([100, 100, 50]);
    const [merged] = coalesce(packets);
    const asked = new VirtioHeader();
    asked.read(new DataView((merged?.header ?? new Uint8Array(10)).buffer), 0);
    expect(asked).toEqual({
      flags: 1,
      gsoType: 1,
      headerLength: 40,
      gsoSize: 100,
      checksumStart: 20,
      checksumOffset: 16,
    });
    arena.bytes.set(merged?.packet ?? [], region);
    expect(packet.parse(region, 290)).toBe(PacketFault.none);
    expect(packet.isHeaderIntact()).toBe(true);
    expect(packet.length).toBe(290);
  });

  test.each([
    ["PSH", 0x18],
    ["FIN", 0x11],
    ["FIN and PSH", 0x19],
  ])("Coalescer ends a packet at %s and keeps it", (_, flags) => {
    const [a, b] = stream(times(2, 100)) as [Uint8Array, Uint8Array];
    const [, , last, next] = stream(times(4, 100), { flags }) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const out = coalesce([a, b, last, next]);
    expect(out.map((tun) => expand(tun).length)).toEqual([3, 1]);
    expect(out[0]?.packet[33]).toBe(flags);
    expect(hex(out.flatMap(expand))).toEqual(hex([a, b, last, next]));
  });

  test("Coalescer never makes more than 64 KiB or 64 pieces of one", () => {
    expect(coalesce(stream(times(50, 1380))).map((tun) => expand(tun).length)).toEqual([47, 3]);
    expect(coalesce(stream(times(70, 10))).map((tun) => expand(tun).length)).toEqual([64, 6]);
    const long = coalesce(stream([32_738, 32_738, 1], { isSix: true })); // 60 bytes of headers: one too many
    expect(long.map((tun) => expand(tun).length)).toEqual([1, 2]);
    const full = coalesce(stream([32_737, 32_737, 1], { isSix: true }));
    expect(full.map((tun) => expand(tun).length)).toEqual([2, 1]);
  });

  test("Coalescer merges many flows at once", () => {
    const flows = Array.from({ length: 16 }, (_, port) => stream(times(3, 100), { sourcePort: port + 1 }));
    const packets = [0, 1, 2].flatMap((index) => flows.map((flow) => flow[index] ?? new Uint8Array()));
    const out = coalesce(packets);
    expect(out.map((tun) => hex(expand(tun)))).toEqual(flows.map(hex));
  });

  test("Coalescer hands on the oldest flow when there are more than it keeps open", () => {
    const flows = Array.from({ length: 17 }, (_, port) => stream(times(2, 100), { sourcePort: port + 1 }));
    const packets = [0, 1].flatMap((index) => flows.map((flow) => flow[index] ?? new Uint8Array()));
    const out = coalesce(packets).flatMap(expand);
    expect(hex(out).toSorted()).toEqual(hex(packets).toSorted());
  });
});

describe("flows that look alike", () => {
  test("Coalescer keeps IPv6 addresses apart", () => {
    const swap = (bytes: number[]) => [...bytes.slice(4, 8), ...bytes.slice(0, 4), ...bytes.slice(8)];
    const source = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
    const make = (sequence: number, source: number[]) => ip6(tcp({ sequence }, payload(50)), { source });
    const packets = [make(1, source), make(51, swap(source)), make(51, source)];
    const out = coalesce(packets);
    expect(out.map((tun) => hex(expand(tun)))).toEqual([
      hex([packets[0], packets[2]] as Uint8Array[]),
      hex([packets[1]] as Uint8Array[]),
    ]);
  });

  test("Coalescer keeps TCP and UDP apart", () => {
    const [a, b] = stream(times(2, 100), { sourcePort: 5353, destinationPort: 53 }) as [Uint8Array, Uint8Array];
    const other = ip4(udp(payload(100)), { id: 8 });
    expect(coalesce([a, other, b]).map((tun) => hex(expand(tun)))).toEqual([hex([a, b]), hex([other])]);
  });

  test("Coalescer keeps IPv4 and IPv6 apart", () => {
    const [a, b] = stream(times(2, 100)) as [Uint8Array, Uint8Array];
    const zeros = Array<number>(12).fill(0);
    const source = [...a.subarray(12, 16), ...zeros];
    const destination = [...a.subarray(16, 20), ...zeros];
    const other = ip6(tcp({ sequence: 1000 }, payload(100)), { source, destination });
    expect(coalesce([a, other, b]).map((tun) => hex(expand(tun)))).toEqual([hex([a, b]), hex([other])]);
  });
});

describe("what is not merged", () => {
  const base = { sequence: 1000, options: [1, 1, 1, 1] };
  const first = ip4(tcp(base, payload(100)), { id: 1 });
  const second = (tcpFields: object, ipFields: object = {}, size = 100) =>
    ip4(tcp({ ...base, sequence: 1100, ...tcpFields }, payload(size, 2)), { id: 2, ...ipFields });
  const six = (tcpFields: object, ipFields: object) => ip6(tcp({ ...base, ...tcpFields }, payload(100)), ipFields);
  const datagram = (id: number, fields: object = {}) => ip4(udp(payload(50, id)), { id, ...fields });

  /** Its sum is right with a checksum of 0, which says that there is none. */
  function withoutChecksum(id: number): Uint8Array {
    const bytes = payload(50, id);
    const checksum = ip4(udp(bytes.fill(0, 0, 2))).subarray(26, 28);
    const made = ip4(udp(Uint8Array.from([...checksum, ...bytes.subarray(2)])), { id });
    expect(made.subarray(26, 28)).toEqual(Uint8Array.of(0xff, 0xff));
    return made.with(26, 0).with(27, 0);
  }

  /** The rest of it counts as payload. */
  function withShortHeader(index: number): Uint8Array {
    return ip4(tcp({ sequence: 1000 + 104 * index, dataOffset: 0x40 }, payload(100, index)), { id: index + 1 });
  }

  test("Coalescer merges the pair from which the others differ", () => {
    expect(coalesce([first, second({})]).length).toBe(1);
    expect(coalesce([six({}, {}), six({ sequence: 1100 }, {})]).length).toBe(1);
    expect(coalesce([datagram(1), datagram(2)]).length).toBe(1);
  });

  test.each([
    ["a gap", [first, second({ sequence: 1101 })]],
    ["a repetition", [first, second({ sequence: 1000 })]],
    ["another acknowledgement", [first, second({ acknowledgement: 2 })]],
    ["another window", [first, second({ window: 501 })]],
    ["an urgent pointer", [first, second({ urgent: 1 })]],
    ["other options", [first, second({ options: [1, 1, 1, 0] })]],
    ["more options", [first, second({ options: [1, 1, 1, 1, 1, 1, 1, 1] })]],
    ["a longer segment", [first, second({}, {}, 101)]],
    ["another TOS", [first, second({}, { tos: 2 })]],
    ["another TTL", [first, second({}, { ttl: 62 })]],
    ["no DF", [first, second({}, { fragment: 0 })]],
    ["an id that does not follow", [first, second({}, { id: 3 })]],
    ["the same id", [first, second({}, { id: 1 })]],
    ["ids that begin with 0 and DF", [datagram(0), datagram(1)]],
    ["ids that are all 0 without DF", [datagram(0, { fragment: 0 }), datagram(0, { fragment: 0 })]],
    ["the reserved bit", [datagram(1, { fragment: 0xc000 }), datagram(2, { fragment: 0xc000 })]],
    ["another traffic class", [six({}, {}), six({ sequence: 1100 }, { trafficClass: 1 })]],
    ["another flow label", [six({}, {}), six({ sequence: 1100 }, { flowLabel: 1 })]],
    ["another hop limit", [six({}, {}), six({ sequence: 1100 }, { hopLimit: 9 })]],
    ["SYN", [first, second({ flags: 0x12 })]],
    ["RST", [first, second({ flags: 0x14 })]],
    ["URG", [first, second({ flags: 0x30 })]],
    ["ECE", stream(times(2, 100), { flags: 0x50 })],
    ["CWR", [first, second({ flags: 0x90 })]],
    ["no ACK", stream(times(2, 100), { flags: 0 })],
    ["a pure acknowledgement", [first, second({}, {}, 0)]],
    ["IPv4 options", [1, 2].map((id) => datagram(id, { options: [1, 1, 1, 0] }))],
    ["UDP without a checksum", [1, 2].map((id) => datagram(id).with(26, 0).with(27, 0))],
    ["UDP whose checksum would be right, were it one", [1, 2].map(withoutChecksum)],
    ["a reserved bit", stream(times(2, 100), { dataOffset: 0x51 })],
    ["a TCP header of 16 bytes", [0, 1].map(withShortHeader)],
    ["a UDP length that lies", [1, 2].map((id) => ip4(udp(payload(50), { length: 57 }), { id }))],
    ["empty datagrams", [1, 2].map((id) => ip4(udp([]), { id }))],
    ["a datagram that grows", [datagram(1), ip4(udp(payload(51)), { id: 2 })]],
    ["ICMP", [1, 2].map((id) => ip4({ protocol: 1, bytes: Array.from(payload(64)), checksumAt: 2 }, { id }))],
    [
      "extension headers",
      [1, 2].map(() => ip6(udp(payload(50)), { extensions: [17, 0, 1, 4, 0, 0, 0, 0], firstExtension: 60 })),
    ],
    ["a TCP header beyond its packet", [1, 2].map((id) => ip4(tcp({}, payload(5)), { id }).with(32, 0xf0))],
    ["another source port", [datagram(1), ip4(udp(payload(50), { sourcePort: 9 }), { id: 2 })]],
    ["another destination port", [datagram(1), ip4(udp(payload(50), { destinationPort: 9 }), { id: 2 })]],
    ["another source", [datagram(1), datagram(2, { source: "10.5.15.2" })]],
    ["another destination", [datagram(1), datagram(2, { destination: "10.5.16.3" })]],
  ])("Coalescer leaves packets as they came at %s", (_, packets) => {
    const out = coalesce(packets);
    expect(out.map((tun) => Buffer.from(tun.header).toString("hex"))).toEqual(packets.map(() => "00".repeat(10)));
    expect(hex(out.map(({ packet }) => packet))).toEqual(hex(packets));
  });

  const [a, b, c, d] = stream(times(4, 100)) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  const spoilt = (bytes: Uint8Array, at: number) => bytes.with(at, (bytes[at] ?? 0) ^ 0x40);
  test.each([
    ["first, in its payload", [spoilt(a, 60), b, c, d], [1, 3]],
    ["second, in its payload", [a, spoilt(b, 60), c, d], [1, 1, 2]],
    ["third, in its IP checksum", [a, b, spoilt(c, 10), d], [2, 1, 1]],
    ["last, in its TCP checksum", [a, b, c, spoilt(d, 36)], [3, 1]],
    ["first, in its IP checksum", [spoilt(a, 11), b, c, d], [1, 3]],
  ])("Coalescer never makes a wrong checksum right: %s", (_, packets, counts) => {
    const out = coalesce(packets);
    expect(out.map((tun) => expand(tun).length)).toEqual(counts);
    expect(hex(out.flatMap(expand))).toEqual(hex(packets));
  });

  test("Coalescer merges only what the device takes", () => {
    const kinds = {
      tcp4: stream(times(2, 100)),
      tcp6: stream(times(2, 100), { isSix: true }),
      udp4: [datagram(1), datagram(2)],
      udp6: [ip6(udp(payload(50))), ip6(udp(payload(50)))],
    };
    for (const [kind, packets] of Object.entries(kinds)) {
      coalescer.merges = { ...ALL, [kind]: false };
      expect(coalesce(packets).length, `without ${kind}`).toBe(2);
      coalescer.merges = { tcp4: false, tcp6: false, udp4: false, udp6: false, [kind]: true };
      expect(coalesce(packets).length, `${kind} alone`).toBe(1);
    }
  });

  test("Coalescer gives a device without virtio headers packets alone", () => {
    const bare = new Coalescer(arena, checksum, collector);
    bare.hasHeader = false;
    arena.bytes.set(a, region);
    packet.parse(region, a.length);
    bare.add(packet);
    bare.flush();
    expect(collector.packets.splice(0)).toEqual([{ header: a, packet: new Uint8Array() }]);
  });
});

describe("order", () => {
  test("Coalescer lets nothing overtake within a flow: acknowledgements, fragments, urgent data", () => {
    const [a, b, c, d] = stream(times(4, 100)) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    const acknowledgement = ip4(tcp({ sequence: 1200 }), { id: 9 });
    const fragment = ip4(tcp({ sequence: 1200 }, payload(40)), { id: 10, fragment: 0x2000 });
    const rest = ip4({ protocol: 6, bytes: Array.from(payload(20)), checksumAt: 16 }, { id: 10, fragment: 3 });
    const stub = ip4({ protocol: 6, bytes: [1, 2], checksumAt: 0 });
    for (const between of [acknowledgement, fragment, rest, stub]) {
      const out = coalesce([a, b, between, c, d]);
      expect(out.map((tun) => expand(tun).length)).toEqual([2, 1, 2]);
      expect(hex(out.flatMap(expand))).toEqual(hex([a, b, between, c, d]));
    }
  });

  test("Coalescer lets an IPv6 fragment wait for the flow that it may belong to", () => {
    const [a, b] = [ip6(udp(payload(50, 1))), ip6(udp(payload(50, 2)))];
    const extensions = [60, 0, 0, 8, 0, 0, 0, 1];
    const part = ip6(
      { protocol: 0, bytes: Array.from(payload(20)), checksumAt: 0 },
      { extensions, firstExtension: 44 },
    );
    expect(hex(coalesce([a, part, b]).map(({ packet }) => packet))).toEqual(hex([a, part, b]));
  });

  test("Coalescer hands on flows in the order in which they began", () => {
    const flows = [3, 1, 2].map((sourcePort) => stream(times(2, 100), { sourcePort }));
    const packets = [...flows.map((flow) => flow[0]), ...flows.map((flow) => flow[1])] as Uint8Array[];
    expect(coalesce(packets).map((tun) => hex(expand(tun)))).toEqual(flows.map(hex));
  });
});

describe("properties", () => {
  /** A flow with all that may change on its way. */
  const change = fc.record({
    size: fc.oneof({ weight: 5, arbitrary: fc.constant(0) }, fc.integer({ min: -60, max: 3 })),
    flags: fc.oneof({ weight: 12, arbitrary: fc.constant(0x10) }, fc.constantFrom(0x18, 0x11, 0x90, 0x50, 0x14)),
    skip: fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, fc.constantFrom(1, 5)),
    acknowledgement: fc.oneof({ weight: 12, arbitrary: fc.constant(0) }, fc.constant(1)),
    spoil: fc.oneof({ weight: 15, arbitrary: fc.constant(-1) }, fc.nat(150)),
    fragment: fc.oneof({ weight: 15, arbitrary: fc.constant(0) }, fc.constantFrom(0x2000, 0x0010)),
  });
  const flow = fc
    .record({
      isTcp: fc.boolean(),
      isSix: fc.boolean(),
      sourcePort: fc.integer({ min: 1, max: 3 }),
      host: fc.integer({ min: 1, max: 2 }),
      size: fc.integer({ min: 60, max: 400 }),
      id: fc.constantFrom(0, 1, 0xfffe),
      idStep: fc.constantFrom(0, 1),
      fragment: fc.constantFrom(0, 0x4000),
      sequence: fc.constantFrom(0, 0xffff_ff00, 0x7fff_ff00),
      changes: fc.array(change, { maxLength: 20 }),
    })
    .map((plan) => {
      let { sequence, id } = plan;
      let acknowledgement = 1;
      return plan.changes.map((change, index) => {
        const bytes = payload(plan.size + change.size, index);
        sequence = (sequence + change.skip) % 0x1_0000_0000;
        acknowledgement += change.acknowledgement;
        const { sourcePort } = plan;
        const transport = plan.isTcp
          ? tcp({ sourcePort, sequence, acknowledgement, flags: change.flags }, bytes)
          : udp(bytes, { sourcePort });
        sequence = (sequence + bytes.length) % 0x1_0000_0000;
        const source = `10.5.1.${plan.host}`;
        const fragment = plan.fragment | change.fragment;
        const made = plan.isSix ? ip6(transport) : ip4(transport, { id: id % 0x1_0000, fragment, source });
        id += plan.idStep + change.skip;
        if (change.spoil >= 20) made[change.spoil < made.length ? change.spoil : 11] = 0xee;
        return made;
      });
    });
  /** Flows, and in which order their packets come. */
  const traffic = fc
    .tuple(fc.array(flow, { minLength: 1, maxLength: 6 }), fc.array(fc.nat(5), { maxLength: 120 }))
    .map(([flows, turns]) => {
      const queues = flows.map((packets) => [...packets]);
      const mixed = turns.flatMap((turn) => queues[turn % queues.length]?.splice(0, 1) ?? []);
      return [...mixed, ...queues.flat()];
    });

  /** All that says which flow a packet belongs to; fragments belong to all between their hosts. */
  const flowOf = (bytes: Uint8Array) =>
    Buffer.from(bytes.subarray(0, 44)).toString(
      "hex",
      (bytes[0] ?? 0) >> 4 === 4 ? 12 : 8,
      (bytes[0] ?? 0) >> 4 === 4 ? 24 : 44,
    );

  function sameInEachFlow(before: readonly Uint8Array[], after: readonly Uint8Array[]): void {
    const byFlow = (packets: readonly Uint8Array[]) =>
      Object.fromEntries(
        Map.groupBy(packets, flowOf)
          .entries()
          .map(([flow, packets]) => [flow, hex(packets)]),
      );
    expect(byFlow(after)).toEqual(byFlow(before));
  }

  test("Coalescer and Segmenter give back every packet, byte for byte, in its flow's order", () => {
    let merged = 0;
    fc.assert(
      fc.property(traffic, (packets) => {
        const out = coalesce(packets);
        merged += out.filter(isMerged).length;
        sameInEachFlow(packets, out.flatMap(expand));
        sameInEachFlow(packets, out.flatMap(segmentAgain));
      }),
      { numRuns: 100 },
    );
    expect(merged).toBeGreaterThan(50);
  });

  test("Coalescer takes any bytes, loses none and touches nothing beside them", () => {
    const pair = [...stream(times(2, 60)), ...stream(times(2, 60), { isSix: true })];
    const datagrams = [1, 2].flatMap((seed) => [
      ip4(udp(payload(60, seed)), { id: seed }),
      ip6(udp(payload(60, seed))),
    ]);
    const mutation = fc.tuple(fc.nat(7), fc.nat(120), fc.constantFrom(0, 1, 4, 6, 0x11, 0x20, 0x45, 0x50, 0xf0, 0xff));
    const hostile = fc.oneof(
      fc.array(fc.uint8Array({ maxLength: 90 }), { maxLength: 5 }),
      fc.array(mutation, { minLength: 1, maxLength: 8 }).map((mutations) => {
        const packets = [...pair, ...datagrams].map((bytes) => Uint8Array.from(bytes));
        for (const [which, at, to] of mutations) packets[which]?.set([to], at % (packets[which]?.length ?? 1));
        return packets;
      }),
    );
    fc.assert(
      fc.property(hostile, (packets) => {
        const taken = packets.filter((bytes) => {
          arena.bytes.set(bytes, region);
          return packet.parse(region, bytes.length) === PacketFault.none;
        });
        const lengths = taken.map((bytes) => {
          arena.bytes.set(bytes, region);
          packet.parse(region, bytes.length);
          return packet.length;
        });
        const out = coalesce(taken);
        let at = region - GAP;
        for (const { length } of [...taken, new Uint8Array()]) {
          expect(arena.bytes.subarray(at, at + GAP).every((byte) => byte === CANARY)).toBe(true);
          at += GAP + length;
        }
        const expected = taken.map((bytes, index) => bytes.subarray(0, lengths[index]));
        expect(hex(out.flatMap(expand)).toSorted()).toEqual(hex(expected).toSorted());
      }),
      { seed: 6, numRuns: 1500 },
    );
  });
});
