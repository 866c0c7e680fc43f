import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { hostsOf, untilPing } from "../e2e/hosts.ts";
import { duplex } from "./duplex.ts";
import { ethtool, setPodOffloads, setRealDatagrams } from "./link-conditions.ts";
import { captureCable, dissectFrame } from "./underlay-capture.ts";

// Needs root: network namespaces. What 0.7.0 at the other end relies on: its C loop hands datagrams to the kernel as they are.

const { signal } = new AbortController();

test.each([
  ["with offloads", true],
  ["without offloads", false],
])(
  "udp %s puts one whole IP packet into each datagram, no longer than the MTU, all checksums right",
  async (_, Offload) => {
    await using lab = await Lab.up({ hosts: 2, backend: { Type: "udp", Offload }, signal });
    const [a, b] = hostsOf(lab, 2);
    if (a === undefined || b === undefined) throw new Error("no hosts");
    await untilPing(a.pod, b.pod);
    // As a cable would carry it.
    await setRealDatagrams([a, b], true);
    for (const host of [a, b]) await ethtool(host, "eth0", "off", "tx");
    if (!Offload) await setPodOffloads([a, b], "off");
    const stop = await captureCable(lab, a, { signal });

    expect((await duplex(a.pod, b.pod, { bytes: 3_000_000, streams: 2, signal })).isIntact).toBe(true);
    const sizes = new URL("./sizes-program.ts", import.meta.url).pathname;
    await a.pod.run([process.execPath, sizes, "send", b.pod.address, "unheard"]); // nobody listens: errors come back by ICMP
    await a.pod.run(["ping", "-n", "-c2", "-i0.1", "-s", "9000", b.pod.address]);
    await a.pod.run(["ping", "-n", "-c1", "-R", b.pod.address]);
    await a.run(["ping", "-n", "-c1", b.pod.address]);
    await a.pod.exec(["ping", "-n", "-c1", "-W1", "-t3", b.pod.address]);

    const frames = (await stop()).map(dissectFrame);
    const from = (host: typeof a) => frames.filter(({ outer }) => outer.source === host.address);
    expect(from(a).length + from(b).length).toBe(frames.length);
    expect(Math.min(from(a).length, from(b).length)).toBeGreaterThan(2_000);
    expect([...new Set(frames.flatMap(({ sourcePort, destinationPort }) => [sourcePort, destinationPort]))]).toEqual([
      8285,
    ]);
    expect(Math.max(...frames.map(({ outer }) => outer.length))).toBe(1500);
    // Of 64, one for the pod's host and one for us; what the host itself sends has one more, ICMP errors of devices too.
    const pods = new Set([a.pod.address, b.pod.address]);
    const ttls = (isPod: boolean) =>
      new Set(
        frames.filter(({ inner }) => pods.has(inner.source) === isPod && inner.ttl > 1).map(({ inner }) => inner.ttl),
      );
    expect([...ttls(true)]).toEqual([62]);
    expect([...ttls(false)]).toEqual([63]);
    expect(new Set(frames.map(({ inner }) => inner.protocol))).toEqual(new Set([1, 6, 17]));
    expect(frames.some(({ inner }) => inner.isFragment)).toBe(true);
    expect(await b.pod.run(["ping", "-n", "-c1", a.pod.address])).toContain("ttl=60");
  },
);
