import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Address, formatAddress, parseAddress } from "../../ip/address.ts";
import { containsAddress, formatPrefix, type Prefix, parsePrefix } from "../../ip/prefix.ts";
import { Arena } from "../../lib/arena.ts";
import { IpPacket } from "../../wire/packet/ip-packet.ts";
import { DROP_REASONS } from "./drop-reason.ts";
import { ACCEPTED, buildForwarding, Forwarding, type ForwardingTable, NO_ROUTE, STRANGER } from "./forwarding.ts";
import { putPacket } from "./forwarding-packets.ts";

const arena = new Arena(8192);
const at = arena.reserve(2048);

const NETWORKS = ["10.5.0.0/16", "fc05::/48"].map(parsePrefix);
const TABLE: ForwardingTable = {
  networks: NETWORKS,
  ownSubnets: ["10.5.16.0/24", "fc05:0:0:10::/64"].map(parsePrefix),
  ownAddresses: ["192.0.2.1", "172.17.0.1", "10.5.16.0", "2001:db8::1"].map(parseAddress),
  peers: [
    peer("10.5.34.0/24", "192.0.2.2", 0),
    peer("10.5.35.0/24", "192.0.2.2", 0),
    peer("fc05:0:0:22::/64", "192.0.2.2", 0),
    peer("10.5.77.0/24", "203.0.113.3", 2),
  ],
  acceptFrom: ["198.51.100.0/24", "192.0.2.0/30"].map(parsePrefix),
};

function peer(subnet: string, publicIP: string, slot: number) {
  return { subnet: parsePrefix(subnet), publicIP: parseAddress(publicIP), slot };
}

function forwarding(table: Partial<ForwardingTable> = {}): Forwarding {
  const data = buildForwarding({ ...TABLE, ...table });
  return new Forwarding(structuredClone(data, { transfer: data.buffers }), arena);
}

const word = (text: string) => Number(parseAddress(text).value);

describe("Forwarding", () => {
  test.each([
    ["10.5.34.7", 0],
    ["10.5.35.255", 0],
    ["10.5.77.1", 2],
    ["fc05:0:0:22::7", 0],
    ["10.5.99.1", NO_ROUTE], // nobody's
    ["10.5.16.9", NO_ROUTE], // ours
    ["10.6.34.7", NO_ROUTE], // not in the overlay
    ["fc05:0:0:10::1", NO_ROUTE],
    ["fc06::1", NO_ROUTE],
    ["224.0.0.22", NO_ROUTE],
  ])("route() of a packet to %s is %i", (to, slot) => {
    const from = to.includes(":") ? "fc05:0:0:10::5" : "10.5.16.5";
    expect(forwarding().route(putPacket(arena, at, { from, to }))).toBe(slot);
  });

  test("route() takes the longest of subnets that hold each other", () => {
    const peers = [peer("10.5.34.0/24", "192.0.2.2", 0), peer("10.5.34.64/26", "192.0.2.3", 1)];
    const routes = ["10.5.34.63", "10.5.34.64", "10.5.34.128"].map((to) =>
      forwarding({ peers }).route(putPacket(arena, at, { from: "10.5.16.5", to })),
    );
    expect(routes).toEqual([0, 1, 0]);
  });

  test("addressOf() is the slot's public address as a signed word, 0 where there is none", () => {
    const table = forwarding();
    expect([0, 1, 2, 3, -1].map((slot) => table.addressOf(slot) >>> 0)).toEqual([
      word("192.0.2.2"),
      0,
      word("203.0.113.3"),
      0,
      0,
    ]);
    expect(table.addressOf(0)).toBeLessThan(0);
  });

  test("sender() knows peers by their public address, and whom AcceptFrom lets in", () => {
    const table = forwarding();
    const senders = ["192.0.2.2", "203.0.113.3", "198.51.100.9", "192.0.2.3", "192.0.2.4", "10.5.34.1"].map((text) =>
      table.sender(word(text)),
    );
    expect(senders).toEqual([0, 2, ACCEPTED, ACCEPTED, STRANGER, STRANGER]);
    expect(table.sender(word("203.0.113.3") | 0)).toBe(2);
    expect(forwarding({ acceptFrom: [parsePrefix("0.0.0.0/0")] }).sender(word("8.8.8.8"))).toBe(ACCEPTED);
  });

  test.each([
    ["192.0.2.2", "10.5.34.7", 0],
    ["192.0.2.2", "10.5.35.7", 0],
    ["192.0.2.2", "fc05:0:0:22::1", 0],
    ["192.0.2.2", "10.5.77.7", "foreign source"],
    ["192.0.2.2", "10.5.99.7", "foreign source"], // nobody's
    ["192.0.2.2", "10.5.0.1", "foreign source"],
    ["192.0.2.2", "fc05::1", "foreign source"],
    ["192.0.2.2", "10.5.16.7", "own source"],
    ["192.0.2.2", "10.5.16.0", "own source"],
    ["192.0.2.2", "fc05:0:0:10::7", "own source"],
    ["192.0.2.2", "192.0.2.1", "own source"],
    ["192.0.2.2", "172.17.0.1", "own source"],
    ["192.0.2.2", "2001:db8::1", "own source"],
    ["192.0.2.2", "8.8.8.8", 0],
    ["192.0.2.2", "192.0.2.2", 0],
    ["192.0.2.2", "2001:db8::2", 0],
    ["192.0.2.2", "169.254.20.10", 0],
    ["192.0.2.2", "127.0.0.1", "impossible source"],
    ["192.0.2.2", "127.255.255.254", "impossible source"],
    ["192.0.2.2", "224.0.0.1", "impossible source"],
    ["192.0.2.2", "239.255.255.255", "impossible source"],
    ["192.0.2.2", "240.0.0.1", 0],
    ["192.0.2.2", "255.255.255.255", "impossible source"],
    ["192.0.2.2", "0.0.0.0", "impossible source"],
    ["192.0.2.2", "0.1.2.3", "impossible source"],
    ["192.0.2.2", "::", "impossible source"],
    ["192.0.2.2", "::1", "impossible source"],
    ["192.0.2.2", "fe80::1", "impossible source"],
    ["192.0.2.2", "ff02::1", "impossible source"],
    ["192.0.2.2", "::ffff:10.5.34.7", "impossible source"],
    ["198.51.100.9", "10.5.34.7", 0], // in AcceptFrom: any lease of another host
    ["198.51.100.9", "10.5.77.7", 0],
    ["198.51.100.9", "10.5.99.7", "foreign source"],
    ["198.51.100.9", "10.5.16.7", "own source"],
    ["198.51.100.9", "192.0.2.1", "own source"],
    ["198.51.100.9", "8.8.8.8", 0],
    ["198.51.100.9", "127.0.0.1", "impossible source"],
    ["192.0.2.99", "10.5.34.7", "stranger"],
    ["192.0.2.99", "8.8.8.8", "stranger"],
    ["192.0.2.99", "10.5.16.7", "stranger"],
  ] as const)("judge() of a packet that %s sends from %s: %s", (outer, from, verdict) => {
    const table = forwarding();
    const packet = putPacket(arena, at, { from, to: from.includes(":") ? "fc05:0:0:10::5" : "10.5.16.5" });
    expect(table.judge(table.sender(word(outer)), packet)).toBe(verdict);
  });

  test("judge() leaves destinations to the kernel, but loopback", () => {
    const table = forwarding();
    const verdicts = [
      "10.5.16.5",
      "10.5.77.5",
      "8.8.8.8",
      "192.0.2.1",
      "255.255.255.255",
      "127.0.0.1",
      "127.9.9.9",
    ].map((to) => table.judge(0, putPacket(arena, at, { from: "10.5.34.7", to })));
    expect(verdicts).toEqual([0, 0, 0, 0, 0, "loopback destination", "loopback destination"]);
    const v6 = ["fc05:0:0:10::5", "::1", "::2", "::1:0:0:1", "1::1"].map((to) =>
      table.judge(0, putPacket(arena, at, { from: "fc05:0:0:22::7", to })),
    );
    expect(v6).toEqual([0, "loopback destination", 0, 0, 0]);
  });

  test("judge() lets IPv6 in only where the overlay has it", () => {
    const table = forwarding({ networks: [parsePrefix("10.5.0.0/16")], peers: TABLE.peers.slice(0, 1) });
    const packet = putPacket(arena, at, { from: "2001:db8::2", to: "2001:db8::1" });
    expect(table.judge(0, packet)).toBe("family not in use");
  });

  test("judge() knows our own subnet for ours, whatever a lease says", () => {
    const table = forwarding({ peers: [...TABLE.peers, peer("10.5.16.0/24", "203.0.113.3", 2)] });
    expect(table.judge(2, putPacket(arena, at, { from: "10.5.16.7", to: "10.5.16.5" }))).toBe("own source");
    expect(table.route(putPacket(arena, at, { from: "10.5.16.7", to: "10.5.16.5" }))).toBe(NO_ROUTE);
  });

  test("hasLeasedSource() tells a peer's subnet from anybody's, whoever sent it", () => {
    const table = forwarding();
    const claims = ["10.5.34.7", "fc05:0:0:22::1", "10.5.99.7", "10.5.16.7", "8.8.8.8"].map((from) =>
      table.hasLeasedSource(putPacket(arena, at, { from, to: from.includes(":") ? "fc05::1" : "10.5.16.5" })),
    );
    expect(claims).toEqual([true, true, false, false, false]);
  });

  test("buildForwarding() refuses a public IP that is not IPv4", () => {
    expect(() => forwarding({ peers: [peer("10.5.34.0/24", "2001:db8::2", 0)] })).toThrow("2001:db8::2");
  });
});

describe("properties", () => {
  const octet = fc.constantFrom(0, 1, 5, 16, 34, 77, 127, 128, 224, 255);
  const anyAddress = fc
    .tuple(fc.constantFrom(0, 8, 10, 127, 192, 224, 255), octet, octet, octet)
    .map(([a, b, c, d]): Address => parseAddress(`${a}.${b}.${c}.${d}`));
  const overlayAddress = fc.tuple(octet, octet).map(([c, d]) => parseAddress(`10.5.${c}.${d}`));
  const address = fc.oneof(overlayAddress, anyAddress);
  const subnet = fc
    .tuple(overlayAddress, fc.integer({ min: 20, max: 28 }))
    .map(([address, length]): Prefix => parsePrefix(`${formatAddress(address)}/${length}`));
  const table = fc
    .record({
      ownSubnet: subnet,
      ownAddresses: fc.array(address, { maxLength: 3 }),
      peers: fc.array(fc.tuple(subnet, anyAddress), { maxLength: 6 }),
      acceptFrom: fc.array(fc.tuple(anyAddress, fc.nat({ max: 32 })), { maxLength: 2 }),
    })
    .map(({ ownSubnet, ownAddresses, peers, acceptFrom }): ForwardingTable => {
      const addresses = [...new Set(peers.map(([, publicIP]) => formatAddress(publicIP)))];
      return {
        networks: [parsePrefix("10.5.0.0/16")],
        ownSubnets: [ownSubnet],
        ownAddresses,
        peers: peers.map(([subnet, publicIP]) => ({
          subnet,
          publicIP,
          slot: addresses.indexOf(formatAddress(publicIP)),
        })),
        acceptFrom: acceptFrom.map(([address, length]) => parsePrefix(`${formatAddress(address)}/${length}`)),
      };
    });

  /** The longest subnet that holds the address; of equal ones the last, ours before all. */
  function ownerOf(table: ForwardingTable, address: Address): Address | "ours" | undefined {
    const subnets = [
      ...table.peers.map(({ subnet, publicIP }) => ({ subnet, owner: publicIP })),
      ...table.ownSubnets.map((subnet) => ({ subnet, owner: "ours" as const })),
    ].filter(({ subnet }) => containsAddress(subnet, address));
    return subnets.toSorted((a, b) => a.subnet.length - b.subnet.length).at(-1)?.owner;
  }

  /** The admission rule once more, in words on addresses. */
  function admits(table: ForwardingTable, outer: Address, inner: Address): boolean {
    const isPeer = table.peers.some((peer) => peer.publicIP.value === outer.value);
    if (!isPeer && !table.acceptFrom.some((prefix) => containsAddress(prefix, outer))) return false;
    if (table.networks.some((network) => containsAddress(network, inner))) {
      const owner = ownerOf(table, inner);
      if (owner === undefined || owner === "ours") return false;
      return isPeer ? owner.value === outer.value : true;
    }
    const text = formatAddress(inner);
    const first = Number(text.split(".")[0]);
    const isHost = first !== 0 && first !== 127 && (first < 224 || first >= 240) && text !== "255.255.255.255";
    return isHost && !table.ownAddresses.some((own) => own.value === inner.value);
  }

  test("judge() admits exactly what the rule says", () => {
    let admitted = 0;
    fc.assert(
      fc.property(table, address, address, fc.nat(), (table, stranger, from, pick) => {
        const forwarding = new Forwarding(buildForwarding(table), arena);
        const packet = putPacket(arena, at, { from: formatAddress(from), to: "10.5.16.5" });
        const outer = pick % 2 === 0 ? (table.peers[pick % 7]?.publicIP ?? stranger) : stranger;
        const verdict = forwarding.judge(forwarding.sender(Number(outer.value)), packet);
        const rule = admits(table, outer, from);
        if (rule) admitted++;
        expect(verdict === 0, `${formatAddress(outer)} from ${formatAddress(from)}: ${verdict}`).toBe(rule);
      }),
      { numRuns: 2000 },
    );
    expect(admitted).toBeGreaterThan(20);
  });

  test("route() finds the owner of the destination", () => {
    fc.assert(
      fc.property(table, address, (table, to) => {
        const forwarding = new Forwarding(buildForwarding(table), arena);
        const slot = forwarding.route(putPacket(arena, at, { from: "10.5.16.5", to: formatAddress(to) }));
        const owner = ownerOf(table, to);
        const expected = owner === undefined || owner === "ours" ? 0 : Number(owner.value);
        expect(slot === NO_ROUTE).toBe(owner === undefined || owner === "ours");
        expect(forwarding.addressOf(slot) >>> 0, table.peers.map((p) => formatPrefix(p.subnet)).join()).toBe(expected);
      }),
    );
  });

  test("judge() and route() have an answer for whatever parses", () => {
    const table = forwarding();
    const packet = new IpPacket(arena);
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 80 }), fc.constantFrom(0x45, 0x60), (bytes, first) => {
        arena.bytes.set(bytes, at);
        arena.bytes[at] = first;
        arena.view.setUint16(at + 2, bytes.length);
        if (first === 0x60) arena.view.setUint16(at + 4, bytes.length - 40);
        if (packet.parse(at, bytes.length) !== 0) return;
        for (const sender of [0, 2, 99, ACCEPTED, STRANGER]) {
          const verdict = table.judge(sender, packet);
          expect(verdict === 0 || DROP_REASONS.includes(verdict)).toBe(true);
        }
        expect([NO_ROUTE, 0, 2]).toContain(table.route(packet));
      }),
      { seed: 3, numRuns: 1000 },
    );
  });
});
