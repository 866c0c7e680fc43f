import { describe, expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { formatPrefix, parsePrefix } from "../ip/prefix.ts";
import type { KernelRoute, Link, LinkAddress } from "../kernel/kernel.ts";
import { parseNetworkConfig } from "../lease/network-config.ts";
import type { SubnetEnv } from "../lease/subnet-env.ts";
import { heritage, mayBeFlannels } from "./heritage.ts";
import { type HostState, NO_STATE } from "./host-state.ts";

const CONFIG = parseNetworkConfig(
  '{"Network":"10.5.0.0/16","SubnetMin":"10.5.10.0","SubnetMax":"10.5.99.0","Backend":{"Type":"vxlan"}}',
);

const link = (name: string, kind: string | undefined = "vxlan"): Link => ({
  index: 7,
  name,
  kind,
  mac: undefined,
  mtu: 1450,
  up: true,
  running: true,
  loopback: false,
  master: undefined,
  lower: undefined,
  vxlan: undefined,
});

const address = (link: string, text: string): LinkAddress => ({ link, address: parsePrefix(text), scope: "global" });

const env = (subnet: string, network = "10.5.0.0/16"): SubnetEnv => ({
  network: parsePrefix(network),
  subnet: parsePrefix(subnet),
  mtu: 1450,
  ipMasq: false,
});

const state = (more: Partial<HostState>): HostState => ({ ...NO_STATE, ...more });

const route = (destination: string, more: Partial<KernelRoute> = {}): KernelRoute => ({
  destination: parsePrefix(destination),
  link: "eth0",
  gateway: parseAddress("192.0.2.7"),
  onlink: false,
  scope: "global",
  protocol: 3,
  metric: 0,
  source: undefined,
  unicast: true,
  multipath: false,
  ...more,
});

const onDevice = (link: string): Partial<KernelRoute> => ({ link, gateway: undefined });

describe("heritage().previous", () => {
  const previous = (state: HostState, published?: SubnetEnv) =>
    heritage(CONFIG, state, published, [], []).previous.map(formatPrefix);
  const remembered = (subnet: string, network = "10.5.0.0/16") =>
    state({ subnet: parsePrefix(subnet), network: parsePrefix(network) });

  test("is what subnet.env says, then what was remembered", () => {
    expect(previous(remembered("10.5.21.0/24"), env("10.5.20.1/24"))).toEqual(["10.5.20.0/24", "10.5.21.0/24"]);
  });

  test.each([
    ["of another length", "10.5.20.1/25"],
    ["before SubnetMin", "10.5.9.1/24"],
    ["after SubnetMax", "10.5.100.1/24"],
    ["outside the Network", "10.6.20.1/24"],
  ])("leaves out a subnet %s", (_, subnet) => {
    expect(previous(NO_STATE, env(subnet))).toEqual([]);
    expect(previous(remembered(subnet.replace(".1/", ".0/")))).toEqual([]);
  });

  test("leaves out a subnet of another Network, though it would fit", () => {
    expect(previous(NO_STATE, env("10.5.20.1/24", "10.0.0.0/8"))).toEqual([]);
    expect(previous(remembered("10.5.20.0/24", "10.0.0.0/8"))).toEqual([]);
  });
});

describe("heritage().held", () => {
  test("is the subnet that containers here have addresses of, whatever the config says now", () => {
    const { held } = heritage(CONFIG, NO_STATE, env("10.77.20.1/24", "10.77.0.0/16"), [], []);
    expect(held && formatPrefix(held)).toBe("10.77.20.0/24");
  });

  test("is unknown on a new host", () => {
    expect(heritage(CONFIG, NO_STATE, undefined, [], []).held).toBeUndefined();
  });
});

describe("heritage().links", () => {
  const links = [link("flannel.1"), link("flannel.2"), link("flannel0", "tun"), link("vx1"), link("eth0", undefined)];

  test("are those remembered, and the vxlan device that carries the published subnet's first address", () => {
    const addresses = [
      address("flannel.1", "10.5.20.0/32"),
      address("flannel.2", "10.77.1.0/32"),
      address("vx1", "10.5.20.0/32"),
    ];
    const { links: ours } = heritage(CONFIG, state({ links: ["flannel.9"] }), env("10.5.20.1/24"), links, addresses);
    expect(ours).toEqual(["flannel.9", "flannel.1"]);
  });

  test("are also found when the Network is another one now", () => {
    const addresses = [address("flannel.2", "10.77.1.0/32")];
    expect(heritage(CONFIG, NO_STATE, env("10.77.1.1/24", "10.77.0.0/16"), links, addresses).links).toEqual([
      "flannel.2",
    ]);
  });

  test("are none for a flannel device of which nothing tells that it is ours", () => {
    expect(heritage(CONFIG, NO_STATE, undefined, links, [address("flannel.1", "10.5.20.0/32")]).links).toEqual([]);
    expect(
      heritage(CONFIG, NO_STATE, env("10.5.20.1/24"), links, [address("flannel.1", "10.5.21.0/32")]).links,
    ).toEqual([]);
  });
});

describe("heritage().networks", () => {
  test("are those remembered that are not in use now", () => {
    const networks = ["10.77.0.0/16", "10.5.0.0/16", "10.0.0.0/8", "10.5.128.0/17"].map(parsePrefix);
    expect(heritage(CONFIG, state({ networks }), undefined, [], []).networks.map(formatPrefix)).toEqual([
      "10.77.0.0/16",
    ]);
  });
});

test("mayBeFlannels() knows the look of host-gw's routes by the interface between the hosts, where nothing else shows a flannel", () => {
  expect(mayBeFlannels(route("10.5.30.0/24"), CONFIG, "eth0")).toBe(true);
  expect(mayBeFlannels(route("10.5.30.0/24"), CONFIG, "eth1")).toBe(false);
  expect(mayBeFlannels(route("10.5.30.0/24", { protocol: 4 }), CONFIG, "eth0")).toBe(false);
});

describe("heritage().routes.adoptable()", () => {
  const ranHere = env("10.5.20.1/24");
  const adoptable = (route: KernelRoute, published: SubnetEnv | undefined, links: readonly Link[] = []) =>
    heritage(CONFIG, NO_STATE, published, links, []).routes.adoptable(route);

  test("takes a leased subnet's route through a host, where subnet.env or a device shows that a flannel ran here", () => {
    expect(adoptable(route("10.5.30.0/24"), ranHere)).toBe(true);
    expect(adoptable(route("10.5.30.0/24"), undefined, [link("flannel.1")])).toBe(true);
    expect(adoptable(route("10.5.30.0/24"), undefined, [link("flannel0", "tun")])).toBe(true);
  });

  test("takes nothing where nothing shows it, or only that it ran for another Network", () => {
    expect(adoptable(route("10.5.30.0/24"), undefined, [link("vxlan.1"), link("eth0")])).toBe(false);
    expect(adoptable(route("10.5.30.0/24"), undefined)).toBe(false);
    expect(adoptable(route("10.5.30.0/24"), env("10.77.20.1/24", "10.77.0.0/16"))).toBe(false);
  });

  test("takes the whole Network and leased subnets on a flannel device", () => {
    expect(adoptable(route("10.5.0.0/16", onDevice("flannel.1")), ranHere)).toBe(true);
    expect(adoptable(route("10.5.30.0/24", onDevice("flannel0")), ranHere)).toBe(true);
  });

  test.each([
    ["of another writer's protocol", route("10.5.30.0/24", { protocol: 4 })],
    ["of the kernel's protocol", route("10.5.30.0/24", { protocol: 2 })],
    ["of another length", route("10.5.30.0/25")],
    ["before SubnetMin", route("10.5.9.0/24")],
    ["after SubnetMax", route("10.5.100.0/24")],
    ["to another network", route("10.6.30.0/24")],
    ["to the whole Network through a host", route("10.5.0.0/16")],
    ["to more than the Network on a flannel device", route("10.0.0.0/8", onDevice("flannel.1"))],
    ["to a single pod on a flannel device", route("10.5.30.7/32", onDevice("flannel.1"))],
    ["of a bridge with a subnet that would fit", route("10.5.20.0/24", onDevice("docker0"))],
    ["with a metric", route("10.5.30.0/24", { metric: 100 })],
    ["with several next hops", route("10.5.30.0/24", { multipath: true })],
    ["that drops packets", route("10.5.30.0/24", { unicast: false, link: undefined, gateway: undefined })],
  ])("leaves a route alone %s", (_, foreign) => {
    expect(adoptable(foreign, ranHere)).toBe(false);
  });

  test("concerns this Network only", () => {
    expect(heritage(CONFIG, NO_STATE, undefined, [], []).routes.networks).toEqual([CONFIG.network]);
  });
});
