import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EINTR, EINVAL, EIO } from "../../kernel/errno.ts";
import { ip4, ip6, payload, tcp, udp } from "../../wire/packet/packets.ts";
import { hostAddress, MemoryHost } from "./memory-host.ts";
import { between, numberOf, small, written } from "./memory-packets.ts";
import { expand, join, superpacket } from "./superpackets.ts";

describe("Inward", () => {
  test("run() counts every datagram of strangers, merged or not, and shows one of each message", () => {
    const b = new MemoryHost(16, [15]);
    const bytes = join([1, 2, 3].map((number) => small(15, 16, number)));
    b.socket.toReceive.push({ host: hostAddress(99), bytes, segment: 70 });
    b.receive(hostAddress(98), small(15, 16, 4));
    expect(b.tun.written).toEqual([]);
    expect(b.drops).toEqual({ stranger: 4 });
    expect(b.sampled).toEqual(["stranger", "stranger"]);
  });

  test("run() lets in what a peer may send and nothing else", () => {
    const b = new MemoryHost(16, [15, 17]);
    b.receive(
      hostAddress(15),
      small(15, 16, 1),
      small(17, 16, 2), // another peer's
      small(16, 16, 3), // ours
      small(99, 16, 4), // nobody's
      ip4(udp([]), { source: "192.0.2.16", destination: "10.5.16.2" }),
      ip4(udp([]), { source: "127.0.0.1", destination: "10.5.16.2" }),
      ip4(udp([]), { source: "10.5.15.1", destination: "127.0.0.1" }),
      ip4(udp([0, 9]), { source: "203.0.113.1", destination: "10.5.16.2" }),
      new Uint8Array(),
      Uint8Array.of(0x45),
      payload(100),
    );
    expect(written(b).map(numberOf)).toEqual([1, 9]);
    expect(b.drops).toEqual({
      "bad packet": 3,
      "foreign source": 2,
      "own source": 2,
      "impossible source": 1,
      "loopback destination": 1,
    });
  });

  test("run() lets nobody continue another's flow behind a packet that is refused", () => {
    const host = new MemoryHost(15, [16, 17]);
    const segment = (number: number) =>
      ip4(tcp({ sequence: number * 100, flags: 0x10 }, payload(100, number)), {
        ...between(16, 15),
        id: number,
        ttl: 62,
      });
    const merged = (...datagrams: readonly Uint8Array[]) => new Uint8Array(Buffer.concat(datagrams));
    const size = segment(1).length;
    host.socket.toReceive.push(
      { host: hostAddress(16), bytes: merged(segment(1), segment(2)), segment: size },
      { host: hostAddress(17), bytes: merged(segment(8), segment(3), segment(4)), segment: size },
    );
    host.receiveMore();
    expect(host.drops).toEqual({ "foreign source": 3 });
    expect(host.tun.written.length).toBe(1);
    expect(host.tun.written[0]?.length).toBe(10 + size + 100);
  });

  test("run() lets no packet in whose TTL has come to its end, and says so by ICMP", () => {
    const b = new MemoryHost(16, [15]);
    b.receive(hostAddress(15), ...[0, 1, 2].map((ttl) => small(15, 16, ttl, 40, ttl)));
    expect(written(b).map((packet) => packet[8])).toEqual([1]);
    expect(b.raw.sent.map((bytes) => [bytes[20], bytes.slice(16, 20).join(".")])).toEqual([
      [11, "10.5.15.1"],
      [11, "10.5.15.1"],
    ]);
    expect(b.drops).toEqual({ "ttl exceeded": 2 });
  });

  test("run() counts by packets what the device refuses, and goes on", () => {
    const b = new MemoryHost(16, [15]);
    const parts = expand(superpacket(ip4(tcp({}, payload(4000)), between(15, 16)), 1000));
    b.tun.refusals.push(-EINVAL, -EIO);
    b.receive(hostAddress(15), ...parts, ip4(udp(payload(40)), between(15, 16)), ip6(udp(payload(40))));
    expect(written(b)).toHaveLength(1);
    expect(b.drops).toEqual({ "device refused": 4 + 1 });
  });

  test("run() drops and counts where there is no device", () => {
    const b = new MemoryHost(16, [15]);
    b.inward.setTun(undefined, false, { tcp4: false, tcp6: false, udp4: false, udp6: false });
    expect(b.receive(hostAddress(15), small(15, 16, 1))).toBe("empty");
    expect(b.drops).toEqual({ "device refused": 1 });
  });

  test("run() takes up to what a batch holds at once, and says whether there may be more", () => {
    const b = new MemoryHost(16, [15]);
    b.socket.toReceive.push(
      ...Array.from({ length: 40 }, (_, n) => ({ host: hostAddress(15), bytes: small(15, 16, n), segment: 0 })),
    );
    expect(b.inward.run()).toBe("more");
    b.receiveMore();
    expect(written(b).map(numberOf)).toEqual(Array.from({ length: 40 }, (_, n) => n));
    expect(b.inward.run()).toBe("empty");
  });

  test("run() goes on after errors, but not for ever", () => {
    const b = new MemoryHost(16, [15]);
    b.socket.failures.push(-EIO, -EINTR, -EIO);
    expect(b.receive(hostAddress(15), small(15, 16, 1))).toBe("empty");
    expect(written(b)).toHaveLength(1);
    b.socket.failures.push(...Array.from({ length: 5000 }, () => -EIO));
    expect(b.receiveMore()).toBe("gone");
    b.inward.socket = undefined;
    expect(b.inward.run()).toBe("gone");
    expect(b.inward.run()).not.toBe("empty");
  });

  test("run() survives hostile datagrams: the device gets only packets whose lengths agree", () => {
    const valid = [
      small(15, 16, 1),
      ip4(tcp({}, payload(900)), between(15, 16)),
      ip4(tcp({ options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8] }, payload(900)), {
        ...between(15, 16),
        options: [1, 1, 1, 0],
      }),
      ip6(tcp({}, payload(900))),
      ip6(udp(payload(300)), { extensions: [17, 0, 1, 4, 0, 0, 0, 0], firstExtension: 0 }),
    ];
    const mutated = fc
      .record({
        packet: fc.constantFrom(...valid),
        changes: fc.array(fc.record({ at: fc.nat(60), byte: fc.nat(255) }), { maxLength: 2 }),
        cut: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.nat(200) }),
        tail: fc.uint8Array({ maxLength: 30 }),
      })
      .map(({ packet, changes, cut, tail }) => {
        const bytes = join([packet.slice(0, cut ?? packet.length), tail]);
        for (const { at, byte } of changes) if (at < bytes.length) bytes[at] = byte;
        return bytes;
      });
    const message = fc.record({
      host: fc.constantFrom(hostAddress(15), hostAddress(15), hostAddress(99), 0, 0xffff_ffff),
      bytes: fc.oneof(
        { weight: 1, arbitrary: fc.uint8Array({ maxLength: 80 }) },
        { weight: 4, arbitrary: mutated },
        { weight: 3, arbitrary: fc.array(mutated, { maxLength: 5 }).map(join) },
        { weight: 3, arbitrary: fc.nat(40).map((count) => join(Array(count).fill(valid[1]))) },
      ),
      segment: fc.oneof(
        { weight: 6, arbitrary: fc.constant(0) },
        { weight: 4, arbitrary: fc.constant(940) },
        { weight: 1, arbitrary: fc.nat(1500) },
        { weight: 1, arbitrary: fc.constantFrom(1, 20, 65_535) },
      ),
    });
    const hosts = [true, false].map((offload) => new MemoryHost(16, [15], { offload }));
    let count = 0;
    fc.assert(
      fc.property(fc.array(message, { maxLength: 30 }), (messages) => {
        for (const host of hosts) {
          host.socket.toReceive.push(...messages);
          expect(host.receiveMore()).toBe("empty");
          expect(host.socket.toReceive).toEqual([]);
          for (const bytes of host.tun.written.splice(0)) {
            const packet = host === hosts[0] ? bytes.subarray(10) : bytes;
            count++;
            const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
            const version = view.getUint8(0) >> 4;
            expect([4, 6]).toContain(version);
            expect(version === 4 ? view.getUint16(2) : view.getUint16(4) + 40).toBe(packet.length);
            if (version === 4) expect((view.getUint8(0) & 15) * 4).toBeLessThanOrEqual(packet.length);
            if (host === hosts[0] && bytes[1] !== 0) {
              const size = (bytes[4] ?? 0) + 256 * (bytes[5] ?? 0);
              expect(size).toBeGreaterThan(0);
              expect(packet.length).toBeGreaterThan(size);
            }
          }
        }
      }),
      { seed: 8285, numRuns: 120 },
    );
    expect(count).toBeGreaterThan(500);
  });
});

test("Inward counts what the socket's queue could not hold, but not while the kernel drops strangers' packets too", () => {
  const host = new MemoryHost(15, [16]);
  const full = Array.from({ length: 100 }, (_, id) => small(16, 15, id));
  const [peer, stranger] = [hostAddress(16), hostAddress(99)];
  host.socket.lost = 7;
  host.receive(peer, ...full);
  expect(host.drops).toEqual({ "queue full": 7 });
  host.receive(peer, ...full);
  expect(host.drops).toEqual({ "queue full": 7 });
  host.receive(stranger, ...Array.from({ length: 10 }, () => full).flat());
  expect(host.guard.isUp).toBe(true);
  host.socket.lost += 100_000;
  host.receive(peer, ...full);
  host.now += 10_000;
  host.guard.turn(true);
  host.now += 10_000;
  host.guard.turn(true);
  expect(host.guard.isUp).toBe(false);
  host.socket.lost += 1;
  host.receive(peer, ...full);
  host.socket.lost += 5;
  host.receive(peer, ...full);
  expect(host.drops["queue full"]).toBe(12);
});
