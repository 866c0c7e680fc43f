import { describe, expect, test } from "vitest";
import { formatAddress, parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { FakeKernel } from "../kernel/fake-kernel.ts";
import { chooseExternalInterface } from "./external-interface.ts";

const { signal } = new AbortController();

/** A host with one link to the others, and more that lead elsewhere. */
function host(): FakeKernel {
  const kernel = new FakeKernel();
  for (const name of ["lo", "eth0", "eth1", "wlan0"]) kernel.setLink({ name });
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

async function choose(iface: string | undefined, kernel = host(), publicIP?: string): Promise<string> {
  const external = await chooseExternalInterface(
    kernel,
    { iface, publicIP: publicIP === undefined ? undefined : parseAddress(publicIP) },
    { signal },
  );
  return `${external.link.name} ${formatAddress(external.address)} ${formatAddress(external.publicIP)}`;
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
    ["2001:db8::1", "--iface: 2001:db8::1 is an IPv6 address: this build has IPv4 underlays only"],
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
});
