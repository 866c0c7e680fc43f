import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { FakeKernel } from "../kernel/fake-kernel.ts";
import { parseNetworkConfig } from "../lease/network-config.ts";
import { overlapWithHost } from "./host-overlap.ts";

const { signal } = new AbortController();

async function overlap(config: object, addresses: Readonly<Record<string, string>>, kind?: string) {
  const kernel = new FakeKernel();
  for (const [name, address] of Object.entries(addresses)) {
    kernel.setLink({ name, kind });
    kernel.setAddress(name, parsePrefix(address));
  }
  const range = parseNetworkConfig(JSON.stringify({ Network: "10.5.0.0/16", ...config }));
  return overlapWithHost(range, await networksOf(kernel));
}

async function networksOf(kernel: FakeKernel) {
  const [links, addresses, routes] = await Promise.all([
    kernel.listLinks({ signal }),
    kernel.listAddresses({ signal }),
    kernel.listRoutes({ signal }),
  ]);
  return { links, addresses, routes };
}

/** On a host with this one route: `10.5.77.0/24 via 192.0.2.9 dev eth0 proto 4`, or `blackhole …`. */
async function overlapOfRoute(text: string, isFlannels = false) {
  const kernel = new FakeKernel();
  const [, kind, to = "", via, link = "", protocol] =
    /^(blackhole )?(\S+)(?: via (\S+))? dev (\S+) proto (\d+)$/.exec(text) ?? [];
  kernel.setLink({ name: link });
  kernel.setRoute({
    destination: parsePrefix(to),
    link,
    unicast: kind === undefined,
    protocol: Number(protocol),
    ...(via !== undefined && { gateway: parseAddress(via) }),
  });
  const range = parseNetworkConfig('{"Network": "10.5.0.0/16"}');
  return overlapWithHost(range, await networksOf(kernel), () => isFlannels);
}

describe("overlapWithHost()", () => {
  test.each([
    ["10.5.7.9/24", "10.5.7.0/24 dev eth0; SubnetMin and SubnetMax may keep the subnets off it"],
    ["10.5.7.9/16", "10.5.0.0/16 dev eth0; SubnetMin and SubnetMax may keep the subnets off it"],
    ["10.1.2.3/8", "10.0.0.0/8 dev eth0"],
  ])("names the route of %s", async (address, named) => {
    expect(await overlap({}, { lo: "127.0.0.1/8", eth0: address })).toBe(
      `10.5.0.0/16 overlaps this host's own route ${named}`,
    );
  });

  test("lets hosts be in the Network where no subnet is leased, as 0.7.0's documentation shows it", async () => {
    const config = { Network: "10.0.0.0/8", SubnetMin: "10.10.0.0", SubnetMax: "10.99.0.0" };
    expect(await overlap(config, { eth0: "10.1.2.3/16" })).toBeUndefined();
    expect(await overlap(config, { eth0: "10.100.2.3/16" })).toBeUndefined();
    expect(await overlap(config, { eth0: "10.99.0.7/24" })).toContain("10.99.0.0/24 dev eth0");
  });

  test.each([
    ["another network", { eth0: "192.0.2.1/24" }, undefined],
    ["an address without a route", { eth0: "10.5.3.1/32" }, undefined],
    ["another family", { eth0: "fd00::1/64" }, undefined],
    ["devices of flannel's", { "flannel.1": "10.5.3.0/16", flannel0: "10.5.3.0/16" }, undefined],
    ["a bridge of pods", { cni0: "10.5.3.1/24", docker0: "10.5.4.1/25" }, "bridge"],
  ])("has nothing against %s", async (_, addresses, kind) => {
    expect(await overlap({}, addresses, kind)).toBeUndefined();
  });

  test.each([
    ["10.5.77.0/24 via 192.0.2.9 dev eth0 proto 4", "10.5.77.0/24 via 192.0.2.9 dev eth0 proto static; SubnetMin"],
    ["10.5.128.0/17 dev tun0 proto 3", "10.5.128.0/17 dev tun0 proto boot; SubnetMin"],
    ["10.5.9.9/32 dev wg0 proto 3", "10.5.9.9/32 dev wg0 proto boot; SubnetMin"],
    ["10.5.0.0/16 via 192.0.2.9 dev eth0 proto 186", "10.5.0.0/16 via 192.0.2.9 dev eth0 proto bgp; SubnetMin"],
  ])("names a route that a VPN or an administrator made: %s", async (route, named) => {
    expect(await overlapOfRoute(route)).toContain(`overlaps this host's own route ${named}`);
    expect(await overlapOfRoute(route, true)).toBeUndefined(); // a former flannel's
  });

  test.each([
    ["the default route", "0.0.0.0/0 via 192.0.2.9 dev eth0 proto 16"],
    ["half of a VPN's default route", "0.0.0.0/1 dev tun0 proto 3"],
    ["the way to a site, of which the Network is a part", "10.0.0.0/8 via 192.0.2.9 dev eth0 proto 4"],
    ["another network", "10.6.0.0/24 via 192.0.2.9 dev eth0 proto 4"],
    ["a part that no subnet is leased from", "10.5.0.0/25 via 192.0.2.9 dev eth0 proto 4"],
    ["our own", "10.5.77.0/24 via 192.0.2.9 dev eth0 proto 241"],
    ["one to a flannel's device", "10.5.0.0/16 dev flannel.1 proto 3"],
    ["one to a pod", "10.5.3.7/32 dev veth0a1b proto 3"],
    ["what leads nowhere", "blackhole 10.5.3.0/24 dev eth0 proto 3"],
  ])("has nothing against %s", async (_, route) => {
    expect(await overlapOfRoute(route)).toBeUndefined();
  });

  test("names a bridge that is larger than any subnet, as Docker's own", async () => {
    expect(await overlap({ Network: "172.16.0.0/12" }, { docker0: "172.17.0.1/16" }, "bridge")).toContain(
      "172.17.0.0/16 dev docker0",
    );
  });
});
