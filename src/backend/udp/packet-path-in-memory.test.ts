import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ip4, ip6, payload, tcp, udp } from "../../wire/packet/packets.ts";
import { ALL_MERGES, carry, MemoryHost } from "./memory-host.ts";
import { asRead, bare, between, hex, written } from "./memory-packets.ts";
import { expand, superpacket } from "./superpackets.ts";

describe("Outward and Inward", () => {
  test.each([
    ["the lower half of addresses passes 2^32 among the batches", undefined],
    ["the lower half of addresses has its highest bit set", 0x7fff_8000_0000],
    ["addresses are small", 0x10_0000],
  ])("carry superpackets to the other end's kernel, two hops older; %s", (_, base) => {
    const options = base === undefined ? {} : { base };
    const [a, b] = [new MemoryHost(15, [16], options), new MemoryHost(16, [15], options)];
    const stream = payload(60_000);
    const whole = ip4(tcp({ sequence: 0xffff_0000, flags: 0x18 }, stream), { ...between(15, 16), ttl: 64 });
    const six = ip6(tcp({ flags: 0x10 }, stream), { hopLimit: 64 });
    expect(a.send(asRead(whole, 1400), asRead(six, 1380))).toBe("empty");
    carry([a, b]);
    b.receiveMore();
    const older = [
      ip4(tcp({ sequence: 0xffff_0000, flags: 0x18 }, stream), { ...between(15, 16), ttl: 62 }),
      ip6(tcp({ flags: 0x10 }, stream), { hopLimit: 62 }),
    ];
    expect(b.tun.written.length).toBe(2);
    expect(b.tun.written.map((bytes) => bytes.subarray(10).length)).toEqual([whole.length, six.length]);
    expect(hex(written(b))).toEqual(
      hex([...expand(superpacket(older[0] ?? whole, 1400)), ...expand(superpacket(older[1] ?? six, 1380))]),
    );
    expect([a.drops, b.drops]).toEqual([{}, {}]);
    expect(a.counters.peer(0)).toMatchObject({ sentPackets: 43 + 44 });
    expect(b.counters.peer(0)).toMatchObject({
      receivedPackets: 43 + 44,
      receivedBytes: a.counters.peer(0).sentBytes,
    });
    expect([...a.socket.ports]).toEqual([8285]);
  });

  test("carry any mixture of packets among four hosts: each arrives once, as it was, in its flow's order", () => {
    const numbers = [15, 16, 17, 18];
    const packets = fc.array(
      fc.record({
        to: fc.constantFrom(16, 17, 18),
        size: fc.oneof(fc.nat(1400), fc.constantFrom(0, 1, 40, 1400)),
        segments: fc.constantFrom(0, 0, 0, 2, 45, 100),
        mss: fc.constantFrom(64, 536, 1400),
        ttl: fc.constantFrom(3, 64, 255),
        isTcp: fc.boolean(),
      }),
      { maxLength: 60 },
    );
    // What the steps of offloads leave a device.
    const merges = fc.constantFrom(
      ALL_MERGES,
      { ...ALL_MERGES, udp4: false, udp6: false },
      { tcp4: false, tcp6: false, udp4: false, udp6: false },
    );
    fc.assert(
      fc.property(
        packets,
        fc.boolean(),
        fc.boolean(),
        fc.boolean(),
        merges,
        (list, offload, segments, merged, takes) => {
          const hosts = numbers.map(
            (number) =>
              new MemoryHost(
                number,
                numbers.filter((other) => other !== number),
                { offload },
              ),
          );
          const [a] = hosts;
          if (a === undefined) throw new Error("no host");
          a.outward.sender.segments = segments;
          if (offload) for (const { inward, tun } of hosts) inward.setTun(tun, true, takes);
          const expected = new Map<number, Uint8Array[]>(numbers.map((number) => [number, []]));
          for (const [id, { to, size, segments: count, mss, ttl, isTcp }] of list.entries()) {
            const bytes = payload(count === 0 || !offload ? size : Math.min(count * mss + size, 60_000), id);
            const make = (left: number) =>
              ip4(isTcp ? tcp({ sequence: id * 100_000 }, bytes) : udp(bytes), {
                ...between(15, to),
                id: id * 200,
                ttl: left,
              });
            const isSuper = offload && count > 0;
            const gso = isTcp ? mss : Math.max(mss, Math.ceil(bytes.length / 64));
            a.tun.toRead.push(!offload ? make(ttl) : isSuper ? asRead(make(ttl), gso) : bare(make(ttl)));
            expected.get(to)?.push(...(isSuper ? expand(superpacket(make(ttl - 2), gso)) : [make(ttl - 2)]));
          }
          expect(a.sendMore()).toBe("empty");
          carry(hosts, { merged });
          for (const host of hosts.slice(1)) {
            host.receiveMore();
            const there = offload ? written(host) : host.tun.written;
            const wanted = expected.get(host.address & 255) ?? [];
            const flow = (protocol: number) => (packet: Uint8Array) => packet[9] === protocol;
            for (const protocol of [6, 17])
              expect(hex(there.filter(flow(protocol)))).toEqual(hex(wanted.filter(flow(protocol))));
            expect(host.drops).toEqual({});
            const kinds = host.tun.written.map((bytes) => (offload ? bytes[1] : 0));
            if (!takes.tcp4) expect(kinds).not.toContain(1);
            if (!takes.udp4) expect(kinds).not.toContain(5);
          }
        },
      ),
      { seed: 2026, numRuns: 25 },
    );
  });
});
