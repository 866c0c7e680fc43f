/**
 * Writes src/wire/fixtures: what the kernel tells of objects that iproute2 made, and what iproute2 says of the same objects.
 * Run as root when a codec learns a new attribute: node test/wire/capture-fixtures.ts
 */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { NetlinkSocket } from "../../src/kernel/netlink-socket.ts";
import {
  beginMessage,
  endMessage,
  MessageCursor,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_DONE,
} from "../../src/wire/netlink-header.ts";
import { Writer } from "../../src/wire/writer.ts";

const NAMESPACE = `fk-capture-${process.pid}`;
/** Once eth0 has carrier. */
const BELOW = `
link set lo up
link add eth0 type bridge priority 4096 ageing_time 2000
link add port address 02:00:00:00:00:10 type veth peer name cable
link set port master eth0 up
link set cable up
link set eth0 address 02:00:00:00:00:01 up
`;
const SETUP = `
addr add 192.0.2.1/24 dev eth0
addr add fd00:1::1/64 dev eth0 nodad
addr add 10.9.0.1 peer 10.9.0.2/32 dev eth0
link add vx4 address 02:00:00:00:00:04 mtu 1450 type vxlan id 4 local 192.0.2.1 dev eth0 dstport 8472 nolearning gbp ttl 7 tos 4 ageing 77 maxaddress 99 srcport 1000 2000 l2miss l3miss proxy rsc udp6zerocsumrx
link add vx6 address 02:00:00:00:00:06 type vxlan id 6 local fd00:1::1 dev eth0 dstport 4789 udp6zerocsumtx flowlabel 0x123
link add vxm type vxlan id 7 group 239.1.1.1 dev eth0 dstport 4790
link add vxe type vxlan external dstport 4791 gpe
link set vx4 up
link set vx6 up
tuntap add tun9 mode tun user 0
link set tun9 alias nine
addr add 10.5.1.0/32 dev vx4
route add 10.6.0.0/16 via 192.0.2.7 dev eth0 proto 77 metric 5 mtu 1400 src 192.0.2.1
route add 10.7.0.0/16 proto static nexthop via 192.0.2.8 dev eth0 weight 2 nexthop via 192.0.2.9 dev eth0 weight 3
route add 10.5.2.0/24 via 10.5.2.0 dev vx4 onlink
route add blackhole 10.8.0.0/16
route add 10.5.0.0/16 dev vx4 scope global
route add default via 192.0.2.254 dev eth0 advmss 1300 initcwnd 20 congctl reno
nexthop add id 241000001 via 10.5.3.0 dev vx4 onlink proto 241
nexthop add id 241000002 via 192.0.2.20 dev eth0 proto 241
nexthop add id 9 group 241000002,3/241000001
nexthop add id 10 blackhole
nexthop add id 11 via fd00:1::9 dev eth0
route add 10.5.3.0/24 nhid 241000001 proto 241
route add 10.5.4.0/24 nhid 9
route add fd00:5:2::/64 via fd00:1::7 dev eth0 proto 241
route add fd00:5:3::/64 nhid 11
neigh add 10.5.2.0 lladdr 02:00:00:00:00:22 dev vx4
neigh add 192.0.2.7 lladdr 02:00:00:00:00:77 dev eth0 nud stale
neigh add fd00:1::7 lladdr 02:00:00:00:00:77 dev eth0 router
`;

interface Subject {
  readonly file: string;
  readonly type: number;
  /** The body of the dump request: a header of zeros but for the family, and so many bytes. */
  readonly headerSize: number;
  readonly families: readonly number[];
  readonly says: readonly (readonly string[])[];
}

const SUBJECTS: readonly Subject[] = [
  { file: "links", type: 18, headerSize: 16, families: [0], says: [["ip", "-j", "-d", "link"]] },
  { file: "addresses", type: 22, headerSize: 8, families: [0], says: [["ip", "-j", "-d", "addr"]] },
  {
    file: "routes",
    type: 26,
    headerSize: 12,
    families: [2, 10],
    says: [
      ["ip", "-j", "-d", "-4", "route", "show", "table", "all"],
      ["ip", "-j", "-d", "-6", "route", "show", "table", "all"],
    ],
  },
  {
    file: "neighbors",
    type: 30,
    headerSize: 12,
    families: [2, 10],
    says: [["ip", "-j", "-d", "neigh", "show", "nud", "all"]],
  },
  { file: "fdb", type: 30, headerSize: 12, families: [7], says: [["bridge", "-j", "-d", "fdb"]] },
  { file: "nexthops", type: 106, headerSize: 8, families: [0], says: [["ip", "-j", "-d", "nexthop"]] },
];

function inside(...argv: readonly string[]): string {
  return execFileSync("ip", ["netns", "exec", NAMESPACE, ...argv], { encoding: "utf8" });
}

function batch(commands: string): void {
  execFileSync("ip", ["-n", NAMESPACE, "-batch", "-"], { input: commands, stdio: ["pipe", "inherit", "inherit"] });
}

function dump(socket: NetlinkSocket, { type, headerSize }: Subject, family: number): readonly string[] {
  const writer = new Writer();
  const start = beginMessage(writer, type, NLM_F_REQUEST | NLM_F_DUMP, 1);
  writer.u8(family);
  writer.skip(headerSize - 1);
  endMessage(writer, start);
  socket.send(writer.written());
  const messages: string[] = [];
  while (true) {
    const cursor = new MessageCursor(socket.source, socket.receive());
    while (cursor.next()) {
      if (cursor.type === NLMSG_DONE) return messages;
      messages.push(Buffer.from(socket.source.bytes.subarray(cursor.start - 16, cursor.end)).toString("hex"));
    }
  }
}

/** The kernel's answer to a route whose gateway is not on any link. */
function refusal(socket: NetlinkSocket): string {
  const writer = new Writer();
  const start = beginMessage(writer, 24, NLM_F_REQUEST | NLM_F_ACK | 0x600, 7);
  writer.append(Uint8Array.of(2, 24, 0, 0, 254, 241, 0, 1, 0, 0, 0, 0));
  writer.append(Uint8Array.of(8, 0, 1, 0, 10, 99, 0, 0, 8, 0, 5, 0, 203, 0, 113, 1));
  endMessage(writer, start);
  socket.send(writer.written());
  return Buffer.from(socket.source.bytes.subarray(0, socket.receive())).toString("hex");
}

execFileSync("ip", ["netns", "add", NAMESPACE]);
try {
  batch(BELOW);
  while (!inside("ip", "link", "show", "eth0").includes("LOWER_UP"));
  batch(SETUP);
  inside("bridge", "fdb", "add", "02:00:00:00:00:22", "dev", "vx4", "dst", "192.0.2.2", "port", "4444", "vni", "12");
  inside("bridge", "fdb", "add", "02:00:00:00:00:23", "dev", "vx6", "dst", "fd00:1::2");
  using socket = new NetlinkSocket(`/run/netns/${NAMESPACE}`);
  for (const subject of SUBJECTS) {
    const messages = subject.families.flatMap((family) => dump(socket, subject, family));
    const says = subject.says.flatMap((argv) => JSON.parse(inside(...argv)));
    const path = new URL(`../../src/wire/fixtures/${subject.file}.json`, import.meta.url);
    writeFileSync(path, `${JSON.stringify({ messages, says }, undefined, 1)}\n`);
  }
  writeFileSync(
    new URL("../../src/wire/fixtures/refusal.json", import.meta.url),
    `${JSON.stringify({ messages: [refusal(socket)], says: [] }, undefined, 1)}\n`,
  );
} finally {
  execFileSync("ip", ["netns", "del", NAMESPACE]);
}
