import { describe, expect, test } from "vitest";
import { hostSettings, type NeedsOf, sysctlName } from "./needs.ts";

const VXLAN: NeedsOf = { families: [4], underlay: "eth0", devices: ["flannel.1"], hasServices: false, routed: [] };
const HOST_GW: NeedsOf = { ...VXLAN, devices: [] };

/** What would be set on a host that is as described: `net/ipv4/ip_forward=1`. */
function unmet(
  needs: NeedsOf,
  values: Readonly<Record<string, string>>,
  changed: readonly string[] = [],
): readonly string[] {
  const all = new Map(Object.entries(values));
  return hostSettings(needs)
    .filter(({ key, suffices }) => all.has(key) && !suffices(all.get(key) ?? "", all, changed.includes(key)))
    .map(({ key, value }) => `${key}=${value}`);
}

const RIGHT = {
  "net/ipv4/ip_forward": "1",
  "net/ipv4/conf/eth0/forwarding": "1",
  "net/ipv4/conf/flannel.1/forwarding": "1",
  "net/ipv4/conf/all/rp_filter": "0",
  "net/ipv4/conf/eth0/rp_filter": "0",
  "net/ipv4/conf/flannel.1/rp_filter": "0",
  "net/bridge/bridge-nf-call-iptables": "0",
  "net/ipv6/conf/all/forwarding": "0",
  "net/ipv6/conf/eth0/accept_ra": "1",
};

describe("hostSettings()", () => {
  test("has nothing against a host whose packets pass", () => {
    expect(unmet(VXLAN, RIGHT)).toEqual([]);
    expect(unmet(HOST_GW, RIGHT)).toEqual([]);
    expect(unmet(VXLAN, { ...RIGHT, "net/ipv4/ip_forward": "2", "net/ipv4/conf/all/rp_filter": "2" })).toEqual([]);
  });

  test("wants forwarding of the host, or of the links that packets come in by", () => {
    const off = { "net/ipv4/conf/eth0/forwarding": "0", "net/ipv4/conf/flannel.1/forwarding": "0" };
    expect(unmet(VXLAN, { ...RIGHT, ...off })).toEqual(["net/ipv4/conf/flannel.1/forwarding=1"]);
    expect(unmet(HOST_GW, { ...RIGHT, ...off })).toEqual(["net/ipv4/conf/eth0/forwarding=1"]);
    // One switch turns on all.
    expect(unmet(VXLAN, { ...RIGHT, ...off, "net/ipv4/ip_forward": "0" })).toEqual(["net/ipv4/ip_forward=1"]);
  });

  test("wants no strict filter of reverse paths with a tunnel, by the larger of the link's value and that of all", () => {
    const strict = { ...RIGHT, "net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/flannel.1/rp_filter": "2" };
    expect(unmet(VXLAN, strict)).toEqual(["net/ipv4/conf/eth0/rp_filter=2"]);
    expect(unmet(VXLAN, { ...RIGHT, "net/ipv4/conf/flannel.1/rp_filter": "1" })).toEqual([
      "net/ipv4/conf/flannel.1/rp_filter=2",
    ]);
    expect(unmet(HOST_GW, strict)).toEqual([]);
  });

  test("wants bridged packets to be seen where there are services, and only there", () => {
    expect(unmet({ ...VXLAN, hasServices: true }, RIGHT)).toEqual(["net/bridge/bridge-nf-call-iptables=1"]);
  });

  test("keeps the default routes that a host has learned from routers, before it turns IPv6 forwarding on", () => {
    const both: NeedsOf = { ...VXLAN, families: [4, 6], routed: ["eth0", "wlan0"] };
    const values = { ...RIGHT, "net/ipv6/conf/wlan0/accept_ra": "1" };
    const wanted = ["net/ipv6/conf/eth0/accept_ra=2", "net/ipv6/conf/wlan0/accept_ra=2"];
    expect(unmet(both, values)).toEqual([...wanted, "net/ipv6/conf/all/forwarding=1"]);
    const on = { ...values, "net/ipv6/conf/all/forwarding": "1" };
    expect(unmet(both, on)).toEqual([]); // an administrator wants it so
    expect(unmet(both, on, ["net/ipv6/conf/eth0/accept_ra"])).toEqual(["net/ipv6/conf/eth0/accept_ra=2"]);
    expect(unmet({ ...both, families: [6] }, { ...on, "net/ipv4/ip_forward": "0" })).toEqual([]);
  });
});

test("sysctlName() is what sysctl takes, whatever the link is called", () => {
  expect(sysctlName("net/ipv4/ip_forward")).toBe("net.ipv4.ip_forward");
  expect(sysctlName("net/ipv4/conf/flannel.1/rp_filter")).toBe("net.ipv4.conf.flannel/1.rp_filter");
});
