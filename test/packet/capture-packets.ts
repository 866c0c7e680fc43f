/**
 * Writes src/backend/udp/fixtures/superpackets.json: packets of real programs as a TUN device with offloads hands them out, and what
 * the kernel makes of each on its way to a device without. Run as root, python3 at hand: node test/packet/capture-packets.ts
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { TunPacket } from "../../src/backend/udp/superpackets.ts";
import { PYTHON } from "../support/python.ts";
import { KernelSegmenter } from "./kernel-segmenter.ts";
import { type Tun, TunNamespace } from "./tun-namespace.ts";

const SERVER = `
import socket, threading
def serve(family):
    server = socket.create_server(("", 5201), family=family, dualstack_ipv6=False)
    while True:
        peer, _ = server.accept()
        while peer.recv(65536): pass
        peer.close()
for family in (socket.AF_INET, socket.AF_INET6):
    threading.Thread(target=serve, args=(family,)).start()
print("ready", flush=True)
`;
/** family, kind, bytes, segment */
const CLIENT = `
import socket, sys
family, kind, size, segment = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
address = "10.5.16.2" if family == 4 else "fd00:5::1602"
data = bytes((i * 7 + i // 251) % 256 for i in range(size))
s = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
if segment: s.setsockopt(17, 103, segment)
s.connect((address, 5201))
s.sendall(data)
s.close()
`;
const KINDS = [
  ["TCP over IPv4", 4, "tcp", 5000, 0],
  ["TCP over IPv6", 6, "tcp", 5000, 0],
  ["UDP over IPv4, segmented by its sender", 4, "udp", 2500, 600],
  ["UDP over IPv6, segmented by its sender", 6, "udp", 2500, 600],
  ["UDP over IPv4", 4, "udp", 40, 0],
  ["UDP over IPv6", 6, "udp", 41, 0],
] as const;

function start(namespace: TunNamespace, script: string, ...more: readonly string[]): ChildProcess {
  const [command, argv] = namespace.inside([PYTHON, "-c", script, ...more]);
  return spawn(command, argv, { stdio: ["ignore", "pipe", "inherit"] });
}

function open(name: string, addresses: readonly string[], routes: readonly string[]): [TunNamespace, Tun] {
  const namespace = new TunNamespace(name);
  namespace.sysctl("net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.addr_gen_mode=1", "net.ipv4.tcp_ecn=1");
  const tun = namespace.open("pktun", true);
  const lines = [
    "link set lo up",
    "link set pktun up mtu 1472",
    ...addresses,
    ...routes.map((route) => `${route} dev pktun`),
  ];
  namespace.ip(lines.join("\n"));
  return [namespace, tun];
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const [west, a] = open(
  `pk-west-${process.pid}`,
  ["address add 10.5.15.1/32 dev pktun", "address add fd00:5::1501/128 dev pktun nodad"],
  ["route add 10.5.16.0/24", "route add fd00:5::1600/120"],
);
const [east, b] = open(
  `pk-east-${process.pid}`,
  ["address add 10.5.16.2/32 dev pktun", "address add fd00:5::1602/128 dev pktun nodad"],
  ["route add 10.5.15.0/24", "route add fd00:5::1500/120"],
);
using stack = new DisposableStack();
stack.use(west);
stack.use(east);
const kernel = stack.use(new KernelSegmenter(`pk-oracle-${process.pid}`));
const server = start(east, SERVER);
stack.defer(() => server.kill());
await new Promise((resolve) => server.stdout?.once("data", resolve));

const captured: TunPacket[] = [];
/** Hands packets on both ways, as they are, until nothing comes any more. */
async function relay(client: ChildProcess): Promise<void> {
  for (let quiet = 0; quiet < 50; ) {
    const there = a.read();
    if (there !== undefined) {
      captured.push({ header: there.slice(0, 10), packet: there.slice(10) });
      b.write(there);
    }
    const back = b.read();
    if (back !== undefined) a.write(back);
    if (there === undefined && back === undefined) {
      await sleep(2);
      quiet = client.exitCode === null ? 0 : quiet + 1;
    }
  }
}

const entries: object[] = [];
for (const [name, family, kind, size, segment] of KINDS) {
  captured.length = 0;
  const client = start(west, CLIENT, `${family}`, kind, `${size}`, `${segment}`);
  await relay(client);
  const protocol = kind === "tcp" ? 6 : 17;
  for (const tun of captured) {
    const { header, packet } = tun;
    if (packet[family === 4 ? 9 : 6] !== protocol || header[0] === 0) continue;
    const gsoSize = (header[4] ?? 0) + 256 * (header[5] ?? 0);
    const headerLength = (header[2] ?? 0) + 256 * (header[3] ?? 0);
    const count = gsoSize === 0 ? 1 : Math.ceil((packet.length - headerLength) / gsoSize);
    const segments = await kernel.segment(tun, count);
    entries.push({ name, header: hex(header), packet: hex(packet), segments: segments.map(hex) });
  }
}
const directory = new URL("../../src/backend/udp/fixtures/", import.meta.url);
mkdirSync(directory, { recursive: true });
writeFileSync(new URL("superpackets.json", directory), `${JSON.stringify(entries, undefined, 2)}\n`);
console.log(`${entries.length} packets`);
