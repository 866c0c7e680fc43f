import { describe, expect, test } from "vitest";
import { formatAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { FakeKernel } from "../kernel/fake-kernel.ts";
import { chooseExternalInterface } from "./external-interface.ts";
import { type InterfaceTexts, parseInterfaceRules } from "./interface-rules.ts";

const { signal } = new AbortController();

/** A host with one link to the others, and more that lead elsewhere. */
function host(): FakeKernel {
  const kernel = new FakeKernel();
  kernel.setLink({ name: "lo", loopback: true });
  for (const name of ["eth0", "eth1", "wlan0"]) kernel.setLink({ name });
  kernel.setAddress("lo", parsePrefix("127.0.0.1/8"));
  kernel.setAddress("eth0", parsePrefix("fe80::1/64"));
  kernel.setAddress("eth0", parsePrefix("169.254.7.7/16"));
  kernel.setAddress("eth0", parsePrefix("192.0.2.1/24"));
  kernel.setAddress("eth0", parsePrefix("192.0.2.100/24"));
  kernel.setAddress("eth1", parsePrefix("2001:db8::1/64"));
  kernel.setAddress("eth1", parsePrefix("169.254.1.1/16"));
  kernel.setRoute({ destination: parsePrefix("0.0.0.0/0"), link: "wlan0", metric: 600 });
  kernel.setRoute({ destination: parsePrefix("0.0.0.0/0"), link: "eth0", metric: 100 });
  kernel.setRoute({ destination: parsePrefix("::/0"), link: "eth1", metric: 1 });
  return kernel;
}

const NOTHING: InterfaceTexts = { ifaces: [], patterns: [], canReach: "", publicIP: "", publicIPv6: "" };

function chooseBy(texts: Partial<InterfaceTexts>, kernel = host()) {
  return chooseExternalInterface(kernel, parseInterfaceRules({ ...NOTHING, ...texts }), { signal });
}

async function choose(iface: string | undefined, kernel = host(), publicIP = ""): Promise<string> {
  const external = await chooseBy({ ifaces: iface === undefined ? [] : [iface], publicIP }, kernel);
  return `${external.link.name} ${formatAddress(external.address)} ${formatAddress(external.publicIP)}`;
}

/** What is picked and by which rule. */
async function picks(texts: Partial<InterfaceTexts>, kernel = host()): Promise<string> {
  const { link, address, rule } = await chooseBy(texts, kernel);
  return `${link.name} ${formatAddress(address)} by ${rule}`;
}

describe("chooseExternalInterface()", () => {
  test("takes the link of the IPv4 default route with the lowest metric", async () => {
    expect(await choose(undefined)).toBe("eth0 192.0.2.1 192.0.2.1");
  });

  test("takes a link by name, with its first global address", async () => {
    expect(await choose("eth0")).toBe("eth0 192.0.2.1 192.0.2.1");
  });

  test("takes a link-local address where there is no other", async () => {
    expect(await choose("eth1")).toBe("eth1 169.254.1.1 169.254.1.1");
  });

  test("takes a link by any of its addresses, and that address", async () => {
    expect(await choose("192.0.2.100")).toBe("eth0 192.0.2.100 192.0.2.100");
  });

  test("tells others another address if asked to", async () => {
    expect(await choose(undefined, host(), "198.51.100.9")).toBe("eth0 192.0.2.1 198.51.100.9");
  });

  test.each([
    [
      "eth7",
      '--iface: no interface is named "eth7"; there are lo (127.0.0.1), eth0 (192.0.2.1), eth1 (169.254.1.1), wlan0',
    ],
    [
      "203.0.113.1",
      "--iface: no interface has the address 203.0.113.1; there are lo (127.0.0.1), eth0 (192.0.2.1), eth1 (169.254.1.1), wlan0",
    ],
    ["wlan0", "--iface: interface wlan0 has no IPv4 address"],
  ])("refuses %s", async (iface, message) => {
    await expect(choose(iface)).rejects.toThrow(message);
  });

  test("asks for a name where there is no IPv4 default route to an interface", async () => {
    const kernel = host();
    kernel.deleteRoute(parsePrefix("0.0.0.0/0"), 600);
    kernel.deleteRoute(parsePrefix("0.0.0.0/0"), 100);
    kernel.setRoute({ destination: parsePrefix("0.0.0.0/0"), link: undefined, unicast: false });
    await expect(choose(undefined, kernel)).rejects.toThrow(
      "--iface: there is no default route to tell which interface leads to the other hosts; name one",
    );
  });

  test("refuses an interface without MTU", async () => {
    const kernel = host();
    kernel.setLink({ name: "eth0", mtu: 0 });
    await expect(choose("eth0", kernel)).rejects.toThrow("--iface: interface eth0 has an MTU of 0");
  });

  test("takes the first --iface that will do, and says why the others would not", async () => {
    const chosen = await chooseBy({ ifaces: ["eth7,wlan0", "eth1", "eth0"] });
    expect(`${chosen.link.name} by ${chosen.rule}`).toBe("eth1 by --iface=eth1");
    expect(chosen.passed).toEqual([
      expect.stringContaining('--iface: no interface is named "eth7"'),
      "--iface: interface wlan0 has no IPv4 address, nor a global one of IPv6",
    ]);
  });

  test("takes the first interface with an address like --iface-regex, else with such a name", async () => {
    expect(await picks({ patterns: ["^192\\.0\\.2\\.1"] })).toBe("eth0 192.0.2.1 by --iface-regex=^192\\.0\\.2\\.1");
    expect(await picks({ patterns: ["\\.100$"] })).toBe("eth0 192.0.2.100 by --iface-regex=\\.100$");
    expect(await picks({ patterns: ["nope", "1$"] })).toBe("eth0 192.0.2.1 by --iface-regex=1$");
    expect(await picks({ patterns: ["th1"] })).toBe("eth1 169.254.1.1 by --iface-regex=th1");
  });

  test("takes no loopback, no device of flannel's or of containers and none without an address by --iface-regex", async () => {
    const kernel = host();
    kernel.setLink({ name: "flannel.1" });
    kernel.setAddress("flannel.1", parsePrefix("10.5.1.0/32"));
    kernel.setLink({ name: "cni0", kind: "bridge" });
    kernel.setAddress("cni0", parsePrefix("10.5.1.1/24"));
    expect(await picks({ ifaces: ["cni0"] }, kernel)).toBe("cni0 10.5.1.1 by --iface=cni0");
    for (const pattern of ["127", "10\\.5", "^lo|^flannel|^wlan|cni"])
      await expect(picks({ patterns: [pattern] }, kernel)).rejects.toThrow("--iface-regex: no interface has");
  });

  test("asks --iface before --iface-regex before --iface-can-reach", async () => {
    const all = { ifaces: ["eth7"], patterns: ["eth8"], canReach: "203.0.113.1" };
    expect(await picks(all)).toMatch(/^eth0 .* by --iface-can-reach=203\.0\.113\.1$/);
    expect(await picks({ ...all, patterns: ["eth1"] })).toBe("eth1 169.254.1.1 by --iface-regex=eth1");
    expect(await picks({ ...all, ifaces: ["wlan0", "eth0"] })).toBe("eth0 192.0.2.1 by --iface=eth0");
  });

  test("takes the interface that packets to --iface-can-reach leave by", async () => {
    const kernel = host();
    kernel.setAddress("wlan0", parsePrefix("198.51.100.7/24"));
    expect(await picks({ canReach: "203.0.113.1" }, kernel)).toMatch(/^eth0 .* by --iface-can-reach=203\.0\.113\.1$/);
    expect(await picks({ canReach: "198.51.100.9" }, kernel)).toMatch(/^wlan0 198\.51\.100\.7 /);
    await expect(picks({ canReach: "198.51.100.7" }, kernel)).rejects.toThrow(
      "--iface-can-reach: 198.51.100.7 is this host's own, of wlan0",
    );
    for (const metric of [600, 100]) kernel.deleteRoute(parsePrefix("0.0.0.0/0"), metric);
    await expect(picks({ canReach: "203.0.113.1" }, kernel)).rejects.toThrow(
      "--iface-can-reach: there is no route to 203.0.113.1",
    );
  });

  test("takes the interface that has --public-ip if no --iface option is given, else it is a NAT's", async () => {
    expect(await picks({ publicIP: "169.254.1.1" })).toBe("eth1 169.254.1.1 by --public-ip=169.254.1.1");
    expect(await picks({ publicIP: "198.51.100.9" })).toBe("eth0 192.0.2.1 by default route");
    expect(await picks({ publicIP: "169.254.1.1", ifaces: ["eth0"] })).toBe("eth0 192.0.2.1 by --iface=eth0");
  });

  test("tells what else was possible: links with an address that could lead to other hosts", async () => {
    const kernel = host();
    kernel.setAddress("wlan0", parsePrefix("198.51.100.7/24"));
    kernel.setLink({ name: "flannel.1" });
    kernel.setAddress("flannel.1", parsePrefix("10.5.1.0/32"));
    expect((await chooseBy({}, kernel)).others).toBe(
      "eth1 (169.254.1.1), wlan0 (198.51.100.7, default route with metric 600)",
    );
  });

  test("says of every option why it found none", async () => {
    await expect(picks({ ifaces: ["eth7"], patterns: ["x"], canReach: "192.0.2.1" })).rejects.toThrow(
      /^no interface will do: --iface: .*"eth7".*; --iface-regex: .*"x".*; --iface-can-reach: 192\.0\.2\.1 is this host's own, of eth0$/,
    );
  });
});

describe("IPv6", () => {
  async function bothOf(texts: Partial<InterfaceTexts>, kernel = host()): Promise<string> {
    const { link, address, publicIP, ipv6 } = await chooseBy(texts, kernel);
    const ends = [address, publicIP, ...(ipv6 === undefined ? [] : [ipv6.address, ipv6.publicIP])];
    return [link.name, ...ends.map(formatAddress)].join(" ");
  }

  function dual(): FakeKernel {
    const kernel = host();
    kernel.setAddress("eth0", parsePrefix("2001:db8:7::1/64"));
    kernel.setAddress("eth0", parsePrefix("2001:db8:7::2/64"));
    return kernel;
  }

  test("takes the link's first global IPv6 address besides its IPv4 one", async () => {
    expect(await bothOf({}, dual())).toBe("eth0 192.0.2.1 192.0.2.1 2001:db8:7::1 2001:db8:7::1");
    expect(await bothOf({})).toBe("eth0 192.0.2.1 192.0.2.1");
  });

  test("takes the one that --public-ipv6 or --iface names, or keeps a NAT's for others", async () => {
    expect(await bothOf({ publicIPv6: "2001:db8:7::2" }, dual())).toBe(
      "eth0 192.0.2.1 192.0.2.1 2001:db8:7::2 2001:db8:7::2",
    );
    expect(await bothOf({ ifaces: ["2001:db8:7::2"] }, dual())).toBe(
      "eth0 192.0.2.1 192.0.2.1 2001:db8:7::2 2001:db8:7::2",
    );
    expect(await bothOf({ publicIPv6: "2001:db8:9::9" }, dual())).toBe(
      "eth0 192.0.2.1 192.0.2.1 2001:db8:7::1 2001:db8:9::9",
    );
  });

  test("takes a link that has IPv6 alone by that, also by the default route of IPv6 where there is no IPv4", async () => {
    expect(await bothOf({ ifaces: ["2001:db8::1"] })).toBe("eth1 2001:db8::1 2001:db8::1");
    const kernel = new FakeKernel();
    kernel.setLink({ name: "eth1" });
    kernel.setAddress("eth1", parsePrefix("2001:db8::1/64"));
    kernel.setRoute({ destination: parsePrefix("::/0"), link: "eth1", metric: 1 });
    expect(await bothOf({}, kernel)).toBe("eth1 2001:db8::1 2001:db8::1");
  });

  test("refuses a --public-ipv6 that is none", () => {
    for (const publicIPv6 of ["192.0.2.1", "fe80::1", "zz"])
      expect(() => parseInterfaceRules({ ...NOTHING, publicIPv6 })).toThrow(
        `--public-ipv6: invalid public IPv6 address: ${publicIPv6} (not an IPv6 address)`,
      );
  });
});
