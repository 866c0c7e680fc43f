import { expect, test } from "vitest";
import { parseAddress } from "../../ip/address.ts";
import { parsePrefix } from "../../ip/prefix.ts";
import { MOST_SOURCES, SAMPLE } from "../../kernel/packet-ports.ts";
import { ip4, payload, udp } from "../../wire/packet/packets.ts";
import { hostAddress, MemoryHost } from "./memory-host.ts";
import { sourceRanges, widenRanges } from "./source-ranges.ts";

const STRANGER = hostAddress(99);
const packet = ip4(udp(payload(36)), { source: "10.5.255.1", destination: "10.5.15.2" });

function strangers(host: MemoryHost, count: number): void {
  host.receive(STRANGER, ...Array<Uint8Array>(count).fill(packet));
}

/** Lets so much time pass while the packet thread goes on. */
function pass(host: MemoryHost, seconds: number): void {
  for (let second = 0; second < seconds; second++) {
    host.now += 1_000;
    host.guard.turn(true);
  }
}

function flooded(host = new MemoryHost(15, [16, 17])): MemoryHost {
  strangers(host, 1_000);
  expect(host.socket.sources).toBeDefined();
  return host;
}

/** What is dropped of strangers from now on. */
function dropsOf(host: MemoryHost, action: () => void): number {
  const before = host.drops["stranger"] ?? 0;
  action();
  return (host.drops["stranger"] ?? 0) - before;
}

test("FloodGuard has the kernel drop what strangers send once they send thousands a second, and nothing of peers", () => {
  const { socket } = flooded();
  const peers = sourceRanges(Int32Array.of(hostAddress(16), hostAddress(17)), new Uint32Array());
  expect(socket.sources).toEqual(peers);
});

test("FloodGuard lets in whom AcceptFrom names", () => {
  const table = { acceptFrom: [parsePrefix("198.51.100.0/24")] };
  const { socket } = flooded(new MemoryHost(15, [16], { table }));
  const networks = Uint32Array.of(0xc633_6400, 0xc633_64ff);
  expect(socket.sources).toEqual(sourceRanges(Int32Array.of(hostAddress(16)), networks));
});

test("FloodGuard leaves the kernel alone where strangers send less, or peers whatever they send", () => {
  const host = new MemoryHost(15, [16]);
  for (let burst = 0; burst < 50; burst++) {
    strangers(host, 200);
    host.now += 150;
  }
  host.receive(hostAddress(16), ...Array<Uint8Array>(5_000).fill(packet));
  expect(host.socket.sources).toBeUndefined();
  expect(host.drops["stranger"]).toBe(10_000);
});

test("FloodGuard counts each stranger's packet that it sees as those that it stands for, but none from before the filter", () => {
  const host = new MemoryHost(15, [16]);
  const [, first] = [strangers(host, 300), dropsOf(host, () => strangers(host, 700))];
  expect(first).toBe(700); // they were there already
  host.receiveMore();
  expect(dropsOf(host, () => strangers(host, 10))).toBe(10 * SAMPLE);
  host.socket.toReceive.push({ host: STRANGER, bytes: new Uint8Array([...packet, ...packet]), segment: packet.length });
  expect(dropsOf(host, () => host.receiveMore())).toBe(2 * SAMPLE);
});

test("FloodGuard goes when the flood has gone, and counts one by one again", () => {
  const host = flooded();
  for (let second = 0; second < 10; second++) {
    strangers(host, 8);
    pass(host, 1);
  }
  expect(host.socket.sources).toBeDefined();
  pass(host, 4);
  expect(host.socket.sources).toBeUndefined();
  expect(host.guard.patience).toBe(-1);
  expect(dropsOf(host, () => strangers(host, 10))).toBe(10);
});

test("FloodGuard lets a new peer in at once", () => {
  const host = flooded();
  host.setPeers([16, 17, 18]);
  const peers = sourceRanges(Int32Array.from([16, 17, 18], hostAddress), new Uint32Array());
  expect(host.socket.sources).toEqual(peers);
  const [source, destination] = ["10.5.18.1", "10.5.15.2"];
  host.receive(hostAddress(18), ip4(udp(payload(36)), { source, destination }));
  expect(host.tun.written).toHaveLength(1);
});

test("FloodGuard takes a filter off a socket that an earlier daemon left with one, and guards it anew", () => {
  const host = new MemoryHost(15, [16]);
  host.socket.sources = new Uint32Array();
  host.guard.setSocket(host.socket);
  expect(host.socket.sources).toBeUndefined();
  flooded(host);
  host.guard.setSocket(host.socket);
  expect(host.socket.sources).toBeUndefined();
  expect(dropsOf(host, () => strangers(host, 10))).toBe(10);
});

/** Peers with a gap behind each, more than a program can name. */
const scattered = (count: number) =>
  Array.from({ length: count }, (_, slot) => ({
    subnet: parsePrefix(`10.5.${slot & 255}.${slot >> 8}/32`),
    publicIP: parseAddress(`10.${200 + (slot >> 14)}.${(slot >> 7) & 127}.${(slot & 127) * 2}`),
    slot,
  }));

test("FloodGuard lets all of ten thousand peers in: some strangers between them too", () => {
  const peers = scattered(10_000);
  const { socket, sources } = flooded(new MemoryHost(15, [], { table: { peers } }));
  expect(sources.length).toBe(2 * 10_000);
  expect(socket.sources).toEqual(widenRanges(sources, MOST_SOURCES));
});

test("FloodGuard makes do with what memory the kernel gives", () => {
  const host = new MemoryHost(15, [], { table: { peers: scattered(3_000) } });
  host.socket.mostSources = 200;
  expect(flooded(host).socket.sources).toEqual(widenRanges(host.sources, 125));
  expect(host.degraded).toEqual([]);
});

test("FloodGuard says once that the kernel takes no filter, and strangers are dropped all the same", () => {
  const host = new MemoryHost(15, [16]);
  host.socket.mostSources = 0;
  strangers(host, 5_000);
  expect(host.drops["stranger"]).toBe(5_000);
  expect(host.degraded).toEqual([
    "the kernel takes no filter for the socket (ENOMEM): a flood of strangers costs more",
  ]);
});
