import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { formatAddress } from "../../src/ip/address.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { ip4, ip6, payload, udp } from "../../src/wire/packet/packets.ts";
import { hostsOf, PATIENCE, untilPing } from "../e2e/hosts.ts";
import { capture } from "../support/capture.ts";

// Needs root: network namespaces. The rogue is the switch's own address, which is no host's.

const { signal } = new AbortController();
type Host = LabHost & { readonly pod: Place };

async function up(options: { readonly AcceptFrom?: unknown } = {}) {
  const lab = await Lab.up({ hosts: 2, backend: { Type: "udp", ...options }, flags: ["-v=1"], signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await untilPing(a.pod, b.pod);
  return { lab, a, b, [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose]() };
}

/** Datagrams whose inner packets say that they come from everywhere; the destination's port tells them apart. */
function everyKind(a: Host, b: Host): ReadonlyMap<string, Uint8Array> {
  const to = b.pod.address;
  const sources = {
    "a peer's pod": a.pod.address,
    "a pod of the host itself": b.pod.address,
    "the host's own device": b.pod.address.replace(/\d+$/, "0"),
    "the host itself": b.address,
    "an address that nobody has leased": "10.5.255.1",
    "an address outside": "203.0.113.9",
    "the rogue itself": "192.0.2.99",
    loopback: "127.0.0.1",
    multicast: "224.0.0.1",
    broadcast: "255.255.255.255",
    nobody: "0.0.0.0",
  };
  const packet = (source: string, destination = to) =>
    ip4(udp(payload(30), { destinationPort: 4242 }), { source, destination, ttl: 64 });
  const kinds = new Map(Object.entries(sources).map(([name, source]) => [`from ${name}`, packet(source)]));
  kinds.set("from a peer's pod to loopback", packet(a.pod.address, "127.0.0.1"));
  kinds.set("of IPv6", ip6(udp(payload(30))));
  kinds.set("garbage", payload(100));
  kinds.set("of one byte", Uint8Array.of(0x45));
  kinds.set("of nothing", new Uint8Array());
  return kinds;
}

/** Sends these datagrams to a host. @returns what its device was handed meanwhile, as tcpdump shows it; at least so many are waited for */
async function inject(
  from: Pick<Place, "run">,
  host: Host,
  datagrams: Iterable<Uint8Array>,
  least = 0,
): Promise<readonly string[]> {
  const seen = await capture(host, { link: "flannel0", filter: "-Q in port 4242 or not ip", signal });
  const program = new URL("./inject-program.ts", import.meta.url).pathname;
  const input = Array.from(datagrams, (bytes) => Buffer.from(bytes).toString("hex")).join("\n");
  await from.run([process.execPath, program, host.address], { input: `${input}\n` });
  await sleep(200);
  return await seen.stop(least);
}

/** How many packets that came in were dropped for a reason, as the log counts them. */
function dropCount(host: LabHost, reason: string): number {
  const lines = host.daemon.log().match(RegExp(`packet dropped reason="?${reason}"? .*`, "g")) ?? [];
  return lines.reduce((sum, line) => sum + 1 + Number(/ more=(\d+)/.exec(line)?.[1] ?? 0), 0);
}

/** Reasons and sources of packets that came in and were dropped, as the log has them at -v=1. */
function drops(host: LabHost): readonly string[] {
  const line = /packet dropped reason=("[^"]*"|\S+) from=\S+ source=(\S+)/g;
  return [...host.daemon.log().matchAll(line)].map(([, reason, source]) => `${reason?.replaceAll('"', "")} ${source}`);
}

test("udp hands nothing to pods that an address sends which is no peer's, and names it once", async () => {
  await using hosts = await up();
  const { lab, a, b } = hosts;
  const rogue = formatAddress(lab.switch.address);
  const kinds = everyKind(a, b);
  expect(await inject(lab.switch.namespace, b, [...kinds.values(), ...kinds.values()])).toEqual([]);
  await waitUntil(() => drops(b).length > 0, { signal, within: PATIENCE, what: "drops are logged" });
  expect(drops(b).every((drop) => drop.startsWith("stranger "))).toBe(true);
  // The log tells of a few in a second, and with the next one of those before it; what is no packet has no source to tell of.
  const noPackets = ["garbage", "of one byte", "of nothing"];
  let sent = 2 * [...kinds.keys()].filter((kind) => !noPackets.includes(kind)).length;
  const isCounted = async () => {
    sent++;
    await inject(lab.switch.namespace, b, [ip4(udp(payload(30)), { destination: b.pod.address })]);
    return dropCount(b, "stranger") === sent;
  };
  await waitUntil(isCounted, { signal, within: 30_000, what: "all are counted" });
  const told = b.daemon
    .log()
    .split("\n")
    .filter((line) => line.includes("an address that is no peer's"));
  expect(told).toHaveLength(1);
  expect(told[0]).toMatch(/^W/);
  expect(told[0]).toContain(`address=${rogue}`);
  expect(told[0]).toContain(`subnet=${a.pod.address.replace(/\d+$/, "0/24")}`);
  expect(told[0]).toContain("AcceptFrom");
  await untilPing(a.pod, b.pod);
});

test("udp hands to pods from a peer's host what that host may send, and names the rest by reason", async () => {
  await using hosts = await up();
  const { a, b } = hosts;
  const arrived = await inject(a, b, everyKind(a, b).values(), 3);
  expect(arrived.map((line) => / IP ([\d.]+)\.\d+ > /.exec(line)?.[1])).toEqual([
    a.pod.address,
    "203.0.113.9",
    "192.0.2.99",
  ]);
  const device = b.pod.address.replace(/\d+$/, "0");
  const expected = [
    `own source ${b.pod.address}`,
    `own source ${device}`,
    `own source ${b.address}`,
    "foreign source 10.5.255.1",
    "own source 127.0.0.1",
    "impossible source 224.0.0.1",
    "impossible source 255.255.255.255",
    "impossible source 0.0.0.0",
    `loopback destination ${a.pod.address}`,
    "family not in use fd00:5::1501",
  ];
  const areLogged = () => drops(b).length >= expected.length;
  await waitUntil(areLogged, { signal, within: PATIENCE, what: "drops are logged" });
  expect(drops(b)).toEqual(expect.arrayContaining(expected));

  const address = "198.51.100.77";
  const late = ip4(udp(payload(30), { destinationPort: 4242 }), { source: address, destination: b.pod.address });
  expect(await inject(a, b, [late], 1)).toHaveLength(1);
  await b.namespace.ip([`addr add ${address}/32 dev eth0`]);
  await waitUntil(async () => (await inject(a, b, [late])).length === 0, {
    signal,
    within: PATIENCE,
    what: "an address that came later is the host's own too",
  });
});

test.each(["any", "the rogue's network"])("udp lets in who is named by AcceptFrom: %s", async (which) => {
  await using probe = await Lab.up({ hosts: 0, signal });
  const AcceptFrom = which === "any" ? "any" : [`${formatAddress(probe.switch.address)}/32`];
  await probe.down();
  await using hosts = await up({ AcceptFrom });
  const { lab, a, b } = hosts;
  const arrived = await inject(lab.switch.namespace, b, everyKind(a, b).values(), 3);
  expect(arrived.map((line) => / IP ([\d.]+)\.\d+ > /.exec(line)?.[1])).toEqual([
    a.pod.address,
    "203.0.113.9",
    "192.0.2.99",
  ]);
});
