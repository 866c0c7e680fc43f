import { expect, onTestFinished, test } from "vitest";
import { PacketPath } from "../../src/backend/udp/packet-path.ts";
import { startPacketThread } from "../../src/backend/udp/thread.ts";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { close } from "../../src/kernel/libc.ts";
import { openTun } from "../../src/kernel/tun.ts";
import { openUdpSocket } from "../../src/kernel/udp-socket.ts";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { Place } from "../../src/lab/place.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { untilPing } from "../e2e/hosts.ts";
import { duplex } from "./duplex.ts";

// Needs root. A network's config has no IPv6 yet, so the packet path is set up by hand between hosts without flanneld.

const { signal } = new AbortController();
const PORT = 8285;

/** What flanneld would do with one subnet of IPv6 for each host. */
async function overlay(host: LabHost, own: number, others: readonly LabHost[], offload: boolean): Promise<PacketPath> {
  const path = new PacketPath({
    port: PORT,
    offload,
    networks: [parsePrefix("fd00:5::/32")],
    ownSubnets: [],
    ownAddresses: [parseAddress(host.address)],
    acceptFrom: [],
    logger: silentLogger,
    closeDescriptor: close,
    startThread: startPacketThread,
  });
  onTestFinished(() => path[Symbol.asyncDispose]());
  path.setTun(openTun("flannel0", offload, host.namespace.path));
  path.setSocket(openUdpSocket(parseAddress(host.address), PORT, offload, host.namespace.path));
  path.setPeers(
    others.map(({ address }, slot) => ({
      subnet: parsePrefix(`fd00:5:${3 - own}::/64`),
      publicIP: parseAddress(address),
      slot,
    })),
  );
  path.begin();
  await host.namespace.ip([
    "link set flannel0 mtu 1472 up",
    `addr add fd00:5:${own}::1/64 dev flannel0 nodad`,
    "route add fd00:5::/32 dev flannel0",
  ]);
  return path;
}

test.each([
  ["with offloads", true],
  ["without offloads", false],
])("udp carries packets of IPv6 %s: pings of every size, and TCP both ways unharmed", async (_, offload) => {
  await using lab = await Lab.up({ hosts: 2, pods: 0, daemons: false, signal });
  const [a, b] = lab.hosts;
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const paths = [await overlay(a, 1, [b], offload), await overlay(b, 2, [a], offload)];
  const [one, two] = [a, b].map(
    ({ name, namespace }, index) => new Place({ name, title: name, address: `fd00:5:${index + 1}::1`, namespace }),
  );
  if (one === undefined || two === undefined) throw new Error("no places");
  await untilPing(one, two); // the threads start from the sources here
  // One by one: of several, ping itself does not wait long for the last.
  for (const size of ["0", "1", "1424", "1425", "20000", "20000"])
    await one.run(["ping", "-6", "-n", "-q", "-c1", "-W5", "-s", size, two.address]);
  const { bytes, isIntact } = await duplex(one, two, { bytes: 5_000_000, streams: 2, signal });
  expect({ bytes, isIntact }).toEqual({ bytes: 20_000_000, isIntact: true });
  for (const path of paths)
    expect(
      Object.entries(path.traffic().drops).filter(([reason, count]) => count > 0 && reason !== "no route"),
    ).toEqual([]);
});
