import { describe, expect, test } from "vitest";
import { type Address, formatAddress } from "../ip/address.ts";
import { AddressMessage } from "./address-message.ts";
import { type Codec, sourceOf } from "./codec.ts";
import { cursorAt, decodeAll, type FIXTURES, type Reader, readFixture, type Said } from "./fixtures.ts";
import { IFF_UP, LinkMessage } from "./link-message.ts";
import { NeighborMessage, NTF_SELF } from "./neighbor-message.ts";
import { NETLINK_HEADER_SIZE, readAcknowledgement } from "./netlink-header.ts";
import { NexthopMessage } from "./nexthop-message.ts";
import { RouteMessage, RTNH_F_ONLINK } from "./route-message.ts";
import { WireError } from "./wire-error.ts";
import { Writer } from "./writer.ts";

const names = new Map(decodeAll("links", LinkMessage).map((link) => [link.index, link.name]));
const nameOf = (index: number | undefined) => (index === undefined ? undefined : names.get(index));
const text = (value: Address | undefined) => (value === undefined ? undefined : formatAddress(value));
const PROTOCOLS = new Map([
  [0, "unspec"],
  [2, "kernel"],
  [3, "boot"],
  [4, "static"],
]);
const protocolName = (protocol: number) => PROTOCOLS.get(protocol) ?? String(protocol);

/** Pairs what the kernel told with what iproute2 said of it, which is in the same order. */
function pairs<T>(name: (typeof FIXTURES)[number], codec: Reader<T>): readonly (readonly [T, Said])[] {
  const { says } = readFixture(name);
  const values = decodeAll(name, codec);
  expect(values.length).toBe(says.length);
  return values.map((value, index) => [value, says[index] ?? {}] as const);
}

describe("LinkMessage", () => {
  test("reads what ip link says of every kind of device", () => {
    for (const [link, said] of pairs("links", LinkMessage)) {
      expect({
        ifindex: link.index,
        ifname: link.name,
        mtu: link.mtu,
        min_mtu: link.minMtu,
        max_mtu: link.maxMtu,
        txqlen: link.transmitQueueLength,
        qdisc: link.queueing,
        address: link.mac || undefined,
        broadcast: link.broadcast || undefined,
        link: nameOf(link.lower),
        master: nameOf(link.master),
        ifalias: link.alias,
        num_tx_queues: link.transmitQueues,
        num_rx_queues: link.receiveQueues,
        up: (link.flags & IFF_UP) !== 0,
        kind: link.info?.kind,
      }).toEqual({
        ...pick(said, "ifindex ifname mtu min_mtu max_mtu txqlen qdisc address broadcast link master ifalias"),
        ...pick(said, "num_tx_queues num_rx_queues"),
        up: (said["flags"] as string[]).includes("UP"),
        kind: (said["linkinfo"] as Said | undefined)?.["info_kind"],
      });
    }
  });

  test("reads every attribute of a vxlan device that ip says", () => {
    const devices = pairs("links", LinkMessage).filter(([link]) => link.info?.kind === "vxlan");
    expect(devices).toHaveLength(4);
    for (const [link, said] of devices) {
      const vxlan = link.info?.vxlan ?? {};
      const flag = (value: number | boolean | undefined) => value === 1 || value === true;
      const orAbsent = (value: number | boolean | undefined) => (flag(value) ? true : undefined);
      const hex = (value: number | undefined) => (value ? `0x${value.toString(16)}` : undefined);
      expect({
        id: vxlan.vni,
        group: text(vxlan.group),
        local: text(vxlan.local),
        local6: text(vxlan.local6),
        link: nameOf(vxlan.lower),
        port_range: vxlan.sourcePorts,
        port: vxlan.port,
        learning: flag(vxlan.learning),
        proxy: orAbsent(vxlan.proxy),
        rsc: orAbsent(vxlan.routeShortCircuit),
        l2miss: orAbsent(vxlan.l2miss),
        l3miss: orAbsent(vxlan.l3miss),
        tos: hex(vxlan.tos),
        ttl: vxlan.ttl,
        label: hex(vxlan.flowLabel),
        ageing: vxlan.ageing,
        limit: vxlan.limit || undefined,
        udp_csum: flag(vxlan.udpChecksum),
        udp_zero_csum6_tx: flag(vxlan.udpZeroChecksum6Send),
        udp_zero_csum6_rx: flag(vxlan.udpZeroChecksum6Receive),
        gbp: vxlan.gbp,
        gpe: vxlan.gpe,
        external: orAbsent(vxlan.collectMetadata),
        df: vxlan.df === 0 ? "unset" : "set",
      }).toEqual(infoData(said));
      expect(vxlan.unknown).toBeUndefined();
    }
  });

  test("reads a bridge as ip says", () => {
    const [[link, said] = NOTHING] = pairs("links", LinkMessage).filter(([{ info }]) => info?.kind === "bridge");
    const bridge = link.info?.bridge;
    expect({
      forward_delay: bridge?.forwardDelay,
      hello_time: bridge?.helloTime,
      max_age: bridge?.maxAge,
      ageing_time: bridge?.ageingTime,
      stp_state: bridge?.stpState,
      priority: bridge?.priority,
      group_addr: bridge?.groupAddress,
      mcast_snooping: bridge?.multicastSnooping,
      mcast_hash_max: bridge?.multicastHashMax,
      mcast_querier_intvl: Number(bridge?.multicastQuerierInterval),
      nf_call_iptables: bridge?.callIptables,
    }).toEqual(
      pick(
        infoData(said),
        "forward_delay hello_time max_age ageing_time stp_state priority group_addr mcast_snooping mcast_hash_max " +
          "mcast_querier_intvl nf_call_iptables",
      ),
    );
  });

  test("reads a tun as ip says", () => {
    const [[link, said] = NOTHING] = pairs("links", LinkMessage).filter(([{ info }]) => info?.kind === "tun");
    const tun = link.info?.tun;
    expect({
      type: tun?.type === 1 ? "tun" : "tap",
      pi: tun?.packetInformation === 1,
      vnet_hdr: tun?.virtioHeader === 1,
      multi_queue: tun?.multiQueue === 1,
      persist: tun?.persist === 1,
    }).toEqual(pick(infoData(said), "type pi vnet_hdr multi_queue persist"));
  });

  test("writes a veth pair with its other end", () => {
    const writer = new Writer();
    const peer = { index: 0, name: "cable", mac: "02:00:00:00:00:11" };
    LinkMessage.write(writer, { name: "port", info: { kind: "veth", veth: { peer: { ...PEER_HEADER, ...peer } } } });
    const link = LinkMessage.read(sourceOf(writer.bytes), 0, writer.length);
    expect(link.info?.veth?.peer).toMatchObject(peer);
  });
});

/** Fails every comparison. */
const NOTHING: readonly [Partial<LinkMessage>, Said] = [{}, { linkinfo: { info_data: { none: true } } }];

const PEER_HEADER = { family: 0, type: 0, flags: 0, changeMask: 0 };

test("AddressMessage reads what ip addr says", () => {
  const told = decodeAll("addresses", AddressMessage).map((address) => ({
    link: nameOf(address.linkIndex),
    local: text(address.local ?? address.address),
    prefixlen: address.prefixLength,
    label: address.label,
  }));
  const said = readFixture("addresses").says.flatMap((link) =>
    (link["addr_info"] as Said[]).map((address) => ({
      link: link["ifname"],
      ...pick(address, "local prefixlen label"),
    })),
  );
  expect(sorted(told)).toEqual(sorted(said));
});

test("RouteMessage reads what ip route says", () => {
  for (const [route, said] of pairs("routes", RouteMessage)) {
    const bits = route.family === 2 ? 32 : 128;
    const length = route.destinationLength === bits ? "" : `/${route.destinationLength}`;
    expect({
      dst: route.destination === undefined ? "default" : `${text(route.destination)}${length}`,
      gateway: text(route.gateway),
      dev: route.kind === 6 ? undefined : nameOf(route.linkIndex),
      table: (route.wideTable ?? route.table) === 254 ? "main" : "local",
      protocol: protocolName(route.protocol),
      prefsrc: text(route.preferredSource),
      metric: route.metric,
      nhid: route.nexthopId,
      onlink: (route.flags & RTNH_F_ONLINK) !== 0,
      metrics:
        route.metrics === undefined
          ? undefined
          : [
              {
                mtu: route.metrics.mtu,
                advmss: route.metrics.advertisedSegment,
                initcwnd: route.metrics.initialCongestionWindow,
                congestion: route.metrics.congestionControl,
              },
            ],
      nexthops: route.multipath?.map((hop) => ({
        gateway: text(hop.gateway),
        dev: nameOf(hop.linkIndex),
        weight: hop.hops + 1,
        flags: (hop.flags & RTNH_F_ONLINK) !== 0 ? ["onlink"] : [],
      })),
    }).toEqual({
      ...pick(said, "dst gateway dev table protocol prefsrc metric nhid metrics"),
      nexthops: said["nexthops"],
      onlink: (said["flags"] as string[]).includes("onlink"),
    });
  }
});

test("NeighborMessage reads what ip neigh says", () => {
  for (const [neighbor, said] of pairs("neighbors", NeighborMessage)) {
    expect({
      dst: text(neighbor.destination),
      dev: nameOf(neighbor.linkIndex),
      lladdr: neighbor.linkLayerAddress,
      state: [{ 4: "STALE", 64: "NOARP", 128: "PERMANENT" }[neighbor.state]],
    }).toEqual(pick(said, "dst dev lladdr state"));
  }
});

test("NeighborMessage reads what bridge fdb says", () => {
  for (const [entry, said] of pairs("fdb", NeighborMessage)) {
    expect({
      mac: entry.linkLayerAddress,
      ifname: nameOf(entry.linkIndex),
      dst: text(entry.destination),
      port: entry.port,
      vni: entry.vni,
      viaIf: nameOf(entry.outLink),
      master: nameOf(entry.master),
      self: (entry.flags & NTF_SELF) !== 0,
    }).toEqual({
      ...pick(said, "mac ifname dst port vni viaIf master"),
      self: (said["flags"] as string[]).includes("self"),
    });
  }
});

test("NexthopMessage reads what ip nexthop says", () => {
  for (const [nexthop, said] of pairs("nexthops", NexthopMessage)) {
    expect({
      id: nexthop.id,
      gateway: text(nexthop.gateway),
      dev: nexthop.blackhole ? undefined : nameOf(nexthop.linkIndex),
      protocol: protocolName(nexthop.protocol),
      onlink: (nexthop.flags & RTNH_F_ONLINK) !== 0,
      group: nexthop.group?.map(({ id, weight }) => (weight === 0 ? { id } : { id, weight: weight + 1 })),
    }).toEqual({
      ...pick(said, "id gateway dev protocol group"),
      onlink: (said["flags"] as string[]).includes("onlink"),
    });
  }
});

test("readAcknowledgement() gives the kernel's errno and words", () => {
  const [bytes] = readFixture("refusal").messages;
  expect(readAcknowledgement(cursorAt(bytes ?? new Uint8Array()))).toEqual({
    errno: 101,
    text: "Nexthop has invalid gateway",
    offset: undefined,
  });
});

test("readAcknowledgement() refuses one that says it repeats more of the request than there is, however much", () => {
  const [bytes = new Uint8Array()] = readFixture("refusal").messages;
  for (const length of [15, bytes.length, 0x7fff_ffff, 0x8000_0010, 0xffff_ffff]) {
    const changed = bytes.slice();
    const view = new DataView(changed.buffer);
    view.setUint16(6, 0x200, true); // NLM_F_ACK_TLVS, and not NLM_F_CAPPED
    view.setUint32(NETLINK_HEADER_SIZE + 4, length, true);
    expect(() => readAcknowledgement(cursorAt(changed)), String(length)).toThrow(WireError);
  }
});

test.for([
  { name: "links", codec: LinkMessage },
  { name: "addresses", codec: AddressMessage },
  { name: "routes", codec: RouteMessage },
  { name: "neighbors", codec: NeighborMessage },
  { name: "fdb", codec: NeighborMessage },
  { name: "nexthops", codec: NexthopMessage },
] as const)(
  "write() gives back what read() took from the kernel's $name, attribute for attribute",
  ({ name, codec }) => {
    for (const bytes of readFixture(name).messages) {
      const { source, start, end } = cursorAt(bytes);
      const value = codec.read(source, start, end);
      const writer = new Writer(16);
      (codec as Codec<unknown>).write(writer, value);
      expect(codec.read(sourceOf(writer.bytes), 0, writer.length)).toEqual(value);
      expect(writer.length).toBe(end - start);
      expect(attributeSet(writer.written(), codec.headerSize)).toEqual(
        attributeSet(bytes.slice(start, end), codec.headerSize),
      );
    }
  },
);

/** The attributes of a message as sorted text, type flags left out, since a codec orders them by its own table. */
function attributeSet(bytes: Uint8Array, start: number): readonly string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: string[] = [];
  for (let at = start; at < bytes.length; at = (at + view.getUint16(at, true) + 3) & ~3) {
    const length = view.getUint16(at, true);
    const sum = bytes.subarray(at + 4, at + length).reduce((total, byte) => total + byte, 0);
    found.push(`${view.getUint16(at + 2, true) & 0x3fff} ${length} ${sum}`);
  }
  return found.toSorted();
}

function infoData(said: Said): Said {
  return (said["linkinfo"] as { info_data?: Said }).info_data ?? {};
}

/** Those that iproute2 said something about. */
function pick(said: Said, keys: string): Record<string, unknown> {
  return Object.fromEntries(keys.split(" ").map((key) => [key, said[key]]));
}

function sorted(values: readonly object[]): readonly object[] {
  return values.toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
}
