import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { complaints, hostsOf, subnetOf, untilPing } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";

const { signal } = new AbortController();

async function says(host: LabHost, ...words: readonly string[]): Promise<string> {
  const line = () => complaints(host).find((line) => words.every((word) => line.includes(word)));
  await waitUntil(() => line() !== undefined, {
    signal,
    within: 30_000,
    what: `the log says ${words.join(" … ")}; it says ${complaints(host).join("\n")}`,
  });
  return line() ?? "";
}

test("flanneld refuses a Network that this host's own neighbours or a VPN are in, names the route, and starts when it is gone", async () => {
  await using lab = await Lab.up({ hosts: 1, pods: 0, daemons: false, backend: "vxlan", signal });
  const [host] = lab.hosts;
  if (host === undefined) throw new Error("no host");
  await host.namespace.ip(["addr add 10.5.9.7/24 dev eth0"]);
  await host.daemon.start();
  await says(host, "Network: 10.5.0.0/16 overlaps", "10.5.9.0/24 dev eth0", "SubnetMin");
  expect(await host.run(["ip", "-br", "link"])).not.toContain("flannel");
  const vpn = "10.5.77.0/24 via 192.168.77.9 dev eth0";
  await host.namespace.ip([`route add ${vpn} proto static`, "addr del 10.5.9.7/24 dev eth0"]);
  await says(host, "Network: 10.5.0.0/16 overlaps", `${vpn} proto static`);
  await host.namespace.ip([`route del ${vpn}`]);
  await host.daemon.ready();
});

test("flanneld leaves a lease to another host that has the same address, and takes it over from one that is silent", async () => {
  await using lab = await Lab.up({ hosts: 3, backend: "vxlan", signal });
  const [a, b, c] = hostsOf(lab, 3);
  if (a === undefined || b === undefined || c === undefined) throw new Error("no hosts");
  await untilPing(c.pod, a.pod);
  const subnet = subnetOf(a);
  // b is given a's address, as by a DHCP server that was restored from a backup, and starts anew.
  await b.daemon.stop();
  await b.run(["rm", "-r", b.stateDirectory, b.subnetFile]);
  await b.namespace.ip([
    "link del flannel.1",
    `addr del ${b.address}/24 dev eth0`,
    `addr add ${a.address}/24 dev eth0`,
  ]);
  await b.namespace.ip(["link set cni0 down", "link del cni0"]);
  await b.namespace.ip(["route replace default via 192.168.77.254"]);
  const refuse = async () => {
    await b.daemon.start();
    await says(b, "--public-ip", "another host", "02:00:00:00:00:01", a.address, subnet);
  };
  const { lost } = await pingDuring(c.pod, { to: a.pod.address, interval: 0.1, signal }, async () => {
    await refuse();
  });
  expect(lost).toBeLessThan(5); // ARP may lead to b's eth0 for a moment: the address is there twice
  expect(await b.run(["ip", "-br", "link"])).not.toContain("flannel.1");
  // a is switched off for good: b is its replacement.
  await a.daemon.stop("SIGKILL");
  await a.namespace.ip(["link set eth0 down"]);
  await b.daemon.ready();
  expect(subnetOf(b)).toBe(subnet);
  await says(b, "taking over a lease", subnet);
});

test("flanneld takes its subnet along to an address it was given while it was down", async () => {
  await using lab = await Lab.up({ hosts: 2, backend: "host-gw", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const subnet = subnetOf(a);
  await a.daemon.stop();
  await a.namespace.ip([
    `addr del ${a.address}/24 dev eth0`,
    "addr add 192.168.77.201/24 dev eth0",
    "route add default via 192.168.77.254",
  ]);
  await a.startDaemon();
  expect(subnetOf(a)).toBe(subnet);
  await untilPing(b.pod, a.pod);
  expect(complaints(a)).toEqual([]);
});

test("flanneld names the bridge that kept the subnet of a former lease", async () => {
  await using lab = await Lab.up({ hosts: 1, backend: "vxlan", signal });
  const [host] = hostsOf(lab, 1);
  if (host === undefined) throw new Error("no host");
  expect(complaints(host)).toEqual([]);
  const former = subnetOf(host).replace(".0/24", ".1/24");
  await host.daemon.stop();
  await lab.setConfig({ Network: "10.77.0.0/16" });
  await host.startDaemon();
  expect(await says(host, "a bridge has an address of a subnet that is not this host's")).toMatch(
    new RegExp(`bridge=cni0 address=${former} subnet=10\\.77\\.\\d+\\.0/24 remedy=".*ip link del cni0`),
  );
});
